//! One connection: writes bytes exactly, reads answers strictly, and remembers everything for the report.
//!
//! Blocking sockets with a deadline for each read. It never retries and never hides: how a connection ended is part of what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::response::{Parsed, Response, parse};

/// How long opening a connection, or a write that the server does not take, may last.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a connection ended, or that it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It is open, as far as anybody knows.
    Open,
    /// The server closed it in order.
    Closed,
    /// The server reset it.
    Reset,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Ending::Open => "open",
            Ending::Closed => "closed",
            Ending::Reset => "reset",
        })
    }
}

/// What a read came to, where it is not an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The connection ended first.
    Ended(Ending),
    /// Nothing, or not enough, arrived in time.
    Late,
    /// What arrived is not an answer.
    Malformed(String),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Missing::Ended(Ending::Reset) => f.write_str("the connection was reset before a whole answer"),
            Missing::Ended(_) => f.write_str("the connection was closed before a whole answer"),
            Missing::Late => f.write_str("no whole answer in time"),
            Missing::Malformed(rule) => write!(f, "what came is not an answer: {rule}"),
        }
    }
}

/// One thing that happened on a connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These bytes were sent.
    Sent(Vec<u8>),
    /// These bytes came.
    Received(Vec<u8>),
    /// We said that we send no more.
    HalfClosed,
    /// We gave the connection up.
    Aborted,
    /// It ended.
    Ended(Ending),
}

/// One connection to the server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Received and not yet taken by an answer.
    buffer: Vec<u8>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// How it ended.
    pub ending: Ending,
}

impl Client {
    /// Connects; waits five seconds at most.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new(), events: Vec::new(), ending: Ending::Open })
    }

    /// Writes the bytes, in one write or byte by byte. A server that ends the connection meanwhile is no error here: the next read
    /// tells what it said before.
    pub fn send(&mut self, bytes: &[u8], bytewise: bool) {
        let pieces: Vec<&[u8]> = if bytewise { bytes.chunks(1).collect() } else { vec![bytes] };
        for piece in pieces {
            if self.stream.write_all(piece).is_err() {
                break;
            }
        }
        match self.events.last_mut() {
            Some(Event::Sent(sent)) => sent.extend_from_slice(bytes),
            _ => self.events.push(Event::Sent(bytes.to_vec())),
        }
    }

    /// Says that no more will be sent.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.events.push(Event::HalfClosed);
    }

    /// Gives the connection up. What the server sent by then is not read, so that it sees a reset at its next write.
    pub fn abort(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.events.push(Event::Aborted);
    }

    /// Reads one answer to `method`.
    pub fn answer(&mut self, method: &str, within: Duration) -> Result<Response, Missing> {
        let deadline = Instant::now() + within;
        loop {
            match parse(&self.buffer, method, self.has_ended()).map_err(Missing::Malformed)? {
                Parsed::Whole(response, length) => {
                    self.buffer.drain(..length);
                    return Ok(*response);
                }
                Parsed::Partial if self.ending != Ending::Open => return Err(Missing::Ended(self.ending)),
                Parsed::Partial => {}
            }
            if !self.fill(deadline) {
                return Err(Missing::Late);
            }
        }
    }

    /// Takes what `parse` finds at the start of what came: it, and how many bytes it took; None where more are needed.
    pub fn take<T>(
        &mut self,
        within: Duration,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, String>,
    ) -> Result<T, Missing> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((taken, length)) = parse(&self.buffer).map_err(Missing::Malformed)? {
                self.buffer.drain(..length);
                return Ok(taken);
            }
            if self.ending != Ending::Open {
                return Err(Missing::Ended(self.ending));
            }
            if !self.fill(deadline) {
                return Err(Missing::Late);
            }
        }
    }

    /// Whether what has come is all that an answer without a length consists of. A server that refuses a request while more of it is on
    /// its way resets the connection by closing it: what it said before is its answer.
    fn has_ended(&self) -> bool {
        let refuses = matches!(self.buffer.get(7..10), Some([_, b' ', b'4' | b'5']));
        self.ending == Ending::Closed || (self.ending == Ending::Reset && refuses)
    }

    /// Waits for the end of the connection; whether it came, and nothing before it.
    pub fn wait_for_end(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.ending == Ending::Open && self.buffer.is_empty() {
            if !self.fill(deadline) {
                return false;
            }
        }
        self.ending != Ending::Open && self.buffer.is_empty()
    }

    /// Whether for this long nothing comes, the end included.
    pub fn is_silent(&mut self, for_time: Duration) -> bool {
        let deadline = Instant::now() + for_time;
        self.buffer.is_empty() && self.ending == Ending::Open && !self.fill(deadline)
    }

    /// What came and belongs to no answer.
    pub fn left_over(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes in what is there by now, without waiting.
    pub fn settle(&mut self) {
        while self.ending == Ending::Open && self.fill(Instant::now() + Duration::from_millis(1)) {}
    }

    /// Reads once; false when the deadline passed first.
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => self.end(Ending::Closed),
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                match self.events.last_mut() {
                    Some(Event::Received(received)) => received.extend_from_slice(&piece[..length]),
                    _ => self.events.push(Event::Received(piece[..length].to_vec())),
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => self.end(Ending::Reset),
        }
        true
    }

    fn end(&mut self, ending: Ending) {
        self.ending = ending;
        self.events.push(Event::Ended(ending));
    }
}
