//! What is known to be damaged: ranges of sealed segments that are not what was written, or cannot be read.
//!
//! Whoever reads there is told so; what lies beside it is served as before. Known is what this run has found: the files
//! stay as they are, and the next run finds it again.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use folio_record::Offset;

/// A part of a segment's log that is not to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// The log file, relative to the data directory.
    pub file: PathBuf,
    /// Where in it. Batches begin at either end.
    pub positions: Range<u64>,
    /// The offsets concerned.
    pub offsets: Range<Offset>,
    /// What is wrong with the first of it.
    pub kind: DamageKind,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The batch here does not begin as a batch has to, or with another offset, length or epoch than it had.
    Header {
        /// Where it begins.
        at: u64,
    },
    /// The batch here fails its checksum.
    Payload {
        /// Where it begins.
        at: u64,
    },
    /// The disk does not give the bytes here.
    Unreadable {
        /// Where.
        at: u64,
    },
    /// The file ends here.
    Missing {
        /// Its length.
        len: u64,
    },
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { at } => write!(f, "the header of the batch at byte {at} is not what was written"),
            Self::Payload { at } => write!(f, "the batch at byte {at} fails its checksum"),
            Self::Unreadable { at } => write!(f, "the disk cannot read byte {at}"),
            Self::Missing { len } => write!(f, "the file ends at byte {len}"),
        }
    }
}

impl fmt::Display for DamagedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, positions, offsets, kind } = self;
        let (from, to) = (positions.start, positions.end);
        let (first, next) = (offsets.start, offsets.end);
        write!(
            f,
            "{}, bytes {from} to {to}: {kind}. Offsets from {first} to below {next} are not served",
            file.display()
        )
    }
}

/// The damaged ranges of one segment, by position; most have none.
#[derive(Debug, Default)]
pub(super) struct DamagedRanges {
    ranges: ArcSwapOption<Vec<DamagedRange>>,
    /// There are any: every read asks several times, and most ask in vain.
    is_any: AtomicBool,
}

impl DamagedRanges {
    pub(super) fn is_empty(&self) -> bool {
        // Acquire pairs with the Release of `set`.
        !self.is_any.load(Ordering::Acquire)
    }

    /// The one that has this offset.
    pub(super) fn at_offset(&self, offset: Offset) -> Option<DamagedRange> {
        self.find(|ranges| ranges.iter().find(|range| range.offsets.contains(&offset)).cloned())
    }

    /// The one that has this byte.
    pub(super) fn at_position(&self, pos: u64) -> Option<DamagedRange> {
        self.find(|ranges| ranges.iter().find(|range| range.positions.contains(&pos)).cloned())
    }

    /// Where the first one begins that lies behind `pos`.
    pub(super) fn next_position(&self, pos: u64) -> Option<u64> {
        self.find(|ranges| {
            ranges.iter().map(|range| range.positions.start).filter(|start| *start > pos).min()
        })
    }

    /// Any of them.
    pub(super) fn first(&self) -> Option<DamagedRange> {
        self.find(|ranges| ranges.first().cloned())
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<DamagedRange> {
        self.find(|ranges| Some(ranges.to_vec())).unwrap_or_default()
    }

    fn find<T>(&self, find: impl FnOnce(&[DamagedRange]) -> Option<T>) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        find(self.ranges.load().as_ref()?)
    }

    /// One more, unless it is known. Called by one thread at a time.
    pub(super) fn add(&self, range: &DamagedRange) {
        let mut ranges = self.all();
        let is_known = |known: &DamagedRange| {
            known.positions.start <= range.positions.start && range.positions.end <= known.positions.end
        };
        if !ranges.iter().any(is_known) {
            join(&mut ranges, range);
            self.set(ranges);
        }
    }

    /// These, and no others.
    pub(super) fn set(&self, ranges: Vec<DamagedRange>) {
        let is_any = !ranges.is_empty();
        self.ranges.store(is_any.then(|| Arc::new(ranges)));
        self.is_any.store(is_any, Ordering::Release);
    }
}

/// Adds a range, to the last one if it lies right behind that. Where there are very many, what lies between is not
/// served either: a disk in that state is to be left alone.
pub(super) fn join(ranges: &mut Vec<DamagedRange>, range: &DamagedRange) {
    let is_full = ranges.len() >= RANGES_MAX;
    match ranges.last_mut().filter(|last| is_full || last.positions.end == range.positions.start) {
        Some(last) => {
            last.positions.start = last.positions.start.min(range.positions.start);
            last.positions.end = last.positions.end.max(range.positions.end);
            last.offsets.start = last.offsets.start.min(range.offsets.start);
            last.offsets.end = last.offsets.end.max(range.offsets.end);
        }
        None => ranges.push(range.clone()),
    }
}

/// So many ranges of one segment are told apart.
const RANGES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(positions: Range<u64>, offsets: Range<i64>) -> DamagedRange {
        let offsets = Offset::new(offsets.start)..Offset::new(offsets.end);
        let kind = DamageKind::Header { at: positions.start };
        DamagedRange { file: "t-0/00000000000000000000.log".into(), positions, offsets, kind }
    }

    #[test]
    fn neighbours_become_one_and_what_is_known_stays_as_it_is() {
        let ranges = DamagedRanges::default();
        assert!(ranges.is_empty() && ranges.at_position(0).is_none());
        for added in [range(10..20, 1..2), range(20..30, 2..3), range(50..60, 5..6), range(20..30, 2..3)] {
            ranges.add(&added);
        }
        assert_eq!(ranges.all(), [range(10..30, 1..3), range(50..60, 5..6)]);
        let is_damaged = |pos| ranges.at_position(pos).is_some();
        assert_eq!([9, 10, 29, 30, 50, 60].map(is_damaged), [false, true, true, false, true, false]);
        assert!(ranges.at_offset(Offset::new(5)).is_some() && ranges.at_offset(Offset::new(3)).is_none());
        assert_eq!(
            [0, 10, 30, 55].map(|pos| ranges.next_position(pos)),
            [Some(10), Some(50), Some(50), None]
        );
        ranges.set(Vec::new());
        assert!(ranges.is_empty());
    }

    #[test]
    fn a_disk_that_is_damaged_everywhere_takes_no_more_memory_than_so_much() {
        let mut ranges = Vec::new();
        for number in 0..10_000 {
            join(&mut ranges, &range(number * 20..number * 20 + 10, number as i64..number as i64 + 1));
        }
        assert_eq!(ranges.len(), RANGES_MAX);
        assert_eq!(ranges.last().map(|last| last.positions.end), Some(9_999 * 20 + 10));
    }

    #[test]
    fn a_range_says_where_it_is_and_what_is_lost_with_it() {
        let said = range(10..30, 1..3).to_string();
        assert_eq!(
            said,
            "t-0/00000000000000000000.log, bytes 10 to 30: the header of the batch at byte 10 is not what was written. \
             Offsets from 1 to below 3 are not served"
        );
    }
}
