//! What can still be read of a partition that is offline: everything below its damage.
//!
//! Nothing is written here, and nothing that is damaged is shown: the segment in which the readable part ends is
//! verified from its first byte on, whatever vouches for it.

use std::io;

use folio_record::{LeaderEpoch, Offset};

use super::{Damage, RecoveredLog, RecoveredSegment, Remains, Survey, Task};
use crate::epochs::{EPOCHS_NAME, EPOCHS_SIZE_MAX, Epochs};
use crate::files::{Files, OpenMode, read_file};
use crate::partition::PartitionId;
use crate::producers::Producers;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step};

/// The log up to `damage`, to be read only; `None` if nothing of it can be told from what is damaged.
pub(crate) fn below<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
    damage: &Damage,
) -> Option<RecoveredLog> {
    let (Damage::Log { file, position, offset, .. }
    | Damage::UnreadableLog { file, position, offset, .. }
    | Damage::NoRoom { log: file, position, offset, .. }) = damage
    else {
        return None;
    };
    let survey = &survey.without_expired(task.slot);
    let first = survey.segments.first()?.base;
    let log_start = task.slot.map_or(first, |slot| slot.log_start);
    let damaged = (0..survey.segments.len()).find(|number| survey.log_path(*number) == *file);
    // A file that is missing ends the log with the segment before it.
    let last = match damaged {
        Some(number) => number,
        None => survey.segments.iter().rposition(|segment| segment.base < *offset)?,
    };
    let upto = if damaged.is_some() { *position } else { u64::MAX };
    // Without a descriptor to look, none are expected: what is read stops at one.
    let gaps = |number| survey.may_have_gaps(files, task.id, number).unwrap_or_default();
    let gaps_upto = survey.next_base(last).filter(|_| gaps(last));
    let (len, log_end) = intact(files, survey, last, upto, gaps_upto);
    if first > log_start || log_end <= log_start {
        return None;
    }
    let mut segments: Vec<RecoveredSegment> = survey.segments[..=last]
        .windows(2)
        .enumerate()
        .map(|(number, pair)| segment(pair[0].base, pair[0].len, pair[1].base, gaps(number)))
        .collect();
    if len > 0 {
        segments.push(segment(survey.segments[last].base, len, log_end, gaps(last)));
    }
    let epochs = read_file(files, &survey.dir.join(EPOCHS_NAME), EPOCHS_SIZE_MAX).ok().flatten();
    let epochs = epochs.and_then(|bytes| Epochs::decode(&bytes).ok());
    Some(RecoveredLog {
        segments,
        indexer: None,
        log_start,
        log_end,
        epochs: epochs.unwrap_or_else(|| Epochs::from_log([])),
        // Nobody appends.
        producers: Producers::new(task.producers_max),
        snapshots: Vec::new(),
        compacted: survey.compacted,
        may_have_reserve: false,
        remains: Remains::default(),
        left_below: Vec::new(),
    })
}

/// What is wrong with the log of `id`, as what lies behind the end of its segment `number` cannot be cleared: its last
/// block cannot be read. It is served up to where it is intact.
pub(crate) fn cannot_be_cleared<F: Files>(
    files: &F,
    survey: &Survey,
    id: PartitionId,
    number: usize,
    error: &io::Error,
) -> Damage {
    let may_have_gaps = match survey.may_have_gaps(files, id, number) {
        Ok(gaps) => gaps,
        Err(damage) => return damage,
    };
    let gaps_upto = survey.next_base(number).filter(|_| may_have_gaps);
    let (position, offset) = intact(files, survey, number, u64::MAX, gaps_upto);
    survey.unreadable(number, position, offset, error)
}

/// What keeps a log from being appended to, if there is no room to finish a replacement of its segments that
/// was interrupted. Nothing is wrong with it, and all of it is served.
pub(crate) fn cannot_be_finished<F: Files>(files: &F, survey: &Survey) -> Option<Damage> {
    let file = survey.unfinished.as_ref()?.intent.clone();
    let Some(last) = survey.segments.len().checked_sub(1) else {
        return Some(Damage::NoRoom { log: file.clone(), file, position: 0, offset: Offset::ZERO });
    };
    // The last segment is never one of those that are replaced.
    let (position, offset) = intact(files, survey, last, u64::MAX, None);
    Some(Damage::NoRoom { file, log: survey.log_path(last), position, offset })
}

/// How far segment `number` is intact and can be read, at most to `upto`: in bytes, and the offset that is due there.
fn intact<F: Files>(
    files: &F,
    survey: &Survey,
    number: usize,
    upto: u64,
    gaps_upto: Option<Offset>,
) -> (u64, Offset) {
    let base = survey.segments[number].base;
    let Ok(file) = files.open(&survey.log_path(number), OpenMode::Read) else { return (0, base) };
    let epoch_max = LeaderEpoch::new(i32::MAX);
    let rules = Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto, epoch_max };
    let Ok(mut scan) = Scan::new(&file, 0, base, LeaderEpoch::NONE, rules) else { return (0, base) };
    while scan.at() < upto && matches!(scan.next(), Ok(Step::Batch { .. })) {}
    (scan.at(), scan.expected())
}

fn segment(base: Offset, len: u64, next_offset: Offset, may_have_gaps: bool) -> RecoveredSegment {
    RecoveredSegment { base, len, next_offset, max_timestamp: None, sealed_at: None, may_have_gaps }
}
