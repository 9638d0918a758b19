//! Topics: made, deleted, described. What blocks runs on the admin thread.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use folio_storage::data_dir::{NewTopic, TopicError};
use folio_storage::metadata::{self, CommitError, PARTITIONS_MAX, TOPIC_NAME_LEN_MAX, is_topic_name};
use folio_storage::partition::PartitionId;
use uuid::Uuid;

use crate::config::TopicSettings;
use crate::config::topic_keys::{self, Effect};
use crate::engine::{Disk, Engine, log_options, now};
use crate::error::{Fault, ServiceError};
use crate::metadata::{MetadataStore, Wanted};
use crate::partition::Partition;
use crate::threads::reaper::Retired;
use crate::view::{Served, Topic};

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
    settings(&engine.config.topic, configs)?;
    let uuid = Uuid::new_v4();
    let topic = NewTopic { name: name.to_owned(), uuid, partitions, settings: configs.to_vec() };
    let store: &dyn MetadataStore = &engine.dir;
    match store.commit(topic.creation(now()), now()) {
        Err(CommitError::Conflict(_)) => {
            return Err(ServiceError::new(Fault::TopicExists, format!("topic {name:?} exists")));
        }
        committed => committed.map_err(|error| of_commit(engine, &error))?,
    };
    if let Err(error) = follow(engine) {
        // Half a topic would be in the way of the next attempt. If even this fails, the next start makes it whole.
        let _ = delete(engine, name);
        return Err(error);
    }
    Ok(uuid)
}

/// Deletes a topic with its records.
///
/// # Errors
/// There is none; the disk.
pub(crate) fn delete(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    let (_, transaction) = engine.dir.deletion(name).map_err(|error| of_topic(engine, &error))?;
    let store: &dyn MetadataStore = &engine.dir;
    match store.commit(transaction, now()) {
        Err(CommitError::Conflict(_)) => Err(ServiceError::unknown_topic(name)),
        Err(error) => Err(of_commit(engine, &error)),
        Ok(_) => follow(engine),
    }
}

/// Brings directories and view to what the metadata says by now.
///
/// # Errors
/// The disk. What could not be done is tried again at the next start.
pub(crate) fn follow(engine: &Engine) -> Result<(), ServiceError> {
    let mut follower = engine.follower.lock().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = Ok(());
    loop {
        let known: Vec<Uuid> = engine.view.load().topics().map(|topic| topic.id).collect();
        let changes = follower.changes(&engine.dir, known);
        if changes.is_empty() {
            return outcome;
        }
        for (id, topic) in changes {
            // One topic's failure keeps no other one from its change.
            let done = match (Wanted::of(topic.as_ref()), topic) {
                (Wanted::Making, Some(topic)) => make(engine, id, &topic),
                (Wanted::Serving, Some(topic)) => {
                    serve(engine, id, &topic);
                    Ok(())
                }
                _ => retire(engine, id),
            };
            outcome = outcome.and(done);
        }
    }
}

/// Makes directories and logs. The transaction that says that they are there is an event like any other.
fn make(engine: &Engine, id: Uuid, topic: &metadata::Topic) -> Result<(), ServiceError> {
    let options = log_options(&settings_of(engine, topic));
    engine.dir.make_partitions(id, &options, now()).map_err(|error| of_topic(engine, &error))?;
    Ok(())
}

fn serve(engine: &Engine, id: Uuid, topic: &metadata::Topic) {
    if engine.view.load().with_id(id).is_some() {
        return;
    }
    let name: Arc<str> = topic.name.as_str().into();
    let settings = settings_of(engine, topic);
    say_what_does_nothing(topic, &settings);
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let partitions = (0..topic.partitions).map(|number| {
        let partition = PartitionId { topic: id, partition: number };
        match engine.dir.log(partition) {
            Some(log) => Served::Leader(Arc::new(Partition::new(
                Arc::clone(&name),
                number,
                log,
                Arc::clone(&settings),
                engine.lanes.len(),
            ))),
            None => {
                let why = engine.offline.get(&partition).cloned();
                Served::Offline(why.unwrap_or_else(|| "it could not be opened".into()))
            }
        }
    });
    let partitions = partitions.collect();
    let topic = Arc::new(Topic { id, name: Arc::clone(&name), partitions, settings: Arc::clone(&settings) });
    engine.view.rcu(|view| view.with(Arc::clone(&topic)));
}

/// Settings from which nothing follows, or not yet: whoever set them had better know.
fn say_what_does_nothing(topic: &metadata::Topic, settings: &TopicSettings) {
    if settings.cleanup.compacts {
        tracing::warn!(topic = topic.name, "cleanup.policy has compact: nothing is compacted yet");
    }
    for (key, value) in &topic.settings {
        if let Some(Effect::Kept(why)) = topic_keys::topic_key(key).map(|key| key.effect) {
            tracing::info!(topic = topic.name, "{key} = {value} is kept and does nothing: {why}");
        }
    }
}

/// Takes a deleted topic out of sight, wakes who waits for it, and moves its files away.
fn retire(engine: &Engine, id: Uuid) -> Result<(), ServiceError> {
    let topic = engine.view.load().with_id(id).cloned();
    if let Some(topic) = &topic {
        engine.view.rcu(|view| view.without(id));
        // Appends and flushes that are under way meet the files moving.
        topic.online().for_each(|partition| partition.set_deleted());
    }
    engine.dir.remove_partitions(id).map_err(|error| of_topic(engine, &error))?;
    if let Some(topic) = topic {
        let partitions: Vec<_> = topic.online().cloned().collect();
        engine.announce(&partitions, None);
        let logs = partitions.iter().map(|one| Arc::clone(&one.log) as Retired);
        let shells = partitions.iter().map(|one| Arc::clone(one) as Retired);
        engine.reaper.send(shells.chain(logs).collect::<Vec<_>>());
    }
    Ok(())
}

/// The topic of this name.
///
/// # Errors
/// There is none.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<Topic<Disk>>, ServiceError> {
    engine.view.load().named(name).cloned().ok_or_else(|| ServiceError::unknown_topic(name))
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
    match found.partitions.get(number as usize) {
        Some(Served::Leader(partition)) => Ok(Arc::clone(partition)),
        Some(Served::Offline(why)) => {
            let text = format!("partition {number} of topic {topic:?} is offline: {why}");
            Err(ServiceError::new(Fault::PartitionOffline, text))
        }
        None => {
            let last = found.partitions.len().saturating_sub(1);
            let text = format!("topic {topic:?} has partitions 0 to {last}, not {number}");
            Err(ServiceError::new(Fault::UnknownPartition, text))
        }
    }
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
    topic_keys::settings_of(defaults, configs).map_err(|text| ServiceError::new(Fault::InvalidConfig, text))
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    if !is_topic_name(name) {
        let text = format!(
            "{name:?} is no topic name: 1 to {TOPIC_NAME_LEN_MAX} of A-Z a-z 0-9 . _ -, and not . or .."
        );
        return Err(ServiceError::new(Fault::InvalidTopicName, text));
    }
    Ok(())
}

/// A setting that this build refuses was accepted by another: the default holds, and the log says so.
fn settings_of(engine: &Engine, topic: &metadata::Topic) -> TopicSettings {
    settings(&engine.config.topic, &topic.settings).unwrap_or_else(|error| {
        tracing::error!(
            topic = topic.name,
            error = error.text,
            "the topic's settings are not understood; defaults hold"
        );
        engine.config.topic.clone()
    })
}

fn of_topic(engine: &Engine, error: &TopicError) -> ServiceError {
    let fault = match error {
        TopicError::Exists { .. } => Fault::TopicExists,
        TopicError::Unknown { .. } => Fault::UnknownTopic,
        TopicError::Full { .. } => Fault::StorageFull,
        TopicError::Exhausted(_) => Fault::TooBusy,
        TopicError::Metadata(error) => return of_commit(engine, error),
        TopicError::Io { path, source } => {
            engine.fail(path, source);
            Fault::StorageFailed
        }
    };
    ServiceError::new(fault, error.to_string())
}

fn of_commit(engine: &Engine, error: &CommitError) -> ServiceError {
    let fault = match error {
        CommitError::Conflict(_) | CommitError::TooLarge | CommitError::Impossible => Fault::InvalidRequest,
        CommitError::Full { .. } => Fault::StorageFull,
        CommitError::Io { path, source } => {
            engine.fail(path, source);
            Fault::StorageFailed
        }
    };
    ServiceError::new(fault, error.to_string())
}
