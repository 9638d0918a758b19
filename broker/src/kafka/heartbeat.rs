//! Heartbeat: a member is still there.

use folio_wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{KafkaResponder, KafkaService, Request, group_code};
use crate::groups::event::Heartbeat;
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<HeartbeatRequest<'_>>(reply) else { return };
    let heartbeat = Heartbeat {
        group: message.group_id.into(),
        member: message.member_id.into(),
        instance: message.group_instance_id.map(Into::into),
        generation: message.generation_id,
    };
    let (asked, reply) = (request.asked, reply.later());
    groups::heartbeat(&kafka.engine, heartbeat, move |outcome| {
        let error_code = group_code(&outcome);
        asked.respond_later(reply, &HeartbeatResponse { error_code, ..HeartbeatResponse::default() });
    });
}
