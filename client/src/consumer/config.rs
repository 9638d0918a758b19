//! How a consumer fetches, and where it begins.

use std::time::Duration;

use folio_record::{Offset, Timestamp};

use crate::{BuildError, GroupConfig};

/// How a [`Consumer`](crate::Consumer) fetches. The defaults give low latency at the tail and high throughput behind
/// it.
///
/// ```
/// use folio_client::{ConsumerConfig, OutOfRange};
///
/// let config = ConsumerConfig::new().out_of_range(OutOfRange::Earliest).prefetch_bytes(4 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// What happens at an offset that the log does not hold (any more). Default [`OutOfRange::Fail`].
    pub out_of_range: OutOfRange,
    /// Whether the broker pushes records as they become visible (subscriptions), where it can and there are no more
    /// than 256 partitions. It is what is quickest at the tail. If not, they are asked for (fetches), which brings no
    /// more than is asked for: for a read that ends somewhere. Default true.
    pub streaming: bool,
    /// Bytes of one partition that one fetch brings at most; a larger batch comes alone. Of a subscription, twice as
    /// many wait to be handed out. Default 1 MiB.
    pub partition_bytes_max: usize,
    /// Bytes that one fetch of many partitions brings at most. Default 8 MiB.
    pub fetch_bytes_max: usize,
    /// Bytes fetched, or being fetched, that were not handed out yet. When they are reached, fetching stops until some
    /// are. At least one fetch is always possible. Subscriptions share it evenly; each may go beyond its part by one
    /// batch. Default 16 MiB.
    pub prefetch_bytes: usize,
    /// A fetch is answered when there are so many bytes, ... Above 1 nothing is pushed. Default 1.
    pub bytes_min: usize,
    /// ... or after this time. Default 500 ms.
    pub wait_max: Duration,
    /// Bytes that the records of one compressed batch may take. Larger ones count as damaged. Default 64 MiB.
    pub decompressed_bytes_max: usize,
    /// The group that it belongs to: [`subscribe`](crate::Consumer::subscribe) and [`commit`](crate::Consumer::commit)
    /// need one. Default none.
    pub group: Option<GroupConfig>,
}

/// What happens at an offset that the log does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// [`PollError::OutOfRange`](crate::PollError::OutOfRange). The partition stays where it is until it is moved.
    #[default]
    Fail,
    /// It goes on at the oldest record.
    Earliest,
    /// It goes on behind the newest record.
    Latest,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest record.
    Earliest,
    /// Behind the newest record: what comes from now on.
    Latest,
    /// The record at this offset.
    At(Offset),
    /// The first record that is not older than this; behind the newest record if all are.
    Since(Timestamp),
    /// So many offsets before the end; the oldest record if there are fewer.
    BeforeEnd(u64),
}

impl ConsumerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            out_of_range: OutOfRange::Fail,
            streaming: true,
            partition_bytes_max: 1 << 20,
            fetch_bytes_max: 8 << 20,
            prefetch_bytes: 16 << 20,
            bytes_min: 1,
            wait_max: Duration::from_millis(500),
            decompressed_bytes_max: 64 << 20,
            group: None,
        }
    }

    /// Sets [`out_of_range`](Self::out_of_range).
    #[must_use]
    pub fn out_of_range(mut self, policy: OutOfRange) -> Self {
        self.out_of_range = policy;
        self
    }

    /// Sets [`streaming`](Self::streaming).
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.streaming = streaming;
        self
    }

    /// Sets [`partition_bytes_max`](Self::partition_bytes_max).
    #[must_use]
    pub fn partition_bytes_max(mut self, bytes: usize) -> Self {
        self.partition_bytes_max = bytes;
        self
    }

    /// Sets [`fetch_bytes_max`](Self::fetch_bytes_max).
    #[must_use]
    pub fn fetch_bytes_max(mut self, bytes: usize) -> Self {
        self.fetch_bytes_max = bytes;
        self
    }

    /// Sets [`prefetch_bytes`](Self::prefetch_bytes).
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// Sets [`bytes_min`](Self::bytes_min).
    #[must_use]
    pub fn bytes_min(mut self, bytes: usize) -> Self {
        self.bytes_min = bytes;
        self
    }

    /// Sets [`wait_max`](Self::wait_max).
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = wait;
        self
    }

    /// Sets [`decompressed_bytes_max`](Self::decompressed_bytes_max).
    #[must_use]
    pub fn decompressed_bytes_max(mut self, bytes: usize) -> Self {
        self.decompressed_bytes_max = bytes;
        self
    }

    /// Sets [`group`](Self::group).
    #[must_use]
    pub fn group(mut self, group: GroupConfig) -> Self {
        self.group = Some(group);
        self
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        for (name, bytes) in [
            ("partition_bytes_max", self.partition_bytes_max),
            ("fetch_bytes_max", self.fetch_bytes_max),
            ("prefetch_bytes", self.prefetch_bytes),
        ] {
            if bytes == 0 {
                return Err(BuildError::Config(format!("{name} is 0: nothing could be fetched")));
            }
        }
        self.group.as_ref().map_or(Ok(()), GroupConfig::check)
    }
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self::new()
    }
}
