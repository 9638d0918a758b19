//! What a coordinator tells those who ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use folio_record::Timestamp;
use uuid::Uuid;

use super::history::Rebalance;
use crate::error::ServiceError;

/// An answer, of the kind of the event.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Join(Result<Joined, NotJoined>),
    Sync(Result<Synced, ServiceError>),
    Heartbeat(Result<(), ServiceError>),
    Leave(Result<Vec<Left>, ServiceError>),
    /// Of the whole, or of each partition in the order in which they were asked for.
    Commit(Result<Vec<Result<(), ServiceError>>, ServiceError>),
    Fetch(Result<Vec<FetchedOffset>, ServiceError>),
    Describe(Result<DescribedGroup, ServiceError>),
    List(Result<Vec<ListedGroup>, ServiceError>),
    Delete(Result<(), ServiceError>),
    /// Of the whole, or of each partition in the order in which they were asked for.
    OffsetDelete(Result<Vec<Result<(), ServiceError>>, ServiceError>),
}

/// A member of the group's new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member: Arc<str>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Arc<str>,
    /// The way to divide the work that was chosen.
    pub(crate) protocol: Arc<str>,
    pub(crate) leader: Arc<str>,
    /// The leader need not divide the work: it stays as it is.
    pub(crate) skip_assignment: bool,
    /// All members, for the leader; else empty.
    pub(crate) members: Vec<JoinedMember>,
}

/// What a leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    /// What it says to the chosen protocol.
    pub(crate) metadata: Bytes,
}

/// Why somebody is no member.
#[derive(Clone, Debug)]
pub(crate) struct NotJoined {
    /// The id to come again with, or the one that was used; may be empty.
    pub(crate) member: Arc<str>,
    pub(crate) error: ServiceError,
}

/// A member's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: Arc<str>,
    pub(crate) protocol: Arc<str>,
    pub(crate) assignment: Bytes,
}

/// Whether one has left, in the order in which they were named.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) result: Result<(), ServiceError>,
}

/// What is stored of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchedOffset {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// `None`: nothing, which is no error.
    pub(crate) committed: Option<Committed>,
}

/// Where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next record to read.
    pub(crate) offset: i64,
    /// Of the last record that was read; -1 if nobody said.
    pub(crate) leader_epoch: i32,
    /// A note of the client.
    pub(crate) metadata: Arc<str>,
    pub(crate) committed_at: Timestamp,
    /// When it goes, if the client said so.
    pub(crate) expires_at: Option<Timestamp>,
    /// Nil if nobody said.
    pub(crate) topic_id: Uuid,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// It has no members; maybe offsets.
    Empty,
    /// Members are coming in for a new generation.
    PreparingRebalance,
    /// The leader is dividing the work.
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// Its name, in Kafka's words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A group, as people ask for it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedGroup {
    pub(crate) state: GroupState,
    /// "consumer", "connect" and so on; empty while nobody said.
    pub(crate) protocol_type: Arc<str>,
    /// The way to divide the work that was chosen, if one was.
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: Vec<DescribedMember>,
    /// The last ones, the oldest first; since the coordinator was loaded.
    pub(crate) rebalances: Vec<Rebalance>,
    /// Why the rebalance that is going on was begun, if one is.
    pub(crate) rebalancing: Option<Rebalance>,
}

/// A member, as people ask for it.
#[derive(Clone, Debug)]
pub(crate) struct DescribedMember {
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// What it says to the chosen protocol; empty while the group rebalances.
    pub(crate) metadata: Bytes,
    /// Its work; while the group rebalances, what it had before.
    pub(crate) assignment: Bytes,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// How long ago it last spoke.
    pub(crate) silent_for: Duration,
    /// Its join or sync is waiting for others.
    pub(crate) is_waiting: bool,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedGroup {
    pub(crate) group: Arc<str>,
    pub(crate) protocol_type: Arc<str>,
    pub(crate) state: GroupState,
}
