//! The metadata log, record by record.

use std::collections::BTreeMap;
use std::path::Path;

use folio_record::{DecompressLimit, Offset};
use serde::Serialize;

use super::{Dump, Item};
use crate::files::Files;
use crate::metadata::{GroupChange, GroupChangeKind, Key, METADATA_LOG_NAME, Topic, TopicPhase, Value};
use crate::scan::UNPACKED_MAX;

/// What a record of the metadata log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the format, under their names there")]
pub enum MetadataEntry {
    Build {
        build: Option<String>,
    },
    /// Which topic has this name; none any more, once it is deleted.
    TopicName {
        name: String,
        topic: Option<String>,
    },
    Topic {
        topic: String,
        #[serde(flatten)]
        state: Option<TopicState>,
    },
    /// What was set while brokers ran: on one node, or, without one, on all.
    Broker {
        node: Option<u32>,
        settings: Option<BTreeMap<String, String>>,
    },
    /// The first id that no producer was given.
    ProducerIds {
        next: Option<i64>,
    },
    /// What administrators replaced in a consumer group.
    GroupHistory {
        group: String,
        changes: Option<Vec<GroupChangeEntry>>,
    },
    /// Written by a build that knows more, or damaged.
    Unknown {
        reason: String,
    },
}

/// A change that an administrator made to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the format, under their names there")]
pub struct GroupChangeEntry {
    pub at_ms: i64,
    pub who: String,
    pub kind: &'static str,
    /// By partition; none where the group was nowhere.
    pub replaced: BTreeMap<String, Option<i64>>,
}

/// A topic as the metadata log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the format, under their names there")]
pub struct TopicState {
    pub name: String,
    pub partitions: u32,
    pub partitions_ready: u32,
    pub settings: BTreeMap<String, String>,
    pub created_ms: i64,
    pub is_deleted: bool,
}

impl<F: Files> Dump<'_, F> {
    pub(super) fn metadata(&mut self) {
        self.batches(
            Path::new(METADATA_LOG_NAME),
            Offset::ZERO,
            Some(Offset::new(i64::MAX)),
            |dump, _, batch| {
                let Ok(records) = batch.records(DecompressLimit::new(UNPACKED_MAX)) else { return };
                for record in records.iter().flatten() {
                    let entry = MetadataEntry::decode(record.key.unwrap_or_default(), record.value);
                    (dump.show)(Item::Metadata { offset: record.offset.get(), entry });
                }
            },
        );
    }
}

impl MetadataEntry {
    fn decode(key: &[u8], value: Option<&[u8]>) -> Self {
        let decoded = Key::decode(key).and_then(|key| {
            let value = value.map(|value| Value::decode(&key, value)).transpose()?;
            Ok((key, value))
        });
        match decoded {
            Ok((Key::Build, Some(Value::Build(build)))) => Self::Build { build: Some(build) },
            Ok((Key::Build, _)) => Self::Build { build: None },
            Ok((Key::TopicName(name), value)) => {
                let topic = match value {
                    Some(Value::TopicName(topic)) => Some(topic.to_string()),
                    _ => None,
                };
                Self::TopicName { name, topic }
            }
            Ok((Key::Topic(topic), value)) => {
                let state = match value {
                    Some(Value::Topic(topic)) => Some(topic.into()),
                    _ => None,
                };
                Self::Topic { topic: topic.to_string(), state }
            }
            Ok((Key::Broker(node), value)) => {
                let settings = match value {
                    Some(Value::Broker(settings)) => Some(settings.into_iter().collect()),
                    _ => None,
                };
                Self::Broker { node, settings }
            }
            Ok((Key::ProducerIds, value)) => {
                let next = match value {
                    Some(Value::ProducerIds(next)) => Some(next),
                    _ => None,
                };
                Self::ProducerIds { next }
            }
            Ok((Key::GroupHistory(group), value)) => {
                let changes = match value {
                    Some(Value::GroupHistory(changes)) => {
                        Some(changes.into_iter().map(GroupChangeEntry::from).collect())
                    }
                    _ => None,
                };
                Self::GroupHistory { group, changes }
            }
            Err(error) => Self::Unknown { reason: error.to_string() },
        }
    }
}

impl From<GroupChange> for GroupChangeEntry {
    fn from(change: GroupChange) -> Self {
        let GroupChange { at_ms, who, kind, replaced } = change;
        let kind = match kind {
            GroupChangeKind::Reset => "reset",
            GroupChangeKind::Delete => "delete",
        };
        let replaced = replaced.into_iter().map(|one| {
            let offset = one.before.map(|before| before.offset);
            (format!("{}-{}", one.topic, one.partition), offset)
        });
        Self { at_ms, who, kind, replaced: replaced.collect() }
    }
}

impl From<Topic> for TopicState {
    fn from(topic: Topic) -> Self {
        let Topic { name, partitions, partitions_ready, settings, created_ms, phase } = topic;
        let is_deleted = phase == TopicPhase::Deleted;
        let settings = settings.into_iter().collect();
        Self { name, partitions, partitions_ready, settings, created_ms, is_deleted }
    }
}
