//! Reading records.
//!
//! ```text
//!   assign, seek -> | state of each partition | <- fetcher (the client's thread) <- | broker |     pushed, or fetched
//!                              |
//!   poll  <- verified, decompressed, in place
//! ```
//!
//! The client's thread only reads headers, to know what to ask next; checksums and compression cost the thread that
//! polls. What was fetched ahead is bounded by [`ConsumerConfig::prefetch_bytes`].

mod config;
pub(crate) mod fetcher;
mod membership;
mod records;
pub(crate) mod state;
mod stream;
pub(crate) mod streams;

use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use folio_record::{DecompressLimit, Offset};

pub use config::{ConsumerConfig, OutOfRange, Position};
pub use records::{ConsumerRecord, Records, RecordsIntoIter, RecordsIter};
pub use stream::{ConsumerIter, RecordStream};

use crate::client::Client;
use crate::driver::Message;
use crate::{BuildError, PollError, TopicPartition};
use fetcher::Fetcher;
use membership::Membership;
use state::{Item, Shared, State};

/// Reads the partitions that are [assigned](Self::assign) to it, or that its group [gives](Self::subscribe) it, each in
/// order, from wherever it is told to begin.
///
/// They are pushed by the broker as they become visible, or fetched: see [`ConsumerConfig::streaming`].
///
/// Records come in batches of one partition ([`poll`](Self::poll), [`next_records`](Self::next_records)) or one by one
/// ([`iter`](Self::iter), [`stream`](Self::stream)). A connection that breaks is made again, and nothing is skipped or
/// repeated.
///
/// Dropping a consumer drops what it had fetched ahead, and ends its subscriptions.
///
/// ```no_run
/// use std::time::Duration;
/// use folio_client::{Client, ClientConfig, ConsumerConfig, Position, TopicPartition};
///
/// let client = Client::connect(ClientConfig::default())?;
/// let mut consumer = client.consumer(ConsumerConfig::new())?;
/// consumer.assign([(TopicPartition::new("clicks", 0), Position::Earliest)]);
/// while let Some(records) = consumer.poll(Duration::from_secs(1))? {
///     for record in &records {
///         println!("{}: {:?}", record.offset, record.value.map(String::from_utf8_lossy));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Consumer {
    shared: Arc<Shared>,
    client: Client,
    membership: Option<Membership>,
}

impl Consumer {
    pub(crate) fn new(client: &Client, config: ConsumerConfig) -> Result<Self, BuildError> {
        config.check()?;
        let shared = Arc::new(Shared::new(client.next_id(), config));
        let fetcher = Fetcher::new(Arc::clone(&shared), client.config().retry_backoff);
        client.tell(Message::AddFetcher(Box::new(fetcher))).map_err(|_| BuildError::Closed)?;
        let membership = Membership::of(client, &shared)?;
        Ok(Self { shared, client: client.clone(), membership })
    }

    /// Reads these partitions from now on, and no others. What was fetched before is dropped. Ends a
    /// [subscription](Self::subscribe).
    pub fn assign(&mut self, assignment: impl IntoIterator<Item = (TopicPartition, Position)>) {
        self.unsubscribe();
        self.shared.lock().assign(assignment.into_iter().collect());
        self.tell_fetcher();
    }

    /// Goes on elsewhere in a partition, also after an error. What was fetched of it is dropped. False: it is not
    /// assigned.
    pub fn seek(&mut self, topic_partition: &TopicPartition, position: Position) -> bool {
        let assigned = self.shared.lock().seek(topic_partition, position);
        self.tell_fetcher();
        assigned
    }

    /// Hands out nothing more of a partition until it is resumed. What is here is kept, and no more than a window comes
    /// meanwhile. False: it is not assigned.
    pub fn pause(&mut self, topic_partition: &TopicPartition) -> bool {
        self.shared.lock().set_paused(topic_partition, true)
    }

    /// Ends a pause. False: the partition is not assigned.
    pub fn resume(&mut self, topic_partition: &TopicPartition) -> bool {
        let assigned = self.shared.lock().set_paused(topic_partition, false);
        self.tell_fetcher();
        assigned
    }

    /// What is assigned.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.lock().slots.iter().map(|slot| slot.topic_partition.clone()).collect()
    }

    /// The offset of the next record to be handed out. `None`: the partition is not assigned, or where it begins has
    /// not been looked up yet.
    pub fn position(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        self.shared.lock().slot(topic_partition)?.position
    }

    /// The offset after the newest record that may be read, as the broker said last. `None`: it has not yet.
    pub fn high_watermark(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        self.shared.lock().slot(topic_partition)?.high_watermark
    }

    /// The offset of the oldest record there is, as the broker said last. `None`: it has not yet.
    pub fn log_start(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        self.shared.lock().slot(topic_partition)?.log_start
    }

    /// The next records of one of the partitions; blocks for `timeout` at most if there are none. `None`: none have
    /// come.
    ///
    /// # Errors
    ///
    /// One of the partitions cannot go on; the others can. Or no broker could be reached for
    /// [`request_timeout`](crate::ClientConfig::request_timeout), or the group does not take it
    /// ([`PollError::Group`]); the consumer goes on trying.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Records>, PollError> {
        let deadline = Instant::now().checked_add(timeout);
        self.commit_if_due();
        loop {
            self.see_to_desk()?;
            let mut state = match self.take() {
                Taken::Records(records) => return Ok(Some(records)),
                Taken::Error(error) => return Err(error),
                Taken::Again => continue,
                Taken::Nothing(state) => state,
            };
            let left =
                deadline.map_or(A_WHILE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            state.desk.busy_since = None;
            drop(self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// As [`poll`](Self::poll), for tasks: waits until there are records. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn next_records(&mut self) -> impl Future<Output = Result<Records, PollError>> {
        std::future::poll_fn(|context| self.poll_records(context))
    }

    /// Records one by one, waiting for each, without end. See [`ConsumerIter`].
    pub fn iter(&mut self) -> ConsumerIter<'_> {
        ConsumerIter::new(self)
    }

    /// Records one by one, for tasks, without end. See [`RecordStream`].
    pub fn stream(&mut self) -> RecordStream<'_> {
        RecordStream::new(self)
    }

    fn poll_records(&mut self, context: &Context<'_>) -> Poll<Result<Records, PollError>> {
        self.commit_if_due();
        loop {
            self.see_to_desk()?;
            match self.take() {
                Taken::Records(records) => return Poll::Ready(Ok(records)),
                Taken::Error(error) => return Poll::Ready(Err(error)),
                Taken::Again => {}
                Taken::Nothing(mut state) => {
                    state.desk.busy_since = None;
                    state.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes what is there to be handed out, and verifies it without holding the lock. From here on the application is
    /// at work, unless it waits.
    fn take(&self) -> Taken<'_> {
        let mut state = self.shared.lock();
        if state.closed {
            return Taken::Error(PollError::Closed);
        }
        state.desk.busy_since = Some(Instant::now());
        if state.desk.is_waiting() {
            return Taken::Again;
        }
        if state.slots.is_empty() && !state.desk.is_subscribed {
            return Taken::Error(PollError::NothingAssigned);
        }
        let Some((at, item)) = state.pop() else {
            return match state.away.take() {
                Some(source) => Taken::Error(PollError::Away(source)),
                None => Taken::Nothing(state),
            };
        };
        let starved = std::mem::take(&mut state.starved);
        let topic_partition = state.slots[at].topic_partition.clone();
        drop(state);
        if starved {
            self.tell_fetcher();
        }
        let (bytes, from, high_watermark) = match item {
            Item::Error(error) => return Taken::Error(error),
            Item::Fetched { bytes, from, high_watermark } => (bytes, from, high_watermark),
        };
        let limit = DecompressLimit::new(self.shared.config.decompressed_bytes_max);
        let (records, whole) = Records::read(topic_partition.clone(), &bytes, from, high_watermark, limit);
        let offset = records.next_offset();
        let mut state = self.shared.lock();
        // Only `&mut self` moves partitions, so this is still the slot that it came from.
        let slot = &mut state.slots[at];
        slot.position = Some(offset);
        slot.read_epoch = records.leader_epoch().unwrap_or(slot.read_epoch);
        if let Err(source) = whole {
            state.stop_here(at, PollError::Damaged { topic_partition, offset, source });
        }
        if records.is_empty() { Taken::Again } else { Taken::Records(records) }
    }

    fn tell_fetcher(&self) {
        if self.client.tell(Message::FetcherSignalled(self.shared.id)).is_err() {
            self.shared.lock().closed = true;
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.membership.is_some() {
            let _ = self.client.tell(Message::DropMember(self.shared.id));
        }
        // If the client has ended, so has the fetcher.
        let _ = self.client.tell(Message::DropFetcher(self.shared.id));
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("assignment", &self.assignment()).finish_non_exhaustive()
    }
}

enum Taken<'a> {
    Records(Records),
    Error(PollError),
    /// What there was held no record of interest, or something else has to be seen to first; there may be more.
    Again,
    Nothing(MutexGuard<'a, State>),
}

/// How long a wait without an end lasts before it begins anew.
const A_WHILE: Duration = Duration::from_secs(3600);
