//! Contents in pieces, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use super::super::testing::{World, ok, options};
use super::super::{ServerOptions, Signal};
use crate::account::Account;
use crate::content::{self, ContentSender};
use crate::http::Response;
use crate::task::Task;

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\
                    date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

fn begin(task: &Task) -> ContentSender {
    let (sender, reader) = content::channel(&Arc::new(Account::new(u64::MAX)));
    assert!(task.reply.stream(Response { body: Vec::new(), ..ok("") }, reader));
    sender
}

#[test]
fn each_piece_leaves_before_the_next_is_there() {
    let mut world = World::new();
    let client = world.client(GET);
    let content = begin(&world.task().unwrap());
    world.settle();
    assert_eq!(client.text(), HEAD);
    assert!(content.send(b"one".to_vec()));
    world.settle();
    assert_eq!(client.text(), "3\r\none\r\n");
    // However long the handler takes for the next: its budget is the worker's business.
    world.advance(Duration::from_secs(3600));
    assert!(content.send(b"two".to_vec()));
    content.end();
    world.settle();
    assert_eq!(client.text(), "3\r\ntwo\r\n0\r\n\r\n");
    world.send(&client, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert!(client.text().ends_with("\r\n\r\n/b "), "the connection lives on");
    assert_eq!(world.app.stats().answers_by_class, [0, 2, 0, 0, 0]);
    world.check_balance();
}

#[test]
fn pieces_that_are_there_together_leave_together() {
    let mut world = World::new();
    let client = world.client(GET);
    let content = begin(&world.task().unwrap());
    assert!(content.send(b"one".to_vec()) && content.send(b"two".to_vec()));
    content.end();
    world.settle();
    assert_eq!((client.text(), client.writes()), (format!("{HEAD}3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), 1));
}

#[test]
fn a_content_that_breaks_off_closes_the_connection_for_a_reason() {
    let mut world = World::new();
    let client = world.client(GET);
    let content = begin(&world.task().unwrap());
    assert!(content.send(b"one".to_vec()));
    drop(content);
    world.settle();
    assert_eq!(client.text(), format!("{HEAD}3\r\none\r\n"));
    assert!(client.is_closed());
    let stats = world.app.stats();
    assert_eq!(stats.connections_closed_by_reason.get("broken_content"), 1);
    assert_eq!(stats.requests_dropped_by_reason.get("broken_content"), 1);
    world.check_balance();
}

#[test]
fn the_worker_learns_that_the_client_left() {
    let mut world = World::new();
    let client = world.client(GET);
    let content = begin(&world.task().unwrap());
    assert!(content.send(b"one".to_vec()));
    world.settle();
    client.reset();
    world.settle();
    assert!(!content.send(b"two".to_vec()));
    world.check_balance();
}

#[test]
fn a_client_that_takes_nothing_stops_the_content_and_then_loses_the_connection() {
    let mut world = World::with(ServerOptions { write_timeout: Duration::from_secs(5), ..options() }, 4);
    let client = world.client(GET);
    client.set_capacity(1000);
    let content = begin(&world.task().unwrap());
    assert!(content.send(vec![b'x'; 2000]));
    world.settle();
    for _ in 0..content::PIECES_MAX {
        assert!(content.send(b"waits".to_vec()), "there is room for these");
    }
    world.advance(Duration::from_secs(5));
    assert!(client.is_closed());
    assert!(!content.send(b"late".to_vec()));
    assert_eq!(world.app.stats().connections_closed_by_reason.get("write_timeout"), 1);
    world.check_balance();
}

#[test]
fn a_head_that_cannot_be_sent_is_answered_otherwise() {
    let mut world = World::new();
    let client = world.client(GET);
    let task = world.task().unwrap();
    let (content, reader) = content::channel(&world.app.memory);
    assert!(task.reply.stream(Response { status: 204, body: Vec::new(), ..ok("") }, reader));
    world.settle();
    let text = client.text();
    assert_eq!((super::failure(&text).0, super::failure(&text).3.as_str()), (500, "response_not_serializable"));
    assert!(!content.send(b"one".to_vec()), "nobody wants its content");
    world.check_balance();
}

#[test]
fn to_head_no_content_is_wanted() {
    let mut world = World::new();
    let client = world.client("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let content = begin(&world.task().unwrap());
    assert!(content.send(b"one".to_vec()));
    world.settle();
    assert_eq!(client.text(), HEAD);
    assert!(!content.send(b"two".to_vec()));
    world.check_balance();
}

#[test]
fn a_drain_waits_for_a_content_until_its_deadline() {
    let mut world = World::with(ServerOptions { drain_timeout: Duration::from_secs(9), ..options() }, 4);
    let client = world.client(GET);
    let content = begin(&world.task().unwrap());
    assert!(content.send(b"one".to_vec()));
    world.settle();
    world.signal(Signal::TERMINATE);
    world.advance(Duration::from_secs(8));
    assert!(!client.is_closed() && !world.is_finished());
    world.advance(Duration::from_secs(1));
    assert!(client.is_closed());
    assert!(!content.send(b"two".to_vec()));
    let report = world.report();
    assert_eq!((report.unfinished.len(), report.unfinished[0].route.as_deref()), (1, Some("GET /{name}")));
}
