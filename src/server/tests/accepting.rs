//! The accept loop: limits, and errors that must neither end it nor make it spin.

use std::time::Duration;

use super::plain;
use crate::server::ServerOptions;
use crate::server::testing::{World, options};

const EMFILE: i32 = 24;
const ECONNABORTED: i32 = 103;
const MS: Duration = Duration::from_millis(1);
const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn over_the_limit_clients_wait_and_are_not_reset() {
    let mut world = World::with(ServerOptions { max_connections: 2, ..options() }, 4);
    let clients: Vec<_> = (0..4).map(|_| world.client(GET)).collect();
    assert_eq!(world.app.stats().connections_accepted, 2);
    world.work();
    world.work();
    assert!(world.task().is_none());
    clients[0].close_write();
    clients[1].reset();
    world.settle();
    assert_eq!(world.app.stats().connections_accepted, 4);
    world.work();
    world.work();
    assert_eq!(clients[3].text(), plain("/a "));
    world.check_balance();
}

/// Who only holds a connection keeps nobody out: at the limit, whoever has been idle longest makes way for one who waits.
#[test]
fn at_the_limit_whoever_is_idle_longest_makes_way_for_who_waits() {
    let mut world = World::with(ServerOptions { max_connections: 3, ..options() }, 4);
    let silent = world.connect();
    world.advance(MS);
    let used = world.client(GET);
    world.work();
    let busy = world.client(GET);
    assert!(used.text().ends_with("\r\n\r\n/a "));
    // As long as nobody waits, nobody has to go.
    world.advance(5000 * MS);
    assert!(!silent.is_closed() && !used.is_closed());
    let first = world.client(GET);
    world.advance(50 * MS);
    assert!(silent.is_closed() && !used.is_closed());
    assert_eq!(silent.text(), "", "as at the end of its idle time");
    let second = world.client(GET);
    world.advance(50 * MS);
    assert!(used.is_closed());
    // Now each has a request, or has had an answer only now.
    let third = world.client(GET);
    world.advance(5000 * MS);
    assert_eq!(world.app.stats().connections_active, 3);
    for client in [&busy, &first, &second] {
        world.work();
        assert!(client.text().ends_with("\r\n\r\n/a ") && !client.is_closed());
    }
    world.advance(249 * MS);
    assert_eq!(world.app.stats().connections_accepted, 5);
    world.advance(50 * MS);
    assert!(busy.is_closed() && !first.is_closed() && !second.is_closed());
    world.work();
    assert!(third.text().ends_with("\r\n\r\n/a "));
    assert_eq!(world.app.stats().connections_closed_by_reason.get("idle"), 3);
    world.check_balance();
}

/// A request that comes with the order to leave is served.
#[test]
fn a_request_that_is_there_in_time_keeps_its_connection() {
    let mut world = World::with(ServerOptions { max_connections: 1, ..options() }, 4);
    let client = world.connect();
    world.advance(5000 * MS);
    let waiting = world.listener.connect();
    client.send(GET);
    world.settle();
    assert!(!client.is_closed());
    world.work();
    assert!(client.text().ends_with("\r\n\r\n/a "));
    world.advance(200 * MS);
    assert!(!client.is_closed(), "the order was for the time before");
    world.advance(50 * MS);
    assert!(client.is_closed() && !waiting.is_closed());
    world.check_balance();
}

#[test]
fn without_descriptors_it_pauses_longer_and_longer_and_lives_on() {
    let mut world = World::new();
    for _ in 0..10 {
        world.listener.fail(EMFILE);
    }
    world.settle();
    assert_eq!(world.listener.accepts(), 1);
    let mut waited = Duration::ZERO;
    while world.listener.accepts() < 10 {
        world.advance(Duration::from_millis(10));
        waited += Duration::from_millis(10);
    }
    // 10 + 20 + 40 + 80 + 160 + 320 + 640 + 1000 + 1000
    assert_eq!(waited, Duration::from_millis(3270));
    let client = world.listener.connect();
    world.settle();
    world.advance(Duration::from_secs(1));
    world.send(&client, GET);
    world.work();
    assert!(client.text().ends_with("\r\n\r\n/a "));
    assert_eq!(world.app.stats().accept_errors, 10);
}

#[test]
fn a_descriptor_that_comes_back_ends_the_pause() {
    let world = World::new();
    let first = world.connect();
    world.listener.fail(EMFILE);
    world.settle();
    world.listener.connect();
    world.settle();
    assert_eq!(world.app.stats().connections_accepted, 1);
    first.close_write();
    world.settle();
    assert_eq!(world.app.stats().connections_accepted, 2);
}

#[test]
fn an_aborted_connection_costs_no_pause() {
    let mut world = World::new();
    for _ in 0..100 {
        world.listener.fail(ECONNABORTED);
    }
    let client = world.client(GET);
    world.work();
    assert_eq!(client.text(), plain("/a "));
    assert_eq!(world.app.stats().accept_errors, 100);
}

#[test]
fn a_drain_ends_a_pause() {
    let world = World::new();
    world.listener.fail(EMFILE);
    world.settle();
    world.signal(crate::server::Signal::TERMINATE);
    assert!(world.listener.is_closed());
    assert!(world.is_finished());
}

#[test]
fn every_failed_accept_of_a_drain_is_counted() {
    let world = World::new();
    // One that the loop meets, one that it meets while it empties the backlog, with no connection open whose end could help.
    world.listener.fail(EMFILE);
    world.settle();
    world.listener.fail(EMFILE);
    world.signal(crate::server::Signal::TERMINATE);
    assert!(world.listener.is_closed());
    assert_eq!((world.listener.accepts(), world.app.stats().accept_errors), (2, 2));
}

#[test]
fn a_drain_serves_its_backlog_once_there_are_descriptors_again() {
    let mut world = World::with(ServerOptions { backlog: 2, ..options() }, 4);
    let first = world.client(GET);
    // The loop pauses; what follows waits for the drain. More errors than the backlog has places use none of them up.
    world.listener.fail(EMFILE);
    world.settle();
    (0..3).for_each(|_| world.listener.fail(EMFILE));
    let second = world.listener.connect();
    second.send(GET);
    world.signal(crate::server::Signal::TERMINATE);
    assert_eq!(world.listener.accepts(), 3);
    // Nobody's connection ends: somebody else gave descriptors back.
    (0..7).for_each(|_| world.advance(Duration::from_millis(10)));
    assert_eq!(world.listener.accepts(), 6);
    world.work();
    world.work();
    assert!(first.text().ends_with("\r\n\r\n/a ") && second.text().ends_with("\r\n\r\n/a "));
    assert_eq!(world.app.stats().accept_errors, 4);
}

#[test]
fn the_loop_lets_others_run_while_connections_keep_coming() {
    let mut world = World::new();
    for _ in 0..80 {
        world.listener.connect().send(GET);
    }
    let mut ticks = 0;
    while world.task().is_none() {
        assert!(world.tick());
        ticks += 1;
        assert!(ticks < 8, "no connection got its turn");
    }
    assert!(world.listener.accepts() < 80);
}
