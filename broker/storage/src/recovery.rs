//! Recovery of one partition: from the files in its directory to a log that can be appended to, or to the reason
//! why it cannot.
//!
//! After a clean stop nothing is scanned: sizes agree with the clean marker, and of the log at most the page behind
//! its last index entry is read. Otherwise everything above the durable point is read back from the disk, not from
//! the cache, and verified; below it, segments are only checked to join one another.
//!
//! It goes in three steps: *examine* reads, and changes nothing; the *verdict* says whether what was found can be
//! explained by a crash; only then *repair* writes. Invariants:
//! * Nothing at all is changed in a partition that goes offline.
//! * No byte below the durable point is ever cut, and none above without a copy (or a word that there was no room).
//! * Recovering twice is recovering once: a crash in here is recovered from like any other.
//! * An index never makes a partition fail. One that is missing, damaged, stale or another's is built anew; that of a
//!   log that has lost its end tells so.

mod below;
mod damage;
mod epochs;
mod examine;
mod indexes;
mod producers;
mod repair;
mod sealed;
mod survey;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use folio_record::{LeaderEpoch, Offset, Timestamp};

use crate::clean::CleanPartition;
use crate::compacted::Compacted;
use crate::epochs::Epochs;
use crate::files::{Boot, Files, is_full};
use crate::index::{Indexer, SegmentUid};
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::producers::Producers;
use crate::quarantine::Note;
use crate::slots::{Slot, SlotUpdate};
use crate::verdict::{Evidence, Fault, Verdict, verdict};

pub(crate) use below::{below, cannot_be_cleared, cannot_be_finished};
pub use damage::Damage;
use examine::Examined;
use producers::Remembered;
pub(crate) use repair::{move_away, move_segments, remove_expired};
pub(crate) use sealed::{footer, sealed_upto};
pub(crate) use survey::{Durable, Survey, read_compacted, survey, survey_all};

/// What a log is like after recovery; whoever opens it takes this at its word.
#[derive(Debug, Clone)]
pub struct RecoveredLog {
    /// Its segments, oldest first. None: nothing was ever appended.
    pub segments: Vec<RecoveredSegment>,
    /// The state of the last segment's indexes, whose files agree with it. None although there are segments: the log
    /// may only be read.
    pub indexer: Option<Indexer>,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The next offset to be assigned. Everything below it is on stable storage.
    pub log_end: Offset,
    /// Its epochs; the last one is appended under.
    pub epochs: Epochs,
    /// Who numbered its batches, as of its end.
    pub producers: Producers,
    /// The ends that there are snapshots of those of, oldest first.
    pub snapshots: Vec<Offset>,
    /// How far it was compacted.
    pub compacted: Compacted,
    /// The run before was killed: there may be room reserved behind its end that nobody knows of.
    pub may_have_reserve: bool,
    /// What there was no room to do.
    pub remains: Remains,
    /// Files below its start that there was no room to take away, in the order in which they may go.
    pub left_below: Vec<PathBuf>,
}

/// What a start has found no room to take away, and nothing may be appended before. Nobody reads it meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Remains {
    /// Files of segments that lie behind a torn write: they go to quarantine, the first one first.
    pub segments: Vec<(PathBuf, Note)>,
    /// Files to be removed: what is appended could be taken for a part of them, or they for a part of that.
    pub files: Vec<PathBuf>,
    /// Whether bytes lie behind the end of the last segment's log, be it in the file or in its last block.
    pub behind_end: bool,
    /// Closed segments with index files that are not what they should be. No append waits for these: they are made anew
    /// once there is room, and until then no clean marker speaks of the log.
    pub indexes: Vec<Offset>,
}

/// One segment of a [`RecoveredLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredSegment {
    /// The offset in its name.
    pub base: Offset,
    /// Bytes of its log.
    pub len: u64,
    /// The offset after its last record: the base of the next segment.
    pub next_offset: Offset,
    /// The latest timestamp in it, if it was read.
    pub max_timestamp: Option<Timestamp>,
    /// When it was sealed, if its footer vouches for it.
    pub sealed_at: Option<Timestamp>,
    /// Offsets may be missing in it: it was compacted.
    pub may_have_gaps: bool,
}

/// What recovery found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionReport {
    /// The clean marker vouched for it.
    pub was_clean: bool,
    /// There was no slot to tell how far it was durable, although there are segments.
    pub slot_missing: bool,
    /// Bytes of log that were read and verified.
    pub bytes_scanned: u64,
    /// Bytes of log that were read to follow headers.
    pub bytes_walked: u64,
    /// What was cut off, if anything.
    pub cut: Option<Cut>,
    /// Segments whose indexes had to be mended or built anew.
    pub indexes_mended: u64,
    /// Epochs had to be looked up in the batches.
    pub epochs_rebuilt: bool,
    /// Snapshots of producers that were damaged, or of an end that the log has not reached, and were removed.
    pub snapshots_removed: u64,
}

/// A torn write that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The log file, relative to the data directory.
    pub file: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// The first offset that is gone.
    pub offset: Offset,
    /// How it showed.
    pub fault: Fault,
    /// Bytes cut from that file.
    pub bytes: u64,
    /// Whole batches among them.
    pub intact_batches: u64,
    /// The copy, unless there was no room for one.
    pub kept: Option<PathBuf>,
    /// Where later segments are now, moved away whole.
    pub segments_moved: Vec<PathBuf>,
}

/// What recovery has to know of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    /// Which one.
    pub(crate) id: PartitionId,
    /// Its last known durable point.
    pub(crate) slot: Option<&'a Slot>,
    /// What the clean marker says of it.
    pub(crate) clean: Option<&'a CleanPartition>,
    /// Bytes between index entries, for an index that is built anew.
    pub(crate) index_interval: u32,
    /// Whether what is sealed is believed; otherwise all of it is read again.
    pub(crate) trusts_footers: bool,
    /// How many producers are remembered.
    pub(crate) producers_max: usize,
    /// What lies behind the end of a log could not be cleared, so that nothing may be appended; all of it is looked at,
    /// and nothing is changed.
    pub(crate) uncleared: Option<&'a Damage>,
    /// There was no room to clear it, so that nothing may be appended before it is.
    pub(crate) is_to_be_cleared: bool,
    /// The time.
    pub(crate) now: Timestamp,
}

/// Why there is no recovered log.
#[derive(Debug)]
pub(crate) enum RecoveryError {
    /// This partition is offline; the others are not concerned.
    Offline(Damage),
    /// Something could not be written: the disk's fault, and everybody's concern.
    Io { path: PathBuf, source: io::Error },
}

/// Recovers one partition. If it was not closed cleanly, the caller has synced its files before. The segments below the
/// start of the log stay: [`remove_expired`].
pub(crate) fn recover<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
) -> Result<(RecoveredLog, PartitionReport), RecoveryError> {
    let survey = &survey.without_expired(task.slot);
    let (mut examined, mut report) = examine::examine(files, survey, task).map_err(RecoveryError::Offline)?;
    // Asked before anything is cut: it reads what nobody else has, and may find that the partition is to stay as it is.
    let remembered = producers::remember(files, survey, &examined, task).map_err(RecoveryError::Offline)?;
    report.bytes_walked += remembered.bytes_walked;
    report.snapshots_removed = remembered.useless.len() as u64;
    if let Some(damage) = task.uncleared {
        let fault = examined.fault.map(|found| (survey.log_path(found.segment), found.pos, found.offset));
        return Err(RecoveryError::Offline(damage.or_earlier(fault)));
    }
    let end = good_end(survey, &examined);
    match mend(files, survey, task, &mut examined, &mut report, &remembered.useless) {
        Ok(remains) => Ok((examined.into_log(survey, task, &report, remembered, remains), report)),
        // What was done so far the next start finds done.
        Err(RecoveryError::Io { path, source }) if is_full(&source) => {
            let (log, position, offset) = end;
            Err(RecoveryError::Offline(Damage::NoRoom { file: path, log, position, offset }))
        }
        Err(error) => Err(error),
    }
}

/// Where the good part of a log ends: file, byte and offset.
fn good_end(survey: &Survey, examined: &Examined) -> (PathBuf, u64, Offset) {
    match examined.fault {
        Some(found) => (survey.log_path(found.segment), found.pos, found.offset),
        None => {
            let last = survey.segments.last();
            let (base, len) = last.map_or((examined.end, 0), |last| (last.base, last.len));
            (SegmentFile::Log.path(&survey.dir, base), len, examined.end)
        }
    }
}

/// Writes what the recovery of an examined partition has to write: cuts what is torn, makes indexes anew, removes
/// garbage. Gives what of it found no room, and can wait for the next append.
fn mend<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
    examined: &mut Examined,
    report: &mut PartitionReport,
    useless: &[PathBuf],
) -> Result<Remains, RecoveryError> {
    let mut remains = Remains { behind_end: task.is_to_be_cleared, ..Remains::default() };
    if let Some(found) = examined.fault {
        let durable = (examined.durable_segment, examined.durable_pos);
        let same_boot = is_same_boot(task.slot, files.boot());
        let evidence = Evidence::new(found.fault, (found.segment, found.pos), durable, same_boot);
        match verdict(&evidence) {
            Verdict::Cut => {
                repair::check_tail(files, survey, found).map_err(RecoveryError::Offline)?;
                let (cut, left) = repair::cut(files, survey, task, found)?;
                report.cut = Some(cut);
                remains.segments = left.segments;
                remains.behind_end |= left.behind_end;
            }
            Verdict::Offline(reason) => {
                let damage = survey.broken(found.segment, found.pos, found.offset, found.fault, reason);
                return Err(RecoveryError::Offline(damage));
            }
        }
    }
    report.indexes_mended = repair::write_indexes(files, survey, examined, &mut remains)?;
    remains.files.extend(repair::remove_garbage(files, survey, useless)?);
    Ok(remains)
}

/// Whether the machine has provably not lost power since the run that wrote the slot.
pub(crate) fn is_same_boot(slot: Option<&Slot>, boot: Boot) -> bool {
    slot.is_some_and(|slot| Boot { id: slot.boot_id, mount: slot.mount_id }.is_surely(&boot))
}

impl Task<'_> {
    fn uid(&self, base: Offset) -> SegmentUid {
        SegmentUid::new(self.id, base)
    }
}

impl Remains {
    /// Whether nothing is in the way of an append.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.files.is_empty() && !self.behind_end
    }

    /// What a slot says of the boot while there are any: a later start has to look for them as after a power cut, of
    /// which they may be.
    pub(crate) fn unsure(boot: Boot) -> Boot {
        Boot { mount: 0, ..boot }
    }
}

impl RecoveredLog {
    /// What its slot has to say: all of it is on stable storage.
    pub(crate) fn slot(&self, now: Timestamp, boot: Boot, run_id: u64) -> SlotUpdate {
        let boot = if self.remains.is_empty() { boot } else { Remains::unsure(boot) };
        let last = self.segments.last();
        SlotUpdate {
            leader_epoch: self.epochs.current(),
            durable_segment_base: last.map_or(self.log_end, |segment| segment.base),
            durable_pos: last.map_or(0, |segment| segment.len),
            durable_next_offset: self.log_end,
            log_start: self.log_start,
            visible: self.log_end,
            written_at: now,
            boot,
            run_id,
        }
    }
}

impl Examined {
    fn into_log(
        self,
        survey: &Survey,
        task: &Task<'_>,
        report: &PartitionReport,
        remembered: Remembered,
        remains: Remains,
    ) -> RecoveredLog {
        let first = self.segments.first().map_or(self.end, |segment| segment.recovered.base);
        let log_start = task.slot.map_or(first, |slot| slot.log_start);
        let mut epochs = self.epochs;
        let epoch = self.epoch_max.get().max(0);
        // What was lost, if anything was, was written under an epoch that nobody shall go on with.
        let epoch = if report.was_clean { epoch } else { epoch.saturating_add(1) };
        if LeaderEpoch::new(epoch) > epochs.current() {
            epochs.begin(LeaderEpoch::new(epoch), self.end);
        }
        RecoveredLog {
            indexer: self.segments.last().and_then(|segment| segment.indexer.clone()),
            segments: self.segments.iter().map(|segment| segment.recovered).collect(),
            log_start,
            log_end: self.end,
            epochs,
            producers: remembered.producers,
            snapshots: remembered.snapshots,
            compacted: survey.compacted.below(self.end),
            may_have_reserve: !report.was_clean,
            remains,
            left_below: Vec::new(),
        }
    }
}
