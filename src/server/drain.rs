//! From the first connection to the last: who is connected, when to stop, and what to say about it afterwards.
//!
//! [`run`] starts the accept loops and waits for a signal. The first one begins the drain: the listeners are emptied and closed,
//! idle connections are told to go, requests in flight finish and their answers say `connection: close`. The drain ends when
//! nothing is left, at the deadline, or with a second signal; what did not finish by then is named in the [`DrainReport`].
//!
//! An idle connection is not cut while its client may have a request on the way: one that was used within the last
//! [`DRAIN_IDLE_GRACE`] stays open for the rest of it, and a request that comes in that time is answered. A client that asks
//! again as soon as it is answered therefore always reads a `connection: close` and never a reset.
//!
//! The [`Gate`] is all that connections share. Connections do not wait for each other here: the lock is taken when one begins
//! or ends, and each has a [`Ticket`] of its own for the rest.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use event_listener::Event;
use futures_lite::{FutureExt, Stream, StreamExt, future};

use super::accept::accept_loop;
use super::date::DateCache;
use super::env::{Clock, Listener, Spawn};
use super::overview::{Health, RunningOverview};
use super::stats::{Closed, Stats};
use super::{App, Signal};
use crate::mistakes::broken;
use crate::planted::panic_here;
use crate::router::RouteId;

/// How long after its last answer (or its beginning) a connection may still bring a request when a drain begins.
pub const DRAIN_IDLE_GRACE: Duration = Duration::from_millis(250);

/// A connection that has been idle for so long makes way for another when there are as many as may be. As above, its client
/// should have no request on the way.
pub const CROWDED_IDLE_MIN: Duration = Duration::from_millis(250);

/// How long [`run`] waits for the last answers to be written, and after it has cut the connections, for their tasks to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// What a drain has to say.
#[derive(Clone, Debug)]
pub struct DrainReport {
    /// What ended it.
    pub ended: DrainEnd,
    /// From the first signal to the end.
    pub took: Duration,
    /// The requests that got no answer, oldest first.
    pub unfinished: Vec<Unfinished>,
    /// The counters at the end.
    pub stats: Stats,
}

/// What ended a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// Nothing was left to do.
    Finished,
    /// The drain timeout passed.
    Deadline,
    /// A second signal, or one that does not ask for a drain.
    Signal,
    /// A bug in polygil: the drain itself panicked.
    Bug,
}

/// A request that a drain did not see finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The id of the request, as in logs.
    pub request: String,
    /// Its route, as `METHOD pattern`; None when it was never complete.
    pub route: Option<String>,
    /// Since its head was complete.
    pub since: Duration,
}

/// Serves `listeners` until a signal says to stop, then drains. Ends when all is answered, cut, or reported.
///
/// `give_up` is called when the drain is cut short, by its deadline or a second signal: it answers, through their replies, the
/// requests whose handlers still run, and gives their number. Those answers are written, then everything is cut.
///
/// A stream of signals that ends means that no more signals come; it does not stop the server.
pub async fn run<L: Listener, C: Clock>(
    app: Arc<App>,
    listeners: Vec<L>,
    signals: impl Stream<Item = Signal>,
    give_up: impl Fn() -> usize,
    clock: C,
    spawn: impl Spawn,
) -> DrainReport {
    let server = Arc::new(Server::new(app, clock));
    let mut signals = pin!(signals);
    server.gate.listening.store(listeners.len(), SeqCst);
    for listener in listeners {
        spawn.spawn(accept_loop(listener, server.clone(), spawn.clone()));
    }
    server.app.health.reach(Health::Ready);

    let first = stop_signal(&mut signals, &server.app).await;
    server.app.health.reach(Health::Draining);
    let begun = server.clock.now();
    let drain_timeout = server.app.options.drain_timeout;
    tracing::info!(signal = first.0, drain_timeout_ms = drain_timeout.as_millis() as u64, "draining");
    server.gate.drain_begun.store(u64::try_from(begun.as_nanos()).unwrap_or(u64::MAX), SeqCst);
    server.gate.enter(Phase::Draining);

    let ended = if first.is_immediate() {
        DrainEnd::Signal
    } else {
        let finished = async {
            server.gate.quiet().await;
            DrainEnd::Finished
        };
        let signalled = async {
            stop_signal(&mut signals, &server.app).await;
            DrainEnd::Signal
        };
        let deadline = async {
            server.clock.sleep_until(begun.saturating_add(drain_timeout)).await;
            DrainEnd::Deadline
        };
        finished.or(signalled).or(deadline).await
    };

    let mut unfinished = Vec::new();
    if ended != DrainEnd::Finished {
        unfinished = server.unfinished();
        if give_up() > 0 {
            let patience = server.clock.sleep_until(server.clock.now().saturating_add(CUT_GRACE));
            server.gate.quiet().or(patience).await;
        }
        server.gate.enter(Phase::Now);
        let patience = server.clock.sleep_until(server.clock.now().saturating_add(CUT_GRACE));
        server.gate.quiet().or(patience).await;
    }
    let took = server.clock.now().saturating_sub(begun);
    for request in &unfinished {
        tracing::error!(
            request_id = %request.request,
            route = request.route.as_deref().unwrap_or("-"),
            since_ms = request.since.as_millis() as u64,
            "not finished when the drain ended"
        );
    }
    tracing::info!(ended = ?ended, took_ms = took.as_millis() as u64, unfinished = unfinished.len(), "drained");
    DrainReport { ended, took, unfinished, stats: server.app.stats() }
}

/// The next signal that stops the server, after what others ask for. Never ends without one.
async fn stop_signal(signals: &mut (impl Stream<Item = Signal> + Unpin), app: &App) -> Signal {
    while let Some(signal) = signals.next().await {
        panic_here("drain");
        match signal {
            signal if signal.stops() => return signal,
            Signal::REPORT => log_state(app),
            Signal::TAKEOVER => tracing::info!("SIGUSR2 is kept for a takeover by a successor; there is none so far"),
            _ => {}
        }
    }
    future::pending().await
}

/// Has the log say what the server does at this moment.
fn log_state(app: &App) {
    let now = app.overview();
    tracing::info!(
        health = now.health.name(),
        connections = now.stats.connections_active,
        requests_received = now.stats.requests_received,
        requests_in_flight = now.stats.requests_in_flight,
        tasks_waiting = now.pool.waiting,
        workers = now.workers.count,
        workers_busy = now.workers.busy,
        workers_replaced = now.workers.replaced,
        log_lines_lost = now.log.lines_lost + now.log.access_lines_lost,
        "state"
    );
    for RunningOverview { worker, route, request_id, seconds } in now.workers.running {
        tracing::info!(worker, route, request_id, seconds, "running");
    }
}

/// The end of a server whose [`run`] has panicked: everything that runs is answered by `give_up`, and the connections are cut.
pub(super) async fn end_at_once<C: Clock>(app: &Arc<App>, give_up: &impl Fn() -> usize, clock: &C) -> DrainReport {
    let begun = clock.now();
    let patience = || clock.sleep_until(clock.now().saturating_add(CUT_GRACE));
    app.gate.enter(Phase::Draining);
    if give_up() > 0 {
        app.gate.quiet().or(patience()).await;
    }
    app.gate.enter(Phase::Now);
    app.gate.quiet().or(patience()).await;
    let took = clock.now().saturating_sub(begun);
    DrainReport { ended: DrainEnd::Bug, took, unfinished: Vec::new(), stats: app.stats() }
}

/// What the accept loops and the connections of one server share.
pub(super) struct Server<C> {
    pub(super) app: Arc<App>,
    pub(super) clock: C,
    pub(super) date: DateCache,
    pub(super) gate: Arc<Gate>,
}

impl<C: Clock> Server<C> {
    pub(super) fn new(app: Arc<App>, clock: C) -> Server<C> {
        let now = clock.clone();
        drop(app.now.set(Box::new(move || now.now())));
        let gate = Arc::clone(&app.gate);
        Server { app, clock, date: DateCache::default(), gate }
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        let now = self.clock.now();
        let mut in_flight: Vec<InFlight> =
            self.gate.tickets().values().filter_map(|ticket| ticket.in_flight()).collect();
        in_flight.sort_by_key(|request| (request.begun, request.id));
        let named = in_flight.into_iter().map(|request| Unfinished {
            request: self.app.request_id(request.id),
            route: request.route.map(|route| {
                let spec = self.app.router.route(route);
                format!("{} {}", spec.method, spec.pattern)
            }),
            since: now.saturating_sub(request.begun),
        });
        named.collect()
    }
}

/// How far the server is on its way to its end. Only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Accepting and serving.
    Running,
    /// Nothing new is accepted, what is there finishes.
    Draining,
    /// Connections close as they are.
    Now,
}

/// Who is connected, and how far the server is on its way to its end.
#[derive(Default)]
pub(super) struct Gate {
    phase: AtomicU8,
    /// When the drain began, in nanoseconds of the clock.
    drain_begun: AtomicU64,
    /// Accept loops that still hold their listener.
    listening: AtomicUsize,
    connections: Mutex<Connections>,
    /// The phase changed.
    phase_changed: Event,
    /// A connection or an accept loop ended.
    ended: Event,
}

#[derive(Default)]
struct Connections {
    next: u64,
    /// Ordered by age, so that all walks over it are the same in every run.
    open: BTreeMap<u64, Arc<Ticket>>,
}

impl Gate {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Now,
        }
    }

    /// For how long the server drains at the time `now`.
    pub(super) fn drains_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.drain_begun.load(SeqCst)))
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
        self.phase_changed.notify(usize::MAX);
        // A ticket that registers its waker after this saw the new phase: see `Ticket::register`.
        let missed = usize::from(broken("drain_misses_one"));
        let wakers: Vec<Waker> =
            self.tickets().values().skip(missed).filter_map(|ticket| ticket.take_waker()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn tickets(&self) -> BTreeMap<u64, Arc<Ticket>> {
        self.lock().open.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests that were handed to the pool and have no reply so far, with the time of that.
    pub(super) fn submitted(&self) -> Vec<(u64, Duration)> {
        self.tickets().values().filter_map(|ticket| ticket.submitted()).collect()
    }

    pub(super) fn active(&self) -> usize {
        self.lock().open.len()
    }

    /// Ready once the server is at `phase` or past it.
    pub(super) async fn reached(&self, phase: Phase) {
        wait_until(&self.phase_changed, || self.phase() >= phase).await;
    }

    /// Ready when a connection ended since this was called.
    pub(super) fn connection_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.ended.listen()
    }

    /// Whether fewer than `connections_max` connections are open.
    pub(super) fn has_room(&self, connections_max: usize) -> bool {
        self.active() < connections_max + usize::from(broken("one_connection_more"))
    }

    /// Ready when fewer than `connections_max` connections are open.
    pub(super) async fn room(&self, connections_max: usize) {
        wait_until(&self.ended, || self.has_room(connections_max)).await;
    }

    /// Asks the connection that is idle for longest, and since `before` or longer, to end.
    pub(super) fn crowd_out(&self, before: Duration) {
        let longest = {
            let connections = self.lock();
            let idle = connections.open.values().filter_map(|ticket| Some((ticket.idle_since()?, ticket)));
            let longest = idle.filter(|(since, _)| *since <= before).min_by_key(|(since, _)| *since);
            longest.map(|(_, ticket)| Arc::clone(ticket))
        };
        if let Some(waker) = longest.and_then(|ticket| ticket.crowd_out()) {
            waker.wake();
        }
    }

    /// Ready when no listener and no connection is left.
    async fn quiet(&self) {
        wait_until(&self.ended, || self.listening.load(SeqCst) == 0 && self.active() == 0).await;
    }

    /// An accept loop gave its listener up.
    pub(super) fn stopped_listening(&self) {
        self.listening.fetch_sub(1, SeqCst);
        self.ended.notify(usize::MAX);
    }
}

async fn wait_until(event: &Event, condition: impl Fn() -> bool) {
    while !condition() {
        let listener = event.listen();
        // Between the check and the registration the event may have passed.
        if condition() {
            return;
        }
        listener.await;
    }
}

/// One connection's entry: how to wake it, and what it is busy with.
#[derive(Default)]
pub(super) struct Ticket {
    state: Mutex<TicketState>,
    /// When the request in flight was handed to the pool, in nanoseconds of the clock; [`NEVER`] before and after.
    submitted: Since,
    /// Since when no request is there, in nanoseconds of the clock; [`NEVER`] while one is.
    idle: Since,
    /// Somebody else needs the place more.
    crowded_out: AtomicBool,
}

/// A time that is set and taken back, and only ever read by others.
struct Since(AtomicU64);

const NEVER: u64 = u64::MAX;

impl Default for Since {
    fn default() -> Since {
        Since(AtomicU64::new(NEVER))
    }
}

impl Since {
    fn set(&self, at: Duration) {
        self.0.store(u64::try_from(at.as_nanos()).unwrap_or(NEVER), Relaxed);
    }

    fn clear(&self) {
        self.0.store(NEVER, Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        Some(self.0.load(Relaxed)).filter(|&at| at != NEVER).map(Duration::from_nanos)
    }
}

#[derive(Default)]
struct TicketState {
    waker: Option<Waker>,
    in_flight: Option<InFlight>,
}

#[derive(Clone, Copy)]
struct InFlight {
    id: u64,
    route: Option<RouteId>,
    begun: Duration,
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, TicketState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes this task when the phase changes. Look at the phase after this, never before: then either the look sees the new
    /// phase, or the change finds the waker.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut state = self.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn take_waker(&self) -> Option<Waker> {
        self.lock().waker.take()
    }

    /// A request is being worked on.
    pub(super) fn begin(&self, id: u64, begun: Duration) {
        self.lock().in_flight = Some(InFlight { id, route: None, begun });
    }

    /// Its route is known.
    pub(super) fn routed(&self, route: RouteId) {
        if let Some(request) = &mut self.lock().in_flight {
            request.route = Some(route);
        }
    }

    /// The request was handed to the pool at the time `at`.
    pub(super) fn wait_since(&self, at: Duration) {
        self.submitted.set(at);
    }

    /// It has its reply, or nobody waits for it any more.
    pub(super) fn waited(&self) {
        self.submitted.clear();
    }

    fn submitted(&self) -> Option<(u64, Duration)> {
        let at = self.submitted.get();
        let id = self.in_flight()?.id;
        at.map(|at| (id, at))
    }

    /// It has been waiting for a request since `at`, and goes on to.
    pub(super) fn idle(&self, at: Duration) {
        self.crowded_out.store(false, SeqCst);
        self.idle.set(at);
    }

    /// It has what it waited for, or waits no more.
    pub(super) fn idle_no_more(&self) {
        self.idle.clear();
    }

    fn idle_since(&self) -> Option<Duration> {
        self.idle.get()
    }

    /// Tells it to leave its place if it is idle; gives what to wake.
    fn crowd_out(&self) -> Option<Waker> {
        self.crowded_out.store(true, SeqCst);
        // A ticket that registers its waker after this sees the order: see `Ticket::register`.
        self.take_waker()
    }

    /// Whether an idle connection has to leave. Look at it after [`Ticket::register`], as at the phase.
    pub(super) fn is_crowded_out(&self) -> bool {
        self.crowded_out.load(SeqCst)
    }

    /// All answers are written.
    pub(super) fn rest(&self) {
        self.lock().in_flight = None;
    }

    fn in_flight(&self) -> Option<InFlight> {
        self.lock().in_flight
    }
}

/// A connection's place among those that are open. Gives the place back and counts the end, however the end comes about.
pub(super) struct Admission<C: Clock> {
    server: Arc<Server<C>>,
    key: u64,
    pub(super) ticket: Arc<Ticket>,
    /// Requests that were received and not yet answered in full.
    pub(super) unanswered: u64,
    reason: Option<Closed>,
}

impl<C: Clock> Admission<C> {
    /// Counts a new connection in.
    pub(super) fn new(server: Arc<Server<C>>) -> Admission<C> {
        let ticket = Arc::new(Ticket::default());
        let mut connections = server.gate.lock();
        let key = if broken("slot_reused_early") { connections.open.len() as u64 } else { connections.next };
        connections.next += 1;
        connections.open.insert(key, ticket.clone());
        drop(connections);
        server.app.counters.accepted();
        Admission { server, key, ticket, unanswered: 0, reason: None }
    }

    /// The connection ends for `reason`.
    pub(super) fn close(mut self, reason: Closed) {
        self.reason = Some(reason);
    }
}

impl<C: Clock> Drop for Admission<C> {
    fn drop(&mut self) {
        // Without a reason the task did not get to its end: it panicked, or its executor is gone.
        let reason = self.reason.unwrap_or(match std::thread::panicking() {
            true => Closed::Bug,
            false => Closed::DrainDeadline,
        });
        if !(broken("closed_not_counted") && reason == Closed::Finished) {
            self.server.app.counters.closed(reason, self.unanswered);
        }
        if !(broken("permit_leaked") && reason == Closed::Reset) {
            self.server.gate.lock().open.remove(&self.key);
        }
        self.server.gate.ended.notify(usize::MAX);
    }
}
