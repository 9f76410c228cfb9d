//! The pool: where a task is put, when it is refused, and who is woken for it.
//!
//! It has one bounded lane for each worker and one bounded overflow queue for all. All of them are multi-producer and
//! multi-consumer, so several I/O threads may submit, and an idle worker may take a task from any of them.
//!
//! **Placement** says which lane a task is put into; it matters for how often a worker finds its next task in its own cache,
//! and for order, not for whether a task waits although a worker is idle: see stealing in `worker.rs`. When the lane is full,
//! the overflow queue takes the task, then any other lane that has room: a task is refused only when every queue is full. As
//! long as something waits in the overflow queue, new tasks queue up behind it, so that under load the pool behaves as one
//! queue and no newcomer gets ahead of those who were sent to the overflow.
//!
//! **Waking.** After the push, one sleeper is woken if there is one: the lane's own worker if it sleeps, else another, who will
//! take the task from wherever it is. So a task waits only while every worker is busy, with every placement.
//!
//! **Closing** closes each queue; a queue that is closed accepts nothing and gives out what it has. A push and the close of
//! its queue are both steps of that queue, so there is no moment at which a task is accepted that no worker will look for.
//!
//! **Room taken by the dead.** A task whose caller has left is dropped when a worker comes across it. When no worker comes,
//! because all of them are busy, it would keep its place from others: so when every queue is full and callers have left
//! ([`Pool::caller_left`]), `submit` looks for such tasks, drops those of the first queue that has any, and puts its own in their room.

use concurrent_queue::{ConcurrentQueue, PushError};

use super::counters::{Counters, Ledger, add, read};
use super::lane::{Lane, State, Waiting, fence_after_push};
use super::sync::{Arc, AtomicUsize, Count, Mutex, Ordering, broken, lock, whole};
use super::worker::Worker;

/// Which lane a task is put into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest tasks, the one that runs included.
    LeastLoaded,
    /// One whose worker has nothing to do. When all are busy, none: the task goes to the overflow queue, so that whoever is done
    /// first takes the oldest, and into the lanes in turn when that is full. The default: first come, first served, as with one
    /// central queue. With the others some overtake and a few wait longer, which shows at p999.
    #[default]
    IdleFirst,
}

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Lanes, each for one worker. At least 1; 0 is taken for 1.
    pub workers: usize,
    /// Tasks that may wait in each lane. At least 1; 0 is taken for 1.
    pub lane_depth: usize,
    /// Tasks that may wait in the overflow queue, which is there for all workers. 0 is no overflow queue.
    pub overflow_depth: usize,
    /// Which lane a task is put into.
    pub placement: Placement,
}

/// A task that was not taken, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// Every queue is full.
    Full(T),
    /// The pool is closed.
    Closed(T),
}

/// Queues between the I/O threads and a fixed number of workers. See the module's text.
pub struct Pool<T> {
    pub(super) lanes: Box<[Lane<T>]>,
    pub(super) overflow: Option<ConcurrentQueue<Waiting<T>>>,
    /// Workers that sleep, or are on their way to it. Written only around sleep, so that reading it costs nothing.
    pub(super) sleeping: Aligned<AtomicUsize>,
    pub(super) ledger: Aligned<Ledger>,
    /// Counts submissions; the number is the task's ticket, and round robin's turn.
    submitted: Aligned<Count>,
    /// A hint: waiting tasks whose callers have left, as far as anybody has said so.
    left: Count,
    /// Held by the one who moves tasks about inside a queue, and to close the queues.
    sweeping: Mutex<()>,
    stale: fn(&T) -> bool,
    placement: Placement,
}

/// Keeps what different threads write apart.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Aligned<V>(pub(super) V);

impl<T> Pool<T> {
    /// A pool whose tasks are all worth running.
    pub fn new(options: PoolOptions) -> Arc<Self> {
        Pool::with_stale(options, |_| false)
    }

    /// A pool in which a waiting task for which `stale` holds is dropped and counted as expired instead of being run: nobody
    /// waits for its answer any more. Once true of a task it must stay true.
    pub fn with_stale(options: PoolOptions, stale: fn(&T) -> bool) -> Arc<Self> {
        let lanes = (0..options.workers.max(1)).map(|_| Lane::new(options.lane_depth)).collect();
        let overflow = (options.overflow_depth > 0).then(|| ConcurrentQueue::bounded(options.overflow_depth));
        Arc::new(Pool {
            lanes,
            overflow,
            sleeping: Aligned(AtomicUsize::new(0)),
            ledger: Aligned::default(),
            submitted: Aligned::default(),
            left: Count::new(0),
            sweeping: Mutex::new(()),
            stale,
            placement: options.placement,
        })
    }

    /// Puts a task into a queue and sees to it that a worker will take it. Never blocks; makes a system call only when a worker
    /// sleeps. A task that is not taken comes back.
    pub fn submit(&self, task: T) -> Result<(), Refused<T>> {
        let ticket = self.submitted.0.fetch_add(1, Ordering::Relaxed);
        self.submit_numbered(ticket, task)
    }

    fn submit_numbered(&self, ticket: u64, task: T) -> Result<(), Refused<T>> {
        let (home, overflow_first) = self.place(ticket);
        match self.put(home, overflow_first, Waiting { ticket, task }) {
            Ok(()) => {
                self.announce_from(home);
                Ok(())
            }
            Err(refused) => {
                add(&self.ledger.0.refused, 1);
                Err(refused)
            }
        }
    }

    /// As [`Pool::submit`], without waking anybody, if there is room in lane `index` and nothing waits in the overflow queue.
    ///
    /// Only for the thread of that lane's worker, between two steps: it is awake, and looks into its lane before it sleeps. If
    /// it is going to do something else for longer it says so by [`Worker::call_others`].
    pub fn submit_own(&self, index: usize, task: T) -> Result<(), Refused<T>> {
        if self.overflow.as_ref().is_some_and(|overflow| !overflow.is_empty()) {
            return self.submit(task);
        }
        let ticket = self.submitted.0.fetch_add(1, Ordering::Relaxed);
        match whole(|| self.lanes[index].queue.push(Waiting { ticket, task })) {
            Ok(()) => Ok(()),
            Err(PushError::Closed(waiting)) => {
                add(&self.ledger.0.refused, 1);
                Err(Refused::Closed(waiting.task))
            }
            Err(PushError::Full(waiting)) => self.submit_numbered(ticket, waiting.task),
        }
    }

    /// The worker of lane `index` (taken modulo the number of lanes). An older worker of that lane is told to exit from now on,
    /// wakes up if it slept, and what it runs is counted as abandoned.
    pub fn worker(self: &Arc<Self>, index: usize) -> Worker<T> {
        let index = index % self.lanes.len();
        let (epoch, old) = self.lanes[index].replace();
        match old {
            State::Parked => self.somebody_rose(),
            State::Running => add(&self.ledger.0.abandoned, 1),
            State::Looking | State::Notified => {}
        }
        // The old one may have been woken for a task that it will not take now.
        if !broken("replace_drops_token") {
            self.announce_from(index);
        }
        Worker::new(Arc::clone(self), index, epoch)
    }

    /// Accepts no more tasks. Workers are told to exit once every queue is empty.
    pub fn close(&self) {
        // Not while a sweep has tasks in its hands, which it must be able to put back; nor could a queue be closed under a
        // `force_push`, which stores the tail as a whole and with it a mark that says "open".
        let sweeping = lock(&self.sweeping);
        for lane in &self.lanes {
            lane.queue.close();
        }
        if let Some(overflow) = &self.overflow {
            overflow.close();
        }
        drop(sweeping);
        fence_after_push();
        if broken("close_without_wake") {
            return;
        }
        for lane in &self.lanes {
            if lane.notify() {
                self.somebody_rose();
            }
        }
    }

    /// Whether `submit` would find room now. For a decision that is to be made before a task exists: the answer may be out of
    /// date by the time it does.
    pub fn has_room(&self) -> bool {
        let has_room = |queue: &ConcurrentQueue<_>| !queue.is_closed() && !queue.is_full();
        let callers_left = self.left.load(Ordering::Relaxed) > 0;
        self.queues().any(has_room) || (callers_left && !self.is_closed())
    }

    /// Whether the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.queues().all(ConcurrentQueue::is_closed)
    }

    /// Tells the pool that the caller of a task which may still wait has left, so that the task's place is worth looking for
    /// when every queue is full. A hint: too many of them cost a search.
    pub fn caller_left(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Tasks that wait.
    pub fn depth(&self) -> usize {
        self.queues().map(ConcurrentQueue::len).sum()
    }

    /// Tasks that wait in each lane, by worker; what waits in the overflow queue is not among them.
    pub fn lane_depths(&self) -> Vec<usize> {
        self.lanes.iter().map(|lane| lane.queue.len()).collect()
    }

    /// Which workers run a task now.
    pub fn busy(&self) -> Vec<bool> {
        self.lanes.iter().map(|lane| lane.state() == State::Running).collect()
    }

    /// The numbers so far.
    pub fn counters(&self) -> Counters {
        let ledger = &self.ledger.0;
        Counters {
            submitted: read(&self.submitted.0),
            completed: read(&ledger.completed),
            refused: read(&ledger.refused),
            expired: read(&ledger.expired),
            abandoned: read(&ledger.abandoned),
            waiting: self.depth() as u64,
            running: self.lanes.iter().filter(|lane| lane.state() == State::Running).count() as u64,
        }
    }

    /// Takes out every task that waits, for when no worker is left to run them. They are counted as abandoned.
    pub fn fail_all_waiting(&self) -> Vec<T> {
        // Not while a sweep has one in its hands.
        let _sweeping = lock(&self.sweeping);
        let mut tasks = Vec::new();
        for queue in self.queues() {
            while let Ok(waiting) = whole(|| queue.pop()) {
                tasks.push(waiting.task);
            }
        }
        add(&self.ledger.0.abandoned, tasks.len() as u64);
        tasks
    }

    /// Every queue.
    pub(super) fn queues(&self) -> impl Iterator<Item = &ConcurrentQueue<Waiting<T>>> {
        self.lanes.iter().map(|lane| &lane.queue).chain(&self.overflow)
    }

    /// Whether a task is to be dropped rather than run; then it is counted.
    pub(super) fn is_stale(&self, task: &T) -> bool {
        let stale = (self.stale)(task);
        if stale {
            add(&self.ledger.0.expired, 1);
            // Down to zero at most: it is a hint, and may have been reset meanwhile.
            let less = |left: u64| left.checked_sub(1);
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        stale
    }

    /// After a push to a queue: wakes one sleeper, if there is one, the worker of lane `first` rather than another.
    pub(super) fn announce_from(&self, first: usize) {
        fence_after_push();
        if self.sleeping.0.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (before, from) = self.lanes.split_at(first);
        let asked = if broken("own_sleeper_only") { 1 } else { self.lanes.len() };
        if from.iter().chain(before).take(asked).any(Lane::notify) {
            self.somebody_rose();
        }
    }

    /// If anything waits, wakes one sleeper, the worker of lane `first` rather than another: for the tasks that a worker put into its
    /// own lane ([`Pool::submit_own`]) and does not come to run.
    pub fn call_workers(&self, first: usize) {
        fence_after_push();
        if self.queues().any(|queue| !queue.is_empty()) {
            self.announce_from(first);
        }
    }

    /// Somebody who slept does so no more.
    pub(super) fn somebody_rose(&self) {
        self.sleeping.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// The lane for the task with this ticket, and whether the overflow queue comes before it.
    fn place(&self, ticket: u64) -> (usize, bool) {
        let lanes = self.lanes.len();
        let turn = (ticket % lanes as u64) as usize;
        let mut in_turn = (turn..lanes).chain(0..turn);
        let home = match self.placement {
            Placement::RoundRobin => Some(turn),
            Placement::LeastLoaded => in_turn.min_by_key(|index| self.lanes[*index].load()),
            Placement::IdleFirst => in_turn.find(|index| self.lanes[*index].load() == 0),
        };
        let newcomers_queue_up = self.overflow.as_ref().is_some_and(|overflow| !overflow.is_empty());
        (home.unwrap_or(turn), home.is_none() || newcomers_queue_up)
    }

    /// Puts a task where there is room, beginning with lane `home` or with the overflow queue.
    fn put(&self, home: usize, overflow_first: bool, mut waiting: Waiting<T>) -> Result<(), Refused<T>> {
        let lane = Some(&self.lanes[home].queue);
        let overflow = self.overflow.as_ref();
        let (first, second) = if overflow_first { (overflow, lane) } else { (lane, overflow) };
        let others = self.lanes.iter().enumerate().filter(|(index, _)| *index != home).map(|(_, lane)| &lane.queue);
        for queue in first.into_iter().chain(second).chain(others) {
            match whole(|| queue.push(waiting)) {
                Ok(()) => return Ok(()),
                Err(PushError::Full(back)) => waiting = back,
                Err(PushError::Closed(back)) => return Err(Refused::Closed(back.task)),
            }
        }
        if self.left.load(Ordering::Relaxed) == 0 {
            return Err(Refused::Full(waiting.task));
        }
        self.sweep(waiting)
    }

    /// Looks through the full queues for tasks that nobody waits for any more, drops those of the first queue that has any, and puts
    /// this one behind the others there.
    fn sweep(&self, mut waiting: Waiting<T>) -> Result<(), Refused<T>> {
        let _sweeping = (!broken("sweep_without_lock")).then(|| lock(&self.sweeping));
        for queue in self.queues() {
            match self.turn_around(queue, waiting) {
                Ok(()) => return Ok(()),
                Err(PushError::Full(back)) => waiting = back,
                Err(PushError::Closed(back)) => return Err(Refused::Closed(back.task)),
            }
        }
        self.left.store(0, Ordering::Relaxed);
        Err(Refused::Full(waiting.task))
    }

    /// Turns a full queue around once, without those that nobody waits for, so that all others keep their order, and puts this task
    /// behind them if that has made room.
    ///
    /// A queue cannot be searched in place. So this task is pushed to the back, which pushes the front out and into the hand; that is
    /// pushed to the back in turn, and so on, until this task is in the hand again. No task is ever without a place for want of
    /// room: each is pushed in exchange, or into the room of one that was dropped. For the one exception see [`Pool::put_back`].
    fn turn_around(
        &self,
        queue: &ConcurrentQueue<Waiting<T>>,
        waiting: Waiting<T>,
    ) -> Result<(), PushError<Waiting<T>>> {
        let own = waiting.ticket;
        // `close` waits for the sweep, so a queue that is closed was so before it began, and the hand holds its own.
        let exchange = |task| whole(|| queue.force_push(task)).map_err(|closed| PushError::Closed(closed.0));
        let Some(front) = exchange(waiting)? else { return Ok(()) };
        let mut hand = Some(front);
        // No more than the queue holds can be before this task, unless workers that take some meanwhile have taken it, too.
        for _ in 0..=queue.capacity().unwrap_or(0) {
            let Some(front) = hand.take().or_else(|| whole(|| queue.pop()).ok()) else { return Ok(()) };
            if front.ticket == own {
                return whole(|| queue.push(front));
            }
            if !self.is_stale(&front.task) {
                hand = exchange(front)?;
            }
        }
        if let Some(front) = hand {
            self.put_back(front);
        }
        Ok(())
    }

    /// Finds a place for what a search has in hand when a worker has taken the task that the search was for, and other submitters the
    /// room that it left. If no queue has room there is one task more than there are places, and this one is abandoned: to wait for
    /// a worker would be to do no I/O until a handler ends.
    fn put_back(&self, mut waiting: Waiting<T>) {
        for queue in self.queues() {
            match whole(|| queue.push(waiting)) {
                Ok(()) => return,
                Err(back) => waiting = back.into_inner(),
            }
        }
        add(&self.ledger.0.abandoned, 1);
    }
}

impl<T> Lane<T> {
    /// Tasks that the lane's worker has before it, the one that it runs included.
    fn load(&self) -> usize {
        self.queue.len() + usize::from(self.state() == State::Running)
    }
}
