//! OffsetCommit: where a group is. From version 10 on topics go by id alone.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Stores offsets.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetCommit, versions = 2..=10, flexible = 8..)]
pub struct OffsetCommitRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation of a classic group, or the member's epoch; -1: no member of a group.
    #[kafka(default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member, or empty.
    pub member_id: &'a str,
    /// The member's own name that outlives restarts, if it has one (static membership).
    #[kafka(versions = 7.., nullable, default = None)]
    pub group_instance_id: Option<&'a str>,
    /// Milliseconds to keep them; -1: as the broker likes.
    #[kafka(versions = ..=4, default = -1, ignorable)]
    pub retention_time_ms: i64,
    /// By topic.
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetCommitRequestTopic<'a> {
    /// The topic.
    #[kafka(versions = ..=9, ignorable)]
    pub name: &'a str,
    /// The id of the topic.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetCommitRequestPartition<'a> {
    /// The partition.
    pub partition_index: i32,
    /// The next record to read, or -1.
    pub committed_offset: i64,
    /// The leader epoch of the last record read, or -1.
    #[kafka(versions = 6.., default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    /// A note of the client.
    #[kafka(nullable)]
    pub committed_metadata: Option<&'a str>,
}

/// How storing them went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetCommit, versions = 2..=10, flexible = 8..)]
pub struct OffsetCommitResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 3.., ignorable)]
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetCommitResponseTopic<'a> {
    /// The topic.
    #[kafka(versions = ..=9, ignorable)]
    pub name: Cow<'a, str>,
    /// The id of the topic.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetCommitResponsePartition {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
}
