//! Reports that put a failure beside the line that asks for it: SARIF 2.1.0, and the annotations of GitHub's workflows.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::case::Level;
use crate::verdict::{CaseResult, Run};

/// The deviations that nobody expected, and known ones that are none any more.
fn findings(run: &Run) -> impl Iterator<Item = &CaseResult> {
    run.results.iter().filter(|result| result.is_deviation() || result.is_unexpected_pass())
}

fn message(result: &CaseResult) -> String {
    if result.is_unexpected_pass() {
        return format!("{}: passes, and the expectations list it: take it out of them", result.title);
    }
    format!("{}: {}", result.title, result.reasons.join("; "))
}

/// SARIF 2.1.0: a rule for each case that failed, and its file and line as the place.
pub fn sarif(run: &Run) -> Value {
    let rules: Vec<Value> = findings(run)
        .map(|result| {
            json!({
                "id": result.id,
                "shortDescription": { "text": result.title },
                "fullDescription": { "text": format!("{} ({}, {})", result.title, result.level.name(), result.source) },
            })
        })
        .collect();
    let results: Vec<Value> = findings(run)
        .enumerate()
        .map(|(number, result)| {
            let level = match result.level {
                Level::Must => "error",
                Level::Should => "warning",
                Level::May => "note",
            };
            json!({
                "ruleId": result.id,
                "ruleIndex": number,
                "level": level,
                "message": { "text": message(result) },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": result.file },
                    "region": { "startLine": result.line.max(1) },
                } }],
                "partialFingerprints": { "case/v1": result.id },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "polygil-conformance",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "properties": { "server": run.server },
            "results": results,
        }],
    })
}

/// Workflow commands of GitHub Actions, one for each finding: an error for a MUST, a warning for a SHOULD, a notice for a MAY.
pub fn github(run: &Run) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for result in findings(run) {
        let kind = match result.level {
            Level::Must => "error",
            Level::Should => "warning",
            Level::May => "notice",
        };
        let (file, line, title) = (property(&result.file), result.line.max(1), property(&result.id));
        let _ = writeln!(text, "::{kind} file={file},line={line},title={title}::{}", data(&message(result)));
    }
    for id in &run.stale {
        let _ = writeln!(text, "::error title={}::the expectations name a case that does not exist", property(id));
    }
    text
}
