//! JoinGroup: into a group, or out of the rebalance that it waits in.

use std::borrow::Cow;

use bytes::Bytes;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use uuid::Uuid;

use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::groups::answer::{Joined, NotJoined};
use crate::groups::event::{Join, Protocol};
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<JoinGroupRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let protocols = message.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.into(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    });
    let join = Join {
        group: message.group_id.into(),
        member: message.member_id.into(),
        instance: message.group_instance_id.map(Into::into),
        client_id: kafka.client_id.clone(),
        client_host: kafka.host.clone(),
        session_timeout_ms: message.session_timeout_ms,
        rebalance_timeout_ms: message.rebalance_timeout_ms,
        protocol_type: message.protocol_type.into(),
        protocols: protocols.collect(),
        reason: message.reason.map(Into::into),
        fresh: Uuid::new_v4(),
        member_id_required: asked.version >= VERSION_OF_REQUIRED_IDS,
        may_skip_assignment: asked.version >= VERSION_OF_SKIPPED_ASSIGNMENTS,
    };
    groups::join(&kafka.engine, join, move |joined| match &joined {
        Ok(joined) => asked.respond_later(reply, &joined_as(joined)),
        Err(refused) => asked.respond_later(reply, &refused_as(refused, asked.version)),
    });
}

/// Whoever is new is given an id first, and comes again with it (KIP-394).
const VERSION_OF_REQUIRED_IDS: i16 = 4;
/// A leader may be told not to divide the work (KIP-814).
const VERSION_OF_SKIPPED_ASSIGNMENTS: i16 = 9;
/// The chosen protocol may be null.
const VERSION_OF_NO_PROTOCOL: i16 = 7;

fn joined_as(joined: &Joined) -> JoinGroupResponse<'_> {
    let members = joined.members.iter().map(|member| JoinGroupResponseMember {
        member_id: Cow::Borrowed(&member.member),
        group_instance_id: member.instance.as_deref().map(Cow::Borrowed),
        metadata: Cow::Borrowed(&member.metadata),
    });
    JoinGroupResponse {
        error_code: KafkaError::NONE,
        generation_id: joined.generation,
        protocol_type: Some(Cow::Borrowed(&joined.protocol_type)),
        protocol_name: Some(Cow::Borrowed(&joined.protocol)),
        leader: Cow::Borrowed(&joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: Cow::Borrowed(&joined.member),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

fn refused_as(refused: &NotJoined, version: i16) -> JoinGroupResponse<'_> {
    JoinGroupResponse {
        error_code: group_error(&refused.error),
        protocol_name: (version < VERSION_OF_NO_PROTOCOL).then_some(Cow::Borrowed("")),
        member_id: Cow::Borrowed(&refused.member),
        ..JoinGroupResponse::default()
    }
}
