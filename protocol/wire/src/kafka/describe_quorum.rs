//! DescribeQuorum: the voters that keep the metadata of the cluster.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::error_code::KafkaError;

/// Asks for the metadata quorum.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeQuorum, versions = 0..=2, flexible = 0..)]
pub struct DescribeQuorumRequest<'a> {
    /// By topic.
    pub topics: Vec<RequestTopic<'a>>,
}

/// A topic: `__cluster_metadata`.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct RequestTopic<'a> {
    /// The topic.
    pub topic_name: &'a str,
    /// By partition.
    pub partitions: Vec<RequestPartition>,
}

/// A partition: 0.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct RequestPartition {
    /// The partition.
    pub partition_index: i32,
}

/// The metadata quorum.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeQuorum, versions = 0..=2, flexible = 0..)]
pub struct DescribeQuorumResponse<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 2.., nullable, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// By topic.
    pub topics: Vec<ResponseTopic<'a>>,
    /// Where the voters are.
    #[kafka(versions = 2..)]
    pub nodes: Vec<Node<'a>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ResponseTopic<'a> {
    /// The topic.
    pub topic_name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<ResponsePartition<'a>>,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ResponsePartition<'a> {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(versions = 2.., nullable, ignorable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The broker that leads, or -1.
    pub leader_id: i32,
    /// The epoch of the leader, or -1 if unknown.
    pub leader_epoch: i32,
    /// The end of what is committed.
    pub high_watermark: i64,
    /// The voters.
    pub current_voters: Vec<ReplicaState>,
    /// Those that follow without a vote.
    pub observers: Vec<ReplicaState>,
}

/// A node of the quorum.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ReplicaState {
    /// Its id.
    pub replica_id: i32,
    /// The id of its metadata directory.
    #[kafka(versions = 2..)]
    pub replica_directory_id: Uuid,
    /// The end of its log, or -1.
    pub log_end_offset: i64,
    /// When the leader last heard of it, in milliseconds since 1970, or -1.
    #[kafka(versions = 1.., default = -1, ignorable)]
    pub last_fetch_timestamp: i64,
    /// When it last had everything, in milliseconds since 1970, or -1.
    #[kafka(versions = 1.., default = -1, ignorable)]
    pub last_caught_up_timestamp: i64,
}

/// A voter.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct Node<'a> {
    /// Its id.
    pub node_id: i32,
    /// Where it listens.
    pub listeners: Vec<Listener<'a>>,
}

/// A place to connect to.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct Listener<'a> {
    /// Its name in the configuration.
    pub name: Cow<'a, str>,
    /// The host to connect to.
    pub host: Cow<'a, str>,
    /// The port to connect to.
    pub port: u16,
}
