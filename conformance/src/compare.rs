//! The commands that tell servers apart: `record`, `compare`, `minimize`, `fuzz`.
//!
//! A side is a transcript (a file), or a live server: `http://HOST:PORT`, `target:NAME`, `target:NAME@APP_DIR`, `start:COMMAND`. Of two
//! live servers each difference gets a minimal example; of transcripts, the shortest one recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::{AS_EXPECTED, DEVIATION, Selection, save};
use crate::difference::{Group, compare, differences};
use crate::fuzz::{Random, generate};
use crate::minimize::minimize;
use crate::preflight::{Probe, learn, of_io, reach};
use crate::proxy::Kind;
use crate::response::latin1;
use crate::sayln;
use crate::server::{Launcher, Server, Source, how};
use crate::suite::{Loaded, Suite, outcomes};
use crate::template::Values;
use crate::through::Through;
use crate::transcript::{Exchange, NO_CONNECTION, observe, read, write};

/// How long an answer may take: what both servers answer at all, they answer at once.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The same for generated requests, many of which no server answers.
const ANSWER_PATIENCE: Duration = Duration::from_millis(400);

/// How long the first answer of all may take.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// How long the shrinking of one difference may last.
const SHRINK_TIMEOUT: Duration = Duration::from_secs(20);

/// The same while a request is shrunk: where both are silent for that long, the request is too short.
const SHRINK_PATIENCE: Duration = Duration::from_millis(150);

/// Options of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The server.
    side: String,
    /// Where to write the transcript.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    selection: Selection,
}

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The reference: a transcript, http://…, target:NAME, target:NAME@APP_DIR or start:COMMAND.
    reference: String,
    /// The candidate, in the same way.
    candidate: String,
    #[command(flatten)]
    selection: Selection,
    /// Write the groups as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Options of `minimize`.
#[derive(Debug, Args)]
pub struct MinimizeArgs {
    /// The reference.
    reference: String,
    /// The candidate.
    candidate: String,
    /// The request, as bytes in a file; `<<host>>` stands for the server's address.
    request: PathBuf,
}

/// Options of `fuzz`.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// The reference.
    reference: String,
    /// The candidate.
    #[arg(required_unless_present = "through")]
    candidate: Option<String>,
    /// Instead of a candidate: send the requests through this proxy, which is started for it, and find what proxy and server count differently.
    #[arg(long, value_name = "PROXY", conflicts_with = "candidate")]
    through: Option<Kind>,
    /// End after so many requests, if the time is not up first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// The seed; the same seed gives the same requests.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Write the groups as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One side of a comparison.
enum Side {
    Recorded(Vec<Exchange>),
    Live(Live),
}

/// A server that has answered once.
struct Live {
    name: String,
    server: Server,
    /// With the answer that it gives, whether or not it serves the suite's app.
    probe: Probe,
}

impl Live {
    /// In one line how its process ended, if it did.
    fn ended(&mut self) -> Option<String> {
        let status = self.server.exited()?;
        Some(format!("{} ended {} meanwhile", self.name, how(status)))
    }

    /// In one line why it serves no more, if it does not.
    fn gone(&mut self) -> Option<String> {
        if let Some(why) = self.ended() {
            return Some(why);
        }
        let error = reach(self.server.address, &self.probe, FIRST_PATIENCE).err()?;
        Some(format!("{} serves no more: {error}", self.name))
    }
}

impl Side {
    fn open(text: &str, suite: &Suite) -> Result<Self, String> {
        let launcher = |source, apps| Launcher { source, root: suite.root.clone(), apps };
        let launcher = if let Some(command) = text.strip_prefix("start:") {
            launcher(Source::Command(command.into()), None)
        } else if let Some(target) = text.strip_prefix("target:") {
            let (name, apps) = target.split_once('@').map_or((target, None), |(name, apps)| (name, Some(apps.into())));
            launcher(Launcher::target(name, &suite.root)?, apps)
        } else if text.starts_with("http://") {
            launcher(Source::Address(Launcher::address_of(text)?), None)
        } else {
            let file =
                std::fs::read_to_string(Path::new(text)).map_err(|error| format!("{text}: {}", of_io(&error)))?;
            return Ok(Side::Recorded(read(&file).map_err(|error| format!("{text}: {error}"))?));
        };
        let server = launcher.launch("default", &suite.setups["default"]).map_err(|why| format!("{text}: {why}"))?;
        let probe = learn(server.address, &suite.probe, FIRST_PATIENCE).map_err(|why| format!("{text}: {why}"))?;
        Ok(Side::Live(Live { name: text.into(), server, probe }))
    }

    fn live(self, text: &str) -> Result<Live, String> {
        match self {
            Side::Live(live) => Ok(live),
            Side::Recorded(_) => Err(format!("{text} is a transcript, and a live server is needed")),
        }
    }

    fn exchanges(&self, cases: &[&Loaded]) -> Result<Vec<Exchange>, String> {
        match self {
            Side::Recorded(exchanges) => {
                let selected = |exchange: &&Exchange| cases.iter().any(|case| case.id == exchange.id);
                Ok(exchanges.iter().filter(selected).cloned().collect())
            }
            Side::Live(live) => cases.iter().filter_map(|case| recorded(case, live).transpose()).collect(),
        }
    }

    /// In one line why it serves no more, if it does not.
    fn gone(&mut self) -> Option<String> {
        match self {
            Side::Recorded(_) => None,
            Side::Live(live) => live.gone(),
        }
    }
}

/// What the server answers to the bytes of a case; None for a case that is more than its bytes.
fn recorded(case: &Loaded, live: &Live) -> Result<Option<Exchange>, String> {
    // Interpreters count for themselves, and what is timed differs by itself.
    if case.setup != "default" || case.case.half_close {
        return Ok(None);
    }
    let values = Values { host: live.server.address.to_string(), ..Values::default() };
    let Some(bytes) = case.bytes(&values)? else { return Ok(None) };
    let count = outcomes(case).iter().map(|(_, outcome)| outcome.expect.list().len()).max().unwrap_or(1);
    Ok(Some(observe(live.server.address, &live.probe, &case.id, &bytes, count, PATIENCE)))
}

/// Writes what a server answers to the suite's requests.
pub fn record_command(suite: &Suite, arguments: &RecordArgs) -> Result<u8, String> {
    let cases = arguments.selection.of(suite, &[])?;
    let mut side = Side::open(&arguments.side, suite)?;
    let exchanges = some_of(side.exchanges(&cases)?, &arguments.side)?;
    if let Some(why) = side.gone() {
        return Err(format!("nothing is recorded: {why}"));
    }
    save(&arguments.output, &write(&exchanges))?;
    sayln!("{} exchanges of {} in {}", exchanges.len(), arguments.side, arguments.output.display());
    Ok(AS_EXPECTED)
}

/// Tells two sides apart.
pub fn compare_command(suite: &Suite, arguments: &CompareArgs) -> Result<u8, String> {
    let cases = arguments.selection.of(suite, &[])?;
    let mut left = Side::open(&arguments.reference, suite)?;
    let mut right = Side::open(&arguments.candidate, suite)?;
    let ours = some_of(left.exchanges(&cases)?, &arguments.reference)?;
    let theirs = some_of(right.exchanges(&cases)?, &arguments.candidate)?;
    let mut groups = compare(&ours, &theirs);
    let gone = left.gone().or_else(|| right.gone());
    if let (Side::Live(left), Side::Live(right), None) = (&left, &right, &gone) {
        for group in &mut groups {
            shrink(group, left, right, Instant::now() + SHRINK_TIMEOUT);
        }
    }
    // What dies at the same request on both sides would be no difference.
    match gone {
        Some(why) if groups.is_empty() => return Err(why),
        Some(why) => sayln!("{why}\n"),
        None => {}
    }
    finish(&groups, &arguments.json)
}

/// Shrinks one request.
pub fn minimize_command(suite: &Suite, arguments: &MinimizeArgs) -> Result<u8, String> {
    let left = Side::open(&arguments.reference, suite)?.live(&arguments.reference)?;
    let right = Side::open(&arguments.candidate, suite)?.live(&arguments.candidate)?;
    let bytes = std::fs::read(&arguments.request)
        .map_err(|error| format!("{}: {}", arguments.request.display(), of_io(&error)))?;
    if bytes.is_empty() {
        return Err(format!("{} is empty", arguments.request.display()));
    }
    let found = ask(&left, &right, &bytes, ANSWER_PATIENCE);
    let Some((kind, detail)) = found.into_iter().next() else {
        sayln!("the two do not differ on it");
        return Ok(AS_EXPECTED);
    };
    let example = latin1(&bytes);
    let mut groups = [Group { kind, ids: vec![arguments.request.display().to_string()], example, detail }];
    shrink(&mut groups[0], &left, &right, Instant::now() + SHRINK_TIMEOUT);
    finish(&groups, &None)
}

/// Generates requests and compares until the time is up.
pub fn fuzz_command(suite: &Suite, arguments: &FuzzArgs) -> Result<u8, String> {
    let left = Side::open(&arguments.reference, suite)?.live(&arguments.reference)?;
    let mut against = match (&arguments.candidate, arguments.through) {
        (Some(candidate), _) => Against::Server(left, Side::open(candidate, suite)?.live(candidate)?),
        (None, Some(kind)) => {
            let through = Through::open(kind, left.server.address, &left.probe)?;
            Against::Proxy(left, through)
        }
        (None, None) => return Err("a candidate, or --through, says what to compare with".into()),
    };
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = arguments.seed.unwrap_or(clock);
    sayln!("seed {seed}");
    let values = Values { host: "<<host>>".into(), ..Values::default() };
    // Not the large ones, and none that a server sleeps over.
    let small = |case: &&Loaded| case.setup == "default" && case.suite == "http" && !case.id.contains("slow");
    let requests = suite.cases.iter().filter(small).filter_map(|case| case.bytes(&values).ok().flatten());
    let seeds: Vec<Vec<u8>> = requests.filter(|bytes| bytes.len() < 2000).collect();
    let (mut random, started) = (Random::new(seed), Instant::now());
    let mut groups: Vec<Group> = Vec::new();
    let mut count = 0;
    let mut gone = None;
    let deadline = started + Duration::from_secs(arguments.seconds);
    // A quarter of the time is for making what was found small.
    let last_request = started + Duration::from_secs(arguments.seconds).mul_f32(0.75);
    let most = arguments.requests.unwrap_or(u64::MAX);
    while count < most && Instant::now() < last_request && gone.is_none() {
        let bytes = generate(&mut random, &seeds);
        count += 1;
        gone = against.ended();
        for (kind, detail) in against.ask(&bytes) {
            if kind == UNREACHABLE {
                gone = against.gone();
            }
            let id = format!("request {count}");
            match groups.iter_mut().find(|group| group.kind == kind) {
                Some(group) => group.ids.push(id),
                None => groups.push(Group { kind, ids: vec![id], example: latin1(&bytes), detail }),
            }
        }
    }
    if let (Against::Proxy(..), None) = (&against, &gone) {
        gone = against.gone();
    }
    if let (Against::Proxy(..), Some(why)) = (&against, &gone) {
        return Err(format!("{why}, by request {count} of the seed {seed}"));
    }
    if let Some(why) = gone {
        sayln!("{why}; the last request before that is the example of {UNREACHABLE:?}");
    } else {
        let mut left_over = groups.len() as u32;
        for group in &mut groups {
            let share = deadline.saturating_duration_since(Instant::now()) / left_over;
            left_over -= 1;
            against.shrink(group, Instant::now() + share.min(SHRINK_TIMEOUT));
        }
    }
    sayln!("{count} requests");
    if count == 0 {
        return Err(format!("--seconds {} leaves no time for a request", arguments.seconds));
    }
    finish(&groups, &arguments.json)
}

/// What a fuzzed server is held against.
enum Against {
    /// Another server.
    Server(Live, Live),
    /// A proxy in front of it.
    Proxy(Live, Through),
}

impl Against {
    fn ask(&self, bytes: &[u8]) -> BTreeMap<String, String> {
        match self {
            Against::Server(left, right) => ask(left, right, bytes, ANSWER_PATIENCE),
            Against::Proxy(_, through) => through.ask(bytes),
        }
    }

    fn gone(&mut self) -> Option<String> {
        match self {
            Against::Server(left, right) => left.gone().or_else(|| right.gone()),
            Against::Proxy(server, through) => through.gone().or_else(|| server.gone()),
        }
    }

    /// The same, as far as it can be told without a request; behind a proxy nothing else tells it.
    fn ended(&mut self) -> Option<String> {
        match self {
            Against::Server(..) => None,
            Against::Proxy(server, through) => through.gone().or_else(|| server.ended()),
        }
    }

    fn shrink(&self, group: &mut Group, deadline: Instant) {
        match self {
            Against::Server(left, right) => shrink(group, left, right, deadline),
            Against::Proxy(_, through) => {
                let bytes: Vec<u8> = group.example.chars().map(|char| char as u8).collect();
                if let Some((smallest, detail)) = through.shrink(&group.kind, &bytes, deadline) {
                    (group.example, group.detail) = (latin1(&smallest), detail);
                }
            }
        }
    }
}

/// Asks both servers; what tells them apart.
fn ask(left: &Live, right: &Live, bytes: &[u8], patience: Duration) -> BTreeMap<String, String> {
    let asked = |live: &Live| {
        let host = live.server.address.to_string();
        let bytes: Vec<u8> = latin1(bytes).replace("<<host>>", &host).chars().map(|char| char as u8).collect();
        let count = 1 + bytes.windows(9).filter(|window| window == b" HTTP/1.1").count().saturating_sub(1).min(2);
        observe(live.server.address, &live.probe, "", &bytes, count, patience)
    };
    let (ours, theirs) = (asked(left), asked(right));
    let mut found = differences(&ours, &theirs);
    if [&ours, &theirs].iter().any(|exchange| exchange.missing.as_deref() == Some(NO_CONNECTION)) {
        found.insert(UNREACHABLE.into(), String::new());
    }
    found
}

/// The kind of difference that is none: a server that takes no connection any more.
const UNREACHABLE: &str = "a server is not there any more";

/// The exchanges, if there are any: nothing compared with nothing is no result.
fn some_of(exchanges: Vec<Exchange>, side: &str) -> Result<Vec<Exchange>, String> {
    if exchanges.is_empty() {
        return Err(format!("{side}: none of the selected cases is an exchange that can be recorded"));
    }
    Ok(exchanges)
}

/// Puts the smallest bytes that show the same kind of difference in place of the example.
fn shrink(group: &mut Group, left: &Live, right: &Live, deadline: Instant) {
    let bytes: Vec<u8> = group.example.chars().map(|char| char as u8).collect();
    let kind = group.kind.clone();
    let mut last = None;
    let mut differs = |candidate: &[u8]| {
        // One server alone may be wrong about anything; both must take it for a request, or refuse it, as before.
        let found =
            if Instant::now() < deadline { ask(left, right, candidate, SHRINK_PATIENCE).remove(&kind) } else { None };
        let holds = found.is_some();
        last = found.or(last.take());
        holds
    };
    if differs(&bytes) {
        let smallest = minimize(&bytes, &mut differs);
        group.example = latin1(&smallest);
        group.detail = last.unwrap_or_default();
    }
}

fn finish(groups: &[Group], json: &Option<PathBuf>) -> Result<u8, String> {
    for group in groups {
        let example: Vec<u8> = group.example.chars().map(|char| char as u8).collect();
        sayln!("{}  ({} of the requests: {})", group.kind, group.ids.len(), some(&group.ids));
        sayln!("  example   {}", example.escape_ascii());
        sayln!("  answers   {}\n", group.detail);
    }
    sayln!("{} kinds of difference", groups.len());
    if let Some(path) = json {
        let value = |group: &Group| {
            serde_json::json!({
                "kind": group.kind, "ids": group.ids, "example": group.example, "answers": group.detail,
            })
        };
        let groups: Vec<_> = groups.iter().map(value).collect();
        let text = format!("{:#}\n", serde_json::json!({ "groups": groups }));
        save(path, &text)?;
    }
    Ok(if groups.is_empty() { AS_EXPECTED } else { DEVIATION })
}

fn some(ids: &[String]) -> String {
    let more = if ids.len() > 3 { ", …" } else { "" };
    format!("{}{more}", ids.iter().take(3).cloned().collect::<Vec<_>>().join(", "))
}
