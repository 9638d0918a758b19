//! Where answers from anywhere wait for their channel's loop.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::ChannelLimits;
use crate::channel::ChannelCore;

/// One per channel. A list under a lock that is swapped out whole: a push is some ten nanoseconds, and taking all of
/// them out is one lock.
pub(crate) struct Mailbox<R> {
    state: Mutex<State<R>>,
    /// The channel to wake. Unset while it is being made.
    channel: OnceLock<Arc<ChannelCore>>,
}

struct State<R> {
    letters: Vec<Letter<R>>,
    /// How many of them hold no slot.
    pushed: usize,
    is_closed: bool,
}

pub(crate) enum Letter<R> {
    /// Holds no slot.
    Pushed(R),
    Answer {
        slot: u64,
        size: usize,
        response: R,
    },
    NoAnswer {
        slot: u64,
        size: usize,
    },
    /// A reply was dropped unused.
    Dropped,
}

/// Why a frame was not taken.
pub(crate) enum Refused<R> {
    Full(R),
    Closed(R),
}

impl<R> Mailbox<R> {
    pub(crate) fn attach(&self, channel: &Arc<ChannelCore>) {
        // A stage that is moved to another channel would answer to the first; no pipeline can do that.
        let _ = self.channel.set(Arc::clone(channel));
    }

    /// Puts a letter in that holds a slot: there is always room, for the requests in flight are bounded.
    pub(crate) fn send(&self, letter: Letter<R>) {
        let mut state = self.lock();
        if state.is_closed {
            drop(state); // the letter is dropped outside of the lock: it may hold anything
            return;
        }
        state.letters.push(letter);
        drop(state);
        self.wake();
    }

    /// Puts a frame in that holds no slot.
    pub(crate) fn push(&self, frame: R) -> Result<(), Refused<R>> {
        let channel = self.channel.get();
        let max = channel
            .map_or_else(|| ChannelLimits::default().pushed_max, |channel| channel.limits().pushed_max);
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed(frame));
        }
        if state.pushed >= max || channel.is_some_and(|channel| !channel.is_writable()) {
            return Err(Refused::Full(frame));
        }
        state.pushed += 1;
        state.letters.push(Letter::Pushed(frame));
        drop(state);
        self.wake();
        Ok(())
    }

    /// Moves all letters into `into`, which is empty.
    pub(crate) fn take(&self, into: &mut Vec<Letter<R>>) {
        let mut state = self.lock();
        state.pushed = 0;
        std::mem::swap(&mut state.letters, into);
    }

    pub(crate) fn close(&self) {
        let letters = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.letters)
        };
        drop(letters);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn wake(&self) {
        if let Some(channel) = self.channel.get() {
            channel.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // No foreign code runs under the lock: a poisoned one still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Default for Mailbox<R> {
    fn default() -> Self {
        let state = State { letters: Vec::new(), pushed: 0, is_closed: false };
        Self { state: Mutex::new(state), channel: OnceLock::new() }
    }
}
