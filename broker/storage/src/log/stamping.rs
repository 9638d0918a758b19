//! Offsets for what is to be appended, one behind the other; and what is refused by itself.
//!
//! Invariant: who sends something that is no batch, too large or not its next is refused, and nobody beside it.

use bytes::BytesMut;
use folio_record::{
    BatchHeader, HEADER_SIZE, LeaderEpoch, Offset, Timestamp, TimestampType, set_log_append_time, stamp,
};
use thiserror::Error;

use super::append::AppendedRange;
use crate::producers::{Producers, SequenceError, Sequenced, is_numbered};

/// Why one buffer is not appended. The fault of who sent it, or the fate of what was sent before; the others beside it
/// are appended all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its producer may not append it now.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// Not one or more whole batches, or a numbered one among several.
    #[error("not a whole record batch, or a batch of an idempotent producer that does not come alone")]
    NotABatch,
    /// Larger than the topic allows.
    #[error("a batch of {size} bytes where at most {max} are allowed")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The largest allowed.
        max: u64,
    },
    /// Batches that are to be appended together and do not fit into one segment.
    #[error("batches of {size} bytes together where a segment takes {max}")]
    TooMany {
        /// Their size.
        size: u64,
        /// The largest possible.
        max: u64,
    },
}

/// Buffers that have their offsets.
pub(super) struct Stamped {
    /// Of each buffer.
    pub(super) outcomes: Vec<Result<AppendedRange, Refusal>>,
    /// Each batch that is to be written, and where it begins among all bytes that are.
    pub(super) batches: Vec<(u64, BatchHeader)>,
    /// The offset after the last.
    pub(super) next: Offset,
    /// Bytes to be written.
    pub(super) size: u64,
}

/// Gives batches their places, one behind the other.
pub(super) struct Stamping<'a> {
    pub(super) producers: &'a mut Producers,
    /// The latest time that was given to records because they were appended then.
    pub(super) append_time: &'a mut Timestamp,
    /// Of the next batch.
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) batch_size_max: u32,
    pub(super) now: Timestamp,
}

impl Stamping<'_> {
    pub(super) fn all(mut self, buffers: &mut [BytesMut]) -> Stamped {
        let (mut outcomes, mut batches) = (Vec::with_capacity(buffers.len()), Vec::new());
        let mut size = 0;
        for buffer in buffers {
            let base_offset = self.next;
            let before = batches.len();
            let outcome = self.place(buffer, size, &mut batches);
            if outcome.as_ref().is_ok_and(|range| !range.is_duplicate) {
                size += buffer.len() as u64;
            } else {
                // Its place is that of whoever comes after it.
                batches.truncate(before);
                self.next = base_offset;
            }
            outcomes.push(outcome);
        }
        Stamped { outcomes, batches, next: self.next, size }
    }

    /// The place of one buffer, which begins at `at` if it is appended.
    fn place(
        &mut self,
        buffer: &mut [u8],
        at: u64,
        batches: &mut Vec<(u64, BatchHeader)>,
    ) -> Result<AppendedRange, Refusal> {
        let (base_offset, before) = (self.next, batches.len());
        self.stamp(buffer, at, batches)?;
        match batches[before..] {
            [(_, header)] => Ok(match self.producers.check(&header, self.now)? {
                Sequenced::Next => range(base_offset, &header),
                Sequenced::Duplicate { base_offset, last_offset, max_timestamp } => AppendedRange {
                    base_offset,
                    last_offset,
                    is_duplicate: true,
                    append_time: append_time(&header, max_timestamp),
                },
            }),
            [] => Err(Refusal::NotABatch),
            ref several if several.iter().any(|(_, header)| is_numbered(header)) => Err(Refusal::NotABatch),
            [.., (_, last)] => Ok(range(base_offset, &last)),
        }
    }

    /// Stamps the batches of one buffer, which begins at `at`, and adds them to `batches`.
    fn stamp(
        &mut self,
        buffer: &mut [u8],
        mut at: u64,
        batches: &mut Vec<(u64, BatchHeader)>,
    ) -> Result<(), Refusal> {
        let mut from = 0;
        while from < buffer.len() {
            let header = buffer[from..].first_chunk::<HEADER_SIZE>().ok_or(Refusal::NotABatch)?;
            let header = BatchHeader::parse(header).map_err(|_| Refusal::NotABatch)?;
            let size = header.total_size();
            if size > self.batch_size_max as usize {
                return Err(Refusal::TooLarge { size: size as u64, max: u64::from(self.batch_size_max) });
            }
            let batch = buffer.get_mut(from..from + size).ok_or(Refusal::NotABatch)?;
            if header.attributes.timestamp_type() == TimestampType::LogAppend {
                self.keep_time(batch, header.max_timestamp);
            }
            stamp(batch, self.next, self.epoch);
            let stamped =
                batch.first_chunk::<HEADER_SIZE>().and_then(|header| BatchHeader::parse(header).ok());
            let stamped = stamped.ok_or(Refusal::NotABatch)?;
            self.next = stamped.next_offset();
            batches.push((at, stamped));
            from += size;
            at += size as u64;
        }
        Ok(())
    }

    /// The times that are given to a log's records do not fall: who gave this batch its time did not know which one
    /// comes before it, and a clock may be put right by a little.
    fn keep_time(&mut self, batch: &mut [u8], time: Timestamp) {
        let behind = self.append_time.get().saturating_sub(time.get());
        if (1..=CLOCK_BACK_MAX_MS).contains(&behind) {
            set_log_append_time(batch, *self.append_time);
        } else {
            *self.append_time = time;
        }
    }
}

/// Where a buffer is that begins at `base_offset` and ends with the batch that has this header.
fn range(base_offset: Offset, last: &BatchHeader) -> AppendedRange {
    let (last_offset, append_time) = (last.last_offset(), append_time(last, last.max_timestamp));
    AppendedRange { base_offset, last_offset, is_duplicate: false, append_time }
}

/// What a producer is told of a batch like this one, whose records have this time.
fn append_time(header: &BatchHeader, time: Timestamp) -> Timestamp {
    match header.attributes.timestamp_type() {
        TimestampType::LogAppend => time,
        TimestampType::Create => Timestamp::NONE,
    }
}

/// A clock that has gone back by more than this was wrong before, and is followed. Records would have that wrong time
/// for as long as it was ahead, and retention would keep them for as long.
const CLOCK_BACK_MAX_MS: i64 = 3600 * 1000;
