//! A run: many cases at once, each on a server that no other case can have spoilt.
//!
//! Cases of one setup share a server, and each uses connections of its own. A case that ends its server, or says `alone`, gets one for
//! itself. What fails on a shared server is judged again alone, on a new one, and that verdict counts: so a failure is the case's own,
//! whatever ran beside it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::client::Ending;
use crate::exec::{Context, needs_server, run_case};
use crate::server::{NoServer, Server, Source};
use crate::suite::Loaded;
use crate::verdict::{CaseResult, Verdict};

/// A server for all cases of a setup, or why there is none. Cases hold it only to read its address.
type Shared = Arc<Result<Mutex<Server>, NoServer>>;

/// Whether the run goes on behind a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With the cases that are left.
    Go,
    /// Cases that run already are ended, and no other one begins.
    Stop,
}

/// Runs the cases on `jobs` threads; `first` is the server of a setup that runs already, `done` hears of each result as it comes.
pub fn run(
    context: Context<'_>,
    cases: &[&Loaded],
    first: Option<(String, Server)>,
    jobs: usize,
    done: &(dyn Fn(&CaseResult) -> Next + Sync),
) -> Vec<CaseResult> {
    let shared: Mutex<HashMap<String, Arc<Mutex<Option<Shared>>>>> = Mutex::default();
    if let Some((setup, server)) = first {
        let slot = Arc::new(Mutex::new(Some(Arc::new(Ok(Mutex::new(server))))));
        shared.lock().expect("no thread panics").insert(setup, slot);
    }
    let left: Mutex<VecDeque<&Loaded>> = Mutex::new(cases.iter().copied().collect());
    let results = Mutex::new(Vec::with_capacity(cases.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no thread panics").pop_front();
                    let Some(case) = next else { break };
                    let result = run_one(context, case, &shared);
                    if done(&result) == Next::Stop {
                        left.lock().expect("no thread panics").clear();
                    }
                    results.lock().expect("no thread panics").push(result);
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics");
    results.sort_by(|left, right| left.id.cmp(&right.id));
    results
}

fn run_one(
    context: Context<'_>,
    case: &Loaded,
    shared: &Mutex<HashMap<String, Arc<Mutex<Option<Shared>>>>>,
) -> CaseResult {
    if case.case.alone {
        if matches!(context.launcher.source, Source::Address(_)) {
            return not_run(case, Verdict::Skipped, "the case needs a server that the runner starts".into());
        }
        return run_alone(context, case);
    }
    let slot = shared.lock().expect("no thread panics").entry(case.setup.clone()).or_default().clone();
    let server = slot
        .lock()
        .expect("no thread panics")
        .get_or_insert_with(|| {
            let launched = context.launcher.launch(&case.setup, &context.suite.setups[&case.setup]);
            Arc::new(launched.map(Mutex::new))
        })
        .clone();
    let mut mine = match &*server {
        Ok(server) => server.lock().expect("no thread panics").borrowed(),
        Err(why) => return no_server(case, why),
    };
    let result = run_case(context, case, &mut mine);
    let is_mine = !matches!(context.launcher.source, Source::Address(_));
    if result.verdict == Verdict::Failed && is_mine {
        // It may have brought the server down, or another case may have: the next ones get a new one.
        let mut current = slot.lock().expect("no thread panics");
        let dead = server.as_ref().as_ref().is_ok_and(|server| {
            let mut server = server.lock().expect("no thread panics");
            server.exited().is_some() || std::net::TcpStream::connect(server.address).is_err()
        });
        if dead && current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &server)) {
            *current = None;
        }
        drop(current);
        return run_alone(context, case);
    }
    result
}

fn run_alone(context: Context<'_>, case: &Loaded) -> CaseResult {
    if !needs_server(case) {
        let setups = case.case.steps.iter().filter_map(|step| step.start.as_ref()).map(|start| &start.setup);
        for name in setups {
            let setup = context.suite.setups.get(name).ok_or(NoServer::DidNotStart(format!("no setup {name}")));
            if let Err(why) = setup.and_then(|setup| context.launcher.can_run(name, setup)) {
                return no_server(case, &why);
            }
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        return run_case(context, case, &mut Server { address: nowhere, process: None, folder: None });
    }
    match context.launcher.launch(&case.setup, &context.suite.setups[&case.setup]) {
        Ok(mut server) => run_case(context, case, &mut server),
        Err(why) => no_server(case, &why),
    }
}

fn no_server(case: &Loaded, why: &NoServer) -> CaseResult {
    match why {
        NoServer::CannotConfigure(why) => not_run(case, Verdict::Skipped, why.clone()),
        NoServer::NoOption(why) => not_run(case, Verdict::Unimplemented, why.clone()),
        NoServer::DidNotStart(why) => not_run(case, Verdict::Failed, format!("no server: {why}")),
    }
}

fn not_run(case: &Loaded, verdict: Verdict, reason: String) -> CaseResult {
    CaseResult {
        id: case.id.clone(),
        file: case.file.clone(),
        line: case.line,
        suite: case.suite.clone(),
        title: case.case.title.clone(),
        level: case.level,
        source: case.source.clone(),
        verdict,
        reasons: vec![reason],
        ending: Ending::Open,
        exchange: Vec::new(),
        answers: Vec::new(),
        took_ms: 0,
        known: None,
    }
}
