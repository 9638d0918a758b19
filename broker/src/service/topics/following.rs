//! Topics as the metadata says they are: directories and view follow its events. Nothing else changes them, but that a
//! partition goes offline, or comes back.

use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use folio_storage::LogOptions;
use folio_storage::metadata;
use folio_storage::partition::PartitionId;
use uuid::Uuid;

use super::{internal, of_topic};
use crate::config::topic_keys::{self, Effect};
use crate::config::{Config, TopicSettings};
use crate::defaults::{Defaults, value_in};
use crate::engine::{Disk, Engine, log_options, now};
use crate::error::ServiceError;
use crate::metadata::Wanted;
use crate::partition::Partition;
use crate::threads::flusher::FlushRequest;
use crate::threads::groups::GroupJob;
use crate::threads::reaper::Retired;
use crate::view::{Served, Topic};

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
        if changes.of_all.is_some() || changes.of_this.is_some() {
            set_defaults(engine, changes.of_all, changes.of_this);
        }
        for (id, topic) in changes.topics {
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
    let options = log_options(&engine.config, &settings_of(engine, topic));
    engine.dir.make_partitions(id, &options, now()).map_err(|error| of_topic(engine, &error))?;
    Ok(())
}

/// Serves a topic, or what is new of one that is served: settings, partitions.
fn serve(engine: &Engine, id: Uuid, topic: &metadata::Topic) {
    let settings = settings_of(engine, topic);
    let served = engine.view.load().with_id(id).cloned();
    say_what_does_nothing(topic, served.as_deref());
    let shared = match &served {
        Some(served) => {
            hold(engine, served, settings);
            Arc::clone(&served.settings)
        }
        None => {
            // The defaults may be others than those that it was opened with.
            for log in (0..topic.partitions)
                .filter_map(|partition| engine.dir.log(PartitionId { topic: id, partition }))
            {
                log.set_options(log_options(&engine.config, &settings));
            }
            Arc::new(ArcSwap::from_pointee(settings))
        }
    };
    let name: Arc<str> = topic.name.as_str().into();
    let mut partitions = served.as_ref().map_or_else(Vec::new, |served| served.partitions.clone());
    let first = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
    partitions.extend((first..topic.partitions).map(|number| {
        let partition = PartitionId { topic: id, partition: number };
        let open =
            |log| Partition::new(Arc::clone(&name), number, log, Arc::clone(&shared), engine.lanes.len());
        match engine.dir.log(partition) {
            Some(log) => Served::Leader(Arc::new(open(log))),
            None => {
                let why = engine.offline.get(&partition).cloned();
                let why = why.unwrap_or_else(|| "it could not be opened".into());
                match engine.dir.log_below(partition) {
                    Some(log) => Served::Below(Arc::new(open(log).below(Arc::clone(&why))), why),
                    None => Served::Offline(why),
                }
            }
        }
    }));
    let is_new = served.is_none();
    let topic = Arc::new(Topic { id, name, partitions, settings: shared, own: topic.settings.clone() });
    engine.view.rcu(|view| view.with(Arc::clone(&topic)));
    if is_new && *topic.name == *internal::OFFSETS {
        engine.groups.send([GroupJob::Host(topic)]);
    }
}

/// Lets new settings hold of a topic that is served, also of what is on its way.
fn hold(engine: &Engine, topic: &Topic<Disk>, settings: TopicSettings) {
    if **topic.settings.load() == settings {
        return;
    }
    // Logs go first: until a log flushes before it shows, nobody is told that it does.
    topic.online().for_each(|partition| partition.log.set_options(log_options(&engine.config, &settings)));
    topic.settings.store(Arc::new(settings));
    // What waits for a flush may be seen now, and what is to be flushed may be due at another time.
    let partitions: Vec<_> = topic.online().cloned().collect();
    engine.announce(&partitions, None);
    engine.flusher.send([FlushRequest::Look]);
}

/// Lets other defaults hold of all topics.
fn set_defaults(
    engine: &Engine,
    of_all: Option<Vec<(String, String)>>,
    of_this: Option<Vec<(String, String)>>,
) {
    let before = Arc::clone(engine.view.load().defaults());
    let of_all = of_all.unwrap_or_else(|| before.of_all.clone());
    let of_this = of_this.unwrap_or_else(|| before.of_this.clone());
    let defaults = Arc::new(Defaults::new(&engine.config.topic, of_all, of_this));
    engine.view.rcu(|view| view.with_defaults(&defaults));
    for topic in engine.view.load().topics() {
        hold(engine, topic, understood(&defaults.topic, &topic.name, &topic.own));
    }
}

/// Settings from which nothing follows: whoever set them had better know, once.
fn say_what_does_nothing(topic: &metadata::Topic, served: Option<&Topic<Disk>>) {
    let is_new =
        |key: &str, value: &str| served.is_none_or(|served| value_in(&served.own, key) != Some(value));
    for (key, value) in topic.settings.iter().filter(|(key, value)| is_new(key, value)) {
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
        topic.readable().for_each(|partition| partition.set_deleted());
        // What was not flushed need not be any more. Whoever waits for room waits for that, and its files stay until
        // the flusher lets go of them.
        engine.flusher.send([FlushRequest::Look]);
    }
    engine.dir.remove_partitions(id).map_err(|error| of_topic(engine, &error))?;
    if let Some(topic) = topic {
        let partitions: Vec<_> = topic.readable().cloned().collect();
        engine.announce(&partitions, None);
        let logs = partitions.iter().map(|one| Arc::clone(&one.log) as Retired);
        let shells = partitions.iter().map(|one| Arc::clone(one) as Retired);
        engine.reaper.send(shells.chain(logs).collect::<Vec<_>>());
        engine.groups.send([GroupJob::TopicDeleted(Arc::clone(&topic.name))]);
    }
    Ok(())
}

/// How a topic's logs are opened, before anybody knows what was set for brokers.
pub(crate) fn open_options(config: &Config, topic: &metadata::Topic) -> LogOptions {
    let settings = topic_keys::settings_of(&config.topic, &topic.settings);
    let settings = settings.unwrap_or_else(|_| config.topic.clone());
    log_options(config, &internal::imposed(&topic.name, settings))
}

pub(super) fn settings_of(engine: &Engine, topic: &metadata::Topic) -> TopicSettings {
    understood(&engine.view.load().defaults().topic, &topic.name, &topic.settings)
}

/// A setting that this build refuses was accepted by another: the default holds, and the log says so.
fn understood(defaults: &TopicSettings, topic: &str, own: &[(String, String)]) -> TopicSettings {
    let settings = topic_keys::settings_of(defaults, own).unwrap_or_else(|error| {
        tracing::error!(topic, error, "the topic's settings are not understood; defaults hold");
        defaults.clone()
    });
    internal::imposed(topic, settings)
}
