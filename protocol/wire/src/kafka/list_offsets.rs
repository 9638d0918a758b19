//! ListOffsets: the offset that belongs to a time, and the ends of a log.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for offsets by time.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListOffsets, versions = 1..=11, flexible = 6..)]
pub struct ListOffsetsRequest<'a> {
    /// The broker that follows, or -1: a client.
    pub replica_id: i32,
    /// 0: up to the high watermark; 1: only what no open transaction holds back.
    #[kafka(versions = 2..)]
    pub isolation_level: i8,
    /// By topic.
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// Milliseconds to wait for what is kept elsewhere.
    #[kafka(versions = 10.., ignorable)]
    pub timeout_ms: i32,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListOffsetsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// By partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListOffsetsPartition {
    /// The partition.
    pub partition_index: i32,
    /// The leader epoch that the client knows, or -1: it is held against the broker's.
    #[kafka(versions = 4.., default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// Milliseconds since 1970, or a place: -1 end, -2 start, -3 largest timestamp, -4 local start, -5 end of what is
    /// tiered, -6 what is to be tiered.
    pub timestamp: i64,
}

/// Offsets by time.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListOffsets, versions = 1..=11, flexible = 6..)]
pub struct ListOffsetsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 2.., ignorable)]
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListOffsetsTopicResponse<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListOffsetsPartitionResponse {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The timestamp of the record at `offset`, or -1.
    #[kafka(default = -1)]
    pub timestamp: i64,
    /// The first record at or after the time, or the place asked for; -1 if there is none.
    #[kafka(default = -1)]
    pub offset: i64,
    /// The epoch of the leader, or -1 if unknown.
    #[kafka(versions = 4.., default = -1)]
    pub leader_epoch: i32,
}
