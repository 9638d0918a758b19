//! DescribeProducers: who a partition remembers.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::{KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::service::producers;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeProducersRequest<'_>>(reply) else { return };
    let wanted = message.topics.into_iter().map(|topic| (topic.name.to_owned(), topic.partition_indexes));
    let wanted: Vec<(String, Vec<i32>)> = wanted.collect();
    let (asked, reply) = (request.asked, reply.later());
    kafka.engine.admin.run(move |engine| {
        let topics = wanted.into_iter().map(|(name, partitions)| TopicResponse {
            partitions: partitions.into_iter().map(|index| described(engine, &name, index)).collect(),
            name: Cow::Owned(name),
        });
        let topics = topics.collect();
        asked.respond_later(
            reply,
            &DescribeProducersResponse { topics, ..DescribeProducersResponse::default() },
        );
    });
}

fn described(engine: &Engine, topic: &str, index: i32) -> PartitionResponse<'static> {
    let nobody = PartitionResponse { partition_index: index, ..PartitionResponse::default() };
    match producers::describe(engine, topic, index) {
        Ok(producers) => PartitionResponse {
            error_code: KafkaError::NONE,
            active_producers: (producers.into_iter())
                .map(|producer| ProducerState {
                    producer_id: producer.id.get(),
                    producer_epoch: i32::from(producer.epoch),
                    last_sequence: producer.last_sequence,
                    last_timestamp: producer.last_timestamp.get(),
                    // There are no transactions.
                    coordinator_epoch: -1,
                    current_txn_start_offset: -1,
                })
                .collect(),
            ..nobody
        },
        Err(error) => PartitionResponse {
            error_code: error.kafka(),
            error_message: Some(Cow::Owned(error.text)),
            ..nobody
        },
    }
}
