//! What is ready to be done is done: whoever waits for it hears of it, also when another was woken for it and went away.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;
use polygil::dispatch::ready::Ready;

use crate::explore;

fn wait(ready: &Arc<Ready<u32>>) -> thread::JoinHandle<u32> {
    let ready = Arc::clone(ready);
    thread::spawn(move || block_on(ready.next()))
}

/// Invariant: a push wakes the one that waits, whichever queue it is to. Who sleeps on is a deadlock.
#[test]
fn a_push_wakes_who_waits() {
    explore("a_push_wakes_who_waits", None, || {
        let ready = Arc::new(Ready::new());
        let waiting = wait(&ready);
        ready.push(1);
        assert_eq!(waiting.join().unwrap(), 1);
        let waiting = wait(&ready);
        ready.push_after_turn(2);
        assert_eq!(waiting.join().unwrap(), 2);
    });
}

/// Invariant: two that wait share two pushes.
#[test]
fn two_that_wait_get_one_each() {
    explore("two_that_wait_get_one_each", Some(3), || {
        let ready = Arc::new(Ready::new());
        let waiting = [wait(&ready), wait(&ready)];
        ready.push(1);
        ready.push(2);
        let mut got = waiting.map(|waiting| waiting.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

/// Invariant: one that was woken and goes away without having looked leaves it to another that waits.
#[test]
fn who_goes_away_leaves_it_to_another() {
    explore("who_goes_away_leaves_it_to_another", Some(3), || {
        let ready = Arc::new(Ready::new());
        let stays = wait(&ready);
        let leaves = thread::spawn({
            let ready = Arc::clone(&ready);
            move || {
                // Looks once, and is gone at the next opportunity.
                block_on(poll_fn(|cx| {
                    let mut next = pin!(ready.next());
                    let got = next.as_mut().poll(cx);
                    thread::yield_now();
                    Poll::Ready(got.is_ready())
                }))
            }
        });
        ready.push(1);
        if leaves.join().unwrap() {
            ready.push(1);
        }
        assert_eq!(stays.join().unwrap(), 1);
    });
}
