//! How a log is kept: what comes of its topic's settings.
//!
//! They may change while the log is used. An append goes by one set of them from its beginning to its end; the shape of
//! files holds from the next segment on.

use std::sync::Arc;

use super::{CompactionOptions, Log};
use crate::files::Files;

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: Option<u64>,
    /// `segment.jitter.ms`: by up to so much less, each segment by another.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: eight for an entry, whatever an entry takes.
    pub segment_index_bytes: u32,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`.
    pub retention_ms: Option<u64>,
    /// `max.message.bytes`: the largest batch.
    pub batch_size_max: u32,
    /// `index.interval.bytes`.
    pub index_interval: u32,
    /// Who may see records, and when.
    pub visibility: Visibility,
    /// `producer.id.expiration.ms`: a producer that was silent for so long is forgotten.
    pub producer_expiration_ms: u64,
    /// How many idempotent producers are remembered. Holds from the next start on.
    pub producers_max: usize,
    /// Bytes between two snapshots of them.
    pub snapshot_interval: u64,
    /// Whether it is compacted, and how.
    pub compaction: Option<CompactionOptions>,
}

/// Who may see records, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Once they are appended.
    Appended,
    /// Once they are flushed.
    Flushed,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: Some(7 * 24 * 3600 * 1000),
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            batch_size_max: 1_048_588,
            index_interval: 4096,
            visibility: Visibility::Flushed,
            producer_expiration_ms: 24 * 3600 * 1000,
            producers_max: 10_000,
            snapshot_interval: 64 << 20,
            compaction: None,
        }
    }
}

impl<F: Files> Log<F> {
    /// How it is kept.
    pub fn options(&self) -> Arc<LogOptions> {
        self.options.load_full()
    }

    /// Changes how it is kept; the shape of files holds from the next segment on. Waits for whoever appends: an append
    /// goes by one set of options from its beginning to its end. What consumers see never goes back.
    pub fn set_options(&self, options: LogOptions) {
        let writer = self.lock();
        let shows_at_once = options.visibility == Visibility::Appended;
        self.options.store(Arc::new(options));
        if shows_at_once {
            // What was appended before waits for a flush that may come late, or not at all.
            self.visible.store(Arc::new(writer.tail(self.log_end())));
        }
    }
}
