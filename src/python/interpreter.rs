//! One isolated sub-interpreter: made, owned and ended on one thread.
//!
//! An [`Interpreter`] has its own GIL and its own allocator (PEP 684), refuses extension modules that cannot live in it, and
//! may not fork or exec. It is `!Send`: the thread that makes it is the only one that ever runs it,
//! because a thread state that moves between threads leaks, and because CPython keeps parts of it in thread-local storage.
//!
//! What must be true before the first one is made is [`prepare_main`]'s business. What must never happen here: a
//! `PyGILState_*` call (it binds a fresh thread to the main interpreter), a second thread state attached to this thread, an
//! interpreter ended while another thread still has a state in it (CPython aborts the process; [`Interpreter::end`] refuses).

use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::sync::mpsc::channel;
use std::time::Duration;

use pyo3::ffi;

use super::ffi::{Gil, Object, PyResult};
use super::frames::{adding_a_state, frame_of, thread_states};

/// The stack of every thread that runs Python, in bytes: what Linux gives a main thread, which CPython's own recursion limits
/// are made for. Rust's default of 2 MiB overflows before CPython counts to its limit.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What the main interpreter must have imported before the first sub-interpreter exists.
///
/// `datetime`'s C part keeps static types whose per-interpreter state is set up by whoever imports it first; interpreters
/// that import it first and end oldest-first corrupt the heap on 3.13.0 (gh-136421). The import is transitive (http.client,
/// urllib, sqlite3, ...), so it is done always.
pub const IMPORTED_IN_MAIN_FIRST: [&CStr; 1] = [c"datetime"];

/// Why there is no interpreter.
#[derive(Debug)]
pub struct CreateError {
    message: String,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPython could not create a sub-interpreter: {}", self.message)
    }
}

impl std::error::Error for CreateError {}

/// Why an interpreter was left alive: daemon threads still have a state in it, or threads started below `threading`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillInUse {
    /// Threads other than its own that are attached to it, or may become so.
    pub threads: usize,
}

/// Names an interpreter to a thread that wants to interrupt it; says nothing about whether it still lives.
#[derive(Debug, Clone, Copy)]
pub struct InterpreterAddress {
    interpreter: *mut ffi::PyInterpreterState,
    state: *mut ffi::PyThreadState,
    thread: std::ffi::c_ulong,
}

// SAFETY: the address is only ever dereferenced by `visit`, whose caller vouches for the interpreter's life.
unsafe impl Send for InterpreterAddress {}
// SAFETY: as above; it is plain data.
unsafe impl Sync for InterpreterAddress {}

/// A sub-interpreter with its own GIL, attached to the thread that made it.
pub struct Interpreter {
    state: *mut ffi::PyThreadState,
    not_send: PhantomData<*mut ()>,
}

/// Imports into main what sub-interpreters need there ([`IMPORTED_IN_MAIN_FIRST`]). Call it attached to main, first.
pub fn prepare_main(gil: Gil<'_>) -> PyResult<'_, ()> {
    for module in IMPORTED_IN_MAIN_FIRST {
        gil.import(module)?;
    }
    Ok(())
}

impl Interpreter {
    /// Makes an isolated interpreter on this thread, which must not be attached to any.
    ///
    /// Takes 12 to 22 ms and some 2 MiB, of which about 1.7 MiB are not returned at the end: make few, keep them.
    ///
    /// # Safety
    /// The main interpreter is initialized, [`prepare_main`] has run in it, it outlives this value, and this thread has
    /// neither an attached thread state nor one waiting to be attached again.
    pub unsafe fn create() -> Result<Self, CreateError> {
        let config = ffi::PyInterpreterConfig {
            use_main_obmalloc: 0,
            allow_fork: 0,
            allow_exec: 0,
            allow_threads: 1,
            // sentry-sdk, OpenTelemetry, QueueListener, loguru and prometheus_client need them.
            allow_daemon_threads: 1,
            check_multi_interp_extensions: 1,
            gil: ffi::PyInterpreterConfig_OWN_GIL,
        };
        let mut state = std::ptr::null_mut();
        // SAFETY: by this function's contract the runtime is up and this thread is unattached; both pointers are to live
        // locals. On success the new thread state is attached to this thread and its GIL is held.
        let status = unsafe { ffi::Py_NewInterpreterFromConfig(&raw mut state, &raw const config) };
        // SAFETY: a plain read of the returned status.
        if unsafe { ffi::PyStatus_Exception(status) } != 0 || state.is_null() {
            let message = if status.err_msg.is_null() {
                "no reason given".to_owned()
            } else {
                // SAFETY: CPython's status messages are static strings terminated by NUL.
                unsafe { CStr::from_ptr(status.err_msg) }.to_string_lossy().into_owned()
            };
            return Err(CreateError { message });
        }
        Ok(Self { state, not_send: PhantomData })
    }

    /// Runs `body` attached to this interpreter. Each call is a brand of its own: no object of one reaches another.
    pub fn run<R>(&mut self, body: impl for<'i> FnOnce(Gil<'i>) -> R) -> R {
        // SAFETY: `create` left this thread attached, `Gil::detached` always attaches again, and `Self` is !Send, so this is
        // that thread; the lifetime is universally quantified, hence unique to this call.
        body(unsafe { Gil::assume() })
    }

    /// The address by which [`visit`] finds this interpreter and this thread in it.
    pub fn address(&mut self) -> InterpreterAddress {
        self.run(address_here)
    }

    /// Ends the interpreter, whose threads have been joined and whose exit functions have run (`python::ending`).
    ///
    /// Where a thread is left, a daemon for one, CPython would abort the process ("not the last thread"). Then the interpreter
    /// stays alive instead, its GIL free for those threads, and so must the process until it exits unfinalized.
    pub fn end(self) -> Result<(), StillInUse> {
        let others = self.other_thread_states();
        if others > 0 {
            // SAFETY: attached; nothing on this thread uses Python afterwards.
            unsafe { ffi::PyEval_SaveThread() };
            return Err(StillInUse { threads: others });
        }
        // SAFETY: attached, the only thread state of its interpreter, made by this thread; nothing uses `state` afterwards.
        unsafe { ffi::Py_EndInterpreter(self.state) };
        Ok(())
    }

    fn other_thread_states(&self) -> usize {
        // SAFETY: `create` left this thread attached, and `Self` is !Send; the brand is used here only. A thread that is being
        // started adds its state before `start_new_thread` returns, and only a thread can start one: this one does no more.
        let states = unsafe { thread_states(Gil::assume(), ffi::PyThreadState_GetInterpreter(self.state)) };
        states.into_iter().filter(|state| *state != self.state).count()
    }
}

/// Attaches this thread to another thread's interpreter for the length of `body`.
///
/// Blocks until the interpreter's GIL is free: for ever, where C code holds it and does not return. So this belongs on a
/// thread that may be lost.
///
/// # Safety
/// The interpreter is alive and is not ended before this returns; this thread has no thread state of any interpreter.
pub unsafe fn visit<R>(address: InterpreterAddress, body: impl for<'i> FnOnce(Gil<'i>) -> R) -> R {
    // SAFETY: the interpreter lives, by contract; a fresh state for this very thread is made, attached, used, cleared while it
    // is attached, and deleted by the thread that made it.
    unsafe {
        let state = adding_a_state(|| ffi::PyThreadState_New(address.interpreter));
        ffi::PyEval_RestoreThread(state);
        let result = body(Gil::assume());
        ffi::PyThreadState_Clear(state);
        ffi::PyThreadState_DeleteCurrent();
        result
    }
}

impl InterpreterAddress {
    /// Raises `exception` (a class) in the interpreter's own thread as soon as it runs bytecode; `None` takes back one that
    /// was not raised yet. `gil` is an attachment to that very interpreter.
    pub fn set_async_exception<'i>(&self, _gil: Gil<'i>, exception: Option<&Object<'i>>) {
        let exception = exception.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: attached to the target's interpreter, which is where CPython looks the thread up; an unknown thread is
        // answered with 0 and nothing done. CPython takes its own reference.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.thread.cast_signed(), exception) };
    }

    /// The frame that the interpreter's own thread runs, if it runs any. `gil` is an attachment to that very interpreter.
    ///
    /// Not by way of CPython's `sys._current_frames`, which reaches into other interpreters ([`super::frames`]).
    pub fn frame<'i>(&self, gil: Gil<'i>) -> Option<Object<'i>> {
        // SAFETY: attached to the state's interpreter; the state lives as long as the interpreter, which the visit keeps.
        unsafe { frame_of(gil, self.state) }
    }

    /// The frames that the interpreter's other threads run. `gil` is an attachment to that very interpreter.
    fn other_frames<'i>(&self, gil: Gil<'i>) -> Vec<Object<'i>> {
        // SAFETY: attached to that interpreter, whose states live while its GIL is held.
        unsafe {
            let states = thread_states(gil, self.interpreter).into_iter();
            states.filter(|state| *state != self.state).filter_map(|state| frame_of(gil, state)).collect()
        }
    }

    /// What the interpreter's threads do, by name and with their stacks, for the log; nothing if its GIL cannot be had within
    /// `patience`. `left` is called when the thread that went to see is out again, which may never be.
    ///
    /// # Safety
    /// The interpreter is alive and is not ended before `left` has been called.
    pub unsafe fn threads_in_words(self, patience: Duration, left: impl FnOnce() + Send + 'static) -> String {
        let (said, words) = channel();
        let visitor = move || {
            // SAFETY: the caller's promise; the thread is new, so it has no thread state.
            let words = unsafe {
                visit(self, |gil| {
                    let own = self.frame(gil).unwrap_or_else(|| gil.none());
                    let others = gil.tuple(self.other_frames(gil)).ok()?;
                    let leave = gil.import(c"polygil._leave").ok()?;
                    leave.call_method(c"in_words", &[&own, &others]).ok()?.to_str().ok().map(str::to_owned)
                })
            };
            left();
            // Nobody listens any more once the patience is over.
            drop(said.send(words.unwrap_or_default()));
        };
        if let Err(error) = std::thread::Builder::new().name("polygil-visitor".into()).spawn(visitor) {
            tracing::error!(%error, "no thread to see what an interpreter does");
        }
        words.recv_timeout(patience).unwrap_or_default()
    }
}

/// The address of the interpreter that the calling thread is attached to, and of that thread in it.
pub fn address_here(_gil: Gil<'_>) -> InterpreterAddress {
    // SAFETY: attached, by `_gil`: there is a current state, and it has an interpreter.
    unsafe {
        let state = ffi::PyThreadState_Get();
        let interpreter = ffi::PyThreadState_GetInterpreter(state);
        InterpreterAddress { interpreter, state, thread: ffi::PyThread_get_thread_ident() }
    }
}
