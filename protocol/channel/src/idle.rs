//! Closing connections that nothing happens on.

use std::time::Duration;

use crate::{ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, LoopLocal, ReadBuf};

/// Closes the channel with [`ChannelError::Idle`] when nothing moves for `limit`: nothing is received while the peer is
/// owed nothing, or the peer takes nothing of what waits for it. A peer that waits for its answer is not idle.
///
/// It only waits for events: bytes do not pass through it.
#[derive(Debug)]
pub struct IdleTimeout {
    limit: Duration,
    /// What the socket had taken when the deadline was set.
    sent: u64,
}

impl IdleTimeout {
    /// A stage for one channel.
    pub fn new(limit: Duration) -> Self {
        Self { limit, sent: 0 }
    }

    fn wait<L: LoopLocal>(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) {
        self.sent = ctx.bytes_sent();
        ctx.set_deadline(Some(ctx.now() + self.limit));
    }
}

impl<L: LoopLocal> ChannelHandler<L> for IdleTimeout {}

impl<L: LoopLocal> ChannelInboundHandler<L> for IdleTimeout {
    fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        self.wait(ctx);
        Ok(())
    }

    fn takes_input(&self) -> bool {
        false
    }

    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.forward(input);
        Ok(())
    }

    fn channel_read_complete(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        self.wait(ctx);
        Ok(())
    }

    fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        let sent_something = ctx.bytes_sent() > self.sent;
        let waits_for_answer = ctx.bytes_pending() == 0 && ctx.peer_is_owed();
        if sent_something || waits_for_answer {
            self.wait(ctx);
            return Ok(());
        }
        Err(ChannelError::Idle(self.limit))
    }
}
