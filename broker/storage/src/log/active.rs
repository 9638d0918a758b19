//! The segment that is appended to. How one comes to be is told by [`prepared`].
//!
//! A segment that nobody appends to for a while is *dormant*: it is the active one still, but holds none of its files
//! open ([`super::dormant`]). One whose index files could not be made, or cut where a write to them had failed, because
//! the disk is full, goes without them until the next one begins: lookups walk its log.

mod prepared;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use folio_mapped::CopyError;
use folio_record::{BatchHeader, Offset, Timestamp};

use super::LogOptions;
use super::segment::{Displaced, Segment};
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::{FileAppender, FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::index::{INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, Indexer, entry_position};
use crate::partition_files::SegmentFile;

pub(super) use prepared::Prepared;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active<F: Files> {
    pub(super) segment: Arc<Segment>,
    /// `None`: it is dormant.
    pub(super) files: Option<OpenFiles<F>>,
    shape: Shape,
    indexer: Indexer,
    /// Bytes of the log are not on stable storage.
    pub(super) is_dirty: bool,
    pub(super) written_back: u64,
    /// When the first record came, as far as is known.
    pub(super) begun: Option<Timestamp>,
    /// How many hold the map of its log to append to it: whoever else does is reading.
    pub(super) holders: usize,
    /// Since when nobody was seen to need it.
    pub(super) idle_since: Option<Instant>,
}

/// The files of a segment that is appended to.
#[derive(Debug)]
pub(super) struct OpenFiles<F: Files> {
    pub(super) log: F::Appender,
    /// Offset index and time index, unless there was no room to make them.
    indexes: Option<[F::Appender; 2]>,
    /// Part of an append that failed may lie behind the end of the log, on the disk if nowhere else: the cut is not
    /// synced yet, or the disk had no room even for that.
    pub(super) has_rest: bool,
    /// So it is with an index, and the disk had no room for the cut. Nothing is written to them any more: what lies
    /// there may have come to the disk when it could be cut off, and no sync is waited for where they are written.
    are_indexes_uncut: bool,
    /// Open since before anything was written: an error of the write-back is told to them. That of the log comes first.
    sync: Vec<Arc<F::File>>,
}

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

    /// The same for files that have become so large already.
    fn holding(self, log: u64, indexer: &Indexer) -> Self {
        let entries = indexer.offset_entries().max(indexer.time_entries());
        Self { log: self.log.max(log), index: self.index.max(entry_position(entries)), ..self }
    }
}

/// What the next flush has to sync besides the active segment.
#[derive(Debug)]
pub(super) struct Unsynced<F: Files> {
    /// Handles of files that were rolled away from, with bytes that are not on stable storage.
    pub(super) files: Vec<Arc<F::File>>,
    /// Those of them that have records.
    pub(super) logs: Vec<(Offset, Arc<F::File>)>,
    /// Names in the log's directory are not on stable storage.
    pub(super) new_names: bool,
}

impl<F: Files> Default for Unsynced<F> {
    fn default() -> Self {
        Self { files: Vec::new(), logs: Vec::new(), new_names: false }
    }
}

/// How many maps a segment holds that is appended to: log, offset index, time index.
pub(super) const MAPS: usize = 3;

/// The most that a segment takes, and hence one append.
pub(super) fn log_capacity(options: &LogOptions) -> u64 {
    Shape::of(options).log
}

impl<F: Files> OpenFiles<F> {
    fn new(log: F::Appender, indexes: Option<[F::Appender; 2]>, sync: Vec<Arc<F::File>>) -> Self {
        Self { log, indexes, has_rest: false, are_indexes_uncut: false, sync }
    }

    /// Opens those of a segment again.
    pub(super) fn open(files: &F, dir: &Path, active: &Active<F>) -> io::Result<Self> {
        let Active { segment, indexer, shape, .. } = active;
        let open = |file: SegmentFile, end: u64| -> io::Result<(F::Appender, Arc<F::File>)> {
            let handle = Arc::new(files.open(&file.path(dir, segment.base()), OpenMode::Write)?);
            Ok((files.appender(&handle, shape.capacity(file), end)?, handle))
        };
        let position = files.open(&SegmentFile::Log.path(dir, segment.base()), OpenMode::Read)?.len()?;
        if position < segment.end() {
            return Err(CopyError::Poisoned { position }.into());
        }
        let (log, log_sync) = open(SegmentFile::Log, segment.end())?;
        let entries = (entry_position(indexer.offset_entries()), entry_position(indexer.time_entries()));
        let indexes = open(SegmentFile::OffsetIndex, entries.0)
            .and_then(|offsets| Ok((offsets, open(SegmentFile::TimeIndex, entries.1)?)));
        let (indexes, sync) = match indexes {
            Ok(((offsets, offsets_sync), (times, times_sync))) => {
                (Some([offsets, times]), vec![log_sync, offsets_sync, times_sync])
            }
            Err(error) if is_exhausted(&error) => return Err(error),
            // They were never made, or a foreign hand has been at them. Nothing depends on them.
            Err(_) => (None, vec![log_sync]),
        };
        Ok(Self::new(log, indexes, sync))
    }
}

impl<F: Files> OpenFiles<F> {
    /// Cuts off what somebody has written behind the end of the log: nobody was ever told of that. So it is with the
    /// indexes, which are done without where there is no room for it.
    pub(super) fn cut_foreign(&mut self) -> io::Result<()> {
        self.has_rest = self.is_longer();
        self.cut_rest()?;
        for (index, file) in self.indexes.iter_mut().flatten().zip(&self.sync[1..]) {
            if file.len()? <= index.map().end() {
                continue;
            }
            match index.cut() {
                Err(error) if is_full(&error) => self.are_indexes_uncut = true,
                cut => cut.and_then(|()| file.sync())?,
            }
        }
        Ok(())
    }

    /// Whether anything lies behind the end of the log, as far as can be told.
    pub(super) fn is_longer(&self) -> bool {
        let end = self.log.map().end();
        self.sync.first().is_some_and(|file| file.len().map_or(true, |len| len > end))
    }

    /// Cuts off what an append that failed has left behind the end of the log, if that is still to be done.
    ///
    /// Until then nothing comes behind it, not even the next segment, and nobody was told that it is there. So a start
    /// that finds it takes it for what it is, the end of a log that was written when the process died: of whole
    /// batches, which were refused and are records that a client may have sent twice, as after any answer that did not
    /// come; of one that is cut short, which is a torn end, above the durable point. Their offsets were given to nobody
    /// else.
    ///
    /// What is written in its place has the same offsets. Meanwhile a flush, or the kernel, may have brought it to the
    /// disk; a power cut that kept some sectors of it and some of what is new would leave a batch that is whole and
    /// wrong, which no start would cut. So the cut is synced before anything is written there.
    pub(super) fn cut_rest(&mut self) -> io::Result<()> {
        if self.has_rest {
            self.log.cut()?;
            #[cfg(test)]
            if is_taken(Protection::CutsAreSynced) {
                self.has_rest = false;
                return Ok(());
            }
            self.sync.first().map_or(Ok(()), |file| file.sync())?;
            self.has_rest = false;
        }
        Ok(())
    }
}

impl<F: Files> Active<F> {
    /// The last segment of a recovered log.
    pub(super) fn recovered(segment: Arc<Segment>, indexer: Indexer, options: &LogOptions) -> Self {
        let shape = Shape::of(options).holding(segment.end(), &indexer);
        Self::dormant(segment, indexer, shape)
    }

    fn dormant(segment: Arc<Segment>, indexer: Indexer, shape: Shape) -> Self {
        if let Some(max) = indexer.max_timestamp() {
            segment.set_max_timestamp(max.timestamp);
        }
        let begun = segment.aged_from();
        segment.set_interval(indexer.interval());
        let written_back = segment.end();
        Self {
            segment,
            files: None,
            shape,
            indexer,
            is_dirty: false,
            written_back,
            begun,
            holders: 0,
            idle_since: None,
        }
    }

    /// Has it hold these files open. Gives the map of its log that a reader has made meanwhile.
    pub(super) fn open(&mut self, files: OpenFiles<F>) -> Displaced {
        let indexes = files.indexes.as_ref().map(|files| files.each_ref().map(|file| Arc::clone(file.map())));
        self.holders = Arc::strong_count(files.log.map());
        let displaced = self.segment.set_maps(Arc::clone(files.log.map()), indexes, self.indexer.interval());
        self.files = Some(files);
        self.idle_since = None;
        displaced
    }

    /// Whether there was no room for its indexes.
    pub(super) fn lacks_indexes(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.indexes.is_none() || files.are_indexes_uncut)
    }

    /// Whether there was no room to cut one of them.
    pub(super) fn has_uncut_indexes(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.are_indexes_uncut)
    }

    /// How large its log may become.
    pub(super) fn capacity(&self) -> u64 {
        self.shape.log
    }

    /// Whether its indexes may have no room for what so many further batches of so many bytes add.
    pub(super) fn is_index_full(&self, batches: usize, bytes: u64) -> bool {
        let more = bytes / u64::from(self.indexer.interval().max(1)) + 1;
        let more = more.min(batches as u64) * INDEX_ENTRY_SIZE as u64;
        let has_room = |entries: u32| entry_position(entries) + more <= self.shape.index;
        !has_room(self.indexer.offset_entries()) || !has_room(self.indexer.time_entries())
    }

    /// How much earlier than others this segment is closed, at most `most`: the same each time it is asked for.
    pub(super) fn jitter(&self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.segment.uid().get() % most }
    }

    /// The handle to sync the log by, which is there while anything has to be synced.
    pub(super) fn log_handle(&self) -> Option<Arc<F::File>> {
        self.files.as_ref().and_then(|files| files.sync.first()).cloned()
    }

    /// Adds what the batches at `start` add to the indexes, with one write to each however many there are: with small
    /// batches a write for each entry would cost as much as that of the log. An index that cannot be written goes
    /// without: it may lag behind its log, and never leads.
    ///
    /// The time index goes first: whoever finds an offset entry finds the maximum before it recorded, too, wherever
    /// the process may have died.
    pub(super) fn index(&mut self, start: u64, batches: &[(u64, BatchHeader)]) {
        let (offsets, times) = (self.indexer.offset_entries(), self.indexer.time_entries());
        let (recorded, uid) = (self.indexer.recorded(), self.segment.uid());
        let (mut offset_bytes, mut time_bytes) = (Vec::new(), Vec::new());
        for (at, header) in batches {
            let (offset, time) = (self.indexer.offset_entries(), self.indexer.time_entries());
            let indexed = self.indexer.batch((start + at) as u32, header);
            offset_bytes.extend(indexed.offset.iter().flat_map(|entry| entry.encode(uid, offset)));
            time_bytes.extend(indexed.time.iter().flat_map(|entry| entry.encode(uid, time)));
        }
        let files = self.files.as_mut().filter(|files| !files.are_indexes_uncut);
        let indexes = files.and_then(|files| files.indexes.as_mut());
        let written = indexes.map(|[offsets, times]| {
            let timed = write(times, &time_bytes);
            (
                timed,
                if timed == IndexWrite::Whole { write(offsets, &offset_bytes) } else { IndexWrite::Nothing },
            )
        });
        match written {
            Some((IndexWrite::Whole, IndexWrite::Whole)) => {}
            Some((IndexWrite::Whole, _)) => {
                self.indexer.went_without(offsets, self.indexer.time_entries(), self.indexer.recorded());
            }
            _ => self.indexer.went_without(offsets, times, recorded),
        }
        if matches!(written, Some((IndexWrite::Uncut, _) | (_, IndexWrite::Uncut)))
            && let Some(files) = &mut self.files
        {
            files.are_indexes_uncut = true;
        }
        if let Some(max) = self.indexer.max_timestamp() {
            self.segment.set_max_timestamp(max.timestamp);
        }
    }

    /// Gives the reserves back.
    pub(super) fn give_back(&mut self) -> io::Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        give_back(&mut files.log)?;
        files.are_indexes_uncut = false;
        for index in files.indexes.iter_mut().flatten() {
            files.are_indexes_uncut |= !give_back(index)?;
        }
        Ok(())
    }

    /// The last word of the time index, and the reserves back. It has been woken.
    pub(super) fn finish(mut self) -> io::Result<Finished<F>> {
        let times = self.indexer.time_entries();
        if let Some(entry) = self.indexer.rolled()
            && let Some(files) = self.files.as_mut().filter(|files| !files.are_indexes_uncut)
            && let Some([_, index]) = &mut files.indexes
        {
            write(index, &entry.encode(self.segment.uid(), times));
        }
        self.give_back()?;
        let Some(files) = self.files else { return Ok(Finished { sync: Vec::new(), uncut: Vec::new() }) };
        let uncut = files.indexes.filter(|_| files.are_indexes_uncut);
        Ok(Finished { sync: files.sync, uncut: uncut.into_iter().flatten().collect() })
    }
}

/// What is still to be done for a segment that takes no more appends.
pub(super) struct Finished<F: Files> {
    /// To be synced before the durable point may pass it, the log first.
    pub(super) sync: Vec<Arc<F::File>>,
    /// Its indexes, if they are still to be cut.
    pub(super) uncut: Vec<F::Appender>,
}

impl<F: Files> OpenFiles<F> {
    /// Reserves room in steps that double, from 64 KiB to 32 MiB.
    pub(super) fn allocate(&mut self, upto: u64) -> io::Result<()> {
        let map = self.log.map();
        let step = map.end().next_power_of_two().clamp(ALLOCATE_MIN, ALLOCATE_MAX);
        let capacity = map.capacity();
        match self.log.allocate((upto + step).min(capacity)) {
            // Without a reserve there may still be room for what is at hand.
            Err(error) if is_full(&error) => self.log.allocate(upto),
            outcome => outcome,
        }
    }
}

/// Gives the reserve of a file back. A file system may have no room even for that: then the file keeps it, a log until
/// it is sealed. It says so where bytes lie behind the end: of a log that is closed for good, which the next start cuts
/// off; of an index, which are no entries, and nobody looks at them.
pub(super) fn give_back(file: &mut impl FileAppender) -> io::Result<bool> {
    match file.cut() {
        Err(error) if is_full(&error) => Ok(false),
        given => given.map(|()| true),
    }
}

/// What `segment.index.bytes` counts for an entry.
const COUNTED_ENTRY_SIZE: u64 = 8;
const ALLOCATE_MIN: u64 = 64 * 1024;
const ALLOCATE_MAX: u64 = 32 * 1024 * 1024;

/// What came of a write to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexWrite {
    Whole,
    Nothing,
    /// Part of it, perhaps, and that cannot be cut off.
    Uncut,
}

/// Tries twice, cutting off the rest in between.
fn write(index: &mut impl FileAppender, entries: &[u8]) -> IndexWrite {
    for _ in 0..2 {
        if entries.is_empty() || index.append(&[IoSlice::new(entries)]).is_ok() {
            return IndexWrite::Whole;
        }
        if index.cut().is_err() {
            return IndexWrite::Uncut;
        }
    }
    IndexWrite::Nothing
}
