//! Where one more or one less would show: found by changing the code in one place at a time and seeing no test fail.

use super::*;

fn chunked_within(limits: Limits, body: &str) -> Option<u16> {
    let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    run_with(limits, &[bytes.as_bytes()], false).0.into_iter().find_map(|seen| match seen {
        Seen::Error(status, _) => Some(status),
        _ => None,
    })
}

#[test]
fn a_size_of_all_its_digits_leaves_all_its_room_to_the_extensions() {
    let limits = || Limits { chunk_extensions_bytes_max: 8, ..Limits::default() };
    assert_eq!(chunked_within(limits(), "0000000000000001;2345678\r\nx\r\n0\r\n\r\n"), None);
    assert_eq!(chunked_within(limits(), "0000000000000001;23456789\r\nx\r\n0\r\n\r\n"), Some(400));
}

#[test]
fn trailers_may_be_as_long_as_their_limit() {
    let limits = || Limits { trailers_bytes_max: 30, trailers_count_max: 2, ..Limits::default() };
    assert_eq!(chunked_within(limits(), &format!("0\r\nA: {}\r\n\r\n", "v".repeat(25))), None);
    assert_eq!(chunked_within(limits(), &format!("0\r\nA: {}\r\n\r\n", "v".repeat(26))), Some(431));
    assert_eq!(chunked_within(limits(), &format!("0\r\nA: 1\r\nB: {}\r\n\r\n", "v".repeat(19))), None);
    assert_eq!(chunked_within(limits(), &format!("0\r\nA: 1\r\nB: {}\r\n\r\n", "v".repeat(20))), Some(431));
}

#[test]
fn what_is_consumed_makes_room_though_the_buffer_is_never_empty() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (first, rest) = request.split_at(1);
    let mut connection = Connection::new(Limits::default());
    connection.receive(first);
    for _ in 0..10_000 {
        // With the first byte of the next one.
        connection.receive(&[rest, first].concat());
        read_to_its_end(&mut connection);
        assert_eq!(connection.send(&ok(), DATE, &mut Vec::new()), Ok(AfterResponse::KeepAlive));
    }
    assert!(connection.capacity() < 10 * request.len(), "{}", connection.capacity());
}

/// What begins a TLS handshake says so only where a connection begins.
#[test]
fn a_control_character_in_a_method_is_no_handshake() {
    assert_eq!(refused(b"G\x16"), (400, "the method is not a token (RFC 9112, 3.1)".to_owned()));
    let handshake = "a TLS handshake where HTTP is spoken in the clear (RFC 9112, 3)";
    assert_eq!(refused(b"\x16"), (400, handshake.to_owned()));
}

#[test]
fn an_asterisk_has_a_rule_of_its_own() {
    let rule = "the target `*` is for OPTIONS alone (RFC 9112, 3.2.4)";
    assert_eq!(refused(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"), (400, rule.to_owned()));
}
