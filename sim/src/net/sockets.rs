//! The server's ends of the simulated network: a listener and its connections, in place of production's sockets.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use polygil::server::env::{Listener, Peer};

use super::Parcel;
use crate::core::{Core, Event, MS, Shared};
use crate::trace::Kind;

/// The server's end of a connection.
pub struct SimStream {
    core: Shared,
    number: usize,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.core.lock().drop_server_end(self.number);
    }
}

/// Not ready now, but in a moment.
fn not_yet(core: &mut Core, cx: &Context<'_>) {
    let wait = core.net.random.below(MS);
    let at = core.now() + wait;
    core.at(at, Event::Wake(cx.waker().clone()));
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let core = &mut *self.core.lock();
        let now = core.now();
        let conn = &mut core.net.conns[self.number];
        if conn.reset_by_client {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let there = conn.input.len() - conn.input_start;
        if there == 0 && !conn.input_ended {
            match &mut conn.reader {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let (spurious, short) = (conn.spurious, conn.short_read);
        if core.net.random.chance(spurious) {
            not_yet(core, cx);
            return Poll::Pending;
        }
        let mut length = there.min(buffer.len());
        if length > 1 && core.net.random.chance(short) {
            length = core.net.random.spread(1, length as u64) as usize;
        }
        let conn = &mut core.net.conns[self.number];
        let from = conn.input_start;
        buffer[..length].copy_from_slice(&conn.input[from..from + length]);
        conn.input_start += length;
        conn.read += length as u64;
        (conn.moved_at, conn.read_at) = (now, now);
        if conn.server_ended.is_some() {
            conn.lingered += length as u64;
            core.net.lingered += length as u64;
            core.lingers(length as u64);
        } else if !conn.tap.is_inside() {
            conn.writing_since = None;
        }
        core.net.bytes.0 += length as u64;
        core.note(Kind::Read, self.number, length as u64);
        core.server_read(self.number);
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let core = &mut *self.core.lock();
        let now = core.now();
        let conn = &mut core.net.conns[self.number];
        if conn.reset_by_client {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if conn.server_ended.is_some() {
            core.fail("nothing after close", format!("connection {}: a write after the end", self.number));
        }
        core.net.writes += 1;
        let room = core.room(self.number);
        let conn = &mut core.net.conns[self.number];
        if room == 0 {
            conn.writer = Some(cx.waker().clone());
            conn.blocked_since.get_or_insert(now);
            conn.writing_since.get_or_insert(now);
            core.mark("a write had to wait for the client");
            return Poll::Pending;
        }
        let (spurious, short) = (conn.spurious, conn.short_write);
        if core.net.random.chance(spurious) {
            core.net.conns[self.number].writing_since.get_or_insert(now);
            not_yet(core, cx);
            return Poll::Pending;
        }
        let mut length = (bytes.len() as u64).min(room) as usize;
        if length > 1 && core.net.random.chance(short) {
            length = core.net.random.spread(1, length as u64) as usize;
        }
        let bytes = &bytes[..length];
        let conn = &mut core.net.conns[self.number];
        // Not before: room that came too late was no room.
        conn.waited += conn.blocked_since.take().map_or(0, |since| now - since);
        conn.written += length as u64;
        conn.moved_at = now;
        core.net.bytes.1 += length as u64;
        core.note(Kind::Write, self.number, length as u64);
        core.trace.bytes(bytes);
        core.server_wrote(self.number, bytes);
        core.down(self.number, Parcel::Bytes(bytes.to_vec()));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let core = &mut *self.core.lock();
        let now = core.now();
        let conn = &mut core.net.conns[self.number];
        if conn.reset_by_client {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if conn.server_ended.is_none() {
            conn.server_ended = Some(now);
            core.note(Kind::ServerEnd, self.number, 0);
            core.server_ended(self.number);
            core.down(self.number, Parcel::End);
        }
        Poll::Ready(Ok(()))
    }
}

/// The server's listener.
pub struct SimListener(pub Shared);

impl Drop for SimListener {
    fn drop(&mut self) {
        let core = &mut *self.0.lock();
        core.net.closed = true;
        core.listener_over();
        let left = std::mem::take(&mut core.net.backlog);
        left.into_iter().for_each(|number| core.drop_server_end(number));
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    fn is_awaited(&self) -> bool {
        !self.0.lock().net.backlog.is_empty()
    }

    async fn accept(&self) -> io::Result<(SimStream, Peer)> {
        poll_fn(|cx| {
            let core = &mut *self.0.lock();
            let Some(number) = core.net.backlog.front().copied() else {
                core.net.acceptor = Some(cx.waker().clone());
                return Poll::Pending;
            };
            core.net.backlog_since = None;
            if core.now() < core.net.descriptors_at {
                core.net.accept_errors += 1;
                core.net.full_at = Some(core.now());
                core.note(Kind::AcceptError, 24, 0);
                core.mark("no descriptor for a connection");
                return Poll::Ready(Err(io::Error::from_raw_os_error(24)));
            }
            core.net.backlog.pop_front();
            core.net.accepts_draining += u64::from(core.draining_at.is_some());
            let abort = if core.is_healed() { 0 } else { core.options.accept_abort };
            if core.net.random.chance(abort) {
                core.net.accept_errors += 1;
                core.note(Kind::AcceptError, 103, 0);
                core.mark("a connection was gone before it was accepted");
                core.drop_server_end(number);
                return Poll::Ready(Err(io::Error::from_raw_os_error(103)));
            }
            let now = core.now();
            let conn = &mut core.net.conns[number];
            conn.accepted_at = Some(now);
            (conn.moved_at, conn.read_at) = (now, now);
            core.net.accepts += 1;
            core.net.held += 1;
            let left = core.net.backlog.len();
            core.note(Kind::Accept, number, left as u64);
            core.open.push(number);
            core.connection_begun();
            Poll::Ready(Ok((SimStream { core: self.0.clone(), number }, Peer::default())))
        })
        .await
    }

    fn begin_no_more(&self) -> bool {
        self.0.lock().net.no_more = true;
        true
    }

    fn place(&self) -> String {
        "simulated".to_owned()
    }
}
