//! Far more requests than the workers can answer: what is refused is refused cleanly, the rest goes on.

use std::time::Duration;

use crate::common::Server;
use crate::load::{Arrival, Sample, open_loop, percentile};

const HANDLER: &str = "/cpu/5";
/// Twenty times what the workers can answer.
const LOAD: f64 = 20.0;
/// How long requests are sent after the flood.
const CALM: Duration = Duration::from_secs(5);
/// Resident memory that the flood may add. Connections cost some KiB each; a queue without a bound would cost far more.
const GROWTH_MIB_MAX: u64 = 300;

/// `seconds` of flood over that many connections. What waits when it ends is answered before what comes after it: the recovery
/// takes as long as the workers need for the `overflow_depth` and the 64 of each worker's own queue.
pub fn run(connections: usize, seconds: u64, overflow_depth: u32) {
    // The load has to come from somewhere: it gets a core, with the I/O thread.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)).to_string();
    let overflow_depth = overflow_depth.to_string();
    let options = ["--workers", &workers, "--overflow-depth", &overflow_depth, "--max-connections", "20000"];
    let server = Server::start("load:app", &options);
    let settled = server.resident_kib();
    let capacity = capacity(&server);
    let rate = capacity * LOAD;
    println!(
        "{workers} workers, --overflow-depth {overflow_depth}, {capacity:.0} answers/s before; flood: {rate:.0} requests/s over {connections} connections, {seconds} s"
    );

    let flood_length = Duration::from_secs(seconds);
    let mut arrivals = evenly(rate, flood_length, 0);
    let calm = evenly(capacity / 4.0, CALM, 1);
    arrivals.extend(calm.into_iter().map(|arrival| Arrival { due: flood_length + arrival.due, ..arrival }));
    let samples = open_loop(server.port, &[HANDLER, HANDLER], &arrivals, connections);
    let (flood, calm): (Vec<_>, Vec<_>) = samples.into_iter().partition(|sample| sample.kind == 0);
    let peak = server.peak_resident_kib();
    let answered = |status| flood.iter().filter(|sample| sample.status() == Some(status)).count();
    let (good, refused) = (answered(200), answered(503));
    let broken = flood.iter().filter(|sample| sample.answer.is_none()).count();
    let clean =
        flood.iter().filter(|sample| sample.answer.as_ref().is_some_and(|answer| answer.is_clean_503())).count();
    // Those that were still queued when the flood ended are not counted.
    let in_time = |sample: &&Sample| sample.status() == Some(200) && sample.due + sample.latency <= flood_length;
    let goodput = flood.iter().filter(in_time).count() as f64 / seconds as f64;
    let mut refusals: Vec<_> = flood.iter().filter(|sample| sample.status() == Some(503)).map(|s| s.latency).collect();

    println!(
        "requests {}, answered {good}, refused {refused}, of these clean {clean}, connections broken {broken}",
        flood.len()
    );
    println!("goodput {goodput:.0}/s, {:.0} % of the capacity", 100.0 * goodput / capacity);
    println!(
        "a refusal came after {:?} (median), {:?} (p99)",
        percentile(&mut refusals, 0.5),
        percentile(&mut refusals, 0.99)
    );
    println!("resident {} MiB before, {} MiB at the peak", settled / 1024, peak / 1024);

    let after = |wanted: &dyn Fn(&Sample) -> bool| {
        calm.iter().filter(|sample| wanted(sample)).map(|sample| sample.due - flood_length).max().unwrap_or_default()
    };
    println!(
        "from its end on {} requests at a quarter of the capacity: the last that was refused came {:.2} s after it, the last that \
         waited for more than 0.1 s {:.2} s after it",
        calm.len(),
        after(&|sample| sample.status() != Some(200)).as_secs_f64(),
        after(&|sample| sample.latency > Duration::from_millis(100)).as_secs_f64(),
    );

    assert!(good > 0 && refused > 0, "it was a flood");
    assert_eq!(broken, 0, "no connection broke");
    assert_eq!(refused, clean, "every refusal is a clean 503");
    assert_eq!(good + refused, flood.len(), "nothing else is answered");
    assert!(peak < settled + GROWTH_MIB_MAX * 1024, "memory is bounded");
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
    let arrivals = vec![Arrival { due: Duration::ZERO, kind: 0 }; 400];
    let samples = open_loop(server.port, &[HANDLER], &arrivals, 64);
    assert!(samples.iter().all(|sample| sample.status() == Some(200)), "{}", server.log());
    let took = samples.iter().map(|sample| sample.latency).max().unwrap_or_default();
    samples.len() as f64 / took.as_secs_f64()
}

fn evenly(rate: f64, length: Duration, kind: usize) -> Vec<Arrival> {
    let count = (rate * length.as_secs_f64()) as u32;
    (0..count).map(|index| Arrival { due: length.mul_f64(f64::from(index) / f64::from(count)), kind }).collect()
}
