//! Answers that polygil writes itself, without a worker or instead of one.

use std::time::Duration;

use super::{failure, plain};
use crate::server::testing::{World, ok, options};
use crate::server::{ServerOptions, Signal};

const NONE: Vec<&str> = Vec::new();

#[test]
fn no_route_and_wrong_method_are_answered_without_a_worker() {
    let world = World::new();
    let client = world.client("GET /x/y HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, extra, error.as_str()), (404, false, NONE, "not_found"));

    world.send(&client, "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (405, false, "method_not_allowed"));
    assert_eq!(extra, ["allow: GET, HEAD, OPTIONS, POST"]);

    world.send(&client, "BREW /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text();
    let (status, _, _, error, _) = failure(&text);
    assert_eq!((status, error.as_str()), (501, "not_implemented"));
}

#[test]
fn options_is_answered_with_what_is_allowed() {
    let world = World::new();
    let client = world.client("OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(
        client.text(),
        "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, OPTIONS, POST\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    );
}

#[test]
fn a_bad_path_is_400() {
    let world = World::new();
    let text = world.client("GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n").text();
    let (status, _, _, error, _) = failure(&text);
    assert_eq!((status, error.as_str()), (400, "bad_request"));
}

#[test]
fn malformed_bytes_get_an_answer_that_can_be_read() {
    let world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nBad Field: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, extra, error.as_str()), (400, true, NONE, "bad_request"));
    assert!(client.saw_end() && !client.is_closed());
    // What the client still sends is taken in and thrown away, so that TCP does not reset its answer.
    world.send(&client, "x".repeat(1000));
    assert_eq!(client.unread(), 0);
    world.advance(Duration::from_secs(2));
    assert!(client.is_closed());
    let stats = world.app.stats();
    assert_eq!((stats.requests_received, stats.requests_answered), (1, 1));
    assert_eq!(stats.connections_closed_by_reason.get("refused"), 1);
    world.check_balance();
}

#[test]
fn an_error_behind_a_good_request_waits_for_the_good_answer() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n\x01\x02\r\n\r\n");
    assert_eq!(client.text(), "");
    world.work();
    let text = client.text();
    let good = plain("/a ");
    assert!(text.starts_with(&good), "{text}");
    assert_eq!(failure(&text[good.len()..]).0, 400);
}

/// What a client sends behind an early answer is thrown away for as long as it comes, within a bound for all clients together.
#[test]
fn lingering_is_bounded_in_bytes_over_all_connections() {
    let world = World::with(ServerOptions { linger_bytes_max: 3 << 20, ..options() }, 4);
    let (first, second) = (world.client("BAD\r\n\r\n"), world.client("BAD\r\n\r\n"));
    world.send(&first, "x".repeat(2 << 20));
    world.send(&second, "x".repeat(1 << 20));
    assert!(!first.is_closed() && !second.is_closed());
    assert_eq!((first.unread(), second.unread()), (0, 0));
    assert_eq!(world.app.overview().memory.lingering_bytes, 3 << 20);
    world.send(&second, "x");
    assert!(second.is_closed() && !first.is_closed());
    // What it threw away is free again.
    world.send(&first, "x".repeat(1 << 20));
    assert!(!first.is_closed());
    world.send(&first, "x");
    assert!(first.is_closed());
    let memory = world.app.overview().memory;
    assert_eq!((memory.lingering_bytes, memory.lingering_cut), (0, 2));
    world.check_balance();
}

#[test]
fn lingering_is_bounded_in_time_while_something_comes_and_while_nothing_does() {
    let world = World::new();
    let (quiet, busy) = (world.client("BAD\r\n\r\n"), world.client("BAD\r\n\r\n"));
    let mut seconds = 0;
    while !busy.is_closed() {
        world.send(&busy, "x");
        world.advance(Duration::from_secs(1));
        seconds += 1;
        assert_eq!(quiet.is_closed(), seconds >= 2, "after {seconds} s");
        assert!(seconds <= 30, "never closed");
    }
    assert_eq!(seconds, 30);
    world.check_balance();
}

/// A server that stops does not wait for half a minute for a client that goes on sending.
#[test]
fn a_drain_waits_less_for_a_client_that_goes_on_sending() {
    let world = World::new();
    let busy = world.client("BAD\r\n\r\n");
    for _ in 0..5 {
        world.send(&busy, "x");
        world.advance(Duration::from_secs(1));
    }
    assert!(!busy.is_closed());
    world.signal(Signal::TERMINATE);
    for _ in 0..1999 {
        world.send(&busy, "x");
        world.advance(Duration::from_millis(1));
    }
    assert!(!busy.is_closed());
    world.advance(Duration::from_millis(1));
    assert!(busy.is_closed());
}

/// A client that is answered early may have sent its next request already, which must not make TCP take the answer back.
#[test]
fn what_follows_content_that_nobody_reads_resets_no_answer() {
    let world = World::with(options(), 1);
    let _waiting = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let refused = world.client("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
    let too_large = world.client("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    for (client, length, expected) in [(refused, 900, 503), (too_large, 1001, 413)] {
        let text = client.text();
        assert_eq!((failure(&text).0, failure(&text).1), (expected, true));
        world.send(&client, "x".repeat(length));
        world.send(&client, "GET /c HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(!client.is_closed() && client.unread() == 0, "{expected}: it waits for the client to read");
        assert_eq!(client.text(), "", "{expected}: nothing more is served");
        client.close_write();
        world.settle();
        assert!(client.is_closed());
    }
    world.check_balance();
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_comes() {
    let mut world = World::new();
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (413, true, "content_too_large"));
    assert!(world.task().is_none());
    assert!(client.saw_end());
    world.check_balance();
}

#[test]
fn a_body_at_the_limit_is_taken() {
    let mut world = World::new();
    let client =
        world.client(format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000)));
    world.work();
    assert_eq!(client.text(), plain(&format!("/a {}", "x".repeat(1000))));
}

#[test]
fn continue_is_sent_once_and_only_for_a_body_that_will_be_read() {
    let mut world = World::new();
    let expecting = "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let client = world.client(expecting);
    assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    world.send(&client, "he");
    world.send(&client, "llo");
    world.work();
    assert_eq!(client.text(), plain("/a hello"));
    // The body is there already: nobody waits for permission.
    world.send(&client, format!("{expecting}hello"));
    world.work();
    assert_eq!(client.text(), plain("/a hello"));
    // There is no route: the client is spared the body.
    world.send(&client, expecting.replace("/a", "/x/y"));
    let text = client.text();
    assert_eq!((failure(&text).0, failure(&text).1), (404, true));
}

#[test]
fn a_small_body_that_nobody_wants_does_not_cost_the_connection() {
    let mut world = World::new();
    let client = world.client("POST /x/y HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    let text = client.text();
    assert_eq!((failure(&text).0, failure(&text).1), (404, false));
    world.send(&client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert_eq!(client.text(), plain("/a "));
}

#[test]
fn a_full_queue_refuses_with_retry_after_and_goes_on() {
    let mut world = World::with(options(), 2);
    let waiting: Vec<_> = (0..2).map(|_| world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    let refused = world.client("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = refused.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, false, "queue_full"));
    assert_eq!(extra, ["retry-after: 1", "x-request-id: t-3"]);
    world.work();
    world.work();
    for client in &waiting {
        assert_eq!(client.text(), plain("/a "));
    }
    world.send(&refused, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert_eq!(refused.text(), plain("/b "));
    world.check_balance();
}

#[test]
fn admission_is_decided_before_the_body_is_read() {
    let mut world = World::with(options(), 1);
    let _waiting = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let client = world.client("POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n");
    let text = client.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, true, "queue_full"));
    world.work();
    world.check_balance();
}

/// The content of all requests together has a limit, wherever it has come to when it is reached; what is answered gives its room back.
#[test]
fn content_beyond_what_all_may_hold_together_is_503() {
    let mut world = World::with(ServerOptions { buffered_bytes_max: 100, ..options() }, 4);
    let post = |length: usize| format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let first = world.client(post(60) + &"x".repeat(60));
    // Refused by its length, before its content is read.
    let by_length = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 41\r\nExpect: 100-continue\r\n\r\n");
    let text = by_length.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, true, "queue_full"));
    assert_eq!(extra, ["retry-after: 1", "x-request-id: t-2"]);
    // Room for one of these two at the beginning; the one that comes later finds none.
    let (second, third) = (world.client(post(40)), world.client(post(40)));
    world.send(&second, "y".repeat(30));
    world.send(&third, "z".repeat(30));
    let text = third.text();
    assert_eq!((failure(&text).0, failure(&text).1), (503, true));
    world.send(&second, "y".repeat(10));
    world.work();
    world.work();
    assert_eq!(
        (first.text(), second.text()),
        (plain(&format!("/a {}", "x".repeat(60))), plain(&format!("/a {}", "y".repeat(40))))
    );
    // All of it is free again.
    let all = world.client(post(100) + &"w".repeat(100));
    world.work();
    assert_eq!(all.text(), plain(&format!("/a {}", "w".repeat(100))));
    world.check_balance();
}

#[test]
fn a_closed_pool_refuses_and_closes() {
    let world = World::new();
    world.app.pool.close();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, true, "shutting_down"));
    assert_eq!(extra, ["retry-after: 1", "x-request-id: t-1"]);
}

#[test]
fn a_lost_worker_is_500() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    drop(world.task().unwrap());
    world.settle();
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, extra, error.as_str()), (500, false, vec!["x-request-id: t-1"], "worker_lost"));
}

#[test]
fn a_response_that_would_break_framing_is_500() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut evil = ok("hello");
    evil.headers.push(("x-a".into(), (&b"b\r\nSet-Cookie: c"[..]).into()));
    assert!(world.task().unwrap().reply.send(evil).is_ok());
    world.settle();
    let text = client.text();
    let (status, _, _, error, _) = failure(&text);
    assert_eq!((status, error.as_str()), (500, "response_not_serializable"));
    assert!(!text.contains("Set-Cookie"));
    assert_eq!(world.app.stats().answers_by_class, [0, 0, 0, 0, 1]);
}

#[test]
fn a_body_cut_short_never_reaches_a_handler() {
    let mut world = World::new();
    let client = world.client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel");
    client.close_write();
    world.settle();
    assert!(world.task().is_none());
    let text = client.text();
    assert_eq!((failure(&text).0, failure(&text).1), (400, true));
    assert!(client.is_closed());
    world.check_balance();
}

#[test]
fn requests_after_the_queue_timeout_are_taken_back() {
    let mut world = World::with(ServerOptions { queue_timeout: Duration::from_secs(3), ..options() }, 4);
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.advance(Duration::from_secs(2));
    assert_eq!(client.text(), "");
    world.advance(Duration::from_secs(1));
    let text = client.text();
    let (status, close, extra, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, false, "queue_full"));
    assert_eq!(extra, ["retry-after: 1", "x-request-id: t-1"]);
    assert!(world.task().is_none(), "it is not run any more");
    // One that runs is not taken back.
    world.send(&client, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let task = world.task().unwrap();
    world.advance(Duration::from_secs(100));
    assert_eq!(client.text(), "");
    assert!(task.reply.send(ok("done")).is_ok());
    world.settle();
    assert!(client.text().ends_with("\r\n\r\ndone"));
    world.check_balance();
}

#[test]
fn a_route_may_have_a_queue_timeout_of_its_own() {
    let world = World::with(ServerOptions { queue_timeout: Duration::from_secs(3), ..options() }, 4);
    let hurried = world.client("GET /hurried/a HTTP/1.1\r\nHost: x\r\n\r\n");
    let patient = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.advance(Duration::from_millis(499));
    assert_eq!(hurried.text(), "");
    world.advance(Duration::from_millis(1));
    let text = hurried.text();
    let (status, close, _, error, _) = failure(&text);
    assert_eq!((status, close, error.as_str()), (503, false, "queue_full"));
    assert_eq!(patient.text(), "");
    world.advance(Duration::from_millis(2500));
    let text = patient.text();
    assert_eq!(failure(&text).0, 503);
    world.check_balance();
}
