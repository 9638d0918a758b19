//! Directories with many sealed segments, made by the storage engine itself: appended to, rolled, flushed, sealed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use folio_record::Timestamp;
use folio_storage::data_dir::NewTopic;
use folio_storage::files::OsFiles;
use folio_storage::{DataDir, Log, LogOptions, Mode, Sealed};
use folio_tests::native::batch;
use uuid::Uuid;

use crate::{Outcome, Shape, TOPIC};

/// What was made.
pub(crate) struct Made {
    pub(crate) sealed: usize,
    pub(crate) bytes: u64,
}

/// Partitions that are flushed and sealed together: so much is in memory and not on the disk at most.
const TOGETHER: usize = 100;
const BATCH_BYTES: usize = 32 << 10;

pub(crate) fn make(path: &Path, shape: Shape) -> Outcome<Made> {
    let now = now()?;
    raise_descriptors()?;
    let options =
        LogOptions { segment_bytes: shape.segment_kib << 10, segment_ms: None, ..LogOptions::default() };
    let config = folio_broker::Config::new(path);
    let files = Arc::new(OsFiles::open_or_create(path)?);
    let (dir, _) = DataDir::open(files, &folio_broker::data_dir_options(&config), |_| options.clone(), now)?;
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        uuid: Uuid::new_v4(),
        partitions: shape.partitions,
        settings: Vec::new(),
    };
    let logs = dir.create_topic(topic, &options, now)?;
    let mut made = Made { sealed: 0, bytes: 0 };
    for logs in logs.chunks(TOGETHER) {
        on_every_core(logs, |log| fill(log, shape, now))?;
        dir.flush(logs, now, Instant::now())?;
        on_every_core(logs, |log| seal(log, now))?;
    }
    for log in &logs {
        made.sealed += log.segment_count() - 1;
        made.bytes += log.size();
    }
    dir.close_clean(now, Instant::now())?;
    Ok(made)
}

/// Appends as many segments as are to be sealed, and the beginning of the next.
fn fill(log: &Log<OsFiles>, shape: Shape, now: Timestamp) -> Outcome<()> {
    let batch = batch(&[b'x'; BATCH_BYTES - 256]);
    while log.segment_count() <= shape.segments as usize {
        let mut buffers = [BytesMut::from(&batch[..])];
        log.writer().append(&mut buffers, Mode::MayBlock, now)?;
    }
    Ok(())
}

fn seal(log: &Log<OsFiles>, now: Timestamp) -> Outcome<()> {
    loop {
        match log.seal_next(now)? {
            Sealed::Segment(..) => {}
            Sealed::Nothing => return Ok(()),
            Sealed::Rotten(rotten) => return Err(rotten.into()),
        }
    }
}

fn on_every_core(
    logs: &[Arc<Log<OsFiles>>],
    work: impl Fn(&Log<OsFiles>) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let all = || -> Result<(), String> {
        while let Some(log) = logs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(log).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..crate::floor::cores()).map(|_| scope.spawn(all)).collect();
        threads.into_iter().try_for_each(|thread| Ok(thread.join().map_err(|_| "a panic")??))
    })
}

/// As many as this process may have: it has the files of every partition open, as a daemon has.
fn raise_descriptors() -> Outcome<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn now() -> Outcome<Timestamp> {
    Ok(Timestamp::new(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?))
}
