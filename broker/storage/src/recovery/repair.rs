//! The last step of a recovery: cut what is torn, move away what lies behind it, mend the indexes.

use std::io;
use std::path::{Path, PathBuf};

use folio_record::Timestamp;

use super::examine::{Examined, FoundFault};
use super::{Cut, Damage, RecoveryError, Survey, Task};
use crate::files::{FileHandle, Files, OpenMode};
use crate::partition_files::{PartitionFile, SegmentFile};
use crate::quarantine::{self, Note};
use crate::scan::intact_batches_behind;

/// Whether the disk gives back all that a cut at `found` takes away: nothing goes without a copy.
pub(super) fn check_tail<F: Files>(files: &F, survey: &Survey, found: FoundFault) -> Result<(), Damage> {
    let read = || {
        let log = files.open(&survey.log_path(found.segment), OpenMode::Read)?;
        let (mut at, mut bytes) = (found.pos, vec![0; TAIL_STEP]);
        loop {
            match log.read_at(&mut bytes, at)? {
                0 => return Ok(()),
                read => at += read as u64,
            }
        }
    };
    read().map_err(|error| survey.unreadable(found.segment, found.pos, found.offset, &error))
}

/// Cuts the log at `found`. Later segments go first, newest first: whatever a crash interrupts, the log still ends
/// in the same fault.
pub(super) fn cut<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
    found: FoundFault,
) -> Result<Cut, RecoveryError> {
    let path = survey.log_path(found.segment);
    let io = |source| RecoveryError::Io { path: path.clone(), source };
    let reason = format!("it lies behind a torn write at byte {} of {}", found.pos, path_name(survey, found));
    let segments_moved = move_segments(files, survey, found.segment + 1, &reason, task.now).map_err(io)?;
    let log = files.open(&path, OpenMode::Write).map_err(io)?;
    let bytes = log.len().map_err(io)? - found.pos;
    let mut cut = Cut {
        file: path.clone(),
        position: found.pos,
        offset: found.offset,
        fault: found.fault,
        bytes,
        intact_batches: 0,
        kept: None,
        segments_moved,
    };
    if bytes > 0 {
        cut.intact_batches = intact_batches_behind(&log, found.pos).map_err(io)?;
        let mut note = Note::new(&path, found.pos, format!("torn write: {}", found.fault), task.now);
        note.intact_batches = cut.intact_batches;
        cut.kept = quarantine::keep_tail(files, &log, note.starting_at(found.offset)).map_err(io)?;
        log.set_len(found.pos).map_err(io)?;
        log.sync().map_err(io)?;
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok(cut)
}

/// Moves the segments from number `from` on to quarantine, newest first. Says where their files are now.
pub(crate) fn move_segments<F: Files>(
    files: &F,
    survey: &Survey,
    from: usize,
    reason: &str,
    now: Timestamp,
) -> io::Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for segment in survey.segments[from..].iter().rev() {
        for file in SegmentFile::ALL {
            let path = file.path(&survey.dir, segment.base);
            if files.entry(&path)?.is_none() {
                continue;
            }
            let note = Note::new(&path, 0, reason.to_owned(), now).starting_at(segment.base);
            moved.push(quarantine::move_here(files, &path, note)?);
        }
    }
    Ok(moved)
}

/// Writes every index that is not what it should be; returns of how many segments.
///
/// The durable point will be in the last segment. Those that it passes, it passes with their indexes.
pub(super) fn write_indexes<F: Files>(
    files: &F,
    survey: &Survey,
    examined: &mut Examined,
) -> Result<u64, RecoveryError> {
    let (mut mended, mut has_new_names) = (0, false);
    let (durable, last) = (examined.durable_segment, examined.segments.len().saturating_sub(1));
    for (number, segment) in examined.segments.iter_mut().enumerate() {
        let path = SegmentFile::OffsetIndex.path(&survey.dir, segment.recovered.base);
        let io = |source| RecoveryError::Io { path: path.clone(), source };
        if let Some(mut plan) = segment.indexes.take() {
            let is_changed = plan.write(files, &survey.dir).map_err(io)?;
            if number < last && (is_changed || number >= durable) {
                plan.sync(files, &survey.dir).map_err(io)?;
            }
            mended += u64::from(is_changed);
            has_new_names |= is_changed && plan.has_new_names();
            segment.indexer = Some(plan.into_indexer());
        }
    }
    if has_new_names {
        let io = |source| RecoveryError::Io { path: survey.dir.clone(), source };
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok(mended)
}

/// Removes what something left unfinished, what lies below the start of the log, and `snapshots` of no use.
pub(super) fn remove_garbage<F: Files>(
    files: &F,
    survey: &Survey,
    snapshots: &[PathBuf],
) -> Result<(), RecoveryError> {
    let mut may_come_back = false;
    for path in survey.garbage.iter().chain(snapshots) {
        match files.remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RecoveryError::Io { path: path.clone(), source });
            }
            _ => {}
        }
        let name = path.file_name().and_then(|name| name.to_str());
        may_come_back |= name.and_then(PartitionFile::parse) != Some(PartitionFile::Unfinished);
    }
    // An index that comes back with a crash would pass for that of a later segment of its name, and a snapshot for that
    // of a log which has come to the same end with other batches.
    if may_come_back {
        let io = |source| RecoveryError::Io { path: survey.dir.clone(), source };
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok(())
}

const TAIL_STEP: usize = 64 * 1024;

fn path_name(survey: &Survey, found: FoundFault) -> String {
    let path: PathBuf = survey.log_path(found.segment);
    path.file_name().map(Path::new).map_or_else(String::new, |name| name.display().to_string())
}
