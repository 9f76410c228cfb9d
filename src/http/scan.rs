//! Where a head ends, found line by line without looking at a byte twice.
//!
//! So a head that arrives byte by byte costs as much as one that arrives whole, and fails at the same byte with the same
//! verdict. What can be judged early is: the method, line ends, the request line, the limits. The fields are judged when
//! the header section is whole.

use super::target::{self, RequestLine};
use super::{Limits, ProtocolError, looked_at};
use crate::error::Failure;

/// Empty lines before a request line that are passed over (RFC 9112, 2.2): some clients send one after a body.
const EMPTY_LINES_MAX: usize = 2;

/// Where the search stands. Places are counted from the first byte that is not consumed.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes that hold no line end but those that were found.
    scanned: usize,
    /// Where the present line begins.
    line: usize,
    /// The method is known to be one, or the first line to be empty.
    method_found: bool,
    /// What the first line says, once it is whole; the fields begin where it ends.
    request_line: Option<(RequestLine, usize)>,
    /// Field lines.
    fields: usize,
    empty_lines: usize,
}

/// What the search found.
pub(super) enum Found {
    /// Nothing without more bytes.
    NeedData,
    /// An empty line before the request line, of this many bytes, to be passed over.
    EmptyLine(usize),
    /// A whole head.
    Head(HeadEnd),
}

/// The lines of a whole head.
pub(super) struct HeadEnd {
    pub(super) request_line: RequestLine,
    /// Where the first field line begins.
    pub(super) fields_start: usize,
    /// How many there are.
    pub(super) fields: usize,
    /// Where the head ends, behind its empty line.
    pub(super) end: usize,
}

impl HeadScan {
    /// Goes on with the search in the bytes that are not consumed.
    pub(super) fn next(&mut self, bytes: &[u8], limits: &Limits) -> Result<Found, ProtocolError> {
        loop {
            let Some(line_end) = self.line_end(bytes, limits)? else { return Ok(Found::NeedData) };
            let line = &bytes[self.line..line_end - 2];
            self.line = line_end;
            match &self.request_line {
                None if line.is_empty() => {
                    let empty_lines = self.empty_lines + 1;
                    if empty_lines > EMPTY_LINES_MAX {
                        return Err(ProtocolError::bad("too many empty lines before the request line (RFC 9112, 2.2)"));
                    }
                    *self = HeadScan { empty_lines, ..HeadScan::default() };
                    return Ok(Found::EmptyLine(line_end));
                }
                None => self.request_line = Some((target::parse(line, limits)?, line_end)),
                &Some((request_line, fields_start)) if line.is_empty() => {
                    return Ok(Found::Head(HeadEnd { request_line, fields_start, fields: self.fields, end: line_end }));
                }
                Some(_) => {
                    self.fields += 1;
                    if self.fields > limits.headers_count_max {
                        let detail = format!("there are more than {} header fields", limits.headers_count_max);
                        return Err(ProtocolError::new(Failure::HeadersTooLarge, detail));
                    }
                }
            }
        }
    }

    /// Where the present line ends, behind its CRLF; None while it is not whole.
    fn line_end(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let found = memchr::memchr(b'\n', &bytes[self.scanned..]).map(|offset| self.scanned + offset);
        let seen = found.map_or(bytes.len(), |newline| newline + 1);
        looked_at(seen - self.scanned);
        match self.request_line {
            None => {
                if !self.method_found {
                    self.method_found = target::find_method(bytes, self.scanned)?;
                }
                let line_max = target::line_bytes_max(limits);
                if seen > line_max {
                    return Err(target::too_long(&bytes[..=line_max], limits));
                }
            }
            Some((_, fields_start)) if seen - fields_start > limits.headers_bytes_max => {
                let detail = format!("the header section is over its limit of {} bytes", limits.headers_bytes_max);
                return Err(ProtocolError::new(Failure::HeadersTooLarge, detail));
            }
            Some(_) => {}
        }
        self.scanned = seen;
        match found {
            Some(newline) if newline > self.line && bytes[newline - 1] == b'\r' => Ok(Some(newline + 1)),
            Some(_) => Err(ProtocolError::bad("a line ends with LF alone, not CRLF (RFC 9112, 2.2)")),
            None => Ok(None),
        }
    }
}
