//! Which files a partition's directory holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use folio_record::Offset;

use super::sealed::footer;
use super::{Damage, RecoveryError, Task};
use crate::compacted::{COMPACTED_SIZE_MAX, Compacted, compacted_path};
use crate::files::{EntryKind, Files, read_file};
use crate::index::SegmentUid;
use crate::partition::PartitionId;
use crate::partition_files::{PartitionFile, SegmentFile};
use crate::replacement::{Replacement, cleaned_path, finish_replacements};
use crate::slots::Slot;
use crate::verdict::{Fault, Reason};

/// The files of a partition, as far as their names and lengths tell.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Log files, oldest first.
    pub(crate) segments: Vec<SurveyedSegment>,
    /// The ends of the log that there are snapshots of producers of, oldest first.
    pub(crate) snapshots: Vec<Offset>,
    /// Garbage: what something left unfinished, and indexes whose log is gone.
    pub(crate) garbage: Vec<PathBuf>,
    /// Files that this build does not make. A partition with any is not recovered.
    pub(crate) foreign: Vec<PathBuf>,
    /// The numbers of replacements that were interrupted.
    pub(crate) replacements: BTreeSet<u64>,
    /// A replacement that there is no room to finish. Nothing is written while there is one.
    pub(crate) unfinished: Option<Unfinished>,
    /// How far it was compacted. Nothing, if the file that says so is missing or damaged.
    pub(crate) compacted: Compacted,
}

/// A replacement that there is no room to finish.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// Its intent.
    pub(crate) intent: PathBuf,
    /// Of the segment that begins here the indexes may be those of the one that is to take its place.
    misled: Option<Offset>,
}

/// A log file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SurveyedSegment {
    /// The offset in its name.
    pub(crate) base: Offset,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// Where the durable point lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Durable {
    /// In the segment of this number.
    pub(crate) segment: usize,
    /// At this byte of it.
    pub(crate) pos: u64,
    /// The offset that is due there.
    pub(crate) next_offset: Offset,
}

/// Looks at a partition's directory, which has to be one that this build understands, and finishes what replacement of
/// segments was interrupted in it, if there is room.
pub(crate) fn survey<F: Files>(files: &F, dir: &Path) -> Result<Survey, RecoveryError> {
    let mut survey = survey_all(files, dir).map_err(RecoveryError::Offline)?;
    if let Some(file) = survey.foreign.first() {
        return Err(RecoveryError::Offline(Damage::UnknownFile { file: file.clone() }));
    }
    if !survey.replacements.is_empty() {
        let left = finish_replacements(files, dir, &survey.replacements)?;
        survey = survey_all(files, dir).map_err(RecoveryError::Offline)?;
        if let Some((intent, replacement)) = left {
            survey.stays(files, intent, &replacement).map_err(RecoveryError::Offline)?;
        }
    }
    Ok(survey)
}

/// Looks at a partition's directory, whatever is in it.
pub(crate) fn survey_all<F: Files>(files: &F, dir: &Path) -> Result<Survey, Damage> {
    // Of a segment the length of its log has to be known; of its indexes, only of those that are looked into.
    let is_log =
        |name: &str| matches!(PartitionFile::parse(name), Some(PartitionFile::Segment(_, SegmentFile::Log)));
    let entries = files.list_lengths(dir, &is_log).map_err(|error| Damage::unreadable(dir, &error))?;
    let mut logs = BTreeMap::new();
    let mut indexes = Vec::new();
    let (mut snapshots, mut garbage, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    let (mut replacements, mut compacted) = (BTreeSet::new(), Compacted::default());
    for entry in entries {
        let path = || dir.join(&entry.name);
        match PartitionFile::parse(&entry.name).filter(|_| entry.kind == EntryKind::File) {
            Some(PartitionFile::Segment(base, SegmentFile::Log)) => drop(logs.insert(base, entry.len)),
            Some(PartitionFile::Segment(base, _)) => indexes.push((base, entry.name)),
            Some(PartitionFile::Unfinished) => garbage.push(path()),
            Some(PartitionFile::Snapshot(end)) => snapshots.push(end),
            Some(PartitionFile::Meta | PartitionFile::Epochs) => {}
            Some(PartitionFile::Compacted) => compacted = believed_compacted(files, dir)?,
            Some(PartitionFile::Replacement(number)) => drop(replacements.insert(number)),
            None => foreign.push(path()),
        }
    }
    let lonely = indexes.into_iter().filter(|(base, _)| !logs.contains_key(base));
    garbage.extend(lonely.map(|(_, name)| dir.join(name)));
    snapshots.sort_unstable();
    let segments = logs.into_iter().map(|(base, len)| SurveyedSegment { base, len }).collect();
    let (dir, unfinished) = (dir.to_owned(), None);
    Ok(Survey { dir, segments, snapshots, garbage, foreign, replacements, unfinished, compacted })
}

/// Reads how far a log was compacted; nothing, if nothing says so.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn read_compacted<F: Files>(files: &F, dir: &Path) -> Result<Compacted, String> {
    let bytes =
        read_file(files, &compacted_path(dir), COMPACTED_SIZE_MAX).map_err(|error| error.to_string())?;
    bytes.map_or(Ok(Compacted::default()), |bytes| {
        Compacted::decode(&bytes).map_err(|error| error.to_string())
    })
}

/// The same; nothing also if it cannot be told, for footers say where offsets may be missing, too.
fn believed_compacted<F: Files>(files: &F, dir: &Path) -> Result<Compacted, Damage> {
    let path = compacted_path(dir);
    let bytes = Damage::unless_out_of_files(&path, read_file(files, &path, COMPACTED_SIZE_MAX))?;
    Ok(bytes.and_then(|bytes| Compacted::decode(&bytes).ok()).unwrap_or_default())
}

impl Survey {
    /// Without the segments that lie wholly below the start of the log. Their deletion was decided, and any of them
    /// may have come back with a crash, with or without the ones between.
    pub(crate) fn without_expired(&self, slot: Option<&Slot>) -> Self {
        Self {
            dir: self.dir.clone(),
            segments: self.segments[self.count_expired(slot)..].to_vec(),
            snapshots: self.snapshots.clone(),
            garbage: self.garbage.clone(),
            foreign: self.foreign.clone(),
            replacements: self.replacements.clone(),
            unfinished: self.unfinished.clone(),
            compacted: self.compacted,
        }
    }

    /// The files of the segments that lie wholly below the start of the log, in the order in which they may go.
    pub(crate) fn expired(&self, slot: Option<&Slot>) -> Vec<PathBuf> {
        let expired = &self.segments[..self.count_expired(slot)];
        let files = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::Log];
        expired.iter().flat_map(|segment| files.map(|file| file.path(&self.dir, segment.base))).collect()
    }

    fn count_expired(&self, slot: Option<&Slot>) -> usize {
        let start = slot.map_or(Offset::ZERO, |slot| slot.log_start);
        self.segments.windows(2).take_while(|pair| pair[1].base <= start).count()
    }

    /// Whether offsets may be missing in segment `number` of the log of `id`: compaction has come so far, or its footer
    /// says so.
    pub(crate) fn may_have_gaps<F: Files>(
        &self,
        files: &F,
        id: PartitionId,
        number: usize,
    ) -> Result<bool, Damage> {
        let base = self.segments[number].base;
        if base < self.compacted.gaps_below {
            return Ok(true);
        }
        let footer = footer(files, &self.dir, base, SegmentUid::new(id, base))?;
        Ok(footer.is_some_and(|footer| footer.has_gaps))
    }

    /// As it is while `replacement` is not finished: as long as the new log has not taken its name, the old segments
    /// count, all of which are there then; else those of them that are still there do not.
    fn stays<F: Files>(
        &mut self,
        files: &F,
        intent: PathBuf,
        replacement: &Replacement,
    ) -> Result<(), Damage> {
        let new = cleaned_path(&self.dir, replacement.base, SegmentFile::Log);
        let is_new_to_come = files.entry(&new).map_err(|error| Damage::unreadable(&new, &error))?.is_some();
        if !is_new_to_come {
            self.segments.retain(|segment| !replacement.old[1..].contains(&segment.base));
        }
        let misled = is_new_to_come.then_some(replacement.base);
        self.unfinished = Some(Unfinished { intent, misled });
        Ok(())
    }

    /// Whether the indexes of the segment at `base` may be those of another.
    pub(super) fn is_misled(&self, base: Offset) -> bool {
        self.unfinished.as_ref().is_some_and(|unfinished| unfinished.misled == Some(base))
    }

    /// As it is once `replacement` is finished.
    pub(crate) fn finished(&mut self, replacement: &Replacement) {
        let is_new = |path: &PathBuf| {
            SegmentFile::ALL.iter().any(|file| *path == cleaned_path(&self.dir, replacement.base, *file))
        };
        let is_old = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(PartitionFile::parse);
            matches!(name, Some(PartitionFile::Segment(base, _)) if replacement.old.contains(&base))
        };
        self.garbage.retain(|path| !is_new(path) && !is_old(path));
        self.segments.retain(|segment| !replacement.old.contains(&segment.base));
        let new = SurveyedSegment { base: replacement.base, len: replacement.files[0].len };
        let place = self.segments.partition_point(|segment| segment.base < new.base);
        self.segments.insert(place, new);
    }

    /// The log file of segment `number`.
    pub(crate) fn log_path(&self, number: usize) -> PathBuf {
        SegmentFile::Log.path(&self.dir, self.segments[number].base)
    }

    /// The base of the segment after `number`.
    pub(crate) fn next_base(&self, number: usize) -> Option<Offset> {
        self.segments.get(number + 1).map(|segment| segment.base)
    }

    /// Finds the durable point among the segments. `None`: there is no log, and there need not be one.
    pub(crate) fn durable<F: Files>(
        &self,
        files: &F,
        id: PartitionId,
        slot: Option<&Slot>,
    ) -> Result<Option<Durable>, Damage> {
        let segments = &self.segments;
        let Some(slot) = slot else {
            return Ok(segments.first().map(|first| Durable { segment: 0, pos: 0, next_offset: first.base }));
        };
        // Nothing that was durable is to be read any more: retention may have taken the last segment that the slot
        // knows of, and the power the name of the next.
        if segments.is_empty() && slot.durable_next_offset == slot.log_start {
            return Ok(None);
        }
        let base = slot.durable_segment_base;
        // The durable point may be the very end of a segment that retention has taken: that is where the next one
        // begins.
        if let Some(first) = segments.first()
            && base < first.base
            && first.base == slot.durable_next_offset
            && first.base <= slot.log_start
        {
            return Ok(Some(Durable { segment: 0, pos: 0, next_offset: first.base }));
        }
        let found = segments.iter().position(|segment| segment.base == base);
        // The beginning of a segment is where it was, whatever became of the rest.
        let may_be_gone = found.is_none() || slot.durable_pos > 0;
        if may_be_gone && let Some(durable) = self.behind_compacted(files, id, slot)? {
            return Ok(Some(durable));
        }
        let segment = found.ok_or_else(|| self.missing(base, slot.durable_next_offset.min(base)))?;
        self.check_start(Some(slot), slot.durable_next_offset)?;
        let len = segments[segment].len;
        if len < slot.durable_pos {
            let fault = Fault::ShortFile { len, durable: slot.durable_pos };
            return Err(self.broken(segment, len, base, fault, Reason::BelowDurable));
        }
        Ok(Some(Durable { segment, pos: slot.durable_pos, next_offset: slot.durable_next_offset }))
    }

    /// Whether the log, which ends at `end`, begins where the slot says or before: nothing goes that it does not say
    /// first.
    pub(super) fn check_start(&self, slot: Option<&Slot>, end: Offset) -> Result<(), Damage> {
        let Some(Slot { log_start: start, .. }) = slot.copied() else { return Ok(()) };
        let first = self.segments.first().map_or(end, |segment| segment.base);
        if first > start { Err(self.missing(start, start)) } else { Ok(()) }
    }

    /// The end of the segment that holds an old durable point, if compaction has put it in the place of the one that
    /// the slot names. No segment is compacted before a later durable point is on the disk; but of that one's two
    /// copies the newer one may have been lost.
    fn behind_compacted<F: Files>(
        &self,
        files: &F,
        id: PartitionId,
        slot: &Slot,
    ) -> Result<Option<Durable>, Damage> {
        let behind = self.segments.partition_point(|segment| segment.base <= slot.durable_segment_base);
        let Some(number) = behind.checked_sub(1) else { return Ok(None) };
        let (base, Some(next_base)) = (self.segments[number].base, self.next_base(number)) else {
            return Ok(None);
        };
        let footer = footer(files, &self.dir, base, SegmentUid::new(id, base))?;
        let is_covered = footer.is_some_and(|footer| {
            footer.has_gaps && footer.next_offset == next_base && slot.durable_next_offset <= next_base
        });
        Ok(is_covered.then_some(Durable { segment: number + 1, pos: 0, next_offset: next_base }))
    }

    /// The segment at `base`, from which `offset` on is affected, is not there.
    fn missing(&self, base: Offset, offset: Offset) -> Damage {
        let file = SegmentFile::Log.path(&self.dir, base);
        Damage::Log { file, position: 0, offset, fault: Fault::MissingFile, reason: Reason::BelowDurable }
    }

    /// There is damage in segment `number`.
    pub(crate) fn broken(
        &self,
        number: usize,
        position: u64,
        offset: Offset,
        fault: Fault,
        reason: Reason,
    ) -> Damage {
        Damage::Log { file: self.log_path(number), position, offset, fault, reason }
    }

    /// The disk does not give back what segment `number` has at `position`.
    pub(super) fn unreadable(
        &self,
        number: usize,
        position: u64,
        offset: Offset,
        error: &io::Error,
    ) -> Damage {
        let file = self.log_path(number);
        Damage::out_of_files(&file, error).unwrap_or_else(|| Damage::UnreadableLog {
            file,
            position,
            offset,
            error: error.to_string(),
        })
    }

    /// Whether the clean marker and the slot describe exactly what is here.
    pub(crate) fn is_clean(&self, task: &Task<'_>) -> bool {
        let Some(clean) = task.clean else { return false };
        let (base, len) =
            self.segments.last().map_or((clean.next_offset, 0), |active| (active.base, active.len));
        let is_as_marked = clean.active_base == base && clean.log_len == len;
        let is_as_flushed = task.slot.map_or(len == 0 && self.segments.len() <= 1, |slot| {
            (slot.durable_segment_base, slot.durable_pos, slot.durable_next_offset)
                == (base, len, clean.next_offset)
        });
        is_as_marked && is_as_flushed
    }
}
