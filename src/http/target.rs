//! The request line: `method SP request-target SP HTTP-version` (RFC 9112, 3), and nothing else.
//!
//! Its method is judged byte by byte, the rest as soon as the line is whole, before any field line: whoever speaks another
//! protocol or another version is told at once, and does not have to finish a header section that it does not know to send.
//!
//! The target's bytes are those of RFC 3986, and what browsers send beyond it: the URL standard leaves `[`, `]` and `|` in a path
//! as they are, and in a query all that is visible but `"`, `#`, `<` and `>`, a `%` without its two digits included. None of it can
//! be taken for the end of anything. [`Limits::strict_targets`] refuses it all the same. Path and query are given out raw: what
//! percent-escapes and dot segments mean is the router's to say.

use super::fields::{is_token, is_token_byte};
use super::head::Span;
use super::host::is_authority;
use super::{Limits, ProtocolError};
use crate::error::Failure;

/// A longer method than any that exists or will: 501 without reading on (RFC 9112, 3).
const METHOD_BYTES_MAX: usize = 64;
/// The line end, the two spaces and the version.
const REST_BYTES: usize = "  HTTP/1.1\r\n".len();

/// Where the parts of a request line are, counted from its first byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: Span,
    /// Of an absolute target.
    pub(super) authority: Option<Span>,
    /// Empty where an absolute target has none.
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) minor_version: u8,
}

impl RequestLine {
    /// The port of an absolute target that names none (RFC 9110, 4.2.1 and 4.2.2); `bytes` begin with the line.
    pub(super) fn default_port(&self, bytes: &[u8]) -> u16 {
        let target = self.target.of(bytes);
        if target.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:")) { 443 } else { 80 }
    }
}

/// No acceptable request line is longer, its CRLF included.
pub(super) fn line_bytes_max(limits: &Limits) -> usize {
    METHOD_BYTES_MAX + limits.target_bytes_max + REST_BYTES
}

/// Why a line with a good method is longer than [`line_bytes_max`], judged by its first bytes, one more than that.
pub(super) fn too_long(start: &[u8], limits: &Limits) -> ProtocolError {
    match start.split(|&byte| byte == b' ').nth(1) {
        Some(target) if target.len() > limits.target_bytes_max => target_too_long(limits),
        _ => three_parts(),
    }
}

/// Looks for the end of the method, or of an empty line, at the front of `bytes`, of which the first `judged` are known to be
/// in it; gives whether it was found. What comes first and is no method is refused without waiting for the line's end.
pub(super) fn find_method(bytes: &[u8], judged: usize) -> Result<bool, ProtocolError> {
    for (index, &byte) in bytes.iter().enumerate().skip(judged) {
        match byte {
            b' ' if index > 0 => return Ok(true),
            // Judged with its line.
            b'\r' | b'\n' => return Ok(true),
            // The first byte of a TLS record with a handshake (RFC 8446, 5.1). It is the commonest garbage there is.
            0x16 if index == 0 => {
                return Err(ProtocolError::bad("a TLS handshake where HTTP is spoken in the clear (RFC 9112, 3)"));
            }
            _ if !is_token_byte(byte) => return Err(ProtocolError::bad("the method is not a token (RFC 9112, 3.1)")),
            _ if index == METHOD_BYTES_MAX => {
                let detail = format!("no method has more than {METHOD_BYTES_MAX} bytes (RFC 9112, 3)");
                return Err(ProtocolError::new(Failure::NotImplemented, detail));
            }
            _ => {}
        }
    }
    Ok(false)
}

/// The parts of a whole line with a good method. It comes without its CRLF.
pub(super) fn parse(line: &[u8], limits: &Limits) -> Result<RequestLine, ProtocolError> {
    if memchr::memchr(b'\r', line).is_some() {
        return Err(ProtocolError::bad("the request line has a CR that does not end it (RFC 9112, 2.2)"));
    }
    let mut spaces = memchr::memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(three_parts());
    };
    let method = &line[..first];
    debug_assert!(is_token(method), "found by find_method");
    let minor_version = minor_version(&line[second + 1..])?;
    let text = &line[first + 1..second];
    if text.len() > limits.target_bytes_max {
        return Err(target_too_long(limits));
    }
    if !text.iter().all(|&byte| is_target_byte(byte, IN_QUERY)) {
        return Err(no_uri());
    }
    let authority = authority(text, method)?.map(|range| first + 1 + range.start..first + 1 + range.end);
    let path_start = authority.as_ref().map_or(first + 1, |authority| authority.end);
    let question = memchr::memchr(b'?', &line[path_start..second]).map(|offset| path_start + offset);
    let path = &line[path_start..question.unwrap_or(second)];
    let query = question.map_or(&[][..], |question| &line[question + 1..second]);
    let is_strict = limits.strict_targets;
    judge_part(path, "path", if is_strict { IN_URI } else { IN_PATH })?;
    if is_strict {
        judge_part(query, "query", IN_URI)?;
    }
    Ok(RequestLine {
        method: Span::new(0..first),
        target: Span::new(first + 1..second),
        authority: authority.map(Span::new),
        path: Span::new(path_start..question.unwrap_or(second)),
        query: question.map(|question| Span::new(question + 1..second)),
        minor_version,
    })
}

/// RFC 3986, 3.3 and 3.4: the bytes of a path, and of a query with its `?`; a `%` begins an escape.
const IN_URI: u8 = 1;
/// What browsers leave as it is in a path, beside those.
const IN_PATH: u8 = 2;
/// What they leave as it is in a query: nothing else is anywhere in a target.
const IN_QUERY: u8 = 4;

static TARGET_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'"' | b'#' | b'<' | b'>' => 0,
            b'\\' | b'^' | b'`' | b'{' | b'}' => IN_QUERY,
            b'[' | b']' | b'|' => IN_QUERY | IN_PATH,
            _ => IN_QUERY | IN_PATH | IN_URI,
        };
        byte += 1;
    }
    table
};

fn is_target_byte(byte: u8, part: u8) -> bool {
    TARGET_BYTES[byte as usize] & part != 0
}

/// RFC 3986, 2.1, 3.3 and 3.4: the bytes of a path or query, and that each `%` begins an escape.
fn judge_part(text: &[u8], part: &str, allowed: u8) -> Result<(), ProtocolError> {
    if !text.iter().all(|&byte| is_target_byte(byte, allowed)) {
        return Err(no_uri());
    }
    let is_escape = |percent: usize| match text.get(percent + 1..percent + 3) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => false,
    };
    if !memchr::memchr_iter(b'%', text).all(is_escape) {
        let rule = format!("the {part} has a % that two hexadecimal digits do not follow (RFC 3986, 2.1)");
        return Err(ProtocolError::bad(rule));
    }
    Ok(())
}

fn no_uri() -> ProtocolError {
    ProtocolError::bad("the request target has a byte that no URI has there (RFC 9112, 3.2; RFC 3986, 3.3 and 3.4)")
}

/// RFC 9112, 2.3. What names a higher minor version than ours is in ours for us (RFC 9110, 6.2).
fn minor_version(version: &[u8]) -> Result<u8, ProtocolError> {
    match version {
        b"HTTP/1.0" => Ok(0),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(1),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            let detail = "this server speaks HTTP/1.1 and HTTP/1.0 (RFC 9110, 15.6.6)";
            Err(ProtocolError::new(Failure::VersionNotSupported, detail))
        }
        _ => Err(ProtocolError::bad("the version is not `HTTP/` digit `.` digit (RFC 9112, 2.3)")),
    }
}

/// The forms of RFC 9112, 3.2: where the authority of an absolute target is, None for a path or `*`.
fn authority(target: &[u8], method: &[u8]) -> Result<Option<std::ops::Range<usize>>, ProtocolError> {
    match target {
        // Its target is an authority, which only a proxy has a use for: another one is no form of it, and who takes the request for
        // a tunnel all the same would see none of what follows it.
        _ if method == b"CONNECT" => {
            return Err(ProtocolError::bad("CONNECT is for proxies, and this server is none (RFC 9112, 3.2.3)"));
        }
        [b'/', ..] => return Ok(None),
        b"*" if method == b"OPTIONS" => return Ok(None),
        b"*" => return Err(ProtocolError::bad("the target `*` is for OPTIONS alone (RFC 9112, 3.2.4)")),
        _ => {}
    }
    let schemes = [&b"http://"[..], b"https://"];
    let starts = |scheme: &&[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let Some(scheme) = schemes.into_iter().find(starts) else {
        let detail = "the target is neither a path nor an http URI, and this server is no proxy (RFC 9112, 3.2)";
        return Err(ProtocolError::bad(detail));
    };
    let start = scheme.len();
    let end = memchr::memchr2(b'/', b'?', &target[start..]).map_or(target.len(), |offset| start + offset);
    if !is_authority(&target[start..end]) {
        return Err(ProtocolError::bad("the authority of the absolute target is not a host (RFC 9110, 4.2)"));
    }
    Ok(Some(start..end))
}

fn three_parts() -> ProtocolError {
    ProtocolError::bad("the request line is not `method SP target SP version` (RFC 9112, 3)")
}

fn target_too_long(limits: &Limits) -> ProtocolError {
    let detail = format!("the request target is over its limit of {} bytes", limits.target_bytes_max);
    ProtocolError::new(Failure::UriTooLong, detail)
}
