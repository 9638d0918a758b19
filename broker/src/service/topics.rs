//! Topics: made, grown, deleted, found, and their records deleted. What blocks runs on the admin thread.

mod checks;
mod find;
mod following;
pub(crate) mod internal;
mod resuming;

use std::sync::Arc;
use std::time::Instant;

use folio_record::Offset;
use folio_storage::data_dir::{NewTopic, TopicError};
use folio_storage::metadata::{CommitError, PARTITIONS_MAX, Transaction};
use uuid::Uuid;

use crate::engine::{Disk, Engine, now};
use crate::error::{Fault, ServiceError};
use crate::metadata::MetadataStore;
use crate::partition::Partition;

use checks::{check_is_free, check_layout, check_replicas, exists, own_settings, too_many};

pub(crate) use checks::check_name;
pub(crate) use find::{find, list, partition, partition_of, readable, readable_of, with_id};
pub(crate) use following::{follow, open_options};
pub(crate) use resuming::resume;

/// A topic that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) name: String,
    /// How many, or -1: as many as `num.partitions` says.
    pub(crate) partitions: i32,
    /// Of each partition: 1, or -1.
    pub(crate) replicas: i32,
    /// Which brokers are to have which partition; empty: the broker decides.
    pub(crate) assignments: Assignments,
    /// What it sets itself.
    pub(crate) settings: Vec<(String, Option<String>)>,
    /// Only look whether it could be made.
    pub(crate) validate_only: bool,
}

/// Partitions with the brokers that are to have them.
pub(crate) type Assignments = Vec<(i32, Vec<i32>)>;

/// A topic that was made, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Created {
    /// Nil if it was only looked whether it could be.
    pub(crate) id: Uuid,
    pub(crate) partitions: u32,
    /// What it sets itself.
    pub(crate) settings: Vec<(String, String)>,
}

impl Creation {
    /// With the broker's defaults for everything.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: -1,
            replicas: -1,
            assignments: Vec::new(),
            settings: Vec::new(),
            validate_only: false,
        }
    }
}

/// Makes a topic and serves it.
///
/// # Errors
/// The name, which may be taken; the settings, the number of partitions or of replicas, the assignments; the disk.
pub(crate) fn create(engine: &Engine, wanted: Creation) -> Result<Created, ServiceError> {
    let Creation { name, partitions, replicas, assignments, settings, validate_only } = wanted;
    check_name(&name)?;
    check_is_free(engine, &name)?;
    let settings = own_settings(engine, settings)?;
    let partitions = check_layout(engine.config.num_partitions, partitions, replicas, &assignments)?;
    if validate_only {
        return Ok(Created { id: Uuid::nil(), partitions, settings });
    }
    let id = Uuid::new_v4();
    let topic = NewTopic { name: name.clone(), uuid: id, partitions, settings: settings.clone() };
    let store: &dyn MetadataStore = &engine.dir;
    match store.commit(topic.creation(now()), now()) {
        Err(CommitError::Conflict(_)) => return Err(exists(&name)),
        committed => committed.map_err(|error| of_commit(engine, &error))?,
    };
    if let Err(error) = follow(engine) {
        // Half a topic would be in the way of the next attempt. If even this fails, the next start makes it whole.
        let _ = remove(engine, &name);
        return Err(error);
    }
    Ok(Created { id, partitions, settings })
}

/// Gives a topic more partitions: `partitions` in all. Of `assignments` there is one for each that comes new, or none.
///
/// # Errors
/// There is no such topic; that would be no more than it has, or too many; the assignments; the disk.
pub(crate) fn grow(
    engine: &Engine,
    name: &str,
    partitions: i32,
    assignments: Option<&[Vec<i32>]>,
    validate_only: bool,
) -> Result<(), ServiceError> {
    let topic = find(engine, name)?;
    // How many partitions it has says which group is where.
    internal::check_is_clients(name, "add partitions to")?;
    let has = topic.partitions.len();
    let refused = |text: String| Err(ServiceError::new(Fault::InvalidPartitions, text));
    let wanted = match usize::try_from(partitions) {
        Ok(wanted) if wanted > has => wanted,
        Ok(wanted) if wanted == has => return refused(format!("Topic already has {has} partition(s).")),
        _ => {
            return refused(format!(
                "The topic {name} currently has {has} partition(s); {partitions} would not be an increase."
            ));
        }
    };
    let count = u32::try_from(wanted).ok().filter(|count| *count <= PARTITIONS_MAX);
    let Some(count) = count else { return Err(too_many(i64::from(partitions))) };
    if let Some(assignments) = assignments {
        let more = wanted - has;
        if assignments.len() != more {
            let given = assignments.len();
            let text = format!(
                "Attempted to add {more} additional partition(s), but only {given} assignment(s) were specified."
            );
            return Err(ServiceError::new(Fault::InvalidReplicaAssignment, text));
        }
        assignments.iter().try_for_each(|replicas| check_replicas(replicas))?;
    }
    if validate_only {
        return Ok(());
    }
    let transaction = engine.dir.growth(topic.id, count).map_err(|error| of_topic(engine, &error))?;
    commit(engine, transaction)?;
    follow(engine).inspect_err(|_| {
        // It would look as if it had grown. If even this fails, the next start makes what is missing.
        let _ = engine.dir.give_up_growth(topic.id, now());
        let _ = follow(engine);
    })
}

/// Makes a topic that somebody asks for, as such topics are by default, if nobody else has made it by now.
///
/// # Errors
/// See [`create`].
pub(crate) fn create_on_demand(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    if find(engine, name).is_ok() {
        return Ok(());
    }
    create(engine, Creation::new(name)).map(drop)
}

/// Deletes a topic with its records.
///
/// # Errors
/// There is none, or it is the broker's own; the disk.
pub(crate) fn delete(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    internal::check_is_clients(&find(engine, name)?.name, "delete")?;
    remove(engine, name)
}

fn remove(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    let (_, transaction) = engine.dir.deletion(name).map_err(|error| of_topic(engine, &error))?;
    let store: &dyn MetadataStore = &engine.dir;
    match store.commit(transaction, now()) {
        Err(CommitError::Conflict(_)) => Err(ServiceError::unknown_topic(name)),
        Err(error) => Err(of_commit(engine, &error)),
        Ok(_) => follow(engine),
    }
}

/// Deletes the records of a partition before an offset, by default all that consumers may see. Says where it begins
/// then. That is on stable storage; files that hold nothing else go a little later.
///
/// # Errors
/// Nobody may see so far; the topic keeps the last record of each key, or is the broker's own; the disk. Where the log
/// could not be made to begin there for now, it is one that clients try again.
pub(crate) fn delete_records(
    engine: &Engine,
    partition: &Arc<Partition<Disk>>,
    before: Option<Offset>,
) -> Result<Offset, ServiceError> {
    if engine.health.has_failed() {
        return Err(ServiceError::storage_failed());
    }
    internal::check_is_clients(&partition.topic, "delete records of")?;
    let policy = partition.settings.load().cleanup;
    if policy.compacts && !policy.deletes {
        let text = format!(
            "topic {:?} keeps the last record of each key: cleanup.policy has no delete",
            partition.topic
        );
        return Err(ServiceError::new(Fault::PolicyViolation, text));
    }
    let log = &partition.log;
    let high_watermark = log.high_watermark();
    let before = before.unwrap_or(high_watermark);
    if before < Offset::ZERO || before > high_watermark {
        let text = format!("offset {before} is not between 0 and the high watermark, {high_watermark}");
        return Err(ServiceError::new(Fault::OffsetOutOfRange, text));
    }
    let raised = engine.dir.raise_log_start(log, before, now(), Instant::now()).map_err(|error| {
        engine.fail_of(partition, &error.path, &error.source);
        partition.refusal().unwrap_or_else(ServiceError::storage_failed)
    })?;
    // Whoever waits for more behind an offset that is gone is to know.
    engine.announce(std::slice::from_ref(partition), None);
    if raised >= before {
        return Ok(raised);
    }
    // What was to go is not durable yet: no descriptor was left to flush it by, or its files are gone. Or there was no
    // room to write down that it goes.
    if log.is_given_up() {
        engine.taken_away(partition, log.dir());
    }
    Err(partition.refusal().unwrap_or_else(|| {
        let text = format!("records below {before} cannot be deleted now: the log begins at {raised}");
        ServiceError::new(Fault::Unavailable, text)
    }))
}

/// Makes a transaction on what was read a moment ago.
pub(super) fn commit(engine: &Engine, transaction: Transaction) -> Result<(), ServiceError> {
    let store: &dyn MetadataStore = &engine.dir;
    store.commit(transaction, now()).map(drop).map_err(|error| of_commit(engine, &error))
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

pub(crate) fn of_commit(engine: &Engine, error: &CommitError) -> ServiceError {
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
