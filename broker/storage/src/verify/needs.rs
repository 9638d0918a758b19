//! What it would take to mend what was found: for each damage, what a repair has to do about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use folio_record::{LeaderEpoch, Offset};
use uuid::Uuid;

use crate::node::NodeMeta;
use crate::partition::{PartitionId, PartitionMeta};
use crate::slots::Slot;

/// Something that is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// `node.meta` is to be written anew.
    Node,
    /// The marker of a clean stop says what is not so.
    Marker,
    /// The metadata log is to be rebuilt.
    Metadata,
    /// This does not belong where it is.
    Aside(PathBuf),
    /// A partition of a topic that the metadata log does not know.
    Stranger(PathBuf, PartitionMeta),
    /// This cannot be read, for this reason; what it says is not known to be lost.
    Unreadable(PathBuf, String),
    /// The file of slots is missing, or another directory's.
    Slots,
    /// Its header is damaged.
    SlotsHeader,
    /// The copy of a slot at this byte is damaged.
    SlotCopy(u64),
    /// A partition's directory is gone.
    Missing(PathBuf, PartitionId),
    /// `partition.meta` is to be written anew.
    Identity(PathBuf),
    /// A directory has another's name.
    Rename(PathBuf, PathBuf),
    /// Indexes, epochs or durable point of a log are not what they should be; its batches tell what they are.
    Log(PathBuf),
    /// From here on a log is lost.
    Cut(PathBuf, Place),
    /// The epoch of an otherwise intact batch is not the one it was appended under.
    Epoch(PathBuf, PathBuf, u64, LeaderEpoch),
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The offset that is due there.
    pub(crate) offset: Offset,
    /// The base of its segment.
    pub(crate) segment: Offset,
    /// Where in the file.
    pub(crate) at: u64,
}

/// What is known of a partition that has a directory.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) meta: PartitionMeta,
    pub(crate) slot: Option<Slot>,
    /// The offset after the last record that is there.
    pub(crate) end: Option<Offset>,
}

/// Everything that is to be done, and what has to be known for it.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub(crate) list: Vec<Need>,
    pub(crate) partitions: BTreeMap<PathBuf, Known>,
    pub(crate) node: Option<NodeMeta>,
    /// The directory that the slots say they are of.
    pub(crate) slots_dir: Option<Uuid>,
    /// The last words about partitions that have no directory any more.
    pub(crate) slots: BTreeMap<PartitionId, (u32, Slot)>,
}

impl Needs {
    /// Adds `need`, once.
    pub(super) fn add(&mut self, need: Need) {
        if !self.list.contains(&need) {
            self.list.push(need);
        }
    }
}
