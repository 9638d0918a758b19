//! Read-only mappings of files whose bytes reach a socket without being copied; the one unsafe island.
//!
//! What follows is the README of the room. The SAFETY comments name its invariants by number.
//!
#![doc = include_str!("../README.md")]
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
mod copied;
mod guard;
mod receive;
mod residency;
mod segment;
mod slice;
mod sync;
mod writeback;
mod writev;

pub use appender::{Appender, AppenderError};
pub use budget::{MapBudget, MapTicket, map_budget};
pub use guard::guard_against_sigbus;
pub use receive::receive;
pub use residency::{CacheStat, cachestat, mincore};
pub use segment::{MapError, SegmentMap};
pub use slice::{CopyError, MapSlice};
#[cfg(loom)]
pub use sync::published_without_order;
pub use writeback::sync_file_range;
pub use writev::{PARTS_MAX, Part, writev};
