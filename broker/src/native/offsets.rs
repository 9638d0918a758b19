//! ListOffsets. A search by time may wait for a disk; the ends never do.

use folio_channel::Responder;
use folio_record::Timestamp;
use folio_wire::native::ErrorCode;
use folio_wire::native::offsets::{ListOffsetsAnswerV1, ListOffsetsRequestV1, ListedOffsetV1, OffsetSpec};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header_of_many, respond, respond_later};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::service::topics;

pub(super) fn call(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &ListOffsetsRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let head = request.head;
    let wants: Vec<(String, u32, OffsetSpec)> =
        message.entries.iter().map(|entry| (entry.topic.to_owned(), entry.partition, entry.spec)).collect();
    let is_search = wants.iter().any(|(_, _, spec)| matches!(spec, OffsetSpec::AtTime(_)));
    if !is_search {
        respond(head, &answer(engine, &wants), reply);
        return;
    }
    let reply = reply.later();
    engine.readers.run(move |engine| respond_later(head, &answer(engine, &wants), reply));
}

fn answer(engine: &Engine, wants: &[(String, u32, OffsetSpec)]) -> ListOffsetsAnswerV1 {
    let entries = wants.iter().map(|(topic, partition, spec)| {
        let found = find(engine, topic, *partition, *spec);
        let (error, message) = code(&found);
        let (offset, timestamp, leader_epoch) = found.unwrap_or((-1, -1, -1));
        ListedOffsetV1 { error, message, offset, timestamp, leader_epoch }
    });
    ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
}

/// Offset, time and leader epoch.
fn find(
    engine: &Engine,
    topic: &str,
    partition: u32,
    spec: OffsetSpec,
) -> Result<(i64, i64, i32), ServiceError> {
    let partition = topics::partition(engine, topic, partition)?;
    let log = &partition.log;
    let epoch = log.leader_epoch().get();
    match spec {
        OffsetSpec::Earliest => Ok((log.log_start().get(), -1, epoch)),
        OffsetSpec::Latest => Ok((log.high_watermark().get(), -1, epoch)),
        OffsetSpec::AtTime(time) => {
            let hit =
                log.offset_for_time(Timestamp::new(time)).map_err(|error| ServiceError::of_read(&error))?;
            Ok(hit.map_or((-1, -1, epoch), |hit| (hit.offset.get(), hit.timestamp.get(), epoch)))
        }
    }
}
