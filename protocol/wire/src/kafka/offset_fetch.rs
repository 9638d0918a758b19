//! OffsetFetch: where a group was.
//!
//! Until version 7 one group a request, with the answer on top; from version 8 on a list of groups. A partition
//! without an offset is no error: it has offset -1.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Asks for offsets.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetFetch, versions = 1..=10, flexible = 6..)]
pub struct OffsetFetchRequest<'a> {
    /// The group, until version 7.
    #[kafka(versions = ..=7)]
    pub group_id: &'a str,
    /// The topics, or null: all that have one; until version 7.
    #[kafka(versions = ..=7, nullable = 2..=7)]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
    /// By group, from version 8 on.
    #[kafka(versions = 8..)]
    pub groups: Vec<OffsetFetchRequestGroup<'a>>,
    /// Whether to refuse while a transaction may still change them.
    #[kafka(versions = 7..)]
    pub require_stable: bool,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchRequestTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<i32>,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchRequestGroup<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member that asks, if it is one.
    #[kafka(versions = 9.., nullable, default = None, ignorable)]
    pub member_id: Option<&'a str>,
    /// Its epoch, or -1.
    #[kafka(versions = 9.., default = -1, ignorable)]
    pub member_epoch: i32,
    /// The topics, or null: all that have one.
    #[kafka(nullable)]
    pub topics: Option<Vec<OffsetFetchRequestTopics<'a>>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchRequestTopics<'a> {
    /// The topic.
    #[kafka(versions = ..=9, ignorable)]
    pub name: &'a str,
    /// The id of the topic.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_indexes: Vec<i32>,
}

/// Offsets.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetFetch, versions = 1..=10, flexible = 6..)]
pub struct OffsetFetchResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 3.., ignorable)]
    pub throttle_time_ms: i32,
    /// By topic, until version 7.
    #[kafka(versions = ..=7)]
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// How it went, until version 7.
    #[kafka(versions = 2..=7, ignorable)]
    pub error_code: KafkaError,
    /// By group, from version 8 on.
    #[kafka(versions = 8..)]
    pub groups: Vec<OffsetFetchResponseGroup<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchResponseTopic<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchResponsePartition<'a> {
    /// The partition.
    pub partition_index: i32,
    /// The next record to read, or -1.
    pub committed_offset: i64,
    /// The leader epoch of the last record read, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    /// A note of the client.
    #[kafka(nullable)]
    pub metadata: Option<Cow<'a, str>>,
    /// How it went.
    pub error_code: KafkaError,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchResponseGroup<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// By topic.
    pub topics: Vec<OffsetFetchResponseTopics<'a>>,
    /// How it went.
    pub error_code: KafkaError,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchResponseTopics<'a> {
    /// The topic.
    #[kafka(versions = ..=9, ignorable)]
    pub name: Cow<'a, str>,
    /// The id of the topic.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<OffsetFetchResponsePartitions<'a>>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetFetchResponsePartitions<'a> {
    /// The partition.
    pub partition_index: i32,
    /// The next record to read, or -1.
    pub committed_offset: i64,
    /// The leader epoch of the last record read, or -1.
    #[kafka(default = -1)]
    pub committed_leader_epoch: i32,
    /// A note of the client.
    #[kafka(nullable)]
    pub metadata: Option<Cow<'a, str>>,
    /// How it went.
    pub error_code: KafkaError,
}
