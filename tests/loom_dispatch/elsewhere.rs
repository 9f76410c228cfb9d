//! A worker that does the I/O: it sleeps elsewhere than in its lane's gate, and puts tasks into its own lane without waking anybody.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;
use polygil::dispatch::{Step, Worker};

use crate::{Meeting, assert_counts, explore, explore_whole, pool, sorted, take};

/// As [`take`], for a worker that sleeps in a future's poll. Gives `None` when it was told to exit.
fn take_elsewhere(worker: &mut Worker<u32>, count: usize) -> Option<Vec<u32>> {
    let mut ran = Vec::new();
    while ran.len() < count {
        match worker.step() {
            Step::Run(task) => ran.push(task),
            Step::Park => {
                let mut asleep = false;
                block_on(poll_fn(|cx| {
                    // Whatever ends the sleep, the worker looks around.
                    if asleep {
                        return Poll::Ready(());
                    }
                    asleep = worker.lie_down_until(cx.waker());
                    if asleep { Poll::Pending } else { Poll::Ready(()) }
                }));
                if asleep {
                    worker.rise();
                }
            }
            Step::Exit => return None,
        }
    }
    Some(ran)
}

/// Invariant: a worker that falls asleep elsewhere while a task is being pushed gets it.
#[test]
fn a_push_wakes_who_sleeps_elsewhere() {
    explore("a_push_wakes_who_sleeps_elsewhere", None, || {
        let pool = pool(1, 1, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take_elsewhere(&mut worker, 1));
        pool.submit(7).unwrap();
        assert_eq!(consumer.join().unwrap(), Some(vec![7]));
        assert!(pool.counters().balance());
    });
}

/// Invariant: the same for the close of the pool.
#[test]
fn close_wakes_who_sleeps_elsewhere() {
    explore("close_wakes_who_sleeps_elsewhere", None, || {
        let pool = pool::<u32>(1, 1, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take_elsewhere(&mut worker, 1));
        pool.close();
        assert_eq!(consumer.join().unwrap(), None);
    });
}

/// Invariant: a worker that sleeps in the gate for once, and elsewhere for another time, is woken by whichever way is the right one.
#[test]
fn a_sleep_in_the_gate_and_one_elsewhere() {
    explore("a_sleep_in_the_gate_and_one_elsewhere", Some(3), || {
        let pool = pool(1, 2, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || {
            let first = take_elsewhere(&mut worker, 1).unwrap();
            [first, take(&mut worker, 1)].concat()
        });
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

/// Invariant: what a worker puts into its own lane it runs, although nobody is woken for it, and what comes from another thread
/// meanwhile it runs too.
#[test]
fn an_own_task_needs_no_wakeup() {
    explore("an_own_task_needs_no_wakeup", Some(4), || {
        let pool = pool(1, 2, 0);
        let mut worker = pool.worker(0);
        let consumer = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.submit_own(0, 0).unwrap();
                sorted(take_elsewhere(&mut worker, 2).unwrap())
            })
        };
        pool.submit(1).unwrap();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

/// Invariant: a worker that has put two tasks into its own lane, and calls the others before it spends long on the first, has the
/// second taken by one that sleeps or is about to. It holds on to the first until then, so a lost call is a deadlock.
#[test]
fn others_are_called_for_own_tasks() {
    explore_whole("others_are_called_for_own_tasks", Some(4), || {
        let pool = pool(2, 2, 0);
        let meeting = Meeting::of(2);
        let (mut own, mut other) = (pool.worker(0), pool.worker(1));
        let helper = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                take(&mut other, 1);
                meeting.wait();
            })
        };
        pool.submit_own(0, 0).unwrap();
        pool.submit_own(0, 1).unwrap();
        take(&mut own, 1);
        own.call_others();
        meeting.wait();
        helper.join().unwrap();
        drop(own);
        assert_counts(&pool, 0, 0, 0, 2);
    });
}
