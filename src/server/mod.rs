//! The I/O side: sockets, connections, time. Everything between the listener and the queue of a worker.
//!
//! On a request's way this module is the first and the last station: [`accept`] takes the connection, [`drive`] runs it
//! (bytes → `http` → `router` → `dispatch`, and the reply back), [`drain`] ends it all without losing what was accepted. It
//! holds no Python object and no GIL, and never waits for a handler in a way that keeps other connections from going on.
//!
//! Time, tasks and sockets come through the traits of [`mod@env`]; production's are smol's ([`run_blocking`], [`bind()`]), and
//! the simulator brings its own and calls [`run`]. One [`App`] is one server: its routes, its pool, its options, its counters.

mod accept;
mod access;
mod admin;
mod bind;
mod date;
mod descriptors;
mod drain;
mod drive;
pub mod env;
mod metrics;
mod overview;
mod socket;
mod stats;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vital;
mod wire;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use futures_lite::{FutureExt, Stream, future};

pub use self::access::ACCESS_TARGET;
pub use self::admin::Admin;
pub use self::bind::{NamedFile, SmolListener, adopt, bind, bind_admin, signals_from};
pub use self::descriptors::descriptors_for;
pub use self::drain::{CROWDED_IDLE_MIN, DRAIN_IDLE_GRACE, DrainEnd, DrainReport, Unfinished, run};
pub use self::overview::{Depths, Health, HealthCell, MemoryOverview, Overview, RunningOverview, WorkersOverview};
pub use self::socket::SmolStream;
pub use self::stats::{Closed, Counters, Named, Stats};

use self::drain::Gate;
use crate::account::Account;
use crate::config::Config;
use crate::dispatch::Pool;
use crate::http::{Limits, Response};
use crate::io::Io;
use crate::planted::passing;
use crate::router::{RouteId, Router};
use crate::task::{Running, Task, WorkersNow};

/// One server: what its connections share.
pub struct App {
    /// Which handler a request is for.
    pub router: Arc<Router>,
    /// Where requests go.
    pub pool: Arc<Pool<Task>>,
    /// Limits and timeouts.
    pub options: ServerOptions,
    /// What happened so far.
    pub counters: Counters,
    /// Whether it serves.
    pub health: Arc<HealthCell>,
    /// The memory that contents take.
    pub memory: Arc<Account>,
    /// What connections that linger have thrown away.
    lingering: Account,
    io: Arc<Io>,
    requests: AtomicU64,
    gate: Arc<Gate>,
    now: OnceLock<Box<dyn Fn() -> Duration + Send + Sync>>,
    workers: OnceLock<Box<dyn Fn() -> WorkersNow + Send + Sync>>,
    stop: OnceLock<Box<dyn Fn() + Send + Sync>>,
    probe: vital::Probe,
}

impl App {
    /// A server that has not served yet.
    pub fn new(router: Arc<Router>, pool: Arc<Pool<Task>>, options: ServerOptions) -> App {
        let io = Arc::new(Io::new(Arc::clone(&pool), router.routes().len()));
        App {
            memory: Arc::new(Account::new(options.buffered_bytes_max)),
            lingering: Account::new(options.linger_bytes_max),
            io,
            router,
            pool,
            options,
            counters: Counters::default(),
            health: Arc::default(),
            requests: AtomicU64::new(0),
            gate: Arc::default(),
            now: OnceLock::new(),
            workers: OnceLock::new(),
            stop: OnceLock::new(),
            probe: vital::Probe::default(),
        }
    }

    /// What workers serve by.
    pub fn io(&self) -> Arc<Io> {
        Arc::clone(&self.io)
    }

    /// Says where to ask what the workers run. Once; a later call changes nothing.
    pub fn ask_workers(&self, now: impl Fn() -> WorkersNow + Send + Sync + 'static) {
        drop(self.workers.set(Box::new(now)));
    }

    fn workers_now(&self) -> WorkersNow {
        self.workers.get().map(|now| now()).unwrap_or_default()
    }

    /// How long the oldest request that waits for a worker has waited: in flight, submitted, and not among the `running`.
    fn oldest_wait(&self, running: &[Running]) -> Duration {
        let since = self.gate.submitted().into_iter().filter(|(id, _)| running.iter().all(|task| task.request != *id));
        let Some((_, since)) = since.min_by_key(|(_, since)| *since) else { return Duration::ZERO };
        self.now.get().map_or(Duration::ZERO, |now| now().saturating_sub(since))
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// The textual id of the request that is number `id`, as in logs, in `Task` and in `x-request-id`.
    pub fn request_id(&self, id: u64) -> String {
        format!("{}-{id}", self.options.request_id_prefix)
    }

    /// How long a request for `route` may wait for a worker.
    fn queue_timeout(&self, route: RouteId) -> Duration {
        self.router.route(route).queue_timeout_ms.map_or(self.options.queue_timeout, Duration::from_millis)
    }

    /// Numbers requests from 1.
    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed) + 1
    }
}

/// The options of the I/O side. Zero is a valid timeout: it is over at once.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The limits of the protocol.
    pub limits: Limits,
    /// Connections that are open at a time. The next ones wait in the backlog.
    pub max_connections: usize,
    /// Connections that the kernel holds for a listener until they are accepted.
    pub backlog: u32,
    /// Content that is in memory at a time, of all requests and of all answers that wait to be sent: 503 for what would exceed it.
    pub buffered_bytes_max: u64,
    /// Content that connections which linger have thrown away, all together.
    pub linger_bytes_max: u64,
    /// How long a request may wait for a worker, unless its route says otherwise: 503 after it.
    pub queue_timeout: Duration,
    /// From the first byte of a head to its last: 408 after it.
    pub head_timeout: Duration,
    /// Between two pieces of a body: 408 after it.
    pub body_timeout: Duration,
    /// Bytes per second that content must keep up on average, in either direction, beyond the body or write timeout; 0 is off.
    pub min_body_rate: u64,
    /// From the end of a request's head to the end of its content, at whatever rate: 408 after it.
    pub request_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long the peer may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long an answer may wait for its peer, all in all.
    pub response_timeout: Duration,
    /// From the first signal until what is not finished is given up.
    pub drain_timeout: Duration,
    /// Log each answer.
    pub access_log: bool,
    /// Send a Server field.
    pub server_header: bool,
    /// Put messages into 5xx answers.
    pub debug: bool,
    /// What the textual request ids begin with.
    pub request_id_prefix: String,
}

impl ServerOptions {
    /// The options as configured. `request_id_prefix` should differ from one start of the server to the next.
    pub fn new(config: &Config, request_id_prefix: impl Into<String>) -> ServerOptions {
        ServerOptions {
            limits: config.limits(),
            max_connections: config.max_connections,
            backlog: config.backlog,
            buffered_bytes_max: config.max_buffered_bytes,
            linger_bytes_max: config.max_linger_bytes,
            queue_timeout: config.queue_timeout,
            head_timeout: config.head_timeout,
            body_timeout: config.body_timeout,
            min_body_rate: config.min_body_rate,
            request_timeout: config.request_timeout,
            idle_timeout: config.idle_timeout,
            write_timeout: config.write_timeout,
            response_timeout: config.response_timeout,
            drain_timeout: config.drain_timeout,
            access_log: config.access_log,
            server_header: config.server_header,
            debug: config.debug,
            request_id_prefix: request_id_prefix.into(),
        }
    }

    /// The deadline of a transfer that began at `begun`, made progress at `now` and has moved `bytes` so far: at most
    /// `stall_max` without progress, and on average at the minimum rate after the first `stall_max`.
    fn rate_deadline(&self, now: Duration, begun: Duration, bytes: u64, stall_max: Duration) -> Duration {
        let stalled = now.saturating_add(stall_max);
        if self.min_body_rate == 0 {
            return stalled;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.min_body_rate);
        let earned = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        stalled.min(begun.saturating_add(stall_max).saturating_add(earned))
    }

    /// Adds the Server field if it is wanted and the handler did not set it.
    fn identify(&self, response: &mut Response) {
        let set = |(name, _): &(std::borrow::Cow<'_, str>, _)| name.eq_ignore_ascii_case("server");
        if self.server_header && !response.headers.iter().any(set) {
            response.headers.push(("server".into(), (&b"polygil"[..]).into()));
        }
    }
}

/// A number that a signal handler wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u8);

impl Signal {
    /// The terminal is gone, or somebody wants a reload, which there is none of so far. Drains.
    pub const HANGUP: Signal = Signal::of(rustix::process::Signal::HUP);
    /// Ctrl-C. Drains.
    pub const INTERRUPT: Signal = Signal::of(rustix::process::Signal::INT);
    /// Ctrl-\. Stops at once.
    pub const QUIT: Signal = Signal::of(rustix::process::Signal::QUIT);
    /// What a supervisor sends. Drains.
    pub const TERMINATE: Signal = Signal::of(rustix::process::Signal::TERM);
    /// Has the log say what the server does.
    pub const REPORT: Signal = Signal::of(rustix::process::Signal::USR1);
    /// Kept for a takeover by a successor. Does nothing, and says so.
    pub const TAKEOVER: Signal = Signal::of(rustix::process::Signal::USR2);

    const fn of(signal: rustix::process::Signal) -> Signal {
        Signal(signal.as_raw() as u8)
    }

    /// Whether it asks the server to stop.
    pub fn stops(self) -> bool {
        [Signal::HANGUP, Signal::INTERRUPT, Signal::QUIT, Signal::TERMINATE].contains(&self)
    }

    /// Whether it asks not to drain first.
    fn is_immediate(self) -> bool {
        self == Signal::QUIT
    }
}

/// Serves on `io_threads` threads, of which the caller's is the first, until a signal stops the server.
///
/// `give_up` is as in [`run`]. Workers must be ready before: requests are handed to `app.pool` from the first connection on. The
/// pool is not closed here.
pub fn run_blocking(
    app: Arc<App>,
    listeners: Vec<SmolListener>,
    signals: impl Stream<Item = Signal>,
    io_threads: usize,
    give_up: impl Fn() -> usize,
) -> DrainReport {
    let io = app.io();
    let executor = Arc::clone(&io.executor);
    let spawn = Arc::clone(&executor);
    let clock = env::SystemClock::new();
    let run = guarded(&app, listeners, signals, give_up, clock, spawn);
    if io_threads <= 1 {
        return thread::scope(|scope| {
            let (alive, lost) = smol::channel::bounded::<()>(1);
            let (app, io) = (&app, &io);
            let relief = move || {
                let _alive = alive;
                if app.guard("the thread of the I/O", || io.relieve()).is_none() {
                    // Workers must not ask it for the I/O any more.
                    io.close();
                }
            };
            thread::Builder::new().name("polygil-io".into()).spawn_scoped(scope, relief).expect("a thread");
            let mut run = pin!(run);
            let alone = async {
                let _ended = lost.recv().await;
                None
            };
            let report = future::block_on(future::or(async { Some(run.as_mut().await) }, alone));
            // Its thread is lost: what is left of the I/O is done here.
            let report = report.unwrap_or_else(|| async_io::block_on(executor.run(run)));
            io.close();
            report
        });
    }
    let (running, stopped) = smol::channel::bounded::<()>(1);
    thread::scope(|scope| {
        for index in 1..io_threads {
            let (app, executor, stopped) = (&app, executor.clone(), stopped.clone());
            let helper = move || {
                let until = passing("io", stopped.recv());
                // Ends with an error once `running` is dropped, which is all that is asked of it.
                app.guard("a thread of the I/O", || async_io::block_on(executor.run(until)).err());
            };
            if let Err(error) = thread::Builder::new().name(format!("polygil-io-{index}")).spawn_scoped(scope, helper) {
                tracing::warn!(%error, "cannot start another I/O thread; going on with {index}");
                break;
            }
        }
        let report = async_io::block_on(executor.run(run));
        drop(running);
        report
    })
}

/// As [`run`]. Should that panic, what is left of the server ends at once.
async fn guarded(
    app: &Arc<App>,
    listeners: Vec<SmolListener>,
    signals: impl Stream<Item = Signal>,
    give_up: impl Fn() -> usize,
    clock: env::SystemClock,
    spawn: impl env::Spawn,
) -> DrainReport {
    let run = pin!(run(Arc::clone(app), listeners, signals, &give_up, clock, spawn));
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(report) => report,
        Err(_) => {
            app.lost("the thread of the drain");
            drain::end_at_once(app, &give_up, &clock).await
        }
    }
}
