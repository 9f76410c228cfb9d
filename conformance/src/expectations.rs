//! `expectations/<server>.toml`: the deviations that are known, each with its reason.
//!
//! A list that stays true: an entry whose case passes, or that names no case, fails the run.

use std::path::Path;

use serde::Deserialize;

use crate::suite::{Suite, parse_file};
use crate::verdict::{CaseResult, Verdict};

/// The known deviations of one server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "deviations as a table")]
pub struct Expectations {
    /// Them.
    #[serde(default, rename = "deviation")]
    pub deviations: Vec<Deviation>,
}

/// A deviation with its reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a deviation as a table")]
pub struct Deviation {
    /// The cases.
    pub ids: Vec<String>,
    /// `failed` or `unimplemented`.
    pub verdict: Verdict,
    /// Why the server deviates, and whether that is meant.
    pub reason: String,
}

impl Expectations {
    /// Reads the file; without one, nothing is known.
    pub fn load(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let read: Self = parse_file(path)?;
        for deviation in &read.deviations {
            if deviation.reason.trim().is_empty() || deviation.verdict.passes() || deviation.verdict == Verdict::Skipped
            {
                return Err(format!("{}: {:?}: a deviation fails, and has a reason", path.display(), deviation.ids));
            }
        }
        Ok(read)
    }

    /// Whether the case is listed, with whatever verdict.
    pub fn lists(&self, id: &str) -> bool {
        self.deviations.iter().any(|deviation| deviation.ids.iter().any(|listed| listed == id))
    }

    /// Writes the reasons into the results; returns the entries that name no case of the suite.
    ///
    /// A deviation of another kind than the one known is not known.
    pub fn apply(&self, suite: &Suite, results: &mut [CaseResult]) -> Vec<String> {
        let mut stale = Vec::new();
        for deviation in &self.deviations {
            for id in &deviation.ids {
                if !suite.cases.iter().any(|case| case.id == *id) {
                    stale.push(id.clone());
                }
                for result in results.iter_mut().filter(|result| result.id == *id) {
                    if result.verdict == deviation.verdict || result.verdict.passes() {
                        result.known = Some(deviation.reason.clone());
                    }
                }
            }
        }
        stale
    }
}
