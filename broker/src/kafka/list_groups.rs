//! ListGroups: all groups.

use std::borrow::Cow;

use folio_wire::kafka::KafkaError;
use folio_wire::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::{KafkaResponder, KafkaService, Request, group_error};
use crate::groups::event::List;
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<ListGroupsRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    let list = List { states: words(message.states_filter), types: words(message.types_filter) };
    groups::list(&kafka.engine, list, move |listed| {
        let (error_code, groups) = match &listed {
            Ok(groups) => (KafkaError::NONE, &groups[..]),
            Err(error) => (group_error(error), &[][..]),
        };
        let groups = groups.iter().map(|group| ListedGroup {
            group_id: Cow::Borrowed(&group.group),
            protocol_type: Cow::Borrowed(&group.protocol_type),
            group_state: Cow::Borrowed(group.state.name()),
            group_type: Cow::Borrowed("classic"),
        });
        let groups = groups.collect();
        asked.respond_later(
            reply,
            &ListGroupsResponse { error_code, groups, ..ListGroupsResponse::default() },
        );
    });
}
