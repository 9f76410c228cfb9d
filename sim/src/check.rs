//! The oracles that look at each exchange: a model of what every request may lead to, independent of the server's code.
//!
//! A client writes down each request when it sends it ([`Entry`]); the workers write down what they ran and answered; and each
//! answer is held against both at the moment the server writes it. What must hold:
//!
//! - **right request**: what a worker gets is what was sent: method, path, content, once;
//! - **one answer**: a request is answered at most once, and a reply is taken from at most one completer;
//! - **right answer**: status and content are those that the handler gave, or the refusal fits what happened to the request;
//! - **right order**: the k-th answer on a connection is the answer to its k-th request;
//! - **nothing after close**: no byte follows an answer that ends the connection, or its end;
//! - **no answer too early**: a timeout is only told when its time has passed;
//! - **no answer missing**: see [`Core::connection_over`];
//! - **limits**: connections, and how far a connection reads ahead.
//!
//! The oracles of time and rest are in [`crate::watch`].

use polygil::server::CROWDED_IDLE_MIN;

use crate::answer::Answer;
use crate::core::{Core, MS};
use crate::net::Written;
use crate::random::hash;
use crate::trace::Kind;
use crate::watch::TOLERANCE;

/// Bytes that a connection reads ahead at most: what it may hold, and one read.
const READ_AHEAD_MAX: u64 = (64 + 64) * 1024;

/// What a request is to lead to, if nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A handler's answer.
    Handler,
    /// An answer of the server's own with this status, which may leave the connection open.
    Own(u16),
    /// An answer with one of these statuses that ends the connection.
    Refusal(&'static [u16]),
}

/// What was answered in a request's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its status.
    pub status: u16,
    /// Length and hash of its content.
    pub content: (u64, u64),
    /// The code, when it is a failure of polygil's own.
    pub error: &'static str,
    /// It breaks HTTP and has to be replaced.
    pub garbage: bool,
    /// Its content is made while it is sent.
    pub streamed: bool,
    /// That breaks off.
    pub breaks: bool,
}

/// One request, from the first draw to the answer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its connection.
    pub conn: usize,
    /// Its method.
    pub method: &'static str,
    /// What it is to lead to.
    pub want: Want,
    /// Offsets in what the client sends: first byte, end of the head, end.
    pub places: (u64, u64, u64),
    /// Length and hash of its content.
    pub content: (u64, u64),
    /// It waits for 100.
    pub expects: bool,
    /// It got that.
    pub continued: bool,
    /// It asks for the connection to end.
    pub last: bool,
    /// When its first byte was sent.
    pub sent_at: u64,
    /// When the server read its first byte, its whole head, and all of it.
    pub read_at: (Option<u64>, Option<u64>, Option<u64>),
    /// How often a worker ran it, and when last.
    pub runs: (u32, u64),
    /// What was accepted as its reply, and when.
    pub outcome: Option<(Outcome, u64)>,
    /// When its answer was written.
    pub answered_at: Option<u64>,
    /// Its turn among those that wait for a worker; 0 when it does not.
    pub turn: u64,
}

impl Core {
    /// Whether the faults are over.
    pub fn is_healed(&self) -> bool {
        self.healed
    }

    /// A worker begins a task. Gives the request's number if it is one that was sent.
    pub fn task_begun(&mut self, worker: usize, method: &str, path: &str, body: &[u8]) -> Option<usize> {
        let token = path.rsplit('/').next().and_then(|token| token.parse::<usize>().ok());
        let known = token.filter(|token| *token < self.ledger.len());
        let Some(token) = known else {
            self.fail("right request", format!("worker {worker} got {method} {path:?}, which nobody sent"));
            return None;
        };
        let now = self.now();
        let entry = &mut self.ledger[token];
        entry.runs = (entry.runs.0 + 1, now);
        let is_over = entry.answered_at.is_some();
        let (runs, content) = (entry.runs.0, (body.len() as u64, hash(0, body)));
        // HEAD is served by the handler for GET, which sees what was sent.
        let same = entry.method == method && entry.content == content && entry.want == Want::Handler;
        let sent = (entry.method, entry.content, entry.want);
        self.note(Kind::Run, worker, token as u64);
        if !same {
            let got = format!("{method} {path} with {content:?}");
            self.fail("right request", format!("worker {worker} got {got}; request {token} was {sent:?}"));
        }
        if is_over {
            self.fail("one answer", format!("request {token} was run after it was answered"));
        }
        self.overtake(token);
        if runs > 1 {
            self.fail("one answer", format!("request {token} was run {runs} times"));
        }
        Some(token)
    }

    /// Somebody's reply was taken.
    pub fn reply_taken(&mut self, token: usize, outcome: Outcome) {
        let now = self.now();
        let entry = &mut self.ledger[token];
        let before = entry.outcome.replace((outcome.clone(), now));
        if let Some((before, _)) = before {
            self.fail("one answer", format!("request {token} was answered {before:?} and then {outcome:?}"));
        }
    }

    /// The first request of a connection waits for a worker from now on, if the server has all of it.
    fn note_waiting(&mut self, number: usize) {
        let conn = &self.net.conns[number];
        let Some(token) = conn.asked.front().copied().filter(|_| conn.closing.is_none()) else { return };
        let entry = &mut self.ledger[token];
        if entry.turn == 0 && entry.read_at.2.is_some() && entry.want == Want::Handler && entry.runs.0 == 0 {
            self.turns += 1;
            entry.turn = self.turns;
            self.waiting.insert(entry.turn, (token, 0));
        }
    }

    /// It is run, or refused, or nobody waits for it any more.
    fn waits_no_more(&mut self, token: usize) {
        self.waiting.remove(&self.ledger[token].turn);
    }

    /// A request is run: those that came before it are overtaken. The one that waits longest may not be so for ever.
    fn overtake(&mut self, token: usize) {
        let turn = self.ledger[token].turn;
        self.waits_no_more(token);
        let Some(mut first) = self.waiting.first_entry() else { return };
        let conn = self.ledger[first.get().0].conn;
        // It may have been refused long ago: what its client does not take nobody sees.
        if *first.key() < turn && self.net.conns[conn].blocked_since.is_none() {
            let (passed, times) = first.get_mut();
            *times += 1;
            let (passed, times) = (*passed, *times);
            self.overtaken_max = self.overtaken_max.max(times);
            if times > self.overtaken_bound() {
                let detail =
                    format!("request {passed} was overtaken {times} times by later ones: {:?}", self.ledger[passed]);
                self.fail("starvation", detail);
            }
        }
    }

    /// The server has taken a connection.
    pub fn connection_begun(&mut self) {
        let (held, max) = (self.net.held, self.options.max_connections);
        if held == max {
            self.mark("as many connections as may be");
        }
        if held > max {
            self.fail("limits", format!("{held} connections are open; the limit is {max}"));
        }
        if self.draining_at.is_some() {
            self.mark("a connection was accepted while draining");
        }
    }

    /// The server gave its listener up.
    pub fn listener_over(&mut self) {
        let left = self.net.waiting();
        if self.draining_at.is_none() && !self.is_over {
            self.fail("drain", "the server gave up its listener and nobody told it to stop");
        }
        let excused = self.cut
            || self.net.accepts_draining >= self.options.backlog
            || self.now() < self.net.descriptors_at
            || self.is_over;
        if left > 0 && !excused {
            self.fail("drain", format!("{left} connections in the backlog were not served"));
        }
    }

    /// The server has read from a connection.
    pub fn server_read(&mut self, number: usize) {
        let now = self.now();
        let conn = &self.net.conns[number];
        let read = conn.read;
        for token in &conn.asked {
            let entry = &mut self.ledger[*token];
            if entry.places.0 >= read {
                break;
            }
            entry.read_at.0.get_or_insert(now);
            if read >= entry.places.1 {
                entry.read_at.1.get_or_insert(now);
            }
            if read >= entry.places.2 {
                entry.read_at.2.get_or_insert(now);
            }
        }
        self.note_waiting(number);
        let conn = &self.net.conns[number];
        if let Some(first) = conn.asked.front()
            && conn.closing.is_none()
        {
            let ahead = read.saturating_sub(self.ledger[*first].places.2);
            if ahead > READ_AHEAD_MAX {
                self.fail("limits", format!("connection {number} holds {ahead} bytes behind request {first}"));
            }
        }
    }

    /// The server has written on a connection.
    pub fn server_wrote(&mut self, number: usize, bytes: &[u8]) {
        let conn = &mut self.net.conns[number];
        let ended = conn.tap.ends_with_the_connection();
        conn.tap.feed(bytes);
        if conn.closing.is_some() {
            self.fail("nothing after close", format!("connection {number}: {} bytes", bytes.len()));
            return;
        }
        loop {
            let conn = &mut self.net.conns[number];
            // A request that the server knows as HEAD: it has read `HEAD ` at least.
            let is_head = conn.asked.front().is_some_and(|token| {
                let entry = &self.ledger[*token];
                entry.method == "HEAD" && conn.read >= entry.places.0 + 5
            });
            match conn.tap.next(is_head) {
                Ok(None) => {
                    self.ending += u64::from(!ended && conn.tap.ends_with_the_connection());
                    // An answer that has begun is one: its request waits for no worker.
                    let begun = conn.asked.front().copied().filter(|_| conn.tap.is_inside());
                    return begun.into_iter().for_each(|token| self.waits_no_more(token));
                }
                Ok(Some(answer)) if answer.status == 100 => self.continued(number),
                Ok(Some(answer)) => self.answered(number, answer),
                Err(reason) => {
                    self.fail("right answer", format!("connection {number}: {reason}"));
                    return;
                }
            }
            let conn = &self.net.conns[number];
            if conn.closing.is_some() {
                if conn.tap.is_inside() {
                    self.fail("nothing after close", format!("connection {number}: more follows in the same write"));
                }
                return;
            }
        }
    }

    fn continued(&mut self, number: usize) {
        let conn = &mut self.net.conns[number];
        let asked = conn.asked.front().copied();
        let end = conn.written;
        let Some(token) = asked else {
            return self.fail("right order", format!("connection {number}: 100 without a request"));
        };
        conn.answers.push_back(Written { end, status: 100, close: false, token });
        let entry = &mut self.ledger[token];
        let again = std::mem::replace(&mut entry.continued, true);
        if again || !entry.expects || entry.read_at.2.is_some() {
            let said = if again { "twice" } else { "unasked" };
            self.fail("right answer", format!("request {token}: 100 (Continue) {said}"));
        }
        self.mark("100 (Continue)");
    }

    fn answered(&mut self, number: usize, answer: Answer) {
        let now = self.now();
        let conn = &mut self.net.conns[number];
        let Some(token) = conn.asked.pop_front() else {
            let detail = format!("connection {number}: {answer:?} without a request");
            return self.fail("right order", detail);
        };
        let entry = &self.ledger[token];
        let close = answer.close || entry.last;
        conn.last_answer_at = now;
        conn.waited = 0;
        conn.answers.push_back(Written { end: conn.written, status: answer.status, close, token });
        if close {
            conn.closing = Some(now);
        }
        self.note(Kind::Answer, number, (token as u64) << 16 | u64::from(answer.status));
        if let Err(reason) = self.fits(number, token, &answer) {
            let entry = &self.ledger[token];
            let outcome = entry.outcome.as_ref().map(|(outcome, _)| outcome);
            let oracle =
                if answer.token.is_some_and(|told| told != token as u64) { "right order" } else { "right answer" };
            let detail = format!(
                "request {token} ({} {:?}, run {} times, reply {outcome:?}): {answer:?}: {reason}",
                entry.method, entry.want, entry.runs.0
            );
            self.fail(oracle, detail);
        }
        self.ledger[token].answered_at = Some(now);
        self.waits_no_more(token);
        self.note_waiting(number);
        self.answers += 1;
        let tally = self.statuses.entry((answer.status, answer.error)).or_default();
        *tally += 1;
    }

    /// Whether an answer fits the request and what happened to it.
    fn fits(&self, number: usize, token: usize, answer: &Answer) -> Result<(), &'static str> {
        let (entry, conn) = (&self.ledger[token], &self.net.conns[number]);
        let since = |at: Option<u64>| at.map_or(0, |at| self.now() - at);
        let whole = entry.read_at.2.is_some();
        if let Some((outcome, _)) = &entry.outcome {
            if outcome.garbage {
                let said = answer.error == "response_not_serializable" || entry.method == "HEAD";
                return told(said && answer.status == 500, "a reply that breaks HTTP is replaced");
            }
            let own = !outcome.error.is_empty();
            if own {
                let same = (answer.status, answer.error.as_str()) == (outcome.status, outcome.error);
                return told(same || entry.method == "HEAD" && answer.status == outcome.status, "not the failure");
            }
            let content = if entry.method == "HEAD" || matches!(outcome.status, 204 | 304) {
                (0, hash(0, b""))
            } else {
                outcome.content
            };
            told(answer.token == Some(token as u64), "another request's answer")?;
            if outcome.breaks && entry.method != "HEAD" {
                // Only what ends with the connection looks whole, and nobody could tell.
                return told(!answer.chunked && answer.close, "it broke off and looks whole");
            }
            told(answer.status == outcome.status && answer.content == content, "not what the handler gave")?;
            if outcome.streamed {
                return told(answer.content_length.is_none(), "nobody knew its length");
            }
            let length = answer.content_length.unwrap_or(0);
            return told(matches!(outcome.status, 204 | 304) || length == outcome.content.0, "not its length");
        }
        let error = if entry.method == "HEAD" { "" } else { answer.error.as_str() };
        match (answer.status, error) {
            (408, "request_timeout" | "") => {
                told(answer.close, "it must end the connection")?;
                let (began, timeout) = match entry.read_at.1 {
                    None => (entry.read_at.0, self.options.head_timeout_ms),
                    whole_head => (whole_head, self.options.body_timeout_ms.min(self.options.request_timeout_ms)),
                };
                told(!whole && since(began) >= timeout * MS, "too early")
            }
            (400, "bad_request" | "") if !whole && conn.client_ended => {
                told(answer.close, "it must end the connection")
            }
            // A full queue is told before the content is read, and with it whether that is too large.
            (503, "queue_full" | "") if matches!(entry.want, Want::Handler | Want::Refusal(&[413])) => {
                told(entry.runs.0 == 0, "it was started")
            }
            (503, "shutting_down" | "") if entry.want == Want::Handler => {
                told(entry.runs.0 == 0 && (self.draining_at.is_some() || self.exhausted), "nobody said so")
            }
            (status, _) => match entry.want {
                Want::Own(wanted) => told(status == wanted, "not the status"),
                Want::Refusal(wanted) => told(wanted.contains(&status) && answer.close, "not the refusal"),
                Want::Handler => Err("no handler gave it"),
            },
        }
    }

    /// The server has ended its half of a connection: an answer may end with that.
    pub fn server_ended(&mut self, number: usize) {
        let Some(answer) = self.net.conns[number].tap.end() else { return };
        // Of one that was cut nobody can tell whether the server had written all of it.
        if !self.is_cut_short(number) {
            self.ending -= 1;
            self.mark("a content ended with its connection");
            self.answered(number, answer);
        }
    }

    /// Whether there is a reason to end a connection in the middle of an answer.
    fn is_cut_short(&self, number: usize) -> bool {
        let (conn, options) = (&self.net.conns[number], &self.options);
        // Below the minimum rate a client may be given up when it has just taken something.
        let write_gave_up = conn
            .blocked_since
            .is_some_and(|since| options.min_body_rate > 0 || self.now() - since >= options.write_timeout_ms * MS);
        let waited_too_long =
            conn.writing_since.is_some_and(|since| self.now() - since >= options.response_timeout_ms * MS);
        conn.reset_by_client || self.cut || waited_too_long || write_gave_up || self.is_over
    }

    /// The server let go of a connection: is each request that it had read answered, or is there a reason?
    pub fn connection_over(&mut self, number: usize) {
        let now = self.now();
        self.server_ended(number);
        if let Some(token) = self.net.conns[number].asked.front().copied() {
            self.waits_no_more(token);
            if self.ledger[token].outcome.as_ref().is_some_and(|(outcome, _)| outcome.breaks) {
                return self.mark("a content broke off, and its connection ended without its last chunk");
            }
        }
        let conn = &self.net.conns[number];
        let options = &self.options;
        let begun = conn.asked.front().copied().filter(|token| self.ledger[*token].places.0 < conn.read);
        if conn.closing.is_some() || self.is_cut_short(number) {
            return;
        }
        if let Some(token) = begun {
            let entry = &self.ledger[token];
            let part = if entry.read_at.2.is_some() { "all" } else { "a part" };
            let detail = format!("connection {number} ended after {part} of request {token} was read: {entry:?}");
            self.fail("one answer", detail);
        } else if conn.tap.is_inside() {
            self.fail("right answer", format!("connection {number} ended in the middle of an answer"));
        } else if !conn.client_ended && self.draining_at.is_none() {
            let idle = now - conn.moved_at;
            let full = options.requests_per_connection_max > 0;
            let is_over = idle >= options.idle_timeout_ms * MS || full;
            // With as many connections as may be, or as there are descriptors for, one that has been idle for a while makes way
            // for another. Asked to, it goes once it gets its turn, and meanwhile there may be room again.
            let asked_from = conn.moved_at + CROWDED_IDLE_MIN.as_nanos() as u64;
            let makes_way = self.net.full_at.is_some_and(|at| at >= asked_from && now <= at + TOLERANCE);
            if !is_over && !makes_way {
                self.fail("no answer too early", format!("connection {number} was closed after {idle} ns idle"));
            }
            self.mark(if is_over {
                "an idle connection was closed"
            } else {
                "an idle connection made way for another"
            });
        }
    }
}

fn told(holds: bool, reason: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(reason) }
}
