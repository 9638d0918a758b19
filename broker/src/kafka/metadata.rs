//! Metadata: the broker, the topics, who leads them. Topics that are only asked for may come into being.

use std::borrow::Cow;
use std::collections::HashSet;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

use super::topic_name::TopicName;
use super::{KafkaResponder, KafkaService, NODE_ID, Request, cluster_id};
use crate::config::Endpoint;
use crate::engine::{Disk, Engine};
use crate::service::topics;
use crate::service::topics::internal::is_internal;
use crate::shard::Shard;
use crate::view::{Served, Topic};

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<MetadataRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let answering = Answering {
        endpoint: kafka.endpoint.clone(),
        cluster_operations: message.include_cluster_authorized_operations,
        topic_operations: message.include_topic_authorized_operations,
    };
    let wanted = match wanted(&message, asked.version) {
        Ok(wanted) => wanted,
        Err(topics) => return asked.respond(reply, &answering.with(&kafka.engine, topics)),
    };
    let missing =
        if message.allow_auto_topic_creation { missing(&kafka.engine, &wanted) } else { Vec::new() };
    if missing.is_empty() {
        let topics = answering.found(&kafka.engine, wanted);
        return asked.respond(reply, &answering.with(&kafka.engine, topics));
    }
    let reply = reply.later();
    kafka.engine.admin.run(move |engine| {
        for name in &missing {
            // What keeps it from being made is told by what is found then: nothing.
            if let Err(error) = topics::create_on_demand(engine, name) {
                tracing::info!(topic = name, error = error.text, "a topic that was asked for is not made");
            }
        }
        let topics = answering.found(engine, wanted);
        asked.respond_later(reply, &answering.with(engine, topics));
    });
}

/// What is asked for.
enum Wanted {
    All,
    Some(Vec<TopicName>),
}

/// What is asked for, each topic once; or the answer about topics in a request that Kafka refuses.
fn wanted(
    message: &MetadataRequest<'_>,
    version: i16,
) -> Result<Wanted, Vec<MetadataResponseTopic<'static>>> {
    let Some(topics) = &message.topics else { return Ok(Wanted::All) };
    if version == 0 && topics.is_empty() {
        return Ok(Wanted::All);
    }
    // The ids of versions 10 and 11 are there, but Kafka does not take them.
    let is_refused =
        version < 12 && topics.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil());
    if is_refused {
        let refused = topics.iter().map(|topic| MetadataResponseTopic {
            error_code: KafkaError::INVALID_REQUEST,
            name: Some(Cow::Owned(topic.name.unwrap_or_default().to_owned())),
            topic_id: topic.topic_id,
            ..MetadataResponseTopic::default()
        });
        return Err(refused.collect());
    }
    let mut seen = HashSet::with_capacity(topics.len());
    let named = topics.iter().map(|topic| TopicName::of(topic.name, topic.topic_id));
    Ok(Wanted::Some(named.filter(|name| seen.insert(name.clone())).collect()))
}

/// The topics that are to be made before the answer.
fn missing(engine: &Engine, wanted: &Wanted) -> Vec<String> {
    let Wanted::Some(names) = wanted else { return Vec::new() };
    if !engine.config.auto_create_topics {
        return Vec::new();
    }
    let names = names.iter().filter_map(|name| match name {
        TopicName::Name(name) => Some(name),
        TopicName::Id(_) => None,
    });
    // Whoever asks for the broker's own topics does not make them.
    names.filter(|name| topics::find(engine, name).is_err() && !is_internal(name)).cloned().collect()
}

/// What an answer says besides its topics.
struct Answering {
    endpoint: Endpoint,
    cluster_operations: bool,
    topic_operations: bool,
}

impl Answering {
    fn with(&self, engine: &Engine, topics: Vec<MetadataResponseTopic<'static>>) -> MetadataResponse<'_> {
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE_ID,
                host: Cow::Borrowed(&self.endpoint.host),
                port: i32::from(self.endpoint.port),
                rack: None,
            }],
            cluster_id: Some(cluster_id(engine).into()),
            controller_id: NODE_ID,
            topics,
            cluster_authorized_operations: operations(self.cluster_operations, CLUSTER_OPERATIONS),
            ..MetadataResponse::default()
        }
    }

    fn found(&self, engine: &Engine, wanted: Wanted) -> Vec<MetadataResponseTopic<'static>> {
        match wanted {
            Wanted::All => topics::list(engine).values().map(|topic| self.topic(topic)).collect(),
            Wanted::Some(names) => names.into_iter().map(|name| self.named(engine, name)).collect(),
        }
    }

    fn named(&self, engine: &Engine, wanted: TopicName) -> MetadataResponseTopic<'static> {
        match wanted.find(engine) {
            Ok(topic) => self.topic(&topic),
            Err(error) => {
                let (name, topic_id) = wanted.parts();
                MetadataResponseTopic {
                    error_code: error.kafka(),
                    is_internal: name.as_deref().is_some_and(is_internal),
                    name: name.map(Cow::Owned),
                    topic_id,
                    ..MetadataResponseTopic::default()
                }
            }
        }
    }

    fn topic(&self, topic: &Topic<Disk>) -> MetadataResponseTopic<'static> {
        MetadataResponseTopic {
            error_code: KafkaError::NONE,
            name: Some(Cow::Owned(topic.name.to_string())),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: topic
                .partitions
                .iter()
                .zip(0..)
                .map(|(one, number)| partition(one, number))
                .collect(),
            topic_authorized_operations: operations(self.topic_operations, TOPIC_OPERATIONS),
        }
    }
}

pub(super) fn partition(served: &Served<Disk>, number: i32) -> MetadataResponsePartition {
    let this_one = MetadataResponsePartition {
        partition_index: number,
        replica_nodes: vec![NODE_ID],
        ..MetadataResponsePartition::default()
    };
    match served {
        // A reader needs somebody to ask; who writes is told when it does.
        Served::Leader(partition) | Served::Below(partition, _) => MetadataResponsePartition {
            leader_id: NODE_ID,
            leader_epoch: partition.log.leader_epoch().get(),
            isr_nodes: vec![NODE_ID],
            ..this_one
        },
        Served::Offline(_) => MetadataResponsePartition {
            error_code: KafkaError::LEADER_NOT_AVAILABLE,
            leader_id: -1,
            leader_epoch: -1,
            offline_replicas: vec![NODE_ID],
            ..this_one
        },
    }
}

pub(super) fn operations(is_asked: bool, allowed: i32) -> i32 {
    if is_asked { allowed } else { NOT_ASKED }
}

/// Kafka's "not asked for".
const NOT_ASKED: i32 = i32::MIN;
/// A bit for each: read, write, create, delete, alter, describe, describe and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
