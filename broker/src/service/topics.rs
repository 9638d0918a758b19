//! Topics: made, grown, deleted, found, and their records deleted. What blocks runs on the admin thread.

mod following;
pub(crate) mod internal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use folio_record::Offset;
use folio_storage::data_dir::{NewTopic, TopicError};
use folio_storage::metadata::{CommitError, PARTITIONS_MAX, TOPIC_NAME_LEN_MAX, Transaction, is_topic_name};
use uuid::Uuid;

use crate::config::topic_keys;
use crate::engine::{Disk, Engine, NODE_ID, now};
use crate::error::{Fault, ServiceError};
use crate::metadata::MetadataStore;
use crate::partition::Partition;
use crate::view::{Served, Topic};

pub(crate) use following::{follow, open_options};

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
/// Nobody may see so far; the topic keeps the last record of each key, or is the broker's own; the disk.
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
        if partition.is_deleted() {
            return ServiceError::unknown_topic(&partition.topic);
        }
        engine.fail(&error.path, &error.source);
        ServiceError::storage_failed()
    })?;
    // Whoever waits for more behind an offset that is gone is to know.
    engine.announce(std::slice::from_ref(partition), None);
    Ok(raised)
}

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

/// What a new topic sets itself, as it is stored.
fn own_settings(
    engine: &Engine,
    settings: Vec<(String, Option<String>)>,
) -> Result<Vec<(String, String)>, ServiceError> {
    let invalid = |text: String| ServiceError::new(Fault::InvalidConfig, text);
    let settings = settings.into_iter().map(|(key, value)| match value {
        Some(value) => Ok((key, value)),
        None => Err(invalid(format!("Null value not supported for topic configs: {key}"))),
    });
    let settings = topic_keys::canonical(&settings.collect::<Result<Vec<_>, _>>()?).map_err(invalid)?;
    let view = engine.view.load();
    topic_keys::settings_of(&view.defaults().topic, &settings).map_err(invalid)?;
    Ok(settings)
}

/// How many partitions there are to be.
fn check_layout(
    default: u32,
    partitions: i32,
    replicas: i32,
    assignments: &Assignments,
) -> Result<u32, ServiceError> {
    if !assignments.is_empty() {
        let wrong = |text: &str| Err(ServiceError::new(Fault::InvalidRequest, text));
        if replicas != -1 {
            return wrong(
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            );
        }
        if partitions != -1 {
            return wrong(
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            );
        }
        assignments.iter().try_for_each(|(_, replicas)| check_replicas(replicas))?;
        let numbers: BTreeSet<i64> = assignments.iter().map(|(number, _)| i64::from(*number)).collect();
        if !numbers.into_iter().eq(0..assignments.len() as i64) {
            let text = "partitions should be a consecutive 0-based integer sequence";
            return Err(ServiceError::new(Fault::InvalidReplicaAssignment, text));
        }
        return check_count(assignments.len() as i64);
    }
    let no_factor = |text: String| Err(ServiceError::new(Fault::InvalidReplicationFactor, text));
    match replicas {
        -1 | 1 => {}
        2.. => {
            return no_factor(format!(
                "Unable to replicate the partition {replicas} time(s): The target replication factor of {replicas} \
                 cannot be reached because only 1 broker(s) are registered or some brokers have all their log \
                 directories cordoned."
            ));
        }
        _ => {
            return no_factor(
                "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
            );
        }
    }
    match partitions {
        -1 => Ok(default),
        count => check_count(i64::from(count)),
    }
}

fn check_count(partitions: i64) -> Result<u32, ServiceError> {
    match u32::try_from(partitions) {
        Ok(count @ 1..=PARTITIONS_MAX) => Ok(count),
        Ok(1..) => Err(too_many(partitions)),
        _ => Err(ServiceError::new(
            Fault::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )),
    }
}

fn too_many(partitions: i64) -> ServiceError {
    ServiceError::new(
        Fault::InvalidPartitions,
        format!("{partitions} partitions; 1 to {PARTITIONS_MAX} are possible"),
    )
}

/// Whether one partition may be with these brokers: with this one alone.
fn check_replicas(replicas: &[i32]) -> Result<(), ServiceError> {
    let this = i32::try_from(NODE_ID).unwrap_or(i32::MAX);
    let wrong = |text: String| Err(ServiceError::new(Fault::InvalidReplicaAssignment, text));
    match replicas {
        [] => wrong("The manual partition assignment includes an empty replica list.".to_owned()),
        [one] if *one == this => Ok(()),
        several => match several.iter().find(|one| **one != this) {
            Some(other) => wrong(format!(
                "The manual partition assignment includes broker {other}, but no such broker is registered."
            )),
            None => {
                wrong(format!("The manual partition assignment includes the broker {this} more than once."))
            }
        },
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), ServiceError> {
    if is_topic_name(name) {
        return Ok(());
    }
    let why = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.len() > TOPIC_NAME_LEN_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}")
        }
        _ => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
    };
    Err(ServiceError::new(Fault::InvalidTopicName, format!("Topic name is invalid: {why}")))
}

/// Whether there is no topic of this name, nor one that looks the same where `.` becomes `_`, as in metrics.
fn check_is_free(engine: &Engine, name: &str) -> Result<(), ServiceError> {
    let view = engine.view.load();
    if view.named(name).is_some() {
        return Err(exists(name));
    }
    let looks = |name: &str| name.replace('.', "_");
    let same = view.topics().find(|topic| looks(&topic.name) == looks(name));
    same.map_or(Ok(()), |other| {
        let text = format!("Topic '{name}' collides with existing topic: {}", other.name);
        Err(ServiceError::new(Fault::InvalidTopicName, text))
    })
}

fn exists(name: &str) -> ServiceError {
    ServiceError::new(Fault::TopicExists, format!("Topic '{name}' already exists."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_replicas_are_those_that_one_node_can_have() {
        let layout = |partitions, replicas, assignments: &[(i32, &[i32])]| {
            let assignments =
                assignments.iter().map(|(number, replicas)| (*number, replicas.to_vec())).collect();
            check_layout(7, partitions, replicas, &assignments).map_err(|error| error.fault)
        };
        use Fault::{InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor, InvalidRequest};
        for (partitions, replicas, expected) in [
            (-1, -1, Ok(7)),
            (3, 1, Ok(3)),
            (10_000, -1, Ok(10_000)),
            (0, 1, Err(InvalidPartitions)),
            (-2, 1, Err(InvalidPartitions)),
            (10_001, 1, Err(InvalidPartitions)),
            (1, 0, Err(InvalidReplicationFactor)),
            (1, 2, Err(InvalidReplicationFactor)),
            (1, -2, Err(InvalidReplicationFactor)),
        ] {
            assert_eq!(layout(partitions, replicas, &[]), expected, "{partitions}, {replicas}");
        }
        for (assignments, expected) in [
            (&[(0, &[1][..]), (1, &[1])][..], Ok(2)),
            (&[(1, &[1]), (0, &[1])], Ok(2)),
            (&[(0, &[2])], Err(InvalidReplicaAssignment)),
            (&[(0, &[1, 1])], Err(InvalidReplicaAssignment)),
            (&[(0, &[])], Err(InvalidReplicaAssignment)),
            (&[(0, &[1]), (2, &[1])], Err(InvalidReplicaAssignment)),
            (&[(0, &[1]), (0, &[1])], Err(InvalidReplicaAssignment)),
        ] {
            assert_eq!(layout(-1, -1, assignments), expected, "{assignments:?}");
        }
        assert_eq!(layout(1, -1, &[(0, &[1])]), Err(InvalidRequest));
        assert_eq!(layout(-1, 1, &[(0, &[1])]), Err(InvalidRequest));
    }

    #[test]
    fn names_are_refused_in_kafkas_words() {
        for (name, why) in [
            ("", "the empty string is not allowed"),
            (".", "'.' is not allowed"),
            ("..", "'..' is not allowed"),
            ("a b", "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ] {
            assert_eq!(check_name(name).unwrap_err().text, format!("Topic name is invalid: {why}"));
        }
        let long = "x".repeat(TOPIC_NAME_LEN_MAX + 1);
        let text = check_name(&long).unwrap_err().text;
        assert!(text.ends_with("' is longer than the max allowed length 249"), "{text}");
        assert!(check_name("a-B_9.c").is_ok());
    }
}
