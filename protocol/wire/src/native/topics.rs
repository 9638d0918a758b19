//! Topics: create, list, describe, delete.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Makes a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCreateRequestV1<'a> {
    /// Letters, digits, `.`, `_` and `-`, at most 249.
    pub name: &'a str,
    /// How many partitions; 0: as many as the broker gives a topic that does not say.
    pub partitions: u32,
    /// Settings that differ from the broker's defaults, as (key, value).
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub configs: Vec<(&'a str, &'a str)>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCreateAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The new topic's identity.
    pub id: [u8; 16],
}

/// Names all topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicListRequestV1 {
    /// Whether to name the broker's own topics too.
    pub internal: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicListAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// A topic each, by name.
    #[serde(deserialize_with = "list::deserialize")]
    pub topics: Vec<ListedTopicV1>,
}

/// One topic of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTopicV1 {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partitions: u32,
}

/// Asks for everything about one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDescribeRequestV1<'a> {
    /// Its name.
    pub name: &'a str,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDescribeAnswerV1 {
    /// The outcome; with an error the rest is empty.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// Its identity.
    pub id: [u8; 16],
    /// Every setting, by key.
    #[serde(deserialize_with = "list::deserialize")]
    pub configs: Vec<TopicConfigV1>,
    /// Every partition, from 0 on.
    #[serde(deserialize_with = "list::deserialize")]
    pub partitions: Vec<PartitionDescriptionV1>,
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfigV1 {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether the topic sets it itself; otherwise it is the broker's default.
    pub is_own: bool,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDescriptionV1 {
    /// `NONE`, or why it takes no records: `NOT_READY`, `PARTITION_OFFLINE`, `STORAGE_FAILED`.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// Its number.
    pub partition: u32,
    /// Rises at every start that was not preceded by a clean stop.
    pub leader_epoch: i32,
    /// The first offset that can be read.
    pub log_start: i64,
    /// All before it has been flushed.
    pub durable: i64,
    /// All before it can be read.
    pub high_watermark: i64,
    /// The next record's offset.
    pub log_end: i64,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// How many segments.
    pub segments: u32,
}

/// Deletes a topic with its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDeleteRequestV1<'a> {
    /// Its name.
    pub name: &'a str,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDeleteAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

/// Gives a topic more partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsCreateRequestV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// How many it is to have in all.
    pub partitions: u32,
    /// Only look whether it could be done.
    pub validate_only: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsCreateAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
}

messages! {
    TopicCreateRequestV1<'_> => TopicCreateAnswerV1: TopicCreate 1;
    TopicListRequestV1 => TopicListAnswerV1: TopicList 1;
    TopicDescribeRequestV1<'_> => TopicDescribeAnswerV1: TopicDescribe 1;
    TopicDeleteRequestV1<'_> => TopicDeleteAnswerV1: TopicDelete 1;
    PartitionsCreateRequestV1<'_> => PartitionsCreateAnswerV1: PartitionsCreate 1;
}
