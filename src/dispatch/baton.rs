//! The baton: a duty that one of the pool's workers has while it has nothing else to do, and a thread of its own otherwise.
//!
//! The duty is the server's I/O, which this file knows nothing of. What matters here: **exactly one thread does it at any time,
//! and there is always one that will.** The thread whose only task it is, the relief, hands it to a worker that asks; the worker
//! gives it back, or has it taken from it when it spends long on something else. Why that is worth while stands in `io`.
//!
//! # The word
//!
//! ```text
//!                  take                run                          wait
//!       RELIEF ──────────▶ TICKING ──────────▶ RUNNING    TICKING ────────▶ WAITING
//!         ▲  ▲                │    ◀────────── │  ▲ │             ◀────────
//!         │  └── give_back ───┘       tick     │  └─┘ run            tick
//!         ├───── give_back ────────────────────┤
//!         └───── taken back by the relief ─────┘
//!       close: any of them ──▶ RELIEF
//! ```
//!
//! The word is `count << 2 | state`. Every move adds one to the count, so no two of them leave the same word, and compares the whole
//! word with the one that this thread has left ([`Hold`]). From the moment that the duty is another's, every move of the one that had
//! it fails: it can neither do it nor give it away any more. This holds, too, for a worker that is given up in the middle of a
//! handler and comes back when another has its lane.
//!
//! While the word is TICKING or WAITING, the holder does the duty and nobody else; while it is RELIEF, the relief does, or will as
//! soon as it comes around. RUNNING says that the holder is in code that may take longer than anybody knew, and does nothing of the
//! duty: a relief that finds the word unchanged since its last look takes the duty back. So the I/O is never with a thread that hangs
//! for longer than two looks.
//!
//! # Why the relief does not sleep through it
//!
//! It looks every few milliseconds, as long as something happens. When the holder has waited for a while, it dozes until it is
//! woken. Each writes one thing and reads the other's, as sleepers and submitters do in `lane.rs`:
//!
//! ```text
//!     holder                                  relief
//!     word = TICKING, it waits no more        dozes = 1
//!     fence(SeqCst)                           fence(SeqCst)
//!     read dozes: wakes the relief            read word: dozes only if it is still WAITING
//! ```
//!
//! Whichever fence is first, one of them sees the other.

use std::task::{Context, Poll};
use std::time::Duration;

use super::sync::{Arc, AtomicUsize, Count, Gate, Monitor, MutexGuard, Ordering, broken, fence};

/// How often the relief looks whether the holder still comes around. One that hangs has the duty taken from it after at most
/// twice this.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a worker waits for the duty that it asked for. Longer is better spent in its lane.
pub const HANDOVER_MAX: Duration = Duration::from_millis(2);

const STATE_MASK: usize = 3;
const ONE: usize = 4;

/// What the thread that has the duty is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No worker has it.
    Relief = 0,
    /// Its duty.
    Ticking = 1,
    /// What is in its lane.
    Running = 2,
    /// Nothing: it sleeps until there is something to do.
    Waiting = 3,
}

fn state(word: usize) -> State {
    match word & STATE_MASK {
        0 => State::Relief,
        1 => State::Ticking,
        2 => State::Running,
        _ => State::Waiting,
    }
}

/// The word after that one.
fn next(word: usize, state: State) -> usize {
    (word & !STATE_MASK).wrapping_add(ONE) | state as usize
}

/// Who has the duty. See the module's text.
pub struct Baton {
    word: AtomicUsize,
    /// 1 while the relief sleeps until it is woken.
    dozes: AtomicUsize,
    desk: Monitor<Desk>,
    /// Calls the relief from its duty.
    leave: Gate,
    /// After this many looks at a holder that waits, the relief dozes.
    looks_awake: u32,
    /// The lane of the worker that took it last.
    lane: Count,
}

/// What is agreed under the lock.
#[derive(Default)]
struct Desk {
    /// Workers may have the duty.
    open: bool,
    /// The relief does it.
    inside: bool,
    /// A worker waits for the relief to leave.
    wanted: bool,
    /// Nobody is to do it any more.
    over: bool,
}

/// Where a worker that has the duty has left the word. Out of date once it has it no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold(usize);

/// What the relief has seen so far.
#[derive(Debug, Default)]
pub struct Looks {
    seen: Option<usize>,
    unchanged: u32,
}

/// What the relief finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// No worker has the duty.
    Free,
    /// The relief has just taken it from one that hangs.
    TakenBack,
    /// Somebody has it: look again in a while.
    Held,
    /// Somebody has it and waits: dozing is allowed, until [`Baton::tick`] ends that.
    Doze,
}

impl Baton {
    /// The relief has the duty, and no worker may before [`Baton::open`]. `looks_awake` is how often in a row the relief looks at a
    /// holder that waits before it dozes.
    pub fn new(looks_awake: u32) -> Arc<Baton> {
        Arc::new(Baton {
            word: AtomicUsize::new(State::Relief as usize),
            dozes: AtomicUsize::new(0),
            desk: Monitor::new(Desk::default()),
            leave: Gate::new(),
            looks_awake,
            lane: Count::new(0),
        })
    }

    /// Workers may take it from now on.
    pub fn open(&self) {
        self.desk.lock().open = true;
    }

    /// The lane of the worker that has it; None while none has.
    pub fn holder(&self) -> Option<usize> {
        (!self.is_free()).then(|| self.lane.load(Ordering::Relaxed) as usize)
    }

    /// Whether no worker has it.
    pub fn is_free(&self) -> bool {
        is_free(self.word.load(Ordering::Acquire))
    }

    /// Asks the relief for the duty, for the worker of that lane, and waits for [`HANDOVER_MAX`] at most. None when another has
    /// it, or asks for it, or the relief does not leave in time.
    pub fn take(&self, lane: usize) -> Option<Hold> {
        if !self.is_free() {
            return None;
        }
        let mut desk = self.desk.lock();
        if !desk.open || desk.wanted || !self.is_free() {
            return None;
        }
        desk.wanted = true;
        if !broken("relief_not_called") {
            self.leave.open();
        }
        let mut desk = self.desk.wait_while_for(desk, HANDOVER_MAX, |desk| desk.inside && desk.open);
        desk.wanted = false;
        let may = desk.open && (!desk.inside || broken("taken_from_inside"));
        let taken = may.then(|| {
            // Only one that took it moves the word away from RELIEF, and only under the lock.
            let hold = Hold(next(self.word.load(Ordering::Acquire), State::Ticking));
            self.word.swap(hold.0, Ordering::AcqRel);
            self.lane.store(lane as u64, Ordering::Relaxed);
            hold
        });
        self.desk.notify_all();
        taken
    }

    /// The holder goes on with its duty. False when it is another's.
    pub fn tick(&self, hold: &mut Hold) -> bool {
        let waited = state(hold.0) == State::Waiting;
        let kept = self.move_on(hold, State::Ticking);
        if waited {
            if !broken("no_fence_after_wait") {
                fence(Ordering::SeqCst);
            }
            if self.dozes.load(Ordering::Relaxed) != 0 && !broken("relief_sleeps_on") {
                self.wake_relief();
            }
        }
        kept
    }

    /// The holder is about to run something that it takes to be short, or the next such thing. False when the duty is another's,
    /// which changes nothing about what it may run.
    pub fn run(&self, hold: &mut Hold) -> bool {
        self.move_on(hold, State::Running)
    }

    /// The holder is going to sleep until there is something to do. False when the duty is another's: then it must not.
    pub fn wait(&self, hold: &mut Hold) -> bool {
        self.move_on(hold, State::Waiting)
    }

    /// The holder has something else to do. False when the duty was another's already.
    pub fn give_back(&self, mut hold: Hold) -> bool {
        let desk = self.desk.lock();
        let given = self.move_on(&mut hold, State::Relief);
        if given {
            self.desk.notify_all();
        }
        drop(desk);
        given
    }

    /// Moves the word, if it is where this thread has left it.
    fn move_on(&self, hold: &mut Hold, to: State) -> bool {
        let word = next(hold.0, to);
        if broken("word_not_compared") {
            self.word.swap(word, Ordering::AcqRel);
            hold.0 = word;
            return true;
        }
        let moved = self.word.compare_exchange(hold.0, word, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if moved {
            hold.0 = word;
        }
        moved
    }

    /// The relief's life, until [`Baton::close`]. `inside` does the duty until [`Baton::poll_leave`] is ready; `taken_back` is called
    /// when the duty was taken from a worker that hangs.
    pub fn relieve(&self, mut inside: impl FnMut(), mut taken_back: impl FnMut()) {
        let mut looks = Looks::default();
        let mut desk = self.desk.lock();
        // The close may have been before this thread began.
        desk.open = !desk.over || broken("opened_after_close");
        while !desk.over {
            desk = match self.look(&mut looks) {
                Look::Free if desk.wanted => self.desk.wait_while(desk, |desk| desk.wanted && !desk.over),
                Look::Free => {
                    desk.inside = true;
                    drop(desk);
                    inside();
                    let mut desk = self.desk.lock();
                    desk.inside = false;
                    self.desk.notify_all();
                    desk
                }
                Look::TakenBack => {
                    drop(desk);
                    taken_back();
                    self.desk.lock()
                }
                Look::Held => self.desk.wait_while_for(desk, LOOK_EVERY, |desk| !desk.over && !self.is_free()),
                Look::Doze => self.doze(desk),
            };
        }
    }

    /// Looks once whether the holder still comes around, and takes the duty from one that does not. The relief's, or of whoever
    /// plays its part without a thread of its own: only one may.
    pub fn look(&self, looks: &mut Looks) -> Look {
        let word = self.word.load(Ordering::Acquire);
        let seen = looks.seen.replace(word);
        if is_free(word) {
            *looks = Looks::default();
            return Look::Free;
        }
        if seen != Some(word) {
            looks.unchanged = 0;
            return Look::Held;
        }
        match state(word) {
            State::Running if !broken("never_taken_back") => {
                let mut left = Hold(word);
                // It learns from the word that it has the duty no more.
                if self.move_on(&mut left, State::Relief) { Look::TakenBack } else { Look::Held }
            }
            State::Waiting => {
                looks.unchanged += 1;
                if looks.unchanged < self.looks_awake || !self.may_doze(word) {
                    return Look::Held;
                }
                *looks = Looks::default();
                Look::Doze
            }
            _ => Look::Held,
        }
    }

    /// Whether the relief sleeps until it is woken.
    pub fn is_dozing(&self) -> bool {
        self.dozes.load(Ordering::Acquire) != 0
    }

    /// Says that the relief dozes, and looks whether the holder waits still.
    fn may_doze(&self, word: usize) -> bool {
        self.dozes.swap(1, Ordering::AcqRel);
        if !broken("no_fence_before_doze") {
            fence(Ordering::SeqCst);
        }
        let waits = self.word.load(Ordering::Acquire) == word || broken("dozes_without_looking");
        if !waits {
            self.dozes.swap(0, Ordering::AcqRel);
        }
        waits
    }

    fn doze<'a>(&'a self, desk: MutexGuard<'a, Desk>) -> MutexGuard<'a, Desk> {
        let dozes = |desk: &Desk| self.is_dozing() && !desk.over && !self.is_free();
        let desk = self.desk.wait_while(desk, dozes);
        self.dozes.swap(0, Ordering::AcqRel);
        desk
    }

    fn wake_relief(&self) {
        let desk = self.desk.lock();
        self.dozes.swap(0, Ordering::AcqRel);
        self.desk.notify_all();
        drop(desk);
    }

    /// Ready when the relief is to leave its duty. Wakes the task of the last poll.
    pub fn poll_leave(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.leave.wait_elsewhere(cx.waker());
        let desk = self.desk.lock();
        if desk.wanted || desk.over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends [`Baton::relieve`]; no worker has the duty from now on. One that waits is not woken: the close of the pool does that.
    pub fn close(&self) {
        let mut desk = self.desk.lock();
        (desk.over, desk.open) = (true, false);
        let mut word = self.word.load(Ordering::Acquire);
        while !self.move_on(&mut Hold(word), State::Relief) {
            word = self.word.load(Ordering::Acquire);
        }
        if !broken("closed_in_silence") {
            self.leave.open();
            self.desk.notify_all();
        }
    }
}

fn is_free(word: usize) -> bool {
    state(word) == State::Relief
}
