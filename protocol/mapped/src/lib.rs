//! Read-only mappings of files whose bytes reach a socket without being copied; the one unsafe island.
//!
//! A segment of the log and its indexes are memory-mapped files. They are *read* through a shared, read-only
//! mapping and *written* through the descriptor, into the same page cache:
//!
//! ```text
//!   Appender (one)                     SegmentMap (shared)                      MapSlice (many)
//!   pwritev(fd, bytes, end) ------>  | published bytes | reserve |  past EOF |  ------> writev(socket)
//!   end.store(new, Release)          0                end    allocated   capacity       copy_to(stack)
//!                                                       \__ end.load(Acquire) __/
//! ```
//!
//! The mapping spans the whole *capacity* from the start, most of it past the end of the file: its pages become
//! reachable as the file grows, so nothing is ever mapped anew. No store goes through a mapping, because such a
//! store can die by a signal (a full disk, a reflinked file) or, worse, succeed after the filesystem has failed;
//! `pwritev` returns an error instead.
//!
//! # Invariants
//!
//! Each `unsafe` block names the ones that it needs by number.
//!
//! 1. **No reference to mapped bytes exists.** There is no `&[u8]` and no `&mut [u8]` into a map, not even for
//!    a moment: bytes are handed to the kernel by address, or copied out by relaxed atomic loads of at most
//!    eight bytes, each through a reference to one atomic. A file that changes under us, by whoever's hand,
//!    gives wrong bytes (found by checksums) and never undefined behaviour.
//! 2. **One appender.** At most one [`Appender`] exists for a map, and for a file (device and inode) in this
//!    process. It writes at `end` and above, nowhere else.
//! 3. **Bytes first, then `end`.** `end` moves by one `Release` store after every byte below it is in place, and
//!    never back. Whoever loaded it (`Acquire`) may read all bytes below. A failed append moves nothing.
//! 4. **Published bytes stay.** This process never writes, punches or truncates below `end`.
//! 5. **A slice is inside.** A [`MapSlice`] begins and ends at or below the `end` of its creation, and
//!    `end <= capacity` always; so all its addresses lie in the mapping.
//! 6. **A slice keeps its map.** It holds the `Arc`: while a slice lives, nothing is unmapped, closed or freed.
//! 7. **No writable mapping** of a data file exists in this process.
//! 8. **Maps are counted.** Above half of `vm.max_map_count` a new map is an error; beyond the kernel's limit
//!    even `malloc` would fail, and abort.
//!
//! # Example
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io::{IoSlice, Read};
//! use std::os::{fd::AsFd, unix::net::UnixStream};
//! use folio_mapped::{Part, SegmentMap, writev};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("00000000000000000000.log");
//! let file = std::fs::File::options().read(true).write(true).create_new(true).open(path)?;
//! let map = SegmentMap::open(file, 1 << 20, 0)?; // maps 1 MiB of a file that is empty yet
//!
//! let mut appender = map.appender()?; // the only one
//! appender.allocate(64 << 10)?; // disk space, not length
//! let range = appender.append(&[IoSlice::new(b"hello "), IoSlice::new(b"world")])?;
//!
//! let slice = map.slice(range).expect("it was published");
//! let (ours, mut theirs) = UnixStream::pair()?;
//! let sent = writev(ours.as_fd(), &[Part::Heap(b"> "), Part::Map(&slice)])?;
//!
//! let mut received = vec![0; sent];
//! theirs.read_exact(&mut received)?;
//! assert_eq!(received, b"> hello world");
//! # Ok(())
//! # }
//! ```

#![expect(
    unsafe_code,
    reason = "this is the island: system calls by address, and loads from shared mappings"
)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "Folio runs on 64-bit Linux: it maps files beyond their end and asks the page cache by system call"
);

mod appender;
mod backing;
mod budget;
mod claims;
mod receive;
mod residency;
mod segment;
mod slice;
mod writeback;
mod writev;

pub use appender::{Appender, AppenderError};
pub use budget::{MapBudget, map_budget};
pub use receive::receive;
pub use residency::{CacheStat, cachestat, mincore};
pub use segment::{MapError, SegmentMap};
pub use slice::{CopyError, MapSlice};
pub use writeback::sync_file_range;
pub use writev::{PARTS_MAX, Part, writev};
