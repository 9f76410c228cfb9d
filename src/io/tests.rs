//! Who holds the I/O, with workers whose turns are the test's: nothing comes from a socket. [`PATIENCE`] bounds every wait.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Io, IoOverview, Turn};
use crate::dispatch::{Pool, PoolOptions};
use crate::router::RouteId;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: RouteId = RouteId(0);
const LONG: RouteId = RouteId(1);
const WORKERS: usize = 2;

/// The relief and two workers; handlers of one route have proven short.
struct Crew {
    io: Arc<Io>,
    relief: JoinHandle<()>,
}

impl Crew {
    fn start() -> Crew {
        let options = PoolOptions { workers: WORKERS, lane_depth: 8, overflow_depth: 8, placement: Default::default() };
        let io = Arc::new(Io::new(Pool::new(options), 2));
        for _ in 0..1_000 {
            io.took(SHORT, Duration::ZERO);
            io.lane_for(SHORT);
        }
        let relief = Arc::clone(&io);
        Crew { io, relief: thread::spawn(move || relief.relieve()) }
    }

    /// Worker `lane` takes the I/O, and then runs a handler of that route until what this gives is dropped.
    fn hang(&self, lane: usize, route: RouteId) -> (Sender<()>, JoinHandle<()>) {
        let (go_on, told) = channel::<()>();
        let io = Arc::clone(&self.io);
        let thread = thread::spawn(move || {
            let mut worker = io.pool.worker(lane);
            let begun = Instant::now();
            let _held = loop {
                match io.take(lane) {
                    Some(held) => break held,
                    None => assert!(begun.elapsed() < PATIENCE, "{:?}", io.overview()),
                }
            };
            let mut turn = |worker: &mut _| {
                io.begin(route, worker);
                let _ = told.recv();
                Turn::Over
            };
            assert!(async_io::block_on(io.hold(&mut worker, &mut turn)));
        });
        (go_on, thread)
    }

    fn until(&self, wanted: impl Fn(IoOverview) -> bool) {
        let begun = Instant::now();
        while !wanted(self.io.overview()) {
            assert!(begun.elapsed() < PATIENCE, "it stays {:?}", self.io.overview());
            thread::yield_now();
        }
    }
}

#[test]
fn a_handler_that_hangs_has_the_io_taken_from_it_while_another_runs_that_had_it() {
    for route in [SHORT, LONG] {
        let crew = Crew::start();
        let (first, first_thread) = crew.hang(0, route);
        // Taken from the one that seemed short, given back before the other.
        crew.until(|io| io.taken == 1 && io.worker.is_none());
        let (second, second_thread) = crew.hang(1, SHORT);
        let taken_back = if route == SHORT { 2 } else { 1 };
        let expected = IoOverview { worker: None, taken: 2, given_back: 2 - taken_back, taken_back };
        // What is counted is counted a moment after it has happened.
        crew.until(|io| io == expected);
        drop((first, second));
        first_thread.join().unwrap();
        second_thread.join().unwrap();
        crew.io.close();
        crew.relief.join().unwrap();
    }
}
