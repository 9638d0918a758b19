//! Appending: assign offsets, write once, publish, index.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use bytes::BytesMut;
use folio_record::{BatchHeader, HEADER_SIZE, Offset, Timestamp, stamp};
use thiserror::Error;

use super::segment::Segment;
use super::{Log, LogOptions, Tail, Visibility};
use crate::files::{FileAppender, FileHandle, Files, OpenMode};
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, Indexer, SegmentUid, entry_position,
};
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::quarantine::{is_exhausted, is_full};
use crate::recovery::RecoveredSegment;

/// The right to append to a log.
#[derive(Debug)]
pub struct LogWriter<'a, F: Files> {
    log: &'a Log<F>,
    writer: MutexGuard<'a, Writer<F>>,
}

/// What an append may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One write into space that is already allocated; anything else is refused with [`AppendError::NeedsLane`].
    Inline,
    /// Whatever it takes: roll, allocate, reopen.
    MayBlock,
}

/// What became of an append.
#[derive(Debug)]
pub struct Appended {
    /// For each buffer that was appended, in order, its offsets.
    pub ranges: Vec<AppendedRange>,
    /// Why the rest was not, if there is a rest.
    pub stopped: Option<AppendError>,
}

/// The offsets of one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedRange {
    /// Of its first record.
    pub base_offset: Offset,
    /// Of its last record.
    pub last_offset: Offset,
}

/// Why nothing was appended.
#[derive(Debug, Error)]
pub enum AppendError {
    /// Nothing was done: it would have to wait for a disk.
    #[error("the append would have to wait for a disk")]
    NeedsLane,
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Retired,
    /// The caller's fault: not one or more whole batches.
    #[error("not a whole record batch")]
    NotABatch,
    /// The caller's fault: larger than the topic allows.
    #[error("a batch of {size} bytes where at most {max} are allowed")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The largest allowed.
        max: u64,
    },
    /// The disk is full. Nothing has changed; try again when there is room.
    #[error("no room in {}", dir.display())]
    Full {
        /// The log's directory.
        dir: PathBuf,
    },
    /// No descriptors or mappings are left. Nothing has changed; try again later.
    #[error("no room for another open file: {source}")]
    Exhausted {
        /// What the system said.
        source: io::Error,
    },
    /// The disk's fault. The data directory takes no more writes in this run.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What only the one who appends may touch.
#[derive(Debug)]
pub(super) struct Writer<F: Files> {
    pub(super) active: Option<Active<F>>,
    unsynced: Vec<Arc<F::File>>,
    new_names: bool,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active<F: Files> {
    pub(super) segment: Arc<Segment<F>>,
    uid: SegmentUid,
    log: F::Appender,
    offsets: F::Appender,
    times: F::Appender,
    pub(super) indexer: Indexer,
    /// Open since before anything was written: an error of the write-back is told to them.
    sync: [Arc<F::File>; 3],
    is_dirty: bool,
    written_back: u64,
    pub(super) begun: Option<Timestamp>,
}

impl<'a, F: Files> LogWriter<'a, F> {
    pub(super) fn new(log: &'a Log<F>, writer: MutexGuard<'a, Writer<F>>) -> Self {
        Self { log, writer }
    }

    /// Appends `buffers`, each of one or more whole batches that were checked before, and gives them their offsets.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then. Buffers that do not fit into one segment are appended one
    /// after the other, and [`Appended::stopped`] says if that came to an end.
    pub fn append(
        &mut self,
        buffers: &mut [BytesMut],
        mode: Mode,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        if self.log.is_retired() {
            return Err(AppendError::Retired);
        }
        let options = self.log.options.load_full();
        let size: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        if size <= u64::from(options.segment_bytes) || buffers.len() <= 1 {
            let ranges = self.append_together(buffers, size, mode, now, &options)?;
            return Ok(Appended { ranges, stopped: None });
        }
        if mode == Mode::Inline {
            return Err(AppendError::NeedsLane);
        }
        let mut ranges = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let size = buffer.len() as u64;
            match self.append_together(std::slice::from_mut(buffer), size, mode, now, &options) {
                Ok(more) => ranges.extend(more),
                Err(error) if ranges.is_empty() => return Err(error),
                Err(error) => return Ok(Appended { ranges, stopped: Some(error) }),
            }
        }
        Ok(Appended { ranges, stopped: None })
    }

    fn append_together(
        &mut self,
        buffers: &mut [BytesMut],
        size: u64,
        mode: Mode,
        now: Timestamp,
        options: &LogOptions,
    ) -> Result<Vec<AppendedRange>, AppendError> {
        let mut next = self.log.log_end();
        let (mut ranges, mut batches) = (Vec::with_capacity(buffers.len()), Vec::new());
        let epoch = self.log.leader_epoch();
        let mut at = 0;
        for buffer in buffers.iter_mut() {
            let base_offset = next;
            let mut from = 0;
            while from < buffer.len() {
                let header = buffer[from..].first_chunk::<HEADER_SIZE>().ok_or(AppendError::NotABatch)?;
                let header = BatchHeader::parse(header).map_err(|_| AppendError::NotABatch)?;
                let size = header.total_size();
                if size > options.batch_size_max as usize {
                    return Err(AppendError::TooLarge {
                        size: size as u64,
                        max: u64::from(options.batch_size_max),
                    });
                }
                let batch = buffer.get_mut(from..from + size).ok_or(AppendError::NotABatch)?;
                stamp(batch, next, epoch);
                let stamped =
                    batch.first_chunk::<HEADER_SIZE>().and_then(|header| BatchHeader::parse(header).ok());
                let stamped = stamped.ok_or(AppendError::NotABatch)?;
                next = stamped.next_offset();
                batches.push((at, stamped));
                from += size;
                at += size as u64;
            }
            if next == base_offset {
                return Err(AppendError::NotABatch);
            }
            ranges.push(AppendedRange { base_offset, last_offset: Offset::new(next.get() - 1) });
        }
        if self.writer.must_roll(size, next, options) {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            self.log.roll(&mut self.writer)?;
        }
        let dir = &self.log.dir;
        let Some(active) = self.writer.active.as_mut() else { return Err(AppendError::NeedsLane) };
        let start = active.segment.end();
        if active.log.allocated() < start + size {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            active.allocate(start + size).map_err(|source| failed(dir, active.segment.base(), source))?;
        }
        let slices: Vec<IoSlice<'_>> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
        active.is_dirty = true;
        if let Err(source) = active.log.append(&slices) {
            let base = active.segment.base();
            // What a short write left above the end would be damage to the next start.
            if let Err(source) = active.log.cut() {
                return Err(AppendError::Io { path: SegmentFile::Log.path(dir, base), source });
            }
            return Err(failed(dir, base, source));
        }
        active.begun.get_or_insert(now);
        self.log.next_offset.store(next.get(), Ordering::Release);
        active.index(start, &batches);
        if options.visibility == Visibility::Appended {
            let tail = self.writer.tail(next);
            self.log.visible.store(Arc::new(tail));
        }
        Ok(ranges)
    }
}

impl<F: Files> Log<F> {
    /// Closes the active segment, if there is one, and begins the next.
    pub(super) fn roll(&self, writer: &mut Writer<F>) -> Result<(), AppendError> {
        let base = self.log_end();
        let options = self.options.load_full();
        let created = Active::create(&*self.files, &self.dir, self.id, base, &options);
        let next = created.map_err(|source| match self.take_back(base) {
            Ok(()) => failed(&self.dir, base, source),
            // The names are gone, but perhaps not yet on disk: the next flush sees to that.
            Err(again) if is_exhausted(&again) => {
                writer.new_names = true;
                failed(&self.dir, base, source)
            }
            Err(source) => AppendError::Io { path: SegmentFile::Log.path(&self.dir, base), source },
        })?;
        if let Some(active) = writer.active.take() {
            let sync = active.finish().map_err(|source| failed(&self.dir, base, source))?;
            writer.unsynced.extend(sync);
        }
        let mut view = Vec::clone(&self.view.load_full());
        view.push(Arc::clone(&next.segment));
        self.view.store(Arc::new(view));
        writer.active = Some(next);
        Ok(())
    }
}

impl<F: Files> Log<F> {
    /// Removes what a failed creation left. A smaller batch may still fit into the old segment, and the next start
    /// would find two segments that overlap.
    fn take_back(&self, base: Offset) -> io::Result<()> {
        for (file, _) in FILES {
            match self.files.remove_file(&file.path(&self.dir, base)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.files.sync_dir(&self.dir)
    }
}

impl<F: Files> Writer<F> {
    pub(super) fn new() -> Self {
        Self { active: None, unsynced: Vec::new(), new_names: false }
    }

    pub(super) fn tail(&self, next_offset: Offset) -> Tail {
        match &self.active {
            Some(active) => {
                Tail { segment_base: active.segment.base(), pos: active.segment.end(), next_offset }
            }
            None => Tail { segment_base: next_offset, pos: 0, next_offset },
        }
    }

    /// The files with unsynced bytes; they count as synced from here on, for a failed sync is final.
    pub(super) fn take_unsynced(&mut self) -> (Vec<Arc<F::File>>, bool) {
        let mut files = std::mem::take(&mut self.unsynced);
        if let Some(active) = &mut self.active
            && std::mem::take(&mut active.is_dirty)
        {
            files.push(Arc::clone(&active.sync[0]));
        }
        (files, std::mem::take(&mut self.new_names))
    }

    pub(super) fn start_writeback(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            let end = active.segment.end();
            if end > active.written_back {
                active.log.start_writeback(active.written_back..end)?;
                active.written_back = end;
            }
        }
        Ok(())
    }

    /// Gives the files up, but for the handles that the next flush wants.
    pub(super) fn retire(&mut self) {
        if let Some(active) = self.active.take()
            && active.is_dirty
        {
            self.unsynced.push(Arc::clone(&active.sync[0]));
        }
        self.new_names = false;
    }

    pub(super) fn cut(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.log.cut()?;
            active.offsets.cut()?;
            active.times.cut()?;
            active.is_dirty = true;
        }
        Ok(())
    }

    fn must_roll(&self, size: u64, next: Offset, options: &LogOptions) -> bool {
        let Some(active) = &self.active else { return true };
        let end = active.segment.end();
        let delta = next.get() - active.segment.base().get();
        let is_out_of_room = end + size > active.segment.mapped().map_or(0, |map| map.capacity());
        end > 0 && (end + size > u64::from(options.segment_bytes) || delta > i64::from(i32::MAX))
            || is_out_of_room
    }
}

impl<F: Files> Active<F> {
    /// A new, empty segment, on stable storage with its name before anything is appended to it.
    fn create(
        files: &F,
        dir: &Path,
        id: PartitionId,
        base: Offset,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let uid = SegmentUid::new(id, base, 0);
        for (file, kind) in FILES {
            let handle = files.open(&file.path(dir, base), OpenMode::Create)?;
            handle.set_len(0)?;
            if let Some(kind) = kind {
                let header = IndexHeader { kind, base, uid, interval: options.index_interval };
                handle.write_at(&header.encode(), 0)?;
            }
            handle.sync()?;
        }
        files.sync_dir(dir)?;
        Self::map(files, dir, uid, base, 0, Indexer::new(base, options.index_interval), options)
    }

    /// The last segment of a recovered log.
    pub(super) fn reopen(
        files: &F,
        dir: &Path,
        id: PartitionId,
        last: &RecoveredSegment,
        indexer: Indexer,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let uid = SegmentUid::new(id, last.base, 0);
        Self::map(files, dir, uid, last.base, last.len, indexer, options)
    }

    fn map(
        files: &F,
        dir: &Path,
        uid: SegmentUid,
        base: Offset,
        len: u64,
        indexer: Indexer,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let capacity = (u64::from(options.segment_bytes) + u64::from(options.batch_size_max)).max(len);
        let capacity = capacity.min(u64::from(u32::MAX));
        let entries = capacity / u64::from(options.index_interval.max(1)) + 2;
        let index_capacity = INDEX_HEADER_SIZE as u64 + entries * INDEX_ENTRY_SIZE as u64;
        let open = |file: SegmentFile, capacity: u64, end: u64| -> io::Result<(F::Appender, Arc<F::File>)> {
            let sync = Arc::new(files.open(&file.path(dir, base), OpenMode::Write)?);
            let handle = files.open(&file.path(dir, base), OpenMode::Write)?;
            Ok((files.appender(handle, capacity.max(end), end)?, sync))
        };
        let (log, log_sync) = open(SegmentFile::Log, capacity, len)?;
        let offsets_end = entry_position(indexer.offset_entries());
        let (offsets, offsets_sync) = open(SegmentFile::OffsetIndex, index_capacity, offsets_end)?;
        let times_end = entry_position(indexer.time_entries());
        let (times, times_sync) = open(SegmentFile::TimeIndex, index_capacity, times_end)?;
        let maps = [Arc::clone(log.map()), Arc::clone(offsets.map()), Arc::clone(times.map())];
        let segment = Arc::new(Segment::active(base, maps));
        if let Some(max) = indexer.max_timestamp() {
            segment.set_max_timestamp(max.timestamp);
        }
        let sync = [log_sync, offsets_sync, times_sync];
        let begun = indexer.max_timestamp().map(|max| max.timestamp);
        Ok(Self {
            segment,
            uid,
            log,
            offsets,
            times,
            indexer,
            sync,
            is_dirty: false,
            written_back: len,
            begun,
        })
    }

    /// Reserves room in steps that double, from 64 KiB to 32 MiB.
    fn allocate(&mut self, upto: u64) -> io::Result<()> {
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
    fn index(&mut self, start: u64, batches: &[(u64, BatchHeader)]) {
        let (offsets, times) = (self.indexer.offset_entries(), self.indexer.time_entries());
        let recorded = self.indexer.recorded();
        let (mut offset_bytes, mut time_bytes) = (Vec::new(), Vec::new());
        for (at, header) in batches {
            let (offset, time) = (self.indexer.offset_entries(), self.indexer.time_entries());
            let indexed = self.indexer.batch((start + at) as u32, header);
            offset_bytes.extend(indexed.offset.iter().flat_map(|entry| entry.encode(self.uid, offset)));
            time_bytes.extend(indexed.time.iter().flat_map(|entry| entry.encode(self.uid, time)));
        }
        if !write(&mut self.offsets, &offset_bytes) {
            self.indexer.went_without(offsets, times, recorded);
        } else if !write(&mut self.times, &time_bytes) {
            self.indexer.went_without(self.indexer.offset_entries(), times, recorded);
        }
        if let Some(max) = self.indexer.max_timestamp() {
            self.segment.set_max_timestamp(max.timestamp);
        }
    }

    /// The last word of the time index, and the reserve back. Gives the files that have to be synced before the
    /// durable point may pass this segment.
    fn finish(mut self) -> io::Result<[Arc<F::File>; 3]> {
        let times = self.indexer.time_entries();
        if let Some(entry) = self.indexer.rolled() {
            write(&mut self.times, &entry.encode(self.uid, times));
        }
        self.log.cut()?;
        self.offsets.cut()?;
        self.times.cut()?;
        Ok(self.sync)
    }
}

const FILES: [(SegmentFile, Option<IndexKind>); 3] = [
    (SegmentFile::OffsetIndex, Some(IndexKind::Offset)),
    (SegmentFile::TimeIndex, Some(IndexKind::Time)),
    (SegmentFile::Log, None),
];
const ALLOCATE_MIN: u64 = 64 * 1024;
const ALLOCATE_MAX: u64 = 32 * 1024 * 1024;

fn write(index: &mut impl FileAppender, entries: &[u8]) -> bool {
    entries.is_empty()
        || index.append(&[IoSlice::new(entries)]).is_ok()
        || index.cut().is_ok() && index.append(&[IoSlice::new(entries)]).is_ok()
}

fn failed(dir: &Path, base: Offset, source: io::Error) -> AppendError {
    if is_full(&source) {
        AppendError::Full { dir: dir.to_owned() }
    } else if is_exhausted(&source) {
        AppendError::Exhausted { source }
    } else {
        AppendError::Io { path: SegmentFile::Log.path(dir, base), source }
    }
}
