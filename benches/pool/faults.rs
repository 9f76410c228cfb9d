//! Handlers that do their worst on one worker: what the requests that the other serves notice of it.

use std::time::Duration;

use crate::common::Server;
use crate::load::{Arrival, open_loop, percentile};

/// Trivial requests per second, beside the fault.
const RATE: u32 = 200;
const FAULTS: [&str; 12] = [
    "/spin",
    "/stuck?seconds=1",
    "/stuck/holding?seconds=1",
    "/stubborn?seconds=1",
    "/recursion",
    "/list",
    "/raise/exit",
    "/raise/base",
    "/exit",
    "/threads",
    "/asyncio",
    "/fork",
];
/// So often without the fault and with it, in turn: at this rate a p99 of one round hangs by ten requests.
const ROUNDS: u32 = 3;
/// Faults follow each other at this distance.
const EVERY: Duration = Duration::from_millis(1000);

/// `seconds` without each fault and as long with it, in each round.
pub fn run(seconds: u64) {
    let length = Duration::from_secs(seconds);
    println!(
        "2 workers, {RATE} trivial requests/s, {ROUNDS} times for {seconds} s without and {seconds} s with a fault every {EVERY:?}; \
         latency in ms, of all rounds together"
    );
    println!(
        "{:28} {:>8} {:>10} {:>12} {:>12} {:>7}",
        "fault", "answers", "status", "p99 without", "p99 with", "ratio"
    );
    for fault in FAULTS {
        let options = ["--workers", "2", "--interrupt-grace", "100ms", "--max-replacements", "100"];
        let server = Server::start("faults:app", &options);
        let trivial =
            (0..RATE * seconds as u32).map(|index| Arrival { due: Duration::from_secs(1) * index / RATE, kind: 0 });
        let quiet: Vec<Arrival> = trivial.collect();
        let faults = (0..).map(|index| Arrival { due: EVERY * index, kind: 1 }).take_while(|fault| fault.due < length);
        let mut disturbed: Vec<Arrival> = quiet.iter().copied().chain(faults).collect();
        disturbed.sort_by_key(|arrival| arrival.due);
        let (mut without, mut with) = (Seen::default(), Seen::default());
        for _ in 0..ROUNDS {
            without.take_in(&server, fault, &quiet);
            with.take_in(&server, fault, &disturbed);
        }
        let answers = with.statuses.len();
        with.statuses.sort_unstable();
        with.statuses.dedup();
        let statuses = with.statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        let p99 = |seen: &mut Seen| percentile(&mut seen.latencies, 0.99).as_secs_f64() * 1e3;
        let (without, with) = (p99(&mut without), p99(&mut with));
        println!("{fault:28} {answers:>8} {statuses:>10} {without:>12.2} {with:>12.2} {:>7.2}", with / without);
    }
}

/// What came back.
#[derive(Default)]
struct Seen {
    /// Of the trivial requests, each of which must be answered.
    latencies: Vec<Duration>,
    /// What the faults were answered with.
    statuses: Vec<u16>,
}

impl Seen {
    fn take_in(&mut self, server: &Server, fault: &str, arrivals: &[Arrival]) {
        for sample in open_loop(server.port, &["/quick", fault], arrivals, 64) {
            let status = sample.answer.as_ref().map_or(0, |answer| answer.status);
            if sample.kind == 0 {
                assert_eq!(status, 200, "a trivial request beside {fault}: {}", server.log());
                self.latencies.push(sample.latency);
            } else {
                self.statuses.push(status);
            }
        }
    }
}
