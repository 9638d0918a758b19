//! One segment as readers see it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use folio_mapped::{CopyError, SegmentMap};
use folio_record::{Offset, Timestamp};

use super::damage::DamagedRanges;
use super::lookup::Index;
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{IndexKind, SegmentUid};
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;

/// A segment. Its maps are made when they are first needed, and stay.
#[derive(Debug)]
pub(super) struct Segment {
    base: Offset,
    /// Tells it from others of this base: 0, or how often segments had been replaced when it took its place.
    generation: u64,
    /// Offsets may be missing in it, up to here: it was compacted.
    gaps_upto: Option<Offset>,
    uid: SegmentUid,
    len: AtomicU64,
    max_timestamp: AtomicI64,
    log: OnceLock<Arc<SegmentMap>>,
    offsets: ArcSwapOption<Index>,
    times: ArcSwapOption<Index>,
    /// An index did not lead where it should have.
    is_suspect: AtomicBool,
    /// It has a footer,
    is_sealed: AtomicBool,
    /// or shall have none: it cannot be read from end to end.
    is_rotten: AtomicBool,
    /// What of it is not to be served.
    damaged: DamagedRanges,
    /// Somebody was told that it has lost bytes.
    is_lost: AtomicBool,
}

impl Segment {
    /// One that is not mapped yet.
    pub(super) fn closed(id: PartitionId, recovered: &RecoveredSegment, generation: u64) -> Self {
        Self {
            base: recovered.base,
            generation,
            gaps_upto: recovered.may_have_gaps.then_some(recovered.next_offset),
            uid: SegmentUid::new(id, recovered.base, 0),
            len: AtomicU64::new(recovered.len),
            max_timestamp: AtomicI64::new(recovered.max_timestamp.map_or(UNKNOWN, Timestamp::get)),
            log: OnceLock::new(),
            offsets: ArcSwapOption::empty(),
            times: ArcSwapOption::empty(),
            is_suspect: AtomicBool::new(false),
            is_sealed: AtomicBool::new(recovered.is_sealed),
            is_rotten: AtomicBool::new(false),
            damaged: DamagedRanges::default(),
            is_lost: AtomicBool::new(false),
        }
    }

    /// One with the maps that its appenders publish to: log, offset index, time index.
    pub(super) fn active(base: Offset, uid: SegmentUid, maps: [Arc<SegmentMap>; 3], interval: u32) -> Self {
        let [log, offsets, times] = maps;
        let index = |map| ArcSwapOption::from_pointee(Index::new(map, uid, interval));
        Self {
            base,
            generation: 0,
            gaps_upto: None,
            uid,
            len: AtomicU64::new(log.end()),
            max_timestamp: AtomicI64::new(UNKNOWN),
            log: OnceLock::from(log),
            offsets: index(offsets),
            times: index(times),
            is_suspect: AtomicBool::new(false),
            is_sealed: AtomicBool::new(false),
            is_rotten: AtomicBool::new(false),
            damaged: DamagedRanges::default(),
            is_lost: AtomicBool::new(false),
        }
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// What a place in it goes by: no other segment of this log has it.
    pub(super) fn identity(&self) -> (Offset, u64) {
        (self.base, self.generation)
    }

    /// Offsets may be missing in it, also at its end.
    pub(super) fn may_have_gaps(&self) -> bool {
        self.gaps_upto.is_some()
    }

    /// Up to where.
    pub(super) fn gaps_upto(&self) -> Option<Offset> {
        self.gaps_upto
    }

    pub(super) fn uid(&self) -> SegmentUid {
        self.uid
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
    pub(super) fn log(&self) -> Option<&Arc<SegmentMap>> {
        self.log.get()
    }

    /// One of its indexes, if it is mapped.
    pub(super) fn index(&self, kind: IndexKind) -> Option<Arc<Index>> {
        self.cell(kind).load_full()
    }

    /// Maps its log, which may wait for a disk.
    pub(super) fn map_log<F: Files>(&self, files: &F, dir: &Path) -> io::Result<&Arc<SegmentMap>> {
        if let Some(map) = self.log.get() {
            return Ok(map);
        }
        let end = self.len.load(Ordering::Acquire);
        let handle = files.open(&SegmentFile::Log.path(dir, self.base), OpenMode::Read)?;
        let position = handle.len()?;
        if position < end {
            return Err(CopyError::Poisoned { position }.into());
        }
        let map = files.map(&handle, end)?;
        Ok(self.log.get_or_init(|| map))
    }

    /// Maps one of its indexes, which may wait for a disk. `None`: do without.
    pub(super) fn map_index<F: Files>(&self, files: &F, dir: &Path, kind: IndexKind) -> Option<Arc<Index>> {
        if let Some(index) = self.index(kind) {
            return Some(index);
        }
        // One that is known to be unusable is not looked at again and again.
        if self.is_suspect() {
            return None;
        }
        let file = SegmentFile::index(kind);
        let opened = files.open(&file.path(dir, self.base), OpenMode::Read).and_then(|handle| {
            let len = handle.len()?;
            let footer = if kind == IndexKind::Offset { Footer::read(&handle, len)? } else { None };
            // Lookups see entries, and nothing else.
            files.map(&handle, footer.map_or(len, |footer| footer.lies_at()))
        });
        match opened.map(|map| Index::open(map, kind, self.uid)) {
            Ok(Some(index)) => {
                let index = Arc::new(index);
                self.cell(kind).store(Some(Arc::clone(&index)));
                Some(index)
            }
            Ok(None) => {
                self.suspect();
                None
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.suspect();
                }
                None
            }
        }
    }

    /// An index did not lead where it should have. Lookups do without what it lacks until it is built anew.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Acquire)
    }

    /// Its indexes are built anew, or cannot be.
    pub(super) fn trust(&self) {
        self.is_suspect.store(false, Ordering::Release);
    }

    /// Whether it is to be sealed, once it is closed and durable.
    pub(super) fn wants_seal(&self) -> bool {
        !self.is_sealed() && !self.is_rotten.load(Ordering::Acquire)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    /// Its index has a footer, or has it no more.
    pub(super) fn set_sealed(&self, is_sealed: bool) {
        self.is_sealed.store(is_sealed, Ordering::Release);
    }

    /// It is damaged, and is not tried again.
    pub(super) fn leave_unsealed(&self) {
        self.is_rotten.store(true, Ordering::Release);
    }

    /// What of it is not to be served.
    pub(super) fn damaged(&self) -> &DamagedRanges {
        &self.damaged
    }

    /// It has lost bytes; whether that is news.
    pub(super) fn lose(&self) -> bool {
        !self.is_lost.swap(true, Ordering::AcqRel)
    }

    /// Puts a new index in the place of an old one.
    pub(super) fn replace(&self, kind: IndexKind, index: Index) {
        self.cell(kind).store(Some(Arc::new(index)));
    }

    /// Its maps, given up by a segment that is deleted.
    pub(super) fn maps(&self) -> Vec<Arc<SegmentMap>> {
        let indexes = [&self.offsets, &self.times].into_iter().filter_map(ArcSwapOption::load_full);
        self.log.get().cloned().into_iter().chain(indexes.map(|index| Arc::clone(index.map()))).collect()
    }

    fn cell(&self, kind: IndexKind) -> &ArcSwapOption<Index> {
        match kind {
            IndexKind::Offset => &self.offsets,
            IndexKind::Time => &self.times,
        }
    }
}

/// No timestamp of a record: nobody was so early.
const UNKNOWN: i64 = i64::MIN;
