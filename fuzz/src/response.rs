//! `response`: whatever a handler made, what is written is exactly one response, or nothing.

use std::borrow::Cow;

use arbitrary::{Arbitrary, Result, Unstructured};
use polygil::error::Failure;
use polygil::http::{AfterResponse, Connection, Event, Limits, Response};

use crate::drive::DATE;
use crate::grammar::{is_token, trim};
use crate::peer;

/// What is written is one response that somebody else reads as what was given; what is refused leaves nothing behind. Whole, and with
/// the same content in pieces.
pub fn response(data: &[u8]) {
    // Bytes that are too few for a response are none.
    let _ = attempt(&mut Unstructured::new(data));
    let _ = in_pieces(&mut Unstructured::new(data));
}

fn in_pieces(draw: &mut Unstructured<'_>) -> Result<()> {
    let method = *draw.choose(&["GET", "HEAD", "POST"])?;
    let version = *draw.choose(&["1.1", "1.0"])?;
    let asked = *draw.choose(&["x", "close", "keep-alive"])?;
    let mut given = given(draw)?;
    let content = std::mem::take(&mut given.body);
    let mut connection = Connection::new(Limits::default());
    connection.receive(format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: {asked}\r\n\r\n").as_bytes());
    while connection.next_event() != Ok(Event::Paused) {}
    let mut out = Vec::new();
    let Ok(wants_content) = connection.send_head(&given, DATE, &mut out) else {
        assert!(out.is_empty(), "what is refused leaves nothing behind");
        assert!(!is_plain(&given) || matches!(given.status, 204 | 205 | 304), "{given:?}");
        connection
            .send(&Failure::ResponseNotSerializable.response("x"), DATE, &mut out)
            .expect("room for another answer");
        return Ok(());
    };
    assert_eq!(wants_content, method != "HEAD");
    let mut rest = &content[..];
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(draw.int_in_range(0..=rest.len())?.max(1));
        connection.send_piece(piece, &mut out);
        connection.send_piece(b"", &mut out);
        assert_eq!(connection.next_event(), Ok(Event::Paused), "nothing is looked at before the end");
        rest = others;
    }
    let before_end = out.len();
    let after = connection.send_end(&mut out);
    let (answer, left) = peer::response(method, &out).unwrap_or_else(|error| panic!("{error} in {given:?}"));
    assert_eq!(left, b"", "exactly one response: {given:?}");
    assert_eq!(answer.status, given.status);
    assert_eq!(answer.body, if method == "HEAD" { &[][..] } else { &content[..] });
    assert_eq!(answer.named("content-length").len(), 0);
    assert_eq!(answer.named("transfer-encoding"), if version == "1.1" { vec![&b"chunked"[..]] } else { vec![] });
    assert_eq!(answer.named("date").len(), 1);
    let kept = after == AfterResponse::KeepAlive;
    assert_eq!(answer.reusable, kept, "both sides agree about what follows: {given:?}");
    assert!(version == "1.1" || method == "HEAD" || !kept, "the end of the connection is that of the content");
    assert_eq!(connection.next_event(), Ok(if kept { Event::NeedData } else { Event::Closed }));
    if version == "1.1" && method != "HEAD" {
        assert!(peer::response(method, &out[..before_end]).is_err(), "without its end it is not whole");
    }
    Ok(())
}

fn attempt(draw: &mut Unstructured<'_>) -> Result<()> {
    let method = *draw.choose(&["GET", "HEAD", "POST"])?;
    let version = *draw.choose(&["1.1", "1.0"])?;
    let asked = *draw.choose(&["x", "close", "keep-alive"])?;
    let given = given(draw)?;
    let mut connection = Connection::new(Limits::default());
    connection.receive(format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: {asked}\r\n\r\n").as_bytes());
    while connection.next_event() != Ok(Event::Paused) {}
    let mut out = b"before".to_vec();
    match connection.send(&given, DATE, &mut out) {
        Err(rule) => {
            assert_eq!(out, b"before", "what is refused leaves nothing behind");
            assert!(!is_plain(&given), "{rule}: {given:?}");
            let fallback = Failure::ResponseNotSerializable.response(rule.to_string());
            connection.send(&fallback, DATE, &mut out).expect("a refusal leaves room for another answer");
            let (answer, rest) = peer::response(method, &out[6..]).expect("the fallback can be read");
            assert_eq!((answer.status, rest), (500, &[][..]));
        }
        Ok(after) => {
            let (answer, rest) =
                peer::response(method, &out[6..]).unwrap_or_else(|error| panic!("{error} in {given:?}"));
            assert_eq!(rest, b"", "exactly one response: {given:?}");
            check(&given, &answer, method);
            let kept = after == AfterResponse::KeepAlive;
            assert_eq!(answer.reusable, kept, "both sides agree about what follows: {given:?}");
            assert!(!kept || (!given.close && asked != "close" && (version == "1.1" || asked == "keep-alive")));
            assert_eq!(connection.next_event(), Ok(if kept { Event::NeedData } else { Event::Closed }));
        }
    }
    Ok(())
}

fn check(given: &Response, answer: &peer::Answer, method: &str) {
    assert_eq!(answer.status, given.status);
    assert!(answer.delimited, "its end is in it: {given:?}");
    assert_eq!(answer.body, if method == "HEAD" { &[][..] } else { &given.body[..] });
    let length = given.body.len().to_string();
    let no_length = matches!(given.status, 204 | 304);
    assert_eq!(answer.named("content-length"), if no_length { vec![] } else { vec![length.as_bytes()] });
    assert_eq!(answer.named("transfer-encoding").len(), 0);
    assert_eq!(answer.named("date").len(), 1);
    let is_ours = |name: &str| matches!(name, "connection" | "date" | "content-length");
    let expected = given.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), trim(value).to_vec()));
    let expected: Vec<_> = expected.filter(|(name, _)| !is_ours(name)).collect();
    let fields: Vec<_> = answer.fields.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
    assert_eq!(fields, expected, "the handler's fields, in order");
}

fn given(draw: &mut Unstructured<'_>) -> Result<Response> {
    let status = match draw.int_in_range(0..=3)? {
        0 => u16::arbitrary(draw)?,
        1 => *draw.choose(&[100, 101, 199, 204, 205, 206, 304, 599, 600])?,
        _ => *draw.choose(&[200, 201, 302, 404, 500])?,
    };
    let mut headers = Vec::new();
    for _ in 0..draw.int_in_range(0..=6)? {
        headers.push((Cow::Owned(name(draw)?), Cow::Owned(value(draw)?)));
    }
    let length = draw.int_in_range(0..=40)?;
    let body = draw.bytes(length)?.to_vec();
    Ok(Response { status, headers, body, close: u8::arbitrary(draw)? == 0 })
}

fn name(draw: &mut Unstructured<'_>) -> Result<String> {
    const NAMES: &[&str] = &[
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Date",
        "content-type",
        "Set-Cookie",
        "vary",
        "keep-alive",
        "upgrade",
        "trailer",
        "Server",
        "x",
        "x\r\ny",
        "x:",
        " x",
        "x ",
        "",
        "ETag",
        "location",
        "te",
        "Allow",
    ];
    Ok(match bool::arbitrary(draw)? {
        true => (*draw.choose(NAMES)?).to_owned(),
        false => String::from_utf8_lossy(<&[u8]>::arbitrary(draw)?).chars().take(12).collect(),
    })
}

fn value(draw: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const VALUES: &[&[u8]] = &[
        b"close",
        b"Close, close",
        b"keep-alive",
        b"upgrade",
        b"0",
        b"",
        b" ",
        b"chunked",
        b"a\r\nb: c",
        b"a\nb",
        b"a\rb",
        b"x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"a\0",
        b"text/plain; charset=utf-8",
        b"\xff",
    ];
    Ok(match bool::arbitrary(draw)? {
        true => draw.choose(VALUES)?.to_vec(),
        false => draw.arbitrary_iter::<u8>()?.take(16).collect::<Result<_>>()?,
    })
}

/// Nothing about it is a reason to refuse.
fn is_plain(given: &Response) -> bool {
    let names: Vec<_> = given.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    (200..600).contains(&given.status)
        && given.status != 426
        && (given.body.is_empty() || !matches!(given.status, 204 | 205 | 304))
        && given.headers.iter().zip(&names).all(|((_, value), name)| {
            let own = ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"];
            is_token(name.as_bytes())
                && !own.contains(&&name[..])
                && names.iter().filter(|other| *other == name).count() == 1
                && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        })
}
