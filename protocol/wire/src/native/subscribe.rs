//! Subscriptions: the broker sends batches of a partition as they become visible, without being asked for each.
//!
//! ```text
//!   reader                                     broker
//!     | Subscribe {7, credit: 1 MiB} ------------> |
//!     | <---------------------- answer {offset} -- |
//!     | <--------------------------- Batches {7} - |  as long as there is credit,
//!     | <--------------------------- Batches {7} - |  each takes its bytes off
//!     | Credit {7, add: 512 KiB} ----------------> |
//!     | <--------------------------- Batches {7} - |
//!     | Unsubscribe {7} -------------------------> |
//!     | <----------------- answer {next_offset} -- |  nothing of subscription 7 comes after it
//! ```
//!
//! *Credit* is counted in record bytes. While a subscription has any at all, the next batch goes, whole, however large
//! it is; more batches go along as far as they fit. What was sent is taken off, down to 0 at the lowest. Sums stay at
//! the greatest number there is. A reader that does the same arithmetic knows what the broker has left.
//!
//! What is pushed carries the correlation id of the Subscribe that it follows from.

use serde::{Deserialize, Serialize};

use super::message::{Message, messages};
use super::{ErrorCode, Kind};

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscribeFrom {
    /// The first record that can be read.
    Earliest,
    /// The high watermark: what becomes visible from now on.
    Latest,
    /// This offset. The first batch is the one that holds it.
    Offset(i64),
}

/// Begins a subscription to one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeRequestV1<'a> {
    /// Its number: any that no other subscription of the connection has.
    pub subscription: u32,
    /// The topic's name.
    #[serde(borrow)]
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
    /// Where it begins.
    pub from: SubscribeFrom,
    /// The leader epoch that the reader knows, or -1 not to compare.
    pub leader_epoch: i32,
    /// The credit that it begins with, in record bytes.
    pub credit: u64,
}

/// The answer. Unless there is an error, the subscription is there; its batches come after this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeAnswerV1 {
    /// The outcome. With `OFFSET_OUT_OF_RANGE` the offsets below tell what there is.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The offset that it begins at; -1 with an error.
    pub offset: i64,
    /// All before it can be read; -1 if the partition cannot be read at all.
    pub high_watermark: i64,
    /// The first offset that can be read, or -1.
    pub log_start: i64,
    /// The partition's leader epoch, or -1.
    pub leader_epoch: i32,
}

/// Pushed: whole batches of a subscription. They are all the record bytes of the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchesV1 {
    /// Whose they are.
    pub subscription: u32,
    /// All before it can be read.
    pub high_watermark: i64,
    /// The first offset that can be read.
    pub log_start: i64,
    /// The partition's leader epoch.
    pub leader_epoch: i32,
}

/// Gives a subscription more credit. Mostly sent with the flag that no answer is wanted. With 0 and an answer it tells
/// whether the other side is there; a reader that hears nothing for long does well to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditRequestV1 {
    /// Whose credit. One that has ended is no fault of the reader's: it may not have heard of it yet.
    pub subscription: u32,
    /// Record bytes more.
    pub add: u64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The credit that the subscription has by now.
    pub credit: u64,
}

/// Ends a subscription. Its number is free again when the answer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsubscribeRequestV1 {
    /// Which.
    pub subscription: u32,
}

/// The answer, behind the last of the subscription's batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsubscribeAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The offset behind what was sent; -1 with an error.
    pub next_offset: i64,
}

/// Pushed: a subscription has ended, behind the last of its batches, and its number is free again. What concerns the
/// partition is told when there would be something to send: a subscription without credit hears of it when it has some.
/// What concerns the broker is told at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionEndV1 {
    /// Which.
    pub subscription: u32,
    /// Why. With `OFFSET_OUT_OF_RANGE` the offsets below tell what there is.
    pub error: ErrorCode,
    /// More about it.
    pub message: Option<String>,
    /// The offset behind what was sent.
    pub next_offset: i64,
    /// All before it can be read; -1 if the partition cannot be read at all.
    pub high_watermark: i64,
    /// The first offset that can be read, or -1.
    pub log_start: i64,
}

impl Default for SubscribeAnswerV1 {
    fn default() -> Self {
        Self {
            error: ErrorCode::NONE,
            message: None,
            offset: -1,
            high_watermark: -1,
            log_start: -1,
            leader_epoch: -1,
        }
    }
}

impl Default for UnsubscribeAnswerV1 {
    fn default() -> Self {
        Self { error: ErrorCode::NONE, message: None, next_offset: -1 }
    }
}

messages! {
    SubscribeRequestV1<'_> => SubscribeAnswerV1: Subscribe 1;
    CreditRequestV1 => CreditAnswerV1: Credit 1;
    UnsubscribeRequestV1 => UnsubscribeAnswerV1: Unsubscribe 1;
}

impl Message for BatchesV1 {
    const KIND: Kind = Kind::Batches;
    const VERSION: u8 = 1;
}

impl Message for SubscriptionEndV1 {
    const KIND: Kind = Kind::SubscriptionEnd;
    const VERSION: u8 = 1;
}
