//! Who does the I/O: see the text of [`crew`](super).

use polygil::dispatch::Worker;
use polygil::dispatch::baton::{Baton, Hold, Look};

use super::{Crew, Doing};
use crate::core::Actor;
use crate::trace::Kind;

impl Crew {
    /// Whether nobody can do the I/O for the moment: its holder runs a handler. What it has put into its own lane waits too.
    pub fn is_io_blocked(&self) -> bool {
        let running = |serial: usize| matches!(self.members[serial].doing, Doing::Taken(_) | Doing::Running { .. });
        self.holder.is_some_and(running)
    }

    /// Something of the I/O is going to be done: in which lane short tasks then belong.
    pub fn tick(&mut self) -> Option<usize> {
        let serial = self.holder?;
        let member = &mut self.members[serial];
        if matches!(member.doing, Doing::AsleepElsewhere(_)) {
            member.doing = Doing::Rising;
            self.core.lock().actors.push(Actor::Worker(serial));
        }
        Some(self.members[serial].lane)
    }

    /// A worker that took the baton moves it: whether it still has it.
    pub(super) fn moves(&mut self, serial: usize, make: impl FnOnce(&Baton, &mut Hold) -> bool) -> bool {
        let Some(hold) = &mut self.members[serial].hold else { return false };
        let moved = make(&self.baton, hold);
        if !moved {
            self.members[serial].hold = None;
        }
        if moved != (self.holder == Some(serial)) {
            let told = format!("worker {serial} moved the baton: {moved}; the I/O is with {:?}", self.holder);
            self.core.lock().fail("one thread does the I/O", told);
        }
        moved
    }

    /// The I/O is the relief's from now on, if this worker had it.
    pub(super) fn release(&mut self, serial: usize, why: u64) -> bool {
        let released = self.moves(serial, |baton, hold| baton.give_back(*hold));
        if released {
            (self.holder, self.members[serial].hold) = (None, None);
            self.core.lock().note(Kind::Io, serial, why);
        }
        released
    }

    /// The relief looks: the holder may have been in one handler since the last time.
    pub fn relieve(&mut self, serial: usize, number: u64) {
        let member = &self.members[serial];
        let runs = matches!(member.doing, Doing::Running { .. }) && member.number == number;
        if self.holder == Some(serial) && runs {
            let found = self.baton.look(&mut self.looks);
            let core = &mut *self.core.lock();
            if found != Look::TakenBack {
                return core.fail(
                    "one thread does the I/O",
                    format!("the relief looks at a handler that takes long: {found:?}"),
                );
            }
            core.mark("the I/O was taken back from a worker whose handler took long");
            core.note(Kind::Io, serial, 2);
            self.holder = None;
            self.members[serial].queue.as_ref().map(Worker::call_others);
        }
    }
}
