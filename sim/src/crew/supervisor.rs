//! The supervisor: budgets, workers that are given up or die, their replacements, and the end.

use polygil::error::Failure;
use polygil::server::Signal;

use super::handlers::failed;
use super::{Crew, Doing, Fate, START};
use crate::core::{Actor, Event, MS};
use crate::trace::Kind;

impl Crew {
    /// The thread of a worker panics.
    pub(super) fn die(&mut self, serial: usize, token: usize) {
        self.core.lock().note(Kind::Die, serial, token as u64);
        self.core.lock().mark("a worker died");
        let member = &mut self.members[serial];
        member.doing = Doing::Gone;
        drop(member.queue.take());
        self.release(serial, 3);
        self.answer_for(serial, Failure::WorkerLost);
        let member = &self.members[serial];
        if !member.abandoned {
            self.members[serial].abandoned = true;
            self.replace(self.members[serial].lane);
        }
    }

    /// Answers the running task in its worker's stead. False when there was none.
    pub(super) fn answer_for(&mut self, serial: usize, failure: Failure) -> bool {
        let Some((reply, token, _)) = self.members[serial].watch.take() else { return false };
        let (response, outcome) = failed(failure);
        if reply.send(response).is_ok() {
            self.core.lock().reply_taken(token, outcome);
        }
        true
    }

    /// The supervisor looks at a worker: its task may be over its budget, or its grace.
    pub fn supervise(&mut self, serial: usize) {
        let member = &mut self.members[serial];
        let Some((_, token, begun)) = member.watch else { return };
        let Doing::Running { fate, interrupted, .. } = &mut member.doing else { return };
        let fate = *fate;
        let shared = self.core.clone();
        let mut core = shared.lock();
        let (now, options) = (core.now(), core.options.clone());
        let (budget, grace) = (options.handler_timeout_ms * MS, options.interrupt_grace_ms * MS);
        match *interrupted {
            None if now >= begun + budget => {
                *interrupted = Some(now);
                core.note(Kind::Interrupt, serial, token as u64);
                core.at(now + grace, Event::Act(Actor::Supervisor(serial)));
                if fate == Fate::Hangs {
                    core.mark("a handler was interrupted and stopped");
                    core.act_in(1 + self.faults.below(grace), Actor::Worker(serial));
                }
                if fate == Fate::Stubborn {
                    let late = grace + 1 + self.faults.spread(MS, 60_000 * MS);
                    core.act_in(late, Actor::Worker(serial));
                }
            }
            Some(at) if now >= at + grace => {
                core.note(Kind::Abandon, serial, token as u64);
                core.mark("a worker was given up");
                drop(core);
                self.lose(serial);
            }
            _ => {}
        }
    }

    pub(super) fn lose(&mut self, serial: usize) {
        self.answer_for(serial, Failure::HandlerTimeout);
        self.members[serial].abandoned = true;
        self.replace(self.members[serial].lane);
    }

    pub(super) fn replace(&mut self, lane: usize) {
        let max = self.core.lock().options.max_replacements;
        if self.stopped {
            return;
        }
        if self.replaced >= max {
            return self.exhaust();
        }
        self.replaced += 1;
        self.hire(lane, START);
        let core = &mut *self.core.lock();
        core.note(Kind::Replace, lane, self.replaced);
        core.mark("a worker was replaced");
    }

    pub(super) fn exhaust(&mut self) {
        if !std::mem::replace(&mut self.exhausted, true) {
            let core = &mut *self.core.lock();
            core.mark("the bound on replacements was reached");
            core.exhausted = true;
            core.begin_draining();
            if let Some(waker) = core.signal(Signal::TERMINATE) {
                core.at(core.now(), Event::Wake(waker));
            }
        }
        if self.members.iter().all(|member| member.abandoned || matches!(member.doing, Doing::Gone)) {
            self.pool.close();
            self.core.lock().mark("no worker was left");
            self.refuse_waiting(Failure::WorkerLost);
        }
    }

    pub(super) fn refuse_waiting(&mut self, failure: Failure) -> usize {
        let tasks = self.pool.fail_all_waiting();
        for task in &tasks {
            let (response, outcome) = failed(failure);
            let token = task.params.first().and_then(|param| param.parse::<usize>().ok());
            if task.reply.send(response).is_ok()
                && let Some(token) = token
            {
                self.core.lock().reply_taken(token, outcome);
            }
        }
        tasks.len()
    }

    /// The deadline of a drain: answers all that waits and runs, and gives those workers up.
    pub fn give_up(&mut self) -> usize {
        self.pool.close();
        self.core.lock().cut = true;
        let mut count = self.refuse_waiting(Failure::ShuttingDown);
        for serial in self.lanes.clone() {
            if self.answer_for(serial, Failure::WorkerLost) {
                self.members[serial].abandoned = true;
                count += 1;
            }
        }
        let core = &mut *self.core.lock();
        core.note(Kind::GiveUp, count, 0);
        core.mark("the drain was cut short");
        count
    }

    /// The server has ended: the workers finish what there is and go.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.pool.close();
    }
}
