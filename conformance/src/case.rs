//! The case format: what a file under `cases/` may say, and nothing else.
//!
//! A file is one topic of one suite. Each case sends bytes and says which answers are right; defaults at the top of the file keep a
//! case to its own few lines. Unknown keys are errors, so that a misspelt expectation cannot pass by being ignored. The JSON Schema in
//! `schema/case.schema.json` is made from these types, and INTERPRETING.md says in words what each key means.
//!
//! It only describes: templates are expanded in [`template`](crate::template), answers are judged in [`judge`](crate::judge).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{frames, score};

/// One topic of a suite: one TOML file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a topic as a table")]
pub struct CaseFile {
    /// The suite: `dispatch`, `conversion`, `http`, `lifecycle`, `wsgi` or `asgi`. It is the directory of the file, too.
    pub suite: String,
    /// The topic, which is the name of the file.
    pub topic: String,
    /// One or two sentences: what the cases have in common.
    pub about: String,
    /// What holds for each case that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// What cases of a file have in common.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "defaults as a table")]
pub struct Defaults {
    /// See [`Case::level`].
    pub level: Option<Level>,
    /// See [`Case::source`].
    pub source: Option<String>,
    /// See [`Case::setup`].
    pub setup: Option<String>,
    /// See [`Case::expect`].
    pub expect: Option<Answers>,
    /// See [`Case::after`].
    pub after: Option<After>,
    /// See [`Case::lenient`].
    #[serde(default)]
    pub lenient: Vec<Outcome>,
    /// See [`Case::unimplemented`].
    #[serde(default)]
    pub unimplemented: Vec<Outcome>,
}

/// How binding the rule is that a case tests, in the words of RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Breaking it is an error.
    Must,
    /// Breaking it needs a reason.
    Should,
    /// Both are allowed; the case says which one is meant.
    May,
}

impl Level {
    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::May => "MAY",
        }
    }
}

/// One exchange, or a few, and what must come of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a case as a table")]
pub struct Case {
    /// Its name within the file, in lower case with hyphens; `suite/topic/id` is its full id.
    pub id: String,
    /// What must hold, as one sentence.
    pub title: String,
    /// How binding it is.
    pub level: Option<Level>,
    /// Where the rule stands: an RFC with its section, a PEP, or `contract` with the table.
    pub source: Option<String>,
    /// The setup of `setups.toml` under which the server runs; `default` without one.
    pub setup: Option<String>,
    /// Whether the case needs a server process of its own: it ends it, or changes what others would see.
    #[serde(default)]
    pub alone: bool,
    /// `METHOD target`, for a request that is not about bytes: Host, `headers` and the length of `body` are added.
    pub request: Option<String>,
    /// Field lines of `request`, without line ends.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What a mirror app plays, step by step; see MIRROR.md. `<<score>>` is where `send` has it.
    #[serde(default)]
    pub score: Vec<Value>,
    /// What the mirror app must tell of it: a path to a rule.
    #[serde(default)]
    pub told: score::Told,
    /// Content of `request`.
    pub body: Option<String>,
    /// The bytes to send, exactly, in one write. `<<…>>` are templates; see INTERPRETING.md.
    pub send: Option<String>,
    /// Send byte by byte, each with a write of its own.
    #[serde(default)]
    pub bytewise: bool,
    /// Say that nothing more will be sent (shut down the writing side) behind the last byte.
    #[serde(default)]
    pub half_close: bool,
    /// The right answer, or the right answers in order.
    pub expect: Option<Answers>,
    /// What must hold of the connection afterwards; `open` without one.
    pub after: Option<After>,
    /// Other outcomes that are right, too.
    #[serde(default)]
    pub or: Vec<Outcome>,
    /// Outcomes that a lenient server may give; they pass, and are counted apart.
    #[serde(default)]
    pub lenient: Vec<Outcome>,
    /// Outcomes of a server that does not have the feature.
    #[serde(default)]
    pub unimplemented: Vec<Outcome>,
    /// For what one write and its answers cannot say: steps, in order. Excludes `request`, `send`, `or`, `lenient`.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Milliseconds to wait for each answer; 10000 without it.
    pub within_ms: Option<u64>,
}

/// The answers to expect: one, or several in order. None at all is `[]`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum Answers {
    /// Several, in order.
    Many(Vec<Expect>),
    /// One.
    One(Box<Expect>),
}

impl Answers {
    /// Them, in order.
    pub fn list(&self) -> &[Expect] {
        match self {
            Answers::Many(list) => list,
            Answers::One(one) => std::slice::from_ref(one),
        }
    }
}

/// An outcome other than the first one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an outcome as a table")]
pub struct Outcome {
    /// The answers.
    pub expect: Answers,
    /// What the mirror app must tell.
    #[serde(default)]
    pub told: score::Told,
    /// What must hold of the connection afterwards; `open` without one.
    #[serde(default)]
    pub after: After,
}

/// What holds of a connection behind the last answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// Another request on it gets its right answer.
    #[default]
    Open,
    /// Nothing more comes, and the server closes it within two seconds.
    Closed,
    /// Either.
    Any,
}

/// What an answer must look like. What is not named is not judged, but for the rules that hold for each answer: see INTERPRETING.md.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an expectation as a table")]
pub struct Expect {
    /// The status code; a list of them; or a class such as `"4xx"`.
    pub status: Option<Statuses>,
    /// Field name (any case) to what must hold of it.
    #[serde(default)]
    pub headers: BTreeMap<String, Field>,
    /// As `headers`, for the trailer fields.
    #[serde(default)]
    pub trailers: BTreeMap<String, Field>,
    /// The content, exactly; templates are expanded.
    pub body: Option<String>,
    /// Pieces that the content must contain, in any order.
    #[serde(default)]
    pub contains: Vec<String>,
    /// JSON that the content must be, as a value: the order of keys and white space do not matter.
    pub json: Option<String>,
    /// The content is JSON whose `error` is this code.
    pub error: Option<String>,
    /// The length of the content, in bytes.
    pub length: Option<u64>,
    /// How the end of the content is told.
    pub framing: Option<Framing>,
    /// The connection ends before the content's end is told, so that nobody takes it for whole.
    #[serde(default)]
    pub cut: bool,
    /// The interim answers (1xx) before it, in order; without it, any.
    pub interim: Option<Vec<u16>>,
    /// The method that it answers; without it, that of the first request sent for the first answer, and GET for the others.
    pub to: Option<String>,
}

/// A set of status codes.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum Statuses {
    /// This one.
    One(u16),
    /// One of these.
    Many(Vec<u16>),
    /// A class: `"2xx"`, `"4xx"`…
    Class(String),
}

impl Statuses {
    /// Whether `status` is in the set.
    pub fn contains(&self, status: u16) -> bool {
        match self {
            Statuses::One(one) => *one == status,
            Statuses::Many(many) => many.contains(&status),
            Statuses::Class(class) => {
                class.len() == 3 && class.ends_with("xx") && class.starts_with(&(status / 100).to_string())
            }
        }
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Statuses::One(one) => write!(f, "{one}"),
            Statuses::Many(many) => write!(f, "one of {many:?}"),
            Statuses::Class(class) => write!(f, "{class}"),
        }
    }
}

/// What must hold of a field.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum Field {
    /// `true`: it is there. `false`: it is not.
    Present(bool),
    /// It is there once, with this value.
    Is(String),
    /// More than that.
    Rule(FieldRule),
}

/// What must hold of a field, where one value does not say it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a rule as a table")]
pub struct FieldRule {
    /// Its values, one for each line of that name, in order.
    pub values: Option<Vec<String>>,
    /// The members of its comma-separated list, in any order and any case.
    pub members: Option<Vec<String>>,
    /// The value contains this, in any case.
    pub contains: Option<String>,
    /// The value is one of these, in any case; or the field is absent where `""` is among them.
    pub one_of: Option<Vec<String>>,
    /// The value is a date in the preferred format (RFC 9110, 5.6.7).
    #[serde(default)]
    pub date: bool,
}

impl FieldRule {
    /// The rule as a part of a sentence.
    pub fn words(&self) -> String {
        let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if let Some(values) = &self.values {
            parts.push(format!("lines with the values {}", list(values)));
        }
        if let Some(members) = &self.members {
            parts.push(format!("a list of the members {}", list(members)));
        }
        if let Some(part) = &self.contains {
            parts.push(format!("something that contains {part:?}"));
        }
        if let Some(words) = &self.one_of {
            parts.push(format!("one of {}", list(words)));
        }
        if self.date {
            parts.push("a date such as \"Sun, 06 Nov 1994 08:49:37 GMT\"".into());
        }
        parts.join(", and ")
    }
}

/// How the end of an answer's content is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// By Content-Length.
    Length,
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection.
    Close,
    /// There can be none: HEAD, 1xx, 204, 304.
    None,
}

impl Framing {
    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Framing::Length => "length",
            Framing::Chunked => "chunked",
            Framing::Close => "close",
            Framing::None => "none",
        }
    }
}

/// One step. It does what its keys say, in the order in which they are listed here.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a step as a table")]
pub struct Step {
    /// The connection it is about, by a name of the case's own; it is opened where it is named first.
    pub on: Option<String>,
    /// Milliseconds to wait before anything else.
    pub pause_ms: Option<u64>,
    /// See [`Case::request`].
    pub request: Option<String>,
    /// Field lines of `request`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// See [`Case::score`].
    #[serde(default)]
    pub score: Vec<Value>,
    /// The call that `score`, `flag` and `told` are about, by a name of the case's own; the connection's without it. `lifespan` is the
    /// lifespan of the server.
    pub call: Option<String>,
    /// Content of `request`.
    pub body: Option<String>,
    /// The bytes to send, exactly.
    pub send: Option<String>,
    /// Byte by byte.
    #[serde(default)]
    pub bytewise: bool,
    /// Shut down the writing side.
    #[serde(default)]
    pub half_close: bool,
    /// Close the connection with a reset, without reading.
    #[serde(default)]
    pub abort: bool,
    /// Close the socket, both ways at once; what the server sends from now on is answered by a reset.
    #[serde(default)]
    pub leave: bool,
    /// Wait until what came and is not read yet contains these bytes.
    pub arrives: Option<String>,
    /// Let the score go on that waits for this flag.
    pub flag: Option<String>,
    /// What the mirror app must have told by now, or tells soon.
    #[serde(default)]
    pub told: score::Told,
    /// Read a WebSocket message, and judge it.
    pub message: Option<frames::Expected>,
    /// Milliseconds in which nothing may arrive, and the connection stays open.
    pub silent_ms: Option<u64>,
    /// Read an answer, and judge it.
    pub expect: Option<Expect>,
    /// What must hold of the connection now.
    pub after: Option<After>,
    /// Many requests on many connections.
    pub load: Option<Load>,
    /// Start another server with this setup, and expect it to end by itself.
    pub start: Option<Start>,
    /// Send a signal to the server: `TERM`, `INT`, `HUP` or `KILL`.
    pub signal: Option<String>,
    /// The server ends by itself within thirty seconds, with any exit code.
    #[serde(default)]
    pub ends: bool,
    /// The server ends by itself within thirty seconds, with this exit code.
    pub exit: Option<i32>,
    /// Wait, up to ten seconds, until the server's output contains this.
    pub log: Option<String>,
    /// The server's output does not contain this.
    pub no_log: Option<String>,
    /// Start the server anew, on the same port, with the same setup.
    #[serde(default)]
    pub restart: bool,
}

/// Requests on several connections at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a load as a table")]
pub struct Load {
    /// Connections, each with its own thread.
    pub connections: usize,
    /// Requests on each, one after the other.
    pub each: usize,
    /// `METHOD target`; `<<n>>` is the number of the request, different for each.
    pub request: String,
    /// Content; `<<n>>` again.
    pub body: Option<String>,
    /// What each answer must be one of; `<<n>>` again.
    pub expect: Answers,
    /// For each of `expect`, how many answers it has at least; without it, none.
    #[serde(default)]
    pub at_least: Vec<usize>,
    /// The whole load takes no longer than this, in milliseconds.
    pub within_ms: Option<u64>,
}

/// A start that fails.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a start as a table")]
pub struct Start {
    /// The setup of `setups.toml`.
    pub setup: String,
    /// The exit code; any without it.
    pub exit: Option<i32>,
    /// What the output must contain.
    #[serde(default)]
    pub output: Vec<String>,
}
