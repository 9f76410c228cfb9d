//! What servers get wrong most often, one named test each, through the whole of the driver: a client's bytes in, exact answers
//! out. Each of these was seen in widely used servers.

use std::time::Duration;

use super::{failure, plain, plain_last};
use crate::http::Limits;
use crate::server::ServerOptions;
use crate::server::testing::{Client, World, ok, options};

/// Lets the worker answer all that waits for it.
fn work_all(world: &mut World) {
    while let Some(task) = world.task() {
        let body = [task.request.head.path().as_bytes(), b" ", &task.request.body].concat();
        assert!(task.reply.send(ok(body)).is_ok());
        world.settle();
    }
}

/// The status of every answer in the text.
fn statuses(text: &str) -> Vec<&str> {
    let starts = text.match_indices("HTTP/1.1 ").map(|(start, _)| &text[start + 9..start + 12]);
    // A detail may name the version, too.
    starts.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// The one answer is a refusal with this status, which ends the connection; nothing reached a worker.
#[track_caller]
fn assert_refused(bytes: &str, expected: u16) {
    let mut world = World::new();
    let client = world.client(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"));
    work_all(&mut world);
    let text = client.text();
    let (status, close, ..) = failure(&text);
    assert_eq!((status, close), (expected, true), "{bytes:?}");
    assert_eq!(statuses(&text).len(), 1, "{bytes:?}");
    assert!(world.task().is_none() && client.saw_end(), "{bytes:?}");
    world.check_balance();
}

#[test]
fn a_host_is_required_and_is_a_host() {
    assert_refused("GET /a HTTP/1.1\r\n\r\n", 400);
    for host in ["", "a b", "a/b", "u@a", "a:b", "a, b", "[::1"] {
        assert_refused(&format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
    assert_refused("GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn a_client_that_half_closes_after_its_request_loses_no_answer() {
    let mut world = World::new();
    let client =
        world.client("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    client.close_write();
    world.settle();
    work_all(&mut world);
    assert_eq!(client.text(), plain("/a hello"));
    assert!(client.is_closed());
}

#[test]
fn an_error_is_answered_to_the_request_that_it_is_in() {
    let mut world = World::new();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let pipeline = [request("/a"), request("/b"), "GET /c HTTP/1.1\r\n\r\n".into(), request("/d")].concat();
    let client = world.client(pipeline);
    work_all(&mut world);
    let text = client.text();
    let good = [plain("/a "), plain("/b ")].concat();
    assert!(text.starts_with(&good), "{text}");
    assert_eq!(failure(&text[good.len()..]).0, 400);
    assert_eq!(statuses(&text), ["200", "200", "400"]);
}

#[test]
fn close_in_a_list_of_options_is_obeyed_and_nothing_after_it_is_served() {
    for options in ["close", "x, Close", "close , keep-alive", "x\r\nConnection: close", ",,CLOSE"] {
        let mut world = World::new();
        let request = format!("GET /a HTTP/1.1\r\nHost: x\r\nConnection: {options}\r\n\r\n");
        let client = world.client(format!("{request}GET /b HTTP/1.1\r\nHost: x\r\n\r\n"));
        work_all(&mut world);
        assert_eq!(client.text(), plain_last("/a "), "{options}");
        assert!(client.saw_end());
    }
}

/// Feeds the line for ever; gives the status of the answer and how many bytes were taken in before it.
fn endless(start: &str, line: &str) -> (u16, usize) {
    let world = World::new();
    let client = world.client(start);
    let mut sent = start.len();
    while client.is_waiting() {
        world.send(&client, line);
        sent += line.len();
        assert!(sent < 1 << 20, "{start:?}, then {line:?} for ever: not refused after {sent} bytes");
    }
    (failure(&client.text()).0, sent)
}

impl Client {
    /// Nothing was answered yet.
    fn is_waiting(&self) -> bool {
        !self.saw_end() && !self.is_closed()
    }
}

#[test]
fn lines_without_end_are_cut_at_their_limit() {
    let get = "GET /a HTTP/1.1\r\nHost: x\r\n";
    let chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let limits = options().limits;
    let Limits { target_bytes_max: target, headers_bytes_max: headers, .. } = limits;
    let (extensions, trailers) = (limits.chunk_extensions_bytes_max, limits.trailers_bytes_max);
    for (start, line, expected, most) in [
        ("GET /".to_owned(), "x", 414, target),
        (get.to_owned(), "X: ", 431, headers),
        (get.to_owned(), "X: y\r\n", 431, headers),
        (format!("{chunked}1;"), "x", 400, extensions),
        (format!("{chunked}1;a=\""), "x", 400, extensions),
        (chunked.to_owned(), "1;long=er\r\nz\r\n", 400, extensions * 3),
        (format!("{chunked}0\r\nX:"), " ", 431, trailers),
        (format!("{chunked}0\r\n"), "X: y\r\n", 431, trailers),
        (chunked.to_owned(), "0", 400, 20),
    ] {
        let (status, sent) = endless(&start, line);
        assert_eq!(status, expected, "{start:?}, then {line:?}");
        assert!(sent <= start.len() + most + 200, "{start:?}, then {line:?}: {sent} bytes");
    }
}

#[test]
fn a_bare_line_feed_ends_no_line_of_a_chunked_body() {
    let chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["1\nz\r\n0\r\n\r\n", "1\r\nz\n0\r\n\r\n", "1\r\nz\r\n0\n\r\n", "1\r\nz\r\n0\r\n\n", "0\r\nT: u\n\r\n"]
    {
        assert_refused(&format!("{chunked}{body}"), 400);
    }
}

#[test]
fn every_answer_has_a_date_whoever_made_it() {
    let mut world = World::with(ServerOptions { head_timeout: Duration::from_secs(1), ..options() }, 1);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let large = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n".to_owned();
    let mut texts: Vec<String> =
        ["BAD\r\n".to_owned(), get("/x/y"), large, get("/a%00"), "BREW / HTTP/1.1\r\nHost: x\r\n\r\n".into()]
            .iter()
            .map(|bytes| world.client(bytes).text())
            .collect();
    let slow = world.client("GET /a");
    world.advance(Duration::from_secs(1));
    texts.push(slow.text());
    let waiting = world.client(get("/a"));
    texts.push(world.client(get("/b")).text());
    work_all(&mut world);
    texts.push(waiting.text());
    let expected = ["400", "404", "413", "400", "501", "408", "503", "200"];
    for (text, status) in texts.iter().zip(expected) {
        assert_eq!(statuses(text), [status]);
        assert_eq!(text.matches("\r\ndate: ").count(), 1, "{text}");
    }
}

#[test]
fn a_client_of_http_1_0_gets_no_1xx() {
    let mut world = World::new();
    let client = world.client("POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.text(), "", "it is waited for without a word");
    world.send(&client, "hi");
    work_all(&mut world);
    assert_eq!(client.text(), plain_last("/a hi"));
}

#[test]
fn the_verdict_is_the_same_however_the_bytes_are_cut() {
    for bytes in [
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: y z\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: u\r\n\r\nGET /b HTTP/1.1\r\nHost: x\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiXGET / HTTP/1.1\r\n\r\n",
    ] {
        let answered = |size: usize| {
            let mut world = World::new();
            let client = world.connect();
            for piece in bytes.as_bytes().chunks(size) {
                world.send(&client, piece);
                work_all(&mut world);
            }
            client.text()
        };
        let whole = answered(bytes.len());
        assert!(statuses(&whole).len() >= 2, "{whole}");
        for size in [1, 2, 3, 7, 30] {
            assert_eq!(answered(size), whole, "in pieces of {size}: {bytes:?}");
        }
    }
}

#[test]
fn a_truncated_body_reaches_no_handler() {
    let chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bytes in [
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell".to_owned(),
        format!("{chunked}5\r\nhell"),
        format!("{chunked}5\r\nhello\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\nT: u\r\n"),
    ] {
        let mut world = World::new();
        let client = world.client(&bytes);
        client.close_write();
        world.settle();
        assert!(world.task().is_none(), "{bytes:?}");
        let text = client.text();
        assert_eq!((failure(&text).0, failure(&text).1), (400, true), "{bytes:?}");
    }
}

#[test]
fn nothing_is_served_after_a_request_with_two_framings() {
    let post = "POST /a HTTP/1.1\r\nHost: x\r\n";
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_refused(&format!("{post}{framing}\r\n0\r\n\r\n"), 400);
    }
    assert_refused("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn a_method_that_nobody_knows_is_501_and_one_that_the_path_lacks_is_405() {
    let world = World::new();
    for (method, expected) in [("BREW", 501), ("get", 501), ("TRACE", 501), ("DELETE", 405), ("PATCH", 405)] {
        let text = world.client(format!("{method} /a HTTP/1.1\r\nHost: x\r\n\r\n")).text();
        assert_eq!(failure(&text).0, expected, "{method}");
        assert_eq!(text.contains("\r\nallow: "), expected == 405, "{method}");
    }
}

#[test]
fn a_malformed_chunk_size_stops_one_connection_and_not_the_server() {
    let mut world = World::new();
    let chunked = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for size in ["x", "-1", "+1", "0x1", "1_0", "ffffffffffffffff", "10000000000000000", "\u{661}", "", " 1", "1\0"] {
        let text = world.client(format!("{chunked}{size}\r\nz\r\n0\r\n\r\n")).text();
        let expected = if size == "ffffffffffffffff" { 413 } else { 400 };
        assert_eq!((failure(&text).0, failure(&text).1), (expected, true), "{size:?}");
        let other = world.client("GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
        work_all(&mut world);
        assert_eq!(other.text(), plain("/b "), "after {size:?}");
    }
    world.check_balance();
}

/// RFC 9110, 7.8: a server may ignore Upgrade, and this one always does.
#[test]
fn an_upgrade_is_not_taken_up() {
    let mut world = World::new();
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQ\r\n";
    let client = world.client(format!("GET /a HTTP/1.1\r\nHost: x\r\n{upgrade}\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"));
    work_all(&mut world);
    assert_eq!(client.text(), [plain("/a "), plain("/b ")].concat());
}

/// Range, conditions, codings and negotiation are the handler's to take up: the answer is whole whatever the client would take.
#[test]
fn what_is_optional_is_ignored() {
    for field in ["Range: bytes=0-0", "If-None-Match: *", "TE: trailers, gzip", "Accept-Encoding: gzip", "Accept: x/y"]
    {
        let mut world = World::new();
        let client = world.client(format!("GET /a HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n"));
        work_all(&mut world);
        assert_eq!(client.text(), plain("/a "), "{field}");
    }
}
