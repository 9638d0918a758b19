//! The last stage of a pipeline: whole requests in, answers out, each to its place.

use crate::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, LoopLocal, OutboundQueue,
    ReadBuf,
};

mod reply;

pub use reply::{NotPushed, Pusher, Reply, Responder};

/// Bytes to requests, and answers to bytes. Knows no channel and no loop.
pub trait Codec: Send + 'static {
    /// What is decoded: on a server requests, on a client answers.
    type Request;
    /// What is encoded: on a server answers, on a client requests.
    type Response: Send + 'static;

    /// Whether answers leave in the order of their requests, or as they come.
    const IN_ORDER: bool;

    /// The channel is connected: what is to be sent before anything else (a preface) is put into `out`.
    fn open(&mut self, _out: &mut OutboundQueue) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Takes one whole unit from the front of `input`, or nothing (`None`) if it is not complete.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Peer`] if it can never become one; the channel closes.
    fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<Self::Request>, ChannelError>;

    /// Appends one answer to `out`.
    ///
    /// # Errors
    ///
    /// The channel closes.
    fn encode(&mut self, response: Self::Response, out: &mut OutboundQueue) -> Result<(), ChannelError>;
}

/// What is done with a request. One per channel.
pub trait Service<L: LoopLocal>: Send + 'static {
    /// See [`Codec::Request`].
    type Request;
    /// See [`Codec::Response`].
    type Response: Send + 'static;

    /// Handles one request: answers it now ([`Responder::send`]), takes a [`Reply`] to answer later from any thread
    /// ([`Responder::later`]), or says that none is wanted ([`Responder::none`]). Dropping the responder, or the
    /// reply, unused closes the channel: the peer would wait for ever.
    fn call(&mut self, local: &mut L, request: Self::Request, reply: Responder<'_, Self::Response>);

    /// Asked before a request is decoded. `false` leaves the input unread and stops reading the socket until the
    /// channel is woken ([`Channel::wake`](crate::Channel::wake), or
    /// [`LoopHandle::wake_paused`](crate::LoopHandle::wake_paused) for all at once); then it is asked again.
    fn poll_ready(&mut self, _local: &mut L) -> bool {
        true
    }

    /// The channel has ended. Replies that are still out reach nobody.
    fn closed(&mut self, _local: &mut L) {}
}

/// The stage that joins a [`Codec`] and a [`Service`].
///
/// It stops decoding, and the socket is not read, while the channel is not writable, while `in_flight_max` requests
/// (or `in_flight_bytes_max` bytes of them) wait for answers, and while the service is not ready.
pub struct RequestHandler<C: Codec, S> {
    codec: C,
    service: S,
}

impl<C: Codec, S> RequestHandler<C, S> {
    /// A stage for one channel.
    pub fn new(codec: C, service: S) -> Self {
        Self { codec, service }
    }

    /// A way for any thread to send frames that answer no request of this channel's peer: a client's requests.
    pub fn pusher(&self) -> Pusher<C::Response> {
        todo!()
    }
}

impl<L, C, S> ChannelHandler<L> for RequestHandler<C, S>
where
    L: LoopLocal,
    C: Codec,
    S: Service<L, Request = C::Request, Response = C::Response>,
{
}

impl<L, C, S> ChannelInboundHandler<L> for RequestHandler<C, S>
where
    L: LoopLocal,
    C: Codec,
    S: Service<L, Request = C::Request, Response = C::Response>,
{
    fn channel_read(
        &mut self,
        _ctx: &mut ChannelHandlerContext<'_, L>,
        _input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        let _ = (&mut self.codec, &mut self.service);
        todo!()
    }
}
