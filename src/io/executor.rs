//! The executor: connections are its tasks, and whichever thread does the I/O runs them.
//!
//! Others know nothing of lanes. This one lets a task say where it belongs when it is woken, which saves what a request would else pay
//! for having its handler run by somebody else:
//!
//! - A task that waits for what this thread's lane will bring lines up for after that turn ([`after_turn`]): it goes on while what it
//!   is made of is in the caches, and not when all other connections had theirs.
//! - A thread that has an answer to give takes the task along that waits for it ([`take_along`]), and runs it when it has put aside
//!   what it made the answer with: the answer is written by the thread that made it. Nobody has to be woken for that.
//!
//! Tasks are async-task's, the queues are [`Ready`]: that is where order and wakeups are.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;
use futures_lite::future;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::dispatch::ready::Ready;
use crate::server::env::Spawn;

/// Tasks that are run in a row before the thread looks at what else there is for it.
const RUNS_PER_LOOK: usize = 200;

/// Where a task that is woken by this thread goes.
#[derive(Default)]
enum Way {
    /// Behind all others.
    #[default]
    Later,
    /// Behind those that wait for the turn.
    AfterTurn,
    /// To the one who wakes it.
    Along,
    /// To the one who woke it, who has it now; the next goes behind all others.
    Taken(Runnable),
}

thread_local! {
    static WAY: Cell<Way> = const { Cell::new(Way::Later) };
}

/// See the module's text.
pub struct Executor {
    ready: Arc<Ready<Runnable>>,
    /// The wakers of all tasks that are not over.
    tasks: Arc<Mutex<Slab<Waker>>>,
}

impl Default for Executor {
    fn default() -> Executor {
        Executor::new()
    }
}

impl Executor {
    /// Without a task.
    pub fn new() -> Executor {
        Executor { ready: Arc::default(), tasks: Arc::default() }
    }

    /// Starts a task whose result is wanted. Dropping what this gives cancels it; so does dropping the executor.
    pub fn spawn_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> async_task::Task<T> {
        let mut tasks = lock(&self.tasks);
        let entry = tasks.vacant_entry();
        let registered = Registered { tasks: Arc::clone(&self.tasks), key: entry.key() };
        let future = Listed { future, _registered: registered };
        let ready = Arc::clone(&self.ready);
        let (runnable, task) = async_task::spawn(future, move |runnable| schedule(&ready, runnable));
        entry.insert(runnable.waker());
        drop(tasks);
        runnable.schedule();
        task
    }

    /// Runs a task, if one is ready. Those that wait for the turn are first.
    pub fn try_tick(&self) -> bool {
        run(self.ready.pop())
    }

    /// Runs a task, once one is ready.
    pub async fn tick(&self) {
        run(Some(self.ready.next().await));
    }

    /// Runs a task, if one is ready that does not wait for the turn.
    pub(super) fn try_tick_later(&self) -> bool {
        run(self.ready.pop_later())
    }

    /// The turn is over: runs the tasks that have waited for it, and says how many. What comes meanwhile waits for the next.
    pub(super) fn tick_after_turn(&self) -> usize {
        (0..self.ready.waiting_for_turn()).take_while(|_| run(self.ready.pop_after_turn())).count()
    }

    /// Runs tasks until `until` is ready.
    pub async fn run<T>(&self, until: impl Future<Output = T>) -> T {
        let forever = async {
            loop {
                for _ in 0..RUNS_PER_LOOK {
                    self.tick().await;
                }
                future::yield_now().await;
            }
        };
        future::or(until, forever).await
    }
}

fn run(runnable: Option<Runnable>) -> bool {
    let Some(runnable) = runnable else { return false };
    WAY.set(Way::Later);
    runnable.run();
    WAY.set(Way::Later);
    true
}

fn schedule(ready: &Ready<Runnable>, runnable: Runnable) {
    match WAY.take() {
        Way::Later => ready.push(runnable),
        Way::AfterTurn => ready.push_after_turn(runnable),
        Way::Along => WAY.set(Way::Taken(runnable)),
        Way::Taken(before) => {
            WAY.set(Way::Taken(before));
            ready.push(runnable);
        }
    }
}

/// Has the task that calls this go on after the turn of this thread at its lane.
pub(crate) async fn after_turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        // It is queued when it has given way, which it does at once.
        WAY.set(Way::AfterTurn);
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Calls `wake`, and takes the first task along that it wakes: this thread is to run it, soon.
pub fn take_along<R>(wake: impl FnOnce() -> R) -> (R, Option<Along>) {
    let before = WAY.replace(Way::Along);
    let result = wake();
    let along = match WAY.replace(before) {
        Way::Taken(runnable) => Some(Along(Some(runnable))),
        _ => None,
    };
    (result, along)
}

/// A task that was taken along. When it is dropped instead of run, any thread may run it, as if it had not been taken.
pub struct Along(Option<Runnable>);

impl Along {
    /// Runs it until it waits for something.
    pub fn run(mut self) {
        run(self.0.take());
    }
}

impl Drop for Along {
    fn drop(&mut self) {
        if let Some(runnable) = self.0.take() {
            runnable.schedule();
        }
    }
}

impl Spawn for Arc<Executor> {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_for(task).detach();
    }
}

/// Dropping what a task was made of may wake others, and drop their wakers.
impl Drop for Executor {
    fn drop(&mut self) {
        let wakers: Vec<Waker> = lock(&self.tasks).drain().collect();
        wakers.into_iter().for_each(Waker::wake);
        while let Some(runnable) = self.ready.pop() {
            drop(runnable);
        }
    }
}

pin_project! {
    /// What a task does, and that it is not over. An async block around the future would keep room for it twice.
    struct Listed<F> {
        #[pin]
        future: F,
        _registered: Registered,
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// In the list of tasks until it is dropped.
struct Registered {
    tasks: Arc<Mutex<Slab<Waker>>>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Unless the executor is gone.
        let waker = lock(&self.tasks).try_remove(self.key);
        drop(waker);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn note(log: &Log, what: &'static str) {
        lock(log).push(what);
    }

    #[test]
    fn who_waits_for_the_turn_goes_on_before_the_others_and_only_when_it_is_over() {
        let (executor, log) = (Executor::new(), Log::default());
        for (before, after) in [("a reads", "a writes"), ("b reads", "b writes")] {
            let log = Arc::clone(&log);
            let task = async move {
                note(&log, before);
                after_turn().await;
                note(&log, after);
            };
            executor.spawn_for(task).detach();
        }
        assert!(executor.try_tick_later());
        let third = Arc::clone(&log);
        executor.spawn_for(async move { note(&third, "c reads") }).detach();
        assert!(executor.try_tick_later());
        assert_eq!(executor.tick_after_turn(), 2);
        assert_eq!(*lock(&log), ["a reads", "b reads", "a writes", "b writes"]);
        assert!(executor.try_tick());
        assert!(!executor.try_tick() && !executor.try_tick_later());
        assert_eq!(lock(&log)[4..], ["c reads"]);
    }

    #[test]
    fn a_task_that_waits_for_the_next_turn_has_to_wait_for_it() {
        let executor = Executor::new();
        let task = async {
            after_turn().await;
            after_turn().await;
        };
        let task = executor.spawn_for(task);
        assert!(executor.try_tick_later());
        assert_eq!((executor.tick_after_turn(), task.is_finished()), (1, false));
        assert_eq!((executor.tick_after_turn(), task.is_finished()), (1, true));
        assert_eq!(executor.tick_after_turn(), 0);
    }

    #[test]
    fn any_thread_takes_what_waits_for_a_turn_that_does_not_come() {
        let executor = Arc::new(Executor::new());
        executor.spawn_for(after_turn()).detach();
        assert!(executor.try_tick_later() && !executor.try_tick_later());
        let other = Arc::clone(&executor);
        assert!(std::thread::spawn(move || other.try_tick()).join().unwrap());
        assert!(!executor.try_tick());
    }

    #[test]
    fn who_wakes_a_task_can_take_it_along() {
        let (executor, log) = (Executor::new(), Log::default());
        let (wake, woken) = smol::channel::bounded::<()>(1);
        let task = Arc::clone(&log);
        let task = async move {
            woken.recv().await.unwrap();
            note(&task, "goes on");
            future::yield_now().await;
            note(&task, "and on");
        };
        executor.spawn_for(task).detach();
        assert!(executor.try_tick());
        let ((), along) = take_along(|| {
            wake.try_send(()).unwrap();
            note(&log, "wakes");
        });
        assert!(!executor.try_tick());
        along.expect("it was woken").run();
        assert_eq!(*lock(&log), ["wakes", "goes on"]);
        assert!(executor.try_tick(), "what it wakes itself is queued");
        assert_eq!(lock(&log)[2..], ["and on"]);
    }

    #[test]
    fn nobody_is_taken_along_but_the_first_and_only_by_who_said_so() {
        let (executor, count) = (Executor::new(), Arc::new(AtomicUsize::new(0)));
        let (wake, woken) = smol::channel::unbounded::<()>();
        for _ in 0..3 {
            let (woken, count) = (woken.clone(), Arc::clone(&count));
            executor.spawn_for(async move { woken.recv().await.map(|()| count.fetch_add(1, SeqCst)) }).detach();
        }
        while executor.try_tick() {}
        let ((), along) = take_along(|| (0..2).for_each(|_| wake.try_send(()).unwrap()));
        along.expect("one was woken").run();
        assert_eq!(count.load(SeqCst), 1);
        wake.try_send(()).unwrap();
        assert_eq!(count.load(SeqCst), 1);
        while executor.try_tick() {}
        assert_eq!(count.load(SeqCst), 3);
    }

    #[test]
    fn who_is_taken_along_and_not_run_is_run_by_others() {
        let executor = Executor::new();
        let (wake, woken) = smol::channel::bounded::<()>(1);
        let task = executor.spawn_for(async move { woken.recv().await });
        assert!(executor.try_tick());
        drop(take_along(|| wake.try_send(()).unwrap()));
        assert!(executor.try_tick() && task.is_finished());
        assert!(take_along(|| ()).1.is_none(), "nobody was woken");
    }

    #[test]
    fn run_runs_until_it_is_told_to_stop_and_gives_way_meanwhile() {
        let executor = Executor::new();
        let busy = executor.spawn_for(async {
            loop {
                future::yield_now().await;
            }
        });
        let mut looks = 0;
        let until = poll_fn(|cx| {
            looks += 1;
            cx.waker().wake_by_ref();
            if looks == 3 { Poll::Ready("stopped") } else { Poll::Pending }
        });
        assert_eq!(future::block_on(executor.run(until)), "stopped");
        assert!(!busy.is_finished());
    }

    #[test]
    fn tasks_end_with_the_executor_wherever_they_wait() {
        let (executor, alive) = (Executor::new(), Arc::new(()));
        for begun in [true, false] {
            let alive = Arc::clone(&alive);
            let task = async move {
                future::pending::<()>().await;
                drop(alive);
            };
            executor.spawn_for(task).detach();
            assert!(!begun || executor.try_tick());
        }
        let over = executor.spawn_for(async {});
        while executor.try_tick() {}
        assert!(over.is_finished());
        assert_eq!((Arc::strong_count(&alive), lock(&executor.tasks).len()), (3, 2));
        drop(executor);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
