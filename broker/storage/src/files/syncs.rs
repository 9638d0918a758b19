//! How often, and for how long, a disk was waited for.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::final_error;

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
    /// Runs `sync`, and counts it. Its error is [`final_error`].
    pub(super) fn count(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = sync();
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos
            .fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        outcome.map_err(final_error)
    }

    pub(super) fn totals(&self) -> SyncTotals {
        let took = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        SyncTotals { count: self.count.load(Ordering::Relaxed), took }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{is_exhausted, is_final, is_full};

    #[test]
    fn a_sync_that_finds_the_disk_full_has_failed_like_any_other() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::NOMEM] {
            let source = io::Error::from(errno);
            let said = source.to_string();
            let error = Syncs::default().count(|| Err(source)).unwrap_err();
            assert!(is_final(&error) && !is_full(&error) && !is_exhausted(&error), "{error:?}");
            assert_eq!(error.to_string(), said);
        }
    }
}
