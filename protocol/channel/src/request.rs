//! The last stage of a pipeline: whole requests in, answers out, each to its place.
//!
//! ```text
//!                       decode           call  +-> Responder::send     answers now: encoded at once
//!   received bytes --> [ Codec ] --> [ Service ]-> Responder::none     no answer is wanted
//!                                              +-> Responder::later    Reply ~~> any thread ~~> mailbox, wake
//!   sent bytes     <-- [ Codec ] <-- slots (in order) or straight <------------------------------+
//!                       encode <---- Service::next_push     what answers nothing, below the low water marks
//! ```

mod mailbox;
mod reply;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, CloseCause, LoopLocal,
    OutboundQueue, ReadBuf,
};

use mailbox::{Letter, Mailbox};
use reply::Outcome;

pub use reply::{NotPushed, Pusher, Reply, Responder};

/// Bytes to requests, and answers to bytes. Knows no channel and no loop.
pub trait Codec: Send + 'static {
    /// What is decoded: on a server requests, on a client answers.
    type Request;
    /// What is encoded: on a server answers, on a client requests.
    type Response: Send + 'static;

    /// Whether answers leave in the order of their requests, or as they come.
    const IN_ORDER: bool;

    /// How many requests may wait for their answers, if the protocol says so; the limits of the channel hold as well.
    /// With 1 a request is not even looked at before the one in front of it is answered.
    const IN_FLIGHT_MAX: usize = usize::MAX;

    /// The channel is connected: what is to be sent before anything else (a preface) is put into `out`.
    fn open(&mut self, _out: &mut OutboundQueue) -> Result<(), ChannelError> {
        Ok(())
    }

    /// Takes one whole unit from the front of `input`, or nothing (`None`) if it is not complete.
    ///
    /// A unit that makes no request (a preface, say) may be consumed on the way to the next one.
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

    /// The next frame that answers no request, if there is one that may go now. Asked when the channel was read or
    /// woken ([`Channel::wake`](crate::Channel::wake)), again and again while what waits for the socket is below the
    /// low water marks; and once more when it is again. So what a service has to push waits with the service.
    fn next_push(&mut self, _local: &mut L) -> Option<Self::Response> {
        None
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
    mailbox: Arc<Mailbox<C::Response>>,
    /// Letters being worked off.
    letters: Vec<Letter<C::Response>>,
    /// With answers in order: one for each request from the oldest unanswered one on.
    slots: VecDeque<Slot<C::Response>>,
    /// The number of the first of them.
    first_slot: u64,
    /// Requests that wait for their answers, and answers that wait for their turn.
    in_flight: usize,
    /// Bytes that those requests were on the wire.
    in_flight_bytes: usize,
}

enum Slot<R> {
    Waiting,
    Answered(R),
    NoAnswer,
}

impl<C: Codec, S> RequestHandler<C, S> {
    /// A stage for one channel.
    pub fn new(codec: C, service: S) -> Self {
        Self {
            codec,
            service,
            mailbox: Arc::default(),
            letters: Vec::new(),
            slots: VecDeque::new(),
            first_slot: 0,
            in_flight: 0,
            in_flight_bytes: 0,
        }
    }

    /// A way for any thread to send frames that answer no request of this channel's peer: a client's requests.
    pub fn pusher(&self) -> Pusher<C::Response> {
        Pusher::new(Arc::clone(&self.mailbox))
    }

    /// Requests and answers that are under way.
    fn has_room<L: LoopLocal>(&self, ctx: &ChannelHandlerContext<'_, L>) -> bool {
        let limits = ctx.limits();
        self.in_flight < limits.in_flight_max.min(C::IN_FLIGHT_MAX)
            && self.in_flight_bytes < limits.in_flight_bytes_max
            && ctx.is_writable()
    }

    /// Takes what the service has to push, up to the low water marks: requests are read up to the high ones, so that a
    /// stream without end does not keep its own channel's requests from being read.
    fn take_pushes<L: LoopLocal>(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
    ) -> Result<(), ChannelError>
    where
        S: Service<L, Response = C::Response>,
    {
        while ctx.is_low() {
            let Some(frame) = self.service.next_push(ctx.local) else { return Ok(()) };
            self.codec.encode(frame, ctx.queue)?;
        }
        ctx.wake_when_low();
        Ok(())
    }

    /// Calls the service with every whole request, while there is room.
    fn take_requests<L: LoopLocal>(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError>
    where
        S: Service<L, Request = C::Request, Response = C::Response>,
    {
        while !input.is_empty() {
            if !self.has_room(ctx) || !self.service.poll_ready(ctx.local) {
                ctx.pause_reading();
                return Ok(());
            }
            let before = input.len();
            let Some(request) = self.codec.decode(input)? else { return Ok(()) };
            let size = before - input.len();
            if size == 0 {
                return Err(ChannelError::internal("the codec has made a request of no bytes"));
            }
            let mut outcome = Outcome::Dropped;
            // Slots are numbered from the beginning of the channel; the next one is behind all that wait.
            let slot = self.first_slot + self.slots.len() as u64;
            let responder = Responder::new(&mut outcome, &self.mailbox, slot, size);
            self.service.call(ctx.local, request, responder);
            self.note(outcome, size, ctx.queue)?;
        }
        // No more room: then the socket need not even be read.
        if !self.has_room(ctx) {
            ctx.pause_reading();
        }
        Ok(())
    }

    /// Goes on with the input, if it was left because there was no room.
    fn resume_if_room<L: LoopLocal>(&self, ctx: &mut ChannelHandlerContext<'_, L>) {
        if self.has_room(ctx) {
            ctx.resume_reading();
        }
    }

    /// A request of `size` bytes was called with the result `outcome`.
    fn note(
        &mut self,
        outcome: Outcome<C::Response>,
        size: usize,
        out: &mut OutboundQueue,
    ) -> Result<(), ChannelError> {
        let slot = match outcome {
            Outcome::Answered(response) if self.slots.is_empty() => {
                self.first_slot += 1;
                return self.codec.encode(response, out);
            }
            Outcome::NoAnswer if self.slots.is_empty() => {
                self.first_slot += 1;
                return Ok(());
            }
            Outcome::Answered(response) => Slot::Answered(response),
            Outcome::NoAnswer => Slot::NoAnswer,
            Outcome::Later => {
                self.in_flight_bytes += size;
                Slot::Waiting
            }
            Outcome::Dropped => return Err(dropped()),
        };
        self.in_flight += 1;
        if C::IN_ORDER {
            self.slots.push_back(slot);
        }
        Ok(())
    }

    /// Takes over what has come back.
    fn take_letters(&mut self, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        let mut letters = std::mem::take(&mut self.letters);
        self.mailbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Pushed(frame) => self.codec.encode(frame, out)?,
                Letter::Answer { slot, size, response } => self.answer(slot, size, Some(response), out)?,
                Letter::NoAnswer { slot, size } => self.answer(slot, size, None, out)?,
                Letter::Dropped => return Err(dropped()),
            }
        }
        if letters.capacity() <= LETTERS_KEPT {
            self.letters = letters;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        slot: u64,
        size: usize,
        response: Option<C::Response>,
        out: &mut OutboundQueue,
    ) -> Result<(), ChannelError> {
        self.in_flight_bytes -= size;
        if !C::IN_ORDER {
            self.in_flight -= 1;
            return response.map_or(Ok(()), |response| self.codec.encode(response, out));
        }
        let at = usize::try_from(slot - self.first_slot).unwrap_or(usize::MAX);
        match self.slots.get_mut(at) {
            Some(waiting) => *waiting = response.map_or(Slot::NoAnswer, Slot::Answered),
            None => return Err(ChannelError::internal("an answer to a request that was never made")),
        }
        while let Some(front) = self.slots.pop_front() {
            match front {
                Slot::Waiting => {
                    self.slots.push_front(front);
                    break;
                }
                Slot::Answered(response) => self.codec.encode(response, out)?,
                Slot::NoAnswer => {}
            }
            self.first_slot += 1;
            self.in_flight -= 1;
        }
        Ok(())
    }
}

fn dropped() -> ChannelError {
    ChannelError::internal("a request was dropped without an answer")
}

impl<L, C, S> ChannelHandler<L> for RequestHandler<C, S>
where
    L: LoopLocal,
    C: Codec,
    S: Service<L, Request = C::Request, Response = C::Response>,
{
    fn handler_added(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        self.mailbox.attach(ctx.channel().core());
        Ok(())
    }

    fn handler_removed(&mut self, _ctx: &mut ChannelHandlerContext<'_, L>) {
        self.mailbox.close();
    }
}

impl<L, C, S> ChannelInboundHandler<L> for RequestHandler<C, S>
where
    L: LoopLocal,
    C: Codec,
    S: Service<L, Request = C::Request, Response = C::Response>,
{
    fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        self.codec.open(ctx.outbound())?;
        // Frames may have been pushed while the channel was being made.
        self.take_letters(ctx.outbound())
    }

    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        self.take_requests(ctx, input)?;
        self.take_pushes(ctx)
    }

    fn channel_woken(&mut self, ctx: &mut ChannelHandlerContext<'_, L>) -> Result<(), ChannelError> {
        self.take_letters(ctx.queue)?;
        self.resume_if_room(ctx);
        self.take_pushes(ctx)
    }

    fn channel_writability_changed(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, L>,
    ) -> Result<(), ChannelError> {
        self.resume_if_room(ctx);
        self.take_pushes(ctx)
    }

    fn channel_inactive(&mut self, ctx: &mut ChannelHandlerContext<'_, L>, _cause: &CloseCause) {
        self.mailbox.close();
        self.service.closed(ctx.local);
    }

    fn owes(&self) -> bool {
        self.in_flight > 0
    }
}

impl<C: Codec, S> Drop for RequestHandler<C, S> {
    fn drop(&mut self) {
        // For a loop that has died: nobody told it that the channel has ended.
        self.mailbox.close();
    }
}

/// Room for this many letters stays allocated.
const LETTERS_KEPT: usize = 64;
