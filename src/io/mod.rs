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
//!   looks every few milliseconds. Connections are tasks of an [executor] that any thread may run, so nothing is bound to a thread.
//! - **Exactly one of them does it.** How they agree on that is in [`dispatch::baton`](crate::dispatch::baton), and model-checked.
//! - **No task waits for a busy worker while another sleeps.** Whoever puts tasks into its own lane without waking anybody calls the
//!   others before it does something long, and the relief does so when it takes over.
//! - An idle server sleeps: the relief looks only while something runs.
//!
//! With more than one I/O thread none of this applies: they keep the I/O.

pub mod executor;
mod pace;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use futures_lite::future;
use serde::Serialize;

use self::executor::Executor;
use self::pace::Pace;
use crate::dispatch::baton::{Baton, Hold};
use crate::dispatch::{Pool, Worker};
use crate::planted::passing;
use crate::router::RouteId;
use crate::task::Task;

/// After this many looks at a worker that waits for sockets, the relief sleeps until that one has something to do.
const LOOKS_AWAKE: u32 = 200;
/// Polls of tasks in a row before the lane gets its turn. Well below the lane's default depth, so that tasks find room.
const TICKS_PER_TURN: usize = 32;
/// Turns in a row before the sockets are asked for news.
const TURNS_PER_POLL: usize = 4;

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
    pub(crate) executor: Arc<Executor>,
    pool: Arc<Pool<Task>>,
    pace: Pace,
    baton: Arc<Baton>,
    taken: AtomicU64,
    given_back: AtomicU64,
    taken_back: AtomicU64,
}

/// What a thread that does the I/O knows of itself.
#[derive(Clone, Copy)]
struct Holding {
    lane: usize,
    /// None for a thread that does not have it from the relief ([`Io::here`]).
    hold: Option<Hold>,
}

thread_local! {
    /// Set as long as this thread does the I/O, as far as it knows: it may have been taken from it.
    static HERE: Cell<Option<Holding>> = const { Cell::new(None) };
}

/// Makes a move with the hold of this thread. False when it has none, or not any more.
fn with_hold(make: impl FnOnce(&mut Hold) -> bool) -> bool {
    let Some(Holding { lane, hold: Some(mut hold) }) = HERE.get() else { return false };
    let moved = make(&mut hold);
    HERE.set(Some(Holding { lane, hold: Some(hold) }));
    moved
}

impl Io {
    pub(crate) fn new(pool: Arc<Pool<Task>>, routes: usize) -> Io {
        Io {
            executor: Arc::new(Executor::new()),
            pool,
            pace: Pace::new(routes),
            baton: Baton::new(LOOKS_AWAKE),
            taken: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
        }
    }

    /// Who has the I/O now.
    pub fn overview(&self) -> IoOverview {
        IoOverview {
            worker: self.baton.holder(),
            taken: self.taken.load(Relaxed),
            given_back: self.given_back.load(Relaxed),
            taken_back: self.taken_back.load(Relaxed),
        }
    }

    /// Where the next task for this route belongs: in this lane, whose worker's thread this is, or None, where the pool puts it.
    pub(crate) fn lane_for(&self, route: RouteId) -> Option<usize> {
        let short = self.pace.next(route);
        HERE.get().filter(|_| short).map(|here| here.lane)
    }

    /// Has tasks for short routes go into this lane until what it gives is dropped: for a thread that does the I/O and is that
    /// lane's worker. It must look into the lane before it sleeps.
    pub fn here(&self, lane: usize) -> Here {
        HERE.set(Some(Holding { lane, hold: None }));
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
            // Not any more, perhaps: then there is nothing to be said about it.
            with_hold(|hold| self.baton.run(hold));
        } else {
            self.give_back(worker);
        }
    }

    /// Gives the I/O away, if this thread has it, because it is going to do something that takes long.
    pub fn give_back(&self, worker: &Worker<Task>) {
        let Some(here) = HERE.take() else { return };
        if here.hold.is_some_and(|hold| self.baton.give_back(hold)) {
            self.given_back.fetch_add(1, Relaxed);
        }
        worker.call_others();
    }

    /// Runs a worker until it is over: `turn` takes what is in its lane, one task after the other, until there is nothing more.
    pub fn serve(&self, worker: &mut Worker<Task>, turn: &mut dyn FnMut(&mut Worker<Task>) -> Turn) {
        loop {
            if turn(worker) == Turn::Over {
                return;
            }
            let Some(held) = self.take(worker.index()) else {
                worker.park();
                continue;
            };
            let over = async_io::block_on(self.hold(worker, turn));
            drop(held);
            if over {
                return;
            }
        }
    }

    /// Asks the relief for the I/O, if handlers are short at present. This worker has it until what this gives is dropped, and also
    /// when that is because a turn panics: the thread's end must not be the end of the I/O.
    fn take(&self, lane: usize) -> Option<Held<'_>> {
        if !self.baton.is_free() || !self.pace.is_brisk() {
            return None;
        }
        let hold = self.baton.take(lane)?;
        self.taken.fetch_add(1, Relaxed);
        HERE.set(Some(Holding { lane, hold: Some(hold) }));
        Some(Held { io: self, _here: Here(PhantomData) })
    }

    /// Does the I/O and what it brings. True when the worker is over, false when another has the I/O.
    async fn hold(&self, worker: &mut Worker<Task>, turn: &mut dyn FnMut(&mut Worker<Task>) -> Turn) -> bool {
        let mut turns = 0;
        loop {
            with_hold(|hold| self.baton.run(hold));
            let ran = turn(worker);
            if ran == Turn::Over {
                return true;
            }
            if !with_hold(|hold| self.baton.tick(hold)) {
                return false;
            }
            turns += 1;
            if turns % TURNS_PER_POLL == 0 {
                future::yield_now().await;
            }
            let answered = self.executor.tick_after_turn();
            let ticked = (0..TICKS_PER_TURN).take_while(|_| self.executor.try_tick_later()).count();
            if ran == Turn::Idle && answered + ticked == 0 {
                turns = 0;
                self.wait(worker).await;
            }
        }
    }

    /// Waits for sockets, or for a task in the lane.
    async fn wait(&self, worker: &mut Worker<Task>) {
        let mut tick = pin!(self.executor.tick());
        let mut asleep = false;
        with_hold(|hold| self.baton.wait(hold));
        poll_fn(|cx| {
            if asleep {
                return Poll::Ready(());
            }
            asleep = worker.lie_down_until(cx.waker());
            if !asleep { Poll::Ready(()) } else { tick.as_mut().poll(cx) }
        })
        .await;
        with_hold(|hold| self.baton.tick(hold));
        if asleep {
            worker.rise();
        }
    }

    /// The thread that does the I/O when no worker does. Ends with [`Io::close`].
    pub(crate) fn relieve(&self) {
        let asked_to_leave = || poll_fn(|cx| self.baton.poll_leave(cx));
        self.baton.relieve(
            || async_io::block_on(self.executor.run(passing("io", asked_to_leave()))),
            || {
                self.taken_back.fetch_add(1, Relaxed);
                self.pool.call_workers(0);
            },
        );
    }

    /// Ends [`Io::relieve`]; workers do no I/O from now on.
    pub(crate) fn close(&self) {
        self.baton.close();
    }
}

/// Until it is dropped, this thread does the I/O. See [`Io::here`].
pub struct Here(PhantomData<*const ()>);

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// A worker has the I/O: see [`Io::take`].
struct Held<'a> {
    io: &'a Io,
    _here: Here,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        with_hold(|hold| self.io.baton.give_back(*hold));
    }
}
