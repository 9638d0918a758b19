//! One port for several protocols: the first byte decides.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::{
    Channel, ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, LoopLocal, ReadBuf,
    Stage,
};

/// The first stage of a port that speaks several protocols. It consumes nothing: it looks at the first byte and
/// replaces itself by the stage that the table has for it, which sees the same bytes. A byte without an entry closes
/// the channel with a log line that names the peer and the byte.
pub struct ProtocolDetector<L: LoopLocal> {
    table: Arc<ProtocolTable<L>>,
}

impl<L: LoopLocal> ProtocolDetector<L> {
    /// A stage for one channel. The table is made once and shared.
    pub fn new(table: Arc<ProtocolTable<L>>) -> Self {
        Self { table }
    }
}

/// First byte -> protocol.
pub struct ProtocolTable<L: LoopLocal> {
    entries: Vec<Entry<L>>,
}

struct Entry<L: LoopLocal> {
    _first_bytes: RangeInclusive<u8>,
    _name: &'static str,
    _successor: Successor<L>,
}

type StageMaker<L> = Box<dyn Fn(&Channel<L>) -> Stage<L> + Send + Sync>;

enum Successor<L: LoopLocal> {
    Stage(StageMaker<L>),
    Refused { _why: &'static str },
}

impl<L: LoopLocal> ProtocolTable<L> {
    /// A table that knows nothing: every channel is refused.
    pub fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Channels that begin with one of `first_bytes` get the stage that `successor` makes, under the name `name`.
    ///
    /// # Panics
    ///
    /// If a byte has an entry already.
    #[must_use]
    pub fn serve(
        mut self,
        first_bytes: RangeInclusive<u8>,
        name: &'static str,
        successor: impl Fn(&Channel<L>) -> Stage<L> + Send + Sync + 'static,
    ) -> Self {
        let successor = Successor::Stage(Box::new(successor));
        self.entries.push(Entry { _first_bytes: first_bytes, _name: name, _successor: successor });
        self
    }

    /// Channels that begin with one of `first_bytes` are closed, with a log line that names the protocol and `why`.
    ///
    /// # Panics
    ///
    /// If a byte has an entry already.
    #[must_use]
    pub fn refuse(mut self, first_bytes: RangeInclusive<u8>, name: &'static str, why: &'static str) -> Self {
        let successor = Successor::Refused { _why: why };
        self.entries.push(Entry { _first_bytes: first_bytes, _name: name, _successor: successor });
        self
    }
}

impl<L: LoopLocal> Default for ProtocolTable<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: LoopLocal> ChannelHandler<L> for ProtocolDetector<L> {}

impl<L: LoopLocal> ChannelInboundHandler<L> for ProtocolDetector<L> {
    fn channel_read(
        &mut self,
        _ctx: &mut ChannelHandlerContext<'_, L>,
        _input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        let _ = &self.table;
        todo!()
    }
}
