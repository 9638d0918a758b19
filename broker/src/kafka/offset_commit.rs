//! OffsetCommit: where a group is. From version 10 on topics go by id alone.

use std::borrow::Cow;
use std::sync::Arc;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use uuid::Uuid;

use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};
use crate::groups::event::{Commit, OffsetToCommit};
use crate::service::{groups, topics};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<OffsetCommitRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let (mut named, mut offsets) = (Vec::new(), Vec::new());
    for topic in &message.topics {
        let name = name(&kafka.engine, topic, asked.version);
        if let Some(name) = &name {
            offsets.extend(to_commit(topic, name));
        }
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        named.push(Named {
            name: topic.name.to_owned(),
            id: topic.topic_id,
            is_known: name.is_some(),
            partitions,
        });
    }
    let commit = Commit {
        group: message.group_id.into(),
        member: message.member_id.into(),
        instance: message.group_instance_id.map(Into::into),
        generation: message.generation_id_or_member_epoch,
        retention_ms: Some(message.retention_time_ms).filter(|ms| *ms >= 0),
        offsets,
    };
    groups::commit(&kafka.engine, commit, move |outcome| {
        asked.respond_later(reply, &answer(named, outcome, asked.version));
    });
}

/// From here on topics are named by their ids.
pub(super) const VERSION_OF_IDS: i16 = 10;
/// From here on it is told that there is no such group.
const VERSION_OF_UNKNOWN_GROUPS: i16 = 9;

/// What the request names of one topic, for the answer to repeat.
struct Named {
    name: String,
    id: Uuid,
    is_known: bool,
    partitions: Vec<i32>,
}

/// The name of a topic; `None` if there is none with its id.
fn name(engine: &Engine, topic: &OffsetCommitRequestTopic<'_>, version: i16) -> Option<Arc<str>> {
    match version {
        VERSION_OF_IDS.. => topics::with_id(engine, topic.topic_id).ok().map(|topic| Arc::clone(&topic.name)),
        _ => Some(topic.name.into()),
    }
}

fn to_commit(topic: &OffsetCommitRequestTopic<'_>, name: &Arc<str>) -> impl Iterator<Item = OffsetToCommit> {
    topic.partitions.iter().map(|partition| OffsetToCommit {
        topic: Arc::clone(name),
        topic_id: topic.topic_id,
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.unwrap_or_default().into(),
    })
}

fn answer(named: Vec<Named>, outcome: groups::OfEach, version: i16) -> OffsetCommitResponse<'static> {
    let whole = outcome.as_ref().err().map(|error| match error.fault {
        Fault::UnknownGroup if version < VERSION_OF_UNKNOWN_GROUPS => KafkaError::ILLEGAL_GENERATION,
        _ => code(error),
    });
    let mut each = outcome.unwrap_or_default().into_iter();
    let mut code_of_next = move |is_known: bool| match whole {
        _ if !is_known => KafkaError::UNKNOWN_TOPIC_ID,
        Some(error) => error,
        None => each.next().and_then(Result::err).map_or(KafkaError::NONE, |error| code(&error)),
    };
    let topics = named.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition_index| OffsetCommitResponsePartition {
            partition_index,
            error_code: code_of_next(topic.is_known),
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic { name: Cow::Owned(topic.name), topic_id: topic.id, partitions }
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

fn code(error: &ServiceError) -> KafkaError {
    match error.kafka() {
        KafkaError::MESSAGE_TOO_LARGE => KafkaError::INVALID_COMMIT_OFFSET_SIZE,
        _ => group_error(error),
    }
}
