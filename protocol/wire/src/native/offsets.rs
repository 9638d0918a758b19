//! ListOffsets: the ends of partitions, and offsets by time.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OffsetSpec {
    /// The first that can be read.
    Earliest,
    /// The high watermark: behind the last that can be read.
    Latest,
    /// The first whose record's time is this or later, in milliseconds since 1970.
    AtTime(i64),
}

/// Finds offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListOffsetsRequestV1<'a> {
    /// A partition each.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<ListOffsetsEntryV1<'a>>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListOffsetsEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// What is wanted.
    pub spec: OffsetSpec,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListOffsetsAnswerV1 {
    /// Of the whole request.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// An outcome for each entry, in their order; empty when the whole request failed.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<ListedOffsetV1>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedOffsetV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The offset, or -1 when no record is so late.
    pub offset: i64,
    /// That record's time when it was asked by time, else -1.
    pub timestamp: i64,
    /// The partition's leader epoch.
    pub leader_epoch: i32,
}

messages! { ListOffsetsRequestV1<'_> => ListOffsetsAnswerV1: ListOffsets 1; }
