//! The commands `serve`, `routes` and `check`, and the functions behind `polygil.serve(app)`.
//!
//! Runs in the main interpreter, on its thread: loads the target, builds the table, and for `serve` lets go of the GIL for as
//! long as the server lives. Exit codes: 0 done, 1 a handler is missing or something was lost, 2 could not run at all.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::ending;
use super::ffi::Gil;
use super::handler::Unresolved;
use super::interpreter::{self, Interpreter, STACK_BYTES};
use super::leave;
use super::serve;
use super::worker::{self, Setup};
use crate::account::Account;
use crate::cli::{self, Command};
use crate::config::Config;
use crate::logging;
use crate::manifest;
use crate::report::{self, Changes, Mistake, Report, Verdict};
use crate::router::{RouteId, RouteSpec, Router};
use crate::streams;

/// Everything well.
pub const OK: i32 = 0;
/// A handler is missing, a worker was lost for good, a drain left something undone.
pub const FAILED: i32 = 1;
/// Bad options, no such app, no such address: nothing was tried.
pub const COULD_NOT_RUN: i32 = 2;

/// How long threads that importing an app has started may go on after a command is done.
const IMPORTED_PATIENCE: Duration = Duration::from_secs(2);

/// A command that ends early: what to print on stderr, and the exit code.
pub struct Stop {
    /// Complete lines.
    pub message: String,
    /// The process's exit code.
    pub code: i32,
    /// The same for a machine, where it is more than the message.
    pub mistakes: Vec<Mistake>,
}

impl Stop {
    /// Could not run, for this reason.
    pub fn could_not_run(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: COULD_NOT_RUN, mistakes: Vec::new() }
    }
}

impl Stop {
    /// What went wrong, for a machine.
    fn for_machines(&self) -> Vec<Mistake> {
        if !self.mistakes.is_empty() {
            return self.mistakes.clone();
        }
        let message = self.message.trim_end().to_owned();
        vec![Mistake { code: "could_not_run".into(), message, traceback: None }]
    }
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Self::could_not_run(error.to_string())
    }
}

/// What a target holds.
pub struct Loaded {
    /// The table.
    pub router: Router,
    /// Module and attribute of the App with the hooks; None for a manifest.
    pub app: Option<(String, String)>,
}

/// `polygil ARGS`: does what they say and gives the exit code.
pub fn main(py: Python<'_>, args: &[OsString]) -> i32 {
    let secured = streams::secure().map_err(|error| Stop::could_not_run(error.to_string()));
    let parsed = cli::parse_process(args).map_err(|error| Stop::could_not_run(error.text));
    let json = cli::asks_for_json(args);
    if json.is_some() {
        // Without a further descriptor nothing else can be done either, and that will be told.
        let _ = streams::set_aside();
    }
    let outcome = secured.and(parsed).and_then(|command| match command {
        Command::Help(text) | Command::Version(text) => say(py, &text).map(|()| OK),
        Command::Serve { target, config } => serve_target(py, &target, &config),
        Command::Routes { target, json, config } => routes(py, &target, json, &config),
        Command::Check { target, json, contract, config } => check(py, &target, json, contract.as_deref(), &config),
        Command::Contract { target, config } => contract(py, &target, &config),
    });
    let code = outcome.unwrap_or_else(|stop| {
        logging::flush(serve::LOG_PATIENCE);
        if let Some(target) = &json {
            // Where it cannot be written, the exit code says enough.
            let _ = say(py, &format!("{}\n", report::could_not_run(target, &stop.for_machines())));
        }
        streams::complain(&stop.message);
        stop.code
    });
    // What importing the app has begun is no reason for a command not to end.
    leave::main_ends(py, code, code, Instant::now() + IMPORTED_PATIENCE, || false);
    code
}

/// Writes to standard output, after what the app has printed there.
pub fn say(py: Python<'_>, text: &str) -> Result<(), Stop> {
    // What is left in Python's buffer would be written at exit, which fails as well, but with a traceback.
    py.import("polygil._streams")?.call_method0("flush").map_err(|error| Stop::could_not_run(error.to_string()))?;
    streams::say(text).map_err(|error| Stop::could_not_run(format!("polygil: {error}")))
}

fn serve_target(py: Python<'_>, target: &str, config: &Config) -> Result<i32, Stop> {
    let ready_fd = serve::ReadyFd::take(config)?;
    let start = serve::Start { target, ready_fd, control: None, is_process: true };
    serve::serve(py, config, start, || load(py, target, config, false))
}

fn routes(py: Python<'_>, target: &str, json: bool, config: &Config) -> Result<i32, Stop> {
    let loaded = load(py, target, config, true)?;
    let routes = loaded.router.routes();
    let text = match json {
        true => format!("{}\n", report::table_json(target, &cli::routes_json(routes))),
        false => cli::routes_text(routes),
    };
    say(py, &text).map(|()| OK)
}

fn check(py: Python<'_>, target: &str, json: bool, contract: Option<&Path>, config: &Config) -> Result<i32, Stop> {
    let kept = contract.map(|file| {
        let text = std::fs::read_to_string(file);
        text.map(|text| (file, text)).map_err(|error| Stop::could_not_run(format!("{}: {error}", file.display())))
    });
    let kept = kept.transpose()?;
    let loaded = load(py, target, config, true)?;
    let rows = cli::routes_json(loaded.router.routes());
    let mut report = check_loaded(py, target, loaded)?;
    if let Some((file, kept)) = kept {
        report = report.against(changes(py, file, &kept, &rows)?);
    }
    say(py, &if json { format!("{}\n", report.json()) } else { report.text() })?;
    Ok(if report.ok { OK } else { FAILED })
}

/// Prints the contract; of an app whose handlers are not all there, none.
fn contract(py: Python<'_>, target: &str, config: &Config) -> Result<i32, Stop> {
    let loaded = load(py, target, config, false)?;
    let text = contract_of(py, &cli::routes_json(loaded.router.routes()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| Stop::could_not_run(error.to_string()))?;
    let routes = value["routes"].as_array().map_or(&[][..], Vec::as_slice);
    let lost: Vec<&str> = routes
        .iter()
        .filter(|route| !route["unreadable"].is_null())
        .filter_map(|route| route["handler"].as_str())
        .collect();
    if !lost.is_empty() {
        let message = format!("no contract: {} cannot be read; `polygil check {target}` says why", lost.join(", "));
        return Err(Stop { code: FAILED, ..Stop::could_not_run(message) });
    }
    say(py, &format!("{text}\n")).map(|()| OK)
}

/// The contract of a table.
fn contract_of(py: Python<'_>, rows: &str) -> Result<String, Stop> {
    Ok(py.import("polygil._contract")?.call_method1("contract", (rows,))?.extract()?)
}

/// What differs between the contract in a file and the table.
fn changes(py: Python<'_>, file: &Path, kept: &str, rows: &str) -> Result<Changes, Stop> {
    let now = contract_of(py, rows)?;
    let wrong = |error: PyErr| Stop::could_not_run(format!("{}: {}", file.display(), error.value(py)));
    let found: String =
        py.import("polygil._contract")?.call_method1("changes", (kept, now)).map_err(wrong)?.extract()?;
    let differences = serde_json::from_str(&found).map_err(|error| Stop::could_not_run(error.to_string()))?;
    Ok(Changes { file: file.display().to_string(), differences })
}

/// Resolves every handler in a sub-interpreter that is made for it.
fn check_loaded(py: Python<'_>, target: &str, loaded: Loaded) -> Result<Report, Stop> {
    let router = Arc::new(loaded.router);
    let setup = Setup { eager_imports: true, ..setup(py, Arc::clone(&router), loaded.app)? };
    let (said, checked) = channel();
    let (ended, over) = channel();
    let in_interpreter = move || {
        // SAFETY: main is prepared by `setup`, and is not finalized before this thread has ended its interpreter, which is seen to
        // below; the thread is new.
        let interpreter = unsafe { Interpreter::create() }.map_err(|error| error.to_string());
        let mut interpreter = match interpreter {
            Ok(interpreter) => interpreter,
            // Nobody listens only where the command has ended already.
            Err(error) => return drop(said.send(Err(error))),
        };
        interpreter.run(|gil| {
            let missing = match worker::resolve_all(gil, &setup) {
                Ok(outcomes) => {
                    Ok(outcomes.into_iter().filter_map(|(id, outcome)| Some((id, outcome.err()?))).collect::<Vec<_>>())
                }
                Err(raised) => Err(raised.summary()),
            };
            drop(said.send(missing));
            ending::join_threads(gil);
            ending::run_exit_functions(gil);
        });
        // As above.
        let _ = ended.send(interpreter.end().is_ok());
    };
    let missing = py.detach(move || {
        let thread = std::thread::Builder::new().name("polygil-check".into()).stack_size(STACK_BYTES);
        thread.spawn(in_interpreter).map_err(|error| error.to_string())?;
        let missing = checked.recv().map_err(|_| "the check panicked".to_owned())?;
        // Threads that importing the app has started: the process exits soon, and does not finalize this interpreter.
        if over.recv_timeout(IMPORTED_PATIENCE) != Ok(true) {
            ending::interpreter_left();
        }
        missing
    });
    let missing = missing.map_err(Stop::could_not_run)?;
    Ok(report(target, &router, &missing))
}

/// A verdict for each route of the table.
pub fn report(target: &str, router: &Router, missing: &[(RouteId, Unresolved)]) -> Report {
    let verdicts = router.routes().iter().enumerate().map(|(index, route)| {
        if let Some(reason) = &route.unreachable {
            return Verdict::failing(route, "unreachable", reason, Value::Null);
        }
        match missing.iter().find(|(id, _)| id.0 as usize == index) {
            Some((_, unresolved)) => {
                let details = serde_json::from_str(&unresolved.report).unwrap_or(Value::Null);
                Verdict::failing(route, unresolved.failure.code(), &unresolved.message, details)
            }
            None => Verdict::ok(route),
        }
    });
    Report::new(target, verdicts.collect())
}

/// What every worker needs to know; prepares the main interpreter for them.
pub fn setup(py: Python<'_>, router: Arc<Router>, app: Option<(String, String)>) -> PyResult<Setup> {
    // SAFETY: `py` proves that this thread is attached to main; the brand is this borrow's own.
    let prepared = interpreter::prepare_main(unsafe { Gil::assume() }).map_err(|raised| raised.summary());
    prepared.map_err(pyo3::exceptions::PyImportError::new_err)?;
    let sys = py.import("sys")?;
    Ok(Setup {
        router,
        app,
        sys_path: sys.getattr("path")?.extract()?,
        argv: sys.getattr("argv")?.extract()?,
        lazy: false,
        eager_imports: false,
        debug: false,
        handler_timeout: Config::default().handler_timeout,
        request_id_prefix: String::new(),
        memory: Arc::new(Account::new(u64::MAX)),
        cores: Vec::new(),
    })
}

/// What `polygil._loader.load` answers.
#[derive(Deserialize)]
pub struct Described {
    module: Option<String>,
    attribute: Option<String>,
    routes: Vec<RouteSpec>,
    errors: Vec<Mistake>,
}

/// Loads a target: `module:app`, or a manifest. `collect` keeps routes that no other interpreter can reach, to report them.
pub fn load(py: Python<'_>, target: &str, config: &Config, collect: bool) -> Result<Loaded, Stop> {
    let loader = py.import("polygil._loader")?;
    loader.call_method1("set_app_dir", (config.app_dir.as_os_str(),))?;
    if Path::new(target).extension().is_some_and(|extension| extension == "toml") {
        let mut path = PathBuf::from(target);
        if !path.exists() {
            path = config.app_dir.join(target);
        }
        let routes = manifest::load(&path).map_err(|error| Stop::could_not_run(error.to_string()))?;
        return table(Described { module: None, attribute: None, routes, errors: Vec::new() }, collect);
    }
    let described: String = loader.call_method1("load", (target, collect))?.extract()?;
    table(parse_described(&described)?, collect)
}

/// What `polygil._loader` wrote.
pub fn parse_described(text: &str) -> Result<Described, Stop> {
    serde_json::from_str(text).map_err(|error| Stop::could_not_run(format!("polygil's loader gave no table: {error}")))
}

/// The router of a description, or all that is wrong with it.
pub fn table(described: Described, collect: bool) -> Result<Loaded, Stop> {
    let mut mistakes = described.errors;
    if !collect {
        let unreachable = described.routes.iter().filter_map(|route| Some((route, route.unreachable.as_ref()?)));
        mistakes.extend(unreachable.map(|(route, reason)| Mistake {
            code: String::new(),
            message: format!("{}: {reason}", route.origin),
            traceback: None,
        }));
    }
    let errors = match Router::build(described.routes) {
        Ok(router) if mistakes.is_empty() => {
            return Ok(Loaded { router, app: described.module.zip(described.attribute) });
        }
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    let told = |mistake: &Mistake| {
        let traceback = mistake.traceback.as_ref().filter(|text| !text.is_empty());
        let traceback = traceback.map(|text| format!("\n{}", text.trim_end())).unwrap_or_default();
        let code = if mistake.code.is_empty() { String::new() } else { format!("{}: ", mistake.code) };
        format!("{code}{}{traceback}", mistake.message)
    };
    let mut lines: Vec<String> = mistakes.iter().map(told).collect();
    for mistake in &mut mistakes {
        if mistake.code.is_empty() {
            mistake.code = "unreachable".into();
        }
    }
    for error in errors {
        let message = error.to_string();
        lines.push(message.clone());
        mistakes.push(Mistake { code: "route_conflict".into(), message, traceback: None });
    }
    Err(Stop { mistakes, ..Stop::could_not_run(lines.join("\n")) })
}
