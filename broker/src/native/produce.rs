//! Produce.

use std::time::{Duration, Instant};

use folio_channel::Responder;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::{Acks, ProduceAnswerV1, ProduceRequestV1, ProducedV1};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header_of_many, respond_later};
use crate::error::{Fault, ServiceError};
use crate::service::produce::{self, UnpackBudget};
use crate::shard::{AnswerProduce, Produced, Shard};

pub(super) fn call(shard: &mut Shard, mut request: NativeRequest, reply: Responder<'_, NativeResponse>) {
    let mut records = std::mem::take(&mut request.records);
    let head = request.head;
    let count = |message: &ProduceRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(&request, reply, count) else { return };
    let claimed: u64 = message.entries.iter().map(|entry| u64::from(entry.record_bytes)).sum();
    let has = records.len();
    let mut budget = UnpackBudget::new(&shard.engine);
    let entries = message.entries.iter().map(|entry| {
        if claimed != has as u64 {
            let text = format!("the entries claim {claimed} record bytes, the frame has {has}");
            return Err(ServiceError::new(Fault::InvalidRequest, text));
        }
        let batches = records.split_to(entry.record_bytes as usize);
        produce::admit(&shard.engine, entry.topic, entry.partition, batches, &mut budget)
    });
    let entries: Vec<_> = entries.collect();

    if message.acks == Acks::None {
        reply.none();
        shard.produce_unanswered(entries);
        return;
    }
    let reply = reply.later();
    let answer: AnswerProduce = Box::new(move |produced| respond_later(head, &answer_of(produced), reply));
    let deadline = Instant::now() + Duration::from_millis(u64::from(message.timeout_ms));
    shard.produce(entries, message.acks == Acks::All, deadline, answer);
}

fn answer_of(produced: Vec<Produced>) -> ProduceAnswerV1 {
    let entries = produced.into_iter().map(|outcome| {
        let (error, message) = code(&outcome);
        let (base_offset, log_append_time, log_start) = outcome.map_or((-1, -1, -1), |stored| {
            (stored.base_offset.get(), stored.append_time.get(), stored.log_start.get())
        });
        ProducedV1 { error, message, base_offset, log_append_time, log_start }
    });
    ProduceAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
}
