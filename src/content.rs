//! A content on its way from a handler to its client, piece by piece: the one thing that follows an answer.
//!
//! A worker that has begun an answer whose content is not whole keeps the [`ContentSender`] and gives the [`ContentReader`] to the
//! connection, inside the reply. What crosses is owned bytes, in one direction, as everywhere; the worker waits where the
//! connection is slow (backpressure), never the other way around: a connection that waits for a piece blocks no thread.
//!
//! - Bounded: at most [`PIECES_MAX`] pieces of at most [`PIECE_BYTES_MAX`] bytes wait; a longer one is cut.
//! - Whole or known not to be: only [`ContentSender::end`] ends a content. A sender that is dropped, or broken off by somebody who
//!   holds a clone, leaves the reader with [`Next::Broken`], after what was sent before.
//! - On account: pieces that wait are memory that all connections share ([`account`](crate::account)).
//! - A reader that is dropped (the client left) makes every further send fail, also one that waits.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::Stream;
use smol::channel::{self, Receiver, Sender, TrySendError};

use crate::account::{Account, Held, Kind};

/// Pieces that wait for the connection.
pub const PIECES_MAX: usize = 4;

/// Bytes of a piece.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;

enum Piece {
    /// And the room that they take until they are read.
    Bytes(Vec<u8>, #[expect(dead_code, reason = "given back with the piece")] Held),
    End,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A piece, not empty.
    Bytes(Vec<u8>),
    /// The content was whole with the last one.
    End,
    /// The content is not whole, and there will be no more of it.
    Broken,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be read.
    Taken,
    /// The connection has enough for now; here it is again.
    Full(Option<Vec<u8>>),
    /// Nobody wants it any more.
    Unwanted,
}

/// The two ends of a content whose pieces wait on that account.
pub fn channel(account: &Arc<Account>) -> (ContentSender, ContentReader) {
    let (sender, receiver) = channel::bounded(PIECES_MAX);
    (ContentSender { pieces: sender, account: Arc::clone(account) }, ContentReader(Box::pin(receiver)))
}

/// The worker's end; a clone is for whoever must be able to break the content off.
#[derive(Clone)]
pub struct ContentSender {
    pieces: Sender<Piece>,
    account: Arc<Account>,
}

impl ContentSender {
    /// Sends bytes; nothing for none. Blocks while the connection has enough. False when nobody wants them any more.
    pub fn send(&self, bytes: Vec<u8>) -> bool {
        if bytes.len() <= PIECE_BYTES_MAX {
            return bytes.is_empty() || self.pieces.send_blocking(self.piece(bytes)).is_ok();
        }
        bytes.chunks(PIECE_BYTES_MAX).all(|piece| self.pieces.send_blocking(self.piece(piece.to_vec())).is_ok())
    }

    /// Pieces are few and small, and what is begun goes on: they take their room whether there is any or not.
    fn piece(&self, bytes: Vec<u8>) -> Piece {
        let mut held = self.account.held(Kind::Unsent);
        held.force(bytes.len());
        Piece::Bytes(bytes, held)
    }

    /// As [`ContentSender::send`] of a piece that is not empty and not too long, for whoever must not block; the end, if there is none.
    pub fn try_send(&self, piece: Option<Vec<u8>>) -> Sent {
        match self.pieces.try_send(piece.map_or(Piece::End, |bytes| self.piece(bytes))) {
            Ok(()) => Sent::Taken,
            Err(TrySendError::Full(Piece::Bytes(bytes, _))) => Sent::Full(Some(bytes)),
            Err(TrySendError::Full(Piece::End)) => Sent::Full(None),
            Err(TrySendError::Closed(_)) => Sent::Unwanted,
        }
    }

    /// The content is whole. Blocks as [`ContentSender::send`] does.
    pub fn end(self) {
        // A reader that left does not have to know.
        let _ = self.pieces.send_blocking(Piece::End);
    }

    /// The content will not be whole: no more is taken, from any clone, and a send that waits fails.
    pub fn break_off(&self) {
        self.pieces.close();
    }
}

impl fmt::Debug for ContentSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentSender")
    }
}

/// The connection's end.
pub struct ContentReader(Pin<Box<Receiver<Piece>>>);

impl ContentReader {
    /// The next piece, once it is there.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.0.as_mut().poll_next(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes, _)) => Next::Bytes(bytes),
            Some(Piece::End) => Next::End,
            None => Next::Broken,
        })
    }
}

impl fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentReader")
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::thread;

    use futures_lite::future::block_on;

    use super::*;

    fn account() -> Arc<Account> {
        Arc::new(Account::new(u64::MAX))
    }

    fn next(reader: &mut ContentReader) -> Next {
        block_on(poll_fn(|cx| reader.poll_next(cx)))
    }

    #[test]
    fn a_content_is_whole_when_its_end_was_sent() {
        let (sender, mut reader) = channel(&account());
        assert!(sender.send(b"one".to_vec()) && sender.send(Vec::new()) && sender.send(b"two".to_vec()));
        sender.end();
        assert_eq!([next(&mut reader), next(&mut reader)], [b"one", b"two"].map(|piece| Next::Bytes(piece.to_vec())));
        assert_eq!([next(&mut reader), next(&mut reader)], [Next::End, Next::Broken]);
    }

    #[test]
    fn what_waits_is_on_account_until_it_is_read_or_nobody_can_read_it() {
        let account = account();
        let (sender, mut reader) = channel(&account);
        assert!(sender.send(vec![1; 1000]) && sender.send(vec![2; 500]));
        assert_eq!((account.taken(), account.unsent()), (1500, 1500));
        assert_eq!(next(&mut reader), Next::Bytes(vec![1; 1000]));
        assert_eq!(account.unsent(), 500);
        drop(reader);
        assert!(!sender.send(vec![3]));
        drop(sender);
        assert_eq!(account.taken(), 0);
    }

    #[test]
    fn a_content_whose_sender_goes_or_is_broken_off_is_not() {
        let (sender, mut reader) = channel(&account());
        assert!(sender.send(b"one".to_vec()));
        drop(sender);
        assert_eq!([next(&mut reader), next(&mut reader)], [Next::Bytes(b"one".to_vec()), Next::Broken]);
        let (sender, mut reader) = channel(&account());
        let other = sender.clone();
        other.break_off();
        assert!(!sender.send(b"late".to_vec()));
        assert_eq!(next(&mut reader), Next::Broken);
    }

    #[test]
    fn who_may_not_block_is_told_when_there_is_no_room() {
        let (sender, mut reader) = channel(&account());
        for _ in 0..PIECES_MAX {
            assert_eq!(sender.try_send(Some(vec![1])), Sent::Taken);
        }
        assert_eq!(
            (sender.try_send(Some(vec![2])), sender.try_send(None)),
            (Sent::Full(Some(vec![2])), Sent::Full(None))
        );
        assert_eq!(next(&mut reader), Next::Bytes(vec![1]));
        assert_eq!(sender.try_send(None), Sent::Taken);
        drop(reader);
        assert_eq!(sender.try_send(Some(vec![3])), Sent::Unwanted);
    }

    #[test]
    fn a_sender_waits_for_a_slow_reader_and_not_for_one_that_left() {
        let (sender, mut reader) = channel(&account());
        let long = vec![7; PIECE_BYTES_MAX * 10 + 1];
        let worker = thread::spawn(move || sender.send(long) && sender.send(b"never wanted".to_vec()));
        for _ in 0..10 {
            assert_eq!(next(&mut reader), Next::Bytes(vec![7; PIECE_BYTES_MAX]));
        }
        assert_eq!(next(&mut reader), Next::Bytes(vec![7]));
        assert_eq!(next(&mut reader), Next::Bytes(b"never wanted".to_vec()));
        assert!(worker.join().unwrap());
        let (sender, reader) = channel(&account());
        let worker = thread::spawn(move || (0..100).take_while(|_| sender.send(vec![1])).count());
        drop(reader);
        assert!(worker.join().unwrap() <= PIECES_MAX);
    }
}
