//! Each limit, met and passed by one.

use super::*;

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
        strict_targets: false,
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
    assert_eq!(status(format!("GET {}", "/".repeat(200)).as_bytes()), Some(414), "without a line end, too");
    // The longest request line that there is: 64 bytes of method, 20 of target.
    let longest = format!("{} {} HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(64), "/".repeat(20));
    assert_eq!(status(longest.as_bytes()), None);
    assert_eq!(status(format!("GET / {}", "x".repeat(200)).as_bytes()), Some(400), "it is not the target that is long");
    let after_target = format!("GET {} {}", "/".repeat(20), "x".repeat(200));
    assert_eq!(status(after_target.as_bytes()), Some(400), "not there, either");
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
    // Sixteen digits, and all the eight bytes of extensions.
    assert_eq!(chunked("0000000000000001;1234567\r\nx\r\n0\r\n\r\n"), None);
    assert_eq!(chunked("0\r\nA: 1\r\nB: 2\r\n\r\n"), None);
    assert_eq!(chunked(&format!("0\r\nA: {}\r\n\r\n", "v".repeat(25))), None);
    // A line is over its limit before it is judged, and judged up to there. The empty line has room beyond the limit.
    assert_eq!(chunked(&format!("0\r\nA: {}\n", "v".repeat(28))), Some(400));
    assert_eq!(chunked(&format!("0\r\nA: {}\n", "v".repeat(29))), Some(431));
    assert_eq!(chunked("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Some(431));
    assert_eq!(chunked(&format!("0\r\nA: {}\r\n\r\n", "v".repeat(26))), Some(431));
    assert_eq!(chunked("1;234\r\nx\r\n1;234567890123456789012"), Some(400), "also while the line is not whole");
    assert_eq!(chunked("0\r\nA: 12345678901234567890\r\nB: 12345"), Some(431), "trailers, too");
    let sized = |length: u64| {
        status(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n0123456789").as_bytes())
    };
    assert_eq!(sized(10), None);
    assert_eq!(sized(11), Some(413));
    assert_eq!(sized(u64::MAX), Some(413));
    let twice = [get("/1", ""), get("/2", ""), get("/3", "")].concat();
    let (seen, out) = run_with(limits(), &[&twice], false);
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Head(_))).count(), 2);
    assert_eq!(out.windows(17).filter(|window| window == b"connection: close").count(), 1);
}

/// A caller that wants to answer by itself, or to see which request it was, still gets the head.
#[test]
fn content_over_its_limit_is_refused_behind_its_head() {
    let mut connection = Connection::new(Limits { body_bytes_max: 3, ..Limits::default() });
    connection.receive(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert!(matches!(connection.next_event(), Ok(Event::Head(head)) if head.content_length() == Some(4)));
    let error = connection.next_event().expect_err("over the limit");
    assert_eq!(error.to_string(), "content_too_large: the content is larger than the limit of 3 bytes");
    let after = connection.send(&error.failure.response("x"), DATE, &mut Vec::new());
    assert_eq!(after, Ok(AfterResponse::DrainThenClose { max_bytes: 64 * 1024 }));
    assert_eq!(connection.next_event(), Ok(Event::Closed));
}

#[test]
fn limits_of_any_size_overflow_nothing() {
    let largest = Limits {
        target_bytes_max: usize::MAX,
        headers_bytes_max: usize::MAX,
        headers_count_max: usize::MAX,
        body_bytes_max: u64::MAX,
        chunk_extensions_bytes_max: usize::MAX,
        trailers_bytes_max: usize::MAX,
        trailers_count_max: usize::MAX,
        requests_per_connection_max: u64::MAX,
        strict_targets: false,
    };
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nT: u\r\n\r\n\
        POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nffffffffffffffff\r\nyy";
    let request = [Seen::Head("POST /".into()), Seen::Body(b"x".to_vec()), Seen::End];
    let unfinished = [Seen::Head("POST /".into()), Seen::Body(b"xyy".to_vec())];
    assert_eq!(run_with(largest, &[bytes], false).0, [&request[..], &unfinished].concat());
    let none = Limits {
        target_bytes_max: 0,
        headers_bytes_max: 0,
        headers_count_max: 0,
        body_bytes_max: 0,
        chunk_extensions_bytes_max: 0,
        trailers_bytes_max: 0,
        trailers_count_max: 0,
        requests_per_connection_max: 1,
        strict_targets: false,
    };
    assert!(matches!(run_with(none, &[bytes], false).0[..], [Seen::Error(414, _), Seen::Closed]));
}

/// RFC 9112, 3 and RFC 9110, 4.1 recommend to take as much.
#[test]
fn request_lines_of_8000_octets_are_taken_by_default() {
    let target = format!("/{}", "x".repeat(7990));
    let head = head_of(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    assert_eq!(head.target(), target);
}
