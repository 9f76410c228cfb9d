//! Dispatch: how an accepted request gets to an interpreter, and how its answer gets back.
//!
//! It stands between the connection tasks on the I/O threads, which [submit](Pool::submit) tasks, and the worker threads, which
//! [step](Worker::step) through them; the way back is a one-shot [reply] slot that travels inside the task.
//!
//! ```text
//!   connection tasks        Pool                                   workers
//!                           lane 0  [ t t t ]  ── own lane ──────▶ worker 0 ── step(): Run(task) ─┐
//!   submit(task) ─ place ─▶ lane 1  [ t ]      ── own lane ──────▶ worker 1 ── step(): Park       │
//!        │                  overflow [ ]       ── any of them ───▶                  (steals first)│
//!        │ every queue full                                                                       │
//!        ▼                                                                                        │
//!   Refused::Full (503)     reply slot  ◀──────────────────── send(response), at most once ───────┘
//! ```
//!
//! What it promises, and what the model checker is asked to break (`tests/loom_dispatch.rs`):
//!
//! - **No task is lost and none runs twice.** A task that `submit` took is given to exactly one worker, or is handed back by
//!   [`Pool::fail_all_waiting`], or was waited for by nobody any more. A task that it did not take comes back to the caller.
//! - **No wakeup is lost.** When everything has settled, no worker sleeps while a task waits, in whichever queue. A worker that
//!   is awake costs the submitter no system call.
//! - **Nothing is unbounded.** Every queue has a limit; when all are full the caller is told, at once.
//! - **One answer.** The first completer wins; a caller that went away, a lost worker and a task that expired while it waited
//!   are states of the slot, not races.
//! - **The counts balance**: submitted = completed + refused + expired + abandoned, plus what waits and runs right now.
//!
//! What it must never do: block a submitter, read a clock, know what a task is, or touch Python or a socket. There is no
//! `unsafe` in it. Everything that two threads share comes from [`sync`], which is the standard library's or loom's: what ships
//! is what was checked.
//!
//! Where to read on: `lane.rs` has the parking protocol and the arguments about memory order, `pool.rs` placement and
//! admission, `worker.rs` the worker's side, `reply.rs` the way back; `baton.rs` says which thread has the duty that idle workers
//! may do, `ready.rs` holds what is to be done there.

pub mod baton;
mod counters;
mod lane;
mod pool;
pub mod ready;
pub mod reply;
mod sync;
mod worker;

pub use counters::Counters;
pub use pool::{Placement, Pool, PoolOptions, Refused};
#[cfg(loom)]
#[doc(hidden)]
pub use sync::model;
pub use worker::{Step, Worker};

// Real threads, and locks outside of a model: not for loom, which has its own tests.
#[cfg(all(test, not(loom)))]
mod tests;
