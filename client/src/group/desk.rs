//! What the application has to see to, and how long it has been at work.
//!
//! ```text
//!   empty -- put --> waiting -- take (a poll) --> taken -- the application says that it is done --> empty
//!                       |
//!                       +-- retract (overtaken by events) --> empty
//! ```

use std::time::Instant;

use crate::{CallError, CommittedOffset, TopicPartition};

/// See the module. It lies beside what was fetched, under the same lock.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    event: Option<Event>,
    /// Since when the application has been doing something else than waiting in a poll. It begins when it is given, or
    /// woken for, something, so that one that has nothing to do is not taken for one that hangs.
    pub(crate) busy_since: Option<Instant>,
    /// The topics are the group's, and partitions come and go by it.
    pub(crate) is_subscribed: bool,
    /// A commit that nobody waits for has failed.
    pub(crate) commit_failed: bool,
}

/// Something that only the application's thread can see to. It answers each but `Failed` with
/// [`Input::Seen`](super::member::Input::Seen).
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The group rebalances: give up everything, or only partitions of topics that are not wanted any more.
    GiveUp { everything: bool },
    /// What it has from now on, and where the group is in those that are new to it.
    Take { partitions: Vec<(TopicPartition, Option<CommittedOffset>)> },
    /// It is no member any more: what it had is others'.
    Lost,
    /// It cannot be a member.
    Failed(CallError),
}

impl Desk {
    pub(crate) fn put(&mut self, event: Event) {
        self.event = Some(event);
    }

    /// Takes back what the application has not begun to see to. False: it has.
    pub(crate) fn retract(&mut self) -> bool {
        self.event.take().is_some()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.event.is_some()
    }

    pub(crate) fn take(&mut self) -> Option<Event> {
        self.event.take()
    }
}
