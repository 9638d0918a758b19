//! How often, and for how long, a disk was waited for.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts syncs: of files, of directories, and of the whole file system.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// How many syncs there were, and how long they took in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncTotals {
    /// Failed ones too.
    pub count: u64,
    /// Syncs that ran at the same time count each.
    pub took: Duration,
}

impl Syncs {
    /// Runs `sync`, and counts it.
    pub(super) fn count(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = sync();
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos
            .fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        outcome
    }

    pub(super) fn totals(&self) -> SyncTotals {
        let took = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        SyncTotals { count: self.count.load(Ordering::Relaxed), took }
    }
}
