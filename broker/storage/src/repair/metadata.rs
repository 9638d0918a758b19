//! The metadata log from the partitions: each `partition.meta` names a topic's uuid, its directory the topic's name.
//! What can still be read of the damaged log gives the settings of topics and of the broker, and what was replaced in
//! groups.
//!
//! Which producer ids were given away last cannot be known from a damaged log, and one that is given twice makes a new
//! producer's records look like an old one's: duplicates, that are not stored again. So they go on far above any that
//! was ever counted up to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::Timestamp;
use uuid::Uuid;

use super::apply::aside as apply_aside;
use super::plan::Plan;
use super::{RepairError, RepairOptions, at};
use crate::files::{Files, OpenMode};
use crate::metadata::{
    Key, METADATA_LOG_NAME, MetadataLog, Operation, State, Topic, TopicPhase, Transaction, Value,
    is_topic_name, salvage,
};
use crate::slots::{METADATA, SLOTS_NAME, SlotsFile};

/// Moves the damaged log away and writes a new one.
pub(super) fn rebuild<F: Files>(
    files: &Arc<F>,
    plan: &Plan,
    slots: &mut SlotsFile<F>,
    options: &RepairOptions,
) -> Result<(), RepairError> {
    let path = Path::new(METADATA_LOG_NAME);
    let io = at(&**files, path);
    let known = match files.open(path, OpenMode::Read) {
        Ok(file) => salvage(&file).map_err(&io)?,
        Err(_) => State::default(),
    };
    let topics = topics(plan, &known, options)?;
    // The new log begins with offset 0 again; a start gives it its own durable point.
    slots.forget(METADATA).map_err(at(&**files, Path::new(SLOTS_NAME)))?;
    apply_aside(&**files, path, "the damaged metadata log", options)?;
    MetadataLog::create(&**files).map_err(&io)?;
    let unmended = |error: &dyn std::fmt::Display| RepairError::Unmended {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let found = MetadataLog::find(Arc::clone(files)).map_err(|error| unmended(&error))?;
    let (mut log, _) = found.open(options.build.clone(), options.now).map_err(|error| unmended(&error))?;
    let mut commit = |operations| {
        let transaction = Transaction { compares: Vec::new(), operations };
        log.commit(transaction, options.now).map_err(|error| unmended(&error))
    };
    for (uuid, topic) in topics {
        let mut operations = Vec::new();
        if topic.phase == TopicPhase::Live {
            operations.push(Operation::Put(Key::TopicName(topic.name.clone()), Value::TopicName(uuid)));
        }
        operations.push(Operation::Put(Key::Topic(uuid), Value::Topic(topic)));
        commit(operations)?;
    }
    let kept = known.present().filter(|entry| matches!(entry.key, Key::Broker(_) | Key::GroupHistory(_)));
    for entry in kept {
        commit(vec![Operation::Put(entry.key, entry.value)])?;
    }
    let next = Value::ProducerIds(fresh_producer_id(&known, options.now));
    commit(vec![Operation::Put(Key::ProducerIds, next)])?;
    Ok(())
}

/// A producer id above all that were given away, whoever gave them: ids are counted up from 0, a thousand at a time,
/// and no broker gives a million of them away in each millisecond of its life.
fn fresh_producer_id(known: &State, now: Timestamp) -> i64 {
    let next = match known.get(&Key::ProducerIds).map(|entry| entry.value) {
        Some(Value::ProducerIds(next)) => next,
        _ => 0,
    };
    let last = now.get().max(next >> IDS_PER_MS_BITS).min((i64::MAX >> IDS_PER_MS_BITS) - 1);
    (last + 1) << IDS_PER_MS_BITS
}

const IDS_PER_MS_BITS: u32 = 20;

/// The topics that the directories tell.
fn topics(plan: &Plan, known: &State, options: &RepairOptions) -> Result<BTreeMap<Uuid, Topic>, RepairError> {
    let known: BTreeMap<Uuid, Topic> = known.topics().collect();
    let mut found: BTreeMap<Uuid, (String, PathBuf, Vec<u32>)> = BTreeMap::new();
    for (dir, partition) in &plan.needs.partitions {
        let id = partition.meta.id;
        let file_name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = file_name.strip_suffix(&format!("-{}", id.partition)).unwrap_or_default().to_owned();
        if !is_topic_name(&name) {
            let reason = format!("it is partition {} of a topic, and its name does not say so", id.partition);
            return Err(RepairError::Unmended { path: dir.clone(), reason });
        }
        let (first_name, _, partitions) =
            found.entry(id.topic).or_insert_with(|| (name.clone(), dir.clone(), Vec::new()));
        if *first_name != name {
            let reason = format!("another partition of its topic is called {first_name}");
            return Err(RepairError::Unmended { path: dir.clone(), reason });
        }
        partitions.push(id.partition);
    }
    let mut by_name: BTreeMap<&str, &PathBuf> = BTreeMap::new();
    for (name, dir, _) in found.values() {
        if let Some(first) = by_name.insert(name, dir) {
            let (name, first, second) = (name.clone(), first.clone(), dir.clone());
            return Err(RepairError::Ambiguous { name, first, second });
        }
    }
    let topics = found.into_iter().map(|(uuid, (name, _, partitions))| {
        let known = known.get(&uuid);
        let last = partitions.iter().max().map_or(0, |last| last + 1);
        let count = known.map_or(last, |topic| topic.partitions.max(last));
        // Those that are not there, and those behind them, are made where they are missing.
        let ready = (0..count).find(|number| !partitions.contains(number)).unwrap_or(count);
        let topic = Topic {
            name,
            partitions: count,
            partitions_ready: ready,
            settings: known.map(|topic| topic.settings.clone()).unwrap_or_default(),
            created_ms: known.map_or(options.now.get(), |topic| topic.created_ms),
            phase: known.map_or(TopicPhase::Live, |topic| topic.phase),
        };
        (uuid, topic)
    });
    let mut topics: BTreeMap<Uuid, Topic> = topics.collect();
    if plan.knows_too_little {
        // What it does know is so. Of a damaged one that cannot be said: what is missing may be that a topic is
        // deleted.
        for (uuid, topic) in known {
            topics.entry(uuid).or_insert(topic);
        }
    }
    Ok(topics)
}
