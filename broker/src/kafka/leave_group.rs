//! LeaveGroup: members go; several at once from version 3 on.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

use super::{KafkaResponder, KafkaService, Request, group_code, group_error};
use crate::error::ServiceError;
use crate::groups::answer::Left;
use crate::groups::event::{Leave, Leaver};
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<LeaveGroupRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let is_alone = asked.version < VERSION_OF_BATCHES;
    let members = if is_alone {
        vec![Leaver { member: message.member_id.into(), instance: None, reason: None }]
    } else {
        let leavers = message.members.iter().map(|member| Leaver {
            member: member.member_id.into(),
            instance: member.group_instance_id.map(Into::into),
            reason: member.reason.map(Into::into),
        });
        leavers.collect()
    };
    let leave = Leave { group: message.group_id.into(), members };
    groups::leave(&kafka.engine, leave, move |outcome| {
        asked.respond_later(reply, &if is_alone { answer_to_one(&outcome) } else { answer(&outcome) });
    });
}

const VERSION_OF_BATCHES: i16 = 3;

fn answer_to_one(outcome: &Result<Vec<Left>, ServiceError>) -> LeaveGroupResponse<'_> {
    let error_code = match outcome {
        Ok(left) => left.first().map_or(KafkaError::NONE, |left| group_code(&left.result)),
        Err(error) => group_error(error),
    };
    LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
}

fn answer(outcome: &Result<Vec<Left>, ServiceError>) -> LeaveGroupResponse<'_> {
    let left = outcome.iter().flatten().map(|left| MemberResponse {
        member_id: Cow::Borrowed(&left.member),
        group_instance_id: left.instance.as_deref().map(Cow::Borrowed),
        error_code: group_code(&left.result),
    });
    let (error_code, members) = (group_code(outcome), left.collect());
    LeaveGroupResponse { error_code, members, ..LeaveGroupResponse::default() }
}
