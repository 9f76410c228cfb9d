//! The oracles of time and rest: nothing late, nothing stuck, nobody idle while work waits, all counters in balance.
//!
//! Balance is looked at after every step that can change a counter. Lateness is looked at whenever time has moved on by
//! [`LOOK_EVERY`], over all open connections. When nobody can act the pool is looked at: a task that waits while a worker sleeps
//! is a lost wakeup, at once and without any tolerance.

use polygil::account::HELD_BYTES_MIN;
use polygil::dispatch::Counters;
use polygil::server::{DRAIN_IDLE_GRACE, Stats};

use crate::core::{Core, MS};
use crate::options::or_none;

/// How often the deadlines are looked at, in virtual time.
pub const LOOK_EVERY: u64 = 50 * MS;

/// What a step may take away from a deadline: the ready tasks before it, and the network's own delays of readiness.
pub const TOLERANCE: u64 = 1000 * MS;

/// How long a connection that is over is kept for its client, as the server has it.
const LINGER: u64 = 2000 * MS;

/// How long it is kept at most while its client goes on sending.
const LINGER_MAX: u64 = 30_000 * MS;

/// How long the accept loop pauses at most.
const ACCEPT_PAUSE: u64 = 1000 * MS;

/// What [`DrainReport`](polygil::server::DrainReport) may take beyond the drain timeout: two graces of a second.
const CUT: u64 = 2000 * MS;

impl Core {
    /// The server's counters hold what the simulator saw.
    pub fn check_stats(&mut self, stats: &Stats) {
        let net = &self.net;
        let ends = stats.requests_in_flight + stats.requests_answered + stats.requests_dropped;
        let wrong = if stats.connections_accepted != stats.connections_active + stats.connections_closed {
            "connections do not balance"
        } else if stats.requests_received != ends {
            "requests do not balance"
        } else if stats.connections_accepted != net.accepts {
            "connections accepted"
        } else if stats.connections_active != net.held {
            "connections that are open"
        } else if net.held == 0 && stats.requests_in_flight > 0 {
            "requests in flight without a connection"
        } else if stats.accept_errors != net.accept_errors {
            "accept errors"
        } else if (stats.bytes_read, stats.bytes_written) > net.bytes {
            "bytes"
        } else if stats.requests_answered > self.answers + self.ending {
            "more answers than were written"
        } else if stats.connections_closed_by_reason.get("bug") > 0 {
            "a connection ended by a bug"
        } else {
            return;
        };
        let detail = format!("{wrong}: {stats:?}; seen {} accepts, {:?} bytes", net.accepts, net.bytes);
        self.fail("balance", detail);
    }

    /// The pool's counters hold, and no queue is over its limit.
    pub fn check_pool(&mut self, counters: &Counters) {
        let most = self.options.workers * self.options.lane_depth.max(1) + self.options.overflow_depth;
        if !counters.balance() {
            self.fail("balance", format!("the pool's counters: {counters:?}"));
        }
        if counters.waiting > most {
            self.fail("limits", format!("{} tasks wait; there is room for {most}", counters.waiting));
        }
        if counters.running > self.options.workers {
            self.fail("limits", format!("{} tasks run", counters.running));
        }
    }

    /// How often the request that waits longest may be overtaken. The overflow queue is looked into first in three takes of
    /// eight, so its last place is reached after 8/3 of its depth, 5/3 of that from lanes. A worker begins every eighth take with
    /// another's lane, each of them in turn: the last place of a lane whose worker is stuck is reached, by one worker alone,
    /// after eight takes for each place and each other lane. The rest is for what is moved while somebody looks.
    pub fn overtaken_bound(&self) -> u64 {
        let workers = self.options.workers;
        let by_depth = 2 * self.options.overflow_depth + 8 * workers * (self.options.lane_depth + 1);
        by_depth.max(8 * workers * workers + 256)
    }

    /// Nobody can act: no task waits while a worker sleeps.
    pub fn check_idle(&mut self, waiting: usize, asleep: usize) {
        if waiting > 0 && asleep > 0 {
            self.fail("work conservation", format!("{waiting} tasks wait while {asleep} workers sleep"));
        }
    }

    /// The server has read so many bytes on a connection whose half it had closed. One read may exceed the bound; it is the last.
    pub fn lingers(&mut self, length: u64) {
        let (all, max) = (self.net.lingered, or_none(self.options.linger_bytes_max));
        self.mark("a client sent on behind the last answer");
        if all > max {
            self.mark("connections had thrown away as much as they may");
        }
        if all - length > max {
            self.fail("limits", format!("connections that linger have read {all} bytes; they may {max}"));
        }
    }

    /// What waits for clients is on the server's account, and large contents are within its bound.
    fn check_memory(&mut self) {
        let Some(account) = self.memory.clone() else { return };
        let max = or_none(self.options.buffered_bytes_max);
        let (mut waits, mut large) = (0, 0);
        for number in &self.open {
            let conn = &self.net.conns[*number];
            if conn.dropped_at.is_none()
                && conn.blocked_since.is_some()
                && let Some((length, missing)) = conn.tap.missing()
            {
                waits += missing;
                large += if length >= HELD_BYTES_MIN as u64 { length } else { 0 };
            }
        }
        if account.is_full() {
            self.mark("contents took as much memory as they may");
        }
        if waits > account.unsent() {
            let counted = account.unsent();
            self.fail("memory", format!("{waits} bytes wait for their clients, and {counted} are on account"));
        }
        if large > max {
            self.fail("memory", format!("large contents of {large} bytes wait for their clients; they may {max}"));
        }
    }

    /// Nothing is later than it may be.
    pub fn check_deadlines(&mut self) {
        let now = self.now();
        self.check_memory();
        for place in (0..self.open.len()).rev() {
            let number = self.open[place];
            if self.net.conns[number].dropped_at.is_some() {
                self.open.swap_remove(place);
                continue;
            }
            if let Some(what) = self.late(number) {
                self.fail("timeouts", format!("connection {number}: {what}"));
                return;
            }
        }
        let room = self.net.held < self.options.max_connections && now >= self.net.descriptors_at;
        if !room || self.net.waiting() == 0 {
            self.net.backlog_since = None;
        } else if now - *self.net.backlog_since.get_or_insert(now) > ACCEPT_PAUSE + TOLERANCE {
            self.fail("timeouts", "somebody waits in the backlog although there is room");
        }
        if let Some(begun) = self.draining_at
            && now > begun + self.options.drain_timeout_ms * MS + CUT + TOLERANCE
        {
            self.fail("drain", "the server still runs after its drain timeout");
        }
    }

    /// What is late on that connection.
    fn late(&self, number: usize) -> Option<String> {
        let (now, options, conn) = (self.now(), &self.options, &self.net.conns[number]);
        let over = |since: u64, limit: u64| now > since + limit + TOLERANCE;
        if let Some(since) = conn.blocked_since {
            if over(since.saturating_sub(conn.waited), options.response_timeout_ms * MS) {
                return Some(format!("an answer waits for its client for {} ns in all", now - since + conn.waited));
            }
            let late = over(since.max(conn.moved_at), options.write_timeout_ms * MS);
            return late.then(|| format!("nothing was written for {} ns", now - since));
        }
        if conn.tap.is_inside() {
            let late = over(conn.moved_at, options.write_timeout_ms * MS);
            return late.then(|| "an answer is not written to its end".to_owned());
        }
        // One that was cut may have ended its half in the middle of an answer.
        if let Some(since) = conn.closing.or(conn.server_ended) {
            let late = over(since.max(conn.moved_at), LINGER) || over(since, LINGER_MAX);
            return late.then(|| format!("it is open {} ns after its last answer", now - since));
        }
        let idle =
            if self.draining_at.is_some() { DRAIN_IDLE_GRACE.as_nanos() as u64 } else { options.idle_timeout_ms * MS };
        let since = conn.moved_at.max(self.draining_at.unwrap_or(0));
        let Some(token) = conn.asked.front().copied() else {
            return over(since, idle).then(|| format!("it is idle since {} ns", now - since));
        };
        let entry = &self.ledger[token];
        let late = match (entry.read_at, &entry.outcome) {
            ((None, ..), _) => over(since, idle).then_some("idle with a request that does not come"),
            // The answer before it may have waited for the client until just now.
            (_, Some((_, at))) => over((*at).max(conn.last_answer_at), 0).then_some("a reply is not written"),
            ((Some(at), None, _), _) => {
                over(at.max(conn.last_answer_at), options.head_timeout_ms * MS).then_some("a head is not refused")
            }
            ((_, Some(at), None), _) => {
                let late = over(at.max(conn.read_at).max(conn.last_answer_at), options.body_timeout_ms * MS)
                    || over(at.max(conn.last_answer_at), options.request_timeout_ms * MS);
                late.then_some("a body is not refused")
            }
            ((.., Some(at)), None) if entry.runs.0 == 0 => {
                let at = at.max(conn.last_answer_at);
                over(at, options.queue_timeout_ms * MS).then_some("a request is neither run nor refused")
            }
            (_, None) => {
                let budget = (options.handler_timeout_ms + options.interrupt_grace_ms) * MS;
                over(entry.runs.1, budget).then_some("a handler is over its budget")
            }
        };
        late.map(|what| format!("{what}: request {token}: {entry:?}"))
    }
}
