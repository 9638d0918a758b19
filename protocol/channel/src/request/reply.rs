//! The ways for an answer to come back.

use std::fmt;
use std::sync::Arc;

use super::mailbox::{Letter, Mailbox, Refused};

/// How a [`Service`](crate::Service) answers the request that it is called with. An answer given here takes no
/// lock, no allocation and no wake-up.
#[must_use = "dropping it closes the channel"]
pub struct Responder<'a, R> {
    outcome: &'a mut Outcome<R>,
    mailbox: &'a Arc<Mailbox<R>>,
    slot: u64,
    size: usize,
}

/// What became of a request by the time that its call returned.
pub(super) enum Outcome<R> {
    Dropped,
    Answered(R),
    NoAnswer,
    Later,
}

impl<'a, R> Responder<'a, R> {
    pub(super) fn new(
        outcome: &'a mut Outcome<R>,
        mailbox: &'a Arc<Mailbox<R>>,
        slot: u64,
        size: usize,
    ) -> Self {
        Self { outcome, mailbox, slot, size }
    }

    /// Answers now.
    pub fn send(self, response: R) {
        *self.outcome = Outcome::Answered(response);
    }

    /// There will be no answer: none is wanted.
    pub fn none(self) {
        *self.outcome = Outcome::NoAnswer;
    }

    /// Answers later, from whatever thread.
    pub fn later(self) -> Reply<R> {
        *self.outcome = Outcome::Later;
        Reply { mailbox: Some(Arc::clone(self.mailbox)), slot: self.slot, size: self.size }
    }
}

/// The answer that one request waits for. Dropped unused, it closes the channel.
#[must_use = "dropping it closes the channel"]
pub struct Reply<R> {
    /// `None` once it was used.
    mailbox: Option<Arc<Mailbox<R>>>,
    slot: u64,
    size: usize,
}

impl<R> Reply<R> {
    /// Answers. From the loop's own thread (in `turn_end`, say) the answer leaves in the same turn and nothing is
    /// woken; from another thread the loop is woken if it sleeps.
    pub fn send(mut self, response: R) {
        let (slot, size) = (self.slot, self.size);
        self.post(Letter::Answer { slot, size, response });
    }

    /// There will be no answer: none is wanted.
    pub fn none(mut self) {
        let (slot, size) = (self.slot, self.size);
        self.post(Letter::NoAnswer { slot, size });
    }

    /// Sends a frame that holds no slot, before the answer: it leaves as soon as it is taken over, whatever the
    /// order of answers is.
    ///
    /// # Errors
    ///
    /// The frame, if the channel is not writable now, or `pushed_max` wait to be taken over, or it has ended.
    pub fn push(&self, frame: R) -> Result<(), NotPushed<R>> {
        match &self.mailbox {
            Some(mailbox) => mailbox.push(frame).map_err(NotPushed::from),
            None => Err(NotPushed::Closed(frame)),
        }
    }

    /// Whether the channel has ended: an answer would reach nobody.
    pub fn is_closed(&self) -> bool {
        self.mailbox.as_ref().is_none_or(|mailbox| mailbox.is_closed())
    }

    fn post(&mut self, letter: Letter<R>) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.send(letter);
        }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.post(Letter::Dropped);
    }
}

/// Sends frames that answer no request. Cheap to clone.
pub struct Pusher<R> {
    mailbox: Arc<Mailbox<R>>,
}

impl<R> Pusher<R> {
    pub(super) fn new(mailbox: Arc<Mailbox<R>>) -> Self {
        Self { mailbox }
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// The frame, if the channel is not writable now, or `pushed_max` wait to be taken over, or it has ended.
    pub fn push(&self, frame: R) -> Result<(), NotPushed<R>> {
        self.mailbox.push(frame).map_err(NotPushed::from)
    }

    /// Whether the channel has ended.
    pub fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }
}

impl<R> Clone for Pusher<R> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox) }
    }
}

/// A frame that was given back.
pub enum NotPushed<R> {
    /// The channel is above its water marks, or `pushed_max` frames wait. Try again when it is writable.
    Full(R),
    /// The channel has ended.
    Closed(R),
}

impl<R> From<Refused<R>> for NotPushed<R> {
    fn from(refused: Refused<R>) -> Self {
        match refused {
            Refused::Full(frame) => Self::Full(frame),
            Refused::Closed(frame) => Self::Closed(frame),
        }
    }
}

impl<R> fmt::Debug for NotPushed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

impl<R> fmt::Debug for Responder<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
