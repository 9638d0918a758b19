//! Whether the wall clock can be believed when anything is to be deleted by its age, be it records or committed offsets:
//! one bad step of it would take all.
//!
//! What it says is held against the time since the machine was booted, which no step moves, and at a start against the
//! last word of the run before. Where it has run ahead, nothing goes by age for an hour; somebody may notice. A clock that
//! goes back only delays.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use folio_record::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::engine::now;

/// This machine's clock, for all threads that delete by age: what one of them doubts, no other believes.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<Said>);

/// The time at one look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// What the clock says. It may step at the next moment: what goes by age goes by this look alone.
    pub(crate) wall: Timestamp,
    /// Whether anything may go by it.
    pub(crate) is_believed: bool,
}

impl Clock {
    /// At a start; the run before has written something last at `before`.
    pub(crate) fn new(before: Option<Timestamp>) -> Self {
        Self(Mutex::new(Said::new(before, now(), since_boot())))
    }

    /// Looks at it.
    pub(crate) fn look(&self) -> Time {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = now();
        Time { wall, is_believed: said.is_believed(wall, since_boot()) }
    }
}

/// What the clocks said last.
#[derive(Debug)]
struct Said {
    wall: Timestamp,
    boot: Duration,
    /// Nothing goes by age before this time since the boot.
    doubted_until: Option<Duration>,
}

impl Said {
    fn new(before: Option<Timestamp>, wall: Timestamp, boot: Duration) -> Self {
        let mut said = Self { wall, boot, doubted_until: None };
        let away = before.map_or(0, |before| wall.get().saturating_sub(before.get()));
        if away > LONGEST_AWAY_MS {
            said.doubt(boot, away, "the clock says that the last run was more than 30 days ago");
        }
        said
    }

    /// Whether it can be believed now.
    fn is_believed(&mut self, wall: Timestamp, boot: Duration) -> bool {
        let passed = i64::try_from(boot.saturating_sub(self.boot).as_millis()).unwrap_or(i64::MAX);
        let ahead = wall.get().saturating_sub(self.wall.get()).saturating_sub(passed);
        (self.wall, self.boot) = (wall, boot);
        if ahead > FARTHEST_AHEAD_MS {
            self.doubt(boot, ahead, "the clock has jumped ahead");
        }
        self.doubted_until = self.doubted_until.filter(|until| boot < *until);
        self.doubted_until.is_none()
    }

    fn doubt(&mut self, boot: Duration, ahead_ms: i64, what: &str) {
        self.doubted_until = Some(boot.saturating_add(DOUBT));
        tracing::error!(ahead_ms, "{what}: nothing is deleted by age, and nothing compacted, for an hour");
    }
}

/// How long the machine has been up, asleep or not.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
    Duration::new(seconds, nanos.min(999_999_999))
}

/// By so much more than what has passed.
const FARTHEST_AHEAD_MS: i64 = 3600 * 1000;
const LONGEST_AWAY_MS: i64 = 30 * 24 * 3600 * 1000;
const DOUBT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3600 * 1000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::new(START + ms)
    }

    fn up(ms: i64) -> Duration {
        Duration::from_millis(1_000_000 + ms.unsigned_abs())
    }

    #[test]
    fn a_clock_that_runs_with_the_time_is_believed_however_long_nobody_looked() {
        let mut clock = Said::new(Some(at(-HOUR)), at(0), up(0));
        for hours in [1, 2, 1000, 9000] {
            assert!(clock.is_believed(at(hours * HOUR + 500), up(hours * HOUR)), "{hours}");
        }
    }

    #[test]
    fn after_a_jump_ahead_nothing_goes_by_age_for_an_hour_and_a_second_one_makes_it_longer() {
        let mut clock = Said::new(None, at(0), up(0));
        assert!(clock.is_believed(at(HOUR), up(0)), "an hour is not more than an hour");
        let jumped = 3 * HOUR;
        assert!(!clock.is_believed(at(jumped), up(0)));
        assert!(!clock.is_believed(at(jumped + HOUR - 1), up(HOUR - 1)));
        assert!(!clock.is_believed(at(jumped + 5 * HOUR), up(HOUR - 1)));
        assert!(!clock.is_believed(at(jumped + 5 * HOUR), up(HOUR)));
        assert!(clock.is_believed(at(jumped + 6 * HOUR), up(2 * HOUR - 1)));
    }

    #[test]
    fn a_clock_that_goes_back_is_believed_and_when_it_comes_again_it_is_a_jump() {
        let mut clock = Said::new(None, at(0), up(0));
        assert!(clock.is_believed(at(-50 * HOUR), up(1)));
        assert!(!clock.is_believed(at(0), up(2)));
    }

    #[test]
    fn a_start_that_seems_to_come_a_month_after_the_last_run_waits_for_an_hour() {
        let month = 30 * 24 * HOUR;
        assert!(Said::new(Some(at(-month)), at(0), up(0)).is_believed(at(0), up(0)));
        let mut clock = Said::new(Some(at(-month - 1)), at(0), up(0));
        assert!(!clock.is_believed(at(1), up(1)));
        assert!(clock.is_believed(at(HOUR), up(HOUR)));
    }

    /// Whether anything of a week's retention goes in a day in which the clock is ten years ahead for half an hour.
    fn deletes(mut is_believed: impl FnMut(Timestamp, Duration) -> bool) -> bool {
        (0..24 * 60).any(|minute| {
            let passed = minute * 60_000;
            let ahead = if (100..130).contains(&minute) { 10 * 365 * 24 * HOUR } else { 0 };
            is_believed(at(passed + ahead), up(passed)) && passed + ahead > 7 * 24 * HOUR
        })
    }

    #[test]
    fn a_step_that_is_put_right_within_the_hour_takes_nothing_and_with_a_clock_that_is_always_believed_it_does()
     {
        let mut clock = Said::new(None, at(0), up(0));
        assert!(!deletes(|wall, boot| clock.is_believed(wall, boot)));
        assert!(deletes(|_, _| true), "the control finds nothing");
    }

    #[test]
    fn the_time_since_the_boot_goes_on() {
        let before = since_boot();
        assert!(before > Duration::ZERO && since_boot() >= before);
    }
}
