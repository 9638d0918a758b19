//! Is it in the page cache? Asked before a thread that must not wait touches a range.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::slice::MapSlice;

/// What the page cache holds of a range, in pages.
///
/// ```text
///  0      8      16          24       32                 40
///  | cache | dirty | writeback | evicted | recently evicted |
/// ```
/// As the kernel writes it (`struct cachestat`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub struct CacheStat {
    /// Pages in the cache, also those whose content is still being read from the disk.
    pub cached: u64,
    /// Of these, pages that wait to be written to the disk.
    pub dirty: u64,
    /// Of these, pages that are being written to the disk.
    pub writeback: u64,
    /// Pages that were in the cache once.
    pub evicted: u64,
    /// Of these, those evicted so recently that their return would show memory pressure.
    pub recently_evicted: u64,
}

const _: () = assert!(size_of::<CacheStat>() == 40);

/// What the page cache holds of `range` (bytes) of a file. About 0.3 us, nearly whatever the length.
///
/// # Errors
///
/// `ENOSYS` before Linux 6.5; `EPERM` for a file that is neither ours nor writable to us, and in sandboxes that do
/// not know the call; `InvalidInput` for a reversed range.
pub fn cachestat(file: BorrowedFd<'_>, range: Range<u64>) -> io::Result<CacheStat> {
    /// `struct cachestat_range`
    #[repr(C)]
    struct CacheStatRange {
        offset: u64,
        len: u64,
    }

    if range.is_empty() && range.start != range.end {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut stat = CacheStat::default();
    if range.start == range.end {
        // A length of zero would mean "to the end of the file".
        return Ok(stat);
    }
    let asked = CacheStatRange { offset: range.start, len: range.end - range.start };
    // SAFETY: both structs are laid out as the kernel's, live for the call, and the kernel writes only into the second.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const asked, &raw mut stat, 0) };
    if result == 0 { Ok(stat) } else { Err(io::Error::last_os_error()) }
}

/// How many of the slice's pages are in memory and up to date. Exact, but it looks at each page: 2 us for 256 KiB, and
/// a quarter of that once they are in the page table.
///
/// A process that neither owns the file nor may write it is told that all are.
///
/// # Errors
///
/// Those of the system call.
pub fn mincore(slice: &MapSlice) -> io::Result<usize> {
    let mut resident = 0;
    for_each_page_state(slice, |pages| {
        resident += pages.iter().filter(|&&page| page & RESIDENT != 0).count();
        true
    })?;
    Ok(resident)
}

pub(crate) fn resident(slice: &MapSlice) -> io::Result<bool> {
    static CACHESTAT_REFUSED: AtomicBool = AtomicBool::new(false);

    let Some(file) = slice.backing().fd() else { return Ok(true) };
    if slice.is_empty() {
        return Ok(true);
    }
    let is_large = pages_of(slice) > PAGES_FOR_MINCORE;
    if is_large && !CACHESTAT_REFUSED.load(Ordering::Relaxed) {
        match cachestat(file, slice.range()) {
            Ok(stat) if stat.cached < pages_of(slice) as u64 => return Ok(false),
            // They are all there, but the disk may not have filled them yet.
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                CACHESTAT_REFUSED.store(true, Ordering::Relaxed);
            }
            // Refused for this file or by this filesystem: the other way may know.
            Err(_) => {}
        }
    }
    let mut all = true;
    for_each_page_state(slice, |pages| {
        all = pages.iter().all(|&page| page & RESIDENT != 0);
        all
    })?;
    Ok(all)
}

/// Calls `look` with the states of the slice's pages, some at a time, until it says `false`.
fn for_each_page_state(slice: &MapSlice, mut look: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let page_size = rustix::param::page_size();
    let mut states = [0_u8; PAGES_AT_ONCE];
    let mut left = pages_of(slice);
    let mut at = slice.address().map_addr(|address| address & !(page_size - 1)).cast_mut();
    while left > 0 {
        let pages = left.min(PAGES_AT_ONCE);
        // SAFETY: the kernel writes one byte a page into `states`, which has room for `pages`. The address is inside
        // the slice's mapping (invariants 5, 6) and is not touched; an address that were not mapped would be ENOMEM.
        let result = unsafe { libc::mincore(at.cast(), pages * page_size, states.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        if !look(&states[..pages]) {
            break;
        }
        left -= pages;
        at = at.wrapping_add(pages * page_size);
    }
    Ok(())
}

/// How many pages the slice touches.
fn pages_of(slice: &MapSlice) -> usize {
    let page_size = rustix::param::page_size();
    let Range { start, end } = slice.range();
    if start == end {
        return 0;
    }
    // Below a capacity that is a usize.
    (end as usize).div_ceil(page_size) - start as usize / page_size
}

/// The number of the call on every architecture; libc does not name it everywhere.
const CACHESTAT: libc::c_long = 451;

/// The bit of `mincore` that has a meaning.
const RESIDENT: u8 = 1;

/// Up to so many pages, `mincore` alone is no slower than `cachestat` and `mincore` where all are in memory.
const PAGES_FOR_MINCORE: usize = 128;

/// 4 MiB of 4 KiB pages.
const PAGES_AT_ONCE: usize = 1024;
