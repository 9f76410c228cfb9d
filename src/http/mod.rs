//! HTTP/1.1 as a pure state machine: bytes in, requests out; responses in, bytes out.
//!
//! No I/O, no clock, no Python. [`Connection`] is fed whatever arrived, in whatever pieces, and gives the same events for the
//! same bytes however they were cut. It never confuses where one message ends: everything that RFC 9112 leaves to the
//! recipient's mercy (bare LF, obs-fold, Content-Length beside Transfer-Encoding, repeated fields, ...) is refused, with the rule
//! that was broken, and a refusal ends the connection. Its readers are the server, the simulator and the fuzzers, which all
//! drive this very type.
//!
//! Requests are taken one at a time: the next head is not looked at before the response to the last request was sent. So an
//! answer can only ever go to the request it belongs to, and pipelined bytes wait, unparsed, in a buffer that its reader bounds.
//!
//! In reading order:
//!
//! - `connection`: the states of a connection
//! - `scan`: where a head ends · `target`: its request line · `head`: its fields, and [`Head`]
//! - `fields`: the grammar of field lines · `host`: that of Host · `framing`: where the content ends
//! - `body`: the content, by length or in chunks · `chunk`: the line that begins a chunk
//! - `encode`: responses → bytes · `reason`: their reason phrases
//!
//! # What is stricter than the RFCs ask, and why
//!
//! - Bare LF ends no line, though RFC 9112, 2.2 lets a recipient take it for one: what one server ends a line at, another may not.
//! - Content-Length that is repeated or a list is refused even where all values are the same (RFC 9112, 6.3 lets it be repaired).
//! - Content-Length beside Transfer-Encoding is refused (RFC 9112, 6.1 lets the latter win), and so is the latter on HTTP/1.0.
//! - Folded lines are refused (RFC 9112, 5.2 lets them be joined by spaces).
//! - Host has a name in it, always (RFC 9110, 4.2.1), and the same one as an absolute target (RFC 9112, 3.2.2 lets the latter win).

mod body;
mod chunk;
mod connection;
mod encode;
mod fields;
mod framing;
mod head;
mod host;
mod reason;
mod scan;
mod target;

use std::borrow::Cow;
use std::fmt;

pub use self::connection::{AfterResponse, Connection, Event};
pub use self::head::Head;
use crate::error::Failure;

/// What one connection may send, in bytes and counts. Each limit has its answer. A limit in bytes but the content's is at most
/// 1 GiB, whatever is given.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The request target, as sent: 414.
    pub target_bytes_max: usize,
    /// The header section with its line ends: 431.
    pub headers_bytes_max: usize,
    /// Field lines: 431.
    pub headers_count_max: usize,
    /// The content, after decoding: 413.
    pub body_bytes_max: u64,
    /// All chunk extensions of one body, from the end of the size to the end of the line: 400.
    pub chunk_extensions_bytes_max: usize,
    /// The trailer section of one body: 431.
    pub trailers_bytes_max: usize,
    /// Trailer field lines: 431.
    pub trailers_count_max: usize,
    /// Requests on one connection, after which it closes; 0 is no limit.
    pub requests_per_connection_max: u64,
    /// Refuse what RFC 3986 does not allow in a target, also where browsers send it as it is: 400.
    pub strict_targets: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes_max: 8 * 1024,
            headers_bytes_max: 32 * 1024,
            headers_count_max: 100,
            body_bytes_max: 16 * 1024 * 1024,
            chunk_extensions_bytes_max: 4 * 1024,
            trailers_bytes_max: 8 * 1024,
            trailers_count_max: 100,
            requests_per_connection_max: 0,
            strict_targets: false,
        }
    }
}

impl Limits {
    /// Limits in bytes stop here, so that places in a head fit 32 bits and sums of limits never overflow.
    const BYTES_MAX: usize = 1 << 30;

    fn clamped(mut self) -> Self {
        for limit in [
            &mut self.target_bytes_max,
            &mut self.headers_bytes_max,
            &mut self.chunk_extensions_bytes_max,
            &mut self.trailers_bytes_max,
        ] {
            *limit = (*limit).min(Self::BYTES_MAX);
        }
        self
    }
}

/// A whole request: what crosses to a worker.
#[derive(Debug)]
pub struct Request {
    /// Request line and header fields.
    pub head: Head,
    /// The content, decoded; trailers are dropped.
    pub body: Vec<u8>,
}

/// A field name and its value.
pub type Field = (Cow<'static, str>, Cow<'static, [u8]>);

/// Field names and values of a response, in order.
pub type Fields = Vec<Field>;

/// A whole response, without the fields that frame it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Without Content-Length, Transfer-Encoding and Connection, which [`Connection::send`] makes.
    pub headers: Fields,
    /// The content. Empty for 204, 205 and 304, and where [`Connection::send_piece`] brings it.
    pub body: Vec<u8>,
    /// Close the connection after it.
    pub close: bool,
}

impl Response {
    /// 200 without anything: what a response is made in.
    pub fn empty() -> Response {
        Response { status: 200, headers: Vec::new(), body: Vec::new(), close: false }
    }

    /// The memory of a response that was sent, as far as it is worth keeping: empty, with at most `bytes_max` for either part.
    pub fn emptied(mut self, bytes_max: usize) -> Response {
        self.headers.clear();
        if self.headers.capacity() * size_of::<Field>() > bytes_max {
            self.headers = Vec::new();
        }
        Response { headers: self.headers, body: head::emptied(self.body, bytes_max), ..Response::empty() }
    }
}

/// What the peer did wrong. The connection is answered and closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    /// The kind of answer.
    pub failure: Failure,
    /// The rule that was broken, with its source.
    pub detail: Cow<'static, str>,
}

impl ProtocolError {
    pub(crate) fn new(failure: Failure, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { failure, detail: detail.into() }
    }

    pub(crate) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Failure::BadRequest, detail)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.failure.code(), self.detail)
    }
}

impl std::error::Error for ProtocolError {}

/// What our own side did wrong: a response that would break the framing, or mean something else than it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidResponse(pub(crate) Cow<'static, str>);

impl fmt::Display for InvalidResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::shortened(&self.0, crate::error::DETAIL_BYTES_MAX))
    }
}

impl std::error::Error for InvalidResponse {}

/// Counts bytes that are looked at or moved, for the tests that the work is linear in the input; nothing elsewhere.
#[inline(always)]
fn looked_at(_bytes: usize) {
    #[cfg(test)]
    tests::LOOKED_AT.with(|count| count.set(count.get() + _bytes as u64));
}

#[cfg(test)]
mod tests;
