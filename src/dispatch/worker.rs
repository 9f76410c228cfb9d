//! The worker's side: what to do next.
//!
//! A worker is a loop around [`Worker::step`], which never blocks: a thread runs what it gives and parks when it says so, the
//! simulator polls it, the model checker drives it.
//!
//! ```
//! use polygil::dispatch::{Placement, Pool, PoolOptions, Step};
//!
//! let options = PoolOptions { workers: 1, lane_depth: 8, overflow_depth: 8, placement: Placement::RoundRobin };
//! let pool = Pool::new(options);
//! let mut worker = pool.worker(0);
//! let thread = std::thread::spawn(move || {
//!     let mut sum = 0;
//!     loop {
//!         match worker.step() {
//!             Step::Run(number) => sum += number,
//!             Step::Park => worker.park(),
//!             Step::Exit => return sum,
//!         }
//!     }
//! });
//! for number in 1..=4 {
//!     pool.submit(number).unwrap();
//! }
//! pool.close();
//! assert_eq!(thread.join().unwrap(), 10);
//! assert_eq!(pool.counters().completed, 4);
//! ```
//!
//! # Where it looks
//!
//! In its own lane, then in the overflow queue, then in the lanes of the others: **an idle worker steals**. A lane belongs to
//! its worker by preference, not by right; else a task would wait behind a slow handler, or in the lane of a worker that is
//! lost, while somebody has nothing to do. So the pool is work-conserving, as a single central queue is, and keeps what the
//! lanes are for: while all are busy, workers do not meet at one queue.
//!
//! A worker that always finds something in its own lane would starve the rest. Therefore it begins with the overflow queue
//! every other time, and every eighth time with the others' lanes, another of them first each time. That bounds how often a
//! waiting task is passed over: while any worker takes tasks at all, the oldest in any queue moves.

use std::time::Duration;

use concurrent_queue::{ConcurrentQueue, PopError};

use super::counters::add;
use super::lane::{Rise, Waiting, fence_before_recheck};
use super::pool::Pool;
use super::sync::{Arc, Ordering, broken, whole};

/// Every how many takes the overflow queue is looked into first.
const OVERFLOW_TURN: usize = 2;
/// Every how many takes the lanes of others are looked into first.
const OTHERS_TURN: usize = 8;

/// What a worker is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Run this task. The next call of `step` says that it is done with it.
    Run(T),
    /// Nothing to do at the moment: call [`Worker::park`], or step again.
    Park,
    /// Nothing to do ever again: the pool is closed and empty, or another worker has the lane.
    Exit,
}

/// The worker of one lane, in one epoch.
pub struct Worker<T> {
    pool: Arc<Pool<T>>,
    index: usize,
    epoch: usize,
    /// It was woken for a task and has not taken one yet. See `lane.rs`.
    token: bool,
    running: Running,
    /// Tasks taken so far.
    taken: usize,
}

/// How the end of the task that was given out last is to be counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    /// There is none.
    Nothing,
    /// As done, unless the lane was taken away meanwhile: then whoever did that has counted it.
    Task,
    /// As expired, likewise.
    Expired,
    /// As done: the lane was taken away before the task could be noted in its word.
    Unnoted,
}

impl<T> Worker<T> {
    pub(super) fn new(pool: Arc<Pool<T>>, index: usize, epoch: usize) -> Worker<T> {
        Worker { pool, index, epoch, token: false, running: Running::Nothing, taken: 0 }
    }

    /// The lane's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Says that the last task is done, and what is next. Never blocks.
    pub fn step(&mut self) -> Step<T> {
        self.finish();
        if !broken("epoch_not_checked") && !self.lane().is_current(self.epoch) {
            self.hand_token_on();
            return Step::Exit;
        }
        let mut open = false;
        let found = self.take(&mut open);
        match found {
            Some(waiting) => {
                self.taken = self.taken.wrapping_add(1);
                let noted = self.lane().begin(self.epoch);
                self.running = if noted { Running::Task } else { Running::Unnoted };
                self.hand_token_on();
                Step::Run(waiting.task)
            }
            None => {
                // Whatever the token was for, somebody has taken it.
                self.token = false;
                if open { Step::Park } else { Step::Exit }
            }
        }
    }

    /// Says that the task which `step` gave last was not run, because nobody waits for its answer any more: it will be counted
    /// as expired.
    pub fn expired(&mut self) {
        if self.running == Running::Task {
            self.running = Running::Expired;
        }
    }

    /// Blocks until `step` may have something else to say than [`Step::Park`].
    pub fn park(&mut self) {
        self.sleep(None);
    }

    /// As [`Worker::park`], for `limit` at most. True when `step` may have something new to say, false when the time passed.
    pub fn park_timeout(&mut self, limit: Duration) -> bool {
        self.sleep(Some(limit))
    }

    /// The first half of [`Worker::park`], for those who may not block. True when the worker sleeps now; it does until
    /// [`Worker::is_asleep`] says otherwise, and then it is to call [`Worker::rise`]. False when `step` may have something new.
    pub fn lie_down(&mut self) -> bool {
        let pool = &self.pool;
        pool.sleeping.0.fetch_add(1, Ordering::AcqRel);
        if !self.lane().lie_down(self.epoch) {
            pool.somebody_rose();
            return false;
        }
        fence_before_recheck();
        if broken("no_recheck") || pool.is_idle() {
            return true;
        }
        self.rise();
        false
    }

    /// As [`Worker::lie_down`], for a thread that then blocks elsewhere, in a poll of its sockets say: `waker` is called when the
    /// worker is woken.
    pub fn lie_down_until(&mut self, waker: &std::task::Waker) -> bool {
        self.lane().wake_by(waker);
        self.lie_down()
    }

    /// If anything waits, wakes a worker for it that sleeps: for one that has put tasks into its lane by [`Pool::submit_own`] and
    /// now has something else to do for longer.
    pub fn call_others(&self) {
        if !broken("others_not_called") {
            self.pool.call_workers(self.index);
        }
    }

    /// Whether it lay down and nobody has woken it yet.
    pub fn is_asleep(&self) -> bool {
        self.lane().is_parked(self.epoch)
    }

    /// The second half of [`Worker::park`]. True when it was woken, false when it gets up by itself.
    pub fn rise(&mut self) -> bool {
        match self.lane().rise(self.epoch) {
            Rise::Alone => {
                self.pool.somebody_rose();
                false
            }
            Rise::Token => {
                self.token = true;
                true
            }
            Rise::Replaced => true,
        }
    }

    fn lane(&self) -> &super::lane::Lane<T> {
        &self.pool.lanes[self.index]
    }

    fn sleep(&mut self, limit: Option<Duration>) -> bool {
        if !self.lie_down() {
            return true;
        }
        self.lane().sleep(self.epoch, limit);
        self.rise()
    }

    /// Counts the end of the last task.
    fn finish(&mut self) {
        let counted = match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Nothing => return,
            Running::Unnoted => &self.pool.ledger.0.completed,
            Running::Task if self.is_own() => &self.pool.ledger.0.completed,
            Running::Expired if self.is_own() => &self.pool.ledger.0.expired,
            Running::Task | Running::Expired => return,
        };
        add(counted, 1);
    }

    /// Notes in the word that nothing runs any more. False when the lane is another worker's.
    fn is_own(&self) -> bool {
        self.lane().finish(self.epoch) || broken("counted_twice")
    }

    /// Whoever rose with the token owes a task: if one waits still, and somebody sleeps, that one is woken for it.
    fn hand_token_on(&mut self) {
        if !std::mem::take(&mut self.token) || broken("token_dropped") {
            return;
        }
        self.pool.call_workers(self.index);
    }

    /// Takes a task from where it is this one's turn to look first. `open` is set if a queue may still get tasks.
    fn take(&mut self, open: &mut bool) -> Option<Waiting<T>> {
        let pool = &*self.pool;
        let own = || [&pool.lanes[self.index].queue].into_iter();
        let overflow = || pool.overflow.iter();
        // Beginning with another lane each time: else the lane behind one that never empties would starve.
        let (first, lanes) = (self.index + 1, pool.lanes.len());
        let others = || {
            let turn = self.taken / OTHERS_TURN % (lanes - 1).max(1);
            let in_turn = (turn..lanes - 1).chain(0..turn);
            in_turn.map(move |other| &pool.lanes[(first + other) % lanes].queue)
        };
        if broken("own_lane_first") {
            self.take_from(own().chain(overflow()).chain(others()), open)
        } else if self.taken % OTHERS_TURN == OTHERS_TURN - 1 {
            self.take_from(others().chain(own()).chain(overflow()), open)
        } else if self.taken % OVERFLOW_TURN == OVERFLOW_TURN - 1 {
            self.take_from(overflow().chain(own()).chain(others()), open)
        } else {
            self.take_from(own().chain(overflow()).chain(others()), open)
        }
    }

    fn take_from<'q>(
        &self,
        queues: impl Iterator<Item = &'q ConcurrentQueue<Waiting<T>>>,
        open: &mut bool,
    ) -> Option<Waiting<T>>
    where
        T: 'q,
    {
        for queue in queues {
            loop {
                match whole(|| queue.pop()) {
                    Ok(waiting) if self.pool.is_stale(&waiting.task) => {}
                    Ok(waiting) => return Some(waiting),
                    Err(PopError::Empty) => {
                        *open = !broken("exit_with_open_queues") || std::ptr::eq(queue, &self.lane().queue);
                        break;
                    }
                    Err(PopError::Closed) => break,
                }
            }
        }
        None
    }
}

impl<T> Pool<T> {
    /// The re-check before sleep: nothing waits, and something may still come.
    fn is_idle(&self) -> bool {
        self.queues().all(ConcurrentQueue::is_empty) && !self.queues().all(ConcurrentQueue::is_closed)
    }
}

/// A worker that ends, by a panic for one, leaves its lane to the others, and a task that it had not finished is abandoned.
impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        match self.running {
            Running::Nothing => {}
            Running::Unnoted => add(&self.pool.ledger.0.abandoned, 1),
            Running::Task | Running::Expired => {
                if self.lane().finish(self.epoch) {
                    add(&self.pool.ledger.0.abandoned, 1);
                }
            }
        }
        self.hand_token_on();
        // For the tasks that it alone knew of ([`Pool::submit_own`]). Whoever takes a lane over has called others by then.
        if self.lane().is_current(self.epoch) {
            self.call_others();
        }
    }
}
