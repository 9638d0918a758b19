//! Reading: from an offset to a range of mapped bytes, whole batches only.

use std::io;
use std::sync::Arc;

use folio_mapped::{MapSlice, SegmentMap};
use folio_record::{BatchHeader, DecompressLimit, HEADER_SIZE, Offset, Timestamp, UnverifiedBatch};
use thiserror::Error;

use super::segment::Segment;
use super::{Log, Tail};
use crate::files::Files;
use crate::index::{INDEX_ENTRY_SIZE, OffsetEntry, SegmentUid, TimeEntry, entries_in, entry_position};
use crate::partition_files::SegmentFile;

/// Whether a read may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Only what is in memory is touched; anything else is [`Read::Cold`].
    Warm,
    /// Whatever it takes.
    Any,
}

/// Remembers where a sequential reader is, so that it need not look for its place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    place: Option<(Offset, Offset, u64)>,
}

/// The outcome of a read.
#[derive(Debug)]
pub enum Read {
    /// The bytes.
    Ready(Fetched),
    /// They are not in memory: ask again with [`Touch::Any`], on a thread that may wait.
    Cold,
}

/// Bytes that were asked for.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole batches, the first of which holds the offset asked for; `None` if there is nothing to be seen yet.
    pub slice: Option<MapSlice>,
    /// The offset after those batches.
    pub next_offset: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The bytes were written a moment ago: they are in memory.
    pub is_near_tail: bool,
}

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeHit {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// Why nothing was read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The reader's fault.
    #[error("offset {offset} is not between {log_start} and {log_end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The first offset that may be read.
        log_start: Offset,
        /// The next offset to be assigned.
        log_end: Offset,
    },
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Retired,
    /// The disk's fault, or that of whoever changed the file.
    #[error("{}: {source}", dir.display())]
    Io {
        /// The log's directory.
        dir: std::path::PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

impl<F: Files> Log<F> {
    /// Reads whole batches from the one that holds `offset` on: as many as fit `max_bytes`, but at least one.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(
        &self,
        offset: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
        touch: Touch,
    ) -> Result<Read, ReadError> {
        if self.is_retired() {
            return Err(ReadError::Retired);
        }
        let visible = **self.visible.load();
        let (log_start, log_end) = (self.log_start(), self.log_end());
        if offset < log_start || offset > log_end {
            return Err(ReadError::OffsetOutOfRange { offset, log_start, log_end });
        }
        let nothing = Fetched {
            slice: None,
            next_offset: offset,
            high_watermark: visible.next_offset,
            log_start,
            is_near_tail: true,
        };
        if offset >= visible.next_offset {
            return Ok(Read::Ready(nothing));
        }
        let view = self.view.load();
        let number = view.partition_point(|segment| segment.base() <= offset);
        let Some(segment) = number.checked_sub(1).and_then(|number| view.get(number)) else {
            return Err(ReadError::OffsetOutOfRange { offset, log_start, log_end });
        };
        let end = visible_end(segment, &visible);
        if touch == Touch::Warm && segment.mapped().is_none() {
            return Ok(Read::Cold);
        }
        let map = segment.log(&self.files, &self.dir).map_err(|source| self.unreadable(source))?;
        let durable = **self.durable.load();
        let known =
            cursor.place.filter(|place| (place.0, place.1) == (segment.base(), offset)).map(|place| place.2);
        let warm_from = end.saturating_sub(NEAR_TAIL);
        let is_active = number == view.len();
        if touch == Touch::Warm && !is_active && known.is_none() {
            return Ok(Read::Cold);
        }
        let pos = match known {
            Some(pos) => pos,
            None => self.locate(segment, map, offset, end).map_err(|source| self.unreadable(source))?,
        };
        let is_near_tail =
            is_active && (pos >= warm_from || durable.segment_base == segment.base() && pos >= durable.pos);
        let window = end.min(pos.saturating_add(max_bytes.max(HEADER_SIZE) as u64));
        if touch == Touch::Warm && !is_near_tail {
            let slice =
                map.slice(pos..window).ok_or_else(|| self.unreadable(io::ErrorKind::UnexpectedEof.into()))?;
            if !slice.resident().unwrap_or(false) {
                return Ok(Read::Cold);
            }
        }
        let (to, next) = whole_batches(map, pos, window, end).map_err(|source| self.unreadable(source))?;
        let slice = map.slice(pos..to).ok_or_else(|| self.unreadable(io::ErrorKind::UnexpectedEof.into()))?;
        let next_base = view.get(number).map(|next| next.base());
        cursor.place = Some(match next_base {
            Some(base) if base == next => (base, next, 0),
            _ => (segment.base(), next, to),
        });
        Ok(Read::Ready(Fetched { slice: Some(slice), next_offset: next, is_near_tail, ..nothing }))
    }

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
        for segment in self.view.load().iter() {
            if segment.base() >= visible.next_offset {
                break;
            }
            // A maximum that nobody has read yet does not rule the segment out.
            if segment.max_timestamp().is_some_and(|max| max < timestamp) {
                continue;
            }
            let end = visible_end(segment, &visible);
            let found =
                self.search(segment, end, timestamp, log_start).map_err(|source| self.unreadable(source))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn search(
        &self,
        segment: &Segment<F>,
        end: u64,
        timestamp: Timestamp,
        log_start: Offset,
    ) -> io::Result<Option<TimeHit>> {
        let map = segment.log(&self.files, &self.dir)?;
        let times = segment.index(&self.files, &self.dir, SegmentFile::TimeIndex).ok();
        let uid = SegmentUid::new(self.id, segment.base(), 0);
        let decode = |bytes: &_, number| TimeEntry::decode(bytes, uid, number);
        let earlier = times.and_then(|times| floor(times, decode, |entry| entry.max_timestamp < timestamp));
        let start = earlier.map_or(segment.base(), |entry| {
            Offset::new(segment.base().get() + i64::from(entry.rel_offset) + 1)
        });
        let mut pos = if start == segment.base() { 0 } else { self.locate(segment, map, start, end)? };
        while pos < end {
            let header = header_at(map, pos, end)?;
            let size = header.total_size() as u64;
            if header.max_timestamp >= timestamp && header.last_offset() >= log_start {
                let mut bytes = vec![0; header.total_size()];
                copy(map, pos..pos + size, &mut bytes)?;
                if let Some(hit) = first_in_batch(&bytes, timestamp, log_start)? {
                    return Ok(Some(hit));
                }
            }
            pos += size;
        }
        Ok(None)
    }

    /// The latest timestamp of a closed segment: the last word of its time index, or else of its batches.
    pub(super) fn last_timestamp(&self, segment: &Segment<F>) -> io::Result<Option<Timestamp>> {
        let map = segment.log(&self.files, &self.dir)?;
        let uid = SegmentUid::new(self.id, segment.base(), 0);
        let decode = |bytes: &_, number| TimeEntry::decode(bytes, uid, number);
        let times = segment.index(&self.files, &self.dir, SegmentFile::TimeIndex).ok();
        let last = times.and_then(|times| floor(times, decode, |_| true)).map(|entry| entry.max_timestamp);
        if last.is_some() {
            return Ok(last);
        }
        let (mut pos, end) = (0, segment.end());
        let mut latest = None;
        while pos < end {
            let header = header_at(map, pos, end)?;
            latest = latest.max(Some(header.max_timestamp));
            pos += header.total_size() as u64;
        }
        Ok(latest)
    }

    /// Where the batch begins that holds `offset`.
    fn locate(
        &self,
        segment: &Segment<F>,
        map: &Arc<SegmentMap>,
        offset: Offset,
        end: u64,
    ) -> io::Result<u64> {
        let relative = u32::try_from(offset.get() - segment.base().get()).unwrap_or(u32::MAX);
        let uid = SegmentUid::new(self.id, segment.base(), 0);
        let decode = |bytes: &_, number| OffsetEntry::decode(bytes, uid, number);
        let index = segment.index(&self.files, &self.dir, SegmentFile::OffsetIndex).ok();
        let entry = index.and_then(|index| floor(index, decode, |entry| entry.rel_offset <= relative));
        // An index is verified by its use: where it does not lead to the batch that it names, the log is asked.
        if let Some(entry) = entry.filter(|entry| u64::from(entry.pos) < end) {
            let named = segment.base().get() + i64::from(entry.rel_offset);
            let header = header_at(map, u64::from(entry.pos), end);
            if header.is_ok_and(|header| header.base_offset.get() == named)
                && let Ok(pos) = walk_to(map, u64::from(entry.pos), end, offset)
            {
                return Ok(pos);
            }
        }
        walk_to(map, 0, end, offset)
    }

    fn unreadable(&self, source: io::Error) -> ReadError {
        ReadError::Io { dir: self.dir.clone(), source }
    }
}

/// The last MiB of a log was written a moment ago.
const NEAR_TAIL: u64 = 1024 * 1024;
/// The records of a batch take no more than this, decompressed.
const DECOMPRESSED_MAX: usize = 128 * 1024 * 1024;

fn visible_end<F: Files>(segment: &Segment<F>, visible: &Tail) -> u64 {
    if segment.base() == visible.segment_base { visible.pos.min(segment.end()) } else { segment.end() }
}

/// The end of the last whole batch that lies within `window`, but at least of the first; and the offset after it.
fn whole_batches(map: &Arc<SegmentMap>, pos: u64, window: u64, end: u64) -> io::Result<(u64, Offset)> {
    let first = header_at(map, pos, end)?;
    let (mut to, mut next) = (pos + first.total_size() as u64, first.next_offset());
    while to < window {
        let header = header_at(map, to, end)?;
        let after = to + header.total_size() as u64;
        if after > window {
            break;
        }
        (to, next) = (after, header.next_offset());
    }
    Ok((to, next))
}

fn walk_to(map: &Arc<SegmentMap>, mut pos: u64, end: u64, offset: Offset) -> io::Result<u64> {
    loop {
        let header = header_at(map, pos, end)?;
        if header.next_offset() > offset {
            return Ok(pos);
        }
        pos += header.total_size() as u64;
    }
}

fn header_at(map: &Arc<SegmentMap>, pos: u64, end: u64) -> io::Result<BatchHeader> {
    let mut bytes = [0; HEADER_SIZE];
    copy(map, pos..pos + HEADER_SIZE as u64, &mut bytes)?;
    let header = BatchHeader::parse(&bytes).map_err(|error| broken(pos, &error.to_string()))?;
    if header.total_size() as u64 > end.saturating_sub(pos) {
        return Err(broken(pos, "a batch ends behind the segment"));
    }
    Ok(header)
}

fn copy(map: &Arc<SegmentMap>, range: std::ops::Range<u64>, out: &mut [u8]) -> io::Result<()> {
    let slice = map.slice(range).ok_or(io::ErrorKind::UnexpectedEof)?;
    slice.copy_to(0, out).map_err(io::Error::other)
}

fn broken(pos: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("byte {pos}: {what}"))
}

/// The last entry of an index that `is_wanted`; entries are wanted up to some place. A damaged entry ends the index.
fn floor<E>(
    map: &Arc<SegmentMap>,
    decode: impl Fn(&[u8; INDEX_ENTRY_SIZE], u32) -> Option<E>,
    is_wanted: impl Fn(&E) -> bool,
) -> Option<E> {
    let entry = |number: u32| {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        let at = entry_position(number);
        copy(map, at..at + INDEX_ENTRY_SIZE as u64, &mut bytes).ok()?;
        decode(&bytes, number)
    };
    let (mut low, mut high) = (0, entries_in(map.end()));
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        match entry(middle).filter(&is_wanted) {
            Some(wanted) => {
                found = Some(wanted);
                low = middle + 1;
            }
            None => high = middle,
        }
    }
    found
}

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
