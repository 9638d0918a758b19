//! The part of a producer that lives on the client's thread: it decides which queues' batches make the next request.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use folio_record::Offset;

use super::budget::Budget;
use super::compressors::Compressors;
use super::config::{Acks, ProducerConfig};
use super::introduction::Introduction;
use super::numbers::Identity;
use super::queue::{Look, PartitionQueue, QueueRules};
use super::record::ProducerRecord;
use super::topics::Topic;
use crate::backoff::Jitter;
use crate::client::Client;
use crate::driver::Message;
use crate::{Backoff, BuildError, CallError, ErrorCode, Refusal, SendError, TopicPartition};

pub(crate) use super::queue::Failure;

/// What the threads that send and the client's thread share.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) config: ProducerConfig,
    rules: QueueRules,
    pub(crate) budget: Arc<Budget>,
    compressors: Arc<Compressors>,
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    /// Queues that the sender is to look at.
    signals: Mutex<Vec<Arc<PartitionQueue>>>,
    /// What the broker said when it was asked who this producer is, until the sender has taken note.
    introduced: Mutex<Option<Result<Identity, CallError>>>,
    closed: AtomicBool,
    /// Why it was closed, if nobody asked for it.
    broken: OnceLock<CallError>,
}

/// Decides what is sent next.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    /// To be looked at, in turn.
    ready: VecDeque<Arc<PartitionQueue>>,
    /// To be looked at when it is time. (The number keeps equal times apart.)
    later: BTreeMap<(Instant, u64), Arc<PartitionQueue>>,
    later_count: u64,
    in_flight: usize,
    introduction: Introduction,
    /// When something may have waited too long. `None`: nothing waits.
    next_expiry: Option<Instant>,
    /// When the numbers of partitions are old.
    next_refresh: Option<Instant>,
    dropped: bool,
    backoff: Backoff,
    jitter: Jitter,
}

/// One partition's part of a request.
pub(crate) struct Shipment {
    queue: Arc<PartitionQueue>,
    flight: u64,
    pub(crate) batches: Vec<Bytes>,
    /// Each batch is an entry of the request, and has an answer; otherwise all of them are one.
    apart: bool,
}

impl Shared {
    pub(crate) fn new(id: u64, config: ProducerConfig) -> Result<Self, BuildError> {
        let rules = config.rules()?;
        Ok(Self {
            id,
            rules,
            budget: Arc::new(Budget::new(config.buffer_bytes)),
            compressors: Arc::new(Compressors::new(config.compression)),
            topics: RwLock::default(),
            signals: Mutex::default(),
            introduced: Mutex::default(),
            broken: OnceLock::new(),
            closed: AtomicBool::new(false),
            config,
        })
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The broker has said how many partitions a topic has.
    pub(crate) fn learned(
        &self,
        name: &str,
        partitions: Result<u32, CallError>,
    ) -> Result<Arc<Topic>, SendError> {
        let partitions = partitions.map_err(|source| SendError::Topic { topic: name.into(), source })?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::SeqCst) {
            return Err(self.no_longer());
        }
        let before = topics.get(name);
        if let Some(before) = before
            && before.partitions() >= partitions
        {
            return Ok(Arc::clone(before));
        }
        let name: Arc<str> = before.map_or_else(|| name.into(), |before| Arc::clone(before.name()));
        let before = before.map(Arc::as_ref);
        let (budget, compressors) = (&self.budget, &self.compressors);
        let topic =
            Arc::new(Topic::new(&name, partitions, before, &self.config, self.rules, budget, compressors));
        topics.insert(name, Arc::clone(&topic));
        Ok(topic)
    }

    /// Has the client's thread ask how many partitions a topic has, without waiting for it.
    pub(crate) fn ask_for_topic(self: &Arc<Self>, client: &Client, name: &str) {
        let (shared, topic) = (Arc::clone(self), name.to_owned());
        client.partition_count_then(name, move |partitions| {
            // An error is not lost: the next attempt to send asks again.
            let _ = shared.learned(&topic, partitions);
        });
    }

    /// What the budget counts a record as. Whether one is too large is for its batch to say, so that the error is
    /// exact.
    pub(crate) fn bytes_of(&self, record: &ProducerRecord<'_>) -> usize {
        record.bytes_max().min(self.budget.limit())
    }

    /// Has the sender look at a queue.
    pub(crate) fn signal(&self, queue: &Arc<PartitionQueue>, client: &Client) {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.push(Arc::clone(queue));
        let first = signals.len() == 1;
        drop(signals);
        if first && client.tell(Message::SenderSignalled(self.id)).is_err() {
            self.abandon(&CallError::Closed);
        }
    }

    pub(crate) fn close(&self) {
        {
            // Under the lock of `learned`, so that no queue is made that would not be closed.
            let _topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            self.closed.store(true, Ordering::SeqCst);
        }
        for topic in self.all_topics() {
            topic.queues().iter().for_each(|queue| queue.close());
        }
        self.budget.close();
    }

    /// Why no record is taken any more.
    pub(crate) fn no_longer(&self) -> SendError {
        self.broken.get().map_or(SendError::Closed, |source| SendError::Broken { source: source.clone() })
    }

    fn break_off(&self, because: CallError) {
        tracing::error!(%because, "a producer takes no more records");
        let because = self.broken.get_or_init(|| because);
        self.abandon(because);
    }

    fn abandon(&self, because: &CallError) {
        self.close();
        for topic in self.all_topics() {
            topic.queues().iter().for_each(|queue| queue.abandon(because));
        }
    }
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>, backoff: Backoff) -> Self {
        Self {
            introduction: Introduction::new(shared.rules.numbered),
            shared,
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            later_count: 0,
            in_flight: 0,
            next_expiry: None,
            next_refresh: None,
            dropped: false,
            backoff,
            jitter: Jitter::random(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    pub(crate) fn acks(&self) -> Acks {
        self.shared.config.acks
    }

    /// Takes over what was signalled.
    pub(crate) fn signalled(&mut self, now: Instant) {
        let mut signals = self.shared.signals.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready.extend(signals.drain(..));
        self.next_expiry.get_or_insert(now + self.shared.config.delivery_timeout);
        self.next_refresh.get_or_insert(now + self.shared.config.metadata_age_max);
    }

    /// The producer is gone; the sender goes when everything has been dealt with.
    pub(crate) fn dropped(&mut self) {
        self.dropped = true;
    }

    /// Whether nothing is left to do, for ever.
    pub(crate) fn is_done(&self) -> bool {
        self.dropped && self.in_flight == 0 && {
            let topics = self.shared.all_topics();
            topics.iter().all(|topic| topic.queues().iter().all(|queue| queue.is_idle()))
        }
    }

    /// Does what is due. `trouble`: why nothing can be sent at present. Returns the topics whose numbers of partitions
    /// are to be asked for again.
    pub(crate) fn turn(&mut self, now: Instant, trouble: &CallError) -> Vec<Arc<str>> {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
        if self.next_expiry.is_some_and(|at| at <= now) {
            let topics = self.shared.all_topics();
            let queues = topics.iter().flat_map(|topic| topic.queues());
            let next = queues.filter_map(|queue| queue.expire(now, trouble)).min();
            // What comes to a queue that is to be looked at anyhow is not signalled, also where all before it was given
            // up.
            let is_looked_at = !self.ready.is_empty() || !self.later.is_empty() || self.in_flight > 0;
            let unheard = is_looked_at.then(|| now + self.shared.config.delivery_timeout);
            self.next_expiry = [next, unheard].into_iter().flatten().min();
        }
        let introduced = self.shared.introduced.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = introduced {
            let (backoff, jitter) = (self.backoff, &mut self.jitter);
            if let Err(error) = self.introduction.end(answer, now, |failed| backoff.after(failed, jitter)) {
                self.shared.break_off(cannot_be_numbered(error));
            }
        }
        if self.next_refresh.is_some_and(|at| at <= now) {
            self.next_refresh = Some(now + self.shared.config.metadata_age_max);
            return self.shared.all_topics().iter().map(|topic| Arc::clone(topic.name())).collect();
        }
        Vec::new()
    }

    /// Whether the broker is to be asked now who the producer is. The answer is for [`listener`](Self::listener).
    pub(crate) fn asks_who_it_is(&mut self, now: Instant) -> bool {
        !self.ready.is_empty() && self.introduction.begin(now)
    }

    /// The way to tell the producer who it is.
    pub(crate) fn listener(&self) -> impl FnOnce(Result<Identity, CallError>) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |answer| {
            *shared.introduced.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        }
    }

    /// When [`turn`](Self::turn) has something to do again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let later = self.later.first_key_value().map(|((at, _), _)| *at);
        let introduction = self.introduction.next_deadline();
        [later, self.next_expiry, self.next_refresh, introduction].into_iter().flatten().min()
    }

    /// Whether there may be something to send.
    pub(crate) fn wants_to_send(&self) -> bool {
        self.introduction.is_over()
            && !self.ready.is_empty()
            && self.in_flight < self.shared.config.requests_in_flight_max
    }

    /// The next request, of about `frame_bytes_max` bytes at most. What it becomes must be told by
    /// [`delivered`](Self::delivered) and [`failed`](Self::failed) for each shipment, and by [`landed`](Self::landed)
    /// once.
    pub(crate) fn next_request(&mut self, now: Instant, frame_bytes_max: usize) -> Option<Vec<Shipment>> {
        if !self.wants_to_send() {
            return None;
        }
        let bytes_max = self.shared.config.request_bytes.min(frame_bytes_max);
        let mut bytes = 0;
        let mut shipments = Vec::new();
        let mut more = Vec::new();
        while bytes < bytes_max
            && let Some(queue) = self.ready.pop_front()
        {
            match queue.look(now, bytes_max - bytes, self.introduction.identity()) {
                Look::Send { flight, batches, apart } => {
                    let shipment = Shipment { queue, flight, batches, apart };
                    if shipment.bytes() > frame_bytes_max {
                        self.refuse(shipment, frame_bytes_max, now);
                        continue;
                    }
                    bytes += shipment.bytes();
                    if !self.shared.rules.keeps_order_by_waiting() {
                        more.push(Arc::clone(&shipment.queue));
                    }
                    shipments.push(shipment);
                }
                Look::Later(at) => {
                    self.later.insert((at, self.later_count), queue);
                    self.later_count += 1;
                }
                Look::Nothing => {}
                Look::Broken(refusal) => self.shared.break_off(no_more_numbers(&refusal)),
            }
        }
        self.ready.extend(more);
        if shipments.is_empty() {
            return None;
        }
        self.in_flight += 1;
        Some(shipments)
    }

    /// A batch is larger than any frame that the broker reads: as good as refused by it.
    fn refuse(&mut self, shipment: Shipment, frame_bytes_max: usize, now: Instant) {
        let message = format!("the broker reads at most {frame_bytes_max} bytes at once").into();
        let refusal = Refusal { code: ErrorCode::MESSAGE_TOO_LARGE, message };
        self.failed(shipment, &Failure::Refused { refusal, batch_too_large: true }, now);
    }

    /// A request is no longer in flight.
    pub(crate) fn landed(&mut self) {
        self.in_flight -= 1;
    }

    /// The broker has answered, for each entry of a shipment.
    pub(crate) fn answered(&mut self, shipment: Shipment, answers: &[Result<Offset, Failure>], now: Instant) {
        match answers {
            [Ok(base)] if !shipment.apart => self.delivered(shipment, Some(*base)),
            [Err(failure)] if !shipment.apart => self.failed(shipment, failure, now),
            answers => {
                let (backoff, jitter) = (self.backoff, &mut self.jitter);
                let backoff = |failed| backoff.after(failed, jitter);
                if let Err(refusal) = shipment.queue.answered(shipment.flight, answers, now, backoff) {
                    self.shared.break_off(no_more_numbers(&refusal));
                }
                self.ready.push_back(shipment.queue);
            }
        }
    }

    /// A shipment is in the log, from `base` on (`None`: nobody said).
    pub(crate) fn delivered(&mut self, shipment: Shipment, base: Option<Offset>) {
        shipment.queue.delivered(shipment.flight, base);
        self.ready.push_back(shipment.queue);
    }

    /// A shipment is not known to be in the log.
    pub(crate) fn failed(&mut self, shipment: Shipment, failure: &Failure, now: Instant) {
        if shipment.apart {
            let answers = vec![Err(failure.clone()); shipment.batches.len()];
            return self.answered(shipment, &answers, now);
        }
        let (backoff, jitter) = (self.backoff, &mut self.jitter);
        shipment.queue.failed(shipment.flight, failure, now, |failed| backoff.after(failed, jitter));
        self.ready.push_back(shipment.queue);
    }

    /// The way to tell the producer how many partitions a topic has.
    pub(crate) fn learner(&self) -> impl Fn(&str, Result<u32, CallError>) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |topic, partitions| {
            // An error changes nothing: what was known before is used on, and asked for again in a while.
            let _ = shared.learned(topic, partitions);
        }
    }
}

/// However the client's thread ends, nobody waits for it any longer.
impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.abandon(&CallError::Closed);
    }
}

impl Shipment {
    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        self.queue.topic_partition()
    }

    /// How many entries of the request it is.
    pub(crate) fn entry_count(&self) -> usize {
        if self.apart { self.batches.len() } else { 1 }
    }

    /// The bytes of each of its entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = usize> {
        let size = if self.apart { 1 } else { self.batches.len().max(1) };
        self.batches.chunks(size).map(|batches| batches.iter().map(Bytes::len).sum())
    }

    fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}

fn no_more_numbers(refusal: &Refusal) -> CallError {
    let message = format!(
        "{refusal}: what was sent and what is stored cannot be told apart any more. Make another producer, and let it \
         send what was not confirmed, if it is not in the log"
    );
    CallError::Refused(Refusal { code: refusal.code, message: message.into() })
}

fn cannot_be_numbered(error: CallError) -> CallError {
    match error {
        CallError::Refused(Refusal { code, message }) => {
            let message = format!(
                "the broker gives this producer no id: {message}. Without `idempotent` it needs none"
            );
            CallError::Refused(Refusal { code, message: message.into() })
        }
        error => error,
    }
}
