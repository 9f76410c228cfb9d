//! `differential`: an independent server reads the same bytes as the same requests.
//!
//! Both read everything there is, up to the end of input. Where they part, one of them accepted what the other refused, or they read
//! a request differently; that is a finding unless `quirks.toml` names the pair of verdicts, with the reason why ours is meant.

use std::sync::LazyLock;

use polygil::http::Limits;
use serde::Deserialize;

use crate::drive::{Seen, drive};
use crate::peer::{self, End, Read};

/// One difference that is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quirk {
    /// What we say: `accepts`, `closes`, `refuses`, or how our refusal begins.
    ours: String,
    /// What the other says: the same, or the name of its refusal.
    theirs: String,
    /// Text that the input has, in any case, where the difference is meant only then.
    #[serde(default)]
    contains: String,
    /// Only where the target of the request is none by RFC 3986.
    #[serde(default)]
    loose_target: bool,
    /// Why ours is right, or as good.
    #[allow(dead_code)]
    why: String,
}

#[derive(Deserialize)]
struct Quirks {
    quirk: Vec<Quirk>,
}

static QUIRKS: LazyLock<Vec<Quirk>> = LazyLock::new(|| {
    let quirks: Quirks = toml::from_str(include_str!("../quirks.toml")).expect("quirks.toml is valid");
    quirks.quirk
});

/// What one of the two made of the bytes at the place where the two part.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepts,
    Closed,
    Refuses(String),
}

/// Both read the same requests, and refuse at the same one, or the difference is meant.
pub fn differential(data: &[u8]) {
    let (ours, our_end) = ours(data);
    let (theirs, their_end) = peer::requests(data);
    let common = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
    let (one, other) = (ours.get(common), theirs.get(common));
    if let (Some(one), Some(other)) = (one, other) {
        panic!("one request is read in two ways:\n{one:?}\n{other:?}");
    }
    let is_loose = one.is_some_and(|request| !is_rfc_3986(&request.target));
    let one = if one.is_some() { Verdict::Accepts } else { our_end };
    let other = match (other, their_end) {
        (Some(_), _) => Verdict::Accepts,
        (None, End::Closed) => Verdict::Closed,
        (None, End::Refused(error)) => Verdict::Refuses(format!("{error:?}")),
    };
    let agree = one == other || matches!((&one, &other), (Verdict::Refuses(_), Verdict::Refuses(_)));
    assert!(
        agree || is_meant(&one, &other, data, is_loose),
        "ours: {one:?}\ntheirs: {other:?}\n{}",
        data.escape_ascii()
    );
}

fn is_meant(one: &Verdict, other: &Verdict, data: &[u8], is_loose: bool) -> bool {
    let lower = data.to_ascii_lowercase();
    let contains = |text: &str| text.is_empty() || lower.windows(text.len()).any(|window| window == text.as_bytes());
    let says = |verdict: &Verdict, text: &str| match verdict {
        Verdict::Accepts => text == "accepts",
        Verdict::Closed => text == "closes",
        Verdict::Refuses(rule) => text == "refuses" || rule.starts_with(text),
    };
    QUIRKS.iter().any(|quirk| {
        says(one, &quirk.ours)
            && says(other, &quirk.theirs)
            && contains(&quirk.contains)
            && (is_loose || !quirk.loose_target)
    })
}

/// RFC 3986, 3.3 and 3.4: path and query, behind an authority or not, of the bytes that they may have as they are.
fn is_rfc_3986(target: &str) -> bool {
    let behind_scheme = |scheme: &str| target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme));
    let rest = match behind_scheme("http://").or_else(|| behind_scheme("https://")) {
        Some(scheme) => {
            let rest = &target[scheme.len()..];
            &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
        }
        None => target,
    };
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        let is_good = match byte {
            b'%' => (0..2).all(|_| bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte),
        };
        if !is_good {
            return false;
        }
    }
    true
}

/// What we read.
fn ours(data: &[u8]) -> (Vec<Read>, Verdict) {
    let limits = Limits {
        headers_count_max: 1 << 16,
        trailers_count_max: 1 << 16,
        body_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let trace = drive(&limits, [data], true);
    let mut read = Vec::new();
    let mut present: Option<Read> = None;
    for seen in trace.seen {
        match seen {
            Seen::Head(head) => {
                present = Some(Read {
                    method: head.method().to_owned(),
                    target: head.target().to_owned(),
                    fields: head.headers().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect(),
                    body: Vec::new(),
                });
            }
            Seen::Body(body) => present.as_mut().expect("a request").body = body,
            Seen::End => read.extend(present.take()),
            Seen::Closed => return (read, Verdict::Closed),
            Seen::Error(status, rule) => return (read, Verdict::Refuses(format!("{status}: {rule}"))),
        }
    }
    panic!("the end of input ends everything");
}
