//! Responses, byte by byte, and those that are refused.

use super::*;

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
