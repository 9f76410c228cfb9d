//! What the server takes from the world: time, tasks, and sockets, each behind a trait.
//!
//! Everything between these edges is deterministic code: it asks [`Clock`] for the time, gives its tasks to [`Spawn`] and its
//! connections come out of [`Listener`]. Production plugs in [`SystemClock`], the [`Executor`](crate::io::executor::Executor) and
//! the sockets of [`bind`](super::bind()); the simulator plugs in virtual time, a seeded executor and a network that loses, splits and
//! stalls.
//!
//! There must never be a fourth edge by accident: what runs between these reads no clock, draws no random number, starts no thread, and
//! iterates no map whose order depends on a random seed. Threads are started around it, where the simulator does not go: those of the I/O
//! in [`run_blocking`](super::run_blocking), those of the admin address in `admin.rs`. `tests/tidy.rs` reads the other files for them.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_lite::{AsyncRead, AsyncWrite};

/// Monotonic time for deadlines, wall time for the Date field, and the one way to wait.
pub trait Clock: Clone + Send + Sync + 'static {
    /// A future that is ready once a point in time is reached. Dropping it takes the timer back.
    type Sleep: Future<Output = ()> + Send + Unpin;

    /// Time since an origin that stays the same for the life of the clock. Never goes back.
    fn now(&self) -> Duration;

    /// The wall clock. It may jump; only the Date field is made from it.
    fn wall(&self) -> SystemTime;

    /// A future that is ready when `now() >= at`.
    fn sleep_until(&self, at: Duration) -> Self::Sleep;
}

/// Starts tasks that nobody waits for.
pub trait Spawn: Clone + Send + Sync + 'static {
    /// Runs `task` to its end, interleaved with the others.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// A place where connections come from.
pub trait Listener: Send + Sync + 'static {
    /// One connection. `poll_close` closes the write half only: the peer sees the end of the answer and can still be read from.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Tries before it waits, so that polling it once empties the backlog one connection at a time and
    /// [`Poll::Pending`] means that the backlog is empty. Dropping the future loses no connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// Whether somebody waits in the backlog, as far as can be told without taking a connection from it.
    fn is_awaited(&self) -> bool;

    /// Begins no new connections from now on, without breaking those whose handshake is under way: their clients may believe them
    /// open. Others are told nothing; they try again a second later, when whoever listens then answers them. False where
    /// this cannot be done.
    fn begin_no_more(&self) -> bool {
        false
    }

    /// Where this listener listens, for people.
    fn place(&self) -> String;
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address of the client; None on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address that the client connected to; None on a Unix socket.
    pub server: Option<SocketAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    pub fn new() -> SystemClock {
        SystemClock { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    type Sleep = SystemSleep;

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, at: Duration) -> SystemSleep {
        // A time past the end of `Instant` is a wait for ever, which is what it means.
        SystemSleep(match self.origin.checked_add(at) {
            Some(instant) => async_io::Timer::at(instant),
            None => async_io::Timer::never(),
        })
    }
}

/// The timer of [`SystemClock`].
#[derive(Debug)]
pub struct SystemSleep(async_io::Timer);

impl Future for SystemSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
