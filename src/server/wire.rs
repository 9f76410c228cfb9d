//! One connection's socket: bytes read into the HTTP state machine, answers written out, and every wait that there is.
//!
//! All waits of a connection come through here, so the rules of waiting are in one place:
//!
//! - Each wait has a deadline, or a reason why it needs none. A connection owns **one** timer. It is armed when a deadline is
//!   earlier than what it is armed for, or when it fired before the deadline: a keep-alive request, whose deadlines only
//!   move on, costs no timer at all.
//! - The clock is read when a wait begins and when one makes progress, never per byte.
//! - Each wait ends when the server cuts its connections. A wait for a new request also ends when the server drains.
//! - What waits to be written is on account ([`account`](crate::account)): a large content from when it is made, what is smaller from
//!   when the peer does not take it at once.
//! - What is read is bounded: a connection that is not waiting for bytes reads ahead up to [`READ_AHEAD_MAX`], then stops.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::drain::{Phase, Server, Ticket};
use super::env::Clock;
use super::stats::Closed;
use crate::account::{Held, Kind};
use crate::content::{ContentReader, Next};
use crate::dispatch::reply::{Lost, ReplyReceiver};
use crate::http;
use crate::mistakes::broken;

/// Bytes that a connection takes in while it waits for a reply, before it leaves the rest to TCP's flow control. The last read
/// may exceed it by [`READ_MAX`].
pub(super) const READ_AHEAD_MAX: usize = 64 * 1024;

/// Bytes that are read at once.
const READ_MAX: usize = 64 * 1024;

/// Bytes that a connection reads at once before it has sent more than that. Most never do, and a thread that reads for nobody who did
/// needs no more memory for it.
const READ_FIRST: usize = 8 * 1024;

/// Reads in a row of a connection that is over before others get a turn.
const READS_PER_TURN: u32 = 16;

/// How long a connection that is over is kept for its client to read the last answer, while that sends nothing.
const LINGER_PAUSE: Duration = Duration::from_secs(2);

/// How long at most while it goes on sending.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// An output buffer that grew beyond this is given back once it is written.
const OUTPUT_KEPT_MAX: usize = 4 * 1024;

thread_local! {
    /// Where bytes land before the state machine takes them: one for each thread, so that an idle connection holds none.
    static LANDING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The socket side of a connection.
pub(super) struct Wire<S, C: Clock> {
    stream: S,
    server: Arc<Server<C>>,
    ticket: Arc<Ticket>,
    alarm: Alarm<C>,
    /// The protocol. Public to the driver, which asks it for events.
    pub(super) http: http::Connection,
    /// Answers on their way out, and behind them the content of the last one if it is large; `sent` bytes of both are gone.
    pub(super) output: Vec<u8>,
    content: Option<Box<(Vec<u8>, Held)>>,
    sent: usize,
    /// The room that the output takes while it has to wait.
    waiting: Held,
    /// The peer sends nothing more.
    at_eof: bool,
    /// As many bytes are read at once: more after a read that brought as many.
    read_max: usize,
}

/// How long one answer has waited for its peer so far, and how much that has taken.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waited: Duration,
    written: u64,
}

impl Patience {
    /// Whether its peer was waited for.
    pub(super) fn is_used(&self) -> bool {
        self.waited > Duration::ZERO
    }
}

/// How a wait for bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The state machine has more to look at: bytes, or the end of the input.
    Input,
    /// The deadline passed.
    Deadline,
}

/// How a wait for a reply ended.
pub(super) enum Replied<R> {
    /// With the reply.
    Reply(R),
    /// All who could have replied are gone.
    Lost,
    /// The deadline passed.
    Deadline,
}

/// How a wait for somebody else's work ended.
enum Waited<R> {
    Done(R),
    Deadline,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Wire<S, C> {
    pub(super) fn new(stream: S, server: Arc<Server<C>>, ticket: Arc<Ticket>, http: http::Connection) -> Wire<S, C> {
        let alarm = Alarm::new(server.clock.clone());
        let waiting = server.app.memory.held(Kind::Unsent);
        Wire {
            stream,
            server,
            ticket,
            alarm,
            http,
            output: Vec::new(),
            content: None,
            sent: 0,
            waiting,
            at_eof: false,
            read_max: READ_FIRST,
        }
    }

    /// Waits for bytes until `deadline`; while the server drains, until `deadline_draining` if that comes first. A wait with such a
    /// deadline is an idle one, which ends as well when its place is needed for somebody else.
    pub(super) async fn read(
        &mut self,
        deadline: Duration,
        deadline_draining: Option<Duration>,
    ) -> Result<Read, Closed> {
        poll_fn(|cx| {
            self.ticket.register(cx);
            let phase = self.server.gate.phase();
            if phase == Phase::Now {
                return Poll::Ready(Err(Closed::DrainDeadline));
            }
            if self.at_eof {
                return Poll::Ready(Err(Closed::Peer));
            }
            // Reads before it looks at the time: bytes that are there in time are in time.
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(read.map(|()| Read::Input));
            }
            if deadline_draining.is_some() && self.ticket.is_crowded_out() {
                return Poll::Ready(Ok(Read::Deadline));
            }
            let deadline = match deadline_draining {
                Some(earlier) if phase == Phase::Draining => deadline.min(earlier),
                _ => deadline,
            };
            ready!(self.alarm.poll(cx, deadline));
            Poll::Ready(Ok(Read::Deadline))
        })
        .await
    }

    /// Waits for a reply, until `deadline` if there is one.
    pub(super) async fn reply<R>(
        &mut self,
        receiver: &mut ReplyReceiver<R>,
        deadline: Option<Duration>,
    ) -> Result<Replied<R>, Closed> {
        let waited = self.wait(deadline, |cx| poll_reply(receiver, cx)).await?;
        Ok(match waited {
            Waited::Done(replied) => replied,
            Waited::Deadline => Replied::Deadline,
        })
    }

    /// Waits for the next piece of a content. It has no deadline: the handler that makes it has a budget.
    pub(super) async fn piece(&mut self, content: &mut ContentReader) -> Result<Next, Closed> {
        match self.wait(None, |cx| content.poll_next(cx)).await? {
            Waited::Done(next) => Ok(next),
            Waited::Deadline => Ok(Next::Broken),
        }
    }

    /// Waits for somebody else's work, until `deadline` if there is one, while it keeps reading ahead and notices when the peer is
    /// gone. The end of the peer's input is not the end of its interest: clients that half-close get their answer.
    async fn wait<R>(
        &mut self,
        deadline: Option<Duration>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Result<Waited<R>, Closed> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = work(cx) {
                return Poll::Ready(Ok(Waited::Done(done)));
            }
            self.ticket.register(cx);
            if self.server.gate.phase() == Phase::Now {
                return Poll::Ready(Err(Closed::DrainDeadline));
            }
            while !self.at_eof && (self.http.buffered() < READ_AHEAD_MAX || broken("read_ahead_unbounded")) {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(closed)) => return Poll::Ready(Err(closed)),
                    Poll::Pending => break,
                }
            }
            if self.at_eof && broken("half_close_is_leaving") {
                return Poll::Ready(Err(Closed::Peer));
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            ready!(self.alarm.poll(cx, deadline));
            Poll::Ready(Ok(Waited::Deadline))
        })
        .await
    }

    /// Puts a large content behind the output. The next thing to be done is to flush.
    pub(super) fn append(&mut self, content: Vec<u8>, held: Held) {
        debug_assert!(self.content.is_none(), "a large content is written before anything follows it");
        self.content = Some(Box::new((content, held)));
    }

    /// Bytes that are to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.output.len() + self.content.as_ref().map_or(0, |large| large.0.len())
    }

    /// Writes all of the output, with what is left of that patience. True when the peer had to be waited for.
    pub(super) async fn flush(&mut self, patience: &mut Patience) -> Result<bool, Closed> {
        if self.unwritten() == 0 {
            return Ok(false);
        }
        let server = Arc::clone(&self.server);
        // When the first write stalled, and the deadline that each byte since then has moved on.
        let mut begun: Option<Duration> = None;
        let mut deadline = Duration::MAX;
        poll_fn(|cx| {
            let mut progress = begun.is_none();
            loop {
                let Wire { stream, output, content, sent, .. } = self;
                let bytes = next_bytes(output, content.as_deref(), *sent);
                let length = bytes.len();
                if length == 0 {
                    return Poll::Ready(Ok(()));
                }
                match Pin::new(stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Closed::Reset)),
                    Poll::Ready(Ok(bytes)) => {
                        self.sent += if broken("short_write_lost") { length } else { bytes };
                        server.app.counters.written(bytes);
                        patience.written += bytes as u64;
                        progress = true;
                    }
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Closed::Reset)),
                    Poll::Pending => {
                        self.ticket.register(cx);
                        if server.gate.phase() == Phase::Now {
                            return Poll::Ready(Err(Closed::DrainDeadline));
                        }
                        if self.waiting.is_empty() && !broken("unsent_not_counted") {
                            // A large content has its room already.
                            self.waiting.force(self.output.len());
                        }
                        if progress {
                            let (now, options) = (server.clock.now(), &server.app.options);
                            let begun = begun.get_or_insert(now).saturating_sub(patience.waited);
                            deadline = options.rate_deadline(now, begun, patience.written, options.write_timeout);
                            if !broken("readers_without_end") {
                                deadline = deadline.min(begun.saturating_add(options.response_timeout));
                            }
                        }
                        ready!(self.alarm.poll(cx, deadline));
                        return Poll::Ready(Err(Closed::WriteTimeout));
                    }
                }
            }
        })
        .await?;
        if let Some(begun) = begun {
            patience.waited = patience.waited.saturating_add(server.clock.now().saturating_sub(begun));
        }
        self.sent = 0;
        self.content = None;
        self.waiting.clear();
        if self.output.capacity() > OUTPUT_KEPT_MAX {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
        Ok(begun.is_some())
    }

    /// Closes the write half, then reads and throws away what comes until the peer's end, so that a client that still sends can
    /// read its answer: closing with unread input would make TCP reset the connection and take the answer back (RFC 9112,
    /// section 9.6). Says nothing about how it went: the connection is over either way.
    ///
    /// Bounded by time ([`LINGER_PAUSE`] without a byte, [`LINGER_MAX`] in all; the former in all while the server drains), and by
    /// what all connections that linger have thrown away together. Who lingers makes way for others as an idle connection does.
    pub(super) async fn linger(&mut self) {
        let server = Arc::clone(&self.server);
        let begun = server.clock.now();
        poll_fn(|cx| {
            self.ticket.register(cx);
            if server.gate.phase() == Phase::Now {
                return Poll::Ready(());
            }
            match Pin::new(&mut self.stream).poll_close(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => self.alarm.poll(cx, begun.saturating_add(LINGER_PAUSE)),
            }
        })
        .await;
        if self.at_eof {
            return;
        }
        self.ticket.idle(begun);
        let mut thrown_away = server.app.lingering.share(Kind::Received);
        let mut deadline = begun.saturating_add(LINGER_PAUSE);
        let mut until = begun.saturating_add(LINGER_MAX);
        poll_fn(|cx| {
            self.ticket.register(cx);
            let phase = server.gate.phase();
            if phase == Phase::Now || self.ticket.is_crowded_out() {
                return Poll::Ready(());
            }
            let mut progress = false;
            for _ in 0..READS_PER_TURN {
                match poll_landing(&mut self.stream, cx, self.read_max, |bytes| bytes.len()) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(bytes)) => {
                        progress = true;
                        self.read_max = READ_MAX;
                        server.app.counters.read(bytes);
                        if !thrown_away.grow(bytes) && !broken("lingering_without_end") {
                            server.app.lingering.refuse();
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending => {
                        if progress || phase == Phase::Draining {
                            let now = server.clock.now();
                            if phase == Phase::Draining {
                                let drain_begun = now.saturating_sub(server.gate.drains_for(now));
                                until = until.min(drain_begun.max(begun).saturating_add(LINGER_PAUSE));
                            }
                            if progress {
                                deadline = now.saturating_add(LINGER_PAUSE);
                            }
                        }
                        return self.alarm.poll(cx, deadline.min(until));
                    }
                }
            }
            // There is more. Others get their turn first.
            let now = server.clock.now();
            deadline = now.saturating_add(LINGER_PAUSE);
            if now >= until {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.ticket.idle_no_more();
    }

    /// One read into the state machine.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Wire { stream, http, read_max, .. } = self;
        let read = ready!(poll_landing(stream, cx, *read_max, |bytes| {
            http.receive(bytes);
            bytes.len()
        }));
        match read {
            Ok(0) => {
                self.at_eof = true;
                self.http.receive_eof();
            }
            Ok(bytes) => {
                if bytes == *read_max {
                    *read_max = READ_MAX;
                }
                self.server.app.counters.read(bytes);
            }
            Err(_) => return Poll::Ready(Err(Closed::Reset)),
        }
        Poll::Ready(Ok(()))
    }
}

/// What is to be written next when `sent` bytes are gone; nothing at the end.
fn next_bytes<'b>(output: &'b [u8], content: Option<&'b (Vec<u8>, Held)>, sent: usize) -> &'b [u8] {
    match content {
        Some((content, _)) if sent >= output.len() => &content[sent - output.len()..],
        _ => &output[sent..],
    }
}

fn poll_reply<R>(receiver: &mut ReplyReceiver<R>, cx: &mut Context<'_>) -> Poll<Replied<R>> {
    Pin::new(receiver).poll(cx).map(|reply| match reply {
        Ok(reply) => Replied::Reply(reply),
        Err(Lost) => Replied::Lost,
    })
}

/// Reads up to `read_max` bytes once into this thread's landing buffer and shows `take` what came, unless that is nothing.
fn poll_landing<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    read_max: usize,
    take: impl FnOnce(&[u8]) -> usize,
) -> Poll<io::Result<usize>> {
    LANDING.with_borrow_mut(|landing| {
        if landing.len() < read_max {
            landing.resize(read_max, 0);
        }
        let landing = &mut landing[..read_max];
        loop {
            match ready!(Pin::new(&mut *stream).poll_read(cx, landing)) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(bytes) => return Poll::Ready(Ok(take(&landing[..bytes]))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
}

/// A connection's one timer, armed as seldom as possible.
struct Alarm<C: Clock> {
    clock: C,
    /// The timer, and what it is armed for.
    armed: Option<(Duration, C::Sleep)>,
}

impl<C: Clock> Alarm<C> {
    fn new(clock: C) -> Alarm<C> {
        Alarm { clock, armed: None }
    }

    /// Ready when `deadline` has passed. A timer that is armed for an earlier time is left as it is and armed anew only when it
    /// fires; [`Duration::MAX`] is never.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Duration) -> Poll<()> {
        loop {
            match &mut self.armed {
                Some((at, sleep)) if *at <= deadline || broken("timer_not_moved") => {
                    ready!(Pin::new(sleep).poll(cx));
                    self.armed = None;
                    if self.clock.now() >= deadline {
                        return Poll::Ready(());
                    }
                }
                _ if deadline == Duration::MAX => return Poll::Pending,
                _ => self.armed = Some((deadline, self.clock.sleep_until(deadline))),
            }
        }
    }
}
