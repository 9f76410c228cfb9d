//! What a mirror app is asked to do, and what it tells of it.
//!
//! A server for Python apps is judged from both of its sides. A case sends a *score* along with its request: the steps that the app
//! plays (`receive`, `send`, `yield`, `raise`…). The mirror app (`mirror/`) plays them and writes down what each gave or raised, as
//! JSON: in its answer where the score says `tell`, and always, line by line as it happens, in a file of a folder that the runner names
//! in the environment. The file is there when the answer is broken on purpose, and when another process of the server has played.
//!
//! This module makes the fields of the request, finds what was told, and holds it against rules. It knows nothing of WSGI or ASGI.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::template::{Values, expand};

/// The variable that names the folder to the app; a user who starts the server by hand sets it for the runner, too.
pub const FOLDER_VARIABLE: &str = "MIRROR_FOLDER";

/// How long what must be told may take.
const TOLD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after the rest is told something that must not be told is waited for.
const SETTLE: Duration = Duration::from_millis(60);

/// Rules for what was told: a path (`receive/gave/type`) to what must hold there.
pub type Told = BTreeMap<String, Rule>;

/// What must hold of one value that the mirror app told.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Rule {
    /// It is this.
    Flag(bool),
    /// It is this.
    Number(i64),
    /// It is this text.
    Text(String),
    /// It is this list.
    List(Vec<Value>),
    /// More than that.
    Holds(Box<Holds>),
}

// Read by hand, so that a mistake in a table is told, and not that no form fits.
impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Rule;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value, a list of values or a rule as a table")
            }

            fn visit_bool<E: Error>(self, given: bool) -> Result<Rule, E> {
                Ok(Rule::Flag(given))
            }

            fn visit_i64<E: Error>(self, given: i64) -> Result<Rule, E> {
                Ok(Rule::Number(given))
            }

            fn visit_str<E: Error>(self, given: &str) -> Result<Rule, E> {
                Ok(Rule::Text(given.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Rule, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Rule::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Rule, A::Error> {
                Holds::deserialize(MapAccessDeserializer::new(table)).map(|holds| Rule::Holds(Box::new(holds)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// What must hold of a value, where one value does not say it. All that is given must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a rule as a table")]
pub struct Holds {
    /// It is this value, as the mirror tells it: bytes are `{"bytes": "…"}`, tuples `{"tuple": […]}`.
    pub is: Option<Value>,
    /// It is one of these.
    pub one_of: Option<Vec<Value>>,
    /// It is a byte string with this content; templates are expanded.
    pub bytes: Option<String>,
    /// Its type: `str`, `bytes`, `int`, `float`, `bool`, `none`, `list`, `tuple`, `dict` or `object`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// It is not there.
    #[serde(default)]
    pub absent: bool,
    /// It may be absent; what else is said holds where it is there.
    #[serde(default)]
    pub optional: bool,
    /// A text or byte string that contains this, or a list with this element.
    pub contains: Option<Value>,
    /// A text or byte string without this, or a list without this element.
    pub lacks: Option<Value>,
    /// A number, or a length, of at least this.
    pub at_least: Option<f64>,
    /// A number, or a length, of at most this.
    pub at_most: Option<f64>,
    /// The step raised (`true`), or did not (`false`), or raised this class or one derived from it.
    pub raised: Option<Value>,
}

/// The field lines that carry a score and the name of the file for what is told.
pub fn fields(score: &[Value], call: &str) -> Vec<String> {
    if score.is_empty() {
        return Vec::new();
    }
    // ASCII, so that every server passes it on unchanged.
    let json = serde_json::to_string(score).expect("values are JSON");
    let ascii: String = json.chars().map(escaped).collect();
    vec![format!("Mirror-Score: {ascii}"), format!("Mirror-Call: {call}")]
}

fn escaped(char: char) -> String {
    if char.is_ascii() && !char.is_ascii_control() {
        return char.to_string();
    }
    let mut units = [0; 2];
    char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// A name that no other call has, for the file of what is told.
pub fn new_call() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("call-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Everything told so far in the file of this call.
pub fn read(folder: &Path, call: &str) -> Map<String, Value> {
    let text = std::fs::read(folder.join(format!("{call}.jsonl"))).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let mut told = Map::new();
    let mut order = Vec::new();
    for line in lines {
        for (label, value) in line {
            order.push(Value::String(label.clone()));
            told.insert(label, value);
        }
    }
    told.insert("order".into(), Value::Array(order));
    told
}

/// Lets a score go on that waits for this flag.
pub fn raise_flag(folder: &Path, call: &str, flag: &str) -> Result<(), String> {
    let path = folder.join(format!("{call}.flag-{flag}"));
    std::fs::write(&path, "").map_err(|error| format!("{}: {error}", path.display()))
}

/// Holds what is told in the file against the rules, and waits until they fit, or until they cannot any more.
///
/// `patience` is how long that may take; five seconds are enough for anybody.
pub fn check_file(rules: &Told, folder: &Path, call: &str, values: &Values, patience: Duration) -> Result<(), String> {
    let started = Instant::now();
    let patience = patience.min(TOLD_TIMEOUT);
    loop {
        let wrong = broken(rules, &read(folder, call), values);
        if wrong.is_empty() {
            break;
        }
        if started.elapsed() > patience {
            return Err(wrong.join("; "));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let negative = |rule: &Rule| matches!(rule, Rule::Holds(holds) if holds.absent || holds.lacks.is_some());
    if rules.values().any(negative) {
        std::thread::sleep(SETTLE);
        let wrong = broken(rules, &read(folder, call), values);
        return if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) };
    }
    Ok(())
}

/// Holds what the answer's content tells against the rules.
pub fn check_answer(rules: &Told, body: &[u8], values: &Values) -> Result<(), String> {
    let told: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("the content is not what the mirror app tells: {error}"))?;
    let wrong = broken(rules, &told, values);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// One sentence for each rule that does not hold.
pub fn broken(rules: &Told, told: &Map<String, Value>, values: &Values) -> Vec<String> {
    rules.iter().filter_map(|(path, rule)| wrong(path, at(told, path), rule, values)).collect()
}

/// The value at a path of names with `/` between them.
fn at<'a>(told: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('/');
    let mut value = told.get(parts.next()?)?;
    for part in parts {
        value = match value {
            Value::Object(map) => map.get(part)?,
            Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn wrong(path: &str, given: Option<&Value>, rule: &Rule, values: &Values) -> Option<String> {
    let shown = given.map_or("not there".to_owned(), |value| short(&value.to_string()));
    let equal = |wanted: Value| {
        if given == Some(&wanted) { None } else { Some(format!("{path} is {shown}, not {wanted}")) }
    };
    let holds = match rule {
        Rule::Flag(flag) => return equal(Value::Bool(*flag)),
        Rule::Number(number) => return equal(Value::from(*number)),
        Rule::Text(text) => return equal(Value::String(text.clone())),
        Rule::List(list) => return equal(Value::Array(list.clone())),
        Rule::Holds(holds) => holds,
    };
    let Some(given) = given else {
        return (!holds.absent && !holds.optional).then(|| format!("{path} is not there"));
    };
    let not = |what: String| Some(format!("{path} is {shown}, {what}"));
    if holds.absent {
        return not("but must not be there".into());
    }
    if let Some(wanted) = &holds.is
        && given != wanted
    {
        return not(format!("not {wanted}"));
    }
    if let Some(list) = &holds.one_of
        && !list.contains(given)
    {
        return not(format!("which is none of {}", Value::Array(list.clone())));
    }
    if let Some(bytes) = &holds.bytes {
        let wanted = match expand(bytes, values) {
            Ok(wanted) => wanted.iter().map(|byte| char::from(*byte)).collect::<String>(),
            Err(error) => return Some(error),
        };
        if given.get("bytes").and_then(Value::as_str) != Some(&wanted) {
            return not(format!("not the bytes {wanted:?}"));
        }
    }
    if let Some(kind) = &holds.kind
        && type_of(given) != kind
    {
        return not(format!("whose type is {}, not {kind}", type_of(given)));
    }
    if let Some(part) = &holds.contains
        && !contains(given, part)
    {
        return not(format!("without {part}"));
    }
    if let Some(part) = &holds.lacks
        && contains(given, part)
    {
        return not(format!("with {part}"));
    }
    let size = size(given);
    if holds.at_least.is_some_and(|least| size.is_none_or(|size| size < least)) {
        return not(format!("not at least {}", holds.at_least.unwrap_or_default()));
    }
    if holds.at_most.is_some_and(|most| size.is_none_or(|size| size > most)) {
        return not(format!("not at most {}", holds.at_most.unwrap_or_default()));
    }
    match &holds.raised {
        Some(wanted) if !has_raised(given, wanted) => not(match wanted {
            Value::Bool(true) => "but should have raised".into(),
            Value::Bool(false) => "but should not have raised".into(),
            wanted => format!("but should have raised {wanted}"),
        }),
        _ => None,
    }
}

/// The Python type of a value as the mirror tells it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "none",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(map) if map.contains_key("bytes") => "bytes",
        Value::Object(map) if map.contains_key("tuple") => "tuple",
        Value::Object(map) if map.contains_key("object") => "object",
        Value::Object(_) => "dict",
    }
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("bytes").and_then(Value::as_str))
}

fn list_of(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().or_else(|| value.get("tuple").and_then(Value::as_array))
}

fn contains(given: &Value, part: &Value) -> bool {
    if let (Some(text), Some(part)) = (text_of(given), part.as_str()) {
        return text.contains(part);
    }
    list_of(given).is_some_and(|list| list.contains(part))
}

fn size(value: &Value) -> Option<f64> {
    let length = text_of(value).map(|text| text.chars().count()).or(list_of(value).map(Vec::len));
    value.as_f64().or(length.map(|length| length as f64))
}

fn has_raised(outcome: &Value, wanted: &Value) -> bool {
    let classes = outcome.pointer("/raised/classes").and_then(Value::as_array);
    match wanted {
        Value::Bool(raised) => classes.is_some() == *raised,
        Value::Array(list) => list.iter().any(|one| classes.is_some_and(|classes| classes.contains(one))),
        one => classes.is_some_and(|classes| classes.contains(one)),
    }
}

fn short(text: &str) -> String {
    const SHOWN: usize = 300;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Map<String, Value> {
        serde_json::from_str(
            r#"{"got": {"a": "x", "b": {"bytes": "yé"}, "c": {"tuple": [1, 0]}, "n": null},
                "receive": {"gave": {"type": "http.request"}},
                "send": {"raised": {"classes": ["Lost", "OSError", "Exception"], "text": ""}}}"#,
        )
        .expect("JSON")
    }

    fn holds(rules: &str) -> bool {
        let rules: Told = toml::from_str(rules).expect("rules");
        broken(&rules, &told(), &Values::default()).is_empty()
    }

    #[test]
    fn each_rule_holds_or_is_told() {
        for good in [
            "'got/a' = 'x'",
            "'got/b' = { bytes = 'y<<hex e9>>', type = 'bytes', contains = 'y', lacks = 'z', at_least = 2 }",
            "'got/c' = { is = { tuple = [1, 0] }, type = 'tuple', contains = 1, at_most = 2 }",
            "'got/n' = { type = 'none' }",
            "'got/z' = { absent = true }",
            "'got/z' = { optional = true, type = 'str' }",
            "'receive/gave/type' = { one_of = ['http.request', 'q'] }",
            "receive = { raised = false }",
            "send = { raised = 'OSError' }",
            "send = { raised = ['ValueError', 'OSError'] }",
            "send = { raised = true }",
        ] {
            assert!(holds(good), "{good}");
        }
        for bad in [
            "'got/a' = 'y'",
            "'got/a' = true",
            "'got/a' = 1",
            "'got/a' = ['x']",
            "'got/b' = { bytes = 'y' }",
            "'got/b' = { type = 'str' }",
            "'got/a' = { contains = 'q' }",
            "'got/a' = { lacks = 'x' }",
            "'got/a' = { at_least = 2 }",
            "'got/a' = { at_most = 0 }",
            "'got/a' = { absent = true }",
            "'got/a' = { is = 'y' }",
            "'got/a' = { one_of = ['y'] }",
            "'got/z' = 'x'",
            "'got/z' = { type = 'str' }",
            "receive = { raised = true }",
            "send = { raised = false }",
            "send = { raised = 'ValueError' }",
            "close = { raised = false }",
        ] {
            assert!(!holds(bad), "{bad}");
        }
        let misspelt = toml::from_str::<Told>("'got/a' = { iss = 'x' }").expect_err("a misspelt rule");
        assert!(misspelt.to_string().contains("unknown field `iss`"), "{misspelt}");
    }

    #[test]
    fn a_score_is_one_field_of_ascii() {
        let score: Vec<Value> = serde_json::from_str(r#"[["yield", "é\r\n💡"]]"#).expect("JSON");
        let expected = r#"Mirror-Score: [["yield","\u00e9\r\n\ud83d\udca1"]]"#;
        assert_eq!(fields(&score, "c"), [expected.to_owned(), "Mirror-Call: c".into()]);
        assert_eq!(fields(&[], "c"), Vec::<String>::new());
    }

    #[test]
    fn a_file_is_read_up_to_its_last_whole_line() {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("c.jsonl"), "{\"a\": 1}\n{\"b\": 2}\n{\"c\"").expect("a file");
        let told = read(folder.path(), "c");
        assert_eq!(Value::Object(told), serde_json::json!({ "a": 1, "b": 2, "order": ["a", "b"] }));
    }
}
