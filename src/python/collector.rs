//! When garbage is collected: between tasks, never during one.
//!
//! What was imported is frozen, the automatic threshold is set out of reach of ordinary requests
//! (`polygil._worker.after_import`), and a worker collects when it is about to wait, or when enough has piled up that waiting for a
//! pause would cost memory. Finalizers are the program's code: the worker runs a collection within a budget, as it runs a task.

use super::ffi::{Gil, Object, PyResult};

/// Decides when garbage is collected; never during a task.
pub struct Collector<'i> {
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

    /// Looks up what collecting uses.
    pub fn new(gil: Gil<'i>) -> PyResult<'i, Self> {
        let gc = gil.import(c"gc")?;
        Ok(Self { get_count: gc.attr(c"get_count")?, collect: gc.attr(c"collect")?, tasks: 0 })
    }

    /// A task is over: whether a collection no longer waits for a pause.
    pub fn is_due_after_task(&mut self) -> bool {
        self.tasks += 1;
        if !self.tasks.is_multiple_of(Self::TASKS_BETWEEN_LOOKS) {
            return false;
        }
        let young = self.get_count.call(&[]).ok().and_then(|counts| counts.tuple_items().first()?.to_i64().ok());
        young.is_some_and(|young| young > Self::OBJECTS_MAX)
    }

    /// Whether a pause is worth a collection.
    pub fn is_due_when_idle(&self) -> bool {
        self.tasks >= Self::TASKS_BEFORE_IDLE
    }

    /// Collects. Runs finalizers and callbacks of the program.
    pub fn collect(&mut self) {
        self.tasks = 0;
        // A finalizer that raises is reported by CPython itself; there is nothing more to say here.
        drop(self.collect.call(&[]));
    }
}
