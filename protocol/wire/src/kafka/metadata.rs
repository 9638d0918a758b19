//! Metadata: brokers, topics, partitions and their leaders.
//!
//! Before version 1 an empty list asks for every topic; from then on null does, and an empty list for none.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Asks for brokers and topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Metadata, versions = 0..=13, flexible = 9..)]
pub struct MetadataRequest<'a> {
    /// The topics, or null: all.
    #[kafka(nullable = 1..)]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether a topic that is not there may be made.
    #[kafka(versions = 4.., default = true)]
    pub allow_auto_topic_creation: bool,
    /// Whether to tell what the client may do with the cluster.
    #[kafka(versions = 8..=10)]
    pub include_cluster_authorized_operations: bool,
    /// Whether to tell what the client may do with each topic.
    #[kafka(versions = 8..)]
    pub include_topic_authorized_operations: bool,
}

/// A topic, by name or by id.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MetadataRequestTopic<'a> {
    /// Its id, or zero.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// Its name, or null if the id is meant.
    #[kafka(nullable = 10..)]
    pub name: Option<&'a str>,
}

/// Brokers and topics.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Metadata, versions = 0..=13, flexible = 9..)]
pub struct MetadataResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    #[kafka(versions = 3.., ignorable)]
    pub throttle_time_ms: i32,
    /// The brokers.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The id of the cluster.
    #[kafka(versions = 2.., nullable, default = None, ignorable)]
    pub cluster_id: Option<Cow<'a, str>>,
    /// The broker that administers, or -1.
    #[kafka(versions = 1.., default = -1, ignorable)]
    pub controller_id: i32,
    /// By topic.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// Bits of what the client may do with the cluster; `i32::MIN` if nobody asked.
    #[kafka(versions = 8..=10, default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    /// What is wrong with the whole request.
    #[kafka(versions = 13.., ignorable)]
    pub error_code: KafkaError,
}

/// A broker.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MetadataResponseBroker<'a> {
    /// The id of the broker.
    pub node_id: i32,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: i32,
    /// The rack of the broker, if it has one.
    #[kafka(versions = 1.., nullable, default = None, ignorable)]
    pub rack: Option<Cow<'a, str>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MetadataResponseTopic<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// Its name, or null if an id was asked for that is not known.
    #[kafka(nullable = 12..)]
    pub name: Option<Cow<'a, str>>,
    /// Its id, or zero.
    #[kafka(versions = 10.., ignorable)]
    pub topic_id: Uuid,
    /// Whether the broker keeps something of its own there.
    #[kafka(versions = 1.., ignorable)]
    pub is_internal: bool,
    /// By partition.
    pub partitions: Vec<MetadataResponsePartition>,
    /// Bits of what the client may do with the topic; `i32::MIN` if nobody asked.
    #[kafka(versions = 8.., default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct MetadataResponsePartition {
    /// How it went.
    pub error_code: KafkaError,
    /// The partition.
    pub partition_index: i32,
    /// The broker that leads, or -1.
    pub leader_id: i32,
    /// The epoch of the leader, or -1 if unknown.
    #[kafka(versions = 7.., default = -1, ignorable)]
    pub leader_epoch: i32,
    /// The brokers that have a replica.
    pub replica_nodes: Vec<i32>,
    /// Those of them that are in sync.
    pub isr_nodes: Vec<i32>,
    /// Those of them that are not there.
    #[kafka(versions = 5.., ignorable)]
    pub offline_replicas: Vec<i32>,
}
