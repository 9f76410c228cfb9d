//! What is ready to be done, and the threads that wait for some of it.
//!
//! Connections are tasks of an executor (`io`), and these are its queues: whoever wakes a task pushes it, whoever does the I/O pops
//! it. There are two. What is pushed **for after the turn** waits for something that a thread is about to do, its turn at its lane,
//! so that thread pops everything else first ([`Ready::pop_later`]) and this when the turn is over ([`Ready::pop_after_turn`]). Any
//! other thread takes what there is ([`Ready::pop`]): should the one hang that was about to do it, nothing waits for that.
//!
//! Everything is behind one lock, held for as long as it takes to move one element. So there is no memory order to get wrong, and one
//! rule is left to keep: **what was pushed is never left to threads that sleep.** A push wakes one of those that wait, which is then
//! none of them any more. It takes what it was woken for, or something else, or it goes away without; then it wakes another if
//! anything is left.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard, broken, lock};

/// See the module's text.
pub struct Ready<T> {
    shelf: Mutex<Shelf<T>>,
}

struct Shelf<T> {
    later: VecDeque<T>,
    after_turn: VecDeque<T>,
    /// Who waits, in the order they came.
    sleepers: Vec<(u64, Waker)>,
    /// Numbers the sleepers.
    slept: u64,
}

impl<T> Shelf<T> {
    fn pop(&mut self) -> Option<T> {
        self.after_turn.pop_front().or_else(|| self.later.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.after_turn.is_empty() && self.later.is_empty()
    }

    /// The waker of the last to fall asleep, who is none of the sleepers from now on. That one is the most likely to be in the cache
    /// still, and where one is enough the others sleep on.
    fn rouse(&mut self) -> Option<Waker> {
        self.sleepers.pop().map(|(_, waker)| waker)
    }
}

impl<T> Default for Ready<T> {
    fn default() -> Ready<T> {
        Ready::new()
    }
}

impl<T> Ready<T> {
    /// With nothing in it.
    pub fn new() -> Ready<T> {
        let shelf = Shelf { later: VecDeque::new(), after_turn: VecDeque::new(), sleepers: Vec::new(), slept: 0 };
        Ready { shelf: Mutex::new(shelf) }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<T>> {
        lock(&self.shelf)
    }

    /// Puts it behind everything else, and wakes somebody for it who waits.
    pub fn push(&self, item: T) {
        self.put(|shelf| shelf.later.push_back(item));
    }

    /// Puts it behind what else is to be done after the turn. Wakes as [`Ready::push`] does.
    pub fn push_after_turn(&self, item: T) {
        self.put(|shelf| shelf.after_turn.push_back(item));
    }

    fn put(&self, put: impl FnOnce(&mut Shelf<T>)) {
        let mut shelf = self.lock();
        put(&mut shelf);
        let waker = if broken("ready_in_silence") { None } else { shelf.rouse() };
        drop(shelf);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whatever is to be done first, for a thread that has no turn to wait for.
    pub fn pop(&self) -> Option<T> {
        self.lock().pop()
    }

    /// What does not wait for the turn.
    pub fn pop_later(&self) -> Option<T> {
        self.lock().later.pop_front()
    }

    /// What waited for the turn that is now over.
    pub fn pop_after_turn(&self) -> Option<T> {
        self.lock().after_turn.pop_front()
    }

    /// How many wait for the turn.
    pub fn waiting_for_turn(&self) -> usize {
        self.lock().after_turn.len()
    }

    /// Ready with what is to be done first, once there is something.
    pub fn next(&self) -> Next<'_, T> {
        Next { ready: self, sleeps: None }
    }
}

/// See [`Ready::next`]. It may be dropped at any time: what was to be its is another's then.
pub struct Next<'a, T> {
    ready: &'a Ready<T>,
    /// Its number among the sleepers. It may have been woken, and be none of them any more.
    sleeps: Option<u64>,
}

impl<T> Next<'_, T> {
    /// Whether it was woken since it fell asleep. It is no sleeper any more in either case.
    fn rise(&mut self, shelf: &mut Shelf<T>) -> bool {
        let Some(number) = self.sleeps.take() else { return false };
        let place = shelf.sleepers.iter().position(|(other, _)| *other == number);
        place.map(|place| shelf.sleepers.remove(place)).is_none()
    }
}

impl<T> Future for Next<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut shelf = self.ready.lock();
        self.rise(&mut shelf);
        if let Some(item) = shelf.pop() {
            return Poll::Ready(item);
        }
        shelf.slept += 1;
        let number = shelf.slept;
        shelf.sleepers.push((number, cx.waker().clone()));
        drop(shelf);
        self.sleeps = Some(number);
        Poll::Pending
    }
}

impl<T> Drop for Next<'_, T> {
    fn drop(&mut self) {
        if self.sleeps.is_none() {
            return;
        }
        let mut shelf = self.ready.lock();
        let woken = self.rise(&mut shelf);
        let left = woken && !shelf.is_empty() && !broken("woken_and_gone");
        let waker = if left { shelf.rouse() } else { None };
        drop(shelf);
        waker.into_iter().for_each(Waker::wake);
    }
}
