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

mod handlers;
mod io;
mod supervisor;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use polygil::account::Account;
use polygil::content::ContentSender;
use polygil::dispatch::baton::{Baton, Hold, Looks};
use polygil::dispatch::{Pool, Step, Worker};
use polygil::io::Io;
use polygil::router::RouteId;
use polygil::task::{AnswerSender, Task};

use crate::core::{Actor, Event, MS, Shared};
use crate::random::Random;
use crate::trace::Kind;

/// How long it takes to make an interpreter.
const START: u64 = 20 * MS;

/// How often the relief looks after the one that does the I/O: see `polygil::io`.
const RELIEF_LOOK: u64 = 5 * MS;

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
    /// The memory that contents take.
    memory: Arc<Account>,
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
    pub fn new(pool: Arc<Pool<Task>>, io: Arc<Io>, memory: Arc<Account>, routes: usize, core: Shared) -> SharedCrew {
        let options = core.lock().options.clone();
        let mut crew = Crew {
            pool,
            io,
            memory,
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

    /// Workers that have not ended and were not given up.
    pub fn at_work(&self) -> usize {
        let alive = |member: &&Member| !member.abandoned && !matches!(member.doing, Doing::Gone);
        self.members.iter().filter(alive).count()
    }

    /// Whether each lane's worker was given up, or died, and has no replacement.
    pub fn is_given_up(&self) -> bool {
        self.lanes.iter().all(|serial| self.members[*serial].abandoned)
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
            if !self.memory.is_full() {
                return self.begin(serial, task);
            }
            // What cannot be answered is not begun.
            task.finish_within(None, &self.memory);
            let core = &mut *self.core.lock();
            core.mark("a task found no room for its answer when it was to begin");
            return core.actors.push(Actor::Worker(serial));
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
}
