//! Counters that several threads count at a time.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::super::stats::{Closed, Counters, Named};

#[test]
fn a_snapshot_is_of_one_moment_while_others_count() {
    let counters = Counters::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    counters.accepted();
                    counters.received();
                    counters.answered([0, 1, 0, 0, 1]);
                    counters.closed(Closed::Peer, 2);
                }
            });
        }
        for _ in 0..10_000 {
            let stats = counters.snapshot();
            let sum = |named: &Named| named.0.iter().map(|(_, count)| count).sum::<u64>();
            assert_eq!(sum(&stats.connections_closed_by_reason), stats.connections_closed);
            assert_eq!(sum(&stats.requests_dropped_by_reason), stats.requests_dropped);
            assert_eq!(stats.answers_by_class.iter().sum::<u64>(), stats.requests_answered);
            assert_eq!(stats.connections_active + stats.connections_closed, stats.connections_accepted);
        }
        over.store(true, Relaxed);
    });
}
