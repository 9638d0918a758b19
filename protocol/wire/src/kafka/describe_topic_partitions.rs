//! DescribeTopicPartitions: topics and their partitions, page by page.
//!
//! A page ends after so many partitions; its cursor begins the next. Lists of replicas are empty, not null:
//! Java's client fails on null.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Asks for a page of topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeTopicPartitions, versions = 0..=0, flexible = 0..)]
pub struct DescribeTopicPartitionsRequest<'a> {
    /// The topics; empty: all.
    pub topics: Vec<TopicRequest<'a>>,
    /// The most partitions of one answer.
    #[kafka(default = 2000)]
    pub response_partition_limit: i32,
    /// Where to begin, or null: at the first.
    #[kafka(nullable, default = None)]
    pub cursor: Option<RequestCursor<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct TopicRequest<'a> {
    /// The topic.
    pub name: &'a str,
}

/// A place among topics and partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct RequestCursor<'a> {
    /// The topic.
    pub topic_name: &'a str,
    /// The partition.
    pub partition_index: i32,
}

/// A page of topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeTopicPartitions, versions = 0..=0, flexible = 0..)]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where the next page begins, or null: nowhere.
    #[kafka(nullable, default = None)]
    pub next_cursor: Option<NextCursor<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// Its name.
    #[kafka(nullable)]
    pub name: Option<Cow<'a, str>>,
    /// The id of the topic.
    pub topic_id: Uuid,
    /// Whether the broker keeps something of its own there.
    pub is_internal: bool,
    /// By partition.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// Bits of what the client may do with the topic; `i32::MIN` if nobody asked.
    #[kafka(default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// How it went.
    pub error_code: KafkaError,
    /// The partition.
    pub partition_index: i32,
    /// The broker that leads, or -1.
    pub leader_id: i32,
    /// The epoch of the leader, or -1 if unknown.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// The brokers that have a replica.
    pub replica_nodes: Vec<i32>,
    /// Those of them that are in sync.
    pub isr_nodes: Vec<i32>,
    /// Replicas that may lead though they are not in sync; empty rather than null.
    #[kafka(nullable, default = None)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// Those that could have led before; empty rather than null.
    #[kafka(nullable, default = None)]
    pub last_known_elr: Option<Vec<i32>>,
    /// Those of them that are not there.
    pub offline_replicas: Vec<i32>,
}

/// A place among topics and partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct NextCursor<'a> {
    /// The topic.
    pub topic_name: Cow<'a, str>,
    /// The partition.
    pub partition_index: i32,
}
