//! The simulated network: connections, what is on its way on them, and the backlog. The server's ends of it are in [`sockets`].
//!
//! Each direction of a connection is a queue of parcels that arrive in order, each at its time; the order between connections
//! is up to their latencies. Drawn at will: how a send is cut into parcels, how many bytes a read gives and a write takes, reads
//! and writes that are not ready although they could be, parcels that get stuck, accepts that fail. Kept as TCP has it:
//! what was written before the end arrives before it; a reset takes back what had not arrived; a side that lets go of a
//! connection with unread input, or gets input afterwards, resets it; a full window holds the writer.
//!
//! The server's answers are read and checked when they are written (see [`crate::check`]), not when they arrive: so no fault of
//! the network can hide a fault of the server.

pub mod sockets;

use std::collections::VecDeque;
use std::task::Waker;

use crate::answer::Reader;
use crate::core::{Actor, Core, Event, MS};
use crate::random::Random;
use crate::trace::Kind;

/// A client whose first packet got no answer tries again after this long, then after twice that, and so on (RFC 6298).
const SYN_RETRY: u64 = 1000 * MS;

/// It waits no longer than this between two attempts.
const SYN_RETRY_MAX: u64 = 32_000 * MS;

/// Bytes that may be on their way at once, at least, when the faults are over: what most systems begin with.
const WINDOW_HEALED: u64 = 64 * 1024;

/// Something on its way.
#[derive(Debug)]
enum Parcel {
    /// A connection attempt.
    Syn,
    /// It was answered.
    SynAck,
    /// The attempt was refused.
    Refused,
    /// The handshake is complete.
    Ack,
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One direction.
#[derive(Default)]
struct Way {
    flight: VecDeque<Parcel>,
    last_arrival: u64,
}

/// What has been written on a connection, for its client.
#[derive(Clone, Debug)]
pub struct Written {
    /// The stream offset after the answer's last byte.
    pub end: u64,
    /// Its status.
    pub status: u16,
    /// Nothing follows it.
    pub close: bool,
    /// The request that it answers.
    pub token: usize,
}

/// One connection, both ends and what is between them.
pub struct Conn {
    /// Its client.
    pub client: usize,
    latency: u64,
    short_read: u64,
    short_write: u64,
    spurious: u64,
    segment: u64,
    stall: u64,
    window: u64,
    syn_wait: u64,
    up: Way,
    down: Way,
    /// Arrived and not read by the server.
    input: Vec<u8>,
    input_start: usize,
    input_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes that the client sent.
    pub sent: u64,
    /// Bytes that the server read.
    pub read: u64,
    /// Bytes that the server wrote.
    pub written: u64,
    /// Of these, the ones that the client has taken.
    pub taken: u64,
    /// Of these, the ones that have arrived.
    pub arrived: u64,
    /// Since when the server cannot write.
    pub blocked_since: Option<u64>,
    /// How long it could not write in the present answer before that.
    pub waited: u64,
    /// Since when it may have been writing, in vain at first.
    pub writing_since: Option<u64>,
    /// Bytes that it read after it had closed its half.
    pub lingered: u64,
    /// When the server last read or wrote something.
    pub moved_at: u64,
    /// When the server last read something.
    pub read_at: u64,
    /// When the last answer was complete.
    pub last_answer_at: u64,
    /// The handshake is complete.
    pub established: bool,
    /// When the server took it.
    pub accepted_at: Option<u64>,
    /// The client closed its half.
    pub client_ended: bool,
    /// The client takes nothing any more.
    pub client_left: bool,
    /// A reset came from the client.
    pub reset_by_client: bool,
    /// When the server closed its half.
    pub server_ended: Option<u64>,
    /// When the server let go of it.
    pub dropped_at: Option<u64>,
    /// The client saw the server's end.
    pub saw_end: bool,
    /// The client saw a reset, or was refused.
    pub saw_reset: bool,
    /// The client knows that the connection is open.
    pub connected: bool,
    /// The client was told and has not looked yet.
    told: bool,
    /// Requests, oldest first, that the server has not answered.
    pub asked: VecDeque<usize>,
    /// Answers that the client has not taken yet.
    pub answers: VecDeque<Written>,
    /// Reads what the server writes.
    pub tap: Reader,
    /// The server has written an answer after which nothing follows.
    pub closing: Option<u64>,
}

/// All connections.
pub struct Network {
    random: Random,
    /// Every connection there ever was.
    pub conns: Vec<Conn>,
    backlog: VecDeque<usize>,
    acceptor: Option<Waker>,
    /// The listener is gone.
    pub closed: bool,
    no_more: bool,
    /// There are no descriptors until then.
    pub descriptors_at: u64,
    /// Connections that the server took.
    pub accepts: u64,
    /// Connections that the server holds.
    pub held: u64,
    /// When there were last as many of them as may be, or as there are descriptors for.
    pub full_at: Option<u64>,
    /// Connections taken out of the backlog since the drain began.
    pub accepts_draining: u64,
    /// Bytes that the server read, and wrote.
    pub bytes: (u64, u64),
    /// How often the server tried to write.
    pub writes: u64,
    /// Bytes that the server read on connections whose half it had closed, and which it still holds.
    pub lingered: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Since when somebody waits in the backlog although there is room.
    pub backlog_since: Option<u64>,
}

impl Network {
    /// A network without connections.
    pub fn new(random: Random) -> Network {
        Network {
            random,
            conns: Vec::new(),
            backlog: VecDeque::new(),
            acceptor: None,
            closed: false,
            no_more: false,
            descriptors_at: 0,
            accepts: 0,
            held: 0,
            full_at: None,
            accepts_draining: 0,
            bytes: (0, 0),
            writes: 0,
            lingered: 0,
            accept_errors: 0,
            backlog_since: None,
        }
    }

    /// Connections that wait to be accepted.
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }
}

impl Core {
    /// Begins a connection for a client and gives its number.
    pub fn connect(&mut self, client: usize) -> usize {
        let options = self.options.clone();
        let faulty = |rate: u64, healed: bool| if healed { 0 } else { rate };
        let healed = self.is_healed();
        let random = &mut self.net.random;
        let latency = (options.latency_us / 2 + random.below(options.latency_us + 1)) * 1000;
        let number = self.net.conns.len();
        self.net.conns.push(Conn {
            client,
            latency,
            short_read: faulty(options.short_read, healed),
            short_write: faulty(options.short_write, healed),
            spurious: faulty(options.spurious, healed),
            segment: faulty(options.segment, healed),
            stall: faulty(options.stall, healed),
            window: options.window,
            syn_wait: SYN_RETRY,
            up: Way::default(),
            down: Way::default(),
            input: Vec::new(),
            input_start: 0,
            input_ended: false,
            reader: None,
            writer: None,
            sent: 0,
            read: 0,
            written: 0,
            taken: 0,
            arrived: 0,
            blocked_since: None,
            waited: 0,
            writing_since: None,
            lingered: 0,
            moved_at: 0,
            read_at: 0,
            last_answer_at: 0,
            established: false,
            accepted_at: None,
            client_ended: false,
            client_left: false,
            reset_by_client: false,
            server_ended: None,
            dropped_at: None,
            saw_end: false,
            saw_reset: false,
            connected: false,
            told: false,
            asked: VecDeque::new(),
            answers: VecDeque::new(),
            tap: Reader::default(),
            closing: None,
        });
        self.note(Kind::Connect, number, client as u64);
        self.up(number, Parcel::Syn, 0);
        number
    }

    fn travel(&mut self, number: usize) -> u64 {
        let conn = &self.net.conns[number];
        let (latency, stall) = (conn.latency, conn.stall);
        let healed = self.is_healed();
        let random = &mut self.net.random;
        let mut time = latency + random.below(self.options.jitter_us + 1) * 1000;
        if !healed && random.chance(stall) {
            time += random.spread(10 * MS, 20_000 * MS);
            self.mark("a parcel got stuck");
        }
        time
    }

    fn up(&mut self, number: usize, parcel: Parcel, wait: u64) {
        let arrival = self.now() + wait + self.travel(number);
        let way = &mut self.net.conns[number].up;
        way.last_arrival = way.last_arrival.max(arrival);
        way.flight.push_back(parcel);
        let at = way.last_arrival;
        self.at(at, Event::ToServer(number));
    }

    fn down(&mut self, number: usize, parcel: Parcel) {
        let arrival = self.now() + self.travel(number);
        let way = &mut self.net.conns[number].down;
        way.last_arrival = way.last_arrival.max(arrival);
        way.flight.push_back(parcel);
        let at = way.last_arrival;
        self.at(at, Event::ToClient(number));
    }

    /// Takes back what has not arrived and lets the client know of the reset.
    fn reset_client(&mut self, number: usize) {
        for parcel in &mut self.net.conns[number].down.flight {
            if matches!(parcel, Parcel::Bytes(_) | Parcel::End) {
                *parcel = Parcel::Bytes(Vec::new());
            }
        }
        self.note(Kind::Reset, number, 1);
        self.down(number, Parcel::Reset);
    }

    /// The client sends bytes, perhaps in several parcels.
    pub fn send(&mut self, number: usize, bytes: Vec<u8>) {
        let conn = &mut self.net.conns[number];
        if conn.client_ended || conn.client_left || bytes.is_empty() {
            return;
        }
        conn.sent += bytes.len() as u64;
        let segment = conn.segment;
        self.trace.note(self.now(), Kind::Send, number as u64, bytes.len() as u64);
        self.trace.bytes(&bytes);
        if !self.net.random.chance(segment) {
            return self.up(number, Parcel::Bytes(bytes), 0);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = self.net.random.spread(1, rest.len() as u64) as usize;
            let (piece, after) = rest.split_at(length);
            rest = after;
            let wait = if self.net.random.chance(300) { self.net.random.below(50 * MS) } else { 0 };
            self.up(number, Parcel::Bytes(piece.to_vec()), wait);
        }
    }

    /// The client sends nothing more.
    pub fn end(&mut self, number: usize) {
        let conn = &mut self.net.conns[number];
        if !std::mem::replace(&mut conn.client_ended, true) {
            self.note(Kind::ClientEnd, number, 0);
            self.up(number, Parcel::End, 0);
        }
    }

    /// The client resets the connection.
    pub fn reset(&mut self, number: usize) {
        let conn = &mut self.net.conns[number];
        (conn.client_ended, conn.client_left) = (true, true);
        self.note(Kind::Reset, number, 0);
        self.up(number, Parcel::Reset, 0);
    }

    /// The client closes the connection and takes nothing more.
    pub fn leave(&mut self, number: usize) {
        let unread = {
            let conn = &mut self.net.conns[number];
            std::mem::replace(&mut conn.client_left, true) || conn.arrived > conn.taken
        };
        self.end(number);
        if unread {
            self.up(number, Parcel::Reset, 0);
        }
    }

    /// The client takes up to `bytes_max` bytes of what arrived, and so gives the server room. Gives what it took.
    pub fn take(&mut self, number: usize, bytes_max: u64) -> (u64, Option<Waker>) {
        let conn = &mut self.net.conns[number];
        conn.told = false;
        let length = (conn.arrived - conn.taken).min(bytes_max);
        conn.taken += length;
        let waker = if length > 0 { conn.writer.take() } else { None };
        (length, waker)
    }

    /// Bytes that the server can write on a connection until its client has taken some.
    fn room(&self, number: usize) -> u64 {
        let conn = &self.net.conns[number];
        let window = if self.is_healed() { conn.window.max(WINDOW_HEALED) } else { conn.window };
        window.saturating_sub(conn.written - conn.taken)
    }

    fn tell(&mut self, number: usize) {
        let conn = &mut self.net.conns[number];
        if !std::mem::replace(&mut conn.told, true) {
            let client = conn.client;
            self.actors.push(Actor::Client(client));
        }
    }

    /// Something reaches the server.
    pub fn arrive_at_server(&mut self, number: usize) -> Option<Waker> {
        let now = self.now();
        let conn = &mut self.net.conns[number];
        let gone = conn.dropped_at.is_some();
        match conn.up.flight.pop_front()? {
            Parcel::Syn => self.arrive_syn(number),
            Parcel::Ack => {
                conn.established = true;
                if self.net.closed {
                    self.reset_client(number);
                    return None;
                }
                self.net.backlog.push_back(number);
                self.net.acceptor.take()
            }
            _ if gone => {
                // Whoever let go of a connection that the peer still writes to has its system reset it.
                if !conn.saw_reset && !conn.client_left {
                    self.reset_client(number);
                }
                None
            }
            Parcel::Bytes(bytes) => {
                if conn.input_start == conn.input.len() {
                    conn.input.clear();
                    conn.input_start = 0;
                }
                conn.input.extend_from_slice(&bytes);
                let waker = conn.reader.take();
                self.trace.note(now, Kind::Arrive, number as u64, bytes.len() as u64);
                waker
            }
            Parcel::End => {
                conn.input_ended = true;
                conn.reader.take()
            }
            Parcel::Reset => {
                conn.reset_by_client = true;
                conn.input.clear();
                conn.input_start = 0;
                let (reader, writer) = (conn.reader.take(), conn.writer.take());
                // One task owns both halves: one waker is enough.
                reader.or(writer)
            }
            Parcel::SynAck | Parcel::Refused => None,
        }
    }

    fn arrive_syn(&mut self, number: usize) -> Option<Waker> {
        let backlog_max = self.options.backlog as usize;
        if self.net.closed {
            self.down(number, Parcel::Refused);
        } else if self.net.no_more || self.net.backlog.len() >= backlog_max {
            self.note(Kind::Refused, number, 1);
            self.mark("the backlog was full or closed to newcomers");
            let wait = &mut self.net.conns[number].syn_wait;
            let this = std::mem::replace(wait, (*wait * 2).min(SYN_RETRY_MAX));
            self.up(number, Parcel::Syn, this);
        } else {
            self.down(number, Parcel::SynAck);
        }
        None
    }

    /// Something reaches the client.
    pub fn arrive_at_client(&mut self, number: usize) {
        let conn = &mut self.net.conns[number];
        let Some(parcel) = conn.down.flight.pop_front() else { return };
        match parcel {
            Parcel::SynAck => {
                conn.connected = true;
                self.up(number, Parcel::Ack, 0);
            }
            Parcel::Refused => {
                conn.saw_reset = true;
                self.note(Kind::Refused, number, 0);
            }
            Parcel::Bytes(bytes) if bytes.is_empty() => return,
            Parcel::Bytes(bytes) => {
                conn.arrived += bytes.len() as u64;
                if conn.client_left && !conn.saw_reset {
                    conn.saw_reset = true;
                    self.up(number, Parcel::Reset, 0);
                    return;
                }
                self.note(Kind::Receive, number, bytes.len() as u64);
            }
            Parcel::End => conn.saw_end = true,
            Parcel::Reset => conn.saw_reset = true,
            Parcel::Syn | Parcel::Ack => {}
        }
        self.tell(number);
    }

    /// The server's side lets go of a connection that it held, or never took.
    fn drop_server_end(&mut self, number: usize) {
        let now = self.now();
        let conn = &mut self.net.conns[number];
        let unread = conn.input.len() - conn.input_start;
        let taken = conn.accepted_at.is_some();
        conn.dropped_at = Some(now);
        self.net.lingered -= std::mem::take(&mut conn.lingered);
        let ended = conn.server_ended.replace(conn.server_ended.unwrap_or(now)).is_some();
        (conn.reader, conn.writer) = (None, None);
        conn.input = Vec::new();
        conn.input_start = 0;
        let reset = conn.reset_by_client;
        self.note(Kind::ServerDrop, number, unread as u64);
        if taken {
            if self.net.held >= self.options.max_connections {
                self.net.full_at = Some(now);
            }
            self.net.held -= 1;
            self.connection_over(number);
        }
        if reset {
        } else if unread > 0 || !taken {
            self.mark("the server let go of a connection with unread input");
            self.reset_client(number);
        } else if !ended {
            self.down(number, Parcel::End);
        }
    }
}
