//! Why a task has no answer of its handler's making, and what its client and the log are told instead.
//!
//! [`Serving::failure`] runs within the task's budget, because it asks the program: for the text of what was raised, for the detail
//! of an HTTPException. It gives a [`Report`], which holds no Python object. What the client gets of it and what the log gets is
//! decided after the bracket, where nothing of the program's runs.

use super::convert::Refused;
use super::ffi::{Object, Raised};
use super::handler::CallError;
use super::stream::Broken;
use super::supervisor::Watch;
use super::worker::Serving;
use crate::error::Failure;
use crate::http::Response;
use crate::task::Task;

/// A task that ended without a response of the handler's making.
pub(super) enum Unanswered<'i> {
    /// There is no such handler: message and traceback.
    Missing(Failure, String, String),
    /// The call gave no value.
    Call(CallError<'i>),
    /// It gave one that has no response.
    Unserializable(String),
    /// Its answer is larger than all contents may be.
    NoRoom,
}

/// What is said of it.
#[derive(Debug)]
pub(super) struct Report {
    failure: Failure,
    message: String,
    traceback: String,
}

/// Characters of a message; those that Python makes are shortened there (`polygil._traceback`).
const MESSAGE_CHARACTERS_MAX: usize = 4_000;

/// Said of a task whose code came to its end after its budget.
const LATE: &str = "over its budget: what came of it is too late";

impl Report {
    fn new(failure: Failure, message: impl Into<String>) -> Report {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
            message.truncate(end);
            message.push('…');
        }
        Report { failure, message, traceback: String::new() }
    }

    /// The report of a task that had something to answer, after its budget; `stack` is where the interrupt found it.
    pub(super) fn late(stack: String) -> Report {
        Report { traceback: stack, ..Report::new(Failure::HandlerTimeout, LATE) }
    }

    /// The same report; for a task that is over its budget it is that, whatever else has happened.
    pub(super) fn or_late(mut self, late: Option<String>) -> Report {
        let Some(stack) = late else { return self };
        if self.failure != Failure::HandlerTimeout {
            self.failure = Failure::HandlerTimeout;
            self.message = format!("over its budget, and then: {}", self.message);
            if !stack.is_empty() {
                self.traceback = format!("{}The interrupt found it here:\n{stack}", self.traceback);
            }
        }
        self
    }
}

/// An iterator that gave no piece, as a task that gave no value.
pub(super) fn broken(why: Broken<'_>) -> Unanswered<'_> {
    match why {
        Broken::Raised(raised) => Unanswered::Call(CallError::Raised(raised)),
        Broken::NotAPiece(message) => Unanswered::Unserializable(message),
    }
}

/// A value without a response.
pub(super) fn unanswered(refused: Refused<'_>) -> Unanswered<'_> {
    match refused {
        Refused::Unserializable(message) => Unanswered::Unserializable(message),
        Refused::NoRoom => Unanswered::NoRoom,
        Refused::Interrupted(raised) => Unanswered::Call(CallError::Raised(raised)),
    }
}

impl<'i> Serving<'i, '_> {
    /// The response that a failure stands for (an HTTPException's, a 422), or the report of one of the server's side; None where
    /// there is no room for it. Runs the program's code.
    pub(super) fn failure(&self, unanswered: Unanswered<'i>, watch: &Watch) -> Result<Option<Response>, Report> {
        match unanswered {
            Unanswered::NoRoom => Ok(None),
            Unanswered::Call(CallError::Invalid(detail)) => self.invalid(&detail).map(Some),
            Unanswered::Call(CallError::Raised(raised)) if raised.is(&self.http_exception) => {
                match self.converter.http_exception(&raised.0) {
                    Ok(response) => Ok(Some(response)),
                    Err(Refused::NoRoom) => Ok(None),
                    Err(refused) => Err(self.report(self::unanswered(refused), watch)),
                }
            }
            other => Err(self.report(other, watch)),
        }
    }

    /// What is said of a failure for which there is no response. Runs the program's code.
    pub(super) fn report(&self, unanswered: Unanswered<'i>, watch: &Watch) -> Report {
        match unanswered {
            Unanswered::Missing(failure, message, traceback) => Report { failure, message, traceback },
            Unanswered::Unserializable(message) => Report::new(Failure::ResponseNotSerializable, message),
            Unanswered::NoRoom => Report::new(Failure::QueueFull, "there is no room for what it gave"),
            Unanswered::Call(CallError::Invalid(_)) => {
                Report::new(Failure::ResponseNotSerializable, "parameters of a call that has been made do not convert")
            }
            Unanswered::Call(CallError::Raised(raised)) => {
                let timed_out = raised.is(&self.handler_timeout);
                let failure = if timed_out { Failure::HandlerTimeout } else { Failure::HandlerRaised };
                let (message, traceback) = self.described(&raised, watch);
                Report { failure, message, traceback }
            }
        }
    }

    fn invalid(&self, detail: &Object<'i>) -> Result<Response, Report> {
        let mut json = Vec::new();
        match self.converter.json(detail, &mut json) {
            Ok(()) => Ok(Failure::ValidationError.response_raw_detail(&json)),
            Err(_) => Err(Report::new(Failure::ResponseNotSerializable, "a 422's detail is not JSON")),
        }
    }

    /// The line and the traceback of an exception. In full while there is time; past the budget without the program's help.
    fn described(&self, raised: &Raised<'i>, watch: &Watch) -> (String, String) {
        let describe = |plain| -> Option<(String, String)> {
            let said = self.describe.call(&[&raised.0, &self.gil.bool(plain)]).ok()?;
            let [message, traceback] = said.tuple_items().try_into().ok()?;
            Some((message.to_str().ok()?.to_owned(), traceback.to_str().ok()?.to_owned()))
        };
        let in_full = if watch.is_interrupted() { None } else { describe(false) };
        in_full
            .or_else(|| describe(true))
            .unwrap_or_else(|| ("an exception that cannot be described".into(), String::new()))
    }

    /// A content that ended too early, in the log.
    pub(super) fn log_broken(&self, task: &Task, report: &Report) {
        let Report { message, traceback, .. } = report;
        let route = self.setup.router.route(task.route);
        tracing::error!(
            request_id = format!("{}-{}", self.setup.request_id_prefix, task.id),
            worker = self.index,
            route = format!("{} {}", route.method, route.pattern),
            handler = format!("{}:{}", route.module, route.qualname),
            "the content broke off after its answer had begun: {message}{}{traceback}",
            if traceback.is_empty() { "" } else { "\n" },
        );
    }

    /// The answer of a failure on the server's side, which is logged.
    pub(super) fn server_error(&self, task: &Task, report: &Report) -> Response {
        let Report { failure, message, traceback } = report;
        let route = self.setup.router.route(task.route);
        let request_id = format!("{}-{}", self.setup.request_id_prefix, task.id);
        tracing::error!(
            request_id,
            worker = self.index,
            route = format!("{} {}", route.method, route.pattern),
            handler = format!("{}:{}", route.module, route.qualname),
            error = failure.code(),
            "{message}{}{traceback}",
            if traceback.is_empty() { "" } else { "\n" },
        );
        let mut response = if self.setup.debug {
            failure.debug_response(message, traceback)
        } else {
            failure.response(failure.default_detail())
        };
        response.headers.push(("x-request-id".into(), request_id.into_bytes().into()));
        response
    }
}
