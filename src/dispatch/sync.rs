//! The façade: atomics, locks and blocking, from std or, under `--cfg loom`, from loom. The only `cfg(loom)` in dispatch.
//!
//! What is *not* modelled, on purpose:
//!
//! - [`Count`] is always std's. Counters take no part in synchronization: nothing is read because of them and nothing is
//!   published by them, so modelling them would multiply the executions and check nothing.
//! - `Arc` is always std's: loom's cannot be a method's receiver, and the ownership that it counts is not ours to prove.
//! - The inside of a queue, where a model says so ([`whole`]). concurrent-queue has its own loom tests, and a model with two
//!   consumers has to rely on them: both wait in a loop while a push is half done, and loom never gets to the end of the
//!   schedules in which they take turns at waiting.
//! - Time. Under loom a wait with a limit gives the lock back, takes it again and says that the limit has passed. As loom tries
//!   everything that other threads can do between the two, this is a timeout at every possible moment.

use std::task::Waker;
use std::time::Duration;

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicUsize, fence};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
}

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicUsize, fence};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

pub(crate) use crate::mistakes::broken;
pub(crate) use imp::{AtomicUsize, Mutex, MutexGuard, fence};
pub(crate) use std::sync::Arc;
/// A number for people to look at.
pub(crate) use std::sync::atomic::AtomicU64 as Count;
pub(crate) use std::sync::atomic::Ordering;

/// Locks. A poisoned lock is as good as any: no critical section here can be left half done by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A value behind a lock, and threads that wait for it to change.
pub(crate) struct Monitor<T> {
    value: Mutex<T>,
    changed: imp::Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn new(value: T) -> Monitor<T> {
        Monitor { value: Mutex::new(value), changed: imp::Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.value)
    }

    /// Has whoever waits look again.
    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }

    /// Waits as long as `closed` says so.
    pub(crate) fn wait_while<'a>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        closed: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        while closed(&guard) {
            guard = self.changed.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        guard
    }

    /// As [`Monitor::wait_while`], for `limit` at most.
    #[cfg(not(loom))]
    pub(crate) fn wait_while_for<'a>(
        &'a self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
        closed: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        let waited = self.changed.wait_timeout_while(guard, limit, |value| closed(value));
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    /// See the module's text: the limit passes now, whenever now is. Others go first, or a thread that waits like this again and
    /// again would be explored for ever.
    #[cfg(loom)]
    pub(crate) fn wait_while_for<'a>(
        &'a self,
        guard: MutexGuard<'a, T>,
        _limit: Duration,
        closed: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        if !closed(&guard) {
            return guard;
        }
        drop(guard);
        loom::thread::yield_now();
        self.lock()
    }
}

/// Where a worker's thread blocks, or what it is woken by where it blocks elsewhere. The condition it waits for is an atomic
/// outside; the lock only closes the gap between looking at it and falling asleep.
pub(crate) struct Gate {
    sleeper: Mutex<Sleeper>,
    moved: imp::Condvar,
}

/// Who is to be told. What is noted here may be out of date: then somebody is told in vain, and looks again.
enum Sleeper {
    Nobody,
    /// It blocks in the gate.
    Thread,
    /// It blocks somewhere else, and this ends that.
    Elsewhere(Waker),
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate { sleeper: Mutex::new(Sleeper::Nobody), moved: imp::Condvar::new() }
    }

    /// Blocks as long as `closed` says so.
    pub(crate) fn wait_while(&self, closed: impl Fn() -> bool) {
        let mut guard = lock(&self.sleeper);
        while closed() {
            *guard = Sleeper::Thread;
            guard = self.moved.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Blocks as long as `closed` says so, for `limit` at most.
    #[cfg(not(loom))]
    pub(crate) fn wait_while_for(&self, limit: Duration, closed: impl Fn() -> bool) {
        let mut guard = lock(&self.sleeper);
        *guard = Sleeper::Thread;
        drop(self.moved.wait_timeout_while(guard, limit, |_| closed()));
    }

    /// See the module's text: the limit passes now, whenever now is.
    #[cfg(loom)]
    pub(crate) fn wait_while_for(&self, _limit: Duration, closed: impl Fn() -> bool) {
        let guard = lock(&self.sleeper);
        if closed() {
            drop(guard);
            drop(lock(&self.sleeper));
        }
    }

    /// Whoever is going to wait does so elsewhere: `waker` is called instead, once. Call it before the condition says so.
    pub(crate) fn wait_elsewhere(&self, waker: &Waker) {
        *lock(&self.sleeper) = Sleeper::Elsewhere(waker.clone());
    }

    /// Has whoever blocks look again. Call it after the condition has changed. A system call only if somebody blocks.
    pub(crate) fn open(&self) {
        // Whoever has looked and found it closed is inside `wait` once we have the lock, so that the notification reaches it;
        // whoever takes the lock after us sees the condition as we left it.
        if broken("notify_without_lock") {
            return self.moved.notify_all();
        }
        let sleeper = std::mem::replace(&mut *lock(&self.sleeper), Sleeper::Nobody);
        match sleeper {
            Sleeper::Nobody => {}
            Sleeper::Thread => self.moved.notify_all(),
            Sleeper::Elsewhere(_) if broken("waker_not_called") => {}
            Sleeper::Elsewhere(waker) => waker.wake(),
        }
    }
}

/// A push or a pop. Under loom, and if the model says so, others see it only as a whole: threads are switched before and after
/// it and not within. What it writes, and with which order, is modelled all the same.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn whole<R>(step: impl FnOnce() -> R) -> R {
    step()
}

/// See above.
#[cfg(loom)]
pub(crate) fn whole<R>(step: impl FnOnce() -> R) -> R {
    if !model::are_steps_whole() {
        return step();
    }
    // An access that nothing else depends on: a place to switch threads right before the step.
    AtomicUsize::new(0).load(Ordering::Relaxed);
    model::enter(loom::stop_exploring);
    let result = step();
    model::leave(loom::explore);
    result
}

/// What a model may choose.
#[cfg(loom)]
pub mod model {
    use std::cell::Cell;

    thread_local! {
        static WHOLE: Cell<bool> = const { Cell::new(false) };
        /// Steps that are being made. More than one when a queue gives way to another thread in the middle of one.
        static INSIDE: Cell<usize> = const { Cell::new(0) };
    }

    /// From now on, in models on this thread, pushes and pops are single steps, or not.
    pub fn set_whole_steps(whole: bool) {
        WHOLE.set(whole);
    }

    pub(super) fn are_steps_whole() -> bool {
        WHOLE.get()
    }

    pub(super) fn enter(first: fn()) {
        if INSIDE.replace(INSIDE.get() + 1) == 0 {
            first();
        }
    }

    pub(super) fn leave(last: fn()) {
        if INSIDE.replace(INSIDE.get() - 1) == 1 {
            last();
        }
    }
}
