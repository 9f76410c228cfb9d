//! One worker's lane: a bounded queue, and the word that says what the worker is doing.
//!
//! # The word
//!
//! ```text
//!       begin                    lie_down                    notify
//!     ┌────────▶ RUNNING      ┌───────────▶ PARKED ──────────────────▶ NOTIFIED
//!  LOOKING                 LOOKING              │ rise                    │ rise, with the token
//!     ▲────────┘ finish       ▲◀────────────────┘                         │
//!                             ▲◀──────────────────────────────────────────┘
//!  replace: any state of epoch e ──▶ LOOKING of epoch e + 1
//! ```
//!
//! The word is `epoch << 2 | state`. The worker's own transitions compare the whole word, so from the moment that a lane is
//! given to a new worker every transition of the old one fails and it can neither count nor park there any more. Only
//! `notify` acts on whatever epoch it finds. Every write is a read-modify-write: each reads the last value there is, and the
//! sequence of them carries what happened before each on to whoever reads a later one.
//!
//! # Why no wakeup is lost
//!
//! A sleeper and a submitter each write one thing and read the other's (this is Dekker's pattern, and acquire/release alone
//! does not decide it: both could read the old value):
//!
//! ```text
//!     submitter                              sleeper
//!     push to a queue                        sleeping += 1, word = PARKED
//!     fence(SeqCst)                          fence(SeqCst)
//!     read sleeping, then the words          look into every queue (the re-check)
//! ```
//!
//! The two fences are in one total order S. If the submitter's comes first, the sleeper's re-check sees the push (or that
//! somebody took the task). If the sleeper's comes first, the submitter sees `sleeping > 0` and `PARKED`, unless someone
//! has already woken that sleeper. So a task and a sleeper cannot miss each other.
//!
//! With several sleepers and several queues there is one more thing to show, because the submitter wakes **one** sleeper, and
//! not always the one whose lane it pushed to. Say it pushes A and wakes V although W sleeps too; V, looking around, comes
//! across B first and takes that; W had looked into B's queue just after V emptied it, and into A's before A came. A waits, W
//! sleeps, nobody is going to wake it. Hence the **token**: `NOTIFIED` says "somewhere there is a task that nobody has been
//! woken for but you". Who rises with the token owes that task, so when it takes *any* task, it announces again as a submitter
//! does: fence, and if a queue has something and somebody sleeps, it wakes one and the token moves on. If it finds nothing, the
//! task was taken by somebody, and the token is void. Who is replaced or ends with the token announces too.
//!
//! A submitter that finds V's word `NOTIFIED` (woken by another submitter) need do nothing about V: it read a value older than
//! V's `rise`, so its fence comes before the fence in V's announcement or in V's next re-check, and V will see its push.
//!
//! `sleeping` may be above zero while nobody is `PARKED` (a sleeper on its way down or up); it is never zero while someone is
//! and has passed its fence, because each subtraction belongs to a transition out of `PARKED` whose addition it has seen.
//!
//! # What it costs
//!
//! While all workers are awake, a submitter pays for the push, the fence, and one read of a cache line that nobody writes.
//! The lock and the system call of [`Gate`] are for sleepers only.

use concurrent_queue::ConcurrentQueue;

use super::sync::{AtomicUsize, Gate, Ordering, broken, fence};

const STATE_BITS: u32 = 2;
const STATE_MASK: usize = (1 << STATE_BITS) - 1;

/// What a lane's worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Between tasks, or there is no worker yet.
    Looking = 0,
    /// Running a task.
    Running = 1,
    /// Asleep, or about to be: it will look around once more.
    Parked = 2,
    /// Woken with a token, and not yet up.
    Notified = 3,
}

fn state(word: usize) -> State {
    match word & STATE_MASK {
        0 => State::Looking,
        1 => State::Running,
        2 => State::Parked,
        _ => State::Notified,
    }
}

fn word(epoch: usize, state: State) -> usize {
    epoch << STATE_BITS | state as usize
}

/// A task in a queue, with the number of its submission.
pub(super) struct Waiting<T> {
    pub(super) ticket: u64,
    pub(super) task: T,
}

/// A worker's queue and word. Aligned so that two workers' words never share a cache line, nor a pair that is fetched together.
#[repr(align(128))]
pub(super) struct Lane<T> {
    pub(super) queue: ConcurrentQueue<Waiting<T>>,
    word: AtomicUsize,
    gate: Gate,
}

/// How a sleeper got up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rise {
    /// By itself: the re-check found something, or the time was over.
    Alone,
    /// It was woken, and has the token.
    Token,
    /// The lane is another worker's now.
    Replaced,
}

impl<T> Lane<T> {
    pub(super) fn new(depth: usize) -> Lane<T> {
        let queue = ConcurrentQueue::bounded(depth.max(1));
        Lane { queue, word: AtomicUsize::new(0), gate: Gate::new() }
    }

    pub(super) fn state(&self) -> State {
        state(self.word.load(Ordering::Relaxed))
    }

    /// Whether the lane is still that epoch's.
    pub(super) fn is_current(&self, epoch: usize) -> bool {
        self.word.load(Ordering::Acquire) >> STATE_BITS == epoch
    }

    fn turn(&self, epoch: usize, from: State, to: State) -> bool {
        let (from, to) = (word(epoch, from), word(epoch, to));
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The worker has taken a task. False when the lane is no longer its own.
    pub(super) fn begin(&self, epoch: usize) -> bool {
        self.turn(epoch, State::Looking, State::Running)
    }

    /// The worker is done with its task. False when the lane is no longer its own: the task was counted as abandoned.
    pub(super) fn finish(&self, epoch: usize) -> bool {
        self.turn(epoch, State::Running, State::Looking)
    }

    /// The worker wants to sleep. The caller adds to `sleeping` before and puts a fence and the re-check after it. False when
    /// the lane is no longer its own.
    pub(super) fn lie_down(&self, epoch: usize) -> bool {
        self.turn(epoch, State::Looking, State::Parked)
    }

    /// Whether the worker of that epoch lies down and has not been woken.
    pub(super) fn is_parked(&self, epoch: usize) -> bool {
        self.word.load(Ordering::Acquire) == word(epoch, State::Parked)
    }

    /// Blocks until the worker is woken, its lane is given to another, or `limit` has passed.
    pub(super) fn sleep(&self, epoch: usize, limit: Option<std::time::Duration>) {
        let asleep = || self.is_parked(epoch);
        match limit {
            None => self.gate.wait_while(asleep),
            Some(limit) => self.gate.wait_while_for(limit, asleep),
        }
    }

    /// Before it lies down: the worker will not block in [`Lane::sleep`], and `waker` is to be called to wake it.
    pub(super) fn wake_by(&self, waker: &std::task::Waker) {
        self.gate.wait_elsewhere(waker);
    }

    /// The worker is up again. After [`Rise::Alone`] the caller subtracts from `sleeping`; else somebody has done so.
    pub(super) fn rise(&self, epoch: usize) -> Rise {
        if broken("rise_without_looking") {
            self.word.swap(word(epoch, State::Looking), Ordering::AcqRel);
            return Rise::Alone;
        }
        if self.turn(epoch, State::Parked, State::Looking) {
            Rise::Alone
        } else if self.turn(epoch, State::Notified, State::Looking) {
            Rise::Token
        } else {
            Rise::Replaced
        }
    }

    /// Wakes the lane's worker if it sleeps. When it did, the caller must subtract from `sleeping`, and has passed the token on.
    pub(super) fn notify(&self) -> bool {
        let seen = self.word.load(Ordering::Relaxed);
        if state(seen) != State::Parked {
            return false;
        }
        let woken = word(seen >> STATE_BITS, State::Notified);
        if self.word.compare_exchange(seen, woken, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // Whoever was faster has woken it, or it rose by itself, or the lane has a new worker: in each case its next
            // look around comes after this moment.
            return false;
        }
        self.gate.open();
        true
    }

    /// Gives the lane to a new worker: its epoch, and what the old one was doing. When that was [`State::Parked`], the caller
    /// must subtract from `sleeping`.
    pub(super) fn replace(&self) -> (usize, State) {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let epoch = (seen >> STATE_BITS).wrapping_add(1) & (usize::MAX >> STATE_BITS);
            let fresh = word(epoch, State::Looking);
            match self.word.compare_exchange_weak(seen, fresh, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    if !broken("replace_without_wake") {
                        self.gate.open();
                    }
                    return (epoch, state(seen));
                }
                Err(now) => seen = now,
            }
        }
    }
}

/// The submitter's side of Dekker's pattern: after a push, before `sleeping` is read.
pub(super) fn fence_after_push() {
    if !broken("no_fence_after_push") {
        fence(Ordering::SeqCst);
    }
}

/// The sleeper's side: after it lay down, before it looks around once more.
pub(super) fn fence_before_recheck() {
    if !broken("no_fence_before_recheck") {
        fence(Ordering::SeqCst);
    }
}
