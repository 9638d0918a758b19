//! Sealing: a segment that nobody appends to any more is read from end to end, verified, and gets the footer that a
//! start trusts. So what was acknowledged is checked once more, minutes after it was written.
//!
//! It goes in steps of a bounded size, and reads by the way: what was not in the page cache is not in it afterwards.
//!
//! The new index is complete and on stable storage before it takes the place of the old one. A crash leaves the old
//! index or the new one, and either is right.
//!
//! Where there is no room for it, all was read in vain but for the time of the latest record, for which retention may
//! take the segment and make room. From then on it is not read again before there is room for what found none.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use folio_record::{Batch, LeaderEpoch, Offset, Timestamp};
use thiserror::Error;

use super::Log;
use super::append::{AppendError, failed};
use super::mend::Built;
use super::rot::{Marking, is_of_the_disk};
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
    /// Every one that can be sealed is; or the one that was to be is gone.
    Nothing,
    /// The one that begins here, of so many bytes.
    Segment(Offset, u64),
    /// One that is damaged. It stays as it is, and is not tried again by this run, unless the disk did not give all of
    /// it ([`Log::seal_unread`]).
    Rotten(Rotten),
}

/// The sealing of one segment, in steps of a bounded size. It holds on to nothing but an open file and the indexes that
/// it makes, and changes nothing before its last step: who drops it half-way has read in vain.
#[derive(Debug)]
pub struct Seal<F: Files> {
    log: Arc<Log<F>>,
    segment: Arc<Segment>,
    next_base: Offset,
    path: PathBuf,
    reading: Option<Reading<F>>,
    /// It is rotten; what of it is, is being marked.
    marking: Option<Marking<F>>,
}

/// Where it stands.
#[derive(Debug)]
struct Reading<F: Files> {
    file: F::File,
    /// How far the log was read, which offset is due there, and which epoch was before.
    at: u64,
    due: Offset,
    epoch: LeaderEpoch,
    sealing: Sealing,
}

impl<F: Files> Log<F> {
    /// Whether [`seal`](Self::seal) has something to do. Takes no lock.
    pub fn wants_seal(&self) -> bool {
        let durable = self.durable_tail().segment_base;
        self.view.load().windows(2).any(|pair| pair[1].base() <= durable && pair[0].wants_seal())
    }

    /// Begins to seal the oldest segment that is closed, durable, and not sealed yet. For the maintenance thread.
    pub fn seal(&self) -> Option<Seal<F>> {
        let log = self.me.upgrade().filter(|log| !log.is_retired())?;
        let view = self.view.load_full();
        let durable = self.durable_tail().segment_base;
        let mut closed = view.windows(2).filter(|pair| pair[1].base() <= durable);
        let pair = closed.find(|pair| pair[0].wants_seal() && !self.is_being_replaced(&pair[0]))?;
        let (segment, next_base) = (Arc::clone(&pair[0]), pair[1].base());
        let path = SegmentFile::Log.path(&self.dir, segment.base());
        Some(Seal { log, segment, next_base, path, reading: None, marking: None })
    }

    /// Seals the next segment at one go.
    ///
    /// # Errors
    /// As [`Seal::step`].
    pub fn seal_next(&self, now: Timestamp) -> Result<Sealed, AppendError> {
        let Some(mut seal) = self.seal() else { return Ok(Sealed::Nothing) };
        loop {
            if let Some(sealed) = seal.step(u64::MAX, now)? {
                return Ok(sealed);
            }
        }
    }

    /// What could not be read when it was to be sealed, or when its age was looked up, is tried again.
    pub fn seal_unread(&self) {
        for segment in self.view.load().iter() {
            segment.set_unread(false);
            segment.set_untimed(false);
        }
    }
}

impl<F: Files> Seal<F> {
    /// Bytes of the segment.
    pub fn size(&self) -> u64 {
        self.segment.end()
    }

    /// Reads on for about `budget` bytes; at the end, gives the segment its footer, or marks what of it is rotten.
    /// `None`: there is more to do. Waits for a disk.
    ///
    /// # Errors
    /// As for an append that rolls. It is over; the segment is as good as before, and is tried again.
    pub fn step(&mut self, budget: u64, now: Timestamp) -> Result<Option<Sealed>, AppendError> {
        if self.is_marking() {
            return Ok(self.mark(budget));
        }
        let (log, segment) = (Arc::clone(&self.log), Arc::clone(&self.segment));
        if self.reading.is_none() {
            log.look_for_room(&segment)?;
        }
        match self.read(budget, now) {
            Ok(None) => Ok(None),
            Ok(Some(Ok(built))) => {
                // All of it was read: retention asks for no more, and may be what makes room for the new index.
                if let Some(footer) = &built.footer {
                    segment.set_max_timestamp(footer.max_timestamp);
                }
                let is_there = log.put(&segment, built)?;
                Ok(Some(if is_there {
                    Sealed::Segment(segment.base(), segment.end())
                } else {
                    Sealed::Nothing
                }))
            }
            Ok(Some(Err(rotten))) => {
                self.marking = Some(Marking::new(&log, rotten));
                Ok(None)
            }
            // Its files are on their way out.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_there() => {
                Ok(Some(Sealed::Nothing))
            }
            // Nothing was written so far: a file that cannot be opened or asked is this segment's affair, too.
            Err(error) if is_of_the_disk(&error) => {
                let (file, offset) = (self.path.clone(), segment.base());
                let rotten = Rotten { file, position: 0, offset, fault: Fault::Unreadable };
                self.marking = Some(Marking::new(&log, rotten));
                Ok(None)
            }
            Err(source) => Err(failed(&log.dir, segment.base(), source)),
        }
    }

    /// Whether it was found to be rotten, and what of it is, is being marked.
    pub fn is_marking(&self) -> bool {
        self.marking.is_some()
    }

    /// Goes on as [`step`](Self::step) does where it [`is_marking`](Self::is_marking), for which nobody has to know
    /// what time it is; else does nothing. `None`: there is more to do. Waits for a disk.
    pub fn mark(&mut self, budget: u64) -> Option<Sealed> {
        let (_, is_done) = self.marking.as_mut()?.step(budget);
        is_done.then(|| self.leave()).flatten()
    }

    /// All that is rotten is marked: it stays as it is.
    fn leave(&mut self) -> Option<Sealed> {
        let rotten = self.marking.take()?.rotten().clone();
        if rotten.fault == Fault::Unreadable {
            self.segment.set_unread(true);
        } else {
            self.segment.leave_unsealed();
        }
        Some(Sealed::Rotten(rotten))
    }

    /// Reads the log, and makes the indexes that it should have.
    fn read(&mut self, budget: u64, now: Timestamp) -> io::Result<Option<Result<Built, Rotten>>> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.open()?,
        };
        let (segment, next_base) = (&self.segment, self.next_base);
        let rotten = |position, offset, fault| {
            Ok(Some(Err(Rotten { file: self.path.clone(), position, offset, fault })))
        };
        let Reading { file, at, due, epoch, sealing } = &mut reading;
        let epoch_max = LeaderEpoch::new(i32::MAX);
        let rules = Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto: segment.gaps_upto(), epoch_max };
        let upto = at.saturating_add(budget);
        let mut scan = Scan::new(file, *at, *due, *epoch, rules)?;
        loop {
            (*at, *due) = (scan.at(), scan.expected());
            if *at >= upto {
                self.reading = Some(reading);
                return Ok(None);
            }
            match scan.next() {
                Ok(Step::Batch { at, batch }) => {
                    *epoch = batch.header().leader_epoch;
                    sealing.batch(at, &batch);
                }
                Ok(Step::End) => break,
                Ok(Step::Fault(fault)) => return rotten(*at, *due, fault),
                // What the disk does not give back is this segment's affair, and nobody else's.
                Err(error) if is_of_the_disk(&error) => return rotten(*at, *due, Fault::Unreadable),
                Err(error) => return Err(error),
            }
        }
        let (len, ends) = (*at, *due);
        if len != segment.end() {
            let fault = Fault::ShortFile { len: file.len()?, durable: segment.end() };
            return rotten(len, ends, fault);
        }
        let may_have_gaps = segment.may_have_gaps();
        if ends > next_base || ends < next_base && !may_have_gaps {
            return rotten(len, ends, Fault::Hole { ends, next_base });
        }
        Ok(Some(Ok(reading.sealing.finish(len, next_base, may_have_gaps, now))))
    }

    fn open(&self) -> io::Result<Reading<F>> {
        let (log, segment) = (&self.log, &self.segment);
        let sealing = Sealing::new(segment.base(), segment.uid(), log.interval_of(segment));
        let _names = log.names();
        let file = log.files.open(&self.path, OpenMode::Beside)?;
        Ok(Reading { file, at: 0, due: segment.base(), epoch: LeaderEpoch::NONE, sealing })
    }

    /// Neither the topic nor the segment was removed or replaced meanwhile.
    fn is_there(&self) -> bool {
        self.log.has_segment(&self.segment)
    }
}

/// The indexes of a segment, as its batches are told one after the other.
#[derive(Debug)]
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
        self.offsets.extend(footer.encode(self.uid));
        let files = [(IndexKind::Offset, self.offsets), (IndexKind::Time, self.times)];
        Built { files, interval: self.interval, footer: Some(footer) }
    }
}
