//! What dispatch costs by itself, without sockets and without Python: `cargo bench --bench dispatch`.
//!
//! Each figure is the best of several runs of the same loop: what the code needs when the machine leaves it alone.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use polygil::dispatch::reply::{self, ReplySender};
use polygil::dispatch::{Placement, Pool, PoolOptions, Refused, Step, Worker};

const RUNS: usize = 7;
const PLACEMENTS: [Placement; 3] = [Placement::RoundRobin, Placement::LeastLoaded, Placement::IdleFirst];

fn main() {
    println!("{:58} {:>10}", "", "ns");
    for placement in PLACEMENTS {
        report(&format!("submit and step, one thread, {placement:?}"), best(|| submit_and_step(placement)));
    }
    report("reply: channel, poll, start, send, await", best(reply_alone));
    for placement in PLACEMENTS {
        report(&format!("task through 2 awake workers, 1 producer, {placement:?}"), best(|| saturated(placement, 1)));
        report(&format!("task through 2 awake workers, 2 producers, {placement:?}"), best(|| saturated(placement, 2)));
    }
    for placement in PLACEMENTS {
        report(&format!("there and back, the worker asleep, {placement:?}"), best(|| there_and_back(placement)));
    }
}

fn report(what: &str, each: Duration) {
    println!("{what:58} {:>10.1}", each.as_nanos() as f64 / 1000.0);
}

/// The shortest of several runs; each gives the time of a thousand.
fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..RUNS).map(|_| run()).min().unwrap_or_default()
}

fn time_of_thousand(times: u32, work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed() * 1000 / times
}

fn pool<T>(placement: Placement) -> Arc<Pool<T>> {
    Pool::new(PoolOptions { workers: 2, lane_depth: 64, overflow_depth: 512, placement })
}

fn submit_and_step(placement: Placement) -> Duration {
    const TIMES: u32 = 500_000;
    let pool = pool::<u64>(placement);
    let mut workers = [pool.worker(0), pool.worker(1)];
    time_of_thousand(TIMES, || {
        for number in 0..u64::from(TIMES) {
            pool.submit(number).unwrap();
            // The lane that it went to: both placements that choose find both idle.
            let step = workers[(number % 2) as usize].step();
            assert!(matches!(black_box(step), Step::Run(_)));
        }
    })
}

fn reply_alone() -> Duration {
    const TIMES: u32 = 500_000;
    time_of_thousand(TIMES, || {
        for number in 0..TIMES {
            let (sender, mut receiver) = reply::channel();
            assert!(futures_lite::future::block_on(futures_lite::future::poll_once(&mut receiver)).is_none());
            assert!(sender.start());
            sender.send(number).unwrap();
            drop(sender);
            assert_eq!(futures_lite::future::block_on(receiver), Ok(number));
        }
    })
}

fn serve<T>(mut worker: Worker<T>, work: impl Fn(T)) {
    loop {
        match worker.step() {
            Step::Run(task) => work(task),
            Step::Park => worker.park(),
            Step::Exit => return,
        }
    }
}

fn saturated(placement: Placement, producers: u32) -> Duration {
    const TIMES: u32 = 200_000;
    let pool = pool::<u32>(placement);
    time_of_thousand(TIMES, || {
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let worker = pool.worker(index);
                thread::spawn(move || {
                    serve(worker, |task| {
                        black_box(task);
                    })
                })
            })
            .collect();
        let producers: Vec<_> = (0..producers)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    for mut task in 0..TIMES / producers {
                        while let Err(Refused::Full(back)) = pool.submit(task) {
                            task = back;
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|thread| thread.join().unwrap());
        pool.close();
        workers.into_iter().for_each(|thread| thread.join().unwrap());
    })
}

fn there_and_back(placement: Placement) -> Duration {
    const TIMES: u32 = 5_000;
    let pool = pool::<ReplySender<u32>>(placement);
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let worker = pool.worker(index);
            thread::spawn(move || {
                serve(worker, |reply: ReplySender<u32>| {
                    reply.send(7).unwrap();
                })
            })
        })
        .collect();
    let each = time_of_thousand(TIMES, || {
        for _ in 0..TIMES {
            let (sender, receiver) = reply::channel();
            pool.submit(sender).unwrap();
            assert_eq!(futures_lite::future::block_on(receiver), Ok(7));
        }
    });
    pool.close();
    workers.into_iter().for_each(|thread| thread.join().unwrap());
    each
}
