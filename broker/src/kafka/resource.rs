//! What has settings, by Kafka's numbers.

use super::NODE_ID;
use crate::error::{Fault, ServiceError};
use crate::service::configs::{Resource, Scope};

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// A resource by its number and name.
///
/// # Errors
/// There is nothing of that kind here, or no such broker.
pub(super) fn named(kind: i8, name: &str) -> Result<Resource, ServiceError> {
    let invalid = |text: String| Err(ServiceError::new(Fault::InvalidRequest, text));
    match (kind, name) {
        (TOPIC, name) => Ok(Resource::Topic(name.to_owned())),
        (BROKER, "") => Ok(Resource::Broker(Scope::All)),
        (BROKER, name) if name.parse() == Ok(NODE_ID) => Ok(Resource::Broker(Scope::This)),
        (BROKER, name) => {
            invalid(format!("Unexpected broker id, expected {NODE_ID} or empty string, but received {name}"))
        }
        (kind, _) => invalid(format!("Resource type {kind} has no settings here")),
    }
}
