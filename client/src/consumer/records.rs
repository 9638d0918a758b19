//! Records as they were fetched: checked once, then read in place.
//!
//! A fetch brings whole batches. [`Records`] verifies each (checksum, header, every record's bounds) and decompresses
//! those that are compressed; from then on, nothing of it can fail. Records are read where they lie: borrowed from
//! [`Records`], or as [`ConsumerRecord`]s that share its memory and may outlive it.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Bytes;
use folio_record::{
    Batch, BatchError, BatchHeader, DecompressLimit, Header, LeaderEpoch, Offset, Record, RecordCursor,
    Timestamp, UnverifiedBatch,
};

use crate::TopicPartition;

/// Records of one partition, in order.
///
/// Iterating over a reference borrows each record from it; iterating over it by value gives records that can be kept.
#[derive(Clone)]
pub struct Records {
    topic_partition: TopicPartition,
    batches: Vec<CheckedBatch>,
    count: usize,
    next_offset: Offset,
    high_watermark: Offset,
    /// Of the last batch.
    leader_epoch: Option<LeaderEpoch>,
}

/// One record that shares the memory of the batch it came with: that stays for as long as any of its records.
#[derive(Clone)]
pub struct ConsumerRecord {
    topic_partition: TopicPartition,
    bytes: Bytes,
    /// Before this record.
    cursor: RecordCursor,
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// The records of a [`Records`], borrowed.
#[derive(Clone)]
pub struct RecordsIter<'a> {
    batches: std::slice::Iter<'a, CheckedBatch>,
    batch: Option<(&'a CheckedBatch, RecordCursor)>,
    left: usize,
}

/// The records of a [`Records`], each by itself.
pub struct RecordsIntoIter {
    topic_partition: TopicPartition,
    batches: std::vec::IntoIter<CheckedBatch>,
    batch: Option<(CheckedBatch, RecordCursor)>,
    left: usize,
}

/// A batch all of whose records were seen to be well-formed.
#[derive(Clone)]
struct CheckedBatch {
    header: BatchHeader,
    /// Its records, decompressed.
    bytes: Bytes,
    /// The first offset that was asked for; earlier ones in the batch are passed over.
    from: Offset,
}

impl Records {
    /// Reads batches from `bytes`, whose first record of interest is at `from`. What is damaged ends them: the error
    /// stands beside what was good before it.
    pub(crate) fn read(
        topic_partition: TopicPartition,
        bytes: &Bytes,
        from: Offset,
        high_watermark: Offset,
        limit: DecompressLimit,
    ) -> (Self, Result<(), BatchError>) {
        let mut records = Self {
            topic_partition,
            batches: Vec::new(),
            count: 0,
            next_offset: from,
            high_watermark,
            leader_epoch: None,
        };
        let mut rest = &bytes[..];
        let mut first = true;
        while !rest.is_empty() {
            let (batch, behind) = match UnverifiedBatch::split_first(rest) {
                Ok(split) => split,
                Err(error) => return (records, Err(error)),
            };
            if let Err(error) = batch.verify().and_then(|batch| records.add(bytes, &batch, first, limit)) {
                return (records, Err(error));
            }
            rest = behind;
            first = false;
        }
        (records, Ok(()))
    }

    fn add(
        &mut self,
        all: &Bytes,
        batch: &Batch<'_>,
        first: bool,
        limit: DecompressLimit,
    ) -> Result<(), BatchError> {
        let header = *batch.header();
        let from = self.next_offset;
        // The first batch holds what was asked for and may begin before it; the others follow one another. The checksum
        // does not cover the base offset: this is all that stands between a flipped bit in it and records out of place.
        if header.last_offset() < from || (!first && header.base_offset < from) {
            return Err(BatchError::Offsets {
                base_offset: header.base_offset.get(),
                last_offset_delta: header.last_offset_delta,
            });
        }
        if !header.attributes.is_control() {
            let block = batch.records(limit)?;
            let mut count = 0;
            for record in &block {
                count += usize::from(record?.offset >= from);
            }
            let bytes = match block.into_bytes() {
                std::borrow::Cow::Borrowed(block) => all.slice_ref(block),
                std::borrow::Cow::Owned(block) => block.into(),
            };
            if count > 0 {
                self.batches.push(CheckedBatch { header, bytes, from });
                self.count += count;
            }
        }
        self.next_offset = header.next_offset();
        self.leader_epoch = Some(header.leader_epoch);
        Ok(())
    }

    /// Where they are from.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offset to go on from. More than the last record's plus one where compaction or a broker's marks left a gap.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The offset after the newest record that could be read when these were fetched.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The leader epoch that the last of them was written in; `None` without any.
    pub(super) fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// Goes through them in order.
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter { batches: self.batches.iter(), batch: None, left: self.count }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

impl IntoIterator for Records {
    type Item = ConsumerRecord;
    type IntoIter = RecordsIntoIter;

    fn into_iter(self) -> RecordsIntoIter {
        RecordsIntoIter {
            topic_partition: self.topic_partition,
            batches: self.batches.into_iter(),
            batch: None,
            left: self.count,
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("topic_partition", &self.topic_partition)
            .field("len", &self.count)
            .field("next_offset", &self.next_offset)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            if let Some((batch, cursor)) = &mut self.batch {
                // Every record was seen to be well-formed, so an error cannot come; the end is what would follow it.
                while let Some(Ok(record)) = cursor.next(&batch.bytes) {
                    if record.offset >= batch.from {
                        self.left = self.left.saturating_sub(1);
                        return Some(record);
                    }
                }
            }
            let batch = self.batches.next()?;
            self.batch = Some((batch, RecordCursor::new(&batch.header)));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordsIter<'_> {}
impl FusedIterator for RecordsIter<'_> {}

impl Iterator for RecordsIntoIter {
    type Item = ConsumerRecord;

    fn next(&mut self) -> Option<ConsumerRecord> {
        loop {
            if let Some((batch, cursor)) = &mut self.batch {
                let mut before = cursor.clone();
                while let Some(Ok(record)) = cursor.next(&batch.bytes) {
                    if record.offset >= batch.from {
                        self.left = self.left.saturating_sub(1);
                        return Some(ConsumerRecord {
                            topic_partition: self.topic_partition.clone(),
                            bytes: batch.bytes.clone(),
                            cursor: before,
                            offset: record.offset,
                            timestamp: record.timestamp,
                            key: record.key.map(|key| range_in(&batch.bytes, key)),
                            value: record.value.map(|value| range_in(&batch.bytes, value)),
                        });
                    }
                    before = cursor.clone();
                }
            }
            let batch = self.batches.next()?;
            let cursor = RecordCursor::new(&batch.header);
            self.batch = Some((batch, cursor));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordsIntoIter {}
impl FusedIterator for RecordsIntoIter {}

impl ConsumerRecord {
    /// Where it is from.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Its place in the partition.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Its time.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Its key; no key is not an empty key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|range| &self.bytes[range])
    }

    /// Its value; no value (a tombstone) is not an empty value.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|range| &self.bytes[range])
    }

    /// The value as bytes that share the batch's memory.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.clone().map(|range| self.bytes.slice(range))
    }

    /// Its headers, in order, duplicates included.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let record = self.cursor.clone().next(&self.bytes).and_then(Result::ok);
        record.into_iter().flat_map(|record| record.headers)
    }
}

impl fmt::Debug for ConsumerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerRecord")
            .field("topic_partition", &self.topic_partition)
            .field("offset", &self.offset)
            .field("key", &self.key().map(<[u8]>::len))
            .field("value", &self.value().map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// Where `part` lies in `whole`, of which it is a part.
fn range_in(whole: &Bytes, part: &[u8]) -> Range<usize> {
    // An empty part may be a reference to anywhere.
    let start =
        (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len() - part.len());
    start..start + part.len()
}

#[cfg(test)]
mod tests;
