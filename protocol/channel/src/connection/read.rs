//! Receiving: as much as there is, as the turn allows, and as the pipeline can take.

use std::io;

use bytes::BytesMut;

use super::{Connection, State};
use crate::host::Host;
use crate::pipeline::Event;
use crate::{ChannelError, LoopLocal, ReadBuf};

impl<L: LoopLocal> Connection<L> {
    /// Whether the next turn has something to do here: input that may be received, or that a stage goes on with.
    pub(crate) fn wants_run(&self) -> bool {
        (self.is_readable && self.may_receive()) || (self.takes_input() && self.stages.wants_run())
    }

    /// Receives, and lets the stages consume; at most `read_bytes_per_turn`.
    pub(crate) fn run(&mut self, host: &mut Host<L>) {
        self.attempt(host, Self::receive_all);
        self.notice_end(host);
        self.stages.return_buffers(host, false);
        self.attempt(host, Self::count_unfinished);
    }

    fn count_unfinished(&mut self, host: &mut Host<L>) -> Result<(), ChannelError> {
        let unfinished = self.stages.unfinished_len();
        host.unfinished.change(self.unfinished, unfinished);
        self.unfinished = unfinished;
        if unfinished > 0 && !host.unfinished.admits(unfinished, host.limits.unfinished_bytes_total_max) {
            return Err(ChannelError::peer(format!(
                "{unfinished} bytes received, and no whole unit among them, while too many others are as far"
            )));
        }
        Ok(())
    }

    /// Whether the socket may be read.
    pub(super) fn may_receive(&self) -> bool {
        let wanted = self.read_granted || self.channel.core().is_auto_read();
        matches!(self.state, State::Open)
            && wanted
            && self.stages.may_read()
            && !self.outbound.is_above_high()
    }

    /// Reads away what has arrived. A socket that is closed with unread input answers with a reset, and that would
    /// take along the last words that are on their way to the peer.
    pub(super) fn discard_input(&mut self, host: &mut Host<L>) {
        let mut buffer = host.buffers.take();
        let _ = self.transport.receive(&mut buffer, host.buffers.size());
        buffer.clear();
        host.buffers.give_back(buffer);
    }

    fn takes_input(&self) -> bool {
        match &self.state {
            State::Open => true,
            State::Closing(closing) => closing.takes_input,
            State::Ended(_) => false,
        }
    }

    fn receive_all(&mut self, host: &mut Host<L>) -> Result<(), ChannelError> {
        let mut budget = host.limits.read_bytes_per_turn.max(1);
        let mut has_input = self.takes_input() && self.stages.wants_run();
        loop {
            if has_input {
                let (stages, mut around) = self.split(host);
                stages.read(&mut around)?;
                self.update_writability(host)?;
            }
            if self.close_requested || budget == 0 || !self.is_readable || !self.may_receive() {
                break;
            }
            self.read_granted = false;
            let received = self.receive(budget, host)?;
            budget -= received;
            has_input = received > 0;
        }
        let (stages, mut around) = self.split(host);
        stages.tell(Event::ReadComplete, &mut around)
    }

    /// One call of the system; returns how many bytes came.
    fn receive(&mut self, budget: usize, host: &mut Host<L>) -> Result<usize, ChannelError> {
        self.stages.return_buffers(host, true);
        let inbox = self.stages.take_inbox()?;
        let (mut buffer, is_lent) = match inbox.is_empty() {
            true => (host.buffers.take(), true),
            false => room_behind(inbox, host),
        };
        let spare = buffer.capacity() - buffer.len();
        let wanted = spare.min(budget).min(host.buffers.size());
        host.counters.reads.increment();
        let received = self.transport.receive(&mut buffer, wanted);
        self.stages.put_inbox(ReadBuf::new(buffer, is_lent), matches!(received, Ok(1..)));
        match received {
            Ok(0) => {
                self.is_readable = false;
                self.input_ended(host);
                Ok(0)
            }
            Ok(count) => {
                // A short read has emptied the socket; asking again would only say so. More input is a new edge. Only
                // the end of input may have come along with these bytes, and would not be announced again.
                if count < wanted && !self.has_end_of_input {
                    self.is_readable = false;
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A buffer with the unfinished unit of `inbox` in it and room behind. It grows with what has arrived, by doubling,
/// whatever length the unit claims to have.
fn room_behind<L: LoopLocal>(inbox: ReadBuf, host: &mut Host<L>) -> (BytesMut, bool) {
    let (mut buffer, is_lent) = inbox.into_parts();
    if buffer.capacity() - buffer.len() >= WORTHWHILE_BYTES {
        return (buffer, is_lent);
    }
    let more = buffer.len().max(WORTHWHILE_BYTES);
    if !is_lent {
        buffer.reserve(more);
        return (buffer, false);
    }
    // The loop's buffer does not grow: the unit moves to memory of the channel's own.
    let mut own = BytesMut::with_capacity(buffer.len() + more);
    own.extend_from_slice(&buffer);
    buffer.clear();
    host.buffers.give_back(buffer);
    (own, false)
}

/// Room for less is not worth a system call.
const WORTHWHILE_BYTES: usize = 4 << 10;
