//! Responses, byte by byte, and those that are refused.

use proptest::prelude::*;

use super::*;

fn written(request: &[u8], response: Response) -> Result<String, String> {
    let mut connection = Connection::new(Limits::default());
    connection.receive(request);
    while !matches!(connection.next_event().expect("a valid request"), Event::End) {}
    let mut out = b"before".to_vec();
    match connection.send(&response, DATE, &mut out) {
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
        with("keep-alive", b"timeout=5"),
        with("connection", b"close, upgrade"),
        with("x", b"a\0b"),
        with("x", b"a\x1b[0m"),
        with("caf\u{e9}", b"a"),
        Response { status: 205, ..ok() },
        Response { status: 100, body: vec![], ..ok() },
        Response { status: 101, body: vec![], ..ok() },
        Response { status: 426, ..ok() },
        Response { status: 0, ..ok() },
        Response { status: u16::MAX, ..ok() },
        Response { headers: vec![("date".into(), b"a"[..].into()), ("Date".into(), b"b"[..].into())], ..ok() },
    ] {
        assert!(written(get, response.clone()).is_err(), "{response:?}");
    }
    assert!(written(get, with("x", b"tab\tand \xe9 are fine")).is_ok());
    assert!(written(get, with("", b"")).is_err());
    assert!(written(get, with("x", b"")).is_ok());
}

#[test]
fn fields_that_have_one_value_are_given_once_and_lists_as_often_as_they_like() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let twice = |one: &'static str, other: &'static str| Response {
        headers: vec![(one.into(), b"a"[..].into()), ("x".into(), b"b"[..].into()), (other.into(), b"c"[..].into())],
        ..ok()
    };
    for (one, other) in [("content-type", "Content-Type"), ("date", "DATE"), ("Location", "location"), ("etag", "ETag")]
    {
        let message = format!("{other:?} is given more than once and has one value (RFC 9110, 5.3)");
        assert_eq!(written(get, twice(one, other)), Err(message));
    }
    for name in ["set-cookie", "Vary", "x-y", "allow", "link", "www-authenticate", "cache-control"] {
        let out = written(get, twice(name, name)).expect("a list");
        assert_eq!(out.matches(&format!("{name}: ")).count(), 2);
    }
    assert!(written(get, twice("content-type", "content-types")).is_ok());
}

/// What an independent parser makes of a response: status, fields, and where the content begins.
fn parsed(bytes: &[u8]) -> (u16, String, Vec<(String, Vec<u8>)>, usize) {
    let mut room = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut room);
    let Ok(httparse::Status::Complete(length)) = response.parse(bytes) else {
        panic!("not a response: {}", String::from_utf8_lossy(bytes))
    };
    let fields = response.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()));
    let fields = fields.collect();
    (response.code.expect("a status"), response.reason.expect("a reason").to_owned(), fields, length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever a handler gives is refused, or is read back as exactly one response that says the same.
    #[test]
    fn what_is_written_is_one_response_with_what_was_given(
        status in prop_oneof![4 => Just(200u16), 2 => Just(204), 1 => Just(304), 1 => Just(205), 4 => 190u16..620],
        headers in proptest::collection::vec(
            (
                prop_oneof![
                    4 => "[a-zA-Z-]{1,12}",
                    1 => "[ -~]{0,6}",
                    1 => proptest::sample::select(&[
                        "content-length", "Transfer-Encoding", "connection", "date", "Content-Type", "x\r\ny", "x:", "",
                    ][..]).prop_map(str::to_owned),
                ],
                prop_oneof![
                    4 => proptest::collection::vec(0x20u8..0x7f, 0..20),
                    1 => proptest::collection::vec(any::<u8>(), 0..6),
                    1 => Just(b"close".to_vec()),
                    1 => Just(b"x\r\ncontent-length: 0\r\n\r\n".to_vec()),
                ],
            ),
            0..6,
        ),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        close: bool,
        method in proptest::sample::select(&["GET", "HEAD"][..]),
        version in proptest::sample::select(&["1.0", "1.1"][..]),
        asked in proptest::sample::select(&["close", "keep-alive", "x"][..]),
    ) {
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let response = Response { status, headers, body, close };
        let mut connection = Connection::new(Limits::default());
        connection.receive(format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: {asked}\r\n\r\n").as_bytes());
        read_to_its_end(&mut connection);
        let mut out = Vec::new();
        let Ok(after) = connection.send(&response, DATE, &mut out) else {
            prop_assert!(out.is_empty());
            let fallback = Failure::ResponseNotSerializable.response("x");
            prop_assert!(connection.send(&fallback, DATE, &mut out).is_ok(), "a refusal leaves room for another answer");
            return Ok(());
        };
        let (code, reason, fields, start) = parsed(&out);
        prop_assert_eq!(code, status);
        prop_assert!(status != 200 || reason == "OK");
        let named = |name: &str| fields.iter().filter(|(given, _)| given == name).map(|(_, value)| &value[..]).collect::<Vec<_>>();
        let length = response.body.len().to_string();
        let expected_length = if matches!(status, 204 | 304) { vec![] } else { vec![length.as_bytes()] };
        prop_assert_eq!(named("content-length"), expected_length);
        prop_assert_eq!(named("transfer-encoding").len(), 0);
        prop_assert_eq!(named("date").len(), 1);
        let expected = match (after, version) {
            (AfterResponse::Close, _) => vec![&b"close"[..]],
            (_, "1.0") => vec![&b"keep-alive"[..]],
            _ => vec![],
        };
        prop_assert_eq!(named("connection"), expected);
        let kept = after == AfterResponse::KeepAlive;
        prop_assert!(!kept || (!close && asked != "close" && (version == "1.1" || asked == "keep-alive")));
        let is_given = |name: &str| !["connection", "date", "content-length"].contains(&name);
        let given = response.headers.iter().filter(|(name, _)| is_given(&name.to_ascii_lowercase()));
        let given: Vec<_> = given.map(|(name, value)| (name.to_ascii_lowercase(), trim(value).to_vec())).collect();
        prop_assert_eq!(fields.iter().filter(|(name, _)| is_given(name)).cloned().collect::<Vec<_>>(), given);
        prop_assert_eq!(&out[start..], if method == "HEAD" { &[][..] } else { &response.body[..] });
    }
}

/// Without the white space around it, which is none of a field's value.
fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The registry of status codes, as IANA has it; the codes that it leaves unassigned have no phrase.
#[test]
fn each_status_has_its_registered_phrase() {
    let registry = "
        200 OK
        201 Created
        202 Accepted
        203 Non-Authoritative Information
        204 No Content
        205 Reset Content
        206 Partial Content
        207 Multi-Status
        208 Already Reported
        226 IM Used
        300 Multiple Choices
        301 Moved Permanently
        302 Found
        303 See Other
        304 Not Modified
        305 Use Proxy
        307 Temporary Redirect
        308 Permanent Redirect
        400 Bad Request
        401 Unauthorized
        402 Payment Required
        403 Forbidden
        404 Not Found
        405 Method Not Allowed
        406 Not Acceptable
        407 Proxy Authentication Required
        408 Request Timeout
        409 Conflict
        410 Gone
        411 Length Required
        412 Precondition Failed
        413 Content Too Large
        414 URI Too Long
        415 Unsupported Media Type
        416 Range Not Satisfiable
        417 Expectation Failed
        421 Misdirected Request
        422 Unprocessable Content
        423 Locked
        424 Failed Dependency
        425 Too Early
        428 Precondition Required
        429 Too Many Requests
        431 Request Header Fields Too Large
        451 Unavailable For Legal Reasons
        500 Internal Server Error
        501 Not Implemented
        502 Bad Gateway
        503 Service Unavailable
        504 Gateway Timeout
        505 HTTP Version Not Supported
        506 Variant Also Negotiates
        507 Insufficient Storage
        508 Loop Detected
        511 Network Authentication Required
    ";
    let mut registered = registry.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (status, phrase) = line.split_once(' ').expect("a code and a phrase");
        (status.parse::<u16>().expect("a code"), phrase)
    });
    let mut next = registered.next();
    // A 426 is not sent: it would need a field that the server has nothing to put into.
    for status in (200..=599).filter(|status| *status != 426) {
        let expected = match next {
            Some((code, phrase)) if code == status => {
                next = registered.next();
                phrase
            }
            _ => "",
        };
        let response = Response { status, body: Vec::new(), ..ok() };
        let text = written(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", response).expect("valid");
        assert_eq!(text.lines().next(), Some(&*format!("HTTP/1.1 {status} {expected}")));
    }
    assert_eq!(next, None);
}

/// Room is made once, for about as much as is written.
#[test]
fn a_large_response_takes_about_its_size() {
    let mut connection = Connection::new(Limits::default());
    connection.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    read_to_its_end(&mut connection);
    let mut out = Vec::new();
    let body = vec![b'x'; 10_000];
    assert_eq!(connection.send(&Response { body, ..ok() }, DATE, &mut out), Ok(AfterResponse::KeepAlive));
    assert!(out.len() > 10_000 && out.capacity() < 11_000, "{} bytes in {}", out.len(), out.capacity());
}
