//! Mending one log: what is lost is cut off, and the rest recovered as if nothing were known of it.

use std::path::Path;

use folio_record::{LeaderEpoch, Offset, Timestamp};

use super::plan::LogPlan;
use super::{RepairError, at};
use crate::compacted::compacted_path;
use crate::envelope::replace;
use crate::epochs::EPOCHS_NAME;
use crate::files::{FileHandle, Files, OpenMode};
use crate::log::LogOptions;
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::quarantine::{Note, keep_tail};
use crate::recovery::{
    RecoveryError, Survey, Task, cannot_be_finished, move_segments, recover, remove_expired, survey,
};
use crate::scan::intact_batches_behind;
use crate::slots::{SLOTS_NAME, Slot, SlotsFile};
use crate::verify::{Known, Place};

pub(super) fn mend<F: Files>(
    files: &F,
    dir: &Path,
    known: &Known,
    plan: &LogPlan,
    slots: &mut SlotsFile<F>,
    now: Timestamp,
) -> Result<(), RepairError> {
    for (path, position, epoch) in &plan.epochs {
        // Its checksum does not cover it.
        let file = files.open(path, OpenMode::Write).map_err(at(files, path))?;
        file.write_at(&epoch.get().to_be_bytes(), position + EPOCH_AT).map_err(at(files, path))?;
        file.sync().map_err(at(files, path))?;
    }
    let before = look(files, dir)?;
    if let Some(place) = plan.cut {
        let log_start = known.slot.map_or(Offset::ZERO, |slot| slot.log_start);
        cut(files, &before, known.meta.id, place, log_start, now)?;
    }
    let after = look(files, dir)?;
    for number in 0..after.segments.len() {
        let path = after.log_path(number);
        let file = files.open(&path, OpenMode::Write).map_err(at(files, &path))?;
        file.sync().map_err(at(files, &path))?;
    }
    let slot = beginning(known, &after, plan.cut);
    let task = Task {
        uncleared: None,
        is_to_be_cleared: false,
        id: known.meta.id,
        slot: Some(&slot),
        clean: None,
        index_interval: LogOptions::default().index_interval,
        trusts_footers: false,
        producers_max: LogOptions::default().producers_max,
        now,
    };
    let (log, _) = recover(files, &after, &task).map_err(|error| unmended(dir, error))?;
    if log.compacted != after.compacted {
        // What comes in the place of what was cut off was never compacted.
        let path = compacted_path(dir);
        replace(files, &path, &log.compacted.encode()).map_err(at(files, &path))?;
    }
    let epochs = dir.join(EPOCHS_NAME);
    replace(files, &epochs, &log.epochs.encode()).map_err(at(files, &epochs))?;
    let mut update = log.slot(now, files.boot(), slot.run_id);
    // A torn end may have gone as well.
    update.log_start = update.log_start.min(log.log_end);
    for _ in 0..2 {
        let written = slots.write(known.meta.slot, &update).and_then(|()| slots.sync());
        written.map_err(at(files, Path::new(SLOTS_NAME)))?;
    }
    let left = remove_expired(files, &after.expired(Some(&slot)));
    left.map(drop).map_err(|error| unmended(dir, error))
}

/// Cuts the log, after all that goes is in quarantine. Later segments go first, newest first: whatever interrupts it,
/// the damage is still where it was.
///
/// Nothing is appended to a segment in which offsets are missing. Where one becomes the last, an empty one follows it.
fn cut<F: Files>(
    files: &F,
    survey: &Survey,
    id: PartitionId,
    place: Place,
    log_start: Offset,
    now: Timestamp,
) -> Result<(), RepairError> {
    // An attempt before this one may have moved it.
    let Some(number) = survey.segments.iter().position(|segment| segment.base == place.segment) else {
        return Ok(());
    };
    let path = survey.log_path(number);
    let io = at(files, &path);
    let reason = format!("a repair gave up everything from offset {} on", place.offset);
    if place.offset <= log_start {
        // Nothing of what is left may be read.
        return move_segments(files, survey, 0, &reason, now).map_err(io);
    }
    let may_have_gaps = |number| {
        let found = survey.may_have_gaps(files, id, number);
        found.map_err(|damage| unmended(&survey.dir, RecoveryError::Offline(damage)))
    };
    let is_last_of_all = number == 0 || !may_have_gaps(number - 1)?;
    if place.at == 0 && is_last_of_all {
        return move_segments(files, survey, number, &reason, now).map_err(io);
    }
    let has_gaps = place.at > 0 && may_have_gaps(number)?;
    move_segments(files, survey, number + 1, &reason, now).map_err(&io)?;
    if has_gaps {
        let next = SegmentFile::Log.path(&survey.dir, place.offset);
        files.open(&next, OpenMode::Create).and_then(|file| file.sync()).map_err(at(files, &next))?;
        files.sync_dir(&survey.dir).map_err(at(files, &survey.dir))?;
    }
    let file = files.open(&path, OpenMode::Write).map_err(&io)?;
    if file.len().map_err(&io)? > place.at {
        let mut note = Note::new(&path, place.at, reason, now).starting_at(place.offset);
        note.intact_batches = intact_batches_behind(&file, place.at).map_err(&io)?;
        if keep_tail(files, &file, note).map_err(&io)?.is_none() {
            return Err(RepairError::Full { file: path.clone() });
        }
        file.set_len(place.at).map_err(&io)?;
        file.sync().map_err(&io)?;
    }
    Ok(())
}

/// A durable point that vouches for nothing: at the beginning of what is there.
fn beginning(known: &Known, survey: &Survey, cut: Option<Place>) -> Slot {
    let told = known.slot.map(|slot| (slot.log_start, slot.durable_next_offset));
    let log_start = told.map_or(Offset::ZERO, |(log_start, _)| log_start);
    let (base, next, log_start) = match survey.segments.first() {
        Some(first) => (first.base, first.base, log_start.max(first.base)),
        None => {
            // Offsets that may have been given to somebody are not given again.
            let next = cut.map(|cut| cut.offset).or(told.map(|(_, next)| next)).unwrap_or(Offset::ZERO);
            let next = next.max(log_start);
            (next, next, next)
        }
    };
    Slot {
        partition: known.meta.id,
        leader_epoch: known.slot.map_or(LeaderEpoch::NONE, |slot| slot.leader_epoch),
        seq: 0,
        durable_segment_base: base,
        durable_pos: 0,
        durable_next_offset: next,
        log_start,
        visible: next,
        written_at: Timestamp::NONE,
        boot_id: [0; 16],
        run_id: known.slot.map_or(0, |slot| slot.run_id),
        mount_id: 0,
    }
}

fn look<F: Files>(files: &F, dir: &Path) -> Result<Survey, RepairError> {
    let survey = survey(files, dir).map_err(|error| unmended(dir, error))?;
    // Nothing else is done to a log while that is not.
    match cannot_be_finished(files, &survey) {
        Some(damage) => Err(unmended(dir, RecoveryError::Offline(damage))),
        None => Ok(survey),
    }
}

fn unmended(dir: &Path, error: RecoveryError) -> RepairError {
    match error {
        RecoveryError::Offline(damage) => {
            RepairError::Unmended { path: dir.to_owned(), reason: damage.to_string() }
        }
        RecoveryError::Io { path, source } => RepairError::Io { path, source },
    }
}

/// Where the epoch lies in a batch.
const EPOCH_AT: u64 = 12;
