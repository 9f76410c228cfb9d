//! One worker thread: its interpreter, its handlers, its loop.
//!
//! The thread makes an interpreter, resolves every handler in it, runs the app's start-up hooks, says that it is ready, and then
//! takes tasks from the pool until the pool closes or another worker gets its lane. It holds its GIL while it has tasks and
//! lets go of it while it waits for one, so that threads which handlers started can run.
//!
//! Every task is answered here exactly once, or its reply is dropped, which the connection sees as `worker_lost`. Nothing in
//! here knows of sockets; nothing outside sees a Python object.
//!
//! All Python that runs between two waits is the program's, and within a budget: [`Serving::watched`] encloses the whole of what
//! a task makes Python do, to the end of the last object that it made, and lets out only what Rust owns. What is over its budget
//! is 504, whatever came of it. Between the tasks only the garbage [`Collector`] runs Python, within the same kind of bracket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collector::Collector;
use super::convert::{Converted, Converter, type_by_first_piece};
use super::crash::OnStage;
use super::ending;
use super::ffi::{Gil, Object, PyResult, Raised};
use super::frames::current_frames_function;
use super::handler::{CallError, Caller, Handler, Unresolved};
use super::interpreter::{Interpreter, StillInUse};
use super::report::{Report, Unanswered, broken, unanswered};
use super::stream::Pieces;
use super::supervisor::{Finished, Outcome, Watch};
use crate::account::Account;
use crate::content;
use crate::dispatch::{Step, Worker};
use crate::http::Response;
use crate::io::executor::take_along;
use crate::io::{Io, Turn};
use crate::planted::panic_here;
use crate::router::{RouteId, Router};
use crate::task::Task;

/// What all workers of a server share and never change.
pub struct Setup {
    /// Which handler is which.
    pub router: Arc<Router>,
    /// `module` and attribute of the App whose hooks run in each interpreter; None for a manifest.
    pub app: Option<(String, String)>,
    /// `sys.path` and `sys.argv` of the main interpreter.
    pub sys_path: Vec<String>,
    /// See `sys_path`.
    pub argv: Vec<String>,
    /// Serve what does not resolve with its 5xx instead of failing the start.
    pub lazy: bool,
    /// Import at once what says `lazy import` (PEP 810, CPython 3.15): whether it loads is what a check is asked.
    pub eager_imports: bool,
    /// Put message and traceback into 5xx answers.
    pub debug: bool,
    /// The budget of routes that set none.
    pub handler_timeout: Duration,
    /// Begins every request id.
    pub request_id_prefix: String,
    /// The memory that contents take.
    pub memory: Arc<Account>,
    /// The cores to pin workers to, in turn; empty pins none.
    pub cores: Vec<usize>,
}

/// What a worker tells the one who started it.
pub enum Started {
    /// It takes tasks from now on.
    Ready,
    /// These routes have no handler; the worker ends.
    Unresolved(Vec<(RouteId, Unresolved)>),
    /// No interpreter, or a start-up hook raised; the worker ends.
    Failed(String),
}

/// How a worker's thread ended.
#[derive(Debug)]
pub enum Ended {
    /// The interpreter is gone.
    Clean,
    /// The interpreter is left as it is: the process must not be finalized.
    InterpreterLeft(StillInUse),
    /// Nothing was left to end: the interpreter was never made.
    NeverBegan,
}

impl Setup {
    /// The time that a route's handler may run.
    pub fn budget(&self, route: RouteId) -> Duration {
        self.router.route(route).timeout_ms.map_or(self.handler_timeout, Duration::from_millis)
    }

    fn pin(&self, index: usize) {
        if self.cores.is_empty() {
            return;
        }
        let core = self.cores[index % self.cores.len()];
        if let Err(error) = affinity::set_thread_affinity([core]) {
            tracing::warn!(worker = index, core, %error, "the worker could not be pinned to its core");
        }
    }
}

/// The body of a worker thread. Call it on a new thread that has never run Python.
pub fn run(
    setup: &Setup,
    index: usize,
    mut queue: Worker<Task>,
    watch: &Watch,
    io: &Io,
    tell: impl FnOnce(Started),
) -> Ended {
    setup.pin(index);
    // SAFETY: main is initialized and prepared, and outlives the workers (`workers::start` is called from it and its stop
    // joins them); this thread is new.
    let mut interpreter = match unsafe { Interpreter::create() } {
        Ok(interpreter) => interpreter,
        Err(error) => {
            tell(Started::Failed(error.to_string()));
            return Ended::NeverBegan;
        }
    };
    watch.open(interpreter.address());
    // SAFETY: both are borrowed for longer than this function runs, and it is dropped when that ends.
    let _on_stage = unsafe { OnStage::enter(index, watch, setup) };
    interpreter.run(|gil| {
        match Serving::start(gil, setup, index) {
            Ok(mut serving) => {
                watch.serve();
                tell(Started::Ready);
                gil.detached_lending(&mut serving, |lent| {
                    io.serve(&mut queue, &mut |queue| lent.attached(|serving| serving.turn(queue, watch, io)));
                });
                watch.ends("its shutdown hooks");
                serving.shut_down();
            }
            Err(outcome) => tell(outcome),
        }
        watch.ends("threads that are no daemons");
        ending::join_threads(gil);
        watch.ends("its exit functions");
        ending::run_exit_functions(gil);
        gil.detached(|| watch.close());
    });
    match interpreter.end() {
        Ok(()) => Ended::Clean,
        Err(in_use) => Ended::InterpreterLeft(in_use),
    }
}

/// Resolves every route of the table in this interpreter and gives those that have no handler (`polygil check`).
pub fn resolve_all<'i>(gil: Gil<'i>, setup: &Setup) -> PyResult<'i, Vec<(RouteId, Result<Handler<'i>, Unresolved>)>> {
    bootstrap(gil, setup)?;
    let ids = (0..setup.router.routes().len()).map(|index| RouteId(index as u32));
    ids.map(|id| Ok((id, resolve(gil, setup, id)?))).collect()
}

fn bootstrap<'i>(gil: Gil<'i>, setup: &Setup) -> PyResult<'i, ()> {
    let list = |items: &[String]| -> PyResult<'i, Object<'i>> {
        gil.tuple(items.iter().map(|item| gil.str(item)).collect::<PyResult<Vec<_>>>()?)
    };
    // The interpreter's own sys.path may lack the directory that polygil itself was found in.
    let sys = gil.import(c"sys")?;
    sys.attr(c"path")?.call_method(c"extend", &[&list(&setup.sys_path)?])?;
    let worker = gil.import(c"polygil._worker")?;
    // What Python calls this thread, in its logging too.
    let name = gil.str(std::thread::current().name().unwrap_or("polygil"))?;
    let current_frames = current_frames_function(gil)?.unwrap_or_else(|| gil.none());
    worker.call_method(c"bootstrap", &[&list(&setup.sys_path)?, &list(&setup.argv)?, &name, &current_frames])?;
    if setup.eager_imports {
        worker.call_method(c"import_eagerly", &[])?;
    }
    Ok(())
}

fn resolve<'i>(gil: Gil<'i>, setup: &Setup, id: RouteId) -> PyResult<'i, Result<Handler<'i>, Unresolved>> {
    Handler::resolve(gil, setup.router.route(id), setup.router.parameter_names(id), setup.app.as_ref())
}

/// A route's handler in this interpreter.
enum Slot<'i> {
    /// A lazy start: looked up by the first request.
    NotYet,
    Found(Handler<'i>),
    Missing(Unresolved),
}

impl<'i> Slot<'i> {
    fn handler(&mut self, gil: Gil<'i>, setup: &Setup, id: RouteId) -> Result<&Handler<'i>, Unanswered<'i>> {
        if let Slot::NotYet = self {
            *self = match resolve(gil, setup, id) {
                Ok(Ok(handler)) => Slot::Found(handler),
                Ok(Err(unresolved)) => Slot::Missing(unresolved),
                // HandlerTimeout in a slow import, say: the next request tries again.
                Err(raised) => return Err(Unanswered::Call(CallError::Raised(raised))),
            };
        }
        match self {
            Slot::Found(handler) => Ok(handler),
            Slot::Missing(Unresolved { failure, message, traceback, .. }) => {
                Err(Unanswered::Missing(*failure, message.clone(), traceback.clone()))
            }
            Slot::NotYet => unreachable!("a slot was filled above or the function has returned"),
        }
    }
}

/// A worker that is up.
pub(super) struct Serving<'i, 's> {
    pub(super) gil: Gil<'i>,
    pub(super) setup: &'s Setup,
    pub(super) index: usize,
    handlers: Vec<Slot<'i>>,
    caller: Caller<'i>,
    pub(super) converter: Converter<'i>,
    pub(super) http_exception: Object<'i>,
    pub(super) handler_timeout: Object<'i>,
    /// `polygil._traceback.describe`.
    pub(super) describe: Object<'i>,
    worker_module: Object<'i>,
    collector: Collector<'i>,
    /// Gives a request copies of what the context of the imports and hooks holds and a request could change; None where that is
    /// nothing, as it is mostly.
    renew_context: Option<Object<'i>>,
}

impl<'i, 's> Serving<'i, 's> {
    fn start(gil: Gil<'i>, setup: &'s Setup, index: usize) -> Result<Self, Started> {
        let failed =
            |raised: Raised<'i>| Started::Failed(format!("worker {index} did not start: {}", raised.summary()));
        let mut handlers = Vec::new();
        if setup.lazy {
            bootstrap(gil, setup).map_err(failed)?;
            handlers.extend(setup.router.routes().iter().map(|_| Slot::NotYet));
        } else {
            let mut missing = Vec::new();
            for (id, outcome) in resolve_all(gil, setup).map_err(failed)? {
                match outcome {
                    Ok(handler) => handlers.push(Slot::Found(handler)),
                    Err(unresolved) => missing.push((id, unresolved)),
                }
            }
            if !missing.is_empty() {
                return Err(Started::Unresolved(missing));
            }
        }
        let mut serving = Self::look_up(gil, setup, index, handlers).map_err(failed)?;
        serving.start_up().map_err(Started::Failed)?;
        let renew = serving.worker_module.call_method(c"renew_context", &[]).map_err(failed)?;
        serving.renew_context = (!renew.is_none()).then_some(renew);
        serving.worker_module.call_method(c"after_import", &[]).map_err(failed)?;
        Ok(serving)
    }

    fn look_up(gil: Gil<'i>, setup: &'s Setup, index: usize, handlers: Vec<Slot<'i>>) -> PyResult<'i, Self> {
        let polygil = gil.import(c"polygil")?;
        Ok(Self {
            gil,
            setup,
            index,
            handlers,
            caller: Caller::new(gil, &setup.request_id_prefix)?,
            converter: Converter::new(gil, setup.memory.bytes_max())?,
            http_exception: polygil.attr(c"HTTPException")?,
            handler_timeout: polygil.attr(c"HandlerTimeout")?,
            describe: gil.import(c"polygil._traceback")?.attr(c"describe")?,
            worker_module: gil.import(c"polygil._worker")?,
            collector: Collector::new(gil)?,
            renew_context: None,
        })
    }

    /// The app's on_startup hooks; a report when one raised.
    fn start_up(&mut self) -> Result<(), String> {
        self.hooks(c"startup")
    }

    /// The app's on_shutdown hooks, whatever they raise is logged.
    fn shut_down(&mut self) {
        if let Err(report) = self.hooks(c"shutdown") {
            tracing::error!(worker = self.index, "{report}");
        }
    }

    fn hooks(&self, which: &std::ffi::CStr) -> Result<(), String> {
        let Some((module, attribute)) = &self.setup.app else { return Ok(()) };
        let run = || -> PyResult<'i, Option<String>> {
            let (module, attribute) = (self.gil.str(module)?, self.gil.str(attribute)?);
            let report = self.worker_module.call_method(which, &[&module, &attribute])?;
            if !report.truth() {
                return Ok(None);
            }
            Ok(Some(self.worker_module.call_method(c"report_text", &[&report])?.display()))
        };
        match run() {
            Ok(None) => Ok(()),
            Ok(Some(report)) => Err(report),
            Err(raised) => Err(raised.summary()),
        }
    }

    /// Runs what there is to run.
    fn turn(&mut self, queue: &mut Worker<Task>, watch: &Watch, io: &Io) -> Turn {
        let mut turn = Turn::Idle;
        loop {
            match queue.step() {
                Step::Run(task) if !task.reply.start() => queue.expired(),
                Step::Run(task) => {
                    turn = Turn::Ran;
                    panic_here("worker");
                    io.begin(task.route, queue);
                    if !self.answer(task, watch, io, queue) {
                        return Turn::Over;
                    }
                    if self.collector.is_due_after_task() && !self.collect(watch) {
                        return Turn::Over;
                    }
                }
                Step::Park if self.collector.is_due_when_idle() => {
                    if !self.collect(watch) {
                        return Turn::Over;
                    }
                }
                Step::Park => return turn,
                Step::Exit => return Turn::Over,
            }
        }
    }

    /// Collects garbage. False when this worker has been given up meanwhile.
    fn collect(&mut self, watch: &Watch) -> bool {
        let collected = self
            .watched(None, self.setup.handler_timeout, watch, Outcome::Nothing, |serving| serving.collector.collect());
        match collected {
            None => false,
            Some(((), late)) => {
                if let Some(stack) = late {
                    tracing::error!(
                        worker = self.index,
                        "finalizers of collected objects ran for longer than a handler may, and were interrupted\n{stack}"
                    );
                }
                true
            }
        }
    }

    /// Runs one task in a context of its own and answers it. False when this worker has been given up meanwhile.
    fn answer(&mut self, task: Task, watch: &Watch, io: &Io, queue: &Worker<Task>) -> bool {
        match self.gil.in_own_context(|| self.answer_in_context(task, watch, io, queue)) {
            Ok(goes_on) => goes_on,
            // Out of memory: the task is dropped, and its caller sees that in the reply.
            Err(raised) => {
                tracing::error!(worker = self.index, "no context for a request: {}", raised.summary());
                true
            }
        }
    }

    fn answer_in_context(&mut self, mut task: Task, watch: &Watch, io: &Io, queue: &Worker<Task>) -> bool {
        if let Some(renew) = &self.renew_context {
            // All that it can raise is MemoryError; then the request has the context that the last one left.
            drop(renew.call(&[]));
        }
        let started = Instant::now();
        let spare = std::mem::replace(&mut task.spare, Response::empty());
        let to = Outcome::Answer(task.reply.clone());
        let watched = if self.setup.memory.is_full() {
            // It filled while the task waited: what cannot be answered is not begun.
            Some((Made::NoRoom, None))
        } else {
            self.watched_task(&task, watch, to, |serving| serving.made(&task, spare, watch))
        };
        let Some((made, late)) = watched else { return false };
        let response = match (made, late) {
            (Made::Whole(response), None) => Some(response),
            (Made::NoRoom, None) => None,
            (Made::Streamed(head, first, pieces), None) => {
                // It is going to wait for its client.
                io.took(task.route, Duration::MAX);
                io.give_back(queue);
                return self.stream(&task, watch, head, first, pieces);
            }
            (Made::Failed(report), late) => Some(self.server_error(&task, &report.or_late(late))),
            (Made::Whole(_) | Made::NoRoom, Some(stack)) => Some(self.server_error(&task, &Report::late(stack))),
            (Made::Streamed(_, _, pieces), Some(stack)) => {
                let to = Outcome::Answer(task.reply.clone());
                if !self.close(&task, watch, to, pieces) {
                    return false;
                }
                Some(self.server_error(&task, &Report::late(stack)))
            }
        };
        io.took(task.route, started.elapsed());
        // The caller may have left, or its patience ended: then nobody wants the response.
        let (_, connection) = take_along(|| task.finish_within(response, &self.setup.memory));
        if let Some(connection) = connection {
            // Sockets are none of Python's business: what other threads of the interpreter have to do is not to wait for them.
            self.gil.detached(|| connection.run());
        }
        true
    }

    /// Runs what a task makes Python do within the task's budget.
    fn watched_task<R>(
        &mut self,
        task: &Task,
        watch: &Watch,
        outcome: Outcome,
        run: impl FnOnce(&mut Self) -> R,
    ) -> Option<(R, Option<String>)> {
        self.watched(Some((task.route, task.id)), self.setup.budget(task.route), watch, outcome, run)
    }

    /// Runs the program's code within a budget. None when this worker has been given up meanwhile; beside the result, where the
    /// interrupt found it, if it was over its budget.
    ///
    /// What `run` gives holds no Python object whose end could run code: that belongs inside. [`Pieces`] are the exception, and
    /// their end has a bracket of its own.
    fn watched<R>(
        &mut self,
        task: Option<(RouteId, u64)>,
        budget: Duration,
        watch: &Watch,
        outcome: Outcome,
        run: impl FnOnce(&mut Self) -> R,
    ) -> Option<(R, Option<String>)> {
        watch.begin(task, budget, outcome);
        let result = run(self);
        match watch.finish() {
            Finished::InTime => Some((result, None)),
            Finished::Interrupted(address, stack) => {
                address.set_async_exception(self.gil, None);
                Some((result, Some(stack)))
            }
            Finished::Abandoned => None,
        }
    }

    /// What comes of a task: an answer, or a report of why there is none.
    fn made(&mut self, task: &Task, spare: Response, watch: &Watch) -> Made<'i> {
        match self.outcome(task, spare) {
            Ok(made) => made,
            Err(unanswered) => match self.failure(unanswered, watch) {
                Ok(Some(response)) => Made::Whole(response),
                Ok(None) => Made::NoRoom,
                Err(report) => Made::Failed(report),
            },
        }
    }

    /// Calls the handler, and makes what it returns a response in the memory of `spare`.
    fn outcome(&mut self, task: &Task, spare: Response) -> Result<Made<'i>, Unanswered<'i>> {
        let handler = self.handlers[task.route.0 as usize].handler(self.gil, self.setup, task.route)?;
        let value = handler.call(&self.caller, task).map_err(Unanswered::Call)?;
        let (mut head, pieces) = match self.converter.response(&value, spare).map_err(unanswered)? {
            Converted::Whole(response) => return Ok(Made::Whole(response)),
            Converted::Streamed(head, pieces) => (head, pieces),
        };
        // What goes wrong before the first piece can still be answered as if there were no pieces.
        match pieces.next().map_err(broken)? {
            None => Ok(Made::Whole(head)),
            Some(first) => {
                type_by_first_piece(&mut head, first.is_text);
                Ok(Made::Streamed(head, first.bytes, pieces))
            }
        }
    }

    /// Answers with a content that is made meanwhile; the budget is for each piece anew. False when this worker has been given up.
    fn stream(&mut self, task: &Task, watch: &Watch, head: Response, first: Vec<u8>, pieces: Pieces<'i>) -> bool {
        let (content, reader) = content::channel(&self.setup.memory);
        let mut wanted = task.reply.stream(head, reader);
        let mut piece = first;
        let mut pieces = Some(pieces);
        loop {
            // Other threads of the interpreter go on while the client is waited for.
            wanted = wanted && self.gil.detached(|| content.send(piece));
            let to = Outcome::Content(content.clone());
            if !wanted {
                return pieces.is_none_or(|pieces| self.close(task, watch, to, pieces));
            }
            let next = self.watched_task(task, watch, to, |serving| {
                let next = pieces.as_ref().map_or(Ok(None), Pieces::next);
                if !matches!(next, Ok(Some(_))) {
                    pieces = None;
                }
                next.map_err(|why| serving.report(broken(why), watch))
            });
            match next {
                None => return false,
                Some((Ok(Some(next)), None)) => piece = next.bytes,
                Some((Ok(None), None)) => {
                    self.gil.detached(|| content.end());
                    return true;
                }
                Some((Err(report), late)) => {
                    self.log_broken(task, &report.or_late(late));
                    content.break_off();
                    return true;
                }
                Some((Ok(_), Some(stack))) => {
                    self.log_broken(task, &Report::late(stack));
                    content.break_off();
                    return pieces.is_none_or(|pieces| self.close(task, watch, Outcome::Nothing, pieces));
                }
            }
        }
    }

    /// Nobody wants the rest of a content. False when this worker has been given up meanwhile.
    fn close(&mut self, task: &Task, watch: &Watch, to: Outcome, pieces: Pieces<'i>) -> bool {
        let closed = self.watched_task(task, watch, to, |serving| {
            pieces.close().map_err(|raised| serving.report(Unanswered::Call(CallError::Raised(raised)), watch))
        });
        match closed {
            None => return false,
            Some((Ok(()), None)) => {}
            Some((Err(report), late)) => self.log_broken(task, &report.or_late(late)),
            Some((Ok(()), Some(stack))) => self.log_broken(task, &Report::late(stack)),
        }
        true
    }
}

/// What a handler made.
enum Made<'i> {
    Whole(Response),
    /// The head of an answer, the first piece of its content, and where the others come from.
    Streamed(Response, Vec<u8>, Pieces<'i>),
    /// No answer: what to say instead.
    Failed(Report),
    /// An answer that is larger than all contents may be.
    NoRoom,
}
