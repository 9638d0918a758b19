//! What other threads have of a loop, and of its group.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use mio::Token;
use mio::net::TcpStream;

use crate::channel::ChannelOp;
use crate::counters::{LoopCounters, TURN_TIMES};
use crate::future::Promise;
use crate::permit::{OpenCount, Permit};
use crate::transport::ServerSocketChannel;
use crate::unfinished::Unfinished;
use crate::wake::LoopCore;
use crate::{BindError, Channel, ChannelId, ChannelInitializer, ChannelLimits, ConnectError, LoopLocal};

/// A way to an event loop from any thread: cheap to clone.
pub struct LoopHandle<L: LoopLocal> {
    shared: Arc<LoopShared<L>>,
}

impl<L: LoopLocal> LoopHandle<L> {
    pub(crate) fn new(shared: Arc<LoopShared<L>>) -> Self {
        Self { shared }
    }

    /// Which of the group's loops it is; from 0.
    pub fn index(&self) -> usize {
        self.shared.core.index()
    }

    /// How many turns of the loop took how long, see [`TURN_TIMES`]. A turn waits for nothing; a long one has kept all
    /// channels of the loop waiting.
    pub fn turn_times(&self) -> [u64; TURN_TIMES] {
        self.shared.counters.turn_times()
    }

    /// Sends `message` to the loop's [`LoopLocal`], and wakes the loop if it sleeps. The queue has no bound of its
    /// own: whoever sends is bounded by what it sends about.
    ///
    /// # Errors
    ///
    /// The message, if the loop has ended.
    pub fn send(&self, message: L::Message) -> Result<(), L::Message> {
        self.leave(message)?;
        self.wake();
        Ok(())
    }

    /// As [`send`](Self::send), but the loop sleeps on: for what it can do nothing with before the next thing that is
    /// sent, which comes after this. [`wake`](Self::wake) makes it look at once.
    ///
    /// # Errors
    ///
    /// The message, if the loop has ended.
    pub fn leave(&self, message: L::Message) -> Result<(), L::Message> {
        match self.shared.post(Command::Message(message)) {
            Ok(()) => Ok(()),
            Err(Command::Message(message)) => Err(message),
            Err(_) => unreachable!("what was posted is given back"),
        }
    }

    /// Wakes the loop, if it sleeps, to take what was left for it.
    pub fn wake(&self) {
        self.shared.core.notify();
    }

    /// Wakes, as [`Channel::wake`], every channel of the loop that has paused reading. For the end of a shortage
    /// that many channels wait for.
    pub fn wake_paused(&self) {
        self.command(Command::WakePaused);
    }

    /// Posts `command`, if the loop has not ended: else it is dropped, and a promise in it says so.
    pub(crate) fn command(&self, command: Command<L>) {
        if self.shared.post(command).is_ok() {
            self.shared.core.notify();
        }
    }

    pub(crate) fn post_channel_op(&self, token: Token, op: ChannelOp<L>) {
        // A loop that has ended has closed its channels: nothing is done, and promises inside say so when dropped.
        drop(self.shared.post(Command::Channel(token, op)));
    }

    pub(crate) fn shared(&self) -> &Arc<LoopShared<L>> {
        &self.shared
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

/// The part of a loop that other threads see.
pub(crate) struct LoopShared<L: LoopLocal> {
    pub(crate) core: Arc<LoopCore>,
    pub(crate) counters: Arc<LoopCounters>,
    pub(crate) open: Arc<OpenCount>,
    /// `None`: the loop has ended.
    commands: Mutex<Option<Vec<Command<L>>>>,
}

impl<L: LoopLocal> LoopShared<L> {
    pub(crate) fn new(core: LoopCore) -> Self {
        Self {
            core: Arc::new(core),
            counters: Arc::default(),
            open: Arc::default(),
            commands: Mutex::new(Some(Vec::new())),
        }
    }

    /// Leaves `command` for the loop, without waking it; gives it back if the loop has ended.
    pub(crate) fn post(&self, command: Command<L>) -> Result<(), Command<L>> {
        match &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(commands) => {
                commands.push(command);
                Ok(())
            }
            None => Err(command),
        }
    }

    /// Moves what was posted into `into`, which is empty.
    pub(crate) fn take_commands(&self, into: &mut Vec<Command<L>>) {
        debug_assert!(into.is_empty());
        if let Some(commands) = &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            std::mem::swap(commands, into);
        }
    }

    pub(crate) fn has_commands(&self) -> bool {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_ref().is_some_and(|commands| !commands.is_empty())
    }

    /// The loop has ended: nothing can be posted any more, and what was is dropped.
    pub(crate) fn close(&self) {
        let left = self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(left); // outside of the lock: promises in it call their listeners
    }
}

/// What all loops of a group share.
pub(crate) struct GroupShared<L: LoopLocal> {
    pub(crate) limits: Arc<ChannelLimits>,
    pub(crate) open: Arc<OpenCount>,
    pub(crate) unfinished: Arc<Unfinished>,
    /// Set once, before any loop runs.
    loops: OnceLock<Vec<LoopHandle<L>>>,
}

impl<L: LoopLocal> GroupShared<L> {
    pub(crate) fn new(limits: ChannelLimits) -> Self {
        Self {
            limits: Arc::new(limits),
            open: Arc::default(),
            unfinished: Arc::default(),
            loops: OnceLock::new(),
        }
    }

    pub(crate) fn set_loops(&self, loops: Vec<LoopHandle<L>>) {
        assert!(self.loops.set(loops).is_ok(), "the loops of a group are set once");
    }

    /// Empty for an embedded channel's.
    pub(crate) fn loops(&self) -> &[LoopHandle<L>] {
        self.loops.get().map_or(&[], Vec::as_slice)
    }

    /// Tells all loops to end, at `deadline` at the latest.
    pub(crate) fn shut_down(&self, deadline: Instant) {
        for handle in self.loops() {
            handle.command(Command::Shutdown { deadline });
        }
    }

    /// The loop that has the fewest connections; among equals the first after `last`.
    ///
    /// # Panics
    ///
    /// If there are no loops: nothing of an embedded channel asks for one.
    pub(crate) fn least_loaded(&self, last: usize) -> &LoopHandle<L> {
        let loops = self.loops();
        let mut least = &loops[last.wrapping_add(1) % loops.len()];
        for step in 2..=loops.len() {
            let other = &loops[last.wrapping_add(step) % loops.len()];
            if other.shared.open.get() < least.shared.open.get() {
                least = other;
            }
        }
        least
    }
}

/// What other threads want of a loop.
pub(crate) enum Command<L: LoopLocal> {
    Message(L::Message),
    Channel(Token, ChannelOp<L>),
    WakePaused,
    Adopt(Adoption<L>),
    Listen(Listening<L>),
    Connect(Call<L>),
    Shutdown { deadline: Instant },
}

/// A connection that was accepted, maybe by another loop.
pub(crate) struct Adoption<L: LoopLocal> {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) parent: Option<ChannelId>,
    pub(crate) permit: Permit,
    pub(crate) initializer: Arc<dyn ChannelInitializer<L>>,
}

/// A server socket that is to be served.
pub(crate) struct Listening<L: LoopLocal> {
    pub(crate) socket: ServerSocketChannel,
    pub(crate) initializer: Arc<dyn ChannelInitializer<L>>,
    pub(crate) promise: Promise<Result<Channel<L>, BindError>>,
}

/// A connection that is to be made.
pub(crate) struct Call<L: LoopLocal> {
    pub(crate) address: SocketAddr,
    pub(crate) initializer: Arc<dyn ChannelInitializer<L>>,
    pub(crate) promise: Promise<Result<Channel<L>, ConnectError>>,
}
