//! DeleteTopics: by name, and from version 6 on by id.

use std::borrow::Cow;
use std::collections::HashSet;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::topic_name::TopicName;
use super::{KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};
use crate::service::topics;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DeleteTopicsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let by_name = message.topic_names.iter().map(|&name| TopicName::Name(name.to_owned()));
    let by_either = message.topics.iter().map(|topic| TopicName::of(topic.name, topic.topic_id));
    let wanted: Vec<TopicName> = by_name.chain(by_either).collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let mut seen = HashSet::new();
        let responses = wanted.into_iter().map(|topic| {
            let is_first = seen.insert(topic.clone());
            result(engine, topic, is_first)
        });
        let responses = responses.collect();
        asked.respond_later(reply, &DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() });
    });
}

fn result(engine: &Engine, wanted: TopicName, is_first: bool) -> DeletableTopicResult<'static> {
    let deleted = || -> Result<(String, Uuid), ServiceError> {
        if !is_first {
            return Err(ServiceError::new(Fault::InvalidRequest, "Duplicate topic in request."));
        }
        let topic = wanted.find(engine)?;
        topics::delete(engine, &topic.name)?;
        Ok((topic.name.to_string(), topic.id))
    };
    match deleted() {
        Ok((name, topic_id)) => DeletableTopicResult {
            name: Some(Cow::Owned(name)),
            topic_id,
            error_code: KafkaError::NONE,
            error_message: None,
        },
        Err(error) => {
            let (name, topic_id) = wanted.parts();
            DeletableTopicResult {
                name: name.map(Cow::Owned),
                topic_id,
                error_code: error.kafka(),
                error_message: Some(Cow::Owned(error.text)),
            }
        }
    }
}
