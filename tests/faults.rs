//! Handlers that do their worst, on real CPython: what their client gets, what becomes of their worker, and that the requests which
//! another worker serves meanwhile go on as if nothing were. `cargo bench --bench pool -- faults` tells how much they notice.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Server, request};
use serde_json::Value;

/// What becomes of the worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Worker {
    /// The same interpreter goes on.
    GoesOn,
    /// Another interpreter has its place.
    Replaced,
}
use Worker::{GoesOn, Replaced};

/// Handler, status, error code (or the content, of a 200), what the log must say, the worker's fate.
const FAULTS: [(&str, u16, &str, &str, Worker); 19] = [
    ("/spin", 504, "handler_timeout", "in spin", GoesOn),
    ("/stuck", 504, "handler_timeout", "in stuck", Replaced),
    ("/stuck/holding", 504, "handler_timeout", "GET /stuck/holding", Replaced),
    ("/stubborn", 504, "handler_timeout", "in stubborn", Replaced),
    ("/recursion", 500, "handler_raised", "RecursionError", GoesOn),
    ("/list", 200, "134217728", "", GoesOn),
    ("/raise/exit", 500, "handler_raised", "SystemExit: 3", GoesOn),
    ("/raise/base", 500, "handler_raised", "faults.Unusual: boo", GoesOn),
    ("/raise/interrupt", 500, "handler_raised", "KeyboardInterrupt", GoesOn),
    ("/exit", 500, "handler_raised", "os._exit() would end every worker, not just the handler", GoesOn),
    ("/abort", 500, "handler_raised", "os.abort() would end every worker, not just the handler", GoesOn),
    ("/threads", 200, "4", "", GoesOn),
    ("/asyncio", 200, "true", "", GoesOn),
    ("/asyncio/pending", 200, "left", "", GoesOn),
    ("/fork", 500, "handler_raised", "RuntimeError: fork not supported for isolated subinterpreters", GoesOn),
    (
        "/fork/multiprocessing",
        500,
        "handler_raised",
        "RuntimeError: fork not supported for isolated subinterpreters",
        GoesOn,
    ),
    ("/daemon", 200, "started", "keep the worker's interpreter alive", GoesOn),
    ("/nowhere", 404, "not_found", "", GoesOn),
    ("/quick", 200, "ok", "", GoesOn),
];

#[test]
fn each_fault_costs_its_own_request_and_at_most_its_own_worker() {
    for (target, status, expected, logged, worker) in FAULTS {
        let server = Server::start("faults:app", &["--workers", "1", "--interrupt-grace", "300ms"]);
        let before = server.get("/count").json();
        let answer = server.get(target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        match status {
            200 => assert_eq!(answer.text(), expected, "{target}"),
            _ => assert_eq!(answer.json()["error"], expected, "{target}"),
        }
        let after = server.get("/count").json();
        match worker {
            GoesOn => assert_eq!(after, counted(&before["thread"], 2), "{target}: the same interpreter goes on"),
            Replaced => {
                assert_ne!(after["thread"], before["thread"], "{target}: another thread has its place");
                assert_eq!(after["count"], 1, "{target}: with globals of its own");
            }
        }
        let (exit, log) = server.stop();
        assert!(log.contains(logged), "{target}: the log says {logged:?}:\n{log}");
        // A handler that is stuck in C cannot be ended; the process says so, and exits without finalizing Python.
        let left_behind = log.contains("interpreters are left behind");
        assert_eq!(left_behind, worker == Replaced, "{target}:\n{log}");
        assert_eq!(exit.code(), Some(i32::from(left_behind)), "{target}:\n{log}");
    }
}

fn counted(thread: &Value, count: u64) -> Value {
    serde_json::json!({ "thread": thread, "count": count })
}

#[test]
fn requests_beside_a_fault_are_all_answered() {
    for (target, status, ..) in FAULTS {
        let server = Server::start("faults:app", &["--workers", "2", "--interrupt-grace", "300ms"]);
        let over = AtomicBool::new(false);
        let beside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let witness = scope.spawn(|| {
                let mut client = server.connect();
                while !over.load(Ordering::Relaxed) {
                    client.send(&request("GET", "/quick", &[], b""));
                    let answer = client.answer("GET");
                    assert_eq!((answer.status, answer.text()), (200, "ok"), "beside {target}");
                    beside.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..3 {
                assert_eq!(server.get(target).status, status, "{target}");
            }
            let so_far = beside.load(Ordering::Relaxed);
            while beside.load(Ordering::Relaxed) == so_far && !witness.is_finished() {
                std::thread::yield_now();
            }
            over.store(true, Ordering::Relaxed);
            witness.join().expect("each was answered");
        });
    }
}

#[test]
fn the_memory_of_a_gibibyte_is_given_back() {
    let server = Server::start("faults:app", &["--workers", "1"]);
    assert_eq!(server.get("/quick").status, 200);
    let before = server.resident_kib();
    for _ in 0..3 {
        assert_eq!(server.get("/list").text(), "134217728");
    }
    let (after, peak) = (server.resident_kib(), server.peak_resident_kib());
    assert!(peak > before + 900 * 1024, "it was there: {peak} KiB at the peak");
    assert!(after < before + 64 * 1024, "{before} KiB before, {after} KiB after");
}

/// Fails where an abandoned handler that computes on competes with its replacement as an equal.
#[cfg(target_os = "linux")]
#[test]
fn an_abandoned_thread_lets_everybody_else_go_first() {
    let server = Server::start("faults:app", &["--workers", "1", "--interrupt-grace", "100ms"]);
    let before = server.get("/count").json();
    let nice = |thread: &Value| {
        let path = format!("/proc/{}/task/{thread}/stat", server.pid());
        let stat = std::fs::read_to_string(path).expect("the thread lives");
        // The name, in parentheses, may hold spaces; nice is the 19th field, and so the 17th after it.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.split_whitespace().nth(16).expect("19 fields").parse::<i32>().expect("a number")
    };
    let usual = nice(&before["thread"]);
    assert_eq!(server.get("/stubborn?seconds=300").status, 504);
    let after = server.get("/count").json();
    assert_eq!((nice(&before["thread"]), nice(&after["thread"])), (19, usual));
}
