//! Sleep and waking one step at a time, and the words that say so. What threads make of it is `threads.rs`'s matter, and which
//! orderings it needs is shown by the model checker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::lane::State;
use crate::dispatch::sync::{AtomicUsize, Gate, Ordering};
use crate::dispatch::{Counters, Placement, Pool, PoolOptions, Refused, Step, Worker};

fn pool(workers: usize) -> (Arc<Pool<u32>>, Vec<Worker<u32>>) {
    let options = PoolOptions { workers, lane_depth: 4, overflow_depth: 0, placement: Placement::RoundRobin };
    let pool = Pool::new(options);
    let workers = (0..workers).map(|index| pool.worker(index)).collect();
    (pool, workers)
}

fn states(pool: &Pool<u32>) -> Vec<State> {
    pool.lanes.iter().map(|lane| lane.state()).collect()
}

fn sleeping(pool: &Pool<u32>) -> usize {
    pool.sleeping.0.load(Ordering::Relaxed)
}

/// Waits for what has to come: no mistake makes a test wait for ever.
fn until(come: impl Fn() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never comes");
        std::thread::yield_now();
    }
}

#[test]
fn the_word_says_what_a_worker_does() {
    let (pool, mut workers) = pool(1);
    assert_eq!(states(&pool), [State::Looking]);
    assert!(!workers[0].is_asleep());
    assert!(workers[0].lie_down());
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Parked], 1));
    assert!(workers[0].is_asleep());
    pool.submit(7).unwrap();
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Notified], 0));
    assert!(!workers[0].is_asleep());
    assert!(workers[0].rise());
    assert_eq!(states(&pool), [State::Looking]);
    assert_eq!(workers[0].step(), Step::Run(7));
    assert_eq!(states(&pool), [State::Running]);
    assert_eq!(workers[0].step(), Step::Park);
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Looking], 0));
}

#[test]
fn who_rises_by_itself_sleeps_no_more() {
    let (pool, mut workers) = pool(1);
    assert!(workers[0].lie_down());
    assert!(!workers[0].rise());
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Looking], 0));
    pool.submit(7).unwrap();
    assert!(!workers[0].lie_down());
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Looking], 0));
}

#[test]
fn each_task_wakes_one_sleeper_and_who_was_not_woken_wakes_nobody() {
    let (pool, mut workers) = pool(4);
    for worker in &mut workers[1..] {
        assert!(worker.lie_down());
    }
    // Lanes 0 and 1: the first task wakes worker 1, as worker 0 does not sleep, the second worker 2.
    pool.submit(0).unwrap();
    pool.submit(1).unwrap();
    let two_woken = [State::Looking, State::Notified, State::Notified, State::Parked];
    assert_eq!((states(&pool), sleeping(&pool)), (two_woken.to_vec(), 1));
    assert_eq!(workers[0].step(), Step::Run(0));
    assert!(workers[3].is_asleep());
    // What the other one was woken for is gone, and nothing is left to wake anybody for.
    assert!(workers[1].rise());
    assert_eq!(workers[1].step(), Step::Run(1));
    assert!(workers[2].rise());
    assert_eq!(workers[2].step(), Step::Park);
    assert!(workers[3].is_asleep());
    assert_eq!(sleeping(&pool), 1);
}

#[test]
fn who_was_woken_and_ends_wakes_another() {
    let (pool, mut workers) = pool(2);
    assert!(workers.iter_mut().all(Worker::lie_down));
    pool.submit(0).unwrap();
    assert_eq!(states(&pool), [State::Notified, State::Parked]);
    assert!(workers[0].rise());
    drop(workers.remove(0));
    assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Looking, State::Notified], 0));
    assert!(workers[0].rise());
    assert_eq!(workers[0].step(), Step::Run(0));
}

#[test]
fn a_sleep_with_a_limit_lasts_until_a_task_comes() {
    let (pool, mut workers) = pool(1);
    let mut worker = workers.remove(0);
    let thread = std::thread::spawn(move || (worker.park_timeout(Duration::from_secs(3600)), worker.step()));
    until(|| states(&pool) == [State::Parked] || thread.is_finished());
    assert!(!thread.is_finished(), "it sleeps, although there is nothing to do");
    pool.submit(7).unwrap();
    until(|| thread.is_finished());
    assert_eq!(thread.join().unwrap(), (true, Step::Run(7)));
}

/// It has the lane's word say so: who blocks nowhere comes out of `park` without ever having been seen asleep.
#[test]
fn a_sleep_without_a_limit_lasts_until_a_task_comes() {
    let (pool, mut workers) = pool(1);
    let mut worker = workers.remove(0);
    let thread = std::thread::spawn(move || {
        worker.park();
        worker.step()
    });
    until(|| states(&pool) == [State::Parked] || thread.is_finished());
    assert!(!thread.is_finished(), "it sleeps, although there is nothing to do");
    pool.submit(7).unwrap();
    until(|| thread.is_finished());
    assert_eq!(thread.join().unwrap(), Step::Run(7));
}

/// Who waits at a gate looks when it comes and when it is told to, and goes on only when it has found the gate open.
#[test]
fn a_gate_is_looked_at_again_when_it_is_opened() {
    struct Looks {
        gate: Gate,
        closed: AtomicUsize,
        found: [AtomicUsize; 2],
    }
    let at = Arc::new(Looks { gate: Gate::new(), closed: AtomicUsize::new(1), found: Default::default() });
    let found = |closed: usize| at.found[closed].load(Ordering::SeqCst);
    let look = {
        let at = Arc::clone(&at);
        move || {
            let closed = at.closed.load(Ordering::SeqCst);
            at.found[closed].fetch_add(1, Ordering::SeqCst);
            closed == 1
        }
    };
    let thread = {
        let at = Arc::clone(&at);
        std::thread::spawn(move || at.gate.wait_while(look))
    };
    until(|| found(1) > 0 || thread.is_finished());
    assert!(!thread.is_finished(), "it waits, for the gate is closed");
    at.closed.store(0, Ordering::SeqCst);
    at.gate.open();
    until(|| thread.is_finished());
    thread.join().unwrap();
    // It may be woken for no reason and look once more, but that it is open is seen once.
    assert!(found(1) >= 1);
    assert_eq!(found(0), 1);
}

#[test]
fn a_sleep_with_a_limit_lasts_that_long_when_no_task_comes() {
    let (_pool, mut workers) = pool(1);
    let (begun, limit) = (Instant::now(), Duration::from_millis(20));
    assert!(!workers[0].park_timeout(limit));
    assert!(begun.elapsed() >= limit);
}

#[test]
fn however_often_a_lane_is_given_away_its_older_workers_have_to_go() {
    let (pool, mut workers) = pool(1);
    for times in 1..=100 {
        let new = pool.worker(0);
        let mut old = std::mem::replace(&mut workers[0], new);
        assert_eq!(old.step(), Step::Exit, "after {times} times");
    }
    assert_eq!(workers[0].step(), Step::Park);
}

#[test]
fn counters_balance_only_when_each_task_is_in_one_place() {
    let one = Counters { submitted: 15, completed: 1, refused: 1, expired: 2, abandoned: 3, waiting: 3, running: 5 };
    assert!(one.balance());
    for more in [
        Counters { submitted: 16, ..one },
        Counters { completed: 2, ..one },
        Counters { refused: 2, ..one },
        Counters { expired: 3, ..one },
        Counters { abandoned: 4, ..one },
        Counters { waiting: 4, ..one },
        Counters { running: 6, ..one },
    ] {
        assert!(!more.balance(), "{more:?}");
    }
}

#[test]
fn each_replacement_is_one_epoch_on() {
    let lane = crate::dispatch::lane::Lane::<u32>::new(1);
    for epoch in 1..=3 {
        assert_eq!(lane.replace(), (epoch, State::Looking));
        assert!(lane.is_current(epoch) && !lane.is_current(epoch - 1));
    }
}

/// Who blocks elsewhere is called there: once for each time that it lies down, by a task and by the loss of its lane.
#[test]
fn who_blocks_elsewhere_is_called_there() {
    struct Calls(std::sync::atomic::AtomicUsize);
    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let calls = Arc::new(Calls(Default::default()));
    let count = || calls.0.load(std::sync::atomic::Ordering::Relaxed);
    let (pool, mut workers) = pool(1);
    assert!(workers[0].lie_down_until(&calls.clone().into()));
    assert_eq!(count(), 0);
    pool.submit(7).unwrap();
    assert_eq!(count(), 1);
    pool.submit(8).unwrap();
    assert_eq!(count(), 1, "it is awake");
    assert!(workers[0].rise());
    assert_eq!((workers[0].step(), workers[0].step(), workers[0].step()), (Step::Run(7), Step::Run(8), Step::Park));
    assert!(workers[0].lie_down_until(&calls.clone().into()));
    let _new = pool.worker(0);
    assert_eq!(count(), 2);
}

/// What a worker puts into its own lane wakes nobody, until it says that it has something else to do, or is replaced.
#[test]
fn an_own_task_wakes_nobody_until_others_are_called() {
    for replaced in [false, true] {
        let placement = Placement::RoundRobin;
        let pool = Pool::new(PoolOptions { workers: 2, lane_depth: 4, overflow_depth: 1, placement });
        let (own, mut other) = (pool.worker(0), pool.worker(1));
        assert!(other.lie_down());
        for task in [7, 8] {
            pool.submit_own(0, task).unwrap();
            assert_eq!(states(&pool), [State::Looking, State::Parked]);
        }
        assert_eq!(pool.lanes[0].queue.len(), 2);
        let _new = if replaced {
            Some(pool.worker(0))
        } else {
            own.call_others();
            None
        };
        assert_eq!((states(&pool), sleeping(&pool)), (vec![State::Looking, State::Notified], 0));
        assert!(other.rise());
        assert_eq!(other.step(), Step::Run(7));
    }
}

#[test]
fn a_worker_that_ends_leaves_its_own_tasks_to_those_that_sleep() {
    let placement = Placement::RoundRobin;
    let pool = Pool::new(PoolOptions { workers: 2, lane_depth: 4, overflow_depth: 1, placement });
    let (own, mut other) = (pool.worker(0), pool.worker(1));
    assert!(other.lie_down());
    pool.submit_own(0, 7).unwrap();
    assert_eq!(states(&pool), [State::Looking, State::Parked]);
    drop(own);
    assert_eq!((states(&pool)[1], sleeping(&pool)), (State::Notified, 0));
    assert!(other.rise());
    assert_eq!(other.step(), Step::Run(7));
}

#[test]
fn a_closed_pool_refuses_own_tasks_too() {
    let (pool, _workers) = pool(1);
    pool.close();
    assert!(matches!(pool.submit_own(0, 9), Err(Refused::Closed(9))));
    let counters = pool.counters();
    assert_eq!((counters.submitted, counters.refused), (1, 1));
    assert!(counters.balance());
}
