//! The end of an interpreter's program, and of the process: what runs last, who keeps it from ending, and leaving by `_exit`.
//!
//! An interpreter in which a thread is left cannot be ended, and while one is left main must not be finalized: CPython 3.13 aborts,
//! 3.14 crashes or hangs. So each interpreter's threads are joined and its exit functions run first, which is what libraries send
//! their last events from; then it is left as it is, and the process leaves by `_exit` ([`super::leave::main_ends`]), with the exit code that it
//! would have had. The steps themselves are Python, in `polygil._leave`.
//!
//! None of it can be interrupted, so all of it is bounded: what is not over at the deadline, or when a second signal comes, is named
//! in the log with its Python stack, and left.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::ffi::Gil;

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
