//! No task is lost, none runs twice, none is both taken and refused.

use loom::thread;
use polygil::dispatch::{Refused, Step};

use crate::{assert_counts, explore, pool, serve, sorted, take};

/// Invariant: what one producer submits to a lane runs once each, in its order.
#[test]
fn one_producer_keeps_its_order() {
    explore("one_producer_keeps_its_order", Some(4), || {
        let pool = pool(1, 2, 0);
        let worker = serve(pool.worker(0));
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        pool.close();
        assert_eq!(worker.join().unwrap(), [0, 1]);
        assert_counts(&pool, 2, 0, 0, 0);
    });
}

/// Invariant: what two producers submit to the same lane runs once each.
#[test]
fn two_producers_lose_nothing() {
    explore("two_producers_lose_nothing", Some(3), || {
        let pool = pool(1, 2, 0);
        let mut worker = pool.worker(0);
        let producer = {
            let pool = pool.clone();
            thread::spawn(move || pool.submit(0).unwrap())
        };
        let consumer = thread::spawn(move || {
            let ran = take(&mut worker, 2);
            assert_eq!(worker.step(), Step::Park);
            ran
        });
        pool.submit(1).unwrap();
        producer.join().unwrap();
        assert_eq!(sorted(consumer.join().unwrap()), [0, 1]);
        assert_counts(&pool, 2, 0, 0, 0);
    });
}

/// Invariant: of two producers that want the last place one gets it, and the other gets its own task back.
#[test]
fn the_last_place_is_given_once() {
    explore("the_last_place_is_given_once", None, || {
        let pool = pool(1, 1, 0);
        let producer = {
            let pool = pool.clone();
            thread::spawn(move || pool.submit(0))
        };
        let second = pool.submit(1);
        let first = producer.join().unwrap();
        let mut worker = pool.worker(0);
        let winner = match (first, second) {
            (Ok(()), Err(Refused::Full(1))) => 0,
            (Err(Refused::Full(0)), Ok(())) => 1,
            other => panic!("{other:?}"),
        };
        assert_eq!(worker.step(), Step::Run(winner));
        assert_eq!(worker.step(), Step::Park);
        assert_counts(&pool, 1, 1, 0, 0);
    });
}

/// Invariant: while a worker takes from a full pool, a submitted task is run or comes back, never both and never neither.
#[test]
fn full_while_a_worker_takes() {
    explore("full_while_a_worker_takes", Some(5), || {
        let pool = pool(1, 1, 0);
        pool.submit(0).unwrap();
        let worker = serve(pool.worker(0));
        let second = pool.submit(1);
        pool.close();
        let ran = worker.join().unwrap();
        match second {
            Ok(()) => assert_eq!(ran, [0, 1]),
            Err(Refused::Full(1)) => assert_eq!(ran, [0]),
            other => panic!("{other:?}"),
        }
        assert_counts(&pool, ran.len() as u64, 2 - ran.len() as u64, 0, 0);
    });
}

/// Invariant: as above, when the place that is taken over is in the overflow queue.
#[test]
fn overflow_while_a_worker_takes() {
    explore("overflow_while_a_worker_takes", Some(4), || {
        let pool = pool(1, 1, 1);
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        let worker = serve(pool.worker(0));
        let third = pool.submit(2);
        pool.close();
        let ran = sorted(worker.join().unwrap());
        match third {
            Ok(()) => assert_eq!(ran, [0, 1, 2]),
            Err(Refused::Full(2)) => assert_eq!(ran, [0, 1]),
            other => panic!("{other:?}"),
        }
        assert_counts(&pool, ran.len() as u64, 3 - ran.len() as u64, 0, 0);
    });
}

/// Invariant: order and content survive a lane's wraparound while producer and worker chase each other around it.
#[test]
fn wraparound_keeps_the_order() {
    explore("wraparound_keeps_the_order", Some(3), || {
        let pool = pool(1, 2, 0);
        let worker = serve(pool.worker(0));
        for mut task in 0..3 {
            while let Err(Refused::Full(back)) = pool.submit(task) {
                task = back;
                thread::yield_now();
            }
        }
        pool.close();
        assert_eq!(worker.join().unwrap(), [0, 1, 2]);
    });
}

/// Invariant: two workers that reach for the same task, one in its own lane and one stealing, do not both get it.
#[test]
fn a_task_is_stolen_or_taken_never_both() {
    explore("a_task_is_stolen_or_taken_never_both", None, || {
        let pool = pool(2, 1, 0);
        let (mut own, mut thief) = (pool.worker(0), pool.worker(1));
        pool.submit(7).unwrap();
        let other = thread::spawn(move || matches!(thief.step(), Step::Run(7)));
        let taken = matches!(own.step(), Step::Run(7));
        assert!(taken ^ other.join().unwrap());
    });
}
