//! Many runs: a range of seeds on all cores, or as many as fit in a time, and one summary of them.
//!
//! Seeds are independent, so a range can be cut up at will: [`Summary::merge`] puts the parts together, on one machine or of many,
//! and gives what one process would have given for the whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::core::Failure;
use crate::options::Options;
use crate::world::{Outcome, run};

/// Failures that are kept in full.
const FAILED_KEPT_MAX: usize = 20;

/// One seed that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// The oracle that did not hold, and what was seen.
    #[serde(flatten)]
    pub failure: Failure,
    /// The command that repeats the run.
    pub command: String,
}

/// What a number of runs came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The hashes of all runs, in the order of their seeds, in one.
    pub trace_hash: String,
    /// Seeds that failed.
    pub failures: u64,
    /// Answers per second of a core's time, with every oracle on.
    pub requests_per_second_per_core: f64,
    /// Runs per minute, on the cores that were used.
    pub seeds_per_minute: f64,
    /// Virtual time, by the time of a core.
    pub times_real_time: f64,
    /// The ranges of seeds, each with its end excluded.
    pub ranges: Vec<(u64, u64)>,
    /// Seeds that were run.
    pub seeds: u64,
    /// Requests that clients sent.
    pub requests: u64,
    /// Answers that were written.
    pub answers: u64,
    /// Steps of all runs.
    pub steps: u64,
    /// Virtual seconds.
    pub virtual_seconds: f64,
    /// Seconds of cores' time.
    pub core_seconds: f64,
    /// Seconds on the wall.
    pub wall_seconds: f64,
    /// The first of those that failed.
    pub failed: Vec<Failed>,
    /// In how many runs each rare path was reached.
    pub marks: BTreeMap<String, u64>,
    /// Answers by status and code.
    pub statuses: BTreeMap<String, u64>,
    /// Closed connections by reason.
    pub closed: BTreeMap<String, u64>,
    /// The hash of each range, in the order of the ranges.
    pub hashes: Vec<u64>,
}

/// What is to be explored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Stop after this long.
    pub limit: Option<Duration>,
    /// Stop at the first failure.
    pub stop_at_failure: bool,
    /// Threads.
    pub threads: usize,
    /// Options that every run has, whatever its seed.
    pub set: Vec<(String, u64)>,
    /// The mistake that the sources make, in a build that can.
    pub mistake: Option<String>,
}

impl Plan {
    /// That range on one thread.
    pub fn new(seeds: Range<u64>) -> Plan {
        Plan { seeds, limit: None, stop_at_failure: false, threads: 1, set: Vec::new(), mistake: None }
    }
}

/// The options of a seed, with some of them set.
pub fn options(seed: u64, set: &[(String, u64)]) -> Result<Options, String> {
    let mut options = Options::draw(seed);
    for (name, value) in set {
        let mut fields = options.fields();
        let field = fields.iter_mut().find(|(known, _)| known == name);
        *field.ok_or_else(|| format!("there is no option {name:?}"))?.1 = *value;
    }
    Ok(options)
}

/// Chooses the mistake that this thread's runs make.
#[cfg(feature = "mistakes")]
pub fn choose(mistake: Option<&str>) {
    let known = crate::mistakes::ALL.iter().find(|known| Some(known.name) == mistake);
    polygil::mistakes::choose(known.map_or("", |known| known.name));
}

/// Shipping sources make none.
#[cfg(not(feature = "mistakes"))]
pub fn choose(_mistake: Option<&str>) {}

/// Runs the plan. `progress` is told the seeds done and failed so far.
pub fn explore(plan: &Plan, progress: impl Fn(u64, u64) + Sync) -> Result<Summary, String> {
    options(0, &plan.set)?;
    let begun = Instant::now();
    let next = AtomicU64::new(plan.seeds.start);
    let (stop, done, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let outcomes: Mutex<BTreeMap<u64, Brief>> = Mutex::default();
    let total = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                choose(plan.mistake.as_deref());
                let cpu = CpuTime::now();
                let mut own = Summary::default();
                while !stop.load(Relaxed) && plan.limit.is_none_or(|limit| begun.elapsed() < limit) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= plan.seeds.end {
                        break;
                    }
                    let outcome = options(seed, &plan.set).map(|options| run(options, false));
                    let Ok(outcome) = outcome else { break };
                    let is_failed = outcome.failure.is_some();
                    own.count(&outcome);
                    let brief = Brief { hash: outcome.trace_hash, failure: outcome.failure };
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, brief);
                    let failed = failed.fetch_add(u64::from(is_failed), Relaxed) + u64::from(is_failed);
                    progress(done.fetch_add(1, Relaxed) + 1, failed);
                    if is_failed && plan.stop_at_failure {
                        stop.store(true, Relaxed);
                    }
                }
                own.core_seconds = cpu.elapsed();
                total.lock().unwrap_or_else(PoisonError::into_inner).add(&own);
            });
        }
    });
    let mut summary = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let last = outcomes.last_key_value().map_or(plan.seeds.start, |(seed, _)| seed + 1);
    summary.ranges = vec![(plan.seeds.start, last)];
    summary.hashes = vec![outcomes.values().fold(0, |hash, brief| crate::random::mix(hash, brief.hash))];
    let failed = outcomes.into_iter().filter_map(|(seed, brief)| Some((seed, brief.failure?)));
    let failed = failed.map(|(seed, failure)| Failed { seed, failure, command: command(seed, plan) });
    summary.failed = failed.take(FAILED_KEPT_MAX).collect();
    summary.wall_seconds = begun.elapsed().as_secs_f64();
    summary.seal();
    Ok(summary)
}

/// What is kept of each run.
struct Brief {
    hash: u64,
    failure: Option<Failure>,
}

/// The one command that repeats a run.
pub fn command(seed: u64, plan: &Plan) -> String {
    let set: String = plan.set.iter().map(|(name, value)| format!(" --set {name}={value}")).collect();
    let mistake = plan.mistake.as_ref().map(|mistake| format!(" --mistake {mistake}")).unwrap_or_default();
    format!("polygil-sim run --seed {seed}{set}{mistake}")
}

impl Summary {
    fn count(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.failures += u64::from(outcome.failure.is_some());
        self.requests += outcome.requests;
        self.answers += outcome.answers;
        self.steps += outcome.steps;
        self.virtual_seconds += outcome.virtual_ns as f64 / 1e9;
        for mark in &outcome.marks {
            *self.marks.entry((*mark).to_owned()).or_default() += 1;
        }
        for ((status, code), count) in &outcome.statuses {
            let name = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
            *self.statuses.entry(name).or_default() += count;
        }
        for (reason, count) in &outcome.closed {
            *self.closed.entry((*reason).to_owned()).or_default() += count;
        }
    }

    fn add(&mut self, other: &Summary) {
        self.seeds += other.seeds;
        self.failures += other.failures;
        self.requests += other.requests;
        self.answers += other.answers;
        self.steps += other.steps;
        self.virtual_seconds += other.virtual_seconds;
        self.core_seconds += other.core_seconds;
        let maps =
            [(&mut self.marks, &other.marks), (&mut self.statuses, &other.statuses), (&mut self.closed, &other.closed)];
        for (own, others) in maps {
            for (name, count) in others {
                *own.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Works out what follows from the rest.
    fn seal(&mut self) {
        let hash = self.hashes.iter().fold(0, |hash, part| crate::random::mix(hash, *part));
        self.trace_hash = format!("{hash:016x}");
        self.requests_per_second_per_core = (self.answers as f64 / self.core_seconds.max(1e-9)).round();
        self.seeds_per_minute = (self.seeds as f64 * 60.0 / self.wall_seconds.max(1e-9)).round();
        self.times_real_time = (self.virtual_seconds / self.core_seconds.max(1e-9)).round();
    }

    /// The summary of several ranges. The same whatever the order of the parts; refuses ranges that overlap.
    pub fn merge(mut parts: Vec<Summary>) -> Result<Summary, String> {
        parts.sort_by_key(|part| part.ranges.clone());
        let mut whole = Summary::default();
        for part in &parts {
            whole.add(part);
            whole.ranges.extend(&part.ranges);
            whole.hashes.extend(&part.hashes);
            whole.failed.extend(part.failed.iter().cloned());
            whole.wall_seconds = whole.wall_seconds.max(part.wall_seconds);
        }
        if let Some(pair) = whole.ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(format!("the ranges {}..{} and {}..{} overlap", pair[0].0, pair[0].1, pair[1].0, pair[1].1));
        }
        whole.failed.sort_by_key(|failed| failed.seed);
        whole.seal();
        Ok(whole)
    }
}

/// The time of the core that this thread has used: other processes do not count against the simulator.
struct CpuTime(f64);

impl CpuTime {
    fn read() -> f64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }

    fn now() -> CpuTime {
        CpuTime(CpuTime::read())
    }

    fn elapsed(&self) -> f64 {
        CpuTime::read() - self.0
    }
}
