//! One partition's log: a row of segments, of which the last is appended to.
//!
//! Invariants:
//! * A batch is published bytes first, offset second: whoever sees an offset finds its bytes.
//! * Offset and position are never put together from two atomics: [`Tail`] is taken under the writer's lock, and
//!   what may be read is published as one value.
//! * An append that fails assigns no offset. What it has written above the published end is cut off at once or, where
//!   a full disk has no room for that, before anything else is written.
//! * Nothing below the published end of a segment is ever written again.

mod active;
mod append;
mod compact;
mod cursor;
mod damage;
mod dormant;
mod epochs;
mod lookup;
mod mend;
mod options;
mod producers;
mod read;
mod retain;
mod retire;
mod roll;
mod rot;
mod scrub;
mod seal;
mod segment;
mod stamping;
#[cfg(test)]
mod tests;
mod times;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use arc_swap::ArcSwap;
use folio_record::{LeaderEpoch, Offset, Timestamp};

use crate::compacted::Compacted;
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::epochs::Epochs;
use crate::failure::Failure;
use crate::files::{FileHandle, Files};
use crate::index::Indexer;
use crate::open_segments::OpenSegments;
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::RecoveredLog;

use active::{Active, Unsynced};
use append::Writer;
pub use append::{AppendError, Appended, AppendedRange, LogWriter, Mode};
use compact::places::Unfinished;
pub use compact::{Compacting, Compaction, CompactionOptions, CompactionReport, Dirty, DirtyRatio, Progress};
pub use cursor::Cursor;
pub use damage::{DamageKind, DamagedRange};
pub use dormant::Wakefulness;
pub use mend::{Mend, Mended};
pub use options::{LogOptions, Visibility};
pub use producers::SNAPSHOTS_KEPT;
use producers::Snapshots;
pub use read::{Fetched, Read, ReadError, Touch};
pub use scrub::{Scrub, Scrubbed};
pub use seal::{Rotten, Seal, Sealed};
use segment::Segment;
pub use stamping::Refusal;
pub use times::TimeHit;

/// The end of a log, as one value: the state after one and the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Base offset of the last segment.
    pub segment_base: Offset,
    /// Bytes in its log.
    pub pos: u64,
    /// The next offset to be assigned.
    pub next_offset: Offset,
}

/// What a flush round has to sync.
#[derive(Debug)]
pub struct ToFlush<F: Files> {
    /// Where the log ended when this was captured.
    pub tail: Tail,
    /// Files with bytes that are not on stable storage, oldest first; open since before those were written.
    pub files: Vec<Arc<F::File>>,
    /// Those of them that have records, with the base of their segment.
    pub logs: Vec<(Offset, Arc<F::File>)>,
    /// Names in the log's directory are not on stable storage.
    pub new_names: bool,
}

impl<F: Files> ToFlush<F> {
    /// Whether a start finds everything that has records, as far as is known: somebody else may have unlinked it. What
    /// retention took from `log` meanwhile is not looked for.
    pub(crate) fn can_be_found(&self, log: &Log<F>) -> bool {
        #[cfg(test)]
        if is_taken(Protection::FilesAreFound) {
            return true;
        }
        let is_there = |(_, file): &&(Offset, Arc<F::File>)| file.has_name().unwrap_or(true);
        // They are out of sight before their files go.
        let is_gone = |base: Offset| log.view.load().first().is_none_or(|first| base < first.base());
        self.logs.iter().filter(|file| !is_there(file)).all(|(base, _)| is_gone(*base))
    }
}

/// A log. Readers take no lock; appenders share one.
#[derive(Debug)]
pub struct Log<F: Files> {
    /// For those who may have it give way to others.
    me: Weak<Self>,
    files: Arc<F>,
    /// What it may hold open, together with all other logs of the directory.
    open: Arc<OpenSegments>,
    dir: PathBuf,
    id: PartitionId,
    epochs: Epochs,
    options: ArcSwap<LogOptions>,
    /// Oldest first; the last one is appended to. Changed only under the writer's lock.
    view: ArcSwap<Vec<Arc<Segment>>>,
    next_offset: AtomicI64,
    log_start: AtomicI64,
    durable: ArcSwap<Tail>,
    visible: ArcSwap<Tail>,
    /// Its topic was deleted, or another log has its files. Set under the writer's lock.
    is_retired: AtomicBool,
    /// Another log has its files, or is about to.
    has_made_way: AtomicBool,
    /// Somebody has taken its files away.
    is_given_up: AtomicBool,
    /// It is what lies below damage: it may be read, and nothing else.
    is_below_damage: bool,
    /// How far it was compacted. Changed by maintenance only.
    compacted: ArcSwap<Compacted>,
    /// This run has written that down: what a killed one has left may be in the cache only.
    is_compacted_written: AtomicBool,
    /// How often segments were replaced in this run.
    replacements: AtomicU64,
    /// The writer has the next segment ready.
    is_prepared: AtomicBool,
    /// The segment that is appended to holds no files open.
    is_dormant: AtomicBool,
    /// It is among those that may give way to others.
    is_listed: AtomicBool,
    /// See [`RecoveredLog::may_have_reserve`].
    may_have_reserve: AtomicBool,
    /// See [`RecoveredLog::remains`]; cleared under the writer's lock.
    has_remains: AtomicBool,
    /// So much was appended since the last snapshot that another is due.
    wants_snapshot: AtomicBool,
    /// A write to its directory, or to another one of this run, has failed.
    failure: Failure,
    writer: Mutex<Writer<F>>,
    /// Held by whoever opens, makes or moves files by their names without being the writer. Taken before the
    /// writer's lock. Holds the replacement that is decided and not finished, if there is one.
    names: Mutex<Option<Unfinished>>,
    /// See [`RecoveredLog::left_below`].
    left_below: Mutex<Vec<PathBuf>>,
}

/// What all logs of a data directory share.
#[derive(Debug)]
pub(crate) struct Shared<F: Files> {
    pub(crate) files: Arc<F>,
    pub(crate) open: Arc<OpenSegments>,
    pub(crate) failure: Failure,
}

impl<F: Files> Log<F> {
    /// Takes a recovered log at its word. Nothing is opened: it is dormant until it is appended to or read.
    pub(crate) fn open(
        shared: &Shared<F>,
        dir: PathBuf,
        id: PartitionId,
        options: LogOptions,
        recovered: RecoveredLog,
    ) -> Arc<Self> {
        let RecoveredLog { segments, indexer, log_start, log_end, epochs, producers, snapshots, .. } =
            recovered;
        let RecoveredLog { compacted, may_have_reserve, remains, left_below, .. } = recovered;
        let view: Vec<Arc<Segment>> =
            segments.iter().map(|segment| Arc::new(Segment::new(id, segment, 0))).collect();
        let has_left = |segment: &&Arc<Segment>| remains.indexes.contains(&segment.base());
        view.iter().filter(has_left).for_each(|segment| segment.leave_indexes());
        // Whoever recovers a log for appends knows its last segment's indexes.
        let is_below_damage = !segments.is_empty() && indexer.is_none();
        let has_remains = AtomicBool::new(!remains.is_empty());
        let mut writer = Writer::new(producers, Snapshots::new(snapshots), remains);
        let latest = indexer.as_ref().and_then(Indexer::max_timestamp).map(|max| max.timestamp);
        let latest = latest.or_else(|| segments.iter().rev().find_map(|segment| segment.max_timestamp));
        writer.append_time = latest.unwrap_or(Timestamp::NONE);
        if let (Some(last), Some(indexer)) = (view.last(), indexer) {
            writer.active = Some(Active::recovered(Arc::clone(last), indexer, &options));
        }
        let tail = Tail {
            segment_base: segments.last().map_or(log_end, |segment| segment.base),
            pos: segments.last().map_or(0, |segment| segment.len),
            next_offset: log_end,
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            files: Arc::clone(&shared.files),
            open: Arc::clone(&shared.open),
            dir,
            id,
            epochs,
            options: ArcSwap::from_pointee(options),
            view: ArcSwap::from_pointee(view),
            next_offset: AtomicI64::new(log_end.get()),
            log_start: AtomicI64::new(log_start.get()),
            durable: ArcSwap::from_pointee(tail),
            visible: ArcSwap::from_pointee(tail),
            is_retired: AtomicBool::new(false),
            has_made_way: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            is_below_damage,
            compacted: ArcSwap::from_pointee(compacted),
            is_compacted_written: AtomicBool::new(false),
            replacements: AtomicU64::new(0),
            is_prepared: AtomicBool::new(false),
            is_dormant: AtomicBool::new(writer.active.is_some()),
            is_listed: AtomicBool::new(false),
            may_have_reserve: AtomicBool::new(may_have_reserve),
            has_remains,
            wants_snapshot: AtomicBool::new(false),
            failure: shared.failure.clone(),
            writer: Mutex::new(writer),
            names: Mutex::new(None),
            left_below: Mutex::new(left_below),
        })
    }

    /// Which partition.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its directory, relative to the data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it ends, as one value.
    pub fn tail(&self) -> Tail {
        self.lock().tail(self.log_end())
    }

    /// Where it is durable.
    pub fn durable_tail(&self) -> Tail {
        **self.durable.load()
    }

    /// The offset up to which records are on stable storage.
    pub fn durable(&self) -> Offset {
        self.durable.load().next_offset
    }

    /// The first offset that may be read.
    pub fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    /// The next offset to be assigned.
    pub fn log_end(&self) -> Offset {
        Offset::new(self.next_offset.load(Ordering::Acquire))
    }

    /// The offset up to which consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.visible.load().next_offset
    }

    /// The epoch that is appended under.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epochs.current()
    }

    /// The epochs of this log.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Where a leader epoch ended; see [`Epochs::end_of`].
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_of(epoch, self.log_start(), self.log_end())
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.view.load().iter().map(|segment| segment.end()).sum()
    }

    /// How many segments.
    pub fn segment_count(&self) -> usize {
        self.view.load().len()
    }

    /// Bytes that were appended and are not known to be on stable storage.
    pub fn unflushed_bytes(&self) -> u64 {
        let durable = self.durable_tail();
        let view = self.view.load();
        let later = view.iter().filter(|segment| segment.base() >= durable.segment_base);
        later.map(|segment| segment.end()).sum::<u64>().saturating_sub(durable.pos)
    }

    /// The right to append; waits for whoever has it.
    pub fn writer(&self) -> LogWriter<'_, F> {
        LogWriter::new(self, self.lock())
    }

    /// The right to append, unless somebody has it.
    pub fn try_writer(&self) -> Option<LogWriter<'_, F>> {
        match self.writer.try_lock() {
            Ok(guard) => Some(LogWriter::new(self, guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(LogWriter::new(self, poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What has to be synced for everything appended so far to be durable. Captured before the sync begins.
    pub fn to_flush(&self) -> ToFlush<F> {
        let mut writer = self.lock();
        let tail = writer.tail(self.log_end());
        let Unsynced { files, logs, new_names } = writer.take_unsynced();
        ToFlush { tail, files, logs, new_names }
    }

    /// The names that were captured could not be synced for now: the next round sees to them.
    pub(crate) fn give_back_names(&self) {
        self.lock().unsynced.new_names = true;
    }

    /// Asks the kernel to begin writing what was appended and not flushed, without waiting.
    pub fn start_writeback(&self) -> io::Result<()> {
        self.lock().start_writeback()
    }

    /// Everything up to `tail` is durable. Called by the flush round only.
    pub fn flushed(&self, tail: &Tail) {
        if tail.next_offset >= self.durable() {
            self.durable.store(Arc::new(*tail));
        }
        if self.options.load().visibility == Visibility::Flushed {
            // Where records have just begun to be seen before they are flushed, an append may be ahead.
            let tail = Arc::new(*tail);
            self.visible
                .rcu(|seen| Arc::clone(if tail.next_offset > seen.next_offset { &tail } else { seen }));
        }
    }

    /// The first readable offset was raised, durably. Called by the data directory only.
    pub fn start_at(&self, offset: Offset) {
        self.log_start.fetch_max(offset.get(), Ordering::AcqRel);
    }

    /// The file that is appended to, if it is not there under its name any more.
    pub fn missing(&self) -> io::Result<Option<PathBuf>> {
        let _names = self.names();
        let Some(active) = self.lock().active.as_ref().map(|active| active.segment.base()) else {
            return Ok(None);
        };
        let path = SegmentFile::Log.path(&self.dir, active);
        Ok(self.files.entry(&path)?.is_none().then_some(path))
    }

    /// Leaves a snapshot of the producers, and gives reserves back; nothing is appended after this.
    pub fn close(&self) -> io::Result<()> {
        self.failure.check()?;
        let _names = self.names();
        let mut writer = self.lock();
        if let Some(prepared) = writer.prepared.take() {
            prepared.discard(&*self.files)?;
        }
        if let Some(source) = self.clear_remains(&mut writer).err().and_then(AppendError::unless_want) {
            return Err(source);
        }
        self.snapshot_end(&mut writer)?;
        self.give_old_reserve_back(&writer);
        writer.give_back()
    }

    /// Whether a disk that was full has left files that are not as a clean stop leaves them.
    pub(crate) fn has_remains(&self) -> bool {
        let writer = self.lock();
        let has_indexes = || self.view.load().iter().any(|segment| segment.has_remains());
        writer.has_remains() || writer.has_uncut_indexes() || has_indexes()
    }

    /// The same of what the start has found no room to take away. Takes no lock.
    pub(crate) fn has_remains_of_start(&self) -> bool {
        self.has_remains.load(Ordering::Acquire)
    }

    /// Whether neither the topic nor this segment of it was removed or replaced.
    fn has_segment(&self, segment: &Arc<Segment>) -> bool {
        !self.is_retired() && self.view.load().iter().any(|other| Arc::ptr_eq(other, segment))
    }

    /// Whether anything may be written.
    fn check(&self) -> Result<(), AppendError> {
        self.failure.check().map_err(|source| AppendError::Io { path: self.dir.clone(), source })
    }

    fn names(&self) -> MutexGuard<'_, Option<Unfinished>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Writer<F>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
