//! One segment as readers see it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};

use crate::files::{FileHandle, Files, OpenMode};
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;

/// A segment. Its maps are made when they are first needed, and stay.
pub(super) struct Segment<F: Files> {
    base: Offset,
    len: AtomicU64,
    max_timestamp: AtomicI64,
    log: OnceLock<Arc<SegmentMap>>,
    offsets: OnceLock<Arc<SegmentMap>>,
    times: OnceLock<Arc<SegmentMap>>,
    _files: std::marker::PhantomData<fn() -> F>,
}

impl<F: Files> Segment<F> {
    /// One that is not mapped yet.
    pub(super) fn closed(recovered: &RecoveredSegment) -> Self {
        Self {
            base: recovered.base,
            len: AtomicU64::new(recovered.len),
            max_timestamp: AtomicI64::new(recovered.max_timestamp.map_or(UNKNOWN, Timestamp::get)),
            log: OnceLock::new(),
            offsets: OnceLock::new(),
            times: OnceLock::new(),
            _files: std::marker::PhantomData,
        }
    }

    /// One with the maps that its appenders publish to: log, offset index, time index.
    pub(super) fn active(base: Offset, maps: [Arc<SegmentMap>; 3]) -> Self {
        let recovered = RecoveredSegment { base, len: 0, next_offset: base, max_timestamp: None };
        let segment = Self::closed(&recovered);
        let [log, offsets, times] = maps;
        for (cell, map) in [(&segment.log, log), (&segment.offsets, offsets), (&segment.times, times)] {
            let _ = cell.set(map);
        }
        segment
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// Bytes of its log that are published.
    pub(super) fn end(&self) -> u64 {
        self.log.get().map_or_else(|| self.len.load(Ordering::Acquire), |map| map.end())
    }

    /// The latest timestamp in it, if known.
    pub(super) fn max_timestamp(&self) -> Option<Timestamp> {
        let ms = self.max_timestamp.load(Ordering::Acquire);
        (ms != UNKNOWN).then(|| Timestamp::new(ms))
    }

    pub(super) fn set_max_timestamp(&self, timestamp: Timestamp) {
        self.max_timestamp.store(timestamp.get(), Ordering::Release);
    }

    /// Its log, if it is mapped.
    pub(super) fn mapped(&self) -> Option<&Arc<SegmentMap>> {
        self.log.get()
    }

    /// Its log; maps it, which may wait for a disk.
    pub(super) fn log(&self, files: &F, dir: &Path) -> io::Result<&Arc<SegmentMap>> {
        self.map(files, dir, SegmentFile::Log, &self.log)
    }

    /// One of its indexes; maps it, which may wait for a disk.
    pub(super) fn index(&self, files: &F, dir: &Path, file: SegmentFile) -> io::Result<&Arc<SegmentMap>> {
        let cell = if file == SegmentFile::TimeIndex { &self.times } else { &self.offsets };
        self.map(files, dir, file, cell)
    }

    /// Its maps, given up by a segment that is deleted.
    pub(super) fn maps(&self) -> Vec<Arc<SegmentMap>> {
        [&self.log, &self.offsets, &self.times].into_iter().filter_map(|cell| cell.get().cloned()).collect()
    }

    fn map<'a>(
        &'a self,
        files: &F,
        dir: &Path,
        file: SegmentFile,
        cell: &'a OnceLock<Arc<SegmentMap>>,
    ) -> io::Result<&'a Arc<SegmentMap>> {
        if let Some(map) = cell.get() {
            return Ok(map);
        }
        let handle = files.open(&file.path(dir, self.base), OpenMode::Read)?;
        let len = handle.len()?;
        // A log that is longer or shorter than it was is not this segment any more.
        let end = if file == SegmentFile::Log { self.len.load(Ordering::Acquire) } else { len };
        if len < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = files.map(handle, end)?;
        Ok(cell.get_or_init(|| map))
    }
}

impl<F: Files> fmt::Debug for Segment<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("base", &self.base).field("end", &self.end()).finish_non_exhaustive()
    }
}

/// No timestamp of a record: nobody was so early.
const UNKNOWN: i64 = i64::MIN;
