//! Idempotent producers of one partition: who they are, and which of their batches came last.
//!
//! A producer numbers its records; a batch carries the number of its first one. For each producer the last
//! [`BATCHES_KEPT`] batches of its present epoch are kept, with the offsets that they were given:
//!
//! ```text
//!  producer 7, epoch 2:  | 40..44 @ 100 | 45..45 @ 112 | 46..59 @ 113 |   next: 60
//!
//!  45..45 comes again   -> its offset of then, nothing is appended
//!  60.. of epoch 2      -> appended                 61.. -> out of order: something before it is missing
//!  0..  of epoch 3      -> appended, and the batches of epoch 2 are forgotten
//!  any  of epoch 1      -> refused: there is a newer incarnation
//! ```
//! The rules are those of Kafka's `ProducerStateManager` (KIP-98): numbers go on with 0 after 2^31 - 1, a new epoch
//! begins with 0, and of a producer that nobody remembers any first number is taken. One is stricter. A batch from
//! before the five is told as a duplicate, not as a gap, once five are kept: with at most five batches on their way,
//! its producer had an answer for it before the fifth behind it was sent. To send it again under a new epoch, as
//! clients do with a gap, would double it.
//!
//! Invariant: the state is a function of the batches in the log, whoever appended or replayed them. Only [`expire`]
//! depends on something else, the time.
//!
//! [`expire`]: Producers::expire

mod snapshot;

use std::collections::HashMap;
use std::fmt;

use folio_record::{BatchHeader, Offset, ProducerId, Timestamp};
use thiserror::Error;

pub use snapshot::{SNAPSHOT_PRODUCERS_MAX, SNAPSHOT_SIZE_MAX};

/// What a log remembers of its producers.
#[derive(Clone)]
pub struct Producers {
    known: HashMap<ProducerId, Producer>,
    max: usize,
    /// What was known before the batches since the last [`settle`](Self::settle), the latest change last.
    undo: Vec<(ProducerId, Option<Producer>)>,
}

/// One producer, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: ProducerId,
    /// The latest of its epochs.
    pub epoch: i16,
    /// The number of its last record; -1 if none is known.
    pub last_sequence: i32,
    /// The latest time in its last batch.
    pub last_timestamp: Timestamp,
}

/// What the log says to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequenced {
    /// It is next.
    Next,
    /// It is in the log.
    Duplicate {
        /// The offset that its first record was given.
        base_offset: Offset,
        /// And its last.
        last_offset: Offset,
        /// The latest time of its records.
        max_timestamp: Timestamp,
    },
}

/// Why a batch is not appended. The producer's fault, or the fate of what it sent before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// Something before it is missing (Kafka's `OUT_OF_ORDER_SEQUENCE_NUMBER`, 45).
    #[error("producer {producer} sends sequence {found} in epoch {epoch} where {expected} is due")]
    OutOfOrder {
        /// Who.
        producer: ProducerId,
        /// In which epoch.
        epoch: i16,
        /// The number that is due.
        expected: i32,
        /// The number that came.
        found: i32,
    },
    /// It was appended so long ago that its offset is forgotten (Kafka's `DUPLICATE_SEQUENCE_NUMBER`, 46).
    #[error("sequence {found} of producer {producer} was appended before the last {BATCHES_KEPT} batches")]
    Duplicate {
        /// Who.
        producer: ProducerId,
        /// The number that came.
        found: i32,
    },
    /// The producer id has a newer epoch (Kafka's `INVALID_PRODUCER_EPOCH`, 47).
    #[error("producer {producer} sends in epoch {found} and is in epoch {current} already")]
    InvalidEpoch {
        /// Who.
        producer: ProducerId,
        /// The epoch it is in.
        current: i16,
        /// The epoch of the batch.
        found: i16,
    },
}

/// One batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBatch {
    /// The number of its first record.
    pub base_sequence: i32,
    /// The number of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The latest time in it.
    pub timestamp: Timestamp,
}

/// A producer's last batches, oldest first.
#[derive(Debug, Clone, Copy)]
struct Producer {
    epoch: i16,
    last_timestamp: Timestamp,
    count: u8,
    batches: [KeptBatch; BATCHES_KEPT],
    /// When it was last heard of in this run. No part of the state: it says when that may be forgotten.
    seen: Timestamp,
}

impl Producers {
    /// Knows nobody, and will know `max` producers at most: one more, and those that have been silent for longest are
    /// forgotten as if they had expired.
    pub fn new(max: usize) -> Self {
        let max = max.clamp(1, SNAPSHOT_PRODUCERS_MAX);
        Self { known: HashMap::new(), max, undo: Vec::new() }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All of them, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        self.all().into_iter().map(|(active, _)| active).collect()
    }

    /// All of them, by id, each with the batches that are kept of it, oldest first.
    pub fn all(&self) -> Vec<(ActiveProducer, &[KeptBatch])> {
        let known = self.known.iter();
        let mut all: Vec<_> =
            known.map(|(id, producer)| (producer.active(*id), producer.batches())).collect();
        all.sort_unstable_by_key(|(active, _)| active.id);
        all
    }

    /// Judges a batch that wants to be appended with the offsets in `header`, and notes it if it is next. What was
    /// noted holds once it is [settled](Self::settle).
    ///
    /// # Errors
    /// It is not next, and none of the batches that are kept.
    pub(crate) fn check(&mut self, header: &BatchHeader, now: Timestamp) -> Result<Sequenced, SequenceError> {
        if !is_numbered(header) {
            return Ok(Sequenced::Next);
        }
        if let Some(producer) = self.known.get(&header.producer_id)
            && let Some(duplicate) = producer.judge(header)?
        {
            return Ok(Sequenced::Duplicate {
                base_offset: duplicate.base_offset,
                last_offset: duplicate.last_offset,
                max_timestamp: duplicate.timestamp,
            });
        }
        self.note(header, now);
        Ok(Sequenced::Next)
    }

    /// The batches that were checked are in the log.
    pub(crate) fn settle(&mut self) {
        self.undo.clear();
    }

    /// They are not: everything is as it was.
    pub(crate) fn take_back(&mut self) {
        while let Some((id, before)) = self.undo.pop() {
            match before {
                Some(producer) => self.known.insert(id, producer),
                None => self.known.remove(&id),
            };
        }
    }

    /// A batch is in the log.
    pub(crate) fn replay(&mut self, header: &BatchHeader, now: Timestamp) {
        if is_numbered(header) {
            self.note(header, now);
            self.settle();
        }
    }

    /// Forgets producers that have been silent for `expiration_ms`; returns how many.
    pub(crate) fn expire(&mut self, now: Timestamp, expiration_ms: u64) -> usize {
        let before = self.known.len();
        self.known.retain(|_, producer| {
            let silent = now.get().saturating_sub(producer.seen.get());
            u64::try_from(silent).unwrap_or(0) < expiration_ms
        });
        before - self.known.len()
    }

    /// Whether what both know is the same, whenever they learned of it.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let is_known = |(id, producer): (_, &Producer)| {
            other.known.get(id).is_some_and(|other| producer.is_same_as(other))
        };
        self.known.len() == other.known.len() && self.known.iter().all(is_known)
    }

    fn note(&mut self, header: &BatchHeader, now: Timestamp) {
        let id = header.producer_id;
        let before = self.known.get(&id).copied();
        self.undo.push((id, before));
        let mut producer = before
            .filter(|producer| producer.epoch == header.producer_epoch)
            .unwrap_or_else(|| Producer::new(header.producer_epoch));
        producer.push(KeptBatch::of(header), now);
        self.known.insert(id, producer);
        if self.known.len() > self.max {
            self.make_room();
        }
    }

    /// Forgets an eighth of all producers at once, so that the search for them is paid for by as many new ones.
    fn make_room(&mut self) {
        let mut by_age: Vec<_> =
            self.known.iter().map(|(id, producer)| (producer.last_offset(), *id)).collect();
        let gone = (by_age.len() / 8).max(1);
        by_age.select_nth_unstable(gone - 1);
        for (_, id) in &by_age[..gone] {
            let before = self.known.remove(id);
            self.undo.push((*id, before));
        }
    }
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producers").field("known", &self.known.len()).field("max", &self.max).finish()
    }
}

impl Producer {
    fn new(epoch: i16) -> Self {
        let blank = KeptBatch {
            base_sequence: 0,
            last_sequence: 0,
            base_offset: Offset::ZERO,
            last_offset: Offset::ZERO,
            timestamp: Timestamp::NONE,
        };
        Self {
            epoch,
            last_timestamp: Timestamp::NONE,
            count: 0,
            batches: [blank; BATCHES_KEPT],
            seen: Timestamp::NONE,
        }
    }

    fn batches(&self) -> &[KeptBatch] {
        &self.batches[..usize::from(self.count)]
    }

    fn push(&mut self, batch: KeptBatch, now: Timestamp) {
        if usize::from(self.count) == BATCHES_KEPT {
            self.batches.copy_within(1.., 0);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
        self.last_timestamp = batch.timestamp;
        self.seen = now;
    }

    /// The batch of ours that `header` is a copy of; `None` if it is next.
    fn judge(&self, header: &BatchHeader) -> Result<Option<KeptBatch>, SequenceError> {
        let (producer, epoch, found) = (header.producer_id, header.producer_epoch, header.base_sequence);
        if epoch < self.epoch {
            return Err(SequenceError::InvalidEpoch { producer, current: self.epoch, found: epoch });
        }
        if epoch > self.epoch {
            return if found == 0 {
                Ok(None)
            } else {
                Err(SequenceError::OutOfOrder { producer, epoch, expected: 0, found })
            };
        }
        let last = last_sequence(header);
        let is_copy = |batch: &&KeptBatch| (batch.base_sequence, batch.last_sequence) == (found, last);
        if let Some(kept) = self.batches().iter().find(is_copy) {
            return Ok(Some(*kept));
        }
        let expected = self.batches().last().map_or(0, |batch| sequence_after(batch.last_sequence, 1));
        if found == expected {
            return Ok(None);
        }
        let is_before =
            |kept: &KeptBatch| is_behind(found, kept.base_sequence) && is_behind(last, kept.base_sequence);
        if self.batches().len() == BATCHES_KEPT && self.batches().first().is_some_and(is_before) {
            return Err(SequenceError::Duplicate { producer, found });
        }
        Err(SequenceError::OutOfOrder { producer, epoch, expected, found })
    }

    fn last_offset(&self) -> Offset {
        self.batches().last().map_or(Offset::ZERO, |batch| batch.last_offset)
    }

    fn active(&self, id: ProducerId) -> ActiveProducer {
        ActiveProducer {
            id,
            epoch: self.epoch,
            last_sequence: self.batches().last().map_or(-1, |batch| batch.last_sequence),
            last_timestamp: self.last_timestamp,
        }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        (self.epoch, self.last_timestamp) == (other.epoch, other.last_timestamp)
            && self.batches() == other.batches()
    }
}

impl KeptBatch {
    fn of(header: &BatchHeader) -> Self {
        Self {
            base_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        }
    }
}

/// The batches that are kept of a producer: as many as it may have on their way.
pub const BATCHES_KEPT: usize = 5;

/// Whether its records are numbered by their producer. The broker's own markers carry a producer's id as well, and are
/// none of its batches.
pub(crate) fn is_numbered(header: &BatchHeader) -> bool {
    header.producer_id.get() >= 0
        && header.producer_epoch >= 0
        && header.base_sequence >= 0
        && !header.attributes.is_control()
}

/// The number of the last record of a batch.
fn last_sequence(header: &BatchHeader) -> i32 {
    sequence_after(header.base_sequence, header.last_offset_delta)
}

/// The number that comes `records` after `sequence`: 0 follows 2^31 - 1.
pub fn sequence_after(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

/// Whether `sequence` was given before `other`, by the shorter way round.
fn is_behind(sequence: i32, other: i32) -> bool {
    let ahead = other.wrapping_sub(sequence) & i32::MAX;
    ahead != 0 && ahead <= i32::MAX / 2
}

#[cfg(test)]
mod tests;
