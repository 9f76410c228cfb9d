//! What the log says: one line for each answer when asked for, and one line a second when accepting fails.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::testing::{World, ok, options};
use crate::server::{ACCESS_TARGET, ServerOptions};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The events that `act` logs, as JSON without their time.
fn logged(act: impl FnOnce()) -> Vec<Value> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = log.0.lock().unwrap().clone();
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
