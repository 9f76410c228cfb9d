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
