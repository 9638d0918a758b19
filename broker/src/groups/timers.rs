//! What runs out when.
//!
//! Invariants: one entry for each thing that is waited for, taken out when it is not any more, so that there are never
//! more than members, newcomers and groups ask for. A heartbeat touches nothing here: it moves the deadline that stands
//! with the member, and the entry looks at that when its own time has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// An entry, to take it out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    at: Instant,
    number: u64,
}

/// What has run out.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// A member's session, or the time that a newcomer has to come with the id that it was given.
    Member { group: Arc<str>, member: Arc<str> },
    /// The time that members have to join.
    Join { group: Arc<str> },
    /// The time that members have to ask for their work.
    Sync { group: Arc<str> },
    /// Offsets and empty groups are to be looked through for those that nobody needs any more.
    Expiry,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeMap<TimerKey, Timer>,
    next: u64,
}

impl TimerKey {
    /// When it runs out.
    pub(super) fn at(self) -> Instant {
        self.at
    }
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> TimerKey {
        let key = TimerKey { at, number: self.next };
        self.next += 1;
        self.entries.insert(key, timer);
        key
    }

    pub(super) fn cancel(&mut self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.entries.remove(&key);
        }
    }

    /// When the first runs out.
    pub(super) fn first(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(key, _)| key.at)
    }

    /// A mark before what is set from now on.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    /// Takes one that has run out and was set before the mark: what is set meanwhile has its turn next time.
    pub(super) fn pop(&mut self, now: Instant, mark: u64) -> Option<Timer> {
        let due = self.entries.range(..=TimerKey { at: now, number: u64::MAX });
        let key = due.map(|(key, _)| *key).find(|key| key.number < mark)?;
        self.entries.remove(&key)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
