//! What tells two exchanges apart, as kinds that group: a person reads one example of each kind, not a thousand lines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::transcript::{Answer, Exchange};

/// Kinds of difference with what they are in this case, in the order in which a person would look.
pub fn differences(left: &Exchange, right: &Exchange) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if left.answers.len() != right.answers.len() {
        let shown = |exchange: &Exchange| {
            let why = exchange.missing.as_deref().map(|why| format!(", then {why}")).unwrap_or_default();
            format!("{}{why}", exchange.answers.len())
        };
        found.insert("number of answers".to_owned(), format!("{} / {}", shown(left), shown(right)));
    }
    for (left, right) in left.answers.iter().zip(&right.answers) {
        answer(left, right, &mut found);
    }
    if left.afterwards != right.afterwards {
        let kind = format!("connection: {} / {}", left.afterwards, right.afterwards);
        found.insert(kind, format!("{} / {}", left.afterwards, right.afterwards));
    }
    found
}

fn answer(left: &Answer, right: &Answer, found: &mut BTreeMap<String, String>) {
    if left.status != right.status {
        // What else differs follows from that.
        found.insert(
            format!("status: {} / {}", left.status, right.status),
            format!("{} / {}", left.status, right.status),
        );
        return;
    }
    if left.version != right.version {
        found.insert("version".into(), format!("{} / {}", left.version, right.version));
    }
    if left.interim != right.interim {
        found.insert("interim answers".into(), format!("{:?} / {:?}", left.interim, right.interim));
    }
    if left.framing != right.framing {
        found.insert(format!("framing: {} / {}", left.framing, right.framing), String::new());
    }
    // What follows from the content, or is its framing, is no difference of its own.
    let follows = |name: &str| ["content-length", "transfer-encoding"].contains(&name) && left.framing != "none";
    let names: BTreeSet<&str> = left.headers.iter().chain(&right.headers).map(|(name, _)| name.as_str()).collect();
    for name in names.into_iter().filter(|name| !follows(name)) {
        let values = |answer: &Answer| -> Vec<String> {
            answer.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
        };
        let (ours, theirs) = (values(left), values(right));
        let kind = match (ours.is_empty(), theirs.is_empty()) {
            _ if ours == theirs => continue,
            (false, true) => format!("field lost: {name}"),
            (true, false) => format!("field added: {name}"),
            _ => format!("field value: {name}"),
        };
        found.insert(kind, format!("{ours:?} / {theirs:?}"));
    }
    if left.body != right.body {
        found.insert(
            content_kind(&left.body, &right.body).into(),
            format!("{:?} / {:?}", short(&left.body), short(&right.body)),
        );
    }
}

/// How two contents differ that are not equal.
fn content_kind(left: &str, right: &str) -> &'static str {
    // Transcripts hold bytes as ISO-8859-1; JSON is UTF-8.
    let bytes = |text: &str| text.chars().map(|char| char as u8).collect::<Vec<u8>>();
    let json = |text: &str| serde_json::from_slice::<Value>(&bytes(text)).ok();
    let (Some(ours), Some(theirs)) = (json(left), json(right)) else { return "content" };
    let without_space = |text: &str| text.replace([' ', '\n'], "");
    if without_space(left) == without_space(right) {
        "JSON: white space"
    } else if numbers_as_floats(&ours) == numbers_as_floats(&theirs) {
        let letters = |text: &str| {
            let mut bytes = without_space(text).into_bytes();
            bytes.sort_unstable();
            bytes
        };
        if letters(left) == letters(right) {
            "JSON: order of keys"
        } else if ours.to_string().contains(|char: char| !char.is_ascii())
            || left.contains("\\u") != right.contains("\\u")
        {
            "JSON: escapes"
        } else {
            "JSON: form of numbers"
        }
    } else {
        "JSON: values"
    }
}

fn numbers_as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, |float| Value::String(format!("{float:?}"))),
        Value::Array(items) => items.iter().map(numbers_as_floats).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, item)| (name.clone(), numbers_as_floats(item))).collect())
        }
        other => other.clone(),
    }
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

/// All differences of one kind.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they have in common.
    pub kind: String,
    /// In which exchanges, by id.
    pub ids: Vec<String>,
    /// The shortest bytes that show it.
    pub example: String,
    /// What both sides answer to them.
    pub detail: String,
}

/// Groups what tells two transcripts apart; an exchange of one side alone is a kind of its own.
pub fn compare(left: &[Exchange], right: &[Exchange]) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut add = |kind: String, detail: String, exchange: &Exchange| {
        let new =
            || Group { kind: kind.clone(), ids: Vec::new(), example: exchange.sent.clone(), detail: detail.clone() };
        let group = groups.entry(kind.clone()).or_insert_with(new);
        group.ids.push(exchange.id.clone());
        if exchange.sent.len() < group.example.len() {
            (group.example, group.detail) = (exchange.sent.clone(), detail);
        }
    };
    for ours in left {
        match right.iter().find(|theirs| theirs.id == ours.id) {
            Some(theirs) => differences(ours, theirs).into_iter().for_each(|(kind, detail)| add(kind, detail, ours)),
            None => add("only in the first".into(), String::new(), ours),
        }
    }
    for theirs in right.iter().filter(|theirs| !left.iter().any(|ours| ours.id == theirs.id)) {
        add("only in the second".into(), String::new(), theirs);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(status: u16, headers: &[(&str, &str)], body: &str) -> Exchange {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = crate::response::latin1(body.as_bytes());
        let answer =
            Answer { version: "HTTP/1.1".into(), status, headers, body, framing: "length".into(), interim: Vec::new() };
        let (id, sent, afterwards) = ("a".to_owned(), "GET /".to_owned(), "open".to_owned());
        Exchange { id, sent, answers: vec![answer], missing: None, afterwards }
    }

    fn kinds(left: &Exchange, right: &Exchange) -> Vec<String> {
        differences(left, right).into_keys().collect()
    }

    #[test]
    fn each_kind_is_told_by_its_name() {
        let plain = exchange(200, &[("x", "1")], "{\"a\":1,\"b\":\"ü\"}");
        assert_eq!(kinds(&plain, &plain), Vec::<String>::new());
        for (other, kind) in [
            (exchange(201, &[], ""), "status: 200 / 201"),
            (exchange(200, &[], "{\"a\":1,\"b\":\"ü\"}"), "field lost: x"),
            (exchange(200, &[("x", "1"), ("y", "2")], "{\"a\":1,\"b\":\"ü\"}"), "field added: y"),
            (exchange(200, &[("x", "2")], "{\"a\":1,\"b\":\"ü\"}"), "field value: x"),
            (exchange(200, &[("x", "1")], "{\"b\":\"ü\",\"a\":1}"), "JSON: order of keys"),
            (exchange(200, &[("x", "1")], "{\"a\":1,\"b\":\"\\u00fc\"}"), "JSON: escapes"),
            (exchange(200, &[("x", "1")], "{\"a\": 1, \"b\": \"ü\"}"), "JSON: white space"),
            (exchange(200, &[("x", "1")], "{\"a\":2,\"b\":\"ü\"}"), "JSON: values"),
            (exchange(200, &[("x", "1")], "text"), "content"),
        ] {
            assert_eq!(kinds(&plain, &other), [kind]);
        }
        assert_eq!(kinds(&exchange(200, &[], "[1.0]"), &exchange(200, &[], "[1]")), ["JSON: form of numbers"]);
        let mut closed = plain.clone();
        closed.afterwards = "closed".into();
        assert_eq!(kinds(&plain, &closed), ["connection: open / closed"]);
    }

    #[test]
    fn the_shortest_example_stands_for_its_group() {
        let (mut long, mut short) = (exchange(200, &[], "a"), exchange(200, &[], "a"));
        (long.id, long.sent) = ("long".into(), "GET /long".into());
        (short.id, short.sent) = ("short".into(), "GET /s".into());
        let (mut long_b, mut short_b) = (long.clone(), short.clone());
        (long_b.answers[0].status, short_b.answers[0].status) = (404, 404);
        let groups = compare(&[long, short], &[long_b, short_b]);
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].example.as_str(), groups[0].ids.len()), ("GET /s", 2));
    }
}
