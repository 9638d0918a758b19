//! The flush round, and closing: what moves durable points.
//!
//! ```text
//! capture where each log ends  ->  sync  ->  write slots  ->  publish durable and visible
//! ```
//! The order is the whole of it: nothing is published, and no slot written, that a sync begun afterwards does not
//! cover. Any error is final for the run, but that there is no room to write a slot: that log is left out, and has not
//! advanced.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use folio_record::{Offset, Timestamp};
use thiserror::Error;

use super::{DataDir, DurablePoints};
use crate::clean::{CLEAN_NAME, CleanMarker, CleanPartition};
use crate::envelope::replace;
use crate::files::{FileHandle, Files, OpenMode, is_exhausted, is_full};
use crate::log::{Log, Tail, ToFlush};
use crate::metadata::{CommitError, METADATA_LOG_NAME};
use crate::partition::PartitionId;
use crate::recovery::Remains;
use crate::slots::{SLOTS_NAME, SlotUpdate};

/// One partition after a flush round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// Which one.
    pub partition: PartitionId,
    /// Every offset below is on stable storage.
    pub durable: Offset,
    /// Every offset below may be consumed.
    pub visible: Offset,
}

/// How a directory was closed. Everything in it is flushed either way.
#[derive(Debug)]
pub enum Closed {
    /// The clean marker stands: the next start scans nothing.
    Clean,
    /// There was no room for it.
    Unmarked {
        /// What the system said.
        source: io::Error,
    },
}

/// A flush failed. The directory takes no more writes in this run, and nothing that was not durable before may be
/// acknowledged.
#[derive(Debug, Error)]
#[error("{}: {source}", told(path).display())]
pub struct FlushError {
    /// What was being synced or written, from the data directory on; empty: all of it.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl<F: Files> DataDir<F> {
    /// One flush round over `logs`. Rounds of several threads follow one another. A log is not among those that have
    /// advanced if its files were found to be taken away, or if there is no descriptor to sync its names by, or no room
    /// to write down how far it is durable: then it has to be flushed again.
    pub fn flush(
        &self,
        logs: &[Arc<Log<F>>],
        now: Timestamp,
        at: Instant,
    ) -> Result<Vec<Advanced>, FlushError> {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: what a failed round took counts as synced, and is not.
        self.check()?;
        let advanced = self.flush_all(logs, now).map_err(|error| self.failed(error))?;
        if !advanced.is_empty() {
            self.durable().deadline.wrote(at);
        }
        Ok(advanced)
    }

    /// A round over one log, and its slot on stable storage, too: for who is about to do what a crash may not undo, if
    /// the log has advanced by it.
    pub(crate) fn flush_with_slot(&self, log: &Arc<Log<F>>, now: Timestamp) -> Result<(), FlushError> {
        let _round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        self.flush_all(std::slice::from_ref(log), now).map_err(|error| self.failed(error))?;
        self.sync_slots()
    }

    /// Whether the slots have to be synced now; `is_idle` says that there is nothing else to do.
    pub fn slots_are_due(&self, at: Instant, is_idle: bool) -> bool {
        self.durable().deadline.is_due(at, is_idle)
    }

    /// When the slots have to be synced at the latest; `None` if all are.
    pub fn slots_deadline(&self) -> Option<Instant> {
        self.durable().deadline.deadline()
    }

    /// Syncs the slots that were written so far.
    pub fn sync_slots(&self) -> Result<(), FlushError> {
        self.check()?;
        let mut durable = self.durable();
        durable.slots.sync().map_err(|source| self.failed(self.error(SLOTS_NAME, source)))?;
        durable.deadline.synced();
        Ok(())
    }

    /// Raises the first offset of a log that may be read. When this returns it is on stable storage, and files
    /// that lie wholly below may go.
    ///
    /// An offset that is not durable yet is made so first. A lower offset than the present one changes nothing. Gives
    /// where the log begins then: lower than `to`, if there was no descriptor to flush it by, or no room to write it
    /// down. In the latter case the next start may find it written down all the same.
    pub fn raise_log_start(
        &self,
        log: &Arc<Log<F>>,
        to: Offset,
        now: Timestamp,
        at: Instant,
    ) -> Result<Offset, FlushError> {
        self.check()?;
        if to <= log.log_start() {
            return Ok(log.log_start());
        }
        if to > log.durable() {
            self.flush(std::slice::from_ref(log), now, at)?;
        }
        let mut durable = self.durable();
        let tail = log.durable_tail();
        // Whoever raised it further meanwhile has files removed already.
        let to = to.min(tail.next_offset).max(log.log_start());
        // Both copies: with only one to tell of it, a bad sector would have files missed that were to go.
        for _ in 0..2 {
            match self.write_slot(&mut durable, log, &tail, to, now) {
                // A file system that never overwrites wants room for it. What the slot said is true all the same.
                Err(error) if is_full(&error.source) => return Ok(log.log_start()),
                written => written.map_err(|error| self.failed(error))?,
            }
            durable.slots.sync().map_err(|source| self.failed(self.error(SLOTS_NAME, source)))?;
        }
        durable.deadline.synced();
        log.start_at(to);
        Ok(to)
    }

    /// Flushes everything and leaves the clean marker. The caller appends nothing any more.
    ///
    /// # Errors
    /// A flush failed. That there is no room for the marker is no error: everything is flushed, and the next start
    /// looks at the tails.
    pub fn close_clean(self, now: Timestamp, at: Instant) -> Result<Closed, FlushError> {
        self.check()?;
        let mut logs = self.logs();
        for log in &logs {
            match log.close() {
                // Somebody has taken its files away. The marker does not name it, and the next start misses them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => log.give_up(),
                closed => closed.map_err(|source| self.failed(self.error(log.dir(), source)))?,
            }
        }
        self.save_all_epochs()?;
        logs.retain(|log| !log.is_given_up());
        self.flush(&logs, now, at)?;
        self.sync_the_rest(&logs).map_err(|error| self.failed(error))?;
        // What is behind the end of the metadata log would be damage to a start that trusts the marker.
        match self.metadata().cut_rest() {
            Ok(()) => {}
            Err(CommitError::Full { .. }) => {
                return Ok(Closed::Unmarked { source: io::ErrorKind::StorageFull.into() });
            }
            Err(CommitError::Io { path, source }) => return Err(self.failed(FlushError { path, source })),
            Err(error) => return Err(self.failed(self.error(METADATA_LOG_NAME, io::Error::other(error)))),
        }
        // Of a log with something behind its end the marker says nothing, so that the next start looks.
        let as_told = logs.iter().filter(|log| !log.has_remains());
        let mut partitions: Vec<CleanPartition> = as_told.map(|log| row(log)).collect();
        partitions.push(self.metadata().row());
        partitions.sort_by_key(|row| row.partition);
        let marker =
            CleanMarker { dir: self.node.dir, run_id: self.run_id(), boot_id: self.boot.id, partitions };
        match replace(&*self.files, Path::new(CLEAN_NAME), &marker.encode()) {
            Ok(()) => Ok(Closed::Clean),
            Err(source) if is_full(&source) || is_exhausted(&source) => Ok(Closed::Unmarked { source }),
            Err(source) => Err(self.failed(self.error(CLEAN_NAME, source))),
        }
    }

    fn flush_all(&self, logs: &[Arc<Log<F>>], now: Timestamp) -> Result<Vec<Advanced>, FlushError> {
        let logs = logs.iter().filter(|log| !log.is_given_up());
        let captured: Vec<(&Arc<Log<F>>, ToFlush<F>)> = logs.map(|log| (log, log.to_flush())).collect();
        let count: usize = captured.iter().map(|(_, flush)| flush.files.len()).sum();
        let everything = self.has_syncfs && count > FILES_MAX;
        let mut postponed = HashSet::new();
        if everything {
            self.files.sync_everything().map_err(|source| self.error("", source))?;
        } else {
            for (log, flush) in &captured {
                for file in &flush.files {
                    file.sync().map_err(|source| self.error(log.dir(), source))?;
                }
                if flush.new_names && !self.sync_names(log)? {
                    log.give_back_names();
                    postponed.insert(log.id());
                }
            }
        }
        for (log, flush) in &captured {
            // What nobody finds after this run is not kept, however well it is synced.
            if !flush.can_be_found(log) && !log.is_retired() {
                log.give_up();
            }
        }
        let mut durable = self.durable();
        if everything {
            // It has carried the slots of earlier rounds along.
            durable.deadline.synced();
        }
        let mut advanced = Vec::with_capacity(captured.len());
        let kept = captured.into_iter().filter(|(log, _)| !log.is_given_up());
        for (log, flush) in kept.filter(|(log, _)| !postponed.contains(&log.id())) {
            match self.write_slot(&mut durable, log, &flush.tail, log.log_start(), now) {
                // A file system that never overwrites wants room for it. It is tried again with the next round.
                Err(error) if is_full(&error.source) => continue,
                written => written?,
            }
            log.flushed(&flush.tail);
            let visible = log.high_watermark();
            advanced.push(Advanced { partition: log.id(), durable: flush.tail.next_offset, visible });
        }
        Ok(advanced)
    }

    /// Syncs the names in a log's directory; `false` if that has to wait for a descriptor.
    fn sync_names(&self, log: &Log<F>) -> Result<bool, FlushError> {
        match self.files.sync_dir(log.dir()) {
            // The topic was deleted meanwhile, and its directory is in the trash; or somebody else has taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !log.is_retired() {
                    log.give_up();
                }
                Ok(true)
            }
            // The one for everything was opened at the start.
            Err(error) if is_exhausted(&error) && self.has_syncfs => {
                self.files.sync_everything().map_err(|source| self.error("", source))?;
                Ok(true)
            }
            Err(error) if is_exhausted(&error) => Ok(false),
            Err(source) => Err(self.error(log.dir(), source)),
            Ok(()) => Ok(true),
        }
    }

    fn write_slot(
        &self,
        durable: &mut DurablePoints<F>,
        log: &Log<F>,
        tail: &Tail,
        log_start: Offset,
        now: Timestamp,
    ) -> Result<(), FlushError> {
        // A log whose topic was deleted meanwhile has no slot any more.
        let Some(number) = durable.numbers.get(&log.id()).copied() else {
            return Ok(());
        };
        let update = SlotUpdate {
            leader_epoch: log.leader_epoch(),
            durable_segment_base: tail.segment_base,
            durable_pos: tail.pos,
            durable_next_offset: tail.next_offset,
            log_start,
            visible: log.high_watermark().min(tail.next_offset),
            written_at: now,
            boot: if log.has_remains_of_start() { Remains::unsure(self.boot) } else { self.boot },
            run_id: self.run_id(),
        };
        durable.slots.write(number, &update).map_err(|source| self.error(SLOTS_NAME, source))
    }

    /// What a flush round leaves out: the slots, and the indexes of active segments.
    fn sync_the_rest(&self, logs: &[Arc<Log<F>>]) -> Result<(), FlushError> {
        if self.has_syncfs {
            return self.files.sync_everything().map_err(|source| self.error("", source));
        }
        for log in logs {
            let entries = self.files.list(log.dir()).map_err(|source| self.error(log.dir(), source))?;
            for entry in entries {
                let path = log.dir().join(&entry.name);
                let file = self.files.open(&path, OpenMode::Write);
                file.and_then(|file| file.sync()).map_err(|source| self.error(&path, source))?;
            }
            self.files.sync_dir(log.dir()).map_err(|source| self.error(log.dir(), source))?;
        }
        self.sync_slots()
    }

    pub(super) fn check(&self) -> Result<(), FlushError> {
        self.failure.check().map_err(|source| self.error("", source))
    }

    pub(super) fn failed(&self, error: FlushError) -> FlushError {
        self.fail();
        error
    }

    pub(super) fn error(&self, path: impl AsRef<Path>, source: io::Error) -> FlushError {
        FlushError { path: path.as_ref().to_owned(), source }
    }
}

/// The path as an error names it.
fn told(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new("the data directory") } else { path }
}

/// Up to so many files are synced one by one; above, the file system as a whole is quicker.
const FILES_MAX: usize = 2;

fn row<F: Files>(log: &Arc<Log<F>>) -> CleanPartition {
    let tail = log.tail();
    CleanPartition {
        partition: log.id(),
        active_base: tail.segment_base,
        log_len: tail.pos,
        next_offset: tail.next_offset,
    }
}
