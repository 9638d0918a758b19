//! Produce.

use std::time::{Duration, Instant};

use folio_channel::Responder;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::{Acks, ProduceAnswerV1, ProduceRequestV1, ProducedV1};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, encoded, header};
use crate::engine::{Pending, now};
use crate::error::{Fault, ServiceError};
use crate::service::produce::Checks;
use crate::service::topics;
use crate::shard::{AnswerProduce, EntryState, Produced, Shard, WaitingProduce};

pub(super) fn call(shard: &mut Shard, mut request: NativeRequest, reply: Responder<'_, NativeResponse>) {
    let mut records = std::mem::take(&mut request.records);
    let head = request.head;
    let Some((message, reply)) = header::<ProduceRequestV1<'_>>(&request, reply) else { return };
    let claimed: u64 = message.entries.iter().map(|entry| u64::from(entry.record_bytes)).sum();
    let fits = claimed == records.len() as u64;

    let mut entries = Vec::with_capacity(message.entries.len());
    let mut accepted = Vec::new();
    for (number, entry) in message.entries.iter().enumerate() {
        if !fits {
            let text = format!("the entries claim {claimed} record bytes, the frame has {}", records.len());
            entries.push(EntryState::Refused(ServiceError::new(Fault::InvalidRequest, text)));
            continue;
        }
        let batches = records.split_to(entry.record_bytes as usize);
        let checked = topics::partition(&shard.engine, entry.topic, entry.partition).and_then(|partition| {
            if shard.engine.health.has_failed() {
                return Err(ServiceError::storage_failed());
            }
            shard.engine.space.check()?;
            let settings = partition.settings.load();
            let decompress_max = shard.engine.config.decompress_max_bytes;
            Checks { settings: &settings, decompress_max, now: now() }.all(&batches)?;
            Ok(partition)
        });
        match checked {
            Ok(partition) => {
                accepted.push((number, partition, batches));
                entries.push(EntryState::Appending);
            }
            Err(error) => entries.push(EntryState::Refused(error)),
        }
    }

    if message.acks == Acks::None {
        reply.none();
        for (_, partition, batches) in accepted {
            shard.collect(&partition, Pending { batches, ticket: None });
        }
        return;
    }
    let answer: AnswerProduce = Box::new(move |produced| encoded(head, &answer_of(produced), Vec::new()));
    let reply = reply.later();
    let waits_for_watermark = message.acks == Acks::All;
    let deadline = Instant::now() + Duration::from_millis(u64::from(message.timeout_ms));
    let partitions: Vec<_> =
        accepted.iter().map(|(_, partition, _)| std::sync::Arc::clone(partition)).collect();
    let waiting = WaitingProduce { reply, answer, waits_for_watermark, entries };
    if accepted.is_empty() {
        waiting.finish();
        return;
    }
    let ticket = shard.park_produce(&partitions, deadline, waiting);
    for (number, partition, batches) in accepted {
        shard.collect(&partition, Pending { batches, ticket: Some((ticket, number)) });
    }
}

fn answer_of(produced: Vec<Produced>) -> ProduceAnswerV1 {
    let entries = produced.into_iter().map(|outcome| {
        let (error, message) = code(&outcome);
        let (base_offset, log_start) = outcome.map_or((-1, -1), |(base, start)| (base.get(), start.get()));
        ProducedV1 { error, message, base_offset, log_append_time: -1, log_start }
    });
    ProduceAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
}
