//! Settings of a channel, and what kind of channel it is.

use crate::channel::ChannelOp;
use crate::{Channel, ChannelLimits, LoopLocal};

/// The settings of one channel.
pub struct ChannelConfig<'a, L: LoopLocal> {
    channel: &'a Channel<L>,
}

impl<'a, L: LoopLocal> ChannelConfig<'a, L> {
    pub(crate) fn new(channel: &'a Channel<L>) -> Self {
        Self { channel }
    }

    /// The bounds that it shares with the other channels of its group.
    pub fn limits(&self) -> &'a ChannelLimits {
        self.channel.core().limits()
    }

    /// Whether its socket is read whenever there is something, or only when [`Channel::read`] asks. Default: on.
    pub fn is_auto_read(&self) -> bool {
        self.channel.core().is_auto_read()
    }

    /// Sets [`is_auto_read`](Self::is_auto_read). Input that was read already is still handed to the pipeline.
    pub fn set_auto_read(&self, on: bool) {
        self.channel.post(ChannelOp::SetAutoRead(on));
        self.channel.flush();
    }
}

/// What a channel is, whatever its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelMetadata {
    /// What carries its bytes.
    pub transport: TransportKind,
    /// Whether it can be told to part from its peer and stay usable. No transport here can.
    pub has_disconnect: bool,
}

/// What carries a channel's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// A connected TCP socket.
    Tcp,
    /// A listening TCP socket.
    TcpListener,
    /// Vectors: an [`EmbeddedChannel`](crate::EmbeddedChannel).
    Embedded,
}
