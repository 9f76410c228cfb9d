//! The command line: `serve`, `routes`, `check`. What it says becomes a [`Command`]; who runs it is `python`'s business.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::Styles;
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
        /// Where to import from.
        config: Config,
    },
}

/// Reads the arguments (without the program's name) with this process's environment and pyproject.toml.
pub fn parse_process(args: &[OsString]) -> Result<Command, ConfigError> {
    let mut sources = Sources::default();
    sources.process();
    parse_with(args, sources)
}

/// Reads the arguments with this environment and this pyproject.toml.
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
    parse_with(args, sources)
}

fn parse_with(args: &[OsString], mut sources: Sources) -> Result<Command, ConfigError> {
    let name = OsString::from("polygil");
    let matches = match command().try_get_matches_from([&name].into_iter().chain(args)) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            clap::error::ErrorKind::DisplayHelp => return Ok(Command::Help(error.to_string())),
            clap::error::ErrorKind::DisplayVersion => return Ok(Command::Version(error.to_string())),
            clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                return Err(ConfigError { text: error.to_string() });
            }
            _ => {
                sources.mistake(error.to_string().trim_end().to_owned());
                return Err(sources.config().expect_err("there is a mistake"));
            }
        },
    };
    let (command, matches) = matches.subcommand().expect("clap requires a command");
    for option in OPTIONS {
        if let Some(text) = flag(matches, option.field) {
            sources.flag(&option.key(), text);
        }
    }
    let config = sources.config()?;
    let target = matches.get_one::<String>("target").expect("clap requires a target").clone();
    let json = || matches.get_flag("json");
    Ok(match command {
        "routes" => Command::Routes { target, json: json(), config },
        "check" => Command::Check { target, json: json(), config },
        _ => Command::Serve { target, config },
    })
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

fn command() -> clap::Command {
    let target = || {
        Arg::new("target")
            .required(true)
            .value_name("TARGET")
            .help("module:app, or the path of a TOML manifest of routes")
    };
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, on one line");
    let mut serve = clap::Command::new("serve").about("Serve an app until SIGTERM or SIGINT").arg(target());
    for option in OPTIONS {
        let key = option.key();
        let arg = Arg::new(option.field).long(key.clone()).help_heading(option.group);
        let default = if option.default.is_empty() { String::new() } else { format!(" [default: {}]", option.default) };
        let help = format!("{}{default}", option.help);
        serve = match option.value {
            Some(value) => serve.arg(arg.value_name(value).help(help).allow_hyphen_values(true)),
            None => {
                let (on, off) = (option.default == "true", format!("no_{}", option.field));
                let no = Arg::new(off.clone()).long(format!("no-{key}")).help_heading(option.group);
                // Of the pair, the help shows the one that changes something; giving both, the later one counts.
                serve
                    .arg(arg.action(ArgAction::SetTrue).overrides_with(off).help(help.clone()).hide(on))
                    .arg(no.action(ArgAction::SetTrue).overrides_with(option.field).help(help).hide(!on))
            }
        };
    }
    let app_dir = OPTIONS.iter().find(|option| option.field == "app_dir").expect("it is in the table");
    let from = || Arg::new("app_dir").long("app-dir").value_name("DIR").help(app_dir.help);
    clap::Command::new("polygil")
        .about("An HTTP/1.1 server that runs Python handlers in CPython sub-interpreters, one GIL per core")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(Styles::plain())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help("Each option is also a POLYGIL_… variable and a key of [tool.polygil] in pyproject.toml.")
        .subcommand(serve)
        .subcommand(clap::Command::new("routes").about("Print an app's routes").arg(target()).arg(from()).arg(json.clone()))
        .subcommand(
            clap::Command::new("check")
                .about("Find every handler in a sub-interpreter; exit 0 when all are there, 1 when not, 2 when it could not run")
                .arg(target())
                .arg(from())
                .arg(json),
        )
}

/// The table for a person.
pub fn routes_text(routes: &[RouteSpec]) -> String {
    let width = |of: fn(&RouteSpec) -> usize| routes.iter().map(of).max().unwrap_or(0);
    let (method, pattern) = (width(|route| route.method.len()), width(|route| route.pattern.chars().count()));
    let lines = routes.iter().map(|route| {
        let RouteSpec { module, qualname, origin, .. } = route;
        format!("{:method$}  {:pattern$}  {module}:{qualname}  ({origin})\n", route.method, route.pattern)
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
    }
    let rows = routes.iter().map(|route| Row {
        method: &route.method,
        path: &route.pattern,
        module: &route.module,
        function: &route.qualname,
        origin: &route.origin,
        timeout_ms: route.timeout_ms,
    });
    serde_json::to_string(&rows.collect::<Vec<_>>()).expect("strings always serialize")
}

#[cfg(test)]
mod tests;
