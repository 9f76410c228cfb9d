//! The smallest run that still fails: options are made smaller and faults taken away, one after the other, as long as the same
//! oracle does not hold.
//!
//! A run is a function of its options, so shrinking is trying others: each option is set to nothing, or halved, and what still
//! fails is kept, until a whole round changes nothing. The seed stays; as every concern draws from a stream of its own, taking
//! a fault away leaves most of the rest as it was.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::core::Failure;
use crate::options::Options;
use crate::world::run;

/// Options with which nothing could run.
const AT_LEAST_ONE: [&str; 12] = [
    "workers",
    "lane_depth",
    "max_connections",
    "backlog",
    "requests",
    "pipeline_max",
    "per_connection_max",
    "response_bytes_max",
    "window",
    "open_per_second",
    "service_us",
    "heal_ms",
];

/// Options that are shrunk first: less of these makes every later try faster.
const FIRST: [&str; 6] =
    ["requests", "heal_ms", "closed_clients", "open_per_second", "per_connection_max", "pipeline_max"];

/// A run that can be repeated: what `shrink` writes and `replay` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The options, the seed among them.
    pub options: Options,
    /// The oracle that does not hold.
    pub failure: Option<Failure>,
    /// The hash that the run must have.
    pub trace_hash: String,
    /// The mistake that the sources make, if any.
    pub mistake: Option<String>,
}

impl Recipe {
    /// Runs those options and writes down how it went.
    pub fn of(options: Options, mistake: Option<String>) -> Recipe {
        let outcome = run(options, false);
        let trace_hash = format!("{:016x}", outcome.trace_hash);
        Recipe { options: outcome.options, failure: outcome.failure, trace_hash, mistake }
    }

    /// Reads one from a file.
    pub fn read(path: &Path) -> Result<Recipe, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The smallest options found that make the same oracle fail. None when the given ones make none fail. `tell` is told of each
/// success: the option, its new value, and the runs so far.
pub fn shrink(options: Options, mut tell: impl FnMut(&str, u64, u64)) -> Option<Options> {
    let oracle = run(options.clone(), false).failure?.oracle;
    let mut best = options;
    let mut runs = 1;
    let mut names: Vec<&'static str> = best.fields().iter().map(|(name, _)| *name).collect();
    names.sort_by_key(|name| !FIRST.contains(name));
    loop {
        let mut is_better = false;
        for name in &names {
            let least = u64::from(AT_LEAST_ONE.contains(name) || name.ends_with("timeout_ms"));
            while let Some(now) = value(&mut best, name).filter(|now| *now > least) {
                let smaller =
                    [least, now / 8, now / 2, now - 1].into_iter().filter(|value| (least..now).contains(value));
                let found = smaller.into_iter().find(|smaller| {
                    let mut tried = best.clone();
                    set(&mut tried, name, *smaller);
                    runs += 1;
                    run(tried, false).failure.is_some_and(|failure| failure.oracle == oracle)
                });
                let Some(smaller) = found else { break };
                set(&mut best, name, smaller);
                tell(name, smaller, runs);
                is_better = true;
            }
        }
        if !is_better {
            return Some(best);
        }
    }
}

fn value(options: &mut Options, name: &str) -> Option<u64> {
    options.fields().into_iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn set(options: &mut Options, name: &str, to: u64) {
    if let Some((_, value)) = options.fields().into_iter().find(|(known, _)| *known == name) {
        *value = to;
    }
}
