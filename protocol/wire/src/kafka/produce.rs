//! Produce: record batches onto the ends of partitions.
//!
//! One batch per partition and request, magic 2. `acks` 0 gets no answer at all, only a closed connection if
//! something is wrong. From version 13 on topics go by id alone.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use super::error_code::KafkaError;

/// Appends one batch to each of some partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Produce, versions = 3..=13, flexible = 9..)]
pub struct ProduceRequest<'a> {
    /// The transactional id of the producer, if it has one.
    #[kafka(nullable, default = None)]
    pub transactional_id: Option<&'a str>,
    /// 0: no answer; 1: once the leader has it; -1: once it is committed.
    pub acks: i16,
    /// Milliseconds to wait for the acknowledgements.
    pub timeout_ms: i32,
    /// By topic.
    pub topic_data: Vec<TopicProduceData<'a>>,
}

/// Batches for one topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicProduceData<'a> {
    /// The topic.
    #[kafka(versions = ..=12, ignorable)]
    pub name: &'a str,
    /// The id of the topic.
    #[kafka(versions = 13.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partition_data: Vec<PartitionProduceData<'a>>,
}

/// A batch for one partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct PartitionProduceData<'a> {
    /// The partition.
    pub index: i32,
    /// The batch, in place.
    #[kafka(nullable, default = None)]
    pub records: Option<&'a [u8]>,
}

/// How the appends went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Produce, versions = 3..=13, flexible = 9..)]
pub struct ProduceResponse<'a> {
    /// By topic.
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// Where the brokers are that `current_leader` names.
    #[kafka(tag = 0, versions = 10..)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// Appends to one topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicProduceResponse<'a> {
    /// The topic.
    #[kafka(versions = ..=12, ignorable)]
    pub name: Cow<'a, str>,
    /// The id of the topic.
    #[kafka(versions = 13.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
}

/// An append to one partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct PartitionProduceResponse<'a> {
    /// The partition.
    pub index: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The offset of the first record.
    pub base_offset: i64,
    /// The time that the broker stamped, in milliseconds since 1970; -1 if the records keep their own.
    #[kafka(default = -1)]
    pub log_append_time_ms: i64,
    /// The first offset of the log, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub log_start_offset: i64,
    /// The records because of which the batch was refused.
    #[kafka(versions = 8.., ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage<'a>>,
    /// What went wrong, for people.
    #[kafka(versions = 8.., nullable, default = None, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The leader to go to, if this is not it.
    #[kafka(tag = 0, versions = 10..)]
    pub current_leader: LeaderIdAndEpoch,
}

/// A record that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// Which record of the batch, from 0.
    pub batch_index: i32,
    /// What is wrong with it, for people.
    #[kafka(nullable, default = None)]
    pub batch_index_error_message: Option<Cow<'a, str>>,
}
