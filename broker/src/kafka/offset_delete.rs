//! OffsetDelete: offsets of a group away.

use std::borrow::Cow;

use folio_wire::kafka::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{KafkaResponder, KafkaService, Request, group_code};
use crate::groups::event::OffsetDelete;
use crate::service::groups;
use crate::shard::Shard;

pub(super) fn call(
    kafka: &mut KafkaService,
    _: &mut Shard,
    request: &mut Request,
    reply: KafkaResponder<'_>,
) {
    let Some((message, reply)) = request.decode::<OffsetDeleteRequest<'_>>(reply) else { return };
    let (asked, reply) = (request.asked, reply.later());
    let (mut named, mut partitions) = (Vec::new(), Vec::new());
    for topic in &message.topics {
        let numbers: Vec<i32> = topic.partitions.iter().map(|one| one.partition_index).collect();
        partitions.extend(numbers.iter().map(|number| (topic.name.into(), *number)));
        named.push((topic.name.to_owned(), numbers));
    }
    let delete = OffsetDelete { group: message.group_id.into(), partitions };
    groups::delete_offsets(&kafka.engine, delete, move |outcome| {
        asked.respond_later(reply, &answer(named, outcome));
    });
}

/// A group that is refused as a whole has no partitions to tell of.
fn answer(named: Vec<(String, Vec<i32>)>, outcome: groups::OfEach) -> OffsetDeleteResponse<'static> {
    let error_code = group_code(&outcome);
    let Ok(each) = outcome else {
        return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
    };
    let mut each = each.into_iter();
    let topics = named.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().zip(&mut each);
        let partitions = partitions.map(|(partition_index, outcome)| OffsetDeleteResponsePartition {
            partition_index,
            error_code: group_code(&outcome),
        });
        OffsetDeleteResponseTopic { name: Cow::Owned(name), partitions: partitions.collect() }
    });
    OffsetDeleteResponse { topics: topics.collect(), ..OffsetDeleteResponse::default() }
}
