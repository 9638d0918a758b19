//! Sealing: a segment that nobody appends to any more is read from end to end, verified, and gets the footer that a start
//! trusts. So what was acknowledged is checked once more, minutes after it was written.
//!
//! The new index is complete and on stable storage before it takes the place of the old one. A crash leaves the old index
//! or the new one, and either is right.

use std::io;
use std::path::PathBuf;

use folio_record::{Batch, LeaderEpoch, Offset, Timestamp};
use thiserror::Error;

use super::Log;
use super::append::{AppendError, failed};
use super::mend::Built;
use super::rot::is_of_the_disk;
use super::segment::Segment;
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{IndexHeader, IndexKind, Indexer, OffsetEntry, SegmentUid, TimeEntry};
use crate::partition_files::SegmentFile;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step};
use crate::verdict::Fault;

/// A segment that was to be sealed is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}, byte {position}: {fault}. Offsets from {offset} on are affected", file.display())]
pub struct Rotten {
    /// The log file, relative to the data directory.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// The first offset concerned.
    pub offset: Offset,
    /// What is wrong.
    pub fault: Fault,
}

/// What became of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Every one that can be sealed is.
    Nothing,
    /// The one that begins here, of so many bytes.
    Segment(Offset, u64),
    /// One that is damaged. It stays as it is, and is not tried again by this run.
    Rotten(Rotten),
}

impl<F: Files> Log<F> {
    /// Seals the oldest segment that is closed, durable, and not sealed yet. For the maintenance thread: it reads all of
    /// the segment.
    ///
    /// # Errors
    /// As for an append that rolls. The segment is as good as before, and is tried again.
    pub fn seal_next(&self, now: Timestamp) -> Result<Sealed, AppendError> {
        let view = self.view.load_full();
        let durable = self.durable_tail().segment_base;
        let mut closed = view.windows(2).filter(|pair| pair[1].base() <= durable);
        let Some(pair) = closed.find(|pair| pair[0].wants_seal()) else { return Ok(Sealed::Nothing) };
        let segment = &pair[0];
        let built = match self.verified(segment, pair[1].base(), now) {
            Ok(Ok(built)) => built,
            Ok(Err(rotten)) => {
                segment.leave_unsealed();
                self.mark_rotten(&rotten);
                return Ok(Sealed::Rotten(rotten));
            }
            // Its files are on their way out.
            Err(error) if self.is_retired() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Sealed::Nothing);
            }
            Err(source) => return Err(failed(&self.dir, segment.base(), source)),
        };
        self.put(segment, built)?;
        Ok(Sealed::Segment(segment.base(), segment.end()))
    }

    /// Reads all of a segment from the disk's side of the descriptor, and makes the indexes that it should have.
    fn verified(
        &self,
        segment: &Segment,
        next_base: Offset,
        now: Timestamp,
    ) -> io::Result<Result<Built, Rotten>> {
        let path = SegmentFile::Log.path(&self.dir, segment.base());
        let file = {
            let _names = self.names();
            self.files.open(&path, OpenMode::Read)?
        };
        let rotten =
            |position, offset, fault| Ok(Err(Rotten { file: path.clone(), position, offset, fault }));
        let interval = self.interval_of(segment);
        let mut seal = Sealing::new(segment.base(), segment.uid(), interval);
        let epoch_max = LeaderEpoch::new(i32::MAX);
        let may_have_gaps = segment.may_have_gaps();
        let rules = Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto: segment.gaps_upto(), epoch_max };
        let mut scan = Scan::new(&file, 0, segment.base(), LeaderEpoch::NONE, rules)?;
        loop {
            let (position, offset) = (scan.at(), scan.expected());
            match scan.next() {
                Ok(Step::Batch { at, batch }) => seal.batch(at, &batch),
                Ok(Step::End) => break,
                Ok(Step::Fault(fault)) => return rotten(position, offset, fault),
                // What the disk does not give back is this segment's affair, and nobody else's.
                Err(error) if is_of_the_disk(&error) => return rotten(position, offset, Fault::Unreadable),
                Err(error) => return Err(error),
            }
        }
        let (len, ends) = (scan.at(), scan.expected());
        if len != segment.end() {
            let fault = Fault::ShortFile { len: file.len()?, durable: segment.end() };
            return rotten(len, ends, fault);
        }
        if ends > next_base || ends < next_base && !may_have_gaps {
            return rotten(len, ends, Fault::Hole { ends, next_base });
        }
        Ok(Ok(seal.finish(len, next_base, may_have_gaps, now)))
    }
}

/// The indexes of a segment, as its batches are told one after the other.
pub(super) struct Sealing {
    base: Offset,
    uid: SegmentUid,
    interval: u32,
    indexer: Indexer,
    offsets: Vec<u8>,
    times: Vec<u8>,
    log: crc32fast::Hasher,
    block: crc32fast::Hasher,
    batches: u32,
    min_timestamp: Option<Timestamp>,
    epochs: Option<(LeaderEpoch, LeaderEpoch)>,
}

impl Sealing {
    pub(super) fn new(base: Offset, uid: SegmentUid, interval: u32) -> Self {
        let header = |kind| IndexHeader { kind, base, uid, interval }.encode().to_vec();
        Self {
            base,
            uid,
            interval,
            indexer: Indexer::new(base, interval),
            offsets: header(IndexKind::Offset),
            times: header(IndexKind::Time),
            log: crc32fast::Hasher::new(),
            block: crc32fast::Hasher::new(),
            batches: 0,
            min_timestamp: None,
            epochs: None,
        }
    }

    pub(super) fn batch(&mut self, at: u64, batch: &Batch<'_>) {
        let header = batch.header();
        let numbers = (self.indexer.offset_entries(), self.indexer.time_entries());
        // No segment is longer than a position can say.
        let indexed = self.indexer.batch(u32::try_from(at).unwrap_or(u32::MAX), header);
        if let Some(entry) = indexed.offset {
            let block_crc = std::mem::take(&mut self.block).finalize();
            self.offsets.extend(OffsetEntry { block_crc, ..entry }.encode(self.uid, numbers.0));
        }
        self.time(indexed.time, numbers.1);
        self.log.update(batch.bytes());
        self.block.update(batch.bytes());
        self.batches += 1;
        let (time, epoch) = (header.base_timestamp, header.leader_epoch);
        // With a delete horizon it is that, and without records nothing.
        if header.count > 0 && !header.attributes.has_delete_horizon() {
            self.min_timestamp = Some(self.min_timestamp.map_or(time, |min| min.min(time)));
        }
        let (min, max) = self.epochs.unwrap_or((epoch, epoch));
        self.epochs = Some((min.min(epoch), max.max(epoch)));
    }

    fn time(&mut self, entry: Option<TimeEntry>, number: u32) {
        self.times.extend(entry.iter().flat_map(|entry| entry.encode(self.uid, number)));
    }

    pub(super) fn finish(
        mut self,
        log_len: u64,
        next_offset: Offset,
        has_gaps: bool,
        now: Timestamp,
    ) -> Built {
        let number = self.indexer.time_entries();
        let last = self.indexer.rolled();
        self.time(last, number);
        let max = self.indexer.max_timestamp();
        let (min_epoch, max_epoch) = self.epochs.unwrap_or((LeaderEpoch::NONE, LeaderEpoch::NONE));
        let footer = Footer {
            entries: self.indexer.offset_entries(),
            log_len,
            log_crc: self.log.finalize(),
            tail_crc: self.block.finalize(),
            first_offset: self.base,
            next_offset,
            max_timestamp: max.map_or(Timestamp::NONE, |max| max.timestamp),
            max_timestamp_at: max.map_or(self.base, |max| max.batch),
            min_timestamp: self.min_timestamp.unwrap_or(Timestamp::NONE),
            batches: self.batches,
            has_gaps,
            min_epoch,
            max_epoch,
            sealed_at: now,
        };
        let files = [(IndexKind::Offset, self.offsets), (IndexKind::Time, self.times)];
        Built { files, interval: self.interval, footer: Some(footer) }
    }
}
