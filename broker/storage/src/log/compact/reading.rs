//! Reading a segment that is to be compacted, a part at a time. Every byte is verified, as when it was sealed: a
//! damaged segment is not made into one that looks whole. What was not in the page cache is not in it afterwards.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use folio_record::{Batch, BatchError, LeaderEpoch, Offset};

use super::rewrite::Source;
use crate::files::{Files, OpenMode, is_exhausted};
use crate::footer::Footer;
use crate::log::Log;
use crate::log::append::{AppendError, failed};
use crate::log::rot::is_of_the_disk;
use crate::log::seal::Rotten;
use crate::partition_files::SegmentFile;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step};
use crate::verdict::Fault;

/// How far a source was read.
pub(super) struct Reading<F: Files> {
    file: Option<F::File>,
    /// Where the next batch begins.
    pub(super) at: u64,
    /// The offset that it has at the earliest.
    due: Offset,
    epoch: LeaderEpoch,
    /// CRC-32 of all that was read.
    log: crc32fast::Hasher,
}

/// What a look at batches came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// The budget is used up, or whoever looks wanted no more.
    Enough,
    /// The source was read to its end, and is what was sealed.
    Ended,
    /// It is not.
    Rotten(Rotten),
    /// The topic is gone, or the source.
    Gone,
}

/// Whoever looks at a batch says whether the next may come, or why the batch cannot be.
pub(super) type Seen = Result<ControlFlow<Pause>, BatchError>;

/// Where whoever looks stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// In front of this batch: it comes again.
    Before,
    /// Behind it.
    Behind,
}

impl<F: Files> Reading<F> {
    /// Before the first batch of `source`.
    pub(super) fn new(source: &Source) -> Self {
        let (due, epoch) = (source.segment.base(), LeaderEpoch::NONE);
        Self { file: None, at: 0, due, epoch, log: crc32fast::Hasher::new() }
    }

    /// The open log.
    pub(super) fn file(&self) -> Option<&F::File> {
        self.file.as_ref()
    }

    /// Shows the next batches of `source` to `see`, for about `budget` bytes; counts in `read` what was read.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(super) fn look(
        &mut self,
        log: &Log<F>,
        source: &Source,
        budget: u64,
        read: &mut u64,
        mut see: impl FnMut(u64, &Batch<'_>) -> Seen,
    ) -> Result<Looked, AppendError> {
        let path = SegmentFile::Log.path(&log.dir, source.segment.base());
        let position = (self.at, self.due);
        let rotten = |(position, offset), fault| {
            Looked::Rotten(Rotten { file: path.clone(), position, offset, fault })
        };
        if self.file.is_none() {
            let _names = log.names();
            if log.is_retired() {
                return Ok(Looked::Gone);
            }
            self.file = match log.files.open(&path, OpenMode::Beside) {
                Ok(file) => Some(file),
                // Retention has taken it.
                Err(_) if log.find(std::slice::from_ref(&source.segment)).is_none() => {
                    return Ok(Looked::Gone);
                }
                Err(error) if is_of_the_disk(&error) => return Ok(rotten(position, Fault::Unreadable)),
                Err(error) => return Err(failed(&log.dir, source.segment.base(), error)),
            };
        }
        let outcome = self.batches(source, budget, read, &mut see);
        match outcome {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(Looked::Enough),
            Ok(Err((place, fault))) => return Ok(rotten(place, fault)),
            // A disk that does not give its bytes back is not asked again and again.
            Err(error) if is_of_the_disk(&error) => return Ok(rotten(position, Fault::Unreadable)),
            Err(error) => return Err(failed(&log.dir, source.segment.base(), error)),
        }
        let (base, uid) = (source.segment.base(), source.segment.uid());
        let sealed = match Footer::of_segment(&*log.files, &log.dir, base, uid) {
            // That it cannot be asked now does not say that there is none.
            Err(error) if is_exhausted(&error) => return Err(failed(&log.dir, base, error)),
            read => read.ok().flatten(),
        };
        let crc = self.log.clone().finalize();
        match sealed {
            // All that this run knows of is here: the index is another's.
            Some(footer) if (footer.log_len, footer.next_offset) != (self.at, source.next_base) => {
                source.segment.suspect();
            }
            Some(footer) if footer.log_crc != crc => return Ok(rotten((0, base), Fault::UnlikeFooter)),
            _ => {}
        }
        Ok(Looked::Ended)
    }

    /// Whether all batches were seen.
    #[expect(clippy::type_complexity, reason = "a fault and its place, or how it went, or the disk's word")]
    fn batches(
        &mut self,
        source: &Source,
        budget: u64,
        read: &mut u64,
        see: &mut impl FnMut(u64, &Batch<'_>) -> Seen,
    ) -> io::Result<Result<bool, ((u64, Offset), Fault)>> {
        let Some(file) = &self.file else { return Ok(Ok(false)) };
        let gaps_upto = source.segment.gaps_upto();
        let rules =
            Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto, epoch_max: LeaderEpoch::new(i32::MAX) };
        let mut scan = Scan::new(file, self.at, self.due, self.epoch, rules)?;
        let begun = self.at;
        let outcome = loop {
            let place = (scan.at(), scan.expected());
            if place.0 - begun >= budget.max(1) {
                break Ok(false);
            }
            match scan.next()? {
                Step::Batch { at, batch } => {
                    let seen = see(at, &batch);
                    match seen {
                        Ok(ControlFlow::Break(Pause::Before)) => break Ok(false),
                        Err(_) => break Err((place, Fault::Contradiction)),
                        Ok(_) => {}
                    }
                    self.log.update(batch.bytes());
                    self.at = at + batch.bytes().len() as u64;
                    self.due = batch.header().next_offset();
                    self.epoch = batch.header().leader_epoch;
                    if matches!(seen, Ok(ControlFlow::Break(Pause::Behind))) {
                        break Ok(false);
                    }
                }
                Step::End if self.at == source.segment.end() && self.due <= source.next_base => {
                    break Ok(true);
                }
                Step::End => {
                    let fault = Fault::ShortFile { len: self.at, durable: source.segment.end() };
                    break Err((place, fault));
                }
                Step::Fault(fault) => break Err((place, fault)),
            }
        };
        *read += scan.bytes_read();
        Ok(outcome)
    }
}

impl<F: Files> fmt::Debug for Reading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("at", &self.at).field("due", &self.due).finish_non_exhaustive()
    }
}
