//! DescribeLogDirs: how large replicas are, and where they lie.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for the sizes of replicas.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeLogDirs, versions = 1..=5, flexible = 2..)]
pub struct DescribeLogDirsRequest<'a> {
    /// The topics, or null: all.
    #[kafka(nullable)]
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribableLogDirTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// The sizes of replicas.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = DescribeLogDirs, versions = 1..=5, flexible = 2..)]
pub struct DescribeLogDirsResponse<'a> {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    #[kafka(versions = 3.., ignorable)]
    pub error_code: KafkaError,
    /// By directory.
    pub results: Vec<DescribeLogDirsResult<'a>>,
}

/// A directory.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeLogDirsResult<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// Its absolute path.
    pub log_dir: Cow<'a, str>,
    /// By topic.
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// Bytes of the disk, or -1.
    #[kafka(versions = 4.., default = -1, ignorable)]
    pub total_bytes: i64,
    /// Bytes of it that are free, or -1.
    #[kafka(versions = 4.., default = -1, ignorable)]
    pub usable_bytes: i64,
    /// Whether it takes no new replicas.
    #[kafka(versions = 5.., ignorable)]
    pub is_cordoned: bool,
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeLogDirsTopic<'a> {
    /// The topic.
    pub name: Cow<'a, str>,
    /// By partition.
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// A replica.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct DescribeLogDirsPartition {
    /// The partition.
    pub partition_index: i32,
    /// Bytes of its segments.
    pub partition_size: i64,
    /// Records that it is behind the high watermark, or the current replica.
    pub offset_lag: i64,
    /// Whether it is to replace the one in another directory.
    pub is_future_key: bool,
}
