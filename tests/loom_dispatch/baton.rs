//! The duty that idle workers may have: one thread does it at any time, there is always one that will, and nobody sleeps while it is
//! his turn to wake up.
//!
//! The duty itself is a counter that is read and then written, without any order of its own. When two threads are at it at once, or when
//! one does not yet see what the other has done there, some schedule loses a count. A relief that sleeps or waits for good, or a
//! worker that does, is a deadlock.

use std::future::poll_fn;
use std::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use polygil::dispatch::baton::{Baton, Hold, Look};

use crate::{Meeting, explore, explore_whole, pool, take};

/// What only the one that has the duty may touch: how often it was done, once as it adds up and once as it was. They are compared when
/// the model is over.
#[derive(Default)]
struct Duty {
    counted: AtomicUsize,
    done: std::sync::atomic::AtomicUsize,
}

impl Duty {
    /// Does a bit of it.
    fn once(&self) {
        self.done.fetch_add(1, Relaxed);
        self.counted.store(self.counted.load(Relaxed) + 1, Relaxed);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.counted.load(Relaxed), self.done.load(Relaxed), "two threads did the duty at once");
        }
    }
}

/// The relief, on a thread of its own; `taken_back` is called when it took the duty from a worker.
fn relieve(baton: &Arc<Baton>, duty: &Arc<Duty>, taken_back: impl FnMut() + 'static) -> thread::JoinHandle<()> {
    let (baton, duty) = (Arc::clone(baton), Arc::clone(duty));
    thread::spawn(move || {
        let inside = || {
            duty.once();
            block_on(poll_fn(|cx| baton.poll_leave(cx)));
            duty.once();
        };
        baton.relieve(inside, taken_back);
    })
}

/// Asks once. Whoever gets it has it: nobody is in it but him.
fn take_and_do(baton: &Baton, duty: &Duty, lane: usize) -> Option<Hold> {
    let hold = baton.take(lane)?;
    duty.once();
    Some(hold)
}

/// Asks for the duty until it is there.
fn insist(baton: &Baton, duty: &Duty, lane: usize) -> Hold {
    loop {
        match take_and_do(baton, duty, lane) {
            Some(hold) => return hold,
            None => thread::yield_now(),
        }
    }
}

/// Invariant: a worker that asks gets the duty alone or not at all, and gives it back to a relief that then ends.
#[test]
fn a_worker_asks_and_gives_back() {
    explore("a_worker_asks_and_gives_back", Some(4), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        let relief = relieve(&baton, &duty, || panic!("nobody hangs"));
        if let Some(mut hold) = take_and_do(&baton, &duty, 0) {
            assert!(baton.wait(&mut hold) && baton.tick(&mut hold));
            duty.once();
            assert!(baton.give_back(hold));
        }
        baton.close();
        relief.join().unwrap();
        duty.once();
    });
}

/// Invariant: a relief that does the duty hears that a worker asks. It does nothing else here, so that a call that is lost leaves
/// it there for good.
#[test]
fn the_relief_hears_that_it_is_asked_to_leave() {
    explore("the_relief_hears_that_it_is_asked_to_leave", Some(4), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        let relief = relieve(&baton, &duty, || {});
        let hold = insist(&baton, &duty, 0);
        assert_eq!(baton.holder(), Some(0));
        assert!(baton.give_back(hold));
        assert_eq!(baton.holder(), None);
        baton.close();
        relief.join().unwrap();
    });
}

/// Invariant: of two workers that ask at once, at most one has it at any time.
#[test]
fn two_workers_ask_at_once() {
    explore("two_workers_ask_at_once", Some(3), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        baton.open();
        let ask = |lane: usize| {
            let (baton, duty) = (Arc::clone(&baton), Arc::clone(&duty));
            move || {
                if let Some(hold) = take_and_do(&baton, &duty, lane) {
                    assert_eq!(baton.holder(), Some(lane));
                    duty.once();
                    assert!(baton.give_back(hold));
                }
            }
        };
        let other = thread::spawn(ask(1));
        ask(0)();
        other.join().unwrap();
        assert_eq!(baton.holder(), None);
    });
}

/// Invariant: from a worker that hangs the duty is taken, and it learns that; the relief does it meanwhile. The worker hangs until
/// then, so a relief that does not take it is a deadlock.
#[test]
fn the_duty_is_taken_from_one_that_hangs() {
    explore("the_duty_is_taken_from_one_that_hangs", Some(3), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        let meeting = Meeting::of(2);
        let met = Arc::clone(&meeting);
        let relief = relieve(&baton, &duty, move || met.wait());
        let mut hold = insist(&baton, &duty, 0);
        assert!(baton.run(&mut hold));
        meeting.wait();
        assert!(!baton.tick(&mut hold) && !baton.run(&mut hold) && !baton.wait(&mut hold));
        assert!(!baton.give_back(hold));
        baton.close();
        relief.join().unwrap();
    });
}

/// Invariant: one that comes back while another has the duty, under the same lane's number even, changes nothing for that one.
#[test]
fn one_that_had_it_cannot_give_it_away() {
    explore("one_that_had_it_cannot_give_it_away", None, || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        baton.open();
        let mut late = take_and_do(&baton, &duty, 0).unwrap();
        assert!(baton.run(&mut late));
        let mut looks = Default::default();
        while !baton.is_free() {
            baton.look(&mut looks);
        }
        let returned = {
            let baton = Arc::clone(&baton);
            thread::spawn(move || {
                let gave = baton.run(&mut late) | baton.tick(&mut late);
                assert!(!(gave | baton.give_back(late)));
            })
        };
        let mut hold = take_and_do(&baton, &duty, 0).unwrap();
        assert!(baton.run(&mut hold) && baton.tick(&mut hold));
        duty.once();
        assert!(baton.wait(&mut hold) && baton.tick(&mut hold));
        returned.join().unwrap();
        assert_eq!(baton.holder(), Some(0));
        assert!(baton.give_back(hold));
    });
}

/// Invariant: whoever is still at it when the relief looks a second time loses it once, or keeps it: never both.
#[test]
fn a_look_races_the_end_of_a_handler() {
    explore("a_look_races_the_end_of_a_handler", None, || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        baton.open();
        let mut hold = take_and_do(&baton, &duty, 0).unwrap();
        assert!(baton.run(&mut hold));
        let relief = {
            let (baton, duty) = (Arc::clone(&baton), Arc::clone(&duty));
            thread::spawn(move || {
                let mut looks = Default::default();
                baton.look(&mut looks);
                if baton.look(&mut looks) == Look::TakenBack {
                    duty.once();
                }
            })
        };
        if baton.tick(&mut hold) {
            duty.once();
        }
        relief.join().unwrap();
        duty.once();
    });
}

/// Invariant: a relief that dozes while the holder waits for something to do wakes up when that one hangs afterwards: a relief that
/// sleeps on is a deadlock.
#[test]
fn the_relief_wakes_from_its_doze() {
    explore("the_relief_wakes_from_its_doze", Some(3), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        let meeting = Meeting::of(2);
        let met = Arc::clone(&meeting);
        let relief = relieve(&baton, &duty, move || met.wait());
        let mut hold = insist(&baton, &duty, 0);
        assert!(baton.wait(&mut hold));
        // Whoever waits is woken by something: here the relief may have fallen asleep before, meanwhile, or not at all.
        thread::yield_now();
        assert!(baton.tick(&mut hold));
        duty.once();
        assert!(baton.run(&mut hold));
        meeting.wait();
        baton.close();
        relief.join().unwrap();
    });
}

/// Invariant: the same for a doze that begins in the moment in which the holder wakes up, explored without the rest: either the
/// relief does not doze, or it is woken.
#[test]
fn a_doze_races_the_end_of_a_wait() {
    explore("a_doze_races_the_end_of_a_wait", None, || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        baton.open();
        let mut hold = take_and_do(&baton, &duty, 0).unwrap();
        assert!(baton.wait(&mut hold));
        let relief = {
            let baton = Arc::clone(&baton);
            thread::spawn(move || {
                let mut looks = Default::default();
                baton.look(&mut looks);
                baton.look(&mut looks) == Look::Doze
            })
        };
        assert!(baton.tick(&mut hold));
        let dozes = relief.join().unwrap();
        assert!(!(dozes && baton.is_dozing()), "it dozes, and nobody is going to wake it");
    });
}

/// Invariant: the close ends a relief wherever it is, and a worker that asks, holds or gives back meanwhile.
#[test]
fn a_close_races_a_worker_that_asks() {
    explore("a_close_races_a_worker_that_asks", Some(3), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        let relief = relieve(&baton, &duty, || panic!("nobody hangs"));
        let worker = {
            let (baton, duty) = (Arc::clone(&baton), Arc::clone(&duty));
            thread::spawn(move || {
                let Some(mut hold) = take_and_do(&baton, &duty, 0) else { return };
                baton.wait(&mut hold);
                baton.tick(&mut hold);
                baton.give_back(hold);
            })
        };
        baton.close();
        worker.join().unwrap();
        relief.join().unwrap();
        assert_eq!(baton.take(0), None);
    });
}

/// Invariant: what the holder has put into its own lane, without waking anybody, is run by another when it hangs: the relief calls
/// for it when it takes over. The holder holds on to its first task until then, so a task that is left is a deadlock.
#[test]
fn tasks_of_one_that_hangs_are_taken() {
    explore_whole("tasks_of_one_that_hangs_are_taken", Some(2), || {
        let (baton, duty) = (Baton::new(1), Arc::new(Duty::default()));
        baton.open();
        let pool = pool(2, 2, 0);
        let meeting = Meeting::of(2);
        let (mut own, mut other) = (pool.worker(0), pool.worker(1));
        let helper = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || {
                take(&mut other, 1);
                meeting.wait();
            })
        };
        let mut hold = take_and_do(&baton, &duty, 0).unwrap();
        pool.submit_own(0, 0).unwrap();
        pool.submit_own(0, 1).unwrap();
        take(&mut own, 1);
        assert!(baton.run(&mut hold));
        // The relief, which nothing disturbs.
        let relief = {
            let (baton, pool) = (Arc::clone(&baton), Arc::clone(&pool));
            thread::spawn(move || {
                let mut looks = Default::default();
                baton.look(&mut looks);
                assert_eq!(baton.look(&mut looks), Look::TakenBack);
                pool.call_workers(0);
            })
        };
        meeting.wait();
        helper.join().unwrap();
        relief.join().unwrap();
    });
}
