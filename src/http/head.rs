//! Request line and header section → [`Head`], or the rule of RFC 9112 that was broken.
//!
//! `httparse` splits the lines and checks names and values; everything it lets through that the RFC forbids, or leaves
//! ambiguous enough that two servers could differ, is refused here. [`head_end`] finds where a head ends, line by line and
//! without looking at a byte twice, so that a head that arrives byte by byte costs as much as one that arrives whole, and fails
//! at the same byte.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::{Limits, ProtocolError};
use crate::error::Failure;

/// A method, two spaces and a version beside the target on a request line.
const REQUEST_LINE_EXTRA_MAX: usize = 256;
/// Empty lines before a request line that are passed over (RFC 9112, 2.2): some clients send one after a body.
const EMPTY_LINES_MAX: usize = 2;

/// How a request's content is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; 0 is no content.
    Length(u64),
    Chunked,
}

/// A request's head: one buffer, and where things are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    bytes: Box<[u8]>,
    method: Range<u32>,
    target: Range<u32>,
    path: Range<u32>,
    query: Option<Range<u32>>,
    fields: Box<[(Range<u32>, Range<u32>)]>,
    host: Range<u32>,
    minor_version: u8,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The request target, as sent.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The raw path, up to the `?`; of an absolute target, its path, at least `/`; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { self.text(&self.path) }
    }

    /// What follows the first `?`, raw.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|range| self.text(range))
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The field lines, in order; names as sent, values without the white space around them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (self.text(name), self.octets(value)))
    }

    /// The first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of Host; empty where HTTP/1.0 sent none.
    pub fn host(&self) -> &str {
        self.text(&self.host)
    }

    /// Whether the client waits for `100 Continue` (RFC 9110, 10.1.1); never on HTTP/1.0.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The length of the content where the head says it; None for chunked content.
    pub fn content_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    /// Whether content follows, be it of zero chunks.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    fn octets(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    fn text(&self, range: &Range<u32>) -> &str {
        // Only ranges that were checked to be ASCII are asked for.
        std::str::from_utf8(self.octets(range)).unwrap_or("")
    }
}

/// Where the search for a head's end stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadScan {
    /// Bytes that need not be looked at again.
    scanned: usize,
    /// Where the present line begins.
    line: usize,
    /// Where the request line begins, and where it ends with its CRLF, 0 before that.
    start: usize,
    request_line: usize,
    empty_lines: usize,
}

/// Looks for the end of a head at the start of `bytes`; gives the range from the request line to the empty line, inclusive.
///
/// Judges only what must be judged before the head is whole: line ends and limits.
pub(super) fn head_end(
    bytes: &[u8],
    scan: &mut HeadScan,
    limits: &Limits,
) -> Result<Option<Range<usize>>, ProtocolError> {
    let line_max = limits.target_bytes_max.saturating_add(REQUEST_LINE_EXTRA_MAX);
    loop {
        let found = memchr::memchr(b'\n', &bytes[scan.scanned..]).map(|offset| scan.scanned + offset);
        let seen = found.map_or(bytes.len(), |newline| newline + 1);
        if scan.request_line == 0 {
            if seen - scan.line > line_max {
                return Err(target_too_long(limits));
            }
        } else if seen - scan.request_line > limits.headers_bytes_max {
            let detail = format!("the header section is over its limit of {} bytes", limits.headers_bytes_max);
            return Err(ProtocolError::new(Failure::HeadersTooLarge, detail));
        }
        let Some(newline) = found else {
            scan.scanned = bytes.len();
            return Ok(None);
        };
        if newline == scan.line || bytes[newline - 1] != b'\r' {
            return Err(ProtocolError::bad("a line ends with LF alone, not CRLF (RFC 9112, 2.2)"));
        }
        let is_empty = newline == scan.line + 1;
        (scan.scanned, scan.line) = (newline + 1, newline + 1);
        match (scan.request_line, is_empty) {
            (0, true) if scan.empty_lines == EMPTY_LINES_MAX => {
                return Err(ProtocolError::bad("too many empty lines before the request line (RFC 9112, 2.2)"));
            }
            (0, true) => {
                scan.empty_lines += 1;
                scan.start = scan.line;
            }
            (0, false) => scan.request_line = scan.line,
            (_, true) => return Ok(Some(scan.start..scan.line)),
            (_, false) => {}
        }
    }
}

fn target_too_long(limits: &Limits) -> ProtocolError {
    let detail = format!("the request target is over its limit of {} bytes", limits.target_bytes_max);
    ProtocolError::new(Failure::UriTooLong, detail)
}

/// A whole head, from the first byte of the request line to the empty line.
pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Head, ProtocolError> {
    let line_end = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let line = request_line(&bytes[..line_end], limits)?;
    let fields = fields(bytes, line_end + 2, limits)?;
    let named = |name: &'static str| {
        let fields = fields.iter().filter(move |(given, _)| bytes[given.clone()].eq_ignore_ascii_case(name.as_bytes()));
        fields.map(|(_, value)| value.clone())
    };
    let host = host(bytes, named("host"), line.minor_version)?;
    if let Some(authority) = line.authority.clone()
        && !bytes[authority].eq_ignore_ascii_case(&bytes[host.clone()])
    {
        return Err(ProtocolError::bad("the absolute target names another authority than Host (RFC 9112, 3.2.2)"));
    }
    let framing = framing(bytes, &named, line.minor_version)?;
    let options = || named("connection").flat_map(|value| list(&bytes[value]));
    let close = options().any(|option| option.eq_ignore_ascii_case(b"close"));
    let wants_alive = line.minor_version == 1 || options().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
    let expects_continue = expectation(bytes, named("expect"), line.minor_version)?;
    let narrow = |range: &Range<usize>| range.start as u32..range.end as u32;
    Ok(Head {
        method: narrow(&line.method),
        target: narrow(&line.target),
        path: narrow(&line.path),
        query: line.query.as_ref().map(narrow),
        host: narrow(&host),
        minor_version: line.minor_version,
        framing,
        keep_alive: wants_alive && !close,
        expects_continue,
        fields: fields.iter().map(|(name, value)| (narrow(name), narrow(value))).collect(),
        bytes: bytes.into(),
    })
}

struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    authority: Option<Range<usize>>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    minor_version: u8,
}

/// RFC 9112, 3: `method SP request-target SP HTTP-version`, nothing else and no other white space.
fn request_line(line: &[u8], limits: &Limits) -> Result<RequestLine, ProtocolError> {
    let mut spaces = memchr::memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(ProtocolError::bad("the request line is not `method SP target SP version` (RFC 9112, 3)"));
    };
    let (method, target) = (0..first, first + 1..second);
    if method.is_empty() || !line[method.clone()].iter().copied().all(is_token) {
        return Err(ProtocolError::bad("the method is not a token (RFC 9112, 3.1)"));
    }
    let minor_version = match &line[second + 1..] {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            let detail = "this server speaks HTTP/1.1 and HTTP/1.0 (RFC 9110, 15.6.6)";
            return Err(ProtocolError::new(Failure::VersionNotSupported, detail));
        }
        _ => return Err(ProtocolError::bad("the version is not `HTTP/` digit `.` digit (RFC 9112, 2.3)")),
    };
    if target.len() > limits.target_bytes_max {
        return Err(target_too_long(limits));
    }
    if !line[target.clone()].iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(ProtocolError::bad("the request target has a byte that no URI has (RFC 9112, 3.2)"));
    }
    let (authority, rest) = split_target(line, &method, target.clone())?;
    let question = memchr::memchr(b'?', &line[rest.clone()]).map(|offset| rest.start + offset);
    let path = rest.start..question.unwrap_or(rest.end);
    let query = question.map(|question| question + 1..rest.end);
    Ok(RequestLine { method, target, authority, path, query, minor_version })
}

/// The four forms of RFC 9112, 3.2: an authority where there is one, and path with query.
fn split_target(
    line: &[u8],
    method: &Range<usize>,
    target: Range<usize>,
) -> Result<(Option<Range<usize>>, Range<usize>), ProtocolError> {
    let text = &line[target.clone()];
    if text.first() == Some(&b'/') {
        return Ok((None, target));
    }
    if text == b"*" {
        if &line[method.clone()] != b"OPTIONS" {
            return Err(ProtocolError::bad("the target `*` is for OPTIONS alone (RFC 9112, 3.2.4)"));
        }
        return Ok((None, target));
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else {
        let detail = "the target is neither a path nor an http URI, and this server is no proxy (RFC 9112, 3.2)";
        return Err(ProtocolError::bad(detail));
    };
    let start = target.start + scheme.len();
    let end = line[start..target.end].iter().position(|byte| matches!(byte, b'/' | b'?'));
    let end = end.map_or(target.end, |offset| start + offset);
    if !is_host(&line[start..end]) {
        return Err(ProtocolError::bad("the authority of the absolute target is not a host (RFC 9110, 4.2)"));
    }
    Ok((Some(start..end), end..target.end))
}

type FieldRanges = Vec<(Range<usize>, Range<usize>)>;

/// RFC 9112, 5: field lines, by httparse; obs-fold and white space before the colon are refused by it.
fn fields(bytes: &[u8], start: usize, limits: &Limits) -> Result<FieldRanges, ProtocolError> {
    let mut room = vec![httparse::EMPTY_HEADER; limits.headers_count_max];
    let lines = &bytes[start..];
    match httparse::parse_headers(lines, &mut room) {
        Ok(httparse::Status::Complete((_, parsed))) => {
            let place = |part: &[u8]| {
                let offset = part.as_ptr() as usize - bytes.as_ptr() as usize;
                offset..offset + part.len()
            };
            Ok(parsed.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect())
        }
        Ok(httparse::Status::Partial) => Err(ProtocolError::bad("the header section is incomplete (RFC 9112, 5)")),
        Err(httparse::Error::TooManyHeaders) => {
            let detail = format!("there are more than {} header fields", limits.headers_count_max);
            Err(ProtocolError::new(Failure::HeadersTooLarge, detail))
        }
        Err(httparse::Error::HeaderName) => {
            Err(ProtocolError::bad("a field name is not a token directly before its colon (RFC 9112, 5.1)"))
        }
        Err(httparse::Error::HeaderValue) => Err(ProtocolError::bad(
            "a field value has a control character, or is folded (RFC 9110, 5.5; RFC 9112, 5.2)",
        )),
        Err(_) => Err(ProtocolError::bad("a field line is malformed (RFC 9112, 5)")),
    }
}

/// RFC 9112, 3.2: exactly one valid Host on HTTP/1.1, at most one on HTTP/1.0.
fn host(
    bytes: &[u8],
    mut values: impl Iterator<Item = Range<usize>>,
    minor_version: u8,
) -> Result<Range<usize>, ProtocolError> {
    let Some(value) = values.next() else {
        if minor_version == 0 {
            return Ok(0..0);
        }
        return Err(ProtocolError::bad("HTTP/1.1 requires a Host field (RFC 9112, 3.2)"));
    };
    if values.next().is_some() {
        return Err(ProtocolError::bad("there is more than one Host field (RFC 9112, 3.2)"));
    }
    if !is_host(&bytes[value.clone()]) {
        return Err(ProtocolError::bad("the value of Host is not a host with an optional port (RFC 9110, 7.2)"));
    }
    Ok(value)
}

/// `uri-host [ ":" port ]` with a host that is not empty (RFC 9110, 4.2.1 and 7.2; RFC 3986, 3.2.2).
fn is_host(text: &[u8]) -> bool {
    let (host, port) = if text.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', text) else { return false };
        let address = std::str::from_utf8(&text[1..end]).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        if address.is_none() {
            return false;
        }
        (&text[..=end], &text[end + 1..])
    } else {
        let end = memchr::memchr(b':', text).unwrap_or(text.len());
        if !is_reg_name(&text[..end]) {
            return false;
        }
        (&text[..end], &text[end..])
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && (digits.is_empty() || std::str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok()))
        }
        _ => false,
    };
    !host.is_empty() && port_is_valid
}

/// RFC 3986, 3.2.2: unreserved, sub-delims and percent-escapes.
fn is_reg_name(text: &[u8]) -> bool {
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        if byte == b'%' {
            let escape = text.get(index + 1..index + 3);
            if !escape.is_some_and(|escape| escape.iter().all(u8::is_ascii_hexdigit)) {
                return false;
            }
            index += 3;
        } else if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) {
            index += 1;
        } else {
            return false;
        }
    }
    true
}

/// RFC 9112, 6: where the content ends, or why nobody can know.
fn framing<I: Iterator<Item = Range<usize>>>(
    bytes: &[u8],
    named: &impl Fn(&'static str) -> I,
    minor_version: u8,
) -> Result<Framing, ProtocolError> {
    let mut codings = named("transfer-encoding");
    let mut lengths = named("content-length");
    let (coding, length) = (codings.next(), lengths.next());
    if coding.is_some() && length.is_some() {
        return Err(ProtocolError::bad("Content-Length beside Transfer-Encoding (RFC 9112, 6.1)"));
    }
    if lengths.next().is_some() {
        return Err(ProtocolError::bad("Content-Length is repeated (RFC 9112, 6.3; also where both say the same)"));
    }
    if let Some(coding) = coding {
        if minor_version == 0 {
            return Err(ProtocolError::bad("Transfer-Encoding on HTTP/1.0 (RFC 9112, 6.1)"));
        }
        let repeated = codings.next().is_some();
        return transfer_coding(&bytes[coding], repeated).map(|()| Framing::Chunked);
    }
    let Some(length) = length else { return Ok(Framing::Length(0)) };
    let digits = &bytes[length];
    let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    match number.and_then(|digits| digits.parse().ok()) {
        Some(length) => Ok(Framing::Length(length)),
        None => Err(ProtocolError::bad("Content-Length is not one number in digits that fits (RFC 9110, 8.6)")),
    }
}

/// Only `chunked`, once (RFC 9112, 6.1 and 7).
fn transfer_coding(value: &[u8], repeated: bool) -> Result<(), ProtocolError> {
    if value.eq_ignore_ascii_case(b"chunked") && !repeated {
        return Ok(());
    }
    let known = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if repeated || list(value).all(known) {
        return Err(ProtocolError::bad("Transfer-Encoding is not exactly `chunked`, once (RFC 9112, 6.1)"));
    }
    Err(ProtocolError::new(Failure::NotImplemented, "a transfer coding other than chunked (RFC 9112, 6.1)"))
}

/// RFC 9110, 10.1.1. Nothing is expected of an HTTP/1.0 exchange.
fn expectation(
    bytes: &[u8],
    values: impl Iterator<Item = Range<usize>>,
    minor_version: u8,
) -> Result<bool, ProtocolError> {
    let mut expects = false;
    for value in values {
        if minor_version == 1 && !bytes[value].eq_ignore_ascii_case(b"100-continue") {
            let detail = "the only expectation that this server meets is 100-continue (RFC 9110, 10.1.1)";
            return Err(ProtocolError::new(Failure::ExpectationFailed, detail));
        }
        expects = minor_version == 1;
    }
    Ok(expects)
}

/// The members of a comma-separated list, without the white space around them; empty ones are passed over (RFC 9110, 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
