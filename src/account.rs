//! Bytes that all connections together may have at a time.
//!
//! Each connection has limits of its own, and so has the number of connections; what the two come to together is more than any
//! machine has. So there is one [`Account`] for all. The server has two: the memory that contents take, of requests that are read
//! and of answers that wait to be sent, and what connections that linger throw away.
//!
//! - A [`Share`] grows and is given back when it is dropped, so that no way out of a connection can forget it.
//! - [`Share::grow`] takes what there is room for, and nothing else. [`Share::force`] takes in any case: for what is there already,
//!   and cannot be refused any more. Then the account is [full](Account::is_full), and nothing new is begun.
//! - An account only counts, by relaxed atomics: nothing is read or written because of it. What the operating system takes at once
//!   never comes here, so a small answer costs nothing.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mistakes::broken;

/// From so many bytes on a content is held on account before it is sent. What is smaller comes on account when it has to wait.
pub const HELD_BYTES_MIN: usize = 64 * 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Account {
    taken: AtomicU64,
    unsent: AtomicU64,
    refused: AtomicU64,
    bytes_max: u64,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Content of a request.
    Received,
    /// Content of an answer.
    Unsent,
}

/// What one holder has taken. Given back when it is dropped.
#[derive(Debug)]
pub struct Share<A: Deref<Target = Account>> {
    account: A,
    kind: Kind,
    bytes: u64,
}

/// A share that is on its way with what it is about.
pub type Held = Share<Arc<Account>>;

impl Account {
    /// An account of so many bytes.
    pub fn new(bytes_max: u64) -> Account {
        Account { taken: AtomicU64::new(0), unsent: AtomicU64::new(0), refused: AtomicU64::new(0), bytes_max }
    }

    /// The bound.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What is taken now. May be over the bound by what was forced.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Of this, content of answers.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    /// How often something was refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether there is room for so many bytes more.
    pub fn has_room(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max.saturating_sub(self.taken())
    }

    /// Whether something is taken, and as much as may be, or more.
    pub fn is_full(&self) -> bool {
        let taken = self.taken();
        taken > 0 && taken >= self.bytes_max
    }

    /// Whether more is taken than may be: by what could not be refused.
    pub fn is_over(&self) -> bool {
        self.taken() > self.bytes_max
    }

    /// Counts a refusal.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// A share of nothing.
    pub fn share(&self, kind: Kind) -> Share<&Account> {
        Share { account: self, kind, bytes: 0 }
    }

    /// As [`Account::share`], for who outlives the borrow.
    pub fn held(self: &Arc<Account>, kind: Kind) -> Held {
        Share { account: Arc::clone(self), kind, bytes: 0 }
    }

    /// Room for the content of an answer, which is large; None where there is none.
    pub fn hold(self: &Arc<Account>, bytes: usize) -> Option<Held> {
        let mut held = self.held(Kind::Unsent);
        (broken("unsent_not_counted") || held.grow(bytes)).then_some(held)
    }
}

impl<A: Deref<Target = Account>> Share<A> {
    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes room for so many bytes more. False, and nothing is taken, where there is none.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Account { taken, bytes_max, .. } = &*self.account;
        let more = bytes as u64;
        let grown = |taken: u64| taken.checked_add(more).filter(|taken| taken <= bytes_max);
        let took = taken.fetch_update(Relaxed, Relaxed, grown).is_ok();
        if took {
            self.note(more);
        }
        took
    }

    /// Takes room for so many bytes more, whether there is any or not.
    pub fn force(&mut self, bytes: usize) {
        self.account.taken.fetch_add(bytes as u64, Relaxed);
        self.note(bytes as u64);
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.account.taken.fetch_sub(bytes, Relaxed);
            if self.kind == Kind::Unsent {
                self.account.unsent.fetch_sub(bytes, Relaxed);
            }
        }
    }

    fn note(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.kind == Kind::Unsent {
            self.account.unsent.fetch_add(bytes, Relaxed);
        }
    }
}

impl<A: Deref<Target = Account>> Drop for Share<A> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_up_to_the_limit_together_and_are_given_back() {
        let account = Account::new(100);
        let (mut first, mut second) = (account.share(Kind::Received), account.share(Kind::Received));
        assert!(first.grow(60) && !account.is_full() && second.grow(40));
        assert!(!first.grow(1) && !account.has_room(1) && account.is_full());
        assert!(first.grow(0) && account.has_room(0));
        drop(second);
        assert!(account.has_room(40) && !account.has_room(41) && !first.grow(41));
        assert!(first.grow(40));
        drop(first);
        assert_eq!((account.taken(), account.unsent(), account.is_full()), (0, 0, false));
    }

    #[test]
    fn what_is_there_already_is_taken_beyond_the_limit_and_fills_it() {
        let account = Arc::new(Account::new(100));
        let mut waits = account.held(Kind::Unsent);
        waits.force(150);
        assert_eq!((account.taken(), account.unsent(), account.is_full()), (150, 150, true));
        assert!(account.hold(1).is_none() && !account.has_room(1));
        waits.clear();
        assert!(waits.is_empty() && account.hold(100).is_some());
        assert_eq!((account.taken(), account.unsent()), (0, 0));
    }

    #[test]
    fn an_account_of_nothing_is_full_of_something_only() {
        let account = Account::new(0);
        assert!(!account.is_full() && !account.has_room(1));
        let mut share = account.share(Kind::Unsent);
        share.force(1);
        assert!(account.is_full());
    }

    #[test]
    fn no_length_overflows_the_account() {
        let account = Account::new(u64::MAX);
        let mut share = account.share(Kind::Received);
        assert!(share.grow(usize::MAX) && !share.grow(usize::MAX) && !account.has_room(u64::MAX));
    }
}
