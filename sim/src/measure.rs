//! A closed loop against a server that runs: so many clients, each of which asks again as soon as it is answered.
//!
//! It is there to calibrate [`crate::capacity`] and to hold its predictions against the machine at hand. Blocking sockets, one
//! thread for each client, one connection each: the clients share the machine with the server, which the model has to know
//! (its `cores`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Answers per second.
    pub throughput: f64,
    /// From request to answer, in nanoseconds: median, 99 %.
    pub percentiles: [u64; 2],
}

/// Asks `http://HOST:PORT/PATH` from that many clients for that long, after a tenth of it that is not counted.
pub fn closed_loop(url: &str, clients: usize, time: Duration) -> Result<Measured, String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is spoken")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let begun = Instant::now();
    let (from, to) = (begun + time / 10, begun + time);
    let client = || -> std::io::Result<Vec<u64>> {
        let mut stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut times = Vec::new();
        let mut answer = Vec::new();
        while Instant::now() < to {
            let asked = Instant::now();
            stream.write_all(request.as_bytes())?;
            read_answer(&mut stream, &mut answer)?;
            if asked >= from {
                times.push(asked.elapsed().as_nanos() as u64);
            }
        }
        Ok(times)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new()))).collect()
    });
    let mut times = Vec::new();
    for result in results {
        times.extend(result.map_err(|error| format!("{url}: {error}"))?);
    }
    let span = Instant::now().saturating_duration_since(from).as_secs_f64();
    times.sort_unstable();
    let percentile = |percent: usize| times.get((times.len().max(1) - 1) * percent / 100).copied().unwrap_or(0);
    Ok(Measured { throughput: times.len() as f64 / span, percentiles: [percentile(50), percentile(99)] })
}

/// Reads one answer with a content-length.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut piece = [0; 16 * 1024];
    answer.clear();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 2") {
                return Err(std::io::Error::other(head));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if answer.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(());
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => answer.extend_from_slice(&piece[..bytes]),
        }
    }
}
