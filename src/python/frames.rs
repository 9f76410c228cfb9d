//! `sys._current_frames()` of one interpreter: what its threads run, by thread ident.
//!
//! CPython's own walks the thread states of *every* interpreter of the process and makes frame objects with the allocator of the
//! one that asks, without the others' GILs; each then frees what it never allocated. Here only the interpreter that asks is walked.
//!
//! CPython 3.13 to 3.15 have no function that tells the ident of a thread state. Where it stands is in `_Py_DebugOffsets`, with
//! which the runtime's state begins: a table that CPython publishes for debuggers (`pycore_debug_offsets.h`). The table is used only
//! where it is of a version known here, and where it finds the calling thread's own ident and interpreter in its own state.
//! Anywhere else there is no function, and Python refuses.

use std::ffi::{CStr, c_ulong};
use std::sync::{Mutex, PoisonError};

use pyo3::ffi;

use super::ffi::{Gil, Object, PyResult};

/// Held while a state is added to a list of thread states without that interpreter's GIL, and while a list is walked.
///
/// All others come and go under the GIL: a thread's state is added by the one that starts it and removed by its own thread.
static LISTS: Mutex<()> = Mutex::new(());

/// Runs `body`, in which a thread state may be made without the GIL of its interpreter.
pub(super) fn adding_a_state<R>(body: impl FnOnce() -> R) -> R {
    // Nothing is left half done by a panic: the lock guards CPython's data.
    let _lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    body()
}

/// The states of an interpreter's threads, the newest first. They live for as long as its GIL is held.
///
/// # Safety
/// `gil` is an attachment to `interpreter`.
pub(super) unsafe fn thread_states(
    _gil: Gil<'_>,
    interpreter: *mut ffi::PyInterpreterState,
) -> Vec<*mut ffi::PyThreadState> {
    let _lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut states = Vec::new();
    // SAFETY: the interpreter lives, because this thread is attached to it. No state is added meanwhile, by the lock and by the
    // GIL, and none is removed, by the GIL. Neither function runs Python or lets go of the GIL.
    unsafe {
        let mut state = ffi::PyInterpreterState_ThreadHead(interpreter);
        while !state.is_null() {
            states.push(state);
            state = ffi::PyThreadState_Next(state);
        }
    }
    states
}

/// The frame that a thread runs, if it runs any.
///
/// # Safety
/// `gil` is an attachment to the interpreter of `state`, which is alive.
pub(super) unsafe fn frame_of<'i>(gil: Gil<'i>, state: *mut ffi::PyThreadState) -> Option<Object<'i>> {
    // SAFETY: attached to the state's interpreter, so the thread that owns the state executes nothing meanwhile. A new
    // reference, or null without an exception.
    unsafe {
        let frame = ffi::PyThreadState_GetFrame(state);
        if frame.is_null() { None } else { gil.own(frame.cast()).ok() }
    }
}

/// What takes the place of `sys._current_frames`; None where this Python does not tell the idents of threads.
pub fn current_frames_function(gil: Gil<'_>) -> PyResult<'_, Option<Object<'_>>> {
    if Idents::of_this_python(gil).is_none() {
        return Ok(None);
    }
    let module = gil.str("sys")?;
    // SAFETY: attached; the definition is never freed and never written to; a new reference, or null with an exception.
    let function = unsafe {
        let definition = (&raw const CURRENT_FRAMES.0).cast_mut();
        gil.own(ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), module.as_ptr()))
    };
    function.map(Some)
}

struct Definition(ffi::PyMethodDef);

// SAFETY: constant data: pointers to static strings and to a function.
unsafe impl Sync for Definition {}

const DOC: &CStr = c"_current_frames($module, /)
--

Return a dict mapping the id of each thread of this interpreter to its current stack frame.";

static CURRENT_FRAMES: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"_current_frames".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: call_current_frames },
    ml_flags: ffi::METH_NOARGS,
    ml_doc: DOC.as_ptr(),
});

/// # Safety
/// Called by CPython alone, as a function without arguments: attached, and what it returns is a new reference, or null with an
/// exception.
unsafe extern "C" fn call_current_frames(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached, by this function's contract, until it returns; the brand is used here only.
    match current_frames(unsafe { Gil::assume() }) {
        Ok(frames) => frames.into_ptr(),
        Err(raised) => {
            // SAFETY: attached; the reference to the exception changes hands.
            unsafe { ffi::PyErr_SetRaisedException(raised.0.into_ptr()) };
            std::ptr::null_mut()
        }
    }
}

fn current_frames(gil: Gil<'_>) -> PyResult<'_, Object<'_>> {
    // As CPython's own; an audit hook may refuse it.
    gil.import(c"sys")?.call_method(c"audit", &[&gil.str("sys._current_frames")?])?;
    let Some(idents) = Idents::of_this_python(gil) else {
        let kind = gil.import(c"builtins")?.attr(c"RuntimeError")?;
        return Err(gil.exception(&kind, "this Python does not tell the idents of threads"));
    };
    // SAFETY: attached to the interpreter of this thread's own state.
    let states = unsafe { thread_states(gil, ffi::PyThreadState_GetInterpreter(ffi::PyThreadState_Get())) };
    // No object is freed and no Python runs before the walk is over: the GIL is held all the while.
    let found: Vec<(c_ulong, Object<'_>)> = states
        .into_iter()
        // SAFETY: attached to the interpreter of these states, which live while its GIL is held. A thread that has a frame
        // has had the GIL, and before that CPython has put its ident into its state.
        .filter_map(|state| unsafe { frame_of(gil, state).map(|frame| (idents.of(state), frame)) })
        .collect();
    // SAFETY: attached; a new reference, or null with an exception.
    let frames = unsafe { gil.own(ffi::PyDict_New())? };
    for (ident, frame) in found {
        // SAFETY: attached; the dict is new, all three are live objects, and it takes references of its own.
        unsafe {
            let ident = gil.own(ffi::PyLong_FromUnsignedLong(ident))?;
            if ffi::PyDict_SetItem(frames.as_ptr(), ident.as_ptr(), frame.as_ptr()) != 0 {
                return Err(gil.raised());
            }
        }
    }
    Ok(frames)
}

/// Where a thread state has the ident of its thread, in bytes from its beginning.
#[derive(Clone, Copy)]
struct Idents {
    offset: usize,
}

/// Where `_Py_DebugOffsets` has what it says of thread states, in words of 64 bits from its beginning.
struct Table {
    size: usize,
    interp: usize,
    thread_id: usize,
}

impl Table {
    /// The table of CPython 3.`minor`. (`Include/internal/pycore_runtime.h` in 3.13, `pycore_debug_offsets.h` since.)
    fn of(minor: u32) -> Option<Self> {
        // Before it stand 3 words of its own, 3 of the runtime, and 13 of the interpreter, which are 16 since 3.14. The first 4 of
        // the thread state are size, prev, next, interp.
        match minor {
            13 => Some(Self { size: 19, interp: 22, thread_id: 24 }),
            14 => Some(Self { size: 22, interp: 25, thread_id: 27 }),
            15 => Some(Self { size: 22, interp: 25, thread_id: 30 }),
            _ => None,
        }
    }
}

impl Idents {
    fn of_this_python(gil: Gil<'_>) -> Option<Self> {
        // SAFETY: looks a name up; null where there is none.
        let runtime = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_PyRuntime".as_ptr()) }.cast::<u64>();
        // SAFETY: a constant of CPython's, of 32 bits in whatever type (`PY_VERSION_HEX`).
        let version = unsafe { ffi::Py_Version } as u32;
        let table = Table::of(version >> 16 & 0xff).filter(|_| version >> 24 == 3)?;
        if runtime.is_null() {
            return None;
        }
        // SAFETY: since 3.13 the runtime's state begins with the table, which is constant. It is larger by far than what is read
        // of it, also in a version with another table, which the words at its head tell.
        let word = |index: usize| unsafe { runtime.add(index).read() };
        let (cookie, of_version, free_threaded) = (word(0).to_ne_bytes(), word(1), word(2));
        if cookie != *b"xdebugpy" || of_version != u64::from(version) || free_threaded != 0 {
            return None;
        }
        let size = usize::try_from(word(table.size)).ok()?;
        let interp = Self::within(word(table.interp), size)?;
        let idents = Self::within(word(table.thread_id), size)?;
        idents.are_right(gil, interp).then_some(idents)
    }

    /// A word of a thread state that has `size` bytes.
    fn within(offset: u64, size: usize) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        let is_word = offset.is_multiple_of(size_of::<c_ulong>());
        (is_word && offset.checked_add(size_of::<c_ulong>())? <= size).then_some(Self { offset })
    }

    /// The calling thread's own state has its ident here, and its interpreter there.
    fn are_right(self, _gil: Gil<'_>, interp: Self) -> bool {
        // SAFETY: attached, by `_gil`: the current state is this thread's own, and both words lie within it.
        unsafe {
            let state = ffi::PyThreadState_Get();
            let interpreter = ffi::PyThreadState_GetInterpreter(state);
            self.of(state) == ffi::PyThread_get_thread_ident() && interp.of(state) as usize == interpreter as usize
        }
    }

    /// # Safety
    /// The state lives, and its thread has been attached once or is the calling one: nothing writes to the word any more.
    unsafe fn of(self, state: *mut ffi::PyThreadState) -> c_ulong {
        // SAFETY: the word lies within the state, at a multiple of its size (`within`), and is not written to, by contract.
        unsafe { state.cast::<u8>().add(self.offset).cast::<c_ulong>().read() }
    }
}

#[cfg(test)]
mod tests {
    use super::Idents;

    #[test]
    fn what_does_not_lie_within_the_state_is_not_read() {
        let offset = |offset| Idents::within(offset, 64).map(|idents| idents.offset);
        assert_eq!(offset(0), Some(0));
        assert_eq!(offset(56), Some(56));
        for outside in [1, 57, 60, 64, 72, u64::MAX, u64::MAX - 7] {
            assert_eq!(offset(outside), None, "{outside}");
        }
    }
}
