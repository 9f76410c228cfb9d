//! The pool over real sockets: isolation, parallelism, budgets, lost workers, backpressure, drain.

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Client, Server, apps, request};

#[test]
fn a_module_global_counts_per_interpreter_and_the_counts_add_up() {
    let server = Server::start("contract:app", &["--workers", "3"]);
    let mut last = BTreeMap::new();
    for _ in 0..90 {
        let answer = server.get("/count").json();
        let count = answer["count"].as_u64().expect("a count");
        let before = last.insert(answer["thread"].as_u64().expect("a thread"), count);
        assert_eq!(before.unwrap_or(0) + 1, count, "each interpreter counts its own calls, one by one");
    }
    assert!(last.len() <= 3 && !last.is_empty());
    assert_eq!(last.values().sum::<u64>(), 90);
}

#[test]
fn handlers_run_at_the_same_time_in_different_interpreters() {
    // Each call waits until as many calls as there are workers are inside: one interpreter after the other would never end.
    let server = Server::start("together:app", &["--workers", "3", "--handler-timeout", "30s"]);
    let clients = (0..3).map(|_| {
        let mut client = server.connect();
        client.send(&request("GET", "/meet?parties=3", &[], b""));
        client
    });
    let mut clients: Vec<_> = clients.collect();
    for client in &mut clients {
        assert_eq!(client.answer("GET").text(), "met");
    }
}

#[test]
fn a_handler_over_its_budget_is_interrupted_and_its_worker_goes_on() {
    let server = Server::start("contract:app", &["--workers", "1"]);
    let thread = server.get("/count").json()["thread"].clone();
    for _ in 0..3 {
        let answer = server.get("/spin");
        insta::assert_snapshot!("timeout-spin", answer.shown());
    }
    let after = server.get("/count").json();
    assert_eq!((&after["thread"], after["count"].as_u64()), (&thread, Some(2)), "the same interpreter goes on");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("HandlerTimeout") && log.contains("in spins"), "the log says where it was:\n{log}");
}

#[test]
fn a_handler_that_does_not_come_back_costs_its_worker_which_is_replaced() {
    for target in ["/stuck", "/stuck/holding", "/stubborn"] {
        let server = Server::start("contract:app", &["--workers", "1", "--interrupt-grace", "100ms"]);
        let thread = server.get("/count").json()["thread"].clone();
        // Longer than the test may take: what waits for the lost worker to come back does not pass.
        let answer = server.get(&format!("{target}?seconds=300"));
        assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("handler_timeout")), "{target}");
        let after = server.get("/count").json();
        assert_ne!(after["thread"], thread, "{target}: another interpreter");
        assert_eq!(after["count"], 1, "{target}: with globals of its own");
        server.wait_for_log("its worker is replaced");
        let (_, log) = server.stop();
        assert!(log.contains(&format!("GET {target}")), "{target}: the log names the route:\n{log}");
    }
}

#[test]
fn beyond_the_bound_of_replacements_the_server_stops_and_says_so() {
    let options = ["--workers", "1", "--interrupt-grace", "50ms", "--max-replacements", "1"];
    let mut server = Server::start("contract:app", &options);
    assert_eq!(server.get("/stuck?seconds=300").status, 504);
    let mut last = server.connect();
    last.send(&request("GET", "/stuck?seconds=300", &[], b""));
    let mut behind = server.connect();
    behind.send(&request("GET", "/value/int", &[], b""));
    assert_eq!(last.answer("GET").status, 504);
    let answer = behind.answer("GET");
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (500, Some("worker_lost")),
        "nobody is left to run it"
    );
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    assert!(server.log().contains("the bound on replacements is reached"), "{}", server.log());
}

#[test]
fn a_full_queue_is_a_503_that_says_when_to_come_back() {
    let options = ["--workers", "1", "--queue-depth", "1", "--overflow-depth", "1"];
    let server = Server::start("contract:app", &options);
    let mut waiting = Vec::new();
    // One runs, at most two wait; of six, at least three are refused, and at once.
    for _ in 0..6 {
        let mut client = server.connect();
        client.send(&request("GET", "/sleep?seconds=1.5", &[], b""));
        waiting.push(client);
    }
    let mut statuses = BTreeMap::new();
    for client in &mut waiting {
        let answer = client.answer("GET");
        *statuses.entry(answer.status).or_insert(0) += 1;
        if answer.status == 503 {
            insta::assert_snapshot!("queue-full", answer.shown());
        }
    }
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 503], "{statuses:?}");
    assert!((1..=3).contains(&statuses[&200]), "{statuses:?}");
    assert_eq!(server.get("/value/int").status, 200, "and afterwards it serves again");
}

#[test]
fn the_rest_goes_on_beside_a_slow_handler() {
    let server = Server::start("contract:app", &["--workers", "2"]);
    let mut slow = server.connect();
    slow.send(&request("GET", "/sleep?seconds=300", &[], b""));
    server.wait_for_log("sleeping");
    for _ in 0..50 {
        assert_eq!(server.get("/value/int").status, 200, "none of them waits behind the slow one");
    }
    slow.stream.set_nonblocking(true).expect("a socket");
    let error = slow.stream.peek(&mut [0]).expect_err("the slow one still runs");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

fn has_answer(client: &Client) -> bool {
    client.stream.set_nonblocking(true).expect("a socket");
    let there = client.stream.peek(&mut [0]).is_ok();
    client.stream.set_nonblocking(false).expect("a socket");
    there
}

#[test]
fn sigterm_under_load_loses_no_accepted_request() {
    for signal in [15, 2] {
        let server = Server::start("contract:app", &["--workers", "2"]);
        let mut clients: Vec<_> = (0..16).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send(&request("GET", "/sleep?seconds=0.1", &[], b""));
        }
        // The first answer, whoever gets it, shows that the others are accepted: they queue behind it.
        while !clients.iter().any(has_answer) {
            std::thread::yield_now();
        }
        server.signal(signal);
        let answers: Vec<_> = clients.iter_mut().map(|client| client.answer("GET")).collect();
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (200, "slept"), "signal {signal}");
        }
        // The first ones may have been written before the signal was read; the last came long after.
        assert!(answers.iter().any(|answer| answer.header("connection") == Some("close")), "signal {signal}");
        let mut server = server;
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "signal {signal}:\n{}", server.log());
    }
}

#[test]
fn a_drain_that_is_over_its_deadline_names_what_is_left_and_exits_non_zero() {
    let mut server = Server::start("contract:app", &["--workers", "1", "--drain-timeout", "300ms"]);
    let mut client = server.connect();
    client.send(&request("GET", "/sleep?seconds=60", &[], b""));
    wait_until_busy(&server);
    // It waits behind the one that runs; the answer to a third shows that it has been read by then.
    let mut other = server.connect();
    other.send(&request("GET", "/value/int", &[], b""));
    assert_eq!(server.get("/nope").status, 404);
    server.signal(15);
    let answer = client.answer("GET");
    insta::assert_snapshot!("worker-lost", answer.shown());
    insta::assert_snapshot!("shutting-down", other.answer("GET").shown());
    let status = server.wait();
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("GET /sleep"), "the log names the route:\n{log}");
}

#[test]
fn the_second_signal_means_now() {
    let mut server = Server::start("contract:app", &["--workers", "1"]);
    let mut client = server.connect();
    client.send(&request("GET", "/sleep?seconds=60", &[], b""));
    wait_until_busy(&server);
    server.signal(15);
    server.wait_for_log("drain");
    server.signal(15);
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
}

#[test]
fn a_draining_server_refuses_new_requests_on_open_connections() {
    let server = Server::start("contract:app", &["--workers", "1"]);
    let mut slow = server.connect();
    slow.send(&request("GET", "/sleep?seconds=1", &[], b""));
    wait_until_busy(&server);
    let mut idle = server.connect();
    idle.send(&request("GET", "/nope", &[], b""));
    assert_eq!(idle.answer("GET").status, 404);
    server.signal(15);
    assert!(idle.is_closed(), "an idle connection is closed without a word");
    assert_eq!(slow.answer("GET").text(), "slept");
}

/// Returns once the one worker has taken the task before it: the next request has to wait in the queue.
fn wait_until_busy(server: &Server) {
    server.wait_for_log("sleeping");
}

#[test]
fn sixty_four_connections_with_a_thousand_requests_each_get_their_own_answers() {
    let server = Server::start("contract:app", &["--workers", "2"]);
    let wrong = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for connection in 0..64u64 {
            let (server, wrong) = (&server, &wrong);
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 0..1000u64 {
                    let id = connection * 1000 + number;
                    let (method, target, body, status, expected) = exchange(id);
                    client.send(&request(method, &target, &[], body.as_bytes()));
                    let answer = client.answer(method);
                    if answer.status != status || answer.text() != expected {
                        wrong.fetch_add(1, Ordering::Relaxed);
                        eprintln!("{method} {target}: {} {}, not {status} {expected}", answer.status, answer.text());
                    }
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0);
}

/// A request that no other has, and its answer.
fn exchange(id: u64) -> (&'static str, String, String, u16, String) {
    match id % 7 {
        0 => ("GET", format!("/path/{id}"), String::new(), 200, format!("{{\"number\":{id}}}")),
        1 => ("GET", format!("/v1/shop/items/i{id}"), String::new(), 200, format!("{{\"item\":\"i{id}\"}}")),
        2 => ("POST", "/body".into(), format!("[{id}]"), 200, format!("{{\"body\":[{id}]}}")),
        3 => (
            "GET",
            format!("/query/required?n={id}&q=q{id}"),
            String::new(),
            200,
            format!("{{\"q\":\"q{id}\",\"n\":{id}}}"),
        ),
        4 => ("GET", format!("/nope/{id}"), String::new(), 404, not_found()),
        5 => ("GET", format!("/path/rest/{id}/x"), String::new(), 200, format!("{{\"rest\":\"{id}/x\"}}")),
        _ => ("GET", format!("/nested/{id}"), String::new(), 200, format!("{{\"admin\":{id}}}")),
    }
}

fn not_found() -> String {
    r#"{"detail":"Not Found","error":"not_found"}"#.into()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start("contract:app", &["--workers", "2"]);
    let mut client = server.connect();
    let bytes: Vec<u8> = (0..200).flat_map(|id| request("GET", &format!("/path/{id}"), &[], b"")).collect();
    client.send(&bytes);
    for id in 0..200 {
        assert_eq!(client.answer("GET").text(), format!("{{\"number\":{id}}}"));
    }
    client.stream.flush().expect("open");
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_its_answer() {
    let server = Server::start("contract:app", &["--workers", "1"]);
    let mut client = server.connect();
    client.send(&request("GET", "/sleep?seconds=0.2", &[], b""));
    client.half_close();
    assert_eq!(client.answer("GET").text(), "slept");
    assert!(client.is_closed());
}

#[test]
fn start_up_hooks_run_in_each_interpreter_and_a_failing_one_fails_the_start() {
    let server = Server::start("hooks:app", &["--workers", "3"]);
    assert_eq!(server.get("/").text(), "started");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("hook: first up").count(), 3, "{log}");
    assert_eq!(log.matches("hook: down").count(), 3, "{log}");
    let Err((status, log)) = Server::try_start(&apps(), "hooks:failing", &[]) else { panic!("it started") };
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("no database today"), "{log}");
}

#[test]
fn a_start_that_hangs_can_be_stopped() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    let mut command = common::command(&apps(), &["serve", "hangs:app", "--port", "0"]);
    let mut child = command.stdout(log.try_clone().expect("a handle")).stderr(log).spawn().expect("it starts");
    let text = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    let started = Instant::now();
    while !text().contains("hanging") {
        assert!(started.elapsed() < common::PATIENCE, "{}", text());
        std::thread::sleep(Duration::from_millis(5));
    }
    common::signal(&child, 2);
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", text());
    assert!(text().contains("stopped by a signal before every worker was ready"), "{}", text());
}
