//! Finding a place in a segment.
//!
//! An index only shortens the way: what it says is checked against the log, and where it is silent or wrong the log
//! itself is walked, header by header. So a damaged index costs time and changes no answer; whoever finds one out
//! says so with [`Found::is_sound`], and the index is built anew.
//!
//! Whoever may not wait for a disk looks only at bytes that are in memory, and gives up at the first that are not.
//! Whoever may wait reads through the file and not through the map, where a page that cannot be read would be a
//! signal instead of an error.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::{BatchHeader, HEADER_SIZE, Offset};

use super::Touch;
use super::segment::Segment;
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::FileHandle;
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};

/// A published part of a segment's log, and how it may be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) map: &'a Arc<SegmentMap>,
    /// A batch boundary. Nothing from here on is looked at.
    pub(super) end: u64,
    /// Bytes from here on were written a moment ago: they are in memory.
    pub(super) warm_from: u64,
    pub(super) touch: Touch,
    /// Offsets may be missing between batches, and behind the last, up to this one.
    pub(super) gaps_upto: Option<Offset>,
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<T> {
    /// What was looked for.
    pub(super) what: T,
    /// No index was seen to lie.
    pub(super) is_sound: bool,
}

/// One index of a segment, with a good header.
#[derive(Debug)]
pub(super) struct Index {
    entries: Entries,
    uid: SegmentUid,
    interval: u32,
}

/// Where the entries of an index are.
#[derive(Debug)]
enum Entries {
    /// In the map that they are appended to.
    Map(Arc<SegmentMap>),
    /// In a file that is open for one search.
    File(Box<dyn ReadAt>, u64),
}

/// An open file, whatever file system it is of.
trait ReadAt: fmt::Debug + Send + Sync {
    fn read_exactly(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
}

impl<H: FileHandle> ReadAt for H {
    fn read_exactly(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if self.read_at(buf, at)? < buf.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl<'a> Window<'a> {
    /// All of a closed segment, whose log `map` is.
    pub(super) fn of(segment: &Segment, map: &'a Arc<SegmentMap>) -> Self {
        let (end, gaps_upto) = (segment.end(), segment.gaps_upto());
        Self { map, end, warm_from: u64::MAX, touch: Touch::Any, gaps_upto }
    }
}

impl Window<'_> {
    /// Whether `range` may be looked at: it is in memory, or waiting is allowed.
    pub(super) fn may_touch(&self, range: Range<u64>) -> bool {
        #[cfg(test)]
        if is_taken(Protection::ColdIsLeftAlone) {
            return true;
        }
        self.is_free(range.start)
            || self.map.slice(range).is_some_and(|slice| slice.resident().unwrap_or(false))
    }

    /// Whether all from `pos` on may be looked at without asking whether it is in memory.
    pub(super) fn is_free(&self, pos: u64) -> bool {
        self.touch == Touch::Any || pos >= self.warm_from
    }

    /// How far `range` may be looked at, a step at a time: who may not wait goes on with what is in memory.
    pub(super) fn touchable(&self, range: Range<u64>) -> u64 {
        // Most often it is all of it, and one question tells.
        if self.may_touch(range.clone()) {
            return range.end;
        }
        let mut upto = range.start;
        while upto < range.end {
            let next = range.end.min(upto.saturating_add(WARM_READ));
            if !self.may_touch(upto..next) {
                break;
            }
            upto = next;
        }
        upto
    }

    /// The header of the batch at `pos`, which ends at or before the end.
    pub(super) fn header(&self, pos: u64) -> io::Result<BatchHeader> {
        let mut bytes = [0; HEADER_SIZE];
        copy(self.map, pos, &mut bytes, self.touch)?;
        let header = BatchHeader::parse(&bytes).map_err(|error| broken(pos, &error.to_string()))?;
        if header.total_size() as u64 > self.end.saturating_sub(pos) {
            return Err(broken(pos, "a batch ends behind the segment"));
        }
        Ok(header)
    }

    /// The batch at `pos`, which has `size` bytes.
    pub(super) fn batch(&self, pos: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        copy(self.map, pos, &mut bytes, self.touch)?;
        Ok(bytes)
    }

    /// Whether the batch of this header may stand where `due` is due.
    pub(super) fn may_follow(&self, header: &BatchHeader, due: Offset) -> bool {
        let is_behind_gap = |upto: Offset| header.base_offset > due && header.next_offset() <= upto;
        header.base_offset == due || self.gaps_upto.is_some_and(is_behind_gap)
    }

    /// Where the batch begins that holds `offset` or, if that is missing, the next one; or else the end; from the batch
    /// at `pos` on, which begins with `due`. `None`: it would have to wait for a disk, or to walk so far that it had
    /// better.
    fn walk_to(&self, mut pos: u64, mut due: Offset, offset: Offset) -> io::Result<Option<u64>> {
        let (mut may_touch_upto, limit) = (pos, pos.saturating_add(WARM_WALK));
        while pos < self.end {
            if self.touch != Touch::Any && pos + HEADER_SIZE as u64 > may_touch_upto {
                may_touch_upto = self.end.min(pos + WARM_STEP);
                if pos > limit || !self.may_touch(pos..may_touch_upto) {
                    return Ok(None);
                }
            }
            let header = self.header(pos)?;
            if !self.may_follow(&header, due) {
                return Err(broken(
                    pos,
                    &format!("a batch at offset {} where {due} is due", header.base_offset),
                ));
            }
            due = header.next_offset();
            if due > offset {
                return Ok(Some(pos));
            }
            pos += header.total_size() as u64;
        }
        Ok(Some(self.end))
    }

    /// The end of the last whole batch that lies before `upto`, but at least of the one at `pos`, which holds
    /// `offset`; and the offset after it.
    ///
    /// No checksum of the batches covers their offsets; so every one has to follow on the one before it. Where offsets
    /// are missing, the first batch may be the one behind `offset`.
    pub(super) fn whole_batches(&self, pos: u64, upto: u64, offset: Offset) -> io::Result<(u64, Offset)> {
        let first = self.header(pos)?;
        let (mut to, mut next) = (pos + first.total_size() as u64, first.next_offset());
        let is_it = next > offset && (first.base_offset <= offset || self.may_follow(&first, offset));
        if !is_it {
            return Err(broken(pos, &format!("the batch does not hold offset {offset}")));
        }
        // A header that is only begun here may be beyond what may be touched.
        while upto.saturating_sub(to) >= HEADER_SIZE as u64 {
            // What cannot be read, or does not follow, is found by whoever wants it: what lies before it is good.
            let Ok(header) = self.header(to) else { break };
            let after = to + header.total_size() as u64;
            if after > upto || !self.may_follow(&header, next) {
                break;
            }
            (to, next) = (after, header.next_offset());
        }
        Ok((to, next))
    }

    /// Where the batch begins that holds `offset` of the segment at `base` or, if that is missing, the next one; or
    /// else the end. `None`: it would have to wait for a disk.
    pub(super) fn locate(
        &self,
        index: Option<&Index>,
        base: Offset,
        offset: Offset,
    ) -> io::Result<Option<Found<u64>>> {
        let relative = u32::try_from(offset.get() - base.get()).unwrap_or(u32::MAX);
        let (mut start, mut due, mut silent_upto, mut is_sound) = (0, base, u64::MAX, true);
        if let Some(index) = index {
            let floor = index.floor(OffsetEntry::decode, |entry| entry.rel_offset <= relative, self.touch);
            let Some(floor) = floor else { return Ok(None) };
            is_sound = floor.is_sound;
            if let Some((_, entry)) = floor.what {
                let pos = u64::from(entry.pos);
                if pos < self.end && !self.may_touch(pos..self.end.min(pos + WARM_STEP)) {
                    return Ok(None);
                }
                // The batch has to be the one that the entry names, or nothing is believed.
                match (pos < self.end).then(|| self.header(pos)) {
                    Some(Ok(header)) if is_named(&entry, base, &header) => {
                        (start, due) = (pos, header.base_offset);
                    }
                    _ => is_sound = false,
                }
            }
            silent_upto = start.saturating_add(u64::from(index.interval));
        }
        let Some(pos) = self.walk_to(start, due, offset)? else { return Ok(None) };
        // From there on there should have been a nearer entry.
        is_sound &= pos < silent_upto || pos == self.end;
        Ok(Some(Found { what: pos, is_sound }))
    }

    /// Where to look for records at or after some time: from the batch behind everything that `times` says is
    /// earlier.
    pub(super) fn locate_time(
        &self,
        [offsets, times]: [Option<&Index>; 2],
        base: Offset,
        is_earlier: impl Fn(&TimeEntry) -> bool,
    ) -> io::Result<Option<Found<u64>>> {
        let Some(times) = times else { return Ok(Some(Found { what: 0, is_sound: true })) };
        let Some(floor) = times.floor(TimeEntry::decode, is_earlier, self.touch) else { return Ok(None) };
        let Some((_, entry)) = floor.what else {
            return Ok(Some(Found { what: 0, is_sound: floor.is_sound }));
        };
        let start = Offset::new(base.get() + i64::from(entry.rel_offset) + 1);
        let Some(place) = self.locate(offsets, base, start)? else { return Ok(None) };
        // An entry speaks for whole batches.
        let is_boundary = place.what == self.end || self.header(place.what)?.base_offset >= start;
        let is_sound = floor.is_sound && place.is_sound && is_boundary;
        Ok(Some(Found { what: if is_boundary { place.what } else { 0 }, is_sound }))
    }
}

/// Whether this is the batch that an entry names.
fn is_named(entry: &OffsetEntry, base: Offset, header: &BatchHeader) -> bool {
    #[cfg(test)]
    if is_taken(Protection::EntriesAreChecked) {
        return true;
    }
    entry.names(base, header)
}

impl Index {
    /// Of a map whose header is known to be good.
    pub(super) fn new(map: Arc<SegmentMap>, uid: SegmentUid, interval: u32) -> Self {
        Self { entries: Entries::Map(map), uid, interval }
    }

    /// Of a file as it was found, whose entries end at `end`. Waits for a disk.
    pub(super) fn open(file: impl FileHandle, end: u64, kind: IndexKind, uid: SegmentUid) -> Option<Self> {
        let mut header = [0; INDEX_HEADER_SIZE];
        file.read_exactly(&mut header, 0).ok()?;
        let interval = IndexHeader::decode(&header, kind, uid).ok()?.interval;
        Some(Self { entries: Entries::File(Box::new(file), end), uid, interval })
    }

    /// Its map, if it is appended to.
    pub(super) fn map(&self) -> Option<&Arc<SegmentMap>> {
        match &self.entries {
            Entries::Map(map) => Some(map),
            Entries::File(..) => None,
        }
    }

    fn end(&self) -> u64 {
        match &self.entries {
            Entries::Map(map) => map.end(),
            Entries::File(_, end) => *end,
        }
    }

    fn is_in_memory(&self) -> bool {
        self.map()
            .and_then(|map| map.slice(0..map.end()))
            .is_some_and(|slice| slice.resident().unwrap_or(false))
    }

    /// Bytes of log between entries, at least.
    pub(super) fn interval(&self) -> u32 {
        self.interval
    }

    /// The last entry and whether it is good; `None` if there is none.
    pub(super) fn last_time(&self) -> Found<Option<TimeEntry>> {
        let Some(number) = entries_in(self.end()).checked_sub(1) else {
            return Found { what: None, is_sound: true };
        };
        let entry = self.entry(number, TimeEntry::decode, Touch::Any);
        Found { what: entry, is_sound: entry.is_some() }
    }

    /// The last entry that `is_wanted`, with its number; entries are wanted up to some place. `None`: it would have
    /// to wait for a disk.
    fn floor<E>(
        &self,
        decode: impl Fn(&[u8; INDEX_ENTRY_SIZE], SegmentUid, u32) -> Option<E>,
        is_wanted: impl Fn(&E) -> bool,
        touch: Touch,
    ) -> Option<Found<Option<(u32, E)>>> {
        let end = self.end();
        if touch != Touch::Any && !self.is_in_memory() {
            return None;
        }
        let (mut low, mut high) = (0, entries_in(end));
        let mut found = Found { what: None, is_sound: true };
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle, &decode, touch) {
                Some(entry) if is_wanted(&entry) => {
                    found.what = Some((middle, entry));
                    low = middle + 1;
                }
                Some(_) => high = middle,
                // An earlier entry is as true, and leads further from the place.
                None => {
                    found.is_sound = false;
                    high = middle;
                }
            }
        }
        Some(found)
    }

    fn entry<E>(
        &self,
        number: u32,
        decode: impl Fn(&[u8; INDEX_ENTRY_SIZE], SegmentUid, u32) -> Option<E>,
        touch: Touch,
    ) -> Option<E> {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        let at = entry_position(number);
        match &self.entries {
            Entries::Map(map) => copy(map, at, &mut bytes, touch).ok()?,
            Entries::File(file, _) => file.read_exactly(&mut bytes, at).ok()?,
        }
        decode(&bytes, self.uid, number)
    }
}

/// Whoever may not wait looks whether so many bytes are in memory at a time: entries are not much further apart.
const WARM_STEP: u64 = 8 * 1024;
/// Whoever may not wait walks no further than this.
const WARM_WALK: u64 = 256 * 1024;
/// Of a large range that is not in memory as a whole, whoever may not wait looks at so much at a time.
const WARM_READ: u64 = 256 * 1024;

fn copy(map: &Arc<SegmentMap>, pos: u64, out: &mut [u8], touch: Touch) -> io::Result<()> {
    let range = pos..pos.saturating_add(out.len() as u64);
    let slice = map.slice(range).ok_or(io::ErrorKind::UnexpectedEof)?;
    match touch {
        Touch::Warm(_) => Ok(slice.copy_to(0, out)?),
        Touch::Any => Ok(slice.read_to(0, out)?),
    }
}

fn broken(pos: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("byte {pos}: {what}"))
}
