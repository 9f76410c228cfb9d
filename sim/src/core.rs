//! The world's core: virtual time, what is to happen when, who could act now, and the trace. All of the simulated network
//! ([`crate::net`]) lives in it too.
//!
//! Time stands still while anybody acts, but for the small cost that each step may be given. When nobody can act it jumps to
//! the next event. Timers of the server can be taken back; everything else happens once it was scheduled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_lite::Stream;
use polygil::account::Account;
use polygil::server::Signal;
use polygil::server::env::Clock;

use crate::check::Entry;
use crate::net::Network;
use crate::options::Options;
use crate::random::Random;
use crate::trace::{Kind, Trace};

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of the RFCs.
const WALL_START: Duration = Duration::from_secs(784_111_777);

/// One millisecond.
pub const MS: u64 = 1_000_000;

/// Who can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The client of that number has something to do.
    Client(usize),
    /// The worker with that serial number has something to do.
    Worker(usize),
    /// The supervisor is to look at the worker with that serial number.
    Supervisor(usize),
    /// The relief looks at the worker with that serial number, which does the I/O and has been running its task of this number.
    Relief(usize, u64),
    /// Another client comes.
    Arrival,
    /// The operator sends a signal: the first, or the second.
    Signal(bool),
    /// There are no descriptors for a while.
    Descriptors,
    /// The faults are over.
    Heal,
}

/// What happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A timer or a spurious wakeup.
    Wake(Waker),
    /// Somebody can act.
    Act(Actor),
    /// The next thing in flight from the client of this connection reaches the server.
    ToServer(usize),
    /// The next thing in flight from the server reaches this connection's client.
    ToClient(usize),
}

/// Everything that is shared between the simulator and what the server holds.
pub struct Core {
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    /// Who could act now, besides the tasks of the executor.
    pub actors: Vec<Actor>,
    /// Signals that were sent and not yet received.
    signals: VecDeque<Signal>,
    signal_waker: Option<Waker>,
    /// The simulated network.
    pub net: Network,
    /// What happened.
    pub trace: Trace,
    /// Rare paths that were reached.
    pub marks: BTreeSet<&'static str>,
    /// The first thing that was found wrong.
    pub failure: Option<Failure>,
    /// The drawn options.
    pub options: Arc<Options>,
    /// Every request that was sent.
    pub ledger: Vec<Entry>,
    /// Connections that the server holds, and some that it let go of since the last look.
    pub open: Vec<usize>,
    /// Requests that wait for a worker, by turn: which, and how often a later one was run while it was the first.
    pub waiting: BTreeMap<u64, (usize, u64)>,
    /// Turns so far.
    pub turns: u64,
    /// The most that a request was overtaken.
    pub overtaken_max: u64,
    /// The faults are over.
    pub healed: bool,
    /// Since when the server has been told to stop.
    pub draining_at: Option<u64>,
    /// Connections are being cut: a drain's deadline, or a signal.
    pub cut: bool,
    /// Too many workers were lost.
    pub exhausted: bool,
    /// The simulator takes the world down.
    pub is_over: bool,
    /// Answers so far.
    pub answers: u64,
    /// Answers that have begun and end with their connections, so that nobody can tell from outside whether they are whole.
    pub ending: u64,
    /// The server's own account of the memory that contents take.
    pub memory: Option<Arc<Account>>,
    /// How often each status and code was answered.
    pub statuses: BTreeMap<(u16, String), u64>,
}

/// An oracle that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Which.
    pub oracle: String,
    /// What was seen.
    pub detail: String,
    /// When, in nanoseconds.
    pub at_ns: u64,
}

impl Core {
    /// Now, in nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Notes a step in the trace.
    #[inline]
    pub fn note(&mut self, kind: Kind, a: usize, b: u64) {
        self.trace.note(self.now, kind, a as u64, b);
    }

    /// A rare path was reached.
    pub fn mark(&mut self, mark: &'static str) {
        self.marks.insert(mark);
    }

    /// An oracle does not hold. The first one counts.
    pub fn fail(&mut self, oracle: &str, detail: impl Into<String>) {
        let at_ns = self.now;
        self.failure.get_or_insert_with(|| Failure { oracle: oracle.to_owned(), detail: detail.into(), at_ns });
    }

    /// Has something happen at a time.
    pub fn at(&mut self, time: u64, event: Event) -> (u64, u64) {
        self.sequence += 1;
        let key = (time.max(self.now), self.sequence);
        self.events.insert(key, event);
        key
    }

    /// Has somebody act after a while.
    pub fn act_in(&mut self, wait: u64, actor: Actor) {
        if wait == 0 {
            self.actors.push(actor);
        } else {
            self.at(self.now + wait, Event::Act(actor));
        }
    }

    /// When the next event is.
    pub fn next_event(&self) -> Option<u64> {
        self.events.first_key_value().map(|((time, _), _)| *time)
    }

    /// Moves time on and lets happen what is due then.
    pub fn advance(&mut self, to: u64) -> Vec<Waker> {
        self.now = self.now.max(to);
        let mut wakers = Vec::new();
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Event::Wake(waker) => wakers.push(waker),
                Event::Act(actor) => self.actors.push(actor),
                Event::ToServer(connection) => wakers.extend(self.arrive_at_server(connection)),
                Event::ToClient(connection) => self.arrive_at_client(connection),
            }
        }
        wakers
    }

    /// The server is told to stop.
    pub fn begin_draining(&mut self) {
        let now = self.now;
        self.draining_at.get_or_insert(now);
    }

    /// Sends the server a signal.
    pub fn signal(&mut self, signal: Signal) -> Option<Waker> {
        self.note(Kind::Signal, usize::from(signal.0), 0);
        self.signals.push_back(signal);
        self.signal_waker.take()
    }
}

/// A handle to the core.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Core>>);

impl Shared {
    /// A world at its beginning.
    pub fn new(options: Arc<Options>, keep_trace: bool) -> Shared {
        let net = Network::new(Random::new(options.seed, "network"));
        Shared(Arc::new(Mutex::new(Core {
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            actors: Vec::new(),
            signals: VecDeque::new(),
            signal_waker: None,
            net,
            trace: Trace::new(keep_trace),
            marks: BTreeSet::new(),
            failure: None,
            options,
            ledger: Vec::new(),
            open: Vec::new(),
            waiting: BTreeMap::new(),
            turns: 0,
            overtaken_max: 0,
            memory: None,
            healed: false,
            draining_at: None,
            cut: false,
            exhausted: false,
            is_over: false,
            answers: 0,
            ending: 0,
            statuses: BTreeMap::new(),
        })))
    }

    /// The core. Nobody holds it while anything else runs.
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Shared {
    type Sleep = Sleep;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.lock().now)
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + WALL_START + Clock::now(self)
    }

    fn sleep_until(&self, at: Duration) -> Sleep {
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        Sleep { core: self.clone(), at, armed: None }
    }
}

/// A timer of the simulated clock.
pub struct Sleep {
    core: Shared,
    at: u64,
    armed: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut core = this.core.lock();
        if core.now >= this.at {
            return Poll::Ready(());
        }
        let armed = this.armed.and_then(|key| match core.events.get_mut(&key) {
            Some(Event::Wake(waker)) => Some(waker),
            _ => None,
        });
        match armed {
            Some(waker) => waker.clone_from(cx.waker()),
            None => this.armed = Some(core.at(this.at, Event::Wake(cx.waker().clone()))),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.armed {
            let taken_back = self.core.lock().events.remove(&key);
            drop(taken_back);
        }
    }
}

/// The signals that the operator sends.
pub struct Signals(pub Shared);

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        let mut core = self.0.lock();
        match core.signals.pop_front() {
            Some(signal) => Poll::Ready(Some(signal)),
            None => {
                core.signal_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
