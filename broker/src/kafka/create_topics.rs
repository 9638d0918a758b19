//! CreateTopics.

use std::borrow::Cow;
use std::collections::HashMap;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::describe_configs::source;
use super::{KafkaResponder, KafkaService, Request};
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};
use crate::service::configs;
use crate::service::topics::{self, Created, Creation};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<CreateTopicsRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let mut named: HashMap<&str, usize> = HashMap::new();
    message.topics.iter().for_each(|topic| *named.entry(topic.name).or_default() += 1);
    let wanted: Vec<_> = message
        .topics
        .iter()
        // One that is named twice is refused once.
        .filter_map(|topic| match named.insert(topic.name, 0)? {
            0 => None,
            1 => Some(Ok(creation(topic, message.validate_only))),
            _ => Some(Err(topic.name.to_owned())),
        })
        .collect();
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        let topics = wanted.into_iter().map(|wanted| match wanted {
            Ok(creation) => {
                let name = creation.name.clone();
                result(engine, name, topics::create(engine, creation))
            }
            Err(name) => {
                let twice = ServiceError::new(Fault::InvalidRequest, "Duplicate topic name.");
                result(engine, name, Err(twice))
            }
        });
        let topics = topics.collect();
        asked.respond_later(reply, &CreateTopicsResponse { topics, ..CreateTopicsResponse::default() });
    });
}

fn creation(topic: &CreatableTopic<'_>, validate_only: bool) -> Creation {
    let setting = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let assignments = topic.assignments.iter().map(|one| (one.partition_index, one.broker_ids.clone()));
    Creation {
        name: topic.name.to_owned(),
        partitions: topic.num_partitions,
        replicas: i32::from(topic.replication_factor),
        assignments: assignments.collect(),
        settings: topic.configs.iter().map(|config| setting(config.name, config.value)).collect(),
        validate_only,
    }
}

fn result(
    engine: &Engine,
    name: String,
    created: Result<Created, ServiceError>,
) -> CreatableTopicResult<'static> {
    let name = Cow::Owned(name);
    match created {
        Ok(created) => {
            let configs = configs::of_topic(engine, &created.settings);
            let configs = configs.into_iter().map(|told| CreatableTopicConfigs {
                config_source: source(told.source),
                name: told.name,
                value: told.value.map(Cow::Owned),
                read_only: told.is_read_only,
                is_sensitive: false,
            });
            CreatableTopicResult {
                name,
                topic_id: created.id,
                error_code: KafkaError::NONE,
                num_partitions: i32::try_from(created.partitions).unwrap_or(i32::MAX),
                replication_factor: 1,
                configs: Some(configs.collect()),
                ..no_error()
            }
        }
        Err(error) => CreatableTopicResult {
            name,
            error_code: error.kafka(),
            error_message: Some(Cow::Owned(error.text)),
            ..no_error()
        },
    }
}

fn no_error() -> CreatableTopicResult<'static> {
    CreatableTopicResult { error_message: None, ..CreatableTopicResult::default() }
}
