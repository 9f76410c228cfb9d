//! Model checking of dispatch: the code that ships, compiled against loom, under every schedule and every value that a load
//! may see, as far as the bound goes.
//!
//!     RUSTFLAGS="--cfg loom" cargo test --release --test loom_dispatch -- --nocapture --test-threads 1
//!
//! Each test states its invariant and prints how many executions it explored. "all" means every execution of the model; a
//! number is the bound on preemptions in one execution, where all of them would take hours. `LOOM_MAX_PREEMPTIONS` raises
//! the bound of those. A lost wakeup shows as a deadlock, which loom reports by itself.
//!
//! `every_mistake_is_caught` runs the tests again, once for each deliberate mistake that the sources know by name
//! (`sync::broken`), and asserts that the test which guards against it fails.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};

use loom::sync::{Condvar, Mutex};
use loom::thread;
use polygil::dispatch::{Placement, Pool, PoolOptions, Step, Worker};

#[path = "loom_dispatch/baton.rs"]
mod baton;
#[path = "loom_dispatch/close.rs"]
mod close;
#[path = "loom_dispatch/elsewhere.rs"]
mod elsewhere;
#[path = "loom_dispatch/lost.rs"]
mod lost;
#[path = "loom_dispatch/mistakes.rs"]
mod mistakes;
#[path = "loom_dispatch/park.rs"]
mod park;
#[path = "loom_dispatch/queues.rs"]
mod queues;
#[path = "loom_dispatch/ready.rs"]
mod ready;
#[path = "loom_dispatch/reply.rs"]
mod reply;
#[path = "loom_dispatch/stale.rs"]
mod stale;

/// As [`explore`], with each push and pop as a single step: for models in which two workers may wait for the same push, which
/// loom cannot explore otherwise.
fn explore_whole(name: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    polygil::dispatch::model::set_whole_steps(true);
    explore(name, bound, model);
    polygil::dispatch::model::set_whole_steps(false);
}

/// Explores a model, up to `bound` preemptions or entirely, and prints how far it went.
fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let executions = Arc::new(Plain::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound.map(|bound| builder.preemption_bound.unwrap_or(bound).max(bound));
    builder.max_branches = 10_000;
    let shown = builder.preemption_bound.map_or("all".to_owned(), |bound| bound.to_string());
    let start = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let seconds = start.elapsed().as_secs_f32();
    println!("{name:58} preemptions {shown:>3}  executions {:>8}  {seconds:6.1} s", executions.load(Relaxed));
}

fn pool<T: 'static>(workers: usize, lane_depth: usize, overflow_depth: usize) -> Arc<Pool<T>> {
    Pool::new(PoolOptions { workers, lane_depth, overflow_depth, placement: Placement::RoundRobin })
}

/// Runs a worker on a thread of its own until it is told to exit; gives what it ran.
fn serve(mut worker: Worker<u32>) -> thread::JoinHandle<Vec<u32>> {
    thread::spawn(move || {
        let mut ran = Vec::new();
        loop {
            match worker.step() {
                Step::Run(task) => ran.push(task),
                Step::Park => worker.park(),
                Step::Exit => return ran,
            }
        }
    })
}

/// Runs the worker until it has `count` tasks.
fn take(worker: &mut Worker<u32>, count: usize) -> Vec<u32> {
    let mut ran = Vec::new();
    while ran.len() < count {
        match worker.step() {
            Step::Run(task) => ran.push(task),
            Step::Park => worker.park(),
            Step::Exit => panic!("told to exit with {ran:?}"),
        }
    }
    ran
}

fn sorted(mut tasks: Vec<u32>) -> Vec<u32> {
    tasks.sort_unstable();
    tasks
}

/// The equation of the counters, and what it must come to.
fn assert_counts(pool: &Pool<u32>, completed: u64, refused: u64, expired: u64, abandoned: u64) {
    let counters = pool.counters();
    let found = (counters.completed, counters.refused, counters.expired, counters.abandoned);
    assert_eq!(found, (completed, refused, expired, abandoned), "{counters:?}");
    assert!(counters.balance(), "{counters:?}");
}

/// Where `count` threads meet: none goes on before all are there.
struct Meeting {
    missing: Mutex<usize>,
    complete: Condvar,
}

impl Meeting {
    fn of(count: usize) -> Arc<Meeting> {
        Arc::new(Meeting { missing: Mutex::new(count), complete: Condvar::new() })
    }

    fn wait(&self) {
        let mut missing = self.missing.lock().unwrap();
        *missing -= 1;
        if *missing == 0 {
            self.complete.notify_all();
        }
        while *missing > 0 {
            missing = self.complete.wait(missing).unwrap();
        }
    }
}
