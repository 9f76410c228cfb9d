//! A crash in C: what the log says of it before the process is gone.
//!
//! A segmentation fault in an extension ends every worker; nothing in the process can prevent that. What can be done is to say
//! whose it was. CPython's `faulthandler` prints the Python stack of the thread that crashed. It knows no route, so a handler in
//! front of it writes what that worker ran, and what the others ran.
//!
//! Everything here that runs in the signal handler is async-signal-safe (signal-safety(7)): it reads memory that was made before, takes locks
//! only where they are free, allocates nothing and calls nothing but `write`, `nanosleep`, `sigaction` and `raise`.
//!
//! A thread whose stack is full crashes where a handler has no room to run, so each worker's thread has a second stack for it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::{self, null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering::SeqCst};

use super::supervisor::Watch;
use super::worker::Setup;
use crate::logging;

/// The signals that mean a crash, and their names.
const CRASHES: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];

/// Workers that can be named, of all servers of the process; further ones are not.
const STAGES_MAX: usize = 1024;
/// For the handler here and for faulthandler's after it.
const STACK_BYTES: usize = 64 << 10;
/// How long the log may take to write what was logged before the crash.
const LOG_LOOKS_MAX: u32 = 200;

/// What a signal handler may read of a worker.
struct Stage {
    index: usize,
    watch: *const Watch,
    setup: *const Setup,
}

static STAGES: [AtomicPtr<Stage>; STAGES_MAX] = [const { AtomicPtr::new(null_mut()) }; STAGES_MAX];
static LOG_FD: AtomicI32 = AtomicI32::new(-1);
static CRASHED: AtomicBool = AtomicBool::new(false);
/// The actions before ours, in the order of [`CRASHES`]; leaked, so that a handler that runs meanwhile still finds them.
static BEFORE: [AtomicPtr<libc::sigaction>; CRASHES.len()] = [const { AtomicPtr::new(null_mut()) }; CRASHES.len()];

thread_local! {
    /// This worker's stage.
    static HERE: Cell<*const Stage> = const { Cell::new(null()) };
}

/// Handlers for crashes are in place until [`Handlers::remove`].
pub struct Handlers(());

/// Has crashes told to this descriptor. None where another server of this process does that already.
pub fn install(fd: RawFd) -> Option<Handlers> {
    if LOG_FD.compare_exchange(-1, fd, SeqCst, SeqCst).is_err() {
        return None;
    }
    for ((signal, _), before) in CRASHES.iter().zip(&BEFORE) {
        // SAFETY: both actions are whole structures of this frame; the handler is async-signal-safe, see the module's text.
        unsafe {
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_crash as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let mut theirs: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(*signal, &raw const ours, &raw mut theirs) == 0 {
                before.store(Box::into_raw(Box::new(theirs)), SeqCst);
            }
        }
    }
    Some(Handlers(()))
}

impl Handlers {
    /// Puts back what was there before.
    pub fn remove(self) {
        CRASHES.iter().zip(&BEFORE).for_each(|((signal, _), before)| put_back(*signal, before));
        LOG_FD.store(-1, SeqCst);
    }
}

/// Restores the action that a signal had. Async-signal-safe.
fn put_back(signal: c_int, before: &AtomicPtr<libc::sigaction>) {
    let action = before.swap(null_mut(), SeqCst);
    if !action.is_null() {
        // SAFETY: it was made by `install`, is whole, and is never freed.
        unsafe { libc::sigaction(signal, action, null_mut()) };
    }
}

extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    if !CRASHED.swap(true, SeqCst) {
        report(signal);
    }
    for ((number, _), before) in CRASHES.iter().zip(&BEFORE) {
        if *number == signal {
            put_back(signal, before);
        }
    }
    // A fault happens again when this returns, at the same instruction, and finds the handler before ours. A signal that somebody
    // sent, as `abort` does, has to be sent again; it comes when this returns.
    // SAFETY: the kernel gave a whole siginfo_t.
    if unsafe { (*info).si_code } <= 0 {
        // SAFETY: takes no pointer.
        unsafe { libc::raise(signal) };
    }
}

fn report(signal: c_int) {
    let fd = LOG_FD.load(SeqCst);
    for _ in 0..LOG_LOOKS_MAX {
        if logging::is_empty() {
            break;
        }
        let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the time is a whole structure of this frame; what is left of it is not asked for.
        unsafe { libc::nanosleep(&raw const millisecond, null_mut()) };
    }
    let name = CRASHES.iter().find(|(number, _)| *number == signal).map_or("a signal", |(_, name)| name);
    let here = HERE.get();
    write(fd, "polygil: crash in C, ");
    write(fd, name);
    if here.is_null() {
        write(fd, ", in a thread that is no worker's");
    } else {
        write(fd, ", in ");
        write_stage(fd, here);
    }
    write(fd, "\n");
    for stage in &STAGES {
        let stage = stage.load(SeqCst);
        if !stage.is_null() && !ptr::eq(stage, here) {
            write(fd, "polygil: beside it ");
            write_stage(fd, stage);
            write(fd, "\n");
        }
    }
}

fn write_stage(fd: RawFd, stage: *const Stage) {
    // SAFETY: a stage is freed by its own thread when its worker has ended, after it was taken out of `STAGES`; the crashing thread
    // is not past that, and another would have to get there within the microseconds that this takes, in a process that is
    // about to end anyway. The watch and the setup outlive it.
    let (index, watch, setup) = unsafe { ((*stage).index, &*(*stage).watch, &*(*stage).setup) };
    write(fd, "worker ");
    write_number(fd, index as u64);
    let Some((request, route)) = watch.glance() else {
        return write(fd, ", which ran no handler");
    };
    let route = setup.router.route(route);
    for text in [", which ran ", &route.method, " ", &route.pattern, " (", &route.module, ":", &route.qualname] {
        write(fd, text);
    }
    write(fd, ") for the request ");
    write(fd, &setup.request_id_prefix);
    write(fd, "-");
    write_number(fd, request);
}

fn write(fd: RawFd, text: &str) {
    // SAFETY: the pointer and the length are those of a live string. A failed write of a last word has no consequence.
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
}

fn write_number(fd: RawFd, number: u64) {
    let (mut digits, mut rest, mut begin) = ([0; 20], number, 20);
    loop {
        begin -= 1;
        digits[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    write(fd, std::str::from_utf8(&digits[begin..]).unwrap_or("?"));
}

/// On a worker's thread, until it is dropped: crashes find out what this worker runs, and have a stack to say it on.
pub struct OnStage {
    stage: *mut Stage,
    stack: *mut c_void,
}

impl OnStage {
    /// Call it on the worker's own thread, and drop it there. `watch` and `setup` must outlive what this gives.
    ///
    /// # Safety
    /// They do.
    pub unsafe fn enter(index: usize, watch: &Watch, setup: &Setup) -> Self {
        let stage = Box::into_raw(Box::new(Stage { index, watch, setup }));
        HERE.set(stage);
        STAGES.iter().find(|place| place.compare_exchange(null_mut(), stage, SeqCst, SeqCst).is_ok());
        Self { stage, stack: second_stack() }
    }
}

impl Drop for OnStage {
    fn drop(&mut self) {
        for place in &STAGES {
            if place.compare_exchange(self.stage, null_mut(), SeqCst, SeqCst).is_ok() {
                break;
            }
        }
        HERE.set(null());
        // SAFETY: made by `enter` and taken out of everybody's sight.
        drop(unsafe { Box::from_raw(self.stage) });
        if !self.stack.is_null() {
            // SAFETY: no handler runs on it, for this is not one; it is given up before its memory is.
            unsafe {
                let none = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: STACK_BYTES };
                libc::sigaltstack(&raw const none, null_mut());
                libc::munmap(self.stack, STACK_BYTES);
            }
        }
    }
}

/// A stack for this thread's signal handlers; null where there is no memory for one.
fn second_stack() -> *mut c_void {
    // SAFETY: an anonymous mapping that nothing else knows of; the stack's description is a whole structure of this frame.
    unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let stack = libc::mmap(null_mut(), STACK_BYTES, protection, flags, -1, 0);
        if stack == libc::MAP_FAILED {
            return null_mut();
        }
        let whole = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: STACK_BYTES };
        libc::sigaltstack(&raw const whole, null_mut());
        stack
    }
}
