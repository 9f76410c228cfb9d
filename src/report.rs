//! What `polygil check` says: a verdict per route, for a person and for a pipeline.
//!
//! Pure text: the verdicts are found in `python`, in a real sub-interpreter, or come with the route (a name that no other
//! interpreter can reach). A start that fails because handlers are missing prints the same report.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::router::RouteSpec;

/// One route and what became of its handler's name.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The route's method.
    pub method: String,
    /// The route's path pattern.
    pub path: String,
    /// Where the handler is looked for.
    pub module: String,
    /// Its qualified name in there.
    pub function: String,
    /// Where the route was registered: `file:line`.
    pub origin: String,
    /// `ok`, `module_not_found`, `import_failed`, `function_not_found`, `not_callable` or `unreachable`.
    pub verdict: String,
    /// What is wrong, in one line; empty when nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The extension's library, the import chain, the ways out, the traceback: whatever applies.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// All verdicts of a target.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was checked, as given.
    pub target: String,
    /// Whether every route has its handler, and there is one.
    pub ok: bool,
    /// In the order of registration.
    pub routes: Vec<Verdict>,
    /// What kept it from running; none where it ran.
    pub errors: Vec<Mistake>,
    /// How it holds against a contract, where one is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<Changes>,
}

/// What kept a command from running.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mistake {
    /// `module_not_found`, `import_failed`, `function_not_found`, `not_an_app`, `shadowed`, `route_conflict`, or `could_not_run`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Python's traceback, where something raised; else empty.
    #[serde(default)]
    pub traceback: Option<String>,
}

/// What differs between a contract and the target.
#[derive(Debug, Clone, Serialize)]
pub struct Changes {
    /// The contract's file, as given.
    pub file: String,
    /// The differences, in the contract's order.
    pub differences: Vec<Change>,
}

/// One difference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// `route_gone`, `route_new`, `handler`, `unreadable`, `timeout`, or `parameter_` with `gone`, `new`, `place`, `type`, `required`, `default`.
    pub kind: String,
    /// The route: method and path.
    pub route: String,
    /// What it was, and what it is.
    pub message: String,
}

/// One line of JSON for a command that could not run.
pub fn could_not_run(target: &str, errors: &[Mistake]) -> String {
    serde_json::json!({ "target": target, "ok": false, "routes": [], "errors": errors }).to_string()
}

/// One line of JSON for a table of routes, which is JSON already.
pub fn table_json(target: &str, routes: &str) -> String {
    format!("{{\"target\":{},\"ok\":true,\"routes\":{routes},\"errors\":[]}}", Value::from(target))
}

impl Verdict {
    /// The verdict `ok`, to be changed where it is not.
    pub fn ok(route: &RouteSpec) -> Self {
        Self {
            method: route.method.clone(),
            path: route.pattern.clone(),
            module: route.module.clone(),
            function: route.qualname.clone(),
            origin: route.origin.clone(),
            verdict: "ok".into(),
            message: String::new(),
            details: Value::Null,
        }
    }

    /// A failing verdict with its message and details.
    pub fn failing(route: &RouteSpec, verdict: &str, message: &str, details: Value) -> Self {
        Self { verdict: verdict.into(), message: message.into(), details, ..Self::ok(route) }
    }

    fn is_ok(&self) -> bool {
        self.verdict == "ok"
    }
}

impl Report {
    /// The report of these verdicts.
    pub fn new(target: &str, routes: Vec<Verdict>) -> Self {
        let ok = !routes.is_empty() && routes.iter().all(Verdict::is_ok);
        Self { target: target.into(), ok, routes, errors: Vec::new(), contract: None }
    }

    /// The report, held against a contract.
    pub fn against(self, contract: Changes) -> Self {
        Self { ok: self.ok && contract.differences.is_empty(), contract: Some(contract), ..self }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and JSON values always serialize")
    }

    /// A table, with what a person needs to mend it under each failing line.
    pub fn text(&self) -> String {
        let width = |of: fn(&Verdict) -> usize| self.routes.iter().map(of).max().unwrap_or(0);
        let verdict_width = width(|route| route.verdict.len());
        let method_width = width(|route| route.method.len());
        let path_width = width(|route| route.path.chars().count());
        let mut text = String::new();
        for route in &self.routes {
            let Verdict { verdict, method, path, module, function, origin, .. } = route;
            let line = format!(
                "{verdict:verdict_width$}  {method:method_width$}  {path:path_width$}  {module}:{function}  ({origin})\n"
            );
            text.push_str(&line);
            if !route.is_ok() {
                explain(route, &mut text);
            }
        }
        let failing = self.routes.iter().filter(|route| !route.is_ok()).count();
        let count = self.routes.len();
        let plural = if count == 1 { "" } else { "s" };
        if count == 0 {
            text.push_str(&no_routes(&self.target));
        } else {
            writeln!(text, "{count} route{plural} in {}: {} ok, {failing} failing", self.target, count - failing)
                .expect("writing to a String does not fail");
        }
        if let Some(contract) = &self.contract {
            let count = contract.differences.len();
            let plural = if count == 1 { "" } else { "s" };
            text.push_str(&format!("{count} difference{plural} from {}\n", contract.file));
            for change in &contract.differences {
                text.push_str(&format!("    {}: {}\n", change.route, change.message));
            }
            if count > 0 {
                let write = format!("polygil contract {} > {}", self.target, contract.file);
                text.push_str(&format!("    where they are meant, write it anew: {write}\n"));
            }
        }
        text
    }
}

/// What is said of a target without a route.
pub fn no_routes(target: &str) -> String {
    format!("{target} has no routes: every request would be answered with 404; register one, @app.get(\"/\")\n")
}

fn explain(route: &Verdict, text: &mut String) {
    let mut line = |indent: usize, words: &str| {
        text.push_str(&" ".repeat(indent));
        text.push_str(words);
        text.push('\n');
    };
    for words in route.message.lines() {
        line(4, words);
    }
    let details = &route.details;
    if let Some(library) = details["library"].as_str() {
        line(4, &format!("library: {library}"));
    }
    let chain = details["import_chain"].as_array().map_or(&[][..], Vec::as_slice);
    if !chain.is_empty() {
        line(4, "imported by:");
    }
    for step in chain {
        let place = format!("{}:{}", step["file"].as_str().unwrap_or("?"), step["line"]);
        line(6, &format!("{place}  {}", step["code"].as_str().unwrap_or("")));
    }
    let advice = details["advice"].as_array().map_or(&[][..], Vec::as_slice);
    if !advice.is_empty() {
        line(4, "ways out:");
    }
    for way in advice {
        line(6, &format!("- {}", way.as_str().unwrap_or("")));
    }
}
