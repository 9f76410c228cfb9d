//! Counters that balance.
//!
//! Two equations hold whenever nothing is in the middle of a step, and the tests and the simulator check them:
//!
//! - connections: `accepted = active + closed`, and `closed` is the sum over [`Closed`];
//! - requests: `received = in_flight + answered + dropped`; `answered` is the sum over the status classes, and each dropped
//!   request is counted under the reason its connection was closed for.
//!
//! A request counts as received once its head is complete, or once polygil refuses bytes that never became one (they get an
//! answer too). It counts as answered once the last byte of its answer was handed to the operating system. Nothing here
//! waits, locks or decides anything: the counters are written by the connection tasks and only ever read by people.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed};

use serde::Serialize;

/// Why a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed its half, and everything that it had asked for is answered.
    Peer,
    /// After an answer that ends the connection: the client or HTTP/1.0 asked for it, or a limit of requests was reached.
    Finished,
    /// After an answer to bytes that are not a request polygil can go on after, or that came too slowly.
    Refused,
    /// No request came within the idle timeout.
    Idle,
    /// The peer did not take its answer.
    WriteTimeout,
    /// The connection broke.
    Reset,
    /// It was idle when the server began to drain.
    Drained,
    /// The server stopped before its request was answered.
    DrainDeadline,
    /// The content of an answer ended before it was whole: its handler raised, or was given up, after its first piece.
    BrokenContent,
    /// A bug in polygil: the task of the connection panicked, or the protocol and the driver disagreed.
    Bug,
}

impl Closed {
    /// All reasons, in the order of their counters.
    pub const ALL: [Closed; 10] = [
        Closed::Peer,
        Closed::Finished,
        Closed::Refused,
        Closed::Idle,
        Closed::WriteTimeout,
        Closed::Reset,
        Closed::Drained,
        Closed::DrainDeadline,
        Closed::BrokenContent,
        Closed::Bug,
    ];

    /// The reason as logs and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Closed::Peer => "peer",
            Closed::Finished => "finished",
            Closed::Refused => "refused",
            Closed::Idle => "idle",
            Closed::WriteTimeout => "write_timeout",
            Closed::Reset => "reset",
            Closed::Drained => "drained",
            Closed::DrainDeadline => "drain_deadline",
            Closed::BrokenContent => "broken_content",
            Closed::Bug => "bug",
        }
    }
}

/// The live counters. One per [`App`](super::App).
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    accept_errors: AtomicU64,
    received: AtomicU64,
    answered: [AtomicU64; 5],
    dropped: [AtomicU64; Closed::ALL.len()],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Counters {
    /// A connection was taken from a listener.
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// A connection ended; `unanswered` of its requests got no answer.
    pub(super) fn closed(&self, reason: Closed, unanswered: u64) {
        self.dropped[reason as usize].fetch_add(unanswered, Relaxed);
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }

    /// Accepting failed.
    pub(super) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    /// A request head is complete, or bytes were refused that would have been one.
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    /// Answers were written in full; `classes[0]` counts the 1xx, `classes[4]` the 5xx.
    pub(super) fn answered(&self, classes: [u32; 5]) {
        for (counter, count) in self.answered.iter().zip(classes) {
            if count > 0 {
                counter.fetch_add(u64::from(count), Relaxed);
            }
        }
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn written(&self, bytes: usize) {
        self.bytes_written.fetch_add(bytes as u64, Relaxed);
    }

    /// What the counters say at one moment: one at which none of them changed while they were read, unless they change all the time.
    /// The equations hold in any case. That no connection task is in the middle of a step is another matter, which nobody can see.
    pub fn snapshot(&self) -> Stats {
        let mut read = self.read_all();
        for _ in 0..LOOKS_MAX {
            let again = self.read_all();
            if again == read {
                break;
            }
            read = again;
        }
        let named = |counts: &[u64; Closed::ALL.len()]| {
            Named(Closed::ALL.iter().map(|&reason| (reason.name(), counts[reason as usize])).collect())
        };
        Stats {
            connections_closed_by_reason: named(&read.closed),
            requests_dropped_by_reason: named(&read.dropped),
            ..read.totals()
        }
    }

    /// As [`Counters::snapshot`], without the lists by reason and so without allocating: for the simulator, which looks after
    /// every step.
    pub fn totals(&self) -> Stats {
        self.read_all().totals()
    }

    /// Reads each counter once. Ends are read before beginnings, so that a difference is never negative.
    fn read_all(&self) -> Read {
        fn all<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
            std::array::from_fn(|index| counters[index].load(Acquire))
        }
        Read {
            closed: all(&self.closed),
            dropped: all(&self.dropped),
            answered: all(&self.answered),
            received: self.received.load(Acquire),
            accepted: self.accepted.load(Acquire),
            accept_errors: self.accept_errors.load(Acquire),
            bytes_read: self.bytes_read.load(Acquire),
            bytes_written: self.bytes_written.load(Acquire),
        }
    }
}

/// How often the counters are read again until they stand still.
const LOOKS_MAX: u32 = 100;

/// Each counter, read once.
#[derive(PartialEq, Eq)]
struct Read {
    closed: [u64; Closed::ALL.len()],
    dropped: [u64; Closed::ALL.len()],
    answered: [u64; 5],
    received: u64,
    accepted: u64,
    accept_errors: u64,
    bytes_read: u64,
    bytes_written: u64,
}

impl Read {
    fn totals(&self) -> Stats {
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        let (closed, answered, dropped) = (sum(&self.closed), sum(&self.answered), sum(&self.dropped));
        Stats {
            connections_accepted: self.accepted,
            connections_active: self.accepted.saturating_sub(closed),
            connections_closed: closed,
            connections_closed_by_reason: Named::default(),
            accept_errors: self.accept_errors,
            requests_received: self.received,
            requests_in_flight: self.received.saturating_sub(answered + dropped),
            requests_answered: answered,
            requests_dropped: dropped,
            requests_dropped_by_reason: Named::default(),
            answers_by_class: self.answered,
            bytes_read: self.bytes_read,
            bytes_written: self.bytes_written,
        }
    }
}

/// A snapshot of [`Counters`]. Serializes as a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections taken from the listeners.
    pub connections_accepted: u64,
    /// Of these, the ones that are open.
    pub connections_active: u64,
    /// Of these, the ones that ended.
    pub connections_closed: u64,
    /// Ended connections by [`Closed`].
    pub connections_closed_by_reason: Named,
    /// Failed attempts to take a connection.
    pub accept_errors: u64,
    /// Requests whose head is complete, and refused bytes that never became one.
    pub requests_received: u64,
    /// Of these, the ones that still wait for their answer to be made or written.
    pub requests_in_flight: u64,
    /// Of these, the ones whose answer was written in full.
    pub requests_answered: u64,
    /// Of these, the ones that got no answer.
    pub requests_dropped: u64,
    /// Requests without an answer, by the reason their connection was closed for.
    pub requests_dropped_by_reason: Named,
    /// Answers by status class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub answers_by_class: [u64; 5],
    /// Bytes read from sockets.
    pub bytes_read: u64,
    /// Bytes handed to sockets.
    pub bytes_written: u64,
}

/// Counters by name, in a fixed order. Serializes as a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named(pub Vec<(&'static str, u64)>);

impl Named {
    /// The counter called `name`; 0 when there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |&(_, count)| count)
    }
}

impl Serialize for Named {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_equations_hold() {
        let counters = Counters::default();
        counters.accepted();
        counters.accepted();
        for _ in 0..5 {
            counters.received();
        }
        counters.answered([0, 2, 0, 1, 0]);
        counters.closed(Closed::Reset, 1);
        let stats = counters.snapshot();
        assert_eq!((stats.connections_accepted, stats.connections_active, stats.connections_closed), (2, 1, 1));
        assert_eq!((stats.requests_received, stats.requests_answered), (5, 3));
        assert_eq!((stats.requests_dropped, stats.requests_in_flight), (1, 1));
        assert_eq!(stats.connections_closed_by_reason.get("reset"), 1);
        assert_eq!(stats.requests_dropped_by_reason.get("reset"), 1);
        assert_eq!(stats.answers_by_class, [0, 2, 0, 1, 0]);
    }

    #[test]
    fn reasons_have_their_own_counters() {
        for (index, reason) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_snapshot_is_one_json_object() {
        let json = serde_json::to_value(Counters::default().snapshot()).unwrap();
        assert_eq!(json["connections_closed_by_reason"]["drain_deadline"], 0);
        assert_eq!(json["answers_by_class"], serde_json::json!([0, 0, 0, 0, 0]));
    }
}
