//! The end: what was accepted is answered, what cannot be is named.

use std::time::Duration;

use super::{failure, plain, plain_last};
use crate::server::testing::{World, ok};
use crate::server::{DrainEnd, Signal, Unfinished};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn with_nothing_to_do_it_ends_at_once() {
    let world = World::new();
    world.signal(Signal::TERMINATE);
    let report = world.report();
    assert_eq!((report.ended, report.took, report.unfinished), (DrainEnd::Finished, Duration::ZERO, vec![]));
}

#[test]
fn other_signals_change_nothing() {
    let world = World::new();
    world.signal(Signal(28));
    world.signal(Signal(0));
    assert!(!world.is_finished() && !world.listener.is_closed());
}

#[test]
fn a_request_in_flight_finishes_and_is_told_to_close() {
    let mut world = World::new();
    let client = world.client(GET);
    let task = world.task().unwrap();
    world.signal(Signal::TERMINATE);
    assert!(world.listener.is_closed());
    assert!(!world.is_finished());
    world.advance(10 * SECOND);
    assert!(task.reply.send(ok("/a ")).is_ok());
    world.settle();
    assert!(client.text().contains("\r\nconnection: close\r\n"));
    client.close_write();
    let report = world.report();
    assert_eq!((report.ended, report.took), (DrainEnd::Finished, 10 * SECOND));
    assert_eq!((report.stats.requests_answered, report.stats.connections_active), (1, 0));
}

#[test]
fn long_idle_connections_close_at_once() {
    let world = World::new();
    let client = world.connect();
    world.advance(SECOND);
    world.signal(Signal::INTERRUPT);
    assert!(client.is_closed());
    let report = world.report();
    assert_eq!(report.took, Duration::ZERO);
    assert_eq!(report.stats.connections_closed_by_reason.get("drained"), 1);
}

#[test]
fn a_request_that_is_there_when_the_drain_begins_is_served() {
    let mut world = World::new();
    let client = world.connect();
    world.advance(SECOND);
    // Both happen before the connection's task runs again.
    client.send(GET);
    world.signal(Signal::TERMINATE);
    world.work();
    assert!(client.text().contains("\r\nconnection: close\r\n"));
}

#[test]
fn a_client_that_was_just_answered_may_ask_once_more() {
    let mut world = World::new();
    let client = world.client(GET);
    world.work();
    assert_eq!(client.text(), plain("/a "));
    world.signal(Signal::TERMINATE);
    assert!(!client.is_closed());
    world.send(&client, GET);
    world.work();
    assert_eq!(client.text(), plain_last("/a "));
    let quiet = world.listener.is_closed();
    assert!(quiet);
    client.close_write();
    assert_eq!(world.report().ended, DrainEnd::Finished);
}

#[test]
fn but_not_for_long() {
    let mut world = World::new();
    let client = world.client(GET);
    world.work();
    world.signal(Signal::TERMINATE);
    world.advance(Duration::from_millis(249));
    assert!(!client.is_closed());
    world.advance(Duration::from_millis(1));
    assert!(client.is_closed());
    assert_eq!(world.report().took, Duration::from_millis(250));
}

#[test]
fn the_backlog_is_served() {
    let mut world = World::new();
    let clients: Vec<_> = (0..4).map(|_| world.listener.connect()).collect();
    clients.iter().for_each(|client| client.send(GET));
    // Nothing has been accepted when the signal comes.
    assert_eq!(world.app.stats().connections_accepted, 0);
    world.signal(Signal::TERMINATE);
    for client in &clients {
        world.work();
        assert_eq!(client.text(), plain_last("/a "));
        client.close_write();
    }
    let report = world.report();
    assert_eq!((report.ended, report.stats.requests_answered), (DrainEnd::Finished, 4));
}

#[test]
fn the_backlog_is_served_although_the_limit_of_connections_is_reached() {
    let options = crate::server::ServerOptions { max_connections: 1, ..crate::server::testing::options() };
    let mut world = World::with(options, 4);
    let clients: Vec<_> = (0..3).map(|_| world.client(GET)).collect();
    world.signal(Signal::TERMINATE);
    for client in &clients {
        world.work();
        assert_eq!(client.text(), plain_last("/a "));
        client.close_write();
        world.settle();
    }
    assert_eq!(world.report().stats.requests_answered, 3);
}

#[test]
fn a_handshake_that_is_under_way_is_waited_for() {
    let mut world = World::new();
    world.listener.has_handshakes();
    let early = world.connect();
    world.signal(Signal::TERMINATE);
    world.advance(Duration::from_millis(99));
    let late = world.client(GET);
    world.work();
    assert_eq!(late.text(), plain_last("/a "));
    assert!(!world.listener.is_closed());
    world.advance(Duration::from_millis(1));
    assert!(world.listener.is_closed());
    late.close_write();
    world.advance(Duration::from_millis(150));
    assert!(early.is_closed());
    assert_eq!(world.report().ended, DrainEnd::Finished);
}

#[test]
fn handshakes_are_not_waited_for_when_nobody_came_of_late() {
    let world = World::new();
    world.listener.has_handshakes();
    let _early = world.connect();
    world.advance(SECOND);
    world.signal(Signal::TERMINATE);
    assert_eq!(world.report().took, Duration::ZERO);
}

#[test]
fn clients_that_keep_coming_do_not_put_the_end_off() {
    let world = World::new();
    let clients: Vec<_> = (0..100).map(|_| world.listener.connect()).collect();
    world.signal(Signal::TERMINATE);
    assert!(world.listener.is_closed());
    assert!(world.listener.accepts() < 40, "{}", world.listener.accepts());
    drop(clients);
}

#[test]
fn what_was_pipelined_before_is_served() {
    let mut world = World::new();
    let client = world.client(GET.repeat(3));
    world.signal(Signal::TERMINATE);
    for _ in 0..3 {
        world.work();
    }
    assert_eq!(client.text(), [plain("/a "), plain("/a "), plain_last("/a ")].concat());
    assert!(client.saw_end());
}

#[test]
fn a_pipeline_without_end_is_ended() {
    let mut world = World::new();
    let client = world.client(GET.repeat(100));
    world.signal(Signal::TERMINATE);
    world.work();
    world.advance(30 * SECOND);
    world.work();
    assert!(!client.saw_end());
    world.advance(Duration::from_nanos(1));
    world.work();
    assert!(client.saw_end());
}

#[test]
fn what_does_not_finish_is_named() {
    let mut world = World::new();
    let client = world.client(GET);
    let _task = world.task().unwrap();
    world.advance(5 * SECOND);
    let other = world.client("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    world.advance(SECOND);
    world.signal(Signal::TERMINATE);
    world.advance(10 * SECOND);
    world.send(&other, "h");
    world.advance(19 * SECOND);
    world.send(&other, "e");
    world.advance(19 * SECOND);
    world.send(&other, "l");
    world.advance(12 * SECOND);
    assert!(client.is_closed() && other.is_closed());
    let unfinished = |request: &str, route: &str, seconds| Unfinished {
        request: request.to_owned(),
        route: Some(route.to_owned()),
        since: seconds * SECOND,
    };
    world.check_balance();
    let report = world.report();
    assert_eq!((report.ended, report.took), (DrainEnd::Deadline, 60 * SECOND));
    assert_eq!(report.unfinished, [unfinished("t-1", "GET /{name}", 66), unfinished("t-2", "POST /{name}", 61)]);
    assert_eq!(report.stats.requests_dropped_by_reason.get("drain_deadline"), 2);
}

#[test]
fn a_second_signal_means_now() {
    let mut world = World::new();
    let client = world.client(GET);
    let _task = world.task().unwrap();
    world.signal(Signal::TERMINATE);
    world.advance(SECOND);
    assert!(!client.is_closed());
    world.signal(Signal::TERMINATE);
    assert!(client.is_closed());
    let report = world.report();
    assert_eq!((report.ended, report.took, report.unfinished.len()), (DrainEnd::Signal, SECOND, 1));
}

#[test]
fn what_still_runs_is_answered_before_it_is_cut() {
    let mut world = World::new();
    let client = world.client(GET);
    let task = world.task().unwrap();
    world.running.lock().unwrap().push(task);
    let idle_in_head = world.client("GET /b");
    world.signal(Signal::TERMINATE);
    world.signal(Signal::TERMINATE);
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (500, true, "worker_lost"));
    assert!(client.saw_end() && !world.is_finished());
    client.close_write();
    world.advance(SECOND);
    assert!(idle_in_head.is_closed());
    let report = world.report();
    assert_eq!((report.ended, report.unfinished.len()), (DrainEnd::Signal, 1));
    assert_eq!((report.stats.requests_answered, report.stats.requests_dropped), (1, 0));
}

#[test]
fn quit_does_not_drain() {
    let world = World::new();
    let client = world.client(GET);
    world.signal(Signal::QUIT);
    assert!(client.is_closed());
    assert_eq!(world.report().ended, DrainEnd::Signal);
}

#[test]
fn now_ends_every_kind_of_wait() {
    let mut world = World::new();
    let stalled = world.client(GET);
    stalled.set_capacity(10);
    world.work();
    let lingering = world.client("BAD\r\n\r\n");
    let idle = world.connect();
    let in_head = world.client("GET /a");
    let in_body = world.client("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    world.signal(Signal::QUIT);
    for client in [stalled, lingering, idle, in_head, in_body] {
        assert!(client.is_closed());
    }
    world.check_balance();
    assert_eq!(world.report().stats.connections_active, 0);
}
