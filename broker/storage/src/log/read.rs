//! Reading: from an offset to a range of mapped bytes, whole batches only.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use folio_mapped::{CopyError, MapSlice, SegmentMap};
use folio_record::{HEADER_SIZE, Offset};
use thiserror::Error;

use super::cursor::Cursor;
use super::damage::DamagedRange;
use super::lookup::{Index, Window};
use super::segment::Segment;
use super::{Log, Tail};
use crate::files::{Files, is_exhausted};
use crate::index::IndexKind;
use crate::partition_files::SegmentFile;

/// Whether a read may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Only what is in memory at this moment is touched; anything else is [`Read::Cold`].
    Warm(Instant),
    /// Whatever it takes.
    Any,
}

impl Touch {
    /// Only what is in memory now.
    #[must_use]
    pub fn warm_now() -> Self {
        Self::Warm(Instant::now())
    }
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
    /// Whole batches, the first of which holds the offset asked for or, if that record went with a compaction, is the
    /// next that there is; `None` if there is nothing to be seen yet.
    pub slice: Option<MapSlice>,
    /// The offset after those batches.
    pub next_offset: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The bytes were written a moment ago: they are in memory.
    pub is_near_tail: bool,
    /// There is more within the limit that may be seen, and is not in memory.
    pub is_cut: bool,
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
    /// What is to be read is known to be damaged. What lies beside it can be read.
    #[error("{0}")]
    Damaged(Box<DamagedRange>),
    /// A segment has lost bytes that it had: a foreign hand has truncated its file, or a page could not be read when it
    /// was touched. What lies before them, and in other segments, can be read.
    #[error(
        "{} has lost bytes that it had, from byte {position} on: of offsets {from} to {to} only \
         what lies before can be read",
        path.display()
    )]
    Lost {
        /// The file, relative to the data directory.
        path: std::path::PathBuf,
        /// The first byte that is known to be gone.
        position: u64,
        /// The first offset of the segment.
        from: Offset,
        /// The last one.
        to: Offset,
        /// Nobody was told of it before.
        is_news: bool,
    },
    /// What was to be read was replaced or deleted meanwhile, again and again: ask once more.
    #[error("the segment was replaced meanwhile")]
    Replaced,
    /// No descriptors or mappings are left: ask again later.
    #[error("no room for another open file: {source}")]
    Exhausted {
        /// What the system said.
        source: io::Error,
    },
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
        self.unless_replaced(|| self.read_once(offset, max_bytes, cursor, touch))
    }

    /// Reads anew what was replaced by compaction, or went with retention, before its files were open.
    pub(super) fn unless_replaced<T>(
        &self,
        mut read: impl FnMut() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        for _ in 1..TRIES {
            match read() {
                Err(ReadError::Replaced) => {}
                done => return done,
            }
        }
        read()
    }

    fn read_once(
        &self,
        offset: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
        touch: Touch,
    ) -> Result<Read, ReadError> {
        self.check_readable()?;
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
            is_cut: false,
        };
        if offset >= visible.next_offset {
            return Ok(Read::Ready(nothing));
        }
        let view = self.view.load();
        let number = view.partition_point(|segment| segment.base() <= offset);
        if number == 0 {
            return Err(ReadError::OffsetOutOfRange { offset, log_start, log_end });
        }
        let wanted = Wanted { view: &view, visible: &visible, max_bytes, touch };
        let mut from = offset;
        for number in number..=view.len() {
            let found = self.read_in(&wanted, number, from, cursor);
            match found.map_err(|error| self.told_of_loss(&view, number, error))? {
                Some(InSegment::Cold) => return Ok(Read::Cold),
                Some(InSegment::Found { slice, next_offset, is_near_tail, is_cut }) => {
                    return Ok(Read::Ready(Fetched {
                        slice: Some(slice),
                        next_offset,
                        is_near_tail,
                        is_cut,
                        ..nothing
                    }));
                }
                // What was there from here on went with a compaction: the next batch is in a later segment.
                None => match view.get(number).map(|next| next.base()) {
                    Some(base) if base < visible.next_offset => from = base,
                    _ => break,
                },
            }
        }
        Ok(Read::Ready(nothing))
    }

    /// Reads from segment `number`, counted from 1. `None`: there is nothing at or behind `offset` in it.
    fn read_in(
        &self,
        wanted: &Wanted<'_>,
        number: usize,
        offset: Offset,
        cursor: &mut Cursor,
    ) -> Result<Option<InSegment>, ReadError> {
        let Wanted { view, visible, touch, .. } = *wanted;
        let segment = &view[number - 1];
        if segment.end() == 0 && segment.may_have_gaps() {
            return Ok(None);
        }
        refuse(segment.damaged().at_offset(offset))?;
        let is_active = number == view.len();
        let known = cursor.place_of(segment, offset);
        // Where a closed segment has to be searched, or even mapped, there is little hope for memory.
        let map = match touch {
            Touch::Warm(_) if !is_active && known.is_none() => return Ok(Some(InSegment::Cold)),
            Touch::Warm(_) => match segment.log() {
                Some(map) => map,
                None => return Ok(Some(InSegment::Cold)),
            },
            Touch::Any => self.log_of(segment)?,
        };
        segment.touch(self.open.clock());
        let end = visible_end(segment, visible);
        let warm_from = if is_active { warm_from(segment, end) } else { u64::MAX };
        let window = Window { map: &map, end, warm_from, touch, gaps_upto: segment.gaps_upto() };
        let pos = match known {
            Some(pos) => pos,
            // An index that is not open is not in memory.
            None if touch != Touch::Any && segment.index(IndexKind::Offset).is_none() => {
                return Ok(Some(InSegment::Cold));
            }
            None => match self.position(segment, &window, offset, is_active)? {
                Some(pos) => pos,
                None => return Ok(Some(InSegment::Cold)),
            },
        };
        if pos == end && segment.may_have_gaps() {
            return Ok(None);
        }
        let touchable = |range| cursor.touchable(segment, &window, range, known.is_some());
        let Some(taken) = self.take(segment, &window, pos, offset, wanted.max_bytes, touchable)? else {
            return Ok(Some(InSegment::Cold));
        };
        let following = view.get(number);
        // Whoever has read the last batch has read all that the segment had, also what went from behind it.
        let ends_at =
            following.filter(|_| segment.may_have_gaps() && taken.to == end).map(|next| next.base());
        let next_offset = ends_at.unwrap_or(taken.next_offset);
        match following {
            Some(following) if following.base() == next_offset => cursor.go_to(following, next_offset, 0),
            _ => cursor.go_to(segment, next_offset, taken.to),
        }
        let Taken { slice, is_cut, .. } = taken;
        Ok(Some(InSegment::Found { slice, next_offset, is_near_tail: pos >= warm_from, is_cut }))
    }

    /// Takes whole batches from `pos` on, of which the first holds `offset` or lies behind it. `None`: they are not in
    /// memory, of which `touchable` says how far it goes.
    fn take(
        &self,
        segment: &Segment,
        window: &Window<'_>,
        pos: u64,
        offset: Offset,
        max_bytes: usize,
        touchable: impl FnOnce(Range<u64>) -> u64,
    ) -> Result<Option<Taken>, ReadError> {
        // Where offsets are missing, the next batch may lie in another block than the offset would.
        refuse(segment.damaged().at_position(pos))?;
        let Window { map, end, .. } = *window;
        let lost_from = map.poisoned().unwrap_or(u64::MAX);
        let lost = || self.unreadable(CopyError::Poisoned { position: lost_from }.into());
        if pos >= lost_from {
            return Err(lost());
        }
        let served = segment.damaged().next_position(pos).map_or(end, |damage| end.min(damage));
        let upto = served.min(pos.saturating_add(max_bytes.max(HEADER_SIZE) as u64)).min(lost_from);
        let warm = touchable(pos..upto);
        if warm == pos && upto > pos {
            return Ok(None);
        }
        let (is_cut, upto) = (warm < upto, warm);
        let (to, next_offset) =
            window.whole_batches(pos, upto, offset).map_err(|source| self.unreadable_in(segment, source))?;
        if to > lost_from {
            return Err(lost());
        }
        // The first batch goes whole, however long it is.
        if to > upto && !window.may_touch(upto..to) {
            return Ok(None);
        }
        let slice = map.slice(pos..to).ok_or_else(|| self.unreadable(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(Some(Taken { slice, to, next_offset, is_cut }))
    }

    /// Where in `segment` the batch begins that holds `offset`; `None`: it would have to wait for a disk.
    fn position(
        &self,
        segment: &Segment,
        window: &Window<'_>,
        offset: Offset,
        is_active: bool,
    ) -> Result<Option<u64>, ReadError> {
        let index = match window.touch {
            Touch::Warm(_) => segment.index(IndexKind::Offset),
            Touch::Any => self.index_of(segment, IndexKind::Offset),
        };
        let located = window.locate(index.as_deref(), segment.base(), offset);
        let Some(located) = located.map_err(|source| self.unreadable_in(segment, source))? else {
            return Ok(None);
        };
        // The index of the active segment comes a moment after its log.
        if !located.is_sound && !is_active {
            segment.suspect();
        }
        Ok(Some(located.what))
    }

    /// The log of a segment; maps it if need be.
    pub(super) fn log_of(&self, segment: &Arc<Segment>) -> Result<Arc<SegmentMap>, ReadError> {
        if let Some(map) = segment.log() {
            return Ok(map);
        }
        self.open.make_room(1);
        let opened = {
            let _names = self.names();
            self.check_readable()?;
            if segment.is_gone() {
                return Err(ReadError::Replaced);
            }
            segment.map_log(&*self.files, &self.dir)
        };
        let (map, displaced) = opened.map_err(|source| self.unreadable(self.open.refused(source)))?;
        self.may_give_way(segment);
        self.open.retire(displaced.into_iter().collect());
        Ok(map)
    }

    /// An index of a segment, opened if need be; `None`: do without.
    pub(super) fn index_of(&self, segment: &Segment, kind: IndexKind) -> Option<Arc<Index>> {
        if let Some(index) = segment.index(kind) {
            return Some(index);
        }
        let _names = self.names();
        let is_there = !self.is_retired() && !segment.is_gone();
        is_there.then(|| segment.open_index(&*self.files, &self.dir, kind)).flatten()
    }

    /// Offset index and time index.
    pub(super) fn indexes_of(&self, segment: &Segment) -> [Option<Arc<Index>>; 2] {
        [IndexKind::Offset, IndexKind::Time].map(|kind| self.index_of(segment, kind))
    }

    /// What went wrong with a look into a segment.
    pub(super) fn unreadable_in(&self, segment: &Segment, source: io::Error) -> ReadError {
        match segment.damaged().first() {
            Some(range) if lost_from(&source).is_none() => ReadError::Damaged(Box::new(range)),
            _ => self.unreadable(source),
        }
    }

    /// `error`, which a read in segment `number`, counted from 1, has ended with; if that has lost bytes, what that
    /// means.
    fn told_of_loss(&self, view: &[Arc<Segment>], number: usize, error: ReadError) -> ReadError {
        let ReadError::Io { source, .. } = &error else { return error };
        match lost_from(source) {
            Some(position) => self.loss(view, number, position),
            None => error,
        }
    }

    /// Looks whether the file that is appended to has all that was published: what it has lost, if it has and nobody
    /// was told of it before.
    pub fn find_loss(&self) -> Option<ReadError> {
        let view = self.view.load();
        let map = view.last()?.log()?;
        map.check_length();
        let loss = self.loss(&view, view.len(), map.poisoned()?);
        matches!(loss, ReadError::Lost { is_news: true, .. }).then_some(loss)
    }

    /// Segment `number`, counted from 1, has lost its bytes from `position` on.
    fn loss(&self, view: &[Arc<Segment>], number: usize, position: u64) -> ReadError {
        let segment = &view[number - 1];
        let next = view.get(number).map_or_else(|| self.log_end(), |next| next.base());
        ReadError::Lost {
            path: SegmentFile::Log.path(&self.dir, segment.base()),
            position,
            from: segment.base(),
            to: Offset::new(next.get() - 1),
            is_news: segment.lose(),
        }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> ReadError {
        if is_exhausted(&source) {
            return ReadError::Exhausted { source };
        }
        ReadError::Io { dir: self.dir.clone(), source }
    }
}

/// From which byte on a file has lost what it had, if that is the error.
pub(super) fn lost_from(error: &io::Error) -> Option<u64> {
    match error.get_ref()?.downcast_ref()? {
        CopyError::Poisoned { position } => Some(*position),
        _ => None,
    }
}

/// What a read is about, whichever segment it comes to.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    view: &'a [Arc<Segment>],
    visible: &'a Tail,
    max_bytes: usize,
    touch: Touch,
}

/// Whole batches of one segment.
struct Taken {
    slice: MapSlice,
    /// Where they end, and the offset behind them.
    to: u64,
    next_offset: Offset,
    /// There are more, which are not in memory.
    is_cut: bool,
}

/// What a read finds in one segment.
enum InSegment {
    /// It would have to wait for a disk.
    Cold,
    /// Batches, and the offset behind them.
    Found { slice: MapSlice, next_offset: Offset, is_near_tail: bool, is_cut: bool },
}

fn refuse(damaged: Option<DamagedRange>) -> Result<(), ReadError> {
    damaged.map_or(Ok(()), |range| Err(ReadError::Damaged(Box::new(range))))
}
/// So often a read begins anew because what it was about is not there any more.
const TRIES: usize = 4;

/// From where on the active segment is in memory, as good as certainly: it was just written. Of what was there when it
/// was opened nobody knows, and of what is older neither: the kernel writes back and forgets pages that nobody has
/// flushed.
fn warm_from(segment: &Segment, end: u64) -> u64 {
    end.saturating_sub(NEAR_TAIL).max(segment.appended_from())
}

/// The last MiB of a log was written a moment ago.
const NEAR_TAIL: u64 = 1024 * 1024;

/// How far a segment is seen. Where it was compacted, positions are others than when it was seen first; and only what
/// is seen as a whole is compacted.
pub(super) fn visible_end(segment: &Segment, visible: &Tail) -> u64 {
    let is_last = segment.base() == visible.segment_base && !segment.may_have_gaps();
    if is_last { visible.pos.min(segment.end()) } else { segment.end() }
}
