//! The admin address over real sockets: ready or not, metrics, and what each worker runs.

mod common;

use std::time::Instant;

use common::{Answer, Server, admin_port, apps, connect, request};
use serde_json::{Value, json};

/// One request on a connection of its own.
fn get(port: u16, target: &str) -> Answer {
    let mut client = connect(port);
    client.send(&request("GET", target, &[], b""));
    client.answer("GET")
}

/// Asks until the answer is as wanted; the last answer if it never is.
fn until(port: u16, target: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = get(port, target);
        if wanted(&answer) || started.elapsed() > common::PATIENCE {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_ready_server_says_so_and_counts() {
    let server = Server::start("contract:app", &["--admin", "0", "--workers", "2"]);
    let admin = server.admin_port();
    assert_eq!((get(admin, "/livez").status, get(admin, "/livez").text()), (200, "alive\n"));
    assert_eq!((get(admin, "/readyz").status, get(admin, "/readyz").text()), (200, "ready\n"));
    assert_eq!(server.get("/readyz").status, 404, "clients of the server do not see it");
    assert_eq!(get(admin, "/value/int").status, 404, "and it has no route of the app's");
    assert_eq!(server.get("/value/int").status, 200);
    assert_eq!(server.get("/raise").status, 500);
    // Their connections end, and their workers look for more, a moment after their answers are read.
    let at_rest = ["\npolygil_connections_active 0\n", "\npolygil_workers_busy 0\n"];
    let answer = until(admin, "/metrics", |answer| at_rest.iter().all(|line| answer.text().contains(line)));
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let masked = [
        (r"(polygil_(received|sent)_bytes_total) \d+", "$1 [bytes]"),
        // The log is written a moment later than what it is about.
        (r"(polygil_log_lines_written_total) \d+", "$1 [lines]"),
    ];
    insta::with_settings!({ filters => masked }, {
        insta::assert_snapshot!("metrics", answer.text());
    });
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

#[test]
fn stats_show_who_waits_and_what_runs() {
    let server = Server::start("contract:app", &["--admin", "0", "--workers", "1"]);
    let admin = server.admin_port();
    let mut slow = server.connect();
    slow.send(&request("GET", "/sleep?seconds=300", &[], b""));
    server.wait_for_log("sleeping");
    let mut behind = server.connect();
    behind.send(&request("GET", "/value/int", &[], b""));
    let answer = until(admin, "/stats", |answer| answer.json()["oldest_wait_seconds"].as_f64() > Some(0.0));
    let stats = answer.json();
    assert!(stats["oldest_wait_seconds"].as_f64().is_some_and(|seconds| seconds < 300.0), "{stats}");
    assert_eq!(stats["health"], "ready");
    assert_eq!(
        stats["pool"],
        json!({
            "submitted": 2, "completed": 0, "refused": 0, "expired": 0, "abandoned": 0, "waiting": 1, "running": 1
        })
    );
    // Idle-first gives no lane a second task: what waits, waits for whoever is free first.
    assert_eq!(stats["queue_depths"], json!({ "lanes": [0], "overflow": 1 }));
    let workers = &stats["workers"];
    assert_eq!((&workers["count"], &workers["busy"], &workers["interrupted"]), (&json!(1), &json!(1), &json!(0)));
    let running = workers["running"].as_array().expect("a list");
    assert_eq!(running.len(), 1, "{stats}");
    assert_eq!((&running[0]["worker"], &running[0]["route"]), (&json!(0), &json!("GET /sleep")));
    assert!(running[0]["request_id"].as_str().is_some_and(|id| id.ends_with("-1")), "{stats}");
    // The one that waits breaks its connection (a half-closed one would still get its answer), and nobody waits any more.
    let behind = behind.stream;
    socket2::SockRef::from(&behind).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    drop(behind);
    let answer = until(admin, "/stats", |answer| answer.json()["oldest_wait_seconds"] == 0.0);
    assert_eq!(answer.json()["oldest_wait_seconds"], 0.0);
}

#[test]
fn interrupts_and_replacements_are_counted() {
    let server = Server::start("contract:app", &["--admin", "0", "--workers", "1", "--interrupt-grace", "3s"]);
    let admin = server.admin_port();
    assert_eq!(server.get("/spin").status, 504);
    let workers = |answer: &Answer| answer.json()["workers"].clone();
    let counted = |workers: &Value| (workers["interrupted"].clone(), workers["replaced"].clone());
    assert_eq!(counted(&workers(&get(admin, "/stats"))), (json!(1), json!(0)));
    assert_eq!(server.get("/stuck?seconds=300").status, 504);
    let answer = until(admin, "/stats", |answer| workers(answer)["replaced"] == 1);
    assert_eq!(counted(&workers(&answer)), (json!(2), json!(1)));
}

#[test]
fn a_server_that_starts_is_alive_and_not_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    let mut command = common::command(&apps(), &["serve", "hangs:app", "--port", "0", "--admin", "0"]);
    let mut child = command.stdout(log.try_clone().expect("a handle")).stderr(log).spawn().expect("it starts");
    let text = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    let started = Instant::now();
    while !(text().contains("hanging") && text().contains("/livez")) {
        assert!(started.elapsed() < common::PATIENCE, "{}", text());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let admin = admin_port(&text());
    assert_eq!((get(admin, "/readyz").status, get(admin, "/readyz").text()), (503, "starting\n"));
    assert_eq!(get(admin, "/livez").status, 200);
    child.kill().expect("the child is ours");
    child.wait().expect("it ends");
}

#[test]
fn a_server_that_drains_is_not_ready() {
    let mut server = Server::start("contract:app", &["--admin", "0", "--workers", "1"]);
    let admin = server.admin_port();
    let mut slow = server.connect();
    slow.send(&request("GET", "/sleep?seconds=300", &[], b""));
    server.wait_for_log("sleeping");
    server.signal(15);
    let answer = until(admin, "/readyz", |answer| answer.status != 200);
    assert_eq!((answer.status, answer.text()), (503, "draining\n"));
    server.signal(15);
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_server_beyond_its_bound_of_replacements_says_that_it_failed() {
    let options = ["--admin", "0", "--workers", "2", "--interrupt-grace", "50ms", "--max-replacements", "0"];
    let mut server = Server::start("contract:app", &options);
    let admin = server.admin_port();
    // Keeps the drain, and with it the admin address, open until the second signal.
    let mut slow = server.connect();
    slow.send(&request("GET", "/sleep?seconds=300", &[], b""));
    server.wait_for_log("sleeping");
    assert_eq!(server.get("/stuck?seconds=300").status, 504);
    let answer = until(admin, "/readyz", |answer| answer.status != 200);
    assert_eq!(
        (answer.status, answer.text()),
        (503, "failed: a worker was lost and the bound on replacements is reached\n")
    );
    server.signal(15);
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn an_admin_address_in_use_fails_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = taken.local_addr().expect("an address").to_string();
    let Err((status, log)) = Server::try_start(&apps(), "contract:app", &["--admin", &place]) else {
        panic!("it started");
    };
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains(&format!("cannot listen on {place} for --admin: Address already in use")), "{log}");
}
