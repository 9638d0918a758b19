//! How a producer sends.

use std::time::Duration;

use folio_record::{Codec, Compression};

use super::numbers::BATCHES_IN_FLIGHT_MAX;
use super::queue::QueueRules;
use crate::{BuildError, Keyless};

/// How a [`Producer`](crate::Producer) sends. The defaults lose nothing that was acknowledged, store nothing twice,
/// keep the order, and wait for nobody: batches form by themselves while others are on their way.
///
/// ```
/// use std::time::Duration;
/// use folio_client::{Compression, ProducerConfig};
///
/// let config = ProducerConfig::new().compression(Compression::Lz4).linger(Duration::from_millis(5));
/// assert_eq!(config.batch_bytes, 64 << 10);
/// ```
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// What counts as delivered. Default [`Acks::All`].
    pub acks: Acks,
    /// How batches are compressed. Default [`Compression::None`]. A batch that does not get smaller stays as it is.
    pub compression: Codec,
    /// A batch is sent when it has so many bytes, before compression. While others of its partition wait before it, it
    /// goes on growing, to a fifth of [`request_bytes`](Self::request_bytes) at most. Default 64 KiB.
    pub batch_bytes: usize,
    /// Largest batch, and so about the largest record. The topic's `max.message.bytes` bounds it as well. Default
    /// 1,048,588, which is that setting's default.
    pub batch_bytes_max: usize,
    /// How long a batch that is not full waits for more records. While another batch of its partition is on its way it
    /// waits in any case. Default 0.
    pub linger: Duration,
    /// Bytes of one request, which carries batches of many partitions; a larger batch travels alone. Default 1 MiB.
    pub request_bytes: usize,
    /// Requests on their way at the same time. More batches wait. Default 5.
    pub requests_in_flight_max: usize,
    /// Bytes of records that were accepted and are not delivered yet. When they are reached,
    /// [`send`](crate::Producer::send) blocks and [`try_send`](crate::Producer::try_send) refuses. Default 32 MiB.
    pub buffer_bytes: usize,
    /// How long [`send`](crate::Producer::send) blocks for room in the buffer, or to learn what the topic is like.
    /// Default 60 s.
    pub block_max: Duration,
    /// How long after it was accepted a record is given up. Default 120 s.
    pub delivery_timeout: Duration,
    /// How often a batch is sent again that failed for the moment. With 0, order needs no waiting, and requests of the
    /// same partition follow one another at once. Default: as often as `delivery_timeout` allows.
    pub retries: u32,
    /// Whether the broker is told of each batch which one it is, so that one that is sent again is stored once. Without
    /// it a batch is in the log twice when the answer to its first attempt was lost. Where nothing is sent again it
    /// makes no difference. Default true.
    pub idempotent: bool,
    /// Where records without a key go. Default [`Keyless::Sticky`].
    pub keyless: Keyless,
    /// After this time the number of a topic's partitions is asked for again, in the background. Default 5 min.
    pub metadata_age_max: Duration,
}

/// What counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Handed to the network: no answer is asked for, nothing is sent again, no offset is known.
    None,
    /// The broker has appended it.
    Leader,
    /// The broker has made it as safe as the topic's `durability` promises.
    #[default]
    All,
}

impl ProducerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            acks: Acks::All,
            compression: Compression::None.into(),
            batch_bytes: 64 << 10,
            batch_bytes_max: 1_048_588,
            linger: Duration::ZERO,
            request_bytes: 1 << 20,
            requests_in_flight_max: 5,
            buffer_bytes: 32 << 20,
            block_max: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            retries: u32::MAX,
            idempotent: true,
            keyless: Keyless::Sticky,
            metadata_age_max: Duration::from_secs(300),
        }
    }

    /// Sets [`acks`](Self::acks).
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Sets [`compression`](Self::compression): a [`Compression`] at its default level, or a [`Codec`].
    #[must_use]
    pub fn compression(mut self, compression: impl Into<Codec>) -> Self {
        self.compression = compression.into();
        self
    }

    /// Sets [`batch_bytes`](Self::batch_bytes).
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets [`batch_bytes_max`](Self::batch_bytes_max).
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// Sets [`linger`](Self::linger).
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets [`request_bytes`](Self::request_bytes).
    #[must_use]
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// Sets [`requests_in_flight_max`](Self::requests_in_flight_max).
    #[must_use]
    pub fn requests_in_flight_max(mut self, most: usize) -> Self {
        self.requests_in_flight_max = most;
        self
    }

    /// Sets [`buffer_bytes`](Self::buffer_bytes).
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Sets [`block_max`](Self::block_max).
    #[must_use]
    pub fn block_max(mut self, limit: Duration) -> Self {
        self.block_max = limit;
        self
    }

    /// Sets [`delivery_timeout`](Self::delivery_timeout).
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Sets [`retries`](Self::retries).
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets [`idempotent`](Self::idempotent).
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets [`keyless`](Self::keyless).
    #[must_use]
    pub fn keyless(mut self, keyless: Keyless) -> Self {
        self.keyless = keyless;
        self
    }

    /// Sets [`metadata_age_max`](Self::metadata_age_max).
    #[must_use]
    pub fn metadata_age_max(mut self, age: Duration) -> Self {
        self.metadata_age_max = age;
        self
    }

    pub(crate) fn rules(&self) -> Result<QueueRules, BuildError> {
        if self.batch_bytes > self.batch_bytes_max {
            return Err(BuildError::Config(format!(
                "batch_bytes ({}) is more than batch_bytes_max ({})",
                self.batch_bytes, self.batch_bytes_max
            )));
        }
        if self.buffer_bytes < self.batch_bytes_max {
            return Err(BuildError::Config(format!(
                "buffer_bytes ({}) is less than batch_bytes_max ({}): the largest record would never find room",
                self.buffer_bytes, self.batch_bytes_max
            )));
        }
        if self.linger >= self.delivery_timeout {
            return Err(BuildError::Config(format!(
                "linger ({} ms) is not less than delivery_timeout ({} ms): records would be given up before they are sent",
                self.linger.as_millis(),
                self.delivery_timeout.as_millis()
            )));
        }
        if self.requests_in_flight_max == 0 {
            return Err(BuildError::Config("requests_in_flight_max is 0: nothing could be sent".to_owned()));
        }
        let numbered = self.idempotent && self.acks != Acks::None && self.retries > 0;
        // So that as many as may be in flight fill a request. Without numbers, a request takes any number of them.
        let share = if numbered { self.request_bytes / BATCHES_IN_FLIGHT_MAX } else { 0 };
        Ok(QueueRules {
            batch_bytes: self.batch_bytes,
            batch_bytes_grown: share.clamp(self.batch_bytes, self.batch_bytes_max),
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            retries: self.retries,
            answered: self.acks != Acks::None,
            numbered,
            batch_bytes_max: self.batch_bytes_max,
        })
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self::new()
    }
}
