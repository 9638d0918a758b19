//! Maintenance: closes segments by age, and lets retention take the oldest.

use std::collections::VecDeque;
use std::time::Instant;

use folio_storage::AppendError;

use crate::engine::{Disk, Engine, now};
use crate::partition::Partition;
use crate::threads::inbox::Taken;

/// Looks at every partition once an interval, until it is told to stop.
pub(crate) fn run(engine: &Engine) {
    let mut nothing = VecDeque::new();
    loop {
        let next = Instant::now() + engine.config.maintenance_interval;
        if engine.stop.take_all(&mut nothing, Some(next)) == Taken::Closed || engine.health.has_failed() {
            return;
        }
        let topics: Vec<_> = engine.view.load().topics().cloned().collect();
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            maintain(engine, partition);
        }
    }
}

fn maintain(engine: &Engine, partition: &Partition<Disk>) {
    let log = &partition.log;
    // A full disk is told to producers; here it only means later.
    if let Err(AppendError::Io { path, source }) = log.roll_if_expired(now()) {
        return engine.fail(&path, &source);
    }
    if let Err(error) = log.learn_timestamps() {
        tracing::warn!(topic = &*partition.topic, partition = partition.number, %error, "retention has to wait");
        return;
    }
    let Some(start) = log.expired(now()) else { return };
    // The slot says so before a file goes.
    if let Err(error) = engine.dir.raise_log_start(log, start, now(), Instant::now()) {
        return engine.fail(&error.path, &error.source);
    }
    match log.drop_below_start(engine.dir.trash()) {
        // The last holder unmaps; a response that is being sent may be it.
        Ok(maps) => drop(maps),
        Err(error) => engine.fail(log.dir(), &error),
    }
}
