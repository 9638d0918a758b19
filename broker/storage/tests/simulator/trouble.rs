//! What goes wrong in a run, and what has to come of it.

use std::fmt::Display;

use folio_storage::files::sim::{Fault, Room};
use folio_storage::{AppendError, Files};

use crate::world::{Outcome, World, ensure};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The process dies, or the power goes: the operation is done in part, and none after it.
    Death,
    /// The operation fails.
    Fault(Fault),
    /// From the operation on the disk has room for this and no more, for a while.
    Fills(Room),
}

/// What an error means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing has changed; later.
    Full,
    /// The last of this run.
    Fatal,
}

impl World {
    /// The preset trouble did not come in the run before: it is armed anew.
    pub(crate) fn meet_preset(&mut self) {
        let Some((at, trouble)) = self.preset.filter(|(at, _)| *at >= self.seam.machine.operations()) else {
            return;
        };
        match trouble {
            Trouble::Death => self.seam.machine.cut_power_at(at),
            Trouble::Fills(room) => {
                self.seam.machine.set_room_at(at, room);
                (self.life.is_full, self.life.was_full) = (true, true);
            }
            Trouble::Fault(fault) => {
                self.seam.machine.fail_at(at, fault);
                self.life.armed = Some((at, fault));
            }
        }
    }

    /// Lets something go wrong within the next operations.
    pub(crate) fn arm(&mut self, within: u64) {
        let machine = &self.seam.machine;
        let at = machine.operations() + self.random.up_to(within);
        if self.random.percent(100 * self.chances.cut / (self.chances.cut + self.chances.fault).max(1)) {
            self.seam.note(|| format!("the power will go at operation {at}"));
            machine.cut_power_at(at);
        } else if self.chances.fault > 0 && self.life.armed.is_none() {
            let faults = self.chances.faults;
            let fault = faults[self.random.up_to(faults.len() as u64 - 1) as usize];
            self.seam.note(|| format!("operation {at} will fail: {fault:?}"));
            machine.fail_at(at, fault);
            self.life.armed = Some((at, fault));
        }
    }

    /// The fault that was armed, if its operation was begun.
    pub(crate) fn fired(&self) -> Option<Fault> {
        let (at, fault) = self.life.armed?;
        (self.seam.machine.operations() > at).then_some(fault)
    }

    /// A fault that nobody was told of is forgotten.
    pub(crate) fn note_fired(&mut self) {
        if let Some(fault) = self.fired() {
            self.stats.faults += 1;
            self.life.has_lied |= fault == Fault::SyncLies;
            self.life.was_full |= matches!(fault, Fault::Full | Fault::Short);
            self.has_ever_lied |= self.life.has_lied;
            self.life.has_failed_unheard = true;
            self.life.armed = None;
        }
    }

    pub(crate) fn fill(&mut self, is_full: bool) {
        self.fill_within(is_full, 24);
    }

    fn fill_within(&mut self, is_full: bool, operations: u64) {
        let (machine, at) = (&self.seam.machine, self.seam.machine.operations());
        // Nothing that chance decides, so that what a seed once found stays what it is.
        let (room, after) = match at % 4 {
            _ if !is_full => (Room::Enough, 0),
            0 => (Room::NoBytes, 0),
            1 => (Room::Nothing, 0),
            2 => (Room::Removals, at / 4 % operations),
            _ => (Room::Nothing, at / 4 % operations),
        };
        let rooms = self.chances.rooms;
        let (room, after) = match rooms.get(at as usize % rooms.len().max(1)) {
            Some(room) if is_full => (*room, [0, at / 16 % operations][at as usize / 8 % 2]),
            _ => (room, after),
        };
        self.seam.note(|| format!("the disk has room for {room:?} in {after} operations"));
        match after {
            0 => machine.set_room(room),
            _ => machine.set_room_at(at + after, room),
        }
        self.stats.stuck += u64::from(!matches!(room, Room::Enough | Room::NoBytes));
        self.life.is_full = is_full;
        self.life.was_full |= is_full;
    }

    /// The disk may be full within so many operations, while something is under way, in runs in which it ever is.
    pub(crate) fn may_fill(&mut self, operations: u64) {
        let is_time = self.seam.machine.operations().is_multiple_of(3) || self.chances.is_short;
        if self.chances.full > 0 && !self.life.is_full && is_time {
            self.fill_within(true, operations);
        }
    }

    /// It is not full for ever, and has room for something else before that.
    pub(crate) fn may_free(&mut self) {
        let (is_now, at) = (self.seam.machine.room() != Room::Enough, self.seam.machine.operations());
        if is_now && at.is_multiple_of(5) {
            self.fill(false);
        } else if is_now && at.is_multiple_of(3) && !self.chances.rooms.is_empty() {
            self.fill(true);
        }
    }

    /// Something failed; there has to be a cause. What remains to be done.
    pub(crate) fn trouble(&mut self, what: &str, kind: Kind, error: &dyn Display) -> Outcome<Kind> {
        self.seam.note(|| format!("{what}: {error}"));
        let is_down = self.seam.machine.is_down();
        let is_short = self.life.is_full || self.is_out_of_maps(&error.to_string());
        // Who closes what nobody needs has nobody to tell: the next one hears of it.
        let is_late = self.life.has_failed_unheard && error.to_string().contains("an earlier write failed");
        let is_expected = is_down || self.fired().is_some() || is_late || kind == Kind::Full && is_short;
        ensure!(is_expected, "{what} failed for no reason: {error}");
        if kind == Kind::Fatal {
            self.life.has_failed = true;
            if let Some(dir) = &self.dir {
                // As the broker does.
                dir.fail();
            }
        }
        Ok(if is_down { Kind::Fatal } else { kind })
    }

    /// Whether this is the word of somebody who found no room beside what else is open, in a run where there may be
    /// none.
    pub(crate) fn is_out_of_maps(&self, error: &str) -> bool {
        self.seam.budget().limit() < usize::MAX && error.contains("no room for another open file")
    }

    /// What an error of an append, or of anything like it, means.
    pub(crate) fn append_trouble(&mut self, what: &str, error: &AppendError) -> Outcome<Kind> {
        let kind = match error {
            AppendError::Full { .. } | AppendError::Exhausted { .. } | AppendError::Unopened { .. } => {
                Kind::Full
            }
            AppendError::Io { .. } => Kind::Fatal,
            _ => return Err(format!("{what}: {error}")),
        };
        self.trouble(what, kind, error)
    }
}
