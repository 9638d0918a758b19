//! Subscribe: batches of a partition go to a connection as they become visible, for as long as there is credit.
//!
//! ```text
//!               credit, and more to read               read to the end
//!   Spent <------------------------------- Ready ------------------------> Waiting
//!     |         no credit left             ^ | ^                              |
//!     +------------------------------------+ | +------------------------------+
//!                more credit                 |   it has moved, and the channel was woken
//!                                 not in     v      read in
//!                                 memory   Reading ---------> Ready
//! ```
//!
//! The channel pulls: a stream is read when the socket has room for what it has, so nothing is queued here, and who is
//! slow costs nothing but the subscription itself. Streams that are ready take turns, a part of the log each.
//!
//! Invariants:
//! * a stream is in `ready` exactly once while it is Ready, and not otherwise;
//! * batches of a stream leave in the order of the log, none twice and none left out;
//! * with any credit the next batch goes, whole, however large it is; credit never wraps;
//! * who has no credit holds nothing of the partition: it may be deleted, and its files with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use folio_channel::Channel;
use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset};
use folio_storage::partition::PartitionId;

use super::fetch::{AnswerFetch, Fetch, Found, Limits, Outcome, Place, Standing, Want, cold_job};
use super::topics;
use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::partition::{Partition, PartitionKey};
use crate::shard::Shard;
use crate::standing::WatcherId;

/// The subscriptions of one connection. With each its subscriber keeps a `T`, and gets it back with all that is pushed.
pub(crate) struct Streams<T> {
    channel: Channel<Shard>,
    /// Who is told of partitions that move, and of what concerns everybody; none before the first subscription.
    watcher: Option<WatcherId>,
    streams: HashMap<u32, Stream<T>>,
    ready: VecDeque<u32>,
    /// What the read pool has read.
    read_in: Arc<Mutex<Vec<ReadIn>>>,
    /// How many reads are there, or on their way.
    reading: usize,
    next_serial: u64,
}

/// What is subscribed to.
pub(crate) struct Subscription<'a> {
    /// As the subscriber calls it.
    pub(crate) number: u32,
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) from: Start,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    /// Record bytes.
    pub(crate) credit: u64,
    /// No batch may be larger: the peer has no room for it.
    pub(crate) batch_max: usize,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Earliest,
    Latest,
    At(Offset),
}

/// What there was to be read of a partition, when somebody looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
}

/// Where a subscription has begun; or why it has not, and what there is to be read, if anything.
pub(crate) type Subscribed = Result<(Offset, Bounds), (ServiceError, Option<Bounds>)>;

/// What a subscriber is told without asking.
pub(crate) enum Pushed<T> {
    /// Whole batches.
    Batches { number: u32, subscriber: T, bounds: Bounds, slice: MapSlice },
    /// The subscription is no more.
    End { number: u32, subscriber: T, next_offset: Offset, bounds: Option<Bounds>, error: ServiceError },
}

struct Stream<T> {
    subscriber: T,
    /// Tells it from others of this connection that have the same number at another time.
    serial: u64,
    topic: Box<str>,
    number: u32,
    id: PartitionId,
    key: PartitionKey,
    /// `None`: let go of for lack of credit.
    partition: Option<Arc<Partition<Disk>>>,
    leader_epoch: Option<LeaderEpoch>,
    batch_max: usize,
    /// The next offset to be sent.
    next: Offset,
    place: Place,
    credit: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waiting,
    Spent,
    Reading,
}

struct ReadIn {
    number: u32,
    serial: u64,
    outcomes: Vec<Outcome>,
}

impl<T: Copy> Streams<T> {
    /// None yet, of this channel.
    pub(crate) fn new(channel: Channel<Shard>) -> Self {
        Self {
            channel,
            watcher: None,
            streams: HashMap::new(),
            ready: VecDeque::new(),
            read_in: Arc::default(),
            reading: 0,
            next_serial: 0,
        }
    }

    /// Adds a subscription.
    pub(crate) fn subscribe(
        &mut self,
        shard: &mut Shard,
        subscription: &Subscription<'_>,
        subscriber: T,
    ) -> Subscribed {
        let &Subscription { number, topic, leader_epoch, credit, batch_max, .. } = subscription;
        self.check_new(shard, number).map_err(|error| (error, None))?;
        let partition = topics::readable(&shard.engine, topic, subscription.partition);
        let partition = partition.map_err(|error| (error, None))?;
        let bounds = Bounds::of(&partition);
        partition.check_reader(leader_epoch).map_err(|error| (error, Some(bounds)))?;
        let next = match subscription.from {
            Start::Earliest => bounds.log_start,
            Start::Latest => bounds.high_watermark,
            Start::At(offset) => offset,
        };
        let log_end = partition.log.log_end();
        if next < bounds.log_start || next > log_end.max(bounds.high_watermark) {
            let text = format!("offset {next} is not between {} and {log_end}", bounds.log_start);
            return Err((ServiceError::new(Fault::OffsetOutOfRange, text), Some(bounds)));
        }
        let mut stream = Stream {
            subscriber,
            serial: self.next_serial,
            topic: topic.into(),
            number: subscription.partition,
            id: partition.log.id(),
            key: partition.key,
            partition: None,
            leader_epoch,
            batch_max,
            next,
            place: Place::default(),
            credit,
            state: State::Spent,
        };
        self.next_serial += 1;
        if credit > 0 {
            stream.partition = Some(partition);
            stream.state = State::Ready;
            self.ready.push_back(number);
        }
        self.watcher.get_or_insert_with(|| shard.standing.add_channel(self.channel.clone()));
        self.streams.insert(number, stream);
        shard.engine.counters.subscriptions.add(1);
        Ok((next, bounds))
    }

    fn check_new(&self, shard: &Shard, number: u32) -> Result<(), ServiceError> {
        if let Some(error) = nothing_goes(shard) {
            return Err(error);
        }
        if self.streams.contains_key(&number) {
            let text = format!("subscription {number} is there already");
            return Err(ServiceError::new(Fault::SubscriptionExists, text));
        }
        let most = shard.engine.config.connection_subscriptions_max;
        if self.streams.len() >= most {
            let text =
                format!("a connection has {most} subscriptions at most (connection.subscriptions.max)");
            return Err(ServiceError::new(Fault::LimitReached, text));
        }
        Ok(())
    }

    /// Adds to the credit of a subscription, and returns what it has by now.
    ///
    /// # Errors
    /// There is no such subscription.
    pub(crate) fn credit(&mut self, number: u32, add: u64) -> Result<u64, ServiceError> {
        let stream = self.streams.get_mut(&number).ok_or_else(|| unknown(number))?;
        stream.credit = stream.credit.saturating_add(add);
        if stream.state == State::Spent && stream.credit > 0 {
            stream.state = State::Ready;
            self.ready.push_back(number);
        }
        Ok(stream.credit)
    }

    /// Ends a subscription; returns the offset behind what was sent.
    ///
    /// # Errors
    /// There is no such subscription.
    pub(crate) fn unsubscribe(&mut self, shard: &mut Shard, number: u32) -> Result<Offset, ServiceError> {
        self.remove(shard, number).map(|stream| stream.next).ok_or_else(|| unknown(number))
    }

    /// The next thing to be pushed, if there is one now. When there is one again, the channel is woken.
    pub(crate) fn next(&mut self, shard: &mut Shard) -> Option<Pushed<T>> {
        if let Some(pushed) = self.next_read_in(shard) {
            return Some(pushed);
        }
        let first = *self.streams.keys().next()?;
        if let Some(error) = nothing_goes(shard) {
            return self.end(shard, first, None, error);
        }
        self.note_moved(shard);
        while let Some(number) = self.ready.pop_front() {
            if let Some(pushed) = self.read(shard, number) {
                return Some(pushed);
            }
        }
        None
    }

    /// The connection has ended.
    pub(crate) fn close(&mut self, shard: &mut Shard) {
        self.watcher.take().into_iter().for_each(|watcher| shard.standing.remove(watcher));
        shard.engine.counters.subscriptions.sub(self.streams.len() as u64);
        self.streams.clear();
        self.ready.clear();
    }

    fn note_moved(&mut self, shard: &mut Shard) {
        let Some(watcher) = self.watcher else { return };
        for number in shard.standing.take_moved(watcher) {
            let waiting = self.streams.get_mut(&number).filter(|stream| stream.state == State::Waiting);
            if let Some(stream) = waiting {
                stream.state = State::Ready;
                self.ready.push_back(number);
            }
        }
    }

    /// Reads on where a stream stands that was Ready, and is in `ready` no more.
    fn read(&mut self, shard: &mut Shard, number: u32) -> Option<Pushed<T>> {
        let stream = self.streams.get_mut(&number)?;
        let mut fetch = stream.fetch(&shard.engine);
        match fetch.begin(false) {
            Standing::Cold => {
                stream.state = State::Reading;
                self.reading += 1;
                let (serial, read_in) = (stream.serial, Arc::clone(&self.read_in));
                let channel = self.channel.clone();
                let answer: AnswerFetch = Box::new(move |outcomes: Vec<Outcome>| {
                    lock(&read_in).push(ReadIn { number, serial, outcomes });
                    channel.wake();
                });
                shard.engine.readers.run(cold_job(fetch, answer));
                None
            }
            Standing::Enough | Standing::TooLittle => {
                let outcome = fetch.finish(&shard.engine).pop()?;
                self.take(shard, number, outcome)
            }
        }
    }

    /// The next thing that the read pool has read, and that is still wanted.
    fn next_read_in(&mut self, shard: &mut Shard) -> Option<Pushed<T>> {
        while self.reading > 0 {
            let ReadIn { number, serial, mut outcomes } = lock(&self.read_in).pop()?;
            self.reading -= 1;
            let is_wanted = self.streams.get(&number).is_some_and(|stream| stream.serial == serial);
            let outcome = outcomes.pop().filter(|_| is_wanted);
            if let Some(pushed) = outcome.and_then(|outcome| self.take(shard, number, outcome)) {
                return Some(pushed);
            }
        }
        None
    }

    /// What a read of a stream has come to.
    fn take(&mut self, shard: &mut Shard, number: u32, outcome: Outcome) -> Option<Pushed<T>> {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => return self.end(shard, number, None, error),
        };
        let bounds = Bounds::found(&found);
        if let Some(error) = found.error {
            return self.end(shard, number, Some(bounds), error);
        }
        let stream = self.streams.get_mut(&number)?;
        let Some(slice) = found.slice else {
            self.wait(shard, number);
            return None;
        };
        stream.next = found.next_offset;
        stream.credit = stream.credit.saturating_sub(slice.len() as u64);
        let subscriber = stream.subscriber;
        if stream.credit == 0 {
            stream.state = State::Spent;
            stream.partition = None;
        } else if found.next_offset < found.high_watermark {
            stream.state = State::Ready;
            self.ready.push_back(number);
        } else {
            self.wait(shard, number);
        }
        Some(Pushed::Batches { number, subscriber, bounds, slice })
    }

    /// A stream has come to the end of what is visible.
    fn wait(&mut self, shard: &mut Shard, number: u32) {
        let (Some(stream), Some(watcher)) = (self.streams.get_mut(&number), self.watcher) else { return };
        let has_moved = stream.partition.as_ref().is_none_or(|partition| {
            shard.watch(watcher, partition, number);
            // Whoever moved it before our watch was seen told nobody.
            partition.log.high_watermark() > stream.next
                || partition.is_deleted()
                || partition.check_damage(stream.next).is_err()
        });
        stream.state = if has_moved { State::Ready } else { State::Waiting };
        self.ready.extend(has_moved.then_some(number));
    }

    fn end(
        &mut self,
        shard: &mut Shard,
        number: u32,
        bounds: Option<Bounds>,
        error: ServiceError,
    ) -> Option<Pushed<T>> {
        let Stream { subscriber, next: next_offset, .. } = self.remove(shard, number)?;
        Some(Pushed::End { number, subscriber, next_offset, bounds, error })
    }

    fn remove(&mut self, shard: &mut Shard, number: u32) -> Option<Stream<T>> {
        let stream = self.streams.remove(&number)?;
        match stream.state {
            State::Ready => self.ready.retain(|ready| *ready != number),
            State::Waiting => {
                self.watcher.into_iter().for_each(|watcher| shard.standing.unwatch(watcher, number));
            }
            State::Spent | State::Reading => {}
        }
        shard.engine.counters.subscriptions.sub(1);
        Some(stream)
    }
}

impl<T> Stream<T> {
    /// A read of as much as may be sent at once.
    fn fetch(&mut self, engine: &Engine) -> Fetch {
        let partition = match &self.partition {
            Some(partition) => Ok(Arc::clone(partition)),
            None => self.find(engine),
        };
        self.partition = partition.as_ref().ok().cloned();
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        let max_bytes = credit.min(PUSH_BYTES_MAX).min(engine.config.fetch_max_bytes).min(self.batch_max);
        let want = Want {
            partition,
            offset: self.next,
            max_bytes,
            leader_epoch: self.leader_epoch,
            last_epoch: None,
            place: Arc::clone(&self.place),
        };
        let limits = Limits { min_bytes: 0, max_bytes, batch_max: self.batch_max };
        Fetch::new(engine.config.read_path, limits, vec![want])
    }

    /// The partition again, if it is still the same.
    fn find(&mut self, engine: &Engine) -> Result<Arc<Partition<Disk>>, ServiceError> {
        let partition = topics::readable(engine, &self.topic, self.number)?;
        if partition.log.id() != self.id {
            return Err(ServiceError::unknown_topic(&self.topic));
        }
        if partition.key != self.key {
            // It was offline meanwhile, and its files may be others.
            (self.key, self.place) = (partition.key, Place::default());
        }
        Ok(partition)
    }
}

impl Bounds {
    fn of(partition: &Partition<Disk>) -> Self {
        let log = &partition.log;
        Self {
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
            leader_epoch: log.leader_epoch(),
        }
    }

    fn found(found: &Found) -> Self {
        let &Found { log_start, high_watermark, leader_epoch, .. } = found;
        Self { log_start, high_watermark, leader_epoch }
    }
}

/// Why nobody is sent records any more, if so.
fn nothing_goes(shard: &Shard) -> Option<ServiceError> {
    if shard.engine.health.has_failed() {
        return Some(ServiceError::storage_failed());
    }
    shard.is_draining.then(|| ServiceError::new(Fault::ShuttingDown, "the broker is shutting down"))
}

fn unknown(number: u32) -> ServiceError {
    ServiceError::new(Fault::UnknownSubscription, format!("there is no subscription {number}"))
}

// Nothing panics under this lock.
fn lock(read_in: &Mutex<Vec<ReadIn>>) -> MutexGuard<'_, Vec<ReadIn>> {
    read_in.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So much of one stream goes before it is another's turn.
const PUSH_BYTES_MAX: usize = 256 << 10;
