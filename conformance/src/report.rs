//! Reports of a run: for a person, as JSON, TAP, and JUnit XML.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::causes;
use crate::client::Event;
use crate::exec::shown;
use crate::response::latin1;
use crate::verdict::{CaseResult, Run, Verdict};

/// How many failures that look alike are shown in full, unless all are asked for.
const ALIKE_MAX: usize = 3;

/// What a person reads: the sums, by topic and by cause; then deviations with what was sent, what came back and which rule that breaks; the
/// sums again.
pub fn human(run: &Run, verbose: bool) -> String {
    let mut text = String::new();
    if run.results.iter().any(CaseResult::is_deviation) {
        text.push_str(&summary(run));
        text.push_str(&causes::summary(&run.results, 8));
        text.push('\n');
    }
    text.push_str(&details(run, verbose));
    text.push_str(&summary(run));
    text
}

/// Deviations in full: all, or the first few of those that look alike.
pub fn details(run: &Run, verbose: bool) -> String {
    let mut text = String::new();
    let causes = causes::causes(&run.results);
    let is_one_more =
        |result: &CaseResult| causes.iter().any(|cause| cause.ids.iter().skip(ALIKE_MAX).any(|id| *id == result.id));
    let mut left_out = 0;
    for result in &run.results {
        let shown = result.is_deviation() || result.is_unexpected_pass() || (verbose && !result.verdict.passes());
        if shown && !verbose && is_one_more(result) {
            left_out += 1;
        } else if shown {
            one(&mut text, result);
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "{left_out} further failures look like one of these: --verbose shows them, too\n");
    }
    for id in &run.stale {
        let _ = writeln!(text, "STALE         {id}: the expectations name a case that does not exist\n");
    }
    text
}

/// One line: how many cases came to what.
pub fn summary(run: &Run) -> String {
    let mut text = String::new();
    let counts = run.counts();
    let count = |verdict| counts.get(&verdict).copied().unwrap_or(0);
    let known = run.results.iter().filter(|result| !result.verdict.passes() && result.known.is_some()).count();
    let _ = writeln!(
        text,
        "{}: {} of {} cases passed ({} ok, {} lenient), {} failed, {} unimplemented, {known} of these known; {} not run",
        run.server,
        run.passed(),
        run.total(),
        count(Verdict::Ok),
        count(Verdict::Lenient),
        count(Verdict::Failed),
        count(Verdict::Unimplemented),
        count(Verdict::Skipped),
    );
    text
}

fn one(text: &mut String, result: &CaseResult) {
    let heading = if result.is_unexpected_pass() { "PASSES" } else { result.verdict.name() };
    let _ =
        writeln!(text, "{:<13} {}  [{}, {}]", heading.to_uppercase(), result.id, result.level.name(), result.source);
    let _ = writeln!(text, "  rule        {}", result.title);
    if result.is_unexpected_pass() {
        let known = result.known.as_deref().unwrap_or("");
        let _ = writeln!(text, "  known as    {known}\n  so          take it out of the expectations");
    }
    for reason in &result.reasons {
        let _ = writeln!(text, "  broken      {}", reason.replace('\n', "\n              "));
    }
    if let Some(known) = &result.known {
        let _ = writeln!(text, "  known       {known}");
    }
    for (name, events) in &result.exchange {
        for line in shown(events) {
            let _ = writeln!(text, "  {name:<3} {line}");
        }
    }
    let _ = writeln!(text, "  connection  {}\n", result.ending);
}

/// `total`, `passed`, the count of each verdict, and under `cases` each case by its id.
pub fn json(run: &Run) -> Value {
    let counts: serde_json::Map<_, _> =
        run.counts().into_iter().map(|(verdict, count)| (verdict.name().to_owned(), count.into())).collect();
    let cases: serde_json::Map<_, _> = run
        .results
        .iter()
        .map(|result| {
            let value = json!({
                "verdict": result.verdict,
                "level": result.level,
                "title": result.title,
                "source": result.source,
                "file": result.file,
                "line": result.line,
                "connection": result.ending,
                "reasons": result.reasons,
                "known": result.known,
                "took_ms": result.took_ms,
                "exchange": exchange(result),
            });
            (result.id.clone(), value)
        })
        .collect();
    json!({
        "server": run.server,
        "total": run.total(),
        "passed": run.passed(),
        "as_expected": run.is_as_expected(),
        "counts": counts,
        "stale": run.stale,
        "cases": cases,
    })
}

/// What happened on each connection, in order. Bytes are text in which each character is one byte (ISO-8859-1), so that nothing is lost.
fn exchange(result: &CaseResult) -> Value {
    // Content of megabytes tells nothing that its start does not.
    const KEPT: usize = 64 * 1024;
    let bytes = |name: &str, bytes: &[u8]| {
        let kept = latin1(&bytes[..bytes.len().min(KEPT)]);
        json!({ name: kept, "bytes": bytes.len() })
    };
    let event = |event: &Event| match event {
        Event::Sent(sent) => bytes("sent", sent),
        Event::Received(received) => bytes("received", received),
        Event::HalfClosed => json!({ "done": "no more will be sent" }),
        Event::Aborted => json!({ "done": "given up" }),
        Event::Ended(ending) => json!({ "ended": ending }),
    };
    let connection = |(name, events): &(String, Vec<Event>)| json!({ "connection": name, "events": events.iter().map(event).collect::<Vec<_>>() });
    result.exchange.iter().map(connection).collect()
}

/// TAP version 14: known deviations are `TODO`, cases that were not run are `SKIP`.
pub fn tap(run: &Run) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", run.results.len());
    for (number, result) in run.results.iter().enumerate() {
        let ok = result.verdict.passes() || result.verdict == Verdict::Skipped;
        let directive = match (&result.known, result.verdict) {
            (_, Verdict::Skipped) => format!(" # SKIP {}", result.reasons.join("; ")),
            (Some(known), _) => format!(" # TODO {known}"),
            _ => String::new(),
        };
        let directive = directive.replace('\n', " ");
        let _ = writeln!(text, "{} {} - {}{directive}", if ok { "ok" } else { "not ok" }, number + 1, result.id);
        for reason in result.reasons.iter().filter(|_| !ok) {
            let _ = writeln!(text, "# {}", reason.replace('\n', "\n# "));
        }
    }
    text
}

/// JUnit XML: one suite for each suite; a known deviation is skipped, with its reason.
pub fn junit(run: &Run) -> Result<String, String> {
    use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
    let mut report = Report::new(format!("conformance of {}", run.server));
    let mut suites: Vec<TestSuite> = Vec::new();
    for result in &run.results {
        let mut status = match (result.verdict, &result.known) {
            (_, Some(_)) if result.is_unexpected_pass() => TestCaseStatus::non_success(NonSuccessKind::Failure),
            (verdict, _) if verdict.passes() => TestCaseStatus::success(),
            (Verdict::Skipped, _) | (_, Some(_)) => TestCaseStatus::skipped(),
            _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
        };
        let message = match &result.known {
            Some(known) if result.is_unexpected_pass() => format!("passes, and is known as a deviation: {known}"),
            Some(known) => known.clone(),
            None => result.reasons.join("; "),
        };
        status.set_message(message);
        let mut text = String::new();
        one(&mut text, result);
        if !result.verdict.passes() {
            status.set_description(text);
        }
        let mut case = TestCase::new(result.id.clone(), status);
        case.set_classname(format!("{}.{}", result.suite, result.level.name()))
            .set_time(std::time::Duration::from_millis(result.took_ms));
        match suites.iter_mut().find(|suite| suite.name.as_str() == result.suite) {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(result.suite.clone());
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string().map_err(|error| error.to_string())
}
