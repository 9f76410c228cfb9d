//! Responses whose content comes in pieces, byte by byte.

use proptest::prelude::*;

use super::*;

const HEAD: &str = "HTTP/1.1 200 OK\r\nx: y\r\n";
const DATE_LINE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn head() -> Response {
    Response { body: Vec::new(), ..ok() }
}

/// A connection that has read this request to its end.
fn asked(request: &[u8]) -> Connection {
    let mut connection = Connection::new(Limits::default());
    connection.receive(request);
    while !matches!(connection.next_event().expect("a valid request"), Event::End) {}
    connection
}

/// What goes out for these pieces, whether pieces are wanted at all, and what follows.
fn streamed(connection: &mut Connection, pieces: &[&[u8]]) -> (String, bool, AfterResponse) {
    let mut out = Vec::new();
    let wanted = connection.send_head(&head(), DATE, &mut out).expect("a valid response");
    for piece in pieces {
        connection.send_piece(piece, &mut out);
    }
    let after = connection.send_end(&mut out);
    (String::from_utf8(out).expect("ASCII"), wanted, after)
}

#[test]
fn pieces_are_chunks() {
    let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (sent, wanted, after) = streamed(&mut connection, &[b"one", b"", b"a piece of 21 bytes..", b"x"]);
    let chunks = "3\r\none\r\n15\r\na piece of 21 bytes..\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(sent, format!("{HEAD}transfer-encoding: chunked\r\n{DATE_LINE}\r\n{chunks}"));
    assert_eq!((wanted, after), (true, AfterResponse::KeepAlive));
}

#[test]
fn sizes_are_hexadecimal_without_leading_zeros() {
    for (length, size) in [(9, "9"), (10, "a"), (15, "f"), (16, "10"), (255, "ff"), (256, "100"), (65536, "10000")] {
        let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut out = Vec::new();
        connection.send_head(&head(), DATE, &mut out).expect("a valid response");
        out.clear();
        connection.send_piece(&vec![b'z'; length], &mut out);
        assert_eq!(out, [format!("{size}\r\n").as_bytes(), &vec![b'z'; length], b"\r\n"].concat());
    }
}

#[test]
fn to_http_1_0_the_content_ends_with_the_connection() {
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        let mut connection = asked(request.as_bytes());
        let (sent, wanted, after) = streamed(&mut connection, &[b"one", b"", b"two"]);
        assert_eq!(sent, format!("{HEAD}{DATE_LINE}connection: close\r\n\r\nonetwo"));
        assert_eq!((wanted, after), (true, AfterResponse::Close));
        assert_eq!(connection.next_event(), Ok(Event::Closed));
    }
}

#[test]
fn to_head_there_is_the_head_alone() {
    let mut connection = asked(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (sent, wanted, after) = streamed(&mut connection, &[b"one"]);
    assert_eq!(sent, format!("{HEAD}transfer-encoding: chunked\r\n{DATE_LINE}\r\n"));
    assert_eq!((wanted, after), (false, AfterResponse::KeepAlive));
    let mut connection = asked(b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let (sent, wanted, after) = streamed(&mut connection, &[b"one"]);
    assert_eq!(sent, format!("{HEAD}{DATE_LINE}connection: keep-alive\r\n\r\n"));
    assert_eq!((wanted, after), (false, AfterResponse::KeepAlive));
}

#[test]
fn what_is_pipelined_waits_for_the_end() {
    let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut out = Vec::new();
    connection.send_head(&head(), DATE, &mut out).expect("a valid response");
    assert_eq!(connection.next_event(), Ok(Event::Paused));
    connection.send_piece(b"one", &mut out);
    assert_eq!(connection.next_event(), Ok(Event::Paused));
    let before = out.len();
    assert!(connection.send_head(&head(), DATE, &mut out).is_err(), "one response at a time");
    assert!(connection.send(&ok(), DATE, &mut out).is_err());
    assert_eq!(out.len(), before, "and nothing of another is written");
    assert_eq!(connection.send_end(&mut out), AfterResponse::KeepAlive);
    assert!(matches!(connection.next_event(), Ok(Event::Head(head)) if head.target() == "/next"));
}

#[test]
fn a_response_before_the_content_is_read_ends_the_connection() {
    let mut connection = Connection::new(Limits::default());
    connection.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n1234567890");
    assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
    let (sent, _, after) = streamed(&mut connection, &[b"no"]);
    assert!(sent.contains("\r\nconnection: close\r\n"), "{sent}");
    assert_eq!(after, AfterResponse::DrainThenClose { max_bytes: 90 });
}

#[test]
fn what_has_no_content_is_refused_and_can_be_answered_otherwise() {
    for status in [204, 205, 304] {
        let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut out = Vec::new();
        let refused = connection.send_head(&Response { status, ..head() }, DATE, &mut out);
        assert_eq!(refused.unwrap_err().to_string(), format!("a {status} has no content (RFC 9110, 15)"));
        assert_eq!(out, b"");
        assert_eq!(connection.send(&ok(), DATE, &mut out), Ok(AfterResponse::KeepAlive));
    }
}

#[test]
fn pieces_without_a_head_are_nothing() {
    let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut out = Vec::new();
    connection.send_piece(b"one", &mut out);
    assert_eq!((connection.send_end(&mut out), out.len()), (AfterResponse::Close, 0));
    assert_eq!(
        connection.send(&ok(), DATE, &mut out),
        Ok(AfterResponse::KeepAlive),
        "the request is still to be answered"
    );
}

/// The content of a chunked message, by the grammar of RFC 9112, 7.1, and what follows it.
fn unchunked(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut content = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?, 16).ok()?;
        let rest = &bytes[line + 2..];
        content.extend_from_slice(rest.get(..size)?);
        if rest.get(size..size + 2)? != b"\r\n" {
            return None;
        }
        bytes = &rest[size + 2..];
        if size == 0 {
            return Some((content, bytes));
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_pieces_are_the_content_is_theirs(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let mut connection = asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut out = Vec::new();
        connection.send_head(&head(), DATE, &mut out).expect("a valid response");
        let begun = out.len();
        for piece in &pieces {
            connection.send_piece(piece, &mut out);
        }
        prop_assert_eq!(connection.send_end(&mut out), AfterResponse::KeepAlive);
        let (content, rest) = unchunked(&out[begun..]).expect("chunks");
        prop_assert_eq!(content, pieces.concat());
        prop_assert_eq!(rest, b"");
    }
}
