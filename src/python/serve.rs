//! Puts a server together and takes it apart: workers, listeners, signals, and the exit code.
//!
//! Order matters on both ways. Up: bind (an address in use is known at once), workers (a missing handler fails the start),
//! then accept, then say ready. Down: the server drains, the pool closes, workers end their interpreters on their own
//! threads, and only then does main go on. Where something does not end, or is left for a daemon thread, the process must not finalize Python ([`super::ending`]).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::command::{self, FAILED, Loaded, OK, Stop};
use super::ending;
use super::inherited;
use super::leave::{self, CrashReports, Early};
use super::workers::{self, Report, StartError, Workers};
use crate::config::Config;
use crate::dispatch::{Pool, PoolOptions};
use crate::http;
use crate::logging;
use crate::router::RouteId;
use crate::server::{self, DrainEnd, NamedFile, ServerOptions};
use crate::streams;
use crate::task::{Task, answer_slot};

/// How long hooks, threads and exit functions may take at least, where the drain has used up its time or was cut short.
const END_PATIENCE_MIN: Duration = Duration::from_millis(500);

/// What the end of the process has at least, when the drain took all of its time.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of a server waits for the log's last lines.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// The servers of this process, for `stats`.
static SERVERS: Mutex<Vec<Weak<server::App>>> = Mutex::new(Vec::new());

/// How a server is started, beside its options.
pub struct Start<'a> {
    /// `module:app`, the path of a manifest, or a table as JSON.
    pub target: &'a str,
    /// From [`ReadyFd::take`].
    pub ready_fd: Option<ReadyFd>,
    /// Whose `on_ready(url, stop)` is called once connections are accepted; None prints the ready line.
    pub control: Option<Py<PyAny>>,
    /// The process is there for this server and ends with it: `polygil serve`.
    pub is_process: bool,
}

/// Serves what `load` gives until a signal (or `control`'s stop) ends it; gives the exit code.
pub fn serve(
    py: Python<'_>,
    config: &Config,
    start: Start<'_>,
    load: impl FnOnce() -> Result<Loaded, Stop>,
) -> Result<i32, Stop> {
    let Start { target, ready_fd, control, is_process } = start;
    logging::start(config).map_err(|error| Stop::could_not_run(format!("the log cannot be written: {error}")))?;
    let signals = py.import("polygil._signals")?.call_method0("Signals")?;
    signals.call_method0("__enter__")?;
    let none = py.None();
    let outcome = Early::watch(&signals, control.is_none()).and_then(|early| {
        let loaded = load()?;
        drop(early);
        signals.call_method0("again")?;
        let reports = if control.is_none() { CrashReports::begin(py)? } else { None };
        let outcome = open_and_run(py, target, loaded, config, ready_fd, control, &signals, is_process);
        match reports {
            // Python is still to be finalized.
            Some(reports) if !is_process => reports.end(py)?,
            _ => {}
        }
        outcome
    });
    if is_process {
        if let Ok(Ended { code, deadline }) = &outcome {
            let fds: (RawFd, RawFd) = signals.getattr("fds")?.extract()?;
            let further = duplicate(fds.0)?;
            leave::main_ends(py, *code, FAILED, *deadline, move || stop_was_asked(&further));
        }
    } else {
        if ending::is_any_left() {
            py.import("polygil._leave")?.call_method0("leave_at_exit")?;
        }
        signals.call_method1("__exit__", (&none, &none, &none))?;
    }
    py.detach(|| logging::flush(LOG_PATIENCE));
    outcome.map(|ended| ended.code)
}

/// A server that has stopped.
struct Ended {
    code: i32,
    /// When what the main program has begun must be over too.
    deadline: Instant,
}

#[expect(clippy::too_many_arguments, reason = "what `serve` takes, taken apart")]
fn open_and_run(
    py: Python<'_>,
    target: &str,
    loaded: Loaded,
    config: &Config,
    ready_fd: Option<ReadyFd>,
    control: Option<Py<PyAny>>,
    signals: &Bound<'_, PyAny>,
    is_process: bool,
) -> Result<Ended, Stop> {
    if loaded.router.routes().is_empty() {
        tracing::warn!("{}", crate::report::no_routes(shown(target)).trim_end());
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let listeners = listeners(config, control.is_some())?;
    let admin = server::bind_admin(config).map_err(|error| Stop::could_not_run(error.to_string()))?;
    let url = listeners[0].url();
    let fds: (RawFd, RawFd) = signals.getattr("fds")?.extract()?;
    let (signal_fd, stop_fd) = (duplicate(fds.0)?, File::from(duplicate(fds.1)?));
    let stop_asked = duplicate(fds.0)?;
    let doors = Doors { listeners, admin, signal_fd, stop_fd, is_process };
    let mut port_file = None;
    let outcome = run(py, target, loaded, config, doors, |py, port| {
        port_file = announce(py, config, ready_fd, port, &stop_asked)?;
        match &control {
            // The program that started it has its own way to tell its user.
            Some(control) => drop(control.call_method1(py, "on_ready", (&url, signals.getattr("stop")?))?),
            // Who closed standard output wants no ready line; whose reader or disk fails does.
            None if streams::has_stdout() && py.detach(|| takes_a_line(rustix::stdio::stdout(), &stop_asked)) => {
                let workers = counted(config.workers, "worker");
                command::say(py, &format!("polygil: serving {} on {url} with {workers}\n", shown(target)))?;
            }
            None => {}
        }
        Ok(())
    });
    drop(port_file);
    outcome
}

/// Waits until `out`, which may be a full pipe, takes a line. False when a signal came first, from somebody who waits for this server to
/// end.
fn takes_a_line(out: BorrowedFd<'_>, signals: &OwnedFd) -> bool {
    let mut asked =
        [PollFd::from_borrowed_fd(out, PollFlags::OUT), PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    while poll(&mut asked, None) == Err(Errno::INTR) {}
    // Whatever else is said of it, the write will tell.
    !asked[0].revents().is_empty() || asked[1].revents().is_empty()
}

/// What systemd handed over, or else what the options say. A server beside a program is not the one that systemd means.
fn listeners(config: &Config, is_beside: bool) -> Result<Vec<server::SmolListener>, Stop> {
    let inherited = if is_beside { Vec::new() } else { inherited::sockets().map_err(Stop::could_not_run)? };
    if inherited.is_empty() {
        return server::bind(config).map_err(|error| Stop::could_not_run(error.to_string()));
    }
    let listeners = server::adopt(inherited).map_err(|error| Stop::could_not_run(error.to_string()))?;
    let urls: Vec<String> = listeners.iter().map(server::SmolListener::url).collect();
    tracing::info!("listening on what systemd handed over, not on --host, --port or --uds: {}", urls.join(", "));
    Ok(listeners)
}

/// What connects a server to the world.
struct Doors {
    listeners: Vec<server::SmolListener>,
    admin: Vec<server::SmolListener>,
    signal_fd: OwnedFd,
    stop_fd: File,
    is_process: bool,
}

fn run(
    py: Python<'_>,
    target: &str,
    loaded: Loaded,
    config: &Config,
    doors: Doors,
    ready: impl FnOnce(Python<'_>, Option<u16>) -> Result<(), Stop>,
) -> Result<Ended, Stop> {
    let router = Arc::new(loaded.router);
    let prefix = request_id_prefix();
    let mut setup = command::setup(py, Arc::clone(&router), loaded.app)?;
    setup.lazy = config.lazy;
    setup.debug = config.debug;
    setup.handler_timeout = config.handler_timeout;
    setup.request_id_prefix.clone_from(&prefix);
    if config.pin {
        setup.cores = affinity::get_thread_affinity().unwrap_or_default();
    }
    let options = PoolOptions {
        workers: config.workers,
        lane_depth: config.queue_depth,
        overflow_depth: config.overflow_depth,
        placement: config.placement,
    };
    // A client that left while its task waited frees the task's place.
    let pool = Pool::with_stale(options, |task: &Task| task.reply.is_caller_gone());
    let Doors { listeners, admin, signal_fd, stop_fd, is_process } = doors;
    let mut options = ServerOptions::new(config, prefix);
    options.max_connections = server::descriptors_for(config.max_connections);
    let app = Arc::new(server::App::new(Arc::clone(&router), Arc::clone(&pool), options));
    setup.memory = Arc::clone(&app.memory);
    let admin = start_admin(&app, admin)?;
    let health = Arc::clone(&app.health);
    let last_resort = config.drain_timeout + LEAVE_PATIENCE;
    let stop = Arc::new(move || {
        // The server reads this as SIGTERM. A full pipe holds a signal already.
        drop((&stop_fd).write(&[server::Signal::TERMINATE.0]));
        if is_process {
            leave::by(last_resort);
        }
    });
    let told = Arc::clone(&stop);
    app.on_loss(move || told());
    let served = Arc::downgrade(&app);
    logging::on_loss(move || {
        if let Some(app) = served.upgrade() {
            app.lost("the thread of the log");
        }
    });
    let options = workers::Options {
        workers: config.workers,
        interrupt_grace: config.interrupt_grace,
        max_replacements: config.max_replacements,
        replacement_window: config.replacement_window,
        start_failure_patience: config.drain_timeout.max(END_PATIENCE_MIN),
        exhausted: Box::new(move |reason| {
            health.fail(reason);
            stop();
        }),
    };
    let workers = py.detach(|| {
        let interrupted = || stop_was_asked(&signal_fd);
        // SAFETY: main is initialized and `command::setup` has prepared it; this thread is detached meanwhile; `Workers::stop` is
        // called below before this returns, and `ending` keeps main from being finalized where it says so.
        unsafe { Workers::start(setup, pool, app.io(), options, interrupted) }
    });
    if matches!(workers, Err(StartError::Interrupted)) {
        ending::interpreter_left();
    }
    let workers = workers.map_err(|error| start_failure(target, &router, error))?;

    app.ask_workers(workers.now());
    servers().push(Arc::downgrade(&app));
    let port = listeners[0].address().map(|address| address.port());
    let announced = ready(py, port);
    let further = signal_fd.try_clone().map_err(|error| Stop::could_not_run(error.to_string()))?;
    let (drained, report, deadline) = py.detach(|| {
        let drained = announced.is_ok().then(|| {
            let signals = server::signals_from(signal_fd)?;
            let give_up = || workers.give_up();
            let report = server::run_blocking(Arc::clone(&app), listeners, signals, config.io_threads, give_up);
            Ok::<_, std::io::Error>(report)
        });
        // From the first signal to the end of everything takes no longer than a drain may.
        let left = match &drained {
            Some(Ok(report)) if report.ended == DrainEnd::Finished => config.drain_timeout.saturating_sub(report.took),
            _ => Duration::ZERO,
        };
        let deadline = Instant::now() + left.max(END_PATIENCE_MIN);
        let report = workers.stop(deadline, move || stop_was_asked(&further));
        drop(admin);
        (drained, report, deadline)
    });
    servers().retain(|server| server.strong_count() > 0 && !server.ptr_eq(&Arc::downgrade(&app)));
    announced?;
    match drained {
        Some(Ok(drained)) => {
            let failed = app.health.get() == server::Health::Failed;
            let code = if failed { FAILED } else { exit_code(&router, &drained, &report) };
            let soon = Instant::now() + END_PATIENCE_MIN;
            Ok(Ended { code, deadline: if report.unended > 0 { soon } else { deadline.max(soon) } })
        }
        Some(Err(error)) => Err(Stop::could_not_run(format!("the signals cannot be read: {error}"))),
        None => Ok(Ended { code: FAILED, deadline }),
    }
}

/// The admin address, if there is one; it ends when what this gives is dropped.
fn start_admin(app: &Arc<server::App>, listeners: Vec<server::SmolListener>) -> Result<Option<server::Admin>, Stop> {
    let Some(url) = listeners.first().map(server::SmolListener::url) else { return Ok(None) };
    let admin = server::Admin::start(Arc::clone(app), listeners);
    let admin = admin.map_err(|error| Stop::could_not_run(format!("no thread for --admin: {error}")))?;
    tracing::info!("admin on {url}: /readyz, /livez, /metrics, /stats");
    Ok(Some(admin))
}

fn exit_code(router: &crate::router::Router, drained: &server::DrainReport, report: &Report) -> i32 {
    for abandoned in &report.unfinished {
        let Some((route, _)) = abandoned.task else { continue };
        let route = router.route(route);
        tracing::error!(
            route = format!("{} {}", route.method, route.pattern),
            ran_ms = abandoned.ran.as_millis() as u64,
            "the handler still ran when the server stopped"
        );
    }
    if report.unended > 0 {
        let count = report.unended;
        tracing::error!(count, "interpreters are left behind; the process exits without finalizing Python");
    }
    // However it ended: a second signal that found nothing to cut short lost nothing. Nor does an interpreter that is left to its
    // daemon threads, whose exit functions have run.
    let clean = drained.unfinished.is_empty() && report.unfinished.is_empty();
    if clean && report.unended == 0 && !report.exhausted { OK } else { FAILED }
}

fn start_failure(target: &str, router: &crate::router::Router, error: StartError) -> Stop {
    let message = match error {
        StartError::Unresolved(missing) => {
            let report = command::report(target, router, &missing).text();
            format!("{report}the server does not start with handlers missing; --lazy serves them as 5xx instead")
        }
        StartError::Failed(message) => message,
        StartError::Interrupted => "stopped by a signal before every worker was ready".into(),
    };
    Stop { code: FAILED, ..Stop::could_not_run(message) }
}

/// A target in the ready line; the table of an App object is just that.
fn shown(target: &str) -> &str {
    if target.starts_with('{') { "an app" } else { target }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// The descriptor of `--ready-fd`, taken before anything else could get its number or be mistaken for it.
pub struct ReadyFd {
    number: RawFd,
    file: File,
}

impl ReadyFd {
    /// Takes it, if one is asked for. A standard stream has /dev/null in its place from now on, any other number is free.
    pub fn take(config: &Config) -> Result<Option<Self>, Stop> {
        let Some(number) = config.ready_fd else { return Ok(None) };
        let failed = |error: std::io::Error| Stop::could_not_run(format!("--ready-fd {number}: {error}"));
        // SAFETY: it is borrowed for this call only. A number that is not open makes the call fail.
        let file = streams::duplicate(unsafe { BorrowedFd::borrow_raw(number) }).map_err(failed)?;
        if number < streams::FIRST_FREE {
            streams::give_away(number).map_err(failed)?;
        } else {
            // SAFETY: the number is open, as was just seen, and was given to be used and closed here; nothing else in the
            // process owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
        Ok(Some(Self { number, file: File::from(file) }))
    }

    fn write(mut self, text: &str) -> Result<(), Stop> {
        let number = self.number;
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| Stop::could_not_run(format!("--ready-fd {number}: {error}")))
    }
}

/// The port, where scripts look for it. A descriptor that takes nothing is waited for until a signal comes.
fn announce(
    py: Python<'_>,
    config: &Config,
    ready_fd: Option<ReadyFd>,
    port: Option<u16>,
    signals: &OwnedFd,
) -> Result<Option<NamedFile>, Stop> {
    let port = port.map_or_else(String::new, |port| format!("{port}\n"));
    let mut file = None;
    if let Some(path) = &config.port_file {
        write_whole(path, &port)
            .map_err(|error| Stop::could_not_run(format!("--port-file {}: {error}", path.display())))?;
        file = Some(NamedFile::new(path));
    }
    if let Some(ready) = ready_fd
        && py.detach(|| takes_a_line(ready.file.as_fd(), signals))
    {
        ready.write(&port)?;
    }
    Ok(file)
}

/// Readers see no file or a whole one.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    std::fs::write(&name, text)?;
    std::fs::rename(&name, path)
}

/// Whether a signal is in the pipe. It does not block, and takes the signal out.
fn stop_was_asked(pipe: &OwnedFd) -> bool {
    let copy = pipe.try_clone().map(File::from);
    copy.and_then(|mut pipe| pipe.read(&mut [0])).is_ok_and(|count| count > 0)
}

/// A copy of a descriptor of the Signals object.
pub(super) fn duplicate(fd: RawFd) -> Result<OwnedFd, Stop> {
    // SAFETY: the descriptor belongs to the Signals object, which is alive and keeps it open for the length of this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map_err(|error| Stop::could_not_run(error.to_string()))
}

/// Tells this start of the server from others in a log: the time and the process.
fn request_id_prefix() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}{:04x}", since.as_secs() as u32, std::process::id() as u16)
}

/// What this process's servers say of themselves, as a JSON list.
pub fn stats() -> String {
    let servers = servers().iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
    let overviews: Vec<server::Overview> = servers.iter().map(|app| app.overview()).collect();
    serde_json::to_string(&overviews).expect("counters always serialize")
}

fn servers() -> std::sync::MutexGuard<'static, Vec<Weak<server::App>>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task without parameters, for the benchmark of the call.
pub fn sample_task() -> Task {
    let mut connection = http::Connection::new(http::Limits::default());
    connection.receive(b"GET / HTTP/1.1\r\nhost: benchmark\r\n\r\n");
    let head = match connection.next_event() {
        Ok(http::Event::Head(head)) => head,
        _ => unreachable!("a whole, valid head was given"),
    };
    let (reply, _) = answer_slot();
    let (request, spare) = (http::Request { head, body: Vec::new() }, http::Response::empty());
    Task { id: 0, route: RouteId(0), params: Vec::new(), request, spare, client: None, server: None, reply }
}
