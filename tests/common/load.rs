//! Load whose requests have their times: an open loop, so that a slow answer never slows the requests after it down, and
//! latency counts from when a request was due, not from when the client got around to it.
#![allow(dead_code, reason = "each binary uses its own part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::process::{Resource, getrlimit, setrlimit};
use smol::{Async, LocalExecutor, Timer};

/// A client's connection that is kept alive.
pub struct Connection {
    stream: Async<TcpStream>,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The server said that it will close.
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close")
    }

    /// A refusal as it should be: JSON that names the reason, and when to come again.
    pub fn is_clean_503(&self) -> bool {
        self.status == 503
            && self.head.contains("\r\nretry-after: ")
            && self.head.contains("\r\ncontent-type: application/json")
            && self.body.ends_with(br#""error":"queue_full"}"#)
    }
}

impl Connection {
    pub async fn open(port: u16) -> io::Result<Connection> {
        let stream = Async::<TcpStream>::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// GET, and the whole answer. An error means that the connection ended or broke before the answer was whole.
    pub async fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: load\r\n\r\n").as_bytes()).await?;
        let end = loop {
            if let Some(position) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break position;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<usize>().ok());
        let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length = number(length).unwrap_or(0);
        while self.buffer.len() < end + 4 + length {
            self.fill().await?;
        }
        let body = self.buffer[end + 4..end + 4 + length].to_vec();
        self.buffer.drain(..end + 4 + length);
        let status = number(head.split(' ').nth(1)).unwrap_or(0) as u16;
        Ok(Answer { status, head, body })
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let count = self.stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// One request of a run: when it was due, what it asked for, how it went.
pub struct Sample {
    /// Since the run began.
    pub due: Duration,
    /// Which of the run's targets.
    pub kind: usize,
    /// From when it was due until its answer was whole.
    pub latency: Duration,
    /// None where the connection broke.
    pub answer: Option<Answer>,
}

/// A request that is to be sent: when, and for which of the targets.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub due: Duration,
    pub kind: usize,
}

/// Sends each request when it is due, on the connection that is free for longest, of `connections` that are opened before; when
/// none is free a request waits for one, and the wait counts. Returns when each has its answer.
pub fn open_loop(port: u16, targets: &[&str], arrivals: &[Arrival], connections: usize) -> Vec<Sample> {
    allow_descriptors();
    let executor = LocalExecutor::new();
    let free = Rc::new(RefCell::new(VecDeque::new()));
    let permits = Rc::new(smol::lock::Semaphore::new(connections));
    let samples = Rc::new(RefCell::new(Vec::with_capacity(arrivals.len())));
    smol::block_on(executor.run(async {
        for _ in 0..connections {
            let connection = Connection::open(port).await.expect("the server accepts");
            free.borrow_mut().push_back(connection);
        }
        let begun = Instant::now();
        let mut tasks = Vec::with_capacity(arrivals.len());
        for &Arrival { due, kind } in arrivals {
            let at = begun + due;
            if at > Instant::now() {
                Timer::at(at).await;
            }
            let (free, permits, samples) = (Rc::clone(&free), Rc::clone(&permits), Rc::clone(&samples));
            let target = targets[kind].to_owned();
            tasks.push(executor.spawn(async move {
                let _permit = permits.acquire().await;
                let waiting = free.borrow_mut().pop_front();
                let answer = async {
                    let mut connection = match waiting {
                        Some(connection) => connection,
                        // One before it was closed.
                        None => Connection::open(port).await?,
                    };
                    let answer = connection.get(&target).await?;
                    if !answer.closes() {
                        free.borrow_mut().push_back(connection);
                    }
                    io::Result::Ok(answer)
                };
                let answer = answer.await.ok();
                samples.borrow_mut().push(Sample { due, kind, latency: at.elapsed(), answer });
            }));
        }
        for task in tasks {
            task.await;
        }
    }));
    samples.take()
}

/// As many open connections as the system lets this process have; often the usual limit is 1,024.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum is allowed");
}

/// Arrivals at `rate` per second for `length`, each of the given kinds with its share, from `seed`: Poisson, as independent
/// clients make them.
pub fn poisson(rate: f64, length: Duration, shares: &[f64], seed: u64) -> Vec<Arrival> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = 0.0;
    let mut arrivals = Vec::new();
    loop {
        at -= (1.0 - random.f64()).ln() / rate;
        if at >= length.as_secs_f64() {
            return arrivals;
        }
        let mut draw = random.f64() * shares.iter().sum::<f64>();
        let kind = shares.iter().position(|share| {
            draw -= share;
            draw < 0.0
        });
        arrivals.push(Arrival { due: Duration::from_secs_f64(at), kind: kind.unwrap_or(shares.len() - 1) });
    }
}

/// The value below which the share `of` of the values lies; zero of none.
pub fn percentile(values: &mut [Duration], of: f64) -> Duration {
    values.sort_unstable();
    let index = (values.len() as f64 * of) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}
