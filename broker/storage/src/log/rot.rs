//! What is found rotten by whoever reads a whole segment, to seal or to compact it, is not served, batch by batch.
//!
//! To find out what else is takes reading all of it: that goes in steps, and others have their turn between them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use folio_record::{BatchHeader, HEADER_SIZE, Offset, UnverifiedBatch};

use super::Log;
use super::damage::{DamageKind, DamagedRange};
use super::scrub::blocks::{Blocks, Looked};
use super::seal::Rotten;
use super::segment::Segment;
use crate::files::{FileHandle, Files, OpenMode, is_exhausted};
use crate::partition_files::SegmentFile;
use crate::scan::BATCH_SIZE_LIMIT;
use crate::verdict::Fault;

/// The marking of what of a segment is rotten: the batch that was found first at once, and the rest from there on in
/// steps of a bounded size. Where a batch does not tell where the next one begins, that is all the rest.
///
/// What holds by every checksum that there is stays: of a sealed segment those of its blocks cover all of it, and the
/// place where a reader stumbled is not always the one that was harmed.
#[derive(Debug)]
pub(super) struct Marking<F: Files> {
    rotten: Rotten,
    /// `None`: nothing is left to mark.
    stage: Option<Stage<F>>,
}

#[derive(Debug)]
struct Stage<F: Files> {
    segment: Arc<Segment>,
    /// Where it ends, and the offset there.
    end: (u64, Offset),
    file: F::File,
    /// Its blocks, as long as not all of them were looked at.
    blocks: Option<Blocks<F>>,
    bad_blocks: Vec<DamagedRange>,
    /// Where the next batch begins, and with which offset.
    place: (u64, Offset),
    /// It is not to be served, whatever a look at it says.
    is_refused: bool,
}

/// A batch that is looked at by itself.
struct Look {
    /// What is wrong with it, if anything is.
    kind: Option<DamageKind>,
    /// Where the next one begins, and with which offset; `None`: nobody can tell.
    next: Option<(u64, Offset)>,
}

impl<F: Files> Marking<F> {
    /// Of what `rotten` says about a segment of `log`.
    pub(super) fn new(log: &Log<F>, rotten: Rotten) -> Self {
        let view = log.view.load_full();
        let path = |segment: &Segment| SegmentFile::Log.path(&log.dir, segment.base());
        let pair = view.windows(2).find(|pair| path(&pair[0]) == rotten.file);
        let stage = pair.and_then(|pair| Stage::new(log, (&pair[0], pair[1].base()), &rotten));
        Self { rotten, stage }
    }

    /// What it is about.
    pub(super) fn rotten(&self) -> &Rotten {
        &self.rotten
    }

    /// Goes on for about `budget` bytes, a batch or a block more. So many were looked at, and whether that was all. May
    /// wait for a disk.
    pub(super) fn step(&mut self, budget: u64) -> (u64, bool) {
        let mut done = 0;
        while let Some(stage) = self.stage.as_mut().filter(|_| done < budget.max(1)) {
            match stage.step(&self.rotten) {
                Some(looked) => done += looked.max(1),
                None => self.stage = None,
            }
        }
        (done, self.stage.is_none())
    }
}

impl<F: Files> Stage<F> {
    fn new(log: &Log<F>, (segment, next_base): (&Arc<Segment>, Offset), rotten: &Rotten) -> Option<Self> {
        let file = {
            let _names = log.names();
            log.files.open(&rotten.file, OpenMode::Read)
        };
        let (place, end) = ((rotten.position, rotten.offset), (segment.end(), next_base));
        let Ok(file) = file else {
            mark(segment, &rotten.file, (place, end), DamageKind::Unreadable { at: place.0 });
            return None;
        };
        let blocks = Blocks::open(log, segment, next_base);
        // What one reader has refused, another may take for whole: an epoch, an offset.
        let is_refused = blocks.is_none() && is_of_its_place(rotten.fault);
        let segment = Arc::clone(segment);
        let stage = Self { segment, end, file, blocks, bad_blocks: Vec::new(), place, is_refused };
        // To look at all the rest may take minutes, and this is known.
        if place.0 < end.0 {
            stage.mark_batch(rotten);
        }
        Some(stage)
    }

    /// Looks at the next block or batch, of so many bytes; `None`: there is none.
    fn step(&mut self, rotten: &Rotten) -> Option<u64> {
        if let Some(blocks) = &mut self.blocks {
            return Some(match blocks.look(&self.file) {
                Looked::Block(len, bad) => {
                    self.bad_blocks.extend(bad);
                    len
                }
                Looked::End => {
                    self.blocks = None;
                    0
                }
                Looked::Unvouched => {
                    (self.blocks, self.is_refused) = (None, is_of_its_place(rotten.fault));
                    self.bad_blocks.clear();
                    0
                }
            });
        }
        if self.place.0 >= self.end.0 {
            self.mark_blocks();
            return None;
        }
        let next = self.mark_batch(rotten);
        let looked = next.0 - self.place.0;
        (self.place, self.is_refused) = (next, false);
        Some(looked)
    }

    /// Marks the batch at the place if it is not to be served; gives where the next one begins, and its offset.
    fn mark_batch(&self, rotten: &Rotten) -> (u64, Offset) {
        let look = look(&self.file, self.place, &self.segment);
        let next = look.next.unwrap_or(self.end);
        let refused = self.is_refused.then_some(DamageKind::Header { at: self.place.0 });
        if let Some(kind) = look.kind.or(refused) {
            mark(&self.segment, &rotten.file, (self.place, next), kind);
        }
        next
    }

    /// Batches by themselves are told apart where they can be: only of what none of them has told, the blocks do.
    fn mark_blocks(&self) {
        let damaged = self.segment.damaged();
        for block in &self.bad_blocks {
            let is_told = damaged.all().iter().any(|known| {
                known.positions.start < block.positions.end && block.positions.start < known.positions.end
            });
            if !is_told {
                damaged.add(block);
            }
        }
    }
}

/// From the one place to the other, nothing of `segment` is served.
fn mark(segment: &Segment, file: &Path, (from, to): ((u64, Offset), (u64, Offset)), kind: DamageKind) {
    let (positions, offsets) = (from.0..to.0.max(from.0 + 1), from.1..to.1);
    segment.damaged().add(&DamagedRange { file: file.to_owned(), positions, offsets, kind });
}

/// Whether it is the batch at the place of the fault that must not be served. What cannot be read may lie further on,
/// for files are read ahead, and so does what a file has lost; and a batch whose checksum holds has the records that it
/// was acknowledged with, whatever its reader makes of them.
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
