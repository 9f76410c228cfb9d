//! Contents in pieces, over real sockets: exact bytes, errors before and after the first piece, slow clients and those that leave.

mod common;

use std::io::Read;

use common::{Server, connect, request};

/// Everything that comes back until the server closes, without the date.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.send(bytes);
    shown(&client.rest())
}

fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect()
}

/// A request after which the connection closes.
fn last(method: &str, target: &str) -> Vec<u8> {
    request(method, target, &[("connection", "close")], b"")
}

const CLOSE: &str = "connection: close\r\n";

#[test]
fn pieces_arrive_as_chunks_of_their_own() {
    let server = Server::start("streams:app", &["--workers", "1"]);
    let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(
        exchange(&server, &last("GET", "/text")),
        format!("{text}{CLOSE}\r\n3\r\none\r\n6\r\nzw\u{c3}\u{b6}lf\r\n0\r\n\r\n")
    );
    let octets = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(
        exchange(&server, &last("GET", "/bytes")),
        format!("{octets}{CLOSE}\r\n2\r\n\0\u{ff}\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
    );
    let response =
        "HTTP/1.1 201 Created\r\nX-A: b\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(
        exchange(&server, &last("GET", "/response")),
        format!("{response}{CLOSE}\r\n9\r\ndata: 0\n\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n")
    );
    let tuple = "HTTP/1.1 202 Accepted\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(
        exchange(&server, &last("GET", "/tuple")),
        format!("{tuple}{CLOSE}\r\n1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n")
    );
    for nothing in ["/empty", "/blank"] {
        assert_eq!(
            exchange(&server, &last("GET", nothing)),
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{CLOSE}\r\n"),
            "{nothing}"
        );
    }
}

#[test]
fn http_1_0_and_head_have_their_own_forms() {
    let server = Server::start("streams:app", &["--workers", "1"]);
    let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n";
    assert_eq!(
        exchange(&server, b"GET /text HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        format!("{text}{CLOSE}\r\nonezw\u{c3}\u{b6}lf")
    );
    assert_eq!(exchange(&server, &last("HEAD", "/text")), format!("{text}transfer-encoding: chunked\r\n{CLOSE}\r\n"));
    assert!(exchange(&server, &last("HEAD", "/endless")).ends_with("\r\n\r\n"));
    server.wait_for_log("closed the endless one");
}

#[test]
fn connections_live_on_and_pipelined_answers_keep_their_order() {
    let server = Server::start("streams:app", &["--workers", "2"]);
    let mut client = server.connect();
    let requests = [request("GET", "/text", &[], b""), request("GET", "/quick", &[], b""), last("GET", "/response")];
    client.send(&requests.concat());
    let answers = shown(&client.rest());
    let order: Vec<_> = ["zw\u{c3}\u{b6}lf", "ok", "data: 1"].map(|text| answers.find(text).expect(text)).into();
    assert!(order.is_sorted(), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 3);
}

#[test]
fn a_piece_is_there_before_the_next_is_made() {
    let server = Server::start("streams:app", &["--workers", "1"]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    let mut client = server.connect();
    client.send(&last("GET", &format!("/wait?path={}", path.display())));
    let mut seen = Vec::new();
    while !seen.ends_with(b"7\r\nbefore \r\n") {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).expect("the first piece");
        seen.push(byte[0]);
    }
    std::fs::write(&path, "").expect("a file");
    assert_eq!(client.rest(), b"5\r\nafter\r\n0\r\n\r\n");
}

#[test]
fn what_goes_wrong_before_the_first_piece_is_answered() {
    let server = Server::start("streams:app", &["--workers", "1"]);
    for (target, status, error) in [
        ("/first/raises", 500, "handler_raised"),
        ("/first/wrong", 500, "response_not_serializable"),
        ("/none", 500, "response_not_serializable"),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{target}");
    }
    let answer = server.get("/first/http");
    assert_eq!((answer.status, answer.text()), (404, r#"{"detail":"no such thing"}"#));
    let (_, log) = server.stop();
    assert!(log.contains("ValueError: too early"), "{log}");
    assert!(log.contains("a content yields str or bytes, not dict"), "{log}");
}

#[test]
fn what_goes_wrong_later_ends_the_connection_without_a_last_chunk() {
    let server = Server::start("streams:app", &["--admin", "0", "--workers", "1", "--interrupt-grace", "200ms"]);
    let targets = ["/later/raises", "/later/wrong", "/later/spins", "/later/stuck"];
    for target in targets {
        let answer = exchange(&server, &request("GET", target, &[], b""));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {answer}");
        assert!(answer.ends_with("\r\n\r\n3\r\none\r\n"), "{target}: {answer}");
        assert_eq!(server.get("/quick").text(), "ok", "{target}: a worker goes on");
    }
    let mut admin = connect(server.admin_port());
    admin.send(&request("GET", "/stats", &[], b""));
    let stats = admin.answer("GET").json();
    assert_eq!(stats["connections_closed_by_reason"]["broken_content"], 4, "{stats}");
    assert_eq!(stats["requests_dropped_by_reason"]["broken_content"], 4, "{stats}");
    assert_eq!(stats["workers"]["replaced"], 1, "the one that is stuck in C: {stats}");
    let (_, log) = server.stop();
    for said in ["ValueError: too late", "a content yields str or bytes, not int", "HandlerTimeout", "GET /later/stuck"]
    {
        assert!(log.contains(said), "the log says {said:?}:\n{log}");
    }
}

#[test]
fn the_budget_is_for_each_piece() {
    let server = Server::start("streams:app", &["--workers", "1"]);
    let answer = exchange(&server, &last("GET", "/slow/5"));
    assert!(answer.ends_with("\r\n1\r\n4\r\n0\r\n\r\n"), "five times 0.3 s is over the budget of one: {answer}");
}

#[test]
fn a_client_that_leaves_closes_the_generator_and_frees_the_worker() {
    let server = Server::start("streams:app", &["--workers", "1", "--interrupt-grace", "200ms"]);
    for (target, said) in [("/endless", "closed the endless one"), ("/endless/stubborn", "would not close")] {
        let mut client = server.connect();
        client.send(&request("GET", target, &[], b""));
        client.stream.read_exact(&mut [0; 100_000]).expect("it begins");
        drop(client);
        server.wait_for_log(said);
        assert_eq!(server.get("/quick").text(), "ok", "{target}");
    }
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("generator ignored GeneratorExit"), "{log}");
}

#[test]
fn a_client_that_does_not_read_is_cut_and_the_generator_closed() {
    let server = Server::start("streams:app", &["--workers", "1", "--write-timeout", "300ms"]);
    let mut client = server.connect();
    client.send(&request("GET", "/endless", &[], b""));
    server.wait_for_log("closed the endless one");
    assert_eq!(server.get("/quick").text(), "ok");
}

#[test]
fn a_slow_client_costs_no_memory() {
    const MEBIBYTES: usize = 512;
    let server = Server::start("streams:app", &["--workers", "1"]);
    assert_eq!(server.get("/quick").text(), "ok");
    let before = server.resident_kib();
    let mut client = server.connect();
    client.send(&last("GET", &format!("/mebibytes/{MEBIBYTES}")));
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match client.stream.read(&mut buffer).expect("bytes") {
            0 => break,
            bytes => read += bytes,
        }
    }
    assert!(read > MEBIBYTES << 20, "the content and its framing: {read}");
    let grown = server.peak_resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for {MEBIBYTES} MiB");
}

#[test]
fn a_drain_lets_a_content_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    let mut server = Server::start("streams:app", &["--workers", "1"]);
    let mut client = server.connect();
    client.send(&request("GET", &format!("/wait?path={}", path.display()), &[], b""));
    client.stream.read_exact(&mut [0; 100]).expect("it begins");
    server.signal(15);
    server.wait_for_log("draining");
    std::fs::write(&path, "").expect("a file");
    assert!(shown(&client.rest()).ends_with("5\r\nafter\r\n0\r\n\r\n"));
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn a_content_that_does_not_end_is_cut_at_the_end_of_a_drain() {
    let mut server = Server::start("streams:app", &["--workers", "1", "--drain-timeout", "300ms"]);
    let mut client = server.connect();
    client.send(&request("GET", "/endless", &[], b""));
    client.stream.read_exact(&mut [0; 100_000]).expect("it begins");
    server.signal(15);
    assert!(!client.rest().ends_with(b"0\r\n\r\n"), "it is not whole");
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    assert!(server.log().contains("closed the endless one"), "{}", server.log());
}
