//! Settings of one topic, under Kafka's names where Kafka has one.

use std::time::Duration;

/// When a record counts as safe: what acks=all waits for and what consumers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurabilityClass {
    /// Flushed: acks=all waits for the disk, and consumers see nothing that a power cut could take back.
    #[default]
    Fsync,
    /// In the page cache, flushed every `flush.ms` or `flush.bytes`.
    Interval,
    /// In the page cache, written back within the directory's bounds.
    Os,
}

/// Settings of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `durability`.
    pub durability: DurabilityClass,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention: Option<Duration>,
    /// `retention.bytes`; `None` does not limit by size.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment older than that is closed and a new one begun.
    pub segment_age: Duration,
    /// `index.interval.bytes`: log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch, as stored.
    pub max_message_bytes: u32,
    /// `flush.ms`, for `interval`.
    pub flush_interval: Duration,
    /// `flush.bytes`, for `interval`.
    pub flush_bytes: u64,
    /// `message.timestamp.before.max.ms`; `None` takes any age.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`: how far ahead of this machine's clock a record may be.
    pub timestamp_after_max: Option<Duration>,
}

/// The default of `flush.ms`; Kafka's own, "never", counts as this.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            durability: DurabilityClass::Fsync,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            flush_interval: FLUSH_INTERVAL,
            flush_bytes: 8 << 20,
            timestamp_before_max: None,
            timestamp_after_max: Some(Duration::from_secs(3600)),
        }
    }
}
