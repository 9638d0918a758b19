//! Why a partition is offline, in words for the one who has to decide what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use folio_record::Offset;
use thiserror::Error;

use crate::envelope::EnvelopeError;
use crate::files::is_exhausted;
use crate::partition::PartitionId;
use crate::verdict::{Fault, Reason};

/// Why a partition is offline. Nothing in it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// Bytes of its log.
    #[error(
        "{}, byte {position}: {fault}; {reason}. Offsets from {offset} on are affected, nothing was changed",
        file.display()
    )]
    Log {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// The first offset concerned.
        offset: Offset,
        /// What is wrong.
        fault: Fault,
        /// Why that is not a torn write.
        reason: Reason,
    },
    /// Bytes of its log that the disk does not give back.
    #[error(
        "{}, byte {position}: the disk cannot read what is here: {error}. Offsets from {offset} on are \
         affected, nothing was changed",
        file.display()
    )]
    UnreadableLog {
        /// The file.
        file: PathBuf,
        /// Where in it the batch begins that cannot be read.
        position: u64,
        /// The first offset concerned.
        offset: Offset,
        /// What the system said.
        error: String,
    },
    /// Nothing is wrong with it, but the disk is full, and there is something to be done before it can be used again.
    #[error(
        "{}: the disk is full, and has no room to do what this is about, before which nothing may be \
         appended. Nothing is damaged, and what lies below offset {offset} is served: once there is room, it is \
         done, and the partition comes back by itself",
        file.display()
    )]
    NoRoom {
        /// What finds no room.
        file: PathBuf,
        /// The log file in which its good part ends.
        log: PathBuf,
        /// Where in it.
        position: u64,
        /// The offset there.
        offset: Offset,
    },
    /// Its directory is gone, although it was there.
    #[error("{} is missing: the partition was made and never deleted. All its offsets are affected", dir.display())]
    DirectoryMissing {
        /// Where it should be.
        dir: PathBuf,
    },
    /// Its directory does not say whose it is.
    #[error("{}: {error}. Nothing was changed", file.display())]
    Meta {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: EnvelopeError,
    },
    /// It lies in a directory of another name.
    #[error(
        "{} is the directory of partition {id} and belongs at {}: rename it back",
        dir.display(),
        belongs.display()
    )]
    Misplaced {
        /// Where it lies.
        dir: PathBuf,
        /// Where it should.
        belongs: PathBuf,
        /// Whose it is.
        id: PartitionId,
    },
    /// A file that this build does not make.
    #[error(
        "{} does not belong in a partition: move it away, or start the build that made it. Nothing was changed",
        file.display()
    )]
    UnknownFile {
        /// The file.
        file: PathBuf,
    },
    /// A replacement of segments was under way, and cannot be finished.
    #[error(
        "{}: {what}. A replacement of segments was interrupted and cannot be finished, nothing was changed",
        file.display()
    )]
    Replacement {
        /// The intent, or one of the new files.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its slot cannot be its own.
    #[error("{}: {reason}. Nothing was changed", file.display())]
    Slot {
        /// The `partition.meta` that names it.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk does not give something else of it back, without which nothing is known of its log.
    #[error("{} cannot be read: {error}. Nothing was changed", file.display())]
    Unreadable {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        error: String,
    },
    /// Nothing is wrong with it: the process has no descriptors, mappings or memory left to look into it. A start does
    /// not go on without.
    #[error("{} cannot be opened: {error}. Nothing was changed: raise the limit (`ulimit -n`)", file.display())]
    OutOfFiles {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        error: String,
        /// Its number, if it has one.
        number: Option<i32>,
    },
}

impl Damage {
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let file = path.to_owned();
        Self::out_of_files(&file, error)
            .unwrap_or_else(|| Self::Unreadable { file, error: error.to_string() })
    }

    /// The same of a log that is faulty at another place, if that comes earlier: nothing behind it is served.
    pub(super) fn or_earlier(&self, fault: Option<(PathBuf, u64, Offset)>) -> Self {
        match (self.clone(), fault) {
            (Self::UnreadableLog { offset: due, error, .. }, Some((file, position, offset)))
                if offset < due =>
            {
                Self::UnreadableLog { file, position, offset, error }
            }
            (Self::NoRoom { file, offset: due, .. }, Some((log, position, offset))) if offset < due => {
                Self::NoRoom { file, log, position, offset }
            }
            (damage, _) => damage,
        }
    }

    /// What was read of a file that is as good as missing if it cannot be read.
    ///
    /// # Errors
    /// It is not the file's fault.
    pub(crate) fn unless_out_of_files<T>(
        file: &Path,
        read: io::Result<Option<T>>,
    ) -> Result<Option<T>, Self> {
        match read {
            Ok(found) => Ok(found),
            Err(error) => Self::out_of_files(file, &error).map_or(Ok(None), Err),
        }
    }

    /// What an error means that is not about the file.
    pub(super) fn out_of_files(file: &Path, error: &io::Error) -> Option<Self> {
        let (file, number) = (file.to_owned(), error.raw_os_error());
        is_exhausted(error).then(|| Self::OutOfFiles { file, error: error.to_string(), number })
    }
}
