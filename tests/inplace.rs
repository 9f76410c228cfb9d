//! Short handlers run on the thread that does the I/O. What a user sees of it: nothing, but for the speed; whatever such a handler
//! does then, everybody else is served on.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use common::{Client, Server, connect, request};
use serde_json::Value;

/// Enough short runs to prove it, and enough in a row.
const PROOF: usize = 200;

/// A server on which a worker does the I/O: its client, which has asked for `/short` often enough.
fn proven(options: &[&str]) -> (Server, Client) {
    let server = Server::start("inplace:app", &[&["--admin", "0"], options].concat());
    let mut client = server.connect();
    let started = Instant::now();
    while io(&server)["worker"].is_null() {
        assert!(started.elapsed() < common::PATIENCE, "no worker has taken the I/O: {}", io(&server));
        for _ in 0..PROOF {
            client.send(&request("GET", "/short", &[], b""));
            assert_eq!(client.answer("GET").status, 200);
        }
    }
    (server, client)
}

fn io(server: &Server) -> Value {
    let mut client = connect(server.admin_port());
    client.send(&request("GET", "/stats", &[], b""));
    client.answer("GET").json()["io"].clone()
}

/// Waits until the I/O is as wanted; how it is then.
fn until(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let now = io(server);
        if wanted(&now) {
            return now;
        }
        assert!(started.elapsed() < common::PATIENCE, "it stays {now}");
    }
}

fn touch(path: &Path) {
    std::fs::write(path, "").expect("a file");
}

#[test]
fn a_worker_takes_the_io_while_handlers_are_short() {
    let (server, mut client) = proven(&["--workers", "2"]);
    let mut threads: BTreeMap<u64, u64> = BTreeMap::new();
    for _ in 0..1_000 {
        client.send(&request("GET", "/short", &[], b""));
        let answer = client.answer("GET").json();
        let (thread, calls) = (answer["thread"].as_u64().unwrap(), answer["calls"].as_u64().unwrap());
        let before = threads.insert(thread, calls);
        assert!(before.is_none_or(|before| before + 1 == calls), "an interpreter's calls are all on its thread");
    }
    assert!(threads.len() <= 2, "two workers, two threads: {threads:?}");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

#[test]
fn a_short_handler_that_hangs_keeps_nobody_else_waiting() {
    for workers in ["1", "2"] {
        let (server, mut client) = proven(&["--workers", workers]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("go on");
        let mut hanging = server.connect();
        hanging.send(&request(
            "GET",
            &format!("/short?wait_for={}", file.display().to_string().replace(' ', "%20")),
            &[],
            b"",
        ));
        // It hangs until this test has had other answers meanwhile.
        let now = until(&server, |io| io["taken_back"] == 1);
        assert_eq!(now["taken_back"], 1, "the I/O was taken from it: {now}");
        assert_eq!(server.get("/none").status, 404, "the I/O goes on");
        if workers == "2" {
            client.send(&request("GET", "/short", &[], b""));
            assert_eq!(client.answer("GET").status, 200, "and so does the other worker");
        }
        touch(&file);
        assert_eq!(hanging.answer("GET").status, 200);
        client.send(&request("GET", "/short", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
        let (status, log) = server.stop();
        assert!(status.success(), "{log}");
    }
}

#[test]
fn a_short_handler_that_is_stuck_in_c_costs_its_worker_and_not_the_io() {
    let (server, mut client) = proven(&["--workers", "1", "--handler-timeout", "200ms", "--interrupt-grace", "100ms"]);
    let mut stuck = server.connect();
    stuck.send(&request("GET", "/short?hold=300", &[], b""));
    assert_eq!(stuck.answer("GET").status, 504);
    client.send(&request("GET", "/short", &[], b""));
    let answer = client.answer("GET").json();
    assert_eq!(answer["calls"], 1, "another interpreter");
    server.wait_for_log("its worker is replaced");
    // What the lost worker did not finish keeps the process from a clean end, and it says so.
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(1), "{log}");
}

#[test]
fn the_io_is_given_back_before_a_handler_that_is_not_known_to_be_short() {
    let (server, mut client) = proven(&["--workers", "1"]);
    let before = io(&server)["given_back"].as_u64().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("now");
    let mut long = server.connect();
    long.send(&request("GET", &format!("/long?wait_for={}", file.display()), &[], b""));
    // What is counted is counted a moment after it has happened.
    let now = until(&server, |io| io["worker"].is_null() && io["given_back"] != before);
    assert_eq!((now["given_back"].as_u64(), &now["taken_back"]), (Some(before + 1), &Value::from(0)), "{now}");
    assert_eq!(server.get("/none").status, 404);
    // It waits for the worker, in the queue.
    client.send(&request("GET", "/short", &[], b""));
    touch(&file);
    assert_eq!(long.answer("GET").text(), "done");
    assert_eq!(client.answer("GET").status, 200);
}

/// How often the thread of that name has slept so far, until something woke it.
#[cfg(target_os = "linux")]
fn sleeps(server: &Server, name: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    // A thread may end between the two looks.
    let mut living = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let status = living.find(|status| status.starts_with(&format!("Name:\t{name}\n"))).expect(name);
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.expect("a count").trim().parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn who_makes_an_answer_writes_it_and_the_thread_of_the_io_is_woken_for_requests_only() {
    const REQUESTS: u64 = 400;
    let server = Server::start("inplace:app", &["--workers", "1"]);
    let mut client = server.connect();
    let mut ask = |times: u64| {
        for _ in 0..times {
            client.send(&request("GET", "/while", &[], b""));
            assert_eq!(client.answer("GET").text(), "done");
        }
    };
    ask(1);
    let before = sleeps(&server, "polygil-io");
    ask(REQUESTS);
    let slept = sleeps(&server, "polygil-io") - before;
    // Once for each request, and now and then for a look whether the next is there: 408 to 465 times, idle machine or busy. If it
    // were to write the answers it would be 600 times.
    assert!(slept < REQUESTS * 13 / 10, "it was woken {slept} times for {REQUESTS} requests");
}

#[test]
fn a_stream_from_the_worker_that_had_the_io_reaches_its_client() {
    let (server, _client) = proven(&["--workers", "1"]);
    let mut client = server.connect();
    client.send(&request("GET", "/stream?pieces=20000", &[("connection", "close")], b""));
    let answer = String::from_utf8(client.rest()).unwrap();
    let chunk = |number| format!("{:x}\r\n{number}\n\r\n", format!("{number}\n").len());
    let chunks: String = (0..20_000).map(chunk).collect::<String>() + "0\r\n\r\n";
    assert!(answer.ends_with(&format!("\r\n\r\n{chunks}")), "{} bytes came", answer.len());
}

#[test]
fn several_io_threads_keep_the_io() {
    let server = Server::start("inplace:app", &["--admin", "0", "--workers", "2", "--io-threads", "2"]);
    let mut client = server.connect();
    for _ in 0..5 * PROOF {
        client.send(&request("GET", "/short", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
    }
    assert_eq!(io(&server), serde_json::json!({ "worker": null, "taken": 0, "given_back": 0, "taken_back": 0 }));
}
