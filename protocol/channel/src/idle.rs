//! Closing connections that nothing happens on.

use std::time::{Duration, Instant};

use crate::{ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, LoopLocal, ReadBuf};

/// Closes the channel with [`ChannelError::Idle`] when nothing moves for `limit`: nothing is received while the peer is
/// owed nothing, or the peer takes nothing of what waits for it. A peer that waits for its answer is not idle.
///
/// It only waits for events: bytes do not pass through it.
#[derive(Debug)]
pub struct IdleTimeout {
    limit: Duration,
    last_received: Option<Instant>,
}

impl IdleTimeout {
    /// A stage for one channel.
    pub fn new(limit: Duration) -> Self {
        Self { limit, last_received: None }
    }
}

impl<L: LoopLocal> ChannelHandler<L> for IdleTimeout {}

impl<L: LoopLocal> ChannelInboundHandler<L> for IdleTimeout {
    fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        ctx.set_deadline(Some(ctx.now() + self.limit));
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
        self.last_received = Some(ctx.now());
        ctx.set_deadline(Some(ctx.now() + self.limit));
        Ok(())
    }

    fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        let waits_for_answer = ctx.bytes_pending() == 0 && ctx.peer_is_owed();
        let last = if waits_for_answer { Some(ctx.now()) } else { self.last_received.max(ctx.last_sent()) };
        match last.map(|last| last + self.limit) {
            Some(deadline) if deadline > ctx.now() => {
                ctx.set_deadline(Some(deadline));
                Ok(())
            }
            _ => Err(ChannelError::Idle(self.limit)),
        }
    }
}
