//! The reply slot, arrow by arrow.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::dispatch::reply::{Lost, ReplyReceiver, channel};

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll<R>(receiver: &mut ReplyReceiver<R>, wakes: &Arc<Wakes>) -> Poll<Result<R, Lost>> {
    let waker = Waker::from(Arc::clone(wakes));
    Pin::new(receiver).poll(&mut Context::from_waker(&waker))
}

#[test]
fn an_answer_reaches_the_caller_and_wakes_it_once() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    assert!(sender.start());
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    assert_eq!(sender.send(7), Ok(()));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Ok(7)));
    drop(sender);
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Err(Lost)));
}

#[test]
fn an_answer_before_the_first_poll_needs_no_wake() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel();
    assert_eq!(sender.send(7), Ok(()));
    drop(sender);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Ok(7)));
    assert_eq!(wakes.count(), 0);
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let (first, second) = (Arc::default(), Arc::default());
    let (sender, mut receiver) = channel();
    assert_eq!(poll(&mut receiver, &first), Poll::Pending);
    assert_eq!(poll(&mut receiver, &second), Poll::Pending);
    assert_eq!(sender.send(7), Ok(()));
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn the_second_completer_gets_its_value_back() {
    let (worker, receiver) = channel();
    let supervisor = worker.clone();
    assert!(worker.start());
    assert_eq!(supervisor.send("504"), Ok(()));
    assert_eq!(worker.send("200"), Err("200"));
    assert_eq!(futures_lite::future::block_on(receiver), Ok("504"));
    assert_eq!(worker.send("200"), Err("200"));
}

#[test]
fn only_one_starts() {
    let (sender, _receiver) = channel::<()>();
    let other = sender.clone();
    assert!(sender.start());
    assert!(!other.start());
    assert!(!sender.start());
}

#[test]
fn a_caller_that_left_is_noticed_and_gets_nothing() {
    let (sender, receiver) = channel();
    assert!(!sender.is_caller_gone());
    drop(receiver);
    assert!(sender.is_caller_gone());
    assert!(!sender.start());
    assert_eq!(sender.send(7), Err(7));
}

#[test]
fn a_caller_that_leaves_a_running_task_is_noticed() {
    let (sender, receiver) = channel();
    assert!(sender.start());
    drop(receiver);
    assert!(sender.is_caller_gone());
    assert_eq!(sender.send(7), Err(7));
}

#[test]
fn a_caller_that_leaves_is_not_woken_and_its_answer_is_dropped() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel();
    let value = Arc::new(());
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    sender.send(Arc::clone(&value)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
    assert_eq!(wakes.count(), 1);
    assert!(sender.is_caller_gone());
}

#[test]
fn a_waiting_task_expires_and_is_not_started() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel();
    assert!(receiver.expire());
    assert!(sender.is_caller_gone());
    assert!(!sender.start());
    assert_eq!(sender.send(7), Err(7));
    assert!(!receiver.expire());
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Err(Lost)));
    assert!(sender.is_caller_gone());
    drop(receiver);
    assert!(sender.is_caller_gone());
    assert!(!sender.start());
    assert_eq!(sender.send(7), Err(7));
}

#[test]
fn a_running_or_answered_task_does_not_expire() {
    let (sender, receiver) = channel();
    assert!(sender.start());
    assert!(!receiver.expire());
    assert_eq!(sender.send(7), Ok(()));
    assert!(!receiver.expire());
    assert!(!sender.is_caller_gone());
    assert_eq!(futures_lite::future::block_on(receiver), Ok(7));
}

#[test]
fn the_reply_is_lost_when_the_last_sender_leaves_and_not_before() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel::<u8>();
    let other = sender.clone();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    assert!(sender.start());
    drop(sender);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    drop(other);
    assert_eq!(wakes.count(), 1);
    assert!(!receiver.expire());
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Err(Lost)));
    assert_eq!(Lost.to_string(), "the reply was lost: everybody who could have sent it is gone");
}

#[test]
fn an_answer_that_nobody_fetched_is_dropped_with_the_slot() {
    let value = Arc::new(());
    let (sender, receiver) = channel();
    sender.send(Arc::clone(&value)).unwrap();
    drop((sender, receiver));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_slot_is_made_anew_when_its_senders_are_gone() {
    let wakes = Arc::default();
    let (sender, mut receiver) = channel();
    let supervisor = sender.clone();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    assert_eq!(sender.finish(7), Ok(()));
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Ok(7)));
    assert!(receiver.renew().is_none(), "somebody could still answer the first task");
    assert_eq!(supervisor.finish(8), Err(8));
    let sender = receiver.renew().expect("nobody has the slot");
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    assert!(sender.start() && !sender.is_caller_gone());
    assert_eq!(sender.finish(9), Ok(()));
    assert_eq!((wakes.count(), poll(&mut receiver, &wakes)), (2, Poll::Ready(Ok(9))));
}
