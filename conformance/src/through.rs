//! `fuzz --through`: the same messages, sent through a proxy. What proxy and server count differently is a finding.
//!
//! A [`Tap`] stands between the two. On each connection it counts the requests that the proxy sent and the answers that the server gave.
//! Where the server counts more, somebody can smuggle a request past the proxy. Where it counts fewer, the answers of one client may reach
//! another.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::minimize::minimize;
use crate::preflight::{Probe, learn, of_io};
use crate::proxy::{Kind, Marks, Proxy};
use crate::response::latin1;
use crate::tap::{Count, Tap};

/// How long nothing must be said before a message has had its effect.
const QUIET: Duration = Duration::from_millis(120);

/// How long a head may take to arrive at the server before its content follows. A proxy that waits for the content takes all of it.
const HEAD_PATIENCE: Duration = Duration::from_millis(30);

/// How long nothing must be said behind the content before the answers go to the proxy.
const CONTENT_QUIET: Duration = Duration::from_millis(40);

/// How long a client waits for the first byte of an answer.
const FIRST_BYTE: Duration = Duration::from_millis(700);

/// How long all of one message may take: longer than the proxy waits for an answer (2 s).
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long the first answer of all may take.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// A proxy in front of a server, with a tap in between.
pub struct Through {
    proxy: Proxy,
    tap: Tap,
    marks: Marks,
    name: &'static str,
}

impl Through {
    /// Starts the proxy in front of `server`, and asks through it once. The error is one line.
    pub fn open(kind: Kind, server: SocketAddr, probe: &Probe) -> Result<Self, String> {
        let word = |number: u8| format!("judge{:016x}", RandomState::new().hash_one(number));
        let marks = Marks { request: word(0), relayed: word(1), status: word(2) };
        let tap = Tap::open(server, &marks.request).map_err(|error| of_io(&error))?;
        let proxy = Proxy::start(kind, tap.address, &marks)?;
        learn(proxy.address, probe, FIRST_PATIENCE).map_err(|why| format!("through {}: {why}", kind.program()))?;
        tap.end();
        Ok(Self { proxy, tap, marks, name: kind.program() })
    }

    /// What proxy and server count differently: the kind, and the counts. Only what shows twice counts, since a busy machine is slow once.
    pub fn ask(&self, bytes: &[u8]) -> BTreeMap<String, String> {
        let mut found = self.once(bytes);
        if !found.is_empty() {
            let again = self.once(bytes);
            found.retain(|kind, _| again.contains_key(kind));
        }
        found
    }

    /// In one line how the proxy ended, if it did.
    pub fn gone(&mut self) -> Option<String> {
        self.proxy.gone()
    }

    /// The smallest message found that shows the same kind, and its counts.
    pub fn shrink(&self, kind: &str, bytes: &[u8], deadline: Instant) -> Option<(Vec<u8>, String)> {
        let mut last = None;
        let mut shows = |candidate: &[u8]| {
            let found = if Instant::now() < deadline { self.ask(candidate).remove(kind) } else { None };
            let holds = found.is_some();
            last = found.or(last.take());
            holds
        };
        let smallest = if shows(bytes) { minimize(bytes, &mut shows) } else { return None };
        last.map(|detail| (smallest, detail))
    }

    fn once(&self, bytes: &[u8]) -> BTreeMap<String, String> {
        let host = self.proxy.address.to_string();
        let bytes: Vec<u8> = latin1(bytes).replace("<<host>>", &host).chars().map(|char| char as u8).collect();
        let (got, whole) = self.exchange(&bytes).unwrap_or_default();
        let (counts, _) = self.tap.counts();
        self.tap.end();
        judge(self.name, &counts, &latin1(&got), whole, &self.marks)
    }

    /// What the client gets, and whether its connection was not reset, when nobody says anything any more.
    fn exchange(&self, bytes: &[u8]) -> std::io::Result<(Vec<u8>, bool)> {
        let mut client = TcpStream::connect(self.proxy.address)?;
        client.set_nodelay(true)?;
        client.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
        client.set_read_timeout(Some(Duration::from_millis(20)))?;
        // The content comes behind the head, as from a slow client. Where nginx has all of it at once, it passes it on with a length,
        // and no server ever sees chunks.
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        if head < bytes.len() {
            self.tap.hold(MESSAGE_TIMEOUT);
        }
        let mut whole = client.write_all(&bytes[..head]).is_ok();
        let sent = Instant::now();
        while head < bytes.len() && sent.elapsed() < HEAD_PATIENCE && self.tap.counts().0.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        whole &= client.write_all(&bytes[head..]).is_ok();
        // The answer may go once the proxy has had the time to send the content on.
        let sent = Instant::now();
        while head < bytes.len() && self.tap.counts().1 < CONTENT_QUIET && sent.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.tap.release();
        let (started, mut last) = (Instant::now(), Instant::now());
        let (mut got, mut open) = (Vec::new(), true);
        let mut piece = [0; 16 * 1024];
        while started.elapsed() < MESSAGE_TIMEOUT {
            if open {
                match client.read(&mut piece) {
                    Ok(0) => open = false,
                    Ok(length) => {
                        got.extend_from_slice(&piece[..length]);
                        last = Instant::now();
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => (open, whole) = (false, false),
                }
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
            let (counts, silent) = self.tap.counts();
            let waits = open && counts.iter().any(|count| !count.ended && count.sent.len() > count.answered.len());
            let begins = open && got.is_empty() && started.elapsed() < FIRST_BYTE;
            if !waits && !begins && silent.min(last.elapsed()) > QUIET {
                break;
            }
        }
        Ok((got, whole))
    }
}

/// What the counts differ in. `got` is all that the client got; `whole` says that nothing of it was lost by a reset.
fn judge(proxy: &str, counts: &[Count], got: &str, whole: bool, marks: &Marks) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let says = |status: u16| got.contains(&format!("{} {status}", marks.status));
    for count in counts {
        let (sent, answered) = (count.sent.len(), count.answered.len());
        let behind = if count.garbage { ", and what is no answer" } else { "" };
        let detail = format!(
            "{proxy} sent {sent} {:?}, the server answered {answered} {:?}{behind}",
            count.sent, count.answered
        );
        if answered > sent || (count.garbage && answered == sent) {
            found.insert(format!("the server counts more requests than {proxy} sent"), detail);
        } else if answered < sent && count.garbage {
            found.insert("the server's answer is none".into(), detail);
        } else if answered < sent && (says(504) || (says(502) && count.ended)) {
            // Only then was the request sent whole: the proxy waited for the answer, or saw the end.
            found.insert(format!("the server counts fewer requests than {proxy} sent"), detail);
        }
    }
    let given: usize = counts.iter().map(|count| count.answered.len()).sum();
    let relayed = got.matches(&marks.relayed).count();
    if found.is_empty() && whole && relayed != given {
        let detail = format!("the server gave {given} answers, the client got {relayed} of them from {proxy}");
        found.insert(format!("{proxy} passes on another number of answers than the server gave"), detail);
    }
    found
}
