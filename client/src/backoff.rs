//! How long to wait before the next attempt: exponential with jitter.
//!
//! Without jitter, everyone who lost the broker at the same moment comes back at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waiting times between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// What the waiting time grows to, doubling with each attempt.
    pub most: Duration,
}

impl Backoff {
    /// The time to wait after `failed` attempts in a row (from 1): the doubled time, less up to a fifth of it.
    pub(crate) fn after(&self, failed: u32, jitter: &mut Jitter) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.most);
        full - full.mul_f64(0.2 * jitter.fraction())
    }
}

/// Small random numbers: nothing depends on their quality. Seeded by hand, so that a test can repeat a run.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1) // xorshift never leaves 0
    }

    /// Seeded by the randomness that the standard library keeps for its hash maps.
    pub(crate) fn random() -> Self {
        Self::new(RandomState::new().hash_one(0_u8))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    fn fraction(&mut self) -> f64 {
        f64::from(self.next() as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };

    #[test]
    fn waits_double_up_to_the_bound_and_never_vary_by_more_than_a_fifth() {
        let mut jitter = Jitter::new(7);
        for (failed, full_ms) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000), (u32::MAX, 1000)]
        {
            let full = Duration::from_millis(full_ms);
            for _ in 0..100 {
                let wait = BACKOFF.after(failed, &mut jitter);
                assert!(wait <= full, "{failed}: {wait:?}");
                assert!(wait >= full.mul_f64(0.799), "{failed}: {wait:?}");
            }
        }
    }

    #[test]
    fn two_clients_do_not_come_back_at_the_same_moment() {
        let waits: Vec<_> = (1..20_u64).map(|seed| BACKOFF.after(3, &mut Jitter::new(seed << 20))).collect();
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
