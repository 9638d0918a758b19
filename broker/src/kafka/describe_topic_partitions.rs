//! DescribeTopicPartitions: topics in the order of their names, a page at a time.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, NextCursor,
};

use super::metadata::{self, TOPIC_OPERATIONS};
use super::{KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::service::topics;
use crate::service::topics::internal::is_internal;
use crate::shard::Shard;

type AnsweredTopic = DescribeTopicPartitionsResponseTopic<'static>;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeTopicPartitionsRequest<'_>>(reply) else { return };
    let engine = &kafka.engine;
    let mut names: BTreeSet<Arc<str>> = match message.topics.is_empty() {
        true => topics::list(engine).into_keys().collect(),
        false => message.topics.iter().map(|topic| topic.name.into()).collect(),
    };
    let mut first = 0;
    if let Some(cursor) = &message.cursor {
        names.retain(|name| **name >= *cursor.topic_name);
        if names.first().is_some_and(|name| **name == *cursor.topic_name) {
            first = usize::try_from(cursor.partition_index).unwrap_or(0);
        }
    }
    let room = usize::try_from(message.response_partition_limit).unwrap_or(1).clamp(1, PARTITIONS_MAX);
    let (topics, next_cursor) = page(engine, names, first, room);
    let answer =
        DescribeTopicPartitionsResponse { topics, next_cursor, ..DescribeTopicPartitionsResponse::default() };
    request.asked.respond(reply, &answer);
}

/// Partitions of one page, whatever is asked for: Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2000;

/// As many partitions as there is room for, of the first topic from `first` on, and where the next page begins.
fn page(
    engine: &Engine,
    names: BTreeSet<Arc<str>>,
    mut first: usize,
    mut room: usize,
) -> (Vec<AnsweredTopic>, Option<NextCursor<'static>>) {
    let mut told = Vec::new();
    for name in names {
        let goes_on_at = |partition: usize| NextCursor {
            topic_name: Cow::Owned(name.to_string()),
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        };
        if room == 0 {
            return (told, Some(goes_on_at(0)));
        }
        let topic = topic(engine, &name, first, room);
        room -= topic.partitions.len();
        let end = first + topic.partitions.len();
        let has = topics::find(engine, &name).map_or(0, |topic| topic.partitions.len());
        told.push(topic);
        if end < has {
            return (told, Some(goes_on_at(end)));
        }
        first = 0;
    }
    (told, None)
}

fn topic(engine: &Engine, name: &str, first: usize, room: usize) -> AnsweredTopic {
    let told = DescribeTopicPartitionsResponseTopic {
        name: Some(Cow::Owned(name.to_owned())),
        is_internal: is_internal(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let topic = match topics::check_name(name).and_then(|()| topics::find(engine, name)) {
        Ok(topic) => topic,
        Err(error) => return DescribeTopicPartitionsResponseTopic { error_code: error.kafka(), ..told },
    };
    let partitions = topic.partitions.iter().zip(0..).skip(first).take(room);
    DescribeTopicPartitionsResponseTopic {
        error_code: KafkaError::NONE,
        topic_id: topic.id,
        partitions: partitions
            .map(|(served, number)| partition(metadata::partition(served, number)))
            .collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..told
    }
}

/// Metadata says the same of a partition. What a cluster with several replicas adds to it is empty, never null.
fn partition(
    told: folio_wire::kafka::metadata::MetadataResponsePartition,
) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        error_code: told.error_code,
        partition_index: told.partition_index,
        leader_id: told.leader_id,
        leader_epoch: told.leader_epoch,
        replica_nodes: told.replica_nodes,
        isr_nodes: told.isr_nodes,
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: told.offline_replicas,
    }
}
