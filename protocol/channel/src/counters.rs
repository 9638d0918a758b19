//! What is counted, per loop and without contention.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    turn_times: [Counter; TURN_TIMES],
}

impl LoopCounters {
    /// A turn has taken so long.
    pub(crate) fn note_turn(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.turn_times[(micros.max(1).ilog2() as usize).min(TURN_TIMES - 1)].increment();
    }

    pub(crate) fn turn_times(&self) -> [u64; TURN_TIMES] {
        self.turn_times.each_ref().map(Counter::get)
    }
}

/// Into how many kinds the turns of a loop are counted by the time they took: the n-th are those of 2^n microseconds or
/// more, up to twice that. The first are all shorter ones as well, the last all longer ones.
pub const TURN_TIMES: usize = 24;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_the_power_of_two_of_microseconds_that_they_took() {
        let counters = LoopCounters::default();
        for nanos in [0, 999, 1_999, 2_000, 3_999, 4_000, 8_388_608_000, u64::MAX] {
            counters.note_turn(Duration::from_nanos(nanos));
        }
        let times = counters.turn_times();
        assert_eq!((times[0], times[1], times[2]), (3, 2, 1));
        assert_eq!(times[TURN_TIMES - 1], 2, "2^23 microseconds and more");
        assert_eq!(times.iter().sum::<u64>(), 8);
    }
}
