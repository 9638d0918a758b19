//! Claims about agreement with others: the crate kafka-protocol for most versions, and for all of them the
//! message classes of Kafka 4.4 itself, whose bytes and whose JSON of them stand in `kafka-4.4.txt`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::every_message::MESSAGES;
use crate::kafka::specimen::Dice;
use crate::kafka::*;

/// `Message version hex json`, a line each: the bytes that `org.apache.kafka.common.message.*Data` of
/// kafka-clients 4.4.0 writes, and what its `*DataJsonConverter` says of them.
static KAFKAS_OWN: &str = include_str!("kafka-4.4.txt");

/// What kafka-protocol 0.18, made for Kafka 4.1, lacks; only Kafka's own bytes vouch for it.
const WITHOUT_ORACLE: &[(ApiKey, i16)] = &[
    (ApiKey::ApiVersions, 5),
    (ApiKey::DeleteGroups, 3),
    (ApiKey::DescribeLogDirs, 5),
    (ApiKey::ListOffsets, 11),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
];

#[test]
fn the_oracle_lacks_what_the_table_says_and_no_more() {
    let lacking: BTreeSet<(ApiKey, i16)> = MESSAGES
        .iter()
        .flat_map(|message| message.each_version().map(move |version| (message, version)))
        .filter(|(message, version)| !message.oracle_versions.contains(*version))
        .map(|(message, version)| (message.api, version))
        .collect();
    assert_eq!(lacking, WITHOUT_ORACLE.iter().copied().collect());
}

proptest! {
    #[test]
    fn random_messages_of_every_version_are_the_oracles_to_the_byte(seed: u64) {
        for message in MESSAGES {
            for version in message.each_version().filter(|version| message.oracle_versions.contains(*version)) {
                let bytes = (message.specimen)(&mut Dice(seed), version);
                prop_assert_eq!((message.oracle_again)(&bytes, version), bytes, "{} {}", message.name, version);
            }
        }
    }
}

#[test]
fn kafkas_own_bytes_say_what_kafka_says_and_are_written_again_to_the_byte() {
    let mut seen = BTreeSet::new();
    for line in KAFKAS_OWN.lines() {
        let mut words = line.splitn(4, ' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        let (bytes, said) = (unhex(words.next().unwrap()), words.next().unwrap());
        let message = MESSAGES.iter().find(|message| message.name == name).unwrap();
        seen.insert((name, version));

        assert_eq!((message.again)(&bytes, version).unwrap(), bytes, "{name} {version}");
        let mut ours = (message.json)(&bytes, version);
        forget_records(&mut ours);
        assert_eq!(ours, serde_json::from_str::<Value>(said).unwrap(), "{name} {version}");
    }
    for message in MESSAGES {
        for version in message.each_version() {
            assert!(seen.contains(&(message.name, version)), "{} {version}", message.name);
        }
    }
}

/// Kafka's JSON leaves the bytes of records out.
fn forget_records(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(forget_records),
        Value::Object(members) => {
            for (name, member) in members {
                if name == "records" && member.is_string() {
                    *member = "".into();
                }
                forget_records(member);
            }
        }
        _ => {}
    }
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
