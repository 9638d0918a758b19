//! Fetch: reads record batches, waiting for them when there are none yet.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Reads from partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequestV1<'a> {
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: u32,
    /// Record bytes worth answering for.
    pub min_bytes: u32,
    /// Record bytes of the whole answer. The first batch of the first partition that has one goes whole,
    /// however large, so that a reader never stands still.
    pub max_bytes: u32,
    /// A partition each and no partition twice, served in this order. A broker refuses more than 10,000.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<FetchEntryV1<'a>>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// The first offset wanted. The answer begins with the batch that holds it.
    pub offset: i64,
    /// Record bytes of this partition.
    pub max_bytes: u32,
    /// The leader epoch that the reader knows, or -1 not to compare.
    pub leader_epoch: i32,
}

/// The answer; record bytes stand behind the header in the order of `entries`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchAnswerV1 {
    /// Of the whole request.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// An outcome for each entry, in their order; empty when the whole request failed.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<FetchedV1>,
}

/// What one partition had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedV1 {
    /// The outcome. With `OFFSET_OUT_OF_RANGE` the offsets below tell what there is.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// All before it can be read.
    pub high_watermark: i64,
    /// The first offset that can be read.
    pub log_start: i64,
    /// The partition's leader epoch.
    pub leader_epoch: i32,
    /// How many of the frame's record bytes are its own: whole batches.
    pub record_bytes: u32,
}

messages! { FetchRequestV1<'_> => FetchAnswerV1: Fetch 1; }
