//! Drives a [`Connection`] as the server does, and notes what it saw in a form that does not depend on how the bytes were cut.
//!
//! Each complete request is answered with its number and what was understood of it, each error with its own answer, so that the
//! bytes that come out say which answer went to which request.

use polygil::http::{AfterResponse, Connection, Event, Head, Limits, Request, Response};

/// A date to send: the machine reads no clock.
pub const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// An event, or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A request began.
    Head(Box<Head>),
    /// All of its content that came without another event between.
    Body(Vec<u8>),
    /// It was complete.
    End,
    /// There will be no further one.
    Closed,
    /// It was refused: status and rule.
    Error(u16, String),
}

/// What a connection did.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// In order.
    pub seen: Vec<Seen>,
    /// Everything that was answered.
    pub out: Vec<u8>,
}

impl Trace {
    /// The heads that were accepted.
    pub fn heads(&self) -> impl DoubleEndedIterator<Item = &Head> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::Head(head) => Some(&**head),
            _ => None,
        })
    }

    /// How many requests were complete.
    pub fn complete(&self) -> usize {
        self.seen.iter().filter(|seen| **seen == Seen::End).count()
    }

    /// The refusal, if there was one.
    pub fn error(&self) -> Option<(u16, &str)> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Error(status, rule) => Some((*status, rule.as_str())),
            _ => None,
        })
    }
}

/// Limits that a small input reaches.
pub fn tight() -> Limits {
    Limits {
        target_bytes_max: 40,
        headers_bytes_max: 120,
        headers_count_max: 4,
        body_bytes_max: 40,
        chunk_extensions_bytes_max: 20,
        trailers_bytes_max: 16,
        trailers_count_max: 1,
        requests_per_connection_max: 5,
        strict_targets: false,
    }
}

/// The answer to the request of this number: its content tells the two apart that were confused.
pub fn answer(number: usize, content: &[u8]) -> Response {
    Response {
        status: 200,
        headers: vec![("x-request".into(), number.to_string().into_bytes().into())],
        body: format!("{number}:{}", content.len()).into_bytes(),
        close: false,
    }
}

/// Feeds the pieces, then the end of input where `eof` says so. Each request lives in the memory of the one before, as in the server.
///
/// # Panics
///
/// Where the machine breaks its own rules: events out of order, an error that does not end the connection, a response that
/// cannot be sent, more bytes held than the limits allow.
pub fn drive<'d>(limits: &Limits, pieces: impl IntoIterator<Item = &'d [u8]>, eof: bool) -> Trace {
    run(limits, pieces, eof, true)
}

/// The same, but each request in memory of its own.
///
/// # Panics
///
/// As [`drive`] does.
pub fn drive_anew<'d>(limits: &Limits, pieces: impl IntoIterator<Item = &'d [u8]>, eof: bool) -> Trace {
    run(limits, pieces, eof, false)
}

fn run<'d>(limits: &Limits, pieces: impl IntoIterator<Item = &'d [u8]>, eof: bool, reuses: bool) -> Trace {
    let mut connection = Connection::new(limits.clone());
    let mut trace = Trace { seen: Vec::new(), out: Vec::new() };
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let (mut number, mut content) = (0, Vec::new());
    let mut ended = false;
    loop {
        match connection.next_event() {
            Ok(Event::NeedData) => {
                assert!(!ended, "more data is asked for behind the end");
                assert!(connection.buffered() <= held_max(limits), "{} bytes are held", connection.buffered());
                match pieces.next() {
                    Some(piece) => connection.receive(piece),
                    None if eof => {
                        ended = true;
                        connection.receive_eof();
                    }
                    None => return trace,
                }
            }
            Ok(Event::Head(head)) => {
                assert!(!matches!(trace.seen.last(), Some(Seen::Head(_) | Seen::Body(_))), "a head inside a request");
                content.clear();
                trace.seen.push(Seen::Head(Box::new(head)));
            }
            Ok(Event::Body(bytes)) => {
                assert!(!bytes.is_empty(), "an empty piece of content");
                content.extend_from_slice(&bytes);
                match trace.seen.last_mut() {
                    Some(Seen::Body(body)) => body.extend(bytes),
                    Some(Seen::Head(_)) => trace.seen.push(Seen::Body(bytes)),
                    other => panic!("content behind {other:?}"),
                }
            }
            Ok(Event::End) => {
                trace.seen.push(Seen::End);
                assert_eq!(connection.next_event(), Ok(Event::Paused), "nothing is looked at before the answer");
                let after = connection.send(&answer(number, &content), DATE, &mut trace.out).expect("a valid response");
                assert!(!matches!(after, AfterResponse::DrainThenClose { .. }), "a complete request leaves nothing");
                number += 1;
                if reuses && let Some(head) = trace.heads().next_back().cloned() {
                    connection.reuse(Request { head, body: std::mem::take(&mut content) });
                }
            }
            Ok(Event::Paused) => panic!("every response was sent"),
            Ok(Event::Closed) => {
                assert_eq!(connection.next_event(), Ok(Event::Closed), "closed stays closed");
                trace.seen.push(Seen::Closed);
                return trace;
            }
            Err(error) => {
                assert_eq!(connection.next_event(), Ok(Event::Closed), "an error is told once");
                trace.seen.push(Seen::Error(error.failure.status(), error.detail.clone().into_owned()));
                let after = connection.send(&error.failure.response(&error.detail), DATE, &mut trace.out);
                assert_ne!(after.expect("a valid response"), AfterResponse::KeepAlive, "a refusal ends the connection");
                assert_eq!(connection.next_event(), Ok(Event::Closed), "nothing follows a refusal");
            }
        }
    }
}

/// Bytes that may wait for the rest of a line or a head: the longest head and the longest line of a chunked body.
fn held_max(limits: &Limits) -> usize {
    let head = 64 + limits.target_bytes_max + 12 + limits.headers_bytes_max;
    let line = (16 + limits.chunk_extensions_bytes_max).max(limits.trailers_bytes_max) + 2;
    head.max(line)
}

/// Cuts the bytes at places that a hash of them gives: into single bytes, into pieces of one size, or anywhere.
pub fn cut(data: &[u8]) -> Vec<&[u8]> {
    let mut state = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut draw = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound
    };
    let way = draw(4);
    let size = 1 + draw(32);
    let mut pieces = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let length = match way {
            0 => 1,
            1 => size,
            _ => 1 + draw(size),
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
