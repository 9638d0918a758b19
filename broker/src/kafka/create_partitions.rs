//! CreatePartitions.

use std::borrow::Cow;
use std::collections::HashSet;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::{KafkaResponder, KafkaService, Request};
use crate::error::{Fault, ServiceError};
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<CreatePartitionsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let validate_only = message.validate_only;
    let mut seen = HashSet::new();
    let wanted: Vec<Wanted> = message
        .topics
        .into_iter()
        .map(|CreatePartitionsTopic { name, count, assignments }| {
            let assignments = assignments.map(|all| all.into_iter().map(|one| one.broker_ids).collect());
            Wanted { name: name.to_owned(), is_first: seen.insert(name), count, assignments }
        })
        .collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let results = wanted.into_iter().map(|Wanted { name, is_first, count, assignments }| {
            let grown = match is_first {
                true => topics::grow(engine, &name, count, assignments.as_deref(), validate_only),
                false => Err(ServiceError::new(Fault::InvalidRequest, "Duplicate topic in request.")),
            };
            let (error_code, why) = match grown {
                Ok(()) => (KafkaError::NONE, None),
                Err(error) => (error.kafka(), Some(Cow::Owned(error.text))),
            };
            CreatePartitionsTopicResult { name: Cow::Owned(name), error_code, error_message: why }
        });
        let results = results.collect();
        asked.respond_later(
            reply,
            &CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() },
        );
    });
}

/// A topic that is to grow.
struct Wanted {
    name: String,
    /// The request has not named it before.
    is_first: bool,
    count: i32,
    assignments: Option<Vec<Vec<i32>>>,
}
