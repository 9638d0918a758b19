//! Sealed segments at a start: what a footer says of its log, and who is asked where that is not so.
//!
//! ```text
//!  the footer says                       the log, read and verified by itself          it is
//!  length and next offset as they are    is not read                                   sealed
//!  anything else                         does not hold, or its end has been lost       damaged
//!                                        is whole, or is another than the index knows  whole; the index goes
//! ```
//! A log whose end is lost at the end of a batch holds by every checksum of its own. Where every offset has to be
//! there, the base of the next segment tells; where some may be missing, only the index does that knows of more. So
//! that is believed as long as it can be the one of this log, and it is another's if it names a batch that is not
//! there, or speaks of no gaps where there are some.
//!
//! `verify` judges the same by itself (`verify::indexes`), so that either is found out by the other: the claims of
//! `log/tests/stale.rs` put both before the same directories.

use std::path::Path;

use folio_record::{BatchHeader, LeaderEpoch, Offset};

use super::examine::Examiner;
use super::indexes::entries;
use super::{Damage, Durable, RecoveredSegment, Survey};
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::Files;
use crate::footer::Footer;
use crate::index::{OffsetEntry, SegmentUid};
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step};
use crate::verdict::{Fault, Reason};

/// What vouches for a closed segment.
#[derive(Debug)]
pub(super) enum Footing {
    /// Its footer: nothing of its log is read.
    Footer(RecoveredSegment),
    /// It is not sealed.
    Nothing,
    /// Its log, every byte of which was verified. Its offset index belongs to an earlier or another state of the log.
    Log,
}

impl<F: Files> Examiner<'_, F> {
    /// What there is to vouch for segment `number`.
    ///
    /// # Errors
    /// Its log is damaged, or does not join the next segment.
    pub(super) fn footing(&mut self, number: usize) -> Result<Footing, Damage> {
        let next_base = self.survey.next_base(number).filter(|_| self.task.trusts_footers);
        let Some(next_base) = next_base else { return Ok(Footing::Nothing) };
        let segment = self.survey.segments[number];
        if self.survey.is_misled(segment.base) {
            return Ok(Footing::Nothing);
        }
        let uid = self.task.uid(segment.base);
        let Some(footer) = footer(self.files, &self.survey.dir, segment.base, uid)? else {
            return Ok(Footing::Nothing);
        };
        let told = (footer.first_offset, footer.log_len, footer.next_offset);
        if told != (segment.base, segment.len, next_base) {
            return self.ask_log(number, next_base, &footer);
        }
        Ok(Footing::Footer(RecoveredSegment {
            base: segment.base,
            len: segment.len,
            next_offset: next_base,
            max_timestamp: Some(footer.max_timestamp),
            sealed_at: Some(footer.sealed_at),
            may_have_gaps: footer.has_gaps,
        }))
    }

    /// Reads the log of segment `number`, of which `footer` says what is not so.
    fn ask_log(&mut self, number: usize, next_base: Offset, footer: &Footer) -> Result<Footing, Damage> {
        let segment = self.survey.segments[number];
        let (dir, uid) = (&self.survey.dir, self.task.uid(segment.base));
        let entries = entries(self.files, dir, segment.base, uid)?;
        let mut index = Entries { entries: &entries, base: segment.base, is_of_another: false };
        let may_have_gaps = segment.base < self.survey.compacted.gaps_below || footer.has_gaps;
        // One that reaches into the next segment is read to its end, too: that is what is wrong with it.
        let gaps_upto = Some(next_base.max(footer.next_offset)).filter(|_| may_have_gaps);
        let rules =
            Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto, epoch_max: LeaderEpoch::new(i32::MAX) };
        let log = self.open_log(number)?;
        let unreadable = |at, due, error: std::io::Error| self.survey.unreadable(number, at, due, &error);
        let mut scan = Scan::new(&log, 0, segment.base, LeaderEpoch::NONE, rules)
            .map_err(|error| unreadable(0, segment.base, error))?;
        let holds = loop {
            let (at, due) = (scan.at(), scan.expected());
            match scan.next().map_err(|error| unreadable(at, due, error))? {
                Step::Batch { at, batch } => {
                    let is_gap = batch.header().base_offset > due;
                    index.is_of_another |= is_gap && !footer.has_gaps;
                    index.pass(at, Some(batch.header()));
                }
                Step::End => break true,
                Step::Fault(_) => break false,
            }
        };
        self.report.bytes_scanned += scan.bytes_read();
        let (at, ends) = (scan.at(), scan.expected());
        index.pass(at.saturating_sub(1), None);
        let knows_more = footer.log_len >= segment.len && index.is_believed();
        let is_whole = ends == next_base || may_have_gaps && ends < next_base && !knows_more;
        if holds && is_whole {
            return Ok(Footing::Log);
        }
        let is_as_long = (footer.first_offset, footer.log_len) == (segment.base, segment.len);
        let (fault, at, from) = if is_as_long && holds {
            let ends = footer.next_offset;
            (Fault::Hole { ends, next_base }, segment.len, ends)
        } else {
            (Fault::UnlikeFooter, at, ends)
        };
        Err(self.survey.broken(number, at, from, fault, Reason::BrokenChain))
    }
}

/// The footer of segment `uid`, if it has one. Nothing else of its index is looked at: that is found out by whoever
/// uses it.
pub(crate) fn footer<F: Files>(
    files: &F,
    dir: &Path,
    base: Offset,
    uid: SegmentUid,
) -> Result<Option<Footer>, Damage> {
    let read = Footer::of_segment(files, dir, base, uid);
    Damage::unless_out_of_files(&SegmentFile::OffsetIndex.path(dir, base), read)
}

/// The durable point that footers prove: behind the last segment that is sealed.
pub(crate) fn sealed_upto<F: Files>(
    files: &F,
    survey: &Survey,
    id: PartitionId,
) -> Result<Option<Durable>, Damage> {
    for segment in (1..survey.segments.len()).rev() {
        let base = survey.segments[segment - 1].base;
        if footer(files, &survey.dir, base, SegmentUid::new(id, base))?.is_some() {
            return Ok(Some(Durable { segment, pos: 0, next_offset: survey.segments[segment].base }));
        }
    }
    Ok(None)
}

/// The entries of an index, as the batches of a log come by.
struct Entries<'a> {
    /// Those that are still to come.
    entries: &'a [OffsetEntry],
    base: Offset,
    /// One of them names what is not there.
    is_of_another: bool,
}

impl Entries<'_> {
    /// Whether it can be the one of this log.
    fn is_believed(&self) -> bool {
        #[cfg(test)]
        if is_taken(Protection::LostEndsAreTold) {
            return false;
        }
        !self.is_of_another
    }

    /// Passes what lies up to byte `at`: where this batch begins, or the last byte of the log.
    fn pass(&mut self, at: u64, header: Option<&BatchHeader>) {
        while let [entry, rest @ ..] = self.entries
            && u64::from(entry.pos) <= at
        {
            let is_here = u64::from(entry.pos) == at;
            let is_true = is_here && header.is_some_and(|header| entry.names(self.base, header));
            self.is_of_another |= !is_true;
            self.entries = rest;
        }
    }
}
