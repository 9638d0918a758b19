//! What a handler can do while it is being called.

use std::time::Instant;

use bytes::BytesMut;

use crate::outbound::{OutboundBuffer, OutboundQueue};
use crate::pipeline::{Edit, StageState};
use crate::{Channel, ChannelLimits, ChannelPipeline, LoopLocal, Outbound, ReadBuf};

/// A handler's view of its channel, its loop and its neighbours, for the time of one call.
///
/// Everything that concerns other stages is *queued* and moved by the pipeline after the call has returned; so no
/// handler is ever entered while it is running.
pub struct ChannelHandlerContext<'a, L: LoopLocal> {
    pub(crate) local: &'a mut L,
    pub(crate) channel: &'a Channel<L>,
    pub(crate) now: Instant,
    pub(crate) limits: &'a ChannelLimits,
    /// What the socket has not taken yet.
    pub(crate) outbound: &'a OutboundBuffer,
    /// What this call sends.
    pub(crate) queue: &'a mut OutboundQueue,
    /// What this call hands to the next inbound stage.
    pub(crate) forwarded: &'a mut ReadBuf,
    pub(crate) edits: &'a mut Vec<Edit<L>>,
    pub(crate) stage: &'a mut StageState,
    pub(crate) close_requested: &'a mut bool,
    pub(crate) peer_is_owed: bool,
}

impl<L: LoopLocal> ChannelHandlerContext<'_, L> {
    /// The state of this channel's loop. Never shared with another thread.
    pub fn local(&mut self) -> &mut L {
        self.local
    }

    /// The channel. Clone it to keep it.
    pub fn channel(&self) -> &Channel<L> {
        self.channel
    }

    /// The name under which this stage was added.
    pub fn name(&self) -> &'static str {
        self.stage.name
    }

    /// The time at the beginning of this turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The bounds of this channel.
    pub fn limits(&self) -> &ChannelLimits {
        self.limits
    }

    /// Sends `item`: through the outbound stages before this one, to the socket. It leaves at the end of the turn,
    /// together with everything else of this channel.
    pub fn write(&mut self, item: impl Into<Outbound>) {
        self.queue.push(item);
    }

    /// Where to encode small things; as [`write`](Self::write), without an allocation.
    pub fn outbound(&mut self) -> &mut OutboundQueue {
        self.queue
    }

    /// Whether the outbound bytes, those of this very call included, are below the high water marks. A stage that
    /// makes much of little asks before each unit.
    pub fn is_writable(&self) -> bool {
        self.outbound.has_room_beside(self.queue, self.limits)
    }

    /// Whether the outbound bytes, those of this very call included, are below the low water marks. A stage that sends
    /// of its own accord stops here, so that it leaves room for answers.
    pub fn is_low(&self) -> bool {
        self.outbound.is_low_beside(self.queue, self.limits)
    }

    /// Calls [`channel_woken`](crate::ChannelInboundHandler::channel_woken) when the socket has taken so much that
    /// [`is_low`](Self::is_low) holds again. For a stage that has just found that it does not.
    pub fn wake_when_low(&mut self) {
        self.stage.waits_for_low = true;
    }

    /// Hands bytes to the next inbound stage.
    pub fn fire_channel_read(&mut self, bytes: BytesMut) {
        self.forwarded.append(ReadBuf::new(bytes, false));
    }

    /// Hands all of `input` to the next inbound stage as it is, without copying: for a stage that only looks.
    pub fn forward(&mut self, input: &mut ReadBuf) {
        if self.forwarded.is_empty() {
            std::mem::swap(self.forwarded, input);
        } else {
            self.forwarded.append(std::mem::take(input));
        }
    }

    /// Stops reading the socket, until [`resume_reading`](Self::resume_reading). Input that was read already stays
    /// where it is. Other stages' pauses, and that of the water marks, are independent of it.
    pub fn pause_reading(&mut self) {
        self.stage.paused = true;
    }

    /// Ends this stage's pause. Input that was left comes again even if nothing more has arrived.
    pub fn resume_reading(&mut self) {
        if self.stage.paused {
            self.stage.paused = false;
            self.stage.rerun = true;
        }
    }

    /// When [`deadline_reached`](crate::ChannelInboundHandler::deadline_reached) is to be called; each stage has
    /// one deadline. Moving it is cheap enough for every read.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.stage.deadline = deadline;
    }

    /// In [`deadline_reached`](crate::ChannelInboundHandler::deadline_reached): whether any stage owes the peer
    /// something. In other calls false.
    pub fn peer_is_owed(&self) -> bool {
        self.peer_is_owed
    }

    /// When the socket last took bytes.
    pub fn last_sent(&self) -> Option<Instant> {
        self.outbound.last_sent()
    }

    /// How many bytes wait for the socket to take them.
    pub fn bytes_pending(&self) -> usize {
        self.outbound.bytes()
    }

    /// Closes the channel when what was written so far has been sent. Nothing more is read.
    pub fn close(&mut self) {
        *self.close_requested = true;
    }

    /// The pipeline of this channel. Edits take effect when this call returns; unread input then goes to whatever
    /// stage has taken the place.
    pub fn pipeline(&mut self) -> ChannelPipeline<'_, L> {
        ChannelPipeline::new(self.edits)
    }
}
