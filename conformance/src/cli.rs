//! The command line: which server, which cases, which reports; and the exit codes that CI goes by.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::app_contract::AppContract;
use crate::case::Level;
use crate::compare::{
    CompareArgs, FuzzArgs, MinimizeArgs, RecordArgs, compare_command, fuzz_command, minimize_command, record_command,
};
use crate::exec::{Context, needs_server};
use crate::expectations::Expectations;
use crate::preflight::{of_io, serves};
use crate::server::{Launcher, NoServer, Server, Source};
use crate::suite::{Loaded, Suite};
use crate::verdict::Run;
use crate::{any_server, data, interrupt, new, out, report, run, sarif, say, sayln, table};

/// Everything came as expected.
pub const AS_EXPECTED: u8 = 0;
/// A deviation, or a known one that is none any more.
pub const DEVIATION: u8 = 1;
/// The run could not be made.
pub const COULD_NOT_RUN: u8 = 2;

/// Holds an HTTP/1.1 server against cases written as data.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// The suite's directory; without it ./conformance or . where a suite is there, else the suite inside this program.
    #[arg(long, global = true, value_name = "DIR")]
    suite_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases against a server. Exit code 0: as expected; 1: a deviation, or an unexpected pass; 2: could not run.
    Run(Box<RunArgs>),
    /// Run the cases against several targets, and write who passes what as Markdown and HTML.
    Table(Box<TableArgs>),
    /// Write what a server answers to the suite's requests, as JSON lines.
    Record(RecordArgs),
    /// Tell two servers, or two transcripts, apart. Exit code 0: no difference; 1: differences; 2: could not run.
    Compare(CompareArgs),
    /// Shrink a request on which two servers differ.
    Minimize(MinimizeArgs),
    /// Generate requests, and compare two servers on them until the time is up.
    Fuzz(FuzzArgs),
    /// Write a suite of your own, with an example that passes.
    New(new::NewArgs),
    /// Print the contract of the app that the suite `http` asks: each route, a request, the exact answer.
    Contract {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run every case that can be told without an app against any server. Exit codes as of `run`.
    Probe(any_server::ProbeArgs),
    /// List the cases: id, level, source, title.
    List(Selection),
    /// Print the JSON Schema of case files.
    Schema,
    /// Write the suite inside this program into a new directory: to serve its app, to read it, to add to it.
    Export {
        /// The directory; it must be empty, or not exist.
        directory: PathBuf,
    },
}

/// Which server.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// A server that runs already: http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A shell command that starts one; it must listen on 127.0.0.1 at `<<port>>` (also in $PORT).
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// A server that targets/NAME.toml knows how to start, with the options that each setup needs.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Another directory with the app, instead of the suite's own.
    #[arg(long, value_name = "DIR")]
    app_dir: Option<PathBuf>,
}

impl Which {
    /// The launcher, and the server's name for reports.
    pub fn launcher(&self, suite: &Suite) -> Result<(Launcher, String), String> {
        let (source, name) = match (&self.url, &self.start, &self.target) {
            (Some(url), None, None) => (Source::Address(Launcher::address_of(url)?), url.clone()),
            (None, Some(command), None) => (Source::Command(command.clone()), command.clone()),
            (None, None, Some(target)) => (Launcher::target(target, &suite.root)?, target.clone()),
            (None, None, None) if suite.start.is_some() => {
                let command = suite.start.clone().unwrap_or_default();
                (Source::Command(command.clone()), command)
            }
            _ => return Err("exactly one of --url, --start and --target says which server".into()),
        };
        Ok((Launcher { source, root: suite.root.clone(), apps: self.app_dir.clone() }, name))
    }
}

/// Which cases; all that are given must hold.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Only these suites.
    #[arg(long, value_name = "SUITE", value_delimiter = ',')]
    pub suite: Vec<String>,
    /// Only these levels: MUST, SHOULD, MAY.
    #[arg(long, value_name = "LEVEL", value_delimiter = ',', value_parser = level)]
    pub level: Vec<Level>,
    /// Only cases whose id is this or begins with it; `*` stands for anything.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub id: Vec<String>,
}

fn level(text: &str) -> Result<Level, String> {
    match text.to_ascii_uppercase().as_str() {
        "MUST" => Ok(Level::Must),
        "SHOULD" => Ok(Level::Should),
        "MAY" => Ok(Level::May),
        _ => Err("MUST, SHOULD or MAY".into()),
    }
}

impl Selection {
    /// The cases selected; an error where there is none, or where a part of the selection selects none.
    ///
    /// Where neither a suite nor an id is named, those of `own`; or, where that is empty, all that any HTTP server with the app may be
    /// held against: not `wsgi` and `asgi`, which need a server for apps of that kind.
    pub fn of<'a>(&self, suite: &'a Suite, own: &[String]) -> Result<Vec<&'a Loaded>, String> {
        let any = self.suite.is_empty() && self.id.is_empty();
        let by_default = |name: &String| {
            if own.is_empty() { !["wsgi", "asgi"].contains(&name.as_str()) } else { own.contains(name) }
        };
        let suites: BTreeSet<&str> = suite.cases.iter().map(|case| case.suite.as_str()).collect();
        if let Some(name) = self.suite.iter().find(|name| !suites.contains(name.as_str())) {
            let known: Vec<&str> = suites.into_iter().collect();
            return Err(format!("--suite {name}: there is no such suite; there are {}", known.join(", ")));
        }
        if let Some(pattern) = self.id.iter().find(|pattern| !suite.cases.iter().any(|case| fits(pattern, &case.id))) {
            return Err(format!("--id {pattern}: no case has such an id; `list` shows those that there are"));
        }
        let selected = |case: &&Loaded| {
            (!any || by_default(&case.suite))
                && (self.suite.is_empty() || self.suite.contains(&case.suite))
                && (self.level.is_empty() || self.level.contains(&case.level))
                && (self.id.is_empty() || self.id.iter().any(|pattern| fits(pattern, &case.id)))
        };
        let cases: Vec<&Loaded> = suite.cases.iter().filter(selected).collect();
        if cases.is_empty() { Err("no case is selected".into()) } else { Ok(cases) }
    }
}

/// Whether the pattern, with `*` for anything, fits the start of the id at a whole part of it.
fn fits(pattern: &str, id: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| id.strip_prefix(first)) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || rest.starts_with('/') || pattern.ends_with(['*', '/'])
}

/// Where the results go.
#[derive(Debug, Clone, Default, Args)]
pub struct Reports {
    /// Write the results as JSON, with all bytes sent and received.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as TAP.
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Write what failed as SARIF 2.1.0.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Print what failed as annotations of GitHub Actions, too.
    #[arg(long)]
    github: bool,
}

/// Writes the reports that are asked for.
pub fn write_reports(reports: &Reports, run: &Run) -> Result<(), String> {
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> Result<String, String>| match path {
        Some(path) => save(path, &text()?),
        None => Ok(()),
    };
    write(&reports.json, &|| Ok(format!("{:#}\n", report::json(run))))?;
    write(&reports.tap, &|| Ok(report::tap(run)))?;
    write(&reports.junit, &|| report::junit(run))?;
    write(&reports.sarif, &|| Ok(format!("{:#}\n", sarif::sarif(run))))?;
    if reports.github {
        say!("{}", sarif::github(run));
    }
    Ok(())
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    selection: Selection,
    /// Cases at a time.
    #[arg(long, short, default_value_t = 8, value_name = "N")]
    jobs: usize,
    /// Known deviations; without it, expectations/NAME.toml of the target.
    #[arg(long, value_name = "FILE")]
    expectations: Option<PathBuf>,
    #[command(flatten)]
    reports: Reports,
    /// Show every failure in full, and known deviations, too.
    #[arg(long, short)]
    verbose: bool,
    /// Begin no further case once one has failed that is not known to fail.
    #[arg(long)]
    fail_fast: bool,
    /// Do not try a new connection behind each case.
    #[arg(long)]
    no_liveness: bool,
    /// Seconds that an answer may take where the case does not say.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    patience: u64,
}

#[derive(Debug, Args)]
struct TableArgs {
    /// The targets, in the order of the columns.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Cases at a time.
    #[arg(long, short, default_value_t = 8, value_name = "N")]
    jobs: usize,
    /// Seconds that an answer may take where the case does not say.
    #[arg(long, default_value_t = 4, value_name = "SECONDS")]
    patience: u64,
    /// Write the table as Markdown; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the table as HTML, with what was broken behind each cell.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The date to write above it; today's without.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,
}

/// Runs the command line; the exit code, or what kept it from running.
pub fn main() -> Result<u8, String> {
    let Some(cli) = out::arguments::<Cli>()? else { return Ok(AS_EXPECTED) };
    match &cli.command {
        Command::Schema => {
            sayln!("{}", schema());
            return Ok(AS_EXPECTED);
        }
        Command::New(arguments) => return new::new_command(arguments),
        Command::Export { directory } => return data::export(directory).map(|()| AS_EXPECTED),
        _ => {}
    }
    interrupt::watch().map_err(|error| of_io(&error))?;
    // Lives until the command has ended: what is unpacked goes with it.
    let place = data::Place::find(cli.suite_dir.as_deref())?;
    let suite = Suite::load(place.root())?;
    match cli.command {
        Command::Run(arguments) => run_command(&suite, &arguments),
        Command::Table(arguments) => table_command(&suite, &arguments),
        Command::Contract { json } => {
            let contract = AppContract::load(&suite.root)?;
            say!("{}", if json { contract.json() } else { contract.markdown() });
            Ok(AS_EXPECTED)
        }
        Command::New(_) => unreachable!("answered above"),
        Command::Probe(arguments) => any_server::probe_command(&suite, &arguments),
        Command::Record(arguments) => record_command(&suite, &arguments),
        Command::Compare(arguments) => compare_command(&suite, &arguments),
        Command::Minimize(arguments) => minimize_command(&suite, &arguments),
        Command::Fuzz(arguments) => fuzz_command(&suite, &arguments),
        Command::List(selection) => {
            let all: Vec<String> = suite.cases.iter().map(|case| case.suite.clone()).collect();
            for case in selection.of(&suite, &all)? {
                sayln!("{}\t{}\t{}\t{}", case.id, case.level.name(), case.source, case.case.title);
            }
            Ok(AS_EXPECTED)
        }
        Command::Schema | Command::Export { .. } => unreachable!("answered above"),
    }
}

/// The JSON Schema of case files.
pub fn schema() -> String {
    let schema = schemars::schema_for!(crate::case::CaseFile);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON")
}

fn run_command(suite: &Suite, arguments: &RunArgs) -> Result<u8, String> {
    let (launcher, name) = arguments.which.launcher(suite)?;
    let cases = arguments.selection.of(suite, launcher.suites())?;
    let known = match (&arguments.expectations, &arguments.which.target) {
        (Some(path), _) => Expectations::load(path)?,
        (None, Some(target)) => Expectations::load(&suite.root.join(format!("expectations/{target}.toml")))?,
        (None, None) => Expectations::default(),
    };
    let patience = Duration::from_secs(arguments.patience);
    let first = preflight(suite, &launcher, &cases, patience).map_err(|why| format!("{name}: {why}"))?;
    let progress = ProgressBar::new(cases.len() as u64);
    if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("a template");
        progress.set_style(style);
    } else {
        progress.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let context = Context { suite, launcher: &launcher, liveness: !arguments.no_liveness, patience };
    let results = run::run(context, &cases, first, arguments.jobs, &|result| {
        progress.set_message(result.id.clone());
        progress.inc(1);
        // Listed ones may fail.
        let stops = arguments.fail_fast && result.is_deviation() && !known.lists(&result.id);
        if stops { run::Next::Stop } else { run::Next::Go }
    });
    progress.finish_and_clear();
    let mut run = Run { server: name, results, stale: Vec::new() };
    run.stale = known.apply(suite, &mut run.results);
    // The reports first: whoever reads the text may stop reading.
    write_reports(&arguments.reports, &run)?;
    say!("{}", report::human(&run, arguments.verbose));
    if run.total() == 0 {
        return Err("no case could be run".into());
    }
    Ok(if run.is_as_expected() { AS_EXPECTED } else { DEVIATION })
}

/// The first server of the run, which has answered as the suite's app does; None where no case needs one. The error is one line.
fn preflight(
    suite: &Suite,
    launcher: &Launcher,
    cases: &[&Loaded],
    patience: Duration,
) -> Result<Option<(String, Server)>, String> {
    // The plain setup if any case runs in it, since it is the one that every server can be started with.
    let needed = || cases.iter().filter(|case| needs_server(case));
    let is_plain = |case: &&&Loaded| case.setup == "default" || suite.setups[&case.setup].is_plain_mirror();
    let setup = needed().find(is_plain).or_else(|| needed().next()).map(|case| case.setup.as_str());
    let Some(setup) = setup else { return launcher.finds_program().map(|()| None) };
    match launcher.launch(setup, &suite.setups[setup]) {
        Ok(server) => {
            serves(server.address, &suite.probe, patience)?;
            if setup == "default" && cases.iter().any(|case| case.suite == "http") {
                app_is_there(suite, server.address, patience)?;
            }
            Ok(Some((setup.to_owned(), server)))
        }
        Err(NoServer::DidNotStart(why)) => Err(why),
        // Such a server has no such setup; that is a verdict.
        Err(_) => launcher.finds_program().map(|()| None),
    }
}

/// Says which routes of the app are not as its contract has them, before the cases fail that ask them. One that has none is another app.
fn app_is_there(suite: &Suite, address: SocketAddr, patience: Duration) -> Result<(), String> {
    const SHOWN: usize = 12;
    let lacks = AppContract::load(&suite.root)?.ask(address, patience);
    // The probe is among them, and was right.
    if lacks.of > 1 && lacks.rows.len() + 1 >= lacks.of {
        return Err(format!(
            "{address} answers the probe and no other request of the app's contract (INTERPRETING.md)"
        ));
    }
    if !lacks.rows.is_empty() {
        let mut text = format!(
            "The app is not as its contract says (INTERPRETING.md) in {} of {} requests; cases that ask these will fail:\n",
            lacks.rows.len(),
            lacks.of
        );
        lacks.rows.iter().take(SHOWN).for_each(|row| text.push_str(&format!("  {row}\n")));
        if lacks.rows.len() > SHOWN {
            text.push_str(&format!("  … and {} more\n", lacks.rows.len() - SHOWN));
        }
        out::complain(&text);
    }
    Ok(())
}

/// Writes a report, or says in one line why not.
pub fn save(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {}", path.display(), of_io(&error)))
}

fn table_command(suite: &Suite, arguments: &TableArgs) -> Result<u8, String> {
    let patience = Duration::from_secs(arguments.patience);
    let mut launchers = Vec::new();
    // All of them, before an hour goes by for a table that has a hole.
    for name in &arguments.targets {
        let launcher = Launcher { source: Launcher::target(name, &suite.root)?, root: suite.root.clone(), apps: None };
        let cases = arguments.selection.of(suite, launcher.suites())?;
        preflight(suite, &launcher, &cases, patience).map_err(|why| format!("{name}: {why}"))?;
        launchers.push((name, launcher, cases));
    }
    let mut columns = Vec::new();
    for (name, launcher, cases) in launchers {
        let context = Context { suite, launcher: &launcher, liveness: true, patience };
        let results = run::run(context, &cases, None, arguments.jobs, &|_| run::Next::Go);
        let run = Run { server: name.clone(), results, stale: Vec::new() };
        out::complain(&report::summary(&run));
        columns.push(table::Column { run, version: launcher.version().unwrap_or("?".into()) });
    }
    let date = arguments.date.clone().unwrap_or_else(table::today);
    for (path, text) in
        [(&arguments.markdown, table::markdown(&columns, &date)), (&arguments.html, table::html(&columns, &date))]
    {
        match path {
            Some(path) if path.as_os_str() == "-" => say!("{text}"),
            Some(path) => save(path, &text)?,
            None => {}
        }
    }
    Ok(AS_EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_selected_by_whole_parts_and_stars() {
        for (pattern, id, expected) in [
            ("http", "http/a/b", true),
            ("http/a", "http/a/b", true),
            ("http/a", "http/ab/c", false),
            ("http/a/b", "http/a/b", true),
            ("*/b", "http/a/b", true),
            ("http/*/b", "http/a/bc", false),
            ("http/a*", "http/ab/c", true),
            ("dispatch", "http/a/b", false),
        ] {
            assert_eq!(fits(pattern, id), expected, "{pattern} {id}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
