//! Who does the I/O: a thread of its own, or a worker that has nothing else to do.
//!
//! A request that goes through a queue to another thread costs two switches of threads, more than everything else that a short
//! handler needs together. So where handlers are short, the worker that is idle does the I/O itself: it waits for sockets instead
//! of waiting for tasks, puts what comes into its own lane, and runs it there and then. Everything else is as always: the same
//! tasks in the same lanes, the same reply slots, the same budgets.
//!
//! ```text
//!               relief                                     worker
//!     holds the I/O: block_on(executor)             parks in its lane
//!          │    ◀──────────── wanted ────────────────── parks again, while handlers are short
//!          └──────────────── given ──────────────────▶ holds the I/O: ticks, then its lane's tasks, then waits for sockets
//!     looks after it, every few milliseconds
//!          ┌──────────────── given ───────────────────  before it runs anything that is not known to be short
//!          │    ── taken, when a handler takes long ──▶ finds that out afterwards, and parks in its lane
//!     holds the I/O
//! ```
//!
//! What it promises:
//!
//! - **There is always a thread for the I/O.** A worker gives it back before it runs a handler that is not known to be short
//!   ([`Pace`]). One that turns out long nevertheless, stuck in C for all we know, has the I/O taken from it by the relief, which
//!   looks every [`LOOK_EVERY`]. Connections are tasks of an executor that any thread may run, so nothing is bound to a thread.
//! - **No task waits for a busy worker while another sleeps.** Whoever puts tasks into its own lane without waking anybody calls the
//!   others before it does something long, and the relief does so when it takes over.
//! - An idle server sleeps: the relief looks only while something runs.
//!
//! With more than one I/O thread none of this applies: they keep the I/O.

mod pace;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use event_listener::Event;
use futures_lite::future;
use serde::Serialize;
use smol::Executor;

use self::pace::Pace;
use crate::dispatch::{Pool, Worker};
use crate::router::RouteId;
use crate::task::Task;

/// How often the relief looks whether the holder still comes around. A handler that takes the I/O with it does so for at most twice
/// this.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After this many looks without a handler that ran, the relief sleeps until one does.
const LOOKS_AWAKE: u32 = 200;
/// How long a worker waits for the I/O that it asked for. Longer is better spent in its lane.
const HANDOVER_MAX: Duration = Duration::from_millis(2);
/// Polls of tasks in a row before the lane gets its turn. Well below the lane's default depth, so that tasks find room.
const TICKS_PER_TURN: usize = 32;
/// Turns in a row before the sockets are asked for news.
const TURNS_PER_POLL: usize = 4;

/// The holder that is no worker.
const RELIEF: usize = usize::MAX;

/// What a worker says of a turn at its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It found nothing to do.
    Idle,
    /// It has run something, and then found nothing more.
    Ran,
    /// It is to end.
    Over,
}

/// Who has the I/O, and how often it changed hands. Serializes as a JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IoOverview {
    /// The worker that does the I/O; None when its own thread does.
    pub worker: Option<usize>,
    /// How often a worker took it over because it had nothing else to do.
    pub taken: u64,
    /// How often a worker gave it back, before something that may take long.
    pub given_back: u64,
    /// How often it was taken from a worker whose handler took long.
    pub taken_back: u64,
}

/// See the module's text. One for each server.
pub struct Io {
    pub(crate) executor: Arc<Executor<'static>>,
    pool: Arc<Pool<Task>>,
    pace: Pace,
    /// A worker's lane, or [`RELIEF`].
    holder: AtomicUsize,
    /// Odd while the holder runs what is in its lane; a step more with each task. It only grows, and only the holder moves it:
    /// who had the I/O before finds that it is no longer where it left it.
    beat: AtomicUsize,
    /// The holder waits for sockets.
    waits: AtomicBool,
    /// The relief sleeps until it is told that something runs.
    dozes: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the relief's turn.
    leave: Event,
    taken: AtomicU64,
    given_back: AtomicU64,
    taken_back: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Workers may hold the I/O.
    open: bool,
    /// The relief does the I/O.
    relief_inside: bool,
    /// A worker waits for the relief to leave.
    wanted: bool,
    /// The server is done.
    over: bool,
}

thread_local! {
    /// The lane of the worker whose thread this is, as long as it does the I/O.
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
    /// Where this thread left the beat.
    static BEAT: Cell<usize> = const { Cell::new(0) };
    /// A connection has nothing more to do before this thread's lane had its turn.
    static LANE_DUE: Cell<bool> = const { Cell::new(false) };
}

impl Io {
    pub(crate) fn new(pool: Arc<Pool<Task>>, routes: usize) -> Io {
        Io {
            executor: Arc::new(Executor::new()),
            pool,
            pace: Pace::new(routes),
            holder: AtomicUsize::new(RELIEF),
            beat: AtomicUsize::new(0),
            waits: AtomicBool::new(false),
            dozes: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            leave: Event::new(),
            taken: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
        }
    }

    /// Who has the I/O now.
    pub fn overview(&self) -> IoOverview {
        let holder = self.holder.load(Relaxed);
        IoOverview {
            worker: (holder != RELIEF).then_some(holder),
            taken: self.taken.load(Relaxed),
            given_back: self.given_back.load(Relaxed),
            taken_back: self.taken_back.load(Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next task for this route belongs: in this lane, whose worker's thread this is, or None, where the pool puts it.
    pub(crate) fn lane_for(&self, route: RouteId) -> Option<usize> {
        let short = self.pace.next(route);
        HERE.get().filter(|_| short)
    }

    /// Waits for the reply to a task that this thread has just put into its own lane, for as long as it takes to run the lane;
    /// ready with None where that is not enough. What a connection prepares for a long wait, it need not prepare for this one.
    pub(crate) async fn reply_from_here<R: Future + Unpin>(&self, reply: &mut R) -> Option<R::Output> {
        // Others put theirs into the lane first; who comes around twice has it run.
        for again in [false, true] {
            if HERE.get().is_none() {
                break;
            }
            LANE_DUE.set(again);
            future::yield_now().await;
            if let Some(replied) = future::poll_once(&mut *reply).await {
                return Some(replied);
            }
        }
        None
    }

    /// Has tasks for short routes go into this lane until what it gives is dropped: for a thread that does the I/O and is that
    /// lane's worker. It must look into the lane before it sleeps.
    pub fn here(&self, lane: usize) -> Here {
        HERE.set(Some(lane));
        Here(PhantomData)
    }

    /// Whether the route's handler has proven short.
    pub fn is_short(&self, route: RouteId) -> bool {
        self.pace.is_short(route)
    }

    /// Notes how long a handler took.
    pub fn took(&self, route: RouteId, time: Duration) {
        self.pace.took(route, time);
    }

    /// Says that the holder is about to run this route's handler; it gives the I/O away if that may take long.
    pub fn begin(&self, route: RouteId, worker: &Worker<Task>) {
        if HERE.get().is_none() {
            return;
        }
        if self.is_short(route) {
            self.move_beat(2);
        } else {
            self.give_back(worker);
        }
    }

    /// Gives the I/O away, if this thread has it, because it is going to do something that takes long.
    pub fn give_back(&self, worker: &Worker<Task>) {
        let Some(lane) = HERE.take() else { return };
        let state = self.lock();
        if self.holder.load(Relaxed) == lane {
            self.holder.store(RELIEF, SeqCst);
            self.given_back.fetch_add(1, Relaxed);
            self.changed.notify_all();
        }
        drop(state);
        worker.call_others();
    }

    /// Runs a worker until it is over: `turn` takes what is in its lane, one task after the other, until there is nothing more.
    pub fn serve(&self, worker: &mut Worker<Task>, turn: &mut dyn FnMut(&mut Worker<Task>) -> Turn) {
        loop {
            if turn(worker) == Turn::Over {
                return;
            }
            if !self.take(worker.index()) {
                worker.park();
                continue;
            }
            // Also when a turn panics: the thread's end must not be the end of the I/O.
            let held = Held { io: self, lane: worker.index(), _here: self.here(worker.index()) };
            let over = async_io::block_on(self.hold(worker, turn));
            drop(held);
            if over {
                return;
            }
        }
    }

    /// Asks the relief for the I/O, if handlers are short at present. True when this worker has it.
    fn take(&self, lane: usize) -> bool {
        if self.holder.load(Relaxed) != RELIEF || !self.pace.is_brisk() {
            return false;
        }
        let mut state = self.lock();
        if !state.open || state.wanted || self.holder.load(Relaxed) != RELIEF {
            return false;
        }
        state.wanted = true;
        self.leave.notify(usize::MAX);
        let waited = self.changed.wait_timeout_while(state, HANDOVER_MAX, |state| state.relief_inside && state.open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        let taken = state.open && !state.relief_inside;
        if taken {
            self.holder.store(lane, SeqCst);
            self.taken.fetch_add(1, Relaxed);
            self.waits.store(false, SeqCst);
            // Even, and further than anybody has ever left it.
            let next = |beat: usize| (beat | 1).wrapping_add(1);
            let before = self.beat.fetch_update(Relaxed, Relaxed, |beat| Some(next(beat)));
            BEAT.set(before.map_or(0, next));
        }
        self.changed.notify_all();
        taken
    }

    /// Moves the holder's beat. False when this thread has not the I/O any more: then it stays as it is.
    fn move_beat(&self, by: usize) -> bool {
        let left = BEAT.get();
        let moved = self.beat.compare_exchange(left, left.wrapping_add(by), AcqRel, Relaxed).is_ok();
        if moved {
            BEAT.set(left.wrapping_add(by));
        }
        moved
    }

    /// Does the I/O and what it brings. True when the worker is over, false when another has the I/O.
    async fn hold(&self, worker: &mut Worker<Task>, turn: &mut dyn FnMut(&mut Worker<Task>) -> Turn) -> bool {
        let mut turns = 0;
        let mut ticked = true;
        loop {
            LANE_DUE.set(false);
            self.move_beat(1);
            let ran = turn(worker);
            let kept = self.move_beat(1);
            if ran == Turn::Over {
                return true;
            }
            if !kept || self.holder.load(Acquire) != worker.index() {
                return false;
            }
            if !ticked && ran == Turn::Idle {
                turns = 0;
                self.wait(worker).await;
                if self.dozes.load(SeqCst) {
                    self.wake_relief();
                }
                // What it ticked may have put a task into the lane.
                ticked = true;
                continue;
            }
            turns += 1;
            if turns % TURNS_PER_POLL == 0 {
                future::yield_now().await;
            }
            let ticks = (0..TICKS_PER_TURN).take_while(|_| !LANE_DUE.get() && self.executor.try_tick());
            ticked = ticks.count() > 0;
        }
    }

    /// Waits for sockets, or for a task in the lane.
    async fn wait(&self, worker: &mut Worker<Task>) {
        let mut tick = pin!(self.executor.tick());
        let mut asleep = false;
        self.waits.store(true, SeqCst);
        poll_fn(|cx| {
            if asleep {
                return Poll::Ready(());
            }
            asleep = worker.lie_down_until(cx.waker());
            if !asleep { Poll::Ready(()) } else { tick.as_mut().poll(cx) }
        })
        .await;
        self.waits.store(false, SeqCst);
        if asleep {
            worker.rise();
        }
    }

    fn wake_relief(&self) {
        drop(self.lock());
        self.dozes.store(false, SeqCst);
        self.changed.notify_all();
    }

    /// The thread that does the I/O when no worker does. Ends with [`Io::close`].
    pub(crate) fn relieve(&self) {
        let mut state = self.lock();
        let mut looks = 0;
        let mut seen = None;
        state.open = true;
        while !state.over {
            if self.holder.load(Acquire) == RELIEF {
                if state.wanted {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                state.relief_inside = true;
                drop(state);
                async_io::block_on(self.executor.run(self.asked_to_leave()));
                state = self.lock();
                state.relief_inside = false;
                self.changed.notify_all();
                (looks, seen) = (0, None);
                continue;
            }
            let beat = self.beat.load(Relaxed);
            if seen == Some(beat) {
                let waits = self.waits.load(SeqCst);
                let next = beat.wrapping_add(1);
                if !waits && beat % 2 == 1 && self.beat.compare_exchange(beat, next, AcqRel, Relaxed).is_ok() {
                    // It has been in one handler since the last look, and learns from the beat that it has the I/O no more.
                    self.holder.store(RELIEF, SeqCst);
                    self.taken_back.fetch_add(1, Relaxed);
                    self.pool.call_workers(0);
                    continue;
                }
                looks += 1;
            } else {
                looks = 0;
            }
            seen = Some(beat);
            state = if looks >= LOOKS_AWAKE && self.may_doze() {
                looks = 0;
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// The holder says that it wakes up, and then looks whether the relief dozes; the relief says that it dozes, and then looks
    /// whether the holder waits. So one of them sees the other.
    fn may_doze(&self) -> bool {
        self.dozes.store(true, SeqCst);
        let waits = self.waits.load(SeqCst);
        if !waits {
            self.dozes.store(false, SeqCst);
        }
        waits
    }

    fn is_relief_to_leave(&self) -> bool {
        let state = self.lock();
        state.wanted || state.over
    }

    async fn asked_to_leave(&self) {
        loop {
            let leave = self.leave.listen();
            if self.is_relief_to_leave() {
                return;
            }
            leave.await;
        }
    }

    /// Ends [`Io::relieve`]; workers do no I/O from now on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        (state.over, state.open) = (true, false);
        self.holder.store(RELIEF, SeqCst);
        self.leave.notify(usize::MAX);
        self.changed.notify_all();
    }
}

/// Until it is dropped, this thread does the I/O. See [`Io::here`].
pub struct Here(PhantomData<*const ()>);

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// A worker's hold on the I/O.
struct Held<'a> {
    io: &'a Io,
    lane: usize,
    _here: Here,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _state = self.io.lock();
        if self.io.holder.load(Relaxed) == self.lane {
            self.io.holder.store(RELIEF, SeqCst);
            self.io.changed.notify_all();
        }
    }
}
