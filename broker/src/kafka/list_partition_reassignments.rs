//! ListPartitionReassignments: with one broker no partition ever moves.

use folio_wire::kafka::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{KafkaResponder, KafkaService, Request};
use crate::shard::Shard;

pub(super) fn call(_: &mut KafkaService, _: &mut Shard, request: &mut Request, reply: KafkaResponder<'_>) {
    let Some((_, reply)) = request.decode::<ListPartitionReassignmentsRequest<'_>>(reply) else { return };
    request.asked.respond(reply, &ListPartitionReassignmentsResponse::default());
}
