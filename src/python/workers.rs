//! All workers of a server: started in parallel, watched, replaced when lost, joined at the end.
//!
//! One supervisor thread owns the threads' handles and the watches. It sleeps on a channel, on which worker threads report
//! their end and the server its wish to stop, until the next budget is due (see [`super::supervisor`]).
//!
//! A worker is lost when its handler does not come back from an interrupt, or when its thread panics. It is replaced on the
//! same lane: a new thread makes a new interpreter (about 20 ms, 1.7 MiB that are never returned), and the pool gives it the
//! lane's tasks. [`Replacements`] bounds how many that may be in a while; beyond it [`Options::exhausted`] is called once, for
//! the server to stop and exit non-zero, rather than limp.
//!
//! At the stop each worker runs its shutdown hooks, waits for its threads, runs its exit functions and ends its interpreter, all on
//! its own thread. Who has not done so by the deadline is named with what it does and where, and left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ending::{self, AT_ONCE_LOOK, WORDS_PATIENCE};
use super::handler::Unresolved;
use super::interpreter::STACK_BYTES;
use super::replacements::Replacements;
use super::supervisor::{Abandoned, Seen, Watch, look};
use super::worker::{self, Ended, Setup, Started};
use crate::dispatch::Pool;
use crate::error::Failure;
use crate::io::Io;
use crate::planted::panic_here;
use crate::router::RouteId;
use crate::task::{Running, Task, WorkersNow};

/// How often a start that takes long is asked whether it is still wanted.
const INTERRUPTION_LOOK: Duration = Duration::from_millis(50);

/// A worker whose task is over its budget and grace by more than this takes no tasks, whatever has become of its supervisor.
const OVERDUE_MAX: Duration = Duration::from_secs(2);

/// What a client reads whose handler still ran when the server stopped.
const STOPPED: &str = "the server stopped before the handler came back";

/// How many workers there are and what becomes of lost ones.
pub struct Options {
    /// Workers, each with a thread, an interpreter and a lane of the pool.
    pub workers: usize,
    /// From the interrupt of a handler over its budget to the replacement of its worker.
    pub interrupt_grace: Duration,
    /// Replacements in any `replacement_window`.
    pub max_replacements: usize,
    /// See `max_replacements`.
    pub replacement_window: Duration,
    /// How long the workers may take to end when one of them could not start.
    pub start_failure_patience: Duration,
    /// Called once when a worker is lost and may not be replaced, with the reason.
    pub exhausted: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why the workers did not start.
#[derive(Debug)]
pub enum StartError {
    /// Routes without a handler: the `check` report.
    Unresolved(Vec<(RouteId, Unresolved)>),
    /// No thread, no interpreter, or a start-up hook that raised.
    Failed(String),
    /// A signal came before they were ready; they still start.
    Interrupted,
}

/// How the workers ended.
#[derive(Debug, Default)]
pub struct Report {
    /// Workers that still ran Python at the deadline: what they ran.
    pub unfinished: Vec<Abandoned>,
    /// Workers that had not ended at the deadline, and those whose thread panicked.
    pub unended: usize,
    /// Interpreters that are left: the process must exit without finalizing Python. Those of the `unended` among them.
    pub left_behind: usize,
    /// Workers that were replaced.
    pub replaced: usize,
    /// A worker was lost beyond the bound of replacements.
    pub exhausted: bool,
}

/// The running workers.
pub struct Workers {
    events: Sender<Event>,
    shared: Arc<Shared>,
    supervisor: JoinHandle<Report>,
}

struct Shared {
    setup: Setup,
    io: Arc<Io>,
    pool: Arc<Pool<Task>>,
    options: Options,
    /// The watch of the worker that has each lane now.
    watches: Mutex<Vec<Arc<Watch>>>,
    interrupted: AtomicU64,
    replaced: AtomicU64,
    replacements: Mutex<Replacements>,
    /// Interpreters of workers that were replaced which are still there.
    left: AtomicU64,
}

enum Event {
    /// The thread of lane `index`'s worker with this serial number is over.
    Ended {
        index: usize,
        serial: usize,
        ended: Option<Ended>,
    },
    /// The replacement on lane `index` has started, or not.
    Started {
        index: usize,
        outcome: Started,
    },
    Stop {
        deadline: Instant,
        at_once: AtOnce,
    },
}

/// Asked every now and then while an end is waited for: true means now.
type AtOnce = Box<dyn FnMut() -> bool + Send>;

impl Workers {
    /// Starts the workers and waits until each is ready, or until one is not: then none is left. Asks `interrupted` every now
    /// and then; a true ends the wait and leaves the workers as they are, in whatever import or hook keeps them.
    ///
    /// # Safety
    /// The main interpreter is initialized and prepared (`interpreter::prepare_main`), is not finalized before
    /// [`Workers::stop`] has returned, and not at all if that says that something was left behind, or if this returns
    /// [`StartError::Interrupted`]. The calling thread is detached from it.
    pub unsafe fn start(
        setup: Setup,
        pool: Arc<Pool<Task>>,
        io: Arc<Io>,
        options: Options,
        mut interrupted: impl FnMut() -> bool,
    ) -> Result<Self, StartError> {
        let (events, inbox) = channel();
        let count = options.workers;
        let watches = (0..count).map(|_| Arc::default()).collect();
        let replacements = Mutex::new(Replacements::new(options.max_replacements, options.replacement_window));
        let shared = Arc::new(Shared {
            setup,
            pool,
            io,
            options,
            watches: Mutex::new(watches),
            interrupted: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            replacements,
            left: AtomicU64::new(0),
        });
        let mut crew = Crew::new(Arc::clone(&shared), events.clone());
        let (started, answers) = channel();
        for index in 0..count {
            let started = started.clone();
            // Nobody listens any more once another worker has failed.
            let tell = move |outcome| drop(started.send(outcome));
            crew.hire(index, tell).map_err(|error| StartError::Failed(format!("no thread: {error}")))?;
        }
        drop(started);
        if let Err(error) = all_ready(&answers, count, &mut interrupted) {
            if matches!(error, StartError::Interrupted) {
                return Err(error);
            }
            shared.pool.close();
            let deadline = Instant::now() + shared.options.start_failure_patience;
            crew.wait_for_all(&inbox, deadline, interrupted);
            return Err(error);
        }
        give_back_freed_memory();
        let supervisor = std::thread::Builder::new()
            .name("polygil-supervisor".into())
            .spawn(move || guarded(crew, &inbox))
            .map_err(|error| StartError::Failed(format!("no thread: {error}")))?;
        Ok(Self { events, shared, supervisor })
    }

    /// The deadline of a drain: closes the pool, answers what waits with `shutting_down` and what runs with `worker_lost`, and
    /// gives those workers up. Says how many requests that were.
    pub fn give_up(&self) -> usize {
        self.shared.pool.close();
        let waiting = self.shared.refuse_waiting(Failure::ShuttingDown);
        let watches = self.shared.watches();
        waiting
            + watches.iter().filter_map(|watch| self.shared.abandon(watch, Failure::WorkerLost, STOPPED)?.task).count()
    }

    /// A question that can be asked from any thread, also after their end: what do the workers run?
    pub fn now(&self) -> impl Fn() -> WorkersNow + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            let running = shared.watches().into_iter().enumerate().filter_map(|(worker, watch)| {
                let (request, route, since) = watch.running()?;
                Some(Running { worker, request, route, since })
            });
            let grace = shared.options.interrupt_grace + OVERDUE_MAX;
            let serving = shared.watches().iter().filter(|watch| watch.is_serving(grace)).count();
            WorkersNow {
                serving,
                running: running.collect(),
                interrupted: shared.interrupted.load(Relaxed),
                replaced: shared.replaced.load(Relaxed),
                replacements_left: shared.replacements().left(Instant::now()) as u64,
                interpreters_left: shared.left.load(Relaxed),
            }
        }
    }

    /// Closes the pool, lets the workers finish what it holds, and joins them; gives up at `deadline`, or when `at_once` says so.
    pub fn stop(self, deadline: Instant, at_once: impl FnMut() -> bool + Send + 'static) -> Report {
        self.shared.pool.close();
        // Should the supervisor be gone, joining it says so.
        drop(self.events.send(Event::Stop { deadline, at_once: Box::new(at_once) }));
        self.supervisor.join().unwrap_or_else(|_| {
            tracing::error!("the supervisor of the workers panicked");
            ending::interpreter_left();
            Report { unended: 1, left_behind: 1, ..Report::default() }
        })
    }
}

/// Gives the system what imports have left behind in the heaps of the workers' threads: about half a MiB each, which glibc would keep
/// for them to allocate again. Others have an allocator that returns memory by itself, or cannot be asked.
fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointer, may be called by any thread at any time, and takes each heap's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Shared {
    fn watches(&self) -> Vec<Arc<Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replacements(&self) -> MutexGuard<'_, Replacements> {
        self.replacements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self, watch: &Watch, failure: Failure, detail: &str) -> Option<Abandoned> {
        watch.abandon(failure, detail, &self.setup.request_id_prefix)
    }

    /// Takes out every task that waits and answers it; says how many there were.
    fn refuse_waiting(&self, failure: Failure) -> usize {
        let tasks = self.pool.fail_all_waiting();
        for task in &tasks {
            let mut response = failure.response(failure.default_detail());
            let request_id = format!("{}-{}", self.setup.request_id_prefix, task.id);
            response.headers.push(("x-request-id".into(), request_id.into_bytes().into()));
            // The caller may have left.
            drop(task.reply.send(response));
        }
        tasks.len()
    }

    fn replace_watch(&self, index: usize) -> Arc<Watch> {
        let fresh = Arc::new(Watch::default());
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)[index] = Arc::clone(&fresh);
        fresh
    }
}

fn all_ready(
    answers: &Receiver<Started>,
    count: usize,
    interrupted: &mut impl FnMut() -> bool,
) -> Result<(), StartError> {
    let mut ready = 0;
    let mut error = None;
    loop {
        match answers.recv_timeout(INTERRUPTION_LOOK) {
            Ok(Started::Ready) => ready += 1,
            Ok(Started::Unresolved(routes)) => error = Some(StartError::Unresolved(routes)),
            Ok(Started::Failed(message)) => error = error.or(Some(StartError::Failed(message))),
            Err(RecvTimeoutError::Timeout) if interrupted() => return Err(StartError::Interrupted),
            Err(RecvTimeoutError::Timeout) => {}
            // Each worker has answered once, or dropped its sender by panicking.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match error {
        Some(error) => Err(error),
        None if ready == count => Ok(()),
        None => Err(StartError::Failed("a worker's thread died before it was ready".into())),
    }
}

/// The supervisor's thread. Without it nobody is interrupted or replaced any more, so the server cannot go on without it.
fn guarded(crew: Crew, inbox: &Receiver<Event>) -> Report {
    let shared = Arc::clone(&crew.shared);
    catch_unwind(AssertUnwindSafe(|| crew.supervise(inbox))).unwrap_or_else(|_| {
        (shared.options.exhausted)("the supervisor of the workers panicked, which is a bug in polygil");
        Report { left_behind: 1, exhausted: true, ..Report::default() }
    })
}

/// A worker's thread, as the supervisor knows it.
struct Member {
    index: usize,
    serial: usize,
    thread: JoinHandle<()>,
    watch: Arc<Watch>,
    /// It was given up: its end is welcome but not waited for.
    abandoned: bool,
}

/// The supervisor's books.
struct Crew {
    shared: Arc<Shared>,
    events: Sender<Event>,
    members: Vec<Member>,
    serial: usize,
    shortest_budget: Duration,
    report: Report,
}

impl Crew {
    fn new(shared: Arc<Shared>, events: Sender<Event>) -> Self {
        let routes = (0..shared.setup.router.routes().len()).map(|index| RouteId(index as u32));
        let budgets = routes.map(|id| shared.setup.budget(id));
        let shortest_budget = budgets.fold(shared.setup.handler_timeout, Duration::min);
        Self { shared, events, members: Vec::new(), serial: 0, shortest_budget, report: Report::default() }
    }

    /// Starts a worker on lane `index`.
    fn hire(&mut self, index: usize, tell: impl FnOnce(Started) + Send + 'static) -> std::io::Result<()> {
        let serial = self.serial;
        self.serial += 1;
        let watch = Arc::clone(&self.shared.watches()[index]);
        let watched = Arc::clone(&watch);
        let queue = self.shared.pool.worker(index);
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        let thread = std::thread::Builder::new()
            .name(format!("polygil-worker-{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // A panic here is a bug of ours; it must cost one worker, with a replacement, and not the server.
                let run = || worker::run(&shared.setup, index, queue, &watch, &shared.io, tell);
                let ended = catch_unwind(AssertUnwindSafe(run)).ok();
                if ended.is_none() {
                    watch.leave();
                    shared.abandon(&watch, Failure::WorkerLost, Failure::WorkerLost.default_detail());
                }
                // Nobody listens any more when the server has given up waiting.
                drop(events.send(Event::Ended { index, serial, ended }));
            })?;
        self.members.push(Member { index, serial, thread, watch: watched, abandoned: false });
        Ok(())
    }

    fn supervise(mut self, inbox: &Receiver<Event>) -> Report {
        loop {
            panic_here("supervisor");
            let watches = self.shared.watches();
            let Seen { lost, interrupted, again_in } =
                look(&watches, self.shared.options.interrupt_grace, self.shortest_budget);
            self.shared.interrupted.fetch_add(interrupted, Relaxed);
            for index in lost {
                self.lose(index);
            }
            match inbox.recv_timeout(again_in) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Ended { index, serial, ended }) => self.ended(index, serial, ended),
                Ok(Event::Started { index, outcome }) => self.started(index, &outcome),
                Ok(Event::Stop { deadline, at_once }) => {
                    self.wait_for_all(inbox, deadline, at_once);
                    return self.report;
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the crew holds a sender itself"),
            }
        }
    }

    /// The handler on lane `index` did not come back from its interrupt.
    fn lose(&mut self, index: usize) {
        let watch = Arc::clone(&self.shared.watches()[index]);
        let detail = Failure::HandlerTimeout.default_detail();
        let Some(abandoned) = self.shared.abandon(&watch, Failure::HandlerTimeout, detail) else { return };
        let ran_ms = abandoned.ran.as_millis() as u64;
        match abandoned.task {
            Some((route, request)) => {
                let route = self.shared.setup.router.route(route);
                tracing::error!(
                    worker = index,
                    route = format!("{} {}", route.method, route.pattern),
                    request_id = format!("{}-{request}", self.shared.setup.request_id_prefix),
                    ran_ms,
                    "the handler did not come back from its interrupt; its worker is replaced\n{}",
                    abandoned.stack,
                );
            }
            None => tracing::error!(
                worker = index,
                ran_ms,
                "finalizers of collected objects did not come back from their interrupt; the worker is replaced\n{}",
                abandoned.stack,
            ),
        }
        for member in self.members.iter_mut().filter(|member| member.index == index && !member.abandoned) {
            member.abandoned = true;
            self.shared.left.fetch_add(1, Relaxed);
        }
        self.replace(index);
    }

    fn replace(&mut self, index: usize) {
        let left = {
            let mut replacements = self.shared.replacements();
            let now = Instant::now();
            replacements.make(now).then(|| replacements.left(now))
        };
        let Some(left) = left else {
            return self.exhaust("a worker was lost and the bound on replacements is reached");
        };
        tracing::warn!(
            worker = index,
            left,
            max = self.shared.options.max_replacements,
            window_s = self.shared.options.replacement_window.as_secs_f64(),
            "a lost worker is replaced; the server stops when no replacement is left"
        );
        self.report.replaced += 1;
        self.shared.replaced.fetch_add(1, Relaxed);
        self.shared.replace_watch(index);
        let events = self.events.clone();
        // The supervisor may have ended meanwhile.
        let tell = move |outcome| drop(events.send(Event::Started { index, outcome }));
        if let Err(error) = self.hire(index, tell) {
            self.exhaust(&format!("a worker was lost and there is no thread for another: {error}"));
        }
    }

    /// A replacement has started, or not.
    fn started(&mut self, index: usize, outcome: &Started) {
        match outcome {
            Started::Ready => tracing::info!(worker = index, "the lost worker's replacement is ready"),
            Started::Unresolved(_) => self.exhaust("a lost worker's replacement found a handler missing"),
            Started::Failed(message) => self.exhaust(&format!("a lost worker's replacement did not start: {message}")),
        }
    }

    fn exhaust(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.report.exhausted, true) {
            tracing::error!("{reason}: the server stops");
            (self.shared.options.exhausted)(reason);
        }
        if self.members.iter().all(|member| member.abandoned) {
            // Nobody is left to run what waits.
            self.shared.pool.close();
            self.shared.refuse_waiting(Failure::WorkerLost);
        }
    }

    /// A worker thread is over although nobody asked: it had been abandoned, or it panicked.
    fn ended(&mut self, index: usize, serial: usize, ended: Option<Ended>) {
        let Some(member) = self.take(serial, ended.as_ref()) else { return };
        if ended.is_none() && !member.abandoned {
            self.replace(index);
        }
    }

    /// Strikes a member off and joins its thread, which is at its last instruction.
    fn take(&mut self, serial: usize, ended: Option<&Ended>) -> Option<Member> {
        let position = self.members.iter().position(|member| member.serial == serial)?;
        let member = self.members.swap_remove(position);
        match ended {
            Some(Ended::Clean | Ended::NeverBegan) => {}
            Some(Ended::InterpreterLeft(in_use)) => {
                tracing::info!(
                    worker = member.index,
                    threads = in_use.threads,
                    "daemon threads, or threads started outside `threading`, keep the worker's interpreter alive"
                );
                self.leave();
            }
            // The interpreter of a thread that panicked was not ended.
            None => {
                self.report.unended += 1;
                self.leave();
            }
        }
        if member.abandoned && matches!(ended, Some(Ended::Clean | Ended::NeverBegan)) {
            self.shared.left.fetch_sub(1, Relaxed);
        }
        Some(member)
    }

    fn leave(&mut self) {
        self.report.left_behind += 1;
        ending::interpreter_left();
    }

    /// Joins everyone until the deadline, or until it is to be at once; who is left then is reported by name.
    fn wait_for_all(&mut self, inbox: &Receiver<Event>, deadline: Instant, mut at_once: impl FnMut() -> bool) {
        // One that was given up may still come back; its handler was answered for, and nobody waits.
        while self.members.iter().any(|member| !member.abandoned) {
            let left = deadline.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(left.min(AT_ONCE_LOOK)) {
                Ok(Event::Ended { serial, ended, .. }) => {
                    if let Some(member) = self.take(serial, ended.as_ref()) {
                        drop(member.thread.join());
                    }
                }
                Ok(Event::Started { .. } | Event::Stop { .. }) => {}
                Err(RecvTimeoutError::Timeout) if !left.is_zero() && !at_once() => {}
                Err(_) => break,
            }
        }
        for watch in self.shared.watches() {
            self.report.unfinished.extend(self.shared.abandon(&watch, Failure::WorkerLost, STOPPED));
        }
        for member in std::mem::take(&mut self.members) {
            self.leave();
            self.report.unended += 1;
            // What is known of one that was given up is in the log since then.
            if !member.abandoned && member.watch.running().is_none() {
                let (doing, threads) = member.watch.last_words(WORDS_PATIENCE);
                tracing::error!(worker = member.index, "the worker does not end: it waits for {doing}\n{threads}");
            }
        }
    }
}
