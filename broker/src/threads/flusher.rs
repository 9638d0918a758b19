//! The flusher: group commit. It alone moves durable points, and with them what consumers of `fsync` topics see.
//!
//! While one flush runs, the next group collects. `fsync` partitions are flushed at once, `interval` ones by their
//! age or size, and all of them when the directory has too much unflushed.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_storage::data_dir::FlushError;
use folio_storage::partition::PartitionId;

use crate::config::DurabilityClass;
use crate::engine::{Disk, Engine, now};
use crate::partition::{Partition, PartitionKey};
use crate::threads::inbox::Taken;

/// What the flusher is told.
#[derive(Debug)]
pub(crate) enum FlushRequest {
    /// The first append since the partition's last flush.
    Dirty(Arc<Partition<Disk>>),
    /// A bound on unflushed bytes was reached.
    Look,
}

/// Works until the inbox is closed, or a flush fails: that is final.
pub(crate) fn run(engine: &Engine) {
    let mut dirty: BTreeMap<PartitionKey, Dirty> = BTreeMap::new();
    let mut requests = VecDeque::new();
    loop {
        let deadline = deadline(engine, &dirty);
        let taken = engine.flusher.take_all(&mut requests, deadline);
        if !engine.config.flush_linger.is_zero() && !requests.is_empty() {
            std::thread::sleep(engine.config.flush_linger);
            engine.flusher.take_all(&mut requests, Some(Instant::now()));
        }
        let at = Instant::now();
        for request in requests.drain(..) {
            if let FlushRequest::Dirty(partition) = request {
                dirty.entry(partition.key).or_insert(Dirty { partition, waits: Waits::Since(at) });
            }
        }
        if taken == Taken::Closed || engine.health.has_failed() {
            return;
        }
        let due = take_due(engine, &mut dirty, at);
        let is_idle = due.is_empty();
        let done = if is_idle { Ok(Vec::new()) } else { flush(engine, &due) };
        let done = done.and_then(|postponed| {
            let waits = Waits::put_off(Instant::now());
            let again = postponed.into_iter().map(|partition| (partition.key, Dirty { partition, waits }));
            dirty.extend(again);
            slots(engine, is_idle)
        });
        if let Err(error) = done {
            engine.fail(&error.path, &error.source);
            return;
        }
    }
}

/// Where there was no descriptor, there may be one then. What waits for it was synced before; only names are not.
const LATER: Duration = Duration::from_millis(10);

struct Dirty {
    partition: Arc<Partition<Disk>>,
    waits: Waits,
}

/// What a partition waits for, to be flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For its topic's time to have passed since the first append after its last flush.
    Since(Instant),
    /// Its flush was due, and could not be made: for this moment.
    PutOff(Instant),
}

impl Waits {
    /// Its time has passed already, so it does not wait for that again.
    fn put_off(at: Instant) -> Self {
        Self::PutOff(at + LATER)
    }

    /// When its flush is due by its age; `None`: never.
    fn until(self, class: DurabilityClass, interval: Duration) -> Option<Instant> {
        match (self, class) {
            (Self::PutOff(until), _) => Some(until),
            (Self::Since(since), DurabilityClass::Fsync) => Some(since),
            // A time that no clock reaches is none.
            (Self::Since(since), DurabilityClass::Interval) => since.checked_add(interval),
            // Who appends says when a bound is reached.
            (Self::Since(_), DurabilityClass::Os) => None,
        }
    }
}

fn deadline(engine: &Engine, dirty: &BTreeMap<PartitionKey, Dirty>) -> Option<Instant> {
    let ages = dirty.values().filter_map(|dirty| {
        let settings = dirty.partition.settings.load();
        dirty.waits.until(settings.durability(), settings.flush_interval())
    });
    ages.chain(engine.dir.slots_deadline()).min()
}

fn take_due(
    engine: &Engine,
    dirty: &mut BTreeMap<PartitionKey, Dirty>,
    at: Instant,
) -> Vec<Arc<Partition<Disk>>> {
    let is_over = engine.pressure.unflushed() >= engine.config.writeback_max_bytes;
    let is_due = |dirty: &Dirty| {
        if dirty.partition.is_deleted() || dirty.partition.is_offline() {
            return true;
        }
        let settings = dirty.partition.settings.load();
        let class = settings.durability();
        let is_old = dirty.waits.until(class, settings.flush_interval()).is_some_and(|until| until <= at);
        if class == DurabilityClass::Os
            && dirty.partition.unflushed_bytes() >= engine.config.writeback_step_bytes
        {
            let _ = dirty.partition.log.start_writeback();
        }
        let is_large =
            class == DurabilityClass::Interval && dirty.partition.has_too_much_unflushed(&settings);
        is_over || is_old || is_large
    };
    let due: Vec<PartitionKey> = dirty.iter().filter(|(_, one)| is_due(one)).map(|(key, _)| *key).collect();
    due.iter().filter_map(|key| dirty.remove(key)).map(|one| one.partition).collect()
}

/// Gives those that have to be flushed again.
fn flush(engine: &Engine, due: &[Arc<Partition<Disk>>]) -> Result<Vec<Arc<Partition<Disk>>>, FlushError> {
    let begun: Vec<u64> = due.iter().map(|partition| partition.begin_flush()).collect();
    let before: Vec<i64> = due.iter().map(|partition| partition.log.durable().get()).collect();
    // What was deleted needs no flush; its bytes count as flushed, or they would hold producers back for ever.
    let kept = due.iter().filter(|partition| !partition.is_deleted());
    let logs: Vec<_> = kept.map(|partition| Arc::clone(&partition.log)).collect();
    let advanced = engine.dir.flush(&logs, now(), Instant::now())?;
    let advanced: HashSet<PartitionId> = advanced.iter().map(|one| one.partition).collect();
    for partition in due.iter().filter(|partition| partition.log.is_given_up()) {
        engine.taken_away(partition, partition.log.dir());
    }
    engine.counters.flushes.add(1);
    let (mut is_relieved, mut postponed) = (false, Vec::new());
    for ((partition, upto), before) in due.iter().zip(begun).zip(before) {
        let is_over = partition.is_deleted() || partition.log.is_given_up();
        if !is_over && !advanced.contains(&partition.log.id()) {
            postponed.push(Arc::clone(partition));
            continue;
        }
        is_relieved |= engine.pressure.flushed(partition.end_flush(upto));
        engine.counters.records_flushed.add((partition.log.durable().get() - before).unsigned_abs());
    }
    engine.announce(due, None);
    if is_relieved {
        engine.wake_producers();
    }
    Ok(postponed)
}

/// A flusher that is never idle syncs the slots all the same, when they have waited long enough.
fn slots(engine: &Engine, is_idle: bool) -> Result<(), FlushError> {
    if engine.dir.slots_are_due(Instant::now(), is_idle) { engine.dir.sync_slots() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_flushed_when_it_was_due_is_tried_again_a_moment_later_whatever_its_interval() {
        let (at, hour) = (Instant::now(), Duration::from_secs(3600));
        for class in [DurabilityClass::Fsync, DurabilityClass::Interval, DurabilityClass::Os] {
            assert_eq!(Waits::put_off(at).until(class, hour), Some(at + LATER));
        }
    }

    #[test]
    fn a_partition_waits_for_its_flush_as_its_topic_has_it() {
        let (at, hour) = (Instant::now(), Duration::from_secs(3600));
        let until = |class, interval| Waits::Since(at).until(class, interval);
        assert_eq!(until(DurabilityClass::Fsync, hour), Some(at));
        assert_eq!(until(DurabilityClass::Interval, hour), Some(at + hour));
        assert_eq!(until(DurabilityClass::Interval, Duration::MAX), None);
        assert_eq!(until(DurabilityClass::Os, hour), None);
    }
}
