//! Time budgets: which task each worker runs, since when, and what happens when it is over its time.
//!
//! Each worker has a [`Watch`]. The worker writes into it at the start and at the end of each task, and the two enclose all
//! that the task makes Python do: the call, the conversion of what it returns, the report of what it raises, and the end of
//! every object that it made. One supervisor thread reads them all. A task over its budget is *interrupted*: a visitor thread attaches to the worker's interpreter and has
//! `polygil.HandlerTimeout` raised in the handler. If the handler has not come back after the grace (stuck in C, or catching
//! everything), it is *abandoned*: the supervisor answers in its place and has the worker replaced.
//!
//! The exactness lies in who holds what. The interrupt is set, and taken back at a task's end, under the interpreter's GIL
//! *and* the watch's lock, and only while the number of the running task is the one that was over its budget: so it can never
//! hit the next task. The lock is never held while waiting for a GIL.
//!
//! The supervisor sleeps for the shortest budget or until the next task is due, whichever comes first: a task that starts
//! while it sleeps cannot be over its budget before it wakes. Nothing is armed or woken per request.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ffi::{Gil, PyResult};
use super::interpreter::{InterpreterAddress, visit};
use crate::content::ContentSender;
use crate::error::Failure;
use crate::router::RouteId;
use crate::task::AnswerSender;

/// What a worker runs at this moment.
struct Running {
    /// Counts the worker's tasks: tells this one from the next.
    number: u64,
    /// None for work of the worker's own, between requests.
    task: Option<(RouteId, u64)>,
    started: Instant,
    budget: Duration,
    /// When the interrupt was asked for.
    interrupted: Option<Instant>,
    /// Where the handler was when the interrupt reached its interpreter.
    stack: String,
    outcome: Outcome,
}

/// Where the end of what runs would go, should the supervisor have to make one.
pub enum Outcome {
    /// Nothing is answered yet.
    Answer(AnswerSender),
    /// The answer has begun, and its content is being made.
    Content(ContentSender),
    /// Nobody waits for it.
    Nothing,
}

#[derive(Default)]
struct State {
    number: u64,
    running: Option<Running>,
    address: Option<InterpreterAddress>,
    visitors: usize,
    abandoned: bool,
    /// It takes tasks.
    serving: bool,
    thread: Option<ThreadId>,
    /// What the worker does on its way to its end.
    ends: Option<&'static str>,
}

/// The kernel's number of a thread.
#[cfg(target_os = "linux")]
type ThreadId = rustix::process::Pid;
#[cfg(not(target_os = "linux"))]
type ThreadId = std::convert::Infallible;

#[cfg(target_os = "linux")]
fn this_thread() -> Option<ThreadId> {
    Some(rustix::thread::gettid())
}
#[cfg(not(target_os = "linux"))]
fn this_thread() -> Option<ThreadId> {
    None
}

/// A thread that was given up may compute for as long as it likes, on the core that its replacement is pinned to: let everybody
/// else go first. Linux has priorities by thread; elsewhere it stays as it is.
#[cfg(target_os = "linux")]
fn let_others_go_first(thread: ThreadId) {
    const LOWEST: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(Some(thread), LOWEST) {
        tracing::debug!(%error, "the priority of a lost worker's thread stays as it is");
    }
}
#[cfg(not(target_os = "linux"))]
fn let_others_go_first(_: ThreadId) {}

/// One worker's entry in the supervisor's book.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    left: Condvar,
}

/// What a worker did that was given up, by name.
#[derive(Debug, Clone)]
pub struct Abandoned {
    /// The route whose handler did not come back, and the request's number; None where it was the worker's own work.
    pub task: Option<(RouteId, u64)>,
    /// How long it had run.
    pub ran: Duration,
    /// The handler's Python stack, where its interpreter's GIL could be had to read it.
    pub stack: String,
}

/// What the end of a task found.
pub enum Finished {
    /// In time.
    InTime,
    /// Over its budget: an exception may still be pending and must be taken back, with the address. Says where the interrupt
    /// found it; nothing, if it came to its end before that.
    Interrupted(InterpreterAddress, String),
    /// The supervisor has given the worker up; somebody else has answered and another worker has its lane.
    Abandoned,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic here: every critical section is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker's interpreter is up. Call it on the worker's thread.
    pub fn open(&self, address: InterpreterAddress) {
        let mut state = self.lock();
        state.address = Some(address);
        state.thread = this_thread();
    }

    /// The worker starts a task, or goes on making its content; or, without one, does work of its own.
    pub fn begin(&self, task: Option<(RouteId, u64)>, budget: Duration, outcome: Outcome) {
        let started = Instant::now();
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        let stack = String::new();
        state.running = Some(Running { number, task, started, budget, interrupted: None, stack, outcome });
    }

    /// Whether what runs is over its budget: what is reported of it must not ask the program for anything more.
    pub fn is_interrupted(&self) -> bool {
        self.lock().running.as_ref().is_some_and(|running| running.interrupted.is_some())
    }

    /// The worker has the task's outcome. Call it attached, before any further Python code runs.
    pub fn finish(&self) -> Finished {
        let mut state = self.lock();
        let running = state.running.take();
        if state.abandoned {
            return Finished::Abandoned;
        }
        match (running.filter(|running| running.interrupted.is_some()), state.address) {
            (Some(running), Some(address)) => Finished::Interrupted(address, running.stack),
            _ => Finished::InTime,
        }
    }

    /// The worker takes tasks from now on.
    pub fn serve(&self) {
        self.lock().serving = true;
    }

    /// The worker takes none any more.
    pub fn leave(&self) {
        self.lock().serving = false;
    }

    /// Whether the worker takes tasks, or will once it is done with one that is not over its budget by more than `grace`.
    pub fn is_serving(&self, grace: Duration) -> bool {
        let state = self.lock();
        let is_over = |running: &Running| running.started.elapsed() > running.budget.saturating_add(grace);
        state.serving && !state.abandoned && !state.running.as_ref().is_some_and(is_over)
    }

    /// As [`Watch::running`], for a signal handler: without waiting, and without what it cannot tell.
    pub fn glance(&self) -> Option<(u64, RouteId)> {
        let state = self.state.try_lock().ok()?;
        let running = state.running.as_ref()?;
        let (route, request) = running.task?;
        Some((request, route))
    }

    /// The worker is on its way to its end, and does this, in words for the log.
    pub fn ends(&self, doing: &'static str) {
        self.lock().ends = Some(doing);
    }

    /// What it does on its way to its end, and where: the stacks of all threads of its interpreter, by name. Waits for the
    /// interpreter's GIL no longer than `patience`.
    pub fn last_words(self: &Arc<Self>, patience: Duration) -> (&'static str, String) {
        let (doing, address) = {
            let mut state = self.lock();
            let address = state.address;
            if address.is_some() {
                state.visitors += 1;
            }
            (state.ends.unwrap_or("its start, or a request"), address)
        };
        let Some(address) = address else { return (doing, String::new()) };
        let watch = Arc::clone(self);
        // SAFETY: this visitor was counted while the address was there, and `Watch::close` waits for it.
        let words = unsafe { address.threads_in_words(patience, move || watch.visitor_left()) };
        (doing, words)
    }

    /// The worker is about to end its interpreter: no new visitor, and wait for those inside. Call it detached.
    pub fn close(&self) {
        let mut state = self.lock();
        state.serving = false;
        state.ends = Some("the end of its interpreter");
        state.address = None;
        while state.visitors > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the worker up: answers the running task with `failure` and says what it was. None when nothing ran.
    pub fn abandon(&self, failure: Failure, detail: &str, request_id_prefix: &str) -> Option<Abandoned> {
        let mut state = self.lock();
        let running = state.running.as_ref()?;
        let abandoned = Abandoned { task: running.task, ran: running.started.elapsed(), stack: running.stack.clone() };
        match (&running.outcome, running.task) {
            (Outcome::Answer(reply), Some((_, request))) => {
                let mut response = failure.response(detail);
                let request_id = format!("{request_id_prefix}-{request}");
                response.headers.push(("x-request-id".into(), request_id.into_bytes().into()));
                // Somebody may have been first (the caller left): then this answer is not wanted.
                drop(reply.send(response));
            }
            (Outcome::Content(content), _) => content.break_off(),
            (Outcome::Answer(_) | Outcome::Nothing, _) => {}
        }
        state.abandoned = true;
        // It cannot have ended: it takes this lock at the end of its task.
        if let Some(thread) = state.thread {
            let_others_go_first(thread);
        }
        Some(abandoned)
    }

    /// What the worker runs at this moment: the request, its route, and for how long.
    pub fn running(&self) -> Option<(u64, RouteId, Duration)> {
        let state = self.lock();
        let running = state.running.as_ref().filter(|_| !state.abandoned)?;
        let (route, request) = running.task?;
        Some((request, route, running.started.elapsed()))
    }

    /// What is due now, and when to look again.
    fn due(&self, now: Instant, grace: Duration) -> (Due, Option<Instant>) {
        let mut state = self.lock();
        if state.abandoned {
            return (Due::Nothing, None);
        }
        let address = state.address;
        let Some(running) = state.running.as_mut() else { return (Due::Nothing, None) };
        if let Some(interrupted) = running.interrupted {
            let end = interrupted + grace;
            return if now >= end { (Due::Abandon, None) } else { (Due::Nothing, Some(end)) };
        }
        let end = running.started + running.budget;
        if now < end {
            return (Due::Nothing, Some(end));
        }
        running.interrupted = Some(now);
        let number = running.number;
        match address {
            Some(address) => {
                state.visitors += 1;
                (Due::Interrupt { address, number }, Some(now + grace))
            }
            None => (Due::Nothing, Some(now + grace)),
        }
    }

    fn visitor_left(&self) {
        self.lock().visitors -= 1;
        self.left.notify_all();
    }
}

enum Due {
    Nothing,
    Interrupt { address: InterpreterAddress, number: u64 },
    Abandon,
}

/// What a look through the watches has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The workers whose grace is over.
    pub lost: Vec<usize>,
    /// How many handlers were interrupted.
    pub interrupted: u64,
    /// When to look again, at the latest.
    pub again_in: Duration,
}

/// Looks through the watches once, and interrupts what is over its budget. The next look is due `shortest_budget` from now, or
/// before that.
pub fn look(watches: &[Arc<Watch>], grace: Duration, shortest_budget: Duration) -> Seen {
    let now = Instant::now();
    let mut next = now + shortest_budget;
    let (mut lost, mut interrupted) = (Vec::new(), 0);
    for (index, watch) in watches.iter().enumerate() {
        let (due, again) = watch.due(now, grace);
        next = again.map_or(next, |again| next.min(again));
        match due {
            Due::Nothing => {}
            Due::Interrupt { address, number } => {
                interrupted += 1;
                interrupt(watch, address, number);
            }
            Due::Abandon => lost.push(index),
        }
    }
    Seen { lost, interrupted, again_in: next.saturating_duration_since(Instant::now()) }
}

/// Has HandlerTimeout raised in the worker's handler, on a thread of its own: the interpreter's GIL may never come free.
fn interrupt(watch: &Arc<Watch>, address: InterpreterAddress, number: u64) {
    let visitor = Visitor(Arc::clone(watch));
    let started = std::thread::Builder::new().name("polygil-interrupt".into()).spawn(move || {
        // SAFETY: `due` counted this visitor while the address was there, and `Watch::close` waits for it before the worker
        // ends its interpreter; the thread is new, so it has no thread state.
        unsafe {
            visit(address, |gil| {
                // Any failure in here means that no interrupt is set: the grace runs out and the worker is replaced.
                drop(raise_timeout(gil, &visitor.0, &address, number));
            });
        }
    });
    if let Err(error) = started {
        // The visitor has left with the closure that was to run.
        tracing::error!(%error, "no thread to interrupt a handler that is over its budget");
    }
}

/// A visitor that `due` has counted. It leaves when this is dropped, also by a panic: the worker waits for it.
struct Visitor(Arc<Watch>);

impl Drop for Visitor {
    fn drop(&mut self) {
        self.0.visitor_left();
    }
}

fn raise_timeout<'i>(gil: Gil<'i>, watch: &Watch, address: &InterpreterAddress, number: u64) -> PyResult<'i, ()> {
    let traceback = gil.import(c"polygil._traceback")?;
    let timeout = gil.import(c"polygil")?.attr(c"HandlerTimeout")?;
    // Where it stands, for the log, should it have to be abandoned.
    let stack = address.frame(gil).and_then(|frame| traceback.call_method(c"interrupted_at", &[&frame]).ok());
    let stack = stack.map(|stack| stack.display()).unwrap_or_default();
    let mut state = watch.lock();
    if let Some(running) = state.running.as_mut().filter(|running| running.number == number) {
        running.stack = stack;
        address.set_async_exception(gil, Some(&timeout));
    }
    Ok(())
}
