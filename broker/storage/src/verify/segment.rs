//! One segment, from its first byte to its last.

use std::io;
use std::path::{Path, PathBuf};

use folio_record::{BatchHeader, LeaderEpoch, Offset};

use super::indexes::Indexes;
use super::{Finding, Findings, Need, Place, Severity};
use crate::epochs::Epochs;
use crate::files::{FileHandle, Files, OpenMode};
use crate::index::SegmentUid;
use crate::partition::PartitionId;
use crate::recovery::{Durable, Survey, footer};
use crate::scan::{Rules, Scan, Step, next_intact};
use crate::slots::SLOTS_NAME;
use crate::verdict::{Evidence, Fault, Verdict, verdict};

/// What is known of a log beside its bytes.
pub(super) struct Expected<'a> {
    pub(super) id: PartitionId,
    pub(super) survey: &'a Survey,
    pub(super) durable: Durable,
    pub(super) same_boot: bool,
    pub(super) rules: Rules,
    /// Which epoch each offset has, if the epochs can be relied on.
    pub(super) epochs: Option<&'a Epochs>,
    /// The run before said that everything is on stable storage.
    pub(super) was_closed: bool,
}

/// How far a segment can be read.
pub(super) enum Ended {
    /// To its end, where this offset is due.
    At(Offset),
    /// A fault hides how it ends.
    Damaged,
    /// An interrupted write ends the log here; what lies behind leaves with it.
    Torn,
}

struct Walk<'a, 'f> {
    expected: &'a Expected<'a>,
    findings: &'a mut Findings<'f>,
    number: usize,
    path: PathBuf,
    /// Bytes of the file.
    len: u64,
    next_base: Option<Offset>,
    /// The durable point lies at the end of a batch, with the offset that is due.
    durable_seen: bool,
    /// Damage hides a part of it.
    has_gap: bool,
    /// It was compacted.
    may_have_gaps: bool,
}

/// Reads segment `number`, and its indexes with it. `epoch_min` is the epoch of the batch before.
pub(super) fn look<F: Files>(
    files: &F,
    expected: &Expected<'_>,
    number: usize,
    epoch_min: &mut LeaderEpoch,
    findings: &mut Findings<'_>,
) -> io::Result<Ended> {
    let segment = expected.survey.segments[number];
    let next_base = expected.survey.next_base(number);
    let path = expected.survey.log_path(number);
    let file = files.open(&path, OpenMode::Read)?;
    let uid = SegmentUid::new(expected.id, segment.base);
    // Below the durable point, too, a start makes indexes anew that are missing, and may be interrupted: by then a
    // footer tells that both were there.
    let is_unsealed = || footer(files, &expected.survey.dir, segment.base, uid).ok().flatten().is_none();
    let may_be_torn = !expected.was_closed && (number >= expected.durable.segment || is_unsealed());
    let dir = &expected.survey.dir;
    let mut indexes = Indexes::open(files, dir, segment.base, uid, may_be_torn, findings);
    // The last one is never compacted.
    let may_have_gaps = next_base.is_some()
        && expected.survey.may_have_gaps(files, expected.id, number).map_err(io::Error::other)?;
    let rules = Rules { gaps_upto: next_base.filter(|_| may_have_gaps), ..expected.rules };
    let mut scan = Scan::new(&file, 0, segment.base, *epoch_min, rules)?;
    let mut walk = Walk {
        expected,
        findings,
        number,
        path,
        len: segment.len,
        next_base,
        durable_seen: false,
        has_gap: false,
        may_have_gaps,
    };
    let ended = walk.batches(&file, &mut scan, &mut indexes, epoch_min)?;
    walk.compare(&ended, &mut indexes);
    indexes.finish(next_base, may_have_gaps, walk.findings);
    Ok(ended)
}

impl Walk<'_, '_> {
    /// Goes through all batches, and on behind what is damaged.
    fn batches<H: FileHandle>(
        &mut self,
        file: &H,
        scan: &mut Scan<'_, H>,
        indexes: &mut Indexes<H>,
        epoch_min: &mut LeaderEpoch,
    ) -> io::Result<Ended> {
        let expected = self.expected;
        let (dir, mut told) = (&expected.survey.dir, 0);
        let ended = loop {
            if scan.at() - told >= TELL_EVERY {
                self.findings.read(dir, scan.at() - told);
                told = scan.at();
            }
            let (at, due) = (scan.at(), scan.expected());
            self.pass_durable(at, due);
            match scan.next()? {
                Step::End => break Ended::At(due),
                Step::Batch { at, batch } => {
                    *epoch_min = batch.header().leader_epoch;
                    let epoch = self.batch(at, batch.header());
                    indexes.batch((at, due), &batch, epoch);
                    if expected.epochs.is_some() {
                        scan.forget_epoch();
                    }
                }
                Step::Fault(fault) => {
                    if let Some(ended) = self.fault(file, scan, indexes, (at, due), fault)? {
                        break ended;
                    }
                }
            }
        };
        self.findings.read(dir, self.len.saturating_sub(told));
        Ok(ended)
    }

    /// The batch that is due at a place is at fault: where that ends the segment, or `None`, if something intact stands
    /// behind.
    fn fault<H: FileHandle>(
        &mut self,
        file: &H,
        scan: &mut Scan<'_, H>,
        indexes: &mut Indexes<H>,
        (at, due): (u64, Offset),
        fault: Fault,
    ) -> io::Result<Option<Ended>> {
        let left = scan.file_len() - at;
        let Some(reason) = self.judge(at, fault) else {
            self.torn(at, due, fault, left);
            return Ok(Some(Ended::Torn));
        };
        // A batch that begins with the offset that is due, or a later one that this segment can have.
        let resumed = next_intact(file, at, due..self.next_base.unwrap_or(Offset::new(i64::MAX)))?;
        let (bytes, to) =
            resumed.map_or((left, self.next_base), |(resumed, base)| (resumed - at, Some(base)));
        self.damaged(at, format_args!("{fault}; {reason}"), bytes, due, to);
        if let Fault::Discontinuous { expected, found, .. } = fault
            && self.may_have_gaps
            && found < expected
            && let Some((at, due)) = indexes.doubtful(self.len, false)
        {
            self.doubtful(at, due, to);
        }
        indexes.damaged(at + bytes, to);
        Ok(match resumed {
            Some((at, base)) => {
                scan.resume(at, base);
                None
            }
            None => Some(Ended::Damaged),
        })
    }

    /// Holds how it ended against the next segment, and against what its footer says.
    fn compare<H: FileHandle>(&mut self, ended: &Ended, indexes: &mut Indexes<H>) {
        let missing = self.next_base.filter(|_| self.may_have_gaps).and_then(|next| indexes.missing(next));
        let is_short = self.end(ended, missing);
        if self.may_have_gaps
            && let Ended::At(end) = *ended
            && let Some((at, due)) = indexes.doubtful(self.len, true)
        {
            self.doubtful(at, due, Some(end));
        }
        if is_short || matches!(ended, Ended::Torn) {
            indexes.damaged(u64::MAX, None);
        }
    }

    /// Gives the epoch that it should have, if anything says so.
    fn batch(&mut self, at: u64, header: &BatchHeader) -> Option<LeaderEpoch> {
        self.findings.summary.batches += 1;
        let known = self.expected.epochs.and_then(|epochs| epochs.of(header.base_offset));
        let found = header.leader_epoch;
        if let Some(epoch) = known.filter(|epoch| *epoch != found) {
            let fault = Fault::EpochOutOfOrder { lowest: epoch, highest: epoch, found };
            // Out of place is never an interrupted write.
            if let Some(reason) = self.judge(at, fault) {
                let bytes = header.total_size() as u64;
                let (from, to) = (header.base_offset, Some(header.next_offset()));
                let finding = Finding::new(Severity::Damage, &self.path, format_args!("{fault}; {reason}"));
                let dir = self.expected.survey.dir.clone();
                let need = Need::Epoch(dir, self.path.clone(), at, epoch);
                self.findings.add_with(finding.at(at).of_bytes(bytes).affecting(from, to), need);
            }
        }
        known
    }

    /// Why recovery would not cut this; `None` if it would.
    fn judge(&self, at: u64, fault: Fault) -> Option<crate::verdict::Reason> {
        let Durable { segment, pos, .. } = self.expected.durable;
        let evidence = Evidence::new(fault, (self.number, at), (segment, pos), self.expected.same_boot);
        match verdict(&evidence) {
            Verdict::Cut => None,
            Verdict::Offline(reason) => Some(reason),
        }
    }

    fn torn(&mut self, at: u64, due: Offset, fault: Fault, bytes: u64) {
        let later = self.expected.survey.segments.len() - 1 - self.number;
        let with = match later {
            0 => String::new(),
            later => format!(", and with it {later} segments behind"),
        };
        let what = format!("an interrupted write, which the next start cuts off{with}: {fault}");
        let finding = Finding::new(Severity::Interrupted, &self.path, what);
        self.findings.add(finding.at(at).of_bytes(bytes).affecting(due, None));
    }

    fn damaged(
        &mut self,
        at: u64,
        what: impl std::fmt::Display,
        bytes: u64,
        from: Offset,
        to: Option<Offset>,
    ) {
        self.has_gap = true;
        let finding = Finding::new(Severity::Damage, &self.path, what);
        let segment = self.expected.survey.segments[self.number].base;
        let cut = Need::Cut(self.expected.survey.dir.clone(), Place { offset: from, segment, at });
        self.findings.add_with(finding.at(at).of_bytes(bytes).affecting(from, to), cut);
    }

    /// A batch of those from here on has another offset than it was given, and nothing tells which.
    fn doubtful(&mut self, at: u64, due: Offset, to: Option<Offset>) {
        let what = "a batch has another offset than it was given: the footer does not tell this log";
        self.damaged(at, what, self.len - at, due, to);
    }

    fn pass_durable(&mut self, at: u64, due: Offset) {
        let durable = self.expected.durable;
        self.durable_seen |= (self.number, at, due) == (durable.segment, durable.pos, durable.next_offset);
    }

    /// Everything that can be read was read. `missing`: what says that there was more, so that what is missing at the
    /// end is no gap. Whether that is so.
    fn end(&mut self, ended: &Ended, missing: Option<Fault>) -> bool {
        let durable = self.expected.durable;
        if self.number == durable.segment
            && !self.durable_seen
            && !self.has_gap
            && matches!(ended, Ended::At(_))
        {
            let what = format!(
                "its slot says that offset {} is due at byte {} of {}, and no batch begins or ends there so",
                durable.next_offset,
                durable.pos,
                self.path.display()
            );
            let need = Need::Log(self.expected.survey.dir.clone());
            self.findings.damage(Path::new(SLOTS_NAME), what, need);
        }
        let (Ended::At(ends), Some(next_base)) = (ended, self.next_base) else { return false };
        let is_gap = self.may_have_gaps && *ends < next_base;
        if *ends == next_base || is_gap && missing.is_none() {
            return false;
        }
        let told = missing.filter(|_| is_gap);
        let fault = told.unwrap_or(Fault::Hole { ends: *ends, next_base });
        match self.judge(self.len, fault) {
            Some(reason) => {
                self.damaged(
                    self.len,
                    format_args!("{fault}; {reason}"),
                    0,
                    (*ends).min(next_base),
                    Some(next_base.max(*ends)),
                );
            }
            None => self.torn(self.len, *ends, fault, 0),
        }
        told.is_some()
    }
}

/// Bytes between two words about progress.
const TELL_EVERY: u64 = 4 * 1024 * 1024;
