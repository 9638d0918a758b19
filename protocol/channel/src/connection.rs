//! One channel on its loop: pipeline, outbound buffer, readiness and the way to its end; the job of Netty's
//! `AbstractChannel`, done once for every transport.
//!
//! ```text
//!            input ends, close(), shutdown              sent, nothing owed, or no progress for the linger
//!   Open ------------------------------->  Closing  --------------------------------------------------->  Ended
//!     \_________________________________ an error, anywhere ___________________________________________/
//! ```
//!
//! Readiness is sticky: an edge sets a flag, and only a call that came back short, or with `WouldBlock`, clears it. So
//! no edge is lost while a channel may not be read, or waits for its turn.

mod read;
mod warmth;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{ACTIVE, ChannelOp, OPEN, REGISTERED, WRITABLE};
use crate::future::Promise;
use crate::host::Host;
use crate::outbound::OutboundBuffer;
use crate::permit::Permit;
use crate::pipeline::{Around, Event, Stages};
use crate::transport::Transport;
use crate::{Channel, ChannelError, ChannelInitializer, ChannelPipeline, CloseCause, LoopLocal, WriteError};

pub use warmth::Resume;
use warmth::Warmth;

pub(crate) struct Connection<L: LoopLocal> {
    channel: Channel<L>,
    transport: Transport,
    stages: Stages<L>,
    outbound: OutboundBuffer,
    warmth: Warmth,
    /// Writes whose result is awaited: the place in the output that has to be reached.
    awaited: VecDeque<(u64, Promise<Result<(), WriteError>>)>,
    closed: Option<Promise<CloseCause>>,
    state: State,
    is_readable: bool,
    is_writable: bool,
    /// The peer has finished sending, says an event. A hint: input ends where a read says so.
    has_end_of_input: bool,
    /// With auto-read off: one read was asked for.
    read_granted: bool,
    close_requested: bool,
    /// Bytes of a unit that is not complete, as they are counted in the group's total.
    unfinished: usize,
    /// Counted among the open connections while this lives.
    _permit: Option<Permit>,
}

enum State {
    Open,
    Closing(Closing),
    Ended(CloseCause),
}

struct Closing {
    cause: CloseCause,
    /// What stages owe is waited for, not only what is in the outbound buffer.
    waits_for_owed: bool,
    /// Stages still get the input that was received before.
    takes_input: bool,
    deadline: Instant,
    /// By how much progress moves the deadline; `None`: it is fixed.
    linger: Option<Duration>,
}

/// What an event says of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) end_of_input: bool,
    pub(crate) error: bool,
}

impl<L: LoopLocal> Connection<L> {
    /// A connection that is there. Its initializer is called, then its stages are told that it is active.
    pub(crate) fn open(
        channel: Channel<L>,
        closed: Promise<CloseCause>,
        transport: Transport,
        permit: Option<Permit>,
        initializer: &dyn ChannelInitializer<L>,
        host: &mut Host<L>,
    ) -> Self {
        channel.core().set(OPEN | REGISTERED | ACTIVE | WRITABLE, true);
        let mut connection = Self {
            channel,
            transport,
            stages: Stages::new(),
            outbound: OutboundBuffer::default(),
            warmth: Warmth::default(),
            awaited: VecDeque::new(),
            closed: Some(closed),
            state: State::Open,
            is_readable: false,
            is_writable: true,
            has_end_of_input: false,
            read_granted: false,
            close_requested: false,
            unfinished: 0,
            _permit: permit,
        };
        connection.attempt(host, |connection, host| {
            let mut pipeline = ChannelPipeline::new(&mut host.scratch.edits);
            initializer.init_channel(&connection.channel, &mut pipeline)?;
            let (stages, mut around) = connection.split(host);
            stages.apply_edits(&mut around)?;
            stages.activate(&mut around)
        });
        connection
    }

    pub(crate) fn channel(&self) -> &Channel<L> {
        &self.channel
    }

    pub(crate) fn stages(&self) -> &Stages<L> {
        &self.stages
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn pending(&self) -> usize {
        self.outbound.bytes()
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// The error that it failed with, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<ChannelError>> {
        match &self.state {
            State::Ended(CloseCause::Failed(error)) => Some(Arc::clone(error)),
            State::Open | State::Closing(_) | State::Ended(_) => None,
        }
    }

    /// When it must be looked at, though nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let closing = match &self.state {
            State::Closing(closing) => Some(closing.deadline),
            State::Open | State::Ended(_) => None,
        };
        [closing, self.stages.next_deadline()].into_iter().flatten().min()
    }

    /// An event has come.
    pub(crate) fn set_ready(&mut self, readiness: Readiness, host: &mut Host<L>) {
        self.is_readable |= readiness.readable || readiness.end_of_input || readiness.error;
        self.is_writable |= readiness.writable || readiness.error;
        self.has_end_of_input |= readiness.end_of_input;
        // A read would find the error; but one that is held back, or was the last, finds nothing.
        if readiness.error && !self.may_receive() {
            self.attempt(host, |connection, _| match connection.transport.take_error() {
                Some(error) => Err(error.into()),
                None => Ok(()),
            });
        }
        self.notice_end(host);
    }

    /// Somebody woke the channel.
    pub(crate) fn woken(&mut self, host: &mut Host<L>) {
        self.warmth.woken();
        self.attempt(host, |connection, host| {
            let (stages, mut around) = connection.split(host);
            stages.tell(Event::Woken, &mut around)
        });
    }

    /// A deadline has come: a stage's, or that of closing.
    pub(crate) fn fire_deadlines(&mut self, host: &mut Host<L>) {
        if let State::Closing(closing) = &self.state
            && closing.deadline <= host.now
        {
            self.state = State::Ended(closing.cause.clone());
            return;
        }
        self.attempt(host, |connection, host| {
            let (stages, mut around) = connection.split(host);
            stages.fire_deadlines(&mut around)
        });
    }

    /// A handle asks for something.
    pub(crate) fn perform(&mut self, op: ChannelOp<L>, host: &mut Host<L>) {
        self.attempt(host, |connection, host| {
            let (stages, mut around) = connection.split(host);
            match op {
                ChannelOp::Write { item, promise } => {
                    stages.write(item, &mut around)?;
                    let place = connection.outbound.queued();
                    connection.awaited.push_back((place, promise));
                }
                ChannelOp::Edit(edit) => stages.edit(edit, &mut around)?,
                ChannelOp::Close => connection.close_requested = true,
                ChannelOp::Read => connection.read_granted = true,
                ChannelOp::SetAutoRead(on) => {
                    connection.channel.core().set_auto_read(on);
                }
            }
            Ok(())
        });
    }

    /// The group shuts down: what is owed may be sent until `deadline`.
    pub(crate) fn shut_down(&mut self, deadline: Instant) {
        self.begin_closing(Closing {
            cause: CloseCause::Shutdown,
            waits_for_owed: true,
            takes_input: false,
            deadline,
            linger: None,
        });
    }

    /// Ends it, whatever it still has to send.
    pub(crate) fn end_now(&mut self, cause: CloseCause) {
        if !self.has_ended() {
            self.state = State::Ended(cause);
        }
    }

    /// The last call, when it [has ended](Self::has_ended).
    pub(crate) fn finish(mut self, host: &mut Host<L>) {
        let cause = match &self.state {
            State::Ended(cause) => cause.clone(),
            State::Open | State::Closing(_) => CloseCause::Local,
        };
        self.channel.core().set(OPEN | REGISTERED | ACTIVE | WRITABLE, false);
        let (stages, mut around) = self.split(host);
        stages.tell_inactive(&cause, &mut around);
        self.stages.return_buffers(host, false);
        host.unfinished.change(self.unfinished, 0);
        if matches!(cause, CloseCause::Local | CloseCause::Failed(_)) {
            self.discard_input(host);
        }
        tracing::debug!(channel = %self.channel.id(), peer = ?self.channel.remote_address(), %cause, "closed");
        let closed = self.closed.take();
        // The socket is closed, and counted as such, before anybody hears of it.
        drop(self);
        if let Some(closed) = closed {
            closed.complete(cause);
        }
    }

    /// Does something that may fail, and deals with what the handlers asked for meanwhile.
    fn attempt(
        &mut self,
        host: &mut Host<L>,
        step: impl FnOnce(&mut Self, &mut Host<L>) -> Result<(), ChannelError>,
    ) {
        if self.has_ended() {
            return;
        }
        let result = step(self, host).and_then(|()| self.update_writability(host));
        match result {
            Ok(()) if self.close_requested => {
                self.close_requested = false;
                let linger = host.limits.close_linger;
                self.begin_closing(Closing {
                    cause: CloseCause::Local,
                    waits_for_owed: false,
                    takes_input: false,
                    deadline: host.now + linger,
                    linger: Some(linger),
                });
            }
            Ok(()) => {}
            Err(error) => self.fail(error, host),
        }
        self.end_if_drained();
    }

    /// A peer may finish while a stage has stopped the reading, because the peer's requests wait for their answers,
    /// say. What it sent before the end is still to be read in its turn; but the end alone is no reason to wait.
    fn notice_end(&mut self, host: &Host<L>) {
        if self.has_end_of_input
            && self.is_readable
            && matches!(self.state, State::Open)
            && self.channel.core().is_auto_read()
            && !self.may_receive()
            && self.transport.has_finished()
        {
            self.is_readable = false;
            self.input_ended(host);
        }
    }

    /// The peer has finished sending. It still gets what it is owed.
    fn input_ended(&mut self, host: &Host<L>) {
        let unfinished = self.stages.unfinished_len();
        if unfinished > 0 {
            let (id, peer) = (self.channel.id(), self.channel.remote_address());
            tracing::warn!(channel = %id, ?peer, bytes = unfinished, "the peer ended in the middle of a unit");
        }
        let linger = host.limits.half_close_linger;
        self.begin_closing(Closing {
            cause: CloseCause::Peer,
            waits_for_owed: true,
            takes_input: true,
            deadline: host.now + linger,
            linger: Some(linger),
        });
    }

    fn begin_closing(&mut self, mut closing: Closing) {
        match &self.state {
            State::Open => {
                self.channel.core().set(OPEN, false);
                self.state = State::Closing(closing);
            }
            // The stricter of the two: what was not waited for is not waited for again.
            State::Closing(before) if before.deadline > closing.deadline || !closing.waits_for_owed => {
                closing.waits_for_owed &= before.waits_for_owed;
                closing.takes_input &= before.takes_input;
                closing.deadline = closing.deadline.min(before.deadline);
                self.state = State::Closing(closing);
            }
            State::Closing(_) | State::Ended(_) => {}
        }
        self.end_if_drained();
    }

    fn end_if_drained(&mut self) {
        if let State::Closing(closing) = &self.state
            && self.outbound.is_empty()
            && !self.stages.hold_back()
            && !(closing.waits_for_owed && self.stages.owes(closing.takes_input))
        {
            self.state = State::Ended(closing.cause.clone());
        }
    }

    fn fail(&mut self, error: ChannelError, host: &mut Host<L>) {
        host.counters.failed.increment();
        log_failure(&self.channel, &error);
        host.scratch.clear();
        // What was answered before the error should arrive, if the socket takes it at once.
        if !matches!(error, ChannelError::Io(_)) {
            let _ = self.send(host);
        }
        self.state = State::Ended(CloseCause::Failed(Arc::new(error)));
    }

    fn split<'a>(&'a mut self, host: &'a mut Host<L>) -> (&'a mut Stages<L>, Around<'a, L>) {
        let around = Around {
            channel: &self.channel,
            outbound: &mut self.outbound,
            close_requested: &mut self.close_requested,
            host,
            peer_is_owed: false,
        };
        (&mut self.stages, around)
    }
}

impl<L: LoopLocal> Drop for Connection<L> {
    fn drop(&mut self) {
        // For a loop that has died: nobody called `finish`. The promises say the rest when they are dropped.
        self.channel.core().set(OPEN | REGISTERED | ACTIVE | WRITABLE, false);
    }
}

fn log_failure<L: LoopLocal>(channel: &Channel<L>, error: &ChannelError) {
    let (id, peer) = (channel.id(), channel.remote_address());
    match error {
        ChannelError::Internal(_) => tracing::error!(channel = %id, ?peer, %error, "closing a connection"),
        ChannelError::Peer(_) => tracing::warn!(channel = %id, ?peer, %error, "closing a connection"),
        ChannelError::Io(_) | ChannelError::Idle(_) => {
            tracing::info!(channel = %id, ?peer, %error, "closing a connection");
        }
    }
}
