//! Where values come from, and who counts first; all mistakes together, each with its source.
//!
//! [`Sources`] takes sources weakest first. Each value is read as it comes, so that a mistake is told even where a stronger source
//! hides it today; an unknown name is a mistake with a suggestion, spelled as that source spells names. Nothing here ends the
//! process, and the process's own surroundings are read in [`Sources::process`] alone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{Config, OPTIONS, OptionSpec};

/// What the names of variables begin with.
const PREFIX: &str = "POLYGIL_";

/// How strongly a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Pyproject,
    Environment,
    Caller,
}

/// Who gave an option its value.
#[derive(Debug)]
struct Given {
    strength: Strength,
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
    config: Config,
    given: BTreeMap<&'static str, Given>,
    mistakes: Vec<String>,
}

impl Sources {
    /// `[tool.polygil]` of a pyproject.toml. Paths in it are seen from its directory.
    pub fn pyproject(&mut self, path: &Path, text: &str) {
        let place = path.display();
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                return self.mistakes.push(format!("{place} (line {line}): {}", error.message()));
            }
        };
        let section = document.get_ref().get("tool").and_then(|tool| tool.get_ref().get("polygil"));
        let Some(section) = section else { return };
        let Some(table) = section.get_ref().as_table() else {
            let line = line_of(text, section.span().start);
            return self.mistakes.push(format!("{place} (line {line}): tool.polygil must be a table"));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let line = line_of(text, key.span().start);
            let source = format!("{place} [tool.polygil] {} (line {line})", key.get_ref());
            let Some(option) = self.option(key.get_ref(), &source, OptionSpec::key) else { continue };
            let text = match value.get_ref() {
                DeValue::String(text) if option.is_path() && !text.is_empty() => {
                    let seen_from = path.parent().unwrap_or(Path::new(""));
                    match seen_from.join(text.as_ref()).into_os_string().into_string() {
                        Ok(text) => text,
                        Err(_) => {
                            self.mistakes.push(format!("{source}: the directory of this file must have a UTF-8 name"));
                            continue;
                        }
                    }
                }
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(truth) => truth.to_string(),
                other => {
                    let kind = other.type_str();
                    self.mistakes.push(format!(
                        "{source}: must be a string, a whole number or a boolean, not {}",
                        a_or_an(kind)
                    ));
                    continue;
                }
            };
            self.set(option, &text, Strength::Pyproject, source);
        }
    }

    /// The `POLYGIL_…` variables of an environment, in the order of their names. One that names no option is somebody else's.
    pub fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        let named = |(name, value): (OsString, OsString)| (name.to_string_lossy().into_owned(), value);
        let mut variables: Vec<(String, OsString)> = variables.map(named).collect();
        variables.retain(|(name, _)| name.starts_with(PREFIX));
        variables.sort();
        for (name, value) in variables {
            let Some(option) = OPTIONS.iter().find(|option| option.variable() == name) else {
                // Others give their variables this prefix, too: a script its POLYGIL_BIN, Kubernetes what it knows of a Service.
                if let Some(near) = nearest(&name).filter(|_| !is_of_a_service(&name, &value)) {
                    let warning = format!("{name}: there is no such option; did you mean {}?", near.variable());
                    self.config.warnings.push(warning);
                }
                continue;
            };
            if is_of_a_service(&name, &value) {
                let value = value.to_string_lossy();
                let warning =
                    format!("{name}: {value:?} is what Kubernetes says of a Service with this name, and is ignored");
                self.config.warnings.push(warning);
                continue;
            }
            match value.into_string() {
                Ok(text) => self.set(option, &text, Strength::Environment, name),
                Err(_) => self.mistakes.push(format!("{name}: must be UTF-8")),
            }
        }
    }

    /// A flag of [`OPTIONS`], as `--queue-depth`, or `--no-pin` with the text `false`.
    pub fn flag(&mut self, option: &'static OptionSpec, flag: String, text: &str) {
        self.set(option, text, Strength::Caller, flag);
    }

    /// Keywords of `polygil.serve`. A time may be a number of seconds.
    pub fn keywords<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, text) in pairs {
            let source = format!("serve({name}=…)");
            let Some(option) = self.option(name, &source, OptionSpec::keyword) else { continue };
            let seconds = text.parse().ok().filter(|_| option.is_time());
            let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let time = time.map(|time| humantime::format_duration(time).to_string());
            self.set(option, time.as_deref().unwrap_or(text), Strength::Caller, source);
        }
    }

    /// A mistake that was found elsewhere and belongs to the same report.
    pub fn mistake(&mut self, text: String) {
        self.mistakes.push(text);
    }

    /// What this process's surroundings say: a pyproject.toml, that of `app_dir` or else the nearest at or above the working
    /// directory, and the environment.
    pub fn process(&mut self, app_dir: Option<&Path>) {
        let app_dir = app_dir.map(Path::to_path_buf).or_else(|| std::env::var_os("POLYGIL_APP_DIR").map(PathBuf::from));
        if let Some(path) = pyproject_of(app_dir.as_deref()) {
            match std::fs::read_to_string(&path) {
                Ok(text) => self.pyproject(&path, &text),
                Err(error) => self.mistakes.push(format!("{}: {error}", path.display())),
            }
        }
        self.environment(std::env::vars_os());
    }

    /// The options, or all mistakes.
    pub fn config(mut self) -> Result<Config, ConfigError> {
        self.cross_check();
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(ConfigError { text: self.mistakes.join("\n") }) }
    }

    /// The option of this name, or a mistake that suggests one; `spelled` is how the source spells names.
    fn option(&mut self, name: &str, source: &str, spelled: fn(&OptionSpec) -> String) -> Option<&'static OptionSpec> {
        let known = OPTIONS.iter().find(|option| spelled(option) == name);
        if known.is_none() {
            let hint = nearest(name).map(|near| format!("; did you mean {}?", spelled(near))).unwrap_or_default();
            self.mistakes.push(format!("{source}: there is no such option{hint}"));
        }
        known
    }

    fn set(&mut self, option: &'static OptionSpec, text: &str, strength: Strength, source: String) {
        // A variable that is empty takes back what pyproject.toml says. A flag that is empty is a shell's variable that is not set.
        if strength == Strength::Caller && text.is_empty() && option.default.is_empty() {
            self.mistakes.push(format!("{source}: must not be empty; leave it out for none"));
            return;
        }
        if let Err(expected) = self.config.set(option.field, text) {
            self.mistakes.push(format!("{source}: {text:?} {expected}"));
        }
        self.given.insert(option.field, Given { strength, source });
    }

    /// What each value allows and all together do not. A stronger source takes back what a weaker one says, as everywhere.
    fn cross_check(&mut self) {
        if let Some(mode) =
            self.given.get("uds_mode").filter(|_| self.config.uds_mode.is_some() && self.config.uds.is_none())
        {
            self.mistakes.push(format!("{}: there is no Unix socket; name it with uds", mode.source));
        }
        let Some(uds) = self.given.get("uds").filter(|_| self.config.uds.is_some()) else { return };
        for field in ["host", "port", "reuse_port", "ipv6_only"] {
            let told = match field {
                "reuse_port" => self.config.reuse_port,
                "ipv6_only" => self.config.ipv6_only,
                _ => true,
            };
            if let Some(other) = self.given.get(field).filter(|other| told && other.strength >= uds.strength) {
                let mistake =
                    format!("{}: a Unix socket has none, and {} is given; remove one", other.source, uds.source);
                self.mistakes.push(mistake);
            }
        }
    }
}

impl Config {
    /// The options that keywords, variables and pyproject.toml give.
    pub fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Config, ConfigError> {
        let pairs: Vec<_> = pairs.collect();
        let app_dir = pairs.iter().find(|(name, _)| *name == "app_dir").map(|(_, text)| Path::new(*text));
        let mut sources = Sources::default();
        sources.process(app_dir);
        sources.keywords(pairs.into_iter());
        sources.config()
    }
}

/// The pyproject.toml that counts, by a path as short as the directories allow.
fn pyproject_of(app_dir: Option<&Path>) -> Option<PathBuf> {
    const NAME: &str = "pyproject.toml";
    let near = app_dir.map(|directory| directory.join(NAME)).filter(|path| path.is_file());
    near.or_else(|| Path::new(NAME).is_file().then(|| NAME.into())).or_else(|| {
        let directory = std::env::current_dir().ok()?;
        directory.ancestors().skip(1).map(|directory| directory.join(NAME)).find(|path| path.is_file())
    })
}

/// The line, from 1, that an offset is on.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn a_or_an(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Whether a variable is one of those that Kubernetes, and Docker's links before it, set for each Service: `POLYGIL_PORT` is
/// `tcp://10.0.0.1:80` where a Service is called polygil.
fn is_of_a_service(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let of_a_port = name.split("_PORT_").skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    is_address || of_a_port || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

/// The option whose name is most like this one, if one is like it at all.
fn nearest(name: &str) -> Option<&'static OptionSpec> {
    let name = name.to_lowercase().replace('-', "_");
    let field = name.strip_prefix("polygil_").unwrap_or(&name);
    let near = OPTIONS.iter().map(|option| (strsim::jaro_winkler(option.field, field), option));
    near.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, option)| option)
}
