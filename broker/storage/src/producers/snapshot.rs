//! `<offset>.snapshot`: what a log remembered of its producers when it ended at that offset.
//!
//! Payload (an [envelope](crate::envelope), magic `LPS1`), big-endian:
//! ```text
//!  0         4
//!  | count n | n producers, by id |
//!
//!  producer  0    8       10                  14                 22          30
//!            | id | epoch | coordinator epoch | transaction's    | last time | count k | k <= 5 batches |
//!            |    |       | (-1)              | first offset (-1)|           | (u8)    |                |
//!
//!  batch     0               4               8             16            24
//!            | base sequence | last sequence | base offset | last offset | latest time |
//! ```
//! Kafka's own snapshot keeps the last batch alone; here all five are there, so that a copy of any of them is found out
//! after a restart as well.
//!
//! Nobody waits for a snapshot to reach the disk. One that is damaged, or missing, costs a longer replay.

use folio_record::{Offset, ProducerId, Timestamp};

use super::{BATCHES_KEPT, KeptBatch, Producer, Producers};
use crate::envelope::{ENVELOPE_SIZE_MAX, EnvelopeError, EnvelopeKind, PAYLOAD_SIZE_MAX};
use crate::layout::Fields;

impl Producers {
    /// The bytes of a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        let mut ids: Vec<&ProducerId> = self.known.keys().collect();
        ids.sort_unstable();
        let mut payload = (ids.len() as u32).to_be_bytes().to_vec();
        for id in ids {
            if let Some(producer) = self.known.get(id) {
                producer.encode(*id, &mut payload);
            }
        }
        SNAPSHOT.seal(&payload)
    }

    /// Reads a snapshot of a log that ended at `end`. Whoever is in it was heard of `now`; at most `max` are kept.
    pub fn decode(bytes: &[u8], end: Offset, max: usize, now: Timestamp) -> Result<Self, EnvelopeError> {
        let mut fields = Fields::new(SNAPSHOT.open(bytes)?);
        let count = u32::from_be_bytes(fields.take().ok_or(EnvelopeError::Payload)?);
        let mut producers = Self::new(SNAPSHOT_PRODUCERS_MAX);
        let mut last_id = None;
        for _ in 0..count {
            let (id, producer) = Producer::decode(&mut fields, end, now).ok_or(EnvelopeError::Payload)?;
            if last_id.replace(id) >= Some(id) {
                return Err(EnvelopeError::Payload);
            }
            producers.known.insert(id, producer);
        }
        if !fields.is_empty() {
            return Err(EnvelopeError::Payload);
        }
        producers.set_max(max);
        Ok(producers)
    }

    fn set_max(&mut self, max: usize) {
        self.max = Self::new(max).max;
        while self.known.len() > self.max {
            self.make_room();
        }
        self.settle();
    }
}

impl Producer {
    fn encode(&self, id: ProducerId, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&id.get().to_be_bytes());
        payload.extend_from_slice(&self.epoch.to_be_bytes());
        payload.extend_from_slice(&NO_COORDINATOR.to_be_bytes());
        payload.extend_from_slice(&NO_TRANSACTION.to_be_bytes());
        payload.extend_from_slice(&self.last_timestamp.get().to_be_bytes());
        payload.push(self.count);
        for batch in self.batches() {
            payload.extend_from_slice(&batch.base_sequence.to_be_bytes());
            payload.extend_from_slice(&batch.last_sequence.to_be_bytes());
            payload.extend_from_slice(&batch.base_offset.get().to_be_bytes());
            payload.extend_from_slice(&batch.last_offset.get().to_be_bytes());
            payload.extend_from_slice(&batch.timestamp.get().to_be_bytes());
        }
    }

    fn decode(fields: &mut Fields<'_>, end: Offset, now: Timestamp) -> Option<(ProducerId, Self)> {
        let id = ProducerId::new(i64::from_be_bytes(fields.take()?));
        let mut producer = Self::new(i16::from_be_bytes(fields.take()?));
        let coordinator = i32::from_be_bytes(fields.take()?);
        let transaction = i64::from_be_bytes(fields.take()?);
        producer.last_timestamp = Timestamp::new(i64::from_be_bytes(fields.take()?));
        let [count] = fields.take()?;
        let is_possible = id.get() >= 0
            && producer.epoch >= 0
            && (coordinator, transaction) == (NO_COORDINATOR, NO_TRANSACTION)
            && usize::from(count) <= BATCHES_KEPT;
        if !is_possible {
            return None;
        }
        let last_timestamp = producer.last_timestamp;
        for _ in 0..count {
            let batch = KeptBatch::decode(fields)?;
            let follows = producer.batches().last().is_none_or(|last| last.last_offset < batch.base_offset);
            if !follows || batch.last_offset >= end {
                return None;
            }
            producer.push(batch, now);
        }
        producer.last_timestamp = last_timestamp;
        producer.seen = now;
        Some((id, producer))
    }
}

impl KeptBatch {
    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let batch = Self {
            base_sequence: i32::from_be_bytes(fields.take()?),
            last_sequence: i32::from_be_bytes(fields.take()?),
            base_offset: Offset::new(i64::from_be_bytes(fields.take()?)),
            last_offset: Offset::new(i64::from_be_bytes(fields.take()?)),
            timestamp: Timestamp::new(i64::from_be_bytes(fields.take()?)),
        };
        let is_possible = batch.base_sequence >= 0
            && batch.last_sequence >= 0
            && batch.base_offset >= Offset::ZERO
            && batch.base_offset <= batch.last_offset;
        is_possible.then_some(batch)
    }
}

/// The most producers that a snapshot has room for, and hence a log.
pub const SNAPSHOT_PRODUCERS_MAX: usize = 80_000;
/// The largest snapshot.
pub const SNAPSHOT_SIZE_MAX: usize = ENVELOPE_SIZE_MAX;

const SNAPSHOT: EnvelopeKind = EnvelopeKind { magic: *b"LPS1", version: 1 };
const NO_COORDINATOR: i32 = -1;
const NO_TRANSACTION: i64 = -1;
const COUNT_SIZE: usize = size_of::<u32>();
const BATCH_SIZE: usize = 2 * size_of::<i32>() + 3 * size_of::<i64>();
const PRODUCER_SIZE: usize = 3 * size_of::<i64>() + size_of::<i16>() + size_of::<i32>() + size_of::<u8>();
const PRODUCER_SIZE_MAX: usize = PRODUCER_SIZE + BATCHES_KEPT * BATCH_SIZE;
const _: () = assert!(COUNT_SIZE + SNAPSHOT_PRODUCERS_MAX * PRODUCER_SIZE_MAX <= PAYLOAD_SIZE_MAX);
const _: () = assert!(PRODUCER_SIZE == 31);
const _: () = assert!(BATCH_SIZE == 32);
