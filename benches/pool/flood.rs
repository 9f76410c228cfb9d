//! Far more requests than the workers can answer: what is refused is refused cleanly, the rest goes on.

use std::time::Duration;

use crate::common::Server;
use crate::load::{Arrival, Sample, open_loop, percentile};

const HANDLER: &str = "/cpu/5";
const CONNECTIONS: usize = 10_000;
/// Twenty times what the workers can answer.
const LOAD: f64 = 20.0;
/// How long the capacity is measured, before the flood and after.
const CALM: Duration = Duration::from_secs(5);
/// Resident memory that the flood may add. Connections cost some KiB each; a queue without a bound would cost far more.
const GROWTH_MIB_MAX: u64 = 300;

/// `seconds` of flood.
pub fn run(seconds: u64) {
    // The load has to come from somewhere: it gets a core, with the I/O thread.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)).to_string();
    let server = Server::start("load:app", &["--workers", &workers, "--max-connections", "11000"]);
    let settled = server.resident_kib();
    let capacity = capacity(&server);
    let rate = capacity * LOAD;
    println!(
        "{workers} workers, {capacity:.0} answers/s before; flood: {rate:.0} requests/s over {CONNECTIONS} connections, {seconds} s"
    );

    let flood = open_loop(server.port, &[HANDLER], &evenly(rate, Duration::from_secs(seconds)), CONNECTIONS);
    let peak = server.peak_resident_kib();
    let answered = |status| flood.iter().filter(|sample| sample.status() == Some(status)).count();
    let (good, refused) = (answered(200), answered(503));
    let broken = flood.iter().filter(|sample| sample.answer.is_none()).count();
    let clean =
        flood.iter().filter(|sample| sample.answer.as_ref().is_some_and(|answer| answer.is_clean_503())).count();
    let took = flood.iter().map(|sample| sample.due + sample.latency).max().unwrap_or_default();
    let goodput = good as f64 / took.as_secs_f64();
    let mut refusals: Vec<_> = flood.iter().filter(|sample| sample.status() == Some(503)).map(|s| s.latency).collect();

    println!(
        "requests {}, answered {good}, refused {refused}, of these clean {clean}, connections broken {broken}",
        flood.len()
    );
    println!(
        "goodput {goodput:.0}/s, {:.0} % of the capacity, over {:.1} s",
        100.0 * goodput / capacity,
        took.as_secs_f64()
    );
    println!(
        "a refusal came after {:?} (median), {:?} (p99)",
        percentile(&mut refusals, 0.5),
        percentile(&mut refusals, 0.99)
    );
    println!("resident {} MiB before, {} MiB at the peak", settled / 1024, peak / 1024);

    // At a quarter of the capacity, from the first moment after the flood.
    let calm = open_loop(server.port, &[HANDLER], &evenly(capacity / 4.0, CALM), 64);
    let late = calm.iter().filter(|sample| sample.status() != Some(200)).map(|sample| sample.due).max();
    println!("after the flood: {} requests, the last one refused {late:?} after its end", calm.len());

    assert_eq!(broken, 0, "no connection broke");
    assert_eq!(refused, clean, "every refusal is a clean 503");
    assert_eq!(good + refused, flood.len(), "nothing else is answered");
    assert!(peak < settled + GROWTH_MIB_MAX * 1024, "memory is bounded");
    assert!(late.is_none_or(|late| late < Duration::from_secs(1)), "it recovers within a second");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

impl Sample {
    fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }
}

/// Answers per second when the workers are always busy and nothing is refused.
fn capacity(server: &Server) -> f64 {
    // More at once than workers, and few enough to fit into the queues.
    let arrivals = vec![Arrival { due: Duration::ZERO, kind: 0 }; 1000];
    let samples = open_loop(server.port, &[HANDLER], &arrivals, 64);
    assert!(samples.iter().all(|sample| sample.status() == Some(200)), "{}", server.log());
    let took = samples.iter().map(|sample| sample.latency).max().unwrap_or_default();
    samples.len() as f64 / took.as_secs_f64()
}

fn evenly(rate: f64, length: Duration) -> Vec<Arrival> {
    let count = (rate * length.as_secs_f64()) as u32;
    (0..count).map(|index| Arrival { due: length * index / count, kind: 0 }).collect()
}
