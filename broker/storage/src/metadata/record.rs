//! Keys and values of the metadata log.
//!
//! ```text
//!  key    | kind (u16, big-endian) | id |                   id: nothing, a uuid (16 raw bytes), a name (UTF-8), or a
//!                                                          node (u32, big-endian)
//!  value  | edition (u8) | bincode of that edition's struct |
//! ```
//! Each (kind, edition) is a struct of its own, which is never edited after release: a changed record is a new
//! edition. Bincode is fixed-width, little-endian, bounded, and refuses bytes that are left over.
//!
//! A kind or an edition that this build does not know is an error, not something to skip: what one build wrote and
//! another ignores would be lost at the first rewrite.

use bincode::Options;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::group_history::{GroupChange, GroupHistoryV1};
use crate::layout::Fields;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The build that writes the log now; read when something in it is not understood.
    Build,
    /// Which topic has this name; absent once the topic is deleted.
    TopicName(String),
    /// A topic, by identity.
    Topic(Uuid),
    /// How the broker on this node is set, or, without one, how all brokers are.
    Broker(Option<u32>),
    /// Which ids producers were given; absent before the first.
    ProducerIds,
    /// What administrators replaced in the consumer group of this name.
    GroupHistory(String),
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Key::Build`]: name and version of the build.
    Build(String),
    /// Of [`Key::TopicName`]: the topic's identity.
    TopicName(Uuid),
    /// Of [`Key::Topic`].
    Topic(Topic),
    /// Of [`Key::Broker`]: what was set while brokers ran; what is not here follows their configuration.
    Broker(Vec<(String, String)>),
    /// Of [`Key::ProducerIds`]: the first id that is in no block given away. None of those below is given again.
    ProducerIds(i64),
    /// Of [`Key::GroupHistory`]: the last changes, oldest first.
    GroupHistory(Vec<GroupChange>),
}

/// A topic as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it is to have.
    pub partitions: u32,
    /// How many of them, counted from 0, are known to have their directories on disk.
    pub partitions_ready: u32,
    /// Its own settings, by Kafka's names; what is not here follows the broker's defaults.
    pub settings: Vec<(String, String)>,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// Whether it lives.
    pub phase: TopicPhase,
}

/// Whether a topic lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicPhase {
    /// Wanted: directories that are not ready yet are made.
    Live,
    /// Deleted: directories that are still there go to the trash.
    Deleted,
}

/// Why a record was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// No such kind in this build.
    #[error("record kind {0}")]
    UnknownKind(u16),
    /// The kind is known, this edition of it is not.
    #[error("edition {edition} of record kind {kind}")]
    UnknownEdition {
        /// The kind.
        kind: u16,
        /// The edition.
        edition: u8,
    },
    /// Not what its kind and edition require.
    #[error("a record of kind {kind} that is not well-formed")]
    Malformed {
        /// The kind.
        kind: u16,
    },
    /// A record without a key.
    #[error("a record without a key")]
    NoKey,
    /// The checksum of the batch is right, but its records do not parse.
    #[error("a batch whose records do not parse")]
    NotABatch,
}

/// A value above [`VALUE_SIZE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a metadata record above {VALUE_SIZE_MAX} bytes")]
pub struct ValueTooLarge;

impl Topic {
    /// Whether there can be such a topic: its name becomes a directory, its partitions are counted to.
    pub fn is_possible(&self) -> bool {
        is_topic_name(&self.name)
            && (1..=PARTITIONS_MAX).contains(&self.partitions)
            && self.partitions_ready <= self.partitions
    }
}

/// Whether a topic may have this name: Kafka's rules, none of which leads out of a directory.
pub fn is_topic_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_NAME_LEN_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(is_allowed)
}

impl Key {
    /// The bytes of the key.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, id): (u16, &[u8]) = match self {
            Self::Build => (KIND_BUILD, &[]),
            Self::TopicName(name) => (KIND_TOPIC_NAME, name.as_bytes()),
            Self::Topic(uuid) => (KIND_TOPIC, uuid.as_bytes()),
            Self::Broker(None) => (KIND_BROKER, &[]),
            Self::Broker(Some(node)) => (KIND_BROKER, &node.to_be_bytes()),
            Self::ProducerIds => (KIND_PRODUCER_IDS, &[]),
            Self::GroupHistory(group) => (KIND_GROUP_HISTORY, group.as_bytes()),
        };
        [&kind.to_be_bytes(), id].concat()
    }

    /// Reads a key.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields::new(bytes);
        let kind = u16::from_be_bytes(fields.take().ok_or(RecordError::NoKey)?);
        let id = fields.rest();
        let malformed = RecordError::Malformed { kind };
        match kind {
            KIND_BUILD if id.is_empty() => Ok(Self::Build),
            KIND_TOPIC_NAME => match std::str::from_utf8(id) {
                Ok(name) if is_topic_name(name) => Ok(Self::TopicName(name.to_owned())),
                _ => Err(malformed),
            },
            KIND_TOPIC => Uuid::from_slice(id).map(Self::Topic).map_err(|_| malformed),
            KIND_BROKER if id.is_empty() => Ok(Self::Broker(None)),
            KIND_BROKER => match id.try_into() {
                Ok(node) => Ok(Self::Broker(Some(u32::from_be_bytes(node)))),
                Err(_) => Err(malformed),
            },
            KIND_PRODUCER_IDS if id.is_empty() => Ok(Self::ProducerIds),
            KIND_GROUP_HISTORY => match std::str::from_utf8(id) {
                Ok(group) => Ok(Self::GroupHistory(group.to_owned())),
                Err(_) => Err(malformed),
            },
            KIND_BUILD | KIND_PRODUCER_IDS => Err(malformed),
            _ => Err(RecordError::UnknownKind(kind)),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Build => KIND_BUILD,
            Self::TopicName(_) => KIND_TOPIC_NAME,
            Self::Topic(_) => KIND_TOPIC,
            Self::Broker(_) => KIND_BROKER,
            Self::ProducerIds => KIND_PRODUCER_IDS,
            Self::GroupHistory(_) => KIND_GROUP_HISTORY,
        }
    }
}

impl Value {
    /// The bytes of the value, in the newest edition.
    pub fn encode(&self) -> Result<Vec<u8>, ValueTooLarge> {
        let (edition, body) = match self {
            Self::Build(build) => (1, to_bytes(&BuildV1 { build: build.clone() })?),
            Self::TopicName(uuid) => (1, to_bytes(&TopicNameV1 { topic: uuid.into_bytes() })?),
            Self::Topic(topic) => (1, to_bytes(&TopicV1::from(topic))?),
            Self::Broker(settings) => (1, to_bytes(&BrokerV1 { settings: settings.clone() })?),
            Self::ProducerIds(next) => (1, to_bytes(&ProducerIdsV1 { next: *next })?),
            Self::GroupHistory(changes) => (1, to_bytes(&GroupHistoryV1::from(&changes[..]))?),
        };
        Ok([&[edition], body.as_slice()].concat())
    }

    /// Reads the value that belongs to `key`.
    pub fn decode(key: &Key, bytes: &[u8]) -> Result<Self, RecordError> {
        let kind = key.kind();
        let malformed = RecordError::Malformed { kind };
        let (&edition, body) = bytes.split_first().ok_or(malformed.clone())?;
        if edition != 1 {
            return Err(RecordError::UnknownEdition { kind, edition });
        }
        match key {
            Key::Build => from_bytes::<BuildV1>(body).map(|record| Self::Build(record.build)),
            Key::TopicName(_) => {
                from_bytes::<TopicNameV1>(body).map(|record| Self::TopicName(Uuid::from_bytes(record.topic)))
            }
            Key::Topic(_) => {
                from_bytes::<TopicV1>(body).map(Topic::from).filter(Topic::is_possible).map(Self::Topic)
            }
            Key::Broker(_) => from_bytes::<BrokerV1>(body).map(|record| Self::Broker(record.settings)),
            Key::ProducerIds => from_bytes::<ProducerIdsV1>(body)
                .filter(|record| record.next >= 0)
                .map(|record| Self::ProducerIds(record.next)),
            Key::GroupHistory(_) => {
                from_bytes::<GroupHistoryV1>(body).map(|record| Self::GroupHistory(record.into()))
            }
        }
        .ok_or(malformed)
    }

    /// Whether this is the kind of value that `key` takes.
    pub fn belongs_to(&self, key: &Key) -> bool {
        matches!(
            (key, self),
            (Key::Build, Self::Build(_))
                | (Key::TopicName(_), Self::TopicName(_))
                | (Key::Topic(_), Self::Topic(_))
                | (Key::Broker(_), Self::Broker(_))
                | (Key::ProducerIds, Self::ProducerIds(_))
                | (Key::GroupHistory(_), Self::GroupHistory(_))
        )
    }
}

/// The longest name of a topic.
pub const TOPIC_NAME_LEN_MAX: usize = 249;
/// The most partitions of a topic.
pub const PARTITIONS_MAX: u32 = 10_000;
/// The largest value; a larger one is neither written nor read.
pub const VALUE_SIZE_MAX: usize = 1024 * 1024;

const KIND_BUILD: u16 = 1;
const KIND_TOPIC_NAME: u16 = 2;
const KIND_TOPIC: u16 = 3;
const KIND_BROKER: u16 = 4;
const KIND_PRODUCER_IDS: u16 = 5;
const KIND_GROUP_HISTORY: u16 = 6;

#[derive(Serialize, Deserialize)]
struct BuildV1 {
    build: String,
}

#[derive(Serialize, Deserialize)]
struct TopicNameV1 {
    topic: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct TopicV1 {
    name: String,
    partitions: u32,
    partitions_ready: u32,
    settings: Vec<(String, String)>,
    created_ms: i64,
    deleted: bool,
}

#[derive(Serialize, Deserialize)]
struct BrokerV1 {
    settings: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct ProducerIdsV1 {
    next: i64,
}

impl From<&Topic> for TopicV1 {
    fn from(topic: &Topic) -> Self {
        Self {
            name: topic.name.clone(),
            partitions: topic.partitions,
            partitions_ready: topic.partitions_ready,
            settings: topic.settings.clone(),
            created_ms: topic.created_ms,
            deleted: topic.phase == TopicPhase::Deleted,
        }
    }
}

impl From<TopicV1> for Topic {
    fn from(record: TopicV1) -> Self {
        Self {
            name: record.name,
            partitions: record.partitions,
            partitions_ready: record.partitions_ready,
            settings: record.settings,
            created_ms: record.created_ms,
            phase: if record.deleted { TopicPhase::Deleted } else { TopicPhase::Live },
        }
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(VALUE_SIZE_MAX as u64)
}

fn to_bytes<T: Serialize>(record: &T) -> Result<Vec<u8>, ValueTooLarge> {
    // Into memory, and with types that always serialize, the limit is the one thing that can refuse.
    options().serialize(record).map_err(|_| ValueTooLarge)
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    options().deserialize(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{GroupChangeKind, OldOffset, ReplacedOffset};

    fn change() -> GroupChange {
        let before = OldOffset { offset: 42, leader_epoch: -1, metadata: "n".to_owned() };
        let replaced = |partition, before| ReplacedOffset {
            topic: "t".to_owned(),
            topic_id: Uuid::from_u128(9),
            partition,
            before,
        };
        GroupChange {
            at_ms: 77,
            who: "me".to_owned(),
            kind: GroupChangeKind::Reset,
            replaced: vec![replaced(0, Some(before)), replaced(1, None)],
        }
    }

    fn topic() -> Topic {
        Topic {
            name: "access".to_owned(),
            partitions: 3,
            partitions_ready: 1,
            settings: vec![("retention.ms".to_owned(), "5".to_owned())],
            created_ms: 77,
            phase: TopicPhase::Live,
        }
    }

    fn examples() -> [(Key, Value); 9] {
        let uuid = Uuid::from_u128(9);
        let settings = vec![("retention.ms".to_owned(), "5".to_owned())];
        [
            (Key::Build, Value::Build("folio 0.1.0".to_owned())),
            (Key::TopicName("access".to_owned()), Value::TopicName(uuid)),
            (Key::Topic(uuid), Value::Topic(topic())),
            (Key::Topic(uuid), Value::Topic(Topic { phase: TopicPhase::Deleted, ..topic() })),
            (Key::Broker(None), Value::Broker(Vec::new())),
            (Key::Broker(Some(7)), Value::Broker(settings)),
            (Key::ProducerIds, Value::ProducerIds(5000)),
            (Key::GroupHistory("g".to_owned()), Value::GroupHistory(vec![change()])),
            (Key::GroupHistory(String::new()), Value::GroupHistory(Vec::new())),
        ]
    }

    #[test]
    fn what_was_written_is_read_back() {
        for (key, value) in examples() {
            assert_eq!(Key::decode(&key.encode()), Ok(key.clone()));
            assert_eq!(Value::decode(&key, &value.encode().unwrap()), Ok(value.clone()));
            assert!(value.belongs_to(&key));
        }
    }

    #[test]
    fn the_bytes_are_golden() {
        assert_eq!(Key::TopicName("t".to_owned()).encode(), b"\x00\x02t");
        assert_eq!(Key::Topic(Uuid::from_u128(1)).encode(), [&b"\x00\x03"[..], &[0; 15], &[1]].concat());
        let mut expected = b"\x01".to_vec();
        expected.extend_from_slice(b"\x06\0\0\0\0\0\0\0access");
        expected.extend_from_slice(b"\x03\0\0\0\x01\0\0\0");
        expected.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0retention.ms\x01\0\0\0\0\0\0\x005");
        expected.extend_from_slice(b"\x4d\0\0\0\0\0\0\0\x00");
        assert_eq!(Value::Topic(topic()).encode().unwrap(), expected);
        assert_eq!(Key::Broker(None).encode(), b"\x00\x04");
        assert_eq!(Key::Broker(Some(258)).encode(), b"\x00\x04\0\0\x01\x02");
        let settings = vec![("k".to_owned(), "v".to_owned())];
        let expected = b"\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k\x01\0\0\0\0\0\0\0v";
        assert_eq!(Value::Broker(settings).encode().unwrap(), expected);
        assert_eq!(Key::ProducerIds.encode(), b"\x00\x05");
        assert_eq!(Value::ProducerIds(5000).encode().unwrap(), b"\x01\x88\x13\0\0\0\0\0\0");
        assert_eq!(Key::GroupHistory("g".to_owned()).encode(), b"\x00\x06g");
        let mut expected = b"\x01\x01\0\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0me".to_vec();
        expected.extend_from_slice(b"\0\0\0\0\x02\0\0\0\0\0\0\0");
        for (partition, before) in [(0, true), (1, false)] {
            expected.extend_from_slice(b"\x01\0\0\0\0\0\0\0t");
            expected.extend_from_slice(Uuid::from_u128(9).as_bytes());
            expected.extend_from_slice(&[partition, 0, 0, 0, u8::from(before)]);
            if before {
                expected.extend_from_slice(b"\x2a\0\0\0\0\0\0\0\xff\xff\xff\xff\x01\0\0\0\0\0\0\0n");
            }
        }
        assert_eq!(Value::GroupHistory(vec![change()]).encode().unwrap(), expected);
    }

    #[test]
    fn a_struct_with_a_field_more_or_fewer_is_refused() {
        for (key, value) in examples() {
            let bytes = value.encode().unwrap();
            let kind = key.kind();
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Value::decode(&key, &longer), Err(RecordError::Malformed { kind }));
            for len in 0..bytes.len() {
                assert_eq!(
                    Value::decode(&key, &bytes[..len]),
                    Err(RecordError::Malformed { kind }),
                    "{len} bytes"
                );
            }
        }
    }

    #[test]
    fn an_unknown_kind_or_edition_is_named() {
        assert_eq!(Key::decode(b"\x00\x63x"), Err(RecordError::UnknownKind(99)));
        assert_eq!(
            Value::decode(&Key::Build, b"\x02whatever"),
            Err(RecordError::UnknownEdition { kind: KIND_BUILD, edition: 2 })
        );
        assert_eq!(Key::decode(b"\x00"), Err(RecordError::NoKey));
        assert_eq!(Key::decode(b"\x00\x04\0"), Err(RecordError::Malformed { kind: KIND_BROKER }));
    }

    #[test]
    fn a_value_above_the_limit_is_not_written() {
        let settings = vec![("x".to_owned(), "y".repeat(VALUE_SIZE_MAX))];
        assert_eq!(Value::Topic(Topic { settings, ..topic() }).encode(), Err(ValueTooLarge));
    }

    #[test]
    fn a_topic_that_cannot_be_is_not_read() {
        let read = |topic: Topic| {
            let bytes = Value::Topic(topic).encode().unwrap();
            Value::decode(&Key::Topic(Uuid::nil()), &bytes)
        };
        assert!(read(topic()).is_ok());
        let long = "x".repeat(250);
        for name in ["", ".", "..", "../t", "a/b", "a b", "ü", &long] {
            assert!(read(Topic { name: name.to_owned(), ..topic() }).is_err(), "{name}");
            assert!(Key::decode(&Key::TopicName(name.to_owned()).encode()).is_err(), "{name}");
        }
        for (partitions, partitions_ready) in [(0, 0), (2, 3), (10_001, 0), (u32::MAX, 0)] {
            assert!(read(Topic { partitions, partitions_ready, ..topic() }).is_err(), "{partitions}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let hostile = [&[1][..], &u64::MAX.to_le_bytes(), b"x"].concat();
        let kind = KIND_BUILD;
        assert_eq!(Value::decode(&Key::Build, &hostile), Err(RecordError::Malformed { kind }));
    }
}
