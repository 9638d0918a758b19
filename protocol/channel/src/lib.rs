//! Channels, pipelines, handlers and event loops over mio, in Netty's vocabulary and with Rust's ownership.
//!
//! A [`Channel`] is a connection; its [`ChannelPipeline`] is a row of handlers that received bytes pass in one
//! direction and sent bytes in the other; an event loop (one thread of an [`EventLoopGroup`]) serves many channels and
//! owns everything of theirs: sockets, pipelines, buffers, and one state of the program's own choice, its
//! [`LoopLocal`].
//!
//! Bytes are the only currency between handlers; so what is inserted at run time (TLS, protocol detection, logging)
//! composes. What is typed, requests and answers, lives in one generic last stage, [`RequestHandler`], that joins a
//! [`Codec`] with a [`Service`].
//!
//! # An echo server
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! use folio_channel::{
//!     ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, EventLoopConfig, EventLoopGroup,
//!     ReadBuf, Stage, initializer,
//! };
//!
//! struct Echo;
//!
//! impl ChannelHandler<()> for Echo {}
//!
//! impl ChannelInboundHandler<()> for Echo {
//!     fn channel_read(
//!         &mut self,
//!         ctx: &mut ChannelHandlerContext<'_, ()>,
//!         input: &mut ReadBuf,
//!     ) -> Result<(), ChannelError> {
//!         ctx.write(input.split_to(input.len())); // not copied; leaves at the end of the turn
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = EventLoopConfig { loops: 1, ..EventLoopConfig::default() };
//! let group = EventLoopGroup::start(config, |_index, _handle| ())?;
//! let server = group.bind("127.0.0.1:0".parse()?, initializer(|_channel, pipeline| {
//!     pipeline.add_last("echo", Stage::inbound(Echo));
//!     Ok(())
//! }))?;
//!
//! let mut client = std::net::TcpStream::connect(server.local_address().expect("it is bound"))?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//!
//! group.shutdown(Duration::from_secs(1));
//! group.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The room
//!
#![doc = include_str!("../README.md")]

mod channel;
mod connection;
mod context;
mod counters;
mod detector;
mod embedded;
mod error;
mod event_loop;
mod future;
mod group;
mod handler;
mod host;
mod idle;
mod limits;
mod local;
mod outbound;
mod permit;
mod pipeline;
mod read_buf;
mod receive;
mod request;
mod transport;
mod unfinished;
mod wake;

pub use channel::{Channel, ChannelConfig, ChannelId, ChannelMetadata, TransportKind};
pub use connection::Resume;
pub use context::ChannelHandlerContext;
pub use counters::{GroupCounters, TURN_TIMES};
pub use detector::{ProtocolDetector, ProtocolTable};
pub use embedded::EmbeddedChannel;
pub use error::{BindError, ChannelError, CloseCause, ConnectError, LoopPanicked, WriteError};
pub use event_loop::LoopHandle;
pub use future::ChannelFuture;
pub use group::{EventLoopConfig, EventLoopGroup, PreparedGroup, SocketOptions};
pub use handler::{
    ChannelDuplexHandler, ChannelHandler, ChannelInboundHandler, ChannelOutboundHandler, Stage,
};
pub use idle::IdleTimeout;
pub use limits::ChannelLimits;
pub use local::LoopLocal;
pub use outbound::{Outbound, OutboundQueue};
pub use pipeline::{ChannelInitializer, ChannelPipeline, PipelineHandle, initializer};
pub use read_buf::ReadBuf;
pub use request::{Codec, NotPushed, Pusher, Reply, RequestHandler, Responder, Service};
