//! What has been asked to be written, and what follows once it is.
//!
//! Invariant: writes end in the order in which they began, as the log they go to has one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Answer, Left};
use super::event::{Caller, Effect, Now, WriteId};
use super::member::Member;
use super::record::GroupRecord;
use super::settings::GroupSettings;
use super::timers::Timers;
use crate::error::{Fault, ServiceError};

/// What one does in a group has at hand: the time, the settings, and where what is to be done is put.
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a GroupSettings,
    pub(super) timers: &'a mut Timers,
    pub(super) writes: &'a mut Writes,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// The writes on their way.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next: u64,
    in_flight: VecDeque<InFlight>,
}

/// A write on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    id: WriteId,
    pub(super) records: Arc<[GroupRecord]>,
    pub(super) then: Then,
}

/// What a write was for.
#[derive(Debug)]
pub(super) enum Then {
    /// Nobody waits for it.
    Nothing,
    /// The work of all members of a generation.
    Assigned { group: Arc<str>, generation: i32 },
    /// A static member under another id.
    Replaced(Box<Replaced>),
    /// Offsets.
    Committed { caller: Caller, results: Vec<Result<(), ServiceError>> },
    /// That offsets are gone.
    OffsetsDeleted { caller: Caller, results: Vec<Result<(), ServiceError>> },
    /// That a group is gone.
    Deleted { caller: Caller },
    /// That a group is empty, since its last members have left.
    Left { caller: Caller, left: Vec<Left> },
}

/// A static member that came back under another id.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) group: Arc<str>,
    pub(super) caller: Caller,
    /// Its new id.
    pub(super) new: Arc<str>,
    /// What it was before.
    pub(super) old: Member,
    /// Who led the group before.
    pub(super) leader: Option<Arc<str>>,
    pub(super) may_skip_assignment: bool,
}

impl Context<'_> {
    pub(super) fn answer(&mut self, caller: Caller, answer: Answer) {
        self.effects.push(Effect::Answer(caller, answer));
    }

    /// Asks for a write; the groups that it is about have counted its records.
    pub(super) fn write(&mut self, records: Vec<GroupRecord>, then: Then) -> WriteId {
        let id = WriteId(self.writes.next);
        self.writes.next += 1;
        let records: Arc<[GroupRecord]> = records.into();
        self.writes.in_flight.push_back(InFlight { id, records: records.clone(), then });
        self.effects.push(Effect::Write { id, records });
        id
    }

    /// Says what follows a write that was asked for in this step.
    pub(super) fn then(&mut self, id: WriteId, then: Then) {
        if let Some(write) = self.writes.in_flight.iter_mut().rev().find(|write| write.id == id) {
            write.then = then;
        }
    }

    pub(super) fn after(&self, time: Duration) -> Instant {
        self.now.mono + time
    }
}

impl Writes {
    /// Takes the write that has ended.
    pub(super) fn end(&mut self, id: WriteId) -> InFlight {
        let write = self.in_flight.pop_front();
        let write = write.expect("a write that has ended had been asked for");
        assert_eq!(write.id, id, "writes end in their order");
        write
    }
}

/// What those who waited for a write that failed are told. Clients ask where the coordinator is, and again.
pub(super) fn not_written(error: &ServiceError) -> ServiceError {
    match error.fault {
        Fault::MessageTooLarge => error.clone(),
        _ => ServiceError::new(
            Fault::CoordinatorNotAvailable,
            format!("it could not be stored: {}", error.text),
        ),
    }
}
