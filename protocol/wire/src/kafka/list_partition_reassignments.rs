//! ListPartitionReassignments: partitions on their way to other brokers.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for moves under way.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListPartitionReassignments, versions = 0..=0, flexible = 0..)]
pub struct ListPartitionReassignmentsRequest<'a> {
    /// Milliseconds that the broker may take.
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    /// The topics, or null: all.
    #[kafka(nullable, default = None)]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics<'a>>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ListPartitionReassignmentsTopics<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<i32>,
}

/// The moves under way.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = ListPartitionReassignments, versions = 0..=0, flexible = 0..)]
pub struct ListPartitionReassignmentsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// By topic.
    pub topics: Vec<OngoingTopicReassignment<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OngoingTopicReassignment<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// A partition that moves.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct OngoingPartitionReassignment {
    /// The partition.
    pub partition_index: i32,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// The brokers that get it.
    pub adding_replicas: Vec<i32>,
    /// The brokers that lose it.
    pub removing_replicas: Vec<i32>,
}
