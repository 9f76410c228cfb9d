//! `chunked`: a body in chunks, against a decoder that is written straight from the grammar of RFC 9112, 7.1 and sees all bytes at once.

use polygil::http::Limits;

use crate::drive::{Seen, Trace, cut, drive};
use crate::grammar::{is_token, trim};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Stands behind every body: a body that ends too late eats it, one that ends too early does not reach it.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// Content and end are where the plain decoder finds them.
pub fn chunked(data: &[u8]) {
    let limits = wide();
    let run = |body: &[u8]| drive(&limits, cut(&[HEAD, body].concat()), false);
    match decode(data, limits.body_bytes_max) {
        Decoded::Whole { content: expected, length } => {
            let trace = run(&[&data[..length], NEXT].concat());
            assert_eq!(trace.complete(), 2, "the next request begins where the body ends: {:?}", trace.error());
            assert_eq!(content(&trace), expected, "the content");
            assert_eq!(trace.heads().nth(1).map(|head| head.target()), Some("/next"));
        }
        Decoded::Partial { content: expected } => {
            let trace = run(data);
            assert_eq!(trace.complete(), 0, "a body that is not whole was taken for one");
            // What is wrong may show before its line is whole.
            if trace.error().is_none() {
                assert_eq!(content(&trace), expected, "the content so far");
            }
        }
        Decoded::Wrong => {
            let trace = run(data);
            assert_eq!(trace.complete(), 0, "a malformed body was accepted");
            assert!(matches!(trace.error(), Some((400, _))), "{:?}", trace.error());
        }
        Decoded::TooLarge => {
            let trace = run(data);
            assert!(matches!(trace.error(), Some((413, _))), "{:?}", trace.error());
        }
    }
}

/// Of the first request.
fn content(trace: &Trace) -> &[u8] {
    match trace.seen.get(1) {
        Some(Seen::Body(body)) => body,
        _ => &[],
    }
}

/// Beyond what an input of the fuzzer reaches, but for the content.
fn wide() -> Limits {
    let bytes = 1 << 20;
    Limits {
        body_bytes_max: 1 << 24,
        chunk_extensions_bytes_max: bytes,
        trailers_bytes_max: bytes,
        trailers_count_max: bytes,
        ..Limits::default()
    }
}

enum Decoded {
    Whole { content: Vec<u8>, length: usize },
    Partial { content: Vec<u8> },
    Wrong,
    TooLarge,
}

/// RFC 9112, 7.1.
fn decode(bytes: &[u8], body_bytes_max: u64) -> Decoded {
    let mut content = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((line, after)) = line(rest) else { return Decoded::Partial { content } };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 || digits > 16 || !extensions(&line[digits..]) {
            return Decoded::Wrong;
        }
        let text = std::str::from_utf8(&line[..digits]).expect("digits");
        let Ok(size) = u64::from_str_radix(text, 16) else { return Decoded::Wrong };
        rest = after;
        if size == 0 {
            break;
        }
        if size.saturating_add(content.len() as u64) > body_bytes_max {
            return Decoded::TooLarge;
        }
        let size = size as usize;
        let there = size.min(rest.len());
        content.extend_from_slice(&rest[..there]);
        rest = &rest[there..];
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Decoded::Partial { content },
            _ => return Decoded::Wrong,
        }
    }
    loop {
        let Some((line, after)) = line(rest) else { return Decoded::Partial { content } };
        rest = after;
        if line.is_empty() {
            return Decoded::Whole { content, length: bytes.len() - rest.len() };
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return Decoded::Wrong };
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
        if !is_token(&line[..colon]) || !line[colon..].iter().all(is_text) {
            return Decoded::Wrong;
        }
    }
}

/// Up to the first LF. A line that does not end in CRLF keeps what no grammar takes.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(&bytes[..=end]), &bytes[end + 1..]))
}

/// RFC 9112, 7.1.1, told by splitting at what is outside of quotes.
fn extensions(text: &[u8]) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(parts) = split(text, b';') else { return false };
    trim(parts[0]).is_empty()
        && parts.len() > 1
        // White space at the very end stands before nothing.
        && !text.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'))
        && parts[1..].iter().all(|part| {
            let Some(sides) = split(part, b'=') else { return false };
            match sides[..] {
                [name] => is_token(trim(name)),
                [name, value] => is_token(trim(name)) && (is_token(trim(value)) || is_quoted(trim(value))),
                _ => false,
            }
        })
}

fn is_quoted(text: &[u8]) -> bool {
    let [b'"', inside @ .., b'"'] = text else { return false };
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        let byte = match byte {
            b'"' => return false,
            b'\\' => match bytes.next() {
                Some(&byte) => byte,
                None => return false,
            },
            byte => byte,
        };
        if !(byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            return false;
        }
    }
    true
}

/// The parts between separators that stand in no quoted string; None where a quote is left open.
fn split(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}
