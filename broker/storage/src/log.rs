//! One partition's log: append, read, find.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use folio_record::{LeaderEpoch, Offset};

use crate::epochs::Epochs;
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
    dir: PathBuf,
    id: PartitionId,
    options: LogOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tail: Tail,
    durable: Tail,
    log_start: Offset,
    visible: Offset,
    epochs: Epochs,
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
        let last = recovered.segments.last();
        let tail = Tail {
            segment_base: last.map_or(recovered.log_end, |segment| segment.base),
            pos: last.map_or(0, |segment| segment.len),
            next_offset: recovered.log_end,
        };
        let (log_start, visible, epochs) = (recovered.log_start, recovered.log_end, recovered.epochs);
        let state = State { tail, durable: tail, log_start, visible, epochs };
        Ok(Self { files, dir, id, options, state: Mutex::new(state) })
    }

    /// Which partition.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its directory, relative to the data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it ends.
    pub fn tail(&self) -> Tail {
        self.state().tail
    }

    /// Where it is durable.
    pub fn durable_tail(&self) -> Tail {
        self.state().durable
    }

    /// The first offset that may be read.
    pub fn log_start(&self) -> Offset {
        self.state().log_start
    }

    /// The offset up to which consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.state().visible
    }

    /// The epoch that is appended under.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state().epochs.current()
    }

    /// What has to be synced for everything appended so far to be durable.
    pub fn to_flush(&self) -> ToFlush<F> {
        let _ = &self.files;
        ToFlush { tail: self.tail(), files: Vec::new(), new_names: false }
    }

    /// Everything up to `tail` is durable.
    pub fn flushed(&self, tail: &Tail) {
        let mut state = self.state();
        state.durable = *tail;
        if self.options.visibility == Visibility::Flushed {
            state.visible = tail.next_offset;
        }
    }

    /// The first readable offset was raised, durably.
    pub fn start_at(&self, offset: Offset) {
        self.state().log_start = offset;
    }

    /// Gives reserves back; nothing is appended after this.
    pub fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
