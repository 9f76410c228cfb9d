//! Responses → bytes (RFC 9112, 4 to 6), and the refusal of those that would break the framing.
//!
//! Handlers choose status, fields and content; what frames the message is made here and cannot be given: Content-Length,
//! Transfer-Encoding, Connection. Nothing is repaired: a field that could end the header section early is refused whole.

use super::head::is_token;
use super::{InvalidResponse, Response};

/// What the present request says about its response.
pub(super) struct Exchange {
    pub(super) is_head: bool,
    pub(super) keep_alive: bool,
    pub(super) minor_version: u8,
}

/// Appends the response; gives whether the connection stays open. On an error nothing was appended.
pub(super) fn response(
    response: &Response,
    date: &[u8; 29],
    exchange: &Exchange,
    out: &mut Vec<u8>,
) -> Result<bool, InvalidResponse> {
    let asks_close = validate(response)?;
    let keep_alive = exchange.keep_alive && !response.close && !asks_close;
    out.reserve(128 + response.body.len());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits(response.status));
    out.push(b' ');
    out.extend_from_slice(reason(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut has_date = false;
    for (name, value) in &response.headers {
        if name.eq_ignore_ascii_case("connection") {
            continue;
        }
        has_date |= name.eq_ignore_ascii_case("date");
        field(name.as_bytes(), value, out);
    }
    // A 304's length would have to be that of the 200 that it stands for (RFC 9110, 8.6), which nobody here knows.
    if !matches!(response.status, 204 | 304) {
        out.extend_from_slice(b"content-length: ");
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(response.body.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if !has_date {
        field(b"date", date, out);
    }
    if !keep_alive {
        field(b"connection", b"close", out);
    } else if exchange.minor_version == 0 {
        field(b"connection", b"keep-alive", out);
    }
    out.extend_from_slice(b"\r\n");
    if !exchange.is_head {
        out.extend_from_slice(&response.body);
    }
    Ok(keep_alive)
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn digits(status: u16) -> [u8; 3] {
    [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8)
}

/// Whether it may be sent, and whether it asks to close the connection (`Connection: close`, the one option it may name).
fn validate(response: &Response) -> Result<bool, InvalidResponse> {
    let Response { status, headers, body, .. } = response;
    if !(200..=599).contains(status) {
        return Err(InvalidResponse(format!("{status} is not the status of a final response").into()));
    }
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return Err(InvalidResponse(format!("a {status} has no content (RFC 9110, 15)").into()));
    }
    let mut asks_close = false;
    let mut dates = 0;
    for (name, value) in headers {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(InvalidResponse(format!("{name:?} is not a field name (RFC 9110, 5.1)").into()));
        }
        // HTAB, SP, visible ASCII and obs-text (RFC 9110, 5.5).
        if !value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            return Err(InvalidResponse(
                format!("the value of {name:?} has a control character (RFC 9110, 5.5)").into(),
            ));
        }
        for framing in ["content-length", "transfer-encoding", "trailer", "upgrade", "keep-alive"] {
            if name.eq_ignore_ascii_case(framing) {
                let message = format!("{name:?} frames the message and is the server's to write (RFC 9112, 6)");
                return Err(InvalidResponse(message.into()));
            }
        }
        if name.eq_ignore_ascii_case("connection") {
            if !value.trim_ascii().eq_ignore_ascii_case(b"close") {
                return Err(InvalidResponse("the only Connection option that a response may name is close".into()));
            }
            asks_close = true;
        }
        dates += u32::from(name.eq_ignore_ascii_case("date"));
    }
    if dates > 1 {
        return Err(InvalidResponse("Date is given more than once (RFC 9110, 6.6.1)".into()));
    }
    Ok(asks_close)
}

/// The reason phrases of the IANA registry; empty for a code that has none (RFC 9112, 4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}
