//! DeleteRecords. It waits for the disk, partition by partition.

use std::borrow::Cow;

use folio_record::Offset;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::{KafkaResponder, KafkaService, Request, partition};
use crate::engine::Engine;
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DeleteRecordsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let wanted: Vec<(String, Vec<DeleteRecordsPartition>)> =
        message.topics.into_iter().map(|topic| (topic.name.to_owned(), topic.partitions)).collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let topics = wanted.into_iter().map(|(name, partitions)| DeleteRecordsTopicResult {
            partitions: partitions.iter().map(|wanted| result(engine, &name, wanted)).collect(),
            name: Cow::Owned(name),
        });
        let topics = topics.collect();
        asked.respond_later(reply, &DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() });
    });
}

fn result(engine: &Engine, topic: &str, wanted: &DeleteRecordsPartition) -> DeleteRecordsPartitionResult {
    let before = (wanted.offset != HIGH_WATERMARK).then(|| Offset::new(wanted.offset));
    let deleted = partition(engine, topic, wanted.partition_index)
        .and_then(|partition| topics::delete_records(engine, &partition, before));
    DeleteRecordsPartitionResult {
        partition_index: wanted.partition_index,
        low_watermark: deleted.as_ref().map_or(-1, |start| start.get()),
        error_code: deleted.map_or_else(|error| error.kafka(), |_| KafkaError::NONE),
    }
}

/// Everything that consumers may see.
const HIGH_WATERMARK: i64 = -1;
