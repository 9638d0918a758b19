//! ElectLeaders: the one broker leads already.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use super::{KafkaResponder, KafkaService, Request, partition};
use crate::engine::Engine;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<ElectLeadersRequest<'_>>(reply) else { return };
    if !matches!(message.election_type, PREFERRED | UNCLEAN) {
        let error_code =
            if request.asked.version > 0 { KafkaError::INVALID_REQUEST } else { KafkaError::NONE };
        return request
            .asked
            .respond(reply, &ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() });
    }
    // Who asks for all of them is told of those that change hands: none.
    let topics = message.topic_partitions.unwrap_or_default();
    let results = topics.iter().map(|topic| ReplicaElectionResult {
        topic: Cow::Borrowed(topic.topic),
        partition_result: topic
            .partitions
            .iter()
            .map(|&index| result(&kafka.engine, topic.topic, index))
            .collect(),
    });
    let answer = ElectLeadersResponse {
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    };
    request.asked.respond(reply, &answer);
}

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

fn result(engine: &Engine, topic: &str, index: i32) -> PartitionResult<'static> {
    let (error_code, why) = match partition(engine, topic, index) {
        Ok(_) => {
            (KafkaError::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.".to_owned())
        }
        Err(error) => (error.kafka(), error.text),
    };
    PartitionResult { partition_id: index, error_code, error_message: Some(Cow::Owned(why)) }
}
