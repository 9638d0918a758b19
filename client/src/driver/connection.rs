//! How the connection comes and goes: what the driver does at each [`Step`] of its link, and what a loss does to those
//! who wait for answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use folio_channel::{Channel, ChannelError, ChannelPipeline, Stage};

use super::handler::BrokerHandler;
use super::link::{self, State, Step};
use super::{Driver, Message, Request};
use crate::CallError;
use crate::consumer::fetcher::Fetcher;
use crate::producer::sender::Failure;
use crate::protocol::{Malformed, Peer};

impl Driver {
    /// The connection of this attempt is there. False: it is not wanted any more.
    pub(crate) fn connected(&mut self, attempt: u64, channel: &Channel<Self>, now: Instant) -> bool {
        let wanted = self.link.is_current(attempt);
        if wanted {
            self.link.connected(channel.clone(), now + self.config.connect_timeout);
        }
        wanted
    }

    /// The peer speaks the protocol.
    pub(crate) fn greeted(&mut self, attempt: u64, peer: Peer) {
        if self.link.is_current(attempt) {
            self.link.greeted(peer);
            self.down_since = None;
            self.trouble.set(None);
            let broker = Arc::clone(self.link.broker());
            self.when_ready.drain(..).for_each(|ready| ready.complete(Ok(Arc::clone(&broker))));
        }
    }

    pub(crate) fn is_current(&self, attempt: u64) -> bool {
        self.link.is_current(attempt)
    }

    /// The connection of this attempt has ended.
    pub(crate) fn disconnected(
        &mut self,
        attempt: u64,
        reason: &str,
        malformed: Option<Malformed>,
        now: Instant,
    ) {
        if !self.link.is_current(attempt) {
            return;
        }
        self.turn_due = Some(now);
        let broker = Arc::clone(self.link.broker());
        let trouble = match (malformed, self.link.state()) {
            (Some(malformed), _) => malformed.error(&broker),
            (None, State::Greeting { .. }) => CallError::NotGreeted { broker, reason: reason.into() },
            (None, _) => CallError::Disconnected { broker, reason: reason.into() },
        };
        if matches!(self.link.state(), State::Ready { .. }) {
            self.lose_connection(&trouble, now);
        } else {
            self.attempt_failed(trouble, now);
        }
    }

    /// Gives the connection up, with everything that waits for an answer.
    pub(super) fn lose_connection(&mut self, trouble: &CallError, now: Instant) {
        let broker = Arc::clone(self.link.broker());
        if !self.link.lost(trouble.clone()) {
            self.link.wait(now, &self.config); // it was of no use: not again at once
        }
        let timed_out = CallError::TimedOut { broker, after: self.config.request_timeout };
        self.subscriptions.clear();
        self.fetchers.values_mut().for_each(Fetcher::connection_lost);
        let mut repeated = Vec::new();
        for (late, request) in self.in_flight.drain(now) {
            let error = if late { &timed_out } else { trouble };
            match request {
                Request::Call(call) if call.repeatable && !late && call.deadline > now => repeated.push(call),
                Request::Call(call) => call.fail(error.clone()),
                Request::Produce { sender, shipments } => {
                    let Some(sender) = self.senders.get_mut(&sender) else { continue };
                    sender.landed();
                    let failure = Failure::Failed(error.clone());
                    shipments.into_iter().for_each(|shipment| sender.failed(shipment, &failure, now));
                }
                Request::Fetch { fetcher, fetch } => {
                    let Some(fetcher) = self.fetchers.get_mut(&fetcher) else { continue };
                    fetcher.fetch_failed(fetch);
                }
                Request::Lookup { fetcher, lookup } => {
                    let Some(fetcher) = self.fetchers.get_mut(&fetcher) else { continue };
                    fetcher.lookup_failed(lookup);
                }
                Request::Subscribe { .. } | Request::Unsubscribe => {}
            }
        }
        repeated.into_iter().rev().for_each(|call| self.calls.push_front(call));
    }

    pub(super) fn attempt_failed(&mut self, trouble: CallError, now: Instant) {
        self.link.lost(trouble);
        let step = self.link.next_step();
        self.take(step, now);
    }

    pub(super) fn take(&mut self, step: Step, now: Instant) {
        match step {
            Step::Connect { attempt, address } => self.connect(attempt, address),
            Step::Resolve { attempt, host, port } => self.resolve(attempt, host, port, now),
            Step::RoundFailed => {
                let trouble = self.trouble_now();
                self.trouble.set(Some(trouble.clone()));
                self.when_ready.drain(..).for_each(|ready| ready.complete(Err(trouble.clone())));
                self.link.wait(now, &self.config);
            }
        }
    }

    fn connect(&mut self, attempt: u64, address: SocketAddr) {
        let Some(group) = &self.group else { return };
        let frame_bytes_max = self.config.frame_bytes_max;
        let connected = group.connect(
            address,
            move |_: &Channel<Self>, pipeline: &mut ChannelPipeline<'_, Self>| -> Result<(), ChannelError> {
                pipeline.add_last("broker", Stage::inbound(BrokerHandler::new(attempt, frame_bytes_max)));
                Ok(())
            },
        );
        let event_loop = self.event_loop.clone();
        connected.on_done(move |result| {
            if let Err(error) = result {
                // A loop that has ended tries no more.
                let _ = event_loop.send(Message::NotConnected { attempt, error });
            }
        });
    }

    /// Looking a host up blocks, so a thread of its own does it. There is one at a time.
    fn resolve(&mut self, attempt: u64, host: Arc<str>, port: u16, now: Instant) {
        let event_loop = self.event_loop.clone();
        let name = "folio-resolve".to_owned();
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let addresses = link::resolve(&host, port);
            let _ = event_loop.send(Message::Resolved { attempt, addresses });
        });
        if let Err(error) = spawned {
            let reason = format!("no thread to look its address up: {error}").into();
            self.attempt_failed(CallError::Unreachable { reason }, now);
        }
    }
}
