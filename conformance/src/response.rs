//! Answers, read strictly: bytes in, one response out, or what is wrong with them.
//!
//! A pure parser of its own (RFC 9112), because a client library would repair, or hide, what the suite is there to find. What it
//! refuses is wrong for every case: no expectation has to say that a status line must be one. It knows the method that is answered,
//! since HEAD has no content whatever the fields say.

use serde::{Deserialize, Serialize};

use crate::case::Framing;

/// A header section beyond this is no answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// One whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase, which may be empty.
    pub reason: String,
    /// The field lines, in order, names as sent; values as ISO-8859-1.
    pub headers: Vec<(String, String)>,
    /// The content, without its framing.
    pub body: Vec<u8>,
    /// How the end of the content was told.
    pub framing: Framing,
    /// The trailer fields of chunked content.
    pub trailers: Vec<(String, String)>,
    /// The status codes of the interim answers before it.
    pub interim: Vec<u16>,
}

impl Response {
    /// The values of this field, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The members of this comma-separated field, in lower case.
    pub fn members(&self, name: &str) -> Vec<String> {
        let members = self.values(name).flat_map(|value| value.split(','));
        members.map(|member| member.trim().to_ascii_lowercase()).filter(|member| !member.is_empty()).collect()
    }

    /// Whether it says that the connection ends behind it.
    pub fn closes(&self) -> bool {
        let members = self.members("connection");
        self.framing == Framing::Close
            || members.iter().any(|member| member == "close")
            || (self.version == "HTTP/1.0" && !members.iter().any(|member| member == "keep-alive"))
    }
}

/// What the bytes so far come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole answer, and how many bytes it took.
    Whole(Box<Response>, usize),
    /// More bytes are needed.
    Partial,
}

/// Reads one answer to `method` from the start of `bytes`; `ended` says that no more will come.
///
/// The error names the rule that the bytes break.
pub fn parse(bytes: &[u8], method: &str, ended: bool) -> Result<Parsed, String> {
    let mut at = 0;
    let mut interim = Vec::new();
    loop {
        let Some(mut head) = parse_head(&bytes[at..])? else { return Ok(Parsed::Partial) };
        at += head.length;
        if (100..200).contains(&head.response.status) && head.response.status != 101 {
            if head.response.values("content-length").next().is_some()
                || head.response.values("transfer-encoding").next().is_some()
            {
                return Err("a 1xx answer with framing fields (RFC 9110, 8.6)".into());
            }
            interim.push(head.response.status);
            continue;
        }
        head.response.interim = interim;
        return parse_content(bytes, at, head.response, method, ended);
    }
}

struct Head {
    response: Response,
    length: usize,
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let expected = b"HTTP/1.";
    let start = &bytes[..bytes.len().min(expected.len())];
    if !expected.starts_with(start) {
        return Err(format!(
            "an answer does not begin with HTTP/1. but with {:?}",
            lossy(&bytes[..bytes.len().min(20)])
        ));
    }
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err("the header section of an answer has no end".into());
        }
        return Ok(None);
    };
    let text = latin1(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or("");
    let mut parts = status_line.splitn(3, ' ');
    let version = parts.next().unwrap_or("").to_owned();
    let code = parts.next().unwrap_or("");
    let reason =
        parts.next().ok_or_else(|| format!("no space behind the status code in {status_line:?} (RFC 9112, 4)"))?;
    let status = code.parse().ok().filter(|_| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()));
    let status: u16 = status.ok_or_else(|| format!("no status code in {status_line:?} (RFC 9112, 4)"))?;
    if !(100..600).contains(&status) || !["HTTP/1.1", "HTTP/1.0"].contains(&version.as_str()) {
        return Err(format!("no status line: {status_line:?} (RFC 9112, 4)"));
    }
    let headers = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
    let reason = reason.to_owned();
    let response = Response {
        version,
        status,
        reason,
        headers,
        body: Vec::new(),
        framing: Framing::None,
        trailers: Vec::new(),
        interim: Vec::new(),
    };
    Ok(Some(Head { response, length: end + 4 }))
}

fn parse_field(line: &str) -> Result<(String, String), String> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| format!("a field line without colon: {line:?} (RFC 9112, 5)"))?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("a field name that is no token: {name:?} (RFC 9110, 5.1)"));
    }
    if value.chars().any(|char| (char < ' ' && char != '\t') || char == '\u{7f}') {
        return Err(format!("a control character in the field {name}: {value:?} (RFC 9110, 5.5)"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn parse_content(bytes: &[u8], at: usize, mut response: Response, method: &str, ended: bool) -> Result<Parsed, String> {
    let codings = response.members("transfer-encoding");
    let lengths: Vec<&str> = response.values("content-length").collect();
    let length = match lengths[..] {
        [] => None,
        [one] if !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(one.parse::<usize>().map_err(|_| format!("Content-Length is too large: {one}"))?)
        }
        _ => return Err(format!("Content-Length is not one number: {lengths:?} (RFC 9110, 8.6)")),
    };
    let status = response.status;
    if !codings.is_empty() && length.is_some() {
        return Err("Content-Length beside Transfer-Encoding (RFC 9112, 6.2)".into());
    }
    if status == 204 && (length.is_some() || !codings.is_empty()) {
        return Err("a 204 with Content-Length or Transfer-Encoding (RFC 9110, 8.6; RFC 9112, 6.1)".into());
    }
    if method == "HEAD" || status == 204 || status == 304 || status == 101 {
        return Ok(Parsed::Whole(Box::new(response), at));
    }
    if !codings.is_empty() {
        if codings != ["chunked"] {
            return Err(format!("transfer codings that nobody asked for: {codings:?} (RFC 9112, 6.1)"));
        }
        response.framing = Framing::Chunked;
        return parse_chunks(bytes, at, response);
    }
    match length {
        Some(length) => {
            response.framing = Framing::Length;
            match bytes.get(at..at.saturating_add(length)) {
                Some(content) => {
                    response.body = content.to_vec();
                    Ok(Parsed::Whole(Box::new(response), at + length))
                }
                None => Ok(Parsed::Partial),
            }
        }
        None if ended => {
            response.framing = Framing::Close;
            response.body = bytes[at..].to_vec();
            Ok(Parsed::Whole(Box::new(response), bytes.len()))
        }
        None => Ok(Parsed::Partial),
    }
}

fn parse_chunks(bytes: &[u8], mut at: usize, mut response: Response) -> Result<Parsed, String> {
    let line = |at: usize| bytes[at..].windows(2).position(|window| window == b"\r\n").map(|end| &bytes[at..at + end]);
    loop {
        let Some(size_line) = line(at) else { return Ok(Parsed::Partial) };
        let digits = size_line.split(|byte| *byte == b';').next().unwrap_or(b"");
        let digits = latin1(digits);
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'));
        let size =
            size.ok_or_else(|| format!("a chunk size that is no hexadecimal number: {digits:?} (RFC 9112, 7.1)"))?;
        at += size_line.len() + 2;
        if size == 0 {
            break;
        }
        match bytes.get(at..at.saturating_add(size).saturating_add(2)) {
            Some(chunk) if chunk.ends_with(b"\r\n") => response.body.extend_from_slice(&chunk[..size]),
            Some(_) => return Err("chunk data is not followed by CRLF (RFC 9112, 7.1)".into()),
            None => return Ok(Parsed::Partial),
        }
        at += size + 2;
    }
    loop {
        let Some(trailer) = line(at) else { return Ok(Parsed::Partial) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Parsed::Whole(Box::new(response), at));
        }
        response.trailers.push(parse_field(&latin1(trailer))?);
    }
}

/// Reads an answer whose connection has ended before its content did: what there is of it; None where not even its head is whole.
pub fn parse_cut(bytes: &[u8]) -> Option<Response> {
    let mut at = 0;
    let mut interim = Vec::new();
    loop {
        let head = parse_head(&bytes[at..]).ok()??;
        at += head.length;
        let mut response = head.response;
        if (100..200).contains(&response.status) && response.status != 101 {
            interim.push(response.status);
            continue;
        }
        response.interim = interim;
        if response.members("transfer-encoding").is_empty() {
            response.framing = Framing::Length;
            response.body = bytes[at..].to_vec();
            return Some(response);
        }
        response.framing = Framing::Chunked;
        // Whole chunks, and what there is of the last one.
        while let Some(end) = bytes[at..].windows(2).position(|window| window == b"\r\n") {
            let digits = latin1(bytes[at..at + end].split(|byte| *byte == b';').next().unwrap_or(b""));
            let Ok(size) = usize::from_str_radix(&digits, 16) else { break };
            at += end + 2;
            response.body.extend_from_slice(&bytes[at..bytes.len().min(at + size)]);
            at = bytes.len().min(at + size + 2);
        }
        return Some(response);
    }
}

/// Bytes as ISO-8859-1: every byte survives.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Bytes to show: what is not text is escaped.
pub fn lossy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], method: &str) -> (Response, usize) {
        match parse(bytes, method, false) {
            Ok(Parsed::Whole(response, length)) => (*response, length),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_end_where_their_framing_says() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX:  a \r\n\r\nhiHTTP";
        let (response, length) = whole(bytes, "GET");
        assert_eq!((response.status, response.body.as_slice(), length), (200, &b"hi"[..], bytes.len() - 4));
        assert_eq!(response.headers[1], ("X".into(), "a".into()));
        assert_eq!(whole(bytes, "HEAD").1, bytes.len() - 6);
        let chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: u\r\n\r\n";
        let (response, length) = whole(chunked, "GET");
        assert_eq!(
            (response.interim.as_slice(), response.body.as_slice(), length),
            (&[100][..], &b"a"[..], chunked.len())
        );
        assert_eq!(response.trailers, [("T".to_owned(), "u".to_owned())]);
        for cut in 0..chunked.len() {
            assert_eq!(parse(&chunked[..cut], "GET", false), Ok(Parsed::Partial), "{cut}");
        }
        let close = b"HTTP/1.0 200 OK\r\n\r\nall";
        assert_eq!(parse(close, "GET", false), Ok(Parsed::Partial));
        let Ok(Parsed::Whole(response, _)) = parse(close, "GET", true) else { panic!("whole at the end") };
        assert_eq!(
            (response.framing, response.body.as_slice(), response.closes()),
            (Framing::Close, &b"all"[..], true)
        );
        assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\n", "GET").0.framing, Framing::None);
    }

    #[test]
    fn what_there_is_of_a_cut_answer_is_read() {
        let body = |bytes: &[u8]| parse_cut(bytes).map(|response| response.body);
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), Some(b"ab".to_vec()));
        assert_eq!(
            body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n5\r\nbc"),
            Some(b"abc".to_vec())
        );
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in [
            &b"<html>"[..],
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 999 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(parse(bad, "GET", false).is_err(), "{}", lossy(bad));
        }
    }
}
