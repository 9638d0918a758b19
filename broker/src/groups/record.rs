//! The records of `__consumer_offsets`, in Kafka's own format (`OffsetCommitKey`, `OffsetCommitValue`,
//! `GroupMetadataKey`, `GroupMetadataValue` of its group coordinator).
//!
//! ```text
//! key     | kind: 0 or 1 | group | topic | partition |                      where a group is in a partition
//!         | kind: 2      | group |                                          a group
//!
//! offset  | 4 | offset | leader epoch | note | committed at | tagged: 0: topic id |      without an end
//!         | 1 | offset | note | committed at | expires at |                              with one
//! group   | 3 | protocol type | generation | protocol | leader | since | [member] |
//! member  | id | instance | client id | client host | rebalance timeout | session timeout | metadata | work |
//! ```
//!
//! Big-endian. Texts have a 16-bit length, but in versions from 4 on, where lengths are varints. What is drawn is what
//! Kafka 4.4 writes, and what is written here; versions 0 to 4 are read. A value of version 1 has no room for a leader
//! epoch and a topic id.
//!
//! Invariants: no bytes panic, and nothing is allocated by a count.

use std::sync::Arc;

use bytes::Bytes;
use folio_record::Timestamp;
use folio_wire::kafka::{DecodeError, Reader};
use uuid::Uuid;

use super::answer::Committed;

/// The longest text that a record holds.
pub(super) const TEXT_MAX: usize = i16::MAX as usize;

/// Kinds of keys; kind 0 is as 1, from times long gone.
const KEY_OFFSET_OLD: i16 = 0;
const KEY_OFFSET: i16 = 1;
const KEY_GROUP: i16 = 2;

/// The version of an offset that says when it goes.
const OFFSET_EXPIRING: i16 = 1;
/// The version of one that does not, the first one with varints.
const OFFSET_FLEXIBLE: i16 = 4;
/// The tag of the topic's id.
const TAG_TOPIC_ID: u32 = 0;
/// The version of a group's value that is written.
const GROUP_VERSION: i16 = 3;
/// The newest of both.
const VERSION_MAX: i16 = 4;
/// No member takes fewer bytes: six lengths and the session timeout, varints or not.
const MEMBER_SIZE_MIN: usize = 9;

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
    /// Something that other coordinators write. It is left alone.
    #[error("its key is of kind {0}, which this build does not know")]
    UnknownKind(i16),
    /// A value in a newer form.
    #[error("its value is of version {0}, which this build does not know")]
    UnknownVersion(i16),
    /// A name that could not be written again: newer forms of a group have room for longer ones.
    #[error("a name in it has {0} bytes")]
    LongName(usize),
    /// Damaged.
    #[error("it is damaged: {0}")]
    Damaged(#[from] DecodeError),
}

impl GroupRecord {
    /// The group that it is about.
    pub(crate) fn group(&self) -> &Arc<str> {
        match self {
            Self::Offset { group, .. } | Self::Group { group, .. } => group,
        }
    }

    /// Appends the key.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        match self {
            Self::Offset { group, topic, partition, .. } => {
                put_i16(out, KEY_OFFSET);
                put_text(out, group);
                put_text(out, topic);
                put_i32(out, *partition);
            }
            Self::Group { group, .. } => {
                put_i16(out, KEY_GROUP);
                put_text(out, group);
            }
        }
    }

    /// Appends the value; `false` for a tombstone, which has none.
    pub(crate) fn write_value(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Offset { committed: Some(committed), .. } => write_offset(out, committed),
            Self::Group { value: Some(value), .. } => write_group(out, value),
            Self::Offset { committed: None, .. } | Self::Group { value: None, .. } => return false,
        }
        true
    }

    /// The bytes of the value.
    pub(super) fn value_size(&self) -> usize {
        let mut value = Vec::new();
        self.write_value(&mut value);
        value.len()
    }

    /// Reads a record of the log; `value` is `None` for a tombstone.
    ///
    /// # Errors
    /// It is of another kind or a newer version, or damaged.
    pub(crate) fn read(key: &[u8], value: Option<&[u8]>) -> Result<Self, RecordFault> {
        let mut key = Reader::new(key);
        match key.i16()? {
            KEY_OFFSET_OLD | KEY_OFFSET => {
                let (group, topic) = (read_text(&mut key, false)?, read_text(&mut key, false)?);
                let partition = key.i32()?;
                let committed = value.map(read_offset).transpose()?;
                Ok(Self::Offset { group, topic, partition, committed })
            }
            KEY_GROUP => {
                let group = read_text(&mut key, false)?;
                Ok(Self::Group { group, value: value.map(read_group).transpose()? })
            }
            kind => Err(RecordFault::UnknownKind(kind)),
        }
    }
}

fn write_offset(out: &mut Vec<u8>, committed: &Committed) {
    let version = if committed.expires_at.is_some() { OFFSET_EXPIRING } else { OFFSET_FLEXIBLE };
    put_i16(out, version);
    put_i64(out, committed.offset);
    match committed.expires_at {
        Some(expires_at) => {
            put_text(out, &committed.metadata);
            put_i64(out, committed.committed_at.get());
            put_i64(out, expires_at.get());
        }
        None => {
            put_i32(out, committed.leader_epoch);
            put_uvarint(out, committed.metadata.len() + 1);
            out.extend_from_slice(committed.metadata.as_bytes());
            put_i64(out, committed.committed_at.get());
            if committed.topic_id.is_nil() {
                put_uvarint(out, 0);
            } else {
                out.extend_from_slice(&[1, 0, 16]);
                out.extend_from_slice(committed.topic_id.as_bytes());
            }
        }
    }
}

fn read_offset(value: &[u8]) -> Result<Committed, RecordFault> {
    let mut reader = Reader::new(value);
    let version = read_version(&mut reader)?;
    let is_flexible = version >= OFFSET_FLEXIBLE;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = read_text(&mut reader, is_flexible)?;
    let committed_at = Timestamp::new(reader.i64()?);
    let expires_at = if version == OFFSET_EXPIRING { Some(reader.i64()?) } else { None };
    let expires_at = expires_at.filter(|ms| *ms != -1).map(Timestamp::new);
    let mut topic_id = Uuid::nil();
    if is_flexible {
        for _ in 0..reader.tagged_count()? {
            if let (TAG_TOPIC_ID, mut field) = reader.tagged()? {
                topic_id = field.uuid()?;
            }
        }
    }
    Ok(Committed { offset, leader_epoch, metadata, committed_at, expires_at, topic_id })
}

fn write_group(out: &mut Vec<u8>, value: &GroupValue) {
    put_i16(out, GROUP_VERSION);
    put_text(out, &value.protocol_type);
    put_i32(out, value.generation);
    put_nullable_text(out, value.protocol.as_deref());
    put_nullable_text(out, value.leader.as_deref());
    put_i64(out, value.state_since.get());
    put_length(out, value.members.len());
    for member in &value.members {
        put_text(out, &member.member);
        put_nullable_text(out, member.instance.as_deref());
        put_text(out, &member.client_id);
        put_host(out, &member.client_host);
        put_i32(out, member.rebalance_timeout_ms);
        put_i32(out, member.session_timeout_ms);
        for bytes in [&member.subscription, &member.assignment] {
            put_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

fn read_group(value: &[u8]) -> Result<GroupValue, RecordFault> {
    let mut reader = Reader::new(value);
    let version = read_version(&mut reader)?;
    let is_flexible = version >= 4;
    let protocol_type = read_name(&mut reader, is_flexible)?.unwrap_or_default();
    let generation = reader.i32()?;
    let protocol = read_name(&mut reader, is_flexible)?;
    let leader = read_name(&mut reader, is_flexible)?;
    let state_since = if version >= 2 { Timestamp::new(reader.i64()?) } else { Timestamp::NONE };
    let count = reader.count(is_flexible, MEMBER_SIZE_MIN)?.unwrap_or(0);
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(read_member(&mut reader, version, is_flexible)?);
    }
    if is_flexible {
        reader.skip_tagged()?;
    }
    Ok(GroupValue { protocol_type, generation, protocol, leader, state_since, members })
}

fn read_member(reader: &mut Reader<'_>, version: i16, is_flexible: bool) -> Result<MemberValue, RecordFault> {
    let member = MemberValue {
        member: read_name(reader, is_flexible)?.unwrap_or_default(),
        instance: if version >= 3 { read_name(reader, is_flexible)? } else { None },
        client_id: read_name(reader, is_flexible)?.unwrap_or_default(),
        client_host: read_host(reader, is_flexible)?,
        rebalance_timeout_ms: if version >= 1 { reader.i32()? } else { -1 },
        session_timeout_ms: reader.i32()?,
        subscription: read_bytes(reader, is_flexible)?,
        assignment: read_bytes(reader, is_flexible)?,
    };
    if is_flexible {
        reader.skip_tagged()?;
    }
    Ok(member)
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, RecordFault> {
    let version = reader.i16()?;
    if (0..=VERSION_MAX).contains(&version) { Ok(version) } else { Err(RecordFault::UnknownVersion(version)) }
}

/// A text that may not be null; a null reads as empty.
fn read_text(reader: &mut Reader<'_>, is_flexible: bool) -> Result<Arc<str>, DecodeError> {
    Ok(Arc::from(reader.text(is_flexible)?.unwrap_or("")))
}

/// A text that can be written again, and may be null.
fn read_name(reader: &mut Reader<'_>, is_flexible: bool) -> Result<Option<Arc<str>>, RecordFault> {
    match reader.text(is_flexible)? {
        // A host is written with a slash more.
        Some(name) if name.len() >= TEXT_MAX => Err(RecordFault::LongName(name.len())),
        name => Ok(name.map(Arc::from)),
    }
}

/// An address as Java writes it, with a slash before it.
fn read_host(reader: &mut Reader<'_>, is_flexible: bool) -> Result<Arc<str>, RecordFault> {
    let host = read_name(reader, is_flexible)?.unwrap_or_default();
    Ok(host.strip_prefix('/').map_or_else(|| host.clone(), Arc::from))
}

fn read_bytes(reader: &mut Reader<'_>, is_flexible: bool) -> Result<Bytes, DecodeError> {
    Ok(Bytes::copy_from_slice(reader.bytes(is_flexible)?.unwrap_or(&[])))
}

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("what is longer was refused when it came");
    put_i16(out, length);
    out.extend_from_slice(text.as_bytes());
}

fn put_host(out: &mut Vec<u8>, host: &str) {
    let slash = if host.is_empty() { "" } else { "/" };
    put_text(out, &format!("{slash}{host}"));
}

fn put_nullable_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => put_i16(out, -1),
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_i32(out, i32::try_from(length).expect("what is longer was refused when it came"));
}

fn put_uvarint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
