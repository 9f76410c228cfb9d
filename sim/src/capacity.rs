//! What the design does on machines that are not at hand: the shipping dispatch under a load model, for 1 to 128 workers.
//!
//! The queues, the placement, the stealing, the parking are the real ones: [`Pool::submit`] and [`Worker::step`]. Modelled is what
//! they stand between, in virtual nanoseconds ([`Model`]): arrivals, one I/O thread that spends a fixed time on each request before
//! it is submitted, handlers whose times come from a distribution, and what a wakeup costs. Every worker has a core of its own
//! and so has the I/O thread; a machine with fewer has its total held to its cores ([`Model::cores`]).
//!
//! It says nothing of caches and memory that cores share, beyond `interference`, nor of clients and networks. The text of
//! docs/CAPACITY.md has the assumptions beside the results.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use polygil::dispatch::{Placement, Pool, PoolOptions, Step, Worker};
use serde::{Deserialize, Serialize};

use crate::random::{Random, ln};

/// How long handlers take, about a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Always the mean.
    Constant,
    /// Exponential: many short, some long.
    Exponential,
    /// One in a hundred takes a hundred times as long as the others.
    OneInAHundred,
    /// Pareto with a shape of 1.5, cut at a thousand times its smallest: a heavy tail.
    HeavyTail,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 4] = [Shape::Constant, Shape::Exponential, Shape::OneInAHundred, Shape::HeavyTail];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Constant => "constant",
            Shape::Exponential => "exponential",
            Shape::OneInAHundred => "one in a hundred",
            Shape::HeavyTail => "heavy tail",
        }
    }

    fn draw(self, random: &mut Random, mean: u64) -> u64 {
        let mean = mean as f64;
        let time = match self {
            Shape::Constant => mean,
            Shape::Exponential => -ln(random.unit()) * mean,
            Shape::OneInAHundred => {
                let short = mean / (0.99 + 0.01 * 100.0);
                if random.below(100) == 0 { short * 100.0 } else { short }
            }
            Shape::HeavyTail => {
                // unit^(-2/3) is Pareto from 1 on; what is over 1000 counts as 1000, so the mean is 1 + 2 × (1 - 1000^-0.5).
                let exponent = -ln(random.unit()) * (2.0 / 3.0);
                mean / 2.936_754 * exp(exponent).min(1000.0)
            }
        };
        (time as u64).max(1)
    }
}

/// The exponential function of a number from 0 to about 30, from basic operations only.
fn exp(number: f64) -> f64 {
    let small = number / 64.0;
    let series = (1..12).rev().fold(1.0, |sum, term| 1.0 + small / f64::from(term) * sum);
    (0..6).fold(series, |power, _| power * power)
}

/// How the load comes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Load {
    /// At random, so that this part of what the workers can do is asked for.
    Open(f64),
    /// From that many clients, each of which asks again as soon as it is answered.
    Closed(u64),
}

/// What is assumed. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Workers.
    pub workers: usize,
    /// Where tasks are put: 0 round robin, 1 least loaded, 2 idle first.
    pub placement: u64,
    /// Mean time of a handler, with what the worker does around it.
    pub service_ns: u64,
    /// How it varies.
    pub shape: Shape,
    /// What the I/O thread spends on each request and its answer.
    pub io_ns: u64,
    /// From the push to the first instruction of a worker that slept.
    pub wake_ns: u64,
    /// Each further worker that is at work makes the others slower by this part: what cores share.
    pub interference: f64,
    /// Cores of the machine; 0 is one for each worker and one for the I/O.
    pub cores: u64,
    /// The load.
    pub load: Load,
    /// Requests to simulate; the first tenth is not counted.
    pub requests: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Answers per second.
    pub throughput: f64,
    /// The part of their time that the workers were at work.
    pub utilisation: f64,
    /// From arrival to answer: median, 99 %, 99.9 %, in nanoseconds.
    pub percentiles: [u64; 3],
    /// Tasks that waited: on average, and at most.
    pub depth: (f64, usize),
    /// Requests that found every queue full.
    pub refused: u64,
}

#[derive(Clone, Copy)]
struct Task {
    arrived: u64,
    takes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request arrives at the I/O thread.
    Arrive,
    /// It is parsed, and submitted.
    Submit(u64),
    /// That worker looks for its next task.
    Look(usize),
}

/// Runs the model. The same seed gives the same numbers everywhere.
pub fn run(model: &Model, seed: u64) -> Found {
    let placement = match model.placement {
        0 => Placement::RoundRobin,
        1 => Placement::LeastLoaded,
        _ => Placement::IdleFirst,
    };
    let pool = Pool::new(PoolOptions { workers: model.workers, lane_depth: 64, overflow_depth: 8192, placement });
    let mut workers: Vec<Worker<Task>> = (0..model.workers).map(|lane| pool.worker(lane)).collect();
    let mut asleep = vec![false; model.workers];
    let mut current: Vec<Option<Task>> = vec![None; model.workers];
    let (mut arrivals, mut service) = (Random::new(seed, "arrivals"), Random::new(seed, "service"));
    let mut events = BinaryHeap::new();
    let mut times = Vec::new();
    let (mut now, mut io_free, mut begun) = (0_u64, 0_u64, 0_u64);
    let (mut sent, mut done, mut refused) = (0_u64, 0_u64, 0_u64);
    let (mut busy_ns, mut waited, mut deepest, mut submits) = (0_u64, 0_u64, 0, 0_u64);
    // Cores that are shared stretch every time alike.
    let wanted = model.workers as f64 * (1.0 + model.io_ns as f64 / model.service_ns as f64);
    let shared = if model.cores == 0 { 1.0 } else { (wanted / model.cores as f64).max(1.0) };
    let slower = shared * (1.0 + model.interference * (model.workers as f64 - 1.0));
    let between_ns = |used: f64| (model.service_ns as f64 * slower / (used * model.workers as f64)) as u64;
    match model.load {
        Load::Open(_) => events.push(Reverse((0, 0, Event::Arrive))),
        Load::Closed(clients) => (0..clients).for_each(|client| events.push(Reverse((client, client, Event::Arrive)))),
    }
    let mut sequence = model.requests;
    for worker in 0..model.workers {
        sequence += 1;
        events.push(Reverse((0, sequence, Event::Look(worker))));
    }
    let mut at = |events: &mut BinaryHeap<_>, time, event| {
        sequence += 1;
        events.push(Reverse((time, sequence, event)));
    };
    while let Some(Reverse((time, _, event))) = events.pop() {
        now = time;
        match event {
            Event::Arrive if sent == model.requests => {}
            Event::Arrive => {
                sent += 1;
                io_free = io_free.max(now) + (model.io_ns as f64 * shared) as u64;
                at(&mut events, io_free, Event::Submit(now));
                if let Load::Open(used) = model.load {
                    let wait = arrivals.exponential(between_ns(used));
                    at(&mut events, now + wait, Event::Arrive);
                }
            }
            Event::Submit(arrived) => {
                let takes = (model.shape.draw(&mut service, model.service_ns) as f64 * slower) as u64;
                if pool.submit(Task { arrived, takes }).is_err() {
                    refused += 1;
                    done += 1;
                }
                let depth = pool.depth();
                (waited, deepest, submits) = (waited + depth as u64, deepest.max(depth), submits + 1);
                if let Some(woken) = (0..model.workers).find(|worker| asleep[*worker] && !workers[*worker].is_asleep())
                {
                    asleep[woken] = false;
                    workers[woken].rise();
                    at(&mut events, now + model.wake_ns, Event::Look(woken));
                }
            }
            Event::Look(worker) => {
                if let Some(task) = current[worker].take() {
                    done += 1;
                    if done == model.requests / 10 {
                        (begun, busy_ns) = (now, 0);
                    }
                    if done > model.requests / 10 {
                        times.push(now - task.arrived);
                    }
                    if matches!(model.load, Load::Closed(_)) {
                        at(&mut events, now, Event::Arrive);
                    }
                }
                loop {
                    match workers[worker].step() {
                        Step::Run(task) => {
                            busy_ns += task.takes;
                            current[worker] = Some(task);
                            at(&mut events, now + task.takes, Event::Look(worker));
                        }
                        Step::Park if workers[worker].lie_down() => asleep[worker] = true,
                        Step::Park => continue,
                        Step::Exit => {}
                    }
                    break;
                }
            }
        }
        if done == model.requests {
            break;
        }
    }
    times.sort_unstable();
    let span = (now - begun).max(1) as f64;
    let percentile = |permille: usize| times.get((times.len().max(1) - 1) * permille / 1000).copied().unwrap_or(0);
    Found {
        throughput: times.len() as f64 * 1e9 / span,
        utilisation: (busy_ns as f64 / (span * model.workers as f64)).min(1.0),
        percentiles: [percentile(500), percentile(990), percentile(999)],
        depth: (waited as f64 / submits.max(1) as f64, deepest),
        refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            workers: 4,
            placement: 2,
            service_ns: 100_000,
            shape: Shape::Exponential,
            io_ns: 1000,
            wake_ns: 0,
            interference: 0.0,
            cores: 0,
            load: Load::Open(0.5),
            requests: 20_000,
        }
    }

    #[test]
    fn the_shapes_have_their_mean() {
        for shape in Shape::ALL {
            let mut random = Random::new(1, "test");
            let mean = (0..400_000).map(|_| shape.draw(&mut random, 100_000)).sum::<u64>() / 400_000;
            assert!((95_000..105_000).contains(&mean), "{shape:?}: {mean}");
        }
        assert!((exp(1.0) - std::f64::consts::E).abs() < 1e-9 && (exp(20.0) / 20.0_f64.exp() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_worker_is_the_queue_of_the_textbook() {
        // M/M/1 at one half: the mean time in the system is 1 / (1 - 0.5) services, exponentially distributed.
        let found = run(&Model { workers: 1, io_ns: 0, requests: 200_000, ..model() }, 1);
        let median = 0.693 * 2.0 * 100_000.0;
        assert!((found.percentiles[0] as f64 / median - 1.0).abs() < 0.05, "{found:?}");
        assert!((found.utilisation - 0.5).abs() < 0.02, "{found:?}");
    }

    #[test]
    fn saturated_workers_are_all_at_work_until_the_io_thread_is_full() {
        let closed = |workers, io_ns| run(&Model { workers, io_ns, load: Load::Closed(512), ..model() }, 1).throughput;
        let one = closed(1, 1000);
        assert!((closed(8, 1000) / one - 8.0).abs() < 0.3, "{}", closed(8, 1000) / one);
        // 128 workers could do 1.28 million a second; the I/O thread does 100 thousand.
        assert!((closed(128, 10_000) / 100_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        assert_eq!(run(&model(), 3), run(&model(), 3));
        assert_ne!(run(&model(), 3), run(&model(), 4));
    }
}
