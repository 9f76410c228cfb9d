//! Which routes' handlers are short, as far as their past tells.
//!
//! Each route has a score. A run of at most [`SHORT`] adds one, a longer one costs as many points as short runs must make up for;
//! from [`PROVEN`] points on the route counts as short. There is room above that for the odd run that only seemed long, as its
//! thread had to make way for another. So a route with one slow request in a hundred never counts as short, and one that becomes
//! slow stops to do so within a few requests.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::router::RouteId;

/// A run up to this time is short: a few times what it costs to hand a request to another thread and back.
const SHORT: Duration = Duration::from_micros(100);
/// A run of this time has kept all connections waiting.
const LONG: Duration = Duration::from_millis(5);
/// Points that make a route short.
const PROVEN: i32 = 64;
const SCORE_MAX: i32 = PROVEN + 1_000;
const SCORE_MIN: i32 = -10_000;
/// What a run costs that is not short.
const COST: i32 = 200;
/// What one costs that is long.
const LONG_COST: i32 = 5_000;
/// So many requests in a row for short routes make it worth while to run them in place.
const BRISK: u32 = 16;

pub(super) struct Pace {
    scores: Box<[AtomicI32]>,
    /// Requests for short routes in a row, up to [`BRISK`].
    in_a_row: AtomicU32,
}

impl Pace {
    pub(super) fn new(routes: usize) -> Pace {
        Pace { scores: (0..routes).map(|_| AtomicI32::new(0)).collect(), in_a_row: AtomicU32::new(0) }
    }

    /// Whether the route's handler has proven short.
    pub(super) fn is_short(&self, route: RouteId) -> bool {
        self.scores.get(route.0 as usize).is_some_and(|score| score.load(Relaxed) >= PROVEN)
    }

    /// A request for this route comes: whether its handler has proven short.
    pub(super) fn next(&self, route: RouteId) -> bool {
        let short = self.is_short(route);
        let before = self.in_a_row.load(Relaxed);
        let now = if short { (before + 1).min(BRISK) } else { 0 };
        // Written only when it changes. Several threads may count each other out: it is a guess either way.
        if now != before {
            self.in_a_row.store(now, Relaxed);
        }
        short
    }

    /// Whether the last requests were all for short routes.
    pub(super) fn is_brisk(&self) -> bool {
        self.in_a_row.load(Relaxed) >= BRISK
    }

    /// Notes the time of one run.
    pub(super) fn took(&self, route: RouteId, time: Duration) {
        let Some(score) = self.scores.get(route.0 as usize) else { return };
        let before = score.load(Relaxed);
        let now = match time {
            time if time <= SHORT => (before + 1).min(SCORE_MAX),
            time if time < LONG => (before - COST).max(SCORE_MIN),
            _ => (before.min(PROVEN) - LONG_COST).max(SCORE_MIN),
        };
        if now != before {
            // A score that another worker has changed meanwhile is lost, which the next run makes good.
            score.store(now, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT_RUN: Duration = Duration::from_micros(10);
    const SLOW_RUN: Duration = Duration::from_millis(1);
    const ROUTE: RouteId = RouteId(0);

    fn run(pace: &Pace, times: usize, time: Duration) {
        (0..times).for_each(|_| pace.took(ROUTE, time));
    }

    #[test]
    fn a_route_proves_short_by_64_short_runs() {
        let pace = Pace::new(2);
        run(&pace, 63, SHORT_RUN);
        assert!(!pace.is_short(ROUTE));
        run(&pace, 1, SHORT);
        assert!(pace.is_short(ROUTE));
        assert!(!pace.is_short(RouteId(1)), "of another route nothing is known");
        assert!(!pace.is_short(RouteId(2)), "nor of one that is not there");
    }

    #[test]
    fn five_slow_runs_are_forgiven_and_a_long_one_is_not() {
        let pace = Pace::new(1);
        run(&pace, 5_000, SHORT_RUN);
        run(&pace, 5, SLOW_RUN);
        assert!(pace.is_short(ROUTE));
        run(&pace, 1, SLOW_RUN);
        assert!(!pace.is_short(ROUTE));
        run(&pace, 5_000, SHORT_RUN);
        run(&pace, 1, LONG);
        assert!(!pace.is_short(ROUTE));
        run(&pace, 4_999, SHORT_RUN);
        assert!(!pace.is_short(ROUTE));
        run(&pace, 1, SHORT_RUN);
        assert!(pace.is_short(ROUTE));
    }

    #[test]
    fn one_slow_run_in_a_hundred_is_too_many() {
        let pace = Pace::new(1);
        for _ in 0..1_000 {
            run(&pace, 99, SHORT_RUN);
            run(&pace, 1, SLOW_RUN);
        }
        run(&pace, 99, SHORT_RUN);
        assert!(!pace.is_short(ROUTE));
    }

    #[test]
    fn sixteen_requests_for_short_routes_in_a_row_are_brisk() {
        let pace = Pace::new(2);
        run(&pace, 64, SHORT_RUN);
        for _ in 0..15 {
            assert!(pace.next(ROUTE));
        }
        assert!(!pace.is_brisk());
        assert!(pace.next(ROUTE));
        assert!(pace.is_brisk());
        assert!(!pace.next(RouteId(1)));
        assert!(!pace.is_brisk());
    }
}
