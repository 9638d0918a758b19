//! What happens to a coordinator, and what it wants done: the two sides of
//! [`Coordinator::step`](super::Coordinator::step).
//!
//! Invariants: every event with a [`Caller`] leads to exactly one [`Effect::Answer`] for it, at once or later; every
//! [`Effect::Write`] waits for one [`Event::Written`]. Nothing here is a message of a protocol: absent lists are empty
//! and what a peer may leave out is an `Option`. Numbers that came from a peer are as they came: the coordinator
//! judges them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use folio_record::Timestamp;
use uuid::Uuid;

use super::answer::Answer;
use super::record::GroupRecord;
use crate::error::ServiceError;

/// Who gets an answer. Chosen by the thread that asks; no two that wait at the same time are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Caller(pub(crate) u64);

/// A write that was asked for. They count up within a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WriteId(pub(crate) u64);

/// The time, on both clocks: timers go by the one that never goes back, records by the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) mono: Instant,
    pub(crate) wall: Timestamp,
    /// Whether anything may go by its age.
    pub(crate) is_believed: bool,
}

/// Something that has happened.
#[derive(Debug)]
pub(crate) enum Event {
    Join(Caller, Join),
    Sync(Caller, Sync),
    Heartbeat(Caller, Heartbeat),
    Leave(Caller, Leave),
    Commit(Caller, Commit),
    Fetch(Caller, Fetch),
    Describe(Caller, Describe),
    List(Caller, List),
    Delete(Caller, Delete),
    OffsetDelete(Caller, OffsetDelete),
    /// A topic is gone: its offsets go in all groups. Nobody is answered.
    TopicDeleted(Arc<str>),
    /// While loading: a record of the log, in its order.
    Replay(GroupRecord),
    /// The log has been replayed to its end. Until then whoever asks is told that the coordinator is loading.
    Loaded,
    /// A write is below the high watermark, or will never be. Writes are told in the order of their ids.
    Written(WriteId, Result<(), ServiceError>),
    /// The time of [`Coordinator::next_deadline`](super::Coordinator::next_deadline) has come. Only this lets timers
    /// run out: what has arrived by then is to be stepped first, so that nobody is taken for silent whose word is
    /// waiting.
    Tick,
}

/// Something to be done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    Answer(Caller, Answer),
    /// Appended in this order, together with what else is asked for in the same turn. There may be more of them than a
    /// batch holds; nothing depends on their being in one.
    Write {
        id: WriteId,
        records: Arc<[GroupRecord]>,
    },
}

/// Wants to be a member.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) group: Arc<str>,
    /// Empty at first.
    pub(crate) member: Arc<str>,
    /// The member's own name that outlives restarts (static membership).
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    /// The address that it came from, as people write it.
    pub(crate) client_host: Arc<str>,
    pub(crate) session_timeout_ms: i32,
    /// -1: as `session_timeout_ms`.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocol_type: Arc<str>,
    /// The best first.
    pub(crate) protocols: Vec<Protocol>,
    /// Why, for people.
    pub(crate) reason: Option<Arc<str>>,
    /// What makes a new member's id unlike all others; random.
    pub(crate) fresh: Uuid,
    /// A new dynamic member is given an id first and has to come again with it (Kafka's version 4 and up).
    pub(crate) member_id_required: bool,
    /// The member understands that a leader need not divide the work (Kafka's version 9 and up).
    pub(crate) may_skip_assignment: bool,
}

/// A way to divide the work that a member knows, and what it says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: Arc<str>,
    /// Only members read this.
    pub(crate) metadata: Bytes,
}

/// Wants its work; the leader brings everybody's.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    pub(crate) group: Arc<str>,
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) generation: i32,
    /// What the member takes the group's to be, if it says so.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// What the member takes the chosen one to be, if it says so.
    pub(crate) protocol: Option<Arc<str>>,
    /// Of each member, from the leader.
    pub(crate) assignments: Vec<(Arc<str>, Bytes)>,
}

/// Is still there.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) group: Arc<str>,
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) generation: i32,
}

/// Goes, or takes others away.
#[derive(Clone, Debug)]
pub(crate) struct Leave {
    pub(crate) group: Arc<str>,
    pub(crate) members: Vec<Leaver>,
}

/// Who goes.
#[derive(Clone, Debug)]
pub(crate) struct Leaver {
    /// May be empty beside an `instance`.
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    /// Why, for people.
    pub(crate) reason: Option<Arc<str>>,
}

/// Stores where the group is. That the topics and partitions exist was seen to before. Where there is no such group and
/// a generation is named, the answer is [`UnknownGroup`](crate::error::Fault::UnknownGroup); Kafka's versions before 9
/// call that an illegal generation.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) group: Arc<str>,
    /// Empty: from no member.
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    /// -1: from no member; taken while the group has none.
    pub(crate) generation: i32,
    /// How long they are kept; `None`: as long as the broker keeps offsets.
    pub(crate) retention_ms: Option<i64>,
    pub(crate) offsets: Vec<OffsetToCommit>,
}

/// One partition's.
#[derive(Clone, Debug)]
pub(crate) struct OffsetToCommit {
    pub(crate) topic: Arc<str>,
    /// Nil if nobody said.
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 if nobody said.
    pub(crate) leader_epoch: i32,
    /// A note of the client.
    pub(crate) metadata: Arc<str>,
}

/// Asks where the group was.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) group: Arc<str>,
    /// `None`: all that it has.
    pub(crate) partitions: Option<Vec<(Arc<str>, i32)>>,
    /// Refuses partitions that a transaction may still change. There are none yet, so nothing is ever refused.
    #[allow(dead_code, reason = "there are no transactions yet")]
    pub(crate) require_stable: bool,
}

/// Asks about one group.
#[derive(Clone, Debug)]
pub(crate) struct Describe {
    pub(crate) group: Arc<str>,
}

/// Asks for all groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    /// Only those in one of these states, in Kafka's words, in any case; empty: all.
    pub(crate) states: Vec<String>,
    /// Only those of one of these types ("classic"), in any case; empty: all.
    pub(crate) types: Vec<String>,
}

/// Removes one group, with its offsets.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) group: Arc<str>,
}

/// Removes offsets of a group.
#[derive(Clone, Debug)]
pub(crate) struct OffsetDelete {
    pub(crate) group: Arc<str>,
    pub(crate) partitions: Vec<(Arc<str>, i32)>,
}
