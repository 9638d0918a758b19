//! What a loop lends to the channel that it is serving, for the time of a call.

use std::sync::Arc;
use std::time::Instant;

use crate::counters::LoopCounters;
use crate::outbound::OutboundQueue;
use crate::pipeline::Edit;
use crate::receive::ReceiveBuffers;
use crate::unfinished::Unfinished;
use crate::{ChannelLimits, LoopLocal, ReadBuf};

/// One per loop. A channel has no buffers of its own while it is idle: it works in these.
pub(crate) struct Host<L: LoopLocal> {
    pub(crate) local: L,
    /// The time at the beginning of the turn.
    pub(crate) now: Instant,
    pub(crate) limits: Arc<ChannelLimits>,
    pub(crate) counters: Arc<LoopCounters>,
    pub(crate) buffers: ReceiveBuffers,
    pub(crate) unfinished: Arc<Unfinished>,
    pub(crate) scratch: Scratch<L>,
}

/// Where a handler's call leaves what it made. Empty between two calls.
pub(crate) struct Scratch<L: LoopLocal> {
    pub(crate) queue: OutboundQueue,
    pub(crate) forwarded: ReadBuf,
    pub(crate) edits: Vec<Edit<L>>,
}

impl<L: LoopLocal> Host<L> {
    pub(crate) fn new(
        local: L,
        now: Instant,
        limits: Arc<ChannelLimits>,
        counters: Arc<LoopCounters>,
        unfinished: Arc<Unfinished>,
    ) -> Self {
        let buffers = ReceiveBuffers::new(limits.read_buffer_bytes);
        let scratch = Scratch {
            queue: OutboundQueue::with_capacity(ENCODE_BUFFER_BYTES),
            forwarded: ReadBuf::default(),
            edits: Vec::new(),
        };
        Self { local, now, limits, counters, buffers, unfinished, scratch }
    }
}

impl<L: LoopLocal> Scratch<L> {
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.forwarded = ReadBuf::default();
        self.edits.clear();
    }
}

/// The buffer that answers are encoded into. Used again from its front whenever everything in it was sent.
const ENCODE_BUFFER_BYTES: usize = 64 << 10;
