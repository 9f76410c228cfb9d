//! How much content of requests is in memory, of all connections together.
//!
//! Each connection's content has a limit, and so has the number of connections; what the two come to together is more than any
//! machine has. So there is one account for all: a request's [`Share`] grows as its content comes in and is given back with its
//! answer. Who would overdraw it is refused, with 503, and before its content is read where its length is known.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The account. It only counts: nothing is read because of it.
#[derive(Debug)]
pub(super) struct Buffered {
    bytes: AtomicU64,
    bytes_max: u64,
}

/// What one request holds. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    account: &'a Buffered,
    bytes: u64,
}

impl Buffered {
    pub(super) fn new(bytes_max: u64) -> Buffered {
        Buffered { bytes: AtomicU64::new(0), bytes_max }
    }

    /// Whether there is room for so many bytes more, at present.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let left = self.bytes_max.saturating_sub(self.bytes.load(Relaxed));
        bytes <= left
    }

    /// A share of nothing.
    pub(super) fn share(&self) -> Share<'_> {
        Share { account: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// Takes room for so many bytes more. False, and nothing is taken, where there is none.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Buffered { bytes: taken, bytes_max } = self.account;
        let bytes = bytes as u64;
        let grown = |taken: u64| taken.checked_add(bytes).filter(|taken| taken <= bytes_max);
        let took = taken.fetch_update(Relaxed, Relaxed, grown).is_ok();
        if took {
            self.bytes += bytes;
        }
        took
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.bytes.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_up_to_the_limit_together_and_are_given_back() {
        let account = Buffered::new(100);
        let (mut first, mut second) = (account.share(), account.share());
        assert!(first.grow(60) && second.grow(40));
        assert!(!first.grow(1) && !account.has_room(1));
        assert!(first.grow(0) && account.has_room(0));
        drop(second);
        assert!(account.has_room(40) && !account.has_room(41) && !first.grow(41));
        assert!(first.grow(40));
        drop(first);
        assert_eq!(account.bytes.load(Relaxed), 0);
    }

    #[test]
    fn no_length_overflows_the_account() {
        let account = Buffered::new(u64::MAX);
        let mut share = account.share();
        assert!(share.grow(usize::MAX) && !share.grow(usize::MAX) && !account.has_room(u64::MAX));
    }
}
