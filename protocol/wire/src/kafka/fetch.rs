//! Fetch: record batches from an offset on, and waiting for them.
//!
//! From version 7 on a session remembers the partitions of a client, so that later requests and answers name
//! only what changed (KIP-227); from version 13 on topics go by id alone. Records of an answer are spliced.

use std::borrow::Cow;

use folio_wire_derive::Message;
use uuid::Uuid;

use super::current_leader::{LeaderIdAndEpoch, NodeEndpoint};
use super::error_code::KafkaError;
use super::records::Records;

/// Reads from some partitions, and waits if there is too little.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Fetch, versions = 4..=18, flexible = 12..)]
pub struct FetchRequest<'a> {
    /// The cluster that the client means, if it knows.
    #[kafka(tag = 0, versions = 12.., nullable, default = None, ignorable)]
    pub cluster_id: Option<&'a str>,
    /// The broker that follows, or -1: a client.
    #[kafka(versions = ..=14, default = -1)]
    pub replica_id: i32,
    /// The broker that follows, from version 15 on.
    #[kafka(tag = 1, versions = 15..)]
    pub replica_state: ReplicaState,
    /// Milliseconds to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Answer at once when there are so many bytes.
    pub min_bytes: i32,
    /// Soft limit of the bytes of the answer: the first batch comes whole.
    #[kafka(default = i32::MAX)]
    pub max_bytes: i32,
    /// 0: up to the high watermark; 1: only what no open transaction holds back.
    pub isolation_level: i8,
    /// The fetch session, or 0.
    #[kafka(versions = 7.., ignorable)]
    pub session_id: i32,
    /// Where the session is: 0 opens one, -1 goes without.
    #[kafka(versions = 7.., default = -1, ignorable)]
    pub session_epoch: i32,
    /// By topic: what to read, or in a session what changed.
    pub topics: Vec<FetchTopic<'a>>,
    /// What leaves the session.
    #[kafka(versions = 7..)]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// The rack of the client, or an empty text.
    #[kafka(versions = 11.., ignorable)]
    pub rack_id: &'a str,
}

/// A broker that follows.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ReplicaState {
    /// Its id, or -1: a client.
    #[kafka(default = -1)]
    pub replica_id: i32,
    /// Its epoch, or -1.
    #[kafka(default = -1)]
    pub replica_epoch: i64,
}

/// What to read of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct FetchTopic<'a> {
    /// The topic.
    #[kafka(versions = ..=12, ignorable)]
    pub topic: &'a str,
    /// The id of the topic.
    #[kafka(versions = 13.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct FetchPartition {
    /// The partition.
    pub partition: i32,
    /// The leader epoch that the client knows, or -1: it is held against the broker's.
    #[kafka(versions = 9.., default = -1, ignorable)]
    pub current_leader_epoch: i32,
    /// Read from here on.
    pub fetch_offset: i64,
    /// The leader epoch of the last record that the client has, or -1.
    #[kafka(versions = 12.., default = -1)]
    pub last_fetched_epoch: i32,
    /// The first offset of a follower's log, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub log_start_offset: i64,
    /// Soft limit of the bytes of this partition.
    pub partition_max_bytes: i32,
    /// The log directory of a follower.
    #[kafka(tag = 0, versions = 17.., ignorable)]
    pub replica_directory_id: Uuid,
    /// The high watermark that a follower knows.
    #[kafka(tag = 1, versions = 18.., default = i64::MAX, ignorable)]
    pub high_watermark: i64,
}

/// Partitions that leave a session.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct ForgottenTopic<'a> {
    /// The topic.
    #[kafka(versions = ..=12, ignorable)]
    pub topic: &'a str,
    /// The id of the topic.
    #[kafka(versions = 13.., ignorable)]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = Fetch, versions = 4..=18, flexible = 12..)]
pub struct FetchResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// What is wrong with the whole request.
    #[kafka(versions = 7.., ignorable)]
    pub error_code: KafkaError,
    /// The session, or 0 if there is none.
    #[kafka(versions = 7..)]
    pub session_id: i32,
    /// By topic; a topic stands here once.
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Where the brokers are that `current_leader` names.
    #[kafka(tag = 0, versions = 16..)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// What was read of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct FetchableTopicResponse<'a> {
    /// The topic.
    #[kafka(versions = ..=12, ignorable)]
    pub topic: Cow<'a, str>,
    /// The id of the topic.
    #[kafka(versions = 13.., ignorable)]
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<PartitionData<'a>>,
}

/// What was read of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct PartitionData<'a> {
    /// The partition.
    pub partition_index: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The end of what is committed, or -1.
    pub high_watermark: i64,
    /// The end of what no open transaction holds back, or -1.
    #[kafka(default = -1)]
    pub last_stable_offset: i64,
    /// The first offset of the log, or -1.
    #[kafka(versions = 5.., default = -1, ignorable)]
    pub log_start_offset: i64,
    /// Where the log parts from the client's, if it does.
    #[kafka(tag = 0, versions = 12..)]
    pub diverging_epoch: EpochEndOffset,
    /// The leader to go to, if this is not it.
    #[kafka(tag = 1, versions = 12..)]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot that a follower should take first; of no use to clients.
    #[kafka(tag = 2, versions = 12..)]
    pub snapshot_id: SnapshotId,
    /// Transactions that were aborted inside of what was read; none for isolation level 0.
    #[kafka(nullable)]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The broker to read from instead, or -1.
    #[kafka(versions = 11.., default = -1)]
    pub preferred_read_replica: i32,
    /// Whole batches. Empty, not null: clients look at their size before the error.
    #[kafka(nullable, default = None)]
    pub records: Option<Records<'a>>,
}

/// An epoch and its end.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct EpochEndOffset {
    /// The epoch, or -1.
    #[kafka(default = -1)]
    pub epoch: i32,
    /// The offset behind its last record, or -1.
    #[kafka(default = -1)]
    pub end_offset: i64,
}

/// A snapshot, by its end.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct SnapshotId {
    /// The offset behind its last record, or -1.
    #[kafka(default = -1)]
    pub end_offset: i64,
    /// The epoch of its last record, or -1.
    #[kafka(default = -1)]
    pub epoch: i32,
}

/// A transaction that was aborted.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
}
