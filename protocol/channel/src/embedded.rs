//! A channel without a socket, for tests of handlers.

use std::time::Duration;

use crate::{Channel, ChannelInitializer, ChannelLimits, CloseCause, LoopLocal, Outbound};

/// A pipeline with vectors for a socket, and an event loop that turns when told to. It runs the very code of a real
/// loop; time stands still unless it is moved. A test feeds it bytes and looks at what comes out.
pub struct EmbeddedChannel<L: LoopLocal> {
    _local: L,
}

impl<L: LoopLocal> EmbeddedChannel<L> {
    /// An active channel, with default limits.
    pub fn new(local: L, initializer: impl ChannelInitializer<L>) -> Self {
        Self::with_limits(local, ChannelLimits::default(), initializer)
    }

    /// An active channel.
    pub fn with_limits(_local: L, _limits: ChannelLimits, _initializer: impl ChannelInitializer<L>) -> Self {
        todo!()
    }

    /// The peer sends `bytes`; then one turn.
    pub fn write_inbound(&mut self, _bytes: &[u8]) {
        todo!()
    }

    /// The peer finishes sending; then one turn.
    pub fn finish_inbound(&mut self) {
        todo!()
    }

    /// One turn.
    pub fn run_turn(&mut self) {
        todo!()
    }

    /// Time passes; then one turn.
    pub fn advance(&mut self, _by: Duration) {
        todo!()
    }

    /// The peer will take at most `bytes` more (at first: any number).
    pub fn set_socket_room(&mut self, _bytes: usize) {
        todo!()
    }

    /// What the socket took since the last call, as bytes.
    pub fn read_outbound(&mut self) -> Vec<u8> {
        todo!()
    }

    /// What the socket took since the last call, as the parts that it was given, one vector for each `writev`.
    pub fn take_writes(&mut self) -> Vec<Vec<Outbound>> {
        todo!()
    }

    /// Received bytes that no stage has consumed.
    pub fn unconsumed(&self) -> usize {
        todo!()
    }

    /// The names of the stages, from the socket's end.
    pub fn stage_names(&self) -> Vec<&'static str> {
        todo!()
    }

    /// The state of the loop.
    pub fn local(&mut self) -> &mut L {
        todo!()
    }

    /// The handle.
    pub fn channel(&self) -> &Channel<L> {
        todo!()
    }

    /// How it ended, if it has.
    pub fn close_cause(&self) -> Option<CloseCause> {
        todo!()
    }
}
