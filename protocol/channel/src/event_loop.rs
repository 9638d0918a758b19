//! One thread, one `Poll`, many channels.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mio::Token;

use crate::channel::ChannelOp;
use crate::future::Promise;
use crate::wake::LoopCore;
use crate::{Channel, ChannelInitializer, ConnectError, LoopLocal};

/// A way to an event loop from any thread: cheap to clone.
pub struct LoopHandle<L: LoopLocal> {
    shared: Arc<LoopShared<L>>,
}

impl<L: LoopLocal> LoopHandle<L> {
    /// Which of the group's loops it is; from 0.
    pub fn index(&self) -> usize {
        self.shared.core.index()
    }

    /// Sends `message` to the loop's [`LoopLocal`], and wakes the loop if it sleeps. The queue has no bound of its
    /// own: whoever sends is bounded by what it sends about.
    ///
    /// # Errors
    ///
    /// The message, if the loop has ended.
    pub fn send(&self, message: L::Message) -> Result<(), L::Message> {
        match self.shared.post(Command::Message(message)) {
            Ok(()) => {
                self.shared.core.notify();
                Ok(())
            }
            Err(Command::Message(message)) => Err(message),
            Err(_) => unreachable!("what was posted is given back"),
        }
    }

    /// Wakes, as [`Channel::wake`], every channel of the loop that has paused reading. For the end of a shortage
    /// that many channels wait for.
    pub fn wake_paused(&self) {
        if self.shared.post(Command::WakePaused).is_ok() {
            self.shared.core.notify();
        }
    }

    pub(crate) fn post_channel_op(&self, token: Token, op: ChannelOp<L>) {
        // A loop that has ended has closed its channels: nothing is done, and promises inside say so when dropped.
        drop(self.shared.post(Command::Channel(token, op)));
    }
}

impl<L: LoopLocal> Clone for LoopHandle<L> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<L: LoopLocal> fmt::Debug for LoopHandle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("index", &self.index()).finish()
    }
}

/// What other threads have of a loop.
pub(crate) struct LoopShared<L: LoopLocal> {
    pub(crate) core: Arc<LoopCore>,
    /// `None`: the loop has ended.
    commands: Mutex<Option<Vec<Command<L>>>>,
}

impl<L: LoopLocal> LoopShared<L> {
    pub(crate) fn post(&self, command: Command<L>) -> Result<(), Command<L>> {
        match &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(commands) => {
                commands.push(command);
                Ok(())
            }
            None => Err(command),
        }
    }
}

/// What other threads want of a loop.
pub(crate) enum Command<L: LoopLocal> {
    Message(L::Message),
    Channel(Token, ChannelOp<L>),
    WakePaused,
    Connect {
        address: SocketAddr,
        initializer: Arc<dyn ChannelInitializer<L>>,
        promise: Promise<Result<Channel<L>, ConnectError>>,
    },
    Shutdown {
        deadline: Instant,
    },
}
