//! One partition's log: append, read, find.

#![allow(clippy::todo)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{LeaderEpoch, Offset};

use crate::files::Files;
use crate::partition::PartitionId;
use crate::recovery::RecoveredLog;

/// The end of a log, as one value: the state after one and the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Base offset of the last segment.
    pub segment_base: Offset,
    /// Bytes in its log.
    pub pos: u64,
    /// The next offset to be assigned.
    pub next_offset: Offset,
}

/// What a flush round has to sync.
#[derive(Debug)]
pub struct ToFlush<F: Files> {
    /// Where the log ended when this was captured.
    pub tail: Tail,
    /// Files with bytes that are not on stable storage, oldest first; open since before those were written.
    pub files: Vec<Arc<F::File>>,
    /// Names in the log's directory are not on stable storage.
    pub new_names: bool,
}

/// Who may see records, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Once they are appended.
    Appended,
    /// Once they are flushed.
    Flushed,
}

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: Option<u64>,
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
}

/// A log.
#[derive(Debug)]
pub struct Log<F: Files> {
    files: Arc<F>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: Some(7 * 24 * 3600 * 1000),
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3600 * 1000),
            batch_size_max: 1_048_588,
            index_interval: 4096,
            visibility: Visibility::Flushed,
        }
    }
}

impl<F: Files> Log<F> {
    /// Takes a recovered log at its word.
    pub fn open(
        files: Arc<F>,
        dir: PathBuf,
        id: PartitionId,
        options: LogOptions,
        recovered: RecoveredLog,
    ) -> io::Result<Self> {
        let _ = (dir, id, options, recovered);
        let _ = Self { files };
        todo!()
    }

    /// Which partition.
    pub fn id(&self) -> PartitionId {
        let _ = &self.files;
        todo!()
    }

    /// Its directory, relative to the data directory.
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// Where it ends.
    pub fn tail(&self) -> Tail {
        todo!()
    }

    /// Where it is durable.
    pub fn durable_tail(&self) -> Tail {
        todo!()
    }

    /// The first offset that may be read.
    pub fn log_start(&self) -> Offset {
        todo!()
    }

    /// The offset up to which consumers may read.
    pub fn high_watermark(&self) -> Offset {
        todo!()
    }

    /// The epoch that is appended under.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        todo!()
    }

    /// What has to be synced for everything appended so far to be durable.
    pub fn to_flush(&self) -> ToFlush<F> {
        todo!()
    }

    /// Everything up to `tail` is durable.
    pub fn flushed(&self, tail: &Tail) {
        let _ = tail;
        todo!()
    }

    /// The first readable offset was raised, durably.
    pub fn start_at(&self, offset: Offset) {
        let _ = offset;
        todo!()
    }

    /// Gives reserves back; nothing is appended after this.
    pub fn close(&self) -> io::Result<()> {
        todo!()
    }
}
