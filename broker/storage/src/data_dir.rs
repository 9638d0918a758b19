//! A data directory: everything that one run of the broker keeps, and the right to write to it.
//!
//! ```text
//! LOCK                              held while the directory is open
//! node.meta                         which directory this is, and its format
//! slots                             durable points
//! clean                             only between a clean stop and the next start
//! metadata/0…0.log                  which topics exist
//! topics/<topic>-<partition>/       one log each
//! trash/                            deleted, waiting to be removed
//! quarantine/                       what recovery took out of the way, with notes
//! ```
//!
//! Opening goes in the order: lock, format, take the clean marker away (synced, before anything else is written),
//! slots, metadata log, directories against metadata, partitions one by one, slots. The epochs that it begins are in
//! the slots; the files follow while the directory is used ([`DataDir::save_epochs`]). A partition that cannot be
//! recovered is offline with its reason; it keeps no other one from being served.
//!
//! Invariants:
//! * After a failed write or sync nothing is written any more by this run, and the clean marker least of all.
//! * A topic is announced only after its directories are on disk and the metadata log says so.
//! * What the metadata log does not know is never deleted, only moved aside.

mod epochs;
mod flush;
mod grow;
mod marker;
mod open;
mod reconcile;
mod recover;
mod resume;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use folio_record::Timestamp;
use thiserror::Error;
use uuid::Uuid;

use crate::Log;
use crate::failure::Failure;
use crate::files::{Boot, Files, Space, is_final};
use crate::filesystem::Filesystem;
use crate::lock::Holder;
use crate::log::Shared;
use crate::metadata::{MetadataDamage, MetadataLog, TornTransaction};
use crate::node::NodeMeta;
use crate::open_segments::OpenSegments;
use crate::partition::PartitionId;
use crate::recovery::{Damage, PartitionReport};
use crate::slots::{SlotsDeadline, SlotsError, SlotsFile, SlotsReport};
use crate::trash::Trash;

pub use epochs::EpochsSaved;
pub use flush::{Advanced, Closed, FlushError};
pub(crate) use open::not_of_a_set_up;
pub(crate) use topics::make_directories;
pub use topics::{NewTopic, TopicError};

/// An open data directory.
#[derive(Debug)]
pub struct DataDir<F: Files> {
    files: Arc<F>,
    _lock: F::File,
    node: NodeMeta,
    options: DataDirOptions,
    boot: Boot,
    has_syncfs: bool,
    written_before: Option<Timestamp>,
    trash: Trash,
    open: Arc<OpenSegments>,
    /// Held while a transaction is written and synced.
    metadata: Mutex<MetadataLog<F>>,
    /// What `metadata` has come to.
    revision: AtomicU64,
    durable: Mutex<DurablePoints<F>>,
    /// Held through a whole flush round. A round takes from each log what is not synced, and a log counts as synced
    /// from then on: another round beside it would find nothing to sync, and publish what is still on its way.
    round: Mutex<()>,
    /// Logs that this start has begun an epoch of that is not in their files yet.
    unsaved_epochs: Mutex<Vec<Arc<Log<F>>>>,
    /// Partitions that are offline because there was no room to recover them. Held while one is recovered again.
    waiting: Mutex<BTreeMap<PartitionId, Damage>>,
    failure: Failure,
}

/// The slots, and which partition has which.
#[derive(Debug)]
struct DurablePoints<F: Files> {
    slots: SlotsFile<F>,
    numbers: HashMap<PartitionId, u32>,
    /// In an order that a run repeats.
    logs: BTreeMap<PartitionId, Arc<Log<F>>>,
    /// Of partitions that are offline: what can be read of them.
    below: HashMap<PartitionId, Arc<Log<F>>>,
    deadline: SlotsDeadline,
}

/// Lends threads to a recovery of so many partitions: runs the given work on each of them, and returns when all have
/// returned. Whoever runs it takes one partition after the other until none is left, so one thread, the caller's own,
/// will do: `|_, work| work()`.
pub type SideBySide = fn(partitions: usize, work: &(dyn Fn() + Sync));

/// What opening needs to be told.
#[derive(Debug, Clone)]
pub struct DataDirOptions {
    /// Name and version of this build; the metadata log carries it.
    pub build: String,
    /// A number that no other run has: random.
    pub run_id: u64,
    /// Uuid for the directory, should it be new: random.
    pub new_dir: Uuid,
    /// Uuid of the cluster, should the directory be new: random.
    pub new_cluster: Uuid,
    /// For `LOCK`, should somebody else want the directory.
    pub pid: u32,
    /// For `LOCK`.
    pub host: String,
    /// `allow.incoherent.fs`: open on a file system that is otherwise refused.
    pub allow_incoherent_fs: bool,
    /// `slots.sync.ms`.
    pub slots_sync: Duration,
    /// How partitions are recovered.
    pub side_by_side: SideBySide,
}

impl DataDirOptions {
    /// Options that take nothing from the machine, on the caller's thread: a test that opens with them repeats. What a
    /// test is about, it sets besides: `DataDirOptions { slots_sync, ..DataDirOptions::fixed(7) }`.
    #[must_use]
    pub fn fixed(run_id: u64) -> Self {
        Self {
            build: "folio test".to_owned(),
            run_id,
            new_dir: Uuid::from_u128(1),
            new_cluster: Uuid::from_u128(2),
            pid: 1,
            host: "box".to_owned(),
            allow_incoherent_fs: false,
            slots_sync: Duration::from_millis(100),
            side_by_side: |_, work| work(),
        }
    }
}

/// What opening found and did.
#[derive(Debug)]
pub struct OpenReport<F: Files> {
    /// The directory was empty and has been set up.
    pub created: bool,
    /// The last run stopped cleanly.
    pub was_clean: bool,
    /// Where the directory is.
    pub filesystem: Filesystem,
    /// What is to be said about that file system, and how it is mounted.
    pub warnings: Vec<&'static str>,
    /// About the file of durable points.
    pub slots: SlotsReport,
    /// The last metadata transaction was interrupted and cut off.
    pub torn_transaction: Option<TornTransaction>,
    /// The partitions, in the order of their directories' names.
    pub partitions: Vec<OpenedPartition<F>>,
    /// Where things are that did not belong in `topics/`.
    pub quarantined: Vec<PathBuf>,
    /// What does not belong in `topics/` either, and is there still: the disk has no room for its name elsewhere.
    pub left: Vec<PathBuf>,
}

/// One partition after opening.
#[derive(Debug)]
pub struct OpenedPartition<F: Files> {
    /// Which one.
    pub id: PartitionId,
    /// Its topic's name.
    pub topic: String,
    /// Its log with what recovery did, or why it is offline.
    pub state: Result<(Arc<Log<F>>, PartitionReport), Damage>,
    /// Of one that is offline: what lies below its damage, to be read only.
    pub below: Option<Arc<Log<F>>>,
}

/// Why a directory cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error("data directory {} is in use by {holder}: stop it first, or use another directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who, as far as the file tells.
        holder: Box<Holder>,
    },
    /// The operator's fault: no right to write there.
    #[error("data directory {} cannot be written: {source}", dir.display())]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operator's fault: the file system gives no guarantee.
    #[error(
        "data directory {} is on {filesystem}, which is refused: {reason} (allow.incoherent.fs overrides)",
        dir.display()
    )]
    WrongFilesystem {
        /// The directory.
        dir: PathBuf,
        /// Its file system.
        filesystem: Filesystem,
        /// Why.
        reason: &'static str,
    },
    /// The operator's fault: part of it is elsewhere.
    #[error(
        "{} is mounted below data directory {}: what is there is not flushed with the rest, nor \
         can anything be moved there; mount the volume at the data directory itself",
        mount.display(),
        dir.display()
    )]
    MountBelow {
        /// The directory.
        dir: PathBuf,
        /// Where something is mounted.
        mount: PathBuf,
    },
    /// The operator's fault: there is something else in it.
    #[error("{} holds {name:?} but no node.meta: it is not a data directory", dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
        /// Something in it.
        name: String,
    },
    /// The disk is so full that what the last run left as it stopped cannot be taken away, nor written over. A start
    /// that went on would have the next one believe it.
    #[error(
        "{} has to go before anything is written, and the disk is too full to remove it: {source}; make room, or \
         remove it, and start again",
        file.display()
    )]
    MarkerStays {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later build made it.
    #[error("data directory {} has format {found}; this build opens formats up to {supported}", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// `node.meta` is damaged.
    #[error("{}: {reason}; `folio log repair` writes it anew", file.display())]
    Node {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file of durable points cannot be used.
    #[error("{}: {source}", file.display())]
    Slots {
        /// The file.
        file: PathBuf,
        /// Why.
        source: SlotsError,
    },
    /// The metadata log cannot be used.
    #[error("{}: {damage}{}", file.display(), damage.remedy())]
    Metadata {
        /// The file.
        file: PathBuf,
        /// Why.
        damage: MetadataDamage,
    },
    /// The disk's fault.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl<F: Files> DataDir<F> {
    /// Which directory this is.
    pub fn node(&self) -> &NodeMeta {
        &self.node
    }

    /// This run.
    pub fn run_id(&self) -> u64 {
        self.options.run_id
    }

    /// When the run before has last written down how far a log is durable.
    pub fn written_before(&self) -> Option<Timestamp> {
        self.written_before
    }

    /// Its files.
    pub fn files(&self) -> &Arc<F> {
        &self.files
    }

    /// What its logs hold open together.
    pub fn open_segments(&self) -> &Arc<OpenSegments> {
        &self.open
    }

    /// Where deleted segments go.
    pub fn trash(&self) -> &Trash {
        &self.trash
    }

    /// Unlinks what lies in the trash, file by file as long as `is_wanted` says so. What cannot be removed stays for
    /// the next time; only a failed sync is final, as everywhere.
    pub fn purge_trash(&self, is_wanted: &dyn Fn() -> bool) -> io::Result<()> {
        self.failure.check()?;
        self.trash.purge(&*self.files, is_wanted).inspect_err(|error| {
            if is_final(error) {
                self.failure.set();
            }
        })
    }

    /// How much room there is on its file system.
    pub fn free_space(&self) -> io::Result<Space> {
        self.files.space()
    }

    /// Whether an earlier write or sync has failed: nothing is written any more.
    pub fn has_failed(&self) -> bool {
        self.failure.is_set()
    }

    /// Lets nothing be written any more, because a write elsewhere in the directory has failed.
    pub fn fail(&self) {
        self.failure.set();
    }

    /// What its logs share.
    fn shared(&self) -> Shared<F> {
        let (files, open) = (Arc::clone(&self.files), Arc::clone(&self.open));
        Shared { files, open, failure: self.failure.clone() }
    }

    fn metadata(&self) -> MutexGuard<'_, MetadataLog<F>> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, DurablePoints<F>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where partitions are.
pub const TOPICS_NAME: &str = "topics";

/// Where a partition's directory is.
pub fn partition_dir(topic: &str, partition: u32) -> PathBuf {
    Path::new(TOPICS_NAME).join(format!("{topic}-{partition}"))
}
