//! Tasks that nobody waits for: their places go to others, and no other task is lost by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::thread;
use polygil::dispatch::{Placement, Pool, PoolOptions, Refused, Step};

use crate::{assert_counts, explore, serve, sorted};

/// A pool of one lane in which odd tasks are waited for by nobody.
fn pool(lane_depth: usize) -> Arc<Pool<u32>> {
    let options = PoolOptions { workers: 1, lane_depth, overflow_depth: 0, placement: Placement::RoundRobin };
    Pool::with_stale(options, |task| task % 2 == 1)
}

/// Invariant: while a worker takes from a full lane and a submitter searches it, each task that somebody waits for runs once.
#[test]
fn a_search_races_a_worker() {
    explore("a_search_races_a_worker", Some(3), || {
        let pool = pool(2);
        pool.submit(2).unwrap();
        pool.submit(1).unwrap();
        pool.caller_left();
        let worker = serve(pool.worker(0));
        assert_eq!(pool.submit(4), Ok(()));
        pool.close();
        assert_eq!(sorted(worker.join().unwrap()), [2, 4]);
        assert_counts(&pool, 2, 0, 1, 0);
    });
}

/// Invariant: of two submitters that search for one place one finds it; the other gets its own task back, not another's.
#[test]
fn two_searches_at_once() {
    explore("two_searches_at_once", Some(4), || {
        let pool = pool(2);
        pool.submit(2).unwrap();
        pool.submit(1).unwrap();
        pool.caller_left();
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.submit(4))
        };
        let own = pool.submit(6);
        let winner = match (other.join().unwrap(), own) {
            (Ok(()), Err(Refused::Full(6))) => 4,
            (Err(Refused::Full(4)), Ok(())) => 6,
            other => panic!("{other:?}"),
        };
        assert_eq!(sorted(pool.fail_all_waiting()), [2, winner]);
        assert_counts(&pool, 0, 1, 1, 2);
    });
}

/// Invariant: when a worker takes the task that a search is for, and others take the room, each task that was accepted is taken or
/// waits or is counted as abandoned, once; and only the one in the search's hand can be that.
#[test]
fn a_search_races_a_worker_and_submitters() {
    let reached = Arc::new(AtomicUsize::new(0));
    let once = Arc::clone(&reached);
    explore("a_search_races_a_worker_and_submitters", Some(1), move || {
        let pool = pool(2);
        pool.submit(2).unwrap();
        pool.submit(1).unwrap();
        pool.caller_left();
        let mut worker = pool.worker(0);
        let worker = thread::spawn(move || match worker.step() {
            // It ends with this task, which is counted as abandoned.
            Step::Run(task) => Some(task),
            _ => None,
        });
        let others = {
            let pool = pool.clone();
            thread::spawn(move || [4, 6].map(|task| pool.submit(task).is_ok()))
        };
        let own = pool.submit(8).is_ok();
        let [first, second] = others.join().unwrap();
        let taken = worker.join().unwrap();
        let waiting = pool.fail_all_waiting();
        let counters = pool.counters();
        let accepted = [(2, true), (4, first), (6, second), (8, own)];
        let is_somewhere = |task: &u32| taken == Some(*task) || waiting.contains(task);
        let lost = accepted.iter().filter(|(task, taken)| *taken && !is_somewhere(task)).count();
        let counted = counters.abandoned as usize - waiting.len() - taken.iter().count();
        assert_eq!((lost, counters.balance()), (counted, true), "{accepted:?} {taken:?} {waiting:?} {counters:?}");
        assert!(lost <= 1, "{accepted:?} {taken:?} {waiting:?} {counters:?}");
        once.fetch_max(lost, Relaxed);
    });
    assert_eq!(reached.load(Relaxed), 1, "no execution came by there");
}

/// Invariant: a pool that is closed while it is searched loses nothing of what the search has in hand.
#[test]
fn a_search_races_close() {
    explore("a_search_races_close", None, || {
        let pool = pool(2);
        pool.submit(2).unwrap();
        pool.submit(1).unwrap();
        pool.caller_left();
        let closer = {
            let pool = pool.clone();
            thread::spawn(move || pool.close())
        };
        let submitted = pool.submit(4);
        closer.join().unwrap();
        let left = sorted(pool.fail_all_waiting());
        match submitted {
            Ok(()) => assert_eq!(left, [2, 4]),
            Err(Refused::Closed(4)) => assert_eq!(left, [1, 2]),
            other => panic!("{other:?}"),
        }
    });
}
