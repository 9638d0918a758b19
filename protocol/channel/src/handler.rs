//! What a stage of a pipeline is.

use std::fmt;

use crate::{ChannelError, ChannelHandlerContext, CloseCause, LoopLocal, Outbound, ReadBuf};

/// Common to all stages. A stage belongs to one channel and runs on the thread of that channel's loop only; it is
/// `Send` because it may be made elsewhere.
pub trait ChannelHandler<L: LoopLocal>: Send + 'static {
    /// It has become a stage of the pipeline.
    fn handler_added(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// It is not a stage of the pipeline any more: removed or replaced. (When the channel ends, it is told
    /// [`channel_inactive`](ChannelInboundHandler::channel_inactive) and dropped.)
    fn handler_removed(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) {}
}

/// A stage that sees what is received.
///
/// Events other than bytes go to every inbound stage, from the socket's end to the last. An error from any method
/// closes the channel with a log line.
pub trait ChannelInboundHandler<L: LoopLocal>: ChannelHandler<L> {
    /// Consumes whole units from the front of `input` and leaves the rest, which comes again with more behind it.
    ///
    /// What it makes of them it queues in `ctx`, for the next stage
    /// ([`fire_channel_read`](ChannelHandlerContext::fire_channel_read)) or toward the socket
    /// ([`write`](ChannelHandlerContext::write)). A stage never calls another.
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError>;

    /// The channel is connected, or it was already when this stage was added. Comes once, before any input.
    fn channel_active(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Nothing more is read from the socket in this turn.
    fn channel_read_complete(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// [`is_writable`](ChannelHandlerContext::is_writable) has changed.
    fn channel_writability_changed(
        &mut self,
        _ctx: &mut ChannelHandlerContext<'_, L>,
    ) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Somebody called [`Channel::wake`](crate::Channel::wake) or
    /// [`LoopHandle::wake_paused`](crate::LoopHandle::wake_paused). Several calls may come as one.
    fn channel_woken(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The time given to [`set_deadline`](ChannelHandlerContext::set_deadline) has come. It is unset again.
    fn deadline_reached(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// The channel has ended; the last call. Nothing can be written any more.
    fn channel_inactive(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>, _cause: &CloseCause) {}

    /// Whether received bytes pass through this stage. One that only waits for events says no, and
    /// [`channel_read`](Self::channel_read) is never called. Asked once, when the stage is added.
    fn takes_input(&self) -> bool {
        true
    }

    /// Whether the peer is still owed something that is not queued yet. While that is so, a channel whose peer has
    /// finished sending, or whose group shuts down, stays open (for a limited time).
    fn owes(&self) -> bool {
        false
    }
}

/// A stage that sees what is sent.
pub trait ChannelOutboundHandler<L: LoopLocal>: ChannelHandler<L> {
    /// Something that a later stage, or a [`Channel`](crate::Channel) handle, sends. Passes it on with
    /// [`write`](ChannelHandlerContext::write), changed or not, now or later.
    fn write(&mut self, ctx: &mut ChannelHandlerContext<'_, L>, item: Outbound) -> Result<(), ChannelError>;

    /// Everything of this turn was written: what was held back to be sent together goes now. Called if
    /// [`write`](Self::write) was, of this or of any outbound stage.
    fn flush(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Whether something that was written has not been passed on yet. A channel that closes waits for it (for a limited
    /// time).
    fn holds_back(&self) -> bool {
        false
    }
}

/// A stage in both directions. Every type that implements both traits is one.
pub trait ChannelDuplexHandler<L: LoopLocal>: ChannelInboundHandler<L> + ChannelOutboundHandler<L> {}

impl<L: LoopLocal, H: ChannelInboundHandler<L> + ChannelOutboundHandler<L>> ChannelDuplexHandler<L> for H {}

/// A handler with its direction: what is inserted into a pipeline.
pub struct Stage<L: LoopLocal>(pub(crate) Role<L>);

pub(crate) enum Role<L: LoopLocal> {
    Inbound(Box<dyn ChannelInboundHandler<L>>),
    Outbound(Box<dyn ChannelOutboundHandler<L>>),
    Duplex(Box<dyn ChannelDuplexHandler<L>>),
}

impl<L: LoopLocal> Stage<L> {
    /// A stage that sees what is received.
    pub fn inbound(handler: impl ChannelInboundHandler<L>) -> Self {
        Self(Role::Inbound(Box::new(handler)))
    }

    /// A stage that sees what is sent.
    pub fn outbound(handler: impl ChannelOutboundHandler<L>) -> Self {
        Self(Role::Outbound(Box::new(handler)))
    }

    /// A stage that sees both.
    pub fn duplex(handler: impl ChannelDuplexHandler<L>) -> Self {
        Self(Role::Duplex(Box::new(handler)))
    }

    pub(crate) fn handler_mut(&mut self) -> &mut dyn ChannelHandler<L> {
        match &mut self.0 {
            Role::Inbound(handler) => &mut **handler,
            Role::Outbound(handler) => &mut **handler,
            Role::Duplex(handler) => &mut **handler,
        }
    }

    pub(crate) fn as_inbound(&self) -> Option<&dyn ChannelInboundHandler<L>> {
        match &self.0 {
            Role::Inbound(handler) => Some(&**handler),
            Role::Outbound(_) => None,
            Role::Duplex(handler) => Some(&**handler),
        }
    }

    pub(crate) fn as_outbound(&self) -> Option<&dyn ChannelOutboundHandler<L>> {
        match &self.0 {
            Role::Inbound(_) => None,
            Role::Outbound(handler) => Some(&**handler),
            Role::Duplex(handler) => Some(&**handler),
        }
    }

    pub(crate) fn inbound_mut(&mut self) -> Option<&mut dyn ChannelInboundHandler<L>> {
        match &mut self.0 {
            Role::Inbound(handler) => Some(&mut **handler),
            Role::Outbound(_) => None,
            Role::Duplex(handler) => Some(&mut **handler),
        }
    }

    pub(crate) fn outbound_mut(&mut self) -> Option<&mut dyn ChannelOutboundHandler<L>> {
        match &mut self.0 {
            Role::Inbound(_) => None,
            Role::Outbound(handler) => Some(&mut **handler),
            Role::Duplex(handler) => Some(&mut **handler),
        }
    }
}

impl<L: LoopLocal> fmt::Debug for Stage<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Role::Inbound(_) => "Stage(inbound)",
            Role::Outbound(_) => "Stage(outbound)",
            Role::Duplex(_) => "Stage(duplex)",
        })
    }
}
