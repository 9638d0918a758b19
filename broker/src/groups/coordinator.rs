//! All groups of one partition of `__consumer_offsets`.

use std::time::Instant;

use super::event::{Effect, Event, Now};
use super::settings::GroupSettings;

/// The groups of one partition, as a state machine: it is told what happens and when, and says what to do.
#[derive(Debug)]
pub(crate) struct Coordinator {
    settings: GroupSettings,
}

impl Coordinator {
    /// One that has yet to be loaded: it takes [`Event::Replay`] until [`Event::Loaded`].
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self { settings }
    }

    /// Takes what has happened, and adds what is to be done to `effects`.
    pub(crate) fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let _ = (now, event, effects, &self.settings);
    }

    /// When it wants to be stepped again at the latest, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
