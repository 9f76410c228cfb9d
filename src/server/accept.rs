//! The accept loop: one per listener, alive until the server stops, whatever accepting does.
//!
//! At `max_connections` it stops accepting until a connection ends; clients then wait in the kernel's backlog and are not
//! reset. So that those who only hold a connection cannot keep others out, whoever has been idle longest, and for a while, makes
//! way for one who waits. So they do when the process or the machine runs out of descriptors or memory; then it pauses (10 ms, doubling to
//! 1 s, cut short as soon as a connection ends) and logs at most once a second: it never spins and never dies. An error that concerns one
//! connection only, such as a client that left while it was queued, costs that connection.
//!
//! When the drain begins, what the backlog holds at that moment counts as accepted and is served, and so, where the system can
//! keep new ones out meanwhile, are connections whose handshake is under way; then the listener closes.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{FutureExt, future};

use super::drain::{Admission, CROWDED_IDLE_MIN, Phase, Server};
use super::drive::Driver;
use super::env::{Clock, Listener, Peer, Spawn};
use crate::mistakes::broken;

/// How long the drain waits for handshakes under way, when connections came within the last [`BUSY`].
const HANDSHAKE_GRACE: Duration = Duration::from_millis(100);

const BUSY: Duration = Duration::from_secs(1);

/// At `max_connections`, how long until the backlog is looked at again.
const CROWDED_LOOK: Duration = Duration::from_millis(50);

/// Connections that are accepted in a row before the loop lets other tasks run.
const ACCEPTS_PER_TURN: u32 = 16;

/// Accepts connections and starts a task for each until the server drains.
pub(super) async fn accept_loop<L: Listener, C: Clock>(listener: L, server: Arc<Server<C>>, spawn: impl Spawn) {
    let place = listener.place();
    let mut backoff = Backoff::default();
    let mut turn = 0;
    let mut last_accepted = None;
    {
        let mut draining = pin!(server.gate.reached(Phase::Draining));
        loop {
            let next = async {
                place_for(&listener, &server).await;
                Some(listener.accept().await)
            };
            let stop = async {
                draining.as_mut().await;
                None
            };
            // The stop is looked at first: clients who keep coming must not hide it.
            match stop.or(next).await {
                None => break,
                Some(Ok((stream, peer))) => {
                    backoff.errors_in_row = 0;
                    last_accepted = Some(server.clock.now());
                    start(stream, peer, &server, &spawn);
                }
                Some(Err(error)) => {
                    if pause(&mut backoff, &error, &place, &server, draining.as_mut()).await.is_break() {
                        break;
                    }
                }
            }
            turn += 1;
            if turn % ACCEPTS_PER_TURN == 0 {
                future::yield_now().await;
            }
        }
    }
    // Who connects right now may be between the handshake and the backlog: closing would reset it. When nobody came of late,
    // that is not worth waiting for.
    let now = server.clock.now();
    let is_busy = last_accepted.is_some_and(|at| now.saturating_sub(at) < BUSY);
    let until = if is_busy && listener.begin_no_more() { now.saturating_add(HANDSHAKE_GRACE) } else { now };
    if !broken("backlog_forgotten") {
        empty_backlog(&listener, until, &server, &spawn).or(server.gate.reached(Phase::Now)).await;
    }
    drop(listener);
    server.gate.stopped_listening();
}

/// Ready when there is a place for a connection. While there is none and somebody waits for it, who is idle is asked to leave.
async fn place_for<L: Listener, C: Clock>(listener: &L, server: &Server<C>) {
    let has_room = || server.gate.has_room(server.app.options.max_connections);
    while !has_room() {
        let ended = server.gate.connection_ended();
        // Between the look and the listening a connection may have ended.
        if has_room() {
            return;
        }
        let now = server.clock.now();
        if listener.is_awaited() {
            make_room(server, now);
        }
        ended.or(server.clock.sleep_until(now.saturating_add(CROWDED_LOOK))).await;
    }
}

/// Asks whoever has been idle for longest, and for a while, to leave.
fn make_room<C: Clock>(server: &Server<C>, now: Duration) {
    if let Some(before) = now.checked_sub(CROWDED_IDLE_MIN) {
        server.gate.crowd_out(before);
    }
}

/// Waits as long as `error` calls for. Breaks when the server drains.
async fn pause<C: Clock>(
    backoff: &mut Backoff,
    error: &io::Error,
    place: &str,
    server: &Server<C>,
    draining: impl Future<Output = ()>,
) -> std::ops::ControlFlow<()> {
    server.app.counters.accept_error();
    // Listens before it looks at the time: a connection that ends meanwhile gives its descriptor back.
    let ended = server.gate.connection_ended();
    let now = server.clock.now();
    let Some(pause) = backoff.pause(error) else { return std::ops::ControlFlow::Continue(()) };
    if broken("accepting_ends") {
        return std::ops::ControlFlow::Break(());
    }
    // Somebody waits, and what is missing may be in the hands of those who do nothing with it.
    make_room(server, now);
    if let Some(unlogged) = backoff.log(now) {
        let pause_ms = pause.as_millis() as u64;
        tracing::error!(%error, place, pause_ms, unlogged, "cannot accept connections; clients wait in the backlog");
    }
    let go_on = async {
        ended.or(server.clock.sleep_until(now.saturating_add(pause))).await;
        std::ops::ControlFlow::Continue(())
    };
    let stop = async {
        draining.await;
        std::ops::ControlFlow::Break(())
    };
    go_on.or(stop).await
}

/// Serves what the backlog holds: until the time is `until` and it is empty, or as many connections as it can hold were taken
/// from it, so that clients who keep coming cannot put the end off for ever.
async fn empty_backlog<L: Listener, C: Clock>(
    listener: &L,
    until: Duration,
    server: &Arc<Server<C>>,
    spawn: &impl Spawn,
) {
    let mut over = server.clock.sleep_until(until);
    let mut backoff = Backoff::default();
    let mut taken = 0;
    while taken < server.app.options.backlog {
        server.gate.room(server.app.options.max_connections).await;
        let ended = server.gate.connection_ended();
        let next = async { Some(listener.accept().await) };
        let over = async {
            (&mut over).await;
            None
        };
        // The backlog is looked at first: with `until` in the past this takes what there is and ends.
        match next.or(over).await {
            Some(Ok((stream, peer))) => {
                backoff.errors_in_row = 0;
                taken += 1;
                start(stream, peer, server, spawn);
            }
            Some(Err(error)) => {
                server.app.counters.accept_error();
                let Some(pause) = backoff.pause(&error) else {
                    taken += 1;
                    continue;
                };
                // Out of descriptors: they come back as connections end, or as others give them back. With none open the
                // drain would wait for others alone, and does not.
                if server.gate.active() == 0 {
                    return;
                }
                ended.or(server.clock.sleep_until(server.clock.now().saturating_add(pause))).await;
            }
            None => return,
        }
    }
}

/// Gives a connection its task.
fn start<S, C>(stream: S, peer: Peer, server: &Arc<Server<C>>, spawn: &impl Spawn)
where
    S: futures_lite::AsyncRead + futures_lite::AsyncWrite + Unpin + Send + 'static,
    C: Clock,
{
    let admission = Admission::new(server.clone());
    let driver = Driver::new(stream, peer, server.clone(), admission);
    spawn.spawn(async move {
        // A panic is a bug, and it must cost one connection, not the I/O thread and all that live on it.
        if AssertUnwindSafe(driver.run()).catch_unwind().await.is_err() {
            tracing::error!(client = %peer, "the task of a connection panicked; the connection is closed");
        }
    });
}

/// Whether accepting can go on at once because the error belongs to the one connection that failed.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | TimedOut
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
    )
}

/// How long to pause after errors in a row, and how often to speak about it. Pure: the time is given to it.
#[derive(Debug, Default)]
struct Backoff {
    errors_in_row: u32,
    last_logged: Option<Duration>,
    unlogged: u64,
}

impl Backoff {
    const PAUSE_MIN: Duration = Duration::from_millis(10);
    const PAUSE_MAX: Duration = Duration::from_secs(1);
    const LOG_EVERY: Duration = Duration::from_secs(1);

    /// The pause after `error`; None to go on at once.
    fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        if concerns_one_connection(error) {
            return None;
        }
        let pause = Self::PAUSE_MIN.saturating_mul(1 << self.errors_in_row.min(7)).min(Self::PAUSE_MAX);
        self.errors_in_row = self.errors_in_row.saturating_add(1);
        Some(pause)
    }

    /// Whether to log at `now`, and if so, how many errors passed in silence since the last time.
    fn log(&mut self, now: Duration) -> Option<u64> {
        if self.last_logged.is_some_and(|last| now < last.saturating_add(Self::LOG_EVERY)) {
            self.unlogged += 1;
            return None;
        }
        self.last_logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}
