//! Content by length and in chunks.

use super::*;

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

/// What a chunked body of these bytes comes to: its content, None while it is not whole, or a refusal.
fn chunked(body: &[u8]) -> Result<Option<Vec<u8>>, (u16, String)> {
    let bytes = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    let mut content = Vec::new();
    for seen in run(&bytes) {
        match seen {
            Seen::Body(bytes) => content = bytes,
            Seen::End => return Ok(Some(content)),
            Seen::Error(status, detail) => return Err((status, detail)),
            Seen::Head(_) | Seen::Closed => {}
        }
    }
    Ok(None)
}

#[test]
fn chunks_have_one_grammar() {
    for (good, content) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"0000000000000000\r\n\r\n", b""),
        (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n", b"xyz"),
        (b"a\r\n0\r\n\r\n12345\r\n0\r\n\r\n", b"0\r\n\r\n12345"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"1;a\r\nx\r\n0;b\r\n\r\n", b"x"),
        (b"1;a=b;c=\"d\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1 ; a = b ; c\r\nx\r\n0\t;\td\t=\te\r\n\r\n", b"x"),
        (b"1;a=\"; \\\" \\\\ \xe9\t=\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"1;a=\"\"\r\nx\r\n0\r\n\r\n", b"x"),
        (b"0\r\nT: u\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nT:\r\n\r\n", b""),
    ] {
        assert_eq!(chunked(good), Ok(Some(content.to_vec())), "{:?}", String::from_utf8_lossy(good));
    }
    assert_eq!(chunked(b"fFfF"), Ok(None));
    assert_eq!(chunked(b"1\r\nx\r\n0\r\n"), Ok(None), "the empty line behind the last chunk is part of it");
    for bad in [
        &b"g"[..],
        b"\r",
        b" 1",
        b"+1",
        b"-1",
        b"0x",
        b"\xb2",
        b"00000000000000000",
        b"ffffffffffffffff1",
        b"10000000000000000",
        b"1_0",
        b"1,",
        b"1.",
        b"1 \r\nx\r\n",
        b"1\t\r\nx\r\n",
        b"1 1\r\nx\r\n",
        b"1\nx\r\n",
        b"1\r\r\nx\r\n",
        b"1\rx\r\nx\r\n",
        b"1\r\nx\n",
        b"1\r\nx\rx",
        b"1\r\nxy",
        b"1\r\nx0",
        b"1;\r\nx\r\n",
        b"1; \r\nx\r\n",
        b"1;a;\r\nx\r\n",
        b"1;a \r\nx\r\n",
        b"1;a=\r\nx\r\n",
        b"1;=a\r\nx\r\n",
        b"1;a=b=c\r\nx\r\n",
        b"1;a b\r\nx\r\n",
        b"1;a=\"b\r\nx\r\n",
        b"1;a=\"b\\\"\r\nx\r\n",
        b"1;a=\"b\"c\r\nx\r\n",
        b"1;a=\"\x01\"\r\nx\r\n",
        b"1;\x00\r\nx\r\n",
        b"1;a\rb\r\nx\r\n",
        b"2;\nxx\r\n",
        b"0\r\nbad trailer\r\n",
        b"0\r\nT : u\r\n",
        b"0\r\n: u\r\n",
        b"0\r\nT: u\n",
        b"0\r\nT: \0\r\n",
        b"0\r\nT: u\r\n v\r\n",
        b"0\r\n folded\r\n",
        b"0\r\n\n",
        b"0\n\n",
        b"0\r\nGET / HTTP/1.1\r\n",
    ] {
        assert_eq!(chunked(bad).map_err(|(status, _)| status), Err(400), "{:?}", String::from_utf8_lossy(bad));
    }
    assert_eq!(chunked(b"ffffffffffffffff\r\n").map_err(|(status, _)| status), Err(413));
}

#[test]
fn what_is_wrong_with_a_chunk_is_named() {
    let size = "a chunk size is not a hexadecimal number that fits (RFC 9112, 7.1)";
    let extension = "a chunk size is followed by something else than an extension (RFC 9112, 7.1.1)";
    let line_end = "a line of a chunked body does not end with CRLF (RFC 9112, 2.2 and 7.1)";
    for (bytes, rule) in [
        (&b"zz"[..], size),
        (b"00000000000000001\r\n", size),
        (b"1x", extension),
        (b"1 \r\n", extension),
        (b"1\n", line_end),
        (b"1\r\r\n", line_end),
        (b"1\r\nab", "chunk data is not followed by CRLF (RFC 9112, 7.1)"),
        (b"0\r\na\r\n", "in a trailer: a field line has no colon (RFC 9112, 5)"),
        (b"0\r\na : b\r\n", "in a trailer: white space between a field name and its colon (RFC 9112, 5.1)"),
    ] {
        assert_eq!(chunked(bytes), Err((400, rule.to_owned())));
    }
}

/// Trailers change nothing that was decided by the head.
#[test]
fn trailers_are_kept_out_of_the_head() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n0\r\nX: y\r\nConnection: close\r\nHost: b\r\n\r\n\
        GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    let expected = [Seen::Head("POST /".into()), Seen::End, Seen::Head("GET /next".into()), Seen::End];
    assert_eq!(run(bytes), expected);
}

/// Large content that comes alone is handed over as it is; what is mixed with other bytes is copied; both are the same bytes.
#[test]
fn large_content_is_the_same_however_it_is_handed_over() {
    let content: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = [head.as_bytes(), &content, next].concat();
    let expected = [Seen::Head("POST /".into()), Seen::Body(content), Seen::End, Seen::Head("GET /".into()), Seen::End];
    for size in [1000, 16 * 1024, 64 * 1024, bytes.len()] {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(run_with(Limits::default(), &pieces, false).0, expected, "in pieces of {size}");
        let (first, rest) = bytes.split_at(head.len());
        let pieces: Vec<_> = [first].into_iter().chain(rest.chunks(size)).collect();
        assert_eq!(run_with(Limits::default(), &pieces, false).0, expected, "behind its head, in pieces of {size}");
    }
}

/// Each by itself, without a scan that has refused the worst before.
#[test]
fn the_parts_of_the_decoder_say_what_they_promise() {
    let size = "a chunk size is not a hexadecimal number that fits (RFC 9112, 7.1)";
    assert_eq!(chunk::parse(b"ffffffffffffffff;a"), Ok((u64::MAX, 2)));
    for none in [&b""[..], b";a", b"00000000000000001"] {
        assert_eq!(chunk::parse(none), Err(size));
    }
    assert_eq!(body::Decoder::new(framing::Framing::Length(0)).missing(), Some(0));
    assert_eq!(body::Decoder::new(framing::Framing::Length(7)).missing(), Some(7));
    assert_eq!(body::Decoder::new(framing::Framing::Chunked).missing(), None);
}
