//! DescribeCluster: the one broker.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::metadata::{CLUSTER_OPERATIONS, operations};
use super::{KafkaResponder, KafkaService, NODE_ID, Request, cluster_id};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeClusterRequest>(reply) else { return };
    let (error_code, why) = match message.endpoint_type {
        BROKERS => (KafkaError::NONE, None),
        CONTROLLERS => (
            KafkaError::MISMATCHED_ENDPOINT_TYPE,
            Some("The request was sent to an endpoint of the wrong type."),
        ),
        _ => (KafkaError::UNSUPPORTED_ENDPOINT_TYPE, Some("This endpoint type is not supported yet.")),
    };
    let this_one = || DescribeClusterBroker {
        broker_id: NODE_ID,
        host: Cow::Borrowed(&kafka.endpoint.host),
        port: i32::from(kafka.endpoint.port),
        ..DescribeClusterBroker::default()
    };
    let is_told = error_code == KafkaError::NONE;
    let answer = DescribeClusterResponse {
        error_code,
        error_message: why.map(Cow::Borrowed),
        endpoint_type: if request.asked.version == 0 { BROKERS } else { message.endpoint_type },
        cluster_id: if is_told { cluster_id(&kafka.engine).into() } else { "".into() },
        controller_id: if is_told { NODE_ID } else { -1 },
        brokers: is_told.then(this_one).into_iter().collect(),
        cluster_authorized_operations: operations(
            message.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..DescribeClusterResponse::default()
    };
    request.asked.respond(reply, &answer);
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
