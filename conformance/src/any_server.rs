//! `probe`: the cases that can be told from the status and the connection alone, for a server whose app nobody knows.
//!
//! They are those of the suite `http`, with each target of the suite's app replaced by one that the server serves. What a plain GET of it
//! gets is asked first, and is what a good request must get in each case. Of a request with content nobody knows what an app answers: there
//! it counts whether the content was read to its end, and no further. A server may close any connection behind any answer, so whoever does
//! passes, and is counted apart (`lenient`).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::case::{After, Answers, Expect, Outcome, Statuses};
use crate::causes;
use crate::cli::{AS_EXPECTED, DEVIATION, write_reports};
use crate::exec::Context;
use crate::preflight::{Probe, reach};
use crate::report;
use crate::server::{Launcher, Source};
use crate::suite::{Loaded, Suite};
use crate::verdict::Run;
use crate::{say, sayln};

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The server: http://HOST:PORT.
    url: String,
    /// A path that it serves, by GET, without a redirect.
    #[arg(long, default_value = "/", value_name = "PATH")]
    path: String,
    /// Cases at a time.
    #[arg(long, short, default_value_t = 24, value_name = "N")]
    jobs: usize,
    /// Seconds that an answer may take.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    patience: u64,
    #[command(flatten)]
    reports: crate::cli::Reports,
    /// Show each failure with what was sent and what came.
    #[arg(long, short)]
    verbose: bool,
    /// List the cases instead of running them.
    #[arg(long)]
    list: bool,
}

/// Topics that are about what a handler sees, or about what only some app does.
const ABOUT_THE_APP: [&str; 7] = ["answers", "cookies", "ignored", "optional", "streams", "expect", "conditional"];

/// Targets of the suite's app that any other target can stand for; the longer ones first.
const TARGETS: [&str; 7] =
    ["/value/float", "/value/int", "/field/x-a", "/body/length", "/body/raw", "/body/dict", "/body"];

/// Stands for the path until it is known that no other target of the app is there.
const PLACE: &str = "\u{1}";

/// What an app may answer to a request with content, when it reads it and when it does not want it.
const ANY_STATUS: [u16; 19] =
    [200, 201, 202, 204, 301, 302, 303, 307, 308, 401, 403, 404, 405, 409, 410, 415, 422, 500, 501];

/// What refuses a request with content for a reason of the app's own.
const ANY_REFUSAL: [u16; 9] = [401, 403, 404, 405, 411, 413, 415, 422, 501];

/// The case for a server that answers a GET of `path` with `served`; None where it cannot be told without the suite's app.
pub fn for_any_server(case: &Loaded, path: &str, served: u16) -> Option<Loaded> {
    let topic = case.id.split('/').nth(1)?;
    let fits = case.suite == "http" && case.setup == "default" && !case.case.alone && case.case.steps.is_empty();
    if !fits || ABOUT_THE_APP.contains(&topic) {
        return None;
    }
    let mut new = case.clone();
    for text in [&mut new.case.send, &mut new.case.request].into_iter().flatten() {
        for target in TARGETS {
            *text = text.replace(target, PLACE);
        }
    }
    let text = new.case.send.as_ref().or(new.case.request.as_ref())?.clone();
    // What is left of the app's routes says that the case is about one.
    let routes = [
        "/echo", "/path", "/query", "/value", "/field", "/status", "/sleep", "/stream", "/head", "/options", "/only",
        "/large", "/nowhere", "/raise",
    ];
    if routes.iter().any(|route| text.contains(route)) {
        return None;
    }
    for text in [&mut new.case.send, &mut new.case.request].into_iter().flatten() {
        *text = text.replace(PLACE, path);
    }
    let has_content = ["POST ", "PUT ", "PATCH ", "DELETE "].iter().any(|method| text.contains(method));
    if text.contains("OPTIONS") || text.contains("TRACE") || text.contains("HEAD ") || text.contains("CONNECT") {
        return None;
    }
    let mut ok = Vec::new();
    let mut lenient = Vec::new();
    let meant = Outcome { expect: case.expect.clone(), after: case.after, told: crate::score::Told::new() };
    let main = translated(&meant, has_content, served)?;
    let others = case.case.or.iter().filter_map(|outcome| translated(outcome, has_content, served));
    ok.extend(others);
    lenient.extend(case.case.lenient.iter().filter_map(|outcome| translated(outcome, has_content, served)));
    let is_refused = |outcome: &Outcome| outcome.expect.list().iter().all(|expect| refuses(expect.status.as_ref()));
    if is_refused(&main) {
        if has_content {
            lenient.push(outcome(vec![Some(Statuses::Many(ANY_REFUSAL.to_vec()))], After::Closed));
        }
    } else {
        // Any answer may be the connection's last.
        for number in 1..=main.expect.list().len() {
            let first = Answers::Many(main.expect.list()[..number].to_vec());
            lenient.push(Outcome { expect: first, after: After::Closed, told: crate::score::Told::new() });
        }
    }
    new.expect = main.expect;
    new.after = main.after;
    (new.case.or, new.case.lenient) = (ok, lenient);
    new.case.unimplemented.clear();
    Some(new)
}

fn refuses(status: Option<&Statuses>) -> bool {
    match status {
        Some(Statuses::One(code)) => *code >= 400,
        Some(Statuses::Many(codes)) => codes.iter().all(|code| *code >= 400),
        Some(Statuses::Class(class)) => class.starts_with(['4', '5']),
        None => false,
    }
}

fn outcome(statuses: Vec<Option<Statuses>>, after: After) -> Outcome {
    let expects = statuses.into_iter().map(|status| Expect { status, ..Expect::default() });
    Outcome { expect: Answers::Many(expects.collect()), after, told: crate::score::Told::new() }
}

/// An outcome in terms of statuses and the connection; None where it is about more than that.
fn translated(one: &Outcome, has_content: bool, served: u16) -> Option<Outcome> {
    let mut expects = Vec::new();
    for (number, expect) in one.expect.list().iter().enumerate() {
        let mut new = Expect { interim: None, to: expect.to.clone(), ..Expect::default() };
        let is_first = number == 0;
        new.status = match &expect.status {
            // What is not found, not allowed or failing is so by the app.
            Some(Statuses::One(404 | 405 | 422 | 500)) if !has_content => return None,
            Some(Statuses::One(405)) => return None,
            status if refuses(status.as_ref()) && !(has_content && matches!(status, Some(Statuses::One(422)))) => {
                status.clone()
            }
            _ if has_content && is_first => Some(Statuses::Many(ANY_STATUS.to_vec())),
            Some(Statuses::One(200) | Statuses::Class(_)) => Some(Statuses::One(served)),
            _ => return None,
        };
        // That it says close where it closes can be told of any server.
        if let Some(rule) = expect.headers.get("connection") {
            new.headers.insert("connection".into(), rule.clone());
        }
        expects.push(new);
    }
    Some(Outcome { expect: Answers::Many(expects), after: one.after, told: crate::score::Told::new() })
}

/// The cases for any server, in the order of their ids.
pub fn cases(suite: &Suite, path: &str, served: u16) -> Vec<Loaded> {
    suite.cases.iter().filter_map(|case| for_any_server(case, path, served)).collect()
}

/// Runs `probe`.
pub fn probe_command(suite: &Suite, arguments: &ProbeArgs) -> Result<u8, String> {
    if !arguments.path.starts_with('/') {
        return Err(format!("--path {}: a path begins with /", arguments.path));
    }
    if arguments.list {
        for case in cases(suite, &arguments.path, 200) {
            sayln!("{}\t{}\t{}\t{}", case.id, case.level.name(), case.source, case.case.title);
        }
        return Ok(AS_EXPECTED);
    }
    let started = Instant::now();
    let address = Launcher::address_of(&arguments.url)?;
    let patience = Duration::from_secs(arguments.patience.max(1));
    let asked = Probe { target: arguments.path.clone(), status: 200, body: None };
    let first = reach(address, &asked, patience.max(Duration::from_secs(5)))?;
    if first.status >= 400 {
        return Err(format!(
            "GET {} gets {}: name a path that the server serves, with --path (any status below 400 will do)",
            arguments.path, first.status
        ));
    }
    let own = Suite {
        cases: cases(suite, &arguments.path, first.status),
        probe: Probe { status: first.status, ..asked },
        ..suite.clone()
    };
    let launcher = Launcher { source: Source::Address(address), root: PathBuf::from(&own.root), apps: None };
    let context = Context { suite: &own, launcher: &launcher, liveness: true, patience };
    let chosen: Vec<&Loaded> = own.cases.iter().collect();
    let results = crate::run::run(context, &chosen, None, arguments.jobs, &|_| crate::run::Next::Go);
    // A server that goes away in the middle has been judged on less than it seems.
    let gone = reach(address, &own.probe, patience.max(Duration::from_secs(5))).err();
    let name = first.values("server").next().map(|name| format!(" ({name})")).unwrap_or_default();
    let run = Run { server: format!("{}{name}", arguments.url), results, stale: Vec::new() };
    say!("{}", report::summary(&run));
    say!("{}", causes::summary(&run.results, 6));
    if arguments.verbose {
        say!("\n{}", report::details(&run, true));
    }
    sayln!(
        "\n  {:.1} s; --verbose shows what was sent and what came, --json FILE keeps it",
        started.elapsed().as_secs_f32()
    );
    if let Some(why) = gone {
        sayln!("  behind the last case the server serves no more: {why}");
    }
    write_reports(&arguments.reports, &run)?;
    Ok(if run.is_as_expected() { AS_EXPECTED } else { DEVIATION })
}
