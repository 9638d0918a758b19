//! One segment as readers see it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};

use super::damage::DamagedRanges;
use super::lookup::Index;
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{IndexKind, SegmentUid};
use crate::open_segments::Holder;
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredSegment;

/// A segment. It holds nothing until it is read, and then its log until it has to give way to others. Its indexes are
/// open while it is appended to, and besides only while they are searched.
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
    /// Bytes of log between index entries; 0: nobody has read that yet.
    interval: AtomicU32,
    log: ArcSwapOption<SegmentMap>,
    offsets: ArcSwapOption<Index>,
    times: ArcSwapOption<Index>,
    /// What it has from here on was appended since it was opened to be appended to.
    appended_from: AtomicU64,
    /// When somebody read from it or appended to it last, by the clock of what is open.
    last_used: AtomicU64,
    /// Somebody did since this was asked last.
    is_busy: AtomicBool,
    is_listed: AtomicBool,
    /// Its files are gone, or another's by now.
    is_gone: AtomicBool,
    /// An index did not lead where it should have.
    is_suspect: AtomicBool,
    /// A start has left index files that are not what they should be.
    has_remains: AtomicBool,
    /// When it got its footer.
    sealed_at: AtomicI64,
    /// It shall have no footer: it is not what was written.
    is_rotten: AtomicBool,
    /// It has no footer yet, because the disk did not give all of it.
    is_unread: AtomicBool,
    /// Its headers do not tell its latest timestamp, because they cannot be read, or no record is left of any batch.
    is_untimed: AtomicBool,
    /// Bytes of new indexes for which there was no room; 0: there was, as far as anybody has asked.
    room_missed: AtomicU64,
    /// What of it is not to be served.
    damaged: DamagedRanges,
    /// Somebody was told that it has lost bytes.
    is_lost: AtomicBool,
}

impl Segment {
    /// One that nobody has read yet.
    pub(super) fn new(id: PartitionId, recovered: &RecoveredSegment, generation: u64) -> Self {
        Self {
            base: recovered.base,
            generation,
            gaps_upto: recovered.may_have_gaps.then_some(recovered.next_offset),
            uid: SegmentUid::new(id, recovered.base),
            len: AtomicU64::new(recovered.len),
            max_timestamp: AtomicI64::new(known(recovered.max_timestamp)),
            interval: AtomicU32::new(0),
            log: ArcSwapOption::empty(),
            offsets: ArcSwapOption::empty(),
            times: ArcSwapOption::empty(),
            appended_from: AtomicU64::new(u64::MAX),
            last_used: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            has_remains: AtomicBool::new(false),
            sealed_at: AtomicI64::new(known(recovered.sealed_at)),
            is_rotten: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            is_untimed: AtomicBool::new(false),
            room_missed: AtomicU64::new(0),
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

    /// Bytes of its log that may be read.
    pub(super) fn end(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// More was appended, and published by its map.
    pub(super) fn set_end(&self, end: u64) {
        self.len.store(end, Ordering::Release);
    }

    /// The latest timestamp in it, if known.
    pub(super) fn max_timestamp(&self) -> Option<Timestamp> {
        if_known(&self.max_timestamp)
    }

    /// From when on its age counts: the latest timestamp in it, or when it was sealed if none of its records has one.
    pub(super) fn aged_from(&self) -> Option<Timestamp> {
        self.max_timestamp().filter(|last| *last >= Timestamp::new(0)).or_else(|| if_known(&self.sealed_at))
    }

    /// Whether nobody will find out from when on its age counts: its headers were asked and do not tell, or tell of no
    /// time and it is not sealed. One that nobody could ask so far, for want of a map, may tell later.
    pub(super) fn is_ageless(&self) -> bool {
        let is_asked = self.max_timestamp().is_some() || self.end() == 0;
        self.aged_from().is_none()
            && (self.is_untimed.load(Ordering::Acquire) || is_asked && self.is_put_off())
    }

    /// By when everything that lies before it had come: when it was sealed, or `last`, which is the time of its latest
    /// record, if it has no footer and gets none for now. `None`: it is about to get one.
    pub(super) fn closed_by(&self, last: Timestamp) -> Option<Timestamp> {
        match self.sealed_at() {
            Some(sealed) => Some(sealed.max(last)),
            None => (!self.wants_seal() || self.room_missed() > 0).then_some(last),
        }
    }

    /// Whether its latest timestamp is to be looked up.
    pub(super) fn wants_timestamp(&self) -> bool {
        self.max_timestamp().is_none() && !self.is_untimed.load(Ordering::Acquire)
    }

    /// Its latest timestamp cannot be looked up, or may be again.
    pub(super) fn set_untimed(&self, is_untimed: bool) {
        self.is_untimed.store(is_untimed, Ordering::Release);
    }

    pub(super) fn set_max_timestamp(&self, timestamp: Timestamp) {
        self.max_timestamp.store(timestamp.get(), Ordering::Release);
    }

    /// Its log, if it is mapped. A map that was made before the last append to a segment that has slept is none.
    pub(super) fn log(&self) -> Option<Arc<SegmentMap>> {
        let end = self.end();
        self.log.load_full().filter(|map| map.end() >= end)
    }

    /// One of its indexes, if it is appended to.
    pub(super) fn index(&self, kind: IndexKind) -> Option<Arc<Index>> {
        self.cell(kind).load_full()
    }

    /// Maps its log, which may wait for a disk, unless somebody else has. The caller holds the names.
    pub(super) fn map_log<F: Files>(
        &self,
        files: &F,
        dir: &Path,
    ) -> io::Result<(Arc<SegmentMap>, Displaced)> {
        if let Some(map) = self.log() {
            return Ok((map, None));
        }
        let stale = self.log.load_full();
        let end = self.end();
        let handle = files.open(&SegmentFile::Log.path(dir, self.base), OpenMode::Read)?;
        let map = files.map(&handle, end)?;
        let before = self.log.compare_and_swap(&stale, Some(Arc::clone(&map)));
        // If whoever appends was faster, its map is the better one, and this one serves one read.
        let is_in_place = before.as_ref().map(Arc::as_ptr) == stale.as_ref().map(Arc::as_ptr);
        let displaced = if is_in_place { stale } else { Some(Arc::clone(&map)) };
        Ok((map, displaced))
    }

    /// Opens one of its indexes to be searched, which may wait for a disk. `None`: do without. The caller holds the
    /// names.
    pub(super) fn open_index<F: Files>(&self, files: &F, dir: &Path, kind: IndexKind) -> Option<Arc<Index>> {
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
            let footer = if kind == IndexKind::Offset { Footer::read(&handle, len, self.uid)? } else { None };
            // Lookups see entries, and nothing else.
            Ok((handle, footer.map_or(len, |footer| footer.lies_at())))
        });
        match opened.map(|(handle, end)| Index::open(handle, end, kind, self.uid)) {
            Ok(Some(index)) => {
                self.set_interval(index.interval());
                Some(Arc::new(index))
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

    /// It is appended to: the maps that its appenders publish to, of the log and, if it has indexes, of those. Gives
    /// the map that was in their place.
    pub(super) fn set_maps(
        &self,
        log: Arc<SegmentMap>,
        indexes: Option<[Arc<SegmentMap>; 2]>,
        interval: u32,
    ) -> Displaced {
        self.set_interval(interval);
        self.appended_from.store(log.end(), Ordering::Relaxed);
        if let Some(maps) = indexes {
            for (kind, map) in [IndexKind::Offset, IndexKind::Time].into_iter().zip(maps) {
                self.cell(kind).store(Some(Arc::new(Index::new(map, self.uid, interval))));
            }
        }
        self.log.swap(Some(log))
    }

    /// Whether more than so many others hold the map of its log: an answer is being sent from it, say. One that has
    /// lost bytes is remembered by its map.
    pub(super) fn is_needed_beside(&self, others: usize) -> bool {
        let map = self.log.load_full();
        // The cell's, and this one.
        map.is_some_and(|map| Arc::strong_count(&map) > 2 + others || map.poisoned().is_some())
    }

    /// It is not appended to any more. Gives the maps of its indexes up.
    pub(super) fn take_indexes(&self) -> Vec<Arc<SegmentMap>> {
        let indexes = [&self.offsets, &self.times].into_iter().filter_map(|cell| cell.swap(None));
        indexes.filter_map(|index| index.map().cloned()).collect()
    }

    /// From where on it is in memory because it was just appended, as far as this segment knows.
    pub(super) fn appended_from(&self) -> u64 {
        self.appended_from.load(Ordering::Relaxed)
    }

    /// Gives all of its maps up; readers keep what they hold.
    pub(super) fn take_maps(&self) -> Vec<Arc<SegmentMap>> {
        self.appended_from.store(u64::MAX, Ordering::Relaxed);
        self.log.swap(None).into_iter().chain(self.take_indexes()).collect()
    }

    /// Its files go, or another segment takes their place. The caller holds the names.
    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Whether there are no files of it any more. Asked by whoever holds the names.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Somebody reads from it, or appends to it, at this moment of the clock of what is open.
    pub(super) fn touch(&self, now: u64) {
        // Mostly it was touched a moment ago: spare the shared lines the writes.
        if self.last_used.load(Ordering::Relaxed) != now {
            self.last_used.store(now, Ordering::Relaxed);
        }
        if !self.is_busy.load(Ordering::Relaxed) {
            self.is_busy.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was touched since this was asked last.
    pub(super) fn was_busy(&self) -> bool {
        self.is_busy.swap(false, Ordering::Relaxed)
    }

    /// Bytes of log between entries of its indexes, if anybody has read that.
    pub(super) fn interval(&self) -> Option<u32> {
        Some(self.interval.load(Ordering::Relaxed)).filter(|interval| *interval > 0)
    }

    pub(super) fn set_interval(&self, interval: u32) {
        self.interval.store(interval, Ordering::Relaxed);
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

    /// A start has found no room to make its indexes, nor to take away what there is of them.
    pub(super) fn leave_indexes(&self) {
        self.has_remains.store(true, Ordering::Release);
        self.suspect();
    }

    /// Whether they are still what that start has left.
    pub(super) fn has_remains(&self) -> bool {
        self.has_remains.load(Ordering::Acquire)
    }

    /// They are built anew, at this interval.
    pub(super) fn set_indexes(&self, interval: u32) {
        self.set_interval(interval);
        self.has_remains.store(false, Ordering::Release);
        self.room_missed.store(0, Ordering::Relaxed);
        self.trust();
    }

    /// There was no room for new indexes of so many bytes.
    pub(super) fn miss_room(&self, bytes: usize) {
        self.room_missed.store(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes of indexes found no room when they were made last.
    pub(super) fn room_missed(&self) -> usize {
        self.room_missed.load(Ordering::Relaxed) as usize
    }

    /// Whether it is to be sealed, once it is closed and durable.
    pub(super) fn wants_seal(&self) -> bool {
        !self.is_sealed() && !self.is_put_off()
    }

    /// It is not sealed, because it is not what was written, or the disk did not give all of it.
    fn is_put_off(&self) -> bool {
        self.is_rotten.load(Ordering::Acquire) || self.is_unread.load(Ordering::Acquire)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed_at().is_some()
    }

    /// When it got its footer; if it was compacted, when the youngest of those did that it was made of.
    pub(super) fn sealed_at(&self) -> Option<Timestamp> {
        if_known(&self.sealed_at)
    }

    /// Its index has a footer since then, or has it no more.
    pub(super) fn set_sealed(&self, at: Option<Timestamp>) {
        self.sealed_at.store(known(at), Ordering::Release);
    }

    /// It is damaged, and is not tried again.
    pub(super) fn leave_unsealed(&self) {
        self.is_rotten.store(true, Ordering::Release);
    }

    /// The disk did not give all of it, or may do so by now.
    pub(super) fn set_unread(&self, is_unread: bool) {
        self.is_unread.store(is_unread, Ordering::Release);
    }

    /// What of it is not to be served.
    pub(super) fn damaged(&self) -> &DamagedRanges {
        &self.damaged
    }

    /// It has lost bytes; whether that is news.
    pub(super) fn lose(&self) -> bool {
        !self.is_lost.swap(true, Ordering::AcqRel)
    }

    fn cell(&self, kind: IndexKind) -> &ArcSwapOption<Index> {
        match kind {
            IndexKind::Offset => &self.offsets,
            IndexKind::Time => &self.times,
        }
    }
}

impl Holder for Segment {
    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn give_way(&self) -> Option<Vec<Arc<SegmentMap>>> {
        if self.is_needed_beside(0) {
            return None;
        }
        let Some(map) = self.log.swap(None) else { return Some(Vec::new()) };
        // Only now is everybody counted who has just found it.
        if Arc::strong_count(&map) == 1 {
            return Some(vec![map]);
        }
        let back = self.log.compare_and_swap(&None::<Arc<SegmentMap>>, Some(Arc::clone(&map)));
        // Somebody has mapped it anew meanwhile.
        if back.is_some() { Some(vec![map]) } else { None }
    }

    fn is_listed(&self) -> &AtomicBool {
        &self.is_listed
    }
}

/// A map that nobody finds any more.
pub(super) type Displaced = Option<Arc<SegmentMap>>;

/// No timestamp of a record: nobody was so early.
const UNKNOWN: i64 = i64::MIN;

fn known(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(UNKNOWN, Timestamp::get)
}

fn if_known(cell: &AtomicI64) -> Option<Timestamp> {
    let ms = cell.load(Ordering::Acquire);
    (ms != UNKNOWN).then(|| Timestamp::new(ms))
}
