//! InitProducer and DescribeProducers.

use std::time::Instant;

use folio_record::{ProducerId, Timestamp};
use folio_wire::native::producers::{
    DescribeProducersAnswerV1, DescribeProducersRequestV1, InitProducerAnswerV1, InitProducerRequestV1,
};

use super::{Malformed, Then, answers, call, encode};
use crate::driver::QueuedCall;
use crate::producer::Identity;
use crate::{ActiveProducer, TopicPartition};

answers!(InitProducerAnswerV1, DescribeProducersAnswerV1);

pub(crate) fn init_producer(deadline: Instant, then: Then<Identity>) -> QueuedCall {
    call(
        deadline,
        true, // an id that nobody uses harms nobody
        |id, out| encode(id, &InitProducerRequestV1 { transactional_id: None }, out),
        |answer: InitProducerAnswerV1| {
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            if id < 0 || epoch < 0 {
                return Err(Malformed::new(format!("a producer of id {id} and epoch {epoch}")));
            }
            Ok(Ok(Identity { id: ProducerId::new(id), epoch }))
        },
        then,
    )
}

pub(crate) fn describe_producers(
    of: TopicPartition,
    deadline: Instant,
    then: Then<Vec<ActiveProducer>>,
) -> QueuedCall {
    call(
        deadline,
        true,
        move |id, out| {
            let request = DescribeProducersRequestV1 { topic: &of.topic, partition: of.partition };
            encode(id, &request, out)
        },
        |answer: DescribeProducersAnswerV1| {
            let producers = answer.producers.into_iter().map(|producer| ActiveProducer {
                producer_id: producer.producer_id,
                epoch: producer.producer_epoch,
                last_sequence: (producer.last_sequence >= 0).then_some(producer.last_sequence),
                last_timestamp: (producer.last_timestamp >= 0)
                    .then(|| Timestamp::new(producer.last_timestamp)),
            });
            Ok(Ok(producers.collect()))
        },
        then,
    )
}
