//! Produce: appends record batches.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acks {
    /// Nothing: there is no answer at all, and the frame carries the flag that says so.
    None,
    /// The append.
    One,
    /// The high watermark: on topics with `durability = fsync`, the disk.
    All,
}

/// Appends record batches to partitions; they stand behind the header in the order of `entries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProduceRequestV1<'a> {
    /// What to wait for.
    pub acks: Acks,
    /// How long to wait for it, in milliseconds.
    pub timeout_ms: u32,
    /// A partition each.
    #[serde(borrow, deserialize_with = "list::deserialize")]
    pub entries: Vec<ProduceEntryV1<'a>>,
}

/// One partition's batches: all of them are appended, one behind the other, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProduceEntryV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// How many of the frame's record bytes are its own: one or more whole batches.
    pub record_bytes: u32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProduceAnswerV1 {
    /// Of the whole request.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// An outcome for each entry, in their order; empty when the whole request failed.
    #[serde(deserialize_with = "list::deserialize")]
    pub entries: Vec<ProducedV1>,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The offset of the entry's first record; -1 with an error.
    pub base_offset: i64,
    /// The time that the broker gave the records, or -1 when they keep their own.
    pub log_append_time: i64,
    /// The first offset that can be read.
    pub log_start: i64,
}

messages! { ProduceRequestV1<'_> => ProduceAnswerV1: Produce 1; }
