//! Who a producer is: the broker is asked when there is something to send for the first time.

use std::time::{Duration, Instant};

use super::numbers::Identity;
use crate::CallError;

/// Whether the broker has said who the producer is.
#[derive(Debug)]
pub(crate) struct Introduction {
    state: State,
    failed: u32,
}

#[derive(Debug)]
enum State {
    /// Nobody needs to know.
    Needless,
    /// To be asked, but not before this time.
    Due(Option<Instant>),
    Asked,
    Known(Identity),
}

impl Introduction {
    pub(crate) fn new(is_needed: bool) -> Self {
        let state = if is_needed { State::Due(None) } else { State::Needless };
        Self { state, failed: 0 }
    }

    /// Nothing is sent before this.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Needless | State::Known(_))
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        if let State::Known(identity) = self.state { Some(identity) } else { None }
    }

    /// Whether the broker is to be asked now; then it counts as asked.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let due = matches!(self.state, State::Due(at) if at.is_none_or(|at| at <= now));
        if due {
            self.state = State::Asked;
        }
        due
    }

    /// The broker has answered, or could not be asked: that is tried again after a while.
    ///
    /// # Errors
    /// It never will be told.
    pub(crate) fn end(
        &mut self,
        answer: Result<Identity, CallError>,
        now: Instant,
        backoff: impl FnOnce(u32) -> Duration,
    ) -> Result<(), CallError> {
        self.state = match answer {
            Ok(identity) => State::Known(identity),
            // What breaks the protocol may stand between us and the broker, and be gone the next time.
            Err(error) if error.is_retriable() || matches!(error, CallError::Protocol { .. }) => {
                self.failed = self.failed.saturating_add(1);
                State::Due(Some(now + backoff(self.failed)))
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if let State::Due(at) = self.state { at } else { None }
    }
}
