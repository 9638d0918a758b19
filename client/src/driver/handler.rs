//! The one stage of the connection's pipeline: bytes to frames for the driver, and the driver's frames to bytes.

use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, CloseCause, ReadBuf,
};

use super::Driver;
use crate::protocol::{self, Malformed};

/// See the module.
pub(crate) struct BrokerHandler {
    /// The attempt that this connection was made for.
    attempt: u64,
    frame_bytes_max: usize,
    greeted: bool,
}

type Context<'a> = ChannelHandlerContext<'a, Driver>;

impl BrokerHandler {
    pub(crate) fn new(attempt: u64, frame_bytes_max: usize) -> Self {
        Self { attempt, frame_bytes_max, greeted: false }
    }

    fn read(&mut self, ctx: &mut Context<'_>, input: &mut ReadBuf) -> Result<(), Malformed> {
        let now = ctx.now();
        if !self.greeted {
            let Some((size, peer)) = protocol::read_preface(input.as_slice())? else { return Ok(()) };
            input.consume(size);
            self.greeted = true;
            ctx.local().greeted(self.attempt, peer);
        }
        while let Some(size) = protocol::whole_frame(input.as_slice(), self.frame_bytes_max)? {
            let bytes = input.split_to(size).freeze();
            ctx.local().received(now, &bytes)?;
        }
        Ok(())
    }

    /// Sends what the driver has, while the socket takes it.
    fn send(&self, ctx: &mut Context<'_>) {
        if !self.greeted || !ctx.local().is_current(self.attempt) {
            return;
        }
        let now = ctx.now();
        while ctx.is_writable()
            && let Some(frame) = ctx.local().next_frame(now)
        {
            ctx.write(frame.head);
            frame.records.into_iter().for_each(|records| ctx.write(records));
        }
    }
}

impl ChannelHandler<Driver> for BrokerHandler {}

impl ChannelInboundHandler<Driver> for BrokerHandler {
    fn channel_active(&mut self, ctx: &mut Context<'_>) -> Result<(), ChannelError> {
        let (channel, now) = (ctx.channel().clone(), ctx.now());
        if ctx.local().connected(self.attempt, &channel, now) {
            protocol::write_preface(self.frame_bytes_max, ctx.outbound().tail());
        } else {
            ctx.close();
        }
        Ok(())
    }

    fn channel_read(&mut self, ctx: &mut Context<'_>, input: &mut ReadBuf) -> Result<(), ChannelError> {
        if !ctx.local().is_current(self.attempt) {
            input.consume(input.len());
            return Ok(()); // it was given up, and is closing
        }
        if let Err(malformed) = self.read(ctx, input) {
            let now = ctx.now();
            let text = malformed.to_string();
            ctx.local().disconnected(self.attempt, "", Some(malformed), now);
            return Err(ChannelError::peer(text));
        }
        self.send(ctx);
        Ok(())
    }

    fn channel_woken(&mut self, ctx: &mut Context<'_>) -> Result<(), ChannelError> {
        self.send(ctx);
        Ok(())
    }

    fn channel_writability_changed(&mut self, ctx: &mut Context<'_>) -> Result<(), ChannelError> {
        self.send(ctx);
        Ok(())
    }

    fn channel_inactive(&mut self, ctx: &mut Context<'_>, cause: &CloseCause) {
        let now = ctx.now();
        ctx.local().disconnected(self.attempt, &cause.to_string(), None, now);
    }
}
