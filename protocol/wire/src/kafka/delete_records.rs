//! DeleteRecords: the start of logs moves up; what lies before it is gone.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Moves the start of logs.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteRecords, versions = 0..=2, flexible = 2..)]
pub struct DeleteRecordsRequest<'a> {
    /// By topic.
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// Milliseconds to wait until it is done.
    pub timeout_ms: i32,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeleteRecordsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// By partition.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeleteRecordsPartition {
    /// The partition.
    pub partition_index: i32,
    /// Where the log is to begin; -1: at the high watermark.
    pub offset: i64,
}

/// Where logs begin.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DeleteRecords, versions = 0..=2, flexible = 2..)]
pub struct DeleteRecordsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// By topic.
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
}

/// One topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeleteRecordsTopicResult<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// One partition.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DeleteRecordsPartitionResult {
    /// The partition.
    pub partition_index: i32,
    /// Where the log begins, or -1.
    pub low_watermark: i64,
    /// How it went.
    pub error_code: KafkaError,
}
