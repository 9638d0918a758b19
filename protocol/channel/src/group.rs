//! The event loops of a program, and what is asked of them as a whole.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{
    BindError, Channel, ChannelFuture, ChannelInitializer, ChannelLimits, ConnectError, LoopHandle,
    LoopLocal, LoopPanicked,
};

/// How a group is made.
#[derive(Clone, Debug)]
pub struct EventLoopConfig {
    /// Loops, each a thread. Default: one per core.
    pub loops: usize,
    /// The threads are called this, a dash, and the loop's index. Default `folio-loop`.
    pub thread_name: String,
    /// How long a loop polls without sleeping after it had something to do: trades a core for latency. Default 0.
    pub spin: Duration,
    /// The bounds of all channels.
    pub limits: ChannelLimits,
    /// What every connected socket is set to.
    pub socket: SocketOptions,
}

impl Default for EventLoopConfig {
    fn default() -> Self {
        Self {
            loops: std::thread::available_parallelism().map_or(1, usize::from),
            thread_name: "folio-loop".to_owned(),
            spin: Duration::ZERO,
            limits: ChannelLimits::default(),
            socket: SocketOptions::default(),
        }
    }
}

/// What every connected socket is set to.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Send small segments at once (`TCP_NODELAY`). Default on: a turn's answers leave in one call anyway.
    pub nodelay: bool,
    /// Probe a silent peer after that time (`SO_KEEPALIVE`). Default 60 s.
    pub keepalive: Option<Duration>,
    /// The kernel's send buffer in bytes (`SO_SNDBUF`). Default: the kernel's choice.
    pub send_buffer_bytes: Option<usize>,
    /// The kernel's receive buffer in bytes (`SO_RCVBUF`). Default: the kernel's choice.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}

/// A group whose loops exist and can be sent messages, but do not run yet: for what needs all the handles before
/// the first turn.
pub struct PreparedGroup<L: LoopLocal> {
    handles: Vec<LoopHandle<L>>,
}

impl<L: LoopLocal> PreparedGroup<L> {
    /// Makes the loops.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    pub fn new(_config: EventLoopConfig) -> io::Result<Self> {
        todo!()
    }

    /// The loops, in order.
    pub fn handles(&self) -> &[LoopHandle<L>] {
        &self.handles
    }

    /// Starts the threads. Each calls `factory` once, with its own handle, and keeps what it returns.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(
        self,
        _factory: impl Fn(usize, LoopHandle<L>) -> L + Send + Sync + 'static,
    ) -> io::Result<EventLoopGroup<L>> {
        todo!()
    }
}

/// Running event loops. Dropping it asks them to stop at once; it does not wait.
pub struct EventLoopGroup<L: LoopLocal> {
    handles: Vec<LoopHandle<L>>,
}

impl<L: LoopLocal> EventLoopGroup<L> {
    /// [`PreparedGroup::new`] and [`PreparedGroup::start`].
    ///
    /// # Errors
    ///
    /// The system has no descriptors left, or a thread cannot be started.
    pub fn start(
        config: EventLoopConfig,
        factory: impl Fn(usize, LoopHandle<L>) -> L + Send + Sync + 'static,
    ) -> io::Result<Self> {
        PreparedGroup::new(config)?.start(factory)
    }

    /// The loops, in order.
    pub fn handles(&self) -> &[LoopHandle<L>] {
        &self.handles
    }

    /// Listens on `address`, and serves every connection with a pipeline made by `initializer`, on the loop that
    /// has the fewest. The result is the server channel: its `local_address` has the port, its `close` ends it
    /// (connections stay).
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn bind(
        &self,
        _address: SocketAddr,
        _initializer: impl ChannelInitializer<L>,
    ) -> Result<Channel<L>, BindError> {
        todo!()
    }

    /// Connects to `address`, with a pipeline made by `initializer` once the connection is there. Does not block.
    pub fn connect(
        &self,
        _address: SocketAddr,
        _initializer: impl ChannelInitializer<L>,
    ) -> ChannelFuture<Result<Channel<L>, ConnectError>> {
        todo!()
    }

    /// Accepts no more, reads no more, lets every channel send what it owes, closes it; after `limit` at the latest
    /// closes what is left. Done when all loops have ended.
    pub fn shutdown(&self, _limit: Duration) -> ChannelFuture<Result<(), LoopPanicked>> {
        todo!()
    }

    /// What [`shutdown`](Self::shutdown) results in, without asking for it. A panic on one loop ends them all.
    pub fn ended(&self) -> ChannelFuture<Result<(), LoopPanicked>> {
        todo!()
    }

    /// Blocks until all threads have ended.
    ///
    /// # Errors
    ///
    /// A loop has panicked.
    pub fn join(self) -> Result<(), LoopPanicked> {
        todo!()
    }

    /// What has been counted so far.
    pub fn counters(&self) -> GroupCounters {
        todo!()
    }
}

/// Counts since the start of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Connections that are open now, accepted or connected.
    pub connections: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections closed at once: there were `connections_max`.
    pub refused_over_limit: u64,
    /// Connections closed at once: no descriptor was left.
    pub refused_no_descriptor: u64,
    /// Channels that ended by an error.
    pub failed: u64,
    /// Turns of all loops.
    pub turns: u64,
    /// `read` calls on sockets.
    pub reads: u64,
    /// `writev` calls on sockets.
    pub writes: u64,
}
