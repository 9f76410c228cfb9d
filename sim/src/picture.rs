//! A run as a picture: a trace that opens in Perfetto (Chrome's trace event format), and a page that plays it.
//!
//! In the trace each worker, each connection and each queue has a track of its own; handlers and exchanges are slices, the depths of
//! the queues and the tasks that run are counters, the rest are instants. The page needs nothing but itself: it holds the same steps and draws clients,
//! connections and workers as time passes, for those who learn how the server works.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::report;
use crate::trace::{Entry, Kind};
use crate::world::Outcome;

/// Tracks of workers and of connections are processes of their own, so that viewers group them.
const WORKERS: u64 = 1;
const CONNECTIONS: u64 = 2;
const SERVER: u64 = 3;
const QUEUES: u64 = 4;

/// The run in Chrome's trace event format.
pub fn perfetto(outcome: &Outcome) -> Value {
    let mut events = vec![
        json!({"ph": "M", "name": "process_name", "pid": WORKERS, "args": {"name": "workers"}}),
        json!({"ph": "M", "name": "process_name", "pid": CONNECTIONS, "args": {"name": "connections"}}),
        json!({"ph": "M", "name": "process_name", "pid": SERVER, "args": {"name": "server"}}),
        json!({"ph": "M", "name": "process_name", "pid": QUEUES, "args": {"name": "queues"}}),
    ];
    let workers = outcome.options.workers as usize;
    for change in &outcome.depths {
        let name = if change.queue == workers { "overflow".to_owned() } else { format!("lane {}", change.queue) };
        let (ts, args) = (change.at as f64 / 1000.0, json!({"tasks": change.depth}));
        events.push(json!({"ph": "C", "pid": QUEUES, "tid": change.queue, "ts": ts, "name": name, "args": args}));
    }
    let mut running = 0_i64;
    let mut open: BTreeMap<u64, bool> = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    for entry in &outcome.trace {
        let at = entry.at as f64 / 1000.0;
        let slice = |ph: &str, pid: u64, tid: u64, name: String| json!({"ph": ph, "pid": pid, "tid": tid, "ts": at, "name": name});
        let instant = |pid: u64, tid: u64| json!({"ph": "i", "s": "t", "pid": pid, "tid": tid, "ts": at, "name": report::step(entry)});
        match entry.kind {
            Kind::Run => {
                running += 1;
                open.insert(entry.a, true);
                events.push(slice("B", WORKERS, entry.a, format!("request {}", entry.b)));
            }
            // A content that is made while it is sent ends its task.
            Kind::Stream if entry.b & 0xff < 2 => events.push(instant(WORKERS, entry.a)),
            Kind::Done | Kind::Die | Kind::Exit | Kind::Stream if open.remove(&entry.a).is_some() => {
                running -= 1;
                events.push(slice("E", WORKERS, entry.a, String::new()));
            }
            Kind::Accept => {
                accepted.insert(entry.a);
                events.push(slice("B", CONNECTIONS, entry.a, format!("connection {}", entry.a)));
            }
            Kind::ServerDrop if accepted.remove(&entry.a) => {
                events.push(slice("E", CONNECTIONS, entry.a, String::new()));
            }
            Kind::Sleep | Kind::Wake | Kind::Interrupt | Kind::Abandon | Kind::Io | Kind::Stream => {
                events.push(instant(WORKERS, entry.a))
            }
            Kind::Poll | Kind::Jump => continue,
            Kind::Signal | Kind::GiveUp | Kind::Ended | Kind::Heal | Kind::Replace | Kind::AcceptError => {
                events.push(instant(SERVER, 0));
            }
            _ => events.push(instant(CONNECTIONS, entry.a)),
        }
        if matches!(entry.kind, Kind::Run | Kind::Done | Kind::Die | Kind::Exit | Kind::Stream) {
            let args = json!({"tasks": running});
            events.push(json!({"ph": "C", "pid": SERVER, "ts": at, "name": "handlers that run", "args": args}));
        }
    }
    // What is still open when the run ends.
    let end = outcome.virtual_ns as f64 / 1000.0;
    for (pid, tid) in open.keys().map(|tid| (WORKERS, tid)).chain(accepted.iter().map(|tid| (CONNECTIONS, tid))) {
        events.push(json!({"ph": "E", "pid": pid, "tid": tid, "ts": end, "name": ""}));
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}

/// Steps that the page shows at most: beyond it a page gets slow to load.
const PAGE_STEPS_MAX: usize = 50_000;

/// The run as a page that needs nothing else.
pub fn page(outcome: &Outcome) -> String {
    let shown = |entry: &&Entry| !matches!(entry.kind, Kind::Poll | Kind::Jump);
    let mut steps: Vec<(u64, Value)> = outcome
        .trace
        .iter()
        .filter(shown)
        .take(PAGE_STEPS_MAX)
        .map(|entry| (entry.at, json!([entry.at, entry.kind, entry.a, entry.b, report::step(entry)])))
        .collect();
    let end = steps.last().map_or(0, |(at, _)| *at);
    let depths = outcome.depths.iter().filter(|change| change.at <= end);
    steps.extend(depths.map(|change| (change.at, json!([change.at, "queue", change.queue, change.depth, ""]))));
    // Stable: a queue's new depth stands behind the steps of the same time.
    steps.sort_by_key(|(at, _)| *at);
    let steps: Vec<Value> = steps.into_iter().map(|(_, step)| step).collect();
    let data = json!({
        "seed": outcome.options.seed,
        "workers": outcome.options.workers,
        "failure": outcome.failure.as_ref().map(|failure| format!("{}: {}", failure.oracle, failure.detail)),
        "hash": format!("{:016x}", outcome.trace_hash),
        "steps": steps,
    });
    // What stands inside a script element may not end it.
    let data = data.to_string().replace("</", "<\\/");
    include_str!("page.html").replace("\"DATA\"", &data)
}
