//! Appending: assign offsets, write once, publish, index.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use bytes::BytesMut;
use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};
use thiserror::Error;

use super::active::{Active, Prepared, Unsynced, log_capacity};
use super::producers::Snapshots;
use super::stamping::{Refusal, Stamped, Stamping};
use super::{Log, LogOptions, Tail, Visibility};
use crate::files::{FileAppender, Files, is_exhausted, is_full};
use crate::partition_files::SegmentFile;
use crate::producers::Producers;
use crate::recovery::Remains;

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
    /// For each buffer that was dealt with, in order: its offsets, or why it is refused, whatever becomes of the
    /// others.
    pub outcomes: Vec<Result<AppendedRange, Refusal>>,
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
    /// It was in the log before, at these offsets, and was not appended again.
    pub is_duplicate: bool,
    /// When it was appended, if its records have that for their time; else [`Timestamp::NONE`].
    pub append_time: Timestamp,
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
    /// The disk is full. No offset was given; try again when there is room.
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
    /// The segment that is appended to has lost bytes that it had: by a foreign hand, or by the disk. What came behind
    /// them would go with them at the next start.
    #[error("{} has lost bytes that it had, from byte {position} on", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// The first byte that is known to be gone.
        position: u64,
    },
    /// The segment that is appended to was closed for a while, and cannot be opened again: a foreign hand has been at
    /// it. Nothing was written.
    #[error("{} cannot be opened again: {source}", path.display())]
    Unopened {
        /// The file.
        path: PathBuf,
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
    /// Who numbers its batches, as of the end of the log.
    pub(super) producers: Producers,
    pub(super) snapshots: Snapshots,
    pub(super) active: Option<Active<F>>,
    /// Made ready to come after it.
    pub(super) prepared: Option<Prepared<F>>,
    /// A segment could not be begun here, and there was no room even to take its files away.
    pub(super) not_taken_back: Option<Offset>,
    /// Of closed segments, with part of an entry at their end that there was no room to cut off. Nobody waits for it.
    pub(super) uncut_indexes: Vec<F::Appender>,
    /// What the start has found no room to take away.
    pub(super) remains: Remains,
    pub(super) unsynced: Unsynced<F>,
    /// The latest time that was given to records because they were appended then.
    pub(super) append_time: Timestamp,
}

impl<'a, F: Files> LogWriter<'a, F> {
    pub(super) fn new(log: &'a Log<F>, writer: MutexGuard<'a, Writer<F>>) -> Self {
        Self { log, writer }
    }

    /// Appends `buffers`, each of one or more whole batches that were checked before, and gives them their offsets.
    /// A batch of an idempotent producer comes alone in its buffer, and is appended if it is that producer's next.
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
        self.log.check()?;
        self.writer.check_lost(&self.log.dir)?;
        assert!(!self.log.is_below_damage, "nothing is appended to a partition that is offline");
        let options = self.log.options.load_full();
        let size: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        if size <= u64::from(options.segment_bytes) || buffers.len() <= 1 {
            let outcomes = self.append_together(buffers, size, mode, now, &options)?;
            return Ok(Appended { outcomes, stopped: None });
        }
        if mode == Mode::Inline {
            return Err(AppendError::NeedsLane);
        }
        let mut outcomes = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let size = buffer.len() as u64;
            match self.append_together(std::slice::from_mut(buffer), size, mode, now, &options) {
                Ok(more) => outcomes.extend(more),
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => return Ok(Appended { outcomes, stopped: Some(error) }),
            }
        }
        Ok(Appended { outcomes, stopped: None })
    }

    /// Appends what is next of `buffers` with one write, or nothing.
    fn append_together(
        &mut self,
        buffers: &mut [BytesMut],
        size: u64,
        mode: Mode,
        now: Timestamp,
        options: &LogOptions,
    ) -> Result<Vec<Result<AppendedRange, Refusal>>, AppendError> {
        let max = log_capacity(options);
        if size > max {
            // One alone: several are appended together only where a segment takes them.
            return Ok(vec![Err(Refusal::TooMany { size, max })]);
        }
        let written = self.stamp_and_write(buffers, mode, now, options);
        match &written {
            Ok(_) => self.writer.producers.settle(),
            Err(error) => {
                self.writer.producers.take_back();
                if matches!(error, AppendError::Io { .. }) {
                    // Before anybody else has the right to append, or a round syncs what this has left.
                    self.log.failure.set();
                }
            }
        }
        written
    }

    fn stamp_and_write(
        &mut self,
        buffers: &mut [BytesMut],
        mode: Mode,
        now: Timestamp,
        options: &LogOptions,
    ) -> Result<Vec<Result<AppendedRange, Refusal>>, AppendError> {
        let mut stamped = self.stamp(buffers, now, options);
        if stamped.size == 0 {
            // Also where nothing may be written for now.
            return Ok(stamped.outcomes);
        }
        if self.writer.has_remains() {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            self.log.clear_remains(&mut self.writer)?;
        }
        if self.writer.must_roll(stamped.size, stamped.batches.len(), stamped.next, options) {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            // The snapshot of the end that is left behind has nothing of what comes after it.
            self.writer.producers.take_back();
            self.log.roll(&mut self.writer)?;
            stamped = self.stamp(buffers, now, options);
        }
        if self.writer.is_dormant() {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            self.log.wake(&mut self.writer)?;
        }
        self.write(buffers, &stamped, mode, now, options)?;
        Ok(stamped.outcomes)
    }

    fn stamp(&mut self, buffers: &mut [BytesMut], now: Timestamp, options: &LogOptions) -> Stamped {
        let (next, epoch) = (self.log.log_end(), self.log.leader_epoch());
        let Writer { producers, append_time, .. } = &mut *self.writer;
        let batch_size_max = options.batch_size_max;
        Stamping { producers, append_time, next, epoch, batch_size_max, now }.all(buffers)
    }

    /// Writes what is new of `buffers`, and publishes it.
    fn write(
        &mut self,
        buffers: &[BytesMut],
        stamped: &Stamped,
        mode: Mode,
        now: Timestamp,
        options: &LogOptions,
    ) -> Result<(), AppendError> {
        let (next, size) = (stamped.next, stamped.size);
        let dir = &self.log.dir;
        let Some(active) = self.writer.active.as_mut() else { return Err(AppendError::NeedsLane) };
        let Some(files) = active.files.as_mut() else { return Err(AppendError::NeedsLane) };
        let (start, base) = (active.segment.end(), active.segment.base());
        if files.log.allocated() < start + size {
            if mode == Mode::Inline {
                return Err(AppendError::NeedsLane);
            }
            files.allocate(start + size).map_err(|source| failed(dir, base, source))?;
        }
        let new = buffers
            .iter()
            .zip(&stamped.outcomes)
            .filter(|(_, outcome)| outcome.as_ref().is_ok_and(|range| !range.is_duplicate));
        let slices: Vec<IoSlice<'_>> = new.map(|(buffer, _)| IoSlice::new(buffer)).collect();
        active.is_dirty = true;
        if let Err(source) = files.log.append(&slices) {
            // What a short write left above the end would be damage to the next start, if anything came behind it; and
            // it may be on the disk by now, whatever is cut off here: XFS writes back what is dirty where it finds no
            // room, and others flush.
            files.has_rest |= files.is_longer();
            return Err(match files.log.cut() {
                Err(source) if !is_full(&source) => {
                    AppendError::Io { path: SegmentFile::Log.path(dir, base), source }
                }
                _ => failed(dir, base, source),
            });
        }
        active.segment.set_end(start + size);
        active.segment.touch(self.log.open.clock());
        active.begun.get_or_insert(now);
        self.log.next_offset.store(next.get(), Ordering::Release);
        active.index(start, &stamped.batches);
        if options.visibility == Visibility::Appended {
            let tail = self.writer.tail(next);
            self.log.visible.store(Arc::new(tail));
        }
        if self.writer.snapshots.appended(size, options.snapshot_interval) {
            self.log.wants_snapshot.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<F: Files> Writer<F> {
    pub(super) fn new(producers: Producers, snapshots: Snapshots, remains: Remains) -> Self {
        let (unsynced, append_time) = (Unsynced::default(), Timestamp::NONE);
        let (active, prepared, not_taken_back, uncut_indexes) = (None, None, None, Vec::new());
        Self {
            producers,
            snapshots,
            active,
            prepared,
            not_taken_back,
            uncut_indexes,
            remains,
            unsynced,
            append_time,
        }
    }

    /// Cuts indexes of closed segments off where their entries end, as far as there is room for it.
    pub(super) fn cut_indexes(&mut self) -> io::Result<()> {
        while let Some(index) = self.uncut_indexes.last_mut() {
            match index.cut() {
                Err(error) if is_full(&error) => break,
                cut => cut?,
            }
            self.uncut_indexes.pop();
        }
        Ok(())
    }

    /// Whether an index ends with part of an entry.
    pub(super) fn has_uncut_indexes(&self) -> bool {
        !self.uncut_indexes.is_empty() || self.active.as_ref().is_some_and(Active::has_uncut_indexes)
    }

    /// Whether a disk that was full has left something to be taken away for good before anything is written:
    /// [`Log::clear_remains`].
    pub(super) fn has_remains(&self) -> bool {
        let files = self.active.as_ref().and_then(|active| active.files.as_ref());
        let has_rest = files.is_some_and(|files| files.has_rest);
        self.not_taken_back.is_some() || !self.remains.is_empty() || has_rest
    }

    /// Whether nobody has found that the active segment has lost bytes.
    pub(super) fn check_lost(&self, dir: &Path) -> Result<(), AppendError> {
        let Some(active) = &self.active else { return Ok(()) };
        match active.files.as_ref().and_then(|files| files.log.map().poisoned()) {
            None => Ok(()),
            Some(position) => {
                let path = SegmentFile::Log.path(dir, active.segment.base());
                Err(AppendError::Lost { path, position })
            }
        }
    }

    pub(super) fn tail(&self, next_offset: Offset) -> Tail {
        match &self.active {
            Some(active) => {
                Tail { segment_base: active.segment.base(), pos: active.segment.end(), next_offset }
            }
            None => Tail { segment_base: next_offset, pos: 0, next_offset },
        }
    }

    /// What has unsynced bytes; it counts as synced from here on, for a failed sync is final.
    pub(super) fn take_unsynced(&mut self) -> Unsynced<F> {
        let mut unsynced = std::mem::take(&mut self.unsynced);
        if let Some(active) = &mut self.active
            && std::mem::take(&mut active.is_dirty)
        {
            unsynced.files.extend(active.log_handle());
            // One that is empty may have its name taken over by the next.
            let log = active.log_handle().filter(|_| active.segment.end() > 0);
            unsynced.logs.extend(log.map(|log| (active.segment.base(), log)));
        }
        unsynced
    }

    pub(super) fn start_writeback(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active
            && let Some(files) = &mut active.files
        {
            let end = active.segment.end();
            if end > active.written_back {
                files.log.start_writeback(active.written_back..end)?;
                active.written_back = end;
            }
        }
        Ok(())
    }

    /// Whether the segment that is appended to has to be opened first.
    pub(super) fn is_dormant(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.files.is_none())
    }

    /// Gives the files up, but for the handles that the next flush wants. Gives their maps.
    pub(super) fn retire(&mut self) -> Vec<Arc<SegmentMap>> {
        let mut maps = Vec::new();
        if let Some(active) = self.active.take() {
            if active.is_dirty {
                self.unsynced.files.extend(active.log_handle());
            }
            maps.extend(active.segment.take_maps());
        }
        maps.extend(self.prepared.take().iter().flat_map(Prepared::maps));
        self.uncut_indexes.clear();
        self.unsynced.new_names = false;
        maps
    }

    pub(super) fn give_back(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.give_back()?;
            active.is_dirty = true;
        }
        Ok(())
    }

    fn must_roll(&self, size: u64, batches: usize, next: Offset, options: &LogOptions) -> bool {
        let Some(active) = &self.active else { return true };
        let end = active.segment.end();
        let delta = next.get() - active.segment.base().get();
        let is_out_of_room = end + size > active.capacity();
        let is_full = end + size > u64::from(options.segment_bytes)
            || delta > i64::from(i32::MAX)
            || active.is_index_full(batches, size);
        end > 0 && is_full || is_out_of_room
    }
}

impl AppendError {
    /// Whether a file was not there any more: that is no word of a disk.
    pub(super) fn is_of_a_lost_name(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Retired => true,
            _ => false,
        }
    }

    /// What it is to who can do without until another time: nothing, where there was no room, no descriptor or no
    /// mapping.
    pub(super) fn unless_want(self) -> Option<io::Error> {
        match self {
            Self::Full { .. } | Self::Exhausted { .. } => None,
            Self::Io { source, .. } => Some(source),
            error => Some(io::Error::other(error)),
        }
    }
}

/// What the disk refused, by whether it was full.
pub(super) fn failed(dir: &Path, base: Offset, source: io::Error) -> AppendError {
    if is_full(&source) {
        AppendError::Full { dir: dir.to_owned() }
    } else if is_exhausted(&source) {
        AppendError::Exhausted { source }
    } else {
        AppendError::Io { path: SegmentFile::Log.path(dir, base), source }
    }
}
