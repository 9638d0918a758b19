//! Counting what is open, so that it is given back whatever becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Open connections, of a loop or of a group.
#[derive(Debug, Default)]
pub(crate) struct OpenCount(AtomicUsize);

impl OpenCount {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One open connection, counted in its loop and in its group until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: [Arc<OpenCount>; 2],
}

impl Permit {
    /// One more.
    pub(crate) fn new(in_loop: &Arc<OpenCount>, in_group: &Arc<OpenCount>) -> Self {
        let counts = [Arc::clone(in_loop), Arc::clone(in_group)];
        for count in &counts {
            count.0.fetch_add(1, Ordering::Relaxed);
        }
        Self { counts }
    }

    /// One more, unless the group has `max` already.
    pub(crate) fn below(max: usize, in_loop: &Arc<OpenCount>, in_group: &Arc<OpenCount>) -> Option<Self> {
        let taken = in_group
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1));
        taken.ok()?;
        in_loop.0.fetch_add(1, Ordering::Relaxed);
        Some(Self { counts: [Arc::clone(in_loop), Arc::clone(in_group)] })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for count in &self.counts {
            count.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
