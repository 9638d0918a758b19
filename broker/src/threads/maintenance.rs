//! Maintenance: makes the next segments ready, closes segments by age, lets retention take the oldest, compacts, mends
//! indexes, scrubs, writes down and forgets producers, lets partitions sleep that nobody needs, recovers those that the
//! start had no room for, and watches the space and the descriptors that are left.

mod compaction;
mod rest;
mod resuming;
mod scrub;
mod sealing;
mod throttle;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::Timestamp;
use folio_storage::AppendError;

use self::compaction::Compactor;
use self::rest::Rest;
use self::resuming::Resumer;
use self::scrub::Scrubber;
use self::sealing::Sealer;
use crate::config::DurabilityClass;
use crate::engine::{Disk, Engine, now};
use crate::partition::Partition;
use crate::threads::inbox::Taken;
use crate::threads::reaper::Retired;

/// Looks at every partition once an interval, and more often for what cannot wait, until it is told to stop.
pub(crate) fn run(engine: &Engine) {
    let mut nothing = VecDeque::new();
    let mut looked = Instant::now();
    let mut compactor = Compactor::new(engine.config.cleaner_bytes_per_second);
    let mut scrubber = Scrubber::new(engine.config.scrub_bytes_per_second, engine.config.scrub_interval);
    let mut sealer = Sealer::default();
    // Only what is sealed can be compacted.
    let mut has_sealed = false;
    let (mut rest, mut resumer) = (Rest::default(), Resumer::default());
    let mut round = 0_u64;
    let mut quick_look = Instant::now();
    engine.space.look(&engine.dir, engine.config.disk_min_free);
    let mut epochs = save_epochs(engine);
    loop {
        let pause = QUICK_LOOK.min(engine.config.maintenance_interval);
        let pauses = [compactor.pause(), scrubber.pause(), sealer.pause(), epochs];
        let busy = pauses.into_iter().flatten().min().unwrap_or(pause);
        let next = (quick_look + pause).min(Instant::now() + busy);
        let is_closed = engine.stop.take_all(&mut nothing, Some(next)) == Taken::Closed;
        if engine.health.has_failed() {
            return;
        }
        if is_closed {
            return compactor.give_up();
        }
        epochs = epochs.and_then(|_| save_epochs(engine));
        compactor.work(engine);
        scrubber.work(engine);
        has_sealed |= sealer.work(engine);
        if quick_look.elapsed() < pause {
            continue;
        }
        quick_look = Instant::now();
        engine.space.look(&engine.dir, engine.config.disk_min_free);
        engine.counters.disk_looks.add(1);
        engine.counters.look_at_memory();
        let is_due = looked.elapsed() >= engine.config.maintenance_interval;
        if is_due {
            looked = Instant::now();
            round += 1;
        }
        let time = engine.clock.look();
        let believed = time.is_believed.then_some(time.wall);
        if is_due && resumer.look(engine) {
            epochs = Some(Duration::ZERO);
        }
        let topics: Vec<_> = engine.view.load().topics().cloned().collect();
        for partition in topics.iter().flat_map(|topic| topic.online()) {
            make_ready(engine, partition);
            if is_due {
                look_for_files(engine, partition, round);
                // It may have been taken away.
                if !partition.is_offline() {
                    maintain(engine, partition, believed);
                }
            }
        }
        rest.look(engine);
        if is_due {
            sealer.look(topics.iter().flat_map(|topic| topic.online()));
            rest::let_sleep(engine, topics.iter().flat_map(|topic| topic.online()));
        }
        if let Some(time) = believed.filter(|_| std::mem::take(&mut has_sealed) || is_due) {
            compactor.look(engine, time, topics.iter().flat_map(|topic| topic.online()));
        }
        engine.counters.maintenance_rounds.add(u64::from(is_due));
    }
}

/// A disk fills up, and a segment too, in less time than partitions want to be looked at.
const QUICK_LOOK: Duration = Duration::from_millis(500);

/// Writes down some of the epochs that the start has begun; when to go on with it, unless all are.
fn save_epochs(engine: &Engine) -> Option<Duration> {
    match engine.dir.save_epochs(EPOCHS_AT_ONCE) {
        Ok(saved) if saved.is_full => Some(QUICK_LOOK),
        Ok(saved) => (saved.left > 0).then_some(Duration::ZERO),
        Err(error) => {
            engine.fail(&error.path, &error.source);
            None
        }
    }
}

/// Each takes two syncs, and the flusher's may have to wait for those.
const EPOCHS_AT_ONCE: usize = 4;

/// A lane that has to begin a segment finds it made, and leaves what it knows of producers to be written down here. On
/// a full disk there is neither, and the lane will say so.
fn make_ready(engine: &Engine, partition: &Partition<Disk>) {
    let log = &partition.log;
    let segment = if log.wants_next_segment() { log.prepare_next() } else { Ok(()) };
    let snapshot = if log.wants_snapshot() { log.take_snapshot() } else { Ok(()) };
    for outcome in [segment, snapshot] {
        if let Err(AppendError::Io { path, source }) = outcome {
            engine.fail_of(partition, &path, &source);
        }
    }
}

/// Whether the file that is appended to is there under its name, and has all that was written. That costs a call or
/// two, so where nothing was appended since the last look, and nothing that is acknowledged can go with the file, it is
/// asked in one round of several; the partitions take turns.
fn look_for_files(engine: &Engine, partition: &Arc<Partition<Disk>>, round: u64) {
    let is_its_turn = (partition.key.get().wrapping_add(round)).is_multiple_of(ROUNDS_BETWEEN_LOOKS);
    if !partition.has_grown() && !is_its_turn {
        return;
    }
    match partition.log.missing() {
        Ok(None) => {}
        Ok(Some(path)) => return engine.taken_away(partition, &path),
        // No memory for the answer: the next look has it.
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {}
        // What the disk cannot read is this partition's affair.
        Err(error) => return engine.not_told(partition, &error),
    }
    // Nobody need read there for appends behind the loss to be refused.
    if let Some(loss) = partition.log.find_loss() {
        partition.tell_loss(&loss);
    }
}

/// A partition that rests is looked for once in so many rounds.
const ROUNDS_BETWEEN_LOOKS: u64 = 8;

fn maintain(engine: &Engine, partition: &Arc<Partition<Disk>>, believed: Option<Timestamp>) {
    let log = &partition.log;
    let fail = |path: &Path, source: &io::Error| engine.fail_of(partition, path, source);
    if let Some(time) = believed {
        log.expire_producers(time);
    }
    // A full disk is told to producers; here it only means later.
    if let Err(AppendError::Io { path, source }) = log.roll_if_expired(now()) {
        return fail(&path, &source);
    }
    if let Err(error) = log.learn_timestamps() {
        let (topic, partition) = (&*partition.topic, partition.number);
        tracing::warn!(topic, partition, %error, "nobody knows how old a segment is: it goes with the next one behind it");
    }
    settle(engine, partition);
    // The slot says so before a file goes.
    let start = believed.map_or_else(|| log.expired_by_size(), |time| log.expired(time));
    if let Some(start) = start {
        if let Err(error) = engine.dir.raise_log_start(log, start, now(), Instant::now()) {
            return fail(&error.path, &error.source);
        }
        // Who watches it tells its reader where the log begins by now.
        engine.announce(std::slice::from_ref(partition), None);
    }
    // Whoever deleted records has left their files too.
    if !log.has_segments_below_start() {
        return;
    }
    match log.drop_below_start(engine.dir.trash()) {
        Ok(maps) => engine.reaper.send(maps.into_iter().map(|map| map as Retired)),
        Err(error) => fail(log.dir(), &error),
    }
}

/// A segment is sealed once the durable point has passed it. Where nothing is appended any more, and where nobody waits
/// for flushes, that would take long.
fn settle(engine: &Engine, partition: &Arc<Partition<Disk>>) {
    let log = &partition.log;
    let is_idle = log.durable() == log.log_end();
    let is_waited_for =
        log.options().compaction.is_some() && partition.durability() != DurabilityClass::Fsync;
    if !(is_idle || is_waited_for) || log.durable_tail().segment_base >= log.tail().segment_base {
        return;
    }
    if let Err(error) = engine.dir.flush(std::slice::from_ref(log), now(), Instant::now()) {
        engine.fail_of(partition, &error.path, &error.source);
    }
}
