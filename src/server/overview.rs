//! What a server says about itself: health, counters, gauges. For people, monitors and orchestrators; nothing is decided by it.
//!
//! An [`Overview`] is made when somebody asks and costs the requests nothing: it reads the counters, walks over the tickets of
//! the open connections for the oldest request that waits, and asks whoever runs the workers what they run. It stands beside
//! the request's way; [`metrics`](super::metrics) and `polygil.stats()` print it.
//!
//! [`Health`] only goes forward: starting → ready → draining → failed. A server that is not ready is not sent requests by whoever
//! balances the load, so it must say so before it stops accepting, and never claim to be ready when no worker can serve.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::stats::Stats;
use super::{App, Named};
use crate::dispatch;
use crate::io::IoOverview;
use crate::logging::{self, LogOverview};

/// How often a server is looked at until no task moved meanwhile.
const LOOKS_MAX: u32 = 50;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Workers are not all ready, or nothing listens yet.
    Starting,
    /// It accepts and serves.
    Ready,
    /// It finishes what it accepted.
    Draining,
    /// It stops because it cannot serve any more.
    Failed,
    /// It is ready, and could not serve at this moment: no worker takes tasks, or the I/O does not turn. Not kept, but found out when
    /// somebody asks.
    Stalled,
}

impl Health {
    const ALL: [Health; 5] = [Health::Starting, Health::Ready, Health::Draining, Health::Failed, Health::Stalled];

    /// As JSON and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Ready => "ready",
            Health::Draining => "draining",
            Health::Failed => "failed",
            Health::Stalled => "stalled",
        }
    }
}

/// Where a server's health is kept: written by those who change it, read by whoever asks.
#[derive(Debug, Default)]
pub struct HealthCell {
    state: AtomicU8,
    reason: Mutex<Option<String>>,
}

impl HealthCell {
    /// Goes forward to `health`; a later state stays.
    pub fn reach(&self, health: Health) {
        self.state.fetch_max(health as u8, SeqCst);
    }

    /// The server cannot go on, for this reason. The first reason stays.
    pub fn fail(&self, reason: &str) {
        self.lock().get_or_insert_with(|| reason.to_owned());
        self.reach(Health::Failed);
    }

    /// How the server is.
    pub fn get(&self) -> Health {
        Health::ALL[usize::from(self.state.load(SeqCst)).min(Health::Failed as usize)]
    }

    /// Why it failed.
    pub fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One server at one moment. Serializes as a JSON object: what `polygil.stats()` returns, one for each server.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// How it is.
    pub health: Health,
    /// Why it failed or stalls, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// Connections and requests.
    #[serde(flatten)]
    pub stats: Stats,
    /// Tasks.
    pub pool: dispatch::Counters,
    /// Tasks that wait in each lane, and in the overflow queue for any worker.
    pub queue_depths: Depths,
    /// How long the oldest request that waits for a worker has waited, in seconds; 0 when none does.
    pub oldest_wait_seconds: f64,
    /// The workers.
    pub workers: WorkersOverview,
    /// Who does the I/O.
    pub io: IoOverview,
    /// The process's log.
    pub log: LogOverview,
    /// The memory of contents.
    pub memory: MemoryOverview,
}

/// The memory that contents take, and what is thrown away, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryOverview {
    /// Content of requests, and of answers that wait to be sent, in bytes.
    pub buffered_bytes: u64,
    /// Of this, content of answers.
    pub unsent_bytes: u64,
    /// What `buffered_bytes` may come to.
    pub buffered_bytes_max: u64,
    /// Requests that were answered 503 so far because there was no room.
    pub refused: u64,
    /// What connections that linger behind an early answer have read and thrown away, in bytes.
    pub lingering_bytes: u64,
    /// Connections that were closed so far because all together had thrown away as much as they may.
    pub lingering_cut: u64,
}

/// Waiting tasks by queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Depths {
    /// By worker.
    pub lanes: Vec<usize>,
    /// The queue for all workers.
    pub overflow: usize,
}

/// Workers at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct WorkersOverview {
    /// How many there are.
    pub count: usize,
    /// How many run a task.
    pub busy: usize,
    /// Handlers that were interrupted so far because they were over their budget.
    pub interrupted: u64,
    /// Workers that were replaced so far because they were lost.
    pub replaced: u64,
    /// How many may be replaced now, before the server stops instead (`--max-replacements`).
    pub replacements_left: u64,
    /// Interpreters of replaced workers that are still there, because a handler or a daemon thread runs in them.
    pub interpreters_left: u64,
    /// What runs, by worker.
    pub running: Vec<RunningOverview>,
}

/// A running task, for people.
#[derive(Clone, Debug, Serialize)]
pub struct RunningOverview {
    /// The worker's number.
    pub worker: usize,
    /// `METHOD pattern`.
    pub route: String,
    /// As in logs.
    pub request_id: String,
    /// How long it runs.
    pub seconds: f64,
}

impl App {
    /// How the server is, and why it does not serve, if it does not. Has the I/O answer, for which it waits for `patience` at most.
    pub(super) fn health_within(&self, patience: Duration) -> (Health, Option<String>) {
        let obstacle = self.obstacle(patience);
        // In this order: a server that fails meanwhile has failed.
        match (self.health.get(), obstacle) {
            (Health::Ready, Some(reason)) => (Health::Stalled, Some(reason)),
            (health, _) => (health, self.health.reason()),
        }
    }

    /// The server at one moment: one at which no task moved from a queue to a worker or away while it was looked at, unless they do
    /// so all the time.
    pub fn overview(&self) -> Overview {
        self.overview_with(self.health_within(Duration::ZERO))
    }

    /// As [`App::overview`], with a health that was found out.
    pub(super) fn overview_with(&self, health: (Health, Option<String>)) -> Overview {
        let mut before = self.pool.counters();
        for _ in 0..LOOKS_MAX {
            let overview = self.look(health.clone());
            let after = self.pool.counters();
            if (before, after) == (overview.pool, overview.pool)
                && overview.workers.running.len() as u64 == after.running
            {
                return overview;
            }
            before = after;
            std::thread::yield_now();
        }
        self.look(health)
    }

    fn look(&self, (health, health_reason): (Health, Option<String>)) -> Overview {
        let workers = self.workers_now();
        let lanes = self.pool.lane_depths();
        let waiting = self.pool.depth();
        let in_lanes: usize = lanes.iter().sum();
        let busy = self.pool.busy();
        let running = workers.running.iter().map(|running| {
            let route = self.router.route(running.route);
            RunningOverview {
                worker: running.worker,
                route: format!("{} {}", route.method, route.pattern),
                request_id: self.request_id(running.request),
                seconds: running.since.as_secs_f64(),
            }
        });
        Overview {
            health,
            health_reason,
            stats: self.stats(),
            pool: self.pool.counters(),
            queue_depths: Depths { lanes, overflow: waiting.saturating_sub(in_lanes) },
            oldest_wait_seconds: self.oldest_wait(&workers.running).as_secs_f64(),
            workers: WorkersOverview {
                count: busy.len(),
                busy: busy.into_iter().filter(|busy| *busy).count(),
                interrupted: workers.interrupted,
                replaced: workers.replaced,
                replacements_left: workers.replacements_left,
                interpreters_left: workers.interpreters_left,
                running: running.collect(),
            },
            io: self.io.overview(),
            log: logging::overview(),
            memory: MemoryOverview {
                buffered_bytes: self.memory.taken(),
                unsent_bytes: self.memory.unsent(),
                buffered_bytes_max: self.memory.bytes_max(),
                refused: self.memory.refused(),
                lingering_bytes: self.lingering.taken(),
                lingering_cut: self.lingering.refused(),
            },
        }
    }
}

impl Overview {
    /// Tasks by what became of them, and requests by why they got no answer, as the metrics name them.
    pub(super) fn outcomes(&self) -> Named {
        let pool = &self.pool;
        Named(vec![
            ("completed", pool.completed),
            ("refused", pool.refused),
            ("expired", pool.expired),
            ("abandoned", pool.abandoned),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_only_goes_forward_and_the_first_reason_stays() {
        let health = HealthCell::default();
        assert_eq!(health.get(), Health::Starting);
        health.reach(Health::Draining);
        health.reach(Health::Ready);
        assert_eq!((health.get(), health.reason()), (Health::Draining, None));
        health.fail("no worker is left");
        health.fail("something later");
        health.reach(Health::Ready);
        assert_eq!((health.get(), health.reason().as_deref()), (Health::Failed, Some("no worker is left")));
    }

    #[test]
    fn each_state_has_its_number_and_its_name() {
        for (index, health) in Health::ALL.into_iter().enumerate() {
            assert_eq!(health as usize, index);
            assert_eq!(serde_json::to_value(health).unwrap(), health.name());
        }
    }
}
