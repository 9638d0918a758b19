//! Rolling by age, and retention. All of it may wait for a disk, and belongs on the maintenance thread.
//!
//! Retention goes in three steps, so that the first readable offset is durable before a file goes: ask what is
//! [`expired`](Log::expired); let the flusher raise the log start; then [`drop_below_start`](Log::drop_below_start).

use std::io;
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};

use super::Log;
use super::append::AppendError;
use super::read::ReadError;
use crate::files::Files;
use crate::partition_files::SegmentFile;
use crate::trash::Trash;

impl<F: Files> Log<F> {
    /// Begins a new segment if the present one is older than `segment.ms`, if everything in it has expired, or if it had
    /// to do without indexes because the disk was full: once closed it gets them. Returns whether it did.
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

    fn start_due(&self, now: Option<Timestamp>) -> Option<Offset> {
        let options = self.options();
        let view = self.view.load();
        let mut size: u64 = view.iter().map(|segment| segment.end()).sum();
        let mut start = self.log_start();
        for pair in view.windows(2) {
            let (segment, next) = (&pair[0], &pair[1]);
            let is_over = options.retention_bytes.is_some_and(|limit| size - segment.end() >= limit);
            let last = now.zip(segment.aged_from());
            let is_old = options.retention_ms.zip(last).is_some_and(|(limit, (now, last))| {
                now.get().saturating_sub(last.get()) > i64::try_from(limit).unwrap_or(i64::MAX)
            });
            if !(is_over || is_old) || next.base() > self.durable() {
                break;
            }
            size -= segment.end();
            start = start.max(next.base());
        }
        (start > self.log_start()).then_some(start)
    }

    /// Whether there is anything for [`drop_below_start`](Self::drop_below_start).
    pub fn has_segments_below_start(&self) -> bool {
        self.view.load().get(1).is_some_and(|second| second.base() <= self.log_start())
    }

    /// Moves segments that lie wholly below the start of the log into the trash. Gives their maps, so that the
    /// caller decides where they are unmapped.
    pub fn drop_below_start(&self, trash: &Trash) -> io::Result<Vec<Arc<SegmentMap>>> {
        let _names = self.names();
        let mut writer = self.lock();
        if self.is_retired() {
            return Ok(Vec::new());
        }
        let view = self.view.load_full();
        let start = self.log_start();
        let gone = view.windows(2).take_while(|pair| pair[1].base() <= start).count();
        if gone == 0 {
            return Ok(Vec::new());
        }
        self.failure.check()?;
        // Readers stop finding them before they go.
        self.view.store(Arc::new(view[gone..].to_vec()));
        let mut maps = Vec::new();
        for segment in &view[..gone] {
            for file in SegmentFile::ALL {
                trash.discard(&*self.files, &file.path(&self.dir, segment.base()))?;
            }
            segment.set_gone();
            maps.extend(segment.take_maps());
        }
        self.drop_snapshots(&mut writer, view[gone].base())?;
        Ok(maps)
    }

    /// Looks up the latest timestamp of segments that nobody has read since the start; for retention by time.
    ///
    /// # Errors
    /// Those of reading.
    pub fn learn_timestamps(&self) -> Result<(), ReadError> {
        for segment in self.view.load().iter().filter(|segment| segment.max_timestamp().is_none()) {
            if self.is_retired() {
                return Ok(());
            }
            match self.last_timestamp(segment) {
                Ok(Some(timestamp)) => segment.set_max_timestamp(timestamp),
                Ok(None) | Err(ReadError::Replaced) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
