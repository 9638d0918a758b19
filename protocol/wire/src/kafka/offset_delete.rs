//! OffsetDelete: offsets of a group away. It never became flexible.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Forgets offsets.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetDelete, versions = 0..=0)]
pub struct OffsetDeleteRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// By topic.
    pub topics: Vec<OffsetDeleteRequestTopic<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetDeleteRequestTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// By partition.
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetDeleteRequestPartition {
    /// The partition.
    pub partition_index: i32,
}

/// How forgetting them went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetDelete, versions = 0..=0)]
pub struct OffsetDeleteResponse<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<OffsetDeleteResponseTopic<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetDeleteResponseTopic<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetDeleteResponsePartition {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
}
