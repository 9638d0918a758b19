//! InitProducer and DescribeProducers.

use folio_channel::Responder;
use folio_record::ProducerId;
use folio_wire::native::producers::{
    DescribeProducersAnswerV1, DescribeProducersRequestV1, InitProducerAnswerV1, InitProducerRequestV1,
    ProducerDescriptionV1,
};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, respond_later};
use crate::engine::Engine;
use crate::service::producers::{self, Claim};

pub(super) fn init(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<InitProducerRequestV1<'_>>(request, reply) else { return };
    let claim = Claim { transactional_id: message.transactional_id, id: ProducerId::NONE, epoch: -1 };
    let (head, reply) = (request.head, reply.later());
    producers::init(engine, claim, move |outcome| {
        let (error, message) = code(&outcome);
        let (producer_id, producer_epoch) =
            outcome.map_or((-1, -1), |identity| (identity.id.get(), identity.epoch));
        respond_later(head, &InitProducerAnswerV1 { error, message, producer_id, producer_epoch }, reply);
    });
}

pub(super) fn describe(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<DescribeProducersRequestV1<'_>>(request, reply) else { return };
    let (topic, partition) = (message.topic.to_owned(), message.partition);
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let found = producers::describe(engine, &topic, partition);
        let (error, message) = code(&found);
        let producers = found.unwrap_or_default().into_iter().map(|producer| ProducerDescriptionV1 {
            producer_id: producer.id.get(),
            producer_epoch: producer.epoch,
            last_sequence: producer.last_sequence,
            last_timestamp: producer.last_timestamp.get(),
        });
        let answer = DescribeProducersAnswerV1 { error, message, producers: producers.collect() };
        respond_later(head, &answer, reply);
    });
}
