//! Where values come from, and who counts first; all mistakes together, each with its source.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, OPTIONS, OptionSpec};

/// A value on its way into the [`Config`].
#[derive(Debug, Clone)]
struct Value {
    text: String,
    /// `--port`, `POLYGIL_PORT`, `pyproject.toml [tool.polygil] port (line 7)`.
    source: String,
}

/// Everything that is wrong with the options, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The lines.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

/// Collects values, weakest source first.
#[derive(Debug, Default)]
pub struct Sources {
    values: BTreeMap<&'static str, Value>,
    mistakes: Vec<String>,
}

impl Sources {
    /// `[tool.polygil]` of a pyproject.toml.
    pub fn pyproject(&mut self, path: &Path, text: &str) {
        let place = path.display();
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => return self.mistakes.push(format!("{place}: {}", error.message())),
        };
        let section = document.get_ref().get("tool").and_then(|tool| tool.get_ref().get("polygil"));
        let Some(section) = section else { return };
        let Some(table) = section.get_ref().as_table() else {
            return self.mistakes.push(format!("{place}: [tool.polygil] is not a table"));
        };
        for (key, value) in table {
            let line = line_of(text, key.span().start);
            let source = format!("{place} [tool.polygil] {} (line {line})", key.get_ref());
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(truth) => truth.to_string(),
                other => {
                    self.mistakes
                        .push(format!("{source}: must be a string, a number or a boolean, not {}", other.type_str()));
                    continue;
                }
            };
            self.add(key.get_ref(), text, source);
        }
    }

    /// The `POLYGIL_…` variables of an environment.
    pub fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(field) = name.strip_prefix("POLYGIL_") else { continue };
            match value.into_string() {
                Ok(text) => self.add(&field.to_lowercase(), text, name.to_owned()),
                Err(_) => self.mistakes.push(format!("{name}: is not UTF-8")),
            }
        }
    }

    /// A flag, by its name without the dashes.
    pub fn flag(&mut self, name: &str, text: String) {
        self.add(name, text, format!("--{name}"));
    }

    /// Keywords of `polygil.serve`.
    pub fn keywords<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, text) in pairs {
            self.add(name, text.to_owned(), format!("serve({name}=…)"));
        }
    }

    /// A mistake that was found elsewhere and belongs to the same report.
    pub fn mistake(&mut self, text: String) {
        self.mistakes.push(text);
    }

    fn add(&mut self, name: &str, text: String, source: String) {
        let field = name.replace('-', "_");
        match OPTIONS.iter().find(|option| option.field == field) {
            Some(option) => drop(self.values.insert(option.field, Value { text, source })),
            None => {
                let hint = nearest(&field).map(|near| format!("; did you mean {}?", spelled_like(name, near)));
                self.mistakes.push(format!("{source}: there is no such option{}", hint.unwrap_or_default()));
            }
        }
    }

    /// The options, or all mistakes.
    pub fn config(mut self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (field, value) in &self.values {
            if let Err(expected) = config.set(field, &value.text) {
                self.mistakes.push(format!("{}: {:?} {expected}", value.source, value.text));
            }
        }
        if let Some(uds) = self.values.get("uds").filter(|value| !value.text.is_empty()) {
            for other in ["host", "port"].iter().filter_map(|field| self.values.get(field)) {
                self.mistakes.push(format!("{}: a Unix socket has none; {} is given, too", other.source, uds.source));
            }
        }
        if self.mistakes.is_empty() { Ok(config) } else { Err(ConfigError { text: self.mistakes.join("\n") }) }
    }
}

impl Config {
    /// The options that keywords, variables and pyproject.toml give.
    pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
        let mut sources = Sources::default();
        sources.process();
        sources.keywords(pairs);
        sources.config()
    }
}

impl Sources {
    /// What this process's surroundings say: the nearest pyproject.toml at or above the working directory, and the environment.
    pub fn process(&mut self) {
        if let Some(path) = nearest_pyproject() {
            match std::fs::read_to_string(&path) {
                Ok(text) => self.pyproject(&shortened(&path), &text),
                Err(error) => self.mistakes.push(format!("{}: {error}", path.display())),
            }
        }
        self.environment(std::env::vars_os());
    }
}

fn nearest_pyproject() -> Option<PathBuf> {
    let directory = std::env::current_dir().ok()?;
    directory.ancestors().map(|directory| directory.join("pyproject.toml")).find(|path| path.is_file())
}

fn shortened(path: &Path) -> PathBuf {
    let directory = std::env::current_dir().ok();
    let short = directory.and_then(|directory| path.strip_prefix(directory).ok().map(Path::to_path_buf));
    short.unwrap_or_else(|| path.to_path_buf())
}

/// The line, from 1, that an offset is on.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}

fn nearest(field: &str) -> Option<&'static OptionSpec> {
    let near = OPTIONS.iter().map(|option| (strsim::jaro_winkler(option.field, field), option));
    near.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, option)| option)
}

/// The suggestion in the spelling of where the mistake stands.
fn spelled_like(name: &str, option: &OptionSpec) -> String {
    if name.contains('_') { option.field.to_owned() } else { option.key() }
}
