//! ElectLeaders: leadership to the preferred replica, or to any.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Moves leadership.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ElectLeaders, versions = 0..=2, flexible = 2..)]
pub struct ElectLeadersRequest<'a> {
    /// 0: to the preferred replica; 1: to any, in sync or not.
    #[kafka(versions = 1..)]
    pub election_type: i8,
    /// The topics, or null: all.
    #[kafka(nullable)]
    pub topic_partitions: Option<Vec<TopicPartitions<'a>>>,
    /// Milliseconds to wait until it is done.
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicPartitions<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// Who leads now.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ElectLeaders, versions = 0..=2, flexible = 2..)]
pub struct ElectLeadersResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    #[kafka(versions = 1..)]
    pub error_code: KafkaError,
    /// By topic.
    pub replica_election_results: Vec<ReplicaElectionResult<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ReplicaElectionResult<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// By partition.
    pub partition_result: Vec<PartitionResult<'a>>,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct PartitionResult<'a> {
    /// The partition.
    pub partition_id: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
