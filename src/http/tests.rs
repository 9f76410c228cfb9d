//! Exact bytes in, exact events out; each rule by name; any cut of the same bytes alike.

use proptest::prelude::*;

use super::*;

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// An event, or an error, in a form that is the same however bodies are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Head(String),
    Body(Vec<u8>),
    End,
    Closed,
    Error(u16, String),
}

fn ok() -> Response {
    Response { status: 200, headers: vec![("x".into(), b"y"[..].into())], body: b"hi".to_vec(), close: false }
}

/// Feeds the pieces, answers each complete request with `ok`, and collects what was seen.
fn run_with(limits: Limits, pieces: &[&[u8]], eof: bool) -> (Vec<Seen>, Vec<u8>) {
    let mut connection = Connection::new(limits);
    let (mut seen, mut out) = (Vec::new(), Vec::new());
    let mut pieces = pieces.iter();
    let mut ended = false;
    loop {
        match connection.next_event() {
            Ok(Event::NeedData) => match pieces.next() {
                Some(piece) => connection.receive(piece),
                None if eof => {
                    assert!(!std::mem::replace(&mut ended, true), "data needed after the end");
                    connection.receive_eof();
                }
                None => break,
            },
            Ok(Event::Head(head)) => seen.push(Seen::Head(format!("{} {}", head.method(), head.target()))),
            Ok(Event::Body(bytes)) => match seen.last_mut() {
                Some(Seen::Body(body)) => body.extend(bytes),
                _ => seen.push(Seen::Body(bytes)),
            },
            Ok(Event::End) => {
                seen.push(Seen::End);
                connection.send(ok(), DATE, &mut out).expect("a valid response");
            }
            Ok(Event::Paused) => unreachable!("every response was sent"),
            Ok(Event::Closed) => {
                seen.push(Seen::Closed);
                break;
            }
            Err(error) => {
                seen.push(Seen::Error(error.failure.status(), error.detail.into_owned()));
                let response = error.failure.response("x");
                let after = connection.send(response, DATE, &mut out).expect("a valid response");
                assert_ne!(after, AfterResponse::KeepAlive, "a refusal ends the connection");
            }
        }
    }
    (seen, out)
}

fn run(bytes: &[u8]) -> Vec<Seen> {
    run_with(Limits::default(), &[bytes], false).0
}

fn head_of(bytes: &[u8]) -> Head {
    let mut connection = Connection::new(Limits::default());
    connection.receive(bytes);
    match connection.next_event() {
        Ok(Event::Head(head)) => head,
        other => panic!("{other:?} for {}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> (u16, String) {
    match run(bytes).iter().find(|seen| matches!(seen, Seen::Error(..))) {
        Some(Seen::Error(status, detail)) => (*status, detail.clone()),
        _ => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn a_head_has_its_parts() {
    let head =
        head_of(b"PoST /a%20b?x=1?y HTTP/1.1\r\nHost: Example.com:80\r\nX-A:  v \t\r\nx-a: \xe9\r\nEmpty:\r\n\r\n");
    assert_eq!((head.method(), head.target()), ("PoST", "/a%20b?x=1?y"));
    assert_eq!((head.path(), head.query(), head.minor_version()), ("/a%20b", Some("x=1?y"), 1));
    assert_eq!(head.host(), "Example.com:80");
    let fields: Vec<_> = head.headers().collect();
    assert_eq!(fields, [("Host", &b"Example.com:80"[..]), ("X-A", b"v"), ("x-a", b"\xe9"), ("Empty", b"")]);
    assert_eq!(head.header("X-a"), Some(&b"v"[..]));
    assert!(!head.has_body() && !head.expects_continue());
    assert_eq!(head.content_length(), Some(0));
}

#[test]
fn targets_have_four_forms_and_three_are_served() {
    let path = |target: &str, host: &str, method: &str| {
        let head = head_of(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        (head.path().to_owned(), head.query().map(str::to_owned))
    };
    assert_eq!(path("/?", "a", "GET"), ("/".into(), Some("".into())));
    assert_eq!(path("http://a:8/x?y", "A:8", "GET"), ("/x".into(), Some("y".into())));
    assert_eq!(path("HTTPS://a", "a", "GET"), ("/".into(), None));
    assert_eq!(path("http://a?y", "a", "GET"), ("/".into(), Some("y".into())));
    assert_eq!(path("*", "a", "OPTIONS"), ("*".into(), None));
    assert_eq!(path("//x", "a", "GET"), ("//x".into(), None));
    for (target, method) in [
        ("*", "GET"),
        ("a:80", "CONNECT"),
        ("http://b/", "GET"),
        ("http:///x", "GET"),
        ("http://u@a/", "GET"),
        ("x", "GET"),
        ("ftp://a/", "GET"),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, 400, "{target}");
    }
}

#[test]
fn request_lines_have_one_form() {
    let line = |line: &str| refused(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
    for bad in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.x",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET / HTTX/1.1",
    ] {
        assert_eq!(line(bad).0, 400, "{bad:?}");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        assert_eq!(line(&format!("GET / {version}")).0, 505, "{version}");
    }
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0, 505);
    assert_eq!(run(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").len(), 2, "two empty lines are passed over");
    assert_eq!(refused(b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").0, 400);
}

#[test]
fn hosts_are_required_once_and_valid() {
    let host = |lines: &str, version: &str| run(format!("GET / HTTP/{version}\r\n{lines}\r\n").as_bytes());
    for good in
        ["a", "a:", "a:80", "[::1]", "[2001:db8::1]:8000", "a.b-c_d~e", "127.0.0.1:65535", "%41", "a!$&'()*+,;="]
    {
        assert_eq!(host(&format!("Host: {good}\r\n"), "1.1").len(), 2, "{good}");
    }
    for bad in [
        "", "a b", "a/b", "a:b", "a:80:80", "a:65536", "u@a", "[::1", "[x]", "[::1]x", "a\u{7f}", "%4", "a#b", "a?b",
        ":80", "a,b c",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, 400, "{bad:?}");
    }
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n").0, 400);
    for version in ["1.0", "1.1"] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\nHost: a\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, 400);
    }
    assert_eq!(host("", "1.0").len(), 3, "HTTP/1.0 needs none, and closes");
}

/// Families of request smuggling and of header injection: each is refused, and the connection with it.
#[test]
fn what_two_servers_could_read_differently_is_refused() {
    let cases: &[(&str, u16, &[u8])] = &[
        ("CL.TE", 400, b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.CL", 400, b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("CL.CL different", 400, b"Content-Length: 4\r\nContent-Length: 5\r\n"),
        ("CL.CL same", 400, b"Content-Length: 4\r\nContent-Length: 4\r\n"),
        ("CL list", 400, b"Content-Length: 4, 4\r\n"),
        ("CL plus", 400, b"Content-Length: +4\r\n"),
        ("CL minus", 400, b"Content-Length: -4\r\n"),
        ("CL hex", 400, b"Content-Length: 0x4\r\n"),
        ("CL empty", 400, b"Content-Length:\r\n"),
        ("CL inner space", 400, b"Content-Length: 4 4\r\n"),
        ("CL overflow", 400, b"Content-Length: 18446744073709551616\r\n"),
        ("CL non-ASCII digit", 400, "Content-Length: ٤\r\n".as_bytes()),
        ("TE gzip", 501, b"Transfer-Encoding: gzip\r\n"),
        ("TE gzip, chunked", 501, b"Transfer-Encoding: gzip, chunked\r\n"),
        ("TE identity", 501, b"Transfer-Encoding: identity\r\n"),
        ("TE xchunked", 501, b"Transfer-Encoding: xchunked\r\n"),
        ("TE chunked twice", 400, b"Transfer-Encoding: chunked, chunked\r\n"),
        ("TE two lines", 400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("TE two lines, one bogus", 400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
        ("TE empty", 400, b"Transfer-Encoding:\r\n"),
        ("TE parameter", 501, b"Transfer-Encoding: chunked;q=1\r\n"),
        ("TE quoted", 501, b"Transfer-Encoding: \"chunked\"\r\n"),
        ("TE vertical tab", 400, b"Transfer-Encoding: \x0bchunked\r\n"),
        ("TE NUL", 400, b"Transfer-Encoding: chunked\0\r\n"),
        ("space before colon", 400, b"Transfer-Encoding : chunked\r\n"),
        ("tab before colon", 400, b"Content-Length\t: 4\r\n"),
        ("space before name", 400, b" Transfer-Encoding: chunked\r\n"),
        ("obs-fold", 400, b"X: a\r\n Transfer-Encoding: chunked\r\n"),
        ("obs-fold by tab", 400, b"X: a\r\n\tb\r\n"),
        ("bare CR", 400, b"X: a\rTransfer-Encoding: chunked\r\n"),
        ("bare LF", 400, b"X: a\nTransfer-Encoding: chunked\r\n"),
        ("LF CR", 400, b"X: a\n\rY: b\r\n"),
        ("empty name", 400, b": a\r\n"),
        ("no colon", 400, b"Transfer-Encoding\r\n"),
        ("name not a token", 400, b"X@Y: a\r\n"),
        ("name not ASCII", 400, b"\xc5\xbf: a\r\n"),
        ("control in value", 400, b"X: a\x01b\r\n"),
        ("DEL in value", 400, b"X: a\x7fb\r\n"),
        ("NUL in value", 400, b"X: a\0b\r\n"),
        ("expectation", 417, b"Expect: 200-ok\r\n"),
        ("expectation list", 417, b"Expect: 100-continue, x\r\n"),
    ];
    for (name, status, lines) in cases {
        let bytes =
            [b"POST / HTTP/1.1\r\nHost: a\r\n", *lines, b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"]
                .concat();
        let (seen, out) = run_with(Limits::default(), &[&bytes], false);
        let [Seen::Error(got, _), Seen::Closed] = seen.as_slice() else { panic!("{name}: {seen:?}") };
        assert_eq!(got, status, "{name}");
        assert!(out.windows(17).any(|window| window == b"connection: close"), "{name}");
    }
    assert_eq!(refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").0, 400);
}

#[test]
fn content_ends_where_it_says_and_the_next_request_begins_there() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST /b HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n\
        5;ext=\"v\"\r\nhello\r\n00A \t;x\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = |text: &str| Seen::Body(text.as_bytes().to_vec());
    let head = |text: &str| Seen::Head(text.to_owned());
    let expected = [
        head("POST /a"),
        body("hello"),
        Seen::End,
        head("POST /b"),
        body("hello0123456789"),
        Seen::End,
        head("GET /c"),
        Seen::End,
    ];
    assert_eq!(run(bytes), expected);
}

#[test]
fn chunks_have_one_grammar() {
    let chunked = |body: &[u8]| {
        let bytes = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
        run(&bytes).into_iter().find_map(|seen| match seen {
            Seen::Error(status, _) => Some(status),
            _ => None,
        })
    };
    for good in
        [&b"0\r\n\r\n"[..], b"000\r\n\r\n", b"1\r\nx\r\n0\r\n\r\n", b"1;a=b;c\r\nx\r\n0;d\r\nT: u\r\n\r\n", b"fFfF"]
    {
        assert_eq!(chunked(good), None, "{:?}", String::from_utf8_lossy(good));
    }
    for bad in [
        &b"\r\n"[..],
        b"g\r\n",
        b"0x1\r\nx\r\n",
        b"+1\r\nx\r\n",
        b"-1\r\n",
        b"1 \r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1\nx\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx0\r\n\r\n",
        b"1;\x00\r\nx\r\n",
        b"1;a\rb\r\nx\r\n",
        b"11111111111111111\r\n",
        b"ffffffffffffffff1\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\nT : u\r\n\r\n",
        b"0\r\nT: u\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"1\r\nx\r\n0\n\n",
        b"1\r\nx\rx",
    ] {
        assert_eq!(chunked(bad), Some(400), "{:?}", String::from_utf8_lossy(bad));
    }
    assert_eq!(chunked(b"ffffffffffffffff\r\n"), Some(413));
}

#[test]
fn each_limit_has_its_answer() {
    let limits = || Limits {
        target_bytes_max: 20,
        headers_bytes_max: 100,
        headers_count_max: 3,
        body_bytes_max: 10,
        chunk_extensions_bytes_max: 8,
        trailers_bytes_max: 30,
        trailers_count_max: 2,
        requests_per_connection_max: 2,
    };
    let status = |bytes: &[u8]| {
        run_with(limits(), &[bytes], false).0.into_iter().find_map(|seen| match seen {
            Seen::Error(status, _) => Some(status),
            _ => None,
        })
    };
    let get = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    assert_eq!(status(&get(&"/".repeat(20), "")), None);
    assert_eq!(status(&get(&"/".repeat(21), "")), Some(414));
    assert_eq!(status("/".repeat(277).as_bytes()), Some(414), "without a line end, too");
    assert_eq!(status(&get("/", "A: 1\r\nB: 2\r\n")), None);
    assert_eq!(status(&get("/", "A: 1\r\nB: 2\r\nC: 3\r\n")), Some(431));
    // "Host: a" and the empty line take 9 and 2 of the 100 bytes.
    assert_eq!(status(&get("/", &format!("A: {}\r\n", "v".repeat(84)))), None);
    assert_eq!(status(&get("/", &format!("A: {}\r\n", "v".repeat(85)))), Some(431));
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\n{}", "v".repeat(101)).as_bytes()),
        Some(431),
        "without a line end, too"
    );
    let chunked = |body: &str| {
        status(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes())
    };
    assert_eq!(chunked("a\r\n0123456789\r\n0\r\n\r\n"), None);
    assert_eq!(chunked("b\r\n"), Some(413));
    assert_eq!(chunked("a\r\n0123456789\r\n1\r\n"), Some(413));
    assert_eq!(chunked("1;234\r\nx\r\n1;234\r\nx\r\n0\r\n\r\n"), None);
    assert_eq!(chunked("1;234\r\nx\r\n1;234\r\nx\r\n0;\r\n\r\n"), Some(400), "extensions count together");
    assert_eq!(chunked(&format!("1;{}", "x".repeat(30))), Some(400), "without a line end, too");
    assert_eq!(chunked("0\r\nA: 1\r\nB: 2\r\n\r\n"), None);
    assert_eq!(chunked("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Some(431));
    assert_eq!(chunked(&format!("0\r\nA: {}\r\n\r\n", "v".repeat(26))), Some(431));
    let twice = [get("/1", ""), get("/2", ""), get("/3", "")].concat();
    let (seen, out) = run_with(limits(), &[&twice], false);
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Head(_))).count(), 2);
    assert_eq!(out.windows(17).filter(|window| window == b"connection: close").count(), 1);
}

#[test]
fn connections_stay_open_as_the_client_says() {
    let closes = |version: &str, lines: &str| {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        let (seen, out) = run_with(Limits::default(), &[bytes.as_bytes()], false);
        let closed = seen.last() == Some(&Seen::Closed);
        assert_eq!(closed, out.windows(17).any(|window| window == b"connection: close"), "{lines}");
        let says = out.windows(22).any(|window| window == b"connection: keep-alive");
        assert_eq!(says, version == "1.0" && !closed, "{lines}");
        closed
    };
    for (version, lines, expected) in [
        ("1.1", "", false),
        ("1.1", "Connection: close\r\n", true),
        ("1.1", "Connection: CLOSE\r\n", true),
        ("1.1", "Connection: x, Close ,y\r\n", true),
        ("1.1", "Connection: x\r\nConnection: close\r\n", true),
        ("1.1", "Connection: closed\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", true),
        ("1.0", "", true),
        ("1.0", "Connection: Keep-Alive\r\n", false),
        ("1.0", "Connection: keep-alive, close\r\n", true),
    ] {
        assert_eq!(closes(version, lines), expected, "{version} {lines:?}");
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it_once_and_an_early_answer_closes() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
    let mut connection = Connection::new(Limits::default());
    connection.receive(bytes);
    assert!(matches!(connection.next_event(), Ok(Event::Head(head)) if head.expects_continue()));
    assert!(connection.wants_continue());
    let mut out = Vec::new();
    connection.send_continue(&mut out);
    connection.send_continue(&mut out);
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.receive(b"ab");
    assert_eq!(connection.next_event(), Ok(Event::Body(b"ab".to_vec())));
    assert_eq!(connection.next_event(), Ok(Event::End));
    assert_eq!(connection.next_event(), Ok(Event::Paused));
    assert_eq!(connection.send(ok(), DATE, &mut out), Ok(AfterResponse::KeepAlive));

    connection.receive(bytes);
    assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
    assert_eq!(connection.send(ok(), DATE, &mut out), Ok(AfterResponse::DrainThenClose { max_bytes: 2 }));
    assert_eq!(connection.next_event(), Ok(Event::Closed));

    let old = b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let mut connection = Connection::new(Limits::default());
    connection.receive(old);
    assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
    assert!(!connection.wants_continue(), "HTTP/1.0 knows no 1xx");
}

#[test]
fn the_end_of_input_is_no_end_of_what_was_complete() {
    let whole = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (seen, _) = run_with(Limits::default(), &[whole], true);
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::End).count(), 2);
    assert_eq!(seen.last(), Some(&Seen::Closed));
    for cut in [
        &whole[..10],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ] {
        let (seen, _) = run_with(Limits::default(), &[cut], true);
        assert!(seen.iter().any(|seen| matches!(seen, Seen::Error(400, _))), "{seen:?}");
        assert!(!seen.contains(&Seen::End), "what was cut short is never given out as whole");
    }
    for nothing in [&b""[..], b"\r\n"] {
        assert_eq!(run_with(Limits::default(), &[nothing], true).0, [Seen::Closed]);
    }
}

fn written(request: &[u8], response: Response) -> Result<String, String> {
    let mut connection = Connection::new(Limits::default());
    connection.receive(request);
    while !matches!(connection.next_event().expect("a valid request"), Event::End) {}
    let mut out = b"before".to_vec();
    match connection.send(response, DATE, &mut out) {
        Ok(_) => Ok(String::from_utf8_lossy(&out[6..]).into_owned()),
        Err(error) => {
            assert_eq!(out, b"before", "nothing was written");
            Err(error.to_string())
        }
    }
}

#[test]
fn responses_are_written_exactly() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(
        written(get, ok()).expect("valid"),
        format!("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n{date}\r\nhi")
    );
    assert_eq!(
        written(head, ok()).expect("valid"),
        format!("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n{date}\r\n")
    );
    let empty = |status| Response { status, headers: vec![], body: vec![], close: false };
    assert_eq!(written(get, empty(204)).expect("valid"), format!("HTTP/1.1 204 No Content\r\n{date}\r\n"));
    assert_eq!(written(get, empty(304)).expect("valid"), format!("HTTP/1.1 304 Not Modified\r\n{date}\r\n"));
    assert_eq!(
        written(get, empty(205)).expect("valid"),
        format!("HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n{date}\r\n")
    );
    assert_eq!(written(get, empty(299)).expect("valid"), format!("HTTP/1.1 299 \r\ncontent-length: 0\r\n{date}\r\n"));
    let closing = Response {
        headers: vec![("Connection".into(), b"Close"[..].into()), ("Date".into(), b"now"[..].into())],
        ..empty(200)
    };
    assert_eq!(
        written(get, closing).expect("valid"),
        "HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
}

#[test]
fn responses_that_would_break_the_framing_are_refused() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let with =
        |name: &'static str, value: &'static [u8]| Response { headers: vec![(name.into(), value.into())], ..ok() };
    for response in [
        with("x", b"a\r\nb: c"),
        with("x", b"a\nb"),
        with("x", b"a\rb"),
        with("x", b"\0"),
        with("x", b"\x7f"),
        with("x y", b"a"),
        with("", b"a"),
        with("x:", b"a"),
        with("x\r\n", b"a"),
        with("content-length", b"2"),
        with("Transfer-Encoding", b"chunked"),
        with("connection", b"upgrade"),
        with("upgrade", b"h2c"),
        with("trailer", b"x"),
        Response { status: 204, ..ok() },
        Response { status: 304, ..ok() },
        Response { status: 199, ..ok() },
        Response { status: 600, ..ok() },
        Response { headers: vec![("date".into(), b"a"[..].into()), ("Date".into(), b"b"[..].into())], ..ok() },
    ] {
        assert!(written(get, response.clone()).is_err(), "{response:?}");
    }
    assert!(written(get, with("x", b"tab\tand \xe9 are fine")).is_ok());
}

#[test]
fn a_head_that_comes_byte_by_byte_is_scanned_once() {
    // Quadratic work would take hours for a head of this size; linear work takes no time.
    let limits = Limits { target_bytes_max: 4_000_000, headers_bytes_max: 4_000_000, ..Limits::default() };
    let bytes = [
        b"GET /".to_vec(),
        vec![b'a'; 2_000_000],
        b" HTTP/1.1\r\nHost: a\r\nX: ".to_vec(),
        vec![b'v'; 2_000_000],
        b"\r\n\r\n".to_vec(),
    ]
    .concat();
    let mut connection = Connection::new(limits);
    let mut heads = 0;
    for byte in bytes {
        connection.receive(&[byte]);
        heads += usize::from(matches!(connection.next_event(), Ok(Event::Head(_))));
    }
    assert_eq!(heads, 1);
}

/// Requests good and bad, to be strung together and cut.
const FRAGMENTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /x?y HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / H",
    b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: v\r\n\r\n",
    b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n!",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/2.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad\r\n\r\n",
    b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n0\r\n\r\n",
];

fn tight() -> Limits {
    Limits {
        target_bytes_max: 40,
        headers_bytes_max: 120,
        headers_count_max: 4,
        body_bytes_max: 40,
        chunk_extensions_bytes_max: 20,
        trailers_bytes_max: 16,
        trailers_count_max: 1,
        requests_per_connection_max: 5,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_the_same_bytes_gives_the_same_events(
        fragments in proptest::collection::vec(proptest::sample::select(FRAGMENTS), 1..5),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        bytewise: bool,
        eof: bool,
    ) {
        let mut bytes = fragments.concat();
        for (place, value) in flips {
            let index = place.index(bytes.len());
            bytes[index] = value;
        }
        let mut ends: Vec<usize> = if bytewise {
            (1..=bytes.len()).collect()
        } else {
            cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect()
        };
        ends.sort_unstable();
        let mut start = 0;
        let pieces: Vec<&[u8]> = ends.iter().map(|&end| {
            let piece = &bytes[start..end];
            start = end;
            piece
        }).collect();
        prop_assert_eq!(run_with(tight(), &pieces, eof), run_with(tight(), &[&bytes], eof));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        run_with(tight(), &[&bytes], true);
    }
}
