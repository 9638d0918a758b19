//! So many bytes a second for what nobody waits for.

use std::time::{Duration, Instant};

/// So many bytes a second, one step ahead.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: u64,
    /// Since when the next step is due.
    next: Instant,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, next: now }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// `bytes` were read or written. What was not used before is not made up for.
    pub(super) fn spend(&mut self, bytes: u64, now: Instant) {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second.max(1));
        let spent = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX).min(LONGEST_MICROS));
        self.next = self.next.max(now) + spent;
    }

    /// Nothing is due for so long.
    pub(super) fn wait(&mut self, pause: Duration) {
        self.next = self.next.max(Instant::now() + pause);
    }

    /// How long until the next step is due, or somebody has to look again.
    pub(super) fn pause(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now()).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// No step is paid for longer than a year.
const LONGEST_MICROS: u64 = 365 * 24 * 3600 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_a_second_and_no_burst_for_the_time_before() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1000, start);
        let after = |ms| start + Duration::from_millis(ms);
        assert!(throttle.is_due(after(5000)));
        throttle.spend(500, after(5000));
        assert!(!throttle.is_due(after(5499)) && throttle.is_due(after(5500)));
        throttle.spend(100, after(5500));
        throttle.spend(100, after(5500));
        assert!(!throttle.is_due(after(5699)) && throttle.is_due(after(5700)));
    }

    #[test]
    fn a_byte_a_second_is_slow_and_nothing_overflows() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1, start);
        throttle.spend(u64::MAX, start);
        assert!(!throttle.is_due(start + Duration::from_secs(3600)));
    }
}
