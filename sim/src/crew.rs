//! The workers: those of the shipping pool, with handlers that are simulated.
//!
//! Each worker polls [`dispatch::Worker::step`](polygil::dispatch::Worker::step) of the real pool, lies down and is woken through
//! its real parking word, and answers through the real reply slot. Simulated are the interpreter and the thread around it:
//! what a handler answers, how long it takes, whether it raises, hangs, dies, or comes back when it was given up long ago.
//!
//! The supervisor is a model of `python/supervisor.rs` and `python/workers.rs`, which need CPython: it makes the same calls on
//! the pool and on the reply slots in the same order. A task over its budget is interrupted; one that does not come back within
//! the grace is answered for and its worker replaced, as far as the bound on replacements goes; beyond it the server is told to
//! stop.
//!
//! Who does the I/O is a model of [`polygil::io`], whose threads it cannot run, around the real [`Baton`] by which they agree on it: an
//! idle worker may take it, and from then on the server's tasks are polled on its thread. They put what is short into its lane by the
//! real [`Io::lane_for`](polygil::io), it sleeps outside its lane, and while it runs a handler nobody does the I/O, until the relief
//! takes it back. Each move of the baton must succeed for the worker that has the I/O, and for no other: an oracle of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use polygil::content::{self, ContentSender, Sent};
use polygil::dispatch::baton::{Baton, Hold, Look, Looks};
use polygil::dispatch::{Pool, Step, Worker};
use polygil::error::Failure;
use polygil::http::Response;
use polygil::io::Io;
use polygil::router::RouteId;
use polygil::server::Signal;
use polygil::task::{AnswerSender, Task};

use crate::check::Outcome;
use crate::core::{Actor, Core, Event, MS, Shared};
use crate::random::{Random, hash};
use crate::trace::Kind;

/// How long it takes to make an interpreter.
const START: u64 = 20 * MS;

/// How often the relief looks after the one that does the I/O: see `polygil::io`.
pub const RELIEF_LOOK: u64 = 5 * MS;

/// How a handler will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answers,
    Raises,
    Garbage,
    /// Runs until it is interrupted.
    Hangs,
    /// Runs on after it was interrupted, this long.
    Stubborn,
    Dies,
}

/// What a worker is doing.
enum Doing {
    Starting,
    Looking,
    /// `step` said that there is nothing, and it has not lain down yet.
    AboutToPark,
    Asleep,
    /// It waits for sockets, until something is to be read or this is set.
    AsleepElsewhere(Arc<Alarm>),
    /// It was woken and has not got up yet.
    Rising,
    /// It has taken a task and not looked yet whether it is still wanted.
    Taken(Box<Task>),
    Running {
        task: Box<Task>,
        token: usize,
        fate: Fate,
        interrupted: Option<u64>,
    },
    Streaming {
        token: usize,
        content: ContentSender,
        /// What is to come.
        pieces: VecDeque<Vec<u8>>,
        breaks: bool,
    },
    Gone,
}

/// What wakes a worker that sleeps elsewhere than in its lane.
#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Member {
    lane: usize,
    queue: Option<Worker<Task>>,
    doing: Doing,
    /// Counts its tasks: tells the one that an event was meant for from the next.
    number: u64,
    /// What the supervisor knows of the running task.
    watch: Option<(AnswerSender, usize, u64)>,
    abandoned: bool,
    /// Where it has left the baton, if it took it and has not found out yet that it has it no more.
    hold: Option<Hold>,
}

/// All workers there ever were.
pub struct Crew {
    pool: Arc<Pool<Task>>,
    io: Arc<Io>,
    /// The member that does the I/O; None is the relief.
    holder: Option<usize>,
    baton: Arc<Baton>,
    /// What the relief saw when the holder began what it runs.
    looks: Looks,
    core: Shared,
    members: Vec<Member>,
    /// The member that has each lane.
    lanes: Vec<usize>,
    random: Random,
    faults: Random,
    io_random: Random,
    streams: Random,
    replaced: u64,
    exhausted: bool,
    stopped: bool,
}

/// The crew, as the operator and the server share it.
#[derive(Clone)]
pub struct SharedCrew(Arc<Mutex<Crew>>);

impl SharedCrew {
    /// A crew with a worker for each lane, all of them ready.
    pub fn new(pool: Arc<Pool<Task>>, io: Arc<Io>, routes: usize, core: Shared) -> SharedCrew {
        let options = core.lock().options.clone();
        let mut crew = Crew {
            pool,
            io,
            holder: None,
            baton: Baton::new(1),
            looks: Looks::default(),
            core,
            members: Vec::new(),
            lanes: Vec::new(),
            random: Random::new(options.seed, "service"),
            faults: Random::new(options.seed, "faults"),
            io_random: Random::new(options.seed, "io"),
            streams: Random::new(options.seed, "streams"),
            replaced: 0,
            exhausted: false,
            stopped: false,
        };
        crew.baton.open();
        for route in 0..routes as u32 {
            // As after a while of short requests.
            (0..200).for_each(|_| crew.io.took(RouteId(route), Duration::ZERO));
        }
        for lane in 0..options.workers as usize {
            crew.lanes.push(lane);
            crew.hire(lane, 0);
        }
        SharedCrew(Arc::new(Mutex::new(crew)))
    }

    /// The crew.
    pub fn lock(&self) -> MutexGuard<'_, Crew> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    fn hire(&mut self, lane: usize, wait: u64) {
        let serial = self.members.len();
        let queue = Some(self.pool.worker(lane));
        let doing = Doing::Starting;
        self.members.push(Member { lane, queue, doing, number: 0, watch: None, abandoned: false, hold: None });
        self.lanes[lane] = serial;
        self.core.lock().act_in(wait, Actor::Worker(serial));
    }

    /// Has those who were woken act.
    pub fn notice_wakeups(&mut self) {
        for serial in 0..self.lanes.len() {
            self.notice(self.lanes[serial]);
        }
    }

    fn notice(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let woken = match &member.doing {
            Doing::Asleep => member.queue.as_ref().is_some_and(|queue| !queue.is_asleep()),
            Doing::AsleepElsewhere(alarm) => alarm.0.load(Relaxed),
            _ => false,
        };
        if woken {
            member.doing = Doing::Rising;
            let core = &mut *self.core.lock();
            core.note(Kind::Wake, serial, 0);
            core.actors.push(Actor::Worker(serial));
        }
    }

    /// Workers that sleep and have not been woken.
    pub fn asleep(&self) -> usize {
        let asleep = |doing: &Doing| matches!(doing, Doing::Asleep | Doing::AsleepElsewhere(_));
        self.lanes.iter().filter(|serial| asleep(&self.members[**serial].doing)).count()
    }

    /// Whether nobody can do the I/O for the moment: its holder runs a handler. What it has put into its own lane waits too.
    pub fn is_io_blocked(&self) -> bool {
        let running = |serial: usize| matches!(self.members[serial].doing, Doing::Taken(_) | Doing::Running { .. });
        self.holder.is_some_and(running)
    }

    /// Something of the I/O is going to be done: in which lane short tasks then belong.
    pub fn tick(&mut self) -> Option<usize> {
        let serial = self.holder?;
        let member = &mut self.members[serial];
        if matches!(member.doing, Doing::AsleepElsewhere(_)) {
            member.doing = Doing::Rising;
            self.core.lock().actors.push(Actor::Worker(serial));
        }
        Some(self.members[serial].lane)
    }

    /// A worker that took the baton moves it: whether it still has it.
    fn moves(&mut self, serial: usize, make: impl FnOnce(&Baton, &mut Hold) -> bool) -> bool {
        let Some(hold) = &mut self.members[serial].hold else { return false };
        let moved = make(&self.baton, hold);
        if !moved {
            self.members[serial].hold = None;
        }
        if moved != (self.holder == Some(serial)) {
            let told = format!("worker {serial} moved the baton: {moved}; the I/O is with {:?}", self.holder);
            self.core.lock().fail("one thread does the I/O", told);
        }
        moved
    }

    /// The I/O is the relief's from now on, if this worker had it.
    fn release(&mut self, serial: usize, why: u64) -> bool {
        let released = self.moves(serial, |baton, hold| baton.give_back(*hold));
        if released {
            (self.holder, self.members[serial].hold) = (None, None);
            self.core.lock().note(Kind::Io, serial, why);
        }
        released
    }

    /// The relief looks: the holder may have been in one handler since the last time.
    pub fn relieve(&mut self, serial: usize, number: u64) {
        let member = &self.members[serial];
        let runs = matches!(member.doing, Doing::Running { .. }) && member.number == number;
        if self.holder == Some(serial) && runs {
            let found = self.baton.look(&mut self.looks);
            let core = &mut *self.core.lock();
            if found != Look::TakenBack {
                return core.fail(
                    "one thread does the I/O",
                    format!("the relief looks at a handler that takes long: {found:?}"),
                );
            }
            core.mark("the I/O was taken back from a worker whose handler took long");
            core.note(Kind::Io, serial, 2);
            self.holder = None;
            self.members[serial].queue.as_ref().map(Worker::call_others);
        }
    }

    /// Workers that have not ended and were not given up.
    pub fn at_work(&self) -> usize {
        let alive = |member: &&Member| !member.abandoned && !matches!(member.doing, Doing::Gone);
        self.members.iter().filter(alive).count()
    }

    /// The worker with that serial number does the next thing.
    pub fn act(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        match &mut member.doing {
            Doing::Starting | Doing::Looking => self.step(serial),
            Doing::AboutToPark => {
                let options = &self.core.lock().options.clone();
                if self.holder.is_none() && self.io_random.chance(options.in_place) {
                    member.hold = self.baton.take(member.lane);
                    let core = &mut *self.core.lock();
                    if member.hold.is_none() {
                        core.fail("one thread does the I/O", format!("worker {serial} asks for it, and nobody has it"));
                    }
                    self.holder = Some(serial);
                    core.note(Kind::Io, serial, 0);
                    core.mark("a worker did the I/O");
                }
                self.moves(serial, Baton::wait);
                let member = &mut self.members[serial];
                let (slept, asleep) = if self.holder == Some(serial) {
                    let alarm = Arc::new(Alarm::default());
                    let lie_down = |queue: &mut Worker<Task>| queue.lie_down_until(&Waker::from(Arc::clone(&alarm)));
                    (member.queue.as_mut().is_some_and(lie_down), Doing::AsleepElsewhere(alarm))
                } else {
                    (member.queue.as_mut().is_some_and(Worker::lie_down), Doing::Asleep)
                };
                member.doing = if slept { asleep } else { Doing::Looking };
                if !slept {
                    self.moves(serial, Baton::tick);
                }
                let core = &mut *self.core.lock();
                if slept {
                    core.note(Kind::Sleep, serial, 0);
                } else {
                    core.mark("a worker lay down and found a task");
                    core.actors.push(Actor::Worker(serial));
                }
            }
            Doing::Rising => {
                self.moves(serial, Baton::tick);
                let member = &mut self.members[serial];
                member.queue.as_mut().map(Worker::rise);
                member.doing = Doing::Looking;
                self.step(serial);
            }
            Doing::Taken(_) => {
                if let Doing::Taken(task) = std::mem::replace(&mut member.doing, Doing::Looking) {
                    self.start(serial, task);
                }
            }
            Doing::Running { .. } => self.finish(serial),
            Doing::Streaming { .. } => self.give_piece(serial),
            Doing::Asleep | Doing::AsleepElsewhere(_) | Doing::Gone => {}
        }
    }

    fn step(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Some(queue) = &mut member.queue else { return };
        match queue.step() {
            Step::Run(task) => {
                member.doing = Doing::Taken(Box::new(task));
                self.core.lock().actors.push(Actor::Worker(serial));
            }
            Step::Park => {
                member.doing = Doing::AboutToPark;
                self.core.lock().actors.push(Actor::Worker(serial));
            }
            Step::Exit => self.exit(serial),
        }
    }

    /// Starts the task that it has taken, if anybody still waits for it.
    fn start(&mut self, serial: usize, task: Box<Task>) {
        if task.reply.start() {
            return self.begin(serial, task);
        }
        if let Some(queue) = &mut self.members[serial].queue {
            queue.expired();
        }
        let core = &mut *self.core.lock();
        core.mark("a worker took a task that had expired");
        core.actors.push(Actor::Worker(serial));
    }

    fn exit(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        member.doing = Doing::Gone;
        drop(member.queue.take());
        self.release(serial, 3);
        let core = &mut *self.core.lock();
        core.note(Kind::Exit, serial, 0);
        if !self.pool.is_closed() && self.lanes[self.members[serial].lane] == serial {
            core.fail("workers", format!("worker {serial} was told to exit while the pool is open"));
        }
    }

    fn begin(&mut self, serial: usize, task: Box<Task>) {
        let shared = self.core.clone();
        let core = &mut *shared.lock();
        let request = &task.request;
        let Some(token) = core.task_begun(serial, request.head.method(), request.head.path(), &request.body) else {
            return;
        };
        if task.params.first().is_none_or(|param| param.parse() != Ok(token)) {
            core.fail("right request", format!("request {token} came with the parameters {:?}", task.params));
        }
        let (fate, takes) = self.draw(core);
        let has_io = self.holder == Some(serial);
        if has_io && self.io.is_short(task.route) {
            core.mark("a task ran on the thread that did the I/O");
            if let Some(hold) = &mut self.members[serial].hold
                && !self.baton.run(hold)
            {
                core.fail(
                    "one thread does the I/O",
                    format!("worker {serial} has it, and cannot say that it runs something"),
                );
            }
            self.looks = Looks::default();
            self.baton.look(&mut self.looks);
            let number = self.members[serial].number + 1;
            core.act_in(RELIEF_LOOK + self.io_random.below(RELIEF_LOOK), Actor::Relief(serial, number));
        } else if has_io {
            core.mark("the I/O was given back before a handler that may take long");
            core.note(Kind::Io, serial, 1);
            if !self.members[serial].hold.take().is_some_and(|hold| self.baton.give_back(hold)) {
                core.fail("one thread does the I/O", format!("worker {serial} has it, and cannot give it back"));
            }
            self.holder = None;
            self.members[serial].queue.as_ref().map(Worker::call_others);
        }
        if core.options.paced == 1 {
            self.io.took(task.route, Duration::from_nanos(takes));
        }
        let budget = core.options.handler_timeout_ms * MS;
        let member = &mut self.members[serial];
        member.number += 1;
        member.watch = Some((task.reply.clone(), token, core.now()));
        if takes < u64::MAX {
            core.act_in(takes.max(1), Actor::Worker(serial));
        }
        if takes > budget {
            core.at(core.now() + budget, Event::Act(Actor::Supervisor(serial)));
        }
        self.members[serial].doing = Doing::Running { task, token, fate, interrupted: None };
    }

    /// What becomes of a handler, and how long it takes.
    fn draw(&mut self, core: &mut Core) -> (Fate, u64) {
        let options = &core.options.clone();
        let mean = options.service_us * 1000;
        let takes = match options.service_shape {
            0 => mean,
            1 => self.random.exponential(mean),
            _ if self.random.below(100) == 0 => mean * 200,
            _ => mean,
        };
        if core.is_healed() {
            return (Fate::Answers, takes.min(mean * 4));
        }
        let faults = &mut self.faults;
        if faults.chance(options.hang) {
            (Fate::Hangs, u64::MAX)
        } else if faults.chance(options.stubborn) {
            (Fate::Stubborn, u64::MAX)
        } else if faults.chance(options.die) {
            (Fate::Dies, takes)
        } else if faults.chance(options.raise) {
            (Fate::Raises, takes)
        } else if faults.chance(options.garbage) {
            (Fate::Garbage, takes)
        } else {
            (Fate::Answers, takes)
        }
    }

    /// The handler comes back.
    fn finish(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Doing::Running { mut task, token, fate, interrupted } =
            std::mem::replace(&mut member.doing, Doing::Looking)
        else {
            return;
        };
        if fate == Fate::Dies {
            return self.die(serial, token);
        }
        if member.abandoned {
            // Somebody else has answered and another worker has the lane: the thread ends.
            member.doing = Doing::Gone;
            drop((task, member.queue.take()));
            self.release(serial, 3);
            let core = &mut *self.core.lock();
            core.mark("a handler came back after its worker was given up");
            core.note(Kind::Exit, serial, 1);
            return;
        }
        member.watch = None;
        self.moves(serial, Baton::tick);
        let (response, outcome) = self.respond(&task, token, fate, interrupted.is_some());
        let streamed = outcome.error.is_empty() && !outcome.garbage && outcome.content.0 > 0;
        if streamed && self.streams.chance(self.core.lock().options.stream) {
            return self.stream(serial, &task, token, response, outcome);
        }
        let spare = std::mem::replace(&mut task.spare, Response::empty());
        let taken = task.finish(made_in(spare, response)).is_ok();
        let core = &mut *self.core.lock();
        core.note(Kind::Done, serial, (token as u64) << 8 | fate as u64);
        if taken {
            core.reply_taken(token, outcome);
        } else {
            core.mark("a reply that nobody waited for");
        }
        core.actors.push(Actor::Worker(serial));
    }

    /// Answers with a content in pieces, of which the first is there.
    fn stream(&mut self, serial: usize, task: &Task, token: usize, mut head: Response, mut outcome: Outcome) {
        let options = &self.core.lock().options.clone();
        let body = std::mem::take(&mut head.body);
        let size = self.streams.spread(1, body.len() as u64) as usize;
        let mut pieces: VecDeque<_> = body.chunks(size.max(body.len().div_ceil(20))).map(<[u8]>::to_vec).collect();
        let breaks = !self.core.lock().is_healed() && self.streams.chance(options.stream_break);
        if breaks {
            pieces.truncate(1 + self.streams.below(pieces.len() as u64) as usize);
        }
        (outcome.streamed, outcome.breaks) = (true, breaks);
        if options.paced == 1 {
            self.io.took(task.route, Duration::MAX);
        }
        if self.holder == Some(serial) {
            self.release(serial, 1);
            self.members[serial].queue.as_ref().map(Worker::call_others);
        }
        let (content, reader) = content::channel();
        let wanted = task.reply.stream(head, reader);
        let core = &mut *self.core.lock();
        core.actors.push(Actor::Worker(serial));
        core.note(Kind::Stream, serial, (token as u64) << 8);
        if wanted {
            core.reply_taken(token, outcome);
            self.members[serial].doing = Doing::Streaming { token, content, pieces, breaks };
        } else {
            core.mark("a reply that nobody waited for");
        }
    }

    fn give_piece(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Doing::Streaming { token, content, pieces, breaks, .. } = &mut member.doing else { return };
        let token = (*token as u64) << 8;
        let core = &mut *self.core.lock();
        let gap = self.streams.below(core.options.stream_gap_us * 1000 + 1);
        let next = pieces.pop_front();
        if next.is_none() && *breaks {
            content.break_off();
            core.note(Kind::Stream, serial, token | 3);
            core.mark("a handler's content broke off");
        } else {
            let is_end = next.is_none();
            match content.try_send(next) {
                Sent::Taken => {
                    core.note(Kind::Stream, serial, token | if is_end { 2 } else { 1 });
                    if !is_end {
                        return core.act_in(gap, Actor::Worker(serial));
                    }
                    core.mark("a handler made its content while it was sent");
                }
                Sent::Full(piece) => {
                    core.mark("a handler's content waited for its client");
                    piece.into_iter().for_each(|piece| pieces.push_front(piece));
                    return core.act_in(MS, Actor::Worker(serial));
                }
                Sent::Unwanted => {
                    core.note(Kind::Stream, serial, token | 4);
                    core.mark("the client of a handler's content left");
                }
            }
        }
        core.actors.push(Actor::Worker(serial));
        member.doing = Doing::Looking;
    }

    fn respond(&mut self, task: &Task, token: usize, fate: Fate, interrupted: bool) -> (Response, Outcome) {
        if interrupted || fate == Fate::Raises {
            let failure = if interrupted { Failure::HandlerTimeout } else { Failure::HandlerRaised };
            return failed(failure);
        }
        let random = &mut self.random;
        let status = *random.pick(&[200, 200, 200, 200, 200, 200, 201, 204, 304, 404, 422, 503]);
        let length = match status {
            204 | 304 => 0,
            _ => random.spread(1, self.core.lock().options.response_bytes_max) as usize,
        };
        // What it answers depends on what it was asked.
        let letter = b'a' + (hash(token as u64, &task.request.body) % 26) as u8;
        let body = vec![letter; length];
        let mut headers = vec![("x-token".into(), token.to_string().into_bytes().into())];
        let garbage = fate == Fate::Garbage;
        if garbage {
            let bad: [(&'static str, &'static [u8]); 4] =
                [("x-bad", b"a\r\nb"), ("content-length", b"3"), ("bad name", b"x"), ("connection", b"keep-alive")];
            let (name, value) = *random.pick(&bad);
            headers.push((name.into(), value.into()));
        }
        let close = random.below(200) == 0;
        let content = (length as u64, hash(0, &body));
        let outcome = Outcome { status, content, error: "", garbage, streamed: false, breaks: false };
        (Response { status, headers, body, close }, outcome)
    }

    /// The thread of a worker panics.
    fn die(&mut self, serial: usize, token: usize) {
        self.core.lock().note(Kind::Die, serial, token as u64);
        self.core.lock().mark("a worker died");
        let member = &mut self.members[serial];
        member.doing = Doing::Gone;
        drop(member.queue.take());
        self.release(serial, 3);
        self.answer_for(serial, Failure::WorkerLost);
        let member = &self.members[serial];
        if !member.abandoned {
            self.members[serial].abandoned = true;
            self.replace(self.members[serial].lane);
        }
    }

    /// Answers the running task in its worker's stead. False when there was none.
    fn answer_for(&mut self, serial: usize, failure: Failure) -> bool {
        let Some((reply, token, _)) = self.members[serial].watch.take() else { return false };
        let (response, outcome) = failed(failure);
        if reply.send(response).is_ok() {
            self.core.lock().reply_taken(token, outcome);
        }
        true
    }

    /// The supervisor looks at a worker: its task may be over its budget, or its grace.
    pub fn supervise(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Some((_, token, begun)) = member.watch else { return };
        let Doing::Running { fate, interrupted, .. } = &mut member.doing else { return };
        let fate = *fate;
        let shared = self.core.clone();
        let mut core = shared.lock();
        let (now, options) = (core.now(), core.options.clone());
        let (budget, grace) = (options.handler_timeout_ms * MS, options.interrupt_grace_ms * MS);
        match *interrupted {
            None if now >= begun + budget => {
                *interrupted = Some(now);
                core.note(Kind::Interrupt, serial, token as u64);
                core.at(now + grace, Event::Act(Actor::Supervisor(serial)));
                if fate == Fate::Hangs {
                    core.mark("a handler was interrupted and stopped");
                    core.act_in(1 + self.faults.below(grace), Actor::Worker(serial));
                }
                if fate == Fate::Stubborn {
                    let late = grace + 1 + self.faults.spread(MS, 60_000 * MS);
                    core.act_in(late, Actor::Worker(serial));
                }
            }
            Some(at) if now >= at + grace => {
                core.note(Kind::Abandon, serial, token as u64);
                core.mark("a worker was given up");
                drop(core);
                self.lose(serial);
            }
            _ => {}
        }
    }

    fn lose(&mut self, serial: usize) {
        self.answer_for(serial, Failure::HandlerTimeout);
        self.members[serial].abandoned = true;
        self.replace(self.members[serial].lane);
    }

    fn replace(&mut self, lane: usize) {
        let max = self.core.lock().options.max_replacements;
        if self.stopped {
            return;
        }
        if self.replaced >= max {
            return self.exhaust();
        }
        self.replaced += 1;
        self.hire(lane, START);
        let core = &mut *self.core.lock();
        core.note(Kind::Replace, lane, self.replaced);
        core.mark("a worker was replaced");
    }

    fn exhaust(&mut self) {
        if !std::mem::replace(&mut self.exhausted, true) {
            let core = &mut *self.core.lock();
            core.mark("the bound on replacements was reached");
            core.exhausted = true;
            core.begin_draining();
            if let Some(waker) = core.signal(Signal::TERMINATE) {
                core.at(core.now(), Event::Wake(waker));
            }
        }
        if self.members.iter().all(|member| member.abandoned || matches!(member.doing, Doing::Gone)) {
            self.pool.close();
            self.core.lock().mark("no worker was left");
            self.refuse_waiting(Failure::WorkerLost);
        }
    }

    fn refuse_waiting(&mut self, failure: Failure) -> usize {
        let tasks = self.pool.fail_all_waiting();
        for task in &tasks {
            let (response, outcome) = failed(failure);
            let token = task.params.first().and_then(|param| param.parse::<usize>().ok());
            if task.reply.send(response).is_ok()
                && let Some(token) = token
            {
                self.core.lock().reply_taken(token, outcome);
            }
        }
        tasks.len()
    }

    /// The deadline of a drain: answers all that waits and runs, and gives those workers up.
    pub fn give_up(&mut self) -> usize {
        self.pool.close();
        self.core.lock().cut = true;
        let mut count = self.refuse_waiting(Failure::ShuttingDown);
        for serial in self.lanes.clone() {
            if self.answer_for(serial, Failure::WorkerLost) {
                self.members[serial].abandoned = true;
                count += 1;
            }
        }
        let core = &mut *self.core.lock();
        core.note(Kind::GiveUp, count, 0);
        core.mark("the drain was cut short");
        count
    }

    /// The server has ended: the workers finish what there is and go.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.pool.close();
    }
}

/// A failure of polygil's own, and how it is told from others.
fn failed(failure: Failure) -> (Response, Outcome) {
    let response = failure.response(failure.default_detail());
    let (status, error) = (failure.status(), failure.code());
    let outcome = Outcome { status, content: (0, 0), error, garbage: false, streamed: false, breaks: false };
    (response, outcome)
}

/// The same response in the memory that its task brought, as workers make theirs.
fn made_in(mut spare: Response, response: Response) -> Response {
    spare.headers.extend(response.headers);
    spare.body.extend_from_slice(&response.body);
    Response { status: response.status, close: response.close, ..spare }
}
