//! Topics: made, deleted, described. What blocks runs on the admin thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use folio_storage::data_dir::{NewTopic, TopicError};
use uuid::Uuid;

use crate::config::TopicSettings;
use crate::config::keys::{TOPIC_KEYS, nearest, topic_key};
use crate::engine::{Disk, Engine, log_options, now};
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;
use crate::threads::reaper::Retired;
use crate::view::{Topic, TopicRef};

/// The longest name.
const NAME_LEN_MAX: usize = 249;
/// The most partitions that one topic may be made with.
const PARTITIONS_MAX: u32 = 10_000;

/// Makes a topic and serves it.
///
/// # Errors
/// The name, the settings or the number of partitions; a topic of that name; the disk.
pub(crate) fn create(
    engine: &Engine,
    name: &str,
    partitions: u32,
    configs: &[(String, String)],
) -> Result<Uuid, ServiceError> {
    check_name(name)?;
    if partitions == 0 || partitions > PARTITIONS_MAX {
        let text = format!("{partitions} partitions; 1 to {PARTITIONS_MAX} are possible");
        return Err(ServiceError::new(Fault::InvalidPartitions, text));
    }
    let settings = settings(&engine.config.topic, configs)?;
    let uuid = Uuid::new_v4();
    let topic = NewTopic { name: name.to_owned(), uuid, partitions, settings: configs.to_vec() };
    let logs = engine.dir.create_topic(topic, &log_options(&settings), now()).map_err(|e| translate(&e))?;
    serve(engine, uuid, name, settings, logs);
    Ok(uuid)
}

/// Announces a topic whose logs are open.
pub(crate) fn serve(
    engine: &Engine,
    id: Uuid,
    name: &str,
    settings: TopicSettings,
    logs: Vec<Arc<folio_storage::Log<Disk>>>,
) {
    let name: Arc<str> = name.into();
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let partitions = logs.into_iter().zip(0..).map(|(log, number)| {
        let settings = Arc::clone(&settings);
        Arc::new(Partition::new(Arc::clone(&name), id, number, log, settings, engine.lanes.len()))
    });
    let topic = Arc::new(Topic {
        id,
        name: Arc::clone(&name),
        partitions: partitions.collect(),
        settings: Arc::clone(&settings),
    });
    engine.view.rcu(|view| view.with(Arc::clone(&topic)));
}

/// Deletes a topic with its records.
///
/// # Errors
/// There is none; the disk.
pub(crate) fn delete(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    let topic = find(engine, name)?;
    let set_deleted = |is_deleted| topic.partitions.iter().for_each(|one| one.set_deleted(is_deleted));
    // First, since appends and flushes that are under way meet the files moving.
    set_deleted(true);
    let id = engine.dir.delete_topic(name, now()).map_err(|e| {
        set_deleted(false);
        translate(&e)
    })?;
    engine.view.rcu(|view| view.without(id));
    engine.announce(&topic.partitions, None);
    let logs = topic.partitions.iter().map(|one| Arc::clone(&one.log) as Retired);
    let partitions = topic.partitions.iter().map(|one| Arc::clone(one) as Retired);
    engine.reaper.send(partitions.chain(logs).collect::<Vec<_>>());
    Ok(())
}

/// The topic of this name.
///
/// # Errors
/// There is none.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<Topic<Disk>>, ServiceError> {
    let view = engine.view.load();
    view.topic(&TopicRef::Name(name.to_owned())).cloned().ok_or_else(|| ServiceError::unknown_topic(name))
}

/// A partition by the topic's name and its number.
///
/// # Errors
/// There is no such topic, or it has fewer partitions.
pub(crate) fn partition(
    engine: &Engine,
    topic: &str,
    number: u32,
) -> Result<Arc<Partition<Disk>>, ServiceError> {
    let found = find(engine, topic)?;
    found.partitions.get(number as usize).cloned().ok_or_else(|| {
        let text = format!(
            "topic {topic:?} has partitions 0 to {}, not {number}",
            found.partitions.len().saturating_sub(1)
        );
        ServiceError::new(Fault::UnknownPartition, text)
    })
}

/// All topics by name.
pub(crate) fn list(engine: &Engine) -> BTreeMap<Arc<str>, Arc<Topic<Disk>>> {
    engine.view.load().topics().map(|topic| (Arc::clone(&topic.name), Arc::clone(topic))).collect()
}

/// The settings of a topic that sets `configs` itself.
///
/// # Errors
/// A key that does not exist, or a value that it cannot have.
pub(crate) fn settings(
    defaults: &TopicSettings,
    configs: &[(String, String)],
) -> Result<TopicSettings, ServiceError> {
    let mut settings = defaults.clone();
    for (key, value) in configs {
        let known = topic_key(key).ok_or_else(|| {
            let nearest = nearest(key, TOPIC_KEYS.iter().map(|key| key.name.to_owned()));
            ServiceError::new(
                Fault::InvalidConfig,
                format!("unknown topic setting {key}; did you mean {nearest}?"),
            )
        })?;
        known.set(&mut settings, value).map_err(|expected| {
            ServiceError::new(Fault::InvalidConfig, format!("{key} = {value}: expected {expected}"))
        })?;
    }
    Ok(settings)
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name == "."
        || name == ".."
        || !name.chars().all(is_allowed)
    {
        let text =
            format!("{name:?} is no topic name: 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 . _ -, and not . or ..");
        return Err(ServiceError::new(Fault::InvalidTopicName, text));
    }
    Ok(())
}

fn translate(error: &TopicError) -> ServiceError {
    let fault = match error {
        TopicError::Exists { .. } => Fault::TopicExists,
        TopicError::Unknown { .. } => Fault::UnknownTopic,
        TopicError::Full { .. } => Fault::StorageFull,
        _ => Fault::StorageFailed,
    };
    ServiceError::new(fault, error.to_string())
}
