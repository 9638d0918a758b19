//! Whether the wall clock can be believed when anything is to be deleted by its age, be it records or committed
//! offsets: one bad step of it would take all.
//!
//! What it says is held against the time since the machine was booted, which no step moves, and at a start against the
//! last word of the run before. Where it has run ahead, nothing goes by age for an hour; somebody may notice. A clock
//! that goes back only delays.
//!
//! What is written down, so that something goes by its age from then on, has the same clock: for an hour after a jump,
//! ahead or back, the time goes on as it was before ([`Time::steady`]).

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
    /// What is to be written down as the time from which on something grows old. `None`: nobody knows it yet.
    pub(crate) steady: Option<Timestamp>,
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
        let is_believed = said.is_believed(wall, since_boot());
        Time { wall, is_believed, steady: said.steady() }
    }
}

/// What the clocks said last.
#[derive(Debug)]
struct Said {
    wall: Timestamp,
    boot: Duration,
    /// Nothing goes by age before this time since the boot.
    doubted_until: Option<Duration>,
    jumped: Option<Jumped>,
}

/// The clock has jumped, and nobody knows yet whether it was right before or is now.
#[derive(Debug, Clone, Copy)]
struct Jumped {
    /// What it said before, at which time since the boot. `None`: nothing that could go on.
    before: Option<(Timestamp, Duration)>,
    /// From this time since the boot on it is right as it is.
    until: Duration,
}

impl Said {
    fn new(before: Option<Timestamp>, wall: Timestamp, boot: Duration) -> Self {
        let mut said = Self { wall, boot, doubted_until: None, jumped: None };
        let away = before.map_or(0, |before| wall.get().saturating_sub(before.get()));
        let until = boot.saturating_add(DOUBT);
        if away > LONGEST_AWAY_MS {
            said.doubt(boot, away, "the clock says that the last run was more than 30 days ago");
            said.jumped = Some(Jumped { before: None, until });
        } else if away < -FARTHEST_AHEAD_MS {
            // It was later once.
            said.jumped = Some(Jumped { before: before.map(|before| (before, boot)), until });
        }
        said
    }

    /// Whether it can be believed now.
    fn is_believed(&mut self, wall: Timestamp, boot: Duration) -> bool {
        let ahead = wall.get().saturating_sub(later(self.wall, boot.saturating_sub(self.boot)).get());
        if ahead.saturating_abs() > FARTHEST_AHEAD_MS {
            let before = self.steady().map(|steady| (steady, self.boot));
            self.jumped = Some(Jumped { before, until: boot.saturating_add(DOUBT) });
        }
        (self.wall, self.boot) = (wall, boot);
        if ahead > FARTHEST_AHEAD_MS {
            self.doubt(boot, ahead, "the clock has jumped ahead");
        }
        self.doubted_until = self.doubted_until.filter(|until| boot < *until);
        self.jumped = self.jumped.filter(|jumped| boot < jumped.until);
        if self
            .steady()
            .is_some_and(|steady| wall.get().abs_diff(steady.get()) <= FARTHEST_AHEAD_MS.unsigned_abs())
        {
            // It was put right.
            self.jumped = None;
        }
        self.doubted_until.is_none()
    }

    /// What time it is, as far as it can be believed.
    fn steady(&self) -> Option<Timestamp> {
        let Some(jumped) = self.jumped else { return Some(self.wall) };
        jumped.before.map(|(wall, boot)| later(wall, self.boot.saturating_sub(boot)))
    }

    fn doubt(&mut self, boot: Duration, ahead_ms: i64, what: &str) {
        self.doubted_until = Some(boot.saturating_add(DOUBT));
        tracing::error!(ahead_ms, "{what}: nothing is deleted by age, and nothing compacted, for an hour");
    }
}

fn later(time: Timestamp, passed: Duration) -> Timestamp {
    Timestamp::new(time.get().saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)))
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

    #[test]
    fn what_is_written_down_has_the_time_of_before_a_jump_until_that_is_put_right_or_an_hour_is_over() {
        let at_steady = |clock: &mut Said, wall: i64, boot: i64| {
            clock.is_believed(at(wall), up(boot));
            clock.steady().map(|steady| steady.get() - START)
        };
        for jump in [-50 * HOUR, 50 * HOUR, 100_000 * HOUR] {
            let mut clock = Said::new(None, at(0), up(0));
            assert_eq!(at_steady(&mut clock, 1000, 1000), Some(1000));
            assert_eq!(at_steady(&mut clock, jump + 2000, 2000), Some(2000), "{jump}");
            // Put right, a little late, and wrong once more.
            assert_eq!(at_steady(&mut clock, 4000, 3000), Some(4000), "{jump}");
            assert_eq!(at_steady(&mut clock, jump + 5000, 4000), Some(5000), "{jump}");
            // A second jump does not make the first one right.
            assert_eq!(at_steady(&mut clock, 3 * jump + 5000, 5000), Some(6000), "{jump}");
            let last = at_steady(&mut clock, 3 * jump + HOUR + 4999, HOUR + 4999);
            assert_eq!(last, Some(HOUR + 5999), "{jump}");
            let right = 3 * jump + HOUR + 5000;
            assert_eq!(at_steady(&mut clock, right, HOUR + 5000), Some(right), "{jump}");
        }
    }

    #[test]
    fn a_start_goes_on_with_the_time_of_the_last_run_if_it_was_later_and_with_none_if_it_was_long_ago() {
        let mut back = Said::new(Some(at(0)), at(-20_000 * HOUR), up(0));
        assert!(back.is_believed(at(1 - 20_000 * HOUR), up(1)));
        assert_eq!(back.steady(), Some(at(1)));
        let mut late = Said::new(Some(at(0)), at(1000 * HOUR), up(0));
        assert!(!late.is_believed(at(1000 * HOUR + 1), up(1)));
        assert_eq!(late.steady(), None);
        assert!(late.is_believed(at(1001 * HOUR), up(HOUR)));
        assert_eq!(late.steady(), Some(at(1001 * HOUR)));
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
