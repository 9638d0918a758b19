//! All partitions of a directory, each recovered by itself, as many at a time as the caller has threads for.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use folio_record::Offset;

use super::OpenError;
use super::open::Opening;
use super::reconcile::{Found, Wanted};
use crate::clean::{CleanMarker, CleanPartition};
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::log::LogOptions;
use crate::metadata::Topic;
use crate::partition::PartitionId;
use crate::partition_files::SegmentFile;
use crate::recovery::{
    Damage, PartitionReport, RecoveredLog, RecoveryError, Survey, Task, below, cannot_be_cleared,
    cannot_be_finished, is_same_boot, recover, remove_expired, survey,
};
use crate::slots::Slot;

/// A partition on its way from directory to log.
pub(super) struct Recovering {
    pub(super) wanted: Wanted,
    pub(super) slot: Option<u32>,
    pub(super) outcome: Result<(RecoveredLog, PartitionReport), Damage>,
    /// Of one that is offline: what can be read of it.
    pub(super) below: Option<RecoveredLog>,
    /// Of one that is not: files below the start of its log.
    pub(super) expired: Vec<PathBuf>,
}

/// What became of what lies behind the ends of the files of a partition.
#[derive(Default)]
pub(super) struct Cleared {
    /// Those that were cleared.
    pub(super) files: Vec<PathBuf>,
    /// Why a log cannot be.
    pub(super) cannot: Option<Damage>,
    /// There was no room to clear one.
    pub(super) lacks_room: bool,
}

/// A partition of which everything is known that can be known without reading its log.
struct Surveyed<'a> {
    found: Found,
    survey: Result<Survey, Damage>,
    slot: Option<Slot>,
    clean: Option<&'a CleanPartition>,
    options: LogOptions,
    /// There is no room to finish a replacement of its segments.
    unfinished: Option<Damage>,
    /// Why nothing may be appended, whatever its recovery finds.
    uncleared: Option<Damage>,
    /// Nothing may be appended before what lies behind the ends of its files is cleared.
    is_to_be_cleared: bool,
}

impl Surveyed<'_> {
    fn task<F: Files>(&self, opening: &Opening<'_, F>) -> Task<'_> {
        Task {
            id: self.found.wanted.id,
            slot: self.slot.as_ref(),
            clean: self.clean,
            index_interval: self.options.index_interval,
            trusts_footers: true,
            producers_max: self.options.producers_max,
            uncleared: self.uncleared.as_ref().or(self.unfinished.as_ref()),
            is_to_be_cleared: self.is_to_be_cleared,
            now: opening.now,
        }
    }
}

impl<F: Files> Opening<'_, F> {
    /// Recovers what was found, in that order; `last` gives what is known of a slot.
    pub(super) fn recover_all(
        &self,
        found: Vec<Found>,
        clean: Option<&CleanMarker>,
        last: impl Fn(u32) -> Option<Slot>,
        topic_options: &impl Fn(&Topic) -> LogOptions,
        has_syncfs: bool,
    ) -> Result<Vec<Recovering>, OpenError> {
        let rows: HashMap<PartitionId, _> =
            clean.iter().flat_map(|marker| &marker.partitions).map(|row| (row.partition, row)).collect();
        let surveyed = self.each(found, |found| {
            let survey = match &found.slot {
                Ok(_) => match survey(self.files, &found.wanted.dir) {
                    Ok(survey) => Ok(survey),
                    Err(RecoveryError::Offline(damage)) => Err(self.unless_out_of_files(damage)?),
                    Err(RecoveryError::Io { path, source }) => return Err(self.io(path, source)),
                },
                Err(damage) => Err(self.unless_out_of_files(damage.clone())?),
            };
            Ok((found, survey))
        })?;
        let surveyed = surveyed.into_iter().map(|(found, survey)| {
            let slot = found.slot.as_ref().ok().and_then(|number| last(*number));
            let clean = rows.get(&found.wanted.id).copied();
            let options = topic_options(&found.wanted.topic);
            let unfinished = survey.as_ref().ok().and_then(|survey| cannot_be_finished(self.files, survey));
            let (uncleared, is_to_be_cleared) = (None, false);
            Surveyed { found, survey, slot, clean, options, unfinished, uncleared, is_to_be_cleared }
        });
        let mut surveyed: Vec<Surveyed<'_>> = surveyed.collect();
        self.sync_unclean(&mut surveyed, has_syncfs)?;
        self.each(surveyed, |partition| self.recover_one(partition))
    }

    /// What can be read of a partition that is offline with this `damage`, if that can be told now.
    pub(super) fn readable(
        &self,
        wanted: &Wanted,
        slot: Option<&Slot>,
        options: &LogOptions,
        damage: &Damage,
    ) -> Option<RecoveredLog> {
        let survey = survey(self.files, &wanted.dir).ok()?;
        let task = Task {
            id: wanted.id,
            slot,
            clean: None,
            index_interval: options.index_interval,
            trusts_footers: true,
            producers_max: options.producers_max,
            uncleared: Some(damage),
            is_to_be_cleared: false,
            now: self.now,
        };
        below(self.files, &survey, &task, damage)
    }

    /// Works on each of `items`, on the threads that were lent; the outcomes come in the same order.
    ///
    /// # Errors
    /// The first of them. Once there is one, nothing more is begun.
    pub(super) fn each<T: Send, R: Send, E: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let count = items.len();
        let queue = Mutex::new(items.into_iter().enumerate());
        let done = Mutex::new(Vec::with_capacity(count));
        (self.options.side_by_side)(count, &|| {
            loop {
                let Some((number, item)) = lock(&queue).next() else { return };
                let outcome = work(item);
                if outcome.is_err() {
                    lock(&queue).by_ref().for_each(drop);
                }
                lock(&done).push((number, outcome));
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Clears what lies behind the ends of files that may be appended to; gives those that it has cleared, for they
    /// have to be synced before they are.
    ///
    /// A power cut may take the length of a file and leave bytes behind its end, in its last block. Whoever makes the
    /// file longer would have them again after the next cut, if that takes the new bytes and leaves the new length:
    /// ext4 does so. Batches and index entries that were given up would stand there intact, where only zeros are taken
    /// for a write that was interrupted. Setting the length that there is clears the rest of the block.
    ///
    /// For that it has to be read. Where the disk does not give it, nothing may be appended to that log, and others are
    /// not concerned; where it has no room for it, nothing is before it is done. An index is left to the recovery,
    /// which makes one anew that it cannot read; entries that come back are held against the log by their use, as ever.
    /// It is not synced either: whoever cannot open it would end the start.
    pub(super) fn clear_behind_ends(
        &self,
        survey: &Survey,
        slot: Option<&Slot>,
        id: PartitionId,
    ) -> Result<Cleared, OpenError> {
        let durable = slot.map_or(Offset::ZERO, |slot| slot.durable_segment_base);
        let mut outcome = Cleared::default();
        for (number, segment) in survey.segments.iter().enumerate().filter(|(_, one)| one.base >= durable) {
            for file in SegmentFile::ALL {
                let path = file.path(&survey.dir, segment.base);
                let length =
                    self.files.open(&path, OpenMode::Write).and_then(|file| file.set_len(file.len()?));
                match length {
                    Ok(()) => outcome.files.push(path),
                    // An index that is missing is made anew.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if is_exhausted(&error) => return Err(self.io(path, error)),
                    Err(error) if is_full(&error) => outcome.lacks_room |= file == SegmentFile::Log,
                    Err(error) if file == SegmentFile::Log && outcome.cannot.is_none() => {
                        outcome.cannot = Some(cannot_be_cleared(self.files, survey, id, number, &error));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(outcome)
    }

    /// What is read back has to be what the disk has: everything still in the cache goes there first, and the names of
    /// segments, which a run that died may have given and not synced.
    fn sync_unclean(&self, surveyed: &mut [Surveyed<'_>], has_syncfs: bool) -> Result<(), OpenError> {
        let (mut unclean, mut dirs) = (Vec::new(), Vec::new());
        for partition in surveyed {
            if let Ok(survey) = &partition.survey
                && !survey.is_clean(&partition.task(self))
            {
                unclean.extend((0..survey.segments.len()).map(|number| survey.log_path(number)));
                if !is_same_boot(partition.slot.as_ref(), self.files.boot()) {
                    let (slot, id) = (partition.slot.as_ref(), partition.found.wanted.id);
                    let cleared = self.clear_behind_ends(survey, slot, id)?;
                    unclean.extend(cleared.files);
                    (partition.uncleared, partition.is_to_be_cleared) = (cleared.cannot, cleared.lacks_room);
                }
                dirs.push(partition.found.wanted.dir.clone());
            }
        }
        if has_syncfs && unclean.len() > 2 {
            return self.files.sync_everything().map_err(|source| self.io("", source));
        }
        for path in unclean {
            let file = self.files.open(&path, OpenMode::Write);
            file.and_then(|file| file.sync()).map_err(|source| self.io(path, source))?;
        }
        for dir in dirs {
            self.files.sync_dir(&dir).map_err(|source| self.io(&dir, source))?;
        }
        Ok(())
    }

    /// Removes what lies below the starts of logs. The slots that say so are on stable storage. What finds no room even
    /// to go is left to retention.
    pub(super) fn remove_expired(&self, recovered: &mut [Recovering]) -> Result<(), OpenError> {
        for Recovering { outcome, expired, .. } in recovered {
            let Ok((log, _)) = outcome else { continue };
            match remove_expired(self.files, expired) {
                Ok(left) => log.left_below = left,
                Err(RecoveryError::Io { path, source }) => return Err(self.io(path, source)),
                Err(RecoveryError::Offline(_)) => {}
            }
        }
        Ok(())
    }

    /// A partition that nothing is wrong with is not taken offline: there is no start without the descriptors for it.
    fn unless_out_of_files(&self, damage: Damage) -> Result<Damage, OpenError> {
        match damage {
            Damage::OutOfFiles { file, error, number } => {
                let no_memory = || io::Error::new(io::ErrorKind::OutOfMemory, error);
                let source = number.map_or_else(no_memory, io::Error::from_raw_os_error);
                Err(self.io(file, source))
            }
            damage => Ok(damage),
        }
    }

    fn recover_one(&self, surveyed: Surveyed<'_>) -> Result<Recovering, OpenError> {
        let mut readable = None;
        let outcome = match &surveyed.survey {
            Err(damage) => Err(damage.clone()),
            Ok(survey) => match recover(self.files, survey, &surveyed.task(self)) {
                Ok(recovered) => Ok(recovered),
                Err(RecoveryError::Offline(damage)) => {
                    let damage = self.unless_out_of_files(damage)?;
                    readable = below(self.files, survey, &surveyed.task(self), &damage);
                    Err(damage)
                }
                Err(RecoveryError::Io { path, source }) => return Err(self.io(path, source)),
            },
        };
        let expired = match &surveyed.survey {
            Ok(survey) if outcome.is_ok() => survey.expired(surveyed.slot.as_ref()),
            _ => Vec::new(),
        };
        let Found { wanted, slot, .. } = surveyed.found;
        Ok(Recovering { wanted, slot: slot.ok(), outcome, below: readable, expired })
    }
}

// Whoever panics under one of these locks ends the recovery.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
