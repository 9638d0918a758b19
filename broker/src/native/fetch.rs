//! Fetch.

use std::time::{Duration, Instant};

use folio_channel::Responder;
use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset};
use folio_wire::native::fetch::{FetchAnswerV1, FetchRequestV1, FetchedV1};
use folio_wire::native::{ErrorCode, Head};

use super::codec::{NativeRequest, NativeResponse};
use super::{encoded, header};
use crate::error::ServiceError;
use crate::service::fetch::{Collected, Fetch, Found, Want, cold_job};
use crate::service::topics;
use crate::shard::{Shard, WaitingFetch};

pub(super) fn call(shard: &mut Shard, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some(message) = header::<FetchRequestV1<'_>>(request) else { return };
    let head = request.head;
    let wants = message.entries.iter().map(|entry| Want {
        partition: topics::partition(&shard.engine, entry.topic, entry.partition),
        offset: Offset::new(entry.offset),
        max_bytes: entry.max_bytes as usize,
        leader_epoch: (entry.leader_epoch >= 0).then(|| LeaderEpoch::new(entry.leader_epoch)),
    });
    let fetch = Fetch {
        min_bytes: (message.min_bytes as usize).min(shard.engine.config.fetch_max_bytes),
        max_bytes: (message.max_bytes as usize).min(shard.engine.config.fetch_max_bytes),
        wants: wants.collect(),
        answer: Box::new(move |found| answer_of(head, found)),
    };
    if shard.engine.health.has_failed() {
        if let Some(response) = fetch.refuse(&ServiceError::storage_failed()) {
            reply.send(response);
        }
        return;
    }
    let waits = message.max_wait_ms > 0;
    if waits && !fetch.has_enough() {
        let deadline = Instant::now() + Duration::from_millis(u64::from(message.max_wait_ms));
        shard.park_fetch(deadline, WaitingFetch { reply: reply.later(), fetch });
        return;
    }
    match fetch.collect_warm() {
        Collected::Ready(found) => {
            let engine = std::sync::Arc::clone(&shard.engine);
            if let Some(response) = fetch.answer(&engine, found) {
                reply.send(response);
            }
        }
        Collected::Cold => shard.engine.readers.send([cold_job(fetch, reply.later())]),
    }
}

fn answer_of(head: Head, found: Vec<Result<Found, ServiceError>>) -> Option<NativeResponse> {
    let mut records = Vec::new();
    let entries = found.into_iter().map(|outcome| match outcome {
        Err(error) => FetchedV1 {
            error: error.native(),
            message: Some(error.text),
            high_watermark: -1,
            log_start: -1,
            leader_epoch: -1,
            record_bytes: 0,
        },
        Ok(found) => {
            let record_bytes = found.slice.as_ref().map_or(0, MapSlice::len);
            records.extend(found.slice);
            FetchedV1 {
                error: found.error.as_ref().map_or(ErrorCode::NONE, ServiceError::native),
                message: found.error.map(|error| error.text),
                high_watermark: found.high_watermark.get(),
                log_start: found.log_start.get(),
                leader_epoch: found.leader_epoch.get(),
                record_bytes: u32::try_from(record_bytes).unwrap_or(u32::MAX),
            }
        }
    });
    let entries = entries.collect();
    encoded(head, &FetchAnswerV1 { error: ErrorCode::NONE, message: None, entries }, records)
}
