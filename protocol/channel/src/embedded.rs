//! A channel without a socket, for tests of handlers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::channel::TransportKind;
use crate::connection::{Connection, Readiness};
use crate::event_loop::{EventLoop, GroupShared, LoopShared};
use crate::transport::{EmbeddedSocket, Transport};
use crate::wake::LoopCore;
use crate::{
    Channel, ChannelInitializer, ChannelLimits, CloseCause, LoopHandle, LoopLocal, Outbound, SocketOptions,
};

/// A pipeline with vectors for a socket, and an event loop that turns when told to. It runs the very code of a real
/// loop; time stands still unless it is moved. A test feeds it bytes and looks at what comes out.
///
/// ```
/// use bytes::BufMut;
/// use folio_channel::{
///     ChannelError, Codec, EmbeddedChannel, OutboundQueue, ReadBuf, RequestHandler, Responder, Service, Stage,
///     initializer,
/// };
///
/// /// One byte is one request.
/// struct Bytes;
/// impl Codec for Bytes {
///     type Request = u8;
///     type Response = u8;
///     const IN_ORDER: bool = true;
///
///     fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<u8>, ChannelError> {
///         let first = input.as_slice()[0];
///         input.consume(1);
///         Ok(Some(first))
///     }
///     fn encode(&mut self, response: u8, out: &mut OutboundQueue) -> Result<(), ChannelError> {
///         out.tail().put_u8(response);
///         Ok(())
///     }
/// }
///
/// struct Successor;
/// impl Service<()> for Successor {
///     type Request = u8;
///     type Response = u8;
///     fn call(&mut self, _: &mut (), request: u8, reply: Responder<'_, u8>) {
///         reply.send(request + 1);
///     }
/// }
///
/// let mut channel = EmbeddedChannel::new((), initializer(|_, pipeline| {
///     pipeline.add_last("requests", Stage::inbound(RequestHandler::new(Bytes, Successor)));
///     Ok(())
/// }));
/// channel.write_inbound(b"HAL");
/// assert_eq!(channel.read_outbound(), b"IBM");
/// ```
pub struct EmbeddedChannel<L: LoopLocal> {
    event_loop: EventLoop<L>,
    token: Token,
    channel: Channel<L>,
    handle: LoopHandle<L>,
    socket: EmbeddedSocket,
    now: Instant,
}

impl<L: LoopLocal> EmbeddedChannel<L> {
    /// An active channel, with default limits.
    pub fn new(local: L, initializer: impl ChannelInitializer<L>) -> Self {
        Self::with_limits(local, ChannelLimits::default(), initializer)
    }

    /// An active channel.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as for a real channel, whose initializer outlives the call"
    )]
    pub fn with_limits(local: L, limits: ChannelLimits, initializer: impl ChannelInitializer<L>) -> Self {
        let now = Instant::now();
        let group = Arc::new(GroupShared::new(limits));
        let shared = Arc::new(LoopShared::new(LoopCore::new(0, None)));
        let handle = LoopHandle::new(Arc::clone(&shared));
        let mut event_loop = EventLoop::new(group, shared, None, SocketOptions::default(), local, now);
        let token = event_loop.next_token();
        let (channel, closed) = event_loop.new_channel(token, None, None, None, TransportKind::Embedded);
        let socket = EmbeddedSocket::default();
        let transport = Transport::Embedded(socket.clone());
        let connection =
            Connection::open(channel.clone(), closed, transport, None, &initializer, event_loop.host_mut());
        event_loop.insert(connection);
        let mut embedded = Self { event_loop, token, channel, handle, socket, now };
        embedded.run_turn();
        embedded
    }

    /// The peer sends `bytes`; then one turn.
    pub fn write_inbound(&mut self, bytes: &[u8]) {
        self.socket.push(bytes);
        self.turn(Readiness { readable: true, ..Readiness::default() });
    }

    /// The peer finishes sending; then one turn.
    pub fn finish_inbound(&mut self) {
        self.socket.finish();
        self.turn(Readiness { readable: true, end_of_input: true, ..Readiness::default() });
    }

    /// One turn, in which nothing arrives.
    pub fn run_turn(&mut self) {
        self.turn(Readiness::default());
    }

    /// Turns until there is nothing left to do. Returns how many turns it took.
    ///
    /// # Panics
    ///
    /// If that takes more than ten thousand turns.
    pub fn run_until_idle(&mut self) -> usize {
        for turns in 0..10_000 {
            self.event_loop.take_notification();
            if !self.event_loop.has_work() {
                return turns;
            }
            self.run_turn();
        }
        panic!("the channel does not come to rest");
    }

    /// Time passes; then one turn.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.run_turn();
    }

    /// The peer takes `bytes` more and no more than that (at first it takes everything); then one turn.
    pub fn set_socket_room(&mut self, bytes: usize) {
        self.socket.set_room(bytes);
        self.turn(Readiness { writable: bytes > 0, ..Readiness::default() });
    }

    /// Everything that the socket took since the last call, as bytes.
    ///
    /// # Panics
    ///
    /// If the file behind a mapped part cannot be read.
    pub fn read_outbound(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in self.take_writes().into_iter().flatten() {
            match part {
                Outbound::Bytes(bytes) => all.extend_from_slice(&bytes),
                Outbound::Mapped(slice) => {
                    let mut copy = vec![0; slice.len()];
                    if let Err(error) = slice.read_to(0, &mut copy) {
                        panic!("a mapped part cannot be read: {error}");
                    }
                    all.extend_from_slice(&copy);
                }
            }
        }
        all
    }

    /// Everything that the socket took since the last call, as the parts that it was given: one vector for each
    /// `writev`.
    pub fn take_writes(&mut self) -> Vec<Vec<Outbound>> {
        self.socket.take_writes()
    }

    /// Received bytes that no stage has consumed.
    pub fn unconsumed(&mut self) -> usize {
        self.event_loop.connection_mut(self.token).map_or(0, |connection| connection.stages().unconsumed())
    }

    /// Bytes that were written and that the socket has not taken.
    pub fn pending(&mut self) -> usize {
        self.event_loop.connection_mut(self.token).map_or(0, |connection| connection.pending())
    }

    /// The names of the stages, from the socket's end.
    pub fn stage_names(&mut self) -> Vec<&'static str> {
        let connection = self.event_loop.connection_mut(self.token);
        connection.map(|connection| connection.stages().names().collect()).unwrap_or_default()
    }

    /// The state of the loop.
    pub fn local(&mut self) -> &mut L {
        &mut self.event_loop.host_mut().local
    }

    /// The handle.
    pub fn channel(&self) -> &Channel<L> {
        &self.channel
    }

    /// The handle of its loop.
    pub fn event_loop(&self) -> &LoopHandle<L> {
        &self.handle
    }

    /// The time of the last turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How it ended, if it has.
    pub fn close_cause(&self) -> Option<CloseCause> {
        self.channel.close_future().get()
    }

    fn turn(&mut self, readiness: Readiness) {
        let events = [(self.token, readiness)];
        self.event_loop.turn(self.now, events.into_iter());
    }
}
