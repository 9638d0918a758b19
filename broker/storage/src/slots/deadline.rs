//! When the file of durable points has to be synced on its own account.
//!
//! `syncfs` carries the slots along with everything else, one round late; `fdatasync` of a log does not carry them
//! at all. After such a round the flusher syncs the file when it has nothing better to do, and at the latest
//! `slots.sync.ms` after the first copy that is not on disk. Syncing later is never wrong: an old slot is true.

use std::time::{Duration, Instant};

/// Remembers since when copies wait to be synced.
#[derive(Debug)]
pub struct SlotsDeadline {
    delay_max: Duration,
    unsynced_since: Option<Instant>,
}

impl SlotsDeadline {
    /// `delay_max` is `slots.sync.ms`.
    pub fn new(delay_max: Duration) -> Self {
        Self { delay_max, unsynced_since: None }
    }

    /// A copy was written at `now`.
    pub fn wrote(&mut self, now: Instant) {
        self.unsynced_since.get_or_insert(now);
    }

    /// A sync that began after the last copy was written has succeeded.
    pub fn synced(&mut self) {
        self.unsynced_since = None;
    }

    /// Whether a sync is due: at once if the flusher is idle, else when the delay is used up.
    pub fn is_due(&self, now: Instant, idle: bool) -> bool {
        self.unsynced_since
            .is_some_and(|since| idle || now.saturating_duration_since(since) >= self.delay_max)
    }

    /// When a flusher that never becomes idle has to sync, or `None` if nothing waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.unsynced_since.map(|since| since + self.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    #[test]
    fn nothing_is_due_while_nothing_was_written() {
        let deadline = SlotsDeadline::new(DELAY);
        assert!(!deadline.is_due(Instant::now() + DELAY * 10, true));
        assert_eq!(deadline.deadline(), None);
    }

    #[test]
    fn an_idle_flusher_syncs_at_once_and_a_busy_one_at_the_deadline_of_the_first_copy() {
        let start = Instant::now();
        let mut deadline = SlotsDeadline::new(DELAY);
        deadline.wrote(start);
        deadline.wrote(start + DELAY / 2);
        assert!(deadline.is_due(start, true));
        assert!(!deadline.is_due(start + DELAY - Duration::from_nanos(1), false));
        assert!(deadline.is_due(start + DELAY, false));
        assert_eq!(deadline.deadline(), Some(start + DELAY));
    }

    #[test]
    fn a_sync_settles_every_copy_before_it_and_the_next_copy_starts_anew() {
        let start = Instant::now();
        let mut deadline = SlotsDeadline::new(DELAY);
        deadline.wrote(start);
        deadline.synced();
        assert!(!deadline.is_due(start + DELAY * 2, true));
        deadline.wrote(start + DELAY * 3);
        assert_eq!(deadline.deadline(), Some(start + DELAY * 4));
    }
}
