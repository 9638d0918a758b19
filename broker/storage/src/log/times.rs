//! Finding records by their time.
//!
//! Times need not grow from batch to batch, nor from record to record. A time index says of how much of a segment it is
//! known that everything is earlier; from there on batches are looked at one by one, and into one whose latest record
//! is late enough. All of this may wait for a disk, and unpacks batches.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::{
    BatchError, BatchHeader, DecompressLimit, LeaderEpoch, Offset, Record, Timestamp, UnverifiedBatch,
};

use super::lookup::Window;
use super::read::{ReadError, visible_end};
use super::segment::Segment;
use super::{Log, Tail};
use crate::files::Files;
use crate::scan::UNPACKED_MAX;

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeHit {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The epoch that it was appended under.
    pub leader_epoch: LeaderEpoch,
}

impl<F: Files> Log<F> {
    /// The first record at or after `timestamp` that consumers may see, or `None`. May wait for a disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(&self, timestamp: Timestamp) -> Result<Option<TimeHit>, ReadError> {
        self.unless_replaced(|| self.first_at(timestamp))
    }

    fn first_at(&self, timestamp: Timestamp) -> Result<Option<TimeHit>, ReadError> {
        self.check_readable()?;
        let sight = self.sight();
        for (number, segment) in sight.segments() {
            // A maximum that nobody has read yet does not rule the segment out.
            if segment.max_timestamp().is_some_and(|max| max < timestamp) {
                continue;
            }
            let found = self.first_in(&sight, number, segment, timestamp)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first of the records with the latest time that consumers may see; `None` where no record has a time. May
    /// wait for a disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn latest_by_time(&self) -> Result<Option<TimeHit>, ReadError> {
        self.unless_replaced(|| self.latest_in_sight())
    }

    fn latest_in_sight(&self) -> Result<Option<TimeHit>, ReadError> {
        self.check_readable()?;
        let sight = self.sight();
        let mut latest: Option<TimeHit> = None;
        let beats = |time: Timestamp, latest: &Option<TimeHit>| {
            time > latest.as_ref().map_or(Timestamp::NONE, |latest| latest.timestamp)
        };
        for (number, segment) in sight.segments() {
            let known = segment.max_timestamp();
            if known.is_some_and(|max| !beats(max, &latest)) {
                continue;
            }
            let mut hit = match known {
                Some(max) => self.first_in(&sight, number, segment, max)?,
                None => None,
            };
            // It is not known, or the record that has it is out of sight.
            if hit.is_none()
                && let Some(max) = self.latest_of(&sight, segment)?
            {
                hit = self.first_in(&sight, number, segment, max)?;
            }
            latest = hit.filter(|hit| beats(hit.timestamp, &latest)).or(latest);
        }
        Ok(latest)
    }

    /// What consumers may see.
    fn sight(&self) -> Sight {
        let (visible, log_start) = (**self.visible.load(), self.log_start());
        Sight { visible, log_start, view: self.view.load_full() }
    }

    fn window<'a>(&self, sight: &Sight, segment: &Segment, map: &'a Arc<SegmentMap>) -> Window<'a> {
        segment.touch(self.open.clock());
        let end = visible_end(segment, &sight.visible);
        Window { end, ..Window::of(segment, map) }
    }

    fn first_in(
        &self,
        sight: &Sight,
        number: usize,
        segment: &Arc<Segment>,
        timestamp: Timestamp,
    ) -> Result<Option<TimeHit>, ReadError> {
        let map = self.log_of(segment)?;
        let window = self.window(sight, segment, &map);
        let is_active = number + 1 == sight.view.len();
        self.search(segment, &window, timestamp, sight.log_start, is_active)
            .map_err(|source| self.unreadable_in(segment, source))
    }

    /// The latest time of a segment's records in sight, by going through all of its batches.
    fn latest_of(&self, sight: &Sight, segment: &Arc<Segment>) -> Result<Option<Timestamp>, ReadError> {
        let map = self.log_of(segment)?;
        let window = self.window(sight, segment, &map);
        let latest = || -> io::Result<Option<Timestamp>> {
            let (mut pos, mut latest) = (0, None);
            while pos < window.end {
                not_damaged(segment, pos)?;
                let header = window.header(pos)?;
                let size = header.total_size();
                if header.count == 0 {
                    // No record of it is left.
                } else if header.base_offset >= sight.log_start {
                    latest = latest.max(Some(header.max_timestamp));
                } else if header.last_offset() >= sight.log_start {
                    // The log begins within this batch: its header speaks for records that are gone, too.
                    let bytes = window.batch(pos, size)?;
                    let times =
                        |record: &Record<'_>| (record.offset >= sight.log_start).then_some(record.timestamp);
                    each_record(&bytes, |record| {
                        latest = latest.max(times(record));
                        ControlFlow::Continue(())
                    })?;
                }
                pos += size as u64;
            }
            Ok(latest)
        };
        latest().map_err(|source| self.unreadable_in(segment, source))
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
            not_damaged(segment, pos)?;
            let header = window.header(pos)?;
            let size = header.total_size();
            if header.count > 0 && header.max_timestamp >= timestamp && header.last_offset() >= log_start {
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
    /// Of no more than `headers_max` batches.
    pub(super) fn last_timestamp(
        &self,
        segment: &Arc<Segment>,
        headers_max: usize,
    ) -> Result<LastTime, ReadError> {
        let map = self.log_of(segment)?;
        let window = Window::of(segment, &map);
        let indexes = self.indexes_of(segment);
        let last = indexes[1].as_ref().map(|times| times.last_time());
        let known = last.and_then(|last| last.what).map(|entry| entry.max_timestamp);
        let indexes = indexes.each_ref().map(|index| index.as_deref().filter(|_| known.is_some()));
        let latest = || -> io::Result<Option<(Option<Timestamp>, bool)>> {
            let located = window.locate_time(indexes, segment.base(), |_| true)?;
            let (mut pos, mut is_sound) =
                located.map_or((0, true), |located| (located.what, located.is_sound));
            let (mut latest, mut headers) = (known.filter(|_| is_sound), 0);
            while pos < window.end {
                if headers == headers_max {
                    return Ok(None);
                }
                headers += 1;
                let header = window.header(pos)?;
                if header.count > 0 {
                    // Had the maximum grown, there would be an entry.
                    is_sound &= known.is_some_and(|known| header.max_timestamp <= known);
                    latest = latest.max(Some(header.max_timestamp));
                }
                pos += header.total_size() as u64;
            }
            Ok(Some((latest, is_sound)))
        };
        let found = latest().map_err(|source| self.unreadable_in(segment, source))?;
        let Some((latest, is_sound)) = found else { return Ok(LastTime::TooFar) };
        if last.is_some_and(|last| !is_sound || !last.is_sound) {
            segment.suspect();
        }
        Ok(LastTime::Known(latest))
    }
}

/// What the batches of a segment tell of its latest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastTime {
    /// It is this; none, if there is no record.
    Known(Option<Timestamp>),
    /// Its indexes do not lead near enough.
    TooFar,
}

/// Headers of a damaged range say nothing.
fn not_damaged(segment: &Segment, pos: u64) -> io::Result<()> {
    match segment.damaged().at_position(pos) {
        Some(range) => Err(io::Error::new(io::ErrorKind::InvalidData, range.to_string())),
        None => Ok(()),
    }
}

/// The log as consumers may see it at one moment.
struct Sight {
    visible: Tail,
    log_start: Offset,
    view: Arc<Vec<Arc<Segment>>>,
}

impl Sight {
    /// The segments that have something to be seen, each with its number in the view.
    fn segments(&self) -> impl Iterator<Item = (usize, &Arc<Segment>)> {
        let seen = self.view.iter().take_while(|segment| segment.base() < self.visible.next_offset);
        // Of some, compaction has left nothing.
        seen.enumerate().filter(|(_, segment)| segment.end() > 0)
    }
}

fn first_in_batch(bytes: &[u8], timestamp: Timestamp, log_start: Offset) -> io::Result<Option<TimeHit>> {
    let mut hit = None;
    let header = each_record(bytes, |record| {
        if record.timestamp < timestamp || record.offset < log_start {
            return ControlFlow::Continue(());
        }
        hit = Some((record.offset, record.timestamp));
        ControlFlow::Break(())
    })?;
    let leader_epoch = header.leader_epoch;
    Ok(hit.map(|(offset, timestamp)| TimeHit { offset, timestamp, leader_epoch }))
}

/// Goes through the records of a batch until it is told to stop.
fn each_record(bytes: &[u8], mut see: impl FnMut(&Record<'_>) -> ControlFlow<()>) -> io::Result<BatchHeader> {
    let invalid = |error: BatchError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let (batch, _) = UnverifiedBatch::split_first(bytes).map_err(invalid)?;
    let records = batch.verify().map_err(invalid)?;
    let records = records.records(DecompressLimit::new(UNPACKED_MAX)).map_err(invalid)?;
    for record in &records {
        if see(&record.map_err(invalid)?).is_break() {
            break;
        }
    }
    Ok(*records.header())
}
