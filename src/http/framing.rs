//! Where a request's content ends, as its header fields say it, or why nobody can know (RFC 9112, 6).
//!
//! Every family of request smuggling is two servers that read these two fields differently. So there is one way to write each
//! of them: Content-Length is one field with one number; Transfer-Encoding is one field that says `chunked`; a request has one
//! of the two or none. The RFC lets a server accept more (a Content-Length that is repeated with the same value, a
//! Transfer-Encoding that overrides a Content-Length); nothing honest needs it.

use super::ProtocolError;
use super::fields::list;
use crate::error::Failure;

/// How a request's content is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes; 0 is no content.
    Length(u64),
    /// Chunks (RFC 9112, 7.1).
    Chunked,
}

/// What the fields said so far.
#[derive(Debug, Default)]
pub(super) struct FramingFields {
    lengths: usize,
    length: Option<u64>,
    length_is_list: bool,
    /// Transfer-Encoding field lines.
    codings: usize,
    /// Every one of them was exactly `chunked`.
    exact: bool,
    chunked: usize,
    chunked_is_last: bool,
    unknown: usize,
}

impl FramingFields {
    /// Takes in a Content-Length (RFC 9110, 8.6: `1*DIGIT`).
    pub(super) fn content_length(&mut self, value: &[u8]) {
        self.lengths += 1;
        self.length_is_list = value.contains(&b',');
        self.length = value.iter().try_fold(0u64, |length, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        });
        if value.is_empty() {
            self.length = None;
        }
    }

    /// Takes in a Transfer-Encoding (RFC 9112, 6.1).
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        self.exact = self.codings == 0 && value.eq_ignore_ascii_case(b"chunked");
        self.codings += 1;
        for coding in list(value) {
            self.chunked_is_last = coding.eq_ignore_ascii_case(b"chunked");
            *if self.chunked_is_last { &mut self.chunked } else { &mut self.unknown } += 1;
        }
    }

    /// The framing that all fields together give to a request of HTTP/1.`minor_version`.
    pub(super) fn conclude(&self, minor_version: u8) -> Result<Framing, ProtocolError> {
        if self.codings > 0 {
            return self.transfer_coding(minor_version).map(|()| Framing::Chunked);
        }
        match (self.lengths, self.length) {
            (0, _) => Ok(Framing::Length(0)),
            (1, Some(length)) => Ok(Framing::Length(length)),
            (1, None) if self.length_is_list => {
                Err(ProtocolError::bad("Content-Length is a list (RFC 9112, 6.3; also where all members are the same)"))
            }
            (1, None) => {
                Err(ProtocolError::bad("Content-Length is not one number in digits that fits (RFC 9110, 8.6)"))
            }
            _ => Err(ProtocolError::bad("Content-Length is repeated (RFC 9112, 6.3; also where both say the same)")),
        }
    }

    fn transfer_coding(&self, minor_version: u8) -> Result<(), ProtocolError> {
        let rule = if self.lengths > 0 {
            "Content-Length beside Transfer-Encoding (RFC 9112, 6.1)"
        } else if minor_version == 0 {
            "Transfer-Encoding on HTTP/1.0 (RFC 9112, 6.1)"
        } else if self.exact {
            return Ok(());
        } else if self.chunked > 1 {
            "Transfer-Encoding names `chunked` more than once (RFC 9112, 6.1)"
        } else if self.chunked == 1 && !self.chunked_is_last {
            "Transfer-Encoding names a coding behind `chunked`, so the content has no end (RFC 9112, 6.3)"
        } else if self.unknown > 0 {
            let detail = "a transfer coding other than chunked (RFC 9112, 6.1)";
            return Err(ProtocolError::new(Failure::NotImplemented, detail));
        } else {
            "Transfer-Encoding is not exactly `chunked`, once (RFC 9112, 6.1)"
        };
        Err(ProtocolError::bad(rule))
    }
}
