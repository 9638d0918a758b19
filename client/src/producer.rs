//! Sending records.
//!
//! ```text
//!   send -> partition -> | its queue | -> one of few requests -> | broker |
//!           (by key, by turn, as told)    (the client's thread)      |
//!                             delivery <-----------------------------+
//! ```
//!
//! What is absent: nothing here knows a socket or a message; the client's thread asks the [`sender`] what to send next
//! and tells it what became of it. No list grows without the [`budget`] having been asked.

mod batch;
mod budget;
mod compressors;
mod config;
mod delivery;
mod introduction;
mod numbers;
mod outcome;
mod queue;
mod record;
pub(crate) mod sender;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use folio_record::{NewRecord, Timestamp};

pub use config::{Acks, ProducerConfig};
pub use delivery::{Delivered, Delivery, Flush};
pub(crate) use numbers::Identity;
pub use record::ProducerRecord;

use crate::client::Client;
use crate::driver::Message;
use crate::{BuildError, CallError, DeliveryError, SendError};
use budget::NoRoom;
use queue::NotAppended;
use sender::{Sender, Shared};
use topics::Topic;

/// Sends records. Any number of threads may use one producer; records that one thread sends to one partition reach the
/// log in that order, whatever has to be sent again.
///
/// A record that was confirmed is in the log once, however often it had to be sent: the broker is told of each batch
/// which one it is ([`idempotent`](ProducerConfig::idempotent)). That holds for one producer; who sends a record again
/// to another one, because the first could not tell what became of it, may have it in the log twice.
///
/// Dropping a producer waits for nothing: what was accepted is still sent, for as long as the process lives. Call
/// [`close`](Self::close) to be sure of it.
///
/// ```no_run
/// use folio_client::{Client, ClientConfig, ProducerConfig, ProducerRecord};
///
/// let client = Client::connect(ClientConfig::default())?;
/// let producer = client.producer(ProducerConfig::new())?;
/// let delivery = producer.send(ProducerRecord::to("clicks").key("user-17").value("home"))?;
/// println!("at offset {:?}", delivery.wait()?.offset);
/// producer.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    client: Client,
}

impl Producer {
    pub(crate) fn new(client: &Client, config: ProducerConfig) -> Result<Self, BuildError> {
        let backoff = client.config().retry_backoff;
        let shared = Arc::new(Shared::new(client.next_id(), config)?);
        let sender = Sender::new(Arc::clone(&shared), backoff);
        client.tell(Message::AddSender(Box::new(sender))).map_err(|_| BuildError::Closed)?;
        Ok(Self { shared, client: client.clone() })
    }

    /// Accepts a record. Blocks while the buffer is full, and for the first record of a topic until the number of its
    /// partitions is known; for [`block_max`](ProducerConfig::block_max) at most.
    ///
    /// The record is on its way when this returns; what becomes of it, the [`Delivery`] tells.
    ///
    /// # Errors
    ///
    /// The record was not accepted.
    pub fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        let (topic, deadline) = match self.shared.topic(record.topic) {
            Some(topic) => (topic, None),
            None => {
                let deadline = Instant::now() + self.shared.config.block_max;
                (self.learn_topic(record.topic, deadline)?, Some(deadline))
            }
        };
        let bytes = self.shared.bytes_of(&record);
        if !self.shared.budget.try_reserve(bytes) {
            let deadline = deadline.unwrap_or_else(|| Instant::now() + self.shared.config.block_max);
            self.shared.budget.reserve(bytes, deadline).map_err(|error| self.no_room(error))?;
        }
        self.append(&topic, &record, bytes)
    }

    /// Accepts a record if that needs no waiting.
    ///
    /// # Errors
    ///
    /// The record was not accepted. [`SendError::is_retriable`] tells whether it may be later.
    pub fn try_send(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        let Some(topic) = self.shared.topic(record.topic) else {
            self.shared.ask_for_topic(&self.client, record.topic);
            return Err(SendError::TopicNotKnownYet(record.topic.into()));
        };
        let bytes = self.shared.bytes_of(&record);
        if !self.shared.budget.try_reserve(bytes) {
            return Err(self.no_room(NoRoom::Full));
        }
        self.append(&topic, &record, bytes)
    }

    /// As [`send`](Self::send), for tasks: waits without blocking, and without a limit on the wait for room (drop the
    /// future to give up; the record was not accepted then).
    ///
    /// # Errors
    ///
    /// The record was not accepted.
    pub async fn send_async(&self, record: ProducerRecord<'_>) -> Result<Delivery, SendError> {
        let topic = match self.shared.topic(record.topic) {
            Some(topic) => topic,
            None => {
                let partitions = self.client.partition_count(record.topic).await;
                self.shared.learned(record.topic, partitions)?
            }
        };
        let bytes = self.shared.bytes_of(&record);
        std::future::poll_fn(|context| self.shared.budget.poll_reserve(bytes, context))
            .await
            .map_err(|error| self.no_room(error))?;
        self.append(&topic, &record, bytes)
    }

    /// How many partitions a topic has. Asks the broker the first time only.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn partition_count(&self, topic: &str) -> Result<u32, SendError> {
        match self.shared.topic(topic) {
            Some(topic) => Ok(topic.partitions()),
            None => {
                let deadline = Instant::now() + self.shared.config.block_max;
                Ok(self.learn_topic(topic, deadline)?.partitions())
            }
        }
    }

    /// Sends what was accepted so far without lingering. The result tells when all of it has been delivered or given
    /// up; what is accepted later does not prolong it.
    pub fn flush(&self) -> Flush {
        let mut outcomes = Vec::new();
        for topic in self.shared.all_topics() {
            for queue in topic.queues() {
                if queue.flush(&mut outcomes) {
                    self.shared.signal(queue, &self.client);
                }
            }
        }
        outcomes.reverse();
        Flush::new(outcomes)
    }

    /// Bytes of records that were accepted and whose fate is not known yet.
    pub fn buffered_bytes(&self) -> usize {
        self.shared.budget.used()
    }

    /// Why records that are on their way are there still: what the broker last said of some of them, for the moment, or
    /// how the connection ended. `None` where nothing of the kind happened since records of the partition were stored.
    /// They are sent again all the same, as [`ProducerConfig`] has it.
    pub fn trouble(&self) -> Option<CallError> {
        self.shared.all_topics().iter().flat_map(|topic| topic.queues()).find_map(|queue| queue.trouble())
    }

    /// Accepts nothing more, and blocks until everything that was accepted has been delivered or given up: for
    /// [`delivery_timeout`](ProducerConfig::delivery_timeout) at most.
    ///
    /// # Errors
    ///
    /// One of the records that were on their way was given up. Which ones is known to their deliveries.
    pub fn close(self) -> Result<(), DeliveryError> {
        self.shared.close();
        self.flush().wait()
    }

    fn learn_topic(&self, name: &str, deadline: Instant) -> Result<Arc<Topic>, SendError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let partitions = self.client.partition_count(name).wait_for(left);
        self.shared.learned(name, partitions.unwrap_or_else(|| Err(self.client.no_answer(left))))
    }

    fn append(
        &self,
        topic: &Topic,
        record: &ProducerRecord<'_>,
        bytes: usize,
    ) -> Result<Delivery, SendError> {
        let appended = topic.queue_for(record, bytes).and_then(|queue| {
            let new = NewRecord {
                timestamp: record.timestamp.unwrap_or_else(now_ms),
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            match queue.append(&new, bytes) {
                Ok(appended) => Ok((queue, appended)),
                Err(NotAppended::Closed) => Err(self.shared.no_longer()),
                Err(NotAppended::DoesNotFit(refused)) => {
                    Err(SendError::TooLarge { size: refused.size, size_max: refused.size_max })
                }
            }
        });
        match appended {
            Ok((queue, appended)) => {
                if appended.tell {
                    self.shared.signal(queue, &self.client);
                }
                Ok(Delivery::new(appended.outcome, appended.index))
            }
            Err(error) => {
                self.shared.budget.release(bytes);
                Err(error)
            }
        }
    }

    fn no_room(&self, error: NoRoom) -> SendError {
        match error {
            NoRoom::Full => SendError::BufferFull { buffer_bytes: self.shared.budget.limit() },
            NoRoom::Closed => self.shared.no_longer(),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.close();
        // The sender finishes what is there and goes. If the client has ended, so has the sender.
        let _ = self.client.tell(Message::DropSender(self.shared.id));
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("buffered_bytes", &self.buffered_bytes()).finish_non_exhaustive()
    }
}

fn now_ms() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
