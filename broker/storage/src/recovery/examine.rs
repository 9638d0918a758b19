//! The first step of a recovery: read what has to be read, change nothing.

use std::io;

use folio_record::{LeaderEpoch, Offset};

use super::indexes::{IndexPlan, Trust};
use super::sealed::{Footing, sealed_upto};
use super::survey::Durable;
use super::{Damage, PartitionReport, RecoveredSegment, Survey, Task, is_same_boot};
use crate::epochs::{EPOCHS_NAME, EPOCHS_SIZE_MAX, Epochs};
use crate::files::{FileHandle, Files, OpenMode, read_file};
use crate::index::Indexer;
use crate::scan::{BATCH_SIZE_LIMIT, HeaderWalk, Rules, Scan, Step};
use crate::verdict::{Fault, Reason};

/// What was found.
#[derive(Debug)]
pub(super) struct Examined {
    /// The segments up to the fault, if there is one; the last one only as far as it is good.
    pub(super) segments: Vec<ExaminedSegment>,
    /// The offset after the last good record.
    pub(super) end: Offset,
    pub(super) epochs: Epochs,
    /// The latest epoch that was ever reached.
    pub(super) epoch_max: LeaderEpoch,
    pub(super) fault: Option<FoundFault>,
    /// Number of the segment in which the durable point lies, and where.
    pub(super) durable_segment: usize,
    pub(super) durable_pos: u64,
}

/// One segment that was looked at.
#[derive(Debug)]
pub(super) struct ExaminedSegment {
    pub(super) recovered: RecoveredSegment,
    /// What its indexes should be, if anybody asked; until they are written.
    pub(super) indexes: Option<IndexPlan>,
    /// The state that they are in, once they are written.
    pub(super) indexer: Option<Indexer>,
}

/// A fault, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundFault {
    pub(super) segment: usize,
    pub(super) pos: u64,
    /// The offset that is due there.
    pub(super) offset: Offset,
    pub(super) fault: Fault,
}

pub(super) fn examine<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
) -> Result<(Examined, PartitionReport), Damage> {
    let mut examiner = Examiner {
        files,
        survey,
        task,
        trust: if is_same_boot(task.slot, files.boot()) { Trust::LastEntry } else { Trust::EveryEntry },
        report: PartitionReport { was_clean: survey.is_clean(task), ..PartitionReport::default() },
    };
    let mut examined = if examiner.report.was_clean { examiner.believe()? } else { examiner.verify()? };
    if examiner.report.epochs_rebuilt {
        examiner.learn_epochs(&mut examined)?;
    }
    examined.epoch_max = examined.epoch_max.max(examined.epochs.current());
    Ok((examined, examiner.report))
}

pub(super) struct Examiner<'a, F> {
    pub(super) files: &'a F,
    pub(super) survey: &'a Survey,
    pub(super) task: &'a Task<'a>,
    trust: Trust,
    pub(super) report: PartitionReport,
}

impl<F: Files> Examiner<'_, F> {
    /// After a clean stop: everything is as marker and slot say.
    fn believe(&mut self) -> Result<Examined, Damage> {
        let end = self.task.clean.map_or(Offset::ZERO, |clean| clean.next_offset);
        self.survey.check_start(self.task.slot, end)?;
        let mut segments = Vec::with_capacity(self.survey.segments.len());
        for (number, segment) in self.survey.segments.iter().enumerate() {
            let trust = match self.footing(number)? {
                Footing::Footer(sealed) => {
                    segments.push(ExaminedSegment::as_it_is(sealed));
                    continue;
                }
                Footing::Nothing => Trust::LastEntry,
                Footing::Log => Trust::Nothing,
            };
            // A file in the middle may have been taken away since: no marker names it.
            let next_base = self.survey.next_base(number);
            let due = next_base.unwrap_or(end);
            let mut plan = self.join(number, segment.len, due, trust)?;
            let recovered = RecoveredSegment {
                base: segment.base,
                len: segment.len,
                next_offset: due,
                max_timestamp: None,
                sealed_at: None,
                may_have_gaps: self.gaps(number)?,
            };
            if next_base.is_some() && trust == Trust::LastEntry {
                // Its indexes are what use will find them to be.
                segments.push(ExaminedSegment::as_it_is(recovered));
                continue;
            }
            if next_base.is_some() {
                plan.rolled();
            }
            segments.push(ExaminedSegment::new(recovered, plan));
        }
        let durable_segment = self.survey.segments.len().saturating_sub(1);
        let epochs = self.read_epochs()?;
        let epoch_max = self.task.slot.map_or(LeaderEpoch::NONE, |slot| slot.leader_epoch);
        Ok(Examined { segments, end, epochs, epoch_max, fault: None, durable_segment, durable_pos: 0 })
    }

    /// After anything else: read what lies above the durable point.
    fn verify(&mut self) -> Result<Examined, Damage> {
        let epochs = self.read_epochs()?;
        let slot_epoch = self.task.slot.map(|slot| slot.leader_epoch);
        let mut examined = Examined {
            segments: Vec::new(),
            end: self.task.slot.map_or(Offset::ZERO, |slot| slot.durable_next_offset),
            epoch_max: slot_epoch.unwrap_or(LeaderEpoch::NONE).max(epochs.current()),
            epochs,
            fault: None,
            durable_segment: 0,
            durable_pos: 0,
        };
        self.report.slot_missing = self.task.slot.is_none() && !self.survey.segments.is_empty();
        let Some(durable) = self.survey.durable(self.files, self.task.id, self.task.slot)? else {
            return Ok(examined);
        };
        // A slot may be lost or old where a footer is not: nothing is sealed before it is durable.
        let sealed = sealed_upto(self.files, self.survey, self.task.id)?.filter(|_| self.task.trusts_footers);
        let durable = sealed.filter(|sealed| sealed.segment > durable.segment).unwrap_or(durable);
        (examined.durable_segment, examined.durable_pos) = (durable.segment, durable.pos);
        // If epochs are lost, or may be behind, the batches say which there were; no later ones than the slot, which is
        // written before anything is appended under one.
        let is_unbounded = self.report.epochs_rebuilt && slot_epoch.is_none();
        let epoch_known = if is_unbounded { LeaderEpoch::new(i32::MAX) } else { examined.epoch_max };
        let mut epoch_min = LeaderEpoch::NONE;
        for number in 0..self.survey.segments.len() {
            let (segment, fault) = self.verify_segment(number, &durable, &mut epoch_min, epoch_known)?;
            let RecoveredSegment { len, next_offset, .. } = segment.recovered;
            examined.segments.push(segment);
            examined.end = next_offset;
            if let Some(fault) = fault {
                examined.fault = Some(FoundFault { segment: number, pos: len, offset: next_offset, fault });
                break;
            }
        }
        examined.epoch_max = examined.epoch_max.max(epoch_min);
        Ok(examined)
    }

    /// One segment, as far as it is good, and the fault that ends it. `epoch_min` is the epoch of the batch before.
    fn verify_segment(
        &mut self,
        number: usize,
        durable: &Durable,
        epoch_min: &mut LeaderEpoch,
        epoch_max: LeaderEpoch,
    ) -> Result<(ExaminedSegment, Option<Fault>), Damage> {
        let segment = self.survey.segments[number];
        let next_base = self.survey.next_base(number);
        let footing = if number < durable.segment { self.footing(number)? } else { Footing::Nothing };
        let trust = match footing {
            Footing::Footer(sealed) => return Ok((ExaminedSegment::as_it_is(sealed), None)),
            Footing::Nothing => self.trust,
            Footing::Log => Trust::Nothing,
        };
        let (len, mut end, mut plan, mut fault) = if number < durable.segment {
            let end = next_base.unwrap_or(segment.base);
            // The durable point has passed this segment, and takes both indexes with it when it does. But a start that
            // makes them anew may be interrupted.
            (segment.len, end, self.join(number, segment.len, end, trust)?, None)
        } else {
            let is_durable = number == durable.segment;
            let (from, due) = if is_durable { (durable.pos, durable.next_offset) } else { (0, segment.base) };
            self.scan(number, from, due, epoch_min, epoch_max)?
        };
        let may_have_gaps = self.gaps(number)?;
        if let Some(next_base) = next_base.filter(|next_base| fault.is_none() && *next_base != end) {
            if may_have_gaps && end < next_base {
                // Its last records went.
                end = next_base;
            } else {
                fault = Some(Fault::Hole { ends: end, next_base });
            }
        }
        if fault.is_none() && next_base.is_some() {
            plan.rolled();
        }
        let recovered = RecoveredSegment {
            base: segment.base,
            len,
            next_offset: end,
            max_timestamp: None,
            sealed_at: None,
            may_have_gaps,
        };
        Ok((ExaminedSegment::new(recovered, plan), fault))
    }

    /// Follows durable batches up to `upto`, where `due` is due. An index that does not lead there is forgotten;
    /// batches that do not are damage.
    fn join(&mut self, number: usize, upto: u64, due: Offset, trust: Trust) -> Result<IndexPlan, Damage> {
        let base = self.survey.segments[number].base;
        let interval = self.task.index_interval;
        let dir = &self.survey.dir;
        let mut plan = IndexPlan::resume(self.files, dir, base, self.task.uid(base), upto, trust, interval)?;
        let mut outcome = self.follow(number, &mut plan, upto, due)?;
        if outcome.is_err() {
            // Everything that the index vouched for is asked of the log itself.
            plan = plan.forget(interval);
            outcome = self.follow(number, &mut plan, upto, due)?;
        }
        match outcome {
            Ok(()) => Ok(plan),
            Err((at, end)) => {
                let fault = if at == upto {
                    Fault::Hole { ends: end, next_base: due }
                } else {
                    Fault::UnusableHeader { zero_chunk: false }
                };
                let is_last = self.survey.next_base(number).is_none();
                let reason = if is_last { Reason::BelowDurable } else { Reason::DurableLiesLater };
                Err(self.survey.broken(number, at, end, fault, reason))
            }
        }
    }

    /// Walks from where `plan` begins to `upto`; where it got to, if that is not what is due.
    fn follow(
        &mut self,
        number: usize,
        plan: &mut IndexPlan,
        upto: u64,
        due: Offset,
    ) -> Result<Result<(), (u64, Offset)>, Damage> {
        let log = self.open_log(number)?;
        let (from, mut end) = plan.start();
        let gaps_upto = if self.gaps(number)? { self.survey.next_base(number) } else { None };
        let is_next = |found: Offset, due: Offset| {
            found == due || gaps_upto.is_some_and(|upto| found > due && found <= upto)
        };
        let unreadable = |at, due, error: io::Error| self.survey.unreadable(number, at, due, &error);
        let mut walk = HeaderWalk::new(&log, from).map_err(|error| unreadable(from, end, error))?;
        while walk.at() < upto {
            let at = walk.at();
            let header = walk.next().map_err(|error| unreadable(at, end, error))?;
            // The batch that the last entry points at has to be the one that it names, and so on from there.
            match header.filter(|header| is_next(header.base_offset, end)) {
                Some(header) => {
                    end = header.next_offset();
                    plan.batch(at, &header);
                }
                None => {
                    self.report.bytes_walked += walk.bytes_read();
                    return Ok(Err((at, end)));
                }
            }
        }
        self.report.bytes_walked += walk.bytes_read();
        Ok(if walk.at() == upto && is_next(due, end) { Ok(()) } else { Err((walk.at(), end)) })
    }

    /// Whether offsets may be missing in a segment. The last one is never compacted.
    fn gaps(&self, number: usize) -> Result<bool, Damage> {
        if self.survey.next_base(number).is_none() {
            return Ok(false);
        }
        if self.task.trusts_footers {
            // A footer that is believed has been read by now, if there is one.
            return Ok(self.survey.segments[number].base < self.survey.compacted.gaps_below);
        }
        self.survey.may_have_gaps(self.files, self.task.id, number)
    }

    /// Verifies a segment from `from` to its end.
    fn scan(
        &mut self,
        number: usize,
        from: u64,
        due: Offset,
        epoch_min: &mut LeaderEpoch,
        epoch_max: LeaderEpoch,
    ) -> Result<(u64, Offset, IndexPlan, Option<Fault>), Damage> {
        if from == self.survey.segments[number].len {
            // A sync has confirmed every byte of it, so there is nothing that the cache could show otherwise.
            return Ok((from, due, self.join(number, from, due, self.trust)?, None));
        }
        let log = self.open_log(number)?;
        let unreadable = |at, due, error: io::Error| self.survey.unreadable(number, at, due, &error);
        // Before the first byte of it is read: also below the durable point, what counts is what the disk has.
        log.drop_cache().map_err(|error| unreadable(from, due, error))?;
        let mut plan = self.join(number, from, due, self.trust)?;
        let gaps_upto = if self.gaps(number)? { self.survey.next_base(number) } else { None };
        let rules = Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto, epoch_max };
        let mut scan =
            Scan::new(&log, from, due, *epoch_min, rules).map_err(|error| unreadable(from, due, error))?;
        let fault = loop {
            let (at, due) = (scan.at(), scan.expected());
            match scan.next().map_err(|error| unreadable(at, due, error))? {
                Step::Batch { at, batch } => {
                    *epoch_min = batch.header().leader_epoch;
                    plan.batch(at, batch.header());
                }
                Step::End => break None,
                Step::Fault(fault) => break Some(fault),
            }
        };
        self.report.bytes_scanned += scan.bytes_read();
        Ok((scan.at(), scan.expected(), plan, fault))
    }

    fn read_epochs(&mut self) -> Result<Epochs, Damage> {
        let path = self.survey.dir.join(EPOCHS_NAME);
        // One that cannot be read is as good as none: the batches have them all.
        let bytes = Damage::unless_out_of_files(&path, read_file(self.files, &path, EPOCHS_SIZE_MAX))?;
        // Without a slot nothing says how far the file is behind; but a log without batches has no later epoch.
        let is_latest = |epochs: &Epochs| match self.task.slot {
            Some(slot) => slot.leader_epoch <= epochs.current(),
            None => self.report.was_clean || self.survey.segments.is_empty(),
        };
        Ok(match bytes.map(|bytes| Epochs::decode(&bytes)) {
            Some(Ok(epochs)) if is_latest(&epochs) => epochs,
            // The slot was written first, and what was to follow was not, or not yet; or there is no slot to tell.
            Some(Ok(epochs)) => {
                self.report.epochs_rebuilt = true;
                epochs
            }
            // Missing or damaged.
            _ => {
                self.report.epochs_rebuilt = true;
                Epochs::from_log([])
            }
        })
    }

    /// Opens the log of segment `number`.
    pub(super) fn open_log(&self, number: usize) -> Result<F::File, Damage> {
        let base = self.survey.segments[number].base;
        let opened = self.files.open(&self.survey.log_path(number), OpenMode::Read);
        opened.map_err(|error| self.survey.unreadable(number, 0, base, &error))
    }
}

impl ExaminedSegment {
    /// Whatever its indexes are.
    fn as_it_is(recovered: RecoveredSegment) -> Self {
        Self { recovered, indexes: None, indexer: None }
    }

    fn new(recovered: RecoveredSegment, plan: IndexPlan) -> Self {
        let max_timestamp = plan.indexer().max_timestamp().map(|max| max.timestamp);
        Self {
            recovered: RecoveredSegment { max_timestamp, ..recovered },
            indexes: Some(plan),
            indexer: None,
        }
    }
}
