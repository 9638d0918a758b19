//! DescribeGroups: groups and their members.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::metadata::operations;
use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::error::{Fault, ServiceError};
use crate::groups::answer;
use crate::groups::event::Describe;
use crate::service::groups::{self, Gather};
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DescribeGroupsRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let operations = operations(message.include_authorized_operations, GROUP_OPERATIONS);
    let named: Vec<String> = message.groups.iter().map(|&group| group.to_owned()).collect();
    let gather = Gather::new(named.len(), move |described: Vec<_>| {
        let groups = named.iter().zip(&described).map(|(name, outcome)| {
            let group = match outcome {
                Ok(group) => found(group),
                Err(error) => refused(error, name, asked.version),
            };
            // Nothing is told of what may be done with a group beside an error.
            let authorized_operations = match group.error_code {
                KafkaError::NONE => operations,
                _ => group.authorized_operations,
            };
            DescribedGroup { group_id: Cow::Borrowed(name), authorized_operations, ..group }
        });
        let groups = groups.collect();
        asked.respond_later(reply, &DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() });
    });
    for (number, group) in message.groups.into_iter().enumerate() {
        let gather = gather.clone();
        groups::describe(&kafka.engine, Describe { group: group.into() }, move |described| {
            gather.put(number, described);
        });
    }
}

/// Read, delete, describe, describe and alter configs.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// From here on a group that is not there is an error.
const VERSION_OF_UNKNOWN_GROUPS: i16 = 6;

/// What members say is told while the group is stable; what they have also while it rebalances.
fn found(group: &answer::DescribedGroup) -> DescribedGroup<'_> {
    let members = group.members.iter().map(|member| DescribedGroupMember {
        member_id: Cow::Borrowed(&member.member),
        group_instance_id: member.instance.as_deref().map(Cow::Borrowed),
        client_id: Cow::Borrowed(&member.client_id),
        // As Java writes an address.
        client_host: Cow::Owned(format!("/{}", member.client_host)),
        member_metadata: Cow::Borrowed(&member.metadata[..]),
        member_assignment: Cow::Borrowed(&member.assignment[..]),
    });
    DescribedGroup {
        error_code: KafkaError::NONE,
        group_state: Cow::Borrowed(group.state.name()),
        protocol_type: Cow::Borrowed(&group.protocol_type),
        protocol_data: Cow::Borrowed(group.protocol.as_deref().unwrap_or_default()),
        members: members.collect(),
        ..DescribedGroup::default()
    }
}

fn refused(error: &ServiceError, name: &str, version: i16) -> DescribedGroup<'static> {
    if error.fault != Fault::UnknownGroup {
        return DescribedGroup { error_code: group_error(error), ..DescribedGroup::default() };
    }
    let dead = DescribedGroup { group_state: Cow::Borrowed("Dead"), ..DescribedGroup::default() };
    if version < VERSION_OF_UNKNOWN_GROUPS {
        return dead;
    }
    let error_message = Some(Cow::Owned(format!("Group {name} not found.")));
    DescribedGroup { error_code: KafkaError::GROUP_ID_NOT_FOUND, error_message, ..dead }
}
