//! Which files a partition's directory holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use folio_record::Offset;

use super::{Damage, Task};
use crate::files::{EntryKind, Files};
use crate::partition_files::{PartitionFile, SegmentFile};
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
    /// In the segment of this number,
    pub(crate) segment: usize,
    /// at this byte,
    pub(crate) pos: u64,
    /// where this offset is due.
    pub(crate) next_offset: Offset,
}

/// Looks at a partition's directory, which has to be one that this build understands.
pub(crate) fn survey<F: Files>(files: &F, dir: &Path) -> Result<Survey, Damage> {
    let survey = survey_all(files, dir)?;
    match survey.foreign.first() {
        Some(file) => Err(Damage::UnknownFile { file: file.clone() }),
        None => Ok(survey),
    }
}

/// Looks at a partition's directory, whatever is in it.
pub(crate) fn survey_all<F: Files>(files: &F, dir: &Path) -> Result<Survey, Damage> {
    let entries = files.list(dir).map_err(|error| Damage::unreadable(dir, &error))?;
    let mut logs = BTreeMap::new();
    let mut indexes = Vec::new();
    let (mut snapshots, mut garbage, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let path = dir.join(&entry.name);
        match PartitionFile::parse(&entry.name).filter(|_| entry.kind == EntryKind::File) {
            Some(PartitionFile::Segment(base, SegmentFile::Log)) => drop(logs.insert(base, entry.len)),
            Some(PartitionFile::Segment(base, _)) => indexes.push((base, path)),
            Some(PartitionFile::Unfinished) => garbage.push(path),
            Some(PartitionFile::Snapshot(end)) => snapshots.push(end),
            Some(PartitionFile::Meta | PartitionFile::Epochs) => {}
            // A replacement that was under way has to be finished by a build that knows how.
            Some(PartitionFile::Replacement(_)) | None => foreign.push(path),
        }
    }
    garbage.extend(indexes.into_iter().filter(|(base, _)| !logs.contains_key(base)).map(|(_, path)| path));
    snapshots.sort_unstable();
    let segments = logs.into_iter().map(|(base, len)| SurveyedSegment { base, len }).collect();
    Ok(Survey { dir: dir.to_owned(), segments, snapshots, garbage, foreign })
}

impl Survey {
    /// Without the segments that lie wholly below the start of the log. Their deletion was decided, and any of them
    /// may have come back with a crash, with or without the ones between.
    pub(crate) fn without_expired(&self, slot: Option<&Slot>) -> Self {
        let start = slot.map_or(Offset::ZERO, |slot| slot.log_start);
        let expired = self.segments.windows(2).take_while(|pair| pair[1].base <= start).count();
        let mut garbage = self.garbage.clone();
        for segment in &self.segments[..expired] {
            for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::Log] {
                garbage.push(file.path(&self.dir, segment.base));
            }
        }
        let (segments, foreign) = (self.segments[expired..].to_vec(), self.foreign.clone());
        Self { dir: self.dir.clone(), segments, snapshots: self.snapshots.clone(), garbage, foreign }
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
    pub(crate) fn durable(&self, slot: Option<&Slot>) -> Result<Option<Durable>, Damage> {
        let segments = &self.segments;
        let Some(slot) = slot else {
            return Ok(segments.first().map(|first| Durable { segment: 0, pos: 0, next_offset: first.base }));
        };
        if segments.is_empty() && slot.durable_pos == 0 && slot.durable_next_offset == slot.log_start {
            return Ok(None);
        }
        let base = slot.durable_segment_base;
        // The durable point may be the very end of a segment that retention has taken: that is where the next one begins.
        if let Some(first) = segments.first()
            && base < first.base
            && first.base == slot.durable_next_offset
            && first.base <= slot.log_start
        {
            return Ok(Some(Durable { segment: 0, pos: 0, next_offset: first.base }));
        }
        let found = segments.iter().position(|segment| segment.base == base);
        let segment = found.ok_or_else(|| self.missing(base, slot.durable_next_offset.min(base)))?;
        if segments[0].base > slot.log_start {
            return Err(self.missing(slot.log_start, slot.log_start));
        }
        let len = segments[segment].len;
        if len < slot.durable_pos {
            let fault = Fault::ShortFile { len, durable: slot.durable_pos };
            return Err(self.broken(segment, len, base, fault, Reason::BelowDurable));
        }
        Ok(Some(Durable { segment, pos: slot.durable_pos, next_offset: slot.durable_next_offset }))
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
