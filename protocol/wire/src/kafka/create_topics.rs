//! CreateTopics: new topics.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Makes topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = CreateTopics, versions = 2..=7, flexible = 5..)]
pub struct CreateTopicsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatableTopic<'a>>,
    /// Milliseconds to wait until they are there.
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    /// Whether to check only, and change nothing.
    pub validate_only: bool,
}

/// A topic to make.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatableTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// How many partitions; -1: as the broker likes, or as `assignments` says.
    pub num_partitions: i32,
    /// How many replicas of each; -1: as the broker likes, or as `assignments` says.
    pub replication_factor: i16,
    /// Which brokers get the replicas; empty: as the broker likes.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// Its settings.
    pub configs: Vec<CreatableTopicConfig<'a>>,
}

/// The brokers of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatableReplicaAssignment {
    /// The partition.
    pub partition_index: i32,
    /// The brokers; the first one leads.
    pub broker_ids: Vec<i32>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatableTopicConfig<'a> {
    /// Its key.
    pub name: &'a str,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<&'a str>,
}

/// How making them went.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = CreateTopics, versions = 2..=7, flexible = 5..)]
pub struct CreateTopicsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<CreatableTopicResult<'a>>,
}

/// A topic, made or not.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatableTopicResult<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// The id of the topic.
    #[kafka(versions = 7.., ignorable)]
    pub topic_id: Uuid,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// Why `configs` is missing, if it is.
    #[kafka(tag = 0, versions = 5.., ignorable)]
    pub topic_config_error_code: KafkaError,
    /// How many partitions it has, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub num_partitions: i32,
    /// How many replicas of each, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub replication_factor: i16,
    /// Its settings, all of them; empty beside an error. Java fails on null.
    #[kafka(versions = 5.., nullable, ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
}

/// A setting of the topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct CreatableTopicConfigs<'a> {
    /// Its key.
    pub name: Cow<'a, str>,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Where the value comes from: 1 the topic, 2 this broker at run time, 3 all brokers at run time, 4 the broker's
    /// file, 5 the default; -1 unknown.
    #[kafka(default = -1)]
    pub config_source: i8,
    /// Whether the value is kept secret, and null here.
    pub is_sensitive: bool,
}
