//! OffsetForLeaderEpoch: where a reader's records stop being those of the log.

use std::borrow::Cow;

use folio_record::LeaderEpoch;
use folio_wire::kafka::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::{KafkaResponder, KafkaService, Request, epoch};
use crate::service::{offsets, topics};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _shard: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<OffsetForLeaderEpochRequest<'_>>(reply) else { return };
    let topics = message.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: Cow::Borrowed(topic.topic),
        partitions: topic.partitions.iter().map(|asked| end(kafka, topic.topic, asked)).collect(),
    });
    let topics = topics.collect();
    request.asked.respond(reply, &OffsetForLeaderEpochResponse { topics, ..Default::default() });
}

fn end(kafka: &KafkaService, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let end = topics::readable(&kafka.engine, topic, asked.partition).and_then(|partition| {
        let current = epoch(asked.current_leader_epoch);
        offsets::epoch_end(&partition, current, LeaderEpoch::new(asked.leader_epoch))
    });
    let told = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    match end {
        Ok(None) => told,
        Ok(Some((epoch, end))) => EpochEndOffset { leader_epoch: epoch.get(), end_offset: end.get(), ..told },
        Err(error) => EpochEndOffset { error_code: error.kafka(), ..told },
    }
}
