//! The end of an interpreter's program, and of the process: what runs last, who keeps it from ending, and leaving by `_exit`.
//!
//! An interpreter in which a thread is left cannot be ended, and while one is left main must not be finalized: CPython 3.13 aborts,
//! 3.14 crashes or hangs. So each interpreter's threads are joined and its exit functions run first, which is what libraries send
//! their last events from; then it is left as it is, and the process leaves by `_exit` ([`main_ends`]), with the exit code that it
//! would have had. The steps themselves are Python, in `polygil._leave`.
//!
//! None of it can be interrupted, so all of it is bounded: what is not over at the deadline, or when a second signal comes, is named
//! in the log with its Python stack, and left.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::ffi::Gil;
use super::interpreter::address_here;
use super::serve::LOG_PATIENCE;
use crate::logging;

/// How often one who waits for an end asks whether it is to be at once.
pub const AT_ONCE_LOOK: Duration = Duration::from_millis(20);

/// How long to wait for a GIL, to say what its interpreter does.
pub const WORDS_PATIENCE: Duration = Duration::from_millis(300);

/// Interpreters of this process that are left alive.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// An interpreter is left: from now on the process must not finalize Python.
pub fn interpreter_left() {
    LEFT.fetch_add(1, Relaxed);
}

/// Whether an interpreter is left.
pub fn is_any_left() -> bool {
    LEFT.load(Relaxed) > 0
}

/// Waits for the interpreter's threads that are no daemons.
pub fn join_threads(gil: Gil<'_>) {
    step(gil, c"join_threads");
}

/// Runs the interpreter's exit functions, joins what they have started, flushes its streams.
pub fn run_exit_functions(gil: Gil<'_>) {
    step(gil, c"run_exit_functions");
}

fn step(gil: Gil<'_>, name: &std::ffi::CStr) {
    let outcome = gil.import(c"polygil._leave").and_then(|leave| leave.call_method(name, &[]));
    if let Err(raised) = outcome {
        tracing::error!("at the end of an interpreter: {}", raised.summary());
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
                exit(if code == 0 { late_code } else { code });
            }
            return;
        }
    };
    let watching = std::thread::Builder::new().name("polygil-end".into()).spawn(watch);
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
        exit(code);
    }
}

/// Leaves the process, the log written: no finalization, no exit functions of C.
fn exit(code: i32) -> ! {
    logging::flush(LOG_PATIENCE);
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}
