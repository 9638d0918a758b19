//! The ways for an answer to come back.

use std::fmt;
use std::marker::PhantomData;

/// How a [`Service`](crate::Service) answers the request that it is called with. An answer given here takes no
/// lock, no allocation and no wake-up.
#[must_use = "dropping it closes the channel"]
pub struct Responder<'a, R> {
    _handler: PhantomData<&'a mut R>,
}

impl<R> Responder<'_, R> {
    /// Answers now.
    pub fn send(self, _response: R) {
        todo!()
    }

    /// There will be no answer: none is wanted.
    pub fn none(self) {
        todo!()
    }

    /// Answers later, from whatever thread.
    pub fn later(self) -> Reply<R> {
        todo!()
    }
}

/// The answer that one request waits for. Dropped unused, it closes the channel.
#[must_use = "dropping it closes the channel"]
pub struct Reply<R> {
    _response: PhantomData<R>,
}

impl<R> Reply<R> {
    /// Answers. From the loop's own thread (in `turn_end`, say) the answer leaves in the same turn and nothing is
    /// woken; from another thread the loop is woken if it sleeps.
    pub fn send(self, _response: R) {
        todo!()
    }

    /// There will be no answer: none is wanted.
    pub fn none(self) {
        todo!()
    }

    /// Sends a frame that holds no slot, before the answer: it leaves as soon as it is taken over, whatever the
    /// order of answers is.
    ///
    /// # Errors
    ///
    /// The frame, if the channel is not writable now, or `pushed_max` wait to be taken over, or it has ended.
    pub fn push(&self, _frame: R) -> Result<(), NotPushed<R>> {
        todo!()
    }

    /// Whether the channel has ended: an answer would reach nobody.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
}

/// Sends frames that answer no request. Cheap to clone.
pub struct Pusher<R> {
    _response: PhantomData<R>,
}

impl<R> Pusher<R> {
    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// The frame, if the channel is not writable now, or `pushed_max` wait to be taken over, or it has ended.
    pub fn push(&self, _frame: R) -> Result<(), NotPushed<R>> {
        todo!()
    }

    /// Whether the channel has ended.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
}

impl<R> Clone for Pusher<R> {
    fn clone(&self) -> Self {
        todo!()
    }
}

/// A frame that was given back.
pub enum NotPushed<R> {
    /// The channel is above its water marks, or `pushed_max` frames wait. Try again when it is writable.
    Full(R),
    /// The channel has ended.
    Closed(R),
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
