//! OffsetFetch: where a group was. Many groups from version 8 on, topics by id alone from version 10 on.
//!
//! A group or a partition without an offset is no error: it has offset -1.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use uuid::Uuid;

use super::offset_commit::VERSION_OF_IDS;
use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::groups::answer::{Committed, FetchedOffset};
use crate::groups::event::Fetch;
use crate::service::groups::{self, Gather};
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<OffsetFetchRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let version = asked.version;
    let engine = &kafka.engine;
    let require_stable = message.require_stable;
    let wanted = wanted(engine, message, version);
    let fetches: Vec<Fetch> = wanted.iter().map(|wanted| wanted.fetch(require_stable)).collect();
    let ids: BTreeMap<Arc<str>, Uuid> = if version >= VERSION_OF_IDS && fetches.iter().any(is_for_all) {
        topics::list(engine).into_iter().map(|(name, topic)| (name, topic.id)).collect()
    } else {
        BTreeMap::new()
    };
    let gather = Gather::new(fetches.len(), move |fetched: Vec<_>| {
        let told =
            wanted.into_iter().zip(fetched).map(|(wanted, fetched)| wanted.told(fetched, &ids, version));
        asked.respond_later(reply, &answer(told.collect(), version));
    });
    for (number, fetch) in fetches.into_iter().enumerate() {
        let gather = gather.clone();
        groups::fetch(engine, fetch, move |fetched| gather.put(number, fetched));
    }
}

/// From here on many groups are asked for at once.
const VERSION_OF_BATCHES: i16 = 8;
/// From here on there is a place for the error of a group.
const VERSION_OF_GROUP_ERRORS: i16 = 2;

fn is_for_all(fetch: &Fetch) -> bool {
    fetch.partitions.is_none()
}

/// What is asked of one group.
struct Wanted {
    group: String,
    /// `None`: all that it has.
    topics: Option<Vec<WantedTopic>>,
}

struct WantedTopic {
    /// `None`: there is none with this id.
    name: Option<Arc<str>>,
    id: Uuid,
    partitions: Vec<i32>,
}

/// What is told of one group.
struct Told {
    group: String,
    topics: Vec<ToldTopic>,
    error: KafkaError,
}

struct ToldTopic {
    name: Arc<str>,
    id: Uuid,
    partitions: Vec<(i32, Result<Option<Committed>, KafkaError>)>,
}

fn wanted(engine: &Engine, message: OffsetFetchRequest<'_>, version: i16) -> Vec<Wanted> {
    if version < VERSION_OF_BATCHES {
        let topic =
            |name: &str, partitions| WantedTopic { name: Some(name.into()), id: Uuid::nil(), partitions };
        let topics = message
            .topics
            .map(|topics| topics.into_iter().map(|one| topic(one.name, one.partition_indexes)).collect());
        return vec![Wanted { group: message.group_id.to_owned(), topics }];
    }
    let name = |name: &str, id| match version {
        VERSION_OF_IDS.. => topics::with_id(engine, id).ok().map(|topic| Arc::clone(&topic.name)),
        _ => Some(name.into()),
    };
    let groups = message.groups.into_iter().map(|group| {
        let topics = group.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| WantedTopic {
                name: name(topic.name, topic.topic_id),
                id: topic.topic_id,
                partitions: topic.partition_indexes,
            });
            topics.collect()
        });
        Wanted { group: group.group_id.to_owned(), topics }
    });
    groups.collect()
}

impl Wanted {
    fn fetch(&self, require_stable: bool) -> Fetch {
        let partitions = self.topics.as_ref().map(|topics| {
            let known = topics.iter().filter_map(|topic| Some((topic.name.as_ref()?, &topic.partitions)));
            known
                .flat_map(|(name, numbers)| numbers.iter().map(|number| (Arc::clone(name), *number)))
                .collect()
        });
        Fetch { group: self.group.as_str().into(), partitions, require_stable }
    }

    /// What to tell, in the order of the request.
    fn told(
        self,
        fetched: Result<Vec<FetchedOffset>, ServiceError>,
        ids: &BTreeMap<Arc<str>, Uuid>,
        version: i16,
    ) -> Told {
        let error = fetched.as_ref().err().map_or(KafkaError::NONE, group_error);
        let is_told_of_each = error == KafkaError::NONE || version < VERSION_OF_GROUP_ERRORS;
        let topics = match (self.topics, fetched) {
            _ if !is_told_of_each => Vec::new(),
            (None, fetched) => all(fetched.unwrap_or_default(), ids, version),
            (Some(topics), fetched) => {
                let mut fetched = fetched.unwrap_or_default().into_iter();
                topics.into_iter().map(|topic| topic.told(&mut fetched, error)).collect()
            }
        };
        Told { group: self.group, topics, error }
    }
}

impl WantedTopic {
    fn told(self, fetched: &mut impl Iterator<Item = FetchedOffset>, error: KafkaError) -> ToldTopic {
        let is_known = self.name.is_some();
        let of = |number: i32| match error {
            _ if !is_known => (number, Err(KafkaError::UNKNOWN_TOPIC_ID)),
            KafkaError::NONE => (number, Ok(fetched.next().and_then(|offset| offset.committed))),
            error => (number, Err(error)),
        };
        let partitions = self.partitions.into_iter().map(of).collect();
        ToldTopic { name: self.name.unwrap_or_else(|| "".into()), id: self.id, partitions }
    }
}

/// All offsets of a group. Where topics go by id, those that have none any more cannot be told.
fn all(fetched: Vec<FetchedOffset>, ids: &BTreeMap<Arc<str>, Uuid>, version: i16) -> Vec<ToldTopic> {
    let mut topics: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for offset in fetched {
        topics.entry(offset.topic).or_default().push((offset.partition, Ok(offset.committed)));
    }
    let told = topics.into_iter().filter_map(|(name, partitions)| {
        let id = ids.get(&name).copied();
        let id = if version >= VERSION_OF_IDS { id? } else { Uuid::nil() };
        Some(ToldTopic { name, id, partitions })
    });
    told.collect()
}

fn answer(told: Vec<Told>, version: i16) -> OffsetFetchResponse<'static> {
    if version >= VERSION_OF_BATCHES {
        let groups = told.into_iter().map(|told| OffsetFetchResponseGroup {
            group_id: Cow::Owned(told.group),
            topics: told.topics.into_iter().map(topic_of_group).collect(),
            error_code: told.error,
        });
        return OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() };
    }
    let told = told.into_iter().next();
    let error_code = told.as_ref().map_or(KafkaError::NONE, |told| told.error);
    let topics = told.into_iter().flat_map(|told| told.topics).map(topic).collect();
    OffsetFetchResponse { topics, error_code, ..OffsetFetchResponse::default() }
}

fn topic_of_group(told: ToldTopic) -> OffsetFetchResponseTopics<'static> {
    let partitions = told.partitions.into_iter().map(|(partition_index, stored)| {
        let Place { offset, leader_epoch, metadata, error_code } = place(stored);
        OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: offset,
            committed_leader_epoch: leader_epoch,
            metadata,
            error_code,
        }
    });
    OffsetFetchResponseTopics {
        name: Cow::Owned(told.name.to_string()),
        topic_id: told.id,
        partitions: partitions.collect(),
    }
}

fn topic(told: ToldTopic) -> OffsetFetchResponseTopic<'static> {
    let partitions = told.partitions.into_iter().map(|(partition_index, stored)| {
        let Place { offset, leader_epoch, metadata, error_code } = place(stored);
        OffsetFetchResponsePartition {
            partition_index,
            committed_offset: offset,
            committed_leader_epoch: leader_epoch,
            metadata,
            error_code,
        }
    });
    OffsetFetchResponseTopic { name: Cow::Owned(told.name.to_string()), partitions: partitions.collect() }
}

/// What is told of one partition, in every version.
struct Place {
    offset: i64,
    leader_epoch: i32,
    metadata: Option<Cow<'static, str>>,
    error_code: KafkaError,
}

fn place(stored: Result<Option<Committed>, KafkaError>) -> Place {
    let nowhere = Place {
        offset: -1,
        leader_epoch: -1,
        metadata: Some(Cow::Borrowed("")),
        error_code: KafkaError::NONE,
    };
    match stored {
        Ok(None) => nowhere,
        Ok(Some(committed)) => Place {
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: Some(Cow::Owned(committed.metadata.to_string())),
            ..nowhere
        },
        Err(error_code) => Place { error_code, ..nowhere },
    }
}
