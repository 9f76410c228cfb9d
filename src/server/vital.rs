//! Threads that a server cannot do without, and what becomes of it when one is lost; and whether its I/O turns.
//!
//! A thread of polygil's own that panics is a bug. Worse than its end would be its silence: a server that accepts and never answers,
//! or that nobody can stop. So each runs inside [`App::guard`]. When one is lost, health says so at once, the log says why, and the
//! server drains by whatever is left of it, and exits non-zero.
//!
//! Health must be true also of threads that live and do nothing. So whoever asks from outside ([`admin`](super::admin)) has the I/O
//! answer: a task goes through its executor and its timers and says that it was there ([`Probe`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use super::overview::Health;

/// How long a probe of the I/O may take to come back. A busy server's takes milliseconds.
pub(super) const TURN_MAX: Duration = Duration::from_secs(2);

impl App {
    /// Says what to do when the server cannot go on: it is to be told to stop. Once; a later call changes nothing.
    pub fn on_loss(&self, stop: impl Fn() + Send + Sync + 'static) {
        drop(self.stop.set(Box::new(stop)));
    }

    /// Runs what a thread is for. None when it panicked: then the server is on its way to its end.
    pub fn guard<T>(&self, thread: &str, body: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(body)).ok();
        if result.is_none() {
            self.lost(thread);
        }
        result
    }

    /// A thread is gone that the server needs.
    pub fn lost(&self, thread: &str) {
        let reason = format!("{thread} panicked, which is a bug in polygil");
        self.health.fail(&reason);
        tracing::error!("{reason}: the server stops");
        if let Some(stop) = self.stop.get() {
            stop();
        }
    }

    /// Why a server that is ready could not serve at this moment, if it could not. Waits for the I/O, for `patience` at most.
    pub(super) fn obstacle(&self, patience: Duration) -> Option<String> {
        if self.health.get() != Health::Ready {
            return None;
        }
        if self.workers.get().is_some_and(|now| now().serving == 0) {
            return Some("no worker takes tasks".to_owned());
        }
        let silent = self.probe.ask(patience, |answer| {
            let task = async move {
                // Not only the queue of tasks, the timers as well.
                async_io::Timer::after(Duration::from_millis(1)).await;
                answer.give();
            };
            self.io.executor.spawn_for(task).detach();
        })?;
        Some(format!("the I/O has not turned for {} ms", silent.as_millis()))
    }
}

/// The last question to the I/O.
#[derive(Default)]
pub(super) struct Probe {
    asked: Mutex<Option<(Instant, Arc<Answer>)>>,
}

/// Whether it was answered.
#[derive(Default)]
pub(super) struct Answer {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Probe {
    /// Asks by `send`, unless a question is still open, and waits for the answer. None when it came; else since when it is missing,
    /// if that is longer than [`TURN_MAX`] or the patience.
    fn ask(&self, patience: Duration, send: impl FnOnce(Arc<Answer>)) -> Option<Duration> {
        let (since, answer) = {
            let mut asked = lock(&self.asked);
            match &*asked {
                Some((since, answer)) if !*lock(&answer.given) => (*since, Arc::clone(answer)),
                _ => {
                    let (since, answer) = (Instant::now(), Arc::<Answer>::default());
                    *asked = Some((since, Arc::clone(&answer)));
                    send(Arc::clone(&answer));
                    (since, answer)
                }
            }
        };
        let given = lock(&answer.given);
        let waited = answer.changed.wait_timeout_while(given, patience, |given| !*given);
        let (given, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let silent = since.elapsed();
        (!*given && (silent >= TURN_MAX || patience >= TURN_MAX)).then_some(silent)
    }
}

impl Answer {
    fn give(&self) {
        *lock(&self.given) = true;
        self.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_and_a_missing_one_is_told() {
        let probe = Probe::default();
        let at_once = probe.ask(Duration::from_secs(60), |answer| {
            std::thread::spawn(move || answer.give());
        });
        assert_eq!(at_once, None);
        let never = Mutex::new(None);
        assert_eq!(probe.ask(Duration::ZERO, |answer| *lock(&never) = Some(answer)), None, "it is too early to say");
        let silent = probe.ask(TURN_MAX, |_| unreachable!("a question is open"));
        assert!(silent >= Some(TURN_MAX));
        assert!(probe.ask(Duration::ZERO, |_| unreachable!("it still is")) >= Some(TURN_MAX));
        never.into_inner().unwrap().expect("it was asked").give();
        assert_eq!(probe.ask(Duration::from_secs(60), |answer| answer.give()), None);
    }
}
