//! Rolling by age, and retention. All of it may wait for a disk, and belongs on the maintenance thread.
//!
//! Retention goes in three steps, so that the first readable offset is durable before a file goes: ask what is
//! [`expired`](Log::expired); let the flusher raise the log start; then [`drop_below_start`](Log::drop_below_start).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};

use super::Log;
use super::append::AppendError;
use super::read::ReadError;
use super::segment::Segment;
use super::times::LastTime;
use crate::files::{Files, is_full};
use crate::partition_files::SegmentFile;
use crate::trash::Trash;

impl<F: Files> Log<F> {
    /// Begins a new segment if the present one is older than `segment.ms`, if everything in it has expired, or if it
    /// had to do without indexes because the disk was full: once closed it gets them. Returns whether it did.
    pub fn roll_if_expired(&self, now: Timestamp) -> Result<bool, AppendError> {
        let options = self.options();
        let mut writer = self.lock();
        let Some(active) = writer.active.as_mut().filter(|active| active.segment.end() > 0) else {
            return Ok(false);
        };
        // Of records without a time nobody knows after a start when the first of them came.
        let begun = *active.begun.get_or_insert(now);
        let age = |since: Timestamp| u64::try_from(now.get().saturating_sub(since.get())).unwrap_or(0);
        let limit =
            options.segment_ms.map(|limit| limit - active.jitter(options.segment_jitter_ms.min(limit)));
        let is_old = limit.is_some_and(|limit| age(begun) >= limit);
        let last = active.segment.aged_from().unwrap_or(begun);
        let is_expired = options.retention_ms.is_some_and(|limit| age(last) > limit);
        if !is_old && !is_expired && !active.lacks_indexes() {
            return Ok(false);
        }
        self.check()?;
        self.roll(&mut writer)?;
        Ok(true)
    }

    /// Where the log should begin by size and age, if that is later than it does. Never within the last segment,
    /// and never above what is durable.
    pub fn expired(&self, now: Timestamp) -> Option<Offset> {
        self.start_due(Some(now))
    }

    /// The same by size alone, for who does not believe the clock.
    pub fn expired_by_size(&self) -> Option<Offset> {
        self.start_due(None)
    }

    /// Segments go from the oldest on, each for its size or its age. One whose age nobody will find out, because it is
    /// damaged, goes with the next that tells, and keeps nothing behind it for ever. The times of the records there say
    /// nothing of it, for producers may send what is old; but when that one was sealed, all of this had come. Nothing
    /// else tells: no header has a time, and that of a file is what the last to copy it has made of it.
    fn start_due(&self, now: Option<Timestamp>) -> Option<Offset> {
        let options = self.options();
        let view = self.view.load();
        let mut size: u64 = view.iter().map(|segment| segment.end()).sum();
        let mut start = self.log_start();
        let by_age = options.retention_ms.zip(now);
        let mut takes_along = false;
        let is_old = |last: Timestamp, (limit, now): (u64, Timestamp)| {
            now.get().saturating_sub(last.get()) > i64::try_from(limit).unwrap_or(i64::MAX)
        };
        for pair in view.windows(2) {
            let (segment, next) = (&pair[0], &pair[1]);
            if next.base() > self.durable() {
                break;
            }
            let is_over = options.retention_bytes.is_some_and(|limit| size - segment.end() >= limit);
            size -= segment.end();
            let goes = match (by_age, segment.aged_from()) {
                _ if is_over => true,
                (Some(by_age), Some(last)) if takes_along => {
                    segment.closed_by(last).is_some_and(|by| is_old(by, by_age))
                }
                (Some(by_age), Some(last)) => is_old(last, by_age),
                (Some(_), None) if segment.is_ageless() => {
                    takes_along = true;
                    continue;
                }
                _ => false,
            };
            if !goes {
                break;
            }
            takes_along = false;
            start = start.max(next.base());
        }
        (start > self.log_start()).then_some(start)
    }

    /// Whether there is anything for [`drop_below_start`](Self::drop_below_start).
    pub fn has_segments_below_start(&self) -> bool {
        let is_below = |second: &Arc<Segment>| second.base() <= self.log_start();
        self.view.load().get(1).is_some_and(is_below) || !self.left_below().is_empty()
    }

    /// Moves segments that lie wholly below the start of the log into the trash. Gives their maps, so that the
    /// caller decides where they are unmapped. What there is no room even to take away stays for the next time; so does
    /// what a replacement is about that finds no room, and nothing else waits for that.
    pub fn drop_below_start(&self, trash: &Trash) -> io::Result<Vec<Arc<SegmentMap>>> {
        let mut names = self.names();
        match self.finish_replacement(&mut names, trash) {
            Ok(maps) => self.open.retire(maps),
            Err(error) => error.unless_want().map_or(Ok(()), Err)?,
        }
        let mut writer = self.lock();
        if self.is_retired() {
            return Ok(Vec::new());
        }
        self.drop_left_below(trash)?;
        let view = self.view.load_full();
        let start = self.log_start();
        let below = view.windows(2).take_while(|pair| pair[1].base() <= start).count();
        let (below, kept) = view.split_at(below);
        let stays = |segment: &&Arc<Segment>| {
            names.as_ref().is_some_and(|unfinished| unfinished.is_about(segment.base()))
        };
        let (mut left, goes): (Vec<&Arc<Segment>>, Vec<_>) = below.iter().partition(stays);
        if goes.is_empty() {
            return Ok(Vec::new());
        }
        self.failure.check()?;
        let show = |left: &[&Arc<Segment>]| {
            let view = left.iter().copied().chain(kept).map(Arc::clone).collect();
            self.view.store(Arc::new(view));
        };
        // Readers stop finding them before they go.
        show(&left);
        let (mut dropped, mut maps) = (0, Vec::new());
        for segment in &goes {
            match self.discard(trash, segment.base()) {
                Err(error) if is_full(&error) => break,
                discarded => discarded?,
            }
            dropped += 1;
            segment.set_gone();
            maps.extend(segment.take_maps());
        }
        if dropped < goes.len() {
            left.extend(&goes[dropped..]);
            left.sort_unstable_by_key(|segment| segment.base());
            show(&left);
        }
        let first = left.first().copied().or(kept.first());
        first.map_or(Ok(()), |first| self.drop_snapshots(&mut writer, first.base()))?;
        Ok(maps)
    }

    /// Takes away what the start has found no room to take away. The caller holds the names.
    fn drop_left_below(&self, trash: &Trash) -> io::Result<()> {
        let mut left = self.left_below();
        while let Some(path) = left.first() {
            self.failure.check()?;
            match trash.discard(&*self.files, path) {
                Err(error) if is_full(&error) => break,
                discarded => discarded?,
            }
            left.remove(0);
        }
        Ok(())
    }

    fn left_below(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.left_below.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the files of a segment away; where its log is gone, an index without it may stay for the next start.
    fn discard(&self, trash: &Trash, base: Offset) -> io::Result<()> {
        for file in SegmentFile::ALL {
            match trash.discard(&*self.files, &file.path(&self.dir, base)) {
                Err(error) if is_full(&error) && file != SegmentFile::Log => {}
                discarded => discarded?,
            }
        }
        Ok(())
    }

    /// Looks up the latest timestamp of segments that nobody has read since the start; for retention by time. One that
    /// cannot be read is not tried again before the next scrub ([`seal_unread`](Self::seal_unread)). One that is yet to
    /// be sealed, and has no index that leads to its end, tells it once it has: it is read then, in bounded steps.
    ///
    /// # Errors
    /// The first of those of reading; all that can be read are looked up.
    pub fn learn_timestamps(&self) -> Result<(), ReadError> {
        let mut outcome = Ok(());
        for segment in self.view.load().iter().filter(|segment| segment.wants_timestamp()) {
            if self.is_retired() {
                break;
            }
            let is_empty = segment.end() == 0;
            let headers_max = if segment.wants_seal() { HEADERS_MAX } else { usize::MAX };
            match self.last_timestamp(segment, headers_max) {
                Ok(LastTime::Known(Some(timestamp))) => segment.set_max_timestamp(timestamp),
                // What nothing was appended to so far may get records; of all others none is left.
                Ok(LastTime::Known(None)) => segment.set_untimed(!is_empty),
                Ok(LastTime::TooFar) => {}
                // Later there is room for its map.
                Err(ReadError::Replaced | ReadError::Exhausted { .. }) => {}
                Err(error) => {
                    segment.set_untimed(true);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }
}

/// At most so many batches are looked at, at one go, to learn the age of a segment that will be sealed: where times
/// grow, an index leads nearer than that.
const HEADERS_MAX: usize = 4096;
