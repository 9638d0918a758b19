//! What is found rotten by whoever reads a whole segment, to seal or to compact it, is not served, batch by batch.

use std::io;

use folio_record::{BatchHeader, HEADER_SIZE, Offset, UnverifiedBatch};

use super::Log;
use super::damage::{DamageKind, DamagedRange};
use super::scrub::blocks::blocks_that_do_not_hold;
use super::seal::Rotten;
use super::segment::Segment;
use crate::files::{FileHandle, Files, OpenMode, is_exhausted};
use crate::partition_files::SegmentFile;
use crate::scan::BATCH_SIZE_LIMIT;
use crate::verdict::Fault;

/// A batch that is looked at by itself.
struct Look {
    /// What is wrong with it, if anything is.
    kind: Option<DamageKind>,
    /// Where the next one begins, and with which offset; `None`: nobody can tell.
    next: Option<(u64, Offset)>,
}

impl<F: Files> Log<F> {
    /// Marks what of a segment is rotten, from the place on that was found first. Where a batch does not tell where the
    /// next one begins, that is all the rest.
    ///
    /// What holds by every checksum that there is stays: of a sealed segment those of its blocks cover all of it, and the
    /// place where a reader stumbled is not always the one that was harmed.
    pub(super) fn mark_rotten(&self, rotten: &Rotten) {
        let view = self.view.load_full();
        let path = |segment: &Segment| SegmentFile::Log.path(&self.dir, segment.base());
        let Some(pair) = view.windows(2).find(|pair| path(&pair[0]) == rotten.file) else { return };
        let (segment, end) = (&pair[0], (pair[0].end(), pair[1].base()));
        let file = {
            let _names = self.names();
            self.files.open(&rotten.file, OpenMode::Read)
        };
        let mark = |from: (u64, Offset), to: (u64, Offset), kind| {
            let (positions, offsets) = (from.0..to.0.max(from.0 + 1), from.1..to.1);
            segment.damaged().add(&DamagedRange { file: rotten.file.clone(), positions, offsets, kind });
        };
        let mut place = (rotten.position, rotten.offset);
        let Ok(file) = file else {
            return mark(place, end, DamageKind::Unreadable { at: place.0 });
        };
        let bad_blocks = blocks_that_do_not_hold(self, (segment, end.1), &file);
        // What one reader has refused, another may take for whole: an epoch, an offset.
        let mut is_refused = bad_blocks.is_none() && is_of_its_place(rotten.fault);
        while place.0 < end.0 {
            let look = look(&file, place, segment);
            let kind = look.kind.or(is_refused.then_some(DamageKind::Header { at: place.0 }));
            let next = look.next.unwrap_or(end);
            if let Some(kind) = kind {
                mark(place, next, kind);
            }
            (place, is_refused) = (next, false);
        }
        for block in bad_blocks.unwrap_or_default() {
            // Batches by themselves are told apart where they can be.
            let is_told = segment.damaged().all().iter().any(|known| {
                known.positions.start < block.positions.end && block.positions.start < known.positions.end
            });
            if !is_told {
                segment.damaged().add(&block);
            }
        }
    }
}

/// Whether it is the batch at the place of the fault that must not be served. What cannot be read may lie further on, for
/// files are read ahead, and so does what a file has lost; and a batch whose checksum holds has the records that it was
/// acknowledged with, whatever its reader makes of them.
fn is_of_its_place(fault: Fault) -> bool {
    !matches!(fault, Fault::Unreadable | Fault::ShortFile { .. } | Fault::Contradiction)
}

fn look<H: FileHandle>(file: &H, (at, due): (u64, Offset), segment: &Segment) -> Look {
    let end = segment.end();
    let of_all = |kind| Look { kind: Some(kind), next: None };
    let header = match header_at(file, at) {
        Ok(Some(header)) => header,
        Ok(None) => return of_all(DamageKind::Header { at }),
        Err(_) => return of_all(DamageKind::Unreadable { at }),
    };
    let size = header.total_size() as u64;
    if size > BATCH_SIZE_LIMIT || size > end - at {
        return of_all(DamageKind::Header { at });
    }
    let may_have_gaps = segment.may_have_gaps();
    let may_follow = |base: Offset, due: Offset| base == due || may_have_gaps && base > due;
    let mut bytes = vec![0; size as usize];
    let kind = match file.read_at(&mut bytes, at) {
        Err(_) => Some(DamageKind::Unreadable { at }),
        Ok(read) if read < bytes.len() => Some(DamageKind::Missing { len: at + read as u64 }),
        Ok(_) => match UnverifiedBatch::split_first(&bytes).and_then(|(batch, _)| batch.verify()) {
            Err(_) => Some(DamageKind::Payload { at }),
            Ok(_) if !may_follow(header.base_offset, due) => Some(DamageKind::Header { at }),
            Ok(_) => None,
        },
    };
    let next = if kind.is_none() { header.next_offset() } else { after(&header, due, may_have_gaps) };
    if kind.is_none() || at + size == end {
        return Look { kind, next: Some((at + size, next)) };
    }
    // Its length is to be believed if a batch begins where it ends, with an offset that may come there.
    let follows = header_at(file, at + size).ok().flatten();
    let follows = follows.filter(|follows| may_follow(follows.base_offset, next));
    Look { kind, next: follows.map(|follows| (at + size, follows.base_offset)) }
}

/// The offset behind a batch whose header may be wrong in this, too.
fn after(header: &BatchHeader, due: Offset, may_have_gaps: bool) -> Offset {
    let deltas = header.next_offset().get() - header.base_offset.get();
    if may_have_gaps { header.next_offset() } else { Offset::new(due.get().saturating_add(deltas)) }
}

fn header_at<H: FileHandle>(file: &H, at: u64) -> io::Result<Option<BatchHeader>> {
    let mut bytes = [0; HEADER_SIZE];
    let read = file.read_at(&mut bytes, at)?;
    Ok(BatchHeader::parse(&bytes).ok().filter(|_| read == HEADER_SIZE))
}

/// Whether a read that failed tells of the disk, and not of a process that has run out of something.
pub(super) fn is_of_the_disk(error: &io::Error) -> bool {
    !is_exhausted(error) && error.kind() != io::ErrorKind::NotFound
}
