//! One worker thread: its interpreter, its handlers, its loop.
//!
//! The thread makes an interpreter, resolves every handler in it, runs the app's start-up hooks, says that it is ready, and then
//! takes tasks from the pool until the pool closes or another worker gets its lane. It holds its GIL while it has tasks and
//! lets go of it while it waits for one, so that threads which handlers started can run.
//!
//! Every task is answered here exactly once, or its reply is dropped, which the connection sees as `worker_lost`. Nothing in
//! here knows of sockets; nothing outside sees a Python object.
//!
//! The garbage collector is kept off the request's path: what was imported is frozen, the automatic threshold is set out of
//! reach of ordinary requests (`polygil._worker.after_import`), and [`Collector`] collects between tasks: when the worker is
//! about to wait, or when enough has piled up that waiting for a pause would cost memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::convert::{Converted, Converter, Refused, type_by_first_piece};
use super::crash::OnStage;
use super::ffi::{Gil, Object, PyResult, Raised};
use super::handler::{CallError, Caller, Handler, Unresolved};
use super::interpreter::{Interpreter, StillInUse};
use super::stream::{Broken, Pieces};
use super::supervisor::{Finished, Outcome, Watch};
use crate::account::Account;
use crate::content::{self, ContentSender};
use crate::dispatch::{Step, Worker};
use crate::error::Failure;
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
    /// These routes have no handler; the worker has ended.
    Unresolved(Vec<(RouteId, Unresolved)>),
    /// No interpreter, or a start-up hook raised; the worker has ended.
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
                serving.shut_down();
            }
            Err(outcome) => tell(outcome),
        }
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
    worker.call_method(c"bootstrap", &[&list(&setup.sys_path)?, &list(&setup.argv)?])?;
    if setup.eager_imports {
        worker.call_method(c"import_eagerly", &[])?;
    }
    Ok(())
}

fn resolve<'i>(gil: Gil<'i>, setup: &Setup, id: RouteId) -> PyResult<'i, Result<Handler<'i>, Unresolved>> {
    Handler::resolve(gil, setup.router.route(id), setup.router.parameter_names(id))
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
struct Serving<'i, 's> {
    gil: Gil<'i>,
    setup: &'s Setup,
    index: usize,
    handlers: Vec<Slot<'i>>,
    caller: Caller<'i>,
    converter: Converter<'i>,
    http_exception: Object<'i>,
    handler_timeout: Object<'i>,
    worker_module: Object<'i>,
    collector: Collector<'i>,
}

/// A task that ended without a response of the handler's making.
enum Unanswered<'i> {
    Missing(Failure, String, String),
    Call(CallError<'i>),
    Unserializable(String),
    /// Its answer is larger than all contents may be.
    NoRoom,
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
            worker_module: gil.import(c"polygil._worker")?,
            collector: Collector::new(gil)?,
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
                    self.collector.after_task();
                }
                Step::Park if self.collector.is_due_when_idle() => self.collector.collect(),
                Step::Park => return turn,
                Step::Exit => return Turn::Over,
            }
        }
    }

    /// Runs one task and answers it. False when this worker has been given up meanwhile.
    fn answer(&mut self, mut task: Task, watch: &Watch, io: &Io, queue: &Worker<Task>) -> bool {
        let started = Instant::now();
        let spare = std::mem::replace(&mut task.spare, Response::empty());
        let to = Outcome::Answer(task.reply.clone());
        let outcome = if self.setup.memory.is_full() {
            // It filled while the task waited: what cannot be answered is not begun.
            Some(Err(Unanswered::NoRoom))
        } else {
            self.watched(&task, watch, to, |serving| serving.outcome(&task, spare))
        };
        let response = match outcome {
            None => return false,
            Some(Ok(Made::Whole(response))) => Some(response),
            Some(Err(Unanswered::NoRoom)) => None,
            Some(Ok(Made::Streamed(head, first, pieces))) => {
                // It is going to wait for its client.
                io.took(task.route, Duration::MAX);
                io.give_back(queue);
                return self.stream(&task, watch, head, first, pieces);
            }
            Some(Err(unanswered)) => Some(self.failure(&task, unanswered)),
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

    /// Runs the handler's code within its budget. None when this worker has been given up meanwhile.
    fn watched<R>(
        &mut self,
        task: &Task,
        watch: &Watch,
        outcome: Outcome,
        run: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        watch.begin(task.route, task.id, self.setup.budget(task.route), outcome);
        let result = run(self);
        match watch.finish() {
            Finished::InTime => {}
            Finished::Interrupted(address) => address.set_async_exception(self.gil, None),
            Finished::Abandoned => return None,
        }
        Some(result)
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
        loop {
            // Other threads of the interpreter go on while the client is waited for.
            wanted = wanted && self.gil.detached(|| content.send(piece));
            if !wanted {
                return self.close(task, watch, &content, pieces);
            }
            match self.watched(task, watch, Outcome::Content(content.clone()), |_| pieces.next()) {
                None => return false,
                Some(Ok(Some(next))) => piece = next.bytes,
                Some(Ok(None)) => {
                    self.gil.detached(|| content.end());
                    return true;
                }
                Some(Err(why)) => {
                    self.log_broken(task, why);
                    content.break_off();
                    return true;
                }
            }
        }
    }

    /// Nobody wants the rest of a content.
    fn close(&mut self, task: &Task, watch: &Watch, content: &ContentSender, pieces: Pieces<'i>) -> bool {
        let closed = self.watched(task, watch, Outcome::Content(content.clone()), |_| pieces.close());
        match closed {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(raised)) => self.log_broken(task, Broken::Raised(raised)),
        }
        true
    }

    fn log_broken(&self, task: &Task, why: Broken<'i>) {
        let (message, traceback) = match why {
            Broken::NotAPiece(message) => (message, String::new()),
            Broken::Raised(raised) => (raised.summary(), self.traceback(&raised)),
        };
        let route = self.setup.router.route(task.route);
        tracing::error!(
            request_id = format!("{}-{}", self.setup.request_id_prefix, task.id),
            worker = self.index,
            route = format!("{} {}", route.method, route.pattern),
            handler = format!("{}:{}", route.module, route.qualname),
            "the content broke off after its answer had begun: {message}{}{traceback}",
            if traceback.is_empty() { "" } else { "\n" },
        );
    }

    fn traceback(&self, raised: &Raised<'i>) -> String {
        let traceback = self.worker_module.call_method(c"format_exception", &[&raised.0]);
        traceback.map(|text| text.display()).unwrap_or_default()
    }

    /// The answer for a task without a value, logged where it is the server's side that failed.
    fn failure(&self, task: &Task, unanswered: Unanswered<'i>) -> Response {
        match unanswered {
            Unanswered::Missing(failure, message, traceback) => self.server_error(task, failure, &message, &traceback),
            Unanswered::Unserializable(message) => {
                self.server_error(task, Failure::ResponseNotSerializable, &message, "")
            }
            Unanswered::NoRoom => Failure::QueueFull.response(Failure::QueueFull.default_detail()),
            Unanswered::Call(CallError::Invalid(detail)) => self.invalid(task, &detail),
            Unanswered::Call(CallError::Raised(raised)) => self.raised(task, raised),
        }
    }

    fn invalid(&self, task: &Task, detail: &Object<'i>) -> Response {
        let mut json = Vec::new();
        match self.converter.json(detail, &mut json) {
            Ok(()) => Failure::ValidationError.response_raw_detail(&json),
            Err(_) => self.server_error(task, Failure::ResponseNotSerializable, "a 422's detail is not JSON", ""),
        }
    }

    fn raised(&self, task: &Task, raised: Raised<'i>) -> Response {
        if raised.is(&self.http_exception) {
            return match self.converter.http_exception(&raised.0) {
                Ok(response) => response,
                Err(Refused::Unserializable(message)) => {
                    self.server_error(task, Failure::ResponseNotSerializable, &message, "")
                }
                Err(Refused::NoRoom) => self.failure(task, Unanswered::NoRoom),
                Err(Refused::Interrupted(raised)) => self.handler_raised(task, Failure::HandlerRaised, &raised),
            };
        }
        let failure = if raised.is(&self.handler_timeout) { Failure::HandlerTimeout } else { Failure::HandlerRaised };
        self.handler_raised(task, failure, &raised)
    }

    fn handler_raised(&self, task: &Task, failure: Failure, raised: &Raised<'i>) -> Response {
        self.server_error(task, failure, &raised.summary(), &self.traceback(raised))
    }

    fn server_error(&self, task: &Task, failure: Failure, message: &str, traceback: &str) -> Response {
        let route = self.setup.router.route(task.route);
        let request_id = format!("{}-{}", self.setup.request_id_prefix, task.id);
        tracing::error!(
            request_id,
            worker = self.index,
            route = format!("{} {}", route.method, route.pattern),
            handler = format!("{}:{}", route.module, route.qualname),
            error = failure.code(),
            "{message}{}{traceback}",
            if traceback.is_empty() { "" } else { "\n" },
        );
        let mut response = if self.setup.debug {
            failure.debug_response(message, traceback)
        } else {
            failure.response(failure.default_detail())
        };
        response.headers.push(("x-request-id".into(), request_id.into_bytes().into()));
        response
    }
}

/// What a handler made.
enum Made<'i> {
    Whole(Response),
    /// The head, the first piece, and where the others come from.
    Streamed(Response, Vec<u8>, Pieces<'i>),
}

fn broken(why: Broken<'_>) -> Unanswered<'_> {
    match why {
        Broken::Raised(raised) => Unanswered::Call(CallError::Raised(raised)),
        Broken::NotAPiece(message) => Unanswered::Unserializable(message),
    }
}

fn unanswered(refused: Refused<'_>) -> Unanswered<'_> {
    match refused {
        Refused::Unserializable(message) => Unanswered::Unserializable(message),
        Refused::NoRoom => Unanswered::NoRoom,
        Refused::Interrupted(raised) => Unanswered::Call(CallError::Raised(raised)),
    }
}

/// Decides when garbage is collected; never during a task.
struct Collector<'i> {
    get_count: Object<'i>,
    collect: Object<'i>,
    tasks: u32,
}

impl<'i> Collector<'i> {
    /// Asking for the count costs about as much as a small handler: every so many tasks is enough.
    const TASKS_BETWEEN_LOOKS: u32 = 64;
    /// Tracked objects made since the last collection, less those freed: about 1 MiB of small containers. Beyond it a
    /// collection no longer waits for a pause.
    const OBJECTS_MAX: i64 = 10_000;
    /// Below this many tasks since the last one, a pause is not worth a collection.
    const TASKS_BEFORE_IDLE: u32 = 256;

    fn new(gil: Gil<'i>) -> PyResult<'i, Self> {
        let gc = gil.import(c"gc")?;
        Ok(Self { get_count: gc.attr(c"get_count")?, collect: gc.attr(c"collect")?, tasks: 0 })
    }

    fn after_task(&mut self) {
        self.tasks += 1;
        if !self.tasks.is_multiple_of(Self::TASKS_BETWEEN_LOOKS) {
            return;
        }
        let young = self.get_count.call(&[]).ok().and_then(|counts| counts.tuple_items().first()?.to_i64().ok());
        if young.is_some_and(|young| young > Self::OBJECTS_MAX) {
            self.collect();
        }
    }

    fn is_due_when_idle(&self) -> bool {
        self.tasks >= Self::TASKS_BEFORE_IDLE
    }

    fn collect(&mut self) {
        self.tasks = 0;
        // A finalizer that raises is reported by CPython itself; there is nothing more to say here.
        drop(self.collect.call(&[]));
    }
}
