//! The pool's numbers, and the equation that they satisfy.
//!
//! They are for people and monitors: nothing is decided by them. Each submitted task is counted once where it enters and once
//! where it leaves, by whoever decides its fate at that moment:
//!
//! | leaves as   | counted by |
//! |-------------|------------|
//! | `refused`   | `submit`, when it gives the task back |
//! | `completed` | the worker that ran it, when it steps on |
//! | `expired`   | the worker or the sweep that found that nobody waits for it any more |
//! | `abandoned` | whoever took the worker's lane from it while it ran, or emptied the queues of a pool without workers |
//!
//! So `submitted = completed + refused + expired + abandoned + waiting + running`, exactly when nobody is in the middle of a
//! call; while threads are at work the numbers are read one after the other and may be off by the tasks that moved meanwhile.

use serde::Serialize;

use super::sync::{Count, Ordering};

/// The counters and gauges of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Calls of `submit`.
    pub submitted: u64,
    /// Tasks that a worker took and was done with.
    pub completed: u64,
    /// Tasks that `submit` gave back: no room, or closed.
    pub refused: u64,
    /// Tasks that were not run because nobody waited for them any more.
    pub expired: u64,
    /// Tasks that were running when their worker was given up, and waiting tasks that were taken out of the pool.
    pub abandoned: u64,
    /// Tasks that wait in a queue now.
    pub waiting: u64,
    /// Tasks that a worker runs now.
    pub running: u64,
}

impl Counters {
    /// Whether each submitted task is accounted for. True whenever the pool is at rest.
    pub fn balance(&self) -> bool {
        let ended = self.completed + self.refused + self.expired + self.abandoned;
        self.submitted == ended + self.waiting + self.running
    }
}

/// Where the pool counts what leaves it. `submitted` is counted by the pool itself: it doubles as the tasks' ticket.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) completed: Count,
    pub(super) refused: Count,
    pub(super) expired: Count,
    pub(super) abandoned: Count,
}

/// Adds to a counter.
pub(super) fn add(count: &Count, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Reads a counter.
pub(super) fn read(count: &Count) -> u64 {
    count.load(Ordering::Relaxed)
}
