//! Golden bytes, agreement with kafka-protocol, and what hostile bytes cannot do.

use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;

/// `name version hex`: what `ConsumerProtocol.serializeSubscription` and `serializeAssignment` of kafka-clients 4.4.0
/// write of the messages that [`kafkas_own_bytes_are_read_and_written`] makes.
const KAFKAS_OWN: &str = "\
subscription 0 000000000002000161000162000000020708
bare 0 000000000001000174ffffffff
assignment 0 00000000000200016200000002000000020000000000016100000001000000010000000109
nothing 0 000000000000ffffffff
subscription 1 000100000002000161000162000000020708000000020001610000000100000001000162000000020000000000000002
bare 1 000100000001000174ffffffff00000000
assignment 1 00010000000200016200000002000000020000000000016100000001000000010000000109
nothing 1 000100000000ffffffff
subscription 2 00020000000200016100016200000002070800000002000161000000010000000100016200000002000000000000000200000005
bare 2 000200000001000174ffffffff00000000ffffffff
assignment 2 00020000000200016200000002000000020000000000016100000001000000010000000109
nothing 2 000200000000ffffffff
subscription 3 00030000000200016100016200000002070800000002000161000000010000000100016200000002000000000000000200000005000172
bare 3 000300000001000174ffffffff00000000ffffffffffff
assignment 3 00030000000200016200000002000000020000000000016100000001000000010000000109
nothing 3 000300000000ffffffff";

fn of(topic: &str, partitions: impl Into<Vec<i32>>) -> TopicPartitions<'_> {
    TopicPartitions { topic, partitions: partitions.into() }
}

fn full() -> Subscription<'static> {
    Subscription {
        topics: vec!["a", "b"],
        user_data: Some(&[7, 8]),
        owned: vec![of("a", [1]), of("b", [0, 2])],
        generation: 5,
        rack: Some("r"),
    }
}

/// What is left of it in a version.
fn as_of(mut subscription: Subscription<'_>, version: i16) -> Subscription<'_> {
    if version < 1 {
        subscription.owned.clear();
    }
    if version < 2 {
        subscription.generation = -1;
    }
    if version < 3 {
        subscription.rack = None;
    }
    subscription
}

#[test]
fn kafkas_own_bytes_are_read_and_written() {
    for line in KAFKAS_OWN.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let version: i16 = words[1].parse().unwrap();
        let bytes = unhex(words[2]);
        let encoded = match words[0] {
            "assignment" | "nothing" => {
                let assignment = match words[0] {
                    "nothing" => Assignment::default(),
                    _ => {
                        Assignment { partitions: vec![of("b", [2, 0]), of("a", [1])], user_data: Some(&[9]) }
                    }
                };
                assert_eq!(Assignment::decode(&bytes), Ok(assignment.clone()), "{line}");
                assignment.encode(version)
            }
            name => {
                let bare = Subscription { topics: vec!["t"], ..Subscription::default() };
                let subscription = if name == "bare" { bare } else { full() };
                assert_eq!(Subscription::decode(&bytes), Ok(as_of(subscription.clone(), version)), "{line}");
                subscription.encode(version)
            }
        };
        assert_eq!(encoded.unwrap(), bytes, "{line}");
    }
}

#[test]
fn a_version_may_end_before_the_fields_that_it_adds() {
    for version in 1..=VERSION_MAX {
        for of in 0..version {
            let mut bytes = full().encode(of).unwrap().to_vec();
            bytes[..2].copy_from_slice(&version.to_be_bytes());
            assert_eq!(Subscription::decode(&bytes), Ok(as_of(full(), of)), "{version} as {of}");
        }
    }
}

#[test]
fn a_version_to_come_reads_as_the_newest() {
    let mut subscription = full().encode(VERSION_MAX).unwrap().to_vec();
    subscription[..2].copy_from_slice(&9_i16.to_be_bytes());
    subscription.extend_from_slice(b"more");
    assert_eq!(Subscription::decode(&subscription), Ok(full()));
    let assignment = Assignment { partitions: vec![of("a", [1])], user_data: None };
    let mut bytes = assignment.encode(9).unwrap().to_vec();
    bytes.extend_from_slice(b"more");
    assert_eq!(Assignment::decode(&bytes), Ok(assignment));
}

#[test]
fn the_topics_are_read_whatever_follows_them() {
    let mut bytes = full().encode(3).unwrap().to_vec();
    assert_eq!(Subscription::decode_topics(&bytes).unwrap(), full().topics);
    let prefix = Subscription { owned: Vec::new(), ..full() }.encode(0).unwrap().len();
    bytes.truncate(prefix + 3);
    bytes[1] = 9;
    assert!(Subscription::decode(&bytes).is_err());
    assert_eq!(Subscription::decode_topics(&bytes).unwrap(), full().topics);
    assert!(Subscription::decode_topics(&bytes[..prefix - 1]).is_err());
}

#[test]
fn what_is_malformed_is_an_error_and_never_a_panic() {
    let bytes = full().encode(VERSION_MAX).unwrap();
    // The ends of a version that lacks the rest are no errors.
    let whole: Vec<_> = (0..=VERSION_MAX).map(|version| full().encode(version).unwrap().len()).collect();
    for size in 0..bytes.len() {
        assert_eq!(Subscription::decode(&bytes[..size]).is_ok(), whole.contains(&size), "{size} bytes");
    }
    let bytes = Assignment { partitions: full().owned, user_data: Some(&[1]) }.encode(0).unwrap();
    for size in 1..bytes.len() {
        assert!(Assignment::decode(&bytes[..size]).is_err(), "{size} bytes");
    }
    let below = DecodeError { at: 0, fault: DecodeFault::Version { version: -1 } };
    assert_eq!(Subscription::decode(&[0xff, 0xff, 0, 0, 0, 0]), Err(below));
    assert_eq!(Assignment::decode(&[0xff, 0xff, 0, 0, 0, 0]), Err(below));
    let many = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0];
    let count = DecodeFault::Count { count: i32::MAX as usize, left: 2 };
    assert_eq!(Subscription::decode(&many).map_err(|error| error.fault), Err(count));
    assert_eq!(Assignment::decode(&[]), Ok(Assignment::default()), "nothing is nothing");
}

proptest! {
    #[test]
    fn random_messages_are_the_oracles_to_the_byte(
        topics in proptest::collection::vec("[a-z.]{0,9}", 0..5),
        owned in proptest::collection::vec(("[a-z]{1,9}", proptest::collection::vec(any::<i32>(), 0..5)), 0..5),
        user_data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        generation: i32,
        rack in proptest::option::of("[a-z]{0,9}"),
        version in 0..=VERSION_MAX,
    ) {
        let user_data = user_data.as_deref();
        let parts: Vec<_> = owned.iter().map(|(topic, numbers)| of(topic, numbers.as_slice())).collect();
        let ours = Subscription {
            topics: topics.iter().map(String::as_str).collect(),
            user_data,
            owned: parts.clone(),
            generation,
            rack: rack.as_deref(),
        };
        let theirs = ConsumerProtocolSubscription::default()
            .with_topics(topics.iter().cloned().map(StrBytes::from_string).collect())
            .with_user_data(user_data.map(Bytes::copy_from_slice))
            .with_owned_partitions(owned.iter().map(|(topic, numbers)| {
                consumer_protocol_subscription::TopicPartition::default()
                    .with_topic(TopicName(StrBytes::from_string(topic.clone())))
                    .with_partitions(numbers.clone())
            }).collect())
            .with_generation_id(generation)
            .with_rack_id(rack.clone().map(StrBytes::from_string));
        let bytes = ours.encode(version).unwrap();
        prop_assert_eq!(&bytes, &versioned(version, &theirs));
        prop_assert_eq!(Subscription::decode(&bytes), Ok(as_of(ours, version)));

        let ours = Assignment { partitions: parts, user_data };
        let theirs = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(owned.iter().map(|(topic, numbers)| {
                consumer_protocol_assignment::TopicPartition::default()
                    .with_topic(TopicName(StrBytes::from_string(topic.clone())))
                    .with_partitions(numbers.clone())
            }).collect())
            .with_user_data(user_data.map(Bytes::copy_from_slice));
        let bytes = ours.encode(version).unwrap();
        prop_assert_eq!(&bytes, &versioned(version, &theirs));
        prop_assert_eq!(Assignment::decode(&bytes), Ok(ours));
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Subscription::decode(&bytes);
        let _ = Assignment::decode(&bytes);
    }
}

fn versioned(version: i16, message: &impl Encodable) -> Vec<u8> {
    let mut bytes = version.to_be_bytes().to_vec();
    message.encode(&mut bytes, version).unwrap();
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
