//! The last step of a recovery: cut what is torn, move away what lies behind it, mend the indexes.

use std::io;
use std::path::{Path, PathBuf};

use folio_record::Timestamp;

use super::examine::{Examined, FoundFault};
use super::{Cut, Damage, RecoveryError, Remains, Survey, Task};
use crate::files::{FileHandle, Files, OpenMode, is_full};
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
/// in the same fault. Also gives what of it found no room: it has to be done before anything is appended, and until
/// then a start finds the same.
pub(super) fn cut<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
    found: FoundFault,
) -> Result<(Cut, Remains), RecoveryError> {
    let path = survey.log_path(found.segment);
    let io = |source| RecoveryError::Io { path: path.clone(), source };
    let reason = format!("it lies behind a torn write at byte {} of {}", found.pos, path_name(survey, found));
    let mut behind = segments_behind(files, survey, found.segment + 1, &reason, task.now).map_err(io)?;
    let (segments_moved, moved) = move_away(files, &mut behind);
    let mut remains = Remains { segments: behind, ..Remains::default() };
    match moved {
        Err(error) if is_full(&error) => {}
        moved => moved.map_err(io)?,
    }
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
        remains.behind_end = !remains.segments.is_empty();
        if remains.behind_end {
            return Ok((cut, remains));
        }
        match log.set_len(found.pos) {
            Err(error) if is_full(&error) => {
                remains.behind_end = true;
                return Ok((cut, remains));
            }
            cut => cut.map_err(io)?,
        }
        log.sync().map_err(io)?;
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok((cut, remains))
}

/// Moves the segments from number `from` on to quarantine, newest first.
pub(crate) fn move_segments<F: Files>(
    files: &F,
    survey: &Survey,
    from: usize,
    reason: &str,
    now: Timestamp,
) -> io::Result<()> {
    let mut behind = segments_behind(files, survey, from, reason, now)?;
    move_away(files, &mut behind).1
}

/// The files of the segments from number `from` on, newest first, each with the note that goes with it.
fn segments_behind<F: Files>(
    files: &F,
    survey: &Survey,
    from: usize,
    reason: &str,
    now: Timestamp,
) -> io::Result<Vec<(PathBuf, Note)>> {
    let mut behind = Vec::new();
    for segment in survey.segments[from..].iter().rev() {
        for file in SegmentFile::ALL {
            let path = file.path(&survey.dir, segment.base);
            if files.entry(&path)?.is_some() {
                let note = Note::new(&path, 0, reason.to_owned(), now).starting_at(segment.base);
                behind.push((path, note));
            }
        }
    }
    Ok(behind)
}

/// Moves files to quarantine, the first one first. Says where they are now; after an error, those that have not moved
/// are left.
pub(crate) fn move_away<F: Files>(
    files: &F,
    leaving: &mut Vec<(PathBuf, Note)>,
) -> (Vec<PathBuf>, io::Result<()>) {
    let mut moved = Vec::with_capacity(leaving.len());
    let outcome = leaving.iter().try_for_each(|(path, note)| {
        moved.push(quarantine::move_here(files, path, note.clone())?);
        Ok(())
    });
    leaving.drain(..moved.len());
    (moved, outcome)
}

/// Writes every index that is not what it should be; returns of how many segments. What there was no room to take away
/// of those that there was none to make goes to `remains`.
///
/// The durable point will be in the last segment. Those that it passes, it passes with their indexes.
pub(super) fn write_indexes<F: Files>(
    files: &F,
    survey: &Survey,
    examined: &mut Examined,
    remains: &mut Remains,
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
            let stay = plan.take_staying();
            if number == last {
                remains.files.extend(stay);
            } else if !stay.is_empty() {
                remains.indexes.push(segment.recovered.base);
            }
            segment.indexer = Some(plan.into_indexer());
        }
    }
    if has_new_names {
        let io = |source| RecoveryError::Io { path: survey.dir.clone(), source };
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok(mended)
}

/// Removes the files of segments below the start of a log that was recovered. Gives those that there is no room to take
/// away.
///
/// What the start found in the slots may have been in the cache only: a run that was killed had written it, and its
/// sync was still to come, or had failed. With the next power cut the log would begin where it did before, and miss
/// these. So they go once both copies of the slot were written anew, and synced.
pub(crate) fn remove_expired<F: Files>(
    files: &F,
    expired: &[PathBuf],
) -> Result<Vec<PathBuf>, RecoveryError> {
    let mut gone = expired.len();
    for (number, path) in expired.iter().enumerate() {
        match files.remove_file(path) {
            Err(error) if is_full(&error) => {
                gone = number;
                break;
            }
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RecoveryError::Io { path: path.clone(), source });
            }
            _ => {}
        }
    }
    // An index that comes back with a crash would pass for that of a later segment of its name.
    if let Some(dir) = expired.first().and_then(|path| path.parent()) {
        files.sync_dir(dir).map_err(|source| RecoveryError::Io { path: dir.to_owned(), source })?;
    }
    Ok(expired[gone..].to_vec())
}

/// Removes what something left unfinished, and `snapshots` of no use. Of what there is no room even to remove, it gives
/// what has to go before anything is appended; the rest is in nobody's way.
pub(super) fn remove_garbage<F: Files>(
    files: &F,
    survey: &Survey,
    snapshots: &[PathBuf],
) -> Result<Vec<PathBuf>, RecoveryError> {
    let first = survey.segments.first().map(|first| first.base);
    let (mut has_room, mut may_come_back, mut stay) = (true, false, Vec::new());
    for path in survey.garbage.iter().chain(snapshots) {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(PartitionFile::parse);
        let is_in_the_way = match name {
            Some(PartitionFile::Unfinished) => false,
            Some(PartitionFile::Segment(base, _)) => first.is_none_or(|first| base >= first),
            _ => true,
        };
        if !has_room && !is_in_the_way {
            continue;
        }
        match files.remove_file(path) {
            Err(error) if is_full(&error) => {
                has_room = false;
                stay.extend(is_in_the_way.then(|| path.clone()));
            }
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RecoveryError::Io { path: path.clone(), source });
            }
            _ => may_come_back |= name != Some(PartitionFile::Unfinished),
        }
    }
    // An index that comes back with a crash would pass for that of a later segment of its name, and a snapshot for that
    // of a log which has come to the same end with other batches.
    if may_come_back {
        let io = |source| RecoveryError::Io { path: survey.dir.clone(), source };
        files.sync_dir(&survey.dir).map_err(io)?;
    }
    Ok(stay)
}

const TAIL_STEP: usize = 64 * 1024;

fn path_name(survey: &Survey, found: FoundFault) -> String {
    let path: PathBuf = survey.log_path(found.segment);
    path.file_name().map(Path::new).map_or_else(String::new, |name| name.display().to_string())
}
