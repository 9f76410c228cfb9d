//! The ends of a process that is there for a server: by a signal before it serves, and by a deadline, should it be lost.
//!
//! A server that drains ends by itself, and with it Python ([`super::ending`]). What stands here is for when that is not to be waited for: an
//! import that takes minutes, a thread of the app that never ends, a bug of polygil's own. Nothing in here needs Python to go on.
//!
//! As the first process of a container (PID 1) a signal without a handler is ignored by the kernel, so handlers are in place before the
//! app is imported, and an end by a signal falls back on an exit code.

use std::fs::File;
use std::io::{PipeWriter, Read, pipe};
use std::os::fd::{AsFd, RawFd};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};

use super::command::{FAILED, Stop};
use super::crash;
use super::ending::{AT_ONCE_LOOK, WORDS_PATIENCE, is_any_left};
use super::ffi::Gil;
use super::interpreter::address_here;
use super::serve::{LOG_PATIENCE, duplicate};
use crate::logging;
use crate::server::Signal;
use crate::streams::complain;

/// How long the last lines of the log have when nothing else is waited for.
const LAST_LINES: Duration = Duration::from_millis(200);

/// While it lives, a signal that stops a server ends the process: there is nothing to drain yet.
pub struct Early {
    // Its end wakes the thread.
    over: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Early {
    /// Watches the pipe of a `Signals` object, if it `is_wanted`.
    pub fn watch(signals: &Bound<'_, PyAny>, is_wanted: bool) -> Result<Self, Stop> {
        if !is_wanted {
            return Ok(Self { over: None, thread: None });
        }
        let fds: (RawFd, RawFd) = signals.getattr("fds")?.extract()?;
        let numbers = File::from(duplicate(fds.0)?);
        let failed = |error: std::io::Error| Stop::could_not_run(error.to_string());
        let (until, over) = pipe().map_err(failed)?;
        let watch = move || {
            while let Some(signal) = next(&numbers, Some(until.as_fd())) {
                if signal.stops() {
                    complain(&format!("polygil: stopped by signal {} while the app was imported", signal.0));
                    end_by(signal);
                }
            }
        };
        let thread = thread::Builder::new().name("polygil-signals".into()).spawn(watch).map_err(failed)?;
        Ok(Self { over: Some(over), thread: Some(thread) })
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            // Should it have panicked, the log has it.
            drop(thread.join());
        }
    }
}

/// Crashes are told to the log until [`CrashReports::end`].
pub struct CrashReports {
    handlers: crash::Handlers,
    /// `faulthandler` was not enabled before.
    enabled: bool,
}

impl CrashReports {
    /// Has the log say of a crash whose it was. None where another server of this process has it already.
    pub fn begin(py: Python<'_>) -> PyResult<Option<Self>> {
        let faulthandler = py.import("faulthandler")?;
        // The program's own settings, or PYTHONFAULTHANDLER, say where the stack goes.
        let enabled = !faulthandler.call_method0("is_enabled")?.is_truthy()?;
        let Some(fd) = logging::descriptor() else { return Ok(None) };
        if enabled {
            faulthandler.call_method1("enable", (fd, true))?;
        }
        // In front of it: what is installed last is called first.
        Ok(crash::install(fd).map(|handlers| Self { handlers, enabled }))
    }

    /// Puts everything back.
    pub fn end(self, py: Python<'_>) -> PyResult<()> {
        self.handlers.remove();
        if self.enabled {
            py.import("faulthandler")?.call_method0("disable")?;
        }
        Ok(())
    }
}

/// Ends the program that main runs, by `deadline` or when `at_once` says so, and then, where an interpreter is left, the process
/// with `code`; with `late_code` where main does not end. Comes back where Python can be finalized.
///
/// For the command line only: a program that has called `polygil.serve` goes on.
pub fn main_ends(
    py: Python<'_>,
    code: i32,
    late_code: i32,
    deadline: Instant,
    mut at_once: impl FnMut() -> bool + Send + 'static,
) {
    // SAFETY: `py` proves that this thread is attached to main; the brand is used here only.
    let main = address_here(unsafe { Gil::assume() });
    let (done, over) = channel::<()>();
    let watch = move || {
        while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(AT_ONCE_LOOK) {
            let in_time = Instant::now() < deadline;
            if in_time && !at_once() {
                continue;
            }
            // SAFETY: main is not finalized by anybody but the thread that this one watches, which is not there yet.
            let words = unsafe { main.threads_in_words(WORDS_PATIENCE, || {}) };
            if let Err(RecvTimeoutError::Timeout) = over.recv_timeout(Duration::ZERO) {
                let why =
                    if in_time { "a further signal: the process ends at once" } else { "the deadline of the stop" };
                tracing::error!("{why}, though the main program does not end\n{words}");
                exit_logged(if code == 0 { late_code } else { code });
            }
            return;
        }
    };
    let watching = thread::Builder::new().name("polygil-end".into()).spawn(watch);
    let finished = py.import("polygil._leave").and_then(|leave| leave.call_method1("finish", (code,))?.extract());
    let code = finished.unwrap_or_else(|error: PyErr| {
        tracing::error!(%error, "at the end of the main program");
        code
    });
    drop(done);
    if let Ok(watching) = watching {
        drop(py.detach(|| watching.join()));
    }
    if is_any_left() {
        exit_logged(code);
    }
}

/// Leaves the process, the log written: no finalization, no exit functions of C.
fn exit_logged(code: i32) -> ! {
    logging::flush(LOG_PATIENCE);
    exit(code)
}

/// The next signal. None once the other end of `until` is closed, or when the pipe cannot be read.
fn next(mut numbers: &File, until: Option<std::os::fd::BorrowedFd<'_>>) -> Option<Signal> {
    loop {
        let mut asked: Vec<PollFd<'_>> = [Some(numbers.as_fd()), until]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut asked, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        if asked.get(1).is_some_and(|until| !until.revents().is_empty()) {
            // A signal that is in the pipe now is the server's.
            return None;
        }
        let mut number = [0];
        match numbers.read(&mut number) {
            Ok(1) => return Some(Signal(number[0])),
            Ok(_) => return None,
            // Another thread was faster.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// Ends the process as the signal would have without a handler; as PID 1, which such a signal does not end, with 128 and its number.
fn end_by(signal: Signal) -> ! {
    let number = i32::from(signal.0);
    logging::flush(LAST_LINES);
    // Without the file that SIGQUIT would leave.
    if signal != Signal::QUIT {
        // SAFETY: takes no pointer; the default action takes the place of CPython's handler.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::kill(libc::getpid(), number);
        }
        thread::sleep(Duration::from_millis(100));
    }
    exit(128 + number)
}

fn exit(code: i32) -> ! {
    // SAFETY: nothing of this process runs after it.
    unsafe { libc::_exit(code) }
}

/// The process ends after `patience`, if it has not by then.
pub fn by(patience: Duration) {
    let wait = move || {
        thread::sleep(patience);
        tracing::error!("the server did not end in time: the process ends without it");
        logging::flush(LAST_LINES);
        exit(FAILED);
    };
    start("polygil-last-resort", wait);
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(body) {
        tracing::error!(%error, "no thread to see to it that the process ends");
    }
}
