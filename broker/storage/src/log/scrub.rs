//! Scrubbing: what was sealed is read again, from the disk and around the page cache, and held against the checksums of
//! its index. They cover every byte, also offset, length and epoch of a batch, which its own checksum does not.
//!
//! ```text
//!  log    | block | block | block (unreadable) | block | tail |      a block reaches from one index entry to the next
//!              crc     crc                  crc     crc  tail crc
//! ```
//! A block that does not hold is read once more, so that nothing is condemned for a slip on the way. Then it is marked
//! in the segment: reads that touch it are refused, all others are served as before. A later scrub takes the mark off
//! again if the disk has come to its senses. Nothing is written here.
//!
//! All of it goes in steps of a bounded size, and holds on to nothing but two open files and a buffer.

pub(super) mod blocks;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use folio_record::Offset;

use super::Log;
use super::damage::{DamageKind, DamagedRange, join};
use super::segment::Segment;
use crate::files::{FileHandle, Files, OpenMode, is_exhausted};
use crate::partition_files::SegmentFile;

use blocks::{Block, Entries, again, check_times};

/// The scrub of one segment.
#[derive(Debug)]
pub struct Scrub<F: Files> {
    log: Arc<Log<F>>,
    segment: Arc<Segment>,
    next_base: Offset,
    path: PathBuf,
    stage: Stage<F>,
    /// What of it is damaged, so far; the last may still grow.
    found: Vec<DamagedRange>,
    /// So many of these were told.
    told: usize,
}

/// What a step has done.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Bytes read.
    pub read: u64,
    /// Damage that was found, neighbouring blocks together.
    pub found: Vec<DamagedRange>,
    /// Damage that was known, and is not there any more.
    pub healed: Vec<DamagedRange>,
    /// Blocks that were right only when they were read again.
    pub unsteady: u64,
    /// An index of the segment is damaged. It is made anew from the log, and the segment sealed and verified anew.
    pub is_index_damaged: bool,
    /// The file has bytes behind the end that it had when it was sealed.
    pub surplus: u64,
    /// There is no more to do.
    pub is_done: bool,
}

#[derive(Debug)]
enum Stage<F: Files> {
    ToOpen,
    Reading(Box<Reading<F>>),
    Over,
}

/// Where a scrub stands.
#[derive(Debug)]
struct Reading<F: Files> {
    file: F::File,
    entries: Entries<F>,
    /// How far the log was read.
    at: u64,
    block: Block,
}

impl<F: Files> Log<F> {
    /// Begins to scrub the first sealed segment whose base is `from` or later; `None` if there is none.
    pub fn scrub(self: &Arc<Self>, from: Offset) -> Option<Scrub<F>> {
        if self.is_retired() {
            return None;
        }
        let view = self.view.load_full();
        let mut closed = view.windows(2);
        let pair = closed.find(|pair| pair[0].base() >= from && pair[0].is_sealed())?;
        let segment = Arc::clone(&pair[0]);
        let path = SegmentFile::Log.path(&self.dir, segment.base());
        let (next_base, log) = (pair[1].base(), Arc::clone(self));
        Some(Scrub { log, segment, next_base, path, stage: Stage::ToOpen, found: Vec::new(), told: 0 })
    }

    /// What is known to be damaged, oldest first.
    pub fn damaged(&self) -> Vec<DamagedRange> {
        self.view.load().iter().flat_map(|segment| segment.damaged().all()).collect()
    }
}

impl<F: Files> Scrub<F> {
    /// The first offset of the segment.
    pub fn base(&self) -> Offset {
        self.segment.base()
    }

    /// The offset behind it: where to go on.
    pub fn next_base(&self) -> Offset {
        self.next_base
    }

    /// Goes on for about `budget` bytes. Waits for a disk.
    ///
    /// # Errors
    /// The process has no descriptor left, or no memory. The scrub is over.
    pub fn step(&mut self, budget: usize) -> io::Result<Scrubbed> {
        let mut done = Scrubbed::default();
        let outcome = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::ToOpen => self.open(&mut done),
            Stage::Reading(reading) => self.read(reading, budget, &mut done),
            Stage::Over => Ok(Stage::Over),
        };
        self.stage = outcome?;
        done.is_done = matches!(self.stage, Stage::Over);
        // The last one may grow with the next block.
        let told = if done.is_done { self.found.len() } else { self.found.len().saturating_sub(1) };
        done.found = self.found.get(self.told..told).unwrap_or_default().to_vec();
        self.told = self.told.max(told);
        Ok(done)
    }

    fn open(&mut self, done: &mut Scrubbed) -> io::Result<Stage<F>> {
        let (log, base) = (&self.log, self.segment.base());
        let opened = {
            let names = log.names();
            // What lies beside a log that is being replaced may be the index of the one that is to come.
            let is_replaced = names.as_ref().is_some_and(|unfinished| unfinished.is_about(base));
            if is_replaced || !self.is_there() {
                return Ok(Stage::Over);
            }
            let open = |file: SegmentFile| log.files.open(&file.path(&log.dir, base), OpenMode::Around);
            [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::TimeIndex].map(open)
        };
        let [file, offsets, times] = opened;
        for error in [&file, &offsets, &times].into_iter().filter_map(|opened| opened.as_ref().err()) {
            if is_exhausted(error) {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
        }
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                let kind = if is_missing {
                    DamageKind::Missing { len: 0 }
                } else {
                    DamageKind::Unreadable { at: 0 }
                };
                let range = (0, base);
                self.mark(range, (self.segment.end().max(1), self.next_base), kind);
                return Ok(self.end(done));
            }
        };
        let uid = self.segment.uid();
        let opened = (|| {
            let times = times.ok()?;
            done.read += check_times(&times, uid)?;
            let entries = Entries::<F>::open(offsets.ok()?, uid, base)?;
            let is_it =
                entries.footer.log_len == self.segment.end() && entries.footer.next_offset == self.next_base;
            let mut entries = is_it.then_some(entries)?;
            let block = Block::first(&mut entries, base)?;
            Some(Reading { file, entries, at: 0, block })
        })();
        Ok(match opened {
            Some(reading) if reading.entries.footer.log_len == 0 => self.end(done),
            Some(reading) => Stage::Reading(Box::new(reading)),
            None => self.without_index(done),
        })
    }

    fn read(
        &mut self,
        mut reading: Box<Reading<F>>,
        budget: usize,
        done: &mut Scrubbed,
    ) -> io::Result<Stage<F>> {
        let len = reading.entries.footer.log_len;
        let mut buffer = vec![0; budget.clamp(PAGE, CHUNK)];
        let mut left = budget.max(1) as u64;
        while reading.at < len && left > 0 {
            if !self.is_there() {
                return Ok(Stage::Over);
            }
            // From a page on, so that a disk that cannot read one loses no more than that.
            let until_page = (buffer.len() as u64 - reading.at % PAGE as u64).min(len - reading.at);
            let part = &mut buffer[..until_page as usize];
            let fed = match reading.file.read_at(part, reading.at) {
                Ok(read) => {
                    let is_end = read < part.len();
                    self.feed(&mut reading, &part[..read], done).map(|fed| (fed, is_end))
                }
                Err(error) if is_exhausted(&error) => return Err(error),
                // A disk takes its time over what it cannot read: others have their turn after that.
                Err(_) => {
                    left = 0;
                    self.feed_by_page(&mut reading, part, done)
                }
            };
            let Some((fed, is_end)) = fed else { return Ok(self.without_index(done)) };
            done.read += fed;
            left = left.saturating_sub(fed.max(1));
            if is_end {
                let kind = DamageKind::Missing { len: reading.at };
                let block = &reading.block;
                self.mark((block.start, block.offset), (len, self.next_base), kind);
                return Ok(self.end(done));
            }
        }
        if reading.at < len {
            return Ok(Stage::Reading(reading));
        }
        done.surplus = reading.file.len().map_or(0, |found| found.saturating_sub(len));
        Ok(self.end(done))
    }

    /// Each page by itself, up to the first that the disk does not give, and with zeros for that: how much it was, and
    /// whether the file ends there. `None`: the index is damaged.
    fn feed_by_page(
        &mut self,
        reading: &mut Reading<F>,
        part: &mut [u8],
        done: &mut Scrubbed,
    ) -> Option<(u64, bool)> {
        let (begun, len) = (reading.at, part.len() as u64);
        while reading.at - begun < len {
            let from = (reading.at - begun) as usize;
            let to = (from + PAGE - (reading.at % PAGE as u64) as usize).min(part.len());
            let page = &mut part[from..to];
            match reading.file.read_at(page, reading.at) {
                Ok(read) => {
                    let is_end = read < page.len();
                    self.feed(reading, &page[..read], done)?;
                    if is_end {
                        return Some((reading.at - begun, true));
                    }
                }
                Err(_) => {
                    reading.block.unreadable.get_or_insert(reading.at);
                    page.fill(0);
                    self.feed(reading, page, done)?;
                    break;
                }
            }
        }
        Some((reading.at - begun, false))
    }

    /// The next bytes of the log; `None`: the index is damaged.
    fn feed(&mut self, reading: &mut Reading<F>, mut bytes: &[u8], done: &mut Scrubbed) -> Option<u64> {
        let begun = reading.at;
        while !bytes.is_empty() {
            let left = reading.block.end - reading.at;
            let (part, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            reading.block.crc.update(part);
            reading.at += part.len() as u64;
            bytes = rest;
            if reading.at == reading.block.end {
                self.finish(reading, done);
                if reading.at < reading.entries.footer.log_len {
                    reading.block = Block::next(&mut reading.entries, &reading.block)?;
                }
            } else if !rest.is_empty() {
                return None;
            }
        }
        Some(reading.at - begun)
    }

    /// A block was read to its end.
    fn finish(&mut self, reading: &mut Reading<F>, done: &mut Scrubbed) {
        let block = &mut reading.block;
        let crc = std::mem::take(&mut block.crc).finalize();
        let kind = match block.unreadable {
            Some(at) => DamageKind::Unreadable { at },
            None if block.is_right(crc) => return,
            None => match again(&reading.file, block, self.segment.may_have_gaps()) {
                Some(kind) => kind,
                None => {
                    done.unsteady += 1;
                    return;
                }
            },
        };
        let (from, to) = ((block.start, block.offset), (block.end, block.next));
        self.mark(from, to, kind);
    }

    fn mark(&mut self, from: (u64, Offset), to: (u64, Offset), kind: DamageKind) {
        let range =
            DamagedRange { file: self.path.clone(), positions: from.0..to.0, offsets: from.1..to.1, kind };
        self.segment.damaged().add(&range);
        join(&mut self.found, &range);
    }

    /// All of the segment was looked at: what was known of it before is superseded.
    fn end(&self, done: &mut Scrubbed) -> Stage<F> {
        let damaged = self.segment.damaged();
        let is_found = |known: &DamagedRange| {
            self.found.iter().any(|found| {
                found.positions.start < known.positions.end && known.positions.start < found.positions.end
            })
        };
        done.healed = damaged.all().into_iter().filter(|known| !is_found(known)).collect();
        damaged.set(self.found.clone());
        Stage::Over
    }

    /// There is nothing to hold the log against until the index is made anew.
    fn without_index(&self, done: &mut Scrubbed) -> Stage<F> {
        if self.is_there() {
            done.is_index_damaged = true;
            self.segment.suspect();
        }
        Stage::Over
    }

    /// Neither the topic nor the segment was removed or replaced meanwhile.
    fn is_there(&self) -> bool {
        self.log.has_segment(&self.segment)
    }
}

/// Unreadable sectors are looked for in steps of this.
const PAGE: usize = 4096;
/// So much is read at once.
const CHUNK: usize = 256 * 1024;
