//! Lost workers: what waits is run by others or by the replacement, and what ran is counted once.

use loom::thread;
use polygil::dispatch::{Refused, Step};

use crate::{assert_counts, explore, explore_whole, pool, serve, sorted, take};

/// Invariant: a worker that dies while its lane is full, and while more is submitted, takes no waiting task with it.
#[test]
fn a_worker_dies_with_a_full_lane() {
    explore_whole("a_worker_dies_with_a_full_lane", Some(3), || {
        let pool = pool(2, 1, 0);
        let mut dying = pool.worker(0);
        pool.submit(0).unwrap();
        assert_eq!(dying.step(), Step::Run(0));
        pool.submit(1).unwrap();
        pool.submit(2).unwrap();
        let death = thread::spawn(move || drop(dying));
        let survivor = serve(pool.worker(1));
        let last = pool.submit(3);
        pool.close();
        death.join().unwrap();
        let ran = sorted(survivor.join().unwrap());
        match last {
            Ok(()) => assert_eq!(ran, [1, 2, 3]),
            Err(Refused::Full(3)) => assert_eq!(ran, [1, 2]),
            other => panic!("{other:?}"),
        }
        assert_counts(&pool, ran.len() as u64, 3 - ran.len() as u64, 0, 1);
    });
}

/// Invariant: the end of a task and the loss of its worker count it once, as completed or as abandoned.
#[test]
fn a_task_ends_while_its_worker_is_replaced() {
    explore("a_task_ends_while_its_worker_is_replaced", None, || {
        let pool = pool(1, 1, 0);
        let mut old = pool.worker(0);
        pool.submit(0).unwrap();
        assert_eq!(old.step(), Step::Run(0));
        let ending = thread::spawn(move || old.step());
        let mut new = pool.worker(0);
        assert!(matches!(ending.join().unwrap(), Step::Park | Step::Exit));
        assert_eq!(new.step(), Step::Park);
        let counters = pool.counters();
        assert_eq!(counters.completed + counters.abandoned, 1, "{counters:?}");
        assert!(counters.balance(), "{counters:?}");
    });
}

/// Invariant: a worker that is replaced in its sleep, or on the way to it, wakes up and exits; it takes nothing after that.
#[test]
fn a_sleeper_is_replaced() {
    explore("a_sleeper_is_replaced", None, || {
        let pool = pool(1, 1, 0);
        let old = serve(pool.worker(0));
        let mut new = pool.worker(0);
        assert_eq!(old.join().unwrap(), Vec::<u32>::new());
        pool.submit(7).unwrap();
        assert_eq!(new.step(), Step::Run(7));
        assert_eq!(new.step(), Step::Park);
        assert_counts(&pool, 1, 0, 0, 0);
    });
}

/// Invariant: once `worker` has returned, the old one does not take a task any more.
#[test]
fn the_old_worker_takes_nothing_more() {
    explore_whole("the_old_worker_takes_nothing_more", None, || {
        let pool = pool(1, 1, 0);
        let old = serve(pool.worker(0));
        let mut new = pool.worker(0);
        pool.submit(7).unwrap();
        // Both are awake, or one sleeps in the other's place; in the end it is the new one that runs it, unless the old one
        // had begun its last look before it was replaced.
        let by_old = old.join().unwrap();
        match by_old.as_slice() {
            [] => assert_eq!(take(&mut new, 1), [7]),
            [7] => assert_eq!(new.step(), Step::Park),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.depth(), 0);
    });
}

/// Invariant: a task that is submitted while its lane changes hands wakes the new worker, asleep in the place where the old one
/// may still be.
#[test]
fn a_push_while_the_lane_changes_hands() {
    explore_whole("a_push_while_the_lane_changes_hands", Some(3), || {
        let pool = pool(1, 1, 0);
        let old = serve(pool.worker(0));
        let new = serve(pool.worker(0));
        pool.submit(7).unwrap();
        pool.close();
        let ran = [old.join().unwrap(), new.join().unwrap()].concat();
        assert_eq!(ran, [7]);
        assert!(pool.counters().balance());
    });
}

/// Invariant: a wakeup that the replaced worker got, and will not use, is passed on to another sleeper.
#[test]
fn the_wakeup_of_a_replaced_worker_is_passed_on() {
    explore_whole("the_wakeup_of_a_replaced_worker_is_passed_on", Some(3), || {
        let pool = pool(2, 1, 0);
        let old = serve(pool.worker(0));
        let mut other = pool.worker(1);
        let consumer = thread::spawn(move || take(&mut other, 1));
        // To lane 0, whose worker may be woken for it, and is then replaced by one that never comes.
        pool.submit(7).unwrap();
        let new = pool.worker(0);
        let by_old = old.join().unwrap();
        if by_old == [7] {
            pool.submit(7).unwrap();
        }
        assert_eq!(consumer.join().unwrap(), [7]);
        drop(new);
    });
}
