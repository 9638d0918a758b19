//! What administrators replaced in a consumer group, so that it can be taken back: who did it, when, and where the
//! group was before.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A change that an administrator made to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Who, in the words of whoever asked, and from where.
    pub who: String,
    /// What was done.
    pub kind: GroupChangeKind,
    /// Where the group was, in each partition that the change was about.
    pub replaced: Vec<ReplacedOffset>,
}

/// What was done to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupChangeKind {
    /// It was sent to other offsets.
    Reset,
    /// It was removed with its offsets.
    Delete,
}

/// Where a group was in a partition before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity: of another one with the same name the offset says nothing.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: u32,
    /// Where it was; `None`: nowhere.
    pub before: Option<OldOffset>,
}

/// What a group had committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldOffset {
    /// The next record to read.
    pub offset: i64,
    /// Of the last record that was read; -1 if nobody said.
    pub leader_epoch: i32,
    /// A note of the client.
    pub metadata: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GroupHistoryV1 {
    changes: Vec<GroupChangeV1>,
}

#[derive(Serialize, Deserialize)]
struct GroupChangeV1 {
    at_ms: i64,
    who: String,
    kind: GroupChangeKind,
    replaced: Vec<ReplacedOffsetV1>,
}

#[derive(Serialize, Deserialize)]
struct ReplacedOffsetV1 {
    topic: String,
    topic_id: [u8; 16],
    partition: u32,
    before: Option<OldOffset>,
}

impl From<&[GroupChange]> for GroupHistoryV1 {
    fn from(changes: &[GroupChange]) -> Self {
        let replaced = |one: &ReplacedOffset| ReplacedOffsetV1 {
            topic: one.topic.clone(),
            topic_id: one.topic_id.into_bytes(),
            partition: one.partition,
            before: one.before.clone(),
        };
        let changes = changes.iter().map(|change| GroupChangeV1 {
            at_ms: change.at_ms,
            who: change.who.clone(),
            kind: change.kind,
            replaced: change.replaced.iter().map(replaced).collect(),
        });
        Self { changes: changes.collect() }
    }
}

impl From<GroupHistoryV1> for Vec<GroupChange> {
    fn from(record: GroupHistoryV1) -> Self {
        let replaced = |one: ReplacedOffsetV1| ReplacedOffset {
            topic: one.topic,
            topic_id: Uuid::from_bytes(one.topic_id),
            partition: one.partition,
            before: one.before,
        };
        let changes = record.changes.into_iter().map(|change| GroupChange {
            at_ms: change.at_ms,
            who: change.who,
            kind: change.kind,
            replaced: change.replaced.into_iter().map(replaced).collect(),
        });
        changes.collect()
    }
}
