//! Close and drain: what was accepted is run, what was not comes back, and every worker ends.

use loom::thread;
use polygil::dispatch::Refused;

use crate::{assert_counts, explore, explore_whole, pool, serve, sorted};

/// Invariant: a task that is submitted while the pool closes is accepted and run, or refused, and the worker ends.
#[test]
fn submit_races_close() {
    explore("submit_races_close", Some(4), || {
        let pool = pool(1, 1, 0);
        let worker = serve(pool.worker(0));
        let closer = {
            let pool = pool.clone();
            thread::spawn(move || pool.close())
        };
        let submitted = pool.submit(7);
        closer.join().unwrap();
        let ran = worker.join().unwrap();
        match submitted {
            Ok(()) => assert_eq!(ran, [7]),
            Err(Refused::Closed(7)) => assert_eq!(ran, Vec::<u32>::new()),
            other => panic!("{other:?}"),
        }
        assert_counts(&pool, ran.len() as u64, 1 - ran.len() as u64, 0, 0);
    });
}

/// Invariant: as above, when the task would go to the overflow queue, which is closed at another moment than the lane.
#[test]
fn submit_to_the_overflow_races_close() {
    explore("submit_to_the_overflow_races_close", Some(3), || {
        let pool = pool(1, 1, 1);
        pool.submit(0).unwrap();
        let closer = {
            let pool = pool.clone();
            thread::spawn(move || pool.close())
        };
        let worker = serve(pool.worker(0));
        let submitted = pool.submit(1);
        closer.join().unwrap();
        let ran = sorted(worker.join().unwrap());
        match submitted {
            Ok(()) => assert_eq!(ran, [0, 1]),
            Err(Refused::Closed(1)) => assert_eq!(ran, [0]),
            other => panic!("{other:?}"),
        }
        assert_counts(&pool, ran.len() as u64, 2 - ran.len() as u64, 0, 0);
    });
}

/// Invariant: two workers drain what is there, each task once, and both end, also the one that slept.
#[test]
fn two_workers_drain_and_end() {
    explore_whole("two_workers_drain_and_end", Some(3), || {
        let pool = pool(2, 1, 0);
        let workers = [serve(pool.worker(0)), serve(pool.worker(1))];
        pool.submit(0).unwrap();
        pool.close();
        let ran: Vec<u32> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        assert_eq!(ran, [0]);
        assert_counts(&pool, 1, 0, 0, 0);
    });
}

/// Invariant: a worker that sleeps in an empty pool is woken by its close.
#[test]
fn close_wakes_the_sleeper() {
    explore("close_wakes_the_sleeper", None, || {
        let pool = pool::<u32>(1, 1, 0);
        let worker = serve(pool.worker(0));
        pool.close();
        assert_eq!(worker.join().unwrap(), Vec::<u32>::new());
    });
}

/// Invariant: taking everything out while a worker takes too: each task is in one of the two's hands.
#[test]
fn taking_everything_out_races_a_worker() {
    explore_whole("taking_everything_out_races_a_worker", None, || {
        let pool = pool(1, 2, 0);
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        let worker = serve(pool.worker(0));
        pool.close();
        let failed = pool.fail_all_waiting();
        let ran = worker.join().unwrap();
        let (taken, left) = (ran.len() as u64, failed.len() as u64);
        assert_eq!(sorted([ran, failed].concat()), [0, 1]);
        assert_counts(&pool, taken, 0, 0, left);
    });
}
