//! What happened, in order: always as a hash, and for readers as entries.
//!
//! Two runs are the same run exactly when their hashes are equal. So everything that may differ goes into it: who was polled,
//! what arrived where, the bytes themselves, and when. What may not: addresses, and the time on the wall.

use serde::{Deserialize, Serialize};

use crate::random::mix;

/// A kind of step. Each comes with two numbers; see the comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A task of the server was polled: its number; tasks that were ready.
    Poll,
    /// A client connected: connection; client.
    Connect,
    /// The server took a connection from its backlog: connection; how many are left in it.
    Accept,
    /// Accepting failed: errno; 0.
    AcceptError,
    /// A connection attempt failed: connection; 0 when refused, 1 when the backlog was full.
    Refused,
    /// A client sent bytes: connection; how many.
    Send,
    /// Bytes reached the server: connection; how many.
    Arrive,
    /// The server read: connection; bytes.
    Read,
    /// The server wrote: connection; bytes.
    Write,
    /// Bytes reached the client: connection; how many.
    Receive,
    /// An answer was complete and checked: connection; request << 16 | status.
    Answer,
    /// The client ended its half: connection; 0.
    ClientEnd,
    /// The server ended its half: connection; 0.
    ServerEnd,
    /// The server let go of the connection: connection; bytes it had not read.
    ServerDrop,
    /// The connection was reset: connection; 0 by the client, 1 by the server's side.
    Reset,
    /// A worker took a task: worker; request.
    Run,
    /// A worker answered: worker; request << 8 | fate.
    Done,
    /// A worker found nothing to do and lay down: worker; 0.
    Sleep,
    /// A worker was woken: worker; 0.
    Wake,
    /// A worker began a content, or gave a piece of it: worker; request << 8 | 0 begun, 1 a piece, 2 its end, 3 broken off, 4 unwanted.
    Stream,
    /// Another does the I/O: worker; 0 it does, 1 it gave it back, 2 it was taken back, 3 the worker ended.
    Io,
    /// A worker died: worker; request.
    Die,
    /// A handler over its budget was interrupted: worker; request.
    Interrupt,
    /// A worker was given up: worker; request.
    Abandon,
    /// A lane got a new worker: worker; replacements so far.
    Replace,
    /// A worker ended: worker; 0.
    Exit,
    /// A signal was sent: its number; 0.
    Signal,
    /// The server answered what still ran and waited: how many; 0.
    GiveUp,
    /// The server ended: 0 finished, 1 deadline, 2 signal; requests unfinished.
    Ended,
    /// The faults are over: 0; 0.
    Heal,
    /// Time passed with nothing to do: nanoseconds; 0.
    Jump,
    /// A fault of the network: connection; which.
    Fault,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the beginning.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// See [`Kind`].
    pub a: u64,
    /// See [`Kind`].
    pub b: u64,
}

/// The trace of a run.
#[derive(Default)]
pub struct Trace {
    hash: u64,
    steps: u64,
    entries: Option<Vec<Entry>>,
}

impl Trace {
    /// A trace that keeps its entries if asked to.
    pub fn new(keep: bool) -> Trace {
        Trace { hash: 0, steps: 0, entries: keep.then(Vec::new) }
    }

    /// Notes a step.
    #[inline]
    pub fn note(&mut self, at: u64, kind: Kind, a: u64, b: u64) {
        self.steps += 1;
        self.hash = mix(self.hash, at ^ (kind as u64) << 56 ^ a.rotate_left(40) ^ b.rotate_left(20));
        if let Some(entries) = &mut self.entries {
            entries.push(Entry { at, kind, a, b });
        }
    }

    /// Notes bytes that belong to the last step.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash = crate::random::hash(self.hash, bytes);
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many steps were noted.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The entries; empty unless they were to be kept.
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_deref().unwrap_or_default()
    }

    /// Takes the entries out.
    pub fn take(&mut self) -> Vec<Entry> {
        self.entries.take().unwrap_or_default()
    }
}
