//! Topics and partitions, found by what somebody calls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;
use crate::view::{Served, Topic};

/// The topic of this name.
///
/// # Errors
/// There is none.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<Topic<Disk>>, ServiceError> {
    engine.view.load().named(name).cloned().ok_or_else(|| ServiceError::unknown_topic(name))
}

/// The topic with this id.
///
/// # Errors
/// There is none.
pub(crate) fn with_id(engine: &Engine, id: Uuid) -> Result<Arc<Topic<Disk>>, ServiceError> {
    engine.view.load().with_id(id).cloned().ok_or_else(|| ServiceError::unknown_topic_id(id))
}

/// A partition to be read, by the topic's name and its number.
///
/// # Errors
/// There is no such topic; otherwise as [`readable_of`].
pub(crate) fn readable(
    engine: &Engine,
    topic: &str,
    number: impl Into<i64>,
) -> Result<Arc<Partition<Disk>>, ServiceError> {
    readable_of(&*find(engine, topic)?, number)
}

/// A partition of a topic that is to be read: of one that is offline, what lies below its damage.
///
/// # Errors
/// As [`partition_of`].
pub(crate) fn readable_of(
    topic: &Topic<Disk>,
    number: impl Into<i64>,
) -> Result<Arc<Partition<Disk>>, ServiceError> {
    let number = number.into();
    match served(topic, number) {
        Some(Served::Below(partition, _)) => Ok(Arc::clone(partition)),
        _ => partition_of(topic, number),
    }
}

/// A partition by the topic's name and its number.
///
/// # Errors
/// There is no such topic, or it has fewer partitions; it is offline.
pub(crate) fn partition(
    engine: &Engine,
    topic: &str,
    number: impl Into<i64>,
) -> Result<Arc<Partition<Disk>>, ServiceError> {
    partition_of(&*find(engine, topic)?, number)
}

/// A partition of a topic by its number.
///
/// # Errors
/// The topic has fewer partitions, or this one is offline.
pub(crate) fn partition_of(
    topic: &Topic<Disk>,
    number: impl Into<i64>,
) -> Result<Arc<Partition<Disk>>, ServiceError> {
    let (name, number) = (&topic.name, number.into());
    match served(topic, number) {
        Some(Served::Leader(partition)) => Ok(Arc::clone(partition)),
        Some(Served::Offline(why) | Served::Below(_, why)) => {
            Err(ServiceError::partition_offline(name, number, why))
        }
        None => {
            let last = topic.partitions.len().saturating_sub(1);
            let text = format!("topic {name:?} has partitions 0 to {last}, not {number}");
            Err(ServiceError::new(Fault::UnknownPartition, text))
        }
    }
}

/// Kafka's clients may say any number, also a negative one.
fn served(topic: &Topic<Disk>, number: i64) -> Option<&Served<Disk>> {
    topic.partitions.get(usize::try_from(number).ok()?)
}

/// All topics by name.
pub(crate) fn list(engine: &Engine) -> BTreeMap<Arc<str>, Arc<Topic<Disk>>> {
    engine.view.load().topics().map(|topic| (Arc::clone(&topic.name), Arc::clone(topic))).collect()
}
