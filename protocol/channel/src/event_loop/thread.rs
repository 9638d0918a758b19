//! The thread of a loop: sleeping, waking, spinning.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};

use super::{EventLoop, LoopShared};
use crate::LoopLocal;
use crate::connection::Readiness;

/// Where a loop sleeps. Outlives all sockets that are registered with it.
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    /// A place to sleep, and the one waker of it: a second would be a bug of mio's users.
    pub(crate) fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((Self { poll, events: Events::with_capacity(EVENTS_PER_TURN) }, waker))
    }

    pub(crate) fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Turns the loop until it is done.
    pub(crate) fn run<L: LoopLocal>(
        &mut self,
        event_loop: &mut EventLoop<L>,
        shared: &LoopShared<L>,
        spin: Duration,
    ) -> io::Result<()> {
        let mut now = Instant::now();
        let mut last_active = now;
        while !event_loop.is_done() {
            let limit = self.sleep_limit(event_loop, now);
            let spins = !spin.is_zero() && now.saturating_duration_since(last_active) < spin;
            let may_sleep = limit != Some(Duration::ZERO) && !spins && shared.core.fall_asleep();
            shared.counters.polls.increment();
            match self.poll.poll(&mut self.events, if may_sleep { limit } else { Some(Duration::ZERO) }) {
                Ok(()) => {}
                // No events then; but a deadline may have come meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
                Err(error) => return Err(error),
            }
            event_loop.take_notification();
            now = Instant::now();
            let is_due = event_loop.next_deadline().is_some_and(|deadline| deadline <= now);
            if self.events.is_empty() && !event_loop.has_work() && !is_due {
                continue;
            }
            last_active = now;
            let events = self.events.iter().filter(|event| event.token() != WAKER);
            event_loop.turn(now, events.map(|event| (event.token(), Readiness::of(event))));
            now = Instant::now();
            shared.counters.note_turn(now.saturating_duration_since(last_active));
        }
        Ok(())
    }

    fn sleep_limit<L: LoopLocal>(&self, event_loop: &EventLoop<L>, now: Instant) -> Option<Duration> {
        if event_loop.has_work() {
            return Some(Duration::ZERO);
        }
        event_loop.next_deadline().map(|deadline| deadline.saturating_duration_since(now))
    }
}

impl Readiness {
    fn of(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable(),
            writable: event.is_writable(),
            end_of_input: event.is_read_closed(),
            error: event.is_error(),
        }
    }
}

/// No entry has it: their generations do not reach so far.
const WAKER: Token = Token(usize::MAX);

/// Events that one call brings at most; more come with the next.
const EVENTS_PER_TURN: usize = 1024;
