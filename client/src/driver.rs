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
//! bounded and where its order and its deadline are looked after. Nothing here blocks but by a bug, and no number of
//! the broker's decides an allocation.

mod connection;
mod frames;
mod handler;
mod in_flight;
mod link;
mod members;
mod message;
mod subscriptions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_channel::{EventLoopGroup, LoopHandle, LoopLocal};

use crate::call::Completer;
use crate::consumer::fetcher::{Fetch, Fetcher, Lookup};
use crate::group::member::Member;
use crate::producer::sender::{Sender, Shipment};
use crate::protocol;
use crate::{CallError, ClientConfig};
use in_flight::InFlight;
pub(crate) use link::Brokers;
use link::{Link, State};
pub(crate) use message::{Message, QueuedCall, Trouble};
pub(crate) use subscriptions::Subscriptions;

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
    members: BTreeMap<u64, Member>,
    /// The sender or fetcher that was served last; the one after it is next.
    served_last: u64,
    in_flight: InFlight<Request>,
    subscriptions: Subscriptions,
    /// When the broker was last heard of, or asked whether it is there.
    heard: Instant,
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
    Subscribe { fetcher: u64, number: u32 },
    Unsubscribe,
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
            members: BTreeMap::new(),
            served_last: 0,
            in_flight: InFlight::new(),
            subscriptions: Subscriptions::default(),
            heard: Instant::now(),
            head: BytesMut::new(),
            shutting_down: false,
            turn_due: None,
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
                self.subscriptions.abandon(id);
            }
            Message::AddMember(member) => {
                self.members.insert(member.id(), *member);
            }
            Message::Member(id, input) => self.member(id, *input, now),
            Message::DropMember(id) => self.drop_member(id, now),
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
        if let Some(number) = self.subscriptions.any()
            && self.heard + self.silence_max() <= now
        {
            self.heard = now;
            self.calls.push_back(protocol::are_you_there(number, now + self.config.request_timeout));
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
        for sender in self.senders.values_mut() {
            if sender.asks_who_it_is(now) {
                let then = Box::new(sender.listener());
                self.calls.push_back(protocol::init_producer(now + self.config.request_timeout, then));
            }
        }
        self.senders.retain(|_, sender| !sender.is_done());
        self.turn_members(now);
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
        if down.is_some() {
            self.members.values().for_each(|member| member.nothing_comes(&trouble));
        }
    }

    /// Why nothing can be asked at present, or why it took so long.
    fn trouble_now(&self) -> CallError {
        self.link.trouble().cloned().unwrap_or_else(|| CallError::TimedOut {
            broker: Arc::clone(self.link.broker()),
            after: self.config.request_timeout,
        })
    }

    /// With subscriptions, a broker that is gone and one that has nothing to say sound the same for so long.
    fn silence_max(&self) -> Duration {
        self.config.request_timeout / 2
    }

    fn wants_to_send(&self) -> bool {
        !self.calls.is_empty() || self.subscriptions.has_orphans() || self.ids(..).next().is_some()
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let down = self.down_since.map(|since| since + self.config.request_timeout);
        let parts = self.senders.values().filter_map(Sender::next_deadline);
        let parts = parts.chain(self.fetchers.values().filter_map(Fetcher::next_deadline));
        let parts = parts.chain(self.members.values().filter_map(Member::next_deadline));
        // All calls wait for the same time: the first is the first.
        let calls = self.calls.front().map(|call| call.deadline).into_iter().chain(self.turn_due);
        let link = self.link.next_deadline().into_iter().chain(self.in_flight.next_deadline());
        let silence = self.subscriptions.any().map(|_| self.heard + self.silence_max());
        parts.chain(calls).chain(link).chain(down).chain(silence)
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
            && self.members.is_empty()
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

/// How long the connection may take to close when the client ends: everything that was accepted is answered by then.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(200);
