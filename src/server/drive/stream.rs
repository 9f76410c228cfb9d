//! An answer whose content comes in pieces: from the worker that makes them to the socket.
//!
//! - The head goes out with the first piece, and what is there leaves before the next piece is waited for: a client sees each
//!   piece when it is made, and pieces that are there together leave together.
//! - The content is taken no faster than the client takes it: the worker waits, within the bound of [`content`](crate::content).
//! - Only the content's own end ends it on the wire. When it breaks off, the connection closes without a last chunk, so that the
//!   client knows that it has not got everything (RFC 9112, 8), and is counted under its own reason.
//! - How long all pieces together wait for the client has an end (`--response-timeout`); how long they take to be made has none here.
//! - A client that leaves is noticed between pieces; dropping the reader tells the worker.

use std::future::poll_fn;
use std::task::Poll;

use futures_lite::{AsyncRead, AsyncWrite};

use super::{Driver, OUTPUT_BATCH_MAX, Stop};
use crate::content::{ContentReader, Next};
use crate::http::Response;
use crate::server::access::Exchange;
use crate::server::env::Clock;
use crate::server::stats::Closed;
use crate::server::wire::Patience;

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Driver<S, C> {
    /// Sends the answer, however long that takes.
    pub(super) async fn stream(
        &mut self,
        exchange: &Exchange,
        mut head: Response,
        mut content: ContentReader,
    ) -> Result<(), Stop> {
        let (date, _) = self.prepare(&mut head);
        let status = head.status;
        let wanted = match self.wire.http.send_head(&head, &date, &mut self.wire.output) {
            Ok(wanted) => wanted,
            Err(invalid) => {
                drop(content);
                let response = self.instead(exchange, &invalid);
                return self.answer(exchange, response).await;
            }
        };
        let mut bytes = 0;
        let mut patience = Patience::default();
        loop {
            let next = match poll_fn(|cx| Poll::Ready(content.poll_next(cx))).await {
                _ if !wanted => Next::End,
                Poll::Ready(next) => next,
                Poll::Pending => {
                    self.flush_with(&mut patience).await?;
                    self.wire.piece(&mut content).await?
                }
            };
            match next {
                Next::Bytes(piece) => {
                    bytes += piece.len();
                    self.wire.http.send_piece(&piece, &mut self.wire.output);
                    if self.wire.output.len() >= OUTPUT_BATCH_MAX {
                        self.flush_with(&mut patience).await?;
                    }
                }
                Next::End => break,
                Next::Broken => {
                    self.flush_with(&mut patience).await?;
                    return Err(Stop::Close(Closed::BrokenContent));
                }
            }
        }
        // To HEAD: the worker learns that no content is wanted.
        drop(content);
        let after = self.wire.http.send_end(&mut self.wire.output);
        let now = self.server.clock.now();
        self.answered(exchange, status, bytes, now);
        if patience.is_used() {
            // A client that was waited for gets the rest within what it has left, not within a new time.
            self.flush_with(&mut patience).await?;
        }
        self.follow(after).await
    }
}
