use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::config::DurabilityClass;

fn of(set: &[(&str, &str)]) -> Result<TopicSettings, String> {
    let set: Vec<_> = set.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    settings_of(&TopicSettings::default(), &set)
}

/// The names of Kafka 4.4 that are not internal, with type and default, as its clients are told them.
const KAFKA: &[(&str, &str, &str)] = &[
    ("cleanup.policy", "LIST", "delete"),
    ("compression.gzip.level", "INT", "-1"),
    ("compression.lz4.level", "INT", "9"),
    ("compression.type", "STRING", "producer"),
    ("compression.zstd.level", "INT", "3"),
    ("delete.retention.ms", "LONG", "86400000"),
    ("errors.deadletterqueue.group.enable", "BOOLEAN", "false"),
    ("file.delete.delay.ms", "LONG", "60000"),
    ("flush.messages", "LONG", "9223372036854775807"),
    ("flush.ms", "LONG", "9223372036854775807"),
    ("follower.replication.throttled.replicas", "LIST", ""),
    ("index.interval.bytes", "INT", "4096"),
    ("leader.replication.throttled.replicas", "LIST", ""),
    ("local.retention.bytes", "LONG", "-2"),
    ("local.retention.ms", "LONG", "-2"),
    ("max.compaction.lag.ms", "LONG", "9223372036854775807"),
    ("max.decompressed.message.bytes", "INT", "2147483639"),
    ("max.message.bytes", "INT", "1048588"),
    ("message.timestamp.after.max.ms", "LONG", "3600000"),
    ("message.timestamp.before.max.ms", "LONG", "9223372036854775807"),
    ("message.timestamp.type", "STRING", "CreateTime"),
    ("min.cleanable.dirty.ratio", "DOUBLE", "0.5"),
    ("min.compaction.lag.ms", "LONG", "0"),
    ("min.insync.replicas", "INT", "1"),
    ("preallocate", "BOOLEAN", "false"),
    ("remote.copy.lag.bytes", "LONG", "-1"),
    ("remote.copy.lag.ms", "LONG", "0"),
    ("remote.log.copy.disable", "BOOLEAN", "false"),
    ("remote.log.delete.on.disable", "BOOLEAN", "false"),
    ("remote.storage.enable", "BOOLEAN", "false"),
    ("retention.bytes", "LONG", "-1"),
    ("retention.ms", "LONG", "604800000"),
    ("segment.bytes", "INT", "1073741824"),
    ("segment.index.bytes", "INT", "10485760"),
    ("segment.jitter.ms", "LONG", "0"),
    ("segment.ms", "LONG", "604800000"),
    ("unclean.leader.election.enable", "BOOLEAN", "false"),
];

#[test]
fn the_table_is_kafkas_and_two_of_our_own() {
    let of_kafka = TOPIC_KEYS.iter().filter(|key| !["durability", "flush.bytes"].contains(&key.name));
    let mut known: Vec<_> = of_kafka.map(|key| (key.name, key.kind.name(), key.default)).collect();
    known.sort_unstable();
    assert_eq!(known, KAFKA);
    let names: BTreeSet<_> = TOPIC_KEYS.iter().filter_map(|key| key.broker_name).map(|of| of.name).collect();
    assert_eq!(names.len(), 31, "no two have one name in the broker's settings");
}

#[test]
fn every_default_is_valid_and_what_holds_where_nothing_is_set() {
    let defaults = TopicSettings::default();
    for key in TOPIC_KEYS {
        let parsed = key.parse(key.default).unwrap();
        assert_eq!(parsed.write(), key.default, "{}", key.name);
        assert_eq!(key.get(&defaults), key.default, "{}", key.name);
        let mut taken = defaults.clone();
        key.take(&mut taken, &parsed);
        assert_eq!(taken, defaults, "{}", key.name);
        assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}", key.name);
    }
}

#[test]
fn values_are_refused_in_kafkas_words() {
    for (name, value, why) in [
        ("retention.ms", "soon", "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("retention.ms", "", "Not a number of type LONG"),
        ("segment.bytes", "100", "Value must be at least 1048576"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        ("segment.bytes", "1e6", "Not a number of type INT"),
        ("segment.ms", "0", "Value must be at least 1"),
        ("cleanup.policy", "keep", "String must be one of: compact, delete"),
        (
            "compression.type",
            "lzma",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("compression.lz4.level", "18", "Value must be no more than 17"),
        ("compression.zstd.level", "23", "Value must be no more than 22"),
        ("message.timestamp.type", "now", "String must be one of: CreateTime, LogAppendTime"),
        ("min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"),
        ("min.cleanable.dirty.ratio", "x", "Not a number of type DOUBLE"),
        ("min.cleanable.dirty.ratio", "NaN", "Not a number of type DOUBLE"),
        ("preallocate", "yes", "Expected value to be either true or false"),
        ("max.decompressed.message.bytes", "0", "Value must be at least 1"),
        ("delete.retention.ms", "1.5", "Not a number of type LONG"),
        ("durability", "always", "String must be one of: fsync, interval, os"),
    ] {
        let refused = of(&[(name, value)]).unwrap_err();
        assert_eq!(refused, format!("Invalid value {value} for configuration {name}: {why}"));
    }
    for (name, value, whole) in [
        ("cleanup.policy", "compact,,delete", "Configuration 'cleanup.policy' values must not be empty."),
        (
            "leader.replication.throttled.replicas",
            "x",
            "Invalid value [x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
             format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
        ("no.such", "1", "Unknown topic config name: no.such"),
        ("retention.mss", "1", "Unknown topic config name: retention.mss; did you mean retention.ms?"),
    ] {
        assert_eq!(of(&[(name, value)]).unwrap_err(), whole);
    }
    assert_eq!(
        of(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]).unwrap_err(),
        "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
    );
}

#[test]
fn what_kafka_takes_is_taken() {
    for (name, value, shown) in [
        ("cleanup.policy", "", ""),
        ("cleanup.policy", "delete, compact", "delete,compact"),
        ("cleanup.policy", "delete,delete", "delete,delete"),
        ("preallocate", "TRUE", "true"),
        ("retention.ms", " 77 ", "77"),
        ("retention.bytes", "-5", "-5"),
        ("min.insync.replicas", "3", "3"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("leader.replication.throttled.replicas", "*", "*"),
        ("follower.replication.throttled.replicas", "0:1,1:1", "0:1,1:1"),
        ("segment.bytes", "2147483647", "2147483647"),
        ("internal.segment.bytes", "5000", "5000"),
    ] {
        assert_eq!(topic_key(name).unwrap().parse(value).unwrap().write(), shown, "{name} = {value}");
        of(&[(name, value)]).unwrap();
    }
}

#[test]
fn kafkas_flush_settings_and_durability_agree() {
    use DurabilityClass::{Fsync, Interval, Os};
    for (set, durability, interval_ms) in [
        (&[][..], Fsync, 50),
        (&[("durability", "os")], Os, 50),
        (&[("durability", "os"), ("flush.messages", "1")], Fsync, 50),
        (&[("durability", "interval"), ("flush.messages", "1")], Fsync, 50),
        (&[("durability", "os"), ("flush.messages", "7")], Interval, 50),
        (&[("durability", "os"), ("flush.ms", "900")], Interval, 900),
        (&[("durability", "interval")], Interval, 50),
        (&[("durability", "interval"), ("flush.ms", "7")], Interval, 7),
        (&[("durability", "interval"), ("flush.ms", "9223372036854775807")], Interval, 50),
        (&[("flush.ms", "900")], Fsync, 900),
    ] {
        let settings = of(set).unwrap();
        let expected = (durability, Duration::from_millis(interval_ms));
        assert_eq!((settings.durability(), settings.flush_interval()), expected, "{set:?}");
    }
}

#[test]
fn small_segments_are_small_whatever_else_is_said() {
    for set in [
        [("internal.segment.bytes", "5000"), ("segment.bytes", "2000000")],
        [("segment.bytes", "2000000"), ("internal.segment.bytes", "5000")],
    ] {
        assert_eq!(of(&set).unwrap().segment_bytes, 5000);
    }
}
