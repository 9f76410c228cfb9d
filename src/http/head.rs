//! A request's head: request line and header section, owned, and what its fields say to the server itself.
//!
//! `httparse` splits the field lines and checks names and values; everything it lets through that RFC 9112 forbids, or leaves
//! ambiguous enough that two servers could differ, is refused here, in [`fields`](super::fields), [`host`](super::host) and
//! [`framing`](super::framing). A [`Head`] that exists has passed all of it.
//!
//! It is one copy of the head's bytes and a list of places in it: no string per field.

use std::ops::Range;

use super::fields::{judge, list};
use super::framing::{Framing, FramingFields};
use super::host::{is_authority, is_same_authority};
use super::scan::HeadEnd;
use super::target::RequestLine;
use super::{ProtocolError, looked_at};
use crate::error::Failure;
use crate::mistakes::broken;

/// Heads with up to this many fields are parsed without an allocation for it.
const FIELDS_ON_STACK: usize = 32;

/// A place in a head. Half of a `Range<usize>`, and `Copy`; [`Limits`](super::Limits) keeps heads far below 4 GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    /// The place of `part`, which is a slice of `whole`.
    fn place(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        Self::new(start..start + part.len())
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// A request's head: one buffer, and where things are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<(Span, Span)>,
    method: Span,
    target: Span,
    path: Span,
    query: Option<Span>,
    host: Span,
    minor_version: u8,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// The request target, as sent.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The raw path, up to the `?`; of an absolute target, its path, at least `/`; `*` for `OPTIONS *`, which OPTIONS of an absolute
    /// target with neither path nor query says in the other form (RFC 9110, 4.2.3; RFC 9112, 3.2.4).
    pub fn path(&self) -> &str {
        match self.text(self.path) {
            "" if self.query.is_none() && self.method() == "OPTIONS" => "*",
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?`, raw.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The field lines, in order; names as sent, values without the white space around them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|&(name, value)| (self.text(name), value.of(&self.bytes)))
    }

    /// The first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let named = |(given, _): &&(Span, Span)| given.of(&self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().find(named).map(|(_, value)| value.of(&self.bytes))
    }

    /// The value of Host, or the authority of an absolute target; empty where HTTP/1.0 sent neither.
    pub fn host(&self) -> &str {
        self.text(self.host)
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

    fn text(&self, span: Span) -> &str {
        // Only places that were checked to be ASCII are asked for.
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }
}

/// What a head lives in, empty, on its way from one that is done with to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: Vec<u8>,
    fields: Vec<(Span, Span)>,
}

impl Memory {
    /// That of a head, as far as `bytes_max` allows for either part.
    pub(super) fn of(head: Head, bytes_max: usize) -> Memory {
        let mut memory = Memory { bytes: emptied(head.bytes, bytes_max), fields: head.fields };
        memory.fields.clear();
        if memory.fields.capacity() * size_of::<(Span, Span)>() > bytes_max {
            memory.fields = Vec::new();
        }
        memory
    }
}

/// The same memory without its bytes, or none if it is more than `bytes_max`.
pub(super) fn emptied(mut bytes: Vec<u8>, bytes_max: usize) -> Vec<u8> {
    if !broken("memory_not_emptied") {
        bytes.clear();
    }
    if bytes.capacity() > bytes_max { Vec::new() } else { bytes }
}

/// Reads a whole head: `bytes` begins with the request line and goes on at least to `head.end`. Its copy and its list go into the
/// memory of `spare`.
pub(super) fn parse(bytes: &[u8], head: &HeadEnd, spare: Memory) -> Result<Head, ProtocolError> {
    let bytes = &bytes[..head.end];
    looked_at(bytes.len());
    let line = head.request_line;
    let mut facts = Facts::default();
    let Memory { bytes: mut copy, mut fields } = spare;
    fill(&mut fields, bytes, head, &mut facts)?;
    let host = facts.host(bytes, &line)?;
    let framing = facts.framing.conclude(line.minor_version)?;
    if facts.content_types_differ {
        // Which of the two counts would be decided differently by whoever reads it next.
        return Err(ProtocolError::bad("there are two Content-Type fields that differ (RFC 9110, 8.3)"));
    }
    // A 1.0 client cannot be told of a 1xx, nor be held to an expectation (RFC 9110, 10.1.1).
    let is_current = line.minor_version == 1;
    if facts.expects_other && is_current {
        let detail = "the only expectation that this server meets is 100-continue (RFC 9110, 10.1.1)";
        return Err(ProtocolError::new(Failure::ExpectationFailed, detail));
    }
    copy.extend_from_slice(bytes);
    Ok(Head {
        bytes: copy,
        fields,
        method: line.method,
        target: line.target,
        path: line.path,
        query: line.query,
        host,
        minor_version: line.minor_version,
        framing,
        keep_alive: (is_current || facts.keep_alive) && !facts.close,
        expects_continue: facts.expects_continue && is_current,
    })
}

/// RFC 9112, 5: the places of names and values, by httparse; `facts` takes in those that are meant for the server.
fn fill(fields: &mut Vec<(Span, Span)>, bytes: &[u8], head: &HeadEnd, facts: &mut Facts) -> Result<(), ProtocolError> {
    let section = &bytes[head.fields_start..];
    let mut stack = [httparse::EMPTY_HEADER; FIELDS_ON_STACK];
    let mut heap;
    let room = match stack.get_mut(..head.fields) {
        Some(room) => room,
        None => {
            heap = vec![httparse::EMPTY_HEADER; head.fields];
            &mut heap[..]
        }
    };
    let parsed = match httparse::parse_headers(section, room) {
        // All of it, or a line would be read twice as something else.
        Ok(httparse::Status::Complete((length, parsed))) if length == section.len() && parsed.len() == head.fields => {
            parsed
        }
        _ => return Err(broken_rule(section)),
    };
    fields.extend(parsed.iter().map(|field| {
        facts.take_in(field.name, field.value, bytes);
        (Span::place(field.name.as_bytes(), bytes), Span::place(field.value, bytes))
    }));
    Ok(())
}

/// Why httparse refused a header section.
fn broken_rule(section: &[u8]) -> ProtocolError {
    let lines = section.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut lines = lines.filter(|line| !line.is_empty());
    let rule = lines.find_map(|line| judge(line).err());
    ProtocolError::bad(rule.unwrap_or("a field line is malformed (RFC 9112, 5)"))
}

/// What the fields say to the server itself.
#[derive(Default)]
struct Facts {
    hosts: usize,
    host: Span,
    framing: FramingFields,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
    content_type: Option<Span>,
    content_types_differ: bool,
}

impl Facts {
    fn take_in(&mut self, name: &str, value: &[u8], whole: &[u8]) {
        // The lengths are all different, so most fields cost one comparison of numbers.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                self.host = Span::place(value, whole);
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                for member in list(value) {
                    let is_continue = member.eq_ignore_ascii_case(b"100-continue");
                    *if is_continue { &mut self.expects_continue } else { &mut self.expects_other } = true;
                }
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                let place = Span::place(value, whole);
                let first = *self.content_type.get_or_insert(place);
                self.content_types_differ |= first.of(whole) != value;
            }
            14 if name.eq_ignore_ascii_case("content-length") => self.framing.content_length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.framing.transfer_encoding(value),
            _ => {}
        }
    }

    /// RFC 9112, 3.2: exactly one valid Host on HTTP/1.1, at most one on HTTP/1.0, and no other than an absolute target names.
    fn host(&self, bytes: &[u8], line: &RequestLine) -> Result<Span, ProtocolError> {
        let rule = match (self.hosts, line.authority) {
            (0, authority) if line.minor_version == 0 => return Ok(authority.unwrap_or_default()),
            (0, _) => "HTTP/1.1 requires a Host field (RFC 9112, 3.2)",
            (2.., _) => "there is more than one Host field (RFC 9112, 3.2)",
            _ if !is_authority(self.host.of(bytes)) => {
                "the value of Host is not a host with an optional port (RFC 9110, 7.2)"
            }
            (_, Some(authority))
                if !is_same_authority(authority.of(bytes), self.host.of(bytes), line.default_port(bytes)) =>
            {
                "the absolute target names another authority than Host (RFC 9112, 3.2.2)"
            }
            _ => return Ok(self.host),
        };
        Err(ProtocolError::bad(rule))
    }
}
