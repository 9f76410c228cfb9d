//! No wakeup is lost: when all has settled, nobody sleeps while a task waits. The tests end only if that is so.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use polygil::dispatch::{Placement, Pool, PoolOptions, Step, Worker};

use crate::{Meeting, assert_counts, explore, explore_whole, pool, sorted, take};

/// Invariant: a worker that falls asleep while a task is being pushed gets it. The smallest model, explored entirely.
#[test]
fn a_push_wakes_the_sleeper() {
    explore("a_push_wakes_the_sleeper", None, || {
        let pool = pool(1, 1, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take(&mut worker, 1));
        pool.submit(7).unwrap();
        assert_eq!(consumer.join().unwrap(), [7]);
        assert!(pool.counters().balance());
    });
}

/// Invariant: the same for a second task, with the word in whatever state the first has left it.
#[test]
fn a_second_push_wakes_the_sleeper_again() {
    explore("a_second_push_wakes_the_sleeper_again", Some(5), || {
        let pool = pool(1, 2, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take(&mut worker, 2));
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

/// Invariant: the same when two producers try to wake the same sleeper.
#[test]
fn two_pushes_at_once_wake_the_sleeper() {
    explore("two_pushes_at_once_wake_the_sleeper", Some(3), || {
        let pool = pool(1, 2, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take(&mut worker, 2).len());
        let producer = {
            let pool = pool.clone();
            thread::spawn(move || pool.submit(0).unwrap())
        };
        pool.submit(1).unwrap();
        producer.join().unwrap();
        assert_eq!(consumer.join().unwrap(), 2);
    });
}

/// Invariant: a task in the lane of a worker that never comes is taken by one that sleeps, or is about to.
#[test]
fn a_push_to_a_busy_lane_wakes_another_sleeper() {
    explore_whole("a_push_to_a_busy_lane_wakes_another_sleeper", Some(5), || {
        let pool = pool(2, 1, 0);
        let mut busy = pool.worker(0);
        let mut worker = pool.worker(1);
        pool.submit(0).unwrap();
        assert_eq!(busy.step(), Step::Run(0));
        let consumer = thread::spawn(move || take(&mut worker, 2));
        pool.submit(1).unwrap();
        pool.submit(2).unwrap();
        // In lane 1, its own, and in lane 0, in whichever order it comes across them.
        assert_eq!(consumer.join().unwrap().len(), 2);
        assert_eq!(pool.counters().running, 1);
    });
}

/// Two workers, each takes one task and holds it until the other has one.
fn take_and_meet(workers: [Worker<u32>; 2], meeting: &Arc<Meeting>) -> [thread::JoinHandle<()>; 2] {
    workers.map(|mut worker| {
        let meeting = Arc::clone(meeting);
        thread::spawn(move || {
            take(&mut worker, 1);
            meeting.wait();
        })
    })
}

/// Invariant: nobody sleeps while a task waits, however two workers fall asleep under two pushes. Each holds on to its task until
/// the other has one, so a waiting task with a sleeper is a deadlock.
#[test]
fn two_workers_take_two_tasks() {
    explore_whole("two_workers_take_two_tasks", Some(3), || {
        let pool = pool(2, 1, 0);
        let meeting = Meeting::of(2);
        let workers = take_and_meet([pool.worker(0), pool.worker(1)], &meeting);
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_counts(&pool, 0, 0, 0, 2);
    });
}

/// Invariant: as above, with the placement that looks at what the workers are doing, and an overflow queue.
#[test]
fn two_workers_take_two_tasks_placed_by_idleness() {
    explore_whole("two_workers_take_two_tasks_placed_by_idleness", Some(2), || {
        let placement = Placement::IdleFirst;
        let pool = Pool::new(PoolOptions { workers: 2, lane_depth: 1, overflow_depth: 1, placement });
        let meeting = Meeting::of(2);
        let workers = take_and_meet([pool.worker(0), pool.worker(1)], &meeting);
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_counts(&pool, 0, 0, 0, 2);
    });
}

/// Invariant: as above, when the worker that is woken for the second task comes across the first and takes that: it passes the
/// token on. Worker 0 has run seven tasks, so that it is its turn to look into lane 1 before its own; both workers have been
/// told to park when the first task comes.
#[test]
fn a_token_is_passed_on() {
    explore_whole("a_token_is_passed_on", Some(3), || {
        let pool = pool(2, 1, 0);
        let (mut first, mut second) = (pool.worker(0), pool.worker(1));
        for task in 0..7 {
            pool.submit(task).unwrap();
            assert_eq!(first.step(), Step::Run(task));
        }
        assert_eq!((first.step(), second.step()), (Step::Park, Step::Park));
        pool.submit(7).unwrap();
        let meeting = Meeting::of(2);
        let workers = [first, second].map(|mut worker| {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                worker.park();
                take(&mut worker, 1);
                meeting.wait();
            })
        });
        pool.submit(8).unwrap();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_counts(&pool, 7, 0, 0, 2);
    });
}

/// Invariant: a task that goes to the overflow queue, or just not any more, is taken by a worker that is about to fall asleep.
#[test]
fn a_push_to_the_overflow_wakes_the_sleeper() {
    explore("a_push_to_the_overflow_wakes_the_sleeper", None, || {
        let pool = pool(1, 1, 1);
        let mut worker = pool.worker(0);
        pool.submit(0).unwrap();
        let consumer = thread::spawn(move || take(&mut worker, 2));
        pool.submit(1).unwrap();
        assert_eq!(sorted(consumer.join().unwrap()), [0, 1]);
    });
}

fn take_with_timeouts(worker: &mut Worker<u32>, timeouts: usize) -> u32 {
    for _ in 0..timeouts {
        match worker.step() {
            Step::Run(task) => return task,
            Step::Park => drop(worker.park_timeout(Duration::ZERO)),
            Step::Exit => panic!("told to exit"),
        }
    }
    take(worker, 1)[0]
}

/// Invariant: a sleep that ends by itself while it is being ended from outside loses nothing: the task is taken, now or after
/// the next sleep.
#[test]
fn a_timeout_races_a_push() {
    explore("a_timeout_races_a_push", None, || {
        let pool = pool(1, 1, 0);
        let mut worker = pool.worker(0);
        let consumer = thread::spawn(move || take_with_timeouts(&mut worker, 2));
        pool.submit(7).unwrap();
        assert_eq!(consumer.join().unwrap(), 7);
    });
}

/// Invariant: the same for the worker that sleeps when another's lane is pushed to: its timeout does not swallow the token.
#[test]
fn a_timeout_races_a_push_to_another_lane() {
    explore_whole("a_timeout_races_a_push_to_another_lane", Some(3), || {
        let pool = pool(2, 1, 0);
        let meeting = Meeting::of(2);
        let workers = [0, 1].map(|index| {
            let (mut worker, meeting) = (pool.worker(index), Arc::clone(&meeting));
            thread::spawn(move || {
                if index == 0 {
                    take_with_timeouts(&mut worker, 1);
                } else {
                    take(&mut worker, 1);
                }
                meeting.wait();
            })
        });
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
