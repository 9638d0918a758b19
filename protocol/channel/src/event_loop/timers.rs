//! The deadlines of a loop.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mio::Token;

/// At most one for each token. A deadline that moves away is left where it is until it comes: the set is touched once
/// an idle period, not once a read.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, usize)>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Moves the deadline of `token` from `old`, if it had one.
    pub(crate) fn replace(&mut self, old: Option<Instant>, new: Instant, token: Token) {
        self.remove(old, token);
        self.due.insert((new, token.0));
    }

    pub(crate) fn remove(&mut self, old: Option<Instant>, token: Token) {
        if let Some(old) = old {
            self.due.remove(&(old, token.0));
        }
    }

    /// Takes out those that have come, in order.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Token> {
        if self.first().is_none_or(|first| first > now) {
            return Vec::new();
        }
        let later = self.due.split_off(&(now + TICK, 0));
        let due = std::mem::replace(&mut self.due, later);
        due.into_iter().map(|(_, token)| Token(token)).collect()
    }
}

/// The least difference of two times: what is due at `now` is before `now + TICK`.
const TICK: Duration = Duration::from_nanos(1);
