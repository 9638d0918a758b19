//! The answers to AlterConfigs and IncrementalAlterConfigs have the same parts.

use std::borrow::Cow;

use folio_wire_derive::Message;

use super::error_code::KafkaError;

/// Something whose settings were to change.
#[derive(Clone, PartialEq, Eq, Debug, Message)]
pub struct AlterConfigsResourceResponse<'a> {
    /// How it went.
    pub error_code: KafkaError,
    /// What went wrong, for people.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// What it is: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Its name: a topic, a broker's id, or empty for all brokers.
    pub resource_name: Cow<'a, str>,
}
