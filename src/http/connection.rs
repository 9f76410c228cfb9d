//! The states of one connection, seen from the server.
//!
//! ```text
//!           head complete             content complete             response sent, kept alive
//!   Head ─────────────────▶ Body ──────────────────▶ Respond ────────────────────────────▶ Head
//!     │ end of input          │ response sent early     │ response sent, not kept alive
//!     ▼                       ▼                         ▼
//!   Over ◀──────────────────────────────────────────── Over
//!
//!   Head, Body ── protocol error ──▶ Failed ── response sent ──▶ Over
//! ```
//!
//! A response whose content comes in pieces is sent in as many calls: from any of the states that a response leaves, its head
//! leads to Streaming, and its end to where a whole response would have led.
//!
//! The peer's mistakes are [`ProtocolError`]s: answer, close. Our own are [`InvalidResponse`]s: nothing was written, answer
//! with something else. After a protocol error the connection takes one response, to say so, and gives nothing but
//! [`Event::Closed`].
//!
//! # A response before the content is read
//!
//! Such an early response always ends the connection, however little is missing: whether the rest would ever come is not known
//! (a client that waits for `100 Continue` need not send it), and a rule without exceptions cannot be got wrong. What is missing
//! is read and thrown away, within a bound, so that the client can read its answer; then the connection is closed. A caller
//! that would rather keep the connection reads the content to its end first.

use super::body::{Decoder, Part};
use super::head::{self, Head, Memory, emptied};
use super::scan::{Found, HeadScan};
use super::{InvalidResponse, Limits, ProtocolError, Request, Response, encode, looked_at};
use crate::mistakes::broken;

/// What the peer may still send after an early response before the connection is closed on it, in bytes. Reading on for a
/// while lets it read the response: closing with unread bytes makes the kernel send a reset that can destroy it.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// A buffer that has grown beyond this is given back when a request is over, so that idle connections cost little.
const BUFFER_KEPT_BYTES_MAX: usize = 16 * 1024;
/// As much memory of a request's head, of its fields and of its content is kept for the next one.
const REUSED_BYTES_MAX: usize = 1024;
/// Content that is all of the buffer, and at least this much, is given out without copying it.
const BUFFER_GIVEN_BYTES_MIN: usize = 16 * 1024;

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
    /// The peer is not done sending: read on for a while and throw it away, within bounds of the caller's, then close.
    DrainThenClose {
        /// What is known to be missing of its request, at least.
        max_bytes: u64,
    },
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(Decoder),
    Respond,
    /// The head of a response is sent, its content is not.
    Streaming {
        length: encode::Length,
        after: AfterResponse,
    },
    /// After a protocol error.
    Failed,
    Over,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    /// The peer's half is closed.
    ended: bool,
    state: State,
    /// Heads so far.
    requests: u64,
    /// From here on: of the request whose response is due.
    is_head: bool,
    keep_alive: bool,
    minor_version: u8,
    continue_due: bool,
    /// Memory for the next head and content.
    spare_head: Memory,
    spare_content: Vec<u8>,
}

impl Connection {
    /// A connection on which nothing has happened yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: limits.clamped(),
            buffer: Vec::new(),
            start: 0,
            ended: false,
            state: State::Head(HeadScan::default()),
            requests: 0,
            is_head: false,
            keep_alive: false,
            minor_version: 1,
            continue_due: false,
            spare_head: Memory::default(),
            spare_content: Vec::new(),
        }
    }

    /// Takes the memory of a request that is done with for the next one, so that a request like the one before allocates nothing.
    pub fn reuse(&mut self, request: Request) {
        self.spare_head = Memory::of(request.head, REUSED_BYTES_MAX);
        self.spare_content = emptied(request.body, REUSED_BYTES_MAX);
    }

    /// Takes in what arrived. The caller bounds what it reads ahead by [`Connection::buffered`].
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > self.buffer.len() / 2 {
            // Moves fewer bytes than were consumed, so that each byte's share stays constant.
            looked_at(self.buffer.len() - self.start);
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The peer will send no more. Requests that are complete by then are still given out.
    pub fn receive_eof(&mut self) {
        self.ended = true;
    }

    /// Bytes that arrived and are not consumed yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes of memory that the buffer holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether no request has begun. An empty line that a client sends behind its content begins none.
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
            self.continue_due = broken("continue_twice");
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
            State::Respond | State::Streaming { .. } => return Ok(Event::Paused),
            State::Failed | State::Over => return Ok(Event::Closed),
        };
        if event.is_err() {
            if matches!(self.state, State::Head(_)) {
                self.begin_unparsed();
            }
            self.state = State::Failed;
        }
        event
    }

    fn next_head(&mut self) -> Result<Event, ProtocolError> {
        let State::Head(scan) = &mut self.state else { return Ok(Event::Closed) };
        let end = loop {
            match scan.next(&self.buffer[self.start..], &self.limits)? {
                Found::Head(end) => break end,
                Found::EmptyLine(length) => self.start += length,
                Found::NeedData if !self.ended => return Ok(Event::NeedData),
                // A CR alone, or nothing.
                Found::NeedData if self.buffer[self.start..].iter().all(|&byte| byte == b'\r') => {
                    self.state = State::Over;
                    return Ok(Event::Closed);
                }
                Found::NeedData => {
                    return Err(ProtocolError::bad("the connection ended inside a request head (RFC 9112, 8)"));
                }
            }
        };
        let head = head::parse(&self.buffer[self.start..], &end, std::mem::take(&mut self.spare_head))?;
        self.start += end.end;
        self.requests += 1;
        let limit = self.limits.requests_per_connection_max;
        self.is_head = head.method() == "HEAD";
        self.minor_version = head.minor_version();
        self.keep_alive = head.keep_alive && (limit == 0 || self.requests < limit);
        self.continue_due = head.expects_continue() && head.has_body();
        self.state = State::Body(Decoder::new(head.framing));
        Ok(Event::Head(head))
    }

    /// A response is due to a head that was not understood, or is not whole: as to a HEAD request if it begins as one, so that
    /// no content follows where none may, and otherwise as HTTP/1.1.
    fn begin_unparsed(&mut self) {
        self.is_head = self.buffer[self.start..].starts_with(b"HEAD ");
        self.minor_version = 1;
        self.keep_alive = false;
        self.continue_due = false;
    }

    fn next_body(&mut self) -> Result<Event, ProtocolError> {
        loop {
            let State::Body(decoder) = &mut self.state else { return Ok(Event::Closed) };
            let bytes = &self.buffer[self.start..];
            match decoder.next(bytes, &self.limits)? {
                Part::Skip(count) => self.start += count,
                Part::Data(count) => {
                    // It did not wait for our 100, so it needs none (RFC 9110, 10.1.1).
                    self.continue_due = false;
                    return Ok(Event::Body(self.take(count)));
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

    /// The first bytes of the buffer.
    fn take(&mut self, count: usize) -> Vec<u8> {
        if self.start == 0 && count == self.buffer.len() && count >= BUFFER_GIVEN_BYTES_MIN {
            return std::mem::take(&mut self.buffer);
        }
        let start = self.start;
        self.start += count;
        let mut content = std::mem::take(&mut self.spare_content);
        content.extend_from_slice(&self.buffer[start..self.start]);
        content
    }

    /// Appends the whole response to the present request, or to the protocol error, or to a head that is not whole (its time is
    /// over), and says what follows.
    ///
    /// Adds Content-Length, `date` (unless the response brings one) and Connection. A response to HEAD is written without its
    /// content. An [`InvalidResponse`] leaves `out` and the connection as they were.
    pub fn send(
        &mut self,
        response: &Response,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<AfterResponse, InvalidResponse> {
        let unread = self.begin_response()?;
        let before = out.len();
        let kept = encode::response(response, date, &self.exchange(), out)?;
        if broken("answers_reversed") {
            out.rotate_left(before);
        }
        if broken("answered_twice") && kept {
            out.extend_from_within(before..);
        }
        let after = self.after(kept, unread);
        self.finish_response(after);
        Ok(after)
    }

    /// As [`Connection::send`], but leaves the content to the caller, who appends it behind this if it is wanted, which the flag says.
    /// So a large one is not copied.
    pub fn send_apart(
        &mut self,
        response: &Response,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<(AfterResponse, bool), InvalidResponse> {
        let unread = self.begin_response()?;
        let kept = encode::head_of_known(response, date, &self.exchange(), out)?;
        let wanted = !self.is_head;
        let after = self.after(kept, unread);
        self.finish_response(after);
        Ok((after, wanted))
    }

    /// Appends the head of a response whose content comes in pieces; its `body` is empty. The pieces follow by
    /// [`Connection::send_piece`], then [`Connection::send_end`]. False when there is nothing to follow, to HEAD: then only the end does.
    ///
    /// Frames the content by the chunked coding (RFC 9112, 7.1), to HTTP/1.0 by the connection's end. Otherwise as
    /// [`Connection::send`].
    pub fn send_head(
        &mut self,
        response: &Response,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<bool, InvalidResponse> {
        let unread = self.begin_response()?;
        let (length, kept) = encode::streamed(response, date, &self.exchange(), out)?;
        let after = self.after(kept, unread);
        self.state = State::Streaming { length, after };
        Ok(!self.is_head)
    }

    /// Appends a piece of the content that [`Connection::send_head`] has begun. Nothing for an empty one, nor to HEAD.
    pub fn send_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if let (State::Streaming { length, .. }, false) = (&self.state, self.is_head) {
            encode::piece(piece, *length, out);
        }
    }

    /// Appends the end of that content, and says what follows. Where it is never called the content is not whole: then the
    /// connection must be closed, and the recipient sees that the last chunk is missing (RFC 9112, 8).
    pub fn send_end(&mut self, out: &mut Vec<u8>) -> AfterResponse {
        let State::Streaming { length, after } = self.state else { return AfterResponse::Close };
        if !self.is_head {
            encode::last_piece(length, out);
        }
        self.finish_response(after);
        after
    }

    /// A response is due: what the peer may still send, if it is not known to be done.
    fn begin_response(&mut self) -> Result<Option<u64>, InvalidResponse> {
        match &self.state {
            State::Over | State::Streaming { .. } => Err(InvalidResponse("there is no request to respond to".into())),
            State::Respond => Ok(None),
            State::Body(decoder) if decoder.is_done() => Ok(None),
            State::Body(decoder) => {
                let missing = decoder.missing().map(|missing| missing.saturating_sub(self.buffered() as u64));
                self.keep_alive &= broken("content_left_unread");
                Ok(Some(missing.unwrap_or(DRAIN_BYTES_MAX).min(DRAIN_BYTES_MAX)))
            }
            State::Head(_) => {
                self.begin_unparsed();
                Ok(Some(DRAIN_BYTES_MAX))
            }
            State::Failed => {
                self.keep_alive = false;
                Ok(Some(DRAIN_BYTES_MAX))
            }
        }
    }

    fn exchange(&self) -> encode::Exchange {
        let Self { is_head, keep_alive, minor_version, .. } = *self;
        encode::Exchange { is_head, keep_alive, minor_version }
    }

    fn after(&self, kept: bool, unread: Option<u64>) -> AfterResponse {
        match unread {
            _ if kept => AfterResponse::KeepAlive,
            Some(max_bytes) if !self.ended && max_bytes > 0 => AfterResponse::DrainThenClose { max_bytes },
            _ => AfterResponse::Close,
        }
    }

    fn finish_response(&mut self, after: AfterResponse) {
        let kept = after == AfterResponse::KeepAlive;
        self.state = if kept { State::Head(HeadScan::default()) } else { State::Over };
        self.continue_due = false;
        if self.start == self.buffer.len() && self.buffer.capacity() > BUFFER_KEPT_BYTES_MAX {
            (self.buffer, self.start) = (Vec::new(), 0);
        }
    }
}
