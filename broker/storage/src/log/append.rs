//! Appending: assign offsets, write once, publish, index.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use bytes::BytesMut;
use folio_record::{BatchHeader, HEADER_SIZE, LeaderEpoch, Offset, Timestamp, stamp};
use thiserror::Error;

use super::active::{Active, Prepared, log_capacity};
use super::{Log, LogOptions, Tail, Visibility};
use crate::files::{FileAppender, Files, is_exhausted, is_full};
use crate::partition_files::SegmentFile;

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
    /// The caller's fault: batches that are to be appended together and do not fit into one segment.
    #[error("batches of {size} bytes together where a segment takes {max}")]
    TooMany {
        /// Their size.
        size: u64,
        /// The largest possible.
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
    /// Made ready to come after it.
    pub(super) prepared: Option<Prepared<F>>,
    /// Handles of files that were rolled away from, with bytes that are not on stable storage.
    pub(super) unsynced: Vec<Arc<F::File>>,
    /// Names in the log's directory are not on stable storage.
    pub(super) new_names: bool,
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
        assert!(!self.log.is_below_damage, "nothing is appended to a partition that is offline");
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

    /// Appends all of `buffers` with one write, or nothing.
    fn append_together(
        &mut self,
        buffers: &mut [BytesMut],
        size: u64,
        mode: Mode,
        now: Timestamp,
        options: &LogOptions,
    ) -> Result<Vec<AppendedRange>, AppendError> {
        let max = log_capacity(options);
        if size > max {
            return Err(AppendError::TooMany { size, max });
        }
        let Stamped { ranges, batches, next } =
            stamp_all(buffers, self.log.log_end(), self.log.leader_epoch(), options.batch_size_max)?;
        if self.writer.must_roll(size, batches.len(), next, options) {
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

impl<F: Files> Writer<F> {
    pub(super) fn new() -> Self {
        Self { active: None, prepared: None, unsynced: Vec::new(), new_names: false }
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
            files.push(active.log_handle());
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
            self.unsynced.push(active.log_handle());
        }
        self.prepared = None;
        self.new_names = false;
    }

    pub(super) fn cut(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.cut()?;
            active.is_dirty = true;
        }
        Ok(())
    }

    fn must_roll(&self, size: u64, batches: usize, next: Offset, options: &LogOptions) -> bool {
        let Some(active) = &self.active else { return true };
        let end = active.segment.end();
        let delta = next.get() - active.segment.base().get();
        let is_out_of_room = end + size > active.segment.log().map_or(0, |map| map.capacity());
        let is_full = end + size > u64::from(options.segment_bytes)
            || delta > i64::from(i32::MAX)
            || active.is_index_full(batches, size);
        end > 0 && is_full || is_out_of_room
    }
}

/// Buffers that have their offsets.
struct Stamped {
    /// Of each buffer.
    ranges: Vec<AppendedRange>,
    /// Each batch, and where it begins among all bytes.
    batches: Vec<(u64, BatchHeader)>,
    /// The offset after the last.
    next: Offset,
}

/// Gives every batch of `buffers` its place, from `next` on.
fn stamp_all(
    buffers: &mut [BytesMut],
    mut next: Offset,
    epoch: LeaderEpoch,
    batch_size_max: u32,
) -> Result<Stamped, AppendError> {
    let (mut ranges, mut batches) = (Vec::with_capacity(buffers.len()), Vec::new());
    let mut at = 0;
    for buffer in buffers {
        let base_offset = next;
        let mut from = 0;
        while from < buffer.len() {
            let header = buffer[from..].first_chunk::<HEADER_SIZE>().ok_or(AppendError::NotABatch)?;
            let header = BatchHeader::parse(header).map_err(|_| AppendError::NotABatch)?;
            let size = header.total_size();
            if size > batch_size_max as usize {
                return Err(AppendError::TooLarge { size: size as u64, max: u64::from(batch_size_max) });
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
    Ok(Stamped { ranges, batches, next })
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
