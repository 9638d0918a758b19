//! Memory that stands in for a mapped file.
//!
//! It is written by plain stores and read by relaxed loads, so nothing but the publication of `end` keeps a
//! reader from racing with the appender. That is on purpose: a checker of data races that runs the tests of this
//! crate checks the publication itself.

use std::io::{self, IoSlice};
use std::ptr::NonNull;

use crate::sync::Accesses;

pub(crate) struct HeapMemory {
    bytes: NonNull<[u8]>,
    accesses: Accesses,
}

// SAFETY: it owns its allocation; sending it sends the only pointer that frees it.
unsafe impl Send for HeapMemory {}
// SAFETY: through `&self` bytes are stored at `end` and above, by the one appender, and loaded below `end`, which is
// published with Release and read with Acquire: no store races with a load (invariants 2, 3, 4).
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    pub(crate) fn new(capacity: usize) -> Self {
        // Zeroed by the allocator, which for large sizes commits a page when it is written.
        Self::of(vec![0_u8; capacity])
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let accesses = Accesses::of(bytes.len());
        Self { bytes: NonNull::from(Box::leak(bytes.into_boxed_slice())), accesses }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn base(&self) -> *const u8 {
        self.bytes.as_ptr().cast()
    }

    /// Published bytes are loaded.
    pub(crate) fn loaded(&self, from: usize, len: usize) {
        self.accesses.loaded(from, len);
    }

    /// The same contract as that of `Backing::write_at`: one appender, at or above `end`.
    pub(crate) fn write_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let from = usize::try_from(at).map_err(|_| full())?;
        let mut room = self.capacity().checked_sub(from).ok_or_else(full)?;
        let mut to = self.bytes.as_ptr().cast::<u8>().wrapping_add(from);
        let mut written = 0;
        for buf in bufs {
            let some = buf.len().min(room);
            self.accesses.stored(from + written, some);
            // SAFETY: `some <= room`, so the destination is inside the allocation; nobody reads it, being at `end` or
            // above, and nobody else writes it (invariants 2, 3). The source is the caller's own memory.
            unsafe { to.copy_from_nonoverlapping(buf.as_ptr(), some) };
            to = to.wrapping_add(some);
            room -= some;
            written += some;
        }
        Ok(written)
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::leak` of a box, and no slice is left: each holds the map (invariant 6).
        drop(unsafe { Box::from_raw(self.bytes.as_ptr()) });
    }
}
