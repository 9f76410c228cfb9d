//! The way back: a one-shot slot between the worker that runs a task and the connection task that waits for its answer.
//!
//! ```text
//!                  start()               send(r)                poll
//!      Waiting ───────────────▶ Running ─────────▶ Answered(r) ──────▶ Done
//!         │ │                     │  │                                  ▲
//!         │ └──── send(r) ────────┼──┼────────▶ (Answered)              │
//!         │ expire()              │  └─ last sender dropped ──▶ Lost ───┘
//!         ▼                       ▼
//!      Expired                  Gone   (receiver dropped; also from Waiting)
//! ```
//!
//! Each arrow is taken at most once, by whoever is first; everybody else is told that they were late. So there is no double
//! reply (`send` gives the value back to the second completer), no answer to somebody who has left (it is given back too), no
//! caller that waits for ever (the last sender's drop wakes it with [`Lost`]), and no task that starts although its caller was
//! told that it expired: `start` and `expire` exclude each other.
//!
//! The slot is one mutex around a small state. No one holds it for longer than a move of the value: the waker is called, and
//! values and wakers are dropped, after it was released. Uncontended, which is the rule for a slot with two ends, it costs
//! what the two or three read-modify-writes of a lock-free slot cost, and there is no memory order to get wrong.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, Mutex, broken, lock};

/// No answer will come: everybody who could have given one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reply was lost: everybody who could have sent it is gone")
    }
}

impl std::error::Error for Lost {}

/// Makes a slot and its two ends.
///
/// ```
/// use polygil::dispatch::reply;
///
/// let (sender, receiver) = reply::channel();
/// assert!(sender.start());
/// assert_eq!(sender.send("hello"), Ok(()));
/// assert_eq!(sender.send("again"), Err("again"));
/// assert_eq!(futures_lite::future::block_on(receiver), Ok("hello"));
/// ```
pub fn channel<R>() -> (ReplySender<R>, ReplyReceiver<R>) {
    let slot = Arc::new(Mutex::new(Slot { phase: Phase::Waiting, senders: 1, waker: None }));
    (ReplySender { slot: Arc::clone(&slot) }, ReplyReceiver { slot })
}

/// The end of the one who answers. A clone is a second completer (a supervisor, say): the first to send wins.
pub struct ReplySender<R> {
    slot: Arc<Mutex<Slot<R>>>,
}

/// The end of the one who waits: a future of the answer. Dropping it tells the senders that the caller is gone.
pub struct ReplyReceiver<R> {
    slot: Arc<Mutex<Slot<R>>>,
}

struct Slot<R> {
    phase: Phase<R>,
    /// Living [`ReplySender`]s.
    senders: usize,
    /// The caller's, from its last poll.
    waker: Option<Waker>,
}

enum Phase<R> {
    /// Nobody has started on the task.
    Waiting,
    /// A worker runs it.
    Running,
    /// The answer is there.
    Answered(R),
    /// The last sender left without an answer.
    Lost,
    /// The caller gave up while the task waited.
    Expired,
    /// The receiver was dropped.
    Gone,
    /// The caller has its answer, or knows that there is none.
    Done,
}

impl<R> Slot<R> {
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Running)
    }
}

impl<R> ReplySender<R> {
    /// Claims the task for running. False when it is not to be run: the caller is gone, gave up waiting, was already answered,
    /// or somebody else has started it.
    pub fn start(&self) -> bool {
        let mut slot = lock(&self.slot);
        let waits =
            matches!(slot.phase, Phase::Waiting) || (broken("expired_starts") && matches!(slot.phase, Phase::Expired));
        if waits {
            slot.phase = Phase::Running;
        }
        waits
    }

    /// Answers, whether or not the task was started. Gives the value back when it is not wanted: somebody else was first, or
    /// the caller is gone or gave up.
    pub fn send(&self, value: R) -> Result<(), R> {
        self.put(value).map(wake)
    }

    /// Answers as [`ReplySender::send`] does, and is gone by the time that the caller hears of it, which can then
    /// [renew](ReplyReceiver::renew) the slot.
    pub fn finish(self, value: R) -> Result<(), R> {
        let waker = self.put(value);
        if broken("woken_before_gone") {
            return waker.map(wake);
        }
        drop(self);
        waker.map(wake)
    }

    /// Puts the answer into the slot. Gives the waker of who waits for it.
    fn put(&self, value: R) -> Result<Option<Waker>, R> {
        let mut slot = lock(&self.slot);
        let second = broken("second_send_wins") && matches!(slot.phase, Phase::Answered(_));
        if !slot.is_open() && !second {
            drop(slot);
            return Err(value);
        }
        let before = std::mem::replace(&mut slot.phase, Phase::Answered(value));
        let waker = slot.waker.take();
        drop(slot);
        drop(before);
        Ok(waker)
    }

    /// Whether nobody waits for an answer any more: the receiver was dropped, or expired the task.
    pub fn is_caller_gone(&self) -> bool {
        matches!(lock(&self.slot).phase, Phase::Gone | Phase::Expired)
    }
}

fn wake(waker: Option<Waker>) {
    if !broken("send_without_wake") {
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<R> std::fmt::Debug for ReplySender<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplySender")
    }
}

impl<R> Clone for ReplySender<R> {
    fn clone(&self) -> Self {
        lock(&self.slot).senders += 1;
        ReplySender { slot: Arc::clone(&self.slot) }
    }
}

impl<R> Drop for ReplySender<R> {
    fn drop(&mut self) {
        let mut slot = lock(&self.slot);
        slot.senders -= 1;
        if slot.senders > 0 || !slot.is_open() {
            return;
        }
        slot.phase = Phase::Lost;
        let waker = slot.waker.take();
        drop(slot);
        if !broken("lost_without_wake") {
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<R> ReplyReceiver<R> {
    /// Gives up on a task that still waits: from now on it will not be started. False when it runs or is over, so that the
    /// answer is to be awaited.
    pub fn expire(&self) -> bool {
        let mut slot = lock(&self.slot);
        let running_too = broken("expire_ignores_start") && slot.is_open();
        let waits = matches!(slot.phase, Phase::Waiting) || running_too;
        if waits {
            slot.phase = Phase::Expired;
        }
        waits
    }
}

impl<R> ReplyReceiver<R> {
    /// Makes the slot anew for another task and gives its sender, without allocating. None while a sender of the task before is
    /// still there: make another slot then.
    pub fn renew(&mut self) -> Option<ReplySender<R>> {
        // Nobody else has the slot then, and nobody can get it but from this end.
        let free = Arc::get_mut(&mut self.slot).is_some() || broken("renew_with_senders");
        if !free {
            return None;
        }
        *lock(&self.slot) = Slot { phase: Phase::Waiting, senders: 1, waker: None };
        Some(ReplySender { slot: Arc::clone(&self.slot) })
    }
}

impl<R> Future for ReplyReceiver<R> {
    type Output = Result<R, Lost>;

    /// After [`expire`](ReplyReceiver::expire) and after it was ready once, it is ready with [`Lost`].
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.slot);
        if slot.is_open() {
            let known = slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let before = if known { None } else { slot.waker.replace(cx.waker().clone()) };
            drop(slot);
            drop(before);
            return Poll::Pending;
        }
        match std::mem::replace(&mut slot.phase, Phase::Done) {
            Phase::Answered(value) => Poll::Ready(Ok(value)),
            Phase::Expired => {
                // Stays as it is: the senders still have to learn that the caller gave up.
                slot.phase = Phase::Expired;
                Poll::Ready(Err(Lost))
            }
            Phase::Waiting | Phase::Running | Phase::Lost | Phase::Gone | Phase::Done => Poll::Ready(Err(Lost)),
        }
    }
}

impl<R> Drop for ReplyReceiver<R> {
    fn drop(&mut self) {
        let mut slot = lock(&self.slot);
        // An expired slot stays expired: it says the same to the senders and more to a reader.
        let unwanted = match slot.phase {
            Phase::Expired => None,
            _ => Some(std::mem::replace(&mut slot.phase, Phase::Gone)),
        };
        let waker = slot.waker.take();
        drop(slot);
        drop((unwanted, waker));
    }
}
