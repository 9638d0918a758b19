//! The records of `__consumer_offsets`, in Kafka's own format (`OffsetCommitKey`, `OffsetCommitValue`,
//! `GroupMetadataKey`, `GroupMetadataValue` of its group coordinator).

use std::sync::Arc;

use bytes::Bytes;
use folio_record::Timestamp;

use super::answer::Committed;

/// A record, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupRecord {
    /// Where a group is in a partition; without a value: nowhere any more.
    Offset { group: Arc<str>, topic: Arc<str>, partition: i32, committed: Option<Committed> },
    /// A group, its members and their work; without a value: no such group any more.
    Group { group: Arc<str>, value: Option<GroupValue> },
}

/// A group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupValue {
    /// Empty while nobody said.
    pub(crate) protocol_type: Arc<str>,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    /// Since when the group is in this state; `NONE` if nobody said.
    pub(crate) state_since: Timestamp,
    pub(crate) members: Vec<MemberValue>,
}

/// A member as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberValue {
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// What it said to the chosen protocol.
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

/// Why a record was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordFault {
    /// Something that newer coordinators write. It is left alone.
    #[error("its key is of kind {0}, which this build does not know")]
    UnknownKind(i16),
    /// A value in a newer form.
    #[error("its value is of version {0}, which this build does not know")]
    UnknownVersion(i16),
    /// Damaged.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl GroupRecord {
    /// Appends the key.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends the value; `false` for a tombstone, which has none.
    pub(crate) fn write_value(&self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        false
    }

    /// Reads a record of the log; `value` is `None` for a tombstone.
    pub(crate) fn read(key: &[u8], value: Option<&[u8]>) -> Result<Self, RecordFault> {
        let _ = (key, value);
        Err(RecordFault::Damaged("nothing is read yet"))
    }
}
