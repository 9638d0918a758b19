//! Topics: create, list, describe, delete.

use folio_channel::Responder;
use folio_wire::native::ErrorCode;
use folio_wire::native::topics::{
    ListedTopicV1, PartitionDescriptionV1, PartitionsCreateAnswerV1, PartitionsCreateRequestV1,
    TopicConfigV1, TopicCreateAnswerV1, TopicCreateRequestV1, TopicDeleteAnswerV1, TopicDeleteRequestV1,
    TopicDescribeAnswerV1, TopicDescribeRequestV1, TopicListAnswerV1, TopicListRequestV1,
};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, respond, respond_later};
use crate::engine::{Disk, Engine};
use crate::service::configs::{self, Source};
use crate::service::topics::internal::is_internal;
use crate::service::topics::{self, Creation};
use crate::view::Served;

pub(super) fn create(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<TopicCreateRequestV1<'_>>(request, reply) else { return };
    let settings = message.configs.iter().map(|&(key, value)| (key.to_owned(), Some(value.to_owned())));
    let creation = Creation {
        partitions: match message.partitions {
            0 => -1,
            count => i32::try_from(count).unwrap_or(i32::MAX),
        },
        settings: settings.collect(),
        ..Creation::new(message.name)
    };
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let created = topics::create(engine, creation);
        let (error, message) = code(&created);
        let id = created.map_or([0; 16], |created| created.id.into_bytes());
        respond_later(head, &TopicCreateAnswerV1 { error, message, id }, reply);
    });
}

pub(super) fn delete(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<TopicDeleteRequestV1<'_>>(request, reply) else { return };
    let name = message.name.to_owned();
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let (error, message) = code(&topics::delete(engine, &name));
        respond_later(head, &TopicDeleteAnswerV1 { error, message }, reply);
    });
}

pub(super) fn grow(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<PartitionsCreateRequestV1<'_>>(request, reply) else { return };
    let PartitionsCreateRequestV1 { topic, partitions, validate_only } = message;
    let (topic, partitions) = (topic.to_owned(), i32::try_from(partitions).unwrap_or(i32::MAX));
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let (error, message) = code(&topics::grow(engine, &topic, partitions, None, validate_only));
        respond_later(head, &PartitionsCreateAnswerV1 { error, message }, reply);
    });
}

pub(super) fn list(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((TopicListRequestV1 { internal }, reply)) = header(request, reply) else { return };
    let told = topics::list(engine).into_values().filter(|topic| internal || !is_internal(&topic.name));
    let listed = told.map(|topic| ListedTopicV1 {
        name: topic.name.to_string(),
        id: *topic.id.as_bytes(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    });
    let answer = TopicListAnswerV1 { error: ErrorCode::NONE, message: None, topics: listed.collect() };
    respond(request.head, &answer, reply);
}

pub(super) fn describe(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((message, reply)) = header::<TopicDescribeRequestV1<'_>>(request, reply) else { return };
    let found = topics::find(engine, message.name);
    let (error, text) = code(&found);
    let mut answer = TopicDescribeAnswerV1 {
        error,
        message: text,
        id: [0; 16],
        configs: Vec::new(),
        partitions: Vec::new(),
    };
    if let Ok(topic) = found {
        answer.id = *topic.id.as_bytes();
        let told = configs::of_topic(engine, &topic.own).into_iter();
        answer.configs = told
            .map(|told| TopicConfigV1 {
                key: told.name.into_owned(),
                value: told.value.unwrap_or_default(),
                is_own: told.source == Source::Topic,
            })
            .collect();
        answer.partitions =
            topic.partitions.iter().zip(0..).map(|(one, number)| description(one, number)).collect();
    }
    respond(request.head, &answer, reply);
}

fn description(served: &Served<Disk>, partition: u32) -> PartitionDescriptionV1 {
    let (log, why) = match served {
        Served::Leader(partition) => (&partition.log, None),
        Served::Below(partition, why) => (&partition.log, Some(why)),
        Served::Offline(why) => {
            return PartitionDescriptionV1 {
                error: ErrorCode::PARTITION_OFFLINE,
                message: Some(why.to_string()),
                partition,
                leader_epoch: -1,
                log_start: -1,
                durable: -1,
                high_watermark: -1,
                log_end: -1,
                size_bytes: 0,
                segments: 0,
            };
        }
    };
    PartitionDescriptionV1 {
        error: why.map_or(ErrorCode::NONE, |_| ErrorCode::PARTITION_OFFLINE),
        message: why.map(ToString::to_string),
        partition,
        leader_epoch: log.leader_epoch().get(),
        log_start: log.log_start().get(),
        durable: log.durable().get(),
        high_watermark: log.high_watermark().get(),
        log_end: log.log_end().get(),
        size_bytes: log.size(),
        segments: u32::try_from(log.segment_count()).unwrap_or(u32::MAX),
    }
}
