//! Nothing is held that nobody needs: each kind of answer, parameter, failure and stream, one by one and thousands of times.
//!
//! The app (`tests/apps/references.py`) lists the kinds and says what its interpreter holds: the references to every object that was there
//! before, the blocks of Python's allocator and the bytes of the C library's. A reference that is lost once a request shows as one too
//! many for each of them, and so does an object or a piece of memory. `POLYGIL_TEST_TIMES` asks for more than the 2,000 of each kind.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, request};

/// How often each kind is asked for while it is watched.
fn times() -> usize {
    std::env::var("POLYGIL_TEST_TIMES").map_or(2_000, |text| text.parse().expect("POLYGIL_TEST_TIMES is a number"))
}

/// A kind of request, as the app lists it.
#[derive(Debug)]
struct Kind {
    method: String,
    target: String,
    content: String,
    status: u16,
}

fn kinds(server: &Server) -> Vec<Kind> {
    let listed = server.get("/kinds").json();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let kind = |row: &serde_json::Value| Kind {
        method: text(&row[0]),
        target: text(&row[1]),
        content: text(&row[2]),
        status: row[3].as_u64().expect("a status") as u16,
    };
    listed.as_array().expect("a list").iter().map(kind).collect()
}

fn numbers(server: &Server, target: &str) -> BTreeMap<String, i64> {
    let answer = server.get(target);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("names and numbers")
}

/// Asks so many times and holds each answer against the kind's status.
fn ask(server: &Server, kind: &Kind, times: usize) {
    const BATCH: usize = 50;
    let json = [("content-type", "application/json")];
    if kind.target.starts_with("/stream/") {
        // Their length is known when they end, and they may break off: a connection for each.
        let bytes = request(&kind.method, &kind.target, &[("connection", "close")], b"");
        for _ in 0..times {
            let mut client = server.connect();
            client.send(&bytes);
            let answer = client.rest();
            let line = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
            // Without a piece it is an answer of no length.
            let end: &[u8] = if kind.target == "/stream/none" { b"content-length: 0" } else { b"\r\n0\r\n\r\n" };
            let whole =
                kind.method == "HEAD" || kind.status >= 500 || answer.windows(end.len()).any(|window| window == end);
            match kind.status {
                0 => assert!(line == "HTTP/1.1 200" && !whole, "{kind:?}: {line}"),
                status => assert!(line == format!("HTTP/1.1 {status}") && whole, "{kind:?}: {line}, whole: {whole}"),
            }
        }
        return;
    }
    let one = request(&kind.method, &kind.target, &json, kind.content.as_bytes());
    let mut client = server.connect();
    let mut left = times;
    while left > 0 {
        let batch = left.min(BATCH);
        client.send(&one.repeat(batch));
        for _ in 0..batch {
            let answer = client.answer(&kind.method);
            assert_eq!(answer.status, kind.status, "{kind:?}: {}", String::from_utf8_lossy(&answer.body));
        }
        left -= batch;
    }
}

#[test]
fn no_kind_of_request_leaves_a_reference_an_object_or_memory_behind() {
    let server = Server::start("references:app", &["--workers", "1", "--log-level", "off"]);
    let kinds = kinds(&server);
    assert!(kinds.len() > 80, "the app lists its kinds: {}", kinds.len());
    numbers(&server, "/held");
    let times = times();
    let mut found = Vec::new();
    for kind in &kinds {
        // What is looked up or made once is there after some, and what is kept for the next request is as large as it gets.
        ask(&server, kind, 100);
        let before = numbers(&server, "/held");
        ask(&server, kind, times);
        let after = numbers(&server, "/held");
        for (what, before) in &before {
            let more = after[what] - before;
            // A lost reference or object is one for each request, a lost piece of memory at least 24 bytes.
            let allowed = match what.as_str() {
                "bytes of malloc" => 4 * times as i64 + 32_768,
                what if what.starts_with("blocks") => times as i64 / 4 + 256,
                what if what.starts_with("references to all") => times as i64 / 4,
                _ => 0,
            };
            if more > allowed {
                found.push(format!("{} {}: {more} more {what} after {times}", kind.method, kind.target));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn garbage_in_cycles_is_collected_whatever_its_age() {
    let server = Server::start("references:app", &["--workers", "1", "--log-level", "off"]);
    let cycle = Kind { method: "GET".into(), target: "/cycle".into(), content: String::new(), status: 204 };
    // Four thousand nodes are kept at the most; all others must go while the worker has nothing else to do.
    ask(&server, &cycle, 20_000);
    let begun = Instant::now();
    loop {
        let left = numbers(&server, "/lives")["cycles"];
        if left <= 4_000 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{left} nodes of cycles are left");
        // The next collection comes with requests and a pause after them.
        ask(&server, &cycle, 300);
        std::thread::sleep(Duration::from_millis(5));
    }
}
