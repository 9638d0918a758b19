//! CreatePartitions: more partitions for topics that are there.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Gives topics more partitions.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = CreatePartitions, versions = 0..=3, flexible = 2..)]
pub struct CreatePartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// Milliseconds to wait until they are there.
    pub timeout_ms: i32,
    /// Whether to check only, and change nothing.
    pub validate_only: bool,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatePartitionsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// How many partitions it is to have.
    pub count: i32,
    /// Which brokers get the new ones, one by one; null: as the broker likes.
    #[kafka(nullable)]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// The brokers of one new partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatePartitionsAssignment {
    /// The brokers; the first one leads.
    pub broker_ids: Vec<i32>,
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = CreatePartitions, versions = 0..=3, flexible = 2..)]
pub struct CreatePartitionsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// The topics.
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatePartitionsTopicResult<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable, default = None)]
    pub error_message: Option<Cow<'a, str>>,
}
