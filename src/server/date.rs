//! The Date field, formatted once a second for all connections.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::env::Clock;

/// The Date field's current value. Follows a wall clock that jumps within a second.
#[derive(Default)]
pub(super) struct DateCache {
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    text: [u8; 29],
    /// Monotonic time at which the wall clock begins its next second.
    valid_until: Duration,
}

impl DateCache {
    /// The value for a response that is sent at the monotonic time `now`.
    pub(super) fn get<C: Clock>(&self, clock: &C, now: Duration) -> [u8; 29] {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Cached { text, valid_until }) = &*cached
            && now < *valid_until
        {
            return *text;
        }
        let wall = clock.wall();
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let rest_of_second = Duration::from_secs(1) - Duration::from_nanos(since_epoch.subsec_nanos().into());
        let text = format_date(UNIX_EPOCH + since_epoch);
        *cached = Some(Cached { text, valid_until: now.saturating_add(rest_of_second) });
        text
    }
}

/// IMF-fixdate, RFC 9110 section 5.6.7. A year that has no four digits becomes the epoch: the field must keep its grammar.
fn format_date(wall: SystemTime) -> [u8; 29] {
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    let wall = if wall < UNIX_EPOCH + YEAR_10000 { wall } else { UNIX_EPOCH };
    let mut text = [b' '; 29];
    let formatted = httpdate::fmt_http_date(wall);
    let length = formatted.len().min(29);
    text[..length].copy_from_slice(&formatted.as_bytes()[..length]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::FakeClock;

    #[test]
    fn formats_imf_fixdate() {
        assert_eq!(&format_date(UNIX_EPOCH + Duration::from_secs(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            &format_date(UNIX_EPOCH + Duration::from_secs(u32::MAX.into()) * 100),
            b"Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn changes_with_the_wall_second_and_not_before() {
        let clock = FakeClock::default();
        let cache = DateCache::default();
        assert_eq!(&cache.get(&clock, clock.now()), b"Sun, 06 Nov 1994 08:49:37 GMT");
        clock.advance(Duration::from_millis(999));
        assert_eq!(&cache.get(&clock, clock.now()), b"Sun, 06 Nov 1994 08:49:37 GMT");
        clock.advance(Duration::from_millis(1));
        assert_eq!(&cache.get(&clock, clock.now()), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
