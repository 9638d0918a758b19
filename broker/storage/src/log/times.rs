//! Finding records by their time.
//!
//! Times need not grow from batch to batch, nor from record to record. A time index says of how much of a segment it is
//! known that everything is earlier; from there on batches are looked at one by one, and into one whose latest record
//! is late enough. All of this may wait for a disk, and unpacks batches.

use std::io;

use folio_record::{DecompressLimit, Offset, Timestamp, UnverifiedBatch};

use super::Log;
use super::lookup::Window;
use super::read::{ReadError, Touch, visible_end};
use super::segment::Segment;
use crate::files::Files;

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeHit {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

impl<F: Files> Log<F> {
    /// The first record at or after `timestamp` that consumers may see, or `None`. May wait for a disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(&self, timestamp: Timestamp) -> Result<Option<TimeHit>, ReadError> {
        if self.is_retired() {
            return Err(ReadError::Retired);
        }
        let visible = **self.visible.load();
        let log_start = self.log_start();
        let view = self.view.load();
        for (number, segment) in view.iter().enumerate() {
            if segment.base() >= visible.next_offset {
                break;
            }
            // A maximum that nobody has read yet does not rule the segment out.
            if segment.max_timestamp().is_some_and(|max| max < timestamp) {
                continue;
            }
            let map = self.log_of(segment)?;
            let end = visible_end(segment, &visible);
            let window = Window { map, end, warm_from: u64::MAX, touch: Touch::Any };
            let is_active = number + 1 == view.len();
            let found = self
                .search(segment, &window, timestamp, log_start, is_active)
                .map_err(|source| self.unreadable(source))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn search(
        &self,
        segment: &Segment,
        window: &Window<'_>,
        timestamp: Timestamp,
        log_start: Offset,
        is_active: bool,
    ) -> io::Result<Option<TimeHit>> {
        let indexes = self.indexes_of(segment);
        let located =
            window.locate_time(indexes.each_ref().map(Option::as_deref), segment.base(), |entry| {
                entry.max_timestamp < timestamp
            })?;
        if !is_active && located.is_some_and(|located| !located.is_sound) {
            segment.suspect();
        }
        let mut pos = located.map_or(0, |located| located.what);
        while pos < window.end {
            let header = window.header(pos)?;
            let size = header.total_size();
            if header.max_timestamp >= timestamp && header.last_offset() >= log_start {
                let bytes = window.batch(pos, size)?;
                if let Some(hit) = first_in_batch(&bytes, timestamp, log_start)? {
                    return Ok(Some(hit));
                }
            }
            pos += size as u64;
        }
        Ok(None)
    }

    /// The latest timestamp of a closed segment: what its time index says of its beginning, and its batches of the
    /// rest. There is no rest where timestamps grow, for the index has its last word when the segment is full.
    pub(super) fn last_timestamp(&self, segment: &Segment) -> Result<Option<Timestamp>, ReadError> {
        let map = self.log_of(segment)?;
        let window = Window { map, end: segment.end(), warm_from: u64::MAX, touch: Touch::Any };
        let indexes = self.indexes_of(segment);
        let last = indexes[1].as_ref().map(|times| times.last_time());
        let known = last.and_then(|last| last.what).map(|entry| entry.max_timestamp);
        let indexes = indexes.each_ref().map(|index| index.as_deref().filter(|_| known.is_some()));
        let latest = || -> io::Result<(Option<Timestamp>, bool)> {
            let located = window.locate_time(indexes, segment.base(), |_| true)?;
            let (mut pos, mut is_sound) =
                located.map_or((0, true), |located| (located.what, located.is_sound));
            let mut latest = known.filter(|_| is_sound);
            while pos < window.end {
                let header = window.header(pos)?;
                // Had the maximum grown, there would be an entry.
                is_sound &= known.is_some_and(|known| header.max_timestamp <= known);
                latest = latest.max(Some(header.max_timestamp));
                pos += header.total_size() as u64;
            }
            Ok((latest, is_sound))
        };
        let (latest, is_sound) = latest().map_err(|source| self.unreadable(source))?;
        if last.is_some_and(|last| !is_sound || !last.is_sound) {
            segment.suspect();
        }
        Ok(latest)
    }
}

/// The records of a batch take no more than this, decompressed.
const DECOMPRESSED_MAX: usize = 128 * 1024 * 1024;

fn first_in_batch(bytes: &[u8], timestamp: Timestamp, log_start: Offset) -> io::Result<Option<TimeHit>> {
    let invalid =
        |error: folio_record::BatchError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let (batch, _) = UnverifiedBatch::split_first(bytes).map_err(invalid)?;
    let records = batch.verify().map_err(invalid)?;
    let records = records.records(DecompressLimit::new(DECOMPRESSED_MAX)).map_err(invalid)?;
    for record in &records {
        let record = record.map_err(invalid)?;
        if record.timestamp >= timestamp && record.offset >= log_start {
            return Ok(Some(TimeHit { offset: record.offset, timestamp: record.timestamp }));
        }
    }
    Ok(None)
}
