//! Real threads. Nothing here sleeps or guesses how long something takes: threads meet at barriers and end by themselves, and
//! what is asserted are counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use crate::dispatch::reply::{self, Lost, ReplySender};
use crate::dispatch::{Placement, Pool, PoolOptions, Refused, Step, Worker};

const PLACEMENTS: [Placement; 3] = [Placement::RoundRobin, Placement::LeastLoaded, Placement::IdleFirst];

fn pool<T>(workers: usize, lane_depth: usize, overflow_depth: usize, placement: Placement) -> Arc<Pool<T>> {
    Pool::new(PoolOptions { workers, lane_depth, overflow_depth, placement })
}

/// Runs a worker to its end with `work` for each task.
fn serve<T>(mut worker: Worker<T>, mut work: impl FnMut(T)) {
    loop {
        match worker.step() {
            Step::Run(task) => work(task),
            Step::Park => worker.park(),
            Step::Exit => return,
        }
    }
}

#[test]
fn each_task_runs_once_and_each_producer_knows_what_was_refused() {
    const PRODUCERS: usize = 3;
    const TASKS: usize = 4_000;
    for placement in PLACEMENTS {
        // Small queues, so that they are full and empty all the time.
        let pool = pool::<usize>(3, 2, 3, placement);
        let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..PRODUCERS * TASKS).map(|_| AtomicUsize::new(0)).collect());
        let workers: Vec<_> = (0..3)
            .map(|index| {
                let (worker, runs) = (pool.worker(index), Arc::clone(&runs));
                thread::spawn(move || {
                    serve(worker, |task: usize| {
                        runs[task].fetch_add(1, Ordering::Relaxed);
                    })
                })
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    let mut refused = Vec::new();
                    for task in producer * TASKS..(producer + 1) * TASKS {
                        if let Err(Refused::Full(task)) = pool.submit(task) {
                            refused.push(task);
                            thread::yield_now();
                        }
                    }
                    refused
                })
            })
            .collect();
        let refused: Vec<usize> = producers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        pool.close();
        workers.into_iter().for_each(|thread| thread.join().unwrap());
        let mut expected = vec![1; PRODUCERS * TASKS];
        refused.iter().for_each(|task| expected[*task] = 0);
        let runs: Vec<usize> = runs.iter().map(|runs| runs.load(Ordering::Relaxed)).collect();
        assert_eq!(runs, expected);
        let counters = pool.counters();
        assert_eq!(counters.submitted, (PRODUCERS * TASKS) as u64);
        assert_eq!(counters.refused, refused.len() as u64);
        assert_eq!(counters.completed, (PRODUCERS * TASKS - refused.len()) as u64);
        assert!(counters.balance(), "{counters:?}");
    }
}

#[test]
fn one_task_at_a_time_never_hangs() {
    // Each task is sent when the one before was answered, so that the workers fall asleep and are woken all the time.
    for placement in PLACEMENTS {
        let pool = pool::<(usize, ReplySender<usize>)>(2, 1, 0, placement);
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let worker = pool.worker(index);
                thread::spawn(move || {
                    serve(worker, |(number, reply): (usize, ReplySender<usize>)| {
                        assert!(reply.start());
                        reply.send(number + 1).unwrap();
                    })
                })
            })
            .collect();
        let mut number = 0;
        for _ in 0..2_000 {
            let (sender, receiver) = reply::channel();
            pool.submit((number, sender)).unwrap();
            number = futures_lite::future::block_on(receiver).unwrap();
        }
        assert_eq!(number, 2_000);
        pool.close();
        workers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.counters().completed, 2_000);
    }
}

#[test]
fn closing_while_submitting_loses_nothing() {
    for _ in 0..200 {
        let pool = pool::<usize>(2, 4, 4, Placement::RoundRobin);
        let ran = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(3));
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let (worker, ran) = (pool.worker(index), Arc::clone(&ran));
                thread::spawn(move || {
                    serve(worker, |_| {
                        ran.fetch_add(1, Ordering::Relaxed);
                    })
                })
            })
            .collect();
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (pool, start) = (Arc::clone(&pool), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let mut accepted = 0;
                    loop {
                        match pool.submit(0) {
                            Ok(()) => accepted += 1,
                            Err(Refused::Full(_)) => thread::yield_now(),
                            Err(Refused::Closed(_)) => return accepted,
                        }
                    }
                })
            })
            .collect();
        start.wait();
        pool.close();
        let accepted: usize = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
        workers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(ran.load(Ordering::Relaxed), accepted);
        let counters = pool.counters();
        assert_eq!(counters.completed, accepted as u64);
        assert!(counters.balance(), "{counters:?}");
    }
}

#[test]
fn tasks_that_wait_for_each_other_run_at_the_same_time() {
    // With every placement, also when both are put into the lane of the same worker: nobody sleeps while a task waits.
    for placement in PLACEMENTS {
        let pool = pool::<Arc<Barrier>>(2, 4, 4, placement);
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let worker = pool.worker(index);
                thread::spawn(move || {
                    serve(worker, |meeting: Arc<Barrier>| {
                        meeting.wait();
                    })
                })
            })
            .collect();
        for _ in 0..500 {
            let meeting = Arc::new(Barrier::new(3));
            pool.submit(Arc::clone(&meeting)).unwrap();
            pool.submit(Arc::clone(&meeting)).unwrap();
            meeting.wait();
        }
        pool.close();
        workers.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_stuck_worker_holds_up_nobody_and_its_replacement_serves() {
    let pool = pool::<u32>(2, 8, 0, Placement::RoundRobin);
    let (started, has_started) = mpsc::channel();
    let (release, stuck) = mpsc::channel::<()>();
    let old = pool.worker(0);
    let stuck_thread = thread::spawn(move || {
        let mut ran = Vec::new();
        serve(old, |task| {
            ran.push(task);
            started.send(()).unwrap();
            stuck.recv().unwrap();
        });
        ran
    });
    pool.submit(0).unwrap();
    has_started.recv().unwrap();
    for task in 1..9 {
        pool.submit(task).unwrap();
    }
    let (done, ran) = mpsc::channel();
    let mut threads = Vec::new();
    for index in [0, 1] {
        let (worker, done) = (pool.worker(index), done.clone());
        threads.push(thread::spawn(move || serve(worker, |task| done.send(task).unwrap())));
    }
    drop(done);
    let mut others: Vec<u32> = ran.iter().take(8).collect();
    others.sort_unstable();
    assert_eq!(others, (1..9).collect::<Vec<_>>());
    // The old one comes back, and goes.
    release.send(()).unwrap();
    assert_eq!(stuck_thread.join().unwrap(), [0]);
    pool.close();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let counters = pool.counters();
    assert_eq!((counters.completed, counters.abandoned), (8, 1));
    assert!(counters.balance(), "{counters:?}");
}

#[test]
fn a_replaced_worker_that_sleeps_wakes_up_and_exits() {
    for _ in 0..200 {
        let pool = pool::<u32>(1, 1, 0, Placement::RoundRobin);
        let old = pool.worker(0);
        let sleeper = thread::spawn(move || serve(old, |_| ()));
        let new = pool.worker(0);
        sleeper.join().unwrap();
        let thread = thread::spawn(move || serve(new, |_| ()));
        pool.submit(1).unwrap();
        pool.close();
        thread.join().unwrap();
        assert_eq!(pool.counters().submitted, 1);
        assert!(pool.counters().balance());
    }
}

#[test]
fn a_worker_that_panics_loses_its_task_and_nothing_else() {
    let pool = pool::<(bool, ReplySender<()>)>(1, 4, 0, Placement::RoundRobin);
    let mut receivers = Vec::new();
    for panics in [true, false] {
        let (sender, receiver) = reply::channel();
        pool.submit((panics, sender)).unwrap();
        receivers.push(receiver);
    }
    let run = |worker| {
        thread::spawn(move || {
            serve(worker, |(panics, reply): (bool, ReplySender<()>)| {
                // Quietly: resume_unwind calls no panic hook.
                if panics {
                    std::panic::resume_unwind(Box::new("the worker's end"));
                }
                reply.send(()).unwrap();
            })
        })
    };
    let first = run(pool.worker(0));
    assert!(first.join().is_err());
    pool.close();
    run(pool.worker(0)).join().unwrap();
    let answers: Vec<_> = receivers.into_iter().map(futures_lite::future::block_on).collect();
    assert_eq!(answers, [Err(Lost), Ok(())]);
    let counters = pool.counters();
    assert_eq!((counters.completed, counters.abandoned), (1, 1));
    assert!(counters.balance(), "{counters:?}");
}

#[test]
fn callers_that_leave_and_tasks_that_expire_are_counted() {
    const TASKS: u64 = 6_000;
    let options = PoolOptions { workers: 2, lane_depth: 4, overflow_depth: 4, placement: Placement::RoundRobin };
    let pool = Pool::<ReplySender<u64>>::with_stale(options, ReplySender::is_caller_gone);
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let mut worker = pool.worker(index);
            thread::spawn(move || {
                let mut answered = 0;
                loop {
                    match worker.step() {
                        Step::Run(reply) if reply.start() => answered += u64::from(reply.send(1).is_ok()),
                        Step::Run(_) => worker.expired(),
                        Step::Park => worker.park(),
                        Step::Exit => return answered,
                    }
                }
            })
        })
        .collect();
    let (mut refused, mut answered, mut expired, mut left) = (0, 0, 0, 0);
    for number in 0..TASKS {
        let (sender, receiver) = reply::channel();
        if pool.submit(sender).is_err() {
            refused += 1;
        } else if number % 3 == 0 {
            left += 1;
            drop(receiver);
            pool.caller_left();
        } else if number % 3 == 1 && receiver.expire() {
            expired += 1;
            pool.caller_left();
        } else {
            answered += futures_lite::future::block_on(receiver).unwrap();
        }
    }
    pool.close();
    let sent: u64 = workers.into_iter().map(|thread| thread.join().unwrap()).sum();
    let counters = pool.counters();
    assert_eq!(refused + answered + expired + left, TASKS);
    assert_eq!(counters.submitted, TASKS);
    assert_eq!(counters.refused, refused);
    // Of those whose callers left, some had run, and of these some were answered before the caller left.
    assert!(sent >= answered && sent <= counters.completed, "{sent} {answered} {counters:?}");
    assert!(counters.expired >= expired && counters.expired <= expired + left, "{expired} {left} {counters:?}");
    assert!(counters.balance(), "{counters:?}");
}

#[test]
fn a_timed_park_ends_by_itself_and_by_a_task() {
    let pool = pool::<u32>(1, 1, 0, Placement::RoundRobin);
    let mut worker = pool.worker(0);
    assert!(!worker.park_timeout(Duration::from_millis(1)));
    let (parks, is_parking) = mpsc::channel();
    let thread = thread::spawn(move || {
        assert_eq!(worker.step(), Step::Park);
        parks.send(()).unwrap();
        let woken = worker.park_timeout(Duration::from_secs(3600));
        (woken, worker.step())
    });
    is_parking.recv().unwrap();
    pool.submit(7).unwrap();
    assert_eq!(thread.join().unwrap(), (true, Step::Run(7)));
}
