//! How a loop's thread is woken: at most one system call however much is posted, and none while it is awake.
//!
//! ```text
//!             fall_asleep (nothing was posted)
//!    AWAKE  ---------------------------------->  ASLEEP
//!      ^ \                                         |
//!      |  \  notify                        notify  |  + one write to the waker's descriptor
//!      |   v                                       v
//!      +-- NOTIFIED  <-----------------------------+
//!    take
//! ```
//!
//! Whoever posts puts the thing into its queue first and notifies second; the loop takes the notification first and
//! empties the queues second. All changes of the state are read-modify-writes of one word, hence totally ordered: a
//! post is either seen by the loop that takes its notification, or keeps the loop from falling asleep.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use mio::Token;

/// The part of a loop that does not depend on what is sent to it.
#[derive(Debug)]
pub(crate) struct LoopCore {
    index: usize,
    state: AtomicU8,
    /// An embedded loop has none: nobody sleeps.
    waker: Option<mio::Waker>,
    /// Channels to be woken. Each is in here at most once; see `ChannelCore::wake`.
    woken: Mutex<Vec<Token>>,
}

impl LoopCore {
    pub(crate) fn new(index: usize, waker: Option<mio::Waker>) -> Self {
        Self { index, state: AtomicU8::new(AWAKE), waker, woken: Mutex::new(Vec::new()) }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Call after something was put into a queue of the loop.
    pub(crate) fn notify(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
            && let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            log_failed_wake(self.index, &error);
        }
    }

    /// Puts a channel among those to be woken.
    pub(crate) fn wake_channel(&self, token: Token) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.notify();
    }

    /// Moves the channels to be woken into `into`, which is empty.
    pub(crate) fn take_woken(&self, into: &mut Vec<Token>) {
        debug_assert!(into.is_empty());
        std::mem::swap(into, &mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The loop is about to sleep. False: something was posted, it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The loop is awake. True: something was posted since it was last asked.
    pub(crate) fn take_notification(&self) -> bool {
        // The plain load spares a bus-locked write in the turns in which nobody posted anything.
        self.state.load(Ordering::Acquire) != AWAKE && self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }
}

fn log_failed_wake(index: usize, error: &io::Error) {
    // The loop still wakes at its next event or deadline; there is nothing better to do from a foreign thread.
    tracing::error!(event_loop = index, %error, "cannot wake an event loop");
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;
