//! InitProducerId: who an idempotent producer is.

use folio_record::ProducerId;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{KafkaResponder, KafkaService, Request};
use crate::service::producers::{self, Claim};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<InitProducerIdRequest<'_>>(reply) else { return };
    let claim = Claim {
        transactional_id: message.transactional_id,
        id: ProducerId::new(message.producer_id),
        epoch: message.producer_epoch,
    };
    let (asked, reply) = (request.asked, reply.later());
    producers::init(&kafka.engine, claim, move |identity| {
        let answer = match identity {
            Ok(identity) => InitProducerIdResponse {
                error_code: KafkaError::NONE,
                producer_id: identity.id.get(),
                producer_epoch: identity.epoch,
                ..InitProducerIdResponse::default()
            },
            Err(error) => InitProducerIdResponse {
                error_code: error.kafka(),
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            },
        };
        asked.respond_later(reply, &answer);
    });
}
