//! Segments that are appended to and are not, for a while: they hold none of their files open.
//!
//! ```text
//!            an append, on a thread that may wait
//!   dormant ------------------------------------> awake     log, offset index, time index: mapped, and open
//!           <------------------------------------
//!            durable, and nobody has needed it for long; or others need the room
//! ```
//! A start leaves all logs dormant. Who reads from one maps its log as if it were closed. Falling asleep gives the
//! reserve back to the disk, and removes the next segment if that was made ready; both are made again when they are
//! needed. What a run that was killed had reserved is given back by the first look at a log that sleeps.
//!
//! Invariants:
//! * What sleeps is durable: a flush has nothing to ask of it.
//! * Waking is done under the writer's lock, and so is falling asleep: there is one appender, or none.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use folio_mapped::SegmentMap;

use super::Log;
use super::active::{Active, MAPS, OpenFiles, give_back};
use super::append::{AppendError, Writer, failed};
use super::read::lost_from;
use super::segment::Segment;
use crate::files::{FileAppender, FileHandle, Files, OpenMode, is_exhausted};
use crate::open_segments::Holder;
use crate::partition_files::SegmentFile;

/// Whether a log holds open what it would need to be appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakefulness {
    /// It does, and was needed not long ago.
    Awake,
    /// It does not, or nothing was ever appended to it.
    Asleep,
    /// It could fall asleep if it were flushed.
    Unflushed,
}

impl<F: Files> Log<F> {
    /// Whether the segment that is appended to holds no files open.
    pub fn is_dormant(&self) -> bool {
        self.is_dormant.load(Ordering::Acquire)
    }

    /// Lets a log fall asleep that nobody has read from or appended to for `limit`. For the maintenance thread, again
    /// and again: `at` is the present moment.
    ///
    /// # Errors
    /// The disk's.
    pub fn sleep_if_idle(&self, at: Instant, limit: Duration) -> Result<Wakefulness, AppendError> {
        if self.may_have_reserve.load(Ordering::Relaxed) {
            let _names = self.names();
            self.give_old_reserve_back(&self.lock());
        }
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(Wakefulness::Awake),
        };
        let Some(active) = &mut writer.active else { return Ok(Wakefulness::Asleep) };
        let was_busy = active.segment.was_busy();
        let since = match active.idle_since {
            Some(since) if !was_busy => since,
            _ => *active.idle_since.insert(at),
        };
        if at.saturating_duration_since(since) < limit {
            return Ok(if active.files.is_some() { Wakefulness::Awake } else { Wakefulness::Asleep });
        }
        if active.files.is_none() {
            // What a reader has mapped of it.
            if let Some(maps) = active.segment.give_way() {
                self.open.retire(maps);
            }
            return Ok(Wakefulness::Asleep);
        }
        let may_write = !self.is_given_up() && !self.failure.is_set();
        if may_write && let Err(error @ AppendError::Io { .. }) = self.clear_remains(&mut writer) {
            return Err(error);
        }
        if !self.is_at_rest(&writer) {
            return Ok(Wakefulness::Unflushed);
        }
        let maps = self.fall_asleep(&mut writer)?;
        drop(writer);
        self.open.retire(maps);
        Ok(Wakefulness::Asleep)
    }

    /// Gives back what a run that was killed had reserved behind the end of a log that sleeps. One that is awake has a
    /// reserve there itself, and gives all of it back when it falls asleep. Whoever calls holds the names.
    pub(super) fn give_old_reserve_back(&self, writer: &Writer<F>) {
        let may_write = !self.is_retired() && !self.is_given_up() && !self.failure.is_set();
        if !self.may_have_reserve.swap(false, Ordering::Relaxed) || !may_write {
            return;
        }
        if let Some(active) = writer.active.as_ref().filter(|active| active.files.is_none()) {
            let path = SegmentFile::Log.path(&self.dir, active.segment.base());
            let file = self.files.open(&path, OpenMode::Write);
            // The length that there is: it frees what lies behind. Nothing depends on it.
            let _ = file.and_then(|file| file.set_len(file.len()?));
        }
    }

    /// Whether this log holds files open that it could do without if it were flushed.
    pub fn would_sleep_if_flushed(&self) -> bool {
        !self.is_dormant() && self.durable() < self.log_end()
    }

    /// Opens what an append needs, if it is not.
    pub(super) fn wake(&self, writer: &mut Writer<F>) -> Result<(), AppendError> {
        let Some(mut active) = writer.active.take_if(|active| active.files.is_none()) else { return Ok(()) };
        self.open.make_room(MAPS);
        let opened = OpenFiles::open(&*self.files, &self.dir, &active);
        let base = active.segment.base();
        let opened = opened.map_err(|source| self.unopened(base, self.open.refused(source)));
        let woken = opened.and_then(|mut files| {
            files.cut_foreign().map_err(|source| failed(&self.dir, base, source))?;
            Ok(active.open(files))
        });
        let displaced = match woken {
            Ok(displaced) => displaced,
            Err(error) => {
                writer.active = Some(active);
                return Err(error);
            }
        };
        self.has_opened(writer, active);
        self.open.retire(displaced.into_iter().collect());
        Ok(())
    }

    /// `active` holds its files open.
    pub(super) fn has_opened(&self, writer: &mut Writer<F>, active: Active<F>) {
        active.segment.touch(self.open.clock());
        writer.active = Some(active);
        self.is_dormant.store(false, Ordering::Release);
        let me: std::sync::Weak<dyn Holder> = self.me.clone();
        self.open.opened(me);
    }

    /// `segment` is mapped, and can do without if others need the room.
    pub(super) fn may_give_way(&self, segment: &Arc<Segment>) {
        segment.touch(self.open.clock());
        let segment: Arc<dyn Holder> = segment.clone();
        self.open.opened(Arc::downgrade(&segment));
    }

    /// Everything is on stable storage, and nobody is about to append.
    fn is_at_rest(&self, writer: &Writer<F>) -> bool {
        let is_synced = writer.unsynced.files.is_empty() && !writer.unsynced.new_names;
        // After a failed write nothing is cut or removed any more; and files that were taken away are there while they
        // are open.
        is_synced
            && !writer.has_remains()
            && !self.failure.is_set()
            && !self.is_given_up()
            && writer.active.as_ref().is_some_and(|active| !active.is_dirty && !active.has_uncut_indexes())
            && writer.check_lost(&self.dir).is_ok()
            && self.durable() == self.log_end()
    }

    /// Gives up what the segment holds open, which is at rest. Gives its maps.
    fn fall_asleep(&self, writer: &mut Writer<F>) -> Result<Vec<Arc<SegmentMap>>, AppendError> {
        let mut maps = Vec::new();
        if let Some(prepared) = writer.prepared.take() {
            maps.extend(prepared.maps());
            // What stays is overwritten by the next one that is made ready, or removed by the next start.
            let _ = prepared.discard(&*self.files);
            self.is_prepared.store(false, Ordering::Release);
        }
        let Some(active) = &mut writer.active else { return Ok(maps) };
        let Some(files) = &mut active.files else { return Ok(maps) };
        if files.log.allocated() > active.segment.end() {
            let base = active.segment.base();
            give_back(&mut files.log).map_err(|source| self.broken(base, source))?;
        }
        maps.extend(active.segment.take_maps());
        active.files = None;
        self.is_dormant.store(true, Ordering::Release);
        Ok(maps)
    }

    fn unopened(&self, base: folio_record::Offset, source: std::io::Error) -> AppendError {
        if is_exhausted(&source) {
            return failed(&self.dir, base, source);
        }
        let path: PathBuf = SegmentFile::Log.path(&self.dir, base);
        if let Some(position) = lost_from(&source) {
            return AppendError::Lost { path, position };
        }
        AppendError::Unopened { path, source }
    }
}

impl<F: Files> Holder for Log<F> {
    fn last_used(&self) -> u64 {
        self.view.load().last().map_or(0, |last| last.last_used())
    }

    fn give_way(&self) -> Option<Vec<Arc<SegmentMap>>> {
        let mut writer = self.writer.try_lock().ok()?;
        let is_awake = writer.active.as_ref().is_some_and(|active| active.files.is_some());
        let is_needed = |active: &Active<F>| active.segment.is_needed_beside(active.holders);
        if is_awake && (!self.is_at_rest(&writer) || writer.active.as_ref().is_some_and(is_needed)) {
            return None;
        }
        let asleep = self.fall_asleep(&mut writer);
        if asleep.is_err() {
            // A write has failed: whoever writes next is told.
            self.failure.set();
        }
        asleep.ok()
    }

    fn is_listed(&self) -> &AtomicBool {
        &self.is_listed
    }
}
