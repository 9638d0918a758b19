//! The segment that is appended to, and how one comes to be.
//!
//! A segment is made in two steps, because its name tells the first offset in it, which nobody knows before the
//! segment before it is full. [`Prepared::make`] creates, reserves and maps its three files under names that a start
//! takes for garbage; it may be done ahead of time. [`Prepared::begin`] gives them their names:
//!
//! ```text
//! <stem>.index.tmp      header written   ->  00000000000000123456.index
//! <stem>.timeindex.tmp  header written   ->  00000000000000123456.timeindex
//! <stem>.log.tmp                         ->  00000000000000123456.log         last: indexes alone are garbage
//! ```
//! No slot speaks of the segment before a sync of the directory has put the names on stable storage.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{BatchHeader, Offset, Timestamp};

use super::LogOptions;
use super::segment::Segment;
use crate::files::{FileAppender, FileHandle, Files, OpenMode, is_full, tmp_path};
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, Indexer, SegmentUid, entry_position,
};
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active<F: Files> {
    pub(super) segment: Arc<Segment>,
    uid: SegmentUid,
    pub(super) log: F::Appender,
    offsets: F::Appender,
    times: F::Appender,
    indexer: Indexer,
    /// Open since before anything was written: an error of the write-back is told to them.
    sync: SyncHandles<F>,
    /// Bytes of the log are not on stable storage.
    pub(super) is_dirty: bool,
    pub(super) written_back: u64,
    /// When the first record came, as far as is known.
    pub(super) begun: Option<Timestamp>,
}

/// A segment without a base offset yet.
#[derive(Debug)]
pub(super) struct Prepared<F: Files> {
    paths: [PathBuf; 3],
    appenders: [F::Appender; 3],
    sync: SyncHandles<F>,
    shape: Shape,
}

/// Handles to sync log, offset index and time index by.
type SyncHandles<F> = [Arc<<F as Files>::File>; 3];

/// How large the files of a segment may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    log: u64,
    index: u64,
    interval: u32,
}

impl Shape {
    fn of(options: &LogOptions) -> Self {
        let log = u64::from(options.segment_bytes) + u64::from(options.batch_size_max);
        let log = log.min(u64::from(u32::MAX));
        let entries = log / u64::from(options.index_interval.max(1)) + 2;
        let entries = entries.min(u64::from(options.segment_index_bytes) / COUNTED_ENTRY_SIZE).max(1);
        // And the last word of the time index.
        let entries = entries + 1;
        let index = INDEX_HEADER_SIZE as u64 + entries * INDEX_ENTRY_SIZE as u64;
        Self { log, index, interval: options.index_interval }
    }

    fn capacity(&self, file: SegmentFile) -> u64 {
        if file == SegmentFile::Log { self.log } else { self.index }
    }
}

/// The most that a segment takes, and hence one append.
pub(super) fn log_capacity(options: &LogOptions) -> u64 {
    Shape::of(options).log
}

impl<F: Files> Prepared<F> {
    /// Makes the files of a segment under the passing names that `stem` tells apart.
    pub(super) fn make(files: &F, dir: &Path, stem: &str, options: &LogOptions) -> io::Result<Self> {
        let shape = Shape::of(options);
        let paths = SegmentFile::ALL.map(|file| tmp_path(&dir.join(stem).with_extension(file.extension())));
        let make = |number: usize| -> io::Result<(F::Appender, Arc<F::File>)> {
            let handle = Arc::new(files.open(&paths[number], OpenMode::Create)?);
            handle.set_len(0)?;
            Ok((files.appender(&handle, shape.capacity(SegmentFile::ALL[number]), 0)?, handle))
        };
        let ((log, log_sync), (offsets, offsets_sync), (times, times_sync)) = (make(0)?, make(1)?, make(2)?);
        let sync = [log_sync, offsets_sync, times_sync];
        Ok(Self { paths, appenders: [log, offsets, times], sync, shape })
    }

    /// Reserves as much as a log that has come so far will soon want.
    pub(super) fn reserve(&mut self) -> io::Result<()> {
        let upto = (self.shape.log / 32).clamp(ALLOCATE_MIN, ALLOCATE_MAX).min(self.shape.log);
        self.appenders[0].allocate(upto)
    }

    /// Whether it is what `options` ask for.
    pub(super) fn fits(&self, options: &LogOptions) -> bool {
        self.shape == Shape::of(options)
    }

    /// Lets it begin at `base`. After an error, some of its files may have their new names.
    pub(super) fn begin(self, files: &F, dir: &Path, id: PartitionId, base: Offset) -> io::Result<Active<F>> {
        let uid = SegmentUid::new(id, base, 0);
        let interval = self.shape.interval;
        let [log, mut offsets, mut times] = self.appenders;
        for (kind, index) in [(IndexKind::Offset, &mut offsets), (IndexKind::Time, &mut times)] {
            index.append(&[IoSlice::new(&IndexHeader { kind, base, uid, interval }.encode())])?;
        }
        for (file, path) in SegmentFile::ALL.iter().zip(&self.paths).rev() {
            files.rename(path, &file.path(dir, base))?;
        }
        let indexer = Indexer::new(base, interval);
        Ok(Active::assemble(uid, base, indexer, [log, offsets, times], self.sync))
    }

    /// Removes its files.
    pub(super) fn discard(self, files: &F) -> io::Result<()> {
        let paths = self.paths.clone();
        drop(self);
        paths.iter().try_for_each(|path| files.remove_file(path))
    }
}

impl<F: Files> Active<F> {
    /// The last segment of a recovered log.
    pub(super) fn reopen(
        files: &F,
        dir: &Path,
        id: PartitionId,
        last: &RecoveredSegment,
        indexer: Indexer,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let shape = Shape::of(options);
        let open = |file: SegmentFile, end: u64| -> io::Result<(F::Appender, Arc<F::File>)> {
            let handle = Arc::new(files.open(&file.path(dir, last.base), OpenMode::Write)?);
            Ok((files.appender(&handle, shape.capacity(file).max(end), end)?, handle))
        };
        let (log, log_sync) = open(SegmentFile::Log, last.len)?;
        let (offsets, offsets_sync) =
            open(SegmentFile::OffsetIndex, entry_position(indexer.offset_entries()))?;
        let (times, times_sync) = open(SegmentFile::TimeIndex, entry_position(indexer.time_entries()))?;
        let uid = SegmentUid::new(id, last.base, 0);
        let sync = [log_sync, offsets_sync, times_sync];
        Ok(Self::assemble(uid, last.base, indexer, [log, offsets, times], sync))
    }

    fn assemble(
        uid: SegmentUid,
        base: Offset,
        indexer: Indexer,
        [log, offsets, times]: [F::Appender; 3],
        sync: SyncHandles<F>,
    ) -> Self {
        let maps = [&log, &offsets, &times].map(|appender| Arc::clone(appender.map()));
        let segment = Arc::new(Segment::active(base, uid, maps, indexer.interval()));
        let begun = indexer.max_timestamp().map(|max| max.timestamp);
        if let Some(timestamp) = begun {
            segment.set_max_timestamp(timestamp);
        }
        let written_back = segment.end();
        Self { segment, uid, log, offsets, times, indexer, sync, is_dirty: false, written_back, begun }
    }

    /// Whether its indexes may have no room for what so many further batches of so many bytes add.
    pub(super) fn is_index_full(&self, batches: usize, bytes: u64) -> bool {
        let more = bytes / u64::from(self.indexer.interval().max(1)) + 1;
        let more = more.min(batches as u64) * INDEX_ENTRY_SIZE as u64;
        let has_room =
            |index: &F::Appender, entries: u32| entry_position(entries) + more <= index.map().capacity();
        !has_room(&self.offsets, self.indexer.offset_entries())
            || !has_room(&self.times, self.indexer.time_entries())
    }

    /// How much earlier than others this segment is closed, at most `most`: the same each time it is asked for.
    pub(super) fn jitter(&self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.uid.get() % most }
    }

    /// The handle to sync the log by.
    pub(super) fn log_handle(&self) -> Arc<F::File> {
        Arc::clone(&self.sync[0])
    }

    /// Reserves room in steps that double, from 64 KiB to 32 MiB.
    pub(super) fn allocate(&mut self, upto: u64) -> io::Result<()> {
        let step = self.segment.end().next_power_of_two().clamp(ALLOCATE_MIN, ALLOCATE_MAX);
        let capacity = self.log.map().capacity();
        match self.log.allocate((upto + step).min(capacity)) {
            // Without a reserve there may still be room for what is at hand.
            Err(error) if is_full(&error) => self.log.allocate(upto),
            outcome => outcome,
        }
    }

    /// Adds what the batches at `start` add to the indexes, with one write to each however many there are: with small
    /// batches a write for each entry would cost as much as that of the log. An index that cannot be written goes
    /// without: it may lag behind its log, and never leads.
    ///
    /// The time index goes first: whoever finds an offset entry finds the maximum before it recorded, too, wherever
    /// the process may have died.
    pub(super) fn index(&mut self, start: u64, batches: &[(u64, BatchHeader)]) {
        let (offsets, times) = (self.indexer.offset_entries(), self.indexer.time_entries());
        let recorded = self.indexer.recorded();
        let (mut offset_bytes, mut time_bytes) = (Vec::new(), Vec::new());
        for (at, header) in batches {
            let (offset, time) = (self.indexer.offset_entries(), self.indexer.time_entries());
            let indexed = self.indexer.batch((start + at) as u32, header);
            offset_bytes.extend(indexed.offset.iter().flat_map(|entry| entry.encode(self.uid, offset)));
            time_bytes.extend(indexed.time.iter().flat_map(|entry| entry.encode(self.uid, time)));
        }
        if !write(&mut self.times, &time_bytes) {
            self.indexer.went_without(offsets, times, recorded);
        } else if !write(&mut self.offsets, &offset_bytes) {
            self.indexer.went_without(offsets, self.indexer.time_entries(), self.indexer.recorded());
        }
        if let Some(max) = self.indexer.max_timestamp() {
            self.segment.set_max_timestamp(max.timestamp);
        }
    }

    /// Gives the reserves back.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.log.cut()?;
        self.offsets.cut()?;
        self.times.cut()
    }

    /// The last word of the time index, and the reserves back. Gives the handles of the files that have to be synced
    /// before the durable point may pass this segment.
    pub(super) fn finish(mut self) -> io::Result<SyncHandles<F>> {
        let times = self.indexer.time_entries();
        if let Some(entry) = self.indexer.rolled() {
            write(&mut self.times, &entry.encode(self.uid, times));
        }
        self.cut()?;
        Ok(self.sync)
    }
}

/// What `segment.index.bytes` counts for an entry.
const COUNTED_ENTRY_SIZE: u64 = 8;
const ALLOCATE_MIN: u64 = 64 * 1024;
const ALLOCATE_MAX: u64 = 32 * 1024 * 1024;

fn write(index: &mut impl FileAppender, entries: &[u8]) -> bool {
    entries.is_empty()
        || index.append(&[IoSlice::new(entries)]).is_ok()
        || index.cut().is_ok() && index.append(&[IoSlice::new(entries)]).is_ok()
}
