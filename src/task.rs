//! What crosses from the I/O side to a worker: owned data, one way. The answer comes back through [`Task::reply`].
//! What workers say of themselves crosses the other way, when somebody asks: [`WorkersNow`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, HELD_BYTES_MIN, Held};
use crate::content::ContentReader;
use crate::dispatch::reply::{self, ReplyReceiver, ReplySender};
use crate::http::{Request, Response};
use crate::router::RouteId;

/// One accepted request on its way to a handler.
pub struct Task {
    /// Counts the server's requests; with the server's prefix it is the request id of logs and handlers.
    pub id: u64,
    /// Whose handler is to be called.
    pub route: RouteId,
    /// The path parameters' values, percent-decoded, in the pattern's order.
    pub params: Vec<String>,
    /// Head and whole body.
    pub request: Request,
    /// Empty: the memory of an answer that is done with, for the next one.
    pub spare: Response,
    /// The peer's address; None on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address it connected to; None on a Unix socket.
    pub server: Option<SocketAddr>,
    /// Where the answer goes, once.
    pub reply: AnswerSender,
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// A response with all of its content; the request, if whoever answered gives it back, for its memory; and the room that a large
    /// content takes, if it was asked for.
    Whole(Response, Option<Request>, Option<Held>),
    /// There is no room for what would have been the content of the response.
    NoRoom(Request),
    /// A response without its content, and where that comes from.
    Streamed(Response, ContentReader),
}

/// What became of a task's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is the answer.
    Answered,
    /// The answer says that there is no room for it.
    NoRoom,
    /// Nobody waits for an answer any more.
    Unwanted,
}

impl Task {
    /// Answers with a whole response, and gives the request back with it. Gives the response back when it is not wanted.
    pub fn finish(self, response: Response) -> Result<(), Response> {
        let Task { request, reply, .. } = self;
        reply.0.finish(Answer::Whole(response, Some(request), None)).map_err(Answer::into_response)
    }

    /// As [`Task::finish`], if there is room on `account` for the response; None is a response for which there was none when it was
    /// to be made.
    pub fn finish_within(self, response: Option<Response>, account: &Arc<Account>) -> Finished {
        let Task { request, reply, .. } = self;
        let made = response.and_then(|response| match response.body.len() {
            0..HELD_BYTES_MIN => Some((response, None)),
            bytes => account.hold(bytes).map(|held| (response, Some(held))),
        });
        let (answer, finished) = match made {
            Some((response, held)) => (Answer::Whole(response, Some(request), held), Finished::Answered),
            None => (Answer::NoRoom(request), Finished::NoRoom),
        };
        reply.0.finish(answer).map_or(Finished::Unwanted, |()| finished)
    }
}

impl Answer {
    fn into_response(self) -> Response {
        match self {
            Answer::Whole(response, ..) | Answer::Streamed(response, _) => response,
            Answer::NoRoom(_) => Response::empty(),
        }
    }
}

/// Makes the slot of one answer.
pub fn answer_slot() -> (AnswerSender, ReplyReceiver<Answer>) {
    let (sender, receiver) = reply::channel();
    (AnswerSender(sender), receiver)
}

/// The slot of the next answer, in the one of the last if that is free by now.
pub fn next_answer_slot(before: Option<ReplyReceiver<Answer>>) -> (AnswerSender, ReplyReceiver<Answer>) {
    match before.and_then(|mut receiver| Some((AnswerSender(receiver.renew()?), receiver))) {
        Some(slot) => slot,
        None => answer_slot(),
    }
}

/// Where an answer goes: a [`ReplySender`] that knows what it sends.
#[derive(Clone, Debug)]
pub struct AnswerSender(ReplySender<Answer>);

impl AnswerSender {
    /// As [`ReplySender::start`].
    pub fn start(&self) -> bool {
        self.0.start()
    }

    /// Answers with a whole response. Gives it back when it is not wanted, as [`ReplySender::send`] does.
    pub fn send(&self, response: Response) -> Result<(), Response> {
        self.0.send(Answer::Whole(response, None, None)).map_err(Answer::into_response)
    }

    /// Answers with a response whose content follows. False when it is not wanted.
    pub fn stream(&self, head: Response, content: ContentReader) -> bool {
        self.0.send(Answer::Streamed(head, content)).is_ok()
    }

    /// As [`ReplySender::is_caller_gone`].
    pub fn is_caller_gone(&self) -> bool {
        self.0.is_caller_gone()
    }
}

/// A task that a worker runs at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The worker's lane.
    pub worker: usize,
    /// The request's number.
    pub request: u64,
    /// Whose handler it is.
    pub route: RouteId,
    /// How long it runs.
    pub since: Duration,
}

/// What whoever runs the workers knows of them. The pool counts tasks; this is about threads and interpreters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkersNow {
    /// Workers that take tasks: their thread lives, and what they run is not long over its budget.
    pub serving: usize,
    /// What runs, by worker.
    pub running: Vec<Running>,
    /// Handlers that were over their budget and were interrupted.
    pub interrupted: u64,
    /// Workers that were lost and replaced.
    pub replaced: u64,
    /// How many may be replaced now, before the server stops instead.
    pub replacements_left: u64,
    /// Interpreters of replaced workers that are still there: a handler that never came back, or daemon threads.
    pub interpreters_left: u64,
}
