//! Clients: they connect, ask, read, and misbehave in every way that the options allow.
//!
//! A client that misbehaves does so by how it uses the network, never by what it believes: what it sent stands in the ledger,
//! and what comes back is judged there. Once the run is healed every client behaves: it sends what it began, reads all that
//! comes, and leaves.

use std::collections::VecDeque;

use crate::core::{Actor, Core, MS, Shared};
use crate::random::Random;
use crate::workload::{Drawn, draw};

/// How long a client waits for 100 before it sends its content all the same.
const CONTINUE_WAIT: u64 = 1000 * MS;

/// What a client does when one connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Connects again as long as requests are left.
    Closed,
    /// Goes away.
    Open,
    /// As `Open`, and each answer must be a handler's.
    Probe,
}

/// How it ends a connection before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    Reset,
    Leave,
}

struct Client {
    kind: Loop,
    conn: Option<usize>,
    /// Requests it may still send on this connection.
    left: u64,
    pipeline: usize,
    /// Requests that were sent and whose answers it has not read.
    asked: VecDeque<usize>,
    /// What is drawn and not sent.
    outbox: Vec<u8>,
    /// What follows once it may go on with its content.
    held: Option<(Drawn, u64)>,
    /// Nothing more is sent on this connection.
    finished: bool,
    drip: Option<(u64, u64)>,
    sip: Option<(u64, u64)>,
    half_close: bool,
    exit: Option<(u64, Exit)>,
    /// Not to be done before.
    next_send: u64,
    next_read: u64,
    wake_at: u64,
    gone: bool,
}

/// All clients of a run.
pub struct Clients {
    core: Shared,
    clients: Vec<Client>,
    random: Random,
    /// Requests that may still be drawn.
    pub left: u64,
    /// Clients that have not gone.
    pub present: usize,
}

impl Clients {
    /// Nobody yet.
    pub fn new(core: Shared, seed: u64, requests: u64) -> Clients {
        Clients { core, clients: Vec::new(), random: Random::new(seed, "workload"), left: requests, present: 0 }
    }

    /// Somebody comes, after a while.
    pub fn add(&mut self, kind: Loop, wait: u64) {
        let number = self.clients.len();
        self.clients.push(Client {
            kind,
            conn: None,
            left: 0,
            pipeline: 1,
            asked: VecDeque::new(),
            outbox: Vec::new(),
            held: None,
            finished: false,
            drip: None,
            sip: None,
            half_close: false,
            exit: None,
            next_send: 0,
            next_read: 0,
            wake_at: 0,
            gone: false,
        });
        self.present += 1;
        self.core.lock().act_in(wait, Actor::Client(number));
    }

    /// The time until the next client comes.
    pub fn between_arrivals(&mut self, per_second: u64) -> u64 {
        self.random.exponential(1_000_000_000 / per_second.max(1)).max(1)
    }

    /// Has everybody look again, because the rules changed.
    pub fn rouse(&mut self) {
        let core = &mut *self.core.lock();
        for (number, client) in self.clients.iter().enumerate() {
            if !client.gone {
                core.actors.push(Actor::Client(number));
            }
        }
    }

    /// That client does what it can do now.
    pub fn act(&mut self, number: usize) {
        let shared = self.core.clone();
        let core = &mut *shared.lock();
        let client = &mut self.clients[number];
        if client.gone {
            return;
        }
        if client.wake_at <= core.now() {
            client.wake_at = 0;
        }
        let Some(conn) = client.conn else {
            return begin(client, number, core, &mut self.random, &mut self.left, &mut self.present);
        };
        if core.net.conns[conn].saw_reset || core.net.conns[conn].client_left {
            return over(client, number, core, &mut self.random, &mut self.present);
        }
        if !core.net.conns[conn].connected {
            if core.is_healed() && client.kind != Loop::Probe {
                core.leave(conn);
                over(client, number, core, &mut self.random, &mut self.present);
            }
            return;
        }
        let healed = core.is_healed();
        match client.exit {
            Some((at, exit)) if at <= core.now() && !healed => {
                match exit {
                    Exit::Reset => core.reset(conn),
                    Exit::Leave => core.leave(conn),
                }
                core.mark(if exit == Exit::Reset { "a client reset" } else { "a client left" });
                return over(client, number, core, &mut self.random, &mut self.present);
            }
            _ => {}
        }
        let ended = receive(client, conn, core, &mut self.random);
        if ended {
            core.end(conn);
            return over(client, number, core, &mut self.random, &mut self.present);
        }
        transmit(client, conn, core, &mut self.random, &mut self.left);
        let healed = core.is_healed();
        let next = client.next_moment(healed, core.now());
        if next > core.now() && (client.wake_at == 0 || next < client.wake_at) && next < u64::MAX {
            client.wake_at = next;
            core.act_in(next - core.now(), Actor::Client(number));
        }
    }
}

impl Client {
    /// When it has something to do although nothing came.
    fn next_moment(&self, healed: bool, now: u64) -> u64 {
        let mut next = u64::MAX;
        let mut consider = |at: u64| {
            if at > now {
                next = next.min(at);
            }
        };
        if !self.finished && (!self.outbox.is_empty() || self.asked.len() < self.pipeline) {
            consider(self.next_send);
        }
        if let Some((_, at)) = &self.held {
            consider(*at);
        }
        if self.sip.is_some() && !healed {
            consider(self.next_read);
        }
        if let Some((at, _)) = self.exit
            && !healed
        {
            consider(at);
        }
        next
    }
}

/// Opens a connection, and draws how it will be used.
fn begin(
    client: &mut Client,
    number: usize,
    core: &mut Core,
    random: &mut Random,
    left: &mut u64,
    present: &mut usize,
) {
    let probe = client.kind == Loop::Probe;
    if (*left == 0 || core.is_healed()) && !probe || core.net.closed {
        client.gone = true;
        *present -= 1;
        return;
    }
    let options = core.options.clone();
    let now = core.now();
    client.left = if probe { 1 } else { random.spread(1, options.per_connection_max) };
    client.pipeline = if probe { 1 } else { random.spread(1, options.pipeline_max) as usize };
    client.asked.clear();
    client.outbox.clear();
    client.held = None;
    client.finished = false;
    let calm = probe || core.is_healed();
    client.drip = (!calm && random.chance(options.slow_send)).then(|| {
        (random.spread(1, 200), random.spread(MS, options.head_timeout_ms.max(options.body_timeout_ms) * 2 * MS))
    });
    client.sip = (!calm && random.chance(options.slow_read))
        .then(|| (random.spread(1, 5000), random.spread(MS, options.write_timeout_ms * 2 * MS)));
    client.half_close = random.chance(options.half_close);
    client.exit = None;
    if !calm && random.chance(options.reset) {
        client.exit = Some((now + random.spread(1000, 5000 * MS), Exit::Reset));
    } else if !calm && random.chance(options.leave) {
        client.exit = Some((now + random.spread(1000, 5000 * MS), Exit::Leave));
    }
    (client.next_send, client.next_read, client.wake_at) = (0, 0, 0);
    client.conn = Some(core.connect(number));
}

/// The connection is over: the client goes, or comes again after a while.
fn over(client: &mut Client, number: usize, core: &mut Core, random: &mut Random, present: &mut usize) {
    client.conn = None;
    client.wake_at = 0;
    if client.kind != Loop::Closed {
        let unserved = client.left > 0 || !client.asked.is_empty();
        if client.kind == Loop::Probe && unserved && !core.net.closed && core.draining_at.is_none() {
            core.fail("healed", "a probe's connection ended before it was answered");
        }
        client.gone = true;
        *present -= 1;
        return;
    }
    let wait = random.exponential(core.options.think_us * 1000) + 1000;
    core.act_in(wait, Actor::Client(number));
}

/// Reads what it is willing to read. True when nothing more will come.
fn receive(client: &mut Client, conn: usize, core: &mut Core, random: &mut Random) -> bool {
    let now = core.now();
    let mut willing = u64::MAX;
    if let Some((bytes, pause)) = client.sip
        && !core.is_healed()
    {
        willing = if now >= client.next_read { bytes } else { 0 };
        if willing > 0 && core.net.conns[conn].arrived > core.net.conns[conn].taken {
            client.next_read = now + pause;
        }
    }
    let (_, waker) = core.take(conn, willing);
    if let Some(waker) = waker {
        waker.wake();
    }
    let mut closed = false;
    loop {
        let held = &core.net.conns[conn];
        let Some(written) = held.answers.front().filter(|written| written.end <= held.taken).cloned() else { break };
        core.net.conns[conn].answers.pop_front();
        if written.status == 100 {
            if let Some((_, at)) = &mut client.held {
                *at = now;
            }
            continue;
        }
        client.asked.pop_front();
        closed |= written.close;
        if client.held.as_ref().is_some_and(|(drawn, _)| drawn.token == written.token) {
            // A final answer instead of 100: the content is not wanted.
            client.held = None;
            client.finished = true;
        }
        if client.kind == Loop::Probe {
            let from_handler = core.ledger[written.token].outcome.as_ref().is_some_and(|(o, _)| o.error.is_empty());
            if !from_handler && core.draining_at.is_none() && !core.exhausted {
                core.fail("healed", format!("a probe was answered {} by the server itself", written.status));
            }
        }
        client.next_send = now + random.exponential(core.options.think_us * 1000);
    }
    client.finished |= closed;
    let held = &core.net.conns[conn];
    let all_taken = held.taken == held.arrived;
    let nothing_left = client.finished && client.asked.is_empty() && client.outbox.is_empty() && client.held.is_none();
    closed || (held.saw_end && all_taken) || nothing_left
}

/// Sends what it is to send by now.
fn transmit(client: &mut Client, conn: usize, core: &mut Core, random: &mut Random, left: &mut u64) {
    let now = core.now();
    let healed = core.is_healed();
    let probe = client.kind == Loop::Probe;
    if core.net.conns[conn].saw_end {
        client.finished = true;
        client.outbox.clear();
        client.held = None;
    }
    if let Some((drawn, at)) = &mut client.held
        && *at <= now
    {
        client.outbox.append(&mut drawn.rest);
        client.finished |= drawn.is_last;
        client.held = None;
    }
    if healed && !probe {
        client.left = 0;
    }
    while !client.finished
        && client.held.is_none()
        && client.asked.len() < client.pipeline
        && now >= client.next_send
        && client.left > 0
        && (*left > 0 || probe)
        && client.outbox.len() < 1 << 20
    {
        let sent = core.net.conns[conn].sent + client.outbox.len() as u64;
        let drawn = draw(core, random, conn, sent);
        client.left -= 1;
        *left = left.saturating_sub(1);
        client.asked.push_back(drawn.token);
        core.net.conns[conn].asked.push_back(drawn.token);
        client.outbox.extend_from_slice(&drawn.first);
        client.finished = drawn.is_last && !drawn.waits;
        if drawn.waits {
            client.held = Some((drawn, now + CONTINUE_WAIT));
        }
    }
    if client.left == 0 || (*left == 0 && !probe) {
        client.finished |= client.held.is_none();
    }
    match client.drip {
        Some((bytes, pause)) if !healed => {
            if now >= client.next_send && !client.outbox.is_empty() {
                let length = (bytes as usize).min(client.outbox.len());
                core.send(conn, client.outbox.drain(..length).collect());
                client.next_send = now + pause;
                core.mark("a client sent slowly");
            }
        }
        _ => core.send(conn, std::mem::take(&mut client.outbox)),
    }
    if client.finished && client.outbox.is_empty() && client.half_close && client.held.is_none() {
        core.end(conn);
    }
}
