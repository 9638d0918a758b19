//! Sending: once a turn, everything of the channel in one call.

use std::io;

use folio_mapped::Part;

use super::warmth::Next;
use super::{Connection, State};
use crate::channel::WRITABLE;
use crate::host::Host;
use crate::outbound::gather;
use crate::pipeline::Event;
use crate::{ChannelError, LoopLocal};

impl<L: LoopLocal> Connection<L> {
    /// Whether there is something to send, and the socket would take it.
    pub(crate) fn wants_flush(&self) -> bool {
        self.may_send() || self.stages.want_flush()
    }

    fn may_send(&self) -> bool {
        self.is_writable && !self.outbound.is_empty() && !self.warmth.is_reading()
    }

    /// Sends what was written in this turn, and what was left of earlier ones.
    pub(crate) fn flush(&mut self, host: &mut Host<L>) {
        self.attempt(host, |connection, host| {
            let (stages, mut around) = connection.split(host);
            stages.flush(&mut around)?;
            connection.send(host)?;
            if connection.outbound.is_low(&host.limits) && connection.stages.take_waits_for_low() {
                connection.channel.wake();
            }
            Ok(())
        });
    }

    /// Compares the outbound buffer with its marks, and tells everyone if the channel has changed sides.
    pub(super) fn update_writability(&mut self, host: &mut Host<L>) -> Result<(), ChannelError> {
        let (is_writable, has_changed) = self.outbound.update_writability(&host.limits);
        if !has_changed {
            return Ok(());
        }
        self.channel.core().set(WRITABLE, is_writable);
        let (stages, mut around) = self.split(host);
        stages.tell(Event::WritabilityChanged, &mut around)
    }

    pub(super) fn send(&mut self, host: &mut Host<L>) -> io::Result<()> {
        let mut sent = 0;
        // A peer that takes everything at once must not keep the loop from the others.
        while self.may_send() && sent < host.limits.outbound_bytes_high.max(1) {
            sent += self.send_once(host)?;
        }
        self.warmth.sent(self.outbound.is_empty(), host.now);
        if sent > 0 {
            self.note_progress(host);
        }
        if !self.outbound.is_empty() {
            self.outbound.detach();
        }
        while let Some((place, _)) = self.awaited.front()
            && *place <= self.outbound.sent()
        {
            if let Some((_, promise)) = self.awaited.pop_front() {
                promise.complete(Ok(()));
            }
        }
        Ok(())
    }

    /// One call of the system.
    fn send_once(&mut self, host: &mut Host<L>) -> io::Result<usize> {
        let next = self.warmth.next(&self.outbound, host.now, &self.channel, &mut host.local);
        host.counters.writes.increment();
        let mut few = [Part::Heap(&[]); FEW_PARTS];
        let mut many;
        let parts: &mut [Part<'_>] = if self.outbound.part_count() <= FEW_PARTS {
            &mut few
        } else {
            many = [Part::Heap(&[]); PARTS_PER_WRITE];
            &mut many
        };
        let offered = match &next {
            Next::All => gather(self.outbound.parts(), parts),
            Next::Some(window) => gather(window, parts),
            Next::Nothing => return Ok(0),
        };
        match self.transport.send(&parts[..offered.parts]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => {
                // The socket is full: that is what a short write means, and an edge will say when it is not. Unless it
                // came to a page of a mapping that is gone: then no edge comes, but the next call says so.
                if sent < offered.bytes && !offered.has_mapped {
                    self.is_writable = false;
                }
                self.outbound.advance(sent, host.now);
                Ok(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn note_progress(&mut self, host: &Host<L>) {
        if let State::Closing(closing) = &mut self.state
            && let Some(linger) = closing.linger
        {
            closing.deadline = host.now + linger;
        }
    }
}

/// Parts that one call sends at most; more go with the next.
const PARTS_PER_WRITE: usize = 128;

/// Most turns of most channels have no more; a smaller table is cheaper to prepare.
const FEW_PARTS: usize = 4;

const _: () = assert!(PARTS_PER_WRITE <= folio_mapped::PARTS_MAX);
