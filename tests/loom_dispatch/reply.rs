//! One answer: to the one who waits, from the one who is first, and never none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::thread;
use polygil::dispatch::reply::{self, Lost};

use crate::explore;

/// Invariant: an answer that is sent while the caller goes to sleep wakes it, and is what was sent.
#[test]
fn an_answer_reaches_the_caller() {
    explore("an_answer_reaches_the_caller", None, || {
        let (sender, receiver) = reply::channel();
        let worker = thread::spawn(move || {
            assert!(sender.start());
            sender.send(7).unwrap();
        });
        assert_eq!(block_on(receiver), Ok(7));
        worker.join().unwrap();
    });
}

/// Invariant: an answer to a caller that leaves is given back or dropped with the slot: one of the two, and nobody hangs.
#[test]
fn the_caller_leaves_while_it_is_answered() {
    explore("the_caller_leaves_while_it_is_answered", None, || {
        let value = Arc::new(());
        let (sender, receiver) = reply::channel();
        let sent = Arc::clone(&value);
        let worker = thread::spawn(move || {
            let started = sender.start();
            let back = sender.send(sent);
            // Who could not start finds the caller gone; who could may be late all the same.
            assert!(started || back.is_err());
            assert!(back.is_ok() || sender.is_caller_gone());
        });
        drop(receiver);
        worker.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// Invariant: a task starts or expires, never both: after `expire` said yes nobody starts it, and after it said no there is an
/// answer.
#[test]
fn start_races_expire() {
    explore("start_races_expire", None, || {
        let (sender, receiver) = reply::channel();
        let worker = thread::spawn(move || {
            let started = sender.start();
            if started {
                sender.send(7).unwrap();
            }
            started
        });
        let expired = receiver.expire();
        let answer = block_on(receiver);
        assert_eq!(answer, if expired { Err(Lost) } else { Ok(7) });
        assert_eq!(worker.join().unwrap(), !expired);
    });
}

/// Invariant: of a worker that is done and a supervisor that has had enough exactly one answers, the other is told, and the
/// caller has the answer of the first.
#[test]
fn a_late_completion_races_the_timeout() {
    explore("a_late_completion_races_the_timeout", None, || {
        let (worker, receiver) = reply::channel();
        let supervisor = worker.clone();
        assert!(worker.start());
        let supervision = thread::spawn(move || supervisor.send(504).is_ok());
        let caller = thread::spawn(move || block_on(receiver));
        let by_worker = worker.send(200).is_ok();
        let by_supervisor = supervision.join().unwrap();
        assert!(by_worker ^ by_supervisor);
        assert_eq!(caller.join().unwrap(), Ok(if by_worker { 200 } else { 504 }));
    });
}

/// Invariant: when both completers leave without an answer, the caller wakes up and knows; not before both have left.
#[test]
fn the_reply_is_lost_when_both_completers_leave() {
    explore("the_reply_is_lost_when_both_completers_leave", None, || {
        let (worker, receiver) = reply::channel::<u32>();
        let supervisor = worker.clone();
        let supervision = thread::spawn(move || drop(supervisor));
        let work = thread::spawn(move || drop(worker));
        assert_eq!(block_on(receiver), Err(Lost));
        supervision.join().unwrap();
        work.join().unwrap();
    });
}

/// Invariant: one that answers while the other leaves: the answer is not lost.
#[test]
fn an_answer_races_the_other_completers_end() {
    explore("an_answer_races_the_other_completers_end", None, || {
        let (worker, receiver) = reply::channel();
        let supervisor = worker.clone();
        let supervision = thread::spawn(move || drop(supervisor));
        let work = thread::spawn(move || worker.send(7).unwrap());
        assert_eq!(block_on(receiver), Ok(7));
        supervision.join().unwrap();
        work.join().unwrap();
    });
}

/// Invariant: two slots, two workers: each caller gets its own answer.
#[test]
fn answers_go_to_their_own_slots() {
    explore("answers_go_to_their_own_slots", None, || {
        let (first, first_caller) = reply::channel();
        let (second, second_caller) = reply::channel();
        let one = thread::spawn(move || first.send(1).unwrap());
        let two = thread::spawn(move || second.send(2).unwrap());
        assert_eq!(block_on(first_caller), Ok(1));
        assert_eq!(block_on(second_caller), Ok(2));
        one.join().unwrap();
        two.join().unwrap();
    });
}

/// Invariant: a slot that serves a second task gives it its own answer, however late somebody answers the first.
#[test]
fn a_late_completion_never_answers_the_next_task() {
    explore("a_late_completion_never_answers_the_next_task", None, || {
        let (worker, mut receiver) = reply::channel();
        let supervisor = worker.clone();
        let supervision = thread::spawn(move || drop(supervisor.finish(504)));
        let by_worker = worker.finish(200).is_ok();
        assert_eq!(block_on(&mut receiver), Ok(if by_worker { 200 } else { 504 }));
        if let Some(worker) = receiver.renew() {
            worker.finish(201).unwrap();
            assert_eq!(block_on(receiver), Ok(201));
        }
        supervision.join().unwrap();
    });
}

/// A waker that says that it was called.
#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Invariant: who finishes is gone by the time it wakes the caller, whose slot can then serve the next task.
#[test]
fn a_caller_that_was_woken_can_renew_its_slot() {
    explore("a_caller_that_was_woken_can_renew_its_slot", None, || {
        let (sender, mut receiver) = reply::channel();
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        let poll = |receiver: &mut reply::ReplyReceiver<u32>| Pin::new(receiver).poll(&mut Context::from_waker(&waker));
        assert_eq!(poll(&mut receiver), Poll::Pending);
        let worker = thread::spawn(move || sender.finish(7).unwrap());
        while !called.0.load(SeqCst) {
            thread::yield_now();
        }
        assert_eq!(poll(&mut receiver), Poll::Ready(Ok(7)));
        assert!(receiver.renew().is_some());
        worker.join().unwrap();
    });
}
