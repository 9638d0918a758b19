//! That a write or a sync has failed, known to a directory and to all its logs: nothing is written any more by this
//! run.
//!
//! What the kernel shows after a failed sync is not what the disk has, and the next sync may call it a success.
//! Whatever is written behind it would be built upon that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, and shared by who writes to one directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<AtomicBool>);

impl Failure {
    /// From here on nothing may be written.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether something has failed.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Whoever is about to write asks here first.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_set() {
            return Err(io::Error::other("an earlier write failed; nothing is written any more"));
        }
        Ok(())
    }
}
