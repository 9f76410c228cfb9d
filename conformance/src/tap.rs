//! A relay between a proxy and a server that keeps what both say on each connection, and counts it.
//!
//! The proxy adds a mark, which nobody else knows, to each request that it believes in. So the proxy's count needs no second reading of
//! what it sends. The server's count is the number of its final answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::response::{Parsed, latin1, parse};

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What was said on one connection from the proxy to the server.
#[derive(Debug, Default)]
struct Heard {
    requests: Vec<u8>,
    answers: Vec<u8>,
    /// The server has ended the connection.
    ended: bool,
    /// Both sockets, to end them.
    sockets: Vec<TcpStream>,
}

#[derive(Debug)]
struct Log {
    connections: Vec<Heard>,
    /// What came before this message is not wanted any more.
    message: u64,
    changed: Instant,
    /// Until then, or until it is taken away, answers are kept back.
    held: Option<Instant>,
}

/// What both sides count on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The methods of the requests that the proxy sent.
    pub sent: Vec<String>,
    /// The statuses of the final answers that the server gave.
    pub answered: Vec<u16>,
    /// Behind those the server says something that is no answer.
    pub garbage: bool,
    /// The server has ended the connection.
    pub ended: bool,
}

/// The relay; it listens as long as the program runs.
#[derive(Debug, Clone)]
pub struct Tap {
    /// Where the proxy finds it.
    pub address: SocketAddr,
    mark: String,
    log: Arc<Mutex<Log>>,
}

impl Tap {
    /// Listens at a free port, and passes everything on to `server`. `mark` is what the proxy puts before the method in a field of its own.
    pub fn open(server: SocketAddr, mark: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let log = Log { connections: Vec::new(), message: 0, changed: Instant::now(), held: None };
        let tap = Self { address: listener.local_addr()?, mark: mark.into(), log: Arc::new(Mutex::new(log)) };
        let log = tap.log.clone();
        thread::spawn(move || {
            for proxy in listener.incoming().flatten() {
                // A server that takes no connection: the proxy sees its own end.
                if let Ok(server) = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT) {
                    let _ = relay(proxy, server, &log);
                }
            }
        });
        Ok(tap)
    }

    /// Keeps answers back for so long, unless [`Tap::release`] is called: a proxy that has the whole answer sends no content any more.
    pub fn hold(&self, most: Duration) {
        self.log.lock().expect("nobody panics with it").held = Some(Instant::now() + most);
    }

    /// Lets the answers go.
    pub fn release(&self) {
        self.log.lock().expect("nobody panics with it").held = None;
    }

    /// What was counted since the last [`Tap::end`], on each connection, and for how long nothing was said.
    pub fn counts(&self) -> (Vec<Count>, Duration) {
        let log = self.log.lock().expect("nobody panics with it");
        let counts = log.connections.iter().map(|heard| count(heard, &self.mark)).collect();
        (counts, log.changed.elapsed())
    }

    /// Ends every connection to the server, so that the next message begins on a new one.
    pub fn end(&self) {
        let mut log = self.log.lock().expect("nobody panics with it");
        log.message += 1;
        for heard in log.connections.drain(..) {
            heard.sockets.iter().for_each(|socket| _ = socket.shutdown(Shutdown::Both));
        }
    }
}

/// Passes on what each side says, and keeps it.
fn relay(proxy: TcpStream, server: TcpStream, log: &Arc<Mutex<Log>>) -> std::io::Result<()> {
    proxy.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let sockets = vec![proxy.try_clone()?, server.try_clone()?];
    let (from_proxy, to_server) = (proxy.try_clone()?, server.try_clone()?);
    let (message, index) = {
        let mut log = log.lock().expect("nobody panics with it");
        log.connections.push(Heard { sockets, ..Heard::default() });
        (log.message, log.connections.len() - 1)
    };
    let keep = |log: &Arc<Mutex<Log>>| {
        let log = log.clone();
        move |put: &dyn Fn(&mut Heard)| {
            let mut log = log.lock().expect("nobody panics with it");
            log.changed = Instant::now();
            if log.message == message {
                put(&mut log.connections[index]);
            }
        }
    };
    let (keep_request, keep_answer) = (keep(log), keep(log));
    // The proxy's end is not passed on: what the server still has to say counts.
    thread::spawn(move || copy(from_proxy, to_server, &|bytes| keep_request(&|heard| heard.requests.extend(bytes))));
    let held = log.clone();
    let is_held = move || held.lock().expect("nobody panics with it").held.is_some_and(|until| Instant::now() < until);
    thread::spawn(move || {
        let to_proxy = proxy.try_clone();
        if let Ok(to_proxy) = to_proxy {
            copy(server, to_proxy, &|bytes| {
                keep_answer(&|heard| heard.answers.extend(bytes));
                while is_held() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        keep_answer(&|heard| heard.ended = true);
        let _ = proxy.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// Copies until `from` ends. What `to` does not take any more is kept nevertheless.
fn copy(mut from: TcpStream, mut to: TcpStream, keep: &dyn Fn(&[u8])) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        // Kept first: whoever gets it finds it counted.
        keep(&piece[..length]);
        let _ = to.write_all(&piece[..length]);
    }
}

fn count(heard: &Heard, mark: &str) -> Count {
    let requests = latin1(&heard.requests);
    let behind = requests.split(mark).skip(1);
    let sent: Vec<String> = behind.map(|rest| rest.trim_start().split("\r\n").next().unwrap_or("").into()).collect();
    let (mut at, mut answered, mut garbage) = (0, Vec::new(), false);
    while at < heard.answers.len() {
        let method = sent.get(answered.len()).map_or("GET", String::as_str);
        match parse(&heard.answers[at..], method, heard.ended) {
            Ok(Parsed::Whole(response, length)) => {
                answered.push(response.status);
                at += length;
            }
            Ok(Parsed::Partial) => break,
            Err(_) => {
                garbage = true;
                break;
            }
        }
    }
    Count { sent, answered, garbage, ended: heard.ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_the_mark_and_answers_by_their_framing() {
        let requests =
            b"HEAD / HTTP/1.1\r\nX-M: s3 HEAD\r\n\r\nPOST / HTTP/1.1\r\nX-M: s3 POST\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let said =
            |answers: String| Heard { requests: requests.to_vec(), answers: answers.into_bytes(), ..Heard::default() };
        let counted = count(&said(format!("{answer}HTTP/1.1 100 Continue\r\n\r\n{answer}hi")), "s3");
        assert_eq!((counted.sent, counted.answered), (vec!["HEAD".into(), "POST".into()], vec![200, 200]));
        // The content that no answer to HEAD has.
        let counted = count(&said(format!("{answer}hi{answer}hi")), "s3");
        assert_eq!((counted.answered, counted.garbage), (vec![200], true));
    }
}
