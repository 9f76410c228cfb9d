//! Peers that are slow: each wait has its end, and its answer where one can be given.

use std::time::Duration;

use super::{failure, plain};
use crate::server::ServerOptions;
use crate::server::testing::{World, ok, options};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_connection_closes_without_a_word() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.advance(20 * SECOND);
    world.work();
    assert!(client.text().starts_with("HTTP/1.1 200 "));
    world.advance(75 * SECOND - MS);
    assert!(!client.is_closed());
    world.advance(MS);
    assert!(client.is_closed());
    assert_eq!(client.text(), "");
    assert_eq!(world.app.stats().connections_closed_by_reason.get("idle"), 1);
    world.check_balance();
}

#[test]
fn the_idle_time_begins_when_the_answer_is_written() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.set_capacity(100);
    assert!(world.task().unwrap().reply.send(ok("x".repeat(1000))).is_ok());
    world.settle();
    // A slow reader: a piece every ten seconds, so that its answer takes longer than a connection may be idle.
    let mut taken = 0;
    while world.app.stats().requests_answered == 0 {
        world.advance(10 * SECOND);
        taken += client.take(100).len();
        world.settle();
    }
    world.advance(75 * SECOND - MS);
    taken += client.take(usize::MAX).len();
    assert!(taken > 1000 && !client.is_closed());
    world.advance(MS);
    assert!(client.is_closed());
}

#[test]
fn a_slow_head_is_408_counted_from_its_first_byte() {
    let world = World::new();
    let client = world.connect();
    world.advance(70 * SECOND);
    world.send(&client, "GET /a HTTP/1.1\r\nX: ");
    for _ in 0..9 {
        world.advance(SECOND);
        world.send(&client, "x");
    }
    world.advance(SECOND - MS);
    assert_eq!(client.text(), "");
    world.advance(MS);
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (408, true, "request_timeout"));
    assert!(client.saw_end());
    world.advance(2 * SECOND);
    assert!(client.is_closed());
    let stats = world.app.stats();
    assert_eq!((stats.requests_received, stats.requests_answered), (1, 1));
    world.check_balance();
}

/// An empty line between requests begins none, wherever it is cut: the connection stays idle, and the next head has all of its time.
#[test]
fn an_empty_line_is_idle_time_however_it_is_cut() {
    for pieces in [&["\r\n"][..], &["\r", "\n"], &["\r", "\n\r", "\n"]] {
        let mut world = World::new();
        let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        world.work();
        assert_eq!(client.text(), plain("/a "));
        pieces.iter().for_each(|piece| world.send(&client, piece));
        world.advance(9 * SECOND);
        world.send(&client, "GET /b HTTP/1.1\r\n");
        world.advance(9 * SECOND);
        world.send(&client, "Host: x\r\n\r\n");
        world.work();
        assert_eq!(client.text(), plain("/b ").replace(":37 GMT", ":55 GMT"), "{pieces:?}");
        pieces.iter().for_each(|piece| world.send(&client, piece));
        world.advance(75 * SECOND);
        assert!(client.is_closed());
        assert_eq!(client.text(), "", "{pieces:?}: closed without a word");
    }
}

#[test]
fn a_body_without_progress_is_408() {
    let mut world = World::new();
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nh");
    world.advance(19 * SECOND);
    world.send(&client, "e");
    world.advance(20 * SECOND - MS);
    assert_eq!(client.text(), "");
    world.advance(MS);
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (408, true, "request_timeout"));
    assert!(world.task().is_none());
    world.check_balance();
}

#[test]
fn a_body_below_the_minimum_rate_is_408() {
    let world = World::with(ServerOptions { min_body_rate: 10, ..options() }, 4);
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    // One byte a second earns a tenth of a second each: 20 s, and a little more than 2 s on top.
    let mut seconds = 0;
    while client.text().is_empty() {
        world.advance(SECOND);
        world.send(&client, "x");
        seconds += 1;
        assert!(seconds < 100, "never cut");
    }
    assert_eq!(seconds, 23);
}

#[test]
fn a_body_at_the_minimum_rate_is_read_to_its_end() {
    let mut world = World::with(ServerOptions { min_body_rate: 10, ..options() }, 4);
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..100 {
        world.advance(SECOND);
        world.send(&client, "0123456789");
    }
    world.work();
    assert!(client.text().starts_with("HTTP/1.1 200 "));
}

/// However steadily it comes, a request has an end: a client at the minimum rate could else keep its place for hours.
#[test]
fn a_body_that_keeps_its_rate_is_408_at_the_request_timeout() {
    let world = World::with(ServerOptions { min_body_rate: 1, request_timeout: 30 * SECOND, ..options() }, 4);
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..29 {
        world.advance(SECOND);
        world.send(&client, "0123456789");
    }
    world.advance(SECOND - MS);
    assert_eq!(client.text(), "");
    world.advance(MS);
    let text = client.text();
    let (status, close, _, error, detail) = failure(&text);
    assert_eq!((status, close, error.as_str()), (408, true, "request_timeout"));
    assert_eq!(detail, "the request took longer to come than the request timeout");
    world.check_balance();
}

#[test]
fn a_peer_that_does_not_take_its_answer_is_left() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.set_capacity(100);
    assert!(world.task().unwrap().reply.send(ok("x".repeat(1000))).is_ok());
    world.settle();
    world.advance(14 * SECOND);
    // Progress earns more time.
    client.take(1);
    world.settle();
    world.advance(15 * SECOND - MS);
    assert!(!client.is_closed());
    world.advance(MS);
    assert!(client.is_closed());
    let stats = world.app.stats();
    assert_eq!(stats.connections_closed_by_reason.get("write_timeout"), 1);
    assert_eq!((stats.requests_answered, stats.requests_dropped), (0, 1));
    world.check_balance();
}

#[test]
fn a_slow_reader_is_held_to_the_minimum_rate_too() {
    let mut world = World::with(ServerOptions { min_body_rate: 10, ..options() }, 4);
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.set_capacity(100);
    assert!(world.task().unwrap().reply.send(ok("x".repeat(100_000))).is_ok());
    world.settle();
    let mut seconds = 0;
    while !client.is_closed() {
        client.take(1);
        world.advance(SECOND);
        seconds += 1;
        assert!(seconds < 200, "never cut");
    }
    // 15 s, 10 s for the first 100 bytes, and a tenth of a second for each byte since.
    assert!((25..30).contains(&seconds), "{seconds}");
}

#[test]
fn the_timer_is_armed_anew_only_when_it_must_be() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    let armed = world.clock.armed();
    // An hour of a request a second.
    for _ in 0..3600 {
        world.advance(SECOND);
        world.send(&client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        world.work();
    }
    client.text();
    assert!(world.clock.armed() - armed < 3600 / 10, "{}", world.clock.armed() - armed);
    world.advance(75 * SECOND);
    assert!(client.is_closed());
}
