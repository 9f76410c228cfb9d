//! How many lost workers may still be replaced: so many in a window of time.
//!
//! A replacement costs an interpreter that is never given back, so there must be a bound. A bound on the server's whole life would
//! end one that runs for weeks and loses a worker a day; a rate ends only one whose workers are lost faster than anybody could
//! call it serving.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The replacements of the last while.
#[derive(Debug)]
pub struct Replacements {
    max: usize,
    window: Duration,
    made: VecDeque<Instant>,
}

impl Replacements {
    /// At most `max` in any `window`.
    pub fn new(max: usize, window: Duration) -> Replacements {
        Replacements { max, window, made: VecDeque::new() }
    }

    /// How many may be made at `now`.
    pub fn left(&mut self, now: Instant) -> usize {
        while self.made.front().is_some_and(|made| now.saturating_duration_since(*made) >= self.window) {
            self.made.pop_front();
        }
        self.max - self.made.len()
    }

    /// Makes one at `now`. False when none is left.
    pub fn make(&mut self, now: Instant) -> bool {
        let may = self.left(now) > 0;
        if may {
            self.made.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_any_window_and_no_more() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut replacements = Replacements::new(2, Duration::from_secs(60));
        assert!(replacements.make(at(0)) && replacements.make(at(30)));
        assert_eq!((replacements.make(at(59)), replacements.left(at(59))), (false, 0));
        assert_eq!((replacements.left(at(60)), replacements.make(at(60)), replacements.make(at(60))), (1, true, false));
        assert_eq!((replacements.left(at(90)), replacements.left(at(150))), (1, 2));
        for day in 1..100 {
            assert!(replacements.make(at(day * 86_400)), "one a day is never too many");
        }
    }

    #[test]
    fn none_at_all() {
        let mut replacements = Replacements::new(0, Duration::from_secs(60));
        assert!(!replacements.make(Instant::now()));
    }
}
