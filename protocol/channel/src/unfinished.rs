//! The memory of units that are not complete, of all channels of a group together.
//!
//! A peer that never ends what it has begun costs what it has sent. One such peer is bounded by itself; many together
//! are bounded here, without letting them take the place of honest ones: while the total is below its bound everybody
//! may go on, and above it whoever holds no more than an even part of it. So the total stays below twice the bound.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The totals of a group.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    bytes: AtomicUsize,
    holders: AtomicUsize,
}

impl Unfinished {
    /// A channel that held `before` bytes holds `now`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        match (before, now) {
            _ if before == now => return,
            (0, _) => self.holders.fetch_add(1, Ordering::Relaxed),
            (_, 0) => self.holders.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        if now > before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether a channel may hold `bytes` when all together may hold `total_max`.
    pub(crate) fn admits(&self, bytes: usize, total_max: usize) -> bool {
        let holders = self.holders.load(Ordering::Relaxed).max(1);
        self.bytes.load(Ordering::Relaxed) <= total_max || bytes <= total_max / holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_bound_all_are_admitted_and_above_it_those_with_no_more_than_an_even_part() {
        let unfinished = Unfinished::default();
        unfinished.change(0, 90);
        unfinished.change(0, 10);
        assert!(unfinished.admits(90, 100));
        unfinished.change(10, 20);
        assert!(!unfinished.admits(90, 100));
        assert!(unfinished.admits(20, 100), "an even part of two is 50");
        unfinished.change(90, 0);
        assert!(unfinished.admits(20, 100));
    }

    #[test]
    fn what_is_given_back_leaves_nothing_behind() {
        let unfinished = Unfinished::default();
        for (before, now) in [(0, 5), (5, 9), (9, 9), (9, 2), (2, 0), (0, 0)] {
            unfinished.change(before, now);
        }
        assert_eq!(unfinished.bytes.into_inner() + unfinished.holders.into_inner(), 0);
    }
}
