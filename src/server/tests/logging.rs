//! What the log says: one line for each answer when asked for, and one line a second when accepting fails.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::testing::{World, ok, options};
use crate::server::{ACCESS_TARGET, ServerOptions};

thread_local! {
    /// What this thread has logged, while somebody wants to know.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct ThreadLog;

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The events that `act` logs on this thread, as JSON without their time.
///
/// The subscriber is the whole process's and only the log is the thread's: with a subscriber of the thread's own, tracing may
/// remember an event as wanted by nobody when a test on another thread, which has none, comes to it first.
fn logged(act: impl FnOnce()) -> Vec<Value> {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| tracing_subscriber::fmt().json().without_time().with_writer(|| ThreadLog).init());
    LOG.set(Some(Vec::new()));
    act();
    let bytes = LOG.take().unwrap_or_default();
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn access(events: &[Value]) -> Vec<Value> {
    events.iter().filter(|event| event["target"] == ACCESS_TARGET).map(|event| event["fields"].clone()).collect()
}

fn traffic(options: ServerOptions) -> Vec<Value> {
    logged(|| {
        let mut world = World::with(options, 4);
        let client = world.client("GET /a?password=secret HTTP/1.1\r\nHost: x\r\n\r\n");
        world.advance(Duration::from_micros(1500));
        assert!(world.task().unwrap().reply.send(ok("hello")).is_ok());
        world.settle();
        world.send(&client, "NONSENSE\r\n\r\n");
    })
}

#[test]
fn the_access_log_has_a_line_for_each_answer() {
    let events = traffic(ServerOptions { access_log: true, ..options() });
    let lines = access(&events);
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        json!({
            "message": "GET /a 200", "method": "GET", "path": "/a", "status": 200, "bytes": 5,
            "duration_us": 1500, "request_id": "t-1", "client": "unix",
        })
    );
    assert_eq!((&lines[1]["message"], &lines[1]["request_id"]), (&json!("- - 400"), &json!("t-2")));
    assert!(!format!("{events:?}").contains("secret"));
}

#[test]
fn it_is_silent_when_off() {
    assert_eq!(access(&traffic(options())), Vec::<Value>::new());
}

#[test]
fn accept_errors_are_logged_once_a_second() {
    let events = logged(|| {
        let world = World::new();
        for _ in 0..20 {
            world.listener.fail(24);
        }
        for _ in 0..300 {
            world.advance(Duration::from_millis(10));
        }
    });
    let unlogged: Vec<&Value> =
        events.iter().map(|event| &event["fields"]["unlogged"]).filter(|n| n.is_u64()).collect();
    // At 0 s; at 1.27 s, after those at 10, 30, 70, 150, 310 and 630 ms; at 2.27 s.
    assert_eq!(unlogged, [0, 6, 0]);
}

#[test]
fn a_connection_that_closes_on_unanswered_requests_says_why() {
    let events = logged(|| {
        let world = World::new();
        let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        client.reset();
        world.settle();
    });
    let fields = &events.last().unwrap()["fields"];
    assert_eq!((&fields["reason"], &fields["unanswered"]), (&json!("reset"), &json!(1)));
}
