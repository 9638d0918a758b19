//! One port for several protocols: the first byte decides.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelInitializer,
    LoopLocal, ReadBuf,
};

/// The last stage of a port that speaks several protocols. It consumes nothing: it looks at the first byte and puts
/// the stages that the table has for it in its own place; they see the same bytes. A byte without an entry closes the
/// channel, with a log line that names the peer and the byte.
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
///
/// ```
/// use folio_channel::{ProtocolTable, initializer};
///
/// let table = ProtocolTable::<()>::new()
///     .serve(0x89..=0x89, "native", initializer(|_channel, _pipeline| Ok(()))) // adds its stages here
///     .refuse(0x16..=0x16, "TLS", "this port has no certificate");
/// # let _ = table;
/// ```
pub struct ProtocolTable<L: LoopLocal> {
    entries: Vec<Entry<L>>,
}

struct Entry<L: LoopLocal> {
    first_bytes: RangeInclusive<u8>,
    protocol: &'static str,
    verdict: Verdict<L>,
}

enum Verdict<L: LoopLocal> {
    Serve(Box<dyn ChannelInitializer<L>>),
    Refuse { why: &'static str },
}

impl<L: LoopLocal> ProtocolTable<L> {
    /// A table that knows nothing: every channel is refused.
    pub fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Channels that begin with one of `first_bytes` get the stages that `successors` adds, at the end of the
    /// pipeline; then the detector goes.
    ///
    /// # Panics
    ///
    /// If a byte has an entry already.
    #[must_use]
    pub fn serve(
        self,
        first_bytes: RangeInclusive<u8>,
        protocol: &'static str,
        successors: impl ChannelInitializer<L>,
    ) -> Self {
        self.with(first_bytes, protocol, Verdict::Serve(Box::new(successors)))
    }

    /// Channels that begin with one of `first_bytes` are closed, with a log line that names the protocol and `why`.
    ///
    /// # Panics
    ///
    /// If a byte has an entry already.
    #[must_use]
    pub fn refuse(self, first_bytes: RangeInclusive<u8>, protocol: &'static str, why: &'static str) -> Self {
        self.with(first_bytes, protocol, Verdict::Refuse { why })
    }

    fn with(mut self, first_bytes: RangeInclusive<u8>, protocol: &'static str, verdict: Verdict<L>) -> Self {
        for byte in first_bytes.clone() {
            if let Some(other) = self.find(byte) {
                panic!("first byte {byte:#04x} is both {protocol} and {}", other.protocol);
            }
        }
        self.entries.push(Entry { first_bytes, protocol, verdict });
        self
    }

    fn find(&self, byte: u8) -> Option<&Entry<L>> {
        self.entries.iter().find(|entry| entry.first_bytes.contains(&byte))
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
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        let Some(&first) = input.as_slice().first() else { return Ok(()) };
        match self.table.find(first) {
            Some(Entry { verdict: Verdict::Serve(successors), .. }) => {
                let (name, channel) = (ctx.name(), ctx.channel);
                let mut pipeline = crate::ChannelPipeline::new(ctx.edits);
                successors.init_channel(channel, &mut pipeline)?;
                pipeline.remove(name);
                Ok(())
            }
            Some(Entry { protocol, verdict: Verdict::Refuse { why }, .. }) => Err(ChannelError::peer(
                format!("first byte {first:#04x}: {protocol} is not served here ({why})"),
            )),
            None => Err(ChannelError::peer(format!(
                "first byte {first:#04x} belongs to no protocol that is known"
            ))),
        }
    }
}
