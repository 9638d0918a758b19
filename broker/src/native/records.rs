//! Deleting the oldest records. It waits for the disk, entry by entry.

use folio_channel::Responder;
use folio_record::Offset;
use folio_wire::native::ErrorCode;
use folio_wire::native::records::{RecordsDeleteAnswerV1, RecordsDeleteRequestV1, RecordsDeletedV1};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header_of_many, respond_later};
use crate::engine::Engine;
use crate::service::topics;

pub(super) fn delete(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &RecordsDeleteRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let wants: Vec<(String, u32, i64)> =
        message.entries.iter().map(|entry| (entry.topic.to_owned(), entry.partition, entry.before)).collect();
    let (head, reply) = (request.head, reply.later());
    engine.admin.run(move |engine| {
        let entries = wants.into_iter().map(|(topic, partition, before)| {
            let before = (before != -1).then(|| Offset::new(before));
            let deleted = topics::partition(engine, &topic, partition)
                .and_then(|partition| topics::delete_records(engine, &partition, before));
            let (error, message) = code(&deleted);
            RecordsDeletedV1 { error, message, log_start: deleted.map_or(-1, Offset::get) }
        });
        let entries = entries.collect();
        respond_later(head, &RecordsDeleteAnswerV1 { error: ErrorCode::NONE, message: None, entries }, reply);
    });
}
