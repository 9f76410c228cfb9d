//! Requests at a given rate, whatever the server does, and how long each took from when it was due.
//!
//!     cargo run --release --example open_loop -- PORT SHORT SLOW RATE SECONDS SEED
//!
//! Arrivals are Poisson at RATE a second; one in a hundred asks for the path SLOW, the others for SHORT. 64 connections take the
//! requests in the order in which they are due; one that finds no free connection waits, and that wait counts. A client that asks
//! again only when it has been answered would not see it (coordinated omission). Prints one line of JSON: what was answered, what was
//! not (`errors`), and percentiles in microseconds of both kinds. The first second is not counted. `make bench` uses it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Timer};

const CONNECTIONS: usize = 64;
const WARM: Duration = Duration::from_secs(1);
/// After the last request is due, how long answers may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, due at a time.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    slow: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, short, slow, rate, seconds, seed] = arguments.as_slice() else {
        eprintln!("usage: open_loop PORT SHORT SLOW RATE SECONDS SEED");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number"));
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, number(port) as u16));
    let request = |path: &String| format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n").into_bytes();
    let requests = [request(short), request(slow)];

    let start = Instant::now() + Duration::from_millis(20);
    let length = WARM + Duration::from_secs(number(seconds));
    let (sender, receiver) = smol::channel::unbounded::<Due>();
    let (told, answers) = smol::channel::unbounded::<(Due, Option<Duration>)>();
    let executor = LocalExecutor::new();
    let mut outcomes = Vec::new();
    let mut asked = 0;
    smol::block_on(executor.run(async {
        for _ in 0..CONNECTIONS {
            executor.spawn(connection(server, &requests, receiver.clone(), told.clone())).detach();
        }
        drop(told);
        let mut random = fastrand::Rng::with_seed(number(seed));
        let mut at = start;
        while at < start + length {
            Timer::at(at).await;
            sender.try_send(Due { at, slow: random.u8(..100) == 0 }).expect("connections that take requests");
            asked += 1;
            at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / number(rate) as f64);
        }
        sender.close();
        let collect = async {
            while let Ok(outcome) = answers.recv().await {
                outcomes.push(outcome);
            }
        };
        let patience = async {
            Timer::after(PATIENCE).await;
        };
        smol::future::or(collect, patience).await;
    }));
    report(start + WARM, number(seconds), asked, &outcomes);
}

/// Takes requests while there are any; connects again where the server closed.
async fn connection(
    server: SocketAddr,
    requests: &[Vec<u8>; 2],
    receiver: smol::channel::Receiver<Due>,
    told: smol::channel::Sender<(Due, Option<Duration>)>,
) {
    let mut open: Option<Async<TcpStream>> = None;
    while let Ok(due) = receiver.recv().await {
        let reused = open.is_some();
        let mut keep = ask(&mut open, server, &requests[usize::from(due.slow)]).await;
        if keep.is_none() && reused {
            // The server may have closed an idle connection: that is its right, and a new one is asked.
            open = None;
            keep = ask(&mut open, server, &requests[usize::from(due.slow)]).await;
        }
        if keep != Some(true) {
            open = None;
        }
        if told.try_send((due, keep.map(|_| due.at.elapsed()))).is_err() {
            return;
        }
    }
}

/// One request and its answer: whether the connection may be used again, or nothing where there was no good answer.
async fn ask(open: &mut Option<Async<TcpStream>>, server: SocketAddr, request: &[u8]) -> Option<bool> {
    if open.is_none() {
        let stream = Async::<TcpStream>::connect(server).await.ok()?;
        stream.get_ref().set_nodelay(true).ok()?;
        *open = Some(stream);
    }
    let stream = open.as_mut()?;
    stream.write_all(request).await.ok()?;
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            return None;
        }
        received.extend_from_slice(&buffer[..count]);
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let length: usize = head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
        if received.len() >= end + 4 + length {
            let good = head.starts_with("http/1.1 200");
            return good.then(|| !head.contains("connection: close"));
        }
    }
}

fn report(from: Instant, seconds: u64, asked: usize, outcomes: &[(Due, Option<Duration>)]) {
    let counted = outcomes.iter().filter(|(due, _)| due.at >= from);
    let mut micros = [Vec::new(), Vec::new()];
    for (due, took) in counted {
        if let Some(took) = took {
            micros[usize::from(due.slow)].push(took.as_micros() as u64);
        }
    }
    let failed = outcomes.iter().filter(|(_, took)| took.is_none()).count() + (asked - outcomes.len());
    let answered = micros[0].len() + micros[1].len();
    let [short, slow] = micros.map(|mut times| {
        times.sort_unstable();
        let at =
            |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().max(1) - 1)).unwrap_or(&0);
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(at);
        format!(r#"{{"count":{},"p50":{p50},"p90":{p90},"p99":{p99},"p999":{p999},"max":{max}}}"#, times.len())
    });
    println!(r#"{{"requests":{answered},"errors":{failed},"seconds":{seconds},"short":{short},"slow":{slow}}}"#);
}
