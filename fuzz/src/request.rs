//! `request` and `split`: any bytes at all.

use polygil::http::{Head, Limits};

use crate::drive::{Seen, Trace, cut, drive, drive_anew, tight};
use crate::grammar::{is_field_value, is_token};
use crate::peer;

/// No panic, nothing beyond a limit; what was accepted obeys the grammar, and what was answered can be read.
pub fn request(data: &[u8]) {
    for limits in [Limits::default(), tight()] {
        let trace = drive(&limits, [data], true);
        within(&trace, &limits);
        for head in trace.heads() {
            obeys(head);
        }
        answers_are_whole(&trace);
    }
    // What was read is printed plainly, and read again: nothing was lost, and nothing was read as something else.
    let first = drive(&Limits::default(), [data], false);
    if let Some(Seen::Head(head)) = first.seen.first() {
        let again = drive(&Limits::default(), [&print(head)[..]], false);
        match again.seen.first() {
            Some(Seen::Head(second)) => assert!(same(head, second), "{head:?}\n{second:?}"),
            other => panic!("{head:?} was read again as {other:?}"),
        }
    }
}

/// The same events and answers however the bytes are cut, with an end of input and without, and in whatever memory.
pub fn split(data: &[u8]) {
    for limits in [Limits::default(), tight()] {
        for eof in [false, true] {
            let whole = drive(&limits, [data], eof);
            assert_eq!(whole, drive_anew(&limits, [data], eof), "in memory of its own, end of input: {eof}");
            assert_eq!(whole, drive(&limits, cut(data), eof), "cut into pieces, end of input: {eof}");
            assert_eq!(whole, drive(&limits, data.chunks(1), eof), "byte by byte, end of input: {eof}");
        }
    }
}

fn within(trace: &Trace, limits: &Limits) {
    let count = trace.heads().count() as u64;
    assert!(limits.requests_per_connection_max == 0 || count <= limits.requests_per_connection_max);
    for head in trace.heads() {
        assert!(head.target().len() <= limits.target_bytes_max);
        assert!(head.headers().count() <= limits.headers_count_max);
        let bytes: usize = head.headers().map(|(name, value)| name.len() + value.len() + 3).sum();
        assert!(bytes + 2 <= limits.headers_bytes_max);
    }
    for seen in &trace.seen {
        if let Seen::Body(body) = seen {
            assert!(body.len() as u64 <= limits.body_bytes_max);
        }
    }
}

/// A head that was accepted, against the grammar.
fn obeys(head: &Head) {
    assert!(is_token(head.method().as_bytes()), "method: {head:?}");
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "target: {head:?}");
    assert!(head.path().starts_with('/') || (head.path() == "*" && head.method() == "OPTIONS"), "path: {head:?}");
    let path_and_query = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    assert!(!head.path().contains('?'), "path: {head:?}");
    if head.target().starts_with(['/', '*']) {
        assert_eq!(head.target(), path_and_query);
    } else {
        let scheme = head.target().find("//").expect("of an absolute target") + 2;
        let rest = &head.target()[scheme..];
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        assert!(authority.eq_ignore_ascii_case(head.host()), "authority: {head:?}");
        let asks_server = head.method() == "OPTIONS" && rest.is_empty();
        let missing = if asks_server { "*" } else { "/" };
        assert_eq!(path_and_query, if rest.starts_with('/') { rest.to_owned() } else { format!("{missing}{rest}") });
    }
    assert!(matches!(head.minor_version(), 0 | 1));
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    for (name, value) in head.headers() {
        assert!(is_token(name.as_bytes()), "field name: {head:?}");
        assert!(is_field_value(value), "field value: {head:?}");
        match &name.to_ascii_lowercase()[..] {
            "host" => hosts += 1,
            "content-length" => {
                lengths += 1;
                assert!(!value.is_empty() && value.iter().all(u8::is_ascii_digit), "length: {head:?}");
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                assert_eq!(head.content_length(), length, "length: {head:?}");
            }
            "transfer-encoding" => {
                codings += 1;
                assert!(value.eq_ignore_ascii_case(b"chunked"), "coding: {head:?}");
            }
            _ => {}
        }
    }
    assert!(hosts == 1 || (hosts == 0 && head.minor_version() == 0), "hosts: {head:?}");
    assert!(lengths + codings <= 1, "framing: {head:?}");
    assert!(codings == 0 || head.minor_version() == 1, "a coding on HTTP/1.0: {head:?}");
    assert_eq!(head.content_length().is_none(), codings == 1, "framing: {head:?}");
}

/// Every complete request and the error were answered, in order, each by one response that somebody else can read.
fn answers_are_whole(trace: &Trace) {
    let mut methods: Vec<&str> = trace.heads().map(Head::method).collect();
    let complete = trace.complete();
    methods.truncate(complete);
    let bytes = &trace.out[..];
    let (answered, errors) = match trace.error() {
        None => (peer::responses(&methods, bytes), 0),
        // The error may be to a HEAD that was not understood: whether content follows is then read off the answer.
        Some(_) => {
            let to_get = [&methods[..], &["GET"]].concat();
            let to_head = [&methods[..], &["HEAD"]].concat();
            (peer::responses(&to_get, bytes).or_else(|_| peer::responses(&to_head, bytes)), 1)
        }
    };
    let answers = answered.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    assert_eq!(answers.len(), complete + errors, "answers: {}", String::from_utf8_lossy(bytes));
    for (number, answer) in answers[..complete].iter().enumerate() {
        assert_eq!(answer.named("x-request"), [number.to_string().as_bytes()], "in order");
    }
    if let (Some((status, _)), Some(last)) = (trace.error(), answers.last()) {
        assert_eq!(last.status, status);
        assert!(!last.reusable, "an error says close");
    }
    assert!(answers.iter().all(|answer| answer.named("date").len() == 1), "every answer has a date");
}

/// The request of a head, in the plainest form.
fn print(head: &Head) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.{}\r\n", head.method(), head.target(), head.minor_version()).into_bytes();
    for (name, value) in head.headers() {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The same request; the bytes between its parts may differ.
fn same(one: &Head, other: &Head) -> bool {
    one.method() == other.method()
        && one.target() == other.target()
        && one.path() == other.path()
        && one.query() == other.query()
        && one.host() == other.host()
        && one.minor_version() == other.minor_version()
        && one.content_length() == other.content_length()
        && one.expects_continue() == other.expects_continue()
        && one.headers().eq(other.headers())
}
