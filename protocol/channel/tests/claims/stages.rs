//! Stages for the claims: what they do is what their claim is about.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelInitializer,
    ChannelOutboundHandler, CloseCause, Outbound, ReadBuf, Stage, initializer,
};

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

/// Passes everything on, and writes down what it sees.
pub(crate) struct Witness {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
}

impl Witness {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

impl ChannelHandler<()> for Witness {
    fn handler_added(&mut self, _: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.note("added");
        Ok(())
    }

    fn handler_removed(&mut self, _: &mut ChannelHandlerContext<'_, ()>) {
        self.note("removed");
    }
}

impl ChannelInboundHandler<()> for Witness {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        self.note(&format!("read {}", String::from_utf8_lossy(input.as_slice())));
        ctx.forward(input);
        Ok(())
    }

    fn channel_active(&mut self, _: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.note("active");
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut ChannelHandlerContext<'_, ()>, cause: &CloseCause) {
        self.note(&format!("inactive: {cause}"));
    }
}

impl ChannelOutboundHandler<()> for Witness {
    fn write(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        self.note(&format!("write {} bytes", item.len()));
        ctx.write(item);
        Ok(())
    }
}

/// Sends everything back, in capitals, each byte as a part of its own.
pub(crate) struct Shout;

impl ChannelHandler<()> for Shout {}

impl ChannelInboundHandler<()> for Shout {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        for byte in input.split_to(input.len()) {
            ctx.write(Bytes::copy_from_slice(&[byte.to_ascii_uppercase()]));
        }
        Ok(())
    }
}

/// A stage that transforms in both directions, as TLS would.
pub(crate) struct Flip;

fn flip(bytes: &[u8]) -> BytesMut {
    bytes.iter().map(|byte| byte ^ 0x20).collect()
}

impl ChannelHandler<()> for Flip {}

impl ChannelInboundHandler<()> for Flip {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.fire_channel_read(flip(input.as_slice()));
        input.consume(input.len());
        Ok(())
    }
}

impl ChannelOutboundHandler<()> for Flip {
    fn write(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        let mut bytes = vec![0; item.len()];
        match item {
            Outbound::Bytes(heap) => bytes.copy_from_slice(&heap),
            Outbound::Mapped(slice) => slice.read_to(0, &mut bytes).map_err(std::io::Error::other)?,
        }
        ctx.write(flip(&bytes));
        Ok(())
    }
}

/// Consumes `limit` bytes, one by one, then puts another stage in its place, or goes.
pub(crate) struct Until {
    pub(crate) limit: usize,
    pub(crate) successor: Option<Stage<()>>,
}

impl ChannelHandler<()> for Until {}

impl ChannelInboundHandler<()> for Until {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        let count = self.limit.min(input.len());
        input.consume(count);
        self.limit -= count;
        if self.limit == 0 {
            let name = ctx.name();
            match self.successor.take() {
                Some(stage) => ctx.pipeline().replace(name, "successor", stage),
                None => ctx.pipeline().remove(name),
            };
        }
        Ok(())
    }
}

/// A pipeline of one stage.
pub(crate) fn alone(
    name: &'static str,
    make: impl Fn() -> Stage<()> + Send + Sync + 'static,
) -> impl ChannelInitializer<()> {
    initializer(move |_, pipeline| {
        pipeline.add_last(name, make());
        Ok(())
    })
}
