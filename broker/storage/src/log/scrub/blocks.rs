//! The blocks of a sealed log, as its index tells them: from one entry to the next, each with its checksum.

use std::path::PathBuf;

use folio_record::{Offset, UnverifiedBatch};

#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};
use crate::log::Log;
use crate::log::damage::{DamageKind, DamagedRange};
use crate::log::segment::Segment;
use crate::partition_files::SegmentFile;

/// From one index entry to the next, and how far it was read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) start: u64,
    /// The first offset in it.
    pub(super) offset: Offset,
    /// Where it ends, which offset comes behind it, and its checksum.
    pub(super) end: u64,
    pub(super) next: Offset,
    pub(super) due: u32,
    pub(super) crc: crc32fast::Hasher,
    /// The first byte of it that the disk did not give.
    pub(super) unreadable: Option<u64>,
}

/// The entries of a sealed offset index, a few at a time.
#[derive(Debug)]
pub(super) struct Entries<F: Files> {
    file: F::File,
    uid: SegmentUid,
    base: Offset,
    pub(super) footer: Footer,
    next: u32,
    buffer: Vec<u8>,
    /// Number of the first one in the buffer.
    first: u32,
}

/// All blocks of a sealed log, one after the other, for whoever asks which of them do not hold.
#[derive(Debug)]
pub(in crate::log) struct Blocks<F: Files> {
    entries: Entries<F>,
    /// The next one.
    block: Option<Block>,
    path: PathBuf,
    may_have_gaps: bool,
}

/// What a look at the next block came to.
#[derive(Debug)]
pub(in crate::log) enum Looked {
    /// It has so many bytes, and this is wrong with it, if anything is.
    Block(u64, Option<DamagedRange>),
    /// There is none.
    End,
    /// The index vouches for none of them: it is damaged.
    Unvouched,
}

impl<F: Files> Blocks<F> {
    /// Those of `segment`; `None`: no index vouches for them.
    pub(in crate::log) fn open(log: &Log<F>, segment: &Segment, next_base: Offset) -> Option<Self> {
        let base = segment.base();
        let index = {
            let _names = log.names();
            log.files.open(&SegmentFile::OffsetIndex.path(&log.dir, base), OpenMode::Read).ok()?
        };
        let mut entries = Entries::<F>::open(index, segment.uid(), base)?;
        if (entries.footer.log_len, entries.footer.next_offset) != (segment.end(), next_base) {
            return None;
        }
        let block = Some(Block::first(&mut entries, base)?);
        let path = SegmentFile::Log.path(&log.dir, base);
        Some(Self { entries, block, path, may_have_gaps: segment.may_have_gaps() })
    }

    /// Reads the next one in `file`.
    pub(in crate::log) fn look(&mut self, file: &F::File) -> Looked {
        let Some(block) = self.block.take() else { return Looked::End };
        if block.end < self.entries.footer.log_len {
            let Some(next) = Block::next(&mut self.entries, &block) else { return Looked::Unvouched };
            self.block = Some(next);
        }
        let bad = again(file, &block, self.may_have_gaps).map(|kind| {
            let (positions, offsets) = (block.start..block.end, block.offset..block.next);
            DamagedRange { file: self.path.clone(), positions, offsets, kind }
        });
        Looked::Block(block.end - block.start, bad)
    }
}

impl Block {
    pub(super) fn first<F: Files>(entries: &mut Entries<F>, base: Offset) -> Option<Self> {
        Self::from(entries, 0, base)
    }

    pub(super) fn next<F: Files>(entries: &mut Entries<F>, before: &Self) -> Option<Self> {
        Self::from(entries, before.end, before.next)
    }

    /// The one that begins here; `None` if the index does not say where it ends.
    fn from<F: Files>(entries: &mut Entries<F>, start: u64, offset: Offset) -> Option<Self> {
        let footer = entries.footer;
        let (end, next, due) = match entries.next()? {
            Some(entry) => (
                u64::from(entry.pos),
                entries.base.checked_add(i64::from(entry.rel_offset))?,
                entry.block_crc,
            ),
            None => (footer.log_len, footer.next_offset, footer.tail_crc),
        };
        let is_ahead = end > start || footer.log_len == 0;
        let is_sound = is_ahead && end <= footer.log_len && next > offset;
        let crc = crc32fast::Hasher::new();
        is_sound.then_some(Self { start, offset, end, next, due, crc, unreadable: None })
    }

    /// Whether bytes with this checksum are what was sealed.
    pub(super) fn is_right(&self, crc: u32) -> bool {
        #[cfg(test)]
        if is_taken(Protection::BlocksAreChecked) {
            return true;
        }
        crc == self.due
    }
}

impl<F: Files> Entries<F> {
    pub(super) fn open(file: F::File, uid: SegmentUid, base: Offset) -> Option<Self> {
        let footer = Footer::read(&file, file.len().ok()?, uid).ok()??;
        // Whose it is the footer says. But lookups begin with the header.
        let mut header = [0; INDEX_HEADER_SIZE];
        file.read_at(&mut header, 0).ok()?;
        IndexHeader::decode(&header, IndexKind::Offset, uid).ok()?;
        Some(Self { file, uid, base, footer, next: 0, buffer: Vec::new(), first: 0 })
    }

    /// The next entry, or `Some(None)` behind the last. `None`: there should be one, and it is damaged.
    fn next(&mut self) -> Option<Option<OffsetEntry>> {
        let number = self.next;
        if number == self.footer.entries {
            return Some(None);
        }
        let mut at = (number - self.first) as usize * INDEX_ENTRY_SIZE;
        if at >= self.buffer.len() {
            let count = (self.footer.entries - number).min(ENTRIES) as usize;
            self.buffer.resize(count * INDEX_ENTRY_SIZE, 0);
            let read = self.file.read_at(&mut self.buffer, entry_position(number)).ok()?;
            self.buffer.truncate(read);
            (self.first, at) = (number, 0);
        }
        let bytes = self.buffer.get(at..)?.first_chunk()?;
        self.next += 1;
        OffsetEntry::decode(bytes, self.uid, number).map(Some)
    }
}

/// Whether every entry of a time index is what it was, and how long it is.
pub(super) fn check_times<H: FileHandle>(file: &H, uid: SegmentUid) -> Option<u64> {
    let len = file.len().ok()?;
    let mut header = [0; INDEX_HEADER_SIZE];
    file.read_at(&mut header, 0).ok()?;
    IndexHeader::decode(&header, IndexKind::Time, uid).ok()?;
    let entries = entries_in(len);
    if entry_position(entries) != len {
        return None;
    }
    let mut buffer = Vec::new();
    let mut number = 0;
    while number < entries {
        buffer.resize((entries - number).min(ENTRIES) as usize * INDEX_ENTRY_SIZE, 0);
        let read = file.read_at(&mut buffer, entry_position(number)).ok()?;
        for bytes in buffer.get(..read)?.chunks(INDEX_ENTRY_SIZE) {
            TimeEntry::decode(bytes.first_chunk()?, uid, number)?;
            number += 1;
        }
        if read < buffer.len() {
            return None;
        }
    }
    Some(len)
}

/// Reads a block that does not hold once more: what is wrong with it, or `None` if nothing is.
pub(super) fn again<H: FileHandle>(file: &H, block: &Block, may_have_gaps: bool) -> Option<DamageKind> {
    let Some(len) = usize::try_from(block.end - block.start).ok().filter(|len| *len <= BLOCK_MAX) else {
        return Some(DamageKind::Payload { at: block.start });
    };
    let mut bytes = vec![0; len];
    match file.read_at(&mut bytes, block.start) {
        Ok(read) if read == len => {}
        _ => return Some(DamageKind::Unreadable { at: block.start }),
    }
    let is_right = block.is_right(crc32fast::hash(&bytes));
    (!is_right).then(|| kind_of(&bytes, block, may_have_gaps))
}

/// What is wrong with bytes whose checksum does not hold.
fn kind_of(bytes: &[u8], block: &Block, may_have_gaps: bool) -> DamageKind {
    let (mut rest, mut at, mut due) = (bytes, block.start, block.offset);
    while !rest.is_empty() {
        let Ok((batch, after)) = UnverifiedBatch::split_first(rest) else { return DamageKind::Header { at } };
        let Ok(batch) = batch.verify() else { return DamageKind::Payload { at } };
        let header = batch.header();
        let (base, next) = (header.base_offset, header.next_offset());
        if base < due || base > due && !may_have_gaps || next > block.next {
            return DamageKind::Header { at };
        }
        (rest, at, due) = (after, at + batch.bytes().len() as u64, next);
    }
    // Nothing but the epoch is left, or an offset where some are missing.
    DamageKind::Header { at: block.start }
}

/// So many entries are read at once.
const ENTRIES: u32 = 4096;
/// A block is one batch at the least, and none is larger.
const BLOCK_MAX: usize = crate::scan::BATCH_SIZE_LIMIT as usize + (1 << 20);
