//! A segment file and its mapping: what readers share.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::appender::{Appender, AppenderError};
use crate::backing::Backing;
use crate::budget::{MapBudget, MapTicket, map_budget};
use crate::slice::MapSlice;
use crate::sync::{AtomicBool, AtomicU64, Ordering, publication};

/// A file, mapped read-only over its whole capacity, and how far it is published.
///
/// Shared by `Arc`: the appender holds one, every [`MapSlice`] holds one. The last one to go unmaps and closes,
/// which can take milliseconds for a large map: let that happen on a thread that may wait. The descriptor lives
/// as long as the mapping, because the residency probe and the checked reads need it.
///
/// # Example
///
/// ```
/// use std::io::IoSlice;
/// use folio_mapped::SegmentMap;
///
/// let map = SegmentMap::heap(4096); // the same type over memory, for simulations
/// let mut appender = map.appender()?;
/// appender.append(&[IoSlice::new(b"abc")])?;
///
/// assert_eq!(map.end(), 3);
/// assert!(map.slice(0..3).is_some());
/// assert!(map.slice(0..4).is_none(), "not published");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SegmentMap {
    backing: Backing,
    /// Bytes below are published (invariant 3). Only the appender stores.
    end: AtomicU64,
    /// Whether an appender exists (invariant 2).
    appended: AtomicBool,
    /// Given back when mapping and descriptor are gone: the fields before it go first.
    ticket: Option<Arc<MapTicket>>,
}

/// Why a file could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// As many maps are held as may be (of the process: half of `vm.max_map_count`): drop some and try again.
    #[error("all {limit} mappings that may be held are in use")]
    BudgetSpent {
        /// How many it may hold.
        limit: usize,
    },
    /// The caller asked for a capacity of nothing, of more than an address space, or of less than is published.
    #[error("a capacity of {capacity} bytes cannot hold a file published up to {end}")]
    Capacity {
        /// The capacity asked for, in bytes.
        capacity: u64,
        /// The end asked for, in bytes.
        end: u64,
    },
    /// The file ends before what is said to be published.
    #[error("the file has {len} bytes, but {end} were to be published")]
    ShortFile {
        /// How long the file is, in bytes.
        len: u64,
        /// The end asked for, in bytes.
        end: u64,
    },
    /// The kernel refused.
    #[error("cannot map the file: {0}")]
    Io(#[from] io::Error),
}

impl From<MapError> for io::Error {
    /// The kernel's own error, if it was one, so that its kind stays.
    fn from(error: MapError) -> Self {
        match error {
            MapError::Io(error) => error,
            other @ MapError::BudgetSpent { .. } => io::Error::new(io::ErrorKind::OutOfMemory, other),
            other => io::Error::other(other),
        }
    }
}

impl SegmentMap {
    /// Maps `file` from 0 to `capacity`, however short it is, and publishes its first `end` bytes.
    ///
    /// `file` must be open for reading, and for writing if it is to be appended to; it may be shared with others.
    /// Bytes at and after `end`, if the file has any, are not shown to anyone.
    ///
    /// # Errors
    ///
    /// See [`MapError`]. Nothing was mapped then.
    pub fn open(file: impl Into<Arc<File>>, capacity: u64, end: u64) -> Result<Arc<Self>, MapError> {
        Self::open_within(map_budget(), file, capacity, end)
    }

    /// As [`open`](Self::open), counted in a budget of the caller's.
    ///
    /// # Errors
    ///
    /// See [`MapError`]. Nothing was mapped then.
    pub fn open_within(
        budget: &Arc<MapBudget>,
        file: impl Into<Arc<File>>,
        capacity: u64,
        end: u64,
    ) -> Result<Arc<Self>, MapError> {
        let file = file.into();
        let len = file.metadata()?.len();
        if len < end && end <= capacity {
            return Err(MapError::ShortFile { len, end });
        }
        Self::map(budget, file, capacity, end)
    }

    /// As [`open_within`](Self::open_within), to be read: a file that is shorter than what was published, by a foreign
    /// hand, is mapped all the same, and [poisoned](Self::poisoned) from its end on.
    ///
    /// # Errors
    ///
    /// See [`MapError`]. Nothing was mapped then.
    pub fn open_as_left(
        budget: &Arc<MapBudget>,
        file: impl Into<Arc<File>>,
        capacity: u64,
        end: u64,
    ) -> Result<Arc<Self>, MapError> {
        let map = Self::map(budget, file.into(), capacity, end)?;
        map.check_length();
        Ok(map)
    }

    fn map(budget: &Arc<MapBudget>, file: Arc<File>, capacity: u64, end: u64) -> Result<Arc<Self>, MapError> {
        let bytes = usize::try_from(capacity).ok().filter(|&bytes| bytes > 0 && bytes <= isize::MAX as usize);
        let Some(bytes) = bytes.filter(|_| end <= capacity) else {
            return Err(MapError::Capacity { capacity, end });
        };
        let ticket = budget.take().ok_or(MapError::BudgetSpent { limit: budget.limit() })?;
        Ok(Self::over(Backing::map(file, bytes)?, end, Some(ticket)))
    }

    /// The same type over `capacity` bytes of memory, for simulations and for checkers that cannot map files:
    /// the same publication, the same slices, no disk. Not counted as a map.
    ///
    /// # Panics
    ///
    /// If there is not that much memory. Memory is committed as it is written.
    pub fn heap(capacity: usize) -> Arc<Self> {
        Self::over(Backing::heap(capacity), 0, None)
    }

    /// As [`heap`](Self::heap), but counted as a map of a file would be.
    ///
    /// # Errors
    ///
    /// [`MapError::BudgetSpent`].
    pub fn heap_within(budget: &Arc<MapBudget>, capacity: usize) -> Result<Arc<Self>, MapError> {
        let ticket = budget.take().ok_or(MapError::BudgetSpent { limit: budget.limit() })?;
        Ok(Self::over(Backing::heap(capacity), 0, Some(ticket)))
    }

    /// The same type over these bytes, all of them published.
    pub(crate) fn holding(bytes: Vec<u8>) -> Arc<Self> {
        let end = bytes.len() as u64;
        Self::over(Backing::holding(bytes), end, None)
    }

    fn over(backing: Backing, end: u64, ticket: Option<MapTicket>) -> Arc<Self> {
        Arc::new(Self {
            backing,
            end: AtomicU64::new(end),
            appended: AtomicBool::new(false),
            ticket: ticket.map(Arc::new),
        })
    }

    /// What it is counted by, for whoever keeps its descriptor open longer than the map; none if it is not counted.
    pub fn ticket(&self) -> Option<&Arc<MapTicket>> {
        self.ticket.as_ref()
    }

    /// The one appender of this map.
    ///
    /// # Errors
    ///
    /// [`AppenderError::Taken`] while another appender of this map, or of the same file through another map,
    /// exists.
    pub fn appender(self: &Arc<Self>) -> Result<Appender, AppenderError> {
        Appender::claim(self)
    }

    /// How many bytes are published. They can be read through this map at once.
    pub fn end(&self) -> u64 {
        // Pairs with the Release store of `publish`: all bytes below are visible to this thread now.
        self.end.load(Ordering::Acquire)
    }

    /// The largest `end` that this map can reach, in bytes.
    pub fn capacity(&self) -> u64 {
        self.backing.capacity() as u64
    }

    /// Where the first byte is that was published and is known to be gone: a foreign hand has truncated the file, or a
    /// page of it could not be read when it was touched. Nothing from there on can be had any more, whatever the file
    /// holds by now; it stays so while the map lives.
    pub fn poisoned(&self) -> Option<u64> {
        self.backing.lost_from()
    }

    /// A range of published bytes, or `None` if the range is reversed or goes beyond [`end`](Self::end).
    pub fn slice(self: &Arc<Self>, range: Range<u64>) -> Option<MapSlice> {
        (range.start <= range.end && range.end <= self.end()).then(|| MapSlice::new(Arc::clone(self), range))
    }

    /// Waits until everything written so far is on stable storage (`fdatasync`). May be called from any thread,
    /// beside a running append: what that append publishes later is not covered.
    ///
    /// # Errors
    ///
    /// Those of the disk. Such an error is final: the kernel reports it once and then forgets the bytes.
    pub fn sync_data(&self) -> io::Result<()> {
        self.backing.sync_data()
    }

    /// Asks the kernel to begin writing `range` to the disk, and does not wait. Promises nothing about
    /// durability; it only shortens a later [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    ///
    /// Those of `sync_file_range`.
    pub fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.backing.start_writeback(range)
    }

    /// Looks whether the file has what was published. One that is shorter by a foreign hand is
    /// [poisoned](Self::poisoned) from there on.
    pub fn check_length(&self) {
        // The end is looked at first: what is appended meanwhile makes the file longer, never shorter.
        self.backing.poison_if_truncated(self.end());
    }

    pub(crate) fn backing(&self) -> &Backing {
        &self.backing
    }

    /// Publishes all bytes below `end`. The caller is the one appender, and they are all in place.
    pub(crate) fn publish(&self, end: u64) {
        assert!(end <= self.capacity(), "published beyond the capacity of the map");
        assert!(end >= self.end.load(Ordering::Relaxed), "published bytes were taken back");
        self.end.store(end, publication());
    }

    /// Takes the right to append; `false` if it is taken already.
    pub(crate) fn claim(&self) -> bool {
        !self.appended.swap(true, Ordering::Acquire)
    }

    /// Gives the right to append back.
    pub(crate) fn release(&self) {
        self.appended.store(false, Ordering::Release);
    }
}

impl fmt::Debug for SegmentMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentMap").field("end", &self.end()).field("capacity", &self.capacity()).finish()
    }
}
