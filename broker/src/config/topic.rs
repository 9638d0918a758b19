//! Settings of one topic, as far as they do something, under Kafka's names where Kafka has one.

use std::time::Duration;

use folio_record::{Codec, Compression, TimestampType};
use folio_storage::DirtyRatio;

/// When a record counts as safe: what acks=all waits for and what consumers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurabilityClass {
    /// Flushed: acks=all waits for the disk, and consumers see nothing that a power cut could take back.
    #[default]
    Fsync,
    /// In the page cache, flushed every `flush.ms`, `flush.messages` or `flush.bytes`.
    Interval,
    /// In the page cache, written back within the directory's bounds.
    Os,
}

/// What becomes of old records: `cleanup.policy`. Neither keeps them for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Segments go by age and size.
    pub deletes: bool,
    /// The last record of each key is kept; so every record has to have one.
    pub compacts: bool,
}

/// Settings of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `durability`, as it is set; [`durability`](Self::durability) is what follows from it.
    pub durability_set: DurabilityClass,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `retention.ms`; `None` keeps records for ever.
    pub retention: Option<Duration>,
    /// `retention.bytes`; `None` does not limit by size.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment older than that is closed and a new one begun.
    pub segment_age: Duration,
    /// `segment.jitter.ms`: segments are closed earlier by up to this, each by another.
    pub segment_jitter: Duration,
    /// `segment.index.bytes`: a segment whose index has grown so far is closed.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch, as stored.
    pub max_message_bytes: u32,
    /// `max.decompressed.message.bytes`: the largest record of a compressed batch.
    pub decompressed_record_max: u32,
    /// `flush.ms`; `None` is never.
    pub flush_ms: Option<Duration>,
    /// `flush.messages`; `None` is never.
    pub flush_messages: Option<u64>,
    /// `flush.bytes`, for `interval`.
    pub flush_bytes: u64,
    /// `message.timestamp.type`: whose time records have.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `None` takes any age.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`: how far ahead of this machine's clock a record may be.
    pub timestamp_after_max: Option<Duration>,
    /// `compression.type`; `None` leaves batches as their producers compressed them.
    pub compression: Option<Compression>,
    /// `compression.gzip.level`.
    pub gzip_level: i32,
    /// `compression.zstd.level`.
    pub zstd_level: i32,
    /// `min.cleanable.dirty.ratio`: a log is compacted when more of it is dirty.
    pub dirty_ratio_min: DirtyRatio,
    /// `min.compaction.lag.ms`: nothing younger is compacted.
    pub compaction_lag_min: Duration,
    /// `max.compaction.lag.ms`: what is older is compacted, however little it is; `None` waits for more.
    pub compaction_lag_max: Option<Duration>,
    /// `delete.retention.ms`: how long the mark of a deleted key is kept once it was compacted.
    pub delete_retention: Duration,
}

/// How often an `interval` topic is flushed that does not say so.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

impl TopicSettings {
    /// When a record counts as safe. Kafka's own settings can ask for more than `durability` says: `flush.messages = 1`
    /// is `fsync`, and any other `flush.messages` or `flush.ms` makes `interval` of `os`.
    #[must_use]
    pub fn durability(&self) -> DurabilityClass {
        let flushes_by_itself = self.flush_messages.is_some() || self.flush_ms.is_some();
        match self.durability_set {
            _ if self.flush_messages == Some(1) => DurabilityClass::Fsync,
            DurabilityClass::Os if flushes_by_itself => DurabilityClass::Interval,
            set => set,
        }
    }

    /// The codec that batches are stored in; `None` leaves them as their producers compressed them.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        let compression = self.compression?;
        let level = match compression {
            Compression::Gzip => self.gzip_level,
            Compression::Zstd => self.zstd_level,
            Compression::None | Compression::Snappy | Compression::Lz4 => return Some(compression.into()),
        };
        Some(Codec::with_level(compression, level).unwrap_or(compression.into()))
    }

    /// How long an `interval` topic may stay unflushed.
    #[must_use]
    pub fn flush_interval(&self) -> Duration {
        self.flush_ms.unwrap_or(FLUSH_INTERVAL)
    }
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            durability_set: DurabilityClass::Fsync,
            cleanup: CleanupPolicy { deletes: true, compacts: false },
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            segment_jitter: Duration::ZERO,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            decompressed_record_max: 2_147_483_639,
            flush_ms: None,
            flush_messages: None,
            flush_bytes: 8 << 20,
            timestamp_type: TimestampType::Create,
            timestamp_before_max: None,
            timestamp_after_max: Some(Duration::from_secs(3600)),
            compression: None,
            gzip_level: -1,
            zstd_level: 3,
            dirty_ratio_min: DirtyRatio::new(0.5),
            compaction_lag_min: Duration::ZERO,
            compaction_lag_max: None,
            delete_retention: Duration::from_secs(24 * 3600),
        }
    }
}
