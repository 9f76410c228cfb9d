//! Handlers: how long they take, what becomes of them, and what they answer.

use std::collections::VecDeque;
use std::time::Duration;

use polygil::content::{self, Sent};
use polygil::dispatch::Worker;
use polygil::dispatch::baton::Baton;
use polygil::error::Failure;
use polygil::http::Response;
use polygil::task::{Finished, Task};

use super::{Crew, Doing, Fate};
use crate::check::Outcome;
use crate::core::{Actor, Core, MS};
use crate::random::hash;
use crate::trace::Kind;

impl Crew {
    /// What becomes of a handler, and how long it takes.
    pub(super) fn draw(&mut self, core: &mut Core) -> (Fate, u64) {
        let options = &core.options.clone();
        let mean = options.service_us * 1000;
        let takes = match options.service_shape {
            0 => mean,
            1 => self.random.exponential(mean),
            _ if self.random.below(100) == 0 => mean * 200,
            _ => mean,
        };
        if core.is_healed() {
            return (Fate::Answers, takes.min(mean * 4));
        }
        let faults = &mut self.faults;
        if faults.chance(options.hang) {
            (Fate::Hangs, u64::MAX)
        } else if faults.chance(options.stubborn) {
            (Fate::Stubborn, u64::MAX)
        } else if faults.chance(options.die) {
            (Fate::Dies, takes)
        } else if faults.chance(options.raise) {
            (Fate::Raises, takes)
        } else if faults.chance(options.garbage) {
            (Fate::Garbage, takes)
        } else {
            (Fate::Answers, takes)
        }
    }

    /// The handler comes back.
    pub(super) fn finish(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Doing::Running { mut task, token, fate, interrupted } =
            std::mem::replace(&mut member.doing, Doing::Looking)
        else {
            return;
        };
        if fate == Fate::Dies {
            return self.die(serial, token);
        }
        if member.abandoned {
            // Somebody else has answered and another worker has the lane: the thread ends.
            member.doing = Doing::Gone;
            drop((task, member.queue.take()));
            self.release(serial, 3);
            let core = &mut *self.core.lock();
            core.mark("a handler came back after its worker was given up");
            core.note(Kind::Exit, serial, 1);
            return;
        }
        member.watch = None;
        self.moves(serial, Baton::tick);
        let (response, outcome) = self.respond(&task, token, fate, interrupted.is_some());
        let streamed = outcome.error.is_empty() && !outcome.garbage && outcome.content.0 > 0;
        if streamed && self.streams.chance(self.core.lock().options.stream) {
            return self.stream(serial, &task, token, response, outcome);
        }
        let spare = std::mem::replace(&mut task.spare, Response::empty());
        let finished = task.finish_within(Some(made_in(spare, response)), &self.memory);
        let core = &mut *self.core.lock();
        core.note(Kind::Done, serial, (token as u64) << 8 | fate as u64);
        match finished {
            Finished::Answered => core.reply_taken(token, outcome),
            Finished::NoRoom => {
                core.mark("an answer found no room");
                core.reply_taken(token, failed(Failure::QueueFull).1);
            }
            Finished::Unwanted => core.mark("a reply that nobody waited for"),
        }
        core.actors.push(Actor::Worker(serial));
    }

    /// Answers with a content in pieces, of which the first is there.
    pub(super) fn stream(
        &mut self,
        serial: usize,
        task: &Task,
        token: usize,
        mut head: Response,
        mut outcome: Outcome,
    ) {
        let options = &self.core.lock().options.clone();
        let body = std::mem::take(&mut head.body);
        let size = self.streams.spread(1, body.len() as u64) as usize;
        let mut pieces: VecDeque<_> = body.chunks(size.max(body.len().div_ceil(20))).map(<[u8]>::to_vec).collect();
        let breaks = !self.core.lock().is_healed() && self.streams.chance(options.stream_break);
        if breaks {
            pieces.truncate(1 + self.streams.below(pieces.len() as u64) as usize);
        }
        (outcome.streamed, outcome.breaks) = (true, breaks);
        if options.paced == 1 {
            self.io.took(task.route, Duration::MAX);
        }
        if self.holder == Some(serial) {
            self.release(serial, 1);
            self.members[serial].queue.as_ref().map(Worker::call_others);
        }
        let (content, reader) = content::channel(&self.memory);
        let wanted = task.reply.stream(head, reader);
        let core = &mut *self.core.lock();
        core.actors.push(Actor::Worker(serial));
        core.note(Kind::Stream, serial, (token as u64) << 8);
        if wanted {
            core.reply_taken(token, outcome);
            self.members[serial].doing = Doing::Streaming { token, content, pieces, breaks };
        } else {
            core.mark("a reply that nobody waited for");
        }
    }

    pub(super) fn give_piece(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Doing::Streaming { token, content, pieces, breaks, .. } = &mut member.doing else { return };
        let token = (*token as u64) << 8;
        let core = &mut *self.core.lock();
        let gap = self.streams.below(core.options.stream_gap_us * 1000 + 1);
        let next = pieces.pop_front();
        if next.is_none() && *breaks {
            content.break_off();
            core.note(Kind::Stream, serial, token | 3);
            core.mark("a handler's content broke off");
        } else {
            let is_end = next.is_none();
            match content.try_send(next) {
                Sent::Taken => {
                    core.note(Kind::Stream, serial, token | if is_end { 2 } else { 1 });
                    if !is_end {
                        return core.act_in(gap, Actor::Worker(serial));
                    }
                    core.mark("a handler made its content while it was sent");
                }
                Sent::Full(piece) => {
                    core.mark("a handler's content waited for its client");
                    piece.into_iter().for_each(|piece| pieces.push_front(piece));
                    return core.act_in(MS, Actor::Worker(serial));
                }
                Sent::Unwanted => {
                    core.note(Kind::Stream, serial, token | 4);
                    core.mark("the client of a handler's content left");
                }
            }
        }
        core.actors.push(Actor::Worker(serial));
        member.doing = Doing::Looking;
    }

    pub(super) fn respond(&mut self, task: &Task, token: usize, fate: Fate, interrupted: bool) -> (Response, Outcome) {
        if interrupted || fate == Fate::Raises {
            let failure = if interrupted { Failure::HandlerTimeout } else { Failure::HandlerRaised };
            return failed(failure);
        }
        let most = {
            let core = self.core.lock();
            if core.is_healed() { core.options.calm_bytes_max() } else { u64::MAX }
        };
        let random = &mut self.random;
        let status = *random.pick(&[200, 200, 200, 200, 200, 200, 201, 204, 304, 404, 422, 503]);
        let length = match status {
            204 | 304 => 0,
            _ => random.spread(1, self.core.lock().options.response_bytes_max).min(most) as usize,
        };
        // What it answers depends on what it was asked.
        let letter = b'a' + (hash(token as u64, &task.request.body) % 26) as u8;
        let body = vec![letter; length];
        let mut headers = vec![("x-token".into(), token.to_string().into_bytes().into())];
        let garbage = fate == Fate::Garbage;
        if garbage {
            let bad: [(&'static str, &'static [u8]); 4] =
                [("x-bad", b"a\r\nb"), ("content-length", b"3"), ("bad name", b"x"), ("connection", b"keep-alive")];
            let (name, value) = *random.pick(&bad);
            headers.push((name.into(), value.into()));
        }
        let close = random.below(200) == 0;
        let content = (length as u64, hash(0, &body));
        let outcome = Outcome { status, content, error: "", garbage, streamed: false, breaks: false };
        (Response { status, headers, body, close }, outcome)
    }
}

/// A failure of polygil's own, and how it is told from others.
pub(super) fn failed(failure: Failure) -> (Response, Outcome) {
    let response = failure.response(failure.default_detail());
    let (status, error) = (failure.status(), failure.code());
    let outcome = Outcome { status, content: (0, 0), error, garbage: false, streamed: false, breaks: false };
    (response, outcome)
}

/// The same response in the memory that its task brought, as workers make theirs.
fn made_in(mut spare: Response, response: Response) -> Response {
    spare.headers.extend(response.headers);
    spare.body.extend_from_slice(&response.body);
    Response { status: response.status, close: response.close, ..spare }
}
