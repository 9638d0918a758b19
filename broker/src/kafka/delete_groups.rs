//! DeleteGroups: groups away, with their offsets, which are kept so that `folio group undo` can bring them back.

use std::borrow::Cow;

use folio_wire::kafka::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::{KafkaResponder, KafkaService, Request, group_code};
use crate::error::ServiceError;
use crate::service::group_admin;
use crate::service::groups::Gather;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<DeleteGroupsRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let named: Vec<String> = message.groups_names.iter().map(|&group| group.to_owned()).collect();
    let gather = Gather::new(named.len(), move |deleted: Vec<Result<(), ServiceError>>| {
        let results = named.into_iter().zip(deleted).map(|(group, outcome)| DeletableGroupResult {
            group_id: Cow::Owned(group),
            error_code: group_code(&outcome),
            error_message: outcome.err().map(|error| Cow::Owned(error.text)),
        });
        let results = results.collect();
        asked.respond_later(reply, &DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() });
    });
    for (number, group) in message.groups_names.into_iter().enumerate() {
        let gather = gather.clone();
        let who = group_admin::who(&kafka.client_id, &kafka.host);
        group_admin::delete(&kafka.engine, group.into(), who, false, move |deleted| {
            gather.put(number, deleted.map(drop));
        });
    }
}
