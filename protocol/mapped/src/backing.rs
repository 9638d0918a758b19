//! What lies under a map: a mapped file, or memory that stands in for one.
//!
//! Everything that touches bytes by address is here and in `backing/heap.rs`.

mod heap;

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

use crate::claims::FileId;
use crate::guard::Guarded;
use crate::slice::CopyError;
use crate::writeback;
use heap::HeapMemory;

/// Bytes at stable addresses, and the ways to write and read them.
pub(crate) enum Backing {
    File(MappedFile),
    Heap(HeapMemory),
}

/// A mapping and the descriptor that it was made of. The guard's hold goes before the mapping.
pub(crate) struct MappedFile {
    guarded: Guarded,
    map: MmapRaw,
    file: Arc<File>,
}

impl Backing {
    /// Maps `capacity` bytes of `file`, which may be shorter.
    pub(crate) fn map(file: Arc<File>, capacity: usize) -> io::Result<Self> {
        // PROT_READ and MAP_SHARED (invariant 7). No probe for huge pages, no populating: the file is empty yet.
        let map = MmapOptions::new().len(capacity).map_raw_read_only(&*file)?;
        let start = map.as_ptr().addr();
        let guarded = Guarded::new(start..start + map.len());
        Ok(Self::File(MappedFile { guarded, map, file }))
    }

    /// `capacity` bytes of zeroed memory.
    pub(crate) fn heap(capacity: usize) -> Self {
        Self::Heap(HeapMemory::new(capacity))
    }

    /// These bytes.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Self::Heap(HeapMemory::of(bytes))
    }

    pub(crate) fn is_heap(&self) -> bool {
        matches!(self, Self::Heap(_))
    }

    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::File(mapped) => mapped.map.len(),
            Self::Heap(memory) => memory.capacity(),
        }
    }

    /// The address of byte 0. Valid for `capacity` bytes while `self` lives.
    pub(crate) fn base(&self) -> *const u8 {
        match self {
            Self::File(mapped) => mapped.map.as_ptr(),
            Self::Heap(memory) => memory.base(),
        }
    }

    /// The descriptor, if there is one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(mapped) => Some(mapped.file.as_fd()),
            Self::Heap(_) => None,
        }
    }

    /// Which file it is, and how long, if it is one.
    pub(crate) fn identity(&self) -> io::Result<Option<(FileId, u64)>> {
        let Self::File(mapped) = self else { return Ok(None) };
        let metadata = mapped.file.metadata()?;
        Ok(Some((FileId { device: metadata.dev(), inode: metadata.ino() }, metadata.len())))
    }

    /// The first byte that is known to be lost, though it was published.
    pub(crate) fn lost_from(&self) -> Option<u64> {
        match self {
            Self::File(mapped) => mapped.guarded.lost_from().map(|position| position as u64),
            Self::Heap(_) => None,
        }
    }

    /// The bytes below `upto` were published. If the file is shorter by now, they are lost from its end on; else
    /// nothing is done.
    pub(crate) fn poison_if_truncated(&self, upto: u64) {
        if let Self::File(mapped) = self
            && let Ok(metadata) = mapped.file.metadata()
            && metadata.len() < upto
        {
            mapped.guarded.poison(metadata.len() as usize);
        }
    }

    /// Writes some of `bufs` at `at`; how many bytes, may be fewer than there are. The caller is the one
    /// appender, and `at` is not below `end` (invariants 2 and 4).
    pub(crate) fn write_at(&self, bufs: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        match self {
            Self::File(mapped) => match bufs {
                // A twentieth cheaper for small appends: the kernel copies no vector in.
                [one] => Ok(rustix::io::pwrite(&mapped.file, one, at)?),
                _ => Ok(rustix::io::pwritev(&mapped.file, bufs, at)?),
            },
            Self::Heap(memory) => memory.write_at(bufs, at),
        }
    }

    /// Reserves disk space for `range` without changing the length of the file; `false` if the file system cannot.
    pub(crate) fn allocate(&self, range: Range<u64>) -> io::Result<bool> {
        let Self::File(mapped) = self else { return Ok(true) };
        loop {
            let len = range.end - range.start;
            match rustix::fs::fallocate(&mapped.file, FallocateFlags::KEEP_SIZE, range.start, len) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => return Ok(false),
                done => return Ok(done.map(|()| true)?),
            }
        }
    }

    /// Cuts the file off at `len`, which also frees what is reserved above it. The caller is the one appender, and
    /// `len` is not below `end` (invariants 2 and 4). A file that is shorter by a foreign hand stays so: zeros would
    /// only hide that.
    ///
    /// Whether what was reserved is free now: on a full disk it may have to stay. An error is of bytes that are in the
    /// file still, behind `len`.
    pub(crate) fn cut(&self, len: u64) -> io::Result<bool> {
        let Self::File(mapped) = self else { return Ok(true) };
        let is = mapped.file.metadata()?.len();
        if is < len {
            mapped.guarded.poison(is as usize);
            return Ok(true);
        }
        match mapped.file.set_len(len) {
            Err(error) if is == len && is_full(&error) => Ok(false),
            cut => cut.map(|()| true),
        }
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::File(mapped) => mapped.file.sync_data(),
            Self::Heap(_) => Ok(()),
        }
    }

    pub(crate) fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        match self {
            Self::File(mapped) => writeback::sync_file_range(mapped.file.as_fd(), range),
            Self::Heap(_) => Ok(()),
        }
    }

    /// Faults `len` bytes at `from` in, for reading.
    pub(crate) fn populate(&self, from: usize, len: usize) -> Result<(), CopyError> {
        let Self::File(mapped) = self else { return Ok(()) };
        if len == 0 {
            return Ok(());
        }
        loop {
            match mapped.map.advise_range(Advice::PopulateRead, from, len) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(()) => return Ok(()),
                Err(error) => {
                    // Linux before 5.14 does not know the advice: reading the bytes away brings the same pages in. And
                    // it tells which page cannot be had, and why, where all that the advice has to say is EFAULT.
                    mapped.read_away(from, len)?;
                    // All can be read, and yet a page cannot be mapped: it is part of a large one, of which the disk
                    // cannot read another part.
                    let is_unmappable = error.raw_os_error() == Some(libc::EFAULT);
                    let failed = CopyError::Io { position: from as u64, source: error };
                    return if is_unmappable { Err(failed) } else { Ok(()) };
                }
            }
        }
    }

    /// Asks the kernel to begin reading `len` bytes at `from`, and does not wait for them.
    pub(crate) fn read_ahead(&self, from: usize, len: usize) -> io::Result<()> {
        match self {
            Self::File(mapped) if len > 0 => mapped.map.advise_range(Advice::WillNeed, from, len),
            Self::File(_) | Self::Heap(_) => Ok(()),
        }
    }

    /// The file was found to end at `position`, below what was published.
    pub(crate) fn ends_at(&self, position: u64) -> CopyError {
        match self {
            Self::File(mapped) => mapped.truncated(position),
            Self::Heap(_) => CopyError::Poisoned { position },
        }
    }

    /// Copies published bytes out through the descriptor.
    pub(crate) fn read(&self, from: usize, out: &mut [u8]) -> Result<(), CopyError> {
        let Self::File(mapped) = self else {
            self.load(from, out);
            return Ok(());
        };
        let mut done = 0;
        while done < out.len() {
            let position = (from + done) as u64;
            match mapped.file.read_at(&mut out[done..], position) {
                Ok(0) => return Err(mapped.truncated(position)),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CopyError::Io { position, source }),
            }
        }
        Ok(())
    }

    /// Copies published bytes out of the mapping: single bytes up to an eight-byte boundary, then words, then
    /// single bytes. `from + out.len() <= end` (invariant 5).
    pub(crate) fn load(&self, from: usize, out: &mut [u8]) {
        assert!(from.checked_add(out.len()).is_some_and(|to| to <= self.capacity()));
        if let Self::Heap(memory) = self {
            memory.loaded(from, out.len());
        }
        let at = self.base().wrapping_add(from);
        let (head, rest) = out.split_at_mut(at.align_offset(align_of::<AtomicU64>()).min(out.len()));
        let (words, tail) = rest.as_chunks_mut::<{ size_of::<u64>() }>();

        let at = load_bytes(at, head);
        let at = load_words(at, words);
        load_bytes(at, tail);
    }
}

impl MappedFile {
    fn read_away(&self, from: usize, len: usize) -> Result<(), CopyError> {
        let mut scratch = vec![0; len.min(SCRATCH_SIZE)];
        let (mut at, to) = (from as u64, (from + len) as u64);
        while at < to {
            let step = usize::try_from(to - at).map_or(scratch.len(), |left| left.min(scratch.len()));
            match self.file.read_at(&mut scratch[..step], at) {
                Ok(0) => return Err(self.truncated(at)),
                Ok(read) => at += read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CopyError::Io { position: at, source }),
            }
        }
        Ok(())
    }

    /// The file ends at `position`, below what was published.
    fn truncated(&self, position: u64) -> CopyError {
        self.guarded.poison(position as usize);
        CopyError::Poisoned { position }
    }
}

/// Loads bytes that lie in a backing, below its end; returns the address behind them.
fn load_bytes(mut at: *const u8, out: &mut [u8]) -> *const u8 {
    for byte in out {
        // SAFETY: the address is inside the mapping, which the caller's slice keeps (invariants 5, 6), and read-only
        // memory may be loaded from atomically. The reference is to one atomic, for one load (invariant 1).
        *byte = unsafe { &*at.cast::<AtomicU8>() }.load(Ordering::Relaxed);
        at = at.wrapping_add(1);
    }
    at
}

/// Loads words that lie in a backing, below its end, at an aligned address; returns the address behind them.
fn load_words(mut at: *const u8, out: &mut [[u8; size_of::<u64>()]]) -> *const u8 {
    for word in out {
        // SAFETY: as above, and aligned to eight bytes: relaxed loads up to the size of a register are guaranteed to
        // work on memory that is mapped read-only (invariants 1, 5, 6).
        let loaded = unsafe { &*at.cast::<AtomicU64>() }.load(Ordering::Relaxed);
        *word = loaded.to_ne_bytes();
        at = at.wrapping_add(size_of::<u64>());
    }
    at
}

/// How much is read at once where bytes are read only to bring their pages in.
const SCRATCH_SIZE: usize = 256 << 10;

/// Whether the disk, or what this user may have of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_give_the_bytes_at_every_alignment_and_length() {
        let memory = Backing::heap(64);
        let bytes: Vec<u8> = (0..64).collect();
        memory.write_at(&[IoSlice::new(&bytes)], 0).unwrap();
        for from in 0..24 {
            for len in 0..=40 {
                let mut out = vec![0xff; len];
                memory.load(from, &mut out);
                assert_eq!(out, bytes[from..from + len]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_load_beyond_the_capacity_is_a_bug_and_does_not_happen() {
        Backing::heap(16).load(10, &mut [0; 7]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn reading_away_reaches_the_last_byte_and_says_when_it_is_gone() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SCRATCH_SIZE as u64 + 10).unwrap();
        let backing = Backing::map(Arc::new(file), 1 << 20).unwrap();
        let Backing::File(mapped) = &backing else { unreachable!() };
        mapped.read_away(3, SCRATCH_SIZE + 7).unwrap();
        assert_eq!(backing.lost_from(), None);
        let position = SCRATCH_SIZE as u64 + 10;
        match mapped.read_away(3, SCRATCH_SIZE + 8) {
            Err(CopyError::Poisoned { position: gone }) => assert_eq!(gone, position),
            other => panic!("{other:?}"),
        }
        assert_eq!(backing.lost_from(), Some(position));
    }
}
