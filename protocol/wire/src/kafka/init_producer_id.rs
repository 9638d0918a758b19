//! InitProducerId: the identity that makes a producer idempotent or transactional.

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Asks for a producer id.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = InitProducerId, versions = 0..=5, flexible = 2..)]
pub struct InitProducerIdRequest<'a> {
    /// The transactional id of the producer, if it has one.
    #[kafka(nullable)]
    pub transactional_id: Option<&'a str>,
    /// Milliseconds after which an open transaction is aborted.
    pub transaction_timeout_ms: i32,
    /// The id that the producer has, or -1.
    #[kafka(versions = 3.., default = -1)]
    pub producer_id: i64,
    /// The epoch that the producer has, or -1.
    #[kafka(versions = 3.., default = -1)]
    pub producer_epoch: i16,
}

/// A producer id.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
#[kafka(api = InitProducerId, versions = 0..=5, flexible = 2..)]
pub struct InitProducerIdResponse {
    /// Milliseconds for which the client should be quiet, because of a quota.
    pub throttle_time_ms: i32,
    /// How it went.
    pub error_code: KafkaError,
    /// The id, or -1.
    #[kafka(default = -1)]
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}
