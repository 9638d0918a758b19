//! Topics that are the broker's own: where it keeps what groups are and how far they have come.
//!
//! Clients may read them. They may not write to them, nor take them or their records away.

use super::{Creation, create, find};
use crate::config::{DurabilityClass, TopicSettings};
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};

/// Groups and their offsets, in Kafka's records.
pub(crate) const OFFSETS: &str = "__consumer_offsets";

/// Kafka keeps things of its own under these names.
const INTERNAL: [&str; 2] = [OFFSETS, "__transaction_state"];

/// Whether a topic of this name is the broker's own.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Whether a client may do this to a topic.
///
/// # Errors
/// It is the broker's own.
pub(crate) fn check_is_clients(name: &str, what: &str) -> Result<(), ServiceError> {
    if !is_internal(name) {
        return Ok(());
    }
    Err(ServiceError::new(Fault::InternalTopic, format!("Cannot {what} internal topic {name}")))
}

/// Makes the topic of groups and their offsets, if nobody else has made it by now.
///
/// # Errors
/// The disk.
pub(crate) fn create_offsets(engine: &Engine) -> Result<(), ServiceError> {
    if find(engine, OFFSETS).is_ok() {
        return Ok(());
    }
    let setting = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let creation = Creation {
        partitions: i32::try_from(engine.config.offsets_topic_partitions).unwrap_or(i32::MAX),
        settings: vec![
            setting("cleanup.policy", "compact"),
            setting("compression.type", "producer"),
            setting("segment.bytes", "104857600"),
            setting("durability", "fsync"),
        ],
        ..Creation::new(OFFSETS)
    };
    create(engine, creation).map(drop)
}

/// What holds of a topic of this name, whatever it or the broker's defaults say: what the broker has written down for a
/// client is on stable storage before the client knows.
pub(super) fn imposed(name: &str, settings: TopicSettings) -> TopicSettings {
    if !is_internal(name) {
        return settings;
    }
    TopicSettings { durability_set: DurabilityClass::Fsync, ..settings }
}
