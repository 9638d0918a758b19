//! The event loops of a program, and what is asked of them as a whole.

mod config;
mod end;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counters::GroupCounters;
use crate::event_loop::{Call, Command, GroupShared, Listening, LoopShared, Poller};
use crate::future::Promise;
use crate::transport::ServerSocketChannel;
use crate::wake::LoopCore;
use crate::{
    BindError, Channel, ChannelFuture, ChannelInitializer, ConnectError, LoopHandle, LoopLocal, LoopPanicked,
};

pub use config::{EventLoopConfig, SocketOptions};
use end::{GroupEnd, LoopThread};

/// A group whose loops exist and can be sent messages, but do not run yet: for what needs all the handles before
/// the first turn.
pub struct PreparedGroup<L: LoopLocal> {
    config: EventLoopConfig,
    shared: Arc<GroupShared<L>>,
    /// Of the loops that have no thread yet.
    pollers: VecDeque<Poller>,
}

impl<L: LoopLocal> PreparedGroup<L> {
    /// Makes the loops.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left.
    ///
    /// # Panics
    ///
    /// If no loop is asked for.
    pub fn new(config: EventLoopConfig) -> io::Result<Self> {
        assert!(config.loops > 0, "a group of no loops");
        let shared = Arc::new(GroupShared::new(config.limits.clone()));
        let mut pollers = VecDeque::with_capacity(config.loops);
        let mut handles = Vec::with_capacity(config.loops);
        for index in 0..config.loops {
            let (poller, waker) = Poller::new()?;
            pollers.push_back(poller);
            let core = LoopCore::new(index, Some(waker));
            handles.push(LoopHandle::new(Arc::new(LoopShared::new(core))));
        }
        shared.set_loops(handles);
        Ok(Self { config, shared, pollers })
    }

    /// The loops, in order.
    pub fn handles(&self) -> &[LoopHandle<L>] {
        self.shared.loops()
    }

    /// Starts the threads. Each calls `factory` once, with its own handle, and keeps what it returns.
    ///
    /// # Errors
    ///
    /// A thread cannot be started. Those that were are told to stop.
    pub fn start(
        mut self,
        factory: impl Fn(usize, LoopHandle<L>) -> L + Send + Sync + 'static,
    ) -> io::Result<EventLoopGroup<L>> {
        let factory = Arc::new(factory);
        let end = Arc::new(GroupEnd::new(self.pollers.len()));
        let mut group = EventLoopGroup { shared: Arc::clone(&self.shared), end, threads: Vec::new() };
        for index in 0..self.pollers.len() {
            let thread = LoopThread {
                group: Arc::clone(&group.shared),
                handle: group.shared.loops()[index].clone(),
                end: Arc::clone(&group.end),
                options: self.config.socket.clone(),
                spin: self.config.spin,
            };
            let Some(poller) = self.pollers.pop_front() else { break };
            let factory = Arc::clone(&factory);
            let name = format!("{}-{index}", self.config.thread_name);
            let spawned = std::thread::Builder::new().name(name).spawn(move || thread.run(poller, &*factory));
            group.threads.push(spawned?);
        }
        Ok(group)
    }
}

impl<L: LoopLocal> Drop for PreparedGroup<L> {
    fn drop(&mut self) {
        // Loops that have not been started never will be: whoever has a handle of one is told so.
        let loops = self.shared.loops();
        for handle in &loops[loops.len() - self.pollers.len()..] {
            handle.shared().close();
        }
    }
}

/// Running event loops. Dropping it asks them to stop at once; it does not wait.
///
/// A panic on a loop's thread is a bug, and what the loop shares with others may be half changed. So it ends the
/// group: that loop's channels are closed, the other loops shut down without delay, [`ended`](Self::ended) and
/// [`join`](Self::join) say which loop it was and why. Nothing goes on as if nothing had happened.
pub struct EventLoopGroup<L: LoopLocal> {
    shared: Arc<GroupShared<L>>,
    end: Arc<GroupEnd>,
    threads: Vec<JoinHandle<()>>,
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
        self.shared.loops()
    }

    /// Listens on `address`, and serves every connection with a pipeline made by `initializer`, on the loop that
    /// has the fewest. The result is the server channel: its `local_address` has the port, its `close` ends it
    /// (connections stay).
    ///
    /// Waits for a loop to take the socket over: not to be called on a loop's thread.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn bind(
        &self,
        address: SocketAddr,
        initializer: impl ChannelInitializer<L>,
    ) -> Result<Channel<L>, BindError> {
        let socket = ServerSocketChannel::bind(address, self.shared.limits.backlog)?;
        let promise = Promise::new(Err(BindError::LoopEnded(address)));
        let bound = promise.future();
        let handle = self.next_loop();
        handle.command(Command::Listen(Listening { socket, initializer: Arc::new(initializer), promise }));
        bound.wait()
    }

    /// Connects to `address`, with a pipeline made by `initializer` once the connection is there. Does not block.
    pub fn connect(
        &self,
        address: SocketAddr,
        initializer: impl ChannelInitializer<L>,
    ) -> ChannelFuture<Result<Channel<L>, ConnectError>> {
        let promise = Promise::new(Err(ConnectError::LoopEnded(address)));
        let connected = promise.future();
        let handle = self.next_loop();
        handle.command(Command::Connect(Call { address, initializer: Arc::new(initializer), promise }));
        connected
    }

    /// Accepts no more, reads no more, lets every channel send what it owes, closes it; after `limit` at the latest
    /// closes what is left. Done when all loops have ended.
    pub fn shutdown(&self, limit: Duration) -> ChannelFuture<Result<(), LoopPanicked>> {
        self.shared.shut_down(Instant::now() + limit);
        self.ended()
    }

    /// What [`shutdown`](Self::shutdown) results in, without asking for it. A panic on one loop ends them all.
    pub fn ended(&self) -> ChannelFuture<Result<(), LoopPanicked>> {
        self.end.future()
    }

    /// Blocks until all threads have ended. Does not ask them to.
    ///
    /// # Errors
    ///
    /// A loop has panicked.
    pub fn join(mut self) -> Result<(), LoopPanicked> {
        let result = self.ended().wait();
        for thread in self.threads.drain(..) {
            // It has caught its panic and reported it already.
            let _ = thread.join();
        }
        result
    }

    /// What has been counted so far.
    pub fn counters(&self) -> GroupCounters {
        let mut sum =
            GroupCounters { connections: self.shared.open.get() as u64, ..GroupCounters::default() };
        for handle in self.handles() {
            sum.add(&handle.shared().counters);
        }
        sum
    }

    /// The loop with the fewest connections.
    fn next_loop(&self) -> &LoopHandle<L> {
        self.shared.least_loaded(self.end.next_turn())
    }
}

impl<L: LoopLocal> Drop for EventLoopGroup<L> {
    fn drop(&mut self) {
        self.shared.shut_down(Instant::now());
    }
}
