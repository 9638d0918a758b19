//! What is counted, per loop and without contention.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one loop. Written by that loop's thread only, read by any.
#[derive(Debug, Default)]
pub(crate) struct LoopCounters {
    pub(crate) accepted: Counter,
    pub(crate) refused_over_limit: Counter,
    pub(crate) refused_no_descriptor: Counter,
    pub(crate) failed: Counter,
    pub(crate) polls: Counter,
    pub(crate) turns: Counter,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// By the one writer: a load and a store, which cost nothing, where a locked increment would.
    pub(crate) fn increment(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts since the start of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Connections that are open now, accepted or connected.
    pub connections: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections closed at once: there were [`connections_max`](crate::ChannelLimits::connections_max).
    pub refused_over_limit: u64,
    /// Connections closed at once: no descriptor was left.
    pub refused_no_descriptor: u64,
    /// Channels that ended by an error.
    pub failed: u64,
    /// `epoll_wait` calls of all loops.
    pub polls: u64,
    /// Turns of all loops.
    pub turns: u64,
    /// `read` calls on sockets.
    pub reads: u64,
    /// `writev` calls on sockets.
    pub writes: u64,
}

impl GroupCounters {
    pub(crate) fn add(&mut self, of: &LoopCounters) {
        self.accepted += of.accepted.get();
        self.refused_over_limit += of.refused_over_limit.get();
        self.refused_no_descriptor += of.refused_no_descriptor.get();
        self.failed += of.failed.get();
        self.polls += of.polls.get();
        self.turns += of.turns.get();
        self.reads += of.reads.get();
        self.writes += of.writes.get();
    }
}
