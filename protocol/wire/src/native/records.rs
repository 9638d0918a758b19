//! Deleting the oldest records.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Deletes the oldest records of partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDeleteRequestV1<'a> {
    /// A partition each.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<RecordsDeleteEntryV1<'a>>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDeleteEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// Records before this offset go; -1: all that can be read.
    pub before: i64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDeleteAnswerV1 {
    /// Of the whole request.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// An outcome for each entry, in their order; empty when the whole request failed.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<RecordsDeletedV1>,
}

/// What became of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDeletedV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The first offset that can still be read, or -1.
    pub log_start: i64,
}

messages! { RecordsDeleteRequestV1<'_> => RecordsDeleteAnswerV1: RecordsDelete 1; }
