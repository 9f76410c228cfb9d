//! The baton, move by move, and the relief on a thread of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;

use crate::dispatch::baton::{Baton, Hold, Look, Looks};

const PATIENCE: Duration = Duration::from_secs(20);

fn open(looks_awake: u32) -> Arc<Baton> {
    let baton = Baton::new(looks_awake);
    baton.open();
    baton
}

fn looks(baton: &Baton, looks: &mut Looks, count: usize) -> Vec<Look> {
    (0..count).map(|_| baton.look(looks)).collect()
}

#[test]
fn one_worker_has_it_at_a_time_and_none_before_it_is_open() {
    let baton = Baton::new(1);
    assert_eq!((baton.take(3), baton.holder(), baton.is_free()), (None, None, true));
    baton.open();
    let hold = baton.take(3).expect("nobody has it");
    assert_eq!((baton.take(4), baton.holder(), baton.is_free()), (None, Some(3), false));
    assert!(baton.give_back(hold));
    assert_eq!(baton.holder(), None);
    let other = baton.take(4).expect("nobody has it");
    assert_eq!(baton.holder(), Some(4));
    assert!(!baton.give_back(hold), "it has it no more");
    assert!(baton.give_back(other));
}

#[test]
fn who_has_it_no_more_moves_nothing() {
    let baton = open(1);
    let hold = baton.take(0).expect("nobody has it");
    let mut moves: Hold = hold;
    for make in [Baton::run, Baton::run, Baton::tick, Baton::wait, Baton::tick] {
        assert!(make(&baton, &mut moves));
    }
    // The first hold is out of date by now.
    for make in [Baton::run, Baton::tick, Baton::wait] {
        assert!(!make(&baton, &mut { hold }));
    }
    assert!(!baton.give_back(hold) && baton.give_back(moves));
    for make in [Baton::run, Baton::tick, Baton::wait] {
        assert!(!make(&baton, &mut moves));
    }
}

#[test]
fn a_second_look_takes_it_from_one_that_runs_the_same_thing_and_from_nobody_else() {
    let baton = open(1_000);
    let mut seen = Looks::default();
    assert_eq!(looks(&baton, &mut seen, 2), [Look::Free, Look::Free]);
    let mut hold = baton.take(0).expect("nobody has it");
    assert_eq!(looks(&baton, &mut seen, 3), [Look::Held; 3], "it does its duty");
    assert!(baton.wait(&mut hold));
    assert_eq!(looks(&baton, &mut seen, 3), [Look::Held; 3], "it waits");
    assert!(baton.tick(&mut hold) && baton.run(&mut hold));
    assert_eq!(baton.look(&mut seen), Look::Held);
    assert!(baton.run(&mut hold), "the next handler");
    assert_eq!(looks(&baton, &mut seen, 3), [Look::Held, Look::TakenBack, Look::Free]);
    assert_eq!(baton.holder(), None);
    assert!(!baton.tick(&mut hold));
}

#[test]
fn the_relief_dozes_after_so_many_looks_at_one_that_waits_until_that_one_goes_on() {
    let baton = open(3);
    let mut seen = Looks::default();
    let mut hold = baton.take(0).expect("nobody has it");
    assert!(baton.wait(&mut hold));
    assert_eq!(looks(&baton, &mut seen, 4), [Look::Held, Look::Held, Look::Held, Look::Doze]);
    assert!(baton.is_dozing());
    assert!(baton.tick(&mut hold) && !baton.is_dozing());
    // Each change begins the count anew.
    assert!(baton.wait(&mut hold));
    assert_eq!(looks(&baton, &mut seen, 3), [Look::Held; 3]);
    assert!(baton.tick(&mut hold) && baton.wait(&mut hold));
    assert_eq!(looks(&baton, &mut seen, 4), [Look::Held, Look::Held, Look::Held, Look::Doze]);
}

#[test]
fn after_the_close_nobody_has_it_or_gets_it() {
    let baton = open(1);
    let mut hold = baton.take(0).expect("nobody has it");
    baton.close();
    assert_eq!((baton.holder(), baton.take(1)), (None, None));
    assert!(!baton.tick(&mut hold) && !baton.give_back(hold));
    baton.relieve(|| panic!("it is over"), || panic!("nobody hangs"));
    assert_eq!(baton.take(1), None);
}

/// The relief, with what it does counted: how often it did the duty, and how often it took it back.
#[test]
fn the_relief_leaves_for_a_worker_and_comes_back_when_that_one_hangs_or_gives_it_back() {
    let baton = Baton::new(2);
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let relief = {
        let (baton, counts) = (Arc::clone(&baton), Arc::clone(&counts));
        thread::spawn(move || {
            let inside = || {
                counts[0].fetch_add(1, SeqCst);
                block_on(poll_fn(|cx| baton.poll_leave(cx)));
            };
            baton.relieve(inside, || _ = counts[1].fetch_add(1, SeqCst));
        })
    };
    let begun = Instant::now();
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "{counts:?}");
            thread::yield_now();
        }
    };
    let insist = || loop {
        match baton.take(0) {
            Some(hold) => break hold,
            None => assert!(begun.elapsed() < PATIENCE, "{counts:?}"),
        }
    };
    until(&|| counts[0].load(SeqCst) == 1);
    let hold = insist();
    assert_eq!(counts[0].load(SeqCst), 1, "it has left");
    assert!(baton.give_back(hold));
    until(&|| counts[0].load(SeqCst) == 2);

    // A holder that waits makes it doze; one that then hangs has it taken back.
    let mut hold = insist();
    assert!(baton.wait(&mut hold));
    until(&|| baton.is_dozing());
    assert!(baton.tick(&mut hold) && baton.run(&mut hold));
    until(&|| counts[1].load(SeqCst) == 1 && counts[0].load(SeqCst) == 3);
    assert!(!baton.tick(&mut hold));
    baton.close();
    relief.join().expect("the relief ends");
    assert_eq!((counts[0].load(SeqCst), counts[1].load(SeqCst)), (3, 1));
}
