//! The client's one thread: an event loop, and on it the driver, which owns the connection and everything that is asked
//! through it.
//!
//! ```text
//!   any thread            |                     the client's thread
//!                         |
//!   call, signal -- message --> driver: calls, senders, fetchers <-- timers
//!                         |        ^                |
//!                         |  answers, by id         | asked for the next frame while the socket takes some
//!                         |        |                v
//!                         |      broker handler (the one stage of the channel)
//! ```
//!
//! The connection *pulls*: a frame is made when the socket has room for it, so that what waits does so where it is
//! bounded and where its order and its deadline are looked after. Nothing here blocks but by a bug, and no number of the
//! broker's decides an allocation.

mod handler;
mod in_flight;
mod link;
mod message;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_channel::{Channel, ChannelError, ChannelPipeline, EventLoopGroup, LoopHandle, LoopLocal, Stage};

use crate::call::Completer;
use crate::consumer::fetcher::{Fetch, Fetcher, Lookup};
use crate::producer::sender::{Failure, Sender, Shipment};
use crate::protocol::{self, Frame, Malformed, Peer};
use crate::{Acks, CallError, ClientConfig};
use handler::BrokerHandler;
use in_flight::InFlight;
pub(crate) use link::Brokers;
use link::{Link, State, Step};
pub(crate) use message::{Message, QueuedCall, Trouble};

/// A frame to be sent: its head, and record bytes as they are.
pub(crate) struct OutFrame {
    pub(crate) head: Bytes,
    pub(crate) records: Vec<Bytes>,
}

/// See the module.
pub(crate) struct Driver {
    config: Arc<ClientConfig>,
    event_loop: LoopHandle<Driver>,
    group: Option<Arc<EventLoopGroup<Driver>>>,
    inbox: Vec<Message>,
    link: Link,
    trouble: Arc<Trouble>,
    /// Since when there is no connection though one is needed.
    down_since: Option<Instant>,
    when_ready: Vec<Completer<Arc<str>>>,
    calls: VecDeque<QueuedCall>,
    senders: BTreeMap<u64, Sender>,
    fetchers: BTreeMap<u64, Fetcher>,
    /// The sender or fetcher that was served last; the one after it is next.
    served_last: u64,
    in_flight: InFlight<Request>,
    /// Heads are written here, and split off.
    head: BytesMut,
    shutting_down: bool,
    /// Something happened after the end of a turn that another must see to: the time when it did.
    turn_due: Option<Instant>,
}

/// What a request on its way is about.
enum Request {
    Call(QueuedCall),
    Produce { sender: u64, shipments: Vec<Shipment> },
    Fetch { fetcher: u64, fetch: Fetch },
    Lookup { fetcher: u64, lookup: Lookup },
}

impl Driver {
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        brokers: Brokers,
        event_loop: LoopHandle<Self>,
        trouble: Arc<Trouble>,
    ) -> Self {
        Self {
            link: Link::new(brokers),
            config,
            event_loop,
            group: None,
            inbox: Vec::new(),
            trouble,
            down_since: None,
            when_ready: Vec::new(),
            calls: VecDeque::new(),
            senders: BTreeMap::new(),
            fetchers: BTreeMap::new(),
            served_last: 0,
            in_flight: InFlight::new(),
            head: BytesMut::new(),
            shutting_down: false,
            turn_due: None,
        }
    }

    /// The next frame to be sent, if there is something to send and the broker may be asked more.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<OutFrame> {
        if self.link.ready().is_none() || self.in_flight.len() >= self.config.requests_in_flight_max {
            return None;
        }
        if let Some(frame) = self.next_call(now) {
            return Some(frame);
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

    fn ids(&self, range: impl std::ops::RangeBounds<u64> + Clone) -> impl Iterator<Item = u64> {
        let senders = self.senders.range(range.clone()).filter(|(_, sender)| sender.wants_to_send());
        let fetchers = self.fetchers.range(range).filter(|(_, fetcher)| fetcher.wants_to_send());
        senders.map(|(id, _)| *id).chain(fetchers.map(|(id, _)| *id))
    }

    fn next_call(&mut self, now: Instant) -> Option<OutFrame> {
        while let Some(call) = self.calls.pop_front() {
            let id = self.in_flight.next_id();
            match (call.encode)(id, &mut self.head) {
                Ok(()) => {
                    self.in_flight.insert(id, now + self.config.request_timeout, Request::Call(call));
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

    /// An answer has come. An error closes the connection.
    pub(crate) fn answered(&mut self, now: Instant, bytes: &Bytes) -> Result<(), Malformed> {
        let broker = Arc::clone(self.link.broker());
        let frame = &protocol::read_frame(bytes, self.config.frame_bytes_max, &broker)?;
        let request = self.in_flight.take(frame.correlation).ok_or_else(|| {
            Malformed::new(format!("an answer to request {}, which was not asked", frame.correlation))
        })?;
        let result = self.hand_out(now, frame, request);
        if result.is_ok() {
            self.link.answered();
        }
        result
    }

    fn hand_out(&mut self, now: Instant, frame: &Frame<'_>, request: Request) -> Result<(), Malformed> {
        match request {
            Request::Call(call) => (call.complete)(Ok(frame)),
            Request::Produce { sender, shipments } => {
                let Some(sender) = self.senders.get_mut(&sender) else { return Ok(()) };
                sender.landed();
                let (answers, malformed) = protocol::decode_produce(frame, shipments.len());
                for (shipment, answer) in shipments.into_iter().zip(answers) {
                    match answer {
                        Ok(base) => sender.delivered(shipment, Some(base)),
                        Err(failure) => sender.failed(shipment, &failure, now),
                    }
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
        }
    }

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
        let trouble = match malformed {
            Some(malformed) => malformed.error(&broker),
            None => CallError::Disconnected { broker, reason: reason.into() },
        };
        if matches!(self.link.state(), State::Ready { .. }) {
            self.lose_connection(&trouble, now);
        } else {
            self.attempt_failed(trouble, now);
        }
    }

    /// Gives the connection up, with everything that waits for an answer.
    fn lose_connection(&mut self, trouble: &CallError, now: Instant) {
        let broker = Arc::clone(self.link.broker());
        if !self.link.lost(trouble.clone()) {
            self.link.wait(now, &self.config); // it was of no use: not again at once
        }
        let timed_out = CallError::TimedOut { broker, after: self.config.request_timeout };
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
            }
        }
        repeated.into_iter().rev().for_each(|call| self.calls.push_front(call));
    }

    fn attempt_failed(&mut self, trouble: CallError, now: Instant) {
        self.link.lost(trouble);
        let step = self.link.next_step();
        self.take(step, now);
    }

    fn take(&mut self, step: Step, now: Instant) {
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

    fn handle(&mut self, message: Message, now: Instant) {
        match message {
            Message::Started(group) => self.group = Some(group),
            Message::WhenReady(completer) => match self.link.ready() {
                Some(_) => completer.complete(Ok(Arc::clone(self.link.broker()))),
                None => self.when_ready.push(completer),
            },
            Message::Call(call) => self.calls.push_back(*call),
            Message::AddSender(sender) => {
                self.senders.insert(sender.id(), *sender);
            }
            Message::SenderSignalled(id) => {
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.signalled(now);
                }
            }
            Message::DropSender(id) => {
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.dropped();
                }
            }
            Message::AddFetcher(fetcher) => {
                self.fetchers.insert(fetcher.id(), *fetcher);
            }
            Message::FetcherSignalled(id) => {
                if let Some(fetcher) = self.fetchers.get_mut(&id) {
                    fetcher.signalled();
                }
            }
            Message::DropFetcher(id) => {
                self.fetchers.remove(&id);
            }
            Message::Resolved { attempt, addresses } if self.link.is_current(attempt) => match addresses {
                Ok(addresses) => {
                    self.link.resolved(addresses);
                    let step = self.link.next_step();
                    self.take(step, now);
                }
                Err(error) => self.attempt_failed(error, now),
            },
            Message::NotConnected { attempt, error } if self.link.is_current(attempt) => {
                self.attempt_failed(link::unreachable(&error), now);
            }
            Message::Resolved { .. } | Message::NotConnected { .. } => {}
            Message::ShutDown => self.shutting_down = true,
        }
    }

    fn keep_time(&mut self, now: Instant) {
        if let State::Greeting { deadline, .. } = self.link.state()
            && *deadline <= now
        {
            let (broker, after) = (Arc::clone(self.link.broker()), self.config.connect_timeout);
            self.attempt_failed(CallError::TimedOut { broker, after }, now);
        }
        if self.in_flight.next_deadline().is_some_and(|deadline| deadline <= now) {
            let broker = Arc::clone(self.link.broker());
            let reason = "another request got no answer in time".into();
            tracing::warn!(%broker, "a request got no answer in time: the connection is given up");
            self.lose_connection(&CallError::Disconnected { broker, reason }, now);
        }
        if self.calls.iter().any(|call| call.deadline <= now) {
            let trouble = self.trouble_now();
            let (over, waiting) =
                std::mem::take(&mut self.calls).into_iter().partition(|call| call.deadline <= now);
            self.calls = waiting;
            for call in Vec::<_>::from(over) {
                call.fail(trouble.clone());
            }
        }
        let trouble = self.trouble_now();
        let mut refresh = Vec::new();
        for sender in self.senders.values_mut() {
            refresh.extend(sender.turn(now, &trouble).into_iter().map(|topic| (sender.learner(), topic)));
        }
        for (learned, topic) in refresh {
            let deadline = now + self.config.request_timeout;
            let name = Arc::clone(&topic);
            let then = move |partitions| learned(&name, partitions);
            self.calls.push_back(protocol::partition_count(&topic, deadline, Box::new(then)));
        }
        self.senders.retain(|_, sender| !sender.is_done());
        let down = self.down_since.filter(|since| *since + self.config.request_timeout <= now);
        if down.is_some() {
            self.down_since = Some(now);
        }
        for fetcher in self.fetchers.values_mut() {
            fetcher.turn(now);
            if down.is_some() {
                fetcher.nothing_comes(&trouble);
            }
        }
    }

    /// Why nothing can be asked at present, or why it took so long.
    fn trouble_now(&self) -> CallError {
        self.link.trouble().cloned().unwrap_or_else(|| CallError::TimedOut {
            broker: Arc::clone(self.link.broker()),
            after: self.config.request_timeout,
        })
    }

    fn wants_to_send(&self) -> bool {
        !self.calls.is_empty() || self.ids(..).next().is_some()
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let down = self.down_since.map(|since| since + self.config.request_timeout);
        let parts = self.senders.values().filter_map(Sender::next_deadline);
        let parts = parts.chain(self.fetchers.values().filter_map(Fetcher::next_deadline));
        // All calls wait for the same time: the first is the first.
        let calls = self.calls.front().map(|call| call.deadline).into_iter().chain(self.turn_due);
        let link = self.link.next_deadline().into_iter().chain(self.in_flight.next_deadline());
        parts.chain(calls).chain(link).chain(down)
    }
}

impl LoopLocal for Driver {
    type Message = Message;

    fn message(&mut self, message: Message) {
        self.inbox.push(message);
    }

    fn turn_end(&mut self, now: Instant) {
        self.turn_due = None;
        for message in std::mem::take(&mut self.inbox) {
            self.handle(message, now);
        }
        self.keep_time(now);
        let wanted = self.wants_to_send() || !self.when_ready.is_empty();
        match self.link.ready() {
            Some((channel, _)) => {
                if wanted && self.in_flight.len() < self.config.requests_in_flight_max {
                    channel.wake(); // in this turn: the handler asks for frames
                }
            }
            None if wanted => {
                self.down_since.get_or_insert(now);
                if let Some(step) = self.link.needed(now) {
                    self.take(step, now);
                }
            }
            None => {
                self.down_since = None;
                self.link.not_needed(now);
            }
        }
        if self.shutting_down
            && self.senders.is_empty()
            && self.calls.is_empty()
            && let Some(group) = self.group.take()
        {
            group.shutdown(SHUTDOWN_LIMIT);
        }
    }

    /// Asked when the channel has been written as well: looking for what to send makes deadlines.
    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines().min()
    }
}

/// Bytes of a frame that are left to what is not record bytes.
const FRAME_HEAD_ROOM: usize = 64 << 10;

/// How long the connection may take to close when the client ends: everything that was accepted is answered by then.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(200);
