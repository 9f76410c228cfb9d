//! What waits to be sent: on account, refused where there is no room, and not for ever.

use std::time::Duration;

use super::{failure, plain};
use crate::account::{HELD_BYTES_MIN, Kind};
use crate::content;
use crate::http::Response;
use crate::server::ServerOptions;
use crate::server::testing::{Client, World, ok, options};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
/// Of the clients in these tests that take their answer slowly.
const CAPACITY: usize = 1000;

fn world(buffered_bytes_max: u64) -> World {
    World::with(ServerOptions { buffered_bytes_max, ..options() }, 16)
}

/// A client with a request that a worker has, and whose answer it will take slowly.
fn slow(world: &World) -> Client {
    let client = world.client(GET);
    client.set_capacity(CAPACITY);
    client
}

/// Answers the next task as a worker does.
fn finish(world: &mut World, response: Option<Response>) {
    let memory = world.app.memory.clone();
    world.task().expect("a task waits").finish_within(response, &memory);
    world.settle();
}

#[test]
fn a_large_answer_is_the_same_bytes_as_a_small_one() {
    for length in [HELD_BYTES_MIN - 1, HELD_BYTES_MIN, 1 << 20] {
        let mut world = world(2 << 20);
        let content = "x".repeat(length);
        let client = world.client([GET, GET].concat());
        finish(&mut world, Some(ok(content.clone())));
        finish(&mut world, Some(ok("second")));
        assert_eq!(client.text(), [plain(&content), plain("second")].concat());
        assert_eq!(world.app.memory.taken(), 0);
        let head = world.client("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
        finish(&mut world, Some(ok(content.clone())));
        assert_eq!(head.text(), plain(&content)[..plain(&content).len() - length]);
        assert_eq!(world.app.memory.taken(), 0);
        world.check_balance();
    }
}

#[test]
fn an_answer_for_which_there_is_no_room_is_a_counted_503_and_its_connection_goes_on() {
    let mut world = world(300_000);
    let (first, second) = (slow(&world), slow(&world));
    finish(&mut world, Some(ok("x".repeat(200_000))));
    finish(&mut world, Some(ok("x".repeat(200_000))));
    assert_eq!(world.app.overview().memory.unsent_bytes, plain(&"x".repeat(200_000)).len() as u64);
    let text = second.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, false, "queue_full"));
    assert_eq!(extra, ["retry-after: 1", "x-request-id: t-2"]);
    assert_eq!(world.app.overview().memory.refused, 1);
    // A response that could not be made has no room either.
    world.send(&second, GET);
    finish(&mut world, None);
    assert_eq!(failure(&second.text()).0, 503);
    assert_eq!(world.app.overview().memory.refused, 2);
    // Once the other has its answer there is room again.
    first.set_capacity(1 << 20);
    first.take(usize::MAX);
    world.settle();
    assert_eq!(world.app.memory.taken(), 0);
    second.set_capacity(1 << 20);
    world.send(&second, GET);
    finish(&mut world, Some(ok("x".repeat(200_000))));
    assert_eq!(second.text(), plain(&"x".repeat(200_000)));
    world.check_balance();
}

#[test]
fn no_call_is_begun_while_all_room_is_taken() {
    let mut world = world(100_000);
    let holder = slow(&world);
    finish(&mut world, Some(ok("x".repeat(100_000))));
    assert!(world.app.memory.is_full());
    let requests = [
        (GET.to_owned(), false),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned(), false),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n".to_owned(), true),
    ];
    for (number, (request, closes)) in requests.into_iter().enumerate() {
        let client = world.client(request);
        let text = client.text();
        let (status, close, _, error, _) = failure(&text);
        assert_eq!((status, close, error.as_str()), (503, closes, "queue_full"));
        assert!(world.task().is_none(), "no call is begun");
        assert_eq!(world.app.overview().memory.refused, number as u64 + 1);
    }
    holder.reset();
    world.settle();
    assert_eq!(world.app.memory.taken(), 0);
    let client = world.client(GET);
    world.work();
    assert_eq!(client.text(), plain("/a "));
    world.check_balance();
}

#[test]
fn small_answers_come_on_account_when_they_have_to_wait() {
    let mut world = world(100_000);
    let (quick, slow) = (world.client(GET), slow(&world));
    for _ in 0..2 {
        finish(&mut world, Some(ok("x".repeat(50_000))));
    }
    assert_eq!(quick.text(), plain(&"x".repeat(50_000)));
    assert_eq!(world.app.overview().memory.unsent_bytes, plain(&"x".repeat(50_000)).len() as u64);
    slow.reset();
    world.settle();
    assert_eq!(world.app.memory.taken(), 0);
}

#[test]
fn pieces_that_wait_are_on_account_and_given_back_whatever_becomes_of_them() {
    let mut world = world(100_000);
    let client = slow(&world);
    let (content, reader) = content::channel(&world.app.memory);
    assert!(world.task().unwrap().reply.stream(Response { body: Vec::new(), ..ok("") }, reader));
    for _ in 0..4 {
        assert!(content.send(vec![b'x'; 60_000]));
    }
    world.settle();
    assert!(world.app.memory.is_full(), "{}", world.app.memory.taken());
    assert!(world.app.memory.taken() > 240_000);
    client.reset();
    world.settle();
    drop(content);
    assert_eq!(world.app.memory.taken(), 0);
}

/// A reader that keeps any minimum rate has a total time, as an upload has.
#[test]
fn an_answer_waits_for_its_client_no_longer_than_the_response_timeout() {
    let mut world = World::with(ServerOptions { response_timeout: 100 * SECOND, ..options() }, 4);
    let client = slow(&world);
    finish(&mut world, Some(ok("x".repeat(500_000))));
    for second in 0..100 {
        assert!(!client.is_closed(), "after {second} s");
        client.take(100);
        world.settle();
        world.advance(SECOND - MS);
        assert!(!client.is_closed());
        world.advance(MS);
    }
    assert!(client.is_closed());
    assert_eq!(world.app.stats().connections_closed_by_reason.get("write_timeout"), 1);
    world.check_balance();
}

/// Of a content in pieces only the time counts in which it waits for its client, and all such times together.
#[test]
fn a_content_in_pieces_has_one_patience_for_all_of_them() {
    let mut world = World::with(ServerOptions { response_timeout: 100 * SECOND, ..options() }, 4);
    let client = slow(&world);
    let (content, reader) = content::channel(&world.app.memory);
    assert!(world.task().unwrap().reply.stream(Response { body: Vec::new(), ..ok("") }, reader));
    world.settle();
    client.take(usize::MAX);
    for round in 0..10 {
        // Not the client's time.
        world.advance(3600 * SECOND);
        assert!(!client.is_closed(), "round {round}");
        assert!(content.send(vec![b'x'; 1500]));
        world.settle();
        world.advance(10 * SECOND - MS);
        assert!(!client.is_closed(), "round {round}");
        if round < 9 {
            world.advance(MS);
            client.take(usize::MAX);
            world.settle();
            client.take(usize::MAX);
        }
    }
    world.advance(MS);
    assert!(client.is_closed());
    assert_eq!(world.app.stats().connections_closed_by_reason.get("write_timeout"), 1);
}

/// Nor does its last part get a new one: what is written behind the last piece, or behind one that broke off.
#[test]
fn the_end_of_a_content_in_pieces_has_what_is_left_of_that_patience() {
    let options = ServerOptions { response_timeout: 100 * SECOND, write_timeout: 200 * SECOND, ..options() };
    for breaks in [false, true] {
        let mut world = World::with(options.clone(), 4);
        let client = slow(&world);
        let (content, reader) = content::channel(&world.app.memory);
        assert!(world.task().unwrap().reply.stream(Response { body: Vec::new(), ..ok("") }, reader));
        assert!(content.send(vec![b'x'; 1500]));
        world.settle();
        world.advance(60 * SECOND);
        while !client.take(usize::MAX).is_empty() {
            world.settle();
        }
        assert!(content.send(vec![b'x'; 1500]));
        if breaks {
            content.break_off();
        } else {
            content.end();
        }
        world.settle();
        world.advance(40 * SECOND - MS);
        assert!(!client.is_closed(), "breaks: {breaks}");
        world.advance(MS);
        assert!(client.is_closed(), "breaks: {breaks}");
        assert_eq!(world.app.stats().connections_closed_by_reason.get("write_timeout"), 1);
    }
}

/// Whose content was still coming when others filled the memory is told so, once it is there, and may ask again.
#[test]
fn no_call_is_begun_where_the_room_was_taken_while_its_content_came() {
    let mut world = world(1000);
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut others = world.app.memory.held(Kind::Unsent);
    others.force(1000);
    world.send(&client, "0\r\n\r\n");
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, false, "queue_full"));
    assert_eq!((world.app.memory.taken(), world.app.overview().memory.refused), (1000, 1));
    drop(others);
    world.send(&client, GET);
    finish(&mut world, Some(ok("now")));
    assert_eq!(client.text(), plain("now"));
    world.check_balance();
}
