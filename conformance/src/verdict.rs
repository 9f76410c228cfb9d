//! What a case comes to, and what a run comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::case::Level;
use crate::client::{Ending, Event};
use crate::response::Response;

/// What a case comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As the rule says.
    Ok,
    /// Another way that the case lets pass.
    Lenient,
    /// The server does not have the feature, and says so; or has no option for the setup.
    Unimplemented,
    /// Against the rule.
    Failed,
    /// Not run: the server cannot be brought into the state that the case needs.
    Skipped,
}

impl Verdict {
    /// Whether the case counts as passed.
    pub fn passes(self) -> bool {
        matches!(self, Verdict::Ok | Verdict::Lenient)
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Lenient => "lenient",
            Verdict::Unimplemented => "unimplemented",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }
}

/// What one case came to, and everything a person needs to see why.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// `suite/topic/id`.
    pub id: String,
    /// The file with the case, below the suite's directory.
    pub file: String,
    /// The case's line there, from 1 on.
    pub line: usize,
    /// The suite.
    pub suite: String,
    /// What must hold.
    pub title: String,
    /// How binding that is.
    pub level: Level,
    /// Where the rule stands.
    pub source: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What was broken, one sentence each; or why it was not run.
    pub reasons: Vec<String>,
    /// How the connection (the last one used) ended.
    pub ending: Ending,
    /// What was sent and received, by connection.
    pub exchange: Vec<(String, Vec<Event>)>,
    /// The answers, in the order in which they were read.
    pub answers: Vec<Response>,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Where a deviation is known: its reason.
    pub known: Option<String>,
}

impl CaseResult {
    /// Whether it is a deviation that nobody expected.
    pub fn is_deviation(&self) -> bool {
        matches!(self.verdict, Verdict::Failed | Verdict::Unimplemented) && self.known.is_none()
    }

    /// Whether a known deviation is none any more.
    pub fn is_unexpected_pass(&self) -> bool {
        self.verdict.passes() && self.known.is_some()
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was judged: a target's name, an address or a command.
    pub server: String,
    /// The results, by id.
    pub results: Vec<CaseResult>,
    /// Entries of the expectations that name no case.
    pub stale: Vec<String>,
}

impl Run {
    /// How many cases came to each verdict.
    pub fn counts(&self) -> BTreeMap<Verdict, usize> {
        let mut counts = BTreeMap::new();
        for result in &self.results {
            *counts.entry(result.verdict).or_insert(0) += 1;
        }
        counts
    }

    /// Cases that were run and judged.
    pub fn total(&self) -> usize {
        self.results.iter().filter(|result| result.verdict != Verdict::Skipped).count()
    }

    /// Cases that passed.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.verdict.passes()).count()
    }

    /// Whether everything came as expected.
    pub fn is_as_expected(&self) -> bool {
        self.stale.is_empty() && !self.results.iter().any(|result| result.is_deviation() || result.is_unexpected_pass())
    }
}
