//! Placement, limits, order, stealing, closing, epochs and counts, one step at a time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dispatch::{Counters, Placement, Pool, PoolOptions, Refused, Step, Worker};

fn options(workers: usize, lane_depth: usize, overflow_depth: usize) -> PoolOptions {
    PoolOptions { workers, lane_depth, overflow_depth, placement: Placement::RoundRobin }
}

fn pool(workers: usize, lane_depth: usize, overflow_depth: usize) -> Arc<Pool<u32>> {
    Pool::new(options(workers, lane_depth, overflow_depth))
}

fn workers<T>(pool: &Arc<Pool<T>>, count: usize) -> Vec<Worker<T>> {
    (0..count).map(|index| pool.worker(index)).collect()
}

fn submit_all(pool: &Pool<u32>, tasks: impl IntoIterator<Item = u32>) {
    tasks.into_iter().for_each(|task| pool.submit(task).unwrap());
}

/// Runs everything there is and gives it in the order in which it ran.
fn run_all(worker: &mut Worker<u32>) -> Vec<u32> {
    let step = || match worker.step() {
        Step::Run(task) => Some(task),
        Step::Park | Step::Exit => None,
    };
    std::iter::from_fn(step).collect()
}

#[test]
fn round_robin_gives_each_lane_its_turn() {
    let pool = pool(3, 4, 0);
    submit_all(&pool, 0..7);
    assert_eq!(pool.lane_depths(), [3, 2, 2]);
    assert_eq!(pool.depth(), 7);
}

#[test]
fn least_loaded_takes_the_shortest_lane_and_counts_the_running_task() {
    let pool = Pool::new(PoolOptions { placement: Placement::LeastLoaded, ..options(2, 4, 0) });
    let mut workers = workers(&pool, 2);
    pool.submit(0).unwrap();
    assert_eq!(workers[0].step(), Step::Run(0));
    assert_eq!(pool.busy(), [true, false]);
    // Ticket 1 and 2: lane 1 has nothing, then one task as lane 0 has one that runs; it is lane 0's turn.
    pool.submit(1).unwrap();
    assert_eq!(pool.lane_depths(), [0, 1]);
    pool.submit(2).unwrap();
    assert_eq!(pool.lane_depths(), [1, 1]);
    pool.submit(3).unwrap();
    assert_eq!(pool.lane_depths(), [1, 2]);
}

#[test]
fn idle_first_takes_an_idle_worker_and_else_the_overflow_queue() {
    let pool = Pool::new(PoolOptions { placement: Placement::IdleFirst, ..options(3, 4, 2) });
    let mut workers = workers(&pool, 3);
    pool.submit(0).unwrap();
    assert_eq!(workers[0].step(), Step::Run(0));
    submit_all(&pool, 1..3);
    assert_eq!(pool.lane_depths(), [0, 1, 1]);
    // Nobody is idle any more.
    submit_all(&pool, 3..5);
    assert_eq!((pool.lane_depths(), pool.depth()), (vec![0, 1, 1], 4));
    // Nor is there room in the overflow queue: tickets 5, 6 and 7 go in turn.
    submit_all(&pool, 5..8);
    assert_eq!(pool.lane_depths(), [1, 2, 2]);
    // Idle again, but there are tasks that came before.
    assert_eq!(run_all(&mut workers[0]).len(), 7);
    assert_eq!(pool.depth(), 0);
    submit_all(&pool, [8]);
    assert_eq!(pool.lane_depths(), [0, 0, 1]);
}

#[test]
fn idle_first_without_overflow_queue_goes_in_turn() {
    let pool = Pool::new(PoolOptions { placement: Placement::IdleFirst, ..options(2, 4, 0) });
    submit_all(&pool, 0..5);
    assert_eq!(pool.lane_depths(), [3, 2]);
}

#[test]
fn a_full_lane_flows_over_and_a_task_is_refused_only_when_all_is_full() {
    let pool = pool(2, 1, 2);
    // Lane 0, lane 1, overflow, overflow; nothing is left.
    for (task, depths, has_room) in [(0, [1, 0], true), (1, [1, 1], true), (2, [1, 1], true), (3, [1, 1], false)] {
        pool.submit(task).unwrap();
        assert_eq!(pool.lane_depths(), depths);
        assert_eq!(pool.has_room(), has_room);
    }
    assert_eq!(pool.submit(4), Err(Refused::Full(4)));
    assert_eq!(pool.depth(), 4);
    let mut worker = pool.worker(0);
    assert_eq!(worker.step(), Step::Run(0));
    assert!(pool.has_room());
    // Lane 0 has room, and the overflow queue has not: those in it came before, but there is no place behind them.
    pool.submit(5).unwrap();
    assert_eq!(pool.lane_depths(), [1, 1]);
    assert_eq!(pool.submit(6), Err(Refused::Full(6)));
}

#[test]
fn a_full_lane_without_overflow_queue_flows_into_the_others() {
    let pool = pool(2, 2, 0);
    let mut worker = pool.worker(1);
    submit_all(&pool, 0..4);
    assert_eq!(worker.step(), Step::Run(1));
    assert_eq!(pool.lane_depths(), [2, 1]);
    pool.submit(4).unwrap();
    assert_eq!(pool.lane_depths(), [2, 2]);
    assert_eq!(pool.submit(5), Err(Refused::Full(5)));
}

#[test]
fn newcomers_queue_up_behind_the_overflow_queue() {
    let pool = pool(1, 1, 4);
    let mut worker = pool.worker(0);
    submit_all(&pool, 0..2);
    assert_eq!(worker.step(), Step::Run(0));
    assert_eq!(pool.lane_depths(), [0]);
    submit_all(&pool, 2..4);
    assert_eq!(pool.lane_depths(), [0]);
    assert_eq!(run_all(&mut worker), [1, 2, 3]);
}

#[test]
fn a_lane_is_first_in_first_out_across_its_wraparound() {
    let pool = pool(1, 3, 0);
    let mut worker = pool.worker(0);
    let mut next = 0;
    for round in 0..10 {
        let count = round % 3 + 1;
        submit_all(&pool, next..next + count);
        assert_eq!(run_all(&mut worker), (next..next + count).collect::<Vec<_>>());
        next += count;
    }
}

#[test]
fn an_idle_worker_steals() {
    let pool = pool(3, 4, 0);
    let mut workers = workers(&pool, 3);
    submit_all(&pool, 0..6);
    assert_eq!(run_all(&mut workers[1]), [1, 4, 2, 5, 0, 3]);
    assert_eq!(workers[0].step(), Step::Park);
    assert_eq!(pool.counters().completed, 6);
}

#[test]
fn no_queue_starves_while_a_lane_is_never_empty() {
    let pool = pool(2, 64, 8);
    let mut worker = pool.worker(0);
    // Lane 0 and lane 1 get the even and the odd numbers.
    submit_all(&pool, 0..128);
    submit_all(&pool, 1000..1002);
    let ran: Vec<_> = (0..17).map(|_| worker.step()).collect();
    let expected = [0, 1000, 2, 1001, 4, 6, 8, 1, 10, 12, 14, 16, 18, 20, 22, 3, 24].map(Step::Run);
    assert_eq!(ran, expected);
}

#[test]
fn depths_of_zero_and_no_workers_are_taken_for_one() {
    let pool = pool(0, 0, 0);
    assert_eq!(pool.lane_depths(), [0]);
    assert_eq!(pool.submit(1), Ok(()));
    assert_eq!(pool.submit(2), Err(Refused::Full(2)));
    assert_eq!(pool.worker(7).index(), 0);
}

#[test]
fn a_worker_knows_its_lane() {
    let pool = pool(3, 1, 0);
    assert_eq!([0, 1, 2, 3, 7].map(|index| pool.worker(index).index()), [0, 1, 2, 0, 1]);
}

#[test]
fn a_closed_pool_takes_nothing_and_gives_out_what_it_has() {
    let pool = pool(2, 1, 1);
    let mut workers = workers(&pool, 2);
    submit_all(&pool, 0..3);
    assert!(!pool.is_closed());
    pool.close();
    pool.close();
    assert!(pool.is_closed());
    assert!(!pool.has_room());
    assert_eq!(pool.submit(3), Err(Refused::Closed(3)));
    assert_eq!(workers[0].step(), Step::Run(0));
    assert_eq!(workers[1].step(), Step::Run(1));
    assert_eq!(workers[1].step(), Step::Run(2));
    // Nobody waits for the task of another: it is in that one's hands.
    assert_eq!(workers[0].step(), Step::Exit);
    assert_eq!(workers[1].step(), Step::Exit);
    assert_eq!(workers[1].step(), Step::Exit);
    // Parking after the end is no trap.
    assert!(!workers[0].lie_down());
    workers[0].park();
    assert!(workers[0].park_timeout(Duration::from_secs(3600)));
    let expected = Counters { submitted: 4, completed: 3, refused: 1, ..Counters::default() };
    assert_eq!(pool.counters(), expected);
}

#[test]
fn parking_with_something_to_do_does_not_block() {
    let pool = pool(2, 1, 1);
    let mut worker = pool.worker(0);
    assert_eq!(worker.step(), Step::Park);
    submit_all(&pool, 0..2);
    assert!(!worker.lie_down());
    worker.park();
    assert!(worker.park_timeout(Duration::from_secs(3600)));
    assert_eq!(worker.step(), Step::Run(0));
    // A worker that parks although it was just given a task is told to look first.
    worker.park();
    assert_eq!(worker.step(), Step::Run(1));
    assert_eq!(worker.step(), Step::Park);
    assert!(!worker.park_timeout(Duration::ZERO));
}

#[test]
fn a_replaced_worker_exits_and_its_lane_goes_on() {
    let pool = pool(1, 4, 0);
    let mut old = pool.worker(0);
    submit_all(&pool, 0..3);
    assert_eq!(old.step(), Step::Run(0));
    assert_eq!(pool.counters().running, 1);
    let mut new = pool.worker(0);
    assert_eq!(pool.counters(), Counters { submitted: 3, abandoned: 1, waiting: 2, ..Counters::default() });
    assert_eq!(new.step(), Step::Run(1));
    assert_eq!(old.step(), Step::Exit);
    assert!(!old.lie_down());
    old.park();
    drop(old);
    assert_eq!(pool.busy(), [true]);
    assert_eq!(run_all(&mut new), [2]);
    assert_eq!(pool.counters(), Counters { submitted: 3, completed: 2, abandoned: 1, ..Counters::default() });
}

#[test]
fn a_worker_that_dies_leaves_its_lane_to_the_others() {
    let pool = pool(2, 4, 0);
    let mut workers = workers(&pool, 2);
    submit_all(&pool, 0..4);
    assert_eq!(workers[0].step(), Step::Run(0));
    drop(workers.remove(0));
    assert_eq!(pool.counters(), Counters { submitted: 4, abandoned: 1, waiting: 3, ..Counters::default() });
    assert_eq!(run_all(&mut workers[0]), [1, 3, 2]);
}

#[test]
fn fail_all_waiting_takes_out_everything() {
    let pool = pool(2, 1, 1);
    let mut worker = pool.worker(0);
    submit_all(&pool, 0..3);
    assert_eq!(worker.step(), Step::Run(0));
    assert_eq!(pool.fail_all_waiting(), [1, 2]);
    assert_eq!(pool.fail_all_waiting(), Vec::<u32>::new());
    assert_eq!(worker.step(), Step::Park);
    assert_eq!(pool.counters(), Counters { submitted: 3, completed: 1, abandoned: 2, ..Counters::default() });
    assert!(pool.counters().balance());
}

#[test]
fn a_task_that_was_not_started_is_counted_as_expired() {
    let pool = pool(1, 4, 0);
    let mut worker = pool.worker(0);
    worker.expired();
    submit_all(&pool, 0..2);
    assert_eq!(worker.step(), Step::Run(0));
    worker.expired();
    assert_eq!(worker.step(), Step::Run(1));
    assert_eq!(worker.step(), Step::Park);
    worker.expired();
    assert_eq!(worker.step(), Step::Park);
    assert_eq!(pool.counters(), Counters { submitted: 2, completed: 1, expired: 1, ..Counters::default() });
}

/// Odd numbers are waited for by nobody.
fn pool_with_stale(workers: usize, lane_depth: usize, overflow_depth: usize) -> Arc<Pool<u32>> {
    Pool::with_stale(options(workers, lane_depth, overflow_depth), |task| task % 2 == 1)
}

#[test]
fn a_stale_task_is_not_given_to_a_worker() {
    let pool = pool_with_stale(1, 4, 0);
    let mut worker = pool.worker(0);
    submit_all(&pool, [1, 2, 3, 5]);
    assert_eq!(worker.step(), Step::Run(2));
    assert_eq!(worker.step(), Step::Park);
    assert_eq!(pool.counters(), Counters { submitted: 4, completed: 1, expired: 3, ..Counters::default() });
}

#[test]
fn a_full_pool_gives_the_places_of_stale_tasks_to_others() {
    let pool = pool_with_stale(1, 3, 2);
    submit_all(&pool, [2, 1, 4, 6, 3]);
    // Nobody has said that a caller left, so nobody looks.
    assert!(!pool.has_room());
    assert_eq!(pool.submit(8), Err(Refused::Full(8)));
    pool.caller_left();
    assert!(pool.has_room());
    assert_eq!(pool.submit(8), Ok(()));
    assert!(!pool.has_room());
    assert_eq!(pool.submit(10), Err(Refused::Full(10)));
    pool.caller_left();
    assert_eq!(pool.submit(10), Ok(()));
    let mut worker = pool.worker(0);
    let mut ran = run_all(&mut worker);
    ran.sort_unstable();
    assert_eq!(ran, [2, 4, 6, 8, 10]);
    let expected = Counters { submitted: 9, completed: 5, refused: 2, expired: 2, ..Counters::default() };
    assert_eq!(pool.counters(), expected);
}

#[test]
fn a_search_that_finds_nothing_leaves_the_order_as_it_was_and_is_not_repeated() {
    let pool = pool_with_stale(1, 3, 2);
    submit_all(&pool, [2, 4, 6, 8, 10]);
    for _ in 0..3 {
        pool.caller_left();
    }
    assert!(pool.has_room());
    assert_eq!(pool.submit(12), Err(Refused::Full(12)));
    assert!(!pool.has_room());
    assert_eq!(pool.lane_depths(), [3]);
    let mut worker = pool.worker(0);
    // Every other take begins with the overflow queue.
    assert_eq!(run_all(&mut worker), [2, 8, 4, 10, 6]);
}

#[test]
fn a_search_that_finds_room_leaves_those_who_wait_in_their_order() {
    let pool = pool_with_stale(1, 6, 0);
    submit_all(&pool, [2, 4, 1, 6, 3, 8]);
    pool.caller_left();
    pool.caller_left();
    assert_eq!(pool.submit(10), Ok(()));
    assert_eq!(pool.lane_depths(), [5], "both places are free, and one is taken");
    assert_eq!(run_all(&mut pool.worker(0)), [2, 4, 6, 8, 10]);
    let expected = Counters { submitted: 7, completed: 5, expired: 2, ..Counters::default() };
    assert_eq!(pool.counters(), expected);
}

#[test]
fn a_closed_pool_is_not_searched() {
    let pool = pool_with_stale(1, 1, 0);
    submit_all(&pool, [1]);
    pool.caller_left();
    pool.close();
    assert!(!pool.has_room());
    assert_eq!(pool.submit(2), Err(Refused::Closed(2)));
    assert_eq!(pool.depth(), 1);
}

/// A search has other's tasks in its hand, one at a time: it is not the moment to close the queue that they go back to.
#[test]
fn a_close_waits_for_a_search() {
    /// What is done when somebody asks whether the task is stale. It never is.
    type Task = (u32, Option<Arc<dyn Fn() + Send + Sync>>);
    let pool: Arc<Pool<Task>> = Pool::with_stale(options(1, 2, 0), |(_, asked)| {
        asked.iter().for_each(|asked| asked());
        false
    });
    let (begin, begins) = std::sync::mpsc::channel();
    let closer = std::thread::spawn({
        let pool = Arc::clone(&pool);
        move || {
            begins.recv().unwrap();
            pool.close();
        }
    });
    let seen = Arc::downgrade(&pool);
    let asked = move || {
        begin.send(()).unwrap();
        let pool = seen.upgrade().unwrap();
        // It cannot be closed before this returns; if it can, it has time to.
        for _ in 0..10_000 {
            if pool.is_closed() {
                break;
            }
            std::thread::yield_now();
        }
    };
    assert!(pool.submit((0, Some(Arc::new(asked)))).is_ok());
    assert!(pool.submit((1, None)).is_ok());
    pool.caller_left();
    let refused = match pool.submit((2, None)) {
        Err(Refused::Full((task, _))) => format!("full: {task}"),
        Err(Refused::Closed((task, _))) => format!("closed: {task}"),
        Ok(()) => "taken".to_owned(),
    };
    assert_eq!(refused, "full: 2");
    closer.join().unwrap();
    assert_eq!(pool.fail_all_waiting().iter().map(|task| task.0).collect::<Vec<_>>(), [0, 1]);
}

/// In the middle of a search a worker takes all that waits, the task that the search is for with it, and `others` come.
fn a_search_that_is_overtaken(others: u32) -> (Vec<u32>, Counters) {
    type Task = (u32, Option<Arc<dyn Fn() + Send + Sync>>);
    let pool: Arc<Pool<Task>> = Pool::with_stale(options(1, 2, 1), |(number, asked)| {
        asked.iter().for_each(|asked| asked());
        number % 2 == 1
    });
    let ran = Arc::new(Mutex::new(Vec::new()));
    let run_all = {
        let worker = Mutex::new(pool.worker(0));
        let ran = Arc::clone(&ran);
        move || {
            let mut worker = worker.lock().unwrap();
            while let Step::Run((number, _)) = worker.step() {
                ran.lock().unwrap().push(number);
            }
        }
    };
    let asked = {
        let pool = Arc::downgrade(&pool);
        let once = std::sync::Once::new();
        move || {
            once.call_once(|| {
                run_all();
                let pool = pool.upgrade().unwrap();
                (0..others).for_each(|other| assert!(pool.submit((100 + 2 * other, None)).is_ok()));
            });
        }
    };
    for (number, asked) in [(2, Some(Arc::new(asked) as _)), (1, None), (4, None)] {
        assert!(pool.submit((number, asked)).is_ok());
    }
    pool.caller_left();
    assert!(pool.submit((6, None)).is_ok());
    let mut left: Vec<_> = pool.fail_all_waiting().iter().map(|task| task.0).collect();
    left.extend(ran.lock().unwrap().iter());
    left.sort_unstable();
    (left, pool.counters())
}

#[test]
fn what_a_search_has_in_hand_is_abandoned_only_when_it_was_overtaken_and_there_is_no_room() {
    let counters = Counters { submitted: 4, completed: 2, expired: 1, ..Counters::default() };
    for (others, left) in [(0, &[2, 4, 6][..]), (1, &[2, 4, 6, 100]), (2, &[2, 4, 6, 100, 102])] {
        let (tasks, counted) = a_search_that_is_overtaken(others);
        let waiting = 1 + u64::from(others);
        let expected = Counters { submitted: 4 + u64::from(others), abandoned: waiting, ..counters };
        assert_eq!((tasks.as_slice(), counted), (left, expected), "{others} others");
    }
    // Three fill the lane and the overflow queue: one of four is in the hand.
    let (tasks, counted) = a_search_that_is_overtaken(3);
    assert_eq!((tasks.len(), counted), (5, Counters { submitted: 7, abandoned: 4, ..counters }));
}

#[test]
fn no_lane_starves_behind_another_whose_worker_is_stuck_too() {
    let pool = pool(4, 4, 0);
    let mut workers = workers(&pool, 4);
    submit_all(&pool, 0..4);
    // Workers 1 to 3 take a task each and never come back; worker 0 is offered more than it can do.
    let stuck: Vec<_> = workers.iter_mut().map(Worker::step).collect();
    assert_eq!(stuck, [Step::Run(0), Step::Run(1), Step::Run(2), Step::Run(3)]);
    let mut next = 4;
    let mut offer = || {
        while pool.submit(next).is_ok() {
            next += 1;
        }
        next
    };
    let oldest_end = offer();
    let mut ran = Vec::new();
    // Every eighth take is one from another lane, a different one each time: three lanes of four tasks.
    for _ in 0..8 * 3 * 4 {
        ran.extend(match workers[0].step() {
            Step::Run(task) => Some(task),
            Step::Park | Step::Exit => None,
        });
        offer();
    }
    ran.retain(|task| *task < oldest_end);
    ran.sort_unstable();
    assert_eq!(ran, (4..oldest_end).collect::<Vec<_>>());
}

/// Which lane each eighth take of worker `index` of four is from, while its own lane never empties and those of `others`, counted
/// from the one after its own, have tasks too.
fn lanes_of_eighth_takes(index: usize, others: &[usize]) -> Vec<usize> {
    let pool = Pool::new(options(4, 64, 0));
    let mut worker = pool.worker(index);
    for lane in std::iter::once(0).chain(others.iter().copied()) {
        (0..64).for_each(|_| pool.submit_own((index + lane) % 4, lane).unwrap());
    }
    let mut eight = || {
        let takes: Vec<_> = (0..8).map(|_| worker.step()).collect();
        assert!(takes[..7].iter().all(|step| *step == Step::Run(0)), "{takes:?}");
        match takes[7] {
            Step::Run(lane) => lane,
            ref step => panic!("{step:?}"),
        }
    };
    (0..7).map(|_| eight()).collect()
}

#[test]
fn every_eighth_take_begins_one_lane_further() {
    for index in 0..4 {
        assert_eq!(lanes_of_eighth_takes(index, &[1, 2, 3]), [1, 2, 3, 1, 2, 3, 1], "worker {index}");
        // From an empty lane on to the next one, around all but its own.
        assert_eq!(lanes_of_eighth_takes(index, &[1, 3]), [1, 3, 3, 1, 3, 3, 1], "worker {index}");
        assert_eq!(lanes_of_eighth_takes(index, &[1, 2]), [1, 2, 1, 1, 2, 1, 1], "worker {index}");
        assert_eq!(lanes_of_eighth_takes(index, &[3]), [3; 7], "worker {index}");
        // And to its own when there is nothing in the others.
        assert_eq!(lanes_of_eighth_takes(index, &[]), [0; 7], "worker {index}");
    }
}
