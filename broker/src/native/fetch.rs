//! Fetch.

use std::time::{Duration, Instant};

use folio_channel::{Reply, Responder};
use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset};
use folio_wire::native::fetch::{FetchAnswerV1, FetchRequestV1, FetchedV1};
use folio_wire::native::{Answer, ErrorCode, Head};

use super::codec::{NativeRequest, NativeResponse};
use super::{encoded, header, respond, send, send_later};
use crate::error::ServiceError;
use crate::purgatory::Ticket;
use crate::service::fetch::{
    AnswerFetch, Fetch, Limits, Outcome, Places, Standing, Want, check_entries, cold_job,
};
use crate::service::topics;
use crate::shard::{Shard, WaitingFetch};

/// The fetches of a connection that wait. They go with it: how long a fetch waits is for the peer to say, and one that
/// comes and goes would leave behind more and more of them.
#[derive(Default)]
pub(super) struct Waiting(Vec<Ticket>);

impl Waiting {
    fn add(&mut self, shard: &mut Shard, ticket: Ticket) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|ticket| shard.has_fetch(*ticket));
            // Half of it free, or this would be the next thing to do again.
            self.0.reserve(self.0.len() + 1);
        }
        self.0.push(ticket);
    }

    pub(super) fn forget(&mut self, shard: &mut Shard) {
        self.0.drain(..).for_each(|ticket| shard.forget_fetch(ticket));
    }
}

pub(super) fn call(
    shard: &mut Shard,
    places: &mut Places,
    waiting: &mut Waiting,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<FetchRequestV1<'_>>(request, reply) else { return };
    let head = request.head;
    let named = message.entries.iter().map(|entry| (entry.topic, entry.partition));
    if let Err(error) = check_entries(named) {
        return respond(head, &FetchAnswerV1::refused(error.native(), error.text), reply);
    }
    let wants = message.entries.iter().map(|entry| {
        let partition = topics::readable(&shard.engine, entry.topic, entry.partition);
        let place = places.of(&partition);
        let leader_epoch = (entry.leader_epoch >= 0).then(|| LeaderEpoch::new(entry.leader_epoch));
        let (offset, max_bytes) = (Offset::new(entry.offset), entry.max_bytes as usize);
        Want { partition, offset, max_bytes, leader_epoch, last_epoch: None, place }
    });
    let bytes_max = shard.engine.config.fetch_max_bytes.min(request.answer_max);
    let max_bytes = (message.max_bytes as usize).min(bytes_max);
    let min_bytes = (message.min_bytes as usize).min(max_bytes);
    let limits = Limits { min_bytes, max_bytes, batch_max: request.answer_max };
    let mut fetch = Fetch::new(shard.engine.config.read_path, limits, wants.collect());
    if shard.engine.health.has_failed() {
        let refused = fetch.refused(&ServiceError::storage_failed());
        return send(reply, answer_of(head, refused));
    }
    let later = |reply: Reply<NativeResponse>| -> AnswerFetch {
        Box::new(move |found: Vec<Outcome>| send_later(reply, answer_of(head, found)))
    };
    match fetch.begin(message.max_wait_ms > 0) {
        Standing::Enough => send(reply, answer_of(head, fetch.finish(&shard.engine))),
        Standing::Cold => shard.engine.readers.run(cold_job(fetch, later(reply.later()))),
        Standing::TooLittle => {
            let deadline = Instant::now() + Duration::from_millis(u64::from(message.max_wait_ms));
            if let Some(ticket) =
                shard.park_fetch(deadline, WaitingFetch::new(fetch, later(reply.later()), None))
            {
                waiting.add(shard, ticket);
            }
        }
    }
}

fn answer_of(head: Head, found: Vec<Outcome>) -> Option<NativeResponse> {
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
