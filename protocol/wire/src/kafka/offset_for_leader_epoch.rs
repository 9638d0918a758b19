//! OffsetForLeaderEpoch: where the log of a leader epoch ended, so that a client notices a cut log.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks where leader epochs ended.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetForLeaderEpoch, versions = 2..=4, flexible = 4..)]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The broker that follows; -1: a client; -2: nobody said.
    #[kafka(versions = 3.., default = -2, ignorable)]
    pub replica_id: i32,
    /// By topic.
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetForLeaderTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// By partition.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetForLeaderPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch that the client knows, or -1: it is held against the broker's.
    #[kafka(default = -1)]
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// Where leader epochs ended.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = OffsetForLeaderEpoch, versions = 2..=4, flexible = 4..)]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OffsetForLeaderTopicResult<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<EpochEndOffset>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct EpochEndOffset {
    /// How it went.
    pub error_code: KafkaError,
    /// The partition.
    pub partition: i32,
    /// The largest epoch up to the one asked for, or -1.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// The offset behind its last record, or -1.
    #[kafka(default = -1)]
    pub end_offset: i64,
}
