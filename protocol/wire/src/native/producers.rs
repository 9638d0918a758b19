//! Idempotent producers: InitProducer gives one its id, DescribeProducers names those of a partition.

use serde::{Deserialize, Serialize};

use super::message::messages;
use super::{ErrorCode, list};

/// Asks for an id that no other producer has. Batches carry it with an epoch and a sequence; so what is sent again is
/// stored once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProducerRequestV1<'a> {
    /// The name under which the producer's transactions go on after its restart; none without transactions.
    #[serde(borrow)]
    pub transactional_id: Option<&'a str>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProducerAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The producer's id; -1 with an error.
    pub producer_id: i64,
    /// The epoch that it begins with; -1 with an error. It may go on to the next by itself, up to 32767.
    pub producer_epoch: i16,
}

/// Asks which idempotent producers a partition remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeProducersRequestV1<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: u32,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeProducersAnswerV1 {
    /// The outcome.
    pub error: ErrorCode,
    /// More about the error.
    pub message: Option<String>,
    /// The producers, by id.
    #[serde(deserialize_with = "list::deserialize")]
    pub producers: Vec<ProducerDescriptionV1>,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerDescriptionV1 {
    /// Its id.
    pub producer_id: i64,
    /// The latest of its epochs.
    pub producer_epoch: i16,
    /// The number of its last record; -1 if none is known.
    pub last_sequence: i32,
    /// The latest time in its last batch, in milliseconds; -1 if none is known.
    pub last_timestamp: i64,
}

impl Default for InitProducerAnswerV1 {
    fn default() -> Self {
        Self { error: ErrorCode::NONE, message: None, producer_id: -1, producer_epoch: -1 }
    }
}

messages! {
    InitProducerRequestV1<'_> => InitProducerAnswerV1: InitProducer 1;
    DescribeProducersRequestV1<'_> => DescribeProducersAnswerV1: DescribeProducers 1;
}
