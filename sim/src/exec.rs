//! The executor: which of the tasks that could go on does so next is drawn from the seed.
//!
//! Tasks are those that the server spawns: its accept loop and one for each connection. An executor on one thread with a
//! random pick makes each order of steps possible that real threads could produce between two awaits. It never looks at a
//! clock and never runs more than one poll at a time, so that the oracles can look in between.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use async_task::{Builder, Runnable};
use polygil::server::env::Spawn;

/// The number of a task, in the order they were spawned.
pub type TaskId = u32;

#[derive(Default)]
struct Queue {
    ready: Vec<Runnable<TaskId>>,
    spawned: TaskId,
}

/// Gives out handles to spawn with, and runs what is ready.
#[derive(Clone, Default)]
pub struct Executor(Arc<Mutex<Queue>>);

impl Executor {
    fn with<R>(&self, change: impl FnOnce(&mut Queue) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many tasks could go on.
    pub fn ready(&self) -> usize {
        self.with(|queue| queue.ready.len())
    }

    /// Polls the ready task at that place and gives its number.
    pub fn run(&self, place: usize) -> TaskId {
        let runnable = self.with(|queue| queue.ready.swap_remove(place));
        let id = *runnable.metadata();
        runnable.run();
        id
    }

    /// Spawns a task whose result is wanted.
    pub fn spawn_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> async_task::Task<T, TaskId> {
        let id = self.with(|queue| {
            queue.spawned += 1;
            queue.spawned - 1
        });
        let queue = self.0.clone();
        let schedule = move |runnable| queue.lock().unwrap_or_else(PoisonError::into_inner).ready.push(runnable);
        let (runnable, task) = Builder::new().metadata(id).spawn(move |_| future, schedule);
        runnable.schedule();
        task
    }

    /// Drops every task that is ready. Called at the end of a run, so that nothing keeps anything alive.
    pub fn clear(&self) {
        loop {
            let ready = self.with(|queue| std::mem::take(&mut queue.ready));
            if ready.is_empty() {
                return;
            }
            drop(ready);
        }
    }
}

impl Spawn for Executor {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_for(task).detach();
    }
}
