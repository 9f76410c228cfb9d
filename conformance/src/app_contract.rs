//! The contract of the app: which requests it answers how, so that an author in any language can serve it.
//!
//! `contract.toml` is the one place. The table in INTERPRETING.md and `contract.json` are made from it, and a run asks it first: what the
//! app lacks is told before the cases fail that need it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::response::{Response, lossy};
use crate::suite::parse_file;
use crate::template::{Values, request};

/// `contract.toml`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table with a list of `route`")]
pub struct AppContract {
    /// The rows, in the order in which a person would write the app.
    #[serde(rename = "route")]
    pub routes: Vec<Row>,
}

/// One request and its answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a route as a table")]
pub struct Row {
    /// The methods and the pattern.
    pub route: String,
    /// `METHOD target` of the example, where the route itself is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Field lines of the example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Content of the example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What to know beside the example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The answer, exactly.
    pub answer: Exact,
}

/// An answer of the app.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "an answer as a table")]
pub struct Exact {
    /// The status.
    pub status: u16,
    /// The Content-Type; without it there is none.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The content; without it and `contains`, the cases do not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Pieces of the content, where all of it differs from server to server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    /// Other fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl Row {
    /// `METHOD target` of the example.
    pub fn example(&self) -> &str {
        self.request.as_deref().unwrap_or(&self.route)
    }

    /// What of the answer is not as it must be; empty where all of it is.
    fn broken(&self, response: &Response) -> Vec<String> {
        let mut broken = Vec::new();
        let exact = &self.answer;
        if response.status != exact.status {
            broken.push(format!("gets {}, not {}", response.status, exact.status));
            return broken;
        }
        let media_type = response.values("content-type").next();
        if media_type != exact.media_type.as_deref() && exact.body.as_deref() != Some("") {
            broken.push(format!("Content-Type is {}", media_type.unwrap_or("missing")));
        }
        if let Some(body) = &exact.body
            && response.body != body.as_bytes()
        {
            broken.push(format!("content is {:?}", lossy(&response.body).chars().take(60).collect::<String>()));
        }
        for piece in &exact.contains {
            if !lossy(&response.body).contains(piece.as_str()) {
                broken.push(format!("content lacks {piece:?}"));
            }
        }
        for (name, value) in &exact.fields {
            if response.values(name).next() != Some(value) {
                broken.push(format!("{name} is not {value:?}"));
            }
        }
        broken
    }
}

/// What of the contract a server does not keep.
#[derive(Debug, Clone, Default)]
pub struct Lacks {
    /// The examples, each with what came instead.
    pub rows: Vec<String>,
    /// How many there are.
    pub of: usize,
}

impl AppContract {
    /// Reads the contract of this suite; a suite of one's own has none.
    pub fn load(root: &Path) -> Result<Self, String> {
        let path = root.join("contract.toml");
        if path.is_file() { parse_file(&path) } else { Ok(Self::default()) }
    }

    /// Asks each example on a connection of its own.
    pub fn ask(&self, address: SocketAddr, patience: Duration) -> Lacks {
        let values = Values { host: address.to_string(), ..Values::default() };
        let mut lacks = Lacks { rows: Vec::new(), of: self.routes.len() };
        for row in &self.routes {
            let told =
                match (request(row.example(), &row.headers, row.body.as_deref(), &values), Client::connect(address)) {
                    (Ok(bytes), Ok(mut client)) => {
                        client.send(&bytes, false);
                        let method = row.example().split(' ').next().unwrap_or("GET");
                        match client.answer(method, patience) {
                            Ok(response) => row.broken(&response),
                            Err(missing) => vec![missing.to_string()],
                        }
                    }
                    (Err(error), _) => vec![error],
                    (_, Err(error)) => vec![crate::preflight::of_io(&error)],
                };
            if !told.is_empty() {
                lacks.rows.push(format!("{} {}", row.example(), told.join(", ")));
            }
        }
        lacks
    }

    /// The table for INTERPRETING.md.
    pub fn markdown(&self) -> String {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', "\\n");
        let code = |text: &str| format!("`{}`", cell(text));
        let mut text = String::from("| route | request | answer | |\n|---|---|---|---|\n");
        for row in &self.routes {
            let mut example = code(row.example());
            for header in &row.headers {
                let _ = write!(example, " {}", code(header));
            }
            if let Some(body) = &row.body {
                let _ = write!(example, " with {}", code(body));
            }
            let mut answer = row.answer.status.to_string();
            if let Some(media_type) = &row.answer.media_type {
                let _ = write!(answer, " {media_type}");
            }
            match (&row.answer.body, &row.answer.contains[..]) {
                (Some(body), _) if body.is_empty() => answer.push_str(", empty"),
                (Some(body), _) => {
                    let _ = write!(answer, " {}", code(body));
                }
                (None, []) => {}
                (None, pieces) => {
                    let pieces: Vec<String> = pieces.iter().map(|piece| code(piece)).collect();
                    let _ = write!(answer, " with {}", pieces.join(" … "));
                }
            }
            for (name, value) in &row.answer.fields {
                let _ = write!(answer, ", {}", code(&format!("{name}: {value}")));
            }
            let about = cell(row.about.as_deref().unwrap_or(""));
            let _ = writeln!(text, "| {} | {example} | {answer} | {about} |", cell(&row.route));
        }
        text
    }

    /// The data.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.routes).expect("text is JSON") + "\n"
    }
}
