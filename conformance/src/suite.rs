//! The suite on disk: reads `cases/**/*.toml` and `setups.toml`, fills in the defaults, and refuses what does not make sense.
//!
//! A case that loads is complete: a level, a source, a setup that exists, bytes to send or steps. What a person may get wrong in a
//! file is told with the file and the case's id, and all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::case::{After, Answers, Case, CaseFile, Defaults, Level, Outcome};
use crate::mistake::{line_of_id, told};
use crate::preflight::{Probe, of_io};
use crate::template::{Values, expand, request};

/// How a server is to be run for a group of cases: an app, and options by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a setup as a table")]
pub struct Setup {
    /// What it is for.
    pub about: String,
    /// `module:attribute` in `app/`, or a manifest there.
    pub app: String,
    /// Option to value, both as the reference's command line names them; a target says how to pass them on.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Variables of the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Setup {
    /// Whether a server needs nothing but a mirror app for it, and perhaps variables of the environment.
    pub fn is_mirror(&self) -> bool {
        self.app.starts_with("mirror_") && self.options.is_empty()
    }

    /// Whether a mirror app that somebody has started already is right for it.
    pub fn is_plain_mirror(&self) -> bool {
        self.is_mirror() && self.env.is_empty()
    }
}

/// A case with everything filled in.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `suite/topic/id`.
    pub id: String,
    /// The file that it stands in, below the suite's directory, and its line there.
    pub file: String,
    /// The line of its `id`, from 1 on; 0 where it was not found.
    pub line: usize,
    /// The suite.
    pub suite: String,
    /// How binding it is.
    pub level: Level,
    /// Where the rule stands.
    pub source: String,
    /// The name of its setup.
    pub setup: String,
    /// The right answers, in order.
    pub expect: Answers,
    /// What must hold afterwards.
    pub after: After,
    /// As written, with the defaults for `lenient` and `unimplemented` added.
    pub case: Case,
}

impl Loaded {
    /// The bytes of its first write; None where it has steps.
    pub fn bytes(&self, values: &Values) -> Result<Option<Vec<u8>>, String> {
        match (&self.case.send, &self.case.request) {
            (Some(send), _) => expand(send, values).map(Some),
            (_, Some(line)) => request(line, &self.case.headers, self.case.body.as_deref(), values).map(Some),
            _ => Ok(None),
        }
    }
}

/// All cases and setups.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The directory that holds `cases`, `setups.toml`, `targets`, `expectations` and `app`.
    pub root: PathBuf,
    /// The cases, by id.
    pub cases: Vec<Loaded>,
    /// The setups, by name.
    pub setups: BTreeMap<String, Setup>,
    /// The request that shows that a server works.
    pub probe: Probe,
    /// The shell command that starts the server, where the command line does not say.
    pub start: Option<String>,
}

/// `suite.toml`: what a suite of one's own says of itself. The suite that comes with the runner has none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `start` and `probe`")]
struct About {
    start: Option<String>,
    probe: Option<Probe>,
}

impl Suite {
    /// Reads all of it; the error lists every mistake.
    pub fn load(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {}", root.display(), of_io(&error)))?;
        let (about, setups) = (root.join("suite.toml"), root.join("setups.toml"));
        let about: About = if about.is_file() { parse_file(&about)? } else { About::default() };
        let mut setups: BTreeMap<String, Setup> =
            if about.start.is_some() && !setups.is_file() { BTreeMap::new() } else { parse_file(&setups)? };
        let plain = Setup {
            about: "As `start` says".into(),
            app: String::new(),
            options: BTreeMap::new(),
            env: BTreeMap::new(),
        };
        setups.entry("default".into()).or_insert(plain);
        let probe = about.probe.unwrap_or_default();
        let mut suite = Self { cases: Vec::new(), setups, root, probe, start: about.start };
        let mut mistakes = Vec::new();
        for path in toml_files(&suite.root.join("cases")) {
            match parse_file::<CaseFile>(&path) {
                Ok(file) => suite.add(&path, file, &mut mistakes),
                Err(error) => mistakes.push(error),
            }
        }
        let mut seen = BTreeSet::new();
        mistakes.extend(
            suite.cases.iter().filter(|case| !seen.insert(&case.id)).map(|case| format!("{} is there twice", case.id)),
        );
        if !mistakes.is_empty() {
            return Err(mistakes.join("\n"));
        }
        if suite.cases.is_empty() {
            return Err(format!("{} holds no cases", suite.root.join("cases").display()));
        }
        suite.cases.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(suite)
    }

    fn add(&mut self, path: &Path, file: CaseFile, mistakes: &mut Vec<String>) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let place = path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        if place != format!("cases/{}/{}.toml", file.suite, file.topic) {
            mistakes.push(format!("{place}: says that it is {}/{}", file.suite, file.topic));
        }
        for case in file.cases {
            let at = line_of_id(&text, &case.id).unwrap_or_default();
            let line = if at > 0 { format!(":{at}") } else { String::new() };
            let id = format!("{}/{}/{}", file.suite, file.topic, case.id);
            match self.complete(id, &file.suite, case, &file.defaults) {
                Ok(loaded) => self.cases.push(Loaded { file: place.clone(), line: at, ..loaded }),
                Err(mistake) => mistakes.push(format!("{place}{line}: {mistake}")),
            }
        }
    }

    fn complete(&self, id: String, suite: &str, mut case: Case, defaults: &Defaults) -> Result<Loaded, String> {
        let needs = |what: &str| format!("{id}: the key `{what}` is missing, here and in the defaults of the file");
        let level = case.level.or(defaults.level).ok_or_else(|| needs("level"))?;
        let source = case.source.clone().or(defaults.source.clone()).ok_or_else(|| needs("source"))?;
        let setup = case.setup.clone().or(defaults.setup.clone()).unwrap_or("default".into());
        if !self.setups.contains_key(&setup) {
            let known = self.setups.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("{id}: setup: setups.toml has no {setup:?}; it has {known}"));
        }
        if !case.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(format!("{id}: id: expected lower case, digits and hyphens"));
        }
        let ways = [case.send.is_some(), case.request.is_some(), !case.steps.is_empty()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err(format!("{id}: exactly one of `send`, `request` and `steps` says what to do"));
        }
        let expect = if case.steps.is_empty() {
            let own = case.expect.clone();
            if own.is_none() {
                case.lenient.extend(defaults.lenient.iter().cloned());
                case.unimplemented.extend(defaults.unimplemented.iter().cloned());
            }
            own.or(defaults.expect.clone()).ok_or_else(|| needs("expect"))?
        } else if case.expect.is_some() || !case.or.is_empty() || !case.lenient.is_empty() {
            return Err(format!("{id}: `expect`, `or` and `lenient` are for cases without steps"));
        } else {
            Answers::Many(Vec::new())
        };
        let default_after = if case.steps.is_empty() { defaults.after } else { Some(After::Any) };
        let after = case.after.or(default_after).unwrap_or_default();
        let (file, line) = (String::new(), 0);
        let loaded = Loaded { file, line, suite: suite.to_owned(), level, source, setup, expect, after, case, id };
        let values = Values { host: "host".into(), ..Values::default() };
        let key = if loaded.case.send.is_some() { "send" } else { "request" };
        loaded.bytes(&values).map_err(|error| format!("{}: {key}: {error}", loaded.id))?;
        Ok(loaded)
    }
}

/// The outcomes of a case that are right, and those that pass, and those of a missing feature; the first is the one meant.
pub fn outcomes(loaded: &Loaded) -> Vec<(crate::verdict::Verdict, Outcome)> {
    use crate::verdict::Verdict;
    let meant = Outcome { expect: loaded.expect.clone(), after: loaded.after, told: loaded.case.told.clone() };
    let case = &loaded.case;
    let all =
        [(Verdict::Ok, &case.or), (Verdict::Lenient, &case.lenient), (Verdict::Unimplemented, &case.unimplemented)];
    let others = all.into_iter().flat_map(|(verdict, list)| list.iter().map(move |outcome| (verdict, outcome.clone())));
    std::iter::once((Verdict::Ok, meant)).chain(others).collect()
}

/// Reads a TOML file; the error names it.
pub fn parse_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), of_io(&error)))?;
    toml::from_str(&text).map_err(|error| told(path, &text, &error))
}

/// Every TOML file below `directory`, sorted.
pub fn toml_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
