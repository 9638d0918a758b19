//! Channels, pipelines, handlers and event loops over mio, in Netty's vocabulary.

#![allow(clippy::todo, dead_code)]

mod channel;
mod context;
mod detector;
mod embedded;
mod error;
mod event_loop;
mod future;
mod group;
mod handler;
mod idle;
mod limits;
mod local;
mod outbound;
mod pipeline;
mod read_buf;
mod request;
mod wake;

pub use channel::{Channel, ChannelConfig, ChannelId, ChannelMetadata, TransportKind};
pub use context::ChannelHandlerContext;
pub use detector::{ProtocolDetector, ProtocolTable};
pub use embedded::EmbeddedChannel;
pub use error::{BindError, ChannelError, CloseCause, ConnectError, LoopPanicked, WriteError};
pub use event_loop::LoopHandle;
pub use future::ChannelFuture;
pub use group::{EventLoopConfig, EventLoopGroup, GroupCounters, PreparedGroup, SocketOptions};
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
