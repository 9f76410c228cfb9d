//! Requests that end well: order, pipelining, keep-alive, half-close, and what happens to those whose client leaves.

use std::time::Duration;

use super::{plain, plain_last};
use crate::server::ServerOptions;
use crate::server::testing::{World, ok, options};

#[test]
fn a_request_gets_its_reply_and_the_connection_stays() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.text(), "");
    world.work();
    assert_eq!(client.text(), plain("/a "));
    world.send(&client, "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    world.work();
    assert_eq!(client.text(), plain("/b hello"));
    assert!(!client.saw_end());
    let stats = world.app.stats();
    assert_eq!((stats.requests_received, stats.requests_answered, stats.requests_in_flight), (2, 2, 0));
    assert_eq!(stats.answers_by_class, [0, 2, 0, 0, 0]);
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut world = World::new();
    let client = world.connect();
    for byte in b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" {
        world.send(&client, [*byte]);
    }
    world.work();
    assert_eq!(client.text(), plain("/b hello"));
}

#[test]
fn the_task_carries_what_the_handler_needs() {
    let mut world = World::new();
    let _client = world.client("GET /some%20one?q=1 HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\r\n");
    let task = world.task().unwrap();
    assert_eq!((task.id, task.route.0), (1, 0));
    assert_eq!(task.params.len(), 1);
    assert_eq!(task.request.head.target(), "/some%20one?q=1");
    assert_eq!(task.request.head.header("x-a"), Some(&b"b"[..]));
    assert_eq!((task.client, task.server), (None, None));
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let mut world = World::new();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let client = world.client([one("/a"), one("/b"), one("/c")].concat());
    for path in ["/a", "/b", "/c"] {
        assert_eq!(world.app.stats().requests_in_flight, 1, "only one is on its way at a time");
        world.work();
        // Each answer leaves although the next one is still waited for.
        assert_eq!(client.text(), plain(&format!("{path} ")));
    }
    assert_eq!(world.app.stats().requests_answered, 3);
}

#[test]
fn answers_that_are_ready_together_leave_together() {
    let world = World::new();
    let client = world.client("GET /x/y HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
    assert_eq!(client.text().matches("HTTP/1.1 404 ").count(), 5);
    assert_eq!(client.writes(), 1);
    assert_eq!(world.app.stats().answers_by_class, [0, 0, 0, 5, 0]);
}

#[test]
fn a_ready_answer_is_not_held_back_by_a_request_that_waits() {
    let mut world = World::new();
    let client = world.client("GET /x/y HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.text().starts_with("HTTP/1.1 404 "));
    world.work();
    assert_eq!(client.text(), plain("/a "));
    // Nor by one that is not complete.
    world.send(&client, "GET /x/y HTTP/1.1\r\nHost: x\r\n\r\nGET /a HT");
    assert!(client.text().starts_with("HTTP/1.1 404 "));
    world.send(&client, "TP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert_eq!(client.text(), plain("/a "));
}

#[test]
fn a_half_closed_client_gets_all_its_answers() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    client.close_write();
    world.settle();
    world.work();
    world.work();
    assert_eq!(client.text(), [plain("/a "), plain("/b ")].concat());
    assert!(client.is_closed());
    assert_eq!(world.app.stats().connections_closed_by_reason.get("peer"), 1);
    world.check_balance();
}

#[test]
fn a_client_that_says_nothing_and_leaves_costs_nothing() {
    let world = World::new();
    let client = world.connect();
    client.close_write();
    world.settle();
    assert!(client.is_closed());
    assert_eq!(client.text(), "");
    let stats = world.app.stats();
    assert_eq!((stats.requests_received, stats.connections_closed_by_reason.get("peer")), (0, 1));
}

#[test]
fn a_reset_takes_a_waiting_request_back() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.reset();
    world.settle();
    assert!(client.is_closed());
    assert!(world.task().is_none(), "the task is skipped");
    let stats = world.app.stats();
    assert_eq!((stats.requests_dropped, stats.requests_dropped_by_reason.get("reset")), (1, 1));
    world.check_balance();
}

#[test]
fn a_reset_frees_the_place_in_a_full_queue() {
    let mut world = World::with(options(), 1);
    let leaving = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    leaving.reset();
    world.settle();
    let client = world.client("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert_eq!(client.text(), plain("/b "));
    world.check_balance();
}

#[test]
fn a_reset_discards_the_reply_of_a_running_request() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let task = world.task().unwrap();
    client.reset();
    world.settle();
    assert!(client.is_closed());
    assert!(task.reply.send(ok("late")).is_err());
    world.check_balance();
}

#[test]
fn connection_close_is_obeyed_and_nothing_after_it_is_served() {
    let mut world = World::new();
    let client =
        world.client("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert_eq!(client.text(), plain_last("/a "));
    assert!(client.saw_end() && !client.is_closed(), "it waits for the client to read");
    assert!(world.task().is_none());
    client.close_write();
    world.settle();
    assert!(client.is_closed());
    assert_eq!(world.app.stats().connections_closed_by_reason.get("finished"), 1);
    world.check_balance();
}

#[test]
fn read_ahead_is_bounded() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let line = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
    world.send(&client, line.repeat(20_000));
    assert!(client.unread() > 20_000 * line.len() - 129 * 1024, "{}", client.unread());
    world.work();
    world.work();
    assert_eq!(client.text(), [plain("/a "), plain("/b ")].concat());
}

#[test]
fn a_pipelining_client_does_not_starve_another() {
    let mut world = World::new();
    let greedy = world.listener.connect();
    let modest = world.listener.connect();
    greedy.send("GET /x/y HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000));
    modest.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut ticks = 0;
    while world.app.stats().requests_in_flight == 0 || world.task().is_none() {
        assert!(world.tick(), "nothing to do and the modest request never came");
        ticks += 1;
        assert!(ticks < 20, "the modest request waits for all of the greedy ones");
    }
    assert!(greedy.text().matches("HTTP/1.1 404").count() < 500);
}

#[test]
fn an_upload_does_not_starve_another() {
    let options =
        ServerOptions { limits: crate::http::Limits { body_bytes_max: 64 << 20, ..options().limits }, ..options() };
    let mut world = World::with(options, 4);
    let greedy = world.listener.connect();
    let modest = world.listener.connect();
    greedy.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n");
    greedy.send(vec![b'x'; 64 << 20]);
    modest.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut ticks = 0;
    while world.task().is_none() {
        assert!(world.tick(), "nothing to do and the modest request never came");
        ticks += 1;
        assert!(ticks < 20, "the modest request waits for all of the upload");
    }
    assert!(greedy.unread() > 32 << 20);
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = crate::server::testing::driver_size();
    assert!(bytes <= 3520, "{bytes} bytes");
}

#[test]
fn a_keep_alive_request_arms_no_timer() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    let armed = world.clock.armed();
    for _ in 0..100 {
        world.advance(Duration::from_millis(10));
        world.send(&client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        world.work();
    }
    assert_eq!(world.clock.armed(), armed);
}

#[test]
fn a_server_field_is_sent_when_asked_for() {
    let mut world = World::with(ServerOptions { server_header: true, ..options() }, 4);
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.work();
    assert!(client.text().contains("\r\nserver: polygil\r\n"));
    world.send(&client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut own = ok("");
    own.headers.push(("Server".into(), (&b"mine"[..]).into()));
    assert!(world.task().unwrap().reply.send(own).is_ok());
    world.settle();
    let text = client.text();
    assert!(text.to_lowercase().contains("\r\nserver: mine\r\n") && !text.contains("polygil"), "{text}");
}

#[test]
fn a_large_answer_goes_to_a_slow_reader_in_full() {
    let mut world = World::new();
    let client = world.client("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.set_capacity(1000);
    let body = "0123456789".repeat(10_000);
    assert!(world.task().unwrap().reply.send(ok(body.clone())).is_ok());
    world.settle();
    let mut text = String::new();
    let expected = plain(&body);
    while text.len() < expected.len() {
        text += &client.text();
        world.settle();
    }
    assert!(text == expected, "{} bytes", text.len());
    assert_eq!(world.app.stats().requests_answered, 1);
    assert_eq!(world.app.stats().bytes_written, text.len() as u64);
}
