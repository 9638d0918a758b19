//! SyncGroup: the leader's division of the work, to everybody.

use std::borrow::Cow;

use bytes::Bytes;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::groups::event::Sync;
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<SyncGroupRequest<'_>>(reply) else { return };
    let asked = request.asked;
    let names_protocol = message.protocol_type.is_some() && message.protocol_name.is_some();
    if asked.version >= VERSION_OF_PROTOCOLS && !names_protocol {
        return asked.respond(reply, &refused(KafkaError::INCONSISTENT_GROUP_PROTOCOL));
    }
    let assignment = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let assignments =
        message.assignments.iter().map(|one| (one.member_id.into(), assignment(one.assignment)));
    let sync = Sync {
        group: message.group_id.into(),
        member: message.member_id.into(),
        instance: message.group_instance_id.map(Into::into),
        generation: message.generation_id,
        protocol_type: message.protocol_type.map(Into::into),
        protocol: message.protocol_name.map(Into::into),
        assignments: assignments.collect(),
    };
    let reply = reply.later();
    groups::sync(&kafka.engine, sync, move |synced| match synced {
        Ok(synced) => {
            let answer = SyncGroupResponse {
                error_code: KafkaError::NONE,
                protocol_type: Some(Cow::Borrowed(&synced.protocol_type)),
                protocol_name: Some(Cow::Borrowed(&synced.protocol)),
                assignment: Cow::Borrowed(&synced.assignment),
                ..SyncGroupResponse::default()
            };
            asked.respond_later(reply, &answer);
        }
        Err(error) => asked.respond_later(reply, &refused(group_error(&error))),
    });
}

/// From here on a member says what it takes the protocol to be (KIP-559).
const VERSION_OF_PROTOCOLS: i16 = 5;

fn refused(error_code: KafkaError) -> SyncGroupResponse<'static> {
    SyncGroupResponse { error_code, ..SyncGroupResponse::default() }
}
