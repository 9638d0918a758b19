//! Requests out and answers in: whose turn it is to send, and whose an answer is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::subscriptions::Subscriber;
use super::{Driver, OutFrame, Request};
use crate::consumer::fetcher::Fetched;
use crate::consumer::streams::Order;
use crate::producer::sender::{Failure, Shipment};
use crate::protocol::{self, Frame, Malformed};
use crate::{Acks, ErrorCode, Refusal};

impl Driver {
    /// The next frame to be sent, if there is something to send and the broker may be asked more.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<OutFrame> {
        if self.link.ready().is_none() || self.in_flight.len() >= self.config.requests_in_flight_max {
            return None;
        }
        if let Some(frame) = self.next_call(now) {
            return Some(frame);
        }
        if let Some(number) = self.subscriptions.next_orphan() {
            return self.order(0, &Order::Unsubscribe { number }, now);
        }
        let after = self.served_last.wrapping_add(1)..;
        let turn = self.ids(after).chain(self.ids(0..=self.served_last)).collect::<Vec<_>>();
        for id in turn {
            let frame = if self.senders.contains_key(&id) {
                self.next_produce(id, now)
            } else {
                self.next_fetch(id, now)
            };
            if frame.is_some() {
                self.served_last = id;
                return frame;
            }
        }
        None
    }

    pub(super) fn ids(&self, range: impl std::ops::RangeBounds<u64> + Clone) -> impl Iterator<Item = u64> {
        let senders = self.senders.range(range.clone()).filter(|(_, sender)| sender.wants_to_send());
        let fetchers = self.fetchers.range(range).filter(|(_, fetcher)| fetcher.wants_to_send());
        senders.map(|(id, _)| *id).chain(fetchers.map(|(id, _)| *id))
    }

    fn next_call(&mut self, now: Instant) -> Option<OutFrame> {
        while let Some(call) = self.calls.pop_front() {
            let id = self.in_flight.next_id();
            match (call.encode)(id, &mut self.head) {
                Ok(()) => {
                    let deadline = now + self.config.request_timeout + call.parked;
                    self.in_flight.insert(id, deadline, Request::Call(call));
                    return Some(OutFrame { head: self.head.split().freeze(), records: Vec::new() });
                }
                Err(error) => {
                    self.head.clear();
                    call.fail(error);
                }
            }
        }
        None
    }

    fn next_produce(&mut self, id: u64, now: Instant) -> Option<OutFrame> {
        let frame_bytes_max = self.link.ready()?.1.frame_bytes_max.saturating_sub(FRAME_HEAD_ROOM);
        let sender = self.senders.get_mut(&id)?;
        let shipments = sender.next_request(now, frame_bytes_max)?;
        let (acks, timeout) = (sender.acks(), self.config.request_timeout);
        let correlation = self.in_flight.next_id();
        match protocol::encode_produce(correlation, acks, timeout, &shipments, &mut self.head) {
            Ok(()) => {
                let head = self.head.split().freeze();
                let records = shipments.iter().flat_map(|shipment| &shipment.batches).cloned().collect();
                if acks == Acks::None {
                    sender.landed();
                    shipments.into_iter().for_each(|shipment| sender.delivered(shipment, None));
                } else {
                    let request = Request::Produce { sender: id, shipments };
                    self.in_flight.insert(correlation, now + timeout, request);
                }
                Some(OutFrame { head, records })
            }
            Err(error) => {
                self.head.clear();
                sender.landed();
                let failure = Failure::Failed(error);
                shipments.into_iter().for_each(|shipment| sender.failed(shipment, &failure, now));
                self.turn_due = Some(now); // what becomes of them
                None
            }
        }
    }

    fn next_fetch(&mut self, id: u64, now: Instant) -> Option<OutFrame> {
        let fetcher = self.fetchers.get_mut(&id)?;
        let correlation = self.in_flight.next_id();
        let (request, waits) = if let Some(lookup) = fetcher.next_lookup(now) {
            if let Err(error) = protocol::encode_lookup(correlation, &lookup, &mut self.head) {
                self.head.clear();
                fetcher.lookup_failed(lookup);
                fetcher.nothing_comes(&error);
                self.turn_due = Some(now);
                return None;
            }
            (Request::Lookup { fetcher: id, lookup }, Duration::ZERO)
        } else if let Some(order) = fetcher.next_order(now, &mut self.subscriptions) {
            return self.order(id, &order, now);
        } else {
            let fetch = fetcher.next_fetch(now)?;
            if let Err(error) = protocol::encode_fetch(correlation, &fetch, &mut self.head) {
                self.head.clear();
                fetcher.fetch_failed(fetch);
                fetcher.nothing_comes(&error);
                self.turn_due = Some(now);
                return None;
            }
            let waits = fetch.wait_max;
            (Request::Fetch { fetcher: id, fetch }, waits)
        };
        self.in_flight.insert(correlation, now + self.config.request_timeout + waits, request);
        Some(OutFrame { head: self.head.split().freeze(), records: Vec::new() })
    }

    /// Asks something about a subscription of a fetcher.
    fn order(&mut self, fetcher: u64, order: &Order, now: Instant) -> Option<OutFrame> {
        let correlation = self.in_flight.next_id();
        let encoded = protocol::encode_order(correlation, order, &mut self.head);
        let request = match *order {
            Order::Subscribe { number, .. } => Some(Request::Subscribe { fetcher, number }),
            Order::Credit { .. } => None, // has no answer
            Order::Unsubscribe { .. } => Some(Request::Unsubscribe),
        };
        if let Err(error) = encoded {
            self.head.clear();
            self.turn_due = Some(now);
            if let Some(Request::Subscribe { number, .. }) = request {
                let message = error.to_string().into();
                let refused = Fetched::Refused(Refusal { code: ErrorCode::INVALID_REQUEST, message });
                // Only what a broker sends can be malformed.
                let _ = self.streamed(fetcher, number, refused, now);
            }
            return None;
        }
        if let Some(request) = request {
            self.heard = now; // what has an answer has a deadline of its own
            self.in_flight.insert(correlation, now + self.config.request_timeout, request);
        }
        Some(OutFrame { head: self.head.split().freeze(), records: Vec::new() })
    }

    /// A frame has come. An error closes the connection.
    pub(crate) fn received(&mut self, now: Instant, bytes: &Bytes) -> Result<(), Malformed> {
        self.heard = now;
        let broker = Arc::clone(self.link.broker());
        let frame = &protocol::read_frame(bytes, self.config.frame_bytes_max, &broker)?;
        if frame.is_pushed() {
            return self.pushed(now, frame);
        }
        let request = self.in_flight.take(frame.correlation).ok_or_else(|| {
            Malformed::new(format!("an answer to request {}, which was not asked", frame.correlation))
        })?;
        let result = self.hand_out(now, frame, request);
        if result.is_ok() {
            self.link.answered();
        }
        result
    }

    fn pushed(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Malformed> {
        let (number, what) = protocol::decode_pushed(frame)?;
        match self.subscriptions.subscriber(number) {
            Subscriber::Fetcher(fetcher) => self.streamed(fetcher, number, what, now),
            Subscriber::Gone => Ok(()),
            Subscriber::Nobody => {
                Err(Malformed::new(format!("something of subscription {number}, which never was")))
            }
        }
    }

    /// Something has come of a fetcher's subscription.
    fn streamed(&mut self, fetcher: u64, number: u32, what: Fetched, now: Instant) -> Result<(), Malformed> {
        match &what {
            Fetched::Records { .. } => {}
            Fetched::Refused(refusal) if refusal.code == ErrorCode::UNSUPPORTED => {
                self.subscriptions.forget(fetcher);
            }
            Fetched::OutOfRange { .. } | Fetched::Refused(_) => self.subscriptions.end(number),
        }
        let Some(fetcher) = self.fetchers.get_mut(&fetcher) else { return Ok(()) };
        fetcher.streamed(number, what, self.config.frame_bytes_max, now)
    }

    fn hand_out(&mut self, now: Instant, frame: &Frame<'_>, request: Request) -> Result<(), Malformed> {
        match request {
            Request::Call(call) => (call.complete)(Ok(frame)),
            Request::Produce { sender, shipments } => {
                let Some(sender) = self.senders.get_mut(&sender) else { return Ok(()) };
                sender.landed();
                let entries = shipments.iter().map(Shipment::entry_count).sum();
                let (answers, malformed) = protocol::decode_produce(frame, entries);
                let mut answers = &answers[..];
                for shipment in shipments {
                    let (own, others) = answers.split_at(shipment.entry_count());
                    answers = others;
                    sender.answered(shipment, own, now);
                }
                malformed
            }
            Request::Fetch { fetcher, fetch } => {
                let Some(fetcher) = self.fetchers.get_mut(&fetcher) else { return Ok(()) };
                match protocol::decode_fetch(frame, &fetch) {
                    Ok(answers) => {
                        fetcher.fetched(fetch, answers, now);
                        Ok(())
                    }
                    Err(malformed) => {
                        fetcher.fetch_failed(fetch);
                        Err(malformed)
                    }
                }
            }
            Request::Lookup { fetcher, lookup } => {
                let Some(fetcher) = self.fetchers.get_mut(&fetcher) else { return Ok(()) };
                match protocol::decode_lookup(frame, &lookup) {
                    Ok(answers) => {
                        fetcher.looked_up(lookup, answers, now);
                        Ok(())
                    }
                    Err(malformed) => {
                        fetcher.lookup_failed(lookup);
                        Err(malformed)
                    }
                }
            }
            Request::Subscribe { fetcher, number } => {
                let what = protocol::decode_subscribed(frame)?;
                self.streamed(fetcher, number, what, now)
            }
            Request::Unsubscribe => protocol::decode_unsubscribed(frame),
        }
    }
}

/// Bytes of a frame that are left to what is not record bytes.
const FRAME_HEAD_ROOM: usize = 64 << 10;
