//! Work is linear in the bytes that arrive, whatever they are and however they are cut.
//!
//! Counted and not timed: [`LOOKED_AT`] counts the bytes that are searched, parsed or moved. A byte may be looked at a few times
//! (once in search of its line's end, once when its line is judged, once when the buffer moves), never as often as others arrive.

use super::*;

const SIZE: usize = 1 << 18;
const LOOKS_PER_BYTE_MAX: u64 = 4;

fn wide() -> Limits {
    Limits {
        target_bytes_max: SIZE,
        headers_bytes_max: SIZE,
        headers_count_max: SIZE,
        chunk_extensions_bytes_max: SIZE,
        trailers_bytes_max: SIZE,
        trailers_count_max: SIZE,
        ..Limits::default()
    }
}

/// The worst of each kind, each of about [`SIZE`] bytes.
fn worst() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(SIZE - 100);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = |name, text: String| (name, text.into_bytes());
    vec![
        text("a long method", long.clone()),
        text("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        text("a long value", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")),
        text("a value of white space", format!("GET / HTTP/1.1\r\nHost: a\r\nX:{}\r\n\r\n", " ".repeat(SIZE - 100))),
        text("a long name", format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n")),
        text("a long host", format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n")),
        text("a long list", format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", ",".repeat(SIZE - 100))),
        text("many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a:\r\n".repeat(SIZE / 4 - 10))),
        text("many fields, the last one bad", format!("GET / HTTP/1.1\r\n{}b\r\n\r\n", "a:\r\n".repeat(SIZE / 4 - 10))),
        text("many chunks", format!("{chunked}{}0\r\n\r\n", "1\r\nx\r\n".repeat(SIZE / 6))),
        text("a long extension", format!("{chunked}1;{long}\r\nx\r\n0\r\n\r\n")),
        text("a long quoted string", format!("{chunked}1;a=\"{}\"\r\nx\r\n0\r\n\r\n", "\\\"".repeat(SIZE / 2 - 50))),
        text("many extensions", format!("{chunked}1{}\r\nx\r\n0\r\n\r\n", ";a".repeat(SIZE / 2 - 50))),
        text("white space in extensions", format!("{chunked}1{}\r\nx\r\n0\r\n\r\n", " ".repeat(SIZE - 100))),
        text("a long trailer", format!("{chunked}0\r\nX: {long}\r\n\r\n")),
        text("many trailers", format!("{chunked}0\r\n{}\r\n", "a:\r\n".repeat(SIZE / 4 - 10))),
        text("many requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(SIZE / 27)),
        text("many empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(SIZE / 31)),
        text("content", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{long}", long.len())),
    ]
}

#[test]
fn no_byte_is_looked_at_more_often_because_of_others() {
    for (name, bytes) in worst() {
        for size in [1, 2, 1000, 16 * 1024, bytes.len()] {
            let before = LOOKED_AT.get();
            let pieces: Vec<_> = bytes.chunks(size).collect();
            let (seen, _) = run_with(wide(), &pieces, false);
            let looks = LOOKED_AT.get() - before;
            assert!(matches!(seen.last(), Some(Seen::End | Seen::Closed)), "{name}: judged to its end");
            let allowed = LOOKS_PER_BYTE_MAX * bytes.len() as u64;
            assert!(looks <= allowed, "{name} in pieces of {size}: {looks} looks at {} bytes", bytes.len());
        }
    }
}

/// The buffer moves to its front only where less is moved than was consumed.
#[test]
fn what_is_moved_was_paid_for_by_what_was_consumed() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let next = [b'G'; 100];
    let length = request.len();
    for (behind, moved) in [(3, 3), (length - 2, length - 2), (length - 1, length - 1), (length, 0), (length + 1, 0)] {
        let mut connection = Connection::new(Limits::default());
        connection.receive(&[request, &next[..behind]].concat());
        assert!(matches!(connection.next_event(), Ok(Event::Head(_))));
        assert_eq!(connection.buffered(), behind);
        let before = LOOKED_AT.get();
        connection.receive(b"E");
        assert_eq!(LOOKED_AT.get() - before, moved as u64, "{behind} bytes behind a request of {length}");
        assert_eq!(connection.buffered(), behind + 1);
    }
}
