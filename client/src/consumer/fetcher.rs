//! The part of a consumer that lives on the client's thread: what to ask next, and what to make of the answers.
//!
//! Where partitions are fetched, one is in one request at a time. Those that can be asked for go into one fetch
//! together; while it waits at the broker for more to come, others may join the next, up to [`FETCHES_MAX`]. Where they
//! are subscribed to, see [`streams`](super::streams).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use folio_record::{BatchHeader, HEADER_SIZE, Offset};

use super::config::{OutOfRange, Position};
use super::state::{Item, Next, Shared, State};
use super::streams::Streams;
use crate::backoff::Jitter;
use crate::{Backoff, CallError, OffsetSpec, PollError, Refusal, TopicPartition};

/// Decides what is asked next.
pub(crate) struct Fetcher {
    pub(super) shared: Arc<Shared>,
    /// Something may have changed since [`next_fetch`](Self::next_fetch) or [`next_order`](Self::next_order) found
    /// nothing to ask.
    pub(super) look: bool,
    /// When a partition that failed for the moment may be asked again.
    pub(super) next_retry: Option<Instant>,
    pub(super) streams: Streams,
    in_flight: usize,
    backoff: Backoff,
    jitter: Jitter,
}

/// A request for records.
pub(crate) struct Fetch {
    pub(crate) parts: Vec<FetchPart>,
    pub(crate) wait_max: Duration,
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: usize,
    pub(crate) partition_bytes_max: usize,
}

/// One partition of a [`Fetch`].
pub(crate) struct FetchPart {
    slot: usize,
    generation: u64,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) offset: Offset,
}

/// What a fetch says of one partition.
pub(crate) enum Fetched {
    Records { bytes: Bytes, high_watermark: Offset, log_start: Offset },
    OutOfRange { high_watermark: Offset, log_start: Offset },
    Refused(Refusal),
}

/// A request for places.
pub(crate) struct Lookup {
    pub(crate) parts: Vec<LookupPart>,
}

/// One partition of a [`Lookup`].
pub(crate) struct LookupPart {
    slot: usize,
    generation: u64,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) spec: OffsetSpec,
    /// So many offsets before it.
    back: u64,
}

impl Fetcher {
    pub(crate) fn new(shared: Arc<Shared>, backoff: Backoff) -> Self {
        Self {
            shared,
            look: false,
            next_retry: None,
            streams: Streams::default(),
            in_flight: 0,
            backoff,
            jitter: Jitter::random(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    /// The consumer has changed something.
    pub(crate) fn signalled(&mut self) {
        self.look = true;
    }

    pub(crate) fn turn(&mut self, now: Instant) {
        if self.next_retry.is_some_and(|at| at <= now) {
            self.next_retry = None;
            self.look = true;
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_retry
    }

    /// Whether there may be something to ask.
    pub(crate) fn wants_to_send(&self) -> bool {
        self.look && self.in_flight < FETCHES_MAX
    }

    /// Places to be looked up.
    pub(crate) fn next_lookup(&mut self, now: Instant) -> Option<Lookup> {
        if !self.wants_to_send() {
            return None;
        }
        let mut state = self.shared.lock();
        let mut parts = Vec::new();
        for (at, slot) in state.slots.iter_mut().enumerate() {
            let Next::Unknown(position) = slot.next else { continue };
            if !slot.is_askable(now) {
                continue;
            }
            let (spec, back) = match position {
                Position::Earliest => (OffsetSpec::Earliest, 0),
                Position::Latest => (OffsetSpec::Latest, 0),
                Position::Since(time) => (OffsetSpec::Since(time), 0),
                Position::BeforeEnd(back) => (OffsetSpec::Latest, back),
                Position::At(offset) => {
                    slot.next = Next::At { offset, clamped: false };
                    continue;
                }
            };
            slot.asked = true;
            let topic_partition = slot.topic_partition.clone();
            parts.push(LookupPart { slot: at, generation: slot.generation, topic_partition, spec, back });
        }
        drop(state);
        if parts.is_empty() {
            return None;
        }
        self.in_flight += 1;
        Some(Lookup { parts })
    }

    /// Records to be fetched.
    pub(crate) fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
        if !self.wants_to_send() {
            return None;
        }
        let config = &self.shared.config;
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let room = config.prefetch_bytes.saturating_sub(state.buffered + state.promised);
        let nothing_yet = state.buffered + state.promised == 0;
        let per_partition = config.partition_bytes_max.min(config.fetch_bytes_max);
        let may_fetch = nothing_yet || room >= per_partition.min(config.prefetch_bytes);
        let mut parts = Vec::new();
        let mut retry = self.next_retry;
        for (at, slot) in state.slots.iter_mut().enumerate() {
            if parts.len() == PARTS_MAX {
                break; // the others go into the next fetch
            }
            if let Some(at) = slot.not_before.filter(|at| *at > now) {
                retry = Some(retry.map_or(at, |other| other.min(at)));
                continue;
            }
            let Next::At { offset, .. } = slot.next else { continue };
            if slot.paused || slot.asked {
                continue;
            }
            if !may_fetch || slot.waiting() >= WAITING_MAX {
                state.starved = true;
                continue;
            }
            slot.asked = true;
            let topic_partition = slot.topic_partition.clone();
            parts.push(FetchPart { slot: at, generation: slot.generation, topic_partition, offset });
        }
        self.next_retry = retry;
        if parts.is_empty() {
            self.look = false;
            return None;
        }
        let most = per_partition.saturating_mul(parts.len()).min(config.fetch_bytes_max);
        let bytes_max = most.min(room.max(per_partition.min(config.prefetch_bytes)));
        state.promised += bytes_max;
        drop(guard);
        self.in_flight += 1;
        Some(Fetch {
            parts,
            wait_max: config.wait_max,
            bytes_min: config.bytes_min,
            bytes_max,
            partition_bytes_max: per_partition,
        })
    }

    /// The answers to a fetch have come, one for each part.
    pub(crate) fn fetched(&mut self, fetch: Fetch, answers: Vec<Fetched>, now: Instant) {
        self.landed();
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.lock();
        let state = &mut *guard;
        state.promised -= fetch.bytes_max;
        for (part, answer) in fetch.parts.into_iter().zip(answers) {
            if let Some(slot) = state.current(part.slot, part.generation) {
                slot.asked = false;
                self.take(state, part.slot, part.offset, answer, now);
            }
        }
        drop(guard);
        self.shared.notify();
    }

    /// What came of the partition at `at`, from `offset` on.
    pub(super) fn take(
        &mut self,
        state: &mut State,
        at: usize,
        offset: Offset,
        answer: Fetched,
        now: Instant,
    ) {
        let slot = &mut state.slots[at];
        match answer {
            Fetched::Records { bytes, high_watermark, log_start } => {
                slot.failures = 0;
                slot.high_watermark = Some(high_watermark);
                slot.log_start = Some(log_start);
                if !bytes.is_empty() {
                    slot.next = match offset_behind(&bytes, offset) {
                        Some(offset) => Next::At { offset, clamped: false },
                        None => Next::Stopped, // the error is found when it is handed out
                    };
                    let bytes = owned(bytes);
                    state.push(at, Item::Fetched { bytes, from: offset, high_watermark });
                }
            }
            Fetched::OutOfRange { high_watermark, log_start } => {
                self.out_of_range(state, at, offset, (log_start, high_watermark), now);
            }
            Fetched::Refused(refusal) => {
                let backoff = |failed| self.backoff.after(failed, &mut self.jitter);
                refused(state, at, refusal, now, backoff);
            }
        }
    }

    /// There is no record at `offset`: goes on elsewhere, or stops.
    fn out_of_range(
        &mut self,
        state: &mut State,
        at: usize,
        offset: Offset,
        (log_start, high_watermark): (Offset, Offset),
        now: Instant,
    ) {
        let slot = &mut state.slots[at];
        slot.high_watermark = Some(high_watermark);
        slot.log_start = Some(log_start);
        let topic_partition = slot.topic_partition.clone();
        let clamped = matches!(slot.next, Next::At { clamped: true, .. });
        let target = match self.shared.config.out_of_range {
            _ if clamped => log_start,
            OutOfRange::Earliest => log_start,
            OutOfRange::Latest => high_watermark,
            OutOfRange::Fail => {
                let error = PollError::OutOfRange { topic_partition, offset, log_start, high_watermark };
                return state.stop_behind(at, error);
            }
        };
        tracing::info!(
            partition = %topic_partition, %offset, %target,
            "the offset is out of range: going on elsewhere"
        );
        slot.go_on_at(target);
        // Twice in a row is one too often: what the broker says is not what it holds.
        slot.failures += 1;
        if slot.failures > 1 {
            slot.not_before = Some(now + self.backoff.after(slot.failures, &mut self.jitter));
        }
    }

    /// A fetch has no answer. The connection has its own pauses: as soon as it is back, the partitions are asked again.
    pub(crate) fn fetch_failed(&mut self, fetch: Fetch) {
        self.landed();
        let mut state = self.shared.lock();
        state.promised -= fetch.bytes_max;
        for part in fetch.parts {
            if let Some(slot) = state.current(part.slot, part.generation) {
                slot.asked = false;
            }
        }
    }

    /// The answers to a lookup have come, one for each part. `None`: there is no such record.
    pub(crate) fn looked_up(
        &mut self,
        lookup: Lookup,
        answers: Vec<Result<Option<Offset>, Refusal>>,
        now: Instant,
    ) {
        self.landed();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        for (part, answer) in lookup.parts.into_iter().zip(answers) {
            let Some(slot) = state.current(part.slot, part.generation) else { continue };
            slot.asked = false;
            match answer {
                Ok(Some(offset)) => {
                    let back = i64::try_from(part.back).unwrap_or(i64::MAX);
                    let offset = Offset::new(offset.get().saturating_sub(back).max(0));
                    slot.failures = 0;
                    slot.position = Some(offset);
                    slot.next = Next::At { offset, clamped: part.back > 0 };
                }
                // All records are older than that: what comes next is not.
                Ok(None) => slot.next = Next::Unknown(Position::Latest),
                Err(refusal) => {
                    let backoff = |failed| self.backoff.after(failed, &mut self.jitter);
                    refused(state, part.slot, refusal, now, backoff);
                }
            }
        }
        drop(guard);
        self.shared.notify();
    }

    /// A lookup has no answer.
    pub(crate) fn lookup_failed(&mut self, lookup: Lookup) {
        self.landed();
        let mut state = self.shared.lock();
        for part in lookup.parts {
            if let Some(slot) = state.current(part.slot, part.generation) {
                slot.asked = false;
            }
        }
    }

    /// Nothing can be asked, or nobody could be reached for a long time: whoever polls is told, once.
    pub(crate) fn nothing_comes(&mut self, trouble: &CallError) {
        let mut state = self.shared.lock();
        if state.slots.is_empty() {
            return; // nothing is assigned; the member of a group tells itself
        }
        state.away = Some(trouble.clone());
        drop(state);
        self.shared.notify();
    }

    fn landed(&mut self) {
        self.in_flight -= 1;
        self.look = true;
    }
}

/// However the client's thread ends, nobody waits for it any longer.
impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.notify();
    }
}

fn refused(
    state: &mut State,
    at: usize,
    refusal: Refusal,
    now: Instant,
    backoff: impl FnOnce(u32) -> Duration,
) {
    let slot = &mut state.slots[at];
    if refusal.code.is_retriable() {
        slot.failures += 1;
        slot.not_before = Some(now + backoff(slot.failures));
    } else {
        let topic_partition = slot.topic_partition.clone();
        state.stop_behind(at, PollError::Refused { topic_partition, refusal });
    }
}

/// The offset behind whole batches that begin at or before `from`, as their headers say. Nothing is verified here: that
/// is done where they are handed out, by the thread that wants them. `None`: they make no sense.
fn offset_behind(bytes: &Bytes, from: Offset) -> Option<Offset> {
    let mut next = from;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest.first_chunk::<HEADER_SIZE>()?).ok()?;
        rest = rest.get(header.total_size()..)?;
        if header.last_offset() < next {
            return None;
        }
        next = header.next_offset();
    }
    Some(next)
}

/// Small pieces get memory of their own: they would keep a large read buffer alive for as long as they are kept.
fn owned(bytes: Bytes) -> Bytes {
    if bytes.len() <= COPIED_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// Fetches of one consumer on their way at the same time.
const FETCHES_MAX: usize = 4;
/// Partitions of one fetch; a broker refuses more.
const PARTS_MAX: usize = 10_000;
/// Answers of one partition that wait to be handed out; then it is not asked for.
const WAITING_MAX: usize = 2;
/// See [`owned`].
const COPIED_MAX: usize = 32 << 10;
