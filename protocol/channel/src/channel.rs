//! The handle of a channel.

mod config;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use mio::Token;

use crate::future::Promise;
use crate::pipeline::{Edit, PipelineHandle};
use crate::wake::LoopCore;
use crate::{ChannelFuture, ChannelLimits, CloseCause, LoopHandle, LoopLocal, Outbound, WriteError};

pub use config::{ChannelConfig, ChannelMetadata, TransportKind};

/// A connection, or the like of one: a cheap handle that any thread may hold, clone and use. The channel itself
/// (socket, pipeline, outbound buffer) belongs to one event loop for all its life.
///
/// Whatever is asked through a handle is *posted* to the loop and happens there in the order of the posts. On a
/// channel that has ended it does nothing. Dropping handles does not close a channel.
///
/// Netty's `Channel`, member by member: `id`, `eventLoop`, `parent`, `config`, `metadata`, `isOpen`, `isRegistered`,
/// `isActive`, `isWritable`, `localAddress`, `remoteAddress`, `closeFuture`, `pipeline`, `read`, `write`, `flush`,
/// `writeAndFlush`, `close`. There is no `alloc` (buffers are the loop's) and no `deregister`; `disconnect` is
/// `close`.
pub struct Channel<L: LoopLocal> {
    core: Arc<ChannelCore>,
    event_loop: LoopHandle<L>,
}

/// A number that no other channel of this process has or had; for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u64);

impl<L: LoopLocal> Channel<L> {
    /// Its number.
    pub fn id(&self) -> ChannelId {
        self.core.id
    }

    /// The loop that it belongs to.
    pub fn event_loop(&self) -> &LoopHandle<L> {
        &self.event_loop
    }

    /// The number of the server channel that accepted it.
    pub fn parent(&self) -> Option<ChannelId> {
        self.core.parent
    }

    /// Its settings.
    pub fn config(&self) -> ChannelConfig<'_, L> {
        ChannelConfig::new(self)
    }

    /// What kind of channel it is.
    pub fn metadata(&self) -> ChannelMetadata {
        self.core.metadata
    }

    /// Whether it has not ended, nor begun to close.
    pub fn is_open(&self) -> bool {
        self.core.has(OPEN)
    }

    /// Whether its loop watches its socket.
    pub fn is_registered(&self) -> bool {
        self.core.has(REGISTERED)
    }

    /// Whether it is connected.
    pub fn is_active(&self) -> bool {
        self.core.has(ACTIVE)
    }

    /// Whether its outbound buffer is below the water marks. What is written nevertheless is kept and sent; a
    /// producer that may produce without end stops here, until
    /// [`channel_writability_changed`](crate::ChannelInboundHandler::channel_writability_changed).
    pub fn is_writable(&self) -> bool {
        self.core.is_writable()
    }

    /// This end's address. `None` for an embedded channel.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.core.local_address
    }

    /// The peer's address. `None` for an embedded channel and for a server channel.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.core.remote_address
    }

    /// Done when the channel has ended, with the reason.
    pub fn close_future(&self) -> ChannelFuture<CloseCause> {
        self.core.closed.clone()
    }

    /// Its pipeline, as a handle: edits are posted.
    pub fn pipeline(&self) -> PipelineHandle<L> {
        PipelineHandle::new(self.clone())
    }

    /// With [`auto_read`](ChannelConfig::is_auto_read) off: reads the socket once, when there is something.
    pub fn read(&self) {
        self.post(ChannelOp::Read);
        self.core.loop_core.notify();
    }

    /// Sends `item` through all outbound stages, from the far end of the pipeline. It waits for
    /// [`flush`](Self::flush), or for the next thing that wakes the loop by way of a handle.
    ///
    /// The result is there when everything has been handed to the kernel that had left the pipeline for the socket
    /// by the time `item` had gone through it.
    pub fn write(&self, item: impl Into<Outbound>) -> ChannelFuture<Result<(), WriteError>> {
        let promise = Promise::new(Err(WriteError::Closed));
        let future = promise.future();
        self.post(ChannelOp::Write { item: item.into(), promise });
        future
    }

    /// Makes the loop send what was written, now.
    pub fn flush(&self) {
        self.core.loop_core.notify();
    }

    /// [`write`](Self::write) and [`flush`](Self::flush).
    pub fn write_and_flush(&self, item: impl Into<Outbound>) -> ChannelFuture<Result<(), WriteError>> {
        let written = self.write(item);
        self.flush();
        written
    }

    /// Closes the channel when everything that was written before has been sent, or
    /// [`close_linger`](crate::ChannelLimits::close_linger) has passed. Nothing is read any more.
    pub fn close(&self) -> ChannelFuture<CloseCause> {
        self.post(ChannelOp::Close);
        self.core.loop_core.notify();
        self.close_future()
    }

    /// Calls [`channel_woken`](crate::ChannelInboundHandler::channel_woken) of all stages, soon: in this turn if
    /// called by the loop itself before channels are written, else in the next. A loop that is awake is not
    /// interrupted; several calls may come as one.
    pub fn wake(&self) {
        self.core.wake();
    }

    pub(crate) fn new(core: Arc<ChannelCore>, event_loop: LoopHandle<L>) -> Self {
        Self { core, event_loop }
    }

    pub(crate) fn core(&self) -> &Arc<ChannelCore> {
        &self.core
    }

    /// Leaves `op` for the loop, without waking it.
    pub(crate) fn post(&self, op: ChannelOp<L>) {
        self.event_loop.post_channel_op(self.core.token, op);
    }
}

impl<L: LoopLocal> Clone for Channel<L> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), event_loop: self.event_loop.clone() }
    }
}

impl<L: LoopLocal> fmt::Debug for Channel<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.core, f)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ChannelId {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is asked of a channel through a handle.
pub(crate) enum ChannelOp<L: LoopLocal> {
    Read,
    Write { item: Outbound, promise: Promise<Result<(), WriteError>> },
    Close,
    Edit(Edit<L>),
    SetAutoRead(bool),
}

/// The part of a channel that all threads see.
pub(crate) struct ChannelCore {
    id: ChannelId,
    parent: Option<ChannelId>,
    token: Token,
    loop_core: Arc<LoopCore>,
    limits: Arc<ChannelLimits>,
    metadata: ChannelMetadata,
    local_address: Option<SocketAddr>,
    remote_address: Option<SocketAddr>,
    closed: ChannelFuture<CloseCause>,
    /// Written by the loop only.
    state: AtomicU8,
    /// Written by the loop only.
    auto_read: AtomicBool,
    /// The token is in the loop's list of woken channels.
    woken: AtomicBool,
}

impl ChannelCore {
    pub(crate) fn new(
        token: Token,
        loop_core: Arc<LoopCore>,
        limits: Arc<ChannelLimits>,
        metadata: ChannelMetadata,
        parent: Option<ChannelId>,
        [local_address, remote_address]: [Option<SocketAddr>; 2],
        closed: ChannelFuture<CloseCause>,
    ) -> Self {
        Self {
            id: ChannelId::next(),
            parent,
            token,
            loop_core,
            limits,
            metadata,
            local_address,
            remote_address,
            closed,
            state: AtomicU8::new(0),
            auto_read: AtomicBool::new(true),
            woken: AtomicBool::new(false),
        }
    }

    pub(crate) fn limits(&self) -> &ChannelLimits {
        &self.limits
    }

    pub(crate) fn is_auto_read(&self) -> bool {
        self.auto_read.load(Ordering::Relaxed)
    }

    pub(crate) fn set_auto_read(&self, on: bool) {
        self.auto_read.store(on, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.loop_core.wake_channel(self.token);
        }
    }

    /// By the loop, before it looks at what the channel was woken for.
    pub(crate) fn clear_woken(&self) {
        self.woken.store(false, Ordering::Release);
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.has(OPEN | ACTIVE | WRITABLE)
    }

    pub(crate) fn has(&self, flags: u8) -> bool {
        self.state.load(Ordering::Acquire) & flags == flags
    }

    /// By the loop only: no other thread writes, so this need not be one atomic step.
    pub(crate) fn set(&self, flags: u8, to: bool) {
        let before = self.state.load(Ordering::Relaxed);
        let after = if to { before | flags } else { before & !flags };
        if after != before {
            self.state.store(after, Ordering::Release);
        }
    }
}

impl fmt::Debug for ChannelCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Channel");
        debug.field("id", &self.id.0);
        if let Some(peer) = self.remote_address {
            debug.field("peer", &peer);
        }
        debug.field("open", &self.has(OPEN)).finish()
    }
}

pub(crate) const OPEN: u8 = 1;
pub(crate) const REGISTERED: u8 = 2;
pub(crate) const ACTIVE: u8 = 4;
pub(crate) const WRITABLE: u8 = 8;
