//! Tasks that nobody waits for: their places go to others, and no other task is lost by that.

use std::sync::Arc;

use loom::thread;
use polygil::dispatch::{Placement, Pool, PoolOptions, Refused};

use crate::{assert_counts, explore, serve, sorted};

/// A pool of one lane in which odd tasks are waited for by nobody.
fn pool(lane_depth: usize) -> Arc<Pool<u32>> {
    let options = PoolOptions { workers: 1, lane_depth, overflow_depth: 0, placement: Placement::RoundRobin };
    Pool::with_stale(options, |task| task % 2 == 1)
}

/// Invariant: while a worker takes from a full lane and a submitter searches it, each task that somebody waits for runs once.
#[test]
fn a_search_races_a_worker() {
    explore("a_search_races_a_worker", Some(4), || {
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
    explore("two_searches_at_once", None, || {
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
