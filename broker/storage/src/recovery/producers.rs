//! Who numbered the batches of a log, found out from the newest snapshot that holds and the batches behind it.

use std::io;
use std::path::PathBuf;

use folio_record::Offset;

use super::examine::{Examined, ExaminedSegment};
use super::{Damage, Survey, Task, indexes};
use crate::files::{Files, OpenMode, read_file};
use crate::partition_files::snapshot_path;
use crate::producers::{Producers, SNAPSHOT_SIZE_MAX};
use crate::scan::HeaderWalk;
use crate::verdict::{Fault, Reason};

/// What a log remembers of its producers.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) producers: Producers,
    /// The ends that there are snapshots of, oldest first.
    pub(super) snapshots: Vec<Offset>,
    /// Snapshots that are to be removed.
    pub(super) useless: Vec<PathBuf>,
    pub(super) bytes_walked: u64,
}

/// Finds it out, and changes nothing.
///
/// # Errors
/// A batch behind the snapshot is none. Those above the durable point were verified, so it lies below.
pub(super) fn remember<F: Files>(
    files: &F,
    survey: &Survey,
    examined: &Examined,
    task: &Task<'_>,
) -> Result<Remembered, Damage> {
    let segments = &examined.segments;
    let start = segments.first().map_or(examined.end, |segment| segment.recovered.base);
    let mut remembered = Remembered {
        producers: Producers::new(task.producers_max),
        snapshots: Vec::new(),
        useless: Vec::new(),
        bytes_walked: 0,
    };
    let mut from = None;
    for end in survey.snapshots.iter().rev() {
        let path = snapshot_path(&survey.dir, *end);
        // One of a later end tells of batches that were lost; behind one of an earlier end batches are missing.
        let is_of_this_log = (start..=examined.end).contains(end);
        if is_of_this_log && from.is_some() {
            remembered.snapshots.insert(0, *end);
            continue;
        }
        // One that cannot be read is as good as none.
        let read = if is_of_this_log { read_file(files, &path, SNAPSHOT_SIZE_MAX) } else { Ok(None) };
        let bytes = Damage::unless_out_of_files(&path, read)?;
        let decode = |bytes: Vec<u8>| Producers::decode(&bytes, *end, task.producers_max, task.now).ok();
        match bytes.and_then(decode) {
            Some(producers) => {
                remembered.producers = producers;
                remembered.snapshots.push(*end);
                from = Some(*end);
            }
            None => remembered.useless.push(path),
        }
    }
    let from = from.unwrap_or(start);
    for (number, segment) in segments.iter().enumerate() {
        if segment.recovered.next_offset > from {
            replay(files, survey, task, number, segment, from, &mut remembered)?;
        }
    }
    Ok(remembered)
}

/// Goes through the batches of one segment that lie at or behind `from`.
fn replay<F: Files>(
    files: &F,
    survey: &Survey,
    task: &Task<'_>,
    number: usize,
    segment: &ExaminedSegment,
    from: Offset,
    remembered: &mut Remembered,
) -> Result<(), Damage> {
    let base = segment.recovered.base;
    let path = survey.log_path(number);
    let mut due = base;
    let unreadable = |at, due, error: io::Error| survey.unreadable(number, at, due, &error);
    let log = files.open(&path, OpenMode::Read).map_err(|error| unreadable(0, base, error))?;
    let mut walk = HeaderWalk::new(&log, 0).map_err(|error| unreadable(0, base, error))?;
    if from > base
        && let Some(place) = indexes::floor(files, &survey.dir, base, task.uid(base), from)?
        && place.pos < segment.recovered.len
    {
        let unreadable = |error| unreadable(place.pos, place.offset, error);
        let mut there = HeaderWalk::new(&log, place.pos).map_err(unreadable)?;
        if there.next().map_err(unreadable)?.is_some_and(|header| header.base_offset == place.offset) {
            remembered.bytes_walked += there.bytes_read();
            walk = HeaderWalk::new(&log, place.pos).map_err(unreadable)?;
            due = place.offset;
        }
    }
    while walk.at() < segment.recovered.len {
        let position = walk.at();
        let Some(header) = walk.next().map_err(|error| unreadable(position, due, error))? else {
            let fault = Fault::UnusableHeader { zero_chunk: false };
            let reason = Reason::BelowDurable;
            return Err(Damage::Log { file: path.clone(), position, offset: base, fault, reason });
        };
        due = header.next_offset();
        if header.base_offset >= from {
            remembered.producers.replay(&header, task.now);
        }
    }
    remembered.bytes_walked += walk.bytes_read();
    Ok(())
}
