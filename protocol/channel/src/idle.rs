//! Closing connections that nothing happens on.

use std::time::Duration;

use crate::{ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, LoopLocal, ReadBuf};

/// Closes the channel with [`ChannelError::Idle`] when nothing was received for `limit`, unless the peer is owed
/// something. A stage that only looks: bytes pass through it uncopied.
#[derive(Debug)]
pub struct IdleTimeout {
    limit: Duration,
}

impl IdleTimeout {
    /// A stage for one channel.
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<L: LoopLocal> ChannelHandler<L> for IdleTimeout {}

impl<L: LoopLocal> ChannelInboundHandler<L> for IdleTimeout {
    fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        ctx.set_deadline(Some(ctx.now() + self.limit));
        Ok(())
    }

    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.set_deadline(Some(ctx.now() + self.limit));
        ctx.forward(input);
        Ok(())
    }

    fn deadline_reached(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        Err(ChannelError::Idle(self.limit))
    }
}
