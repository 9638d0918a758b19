//! Writing down the epochs that a start has begun, when there is time for it.
//!
//! To give every partition a new file of epochs takes longer than all else that a start has to do. The slots, which are
//! written and synced by it anyway, name the epoch; so the files may follow. A start that finds a file behind its slot
//! looks the missing epochs up in the batches. Until they are written, nothing else changes about the files.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{DataDir, FlushError, OpenedPartition};
use crate::envelope::replace_many;
use crate::epochs::EPOCHS_NAME;
use crate::files::{Files, is_exhausted};
use crate::log::Log;

/// What has become of the epochs that are to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochsSaved {
    /// Logs whose epochs are not written down yet.
    pub left: usize,
    /// There is no room for more at the moment, on the disk or among the open files.
    pub is_full: bool,
}

/// The logs whose files do not have their latest epoch.
pub(super) fn unsaved_epochs<F: Files>(partitions: &[OpenedPartition<F>]) -> Vec<Arc<Log<F>>> {
    let opened = partitions.iter().filter_map(|partition| partition.state.as_ref().ok());
    let unsaved = opened.filter(|(_, report)| !report.was_clean || report.epochs_rebuilt);
    // The first is the last of the list, and the first to be taken from it.
    unsaved.map(|(log, _)| Arc::clone(log)).rev().collect()
}

impl<F: Files> DataDir<F> {
    /// Writes down the epochs of up to `most` logs that this start has begun one of. On a full disk they wait.
    ///
    /// # Errors
    /// A write failed: final, as that of a flush.
    pub fn save_epochs(&self, most: usize) -> Result<EpochsSaved, FlushError> {
        for _ in 0..most {
            let Some(log) = self.unsaved().pop() else { break };
            self.check()?;
            let is_saved = match log.save_epochs() {
                // Somebody has taken its directory away, which is the end of this one and of no other.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    log.give_up();
                    true
                }
                Err(error) if is_exhausted(&error) => false,
                saved => {
                    saved.map_err(|source| self.failed(self.error(log.dir().join(EPOCHS_NAME), source)))?
                }
            };
            if !is_saved {
                let mut unsaved = self.unsaved();
                unsaved.push(log);
                return Ok(EpochsSaved { left: unsaved.len(), is_full: true });
            }
        }
        Ok(EpochsSaved { left: self.unsaved().len(), is_full: false })
    }

    /// Those of all logs, when nobody uses the directory any more. On a full disk the slots go on carrying them.
    pub(super) fn save_all_epochs(&self) -> Result<(), FlushError> {
        let logs: Vec<_> = {
            let mut unsaved = self.unsaved();
            unsaved.retain(|log| !log.is_retired() && !log.is_given_up());
            unsaved.clone()
        };
        let of_log = |log: &Arc<Log<F>>| (log.dir().join(EPOCHS_NAME), log.epochs().encode());
        let replacements: Vec<(PathBuf, Vec<u8>)> = logs.iter().rev().map(of_log).collect();
        match replace_many(&*self.files, &replacements, self.has_syncfs) {
            Ok(_) => Ok(()),
            // One by one it shows whose directory somebody has taken away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.save_epochs(usize::MAX).map(drop),
            Err(error) if is_exhausted(&error) => Ok(()),
            Err(source) => Err(self.failed(self.error(super::TOPICS_NAME, source))),
        }
    }

    pub(super) fn unsaved(&self) -> MutexGuard<'_, Vec<Arc<Log<F>>>> {
        self.unsaved_epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
