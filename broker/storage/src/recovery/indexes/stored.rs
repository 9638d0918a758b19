//! What there is of an index file, as far as it can be believed.
//!
//! Entries that are good by their checksums and in order are taken for true, or as far as [`Trust`] goes; whoever goes
//! where they lead sees whether a batch is there.

use std::io;
use std::path::Path;

use folio_record::Offset;

use super::Trust;
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};
use crate::partition_files::SegmentFile;
use crate::recovery::Damage;

/// Where an index says that a batch begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::recovery) struct Place {
    pub(in crate::recovery) pos: u64,
    pub(in crate::recovery) offset: Offset,
}

/// An index file with a good header.
pub(super) struct Stored<H> {
    file: H,
    pub(super) count: u32,
    pub(super) interval: u32,
    /// It ends where an entry ends.
    pub(super) is_whole: bool,
    pub(super) footer: Option<Footer>,
}

/// An entry is not what was written.
struct Damaged;

impl<H: FileHandle> Stored<H> {
    /// The file, if there is a good one.
    pub(super) fn find<F: Files<File = H>>(
        files: &F,
        dir: &Path,
        kind: IndexKind,
        base: Offset,
        uid: SegmentUid,
    ) -> Result<Option<Self>, Damage> {
        let opened = Self::open(files, dir, kind, base, uid);
        Damage::unless_out_of_files(&SegmentFile::index(kind).path(dir, base), opened)
    }

    fn open<F: Files<File = H>>(
        files: &F,
        dir: &Path,
        kind: IndexKind,
        base: Offset,
        uid: SegmentUid,
    ) -> io::Result<Option<Self>> {
        let file = match files.open(&SegmentFile::index(kind).path(dir, base), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut header = [0; INDEX_HEADER_SIZE];
        let read = file.read_at(&mut header, 0)?;
        let Ok(header) = IndexHeader::decode(&header[..read], kind, uid) else {
            return Ok(None);
        };
        let len = file.len()?;
        let footer = if kind == IndexKind::Offset { Footer::read(&file, len, uid)? } else { None };
        let count = footer.map_or(entries_in(len), |footer| footer.entries);
        let is_whole = footer.is_some() || len == entry_position(count);
        Ok(Some(Self { file, count, interval: header.interval, is_whole, footer }))
    }

    /// The last entry that is wanted, and how many entries that makes; `Err` if one behind it is damaged.
    fn last<E>(
        &self,
        decode: impl Fn(&[u8; INDEX_ENTRY_SIZE], u32) -> Option<E>,
        is_wanted: impl Fn(&E) -> bool,
    ) -> Result<Option<(E, u32)>, Damaged> {
        if !self.is_whole {
            return Err(Damaged);
        }
        for number in (0..self.count).rev() {
            let mut bytes = [0; INDEX_ENTRY_SIZE];
            let read = self.file.read_at(&mut bytes, entry_position(number)).map_err(|_| Damaged)?;
            let entry = decode(&bytes, number).filter(|_| read == INDEX_ENTRY_SIZE).ok_or(Damaged)?;
            if is_wanted(&entry) {
                return Ok(Some((entry, number + 1)));
            }
        }
        Ok(None)
    }

    /// All entries up to the first that is not good or does not follow the one before it.
    fn prefix<E>(
        &self,
        decode: impl Fn(&[u8; INDEX_ENTRY_SIZE], u32) -> Option<E>,
        follows: impl Fn(&E, &E) -> bool,
    ) -> Vec<E> {
        let mut bytes = vec![0; self.count as usize * INDEX_ENTRY_SIZE];
        let read = self.file.read_at(&mut bytes, entry_position(0)).unwrap_or(0);
        let mut entries: Vec<E> = Vec::new();
        for (number, bytes) in (0..).zip(bytes[..read].as_chunks::<INDEX_ENTRY_SIZE>().0) {
            match decode(bytes, number) {
                Some(entry) if entries.last().is_none_or(|last| follows(last, &entry)) => entries.push(entry),
                _ => break,
            }
        }
        entries
    }
}

/// The entries of the offset index of segment `uid`, up to the first that is not good.
pub(in crate::recovery) fn entries<F: Files>(
    files: &F,
    dir: &Path,
    base: Offset,
    uid: SegmentUid,
) -> Result<Vec<OffsetEntry>, Damage> {
    let stored = Stored::find(files, dir, IndexKind::Offset, base, uid)?;
    let decode = |bytes: &_, number| OffsetEntry::decode(bytes, uid, number);
    Ok(stored.map_or_else(Vec::new, |stored| stored.prefix(decode, is_behind)))
}

/// Where the index of a segment says that a batch begins which has `offset` or lies before it: the nearest one.
/// Whoever goes there has to see whether it does.
pub(in crate::recovery) fn floor<F: Files>(
    files: &F,
    dir: &Path,
    base: Offset,
    uid: SegmentUid,
    offset: Offset,
) -> Result<Option<Place>, Damage> {
    last_place(files, dir, base, uid, |place| Some(place.offset <= offset))
}

/// The last place of which `is_before` holds, as it does of all before it. `None` also where the index cannot be
/// believed, or `is_before` cannot tell.
pub(in crate::recovery) fn last_place<F: Files>(
    files: &F,
    dir: &Path,
    base: Offset,
    uid: SegmentUid,
    is_before: impl FnMut(Place) -> Option<bool>,
) -> Result<Option<Place>, Damage> {
    let stored = Stored::find(files, dir, IndexKind::Offset, base, uid)?;
    Ok(stored.and_then(|stored| search(&stored, base, uid, is_before)))
}

/// The last entries that can be trusted, with how many that makes; `None` if there are none.
///
/// With the first offset entry there is a time entry as well. So one without the other is not trusted.
pub(super) fn trusted<H: FileHandle>(
    uid: SegmentUid,
    offsets: &Stored<H>,
    times: &Stored<H>,
    upto: u64,
    trust: Trust,
) -> Option<((OffsetEntry, u32), (TimeEntry, u32))> {
    let is_below = |entry: &OffsetEntry| u64::from(entry.pos) < upto;
    if trust == Trust::Nothing {
        return None;
    }
    let offset_entry = |bytes: &_, number| OffsetEntry::decode(bytes, uid, number);
    let time_entry = |bytes: &_, number| TimeEntry::decode(bytes, uid, number);
    if trust == Trust::LastEntry {
        let last = || -> Result<_, Damaged> {
            let Some(offset) = offsets.last(offset_entry, is_below)? else { return Ok(None) };
            let time = times.last(time_entry, |entry| entry.rel_offset < offset.0.rel_offset)?;
            Ok(time.map(|time| (offset, time)))
        };
        // Where the last entries are damaged, every one is suspected.
        if let Ok(last) = last() {
            return last;
        }
    }
    let mut known = offsets.prefix(offset_entry, is_behind);
    known.retain(is_below);
    let last = known.last()?.rel_offset;
    let mut timed =
        times.prefix(time_entry, |a, b| a.max_timestamp < b.max_timestamp && a.rel_offset < b.rel_offset);
    timed.retain(|entry| entry.rel_offset < last);
    // The end of the time index may be lost. What is left of it was complete when its last entry was made, together
    // with an offset entry about the next batch; from there on the batches have to be asked again.
    let time = *timed.last()?;
    let next = time.rel_offset.checked_add(1)?;
    let made_at = known.iter().position(|entry| entry.rel_offset == next)?;
    Some(((known[made_at], made_at as u32 + 1), (time, timed.len() as u32)))
}

fn search<H: FileHandle>(
    stored: &Stored<H>,
    base: Offset,
    uid: SegmentUid,
    mut is_before: impl FnMut(Place) -> Option<bool>,
) -> Option<Place> {
    let (mut low, mut high, mut found) = (0, stored.count, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        stored.file.read_at(&mut bytes, entry_position(middle)).ok()?;
        let entry = OffsetEntry::decode(&bytes, uid, middle)?;
        let offset = base.checked_add(i64::from(entry.rel_offset))?;
        let place = Place { pos: u64::from(entry.pos), offset };
        if is_before(place)? {
            found = Some(place);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    found
}

fn is_behind(before: &OffsetEntry, entry: &OffsetEntry) -> bool {
    before.pos < entry.pos && before.rel_offset < entry.rel_offset
}
