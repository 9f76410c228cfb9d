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
/// Faults follow each other at this distance.
const EVERY: Duration = Duration::from_millis(1000);

/// `seconds` for each fault, and as long without one before it.
pub fn run(seconds: u64) {
    let length = Duration::from_secs(seconds);
    println!("2 workers, {RATE} trivial requests/s for {seconds} s, and every {EVERY:?} a fault; latency in ms");
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
        let without = p99(&server, fault, &quiet);
        let with = p99(&server, fault, &disturbed);
        let (answers, statuses) = with.1;
        println!(
            "{fault:28} {answers:>8} {statuses:>10} {:>12.2} {:>12.2} {:>7.2}",
            without.0.as_secs_f64() * 1e3,
            with.0.as_secs_f64() * 1e3,
            with.0.as_secs_f64() / without.0.as_secs_f64()
        );
    }
}

/// The p99 of the trivial requests, each of which must be answered, and what the faults were answered with.
fn p99(server: &Server, fault: &str, arrivals: &[Arrival]) -> (Duration, (usize, String)) {
    let samples = open_loop(server.port, &["/quick", fault], arrivals, 64);
    let status = |answer: &Option<crate::load::Answer>| answer.as_ref().map_or(0, |answer| answer.status);
    let (trivial, faults): (Vec<_>, Vec<_>) = samples.into_iter().partition(|sample| sample.kind == 0);
    for sample in &trivial {
        assert_eq!(status(&sample.answer), 200, "a trivial request beside {fault}: {}", server.log());
    }
    let mut statuses: Vec<u16> = faults.iter().map(|sample| status(&sample.answer)).collect();
    let count = statuses.len();
    statuses.sort_unstable();
    statuses.dedup();
    let statuses = statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    let mut latencies: Vec<Duration> = trivial.iter().map(|sample| sample.latency).collect();
    (percentile(&mut latencies, 0.99), (count, statuses))
}
