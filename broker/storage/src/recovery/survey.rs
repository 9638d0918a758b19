//! Which files a partition's directory holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use folio_record::Offset;

use super::{Damage, Task};
use crate::files::{EntryKind, Files};
use crate::partition_files::{PartitionFile, SegmentFile};

/// The files of a partition, as far as their names and lengths tell.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Log files, oldest first.
    pub(crate) segments: Vec<SurveyedSegment>,
    /// Garbage: what something left unfinished, and indexes whose log is gone.
    pub(crate) garbage: Vec<PathBuf>,
}

/// A log file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SurveyedSegment {
    /// The offset in its name.
    pub(crate) base: Offset,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// Looks at a partition's directory.
pub(crate) fn survey<F: Files>(files: &F, dir: &Path) -> Result<Survey, Damage> {
    let entries = files.list(dir).map_err(|error| Damage::unreadable(dir, &error))?;
    let mut logs = BTreeMap::new();
    let mut indexes = Vec::new();
    let mut garbage = Vec::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        match PartitionFile::parse(&entry.name).filter(|_| entry.kind == EntryKind::File) {
            Some(PartitionFile::Segment(base, SegmentFile::Log)) => drop(logs.insert(base, entry.len)),
            Some(PartitionFile::Segment(base, _)) => indexes.push((base, path)),
            Some(PartitionFile::Unfinished) => garbage.push(path),
            Some(PartitionFile::Meta | PartitionFile::Epochs | PartitionFile::Snapshot(_)) => {}
            // A replacement that was under way has to be finished by a build that knows how.
            Some(PartitionFile::Replacement(_)) | None => return Err(Damage::UnknownFile { file: path }),
        }
    }
    garbage.extend(indexes.into_iter().filter(|(base, _)| !logs.contains_key(base)).map(|(_, path)| path));
    let segments = logs.into_iter().map(|(base, len)| SurveyedSegment { base, len }).collect();
    Ok(Survey { dir: dir.to_owned(), segments, garbage })
}

impl Survey {
    /// Without the segments that lie wholly below the start of the log. Their deletion was decided, and any of them
    /// may have come back with a crash, with or without the ones between.
    pub(crate) fn without_expired(&self, task: &Task<'_>) -> Self {
        let start = task.slot.map_or(Offset::ZERO, |slot| slot.log_start);
        let expired = self.segments.windows(2).take_while(|pair| pair[1].base <= start).count();
        let mut garbage = self.garbage.clone();
        for segment in &self.segments[..expired] {
            for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::Log] {
                garbage.push(file.path(&self.dir, segment.base));
            }
        }
        Self { dir: self.dir.clone(), segments: self.segments[expired..].to_vec(), garbage }
    }

    /// The log file of segment `number`.
    pub(crate) fn log_path(&self, number: usize) -> PathBuf {
        SegmentFile::Log.path(&self.dir, self.segments[number].base)
    }

    /// The base of the segment after `number`.
    pub(crate) fn next_base(&self, number: usize) -> Option<Offset> {
        self.segments.get(number + 1).map(|segment| segment.base)
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
