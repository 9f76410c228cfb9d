//! Mixed load: does a placement let short requests wait behind long ones while a worker is idle?

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::common::Server;
use crate::load::{Arrival, open_loop, percentile, poisson};

const WORKERS: usize = 2;
const HEAVY_MS: f64 = 50.0;
const HEAVY_SHARE: f64 = 0.01;
/// What a trivial request costs its worker; little enough that being wrong about it changes nothing.
const LIGHT: Duration = Duration::from_micros(20);
const PLACEMENTS: [&str; 3] = ["round-robin", "least-loaded", "idle-first"];
const ROUNDS: usize = 7;
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// `seconds` for each placement and round.
pub fn run(seconds: u64) {
    let mean = HEAVY_SHARE * HEAVY_MS / 1000.0 + (1.0 - HEAVY_SHARE) * LIGHT.as_secs_f64();
    let rate = WORKERS as f64 / mean / 2.0;
    println!(
        "{WORKERS} workers, {rate:.0} requests/s, half of their capacity; {ROUNDS} interleaved rounds of {seconds} s; \
         trivial requests, ms, median of the rounds (least - most)"
    );
    let mut rows: Vec<[Vec<Duration>; 3]> = vec![Default::default(); PLACEMENTS.len() + 1];
    for round in 0..ROUNDS {
        let seed = round as u64 + 1;
        let arrivals = poisson(rate, Duration::from_secs(seconds), &[1.0 - HEAVY_SHARE, HEAVY_SHARE], seed);
        for (row, placement) in PLACEMENTS.iter().enumerate() {
            let latencies = measured(placement, &arrivals);
            note(&mut rows[row], latencies);
        }
        note(&mut rows[PLACEMENTS.len()], central_queue(&arrivals));
    }
    println!("{:34} {:>22} {:>22} {:>22}", "", "p50", "p99", "p999");
    for (row, name) in rows.iter_mut().zip(PLACEMENTS.into_iter().chain(["one central queue, no overhead"])) {
        let columns = row.iter_mut().map(|values| {
            let (least, most) = (percentile(values, 0.0), percentile(values, 1.0));
            format!("{:.2} ({:.2} - {:.2})", ms(percentile(values, 0.5)), ms(least), ms(most))
        });
        let columns: Vec<String> = columns.collect();
        println!("{name:34} {:>22} {:>22} {:>22}", columns[0], columns[1], columns[2]);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn note(row: &mut [Vec<Duration>; 3], mut latencies: Vec<Duration>) {
    for (values, quantile) in row.iter_mut().zip(QUANTILES) {
        values.push(percentile(&mut latencies, quantile));
    }
}

fn measured(placement: &str, arrivals: &[Arrival]) -> Vec<Duration> {
    let workers = WORKERS.to_string();
    let options =
        ["--workers", &workers, "--placement", placement, "--queue-depth", "4096", "--overflow-depth", "65536"];
    let server = Server::start("load:app", &options);
    let heavy = format!("/cpu/{HEAVY_MS}");
    let samples = open_loop(server.port, &["/quick", &heavy], arrivals, 512);
    for sample in &samples {
        let status = sample.answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Some(200), "each is answered: {}", server.log());
    }
    samples.into_iter().filter(|sample| sample.kind == 0).map(|sample| sample.latency).collect()
}

/// The same requests through one queue, first come first served, to `WORKERS` servers that cost nothing but the handlers' time.
fn central_queue(arrivals: &[Arrival]) -> Vec<Duration> {
    let mut free: BinaryHeap<Reverse<Duration>> = (0..WORKERS).map(|_| Reverse(Duration::ZERO)).collect();
    let mut latencies = Vec::new();
    for arrival in arrivals {
        let Reverse(at) = free.pop().expect("as many as workers");
        let service = if arrival.kind == 1 { Duration::from_secs_f64(HEAVY_MS / 1000.0) } else { LIGHT };
        let end = at.max(arrival.due) + service;
        free.push(Reverse(end));
        if arrival.kind == 0 {
            latencies.push(end - arrival.due);
        }
    }
    latencies
}
