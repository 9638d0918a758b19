//! Metadata.

use folio_channel::Responder;
use folio_wire::native::ErrorCode;
use folio_wire::native::metadata::{MetadataAnswerV1, MetadataRequestV1, TopicMetadataV1};

use super::codec::{NativeRequest, NativeResponse};
use super::{header_of_many, respond};
use crate::engine::{Disk, Engine};
use crate::service::topics;
use crate::view::{Served, Topic};

pub(super) fn call(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &MetadataRequestV1<'_>| message.topics.as_ref().map_or(0, Vec::len);
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let topics = match message.topics {
        None => topics::list(engine).values().map(|topic| found(topic)).collect(),
        Some(names) => names
            .into_iter()
            .map(|name| match topics::find(engine, name) {
                Ok(topic) => found(&topic),
                Err(error) => TopicMetadataV1 {
                    error: error.native(),
                    name: name.to_owned(),
                    id: [0; 16],
                    leader_epochs: Vec::new(),
                },
            })
            .collect(),
    };
    let cluster_id = *engine.dir.node().cluster.as_bytes();
    let answer = MetadataAnswerV1 { error: ErrorCode::NONE, message: None, cluster_id, topics };
    respond(request.head, &answer, reply);
}

fn found(topic: &Topic<Disk>) -> TopicMetadataV1 {
    TopicMetadataV1 {
        error: ErrorCode::NONE,
        name: topic.name.to_string(),
        id: *topic.id.as_bytes(),
        leader_epochs: topic
            .partitions
            .iter()
            .map(|one| match one {
                Served::Leader(partition) | Served::Below(partition, _) => partition.log.leader_epoch().get(),
                Served::Offline(_) => -1,
            })
            .collect(),
    }
}
