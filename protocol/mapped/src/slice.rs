//! A range of published bytes that can be sent, copied and passed between threads.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::backing::Backing;
use crate::residency;
use crate::segment::SegmentMap;

/// A range of published bytes of a [`SegmentMap`]. Holds the map alive; borrows nothing; costs one `Arc` to clone.
///
/// It never gives out a reference to its bytes: [`writev`](crate::writev) hands them to the kernel,
/// [`copy_to`](Self::copy_to) and [`read_to`](Self::read_to) copy them out.
///
/// A place *in the slice* is a `usize`, as in any slice; a place *in the file* is a `u64`.
#[derive(Clone)]
pub struct MapSlice {
    map: Arc<SegmentMap>,
    /// `from + len <= map.end()`, checked when the slice was made (invariant 5).
    from: usize,
    len: usize,
}

/// Why bytes could not be copied out of a slice.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The caller asked for bytes that are not in the slice.
    #[error("bytes {at}..{at}+{wanted} are not in a slice of {len} bytes")]
    OutOfRange {
        /// Where in the slice the copy was to begin.
        at: usize,
        /// How many bytes were wanted.
        wanted: usize,
        /// How many bytes the slice has.
        len: usize,
    },
    /// Bytes that were published are gone: a foreign hand has truncated the file, or a page of it could not be read
    /// when it was touched. The map says so from then on: [`SegmentMap::poisoned`].
    #[error("the file has lost bytes that it had, from byte {position} on")]
    Poisoned {
        /// The first place in the file that is known to be gone, in bytes.
        position: u64,
    },
    /// The disk's fault.
    #[error("cannot read byte {position} of the file: {source}")]
    Io {
        /// Where in the file, in bytes.
        position: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl From<CopyError> for io::Error {
    /// The kernel's own error, if it was one, so that its kind stays.
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Io { source, .. } if source.raw_os_error().is_some() => source,
            other @ CopyError::Io { .. } => Self::other(other),
            other @ CopyError::Poisoned { .. } => Self::new(io::ErrorKind::UnexpectedEof, other),
            other @ CopyError::OutOfRange { .. } => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

impl MapSlice {
    /// `range` is at or below the end of `map` (invariant 5).
    pub(crate) fn new(map: Arc<SegmentMap>, range: Range<u64>) -> Self {
        // On 64-bit Linux, and below a capacity that is a usize: nothing is cut off.
        let (from, to) = (range.start as usize, range.end as usize);
        assert!(from <= to && to <= map.backing().capacity(), "a slice outside of its map");
        Self { map, from, len: to - from }
    }

    /// How many bytes it spans.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it spans no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where in the file it lies, in bytes.
    pub fn range(&self) -> Range<u64> {
        self.from as u64..(self.from + self.len) as u64
    }

    /// The map that it is a part of.
    pub fn map(&self) -> &Arc<SegmentMap> {
        &self.map
    }

    /// Drops the first `bytes` bytes.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len, "advanced a slice of {} bytes by {bytes}", self.len);
        self.from += bytes;
        self.len -= bytes;
    }

    /// Drops all but the first `bytes` bytes; does nothing if it has no more than those.
    pub fn truncate(&mut self, bytes: usize) {
        self.len = self.len.min(bytes);
    }

    /// Splits the first `bytes` bytes off and returns them; `self` keeps the rest.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    #[must_use = "the front is lost otherwise; `advance` says that better"]
    pub fn split_to(&mut self, bytes: usize) -> Self {
        let mut front = self.clone();
        self.advance(bytes);
        front.truncate(bytes);
        front
    }

    /// What is published behind it, up to `bytes` bytes.
    #[must_use]
    pub fn following(&self, bytes: u64) -> Self {
        let from = self.range().end;
        Self::new(Arc::clone(&self.map), from..self.map.end().min(from.saturating_add(bytes)))
    }

    /// Copies `out.len()` bytes, beginning at `at`, out of the mapping. Meant for what is small and known to be
    /// resident: headers, index entries.
    ///
    /// If a foreign hand truncated the file, or the disk cannot read the page, the *touch* raises `SIGBUS`. A program
    /// that has called [`guard_against_sigbus`](crate::guard_against_sigbus) gets an error instead; another one ends,
    /// and has [`read_to`](Self::read_to).
    ///
    /// # Errors
    ///
    /// [`CopyError::OutOfRange`]; [`CopyError::Poisoned`] if bytes are gone before the end of the slice. `out` is then
    /// unspecified.
    pub fn copy_to(&self, at: usize, out: &mut [u8]) -> Result<(), CopyError> {
        self.check(at, out.len())?;
        self.map.backing().load(self.from + at, out);
        self.check_poison()
    }

    /// Copies `out.len()` bytes, beginning at `at`, without touching the mapping: one `pread` of the file. It
    /// may wait for the disk, and raises no signal whatever became of the file.
    ///
    /// # Errors
    ///
    /// See [`CopyError`]; `out` is then unspecified.
    pub fn read_to(&self, at: usize, out: &mut [u8]) -> Result<(), CopyError> {
        self.check(at, out.len())?;
        self.map.backing().read(self.from + at, out)
    }

    /// Whether all its pages are in the page cache and up to date, so that using it waits for no disk. Does not touch
    /// the pages. One of them may leave the cache right after the answer.
    ///
    /// Of a large slice, one `cachestat` tells that some are not there. It counts those that are still being read,
    /// whoever asked for them (the kernel also reads ahead by itself), so `mincore`, which does not, has the last word
    /// on a yes.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn resident(&self) -> io::Result<bool> {
        residency::resident(self)
    }

    /// Brings all its pages into the page cache and into the page table, waiting for the disk
    /// (`MADV_POPULATE_READ`). What would be a signal on touch is an error here.
    ///
    /// # Errors
    ///
    /// [`CopyError::Poisoned`] if a page does not exist any more, [`CopyError::Io`] if one cannot be read; each names
    /// the first such byte of the slice. [`CopyError::Io`] with its first byte also if all of it can be read, but not
    /// all through the mapping: the kernel may keep several pages as one, and one of them that the disk cannot read
    /// then keeps the others from it. They can be [copied](Self::copied).
    pub fn populate(&self) -> Result<(), CopyError> {
        self.map.backing().populate(self.from, self.len)?;
        self.check_poison()
    }

    /// Asks the kernel to begin reading all its pages into the page cache, and waits for none (`MADV_WILLNEED`).
    ///
    /// # Errors
    ///
    /// Those of the system call.
    pub fn read_ahead(&self) -> io::Result<()> {
        self.map.backing().read_ahead(self.from, self.len)
    }

    /// Whether what was taken from the mapping before this call is what the file had.
    pub(crate) fn check_poison(&self) -> Result<(), CopyError> {
        let is_whole = |position: &u64| *position >= self.range().end;
        if self.map.poisoned().is_none_or(|position| is_whole(&position)) {
            return Ok(());
        }
        // The page that was touched need not be the first that is gone.
        self.backing().poison_if_truncated(self.map.end());
        Err(CopyError::Poisoned { position: self.map.poisoned().unwrap_or(0) })
    }

    pub(crate) fn backing(&self) -> &Backing {
        self.map.backing()
    }

    /// The address of its first byte, for the kernel. Valid for `len` bytes while the slice lives (invariants 5, 6).
    pub(crate) fn address(&self) -> *const u8 {
        self.map.backing().base().wrapping_add(self.from)
    }

    fn check(&self, at: usize, wanted: usize) -> Result<(), CopyError> {
        match at.checked_add(wanted) {
            Some(to) if to <= self.len => Ok(()),
            _ => Err(CopyError::OutOfRange { at, wanted, len: self.len }),
        }
    }
}

impl fmt::Debug for MapSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapSlice({:?})", self.range())
    }
}
