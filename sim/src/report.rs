//! Runs and summaries as text, for people.

use std::fmt::Write;

use crate::explore::Summary;
use crate::trace::{Entry, Kind};
use crate::world::Outcome;

/// A duration in nanoseconds, in the unit that suits it.
pub fn time(ns: u64) -> String {
    match ns {
        0..=9_999 => format!("{ns} ns"),
        10_000..=9_999_999 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000_000..=9_999_999_999 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// One step, in words.
pub fn step(entry: &Entry) -> String {
    let Entry { kind, a, b, .. } = *entry;
    match kind {
        Kind::Poll => format!("task {a} is polled ({b} ready)"),
        Kind::Connect => format!("connection {a}: client {b} connects"),
        Kind::Accept => format!("connection {a}: accepted ({b} left in the backlog)"),
        Kind::AcceptError => format!("accept fails with errno {a}"),
        Kind::Refused if b == 0 => format!("connection {a}: refused"),
        Kind::Refused => format!("connection {a}: no room in the backlog, tries again"),
        Kind::Send => format!("connection {a}: client sends {b} bytes"),
        Kind::Arrive => format!("connection {a}: {b} bytes arrive at the server"),
        Kind::Read => format!("connection {a}: server reads {b} bytes"),
        Kind::Write => format!("connection {a}: server writes {b} bytes"),
        Kind::Receive => format!("connection {a}: {b} bytes arrive at the client"),
        Kind::Answer => format!("connection {a}: request {} is answered {}", b >> 16, b & 0xFFFF),
        Kind::ClientEnd => format!("connection {a}: client ends its half"),
        Kind::ServerEnd => format!("connection {a}: server ends its half"),
        Kind::ServerDrop => format!("connection {a}: server lets go ({b} bytes unread)"),
        Kind::Reset if b == 0 => format!("connection {a}: client resets"),
        Kind::Reset => format!("connection {a}: reset by the server's side"),
        Kind::Run => format!("worker {a}: begins request {b}"),
        Kind::Done => format!("worker {a}: ends request {}", b >> 8),
        Kind::Sleep => format!("worker {a}: sleeps"),
        Kind::Wake => format!("worker {a}: is woken"),
        Kind::Die => format!("worker {a}: dies with request {b}"),
        Kind::Interrupt => format!("worker {a}: is interrupted in request {b}"),
        Kind::Abandon => format!("worker {a}: is given up with request {b}"),
        Kind::Stream => {
            let what = [
                "begins the content",
                "gives a piece",
                "ends the content",
                "breaks off the content",
                "is not wanted for the rest",
            ];
            format!("worker {a}: {} of request {}", what[(b as usize & 0xff).min(4)], b >> 8)
        }
        Kind::Io => {
            let what = ["does the I/O", "gives the I/O back", "has the I/O taken from it", "leaves the I/O"];
            format!("worker {a}: {}", what[b.min(3) as usize])
        }
        Kind::Replace => format!("lane {a}: gets a new worker (replacement {b})"),
        Kind::Exit => format!("worker {a}: exits"),
        Kind::Signal => format!("signal {a}"),
        Kind::GiveUp => format!("the drain is cut short: {a} requests are answered for"),
        Kind::Ended => {
            format!("the server ends ({}), {b} unfinished", ["finished", "deadline", "signal"][(a as usize).min(2)])
        }
        Kind::Heal => "the faults are over".to_owned(),
        Kind::Jump => format!("nothing to do for {}", time(b)),
        Kind::Fault => format!("connection {a}: fault {b}"),
    }
}

/// The timeline of a run, the last `steps_max` steps of it.
pub fn timeline(outcome: &Outcome, steps_max: usize) -> String {
    let mut text = String::new();
    let from = outcome.trace.len().saturating_sub(steps_max);
    if from > 0 {
        let _ = writeln!(text, "… {from} steps before these; --steps {} shows all", outcome.trace.len());
    }
    for entry in &outcome.trace[from..] {
        let _ = writeln!(text, "{:>14.6} ms  {}", entry.at as f64 / 1e6, step(entry));
    }
    text
}

/// How a run went.
pub fn outcome(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut options = outcome.options.clone();
    let fields: Vec<String> = options.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(text, "seed {}\noptions {}", outcome.options.seed, fields.join(" "));
    let _ = writeln!(
        text,
        "{} requests sent, {} answered, {} steps, {} of virtual time, the first overtaken {} times at most",
        outcome.requests,
        outcome.answers,
        outcome.steps,
        time(outcome.virtual_ns),
        outcome.overtaken_max
    );
    let statuses: Vec<String> =
        outcome.statuses.iter().map(|((status, code), count)| format!("{status} {code} {count}×")).collect();
    let _ = writeln!(text, "answers: {}", statuses.join(", "));
    let closed: Vec<String> = outcome.closed.iter().map(|(reason, count)| format!("{reason} {count}×")).collect();
    let _ = writeln!(text, "closed: {}", closed.join(", "));
    let _ = writeln!(text, "reached: {}", outcome.marks.join("; "));
    let _ = writeln!(text, "trace hash {:016x}", outcome.trace_hash);
    let _ = match &outcome.failure {
        None => writeln!(text, "every oracle held"),
        Some(failure) => writeln!(text, "FAILED after {}: {}: {}", time(failure.at_ns), failure.oracle, failure.detail),
    };
    text
}

/// How many runs went.
pub fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let ranges: Vec<String> = summary.ranges.iter().map(|(from, to)| format!("{from}..{to}")).collect();
    let _ = writeln!(text, "seeds {}: {} run, {} failed", ranges.join(" "), summary.seeds, summary.failures);
    let _ = writeln!(
        text,
        "{} requests, {} answers; {} answers/s per core with every oracle on, {} seeds/min, {}× real time",
        summary.requests,
        summary.answers,
        summary.requests_per_second_per_core,
        summary.seeds_per_minute,
        summary.times_real_time
    );
    let all = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| format!("  {count:>10}  {name}\n")).collect::<String>()
    };
    let _ = write!(text, "answers\n{}closed connections\n{}", all(&summary.statuses), all(&summary.closed));
    let _ = write!(text, "runs that reached\n{}", all(&summary.marks));
    let _ = writeln!(text, "trace hash {}", summary.trace_hash);
    for failed in &summary.failed {
        let _ = writeln!(
            text,
            "FAILED seed {}: {}: {}\n  {}",
            failed.seed, failed.failure.oracle, failed.failure.detail, failed.command
        );
    }
    text
}
