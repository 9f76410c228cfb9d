//! The states of one connection, seen from the server.
//!
//! ```text
//!           head complete             content complete             response sent, kept alive
//!   Head ─────────────────▶ Body ──────────────────▶ Respond ────────────────────────────▶ Head
//!     │ end of input          │ response sent early     │ response sent, not kept alive
//!     ▼                       ▼                         ▼
//!   Over ◀──────────────────────────────────────────── Over         (any protocol error leads to Over, too)
//! ```
//!
//! The peer's mistakes are [`ProtocolError`]s: answer, close. Our own are [`InvalidResponse`]s: nothing was written, answer
//! with something else. After a protocol error the connection takes one response, to say so, and gives nothing but
//! [`Event::Closed`].

use super::body::{Decoder, Part};
use super::encode;
use super::head::{self, Head, HeadScan};
use super::{InvalidResponse, Limits, ProtocolError, Response};

/// What the peer may still send after an early response before the connection is closed on it, in bytes. Reading on for a
/// while lets it read the response: closing with unread bytes makes the kernel send a reset that can destroy it.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// A buffer that has grown beyond this is given back when it is empty.
const BUFFER_KEPT_BYTES_MAX: usize = 64 * 1024;

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    NeedData,
    /// A request begins.
    Head(Head),
    /// Some of its content, at least one byte.
    Body(Vec<u8>),
    /// The request is complete.
    End,
    /// The request is complete and its response is due; nothing that follows is looked at before.
    Paused,
    /// There will be no further request.
    Closed,
}

/// What becomes of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterResponse {
    /// The next request may follow.
    KeepAlive,
    /// Nothing follows.
    Close,
    /// The peer is not done sending: read and throw away up to this many bytes, then close.
    DrainThenClose {
        /// The bound.
        max_bytes: u64,
    },
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(Decoder),
    Respond,
    Over,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    ended: bool,
    state: State,
    requests: u64,
    /// Of the request whose response is due.
    is_head: bool,
    keep_alive: bool,
    minor_version: u8,
    continue_due: bool,
}

impl Connection {
    /// A connection on which nothing has happened yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            start: 0,
            ended: false,
            state: State::Head(HeadScan::default()),
            requests: 0,
            is_head: false,
            keep_alive: false,
            minor_version: 1,
            continue_due: false,
        }
    }

    /// Takes in what arrived. The caller bounds what it reads ahead by [`Connection::buffered`].
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > BUFFER_KEPT_BYTES_MAX {
                self.buffer = Vec::new();
            }
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The peer will send no more. Requests that are complete by then are still given out.
    pub fn receive_eof(&mut self) {
        self.ended = true;
    }

    /// Bytes that arrived and were not looked at for good yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether no request has begun.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head(_)) && self.buffered() == 0
    }

    /// Whether the client waits for `100 Continue` before it sends the content of the present request.
    pub fn wants_continue(&self) -> bool {
        self.continue_due && matches!(self.state, State::Body(_))
    }

    /// Appends `100 Continue`, once per request that waits for it.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        if self.wants_continue() {
            self.continue_due = false;
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// What is next. Call it until it gives [`Event::NeedData`], [`Event::Paused`] or [`Event::Closed`].
    ///
    /// After an error the connection takes one response and gives [`Event::Closed`].
    pub fn next_event(&mut self) -> Result<Event, ProtocolError> {
        let event = match self.state {
            State::Head(_) => self.next_head(),
            State::Body(_) => self.next_body(),
            State::Respond => return Ok(Event::Paused),
            State::Over => return Ok(Event::Closed),
        };
        if event.is_err() {
            self.state = State::Over;
            self.keep_alive = false;
            self.continue_due = false;
        }
        event
    }

    fn next_head(&mut self) -> Result<Event, ProtocolError> {
        let State::Head(scan) = &mut self.state else { return Ok(Event::Closed) };
        let bytes = &self.buffer[self.start..];
        let Some(range) = head::head_end(bytes, scan, &self.limits)? else {
            if !self.ended {
                return Ok(Event::NeedData);
            }
            let is_empty = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if is_empty {
                self.state = State::Over;
                return Ok(Event::Closed);
            }
            return Err(ProtocolError::bad("the connection ended inside a request head (RFC 9112, 8)"));
        };
        // Until the head is understood, an error is answered as HTTP/1.1 would be, with content.
        (self.is_head, self.minor_version) = (false, 1);
        let head = head::parse(&bytes[range.clone()], &self.limits)?;
        self.start += range.end;
        self.requests += 1;
        let limit = self.limits.requests_per_connection_max;
        self.is_head = head.method() == "HEAD";
        self.minor_version = head.minor_version();
        self.keep_alive = head.keep_alive && (limit == 0 || self.requests < limit);
        self.continue_due = head.expects_continue() && head.has_body();
        self.state = State::Body(Decoder::new(head.framing));
        Ok(Event::Head(head))
    }

    fn next_body(&mut self) -> Result<Event, ProtocolError> {
        loop {
            let State::Body(decoder) = &mut self.state else { return Ok(Event::Closed) };
            let bytes = &self.buffer[self.start..];
            match decoder.next(bytes, &self.limits)? {
                Part::Skip(count) => self.start += count,
                Part::Data(count) => {
                    let data = bytes[..count].to_vec();
                    self.start += count;
                    // It did not wait for our 100, so it needs none (RFC 9110, 10.1.1).
                    self.continue_due = false;
                    return Ok(Event::Body(data));
                }
                Part::NeedData if self.ended => {
                    return Err(ProtocolError::bad("the connection ended inside a request's content (RFC 9112, 8)"));
                }
                Part::NeedData => return Ok(Event::NeedData),
                Part::End => {
                    self.state = State::Respond;
                    return Ok(Event::End);
                }
            }
        }
    }

    /// Appends the whole response to the present request, or to the protocol error, and says what follows.
    ///
    /// Adds Content-Length, `date` (unless the response brings one) and Connection. A response to HEAD is written without its
    /// content. An [`InvalidResponse`] leaves `out` and the connection as they were.
    pub fn send(
        &mut self,
        response: Response,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<AfterResponse, InvalidResponse> {
        let early = match &self.state {
            State::Body(decoder) if !decoder.is_done() => Some(decoder.missing()),
            _ => None,
        };
        let keep_alive = self.keep_alive && early.is_none() && !matches!(self.state, State::Over);
        let exchange = encode::Exchange { is_head: self.is_head, keep_alive, minor_version: self.minor_version };
        let kept = encode::response(&response, date, &exchange, out)?;
        let had_error = matches!(self.state, State::Over);
        self.state = if kept { State::Head(HeadScan::default()) } else { State::Over };
        self.continue_due = false;
        self.is_head = false;
        Ok(match early {
            _ if kept => AfterResponse::KeepAlive,
            Some(missing) => {
                AfterResponse::DrainThenClose { max_bytes: missing.unwrap_or(u64::MAX).min(DRAIN_BYTES_MAX) }
            }
            None if had_error => AfterResponse::DrainThenClose { max_bytes: DRAIN_BYTES_MAX },
            None => AfterResponse::Close,
        })
    }
}
