//! Keep-alive, early answers, 100 Continue, half-closed peers.

use super::*;

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
        // A name as long as the one that is meant.
        ("1.1", "User-Agent: close\r\n", false),
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
    assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(AfterResponse::KeepAlive));

    connection.receive(bytes);
    assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
    assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(AfterResponse::DrainThenClose { max_bytes: 2 }));
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

/// A connection with these bytes, after its first head.
fn after_head(bytes: &[u8]) -> Connection {
    let mut connection = Connection::new(Limits::default());
    connection.receive(bytes);
    assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
    connection
}

#[test]
fn an_answer_before_the_content_is_read_closes_and_says_what_may_still_come() {
    let head = |length: u64| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let drain = |max_bytes| AfterResponse::DrainThenClose { max_bytes };
    for (bytes, expected) in [
        (head(5), drain(5)),
        (format!("{}abc", head(5)), drain(2)),
        (format!("{}abcde", head(5)), AfterResponse::Close),
        (head(1 << 40), drain(64 * 1024)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), drain(64 * 1024)),
    ] {
        let mut connection = after_head(bytes.as_bytes());
        let mut out = Vec::new();
        assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(expected), "{bytes:?}");
        assert!(out.windows(19).any(|window| window == b"connection: close\r\n"));
        assert_eq!(connection.next_event(), Ok(Event::Closed));
    }
    let mut connection = after_head(head(5).as_bytes());
    connection.receive_eof();
    assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::Close), "nothing more will come");
}

#[test]
fn a_request_without_content_may_be_answered_before_its_end_is_asked_for() {
    let mut connection = after_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::KeepAlive));
    assert!(matches!(connection.next_event(), Ok(Event::Head(head)) if head.path() == "/2"));
}

/// A request whose time is over before its head is whole is answered, too, and never kept alive by what an earlier one said.
#[test]
fn a_head_that_is_not_whole_can_be_answered() {
    for (start, has_content) in [(&b""[..], true), (b"GET / HT", true), (b"HEAD / HT", false), (b"HEAD", true)] {
        let mut connection = after_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::KeepAlive));
        connection.receive(start);
        assert_eq!(connection.next_event(), Ok(Event::NeedData));
        let mut out = Vec::new();
        let expected = AfterResponse::DrainThenClose { max_bytes: 64 * 1024 };
        assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(expected));
        assert!(out.windows(19).any(|window| window == b"connection: close\r\n"));
        assert_eq!(out.ends_with(b"\r\n\r\nhi"), has_content, "{start:?}");
        assert_eq!(connection.next_event(), Ok(Event::Closed));
    }
}

#[test]
fn a_bad_head_request_gets_no_content() {
    for bytes in [
        &b"HEAD / HTTP/1.1\r\n\r\n"[..],
        b"HEAD / HTTP/2.0\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n x\r\n\r\n",
        b"HEAD / HTTP/1.1\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz",
    ] {
        let (_, out) = run_with(Limits::default(), &[bytes], false);
        assert!(out.ends_with(b"connection: close\r\n\r\n"), "{}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn one_request_gets_one_response() {
    let nothing = InvalidResponse("there is no request to respond to".into());
    let mut out = Vec::new();
    let mut connection = after_head(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(AfterResponse::Close));
    let written = out.len();
    assert_eq!(connection.send(&ok(), DATE, &mut out), Err(nothing.clone()));

    let mut connection = Connection::new(Limits::default());
    connection.receive(b"\x16");
    assert!(connection.next_event().is_err());
    assert_eq!(connection.next_event(), Ok(Event::Closed), "an error is given once");
    connection.send(&ok(), DATE, &mut Vec::new()).expect("it takes one response");
    assert_eq!(connection.send(&ok(), DATE, &mut out), Err(nothing));
    assert_eq!(out.len(), written, "and no other");
}

/// Between requests a connection holds no request's bytes, be there an empty line or not, and no large buffer.
#[test]
fn idle_is_idle() {
    let mut connection = Connection::new(Limits::default());
    assert!(connection.is_idle());
    let content = vec![b'x'; 300_000];
    connection.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    assert!(!connection.is_idle());
    connection.receive(&content);
    read_to_its_end(&mut connection);
    assert!(!connection.is_idle());
    assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::KeepAlive));
    assert!(connection.is_idle());
    assert!(connection.capacity() <= 16 * 1024, "{}", connection.capacity());
    connection.receive(b"\r\n");
    assert_eq!(connection.next_event(), Ok(Event::NeedData));
    assert!(connection.is_idle(), "some clients send an empty line behind their content");
    connection.receive(b"G");
    assert!(!connection.is_idle());
}

/// A buffer that is no larger than a head takes is kept for the next request, to the byte; a larger one is given back.
#[test]
fn a_buffer_is_kept_up_to_16_kib() {
    let capacity_after = |size: usize| {
        let head = |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length:5}\r\n\r\n");
        let bytes = [head(size - head(0).len()).as_bytes(), &vec![b'x'; size - head(0).len()]].concat();
        assert_eq!(bytes.len(), size);
        let mut connection = Connection::new(Limits::default());
        connection.receive(&bytes);
        read_to_its_end(&mut connection);
        assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::KeepAlive));
        connection.capacity()
    };
    assert!(capacity_after(2000) >= 2000);
    assert_eq!(capacity_after(16 * 1024), 16 * 1024);
    assert_eq!(capacity_after(16 * 1024 + 1), 0);
}

/// Content that is all of the buffer leaves without a copy from 16 KiB on: the buffer itself is what is given out.
#[test]
fn a_buffer_is_given_out_from_16_kib() {
    let capacity_after = |size: usize| {
        let mut connection =
            after_head(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        connection.receive(&vec![b'x'; size]);
        assert_eq!(connection.next_event(), Ok(Event::Body(vec![b'x'; size])));
        connection.capacity()
    };
    assert!(capacity_after(16 * 1024 - 1) >= 16 * 1024 - 1);
    assert_eq!(capacity_after(16 * 1024), 0);
}
