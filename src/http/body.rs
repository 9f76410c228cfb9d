//! The content of a request: so many bytes, or chunks (RFC 9112, 6 and 7.1).
//!
//! [`Decoder::next`] takes from the front of the buffer what belongs to the content, and never a byte that follows it. Lines
//! (chunk sizes, trailers) are judged when they are whole, or when their first bytes can begin no legal one, so that the verdict
//! depends on the bytes and not on how they were cut.
//!
//! What the framing itself costs is bounded, too: a chunk of one byte takes at most 16 digits and two line ends, extensions
//! and trailers have limits of their own, so the bytes of a body on the wire are at most some twenty times its content's limit.

use super::framing::Framing;
use super::{Limits, ProtocolError, chunk, fields, looked_at};
use crate::error::Failure;
use crate::mistakes::broken;

/// What was found at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Take this many bytes off the buffer: they are content.
    Data(usize),
    /// Take this many bytes off the buffer and throw them away: they are framing.
    Skip(usize),
    /// Nothing more without more bytes.
    NeedData,
    /// The content is complete.
    End,
}

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
}

/// Finds the end of one request's content.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Content bytes so far, of chunks.
    decoded: u64,
    /// Bytes of all chunk extensions so far.
    extensions: usize,
    /// Bytes and lines of the trailer section so far.
    trailers: usize,
    trailer_lines: usize,
    /// Bytes of the present line that hold no LF.
    scanned: usize,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
        };
        Self { state, decoded: 0, extensions: 0, trailers: 0, trailer_lines: 0, scanned: 0 }
    }

    /// Whether the content is complete.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Bytes that are known to be missing.
    pub(super) fn missing(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// The next part at the front of `bytes`.
    pub(super) fn next(&mut self, bytes: &[u8], limits: &Limits) -> Result<Part, ProtocolError> {
        match self.state {
            State::End => Ok(Part::End),
            // What is left shrinks, so that only a length that was too large to begin with is ever over the limit.
            State::Length(left) if left > limits.body_bytes_max + u64::from(broken("limit_off_by_one")) => {
                Err(too_large(limits))
            }
            State::Length(left) => Ok(self.data(bytes, left, State::Length, State::End)),
            State::ChunkData(left) => Ok(self.data(bytes, left, State::ChunkData, State::ChunkEnd)),
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    Ok(Part::Skip(2))
                }
                [] | [b'\r'] => Ok(Part::NeedData),
                _ => Err(ProtocolError::bad("chunk data is not followed by CRLF (RFC 9112, 7.1)")),
            },
            State::ChunkSize => self.chunk_size(bytes, limits),
            State::Trailers => self.trailer(bytes, limits),
        }
    }

    fn data(&mut self, bytes: &[u8], left: u64, more: fn(u64) -> State, after: State) -> Part {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Part::NeedData;
        }
        let left = left - count as u64;
        self.state = if left == 0 { after } else { more(left) };
        Part::Data(count)
    }

    /// The line at the front, without its CRLF; None while it is not whole. `line_max` counts the CRLF.
    fn line<'b>(
        &mut self,
        bytes: &'b [u8],
        line_max: usize,
        too_long: impl Fn() -> ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let newline = memchr::memchr(b'\n', &bytes[self.scanned..]).map(|offset| self.scanned + offset);
        let seen = newline.map_or(bytes.len(), |newline| newline + 1);
        looked_at(seen - self.scanned);
        if seen > line_max {
            return Err(too_long());
        }
        let Some(newline) = newline else {
            self.scanned = bytes.len();
            return Ok(None);
        };
        self.scanned = 0;
        match bytes[..newline].split_last() {
            Some((b'\r', line)) if !line.contains(&b'\r') => Ok(Some(line)),
            _ => Err(ProtocolError::bad("a line of a chunked body does not end with CRLF (RFC 9112, 2.2 and 7.1)")),
        }
    }

    fn chunk_size(&mut self, bytes: &[u8], limits: &Limits) -> Result<Part, ProtocolError> {
        chunk::judge_start(bytes).map_err(ProtocolError::bad)?;
        let line_max = chunk::SIZE_DIGITS_MAX + (limits.chunk_extensions_bytes_max - self.extensions) + 2;
        let too_long = || {
            let limit = limits.chunk_extensions_bytes_max;
            ProtocolError::bad(format!("chunk extensions are over their limit of {limit} bytes (RFC 9112, 7.1.1)"))
        };
        let Some(line) = self.line(bytes, line_max, too_long)? else { return Ok(Part::NeedData) };
        let (size, extensions) = chunk::parse(line).map_err(ProtocolError::bad)?;
        self.extensions += extensions;
        if self.extensions > limits.chunk_extensions_bytes_max {
            return Err(too_long());
        }
        self.decoded = self.decoded.saturating_add(size);
        if self.decoded > limits.body_bytes_max {
            return Err(too_large(limits));
        }
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(Part::Skip(line.len() + 2))
    }

    /// One line of the trailer section: judged, and dropped. Nothing that came behind the content was there when the request
    /// was routed and admitted, so nothing there may change what it means (RFC 9110, 6.5.1).
    fn trailer(&mut self, bytes: &[u8], limits: &Limits) -> Result<Part, ProtocolError> {
        let too_large = || ProtocolError::new(Failure::HeadersTooLarge, "the trailer section is over its limit");
        let left = limits.trailers_bytes_max - self.trailers + 2;
        let Some(line) = self.line(bytes, left, too_large)? else { return Ok(Part::NeedData) };
        let taken = line.len() + 2;
        if line.is_empty() {
            self.state = State::End;
            return Ok(Part::Skip(taken));
        }
        self.trailers += taken;
        self.trailer_lines += 1;
        if self.trailers > limits.trailers_bytes_max || self.trailer_lines > limits.trailers_count_max {
            return Err(too_large());
        }
        fields::judge(line).map_err(|rule| ProtocolError::bad(format!("in a trailer: {rule}")))?;
        Ok(Part::Skip(taken))
    }
}

fn too_large(limits: &Limits) -> ProtocolError {
    let detail = format!("the content is larger than the limit of {} bytes", limits.body_bytes_max);
    ProtocolError::new(Failure::ContentTooLarge, detail)
}
