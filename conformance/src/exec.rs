//! One case against one server: sends what it says, reads what comes, and compares.
//!
//! Cases with one write have alternatives: everything is read first, then the first outcome that fits is the verdict. Cases with steps
//! are judged step by step, since what is sent next may depend on what was read. Behind either, a new connection shows that the server
//! still serves: a server that answers nothing must not pass for one that refused. The parts with other processes are in
//! [`process`].

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::case::{After, Expect, Load, Outcome, Step};
use crate::client::{Client, Ending, Event, Missing};
use crate::frames;
use crate::judge::broken;
use crate::preflight::{Probe, of_io};
use crate::process;
use crate::response::{Response, lossy, parse_cut};
use crate::score;
use crate::server::{Launcher, Server};
use crate::suite::{Loaded, Suite, outcomes};
use crate::template::{Values, expand, request};
use crate::verdict::{CaseResult, Verdict};

/// How long an answer may take where the case does not say.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take to close a connection that it must close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a case runs in.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// All cases and setups.
    pub suite: &'a Suite,
    /// Starts further servers.
    pub launcher: &'a Launcher,
    /// Whether a new connection is tried behind each case.
    pub liveness: bool,
    /// How long an answer may take where the case does not say; 10 seconds, but for servers that are known to be silent.
    pub patience: Duration,
}

/// What came of a case.
struct Seen {
    clients: Vec<(String, Client)>,
    /// What happened on connections that were left.
    left: Vec<(String, Vec<Event>)>,
    answers: Vec<Response>,
    verdict: Verdict,
    reasons: Vec<String>,
    /// The connection itself has shown that the server serves.
    alive: bool,
}

/// Runs one case and judges it.
pub fn run_case(context: Context<'_>, loaded: &Loaded, server: &mut Server) -> CaseResult {
    let started = Instant::now();
    let call = score::new_call();
    let score = score::fields(&loaded.case.score, &format!("{call}-a"));
    let values = Values { host: server.address.to_string(), number: None, score };
    let patience = context.patience;
    let mut seen = if loaded.case.steps.is_empty() {
        one_exchange(context, loaded, server, &values, &call)
    } else {
        Steps::new(context, loaded, server, &values, &call).run()
    };
    // A case that ends its server leaves nothing to try.
    let ended = loaded.case.steps.iter().any(|step| step.signal.is_some() || step.exit.is_some() || step.ends);
    let tries = context.liveness && !seen.alive && !ended && needs_server(loaded);
    if tries && seen.verdict.passes() && server.exited().is_none() {
        let why = match Client::connect(server.address) {
            Ok(mut client) => probe(&mut client, &context.suite.probe, &values, patience).err(),
            Err(error) => Some(of_io(&error)),
        };
        if let Some(why) = why {
            seen.verdict = Verdict::Failed;
            seen.reasons.push(format!("behind the case the server does not serve a new connection: {why}"));
        }
    }
    for (_, client) in &mut seen.clients {
        client.settle();
    }
    CaseResult {
        id: loaded.id.clone(),
        file: loaded.file.clone(),
        line: loaded.line,
        suite: loaded.suite.clone(),
        title: loaded.case.title.clone(),
        level: loaded.level,
        source: loaded.source.clone(),
        verdict: seen.verdict,
        reasons: seen.reasons,
        ending: seen.clients.last().map_or(Ending::Open, |(_, client)| client.ending),
        exchange: seen
            .left
            .into_iter()
            .chain(seen.clients.into_iter().map(|(name, client)| (name, client.events)))
            .collect(),
        answers: seen.answers,
        took_ms: started.elapsed().as_millis() as u64,
        known: None,
    }
}

/// Whether the case is about the server that it runs against, and not about others that fail to start.
pub fn needs_server(loaded: &Loaded) -> bool {
    loaded.case.steps.is_empty() || loaded.case.steps.iter().any(|step| step.start.is_none())
}

/// Asks on this connection for what every server under test has.
fn probe(client: &mut Client, probe: &Probe, values: &Values, patience: Duration) -> Result<(), String> {
    client.send(&probe.request(&values.host), false);
    match client.answer("GET", patience) {
        Ok(response) if probe.fits(&response) => Ok(()),
        Ok(response) => Err(format!("a request behind it got {} {:?}", response.status, lossy(&response.body))),
        Err(missing) => Err(format!("a request behind it: {missing}")),
    }
}

/// What holds of the connection, tried in the way that `after` needs.
fn afterwards(client: &mut Client, after: After, context: Context<'_>, values: &Values) -> Result<(), String> {
    let patience = context.patience;
    match after {
        After::Any if client.left_over().is_empty() => Ok(()),
        After::Any => Err(format!("more came than the answers expected: {:?}", lossy(client.left_over()))),
        After::Open if client.ending != Ending::Open => Err("the connection is closed, not open".into()),
        After::Open => probe(client, &context.suite.probe, values, patience),
        After::Closed if client.wait_for_end(CLOSE_TIMEOUT.min(patience)) => Ok(()),
        After::Closed if client.left_over().is_empty() => Err("the connection is open, not closed".into()),
        After::Closed => Err(format!("more came than the answers expected: {:?}", lossy(client.left_over()))),
    }
}

fn one_exchange(context: Context<'_>, loaded: &Loaded, server: &Server, values: &Values, call: &str) -> Seen {
    let patience = context.patience;
    let failed = |reason: String| Seen {
        clients: Vec::new(),
        left: Vec::new(),
        answers: Vec::new(),
        verdict: Verdict::Failed,
        reasons: vec![reason],
        alive: false,
    };
    let mut client = match Client::connect(server.address) {
        Ok(client) => client,
        Err(error) => return failed(format!("no connection: {}", of_io(&error))),
    };
    let bytes = match loaded.bytes(values) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) => return failed(error),
    };
    client.send(&bytes, loaded.case.bytewise);
    if loaded.case.half_close {
        client.half_close();
    }
    let within = loaded.case.within_ms.map_or(patience, Duration::from_millis);
    let outcomes = outcomes(loaded);
    let count = outcomes.iter().map(|(_, outcome)| outcome.expect.list().len()).max().unwrap_or(0);
    let mut answers = Vec::new();
    let mut missing = None;
    while answers.len() < count && missing.is_none() {
        let to = outcomes[0].1.expect.list().get(answers.len()).and_then(|expect| expect.to.clone());
        let method = to.unwrap_or_else(|| if answers.is_empty() { method_of(&bytes) } else { "GET".into() });
        match client.answer(&method, within) {
            Ok(response) => answers.push(response),
            Err(why) => missing = Some(why),
        }
    }
    // An answer without its end: right where an outcome says so.
    let cut = match missing {
        Some(Missing::Ended(_)) => parse_cut(client.left_over()),
        _ => None,
    };
    let mut reasons = Vec::new();
    for (verdict, outcome) in &outcomes {
        let expected = outcome.expect.list();
        let mut wrong = Vec::new();
        let is_cut = expected.last().is_some_and(|expect| expect.cut);
        let mut answers = answers.clone();
        answers.extend(cut.clone().filter(|_| is_cut && answers.len() + 1 == expected.len()));
        if is_cut && cut.is_none() {
            wrong.push(match &missing {
                Some(Missing::Late) => "the answer does not end, and neither does the connection".into(),
                Some(missing) => format!("an answer that is cut is due: {missing}"),
                None => "the answer is whole, and should be cut".into(),
            });
        } else if expected.len() != answers.len() {
            wrong.push(match &missing {
                Some(missing) if answers.len() < expected.len() => format!("answer {}: {missing}", answers.len() + 1),
                _ => format!("{} answers came, not {}", answers.len(), expected.len()),
            });
        } else if let Some(why @ Missing::Malformed(_)) = &missing {
            wrong.push(why.to_string());
        }
        for (number, (response, expect)) in answers.iter().zip(expected).enumerate() {
            let place = if expected.len() > 1 { format!("answer {}: ", number + 1) } else { String::new() };
            wrong.extend(broken(response, expect, values).into_iter().map(|rule| format!("{place}{rule}")));
        }
        if wrong.is_empty() {
            let found = if is_cut { Ok(()) } else { afterwards(&mut client, outcome.after, context, values) };
            let found = found
                .map_err(Untold::from)
                .and_then(|()| told(outcome, loaded, server, call, answers.last(), values, patience));
            match found {
                Ok(()) => {
                    let alive = outcome.after == After::Open;
                    let clients = vec![("a".to_owned(), client)];
                    let reasons =
                        if verdict.passes() { Vec::new() } else { vec!["the server does not implement it".into()] };
                    let left = Vec::new();
                    return Seen { clients, left, answers, verdict: *verdict, reasons, alive };
                }
                Err(Untold::Wrong(why)) => wrong.push(why),
                Err(Untold::Unknown) => {
                    let reasons = vec![NO_FOLDER.to_owned()];
                    let (clients, left) = (vec![("a".to_owned(), client)], Vec::new());
                    return Seen { clients, left, answers, verdict: Verdict::Skipped, reasons, alive: false };
                }
            }
        }
        if reasons.is_empty() {
            reasons = wrong;
        }
    }
    let left = Vec::new();
    Seen { clients: vec![("a".into(), client)], left, answers, verdict: Verdict::Failed, reasons, alive: false }
}

/// Why what the mirror app told does not fit.
enum Untold {
    /// It is not as it should be.
    Wrong(String),
    /// Nobody said where the app writes it.
    Unknown,
}

impl From<String> for Untold {
    fn from(why: String) -> Self {
        Untold::Wrong(why)
    }
}

/// Why a case is skipped whose app tells something in a file.
const NO_FOLDER: &str =
    "what the mirror app tells behind its answer is in a folder: start the server, and this, with MIRROR_FOLDER=DIR";

/// Holds what the mirror app told against the outcome: in the answer where the score ends with `tell`, else in its file.
fn told(
    outcome: &Outcome,
    loaded: &Loaded,
    server: &Server,
    call: &str,
    answer: Option<&Response>,
    values: &Values,
    patience: Duration,
) -> Result<(), Untold> {
    if outcome.told.is_empty() {
        return Ok(());
    }
    let is_tell = |step: &serde_json::Value| step == "tell" || step.get(0).is_some_and(|name| name == "tell");
    match (loaded.case.score.last().is_some_and(is_tell), answer, &server.folder) {
        (true, Some(answer), _) => Ok(score::check_answer(&outcome.told, &answer.body, values)?),
        (_, _, Some(folder)) => Ok(score::check_file(&outcome.told, folder, &format!("{call}-a"), values, patience)?),
        _ => Err(Untold::Unknown),
    }
}

/// The first word of the bytes.
fn method_of(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    lossy(bytes[start..].split(|byte| *byte == b' ').next().unwrap_or(b"GET"))
}

/// A case with steps, while it runs.
struct Steps<'a> {
    context: Context<'a>,
    loaded: &'a Loaded,
    server: &'a mut Server,
    values: &'a Values,
    /// What the calls of this run of the case are named after.
    call: &'a str,
    clients: Vec<(String, Client)>,
    left: Vec<(String, Vec<Event>)>,
    /// The methods of requests that wait for their answers, by connection.
    asked: HashMap<String, VecDeque<String>>,
    answers: Vec<Response>,
    reasons: Vec<String>,
}

impl<'a> Steps<'a> {
    fn new(
        context: Context<'a>,
        loaded: &'a Loaded,
        server: &'a mut Server,
        values: &'a Values,
        call: &'a str,
    ) -> Self {
        let (clients, left, asked) = (Vec::new(), Vec::new(), HashMap::new());
        Self { context, loaded, server, values, call, clients, left, asked, answers: Vec::new(), reasons: Vec::new() }
    }

    fn run(mut self) -> Seen {
        let steps = &self.loaded.case.steps;
        let needs_folder = steps.iter().any(|step| step.flag.is_some() || !step.told.is_empty());
        if needs_folder && self.server.folder.is_none() {
            self.reasons.push(NO_FOLDER.into());
            return self.seen(Verdict::Skipped);
        }
        for (number, step) in steps.iter().enumerate() {
            if let Err(why) = self.step(step) {
                self.reasons.push(format!("step {}: {why}", number + 1));
                break;
            }
        }
        if let (Some((_, client)), true) = (self.clients.last_mut(), self.reasons.is_empty())
            && let Err(why) = afterwards(client, self.loaded.after, self.context, self.values)
        {
            self.reasons.push(why);
        }
        let mut verdict = if self.reasons.is_empty() { Verdict::Ok } else { Verdict::Failed };
        let last = self.answers.last();
        if verdict == Verdict::Failed
            && let Some(last) = last
        {
            let missing = self.loaded.case.unimplemented.iter().flat_map(|outcome| outcome.expect.list());
            if missing.into_iter().any(|expect| broken(last, expect, self.values).is_empty()) {
                verdict = Verdict::Unimplemented;
            }
        }
        self.seen(verdict)
    }

    fn seen(self, verdict: Verdict) -> Seen {
        let Self { clients, left, answers, reasons, .. } = self;
        Seen { clients, left, answers, verdict, reasons, alive: false }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(pause) = step.pause_ms {
            std::thread::sleep(Duration::from_millis(pause));
        }
        let name = step.on.clone().unwrap_or("a".into());
        let call = match step.call.as_deref() {
            Some("lifespan") => "lifespan".to_owned(),
            call => format!("{}-{}", self.call, call.unwrap_or(&name)),
        };
        let values = Values { score: score::fields(&step.score, &call), ..self.values.clone() };
        let bytes = match (&step.send, &step.request) {
            (Some(send), _) => Some(expand(send, &values)?),
            (_, Some(line)) => Some(request(line, &step.headers, step.body.as_deref(), &values)?),
            _ => None,
        };
        if let Some(bytes) = bytes {
            let method = method_of(&bytes);
            if method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                self.asked.entry(name.clone()).or_default().push_back(method);
            }
            self.client(&name)?.send(&bytes, step.bytewise);
        } else if step.on.is_some() {
            self.client(&name)?;
        }
        if step.half_close {
            self.client(&name)?.half_close();
        }
        if step.abort {
            self.client(&name)?.abort();
        }
        if step.leave
            && let Some(at) = self.clients.iter().position(|(given, _)| *given == name)
        {
            let (name, mut client) = self.clients.remove(at);
            client.events.push(Event::Aborted);
            self.left.push((name, std::mem::take(&mut client.events)));
        }
        if let (Some(flag), Some(folder)) = (&step.flag, &self.server.folder) {
            score::raise_flag(folder, &call, flag)?;
        }
        if let Some(text) = &step.arrives {
            let wanted = expand(text, self.values)?;
            let within = self.context.patience;
            let found = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted).then_some(((), 0));
            let arrived = self.client(&name)?.take(within, |bytes| Ok(found(bytes)));
            arrived.map_err(|missing| format!("{text:?} does not arrive: {missing}"))?;
        }
        if let Some(silence) = step.silent_ms
            && !self.client(&name)?.is_silent(Duration::from_millis(silence))
        {
            return Err(format!("the connection is not silent for {silence} ms"));
        }
        if let Some(expect) = &step.expect {
            self.expect(&name, expect)?;
        }
        if let Some(after) = step.after {
            let (values, context) = (self.values, self.context);
            afterwards(self.client(&name)?, after, context, values)?;
        }
        if let Some(expected) = &step.message {
            self.message(&name, expected)?;
        }
        if let (Some(folder), false) = (&self.server.folder, step.told.is_empty()) {
            score::check_file(&step.told, folder, &call, self.values, self.context.patience)?;
        }
        if let Some(load) = &step.load {
            run_load(load, self.server, self.values, self.context.patience)?;
        }
        process::step(step, &self.loaded.setup, self.context, self.server)
    }

    fn expect(&mut self, name: &str, expect: &Expect) -> Result<(), String> {
        let within = self.loaded.case.within_ms.map_or(self.context.patience, Duration::from_millis);
        let asked = self.asked.get_mut(name).and_then(VecDeque::pop_front);
        let method = expect.to.clone().or(asked).unwrap_or("GET".into());
        let answered = self.client(name)?.answer(&method, within);
        let response = match (answered, expect.cut) {
            (Ok(_), true) => return Err("the answer is whole, and should be cut".into()),
            (Err(Missing::Ended(_)), true) => {
                let client = self.client(name)?;
                let response = parse_cut(client.left_over()).ok_or("the answer has no head")?;
                client.take(within, |bytes| Ok(Some(((), bytes.len())))).map_err(|missing| missing.to_string())?;
                response
            }
            (answered, _) => answered.map_err(|missing| missing.to_string())?,
        };
        let wrong = broken(&response, expect, self.values);
        self.answers.push(response);
        // The exchange goes on: later answers are part of what the report shows.
        self.reasons.extend(wrong);
        Ok(())
    }

    /// Reads a WebSocket message; pings of the server are passed over.
    fn message(&mut self, name: &str, expected: &frames::Expected) -> Result<(), String> {
        let bytes = expected.bytes.as_ref().map(|bytes| expand(bytes, self.values)).transpose()?;
        let within = self.context.patience;
        let may_end = expected.close.as_ref().is_some_and(|codes| codes.contains(&1006));
        loop {
            let taken = self.client(name)?.take(within, frames::parse);
            if may_end && matches!(taken, Err(Missing::Ended(_))) {
                return Ok(());
            }
            let message = taken.map_err(|missing| match missing {
                Missing::Malformed(rule) => format!("what came is no message: {rule}"),
                other => format!("no message: {}", other.to_string().replace("a whole answer", "a whole message")),
            })?;
            if !matches!(message, frames::Message::Ping(_)) {
                return expected.broken(&message, bytes).map_or(Ok(()), Err);
            }
        }
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        if let Some(at) = self.clients.iter().position(|(given, _)| given == name) {
            return Ok(&mut self.clients[at].1);
        }
        let client =
            Client::connect(self.server.address).map_err(|error| format!("no connection: {}", of_io(&error)))?;
        self.clients.push((name.to_owned(), client));
        Ok(&mut self.clients.last_mut().expect("one was pushed").1)
    }
}

/// Many requests at once; the error is the first answer that was none of those expected.
fn run_load(load: &Load, server: &Server, values: &Values, patience: Duration) -> Result<(), String> {
    let started = Instant::now();
    let expected = load.expect.list();
    let one = |number: usize, client: &mut Client| -> Result<usize, String> {
        let values = Values { number: Some(number), ..values.clone() };
        let bytes = request(&load.request, &[], load.body.as_deref(), &values)?;
        client.send(&bytes, false);
        let within = load.within_ms.map_or(patience * 2, Duration::from_millis).min(patience * 2);
        let response =
            client.answer(&method_of(&bytes), within).map_err(|missing| format!("request {number}: {missing}"))?;
        let wrong: Vec<_> = expected.iter().map(|expect| broken(&response, expect, &values)).collect();
        let fits = wrong.iter().position(Vec::is_empty);
        fits.ok_or_else(|| format!("request {number}: {}", wrong[0].join("; ")))
    };
    let results: Vec<Result<Vec<usize>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections)
            .map(|connection| {
                scope.spawn(move || {
                    let mut client =
                        Client::connect(server.address).map_err(|error| format!("no connection: {}", of_io(&error)))?;
                    (0..load.each).map(|round| one(connection * load.each + round, &mut client)).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the thread does not panic")).collect()
    });
    let mut counts = vec![0; expected.len()];
    for result in results {
        for fits in result? {
            counts[fits] += 1;
        }
    }
    for (number, least) in load.at_least.iter().enumerate() {
        if counts.get(number).is_none_or(|count| count < least) {
            return Err(format!("of the answers expected, {counts:?} came, not at least {:?}", load.at_least));
        }
    }
    match load.within_ms {
        Some(within) if started.elapsed() > Duration::from_millis(within) => {
            Err(format!("the load took {} ms, not {within}", started.elapsed().as_millis()))
        }
        _ => Ok(()),
    }
}

/// Events as lines for a person.
pub fn shown(events: &[Event]) -> Vec<String> {
    let bytes = |bytes: &[u8]| {
        const SHOWN: usize = 600;
        let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
        format!("{}{more}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
    };
    let line = |event: &Event| match event {
        Event::Sent(sent) => format!("→ {}", bytes(sent)),
        Event::Received(received) => format!("← {}", bytes(received)),
        Event::HalfClosed => "→ (no more will be sent)".into(),
        Event::Aborted => "→ (given up)".into(),
        Event::Ended(ending) => format!("← ({ending})"),
    };
    events.iter().map(line).collect()
}
