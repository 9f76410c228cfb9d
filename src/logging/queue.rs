//! Lines that wait to be written: a buffer with a bound, filled by whoever logs, emptied by the one thread that writes.
//!
//! [`Queue::push`] holds the lock for the copy of a line and never waits for the writer. Where there is no room the line is lost, and
//! counted. Lines of the access log may take half of the room, so that they give way before anything else does.
//!
//! The writer takes everything at once and gives the memory back, so a log in use allocates nothing. It is woken only when it sleeps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A buffer keeps this much of its memory when it has been written.
const KEPT_BYTES: usize = 256 << 10;

/// What a line is about: which gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line of the access log.
    Access,
    /// Anything else.
    Other,
}

/// What became of the log's lines. Serializes as a JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogOverview {
    /// Lines that were written.
    pub lines_written: u64,
    /// Lines that were lost, other than the access log's: there was no room for them, or they could not be written.
    pub lines_lost: u64,
    /// Lines of the access log that were lost.
    pub access_lines_lost: u64,
}

/// Whole lines, one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Where each ends, and what it is.
    pub(super) ends: Vec<(usize, Kind)>,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.shrink_to(KEPT_BYTES / 64);
    }
}

#[derive(Default)]
struct State {
    waiting: Batch,
    /// How much of it is of the access log.
    access_bytes: usize,
    /// The writer sleeps until it is woken.
    writer_sleeps: bool,
}

/// See the module's text.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is a line for the writer.
    filled: Condvar,
    /// The writer has written, or given up, all that was there.
    emptied: Condvar,
    bytes_max: usize,
    /// Lines put in, and not yet written or lost.
    pending: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    access_lost: AtomicU64,
}

impl Queue {
    /// Empty, with room for so many bytes.
    pub(super) fn new(bytes_max: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            bytes_max,
            pending: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            access_lost: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A batch is whole after each push, whatever panicked in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line in, if there is room for it.
    pub(super) fn push(&self, line: &[u8], kind: Kind) {
        let mut state = self.lock();
        let has_room = match kind {
            Kind::Access => state.access_bytes + line.len() <= self.bytes_max / 2,
            Kind::Other => true,
        };
        if !has_room || state.waiting.bytes.len() + line.len() > self.bytes_max {
            drop(state);
            self.lose(kind);
            return;
        }
        if kind == Kind::Access {
            state.access_bytes += line.len();
        }
        state.waiting.bytes.extend_from_slice(line);
        let end = state.waiting.bytes.len();
        state.waiting.ends.push((end, kind));
        self.pending.fetch_add(1, Relaxed);
        if std::mem::take(&mut state.writer_sleeps) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// The writer's: exchanges its batch, done with, for the lines that wait. With none it sleeps until there is one, or, if it has
    /// `patience`, until that is over.
    pub(super) fn take(&self, batch: &mut Batch, patience: Option<Duration>) {
        self.pending.fetch_sub(batch.ends.len() as u64, Relaxed);
        batch.clear();
        let mut state = self.lock();
        if state.waiting.ends.is_empty() {
            self.emptied.notify_all();
            state.writer_sleeps = true;
            let sleeps = |state: &mut State| state.writer_sleeps;
            state = match patience {
                None => self.filled.wait_while(state, sleeps).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    self.filled.wait_timeout_while(state, patience, sleeps).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.writer_sleeps = false;
        }
        std::mem::swap(&mut state.waiting, batch);
        state.access_bytes = 0;
    }

    /// A line was written.
    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    /// A line was lost.
    pub(super) fn lose(&self, kind: Kind) {
        let counter = if kind == Kind::Access { &self.access_lost } else { &self.lost };
        counter.fetch_add(1, Relaxed);
    }

    /// Whether each line is written or lost.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.load(Relaxed) == 0
    }

    /// Waits for that, for `patience` at most.
    pub(super) fn wait_until_empty(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while !self.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The counters now.
    pub(super) fn overview(&self) -> LogOverview {
        LogOverview {
            lines_written: self.written.load(Relaxed),
            lines_lost: self.lost.load(Relaxed),
            access_lines_lost: self.access_lost.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue) -> String {
        let mut batch = Batch::default();
        queue.take(&mut batch, Some(Duration::ZERO));
        let text = String::from_utf8(batch.bytes.clone()).unwrap();
        queue.take(&mut batch, Some(Duration::ZERO));
        assert!(batch.ends.is_empty());
        text
    }

    #[test]
    fn lines_come_out_in_the_order_they_went_in() {
        let queue = Queue::new(100);
        queue.push(b"a\n", Kind::Other);
        queue.push(b"b\n", Kind::Access);
        assert!(!queue.is_empty());
        assert_eq!(taken(&queue), "a\nb\n");
        assert!(queue.is_empty());
    }

    #[test]
    fn access_lines_give_way_and_what_finds_no_room_is_counted() {
        let queue = Queue::new(8);
        for _ in 0..3 {
            queue.push(b"1\n", Kind::Access);
        }
        for _ in 0..3 {
            queue.push(b"2\n", Kind::Other);
        }
        assert_eq!(queue.overview(), LogOverview { lines_written: 0, lines_lost: 1, access_lines_lost: 1 });
        assert_eq!(taken(&queue), "1\n1\n2\n2\n");
        queue.push(b"1\n", Kind::Access);
        assert_eq!(taken(&queue), "1\n", "there is room again");
    }

    #[test]
    fn nobody_waits_longer_than_their_patience() {
        let queue = Queue::new(100);
        queue.wait_until_empty(Duration::MAX.min(Duration::from_secs(60)));
        queue.push(b"a\n", Kind::Other);
        queue.wait_until_empty(Duration::from_millis(1));
        assert!(!queue.is_empty());
    }

    #[test]
    fn a_line_wakes_the_writer_and_the_last_one_wakes_who_waits_for_it() {
        let queue = Queue::new(1000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut batch, mut seen) = (Batch::default(), 0);
                while seen < 100 {
                    queue.take(&mut batch, None);
                    seen += batch.ends.len();
                }
                queue.take(&mut batch, Some(Duration::ZERO));
            });
            for _ in 0..100 {
                queue.push(b"a\n", Kind::Other);
                queue.wait_until_empty(Duration::from_secs(60));
                assert!(queue.is_empty());
            }
        });
    }
}
