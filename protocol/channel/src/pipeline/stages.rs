//! The stages themselves, and how bytes move between them.
//!
//! ```text
//!  received bytes ->  inbox [ stage 0 ]     inbox [ stage 1 ]     inbox [ stage 2 ]
//!                              | forwarded ---^      | forwarded ---^      |
//!  outbound buffer <-----------+ queue <-------------+ queue <-------------+ queue
//! ```
//!
//! Invariants: at any time at most one handler of the channel is running; what it makes lies in the loop's scratch
//! until it returns and is moved then; a stage's inbox is memory of the loop only while the channel is being read.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;

use super::{Edit, StageState};
use crate::host::Host;
use crate::outbound::OutboundBuffer;
use crate::{
    Channel, ChannelError, ChannelHandlerContext, ChannelInboundHandler, ChannelOutboundHandler, CloseCause,
    LoopLocal, Outbound, ReadBuf, Stage,
};

/// The stages of one channel, from the socket's end.
pub(crate) struct Stages<L: LoopLocal> {
    slots: Vec<Slot<L>>,
    is_active: bool,
    /// Outbound stages were written to since they were last flushed.
    want_flush: bool,
}

struct Slot<L: LoopLocal> {
    stage: Stage<L>,
    state: StageState,
    /// Received bytes that it has not consumed.
    inbox: ReadBuf,
    /// The inbox has something that the stage has not seen.
    is_fresh: bool,
    takes_input: bool,
    told_active: bool,
}

/// What surrounds the stages during a call.
pub(crate) struct Around<'a, L: LoopLocal> {
    pub(crate) channel: &'a Channel<L>,
    pub(crate) outbound: &'a mut OutboundBuffer,
    pub(crate) close_requested: &'a mut bool,
    pub(crate) host: &'a mut Host<L>,
    /// See [`ChannelHandlerContext::peer_is_owed`].
    pub(crate) peer_is_owed: bool,
}

/// An event that every inbound stage is told of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    ReadComplete,
    WritabilityChanged,
    Woken,
}

impl<L: LoopLocal> Stages<L> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::with_capacity(1), is_active: false, want_flush: false }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.slots.iter().map(|slot| slot.state.name)
    }

    /// Whether no stage has paused reading.
    pub(crate) fn may_read(&self) -> bool {
        self.slots.iter().all(|slot| !slot.state.paused)
    }

    /// Whether a stage is to see again what it left.
    pub(crate) fn wants_run(&self) -> bool {
        self.slots.iter().any(|slot| slot.state.rerun && !slot.inbox.is_empty())
    }

    /// Whether the peer is owed something: by a stage, or because a stage has paused with input before it.
    pub(crate) fn owes(&self, input_counts: bool) -> bool {
        self.slots.iter().any(|slot| {
            let owes = slot.stage.as_inbound().is_some_and(ChannelInboundHandler::owes);
            owes || (input_counts && !slot.inbox.is_empty() && (slot.state.paused || slot.state.rerun))
        })
    }

    /// Whether an outbound stage may have held back something to be sent together with the rest of the turn.
    pub(crate) fn want_flush(&self) -> bool {
        self.want_flush
    }

    /// Whether something that was written is still in an outbound stage.
    pub(crate) fn hold_back(&self) -> bool {
        let mut outbound = self.slots.iter().filter_map(|slot| slot.stage.as_outbound());
        self.want_flush || outbound.any(ChannelOutboundHandler::holds_back)
    }

    /// Whether a stage waits for the outbound buffer to be low; it does not after this.
    pub(crate) fn take_waits_for_low(&mut self) -> bool {
        let mut waits = false;
        for slot in &mut self.slots {
            waits |= std::mem::take(&mut slot.state.waits_for_low);
        }
        waits
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.state.deadline).min()
    }

    /// Received bytes that no stage has consumed.
    pub(crate) fn unconsumed(&self) -> usize {
        self.slots.iter().map(|slot| slot.inbox.len()).sum()
    }

    /// The connection is there: all stages are told.
    pub(crate) fn activate(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        self.is_active = true;
        self.tell_active(around)
    }

    /// The buffer to receive into: what the first stage left, to receive behind it, or nothing.
    pub(crate) fn take_inbox(&mut self) -> Result<ReadBuf, ChannelError> {
        match self.first_inbound() {
            Some(slot) => Ok(std::mem::take(&mut slot.inbox)),
            None => Err(ChannelError::internal("no stage of the pipeline takes input")),
        }
    }

    /// Gives back what [`take_inbox`](Self::take_inbox) took, with more in it or not.
    pub(crate) fn put_inbox(&mut self, inbox: ReadBuf, has_more: bool) {
        if let Some(slot) = self.first_inbound() {
            slot.inbox = inbox;
            slot.is_fresh |= has_more;
        }
    }

    /// Lets the stages consume what is in their inboxes.
    pub(crate) fn read(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        for slot in &mut self.slots {
            slot.is_fresh |= std::mem::take(&mut slot.state.rerun);
        }
        while let Some(at) = self.slots.iter().position(Slot::wants_input) {
            self.slots[at].is_fresh = false;
            let result = self.call(at, around, |stage, ctx, input| match stage.inbound_mut() {
                Some(handler) => handler.channel_read(ctx, input),
                None => Ok(()),
            });
            self.finish_call(at, around, result)?;
            let unfinished = self.slots.get(at).map_or(0, Slot::unfinished_len);
            if unfinished > around.host.limits.unfinished_bytes_max {
                return Err(ChannelError::peer(format!(
                    "{unfinished} bytes received, and no whole unit among them"
                )));
            }
        }
        Ok(())
    }

    /// Bytes of units that are not complete.
    pub(crate) fn unfinished_len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.takes_input).map(Slot::unfinished_len).sum()
    }

    /// Gives memory of the loop back to it. What the first stage has not consumed may stay where it is while more is
    /// received behind it (`and_read_on`); what others have not is copied into memory of the channel's own.
    pub(crate) fn return_buffers(&mut self, host: &mut Host<L>, and_read_on: bool) {
        let mut is_first = true;
        for slot in self.slots.iter_mut().filter(|slot| slot.takes_input) {
            if slot.inbox.is_empty() {
                let (buffer, is_lent) = std::mem::take(&mut slot.inbox).into_parts();
                if is_lent {
                    host.buffers.give_back(buffer);
                }
            } else if slot.inbox.is_lent() && !(is_first && and_read_on) {
                let (mut buffer, _) = std::mem::take(&mut slot.inbox).into_parts();
                slot.inbox = ReadBuf::new(BytesMut::from(&buffer[..]), false);
                buffer.clear();
                host.buffers.give_back(buffer);
            }
            is_first = false;
        }
    }

    /// Tells all inbound stages. Edits take effect when all have been told.
    pub(crate) fn tell(&mut self, event: Event, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        for at in 0..self.slots.len() {
            let result = self.call(at, around, |stage, ctx, _| match (stage.inbound_mut(), event) {
                (None, _) => Ok(()),
                (Some(handler), Event::ReadComplete) => handler.channel_read_complete(ctx),
                (Some(handler), Event::WritabilityChanged) => handler.channel_writability_changed(ctx),
                (Some(handler), Event::Woken) => handler.channel_woken(ctx),
            });
            self.move_bytes(at, around)?;
            result?;
        }
        self.apply_edits(around)
    }

    /// Calls the stages whose deadline has come.
    pub(crate) fn fire_deadlines(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        around.peer_is_owed = self.owes(true);
        for at in 0..self.slots.len() {
            if self.slots[at].state.deadline.is_some_and(|deadline| deadline <= around.host.now) {
                self.slots[at].state.deadline = None;
                let result = self.call(at, around, |stage, ctx, _| match stage.inbound_mut() {
                    Some(handler) => handler.deadline_reached(ctx),
                    None => Ok(()),
                });
                self.move_bytes(at, around)?;
                result?;
            }
        }
        self.apply_edits(around)
    }

    /// Sends `item` from the far end.
    pub(crate) fn write(&mut self, item: Outbound, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        around.host.scratch.queue.push(item);
        self.route(self.slots.len(), around)?;
        self.apply_edits(around)
    }

    /// Tells the outbound stages that everything of this turn was written.
    pub(crate) fn flush(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        if !self.want_flush {
            return Ok(());
        }
        for at in (0..self.slots.len()).rev() {
            let result = self.call(at, around, |stage, ctx, _| match stage.outbound_mut() {
                Some(handler) => handler.flush(ctx),
                None => Ok(()),
            });
            self.move_bytes(at, around)?;
            result?;
        }
        // Last: what one stage releases is written to the next, which is flushed after it.
        self.want_flush = false;
        self.apply_edits(around)
    }

    /// Applies edits that were posted.
    pub(crate) fn edit(&mut self, edit: Edit<L>, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        around.host.scratch.edits.push(edit);
        self.apply_edits(around)
    }

    /// Applies the edits that an initializer has recorded in the scratch.
    pub(crate) fn apply_edits(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        if around.host.scratch.edits.is_empty() {
            return Ok(());
        }
        let edits: Vec<_> = around.host.scratch.edits.drain(..).collect();
        edits.into_iter().try_for_each(|edit| self.apply(edit, around))
    }

    /// The channel has ended. What the stages still write leads nowhere.
    pub(crate) fn tell_inactive(&mut self, cause: &CloseCause, around: &mut Around<'_, L>) {
        for at in 0..self.slots.len() {
            self.call(at, around, |stage, ctx, _| {
                if let Some(handler) = stage.inbound_mut() {
                    handler.channel_inactive(ctx, cause);
                }
            });
        }
        around.host.scratch.clear();
    }

    fn first_inbound(&mut self) -> Option<&mut Slot<L>> {
        self.slots.iter_mut().find(|slot| slot.takes_input)
    }

    fn call<R>(
        &mut self,
        at: usize,
        around: &mut Around<'_, L>,
        call: impl FnOnce(&mut Stage<L>, &mut ChannelHandlerContext<'_, L>, &mut ReadBuf) -> R,
    ) -> R {
        let slot = &mut self.slots[at];
        let host = &mut *around.host;
        let mut ctx = ChannelHandlerContext {
            local: &mut host.local,
            channel: around.channel,
            now: host.now,
            limits: &host.limits,
            outbound: around.outbound,
            queue: &mut host.scratch.queue,
            forwarded: &mut host.scratch.forwarded,
            edits: &mut host.scratch.edits,
            stage: &mut slot.state,
            close_requested: around.close_requested,
            peer_is_owed: around.peer_is_owed,
        };
        call(&mut slot.stage, &mut ctx, &mut slot.inbox)
    }

    /// Moves what the call of stage `at` has made. What it wrote before an error is sent nevertheless.
    fn finish_call(
        &mut self,
        at: usize,
        around: &mut Around<'_, L>,
        result: Result<(), ChannelError>,
    ) -> Result<(), ChannelError> {
        self.move_bytes(at, around)?;
        result?;
        self.apply_edits(around)
    }

    fn move_bytes(&mut self, at: usize, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        if !around.host.scratch.forwarded.is_empty() {
            let forwarded = std::mem::take(&mut around.host.scratch.forwarded);
            self.hand_on(at, forwarded)?;
        }
        if around.host.scratch.queue.is_empty() { Ok(()) } else { self.route(at, around) }
    }

    /// Puts `bytes` into the inbox of the next inbound stage after `from`.
    fn hand_on(&mut self, from: usize, bytes: ReadBuf) -> Result<(), ChannelError> {
        let mut next = self.slots.iter_mut().skip(from + 1);
        match next.find(|slot| slot.takes_input) {
            Some(slot) => {
                slot.inbox.append(bytes);
                slot.is_fresh = true;
                Ok(())
            }
            None => Err(ChannelError::internal("the last stage of the pipeline hands bytes on")),
        }
    }

    /// Moves the queue from stage `from` through the outbound stages before it, to the outbound buffer.
    fn route(&mut self, from: usize, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        if self.outbound_before(from).is_none() {
            around.outbound.take_from(&mut around.host.scratch.queue);
            return Ok(());
        }
        // What a stage makes of one item goes before the next item: hence a list that is worked off from its front.
        let mut moving = VecDeque::new();
        let drain = |queue: &mut crate::OutboundQueue, from, moving: &mut VecDeque<(usize, Outbound)>| {
            let mut at = 0;
            while let Some(part) = queue.pop() {
                moving.insert(at, (from, part));
                at += 1;
            }
        };
        drain(&mut around.host.scratch.queue, from, &mut moving);
        while let Some((from, item)) = moving.pop_front() {
            let Some(at) = self.outbound_before(from) else {
                around.outbound.push(item);
                continue;
            };
            self.want_flush = true;
            let result = self.call(at, around, |stage, ctx, _| match stage.outbound_mut() {
                Some(handler) => handler.write(ctx, item),
                None => Ok(()),
            });
            if !around.host.scratch.forwarded.is_empty() {
                let forwarded = std::mem::take(&mut around.host.scratch.forwarded);
                self.hand_on(at, forwarded)?;
            }
            drain(&mut around.host.scratch.queue, at, &mut moving);
            result?;
        }
        Ok(())
    }

    fn outbound_before(&self, from: usize) -> Option<usize> {
        (0..from).rev().find(|at| self.slots[*at].stage.as_outbound().is_some())
    }

    fn apply(&mut self, edit: Edit<L>, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        match edit {
            Edit::AddFirst { name, stage } => self.insert(0, name, stage, around),
            Edit::AddLast { name, stage } => self.insert(self.slots.len(), name, stage, around),
            Edit::AddBefore { base, name, stage } => {
                let at = self.find(base)?;
                self.insert(at, name, stage, around)
            }
            Edit::AddAfter { base, name, stage } => {
                let at = self.find(base)? + 1;
                self.insert(at, name, stage, around)
            }
            Edit::Remove { name } => {
                let at = self.find(name)?;
                let inbox = self.remove(at, around)?;
                self.hand_back(at, inbox, around)
            }
            Edit::Replace { old, name, stage } => {
                let at = self.find(old)?;
                let inbox = self.remove(at, around)?;
                self.insert(at, name, stage, around)?;
                self.hand_back(at, inbox, around)
            }
        }
    }

    /// Puts input that a removed stage has left before whatever the inbound stage at or after `at` has.
    fn hand_back(
        &mut self,
        at: usize,
        mut bytes: ReadBuf,
        around: &mut Around<'_, L>,
    ) -> Result<(), ChannelError> {
        if bytes.is_empty() {
            let (buffer, is_lent) = bytes.into_parts();
            if is_lent {
                around.host.buffers.give_back(buffer);
            }
            return Ok(());
        }
        let mut next = self.slots.iter_mut().skip(at);
        match next.find(|slot| slot.takes_input) {
            Some(slot) => {
                bytes.append(std::mem::take(&mut slot.inbox));
                slot.inbox = bytes;
                slot.is_fresh = true;
                Ok(())
            }
            None => {
                Err(ChannelError::internal("the last stage of the pipeline was removed with input before it"))
            }
        }
    }

    fn insert(
        &mut self,
        at: usize,
        name: &'static str,
        stage: Stage<L>,
        around: &mut Around<'_, L>,
    ) -> Result<(), ChannelError> {
        if self.names().any(|other| other == name) {
            return Err(ChannelError::internal(format!("the pipeline has a stage `{name}` already")));
        }
        let state = StageState { name, paused: false, rerun: false, waits_for_low: false, deadline: None };
        let takes_input = stage.as_inbound().is_some_and(ChannelInboundHandler::takes_input);
        let inbox = ReadBuf::default();
        let slot = Slot { stage, state, inbox, is_fresh: false, takes_input, told_active: false };
        self.slots.insert(at, slot);
        let result = self.call(at, around, |stage, ctx, _| stage.handler_mut().handler_added(ctx));
        self.finish_call(at, around, result)?;
        if self.is_active { self.tell_active(around) } else { Ok(()) }
    }

    fn remove(&mut self, at: usize, around: &mut Around<'_, L>) -> Result<ReadBuf, ChannelError> {
        self.call(at, around, |stage, ctx, _| stage.handler_mut().handler_removed(ctx));
        self.move_bytes(at, around)?;
        Ok(self.slots.remove(at).inbox)
    }

    fn find(&self, name: &'static str) -> Result<usize, ChannelError> {
        let at = self.names().position(|other| other == name);
        at.ok_or_else(|| ChannelError::internal(format!("the pipeline has no stage `{name}`")))
    }

    fn tell_active(&mut self, around: &mut Around<'_, L>) -> Result<(), ChannelError> {
        while let Some(at) = self.slots.iter().position(|slot| !slot.told_active) {
            self.slots[at].told_active = true;
            let result = self.call(at, around, |stage, ctx, _| match stage.inbound_mut() {
                Some(handler) => handler.channel_active(ctx),
                None => Ok(()),
            });
            self.finish_call(at, around, result)?;
        }
        Ok(())
    }
}

impl<L: LoopLocal> Slot<L> {
    fn wants_input(&self) -> bool {
        self.is_fresh && self.takes_input && !self.state.paused && !self.inbox.is_empty()
    }

    /// Input of a stage that waits for more, not for leave to go on.
    fn unfinished_len(&self) -> usize {
        if self.state.paused || self.is_fresh { 0 } else { self.inbox.len() }
    }
}
