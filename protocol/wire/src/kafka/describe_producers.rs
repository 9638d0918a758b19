//! DescribeProducers: the producers that a partition remembers.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for the producers of partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeProducers, versions = 0..=0, flexible = 0..)]
pub struct DescribeProducersRequest<'a> {
    /// By topic.
    pub topics: Vec<TopicRequest<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicRequest<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<i32>,
}

/// The producers of partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeProducers, versions = 0..=0, flexible = 0..)]
pub struct DescribeProducersResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<TopicResponse<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicResponse<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<PartitionResponse<'a>>,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct PartitionResponse<'a> {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable, default = None)]
    pub error_message: Option<Cow<'a, str>>,
    /// The producers that it remembers.
    pub active_producers: Vec<ProducerState>,
}

/// A producer.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence of its last record, or -1.
    #[kafka(default = -1)]
    pub last_sequence: i32,
    /// The timestamp of its last batch, in milliseconds since 1970, or -1.
    #[kafka(default = -1)]
    pub last_timestamp: i64,
    /// The epoch of the coordinator that ended its last transaction.
    pub coordinator_epoch: i32,
    /// The first record of its open transaction, or -1.
    #[kafka(default = -1)]
    pub current_txn_start_offset: i64,
}
