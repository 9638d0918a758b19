//! DescribeQuorum: the metadata of this cluster is kept by one voter, the broker itself.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, ResponsePartition,
    ResponseTopic,
};

use super::{KafkaResponder, KafkaService, NODE_ID, Request};
use crate::engine::now;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeQuorumRequest<'_>>(reply) else { return };
    let is_quorums = |name: &str, index: i32| (name, index) == (METADATA_TOPIC, 0);
    // Who asks for something else alone is not told of the voters either.
    let is_told = (message.topics.iter()).any(|topic| {
        topic.partitions.iter().any(|wanted| is_quorums(topic.topic_name, wanted.partition_index))
    });
    let topics = message.topics.iter().map(|topic| ResponseTopic {
        topic_name: Cow::Borrowed(topic.topic_name),
        partitions: (topic.partitions.iter())
            .map(|wanted| match is_quorums(topic.topic_name, wanted.partition_index) {
                true => quorum(kafka),
                false => ResponsePartition {
                    partition_index: wanted.partition_index,
                    error_code: KafkaError::UNKNOWN_TOPIC_OR_PARTITION,
                    ..ResponsePartition::default()
                },
            })
            .collect(),
    });
    let listener = Listener {
        name: Cow::Borrowed("CONTROLLER"),
        host: Cow::Borrowed(&kafka.endpoint.host),
        port: kafka.endpoint.port,
    };
    let nodes = match request.asked.version {
        ..=1 => Vec::new(),
        _ if !is_told => Vec::new(),
        _ => vec![Node { node_id: NODE_ID, listeners: vec![listener] }],
    };
    let answer =
        DescribeQuorumResponse { topics: topics.collect(), nodes, ..DescribeQuorumResponse::default() };
    request.asked.respond(reply, &answer);
}

/// The log that Kafka keeps its metadata in.
const METADATA_TOPIC: &str = "__cluster_metadata";

fn quorum(kafka: &KafkaService) -> ResponsePartition<'static> {
    let revision = kafka.engine.dir.revision().get();
    let end = i64::try_from(revision).unwrap_or(i64::MAX);
    let now = now().get();
    let this_one = ReplicaState {
        replica_id: NODE_ID,
        log_end_offset: end,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
        ..ReplicaState::default()
    };
    ResponsePartition {
        leader_id: NODE_ID,
        leader_epoch: 1,
        high_watermark: end,
        current_voters: vec![this_one],
        ..ResponsePartition::default()
    }
}
