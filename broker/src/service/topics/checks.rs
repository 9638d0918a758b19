//! What a topic may be: its name, its settings, how many partitions it has and where.

use std::collections::BTreeSet;

use folio_storage::metadata::{PARTITIONS_MAX, TOPIC_NAME_LEN_MAX, is_topic_name};

use super::Assignments;
use crate::config::topic_keys;
use crate::engine::{Engine, NODE_ID};
use crate::error::{Fault, ServiceError};

/// What a new topic sets itself, as it is stored.
pub(super) fn own_settings(
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
pub(super) fn check_layout(
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

pub(super) fn too_many(partitions: i64) -> ServiceError {
    ServiceError::new(
        Fault::InvalidPartitions,
        format!("{partitions} partitions; 1 to {PARTITIONS_MAX} are possible"),
    )
}

/// Whether one partition may be with these brokers: with this one alone.
pub(super) fn check_replicas(replicas: &[i32]) -> Result<(), ServiceError> {
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
pub(super) fn check_is_free(engine: &Engine, name: &str) -> Result<(), ServiceError> {
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

pub(super) fn exists(name: &str) -> ServiceError {
    ServiceError::new(Fault::TopicExists, format!("Topic '{name}' already exists."))
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
