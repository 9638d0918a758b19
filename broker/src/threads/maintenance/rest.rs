//! Lets partitions sleep that nobody needs, and watches how many files are open.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use folio_storage::{AppendError, Log, Wakefulness};

use crate::engine::{Disk, Engine, now};
use crate::partition::Partition;

/// What was last said of the files that are open.
#[derive(Debug, Default)]
pub(super) struct Rest {
    refused: u64,
    is_tight: bool,
}

impl Rest {
    /// Says so when few more files can be opened, or none; and has those flushed that could be closed then.
    pub(super) fn look(&mut self, engine: &Engine) {
        let open = engine.dir.open_segments().totals();
        let (maps, limit, refused) = (open.maps, open.limit, open.refused - self.refused);
        self.refused = open.refused;
        if refused > 0 {
            tracing::error!(
                maps,
                limit,
                refused,
                "requests found no file to open: raise the limit of open files (ulimit -n, LimitNOFILE), vm.max_map_count, or mapped.files.max where that is set"
            );
        }
        if open.is_tight() && !self.is_tight {
            tracing::warn!(
                maps,
                limit,
                "nearly all files that may be open at once are: partitions that are appended to take three each"
            );
        }
        self.is_tight = open.is_tight();
        if self.is_tight || refused > 0 {
            let logs: Vec<_> =
                engine.dir.logs().into_iter().filter(|log| log.would_sleep_if_flushed()).collect();
            flush(engine, &logs);
        }
    }
}

/// Lets those sleep that nobody has needed for `partition.dormant.ms`. What they have not flushed is flushed before, of
/// all of them together.
pub(super) fn let_sleep<'a>(engine: &Engine, partitions: impl Iterator<Item = &'a Arc<Partition<Disk>>>) {
    let unflushed: Vec<_> =
        partitions.filter(|partition| sleeps(engine, partition) == Wakefulness::Unflushed).collect();
    let logs: Vec<_> = unflushed.iter().map(|partition| Arc::clone(&partition.log)).collect();
    flush(engine, &logs);
    for partition in unflushed {
        sleeps(engine, partition);
    }
}

fn sleeps(engine: &Engine, partition: &Partition<Disk>) -> Wakefulness {
    if engine.health.has_failed() {
        return Wakefulness::Awake;
    }
    match partition.log.sleep_if_idle(Instant::now(), engine.config.partition_dormant) {
        Ok(wakefulness) => wakefulness,
        Err(AppendError::Io { path, source }) => {
            engine.fail_of(partition, &path, &source);
            Wakefulness::Awake
        }
        Err(_) => Wakefulness::Awake,
    }
}

fn flush(engine: &Engine, logs: &[Arc<Log<Disk>>]) {
    if logs.is_empty() || engine.health.has_failed() {
        return;
    }
    if let Err(error) = engine.dir.flush(logs, now(), Instant::now()) {
        let path: &Path = &error.path;
        engine.fail(path, &error.source);
    }
}
