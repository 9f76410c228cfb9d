//! One connection, from its first byte to its last: socket ↔ `http` ↔ router ↔ `dispatch`.
//!
//! The driver asks the protocol's state machine for the next event and does what it calls for. One request is on its way at a
//! time; what a client pipelines behind it waits, first in the state machine, then in the kernel. So answers are in order by
//! construction, and the rules that are left to keep are these:
//!
//! - Each request that is received is answered exactly once, or the connection closes for a reason that is counted.
//! - A finished answer is never held back while a later request is waited for. Answers that are ready together leave together.
//! - What can be refused is refused before its body is read: no route, a full queue, a body over the limit. `100 (Continue)` is
//!   sent only when the body is going to be read.
//! - Waiting for a reply blocks nothing. A peer that breaks the connection gives its place in the queue back.
//! - After an error the client can still read the answer: half-close, lingering within bounds, then close.
//! - No call is begun while the memory for contents is full, and an answer for which there is no room becomes a 503.
//!
//! The driver never looks into a body, never touches Python, and never decides what a request means.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, future};

use super::access::Exchange;
use super::drain::{Admission, DRAIN_IDLE_GRACE, Phase, Server};
use super::env::{Clock, Peer};
use super::stats::Closed;
use super::wire::{Patience, Read, Replied, Wire};
use crate::account::{Account, HELD_BYTES_MIN, Held, Kind, Share};
use crate::dispatch::Refused;
use crate::dispatch::reply::ReplyReceiver;
use crate::error::Failure;
use crate::http::{AfterResponse, Connection, Event, Head, InvalidResponse, ProtocolError, Request, Response};
use crate::io::executor::after_turn;
use crate::mistakes::broken;
use crate::router::{Found, RouteId};
use crate::task::{Answer, Task, next_answer_slot};

/// A body up to this many bytes is read and thrown away when its request needs no handler, so that the connection lives on.
const DISCARDED_BODY_MAX: u64 = 64 * 1024;

/// Finished answers wait for those after them up to this many bytes.
const OUTPUT_BATCH_MAX: usize = 64 * 1024;

/// As much memory of an answer's fields and of its content is kept for the next one.
const SPARE_BYTES_MAX: usize = 1024;

/// Requests that a connection gets answered in a row before others get a turn.
const REQUESTS_PER_TURN: u32 = 16;

/// Reads of one body in a row before others get a turn.
const READS_PER_TURN: u32 = 16;

/// The task of one connection.
pub(super) struct Driver<S, C: Clock> {
    server: Arc<Server<C>>,
    peer: Peer,
    admission: Admission<C>,
    wire: Wire<S, C>,
    /// Answers in the output that are not yet written in full, by status class.
    unwritten: [u32; 5],
    /// The slot of the last reply, and the memory of its answer, for the next one.
    spare: (Option<ReplyReceiver<Answer>>, Response),
    /// When the last answer was written or, before the first, when the connection began.
    idle_since: Duration,
}

/// Why a connection goes no further.
enum Stop {
    /// The socket is of no more use, or nobody waits for anything.
    Close(Closed),
    /// There is an answer to be read, and the peer may still send.
    Linger(Closed),
}

impl From<Closed> for Stop {
    fn from(reason: Closed) -> Stop {
        Stop::Close(reason)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Driver<S, C> {
    pub(super) fn new(stream: S, peer: Peer, server: Arc<Server<C>>, admission: Admission<C>) -> Driver<S, C> {
        let http = Connection::new(server.app.options.limits.clone());
        let wire = Wire::new(stream, server.clone(), admission.ticket.clone(), http);
        let idle_since = server.clock.now();
        Driver { server, peer, admission, wire, unwritten: [0; 5], spare: (None, Response::empty()), idle_since }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let reason = match self.serve().await {
            Stop::Close(reason) => reason,
            Stop::Linger(reason) => {
                self.wire.linger().await;
                reason
            }
        };
        if self.admission.unanswered > 0 {
            let (reason, unanswered) = (reason.name(), self.admission.unanswered);
            tracing::info!(client = %self.peer, reason, unanswered, "closed a connection with requests unanswered");
        }
        self.admission.close(reason);
    }

    async fn serve(&mut self) -> Stop {
        let mut turn = 0;
        loop {
            let served = match self.head().await {
                Ok(head) => self.exchange(head).await,
                Err(stop) => Err(stop),
            };
            if let Err(stop) = served {
                return stop;
            }
            turn += 1;
            if turn % REQUESTS_PER_TURN == 0 {
                // Its client need not wait for what others do in their turn.
                if let Err(closed) = self.flush().await {
                    return closed.into();
                }
                future::yield_now().await;
            }
        }
    }

    /// The next request's head.
    async fn head(&mut self) -> Result<Head, Stop> {
        let options = &self.server.clone().app.options;
        // When the first byte of the head was there.
        let mut begun: Option<Duration> = None;
        loop {
            match self.wire.http.next_event() {
                Ok(Event::Head(head)) => return Ok(head),
                Ok(Event::NeedData) => self.flush().await?,
                Ok(Event::Closed) => {
                    self.flush().await?;
                    return Err(Stop::Close(Closed::Peer));
                }
                Ok(Event::Body(_) | Event::End | Event::Paused) => unreachable_event("between requests")?,
                Err(error) => return Err(self.refuse(error).await),
            }
            if self.wire.http.buffered() == 0 {
                // Also behind an empty line of which the CR came first: it began no head.
                begun = None;
                let deadline = self.idle_since.saturating_add(options.idle_timeout);
                let draining = self.idle_since.saturating_add(DRAIN_IDLE_GRACE);
                self.admission.ticket.idle(self.idle_since);
                let read = self.wire.read(deadline, Some(draining)).await?;
                self.admission.ticket.idle_no_more();
                if read == Read::Deadline {
                    let drained = self.server.gate.phase() > Phase::Running;
                    return Err(Stop::Close(if drained { Closed::Drained } else { Closed::Idle }));
                }
            } else {
                let begun = *begun.get_or_insert_with(|| self.server.clock.now());
                if self.wire.read(begun.saturating_add(options.head_timeout), None).await? == Read::Deadline {
                    let exchange = self.receive(None);
                    let detail = "the request head took longer than the head timeout";
                    return Err(self.fail(&exchange, Failure::RequestTimeout, detail).await);
                }
            }
        }
    }

    /// Everything from a head to its answer.
    async fn exchange(&mut self, head: Head) -> Result<(), Stop> {
        let server = self.server.clone();
        let exchange = self.receive(Some(&head));
        let (route, params) = match server.app.router.find(head.method(), head.path()) {
            Found::Route { id, params } => (id, params),
            other => return self.answer_unrouted(&exchange, &head, unrouted(other, &head)).await,
        };
        self.admission.ticket.routed(route);
        let limit = server.app.options.limits.body_bytes_max;
        if head.content_length().is_some_and(|length| length > limit) && !broken("limit_off_by_one") {
            let detail = format!("the content is larger than the limit of {limit} bytes");
            return self.answer(&exchange, Failure::ContentTooLarge.response(detail)).await;
        }
        let memory = &server.app.memory;
        if memory.is_full() && !broken("begun_without_room") {
            let response = self.no_room(&exchange, MEMORY_FULL);
            return self.answer_unrouted(&exchange, &head, response).await;
        }
        if head.has_body() && !self.is_buffered(&head) {
            if !server.app.pool.has_room() {
                return self.answer(&exchange, self.own(&exchange, Failure::QueueFull, QUEUE_FULL)).await;
            }
            if !memory.has_room(head.content_length().unwrap_or(0)) {
                return self.answer(&exchange, self.no_room(&exchange, CONTENT_WITHOUT_ROOM)).await;
            }
        }
        // Held until the answer is made.
        let mut share = memory.share(Kind::Received);
        let body = self.body(&exchange, &head, Some(&mut share)).await?;
        // There was room when the content began to come; others may have filled it since.
        if memory.is_over() && !broken("begun_without_room") {
            drop((share, body));
            let response = self.no_room(&exchange, MEMORY_FULL);
            return self.answer(&exchange, response).await;
        }
        let answer = self.dispatch(&exchange, route, params, Request { head, body }).await?;
        self.admission.ticket.waited();
        let (response, request, held) = match answer {
            Answer::Whole(response, request, held) => (response, request, held),
            Answer::NoRoom(request) => (self.no_room(&exchange, ANSWER_WITHOUT_ROOM), Some(request), None),
            Answer::Streamed(head, content) => return self.stream(&exchange, head, content).await,
        };
        if let Some(request) = request {
            self.wire.http.reuse(request);
        }
        drop(share);
        let after = if response.body.len() < HELD_BYTES_MIN {
            self.encode(&exchange, response)
        } else {
            self.encode_large(&exchange, response, held)
        };
        self.follow(after).await
    }

    /// Whether the whole of a body of known length is here already, as far as can be told without parsing.
    fn is_buffered(&self, head: &Head) -> bool {
        head.content_length().is_some_and(|length| length <= self.wire.http.buffered() as u64)
    }

    /// Reads the body and keeps it on account of that share, or reads it to throw it away.
    async fn body(
        &mut self,
        exchange: &Exchange,
        head: &Head,
        mut keep: Option<&mut Share<&Account>>,
    ) -> Result<Vec<u8>, Stop> {
        let options = &self.server.clone().app.options;
        let mut body = Vec::new();
        let mut received = 0u64;
        let begun = exchange.begun;
        let mut progress_at = begun;
        let mut progress = false;
        let mut reads = 0;
        loop {
            match self.wire.http.next_event() {
                Ok(Event::Body(bytes)) => {
                    received += bytes.len() as u64;
                    progress = true;
                    let Some(share) = &mut keep else { continue };
                    if !share.grow(bytes.len()) {
                        self.server.app.memory.refuse();
                        return Err(self.fail(exchange, Failure::QueueFull, CONTENT_WITHOUT_ROOM).await);
                    }
                    if body.is_empty() {
                        body = bytes;
                        reserve(&mut body, head);
                    } else {
                        body.extend_from_slice(&bytes);
                    }
                    continue;
                }
                Ok(Event::End) => return Ok(body),
                Ok(Event::NeedData) => {}
                Ok(Event::Closed) => return Err(Stop::Close(Closed::Peer)),
                Ok(Event::Head(_) | Event::Paused) => unreachable_event("inside a body")?,
                Err(error) => {
                    let failure = error.failure;
                    return Err(self.fail(exchange, failure, error.detail).await);
                }
            }
            if self.wire.http.wants_continue() {
                self.wire.http.send_continue(&mut self.wire.output);
            }
            self.flush().await?;
            if std::mem::take(&mut progress) {
                progress_at = self.server.clock.now();
            }
            reads += 1;
            if reads % READS_PER_TURN == 0 {
                future::yield_now().await;
            }
            let total = begun.saturating_add(options.request_timeout);
            let deadline = options.rate_deadline(progress_at, begun, received, options.body_timeout).min(total);
            if self.wire.read(deadline, None).await? == Read::Deadline {
                let detail = if deadline == total {
                    "the request took longer to come than the request timeout"
                } else {
                    "the content came more slowly than the body timeout and the minimum rate allow"
                };
                return Err(self.fail(exchange, Failure::RequestTimeout, detail).await);
            }
        }
    }

    /// Hands the request to the pool and waits for its reply.
    async fn dispatch(
        &mut self,
        exchange: &Exchange,
        route: RouteId,
        params: Vec<String>,
        request: Request,
    ) -> Result<Answer, Stop> {
        let (slot, spare) = std::mem::replace(&mut self.spare, (None, Response::empty()));
        let (sender, mut receiver) = next_answer_slot(slot);
        let task = Task {
            id: exchange.id,
            route,
            params,
            request,
            spare,
            client: self.peer.client,
            server: self.peer.server,
            reply: sender,
        };
        let lane = self.server.app.io.lane_for(route);
        let submitted = match lane {
            Some(lane) => self.server.app.pool.submit_own(lane, task),
            None => self.server.app.pool.submit(task),
        };
        match submitted {
            Ok(()) => {}
            Err(Refused::Full(_)) => {
                return Ok(Answer::Whole(self.own(exchange, Failure::QueueFull, QUEUE_FULL), None, None));
            }
            Err(Refused::Closed(_)) => {
                let mut response = self.own(exchange, Failure::ShuttingDown, "the server is shutting down");
                response.close = true;
                return Ok(Answer::Whole(response, None, None));
            }
        }
        let submitted = self.server.clock.now();
        let deadline = submitted.saturating_add(self.server.app.queue_timeout(route));
        // A reply that is there at once leaves together with the answers before it. Otherwise those go first.
        let mut replied = future::poll_once(&mut receiver).await;
        if replied.is_none() && lane.is_some() {
            // What it would prepare for a long wait it need not prepare for this thread's turn at its lane.
            after_turn().await;
            replied = future::poll_once(&mut receiver).await;
        }
        let mut replied = replied.map(|reply| reply.map_or(Replied::Lost, Replied::Reply));
        if replied.is_none() {
            self.admission.ticket.wait_since(submitted);
            if let Err(closed) = self.flush().await {
                self.give_up(&receiver);
                return Err(closed.into());
            }
        }
        let mut deadline = Some(deadline);
        loop {
            let reply = match replied.take() {
                Some(reply) => reply,
                None => match self.wire.reply(&mut receiver, deadline).await {
                    Ok(reply) => reply,
                    Err(closed) => {
                        self.give_up(&receiver);
                        return Err(closed.into());
                    }
                },
            };
            match reply {
                Replied::Reply(answer) => {
                    self.spare.0 = Some(receiver);
                    return Ok(answer);
                }
                Replied::Lost => {
                    let detail = "the worker was lost while it had this request";
                    return Ok(Answer::Whole(self.own(exchange, Failure::WorkerLost, detail), None, None));
                }
                Replied::Deadline if self.give_up(&receiver) => {
                    let detail = "the request waited for a worker longer than the queue timeout";
                    return Ok(Answer::Whole(self.own(exchange, Failure::QueueFull, detail), None, None));
                }
                // It runs: from here its handler's own budget counts, and the pool's watchdog ends it.
                Replied::Deadline => deadline = None,
            }
        }
    }

    /// Takes a task back that nobody waits for any more. False when it runs or is done.
    fn give_up(&self, receiver: &ReplyReceiver<Answer>) -> bool {
        let waits = receiver.expire();
        if waits {
            self.server.app.pool.caller_left();
        }
        waits
    }

    /// Answers a request that no handler is asked about.
    async fn answer_unrouted(&mut self, exchange: &Exchange, head: &Head, response: Response) -> Result<(), Stop> {
        let small = head.content_length().is_some_and(|length| length <= DISCARDED_BODY_MAX);
        if !head.has_body() || (small && !self.wire.http.wants_continue()) {
            self.body(exchange, head, None).await?;
        }
        self.answer(exchange, response).await
    }

    /// Puts the answer into the output, and what follows from it.
    async fn answer(&mut self, exchange: &Exchange, response: Response) -> Result<(), Stop> {
        let after = self.encode(exchange, response);
        self.follow(after).await
    }

    /// What follows an answer that is in the output.
    async fn follow(&mut self, after: AfterResponse) -> Result<(), Stop> {
        if after == AfterResponse::KeepAlive && self.wire.unwritten() < OUTPUT_BATCH_MAX {
            return Ok(());
        }
        self.flush().await?;
        match after {
            AfterResponse::KeepAlive => Ok(()),
            _ => Err(Stop::Linger(Closed::Finished)),
        }
    }

    fn encode(&mut self, exchange: &Exchange, mut response: Response) -> AfterResponse {
        let (date, now) = self.prepare(&mut response);
        let (mut status, mut bytes) = (response.status, response.body.len());
        let after = match self.wire.http.send(&response, &date, &mut self.wire.output) {
            Ok(after) => after,
            Err(invalid) => {
                let response = self.instead(exchange, &invalid);
                (status, bytes) = (response.status, response.body.len());
                match self.wire.http.send(&response, &date, &mut self.wire.output) {
                    Ok(after) => after,
                    Err(_) => AfterResponse::Close,
                }
            }
        };
        self.spare.1 = response.emptied(SPARE_BYTES_MAX);
        self.answered(exchange, status, bytes, now);
        after
    }

    /// As [`Driver::encode`], of a content that is too large to be copied.
    fn encode_large(&mut self, exchange: &Exchange, mut response: Response, held: Option<Held>) -> AfterResponse {
        let (status, bytes) = (response.status, response.body.len());
        let Some(held) = held.or_else(|| self.server.app.memory.hold(bytes)) else {
            let response = self.no_room(exchange, ANSWER_WITHOUT_ROOM);
            return self.encode(exchange, response);
        };
        let (date, now) = self.prepare(&mut response);
        match self.wire.http.send_apart(&response, &date, &mut self.wire.output) {
            Ok((after, wanted)) => {
                if wanted {
                    self.wire.append(response.body, held);
                }
                self.answered(exchange, status, bytes, now);
                after
            }
            Err(invalid) => {
                let response = self.instead(exchange, &invalid);
                self.encode(exchange, response)
            }
        }
    }

    /// What each answer gets from the server; gives its date, and the time.
    fn prepare(&self, response: &mut Response) -> ([u8; 29], Duration) {
        let server = &self.server;
        let now = server.clock.now();
        // While the server drains, what a client has pipelined by then is still served; then its connection ends.
        response.close |= server.gate.phase() > Phase::Running
            && (self.wire.http.buffered() == 0 || server.gate.drains_for(now) > server.app.options.drain_timeout / 2);
        server.app.options.identify(response);
        (server.date.get(&server.clock, now), now)
    }

    /// The answer in the place of one that cannot be sent.
    fn instead(&self, exchange: &Exchange, invalid: &InvalidResponse) -> Response {
        tracing::error!(
            request_id = %self.server.app.request_id(exchange.id),
            %invalid,
            "the handler's response would break HTTP and was not sent"
        );
        // What it says may repeat what a client sent.
        let failure = Failure::ResponseNotSerializable;
        let response = match self.server.app.options.debug {
            true => failure.debug_response(&invalid.to_string(), ""),
            false => failure.response(failure.default_detail()),
        };
        self.identified(exchange, response)
    }

    /// An answer is in the output to its last byte, at the time `now`.
    fn answered(&mut self, exchange: &Exchange, status: u16, bytes: usize, now: Duration) {
        self.idle_since = now;
        self.unwritten[usize::from((status / 100).clamp(1, 5)) - 1] += 1;
        exchange.log(&self.server.app, self.peer, status, bytes, now);
    }

    /// Writes what there is; then its requests count as answered.
    async fn flush(&mut self) -> Result<(), Closed> {
        self.flush_with(&mut Patience::default()).await
    }

    /// As [`Driver::flush`], of an answer that is written in several parts.
    async fn flush_with(&mut self, patience: &mut Patience) -> Result<(), Closed> {
        if self.wire.flush(patience).await? {
            // A slow reader's idle time begins when it has its answer, not when that was made.
            self.idle_since = self.server.clock.now();
        }
        let answers = std::mem::take(&mut self.unwritten);
        let count: u32 = answers.iter().sum();
        if count > 0 {
            self.server.app.counters.answered(answers);
            self.admission.unanswered -= u64::from(count);
            if self.admission.unanswered == 0 {
                self.admission.ticket.rest();
            }
        }
        Ok(())
    }

    /// Counts a request in.
    fn receive(&mut self, head: Option<&Head>) -> Exchange {
        let app = &self.server.app;
        let exchange = Exchange::begin(app, head, self.server.clock.now());
        app.counters.received();
        self.admission.unanswered += 1;
        self.admission.ticket.begin(exchange.id, exchange.begun);
        exchange
    }

    /// Answers bytes that are not a request.
    async fn refuse(&mut self, error: ProtocolError) -> Stop {
        let exchange = self.receive(None);
        self.fail(&exchange, error.failure, error.detail).await
    }

    /// Answers a request that the connection does not survive.
    async fn fail(&mut self, exchange: &Exchange, failure: Failure, detail: impl AsRef<str>) -> Stop {
        let mut response = self.own(exchange, failure, detail);
        response.close = true;
        self.encode(exchange, response);
        match self.flush().await {
            Ok(()) => Stop::Linger(Closed::Refused),
            Err(closed) => Stop::Close(closed),
        }
    }

    /// The answer to a request for which there is no memory, counted.
    fn no_room(&self, exchange: &Exchange, detail: &str) -> Response {
        self.server.app.memory.refuse();
        self.own(exchange, Failure::QueueFull, detail)
    }

    /// A failure answer of polygil's own. A 5xx carries the request id, so that whoever sees it can find it in the log.
    fn own(&self, exchange: &Exchange, failure: Failure, detail: impl AsRef<str>) -> Response {
        self.identified(exchange, failure.response(detail))
    }

    fn identified(&self, exchange: &Exchange, mut response: Response) -> Response {
        if response.status >= 500 {
            let id = self.server.app.request_id(exchange.id);
            response.headers.push(("x-request-id".into(), id.into_bytes().into()));
        }
        response
    }
}

const QUEUE_FULL: &str = "all workers are busy and their queues are full";
const MEMORY_FULL: &str = "the contents of all requests and answers leave no room for another";
const CONTENT_WITHOUT_ROOM: &str = "the contents of all requests and answers leave no room for that of this request";
const ANSWER_WITHOUT_ROOM: &str = "the contents of all requests and answers leave no room for this answer";

/// The answer to a request that has no route of its own.
fn unrouted(found: Found<'_>, head: &Head) -> Response {
    match found {
        Found::Options { allow } => {
            let allow = allow.as_bytes().to_vec();
            Response { status: 204, headers: vec![("allow".into(), allow.into())], body: Vec::new(), close: false }
        }
        Found::MethodNotAllowed { allow } => Failure::method_not_allowed(allow),
        Found::MethodNotImplemented => {
            let detail = format!("the method {} is not implemented", head.method());
            // Unlike an unknown transfer coding, it leaves no doubt where the request ends.
            Response { close: false, ..Failure::NotImplemented.response(detail) }
        }
        Found::BadPath(detail) => Failure::BadRequest.response(detail),
        Found::NotFound | Found::Route { .. } => Failure::NotFound.response(Failure::NotFound.default_detail()),
    }
}

/// Makes room for a body of known length at once, when it is not so large that its bytes should prove it first.
fn reserve(body: &mut Vec<u8>, head: &Head) {
    const RESERVED_AT_ONCE_MAX: u64 = 256 * 1024;
    if let Some(length) = head.content_length() {
        let rest = length.min(RESERVED_AT_ONCE_MAX).saturating_sub(body.len() as u64);
        body.reserve_exact(rest as usize);
    }
}

/// The state machine gave an event that its own contract excludes. The connection closes: nothing after this can be trusted.
fn unreachable_event(place: &str) -> Result<(), Closed> {
    tracing::error!(place, "the protocol gave an event that cannot be; the connection is closed");
    Err(Closed::Bug)
}
