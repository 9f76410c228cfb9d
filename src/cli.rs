//! The command line: `serve`, `routes`, `check`. What it says becomes a [`Command`]; who runs it is `python`'s business.
//!
//! clap knows the flags from the one table of [`config`](crate::config), splits the words and writes the help. It would stop at the
//! first mistake; here an unknown flag is set aside and the rest is read on, so that every mistake of the command line stands in
//! one report with those of the variables and of pyproject.toml. Nothing here prints or ends the process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Styles;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use serde::Serialize;

use crate::config::sources::{ConfigError, Sources};
use crate::config::{Config, OPTIONS};
use crate::router::RouteSpec;

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Print this and end well.
    Help(String),
    /// Print this and end well.
    Version(String),
    /// Serve a target.
    Serve {
        /// `module:app` or the path of a manifest.
        target: String,
        /// How.
        config: Config,
    },
    /// Print a target's table.
    Routes {
        /// `module:app` or the path of a manifest.
        target: String,
        /// For machines.
        json: bool,
        /// Where to import from.
        config: Config,
    },
    /// Resolve a target's handlers.
    Check {
        /// `module:app` or the path of a manifest.
        target: String,
        /// For machines.
        json: bool,
        /// The file of a contract to hold the target against.
        contract: Option<PathBuf>,
        /// Where to import from.
        config: Config,
    },
    /// Print a target's contract.
    Contract {
        /// `module:app` or the path of a manifest.
        target: String,
        /// Where to import from.
        config: Config,
    },
}

/// The target, where one object of JSON is asked for, whatever goes wrong: also for words that make no command.
pub fn asks_for_json(args: &[OsString]) -> Option<String> {
    let (command, words) = args.split_first()?;
    let reports = command == "check" || command == "routes";
    if !reports || !words.iter().any(|word| word == "--json") {
        return None;
    }
    let mut target = "";
    let mut is_value = false;
    for word in words.iter().filter_map(|word| word.to_str()) {
        if !is_value && target.is_empty() && !word.starts_with('-') {
            target = word;
        }
        is_value = ["--app-dir", "--contract"].contains(&word);
    }
    Some(target.to_owned())
}

/// Reads the arguments (without the program's name) with this process's environment and pyproject.toml. An error is for standard
/// error and the exit code 2.
pub fn parse_process(args: &[OsString]) -> Result<Command, ConfigError> {
    let words = Words::read(args);
    let app_dir = words.matches().and_then(|(_, matches)| flag(matches, "app_dir"));
    let mut sources = Sources::default();
    sources.process(app_dir.as_deref().map(Path::new));
    words.command(sources)
}

/// Reads the arguments with this environment and this pyproject.toml. Pure.
pub fn parse(
    args: &[OsString],
    environment: impl Iterator<Item = (OsString, OsString)>,
    pyproject: Option<(&Path, &str)>,
) -> Result<Command, ConfigError> {
    let mut sources = Sources::default();
    if let Some((path, text)) = pyproject {
        sources.pyproject(path, text);
    }
    sources.environment(environment);
    Words::read(args).command(sources)
}

/// The words of a command line, told apart.
struct Words {
    /// What clap made of the words that it knows.
    read: Result<ArgMatches, clap::Error>,
    /// Empty where there is none.
    target: Option<String>,
    /// Flags that are not known, words too many, and what is no target.
    mistakes: Vec<String>,
}

impl Words {
    fn read(args: &[OsString]) -> Self {
        let mut args = args.to_vec();
        let mut mistakes = Vec::new();
        // What follows an unknown flag may be its value: it is not also told as a word too many.
        let mut values = Vec::new();
        // Each turn but the last makes one mistake less.
        let mut read = loop {
            let name = OsString::from("polygil");
            let error = match command().try_get_matches_from([&name].into_iter().chain(&args)) {
                Ok(matches) => break Ok(matches),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::MissingRequiredArgument {
                mistakes
                    .push("TARGET: is missing; it is module:app, or the path of a TOML manifest of routes".to_owned());
                args.push(STAND_IN.into());
                continue;
            }
            let Some(place) = unknown_flag(&error, &args) else { break Err(error) };
            let flag = args.remove(place);
            let flag = flag.to_string_lossy();
            values.extend(args.get(place).filter(|_| !flag.contains('=')).cloned());
            let hint = match error.get(ContextKind::SuggestedArg) {
                Some(ContextValue::String(near)) => format!("; did you mean {near}?"),
                _ => String::new(),
            };
            let flag = flag.split('=').next().unwrap_or_default();
            mistakes.push(format!("{flag}: there is no such option here{hint}"));
        };
        let words = read.as_mut().ok().and_then(|matches| matches.subcommand()).map(|(_, matches)| targets(matches));
        let mut words = words.unwrap_or_default();
        for value in &values {
            if let Some(place) = words.iter().position(|word| *value == **word).filter(|_| words.len() > 1) {
                words.remove(place);
            }
        }
        for word in words.iter().skip(1) {
            mistakes.push(format!("{word:?}: is one word too many; there is one TARGET"));
        }
        mistakes.extend(words.first().and_then(|target| check_target(target)));
        Self { target: words.into_iter().next(), read, mistakes }
    }

    /// The command's name and what follows it.
    fn matches(&self) -> Option<(&str, &ArgMatches)> {
        self.read.as_ref().ok()?.subcommand()
    }

    /// The command, with what weaker sources say.
    fn command(self, mut sources: Sources) -> Result<Command, ConfigError> {
        if let Some((_, matches)) = self.matches() {
            for option in OPTIONS {
                if let Some(text) = flag(matches, option.field) {
                    let no = if option.value.is_none() && text == "false" { "no-" } else { "" };
                    sources.flag(option, format!("--{no}{}", option.key()), &text);
                }
            }
        }
        if let Err(error) = &self.read {
            let text = error.to_string();
            match error.kind() {
                ErrorKind::DisplayHelp => return Ok(Command::Help(text)),
                ErrorKind::DisplayVersion => return Ok(Command::Version(text)),
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if self.mistakes.is_empty() => {
                    return Err(ConfigError { text });
                }
                _ => sources.mistake(text.trim_end().to_owned()),
            }
        }
        for mistake in &self.mistakes {
            sources.mistake(mistake.clone());
        }
        let config = sources.config()?;
        let target = self.target.clone().unwrap_or_default();
        let json = |matches: &ArgMatches| matches.get_flag("json");
        match self.matches() {
            Some(("serve", _)) => Ok(Command::Serve { target, config }),
            Some(("routes", matches)) => Ok(Command::Routes { target, json: json(matches), config }),
            Some(("check", matches)) => {
                let contract = matches.get_one::<String>("contract").map(PathBuf::from);
                Ok(Command::Check { target, json: json(matches), contract, config })
            }
            Some(("contract", _)) => Ok(Command::Contract { target, config }),
            _ => Err(ConfigError { text: command().render_help().to_string() }),
        }
    }
}

/// Takes the place of a target that is missing, so that the other words are still read.
const STAND_IN: &str = "app:app";

/// Where the flag stands that clap does not know, if that is what is wrong.
fn unknown_flag(error: &clap::Error, args: &[OsString]) -> Option<usize> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(name))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    args.iter().position(|arg| {
        let rest = arg.to_str().and_then(|arg| arg.strip_prefix(name.as_str()));
        name.starts_with('-') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// TARGET, and whatever words are too many.
fn targets(matches: &ArgMatches) -> Vec<String> {
    let words = ["target", "surplus"].into_iter().filter_map(|id| matches.get_many::<String>(id));
    words.flatten().cloned().collect()
}

/// What no target is. Whether it exists is found out when it is imported.
fn check_target(target: &str) -> Option<String> {
    let is_name = |text: &str| {
        let odd = |byte: u8| byte.is_ascii() && !byte.is_ascii_alphanumeric() && byte != b'_';
        !text.is_empty() && !text.starts_with(|first: char| first.is_ascii_digit()) && !text.bytes().any(odd)
    };
    let (module, attribute) = target.split_once(':').unwrap_or((target, "app"));
    if target.ends_with(".toml") || module.split('.').chain(attribute.split('.')).all(is_name) {
        return None;
    }
    let hint = match module.strip_suffix(".py").map(|file| file.trim_start_matches("./").replace('/', ".")) {
        Some(module) => format!("; did you mean {module}:{attribute}?"),
        None => String::new(),
    };
    Some(format!("TARGET: {target:?} must be module:app, such as shop.main:app, or the path of a .toml manifest{hint}"))
}

/// The text of an option's flag, where it is given: `--no-x` is false.
fn flag(matches: &ArgMatches, field: &str) -> Option<String> {
    if let Ok(Some(text)) = matches.try_get_one::<String>(field) {
        return Some(text.clone());
    }
    let given = |id: &str| matches!(matches.try_get_one::<bool>(id), Ok(Some(true)));
    if given(field) {
        Some("true".into())
    } else if given(&format!("no_{field}")) {
        Some("false".into())
    } else {
        None
    }
}

const ELSEWHERE: &str = "Each option of serve is also a variable (POLYGIL_QUEUE_DEPTH=8) and a key of [tool.polygil] in pyproject.toml \
                         (queue-depth = 8). A flag counts before a variable, that before pyproject.toml.";

fn command() -> clap::Command {
    let target = || {
        Arg::new("target")
            .required(true)
            .value_name("TARGET")
            .help("module:app, or the path of a TOML manifest of routes")
    };
    // Clap would tell of a second target by its own report and stop.
    let surplus = || Arg::new("surplus").num_args(0..).hide(true);
    let contract = Arg::new("contract").long("contract").value_name("FILE");
    let contract =
        contract.help("What `polygil contract` printed: fail when a route, a parameter or a budget differs from it");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, on one line");
    let mut serve =
        clap::Command::new("serve").about("Serve an app until SIGTERM or SIGINT").arg(target()).arg(surplus());
    for option in OPTIONS {
        let key = option.key();
        let arg = Arg::new(option.field).long(key.clone()).help_heading(option.group);
        let help = match option.default {
            "" | "false" => option.help.to_owned(),
            default => format!("{} [default: {default}]", option.help),
        };
        serve = match option.value {
            Some(value) => serve.arg(arg.value_name(value).help(help).allow_negative_numbers(true)),
            None => {
                let (on, off) = (option.default == "true", format!("no_{}", option.field));
                let no = Arg::new(off.clone()).long(format!("no-{key}")).help_heading(option.group);
                let off_help = format!("Switches off what is on by default: {}", option.help);
                // Of the pair, the help shows the one that changes something; giving both, the later one counts.
                serve
                    .arg(arg.action(ArgAction::SetTrue).overrides_with(off).help(help).hide(on))
                    .arg(no.action(ArgAction::SetTrue).overrides_with(option.field).help(off_help).hide(!on))
            }
        };
    }
    serve = serve.after_help(ELSEWHERE);
    let app_dir = OPTIONS.iter().find(|option| option.field == "app_dir").expect("it is in the table");
    let from = || Arg::new("app_dir").long("app-dir").value_name("DIR").help(app_dir.help);
    clap::Command::new("polygil")
        .about("An HTTP/1.1 server that runs Python handlers in CPython sub-interpreters, one GIL per core")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(Styles::plain())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .after_help(ELSEWHERE)
        .subcommand(serve)
        .subcommand(clap::Command::new("routes").about("Print an app's routes").arg(target()).arg(surplus()).arg(from()).arg(json.clone()))
        .subcommand(
            clap::Command::new("check")
                .about("Find every handler in a sub-interpreter; exit 0 when all are there, 1 when not, 2 when it could not run")
                .arg(target()).arg(surplus())
                .arg(from())
                .arg(json)
                .arg(contract),
        )
        .subcommand(
            clap::Command::new("contract")
                .about("Print an app's contract: its routes with their parameters and time budgets, for check --contract")
                .arg(target()).arg(surplus())
                .arg(from()),
        )
}

/// The table for a person, one line a route; under a route that no other interpreter can reach, the reason.
pub fn routes_text(routes: &[RouteSpec]) -> String {
    let width = |of: fn(&RouteSpec) -> usize| routes.iter().map(of).max().unwrap_or(0);
    let (method, pattern) = (width(|route| route.method.len()), width(|route| route.pattern.chars().count()));
    let lines = routes.iter().map(|route| {
        let RouteSpec { module, qualname, origin, .. } = route;
        let line = format!("{:method$}  {:pattern$}  {module}:{qualname}  ({origin})\n", route.method, route.pattern);
        let reason = route.unreachable.as_ref().map(|reason| format!("    unreachable: {reason}\n"));
        line + &reason.unwrap_or_default()
    });
    lines.collect()
}

/// The table for a machine: a list of objects.
pub fn routes_json(routes: &[RouteSpec]) -> String {
    #[derive(Serialize)]
    struct Row<'r> {
        method: &'r str,
        path: &'r str,
        module: &'r str,
        function: &'r str,
        origin: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        queue_timeout_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unreachable: Option<&'r str>,
    }
    let rows = routes.iter().map(|route| Row {
        method: &route.method,
        path: &route.pattern,
        module: &route.module,
        function: &route.qualname,
        origin: &route.origin,
        timeout_ms: route.timeout_ms,
        queue_timeout_ms: route.queue_timeout_ms,
        unreachable: route.unreachable.as_deref(),
    });
    serde_json::to_string(&rows.collect::<Vec<_>>()).expect("strings always serialize")
}

#[cfg(test)]
mod tests;
