//! What the failures of a run have in common: a person with two hundred of them looks for two or three causes.
//!
//! Failures are grouped by what was wrong, and of each group is told what its requests share and other requests do not: a method, a
//! version, a field, a route, a second request behind the first. Both are guesses from what was sent and what came; the cases decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::client::Event;
use crate::verdict::{CaseResult, Verdict};

/// Failures that look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What was wrong, without what differs from case to case.
    pub wrong: String,
    /// What their requests have in common and others do not, where there is such a thing.
    pub common: Option<String>,
    /// What to look at.
    pub hint: Option<&'static str>,
    /// The cases, by id.
    pub ids: Vec<String>,
}

/// The causes of deviations, the largest group first.
pub fn causes(results: &[CaseResult]) -> Vec<Cause> {
    let traits: Vec<BTreeSet<String>> = results.iter().map(traits_of).collect();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (number, result) in results.iter().enumerate().filter(|(_, result)| result.is_deviation()) {
        let reason = result.reasons.first().map_or("failed", String::as_str);
        groups.entry(alike(reason)).or_default().push(number);
    }
    let mut causes: Vec<Cause> = Vec::new();
    for (wrong, members) in groups {
        let common = in_common(&members, &traits);
        let ids = members.iter().map(|number| results[*number].id.clone()).collect();
        causes.push(Cause { hint: hint(&wrong), wrong, common, ids });
    }
    causes.sort_by(|left, right| right.ids.len().cmp(&left.ids.len()).then(left.wrong.cmp(&right.wrong)));
    causes
}

/// The trait that tells the members from the others best, if it tells most of them.
fn in_common(members: &[usize], traits: &[BTreeSet<String>]) -> Option<String> {
    let mut best: Option<(f64, &String)> = None;
    let all: BTreeSet<&String> = members.iter().flat_map(|member| &traits[*member]).collect();
    for one in all {
        let inside = members.iter().filter(|member| traits[**member].contains(one)).count() as f64;
        let everywhere = traits.iter().filter(|set| set.contains(one)).count() as f64;
        let (share, precision) = (inside / members.len() as f64, inside / everywhere);
        // What most requests of the run have tells nothing.
        if share < 0.6 || everywhere > traits.len() as f64 * 0.6 {
            continue;
        }
        // A topic says less than what its requests share.
        let weight = if one.starts_with(TOPIC) { 0.7 } else { 1.0 };
        let score = share * precision * weight;
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, one));
        }
    }
    best.filter(|(score, _)| *score >= 0.1).map(|(_, one)| one.clone())
}

/// How the trait of a topic begins.
const TOPIC: &str = "cases of ";

/// What can be said of a case and its first request.
fn traits_of(result: &CaseResult) -> BTreeSet<String> {
    let mut traits = BTreeSet::new();
    if let Some((topic, _)) = result.id.rsplit_once('/') {
        traits.insert(format!("{TOPIC}{topic}"));
    }
    let sent = result.exchange.iter().flat_map(|(_, events)| events).find_map(|event| match event {
        Event::Sent(bytes) => Some(bytes),
        _ => None,
    });
    let Some(sent) = sent else { return traits };
    let text = crate::response::latin1(&sent[..sent.len().min(64 * 1024)]);
    let head = text.split("\r\n\r\n").next().unwrap_or("");
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if !method.is_empty() && method.len() < 12 {
        traits.insert(format!("requests by {method}"));
    }
    let path = target.split('?').next().unwrap_or("");
    if path.starts_with('/') && path.len() < 60 {
        traits.insert(format!("the route {path}"));
    }
    if words.next() == Some("HTTP/1.0") {
        traits.insert("requests of HTTP/1.0".into());
    }
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_ascii_lowercase());
        if name.len() < 40 && name != "host" {
            traits.insert(format!("requests with the field {name}"));
        }
        if name == "connection" || name == "transfer-encoding" || name == "expect" {
            traits.insert(format!("requests with {name}: {}", value.chars().take(40).collect::<String>()));
        }
    }
    if text.matches(" HTTP/1.").count() > 1 {
        traits.insert("more than one request in one write".into());
    }
    traits
}

/// A reason without what differs from case to case: its place among answers and steps, and what is quoted.
fn alike(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or("");
    let mut rest = line;
    for place in ["answer ", "step "] {
        if let Some((number, behind)) = rest.strip_prefix(place).and_then(|text| text.split_once(": "))
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            rest = behind;
        }
    }
    let mut text = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for char in rest.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => {
                if !quoted {
                    text.push('…');
                }
                quoted = !quoted;
            }
            _ if quoted => {}
            char => text.push(char),
        }
    }
    for (start, all) in
        [("the JSON is ", "the JSON is another"), ("the content has ", "the content has another length")]
    {
        if text.starts_with(start) {
            text = all.into();
        }
    }
    if text.starts_with("no server: ") {
        text = "no server: it did not start with the options of the setup".into();
    }
    text
}

fn hint(wrong: &str) -> Option<&'static str> {
    let starts = [
        ("the status is 404", "the app lacks the route, or the target is read in another way"),
        ("the status is 405", "the app lacks the method on the route"),
        ("the status is 500", "the handler fails: look at the server's own output"),
        ("the status is 501", "the server does not know the method, or the coding"),
        ("the status is 200, not 400", "a malformed request is taken for a good one"),
        ("no whole answer in time", "the server waits for more than was sent, or its handler hangs"),
        ("the connection is closed, not open", "the server closes a connection that goes on"),
        ("the connection is open, not closed", "the server goes on with a connection behind what it cannot read"),
        ("a request behind it", "content was left over, or too much of it eaten: where does the server see its end?"),
        ("more came than", "a part of the request was taken for a request of its own"),
        ("the connection was closed before", "the server gives up, perhaps with a failure in its own output"),
        ("the connection was reset", "the server gives up, or closes while there is something to read"),
        ("what came is not an answer", "the answer itself is malformed"),
        ("no connection", "the server is not there any more"),
        ("behind the case the server", "the server is not there any more, or hangs"),
    ];
    starts.iter().find(|(start, _)| wrong.starts_with(start)).map(|(_, hint)| *hint)
}

/// The summary: cases by topic, and causes, in few enough lines for one screen.
pub fn summary(results: &[CaseResult], causes_max: usize) -> String {
    const WIDTH: usize = 118;
    let mut text = String::new();
    let mut topics: BTreeMap<&str, (usize, usize, Vec<&str>)> = BTreeMap::new();
    for result in results.iter().filter(|result| result.verdict != Verdict::Skipped) {
        let (topic, name) = result.id.rsplit_once('/').unwrap_or(("", &result.id));
        let (all, lenient, failed) = topics.entry(topic).or_default();
        *all += 1;
        *lenient += usize::from(result.verdict == Verdict::Lenient);
        if result.is_deviation() {
            failed.push(name);
        }
    }
    let cut = |line: String| {
        if line.chars().count() <= WIDTH { line } else { line.chars().take(WIDTH - 1).collect::<String>() + "…" }
    };
    let _ = writeln!(text, "  {:<24} {:>6} {:>6} {:>8}", "topic", "cases", "failed", "lenient");
    let wide = topics.values().filter(|(_, _, failed)| !failed.is_empty()).count() > 20;
    for (topic, (all, lenient, failed)) in &topics {
        if failed.is_empty() && (wide || topics.len() > 20) {
            continue;
        }
        let of = |count: usize| if count == 0 { "·".to_owned() } else { count.to_string() };
        let line = format!("  {topic:<24} {all:>6} {:>6} {:>8}  {}", of(failed.len()), of(*lenient), failed.join(", "));
        let _ = writeln!(text, "{}", cut(line.trim_end().to_owned()));
    }
    let causes = causes(results);
    if !causes.is_empty() {
        let _ = writeln!(text, "\n  what failed alike, and what may be behind it");
    }
    for cause in causes.iter().take(causes_max) {
        let common = cause.common.as_ref().map(|common| format!("{common}: ")).unwrap_or_default();
        let _ = writeln!(text, "{}", cut(format!("  {:>4} × {common}{}", cause.ids.len(), cause.wrong)));
        let hint = cause.hint.map(|hint| format!("likely: {hint}; ")).unwrap_or_default();
        let _ = writeln!(text, "{}", cut(format!("         {hint}see {}", cause.ids[0])));
    }
    if causes.len() > causes_max {
        let _ = writeln!(text, "  … and {} other kinds of failure", causes.len() - causes_max);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Level;
    use crate::client::Ending;

    fn result(id: &str, sent: &str, reason: Option<&str>) -> CaseResult {
        CaseResult {
            id: format!("http/t/{id}"),
            file: String::new(),
            line: 0,
            suite: "http".into(),
            title: String::new(),
            level: Level::Must,
            source: String::new(),
            verdict: if reason.is_some() { Verdict::Failed } else { Verdict::Ok },
            reasons: reason.map(str::to_owned).into_iter().collect(),
            ending: Ending::Open,
            exchange: vec![("a".into(), vec![Event::Sent(sent.as_bytes().to_vec())])],
            answers: Vec::new(),
            took_ms: 0,
            known: None,
        }
    }

    #[test]
    fn what_failures_share_is_told_and_what_all_requests_share_is_not() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut results: Vec<CaseResult> =
            (0..10).map(|number| result(&format!("good-{number}"), &get("/a"), None)).collect();
        for (number, body) in ["\"x\"", "\"y\\\"z\""].iter().enumerate() {
            let head = "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n";
            results.push(result(
                &format!("head-{number}"),
                head,
                Some(&format!("answer 1: what came is not an answer: {body}")),
            ));
        }
        results.push(result("route", &get("/b"), Some("the status is 404, not 200")));
        let found = causes(&results);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].wrong, "what came is not an answer: …");
        assert_eq!(found[0].common.as_deref(), Some("requests by HEAD"));
        assert_eq!(found[0].ids, ["http/t/head-0", "http/t/head-1"]);
        assert_eq!(found[1].common.as_deref(), Some("the route /b"));
        let text = summary(&results, 5);
        assert!(text.contains("http/t                       13      3        ·  head-0, head-1, route"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 118), "{text}");
    }
}
