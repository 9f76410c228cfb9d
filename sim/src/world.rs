//! One run: the shipping server, and everything around it, from a seed to an [`Outcome`].
//!
//! The loop picks at random among all that could act: the server's tasks that are ready, workers, clients, the supervisor. When
//! nobody can, time jumps to the next event. After each step the oracles look.
//!
//! A run has four phases. **Safety**: load and faults, as the options have it; nothing may go wrong in the server however much
//! goes wrong around it. **Healed**: no more faults and no more load; everything that was begun must come to its end within
//! [`REST_MAX`]. **Probes**: each worker's worth of requests must be answered by handlers. **Drain**: the server is told to stop,
//! and must end with nothing left. A drain in the middle of the faults skips the probes.

use std::sync::Arc;

use polygil::dispatch::Pool;
use polygil::io::Io;
use polygil::server::{App, DrainEnd, DrainReport, Signal};
use polygil::task::Task;

use crate::client::{Clients, Loop};
use crate::core::{Actor, Core, Event, Failure, MS, Shared, Signals};
use crate::crew::SharedCrew;
use crate::exec::Executor;
use crate::net::sockets::SimListener;
use crate::options::{Options, or_none};
use crate::random::Random;
use crate::trace::{Entry, Kind};
use crate::watch::LOOK_EVERY;
use crate::workload;

/// How long after the faults everything may take to come to rest: more than the longest timeout that is drawn, several times
/// over, since a client may run into one after the other.
const REST_MAX: u64 = 600_000 * MS;

/// Steps without any time passing, after which somebody wakes himself for ever.
const STEPS_AT_ONCE_MAX: u64 = 1_000_000;

/// How a run went.
pub struct Outcome {
    /// What it was drawn from.
    pub options: Options,
    /// The hash of all that happened.
    pub trace_hash: u64,
    /// The first oracle that did not hold.
    pub failure: Option<Failure>,
    /// Rare paths that were reached.
    pub marks: Vec<&'static str>,
    /// Answers by status and code.
    pub statuses: Vec<((u16, String), u64)>,
    /// Closed connections by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Requests that were sent.
    pub requests: u64,
    /// Answers that were written.
    pub answers: u64,
    /// Steps that were made.
    pub steps: u64,
    /// How often a request was overtaken while it waited longest, at most.
    pub overtaken_max: u64,
    /// Virtual time, in nanoseconds.
    pub virtual_ns: u64,
    /// The trace, if it was to be kept.
    pub trace: Vec<Entry>,
    /// With the trace: when the depth of a queue changed. It is no part of the trace, which is what happened, but follows from it.
    pub depths: Vec<Depth>,
}

/// How many tasks wait in a queue from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Nanoseconds since the beginning.
    pub at: u64,
    /// The lane; as many as there are workers for the overflow queue.
    pub queue: usize,
    /// Tasks.
    pub depth: usize,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Safety,
    Healed,
    Probes,
    Drain,
}

struct World {
    core: Shared,
    options: Arc<Options>,
    app: Arc<App>,
    crew: SharedCrew,
    clients: Clients,
    executor: Executor,
    io: Arc<Io>,
    /// Nobody can poll the server's tasks.
    io_blocked: bool,
    schedule: Random,
    phase: Phase,
    phase_at: u64,
    looked_at: u64,
    now: u64,
    failed: bool,
    faults: Random,
    /// The depths of all queues when they were last looked at, and how they changed; None if nobody wants to know.
    depths: Option<(Vec<usize>, Vec<Depth>)>,
}

/// Runs a world to its end.
pub fn run(options: Options, keep_trace: bool) -> Outcome {
    let options = Arc::new(options);
    let core = Shared::new(options.clone(), keep_trace);
    let pool = Pool::with_stale(options.pool(), |task: &Task| task.reply.is_caller_gone());
    let app = Arc::new(App::new(Arc::new(workload::router()), pool.clone(), options.server()));
    core.lock().memory = Some(Arc::clone(&app.memory));
    let routes = app.router.routes().len();
    let crew = SharedCrew::new(pool, app.io(), Arc::clone(&app.memory), routes, core.clone());
    let executor = Executor::default();
    let give_up = {
        let crew = crew.clone();
        move || crew.lock().give_up()
    };
    let listeners = vec![SimListener(core.clone())];
    let signals = Signals(core.clone());
    let server = polygil::server::run(app.clone(), listeners, signals, give_up, core.clone(), executor.clone());
    let report = executor.spawn_for(server);
    let seed = options.seed;
    let mut world = World {
        clients: Clients::new(core.clone(), seed, options.requests),
        schedule: Random::new(seed, "schedule"),
        faults: Random::new(seed, "times without descriptors"),
        phase: Phase::Safety,
        phase_at: 0,
        looked_at: 0,
        now: 0,
        failed: false,
        depths: keep_trace.then(Default::default),
        io: app.io(),
        io_blocked: false,
        core,
        options,
        app,
        crew,
        executor,
    };
    world.prepare();
    let mut report = Some(report);
    let mut ended = None;
    world.live(&mut report, &mut ended);
    world.finish(report, ended)
}

type Running = Option<async_task::Task<DrainReport, u32>>;

impl World {
    fn prepare(&mut self) {
        for _ in 0..self.options.closed_clients {
            let wait = self.schedule.below(self.options.think_us * 1000 + 1);
            self.clients.add(Loop::Closed, wait);
        }
        let core = &mut *self.core.lock();
        let options = &self.options;
        core.at(0, Event::Act(Actor::Arrival));
        core.at(options.heal_ms * MS, Event::Act(Actor::Heal));
        if options.emfile_per_minute > 0 {
            core.at(1, Event::Act(Actor::Descriptors));
        }
        if options.stop > 0 {
            core.at(options.stop_ms * MS, Event::Act(Actor::Signal(false)));
        }
        if options.stop == 2 {
            core.at((options.stop_ms + options.second_signal_ms) * MS, Event::Act(Actor::Signal(true)));
        }
    }

    /// Steps until the server has ended or something is wrong.
    fn live(&mut self, report: &mut Running, ended: &mut Option<DrainReport>) {
        let mut at_once = 0;
        let mut moment = 0;
        while !self.failed {
            if report.as_ref().is_some_and(async_task::Task::is_finished)
                && let Some(task) = report.take()
            {
                *ended = Some(futures_lite::future::block_on(task));
                return;
            }
            if !self.step() && !self.jump() {
                return;
            }
            at_once = if self.now == moment { at_once + 1 } else { 0 };
            moment = self.now;
            if at_once > STEPS_AT_ONCE_MAX {
                self.core.lock().fail("livelock", "somebody wakes himself for ever");
                return;
            }
        }
    }

    /// Somebody acts. False when nobody can.
    fn step(&mut self) -> bool {
        let tasks = if self.io_blocked { 0 } else { self.executor.ready() };
        let actor = {
            let core = &mut *self.core.lock();
            let actors = core.actors.len();
            if tasks + actors == 0 {
                return false;
            }
            let pick = self.schedule.below((tasks + actors) as u64) as usize;
            if pick < tasks { Err(pick) } else { Ok(core.actors.swap_remove(pick - tasks)) }
        };
        // Clients touch nothing of the server but the network.
        let touched = !matches!(actor, Ok(Actor::Client(_)));
        let polled = match actor {
            Ok(actor) => {
                self.act(actor);
                None
            }
            Err(place) => {
                let lane = self.crew.lock().tick();
                let _here = lane.map(|lane| self.io.here(lane));
                let begun = (self.app.pool.counters().submitted, self.core.lock().net.writes);
                let id = self.executor.run(place);
                self.check_begun(begun);
                Some((id, self.app.counters.totals()))
            }
        };
        let counters = touched.then(|| {
            let mut crew = self.crew.lock();
            crew.notice_wakeups();
            self.io_blocked = crew.is_io_blocked();
            self.app.pool.counters()
        });
        if touched {
            self.note_depths();
        }
        let wakers = {
            let core = &mut *self.core.lock();
            if let Some((id, stats)) = polled {
                core.note(Kind::Poll, id as usize, tasks as u64);
                core.check_stats(&stats);
            }
            if let Some(counters) = counters {
                core.check_pool(&counters);
            }
            let cost = if self.options.step_ns == 0 { 0 } else { self.schedule.below(self.options.step_ns) };
            let slow = !core.healed && self.schedule.chance(self.options.slow_step);
            let to = core.now() + if slow { cost * 100 } else { cost };
            let wakers = if to == core.now() { Vec::new() } else { core.advance(to) };
            look(core, &mut self.looked_at);
            (self.now, self.failed) = (core.now(), core.failure.is_some());
            wakers
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        true
    }

    /// No call was begun without room, since so many were begun and so often the server had tried to write. A connection takes memory
    /// beyond the limit only for what it cannot write: where it did not try to, and more is taken now, more was taken all along.
    fn check_begun(&self, (submitted, writes): (u64, u64)) {
        let core = &mut *self.core.lock();
        let began = self.app.pool.counters().submitted > submitted && core.net.writes == writes;
        if began && self.app.memory.taken() > or_none(self.options.buffered_bytes_max) {
            core.fail("memory", "a call was begun while contents took as much as they may");
        }
    }

    fn note_depths(&mut self) {
        let Some((last, changes)) = &mut self.depths else { return };
        let mut depths = self.app.pool.lane_depths();
        depths.push(self.app.pool.depth() - depths.iter().sum::<usize>());
        last.resize(depths.len(), 0);
        for (queue, (before, depth)) in last.iter_mut().zip(depths).enumerate() {
            if std::mem::replace(before, depth) != depth {
                changes.push(Depth { at: self.now, queue, depth });
            }
        }
    }

    /// Nobody can act: looks at what waits, and lets time pass. False when nothing will ever happen.
    fn jump(&mut self) -> bool {
        let (waiting, asleep) = (self.app.pool.depth(), self.crew.lock().asleep());
        // What waits for the one that does the I/O will do so for as long as a short handler takes, or until the relief looks.
        if !self.io_blocked {
            self.core.lock().check_idle(waiting, asleep);
        }
        if self.phase != Phase::Safety && self.phase != Phase::Drain {
            self.next_phase(waiting);
        }
        let wakers = {
            let core = &mut *self.core.lock();
            let wakers = if !core.actors.is_empty() || (!self.io_blocked && self.executor.ready() > 0) {
                Vec::new()
            } else if let Some(next) = core.next_event() {
                let jumped = next - core.now();
                core.note(Kind::Jump, 0, jumped);
                core.advance(next)
            } else {
                core.fail("nothing is stuck", "the server waits, and nothing will ever happen");
                Vec::new()
            };
            look(core, &mut self.looked_at);
            (self.now, self.failed) = (core.now(), core.failure.is_some());
            wakers
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        true
    }

    fn act(&mut self, actor: Actor) {
        match actor {
            Actor::Client(number) => self.clients.act(number),
            Actor::Worker(serial) => self.crew.lock().act(serial),
            Actor::Supervisor(serial) => self.crew.lock().supervise(serial),
            Actor::Relief(serial, number) => self.crew.lock().relieve(serial, number),
            Actor::Arrival => {
                if self.phase == Phase::Safety && self.clients.left > 0 {
                    self.clients.add(Loop::Open, 0);
                    let wait = self.clients.between_arrivals(self.options.open_per_second);
                    self.core.lock().act_in(wait, Actor::Arrival);
                }
            }
            Actor::Signal(second) => self.signal(second),
            Actor::Descriptors => {
                let core = &mut *self.core.lock();
                if !core.healed {
                    core.net.descriptors_at = core.now() + self.faults.spread(MS, 3000 * MS);
                    let wait = self.faults.exponential(60_000 * MS / self.options.emfile_per_minute).max(1);
                    core.act_in(wait, Actor::Descriptors);
                }
            }
            Actor::Heal => {
                let core = &mut *self.core.lock();
                core.healed = true;
                core.net.descriptors_at = core.net.descriptors_at.min(core.now());
                core.note(Kind::Heal, 0, 0);
                (self.phase, self.phase_at) = (self.phase.max_of(Phase::Healed), core.now());
                self.clients.left = 0;
            }
        }
        if actor == Actor::Heal {
            self.clients.rouse();
        }
    }

    fn signal(&mut self, second: bool) {
        let waker = {
            let core = &mut *self.core.lock();
            let signal = if self.options.stop == 3 { Signal::QUIT } else { Signal::TERMINATE };
            core.begin_draining();
            if second || signal == Signal::QUIT {
                core.cut = true;
                core.mark("the server was told to stop at once");
            } else {
                core.mark("a drain began");
            }
            self.phase = Phase::Drain;
            core.signal(signal)
        };
        waker.into_iter().for_each(std::task::Waker::wake);
    }

    /// Moves on to the next phase once the present one is at rest.
    fn next_phase(&mut self, waiting: usize) {
        let now = self.core.lock().now();
        let draining = self.core.lock().draining_at.is_some();
        let open = {
            let net = &self.core.lock().net;
            net.held as usize + net.waiting()
        };
        let at_rest = self.clients.present + waiting + open == 0 && self.app.pool.counters().running == 0;
        match self.phase {
            Phase::Healed if at_rest && !draining => {
                let left = (self.app.memory.taken(), self.app.overview().memory.lingering_bytes);
                if left != (0, 0) {
                    let detail = format!("{left:?} bytes are on account though no connection is open");
                    self.core.lock().fail("memory", detail);
                }
                (self.phase, self.phase_at) = (Phase::Probes, now);
                for _ in 0..self.options.workers {
                    self.clients.add(Loop::Probe, 0);
                }
            }
            Phase::Probes if self.clients.present == 0 && !draining => self.signal(false),
            Phase::Healed | Phase::Probes if now > self.phase_at + REST_MAX && !draining => {
                let detail = format!("{} clients, {open} connections, {waiting} tasks wait", self.clients.present);
                self.core.lock().fail("nothing is stuck", detail);
            }
            _ => {}
        }
    }

    /// Takes the world down, and looks at what the server says of its end.
    fn finish(self, report: Running, ended: Option<DrainReport>) -> Outcome {
        if let Some(report) = &ended {
            let core = &mut *self.core.lock();
            let unfinished = report.unfinished.len() as u64;
            core.note(Kind::Ended, report.ended as usize, unfinished);
            check_end(core, &self.options, report);
        }
        if ended.is_some() {
            self.stop_workers();
        }
        self.core.lock().is_over = true;
        drop(report);
        self.executor.clear();
        let stats = self.app.stats();
        let core = &mut *self.core.lock();
        Outcome {
            options: (*self.options).clone(),
            trace_hash: core.trace.hash(),
            failure: core.failure.clone(),
            marks: core.marks.iter().copied().collect(),
            statuses: std::mem::take(&mut core.statuses).into_iter().collect(),
            closed: stats.connections_closed_by_reason.0,
            requests: core.ledger.len() as u64,
            answers: core.answers,
            steps: core.trace.steps(),
            overtaken_max: core.overtaken_max,
            virtual_ns: core.now(),
            trace: core.trace.take(),
            depths: self.depths.unwrap_or_default().1,
        }
    }

    /// The server has ended: the pool closes, and each worker that was not given up must find its end.
    fn stop_workers(&self) {
        self.crew.lock().stop();
        let mut steps = 0_u64;
        loop {
            self.crew.lock().notice_wakeups();
            let actor = {
                let core = &mut *self.core.lock();
                match core.actors.pop() {
                    Some(actor) => Some(actor),
                    None if self.crew.lock().at_work() == 0 => break,
                    None => {
                        let Some(next) = core.next_event() else { break };
                        drop(core.advance(next));
                        None
                    }
                }
            };
            match actor {
                Some(Actor::Worker(serial)) => self.crew.lock().act(serial),
                Some(Actor::Supervisor(serial)) => self.crew.lock().supervise(serial),
                Some(Actor::Relief(serial, number)) => self.crew.lock().relieve(serial, number),
                _ => {}
            }
            steps += 1;
            if steps > STEPS_AT_ONCE_MAX {
                break;
            }
        }
        let (left, given_up) = {
            let crew = self.crew.lock();
            (crew.at_work(), crew.is_given_up())
        };
        let counters = self.app.pool.counters();
        self.core.lock().check_pool(&counters);
        let waiting = self.app.pool.fail_all_waiting();
        let core = &mut *self.core.lock();
        if left > 0 {
            core.fail("nothing is stuck", format!("{left} workers do not end: {counters:?}"));
        }
        // Whoever ends does so when there is nothing left. Where nobody could, what is left must be of callers that left before.
        if !waiting.is_empty() && !given_up {
            core.fail("nothing is stuck", format!("{} tasks are left in the queues", waiting.len()));
        }
        if waiting.iter().any(|task| !task.reply.is_caller_gone()) {
            core.fail("nothing is stuck", "the server has ended, and somebody waits for an answer");
        }
    }
}

/// Looks at the deadlines, if that is due.
fn look(core: &mut Core, looked_at: &mut u64) {
    if core.now() - *looked_at >= LOOK_EVERY {
        *looked_at = core.now();
        core.check_deadlines();
    }
}

impl Phase {
    fn max_of(self, other: Phase) -> Phase {
        if self == Phase::Drain { self } else { other }
    }
}

/// What the server says of its end is so.
fn check_end(core: &mut Core, options: &Options, report: &DrainReport) {
    let stats = &report.stats;
    core.check_stats(stats);
    let told = core.draining_at;
    if told.is_none() {
        core.fail("drain", "the server ended, and nobody told it to");
    }
    if report.ended == DrainEnd::Finished {
        if stats.connections_active + stats.requests_in_flight > 0 {
            core.fail("drain", format!("finished with something left: {stats:?}"));
        }
        if core.net.held > 0 {
            core.fail("drain", format!("finished while {} connections are open", core.net.held));
        }
    }
    let healed_stop = options.stop == 0 && !core.exhausted;
    if healed_stop && report.ended != DrainEnd::Finished {
        core.fail("drain", format!("a healed server did not drain: {:?}", report.ended));
    }
    if report.ended == DrainEnd::Deadline && u128::from(options.drain_timeout_ms) > report.took.as_millis() {
        core.fail("no answer too early", "the drain was cut before its deadline");
    }
}
