//! The last rebalances of a group and their causes, for people who ask why they get no messages.
//!
//! Invariants: at most [`REBALANCES_MAX`] of them a group, the oldest goes first; it is not stored, and begins anew
//! when a coordinator is loaded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use folio_record::Timestamp;

/// How many are remembered of a group.
const REBALANCES_MAX: usize = 16;

/// A rebalance that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rebalance {
    pub(crate) at: Timestamp,
    pub(crate) cause: RebalanceCause,
    /// The member that gave cause, if one did: its instance id, or else its member id.
    pub(crate) who: Option<Arc<str>>,
    /// What it said about why, if it did; at most a few hundred bytes of it.
    pub(crate) reason: Option<Arc<str>>,
    /// The generation that came of it, once it has.
    pub(crate) generation: Option<i32>,
    /// Members that did not come again in time, and are none any more.
    pub(crate) dropped: u32,
    /// From its beginning until there was work for all that came, or nobody was left; `None` while it goes on, or if
    /// the next one came first.
    pub(crate) took: Option<Duration>,
}

/// Why a group was rebalanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RebalanceCause {
    /// A new member.
    Joined,
    /// A member came again, with another subscription, or as a leader, who may ask for it.
    Rejoined,
    /// A static member came back under a new member id, with another subscription.
    StaticReplaced,
    /// A member left, or was removed.
    Left,
    /// A member was silent for its session timeout.
    SessionTimeout,
    /// A member joined and did not ask for its work in time.
    SyncTimeout,
    /// What the leader had divided was not written.
    WriteFailed,
    /// A loaded group had more members than `group.max.size` allows.
    TooManyMembers,
}

/// The last rebalances of a group.
#[derive(Debug, Default)]
pub(crate) struct History {
    last: VecDeque<Rebalance>,
}

impl History {
    /// One was begun.
    pub(crate) fn push(&mut self, rebalance: Rebalance) {
        if self.last.len() == REBALANCES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(rebalance);
    }

    /// The one that was begun last.
    pub(crate) fn latest_mut(&mut self) -> Option<&mut Rebalance> {
        self.last.back_mut()
    }

    /// The oldest first.
    pub(crate) fn to_vec(&self) -> Vec<Rebalance> {
        self.last.iter().cloned().collect()
    }
}
