//! Responses → bytes (RFC 9112, 4 to 6), and the refusal of those that would break the framing.
//!
//! Handlers choose status, fields and content; what frames the message is made here and cannot be given: Content-Length,
//! Transfer-Encoding, Connection. Nothing is repaired: a field that could end the header section early is refused whole, and
//! so is a second value for a field that has one, because recipients differ in which of them they believe.

use super::fields::{is_token, is_value_byte, list};
use super::reason::reason;
use super::{InvalidResponse, Response};
use crate::mistakes::broken;

/// What the present request says about its response.
pub(super) struct Exchange {
    pub(super) is_head: bool,
    pub(super) keep_alive: bool,
    pub(super) minor_version: u8,
}

/// How long the content of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// It is all here.
    Known,
    /// It comes in pieces, each framed for itself (RFC 9112, 7.1).
    Chunked,
    /// It ends with the connection: all that HTTP/1.0 has for this (RFC 9112, 6.3).
    UntilClose,
}

/// Appends the response; gives whether the connection stays open. On an error nothing was appended.
pub(super) fn response(
    response: &Response,
    date: &[u8; 29],
    exchange: &Exchange,
    out: &mut Vec<u8>,
) -> Result<bool, InvalidResponse> {
    out.reserve(HEAD_BYTES_GUESS + response.body.len());
    let kept = head_of_known(response, date, exchange, out)?;
    if !exchange.is_head || broken("head_with_content") {
        out.extend_from_slice(&response.body);
    }
    Ok(kept)
}

/// Appends the head of a response whose content is all here, as [`response`] does.
pub(super) fn head_of_known(
    response: &Response,
    date: &[u8; 29],
    exchange: &Exchange,
    out: &mut Vec<u8>,
) -> Result<bool, InvalidResponse> {
    head(response, Length::Known, date, exchange, out)
}

/// Appends the head of a response whose content follows in pieces, as [`response`] does.
pub(super) fn streamed(
    response: &Response,
    date: &[u8; 29],
    exchange: &Exchange,
    out: &mut Vec<u8>,
) -> Result<(Length, bool), InvalidResponse> {
    if matches!(response.status, 204 | 205 | 304) {
        return Err(InvalidResponse(format!("a {} has no content (RFC 9110, 15)", response.status).into()));
    }
    let length = if exchange.minor_version == 0 { Length::UntilClose } else { Length::Chunked };
    let kept = head(response, length, date, exchange, out)?;
    Ok((length, kept))
}

/// Appends one piece of a content; an empty one is nothing, because an empty chunk would be the last.
pub(super) fn piece(bytes: &[u8], length: Length, out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    if length == Length::Chunked {
        // Sixteen digits are the most that a length has.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let first = bytes.len().ilog2() / 4;
        out.extend((0..=first).rev().map(|digit| DIGITS[bytes.len() >> (digit * 4) & 0xf]));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(bytes);
    if length == Length::Chunked {
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends what ends a content.
pub(super) fn last_piece(length: Length, out: &mut Vec<u8>) {
    if length == Length::Chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

fn head(
    response: &Response,
    length: Length,
    date: &[u8; 29],
    exchange: &Exchange,
    out: &mut Vec<u8>,
) -> Result<bool, InvalidResponse> {
    let given = validate(response)?;
    // A HEAD has no content that the connection would have to end for.
    let ends = length == Length::UntilClose && !exchange.is_head;
    let keep_alive = exchange.keep_alive && !response.close && !given.close && !ends;
    out.reserve(HEAD_BYTES_GUESS);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits(response.status));
    out.push(b' ');
    out.extend_from_slice(reason(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &response.headers {
        if !name.eq_ignore_ascii_case("connection") {
            field(name.as_bytes(), value, out);
        }
    }
    // A 304's length would have to be that of the 200 that it stands for (RFC 9110, 8.6), which nobody here knows.
    match length {
        Length::Known if matches!(response.status, 204 | 304) => {}
        Length::Known => field(b"content-length", itoa::Buffer::new().format(response.body.len()).as_bytes(), out),
        Length::Chunked => field(b"transfer-encoding", b"chunked", out),
        Length::UntilClose => {}
    }
    if !given.date {
        field(b"date", date, out);
    }
    if !keep_alive {
        field(b"connection", b"close", out);
    } else if exchange.minor_version == 0 {
        field(b"connection", b"keep-alive", out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(keep_alive)
}

/// Status line, our own three fields, and some of the handler's.
const HEAD_BYTES_GUESS: usize = 256;

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn digits(status: u16) -> [u8; 3] {
    [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8)
}

/// What the handler said about fields that are the server's business.
#[derive(Default)]
struct Given {
    date: bool,
    close: bool,
}

/// Whether the response may be sent.
fn validate(response: &Response) -> Result<Given, InvalidResponse> {
    let Response { status, headers, body, .. } = response;
    if !(200..=599).contains(status) {
        return refuse(format!("{status} is not the status of a final response (RFC 9110, 15)"));
    }
    if *status == 426 {
        return refuse(
            "a 426 says in Upgrade what to speak instead, and there is nothing (RFC 9110, 15.5.22)".to_owned(),
        );
    }
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return refuse(format!("a {status} has no content (RFC 9110, 15)"));
    }
    let mut given = Given::default();
    let mut singles = 0u32;
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return refuse(format!("{name:?} is not a field name (RFC 9110, 5.1)"));
        }
        if !value.iter().copied().all(is_value_byte) {
            return refuse(format!("the value of {name:?} has a control character (RFC 9110, 5.5)"));
        }
        if is_one_of(&SERVERS_OWN, name).is_some() {
            return refuse(format!("{name:?} frames the message and is the server's to write (RFC 9112, 6)"));
        }
        if name.eq_ignore_ascii_case("connection") {
            if !list(value).all(|option| option.eq_ignore_ascii_case(b"close")) {
                return refuse("the only Connection option that a response may name is close".to_owned());
            }
            given.close |= list(value).next().is_some();
        } else if let Some(index) = is_one_of(&SINGLES, name) {
            if singles & 1 << index != 0 {
                return refuse(format!("{name:?} is given more than once and has one value (RFC 9110, 5.3)"));
            }
            singles |= 1 << index;
            given.date |= name.eq_ignore_ascii_case("date");
        }
    }
    Ok(given)
}

fn refuse(rule: String) -> Result<Given, InvalidResponse> {
    Err(InvalidResponse(rule.into()))
}

/// Where the name is among these, in any case.
fn is_one_of(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|one| one.len() == name.len() && one.eq_ignore_ascii_case(name))
}

/// Fields about the connection and not the response.
const SERVERS_OWN: [&str; 5] = ["content-length", "transfer-encoding", "trailer", "upgrade", "keep-alive"];

/// Response fields of RFC 9110, RFC 9111 and RFC 6266 that are no lists: two of them say two things at once.
const SINGLES: [&str; 12] = [
    "content-type",
    "date",
    "location",
    "server",
    "etag",
    "last-modified",
    "retry-after",
    "age",
    "expires",
    "content-range",
    "content-location",
    "content-disposition",
];
