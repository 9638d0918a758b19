//! Where a sequential reader is, and what it knows of the bytes before it.

use std::ops::Range;
use std::time::{Duration, Instant};

use folio_record::Offset;

use super::Touch;
use super::lookup::Window;
use super::segment::Segment;

/// Remembers where a sequential reader is, so that it need not look for its place again, and how far memory goes from
/// there, so that not every read has to ask the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    place: Option<Place>,
    warm: Option<Warm>,
}

/// The batch from `offset` on begins at `pos` of the segment with this identity: of one that was compacted meanwhile it
/// says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: (Offset, u64),
    offset: Offset,
    pos: u64,
}

/// These bytes of the segment with this identity were in memory at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Warm {
    segment: (Offset, u64),
    from: u64,
    upto: u64,
    since: Instant,
}

impl Cursor {
    /// Where the batch with `offset` begins in `segment`, for a reader that has read up to there.
    pub(super) fn place_of(&self, segment: &Segment, offset: Offset) -> Option<u64> {
        let is_known = |place: &Place| (place.segment, place.offset) == (segment.identity(), offset);
        self.place.filter(is_known).map(|place| place.pos)
    }

    /// The reader has read up to the batch with `offset`, which begins, or will begin, at `pos` of `segment`.
    pub(super) fn go_to(&mut self, segment: &Segment, offset: Offset, pos: u64) {
        self.place = Some(Place { segment: segment.identity(), offset, pos });
    }

    /// How far `range` of `segment` may be looked at: [`Window::touchable`], of more than the range where the reader is
    /// sequential and will want that next, or else of what is remembered.
    pub(super) fn touchable(
        &mut self,
        segment: &Segment,
        window: &Window<'_>,
        range: Range<u64>,
        is_sequential: bool,
    ) -> u64 {
        let Touch::Warm(now) = window.touch else { return range.end };
        if window.is_free(range.start) || self.knows(segment, &range, now) {
            return range.end;
        }
        let ahead = window.end.min(range.start.saturating_add(LOOK_AHEAD));
        if is_sequential && ahead > range.end && window.may_touch(range.start..ahead) {
            let (segment, from, upto) = (segment.identity(), range.start, ahead);
            self.warm = Some(Warm { segment, from, upto, since: now });
            return range.end;
        }
        window.touchable(range)
    }

    /// Whether `range` was in memory a moment before `now`.
    fn knows(&self, segment: &Segment, range: &Range<u64>, now: Instant) -> bool {
        self.warm.is_some_and(|warm| {
            warm.segment == segment.identity()
                && (warm.from..=warm.upto).contains(&range.start)
                && range.end <= warm.upto
                && now.saturating_duration_since(warm.since) < COOLS_AFTER
        })
    }
}

/// Who reads on is asked about so many bytes at a time: a question costs as much as reading a few KiB.
const LOOK_AHEAD: u64 = 512 * 1024;
/// What was in memory does not leave it so soon.
pub(super) const COOLS_AFTER: Duration = Duration::from_millis(10);
