//! Compaction in its turn: one log at a time, the dirtiest of those that the disk has room for first, no faster than
//! its key allows, and not where the disk is nearly full.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::Timestamp;
use folio_storage::{AppendError, Compacting, Compaction, CompactionReport, Dirty};
use uuid::Uuid;

use super::throttle::Throttle;
use crate::engine::{Disk, Engine};
use crate::partition::{Partition, PartitionKey};
use crate::threads::reaper::Retired;

/// The one that runs.
pub(super) struct Compactor {
    throttle: Throttle,
    running: Option<Running>,
    /// What cannot be compacted before somebody has looked at it.
    damaged: HashSet<PartitionKey>,
    /// After a failure, nothing is begun before this.
    not_before: Option<Instant>,
    /// When it was told last that logs wait for room.
    told: Option<Instant>,
}

struct Running {
    partition: Arc<Partition<Disk>>,
    pass: Compaction<Disk>,
    begun: Instant,
}

impl Compactor {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let throttle = Throttle::new(bytes_per_second, Instant::now());
        Self { throttle, running: None, damaged: HashSet::new(), not_before: None, told: None }
    }

    /// How long until there is something to do; `None` if nothing runs.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.running.as_ref().map(|_| self.throttle.pause())
    }

    /// Begins with the dirtiest log of those that are due at `now` and have room, if nothing runs.
    pub(super) fn look<'p>(
        &mut self,
        engine: &Engine,
        now: Timestamp,
        partitions: impl Iterator<Item = &'p Arc<Partition<Disk>>>,
    ) {
        let is_early = self.not_before.is_some_and(|at| Instant::now() < at);
        // That the disk is nearly full is told where it is found.
        if self.running.is_some() || is_early || engine.space.check().is_err() {
            return;
        }
        let is_due = |partition: &&'p Arc<Partition<Disk>>| !self.damaged.contains(&partition.key);
        let due = partitions.filter(is_due).filter_map(|partition| {
            // One that cannot be read says so elsewhere.
            let dirty = partition.log.dirty(now).ok().flatten().filter(|dirty| dirty.is_due)?;
            Some((dirty, partition))
        });
        let (fitting, waiting): (Vec<_>, Vec<_>) =
            due.partition(|(dirty, _)| engine.space.has_room_for(dirty.room));
        if let Some((dirty, partition)) = dirtiest(waiting) {
            self.tell_waits(engine, partition, &dirty);
        }
        let Some((_, partition)) = dirtiest(fitting) else { return };
        let (a, b) = Uuid::new_v4().as_u64_pair();
        let pass = partition.log.compact([a, b], engine.config.cleaner_buffer_bytes, now);
        let partition = Arc::clone(partition);
        self.running = pass.map(|pass| Running { partition, pass, begun: Instant::now() });
    }

    /// Says that a log waits for room, unless that was said of some log a while ago.
    fn tell_waits(&mut self, engine: &Engine, partition: &Partition<Disk>, dirty: &Dirty) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EACH) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::warn!(
            topic = &*partition.topic,
            partition = partition.number,
            needed = engine.space.needed_for(dirty.room),
            free = engine.space.free(),
            "the disk has no room to compact a log: it is compacted once there is, and others meanwhile"
        );
    }

    /// Goes on with what runs, for a moment.
    pub(super) fn work(&mut self, engine: &Engine) {
        let begun = Instant::now();
        while let Some(running) = &mut self.running
            && self.throttle.is_due(Instant::now())
            && begun.elapsed() < MOMENT
        {
            // It goes on when there is room again.
            if engine.space.check().is_err() {
                self.throttle.wait(LONGEST_PAUSE);
                return;
            }
            let partition = &running.partition;
            let progress = match running.pass.step(&engine.dir, STEP) {
                Ok(progress) => progress,
                Err(error) => {
                    let Some(Running { partition, .. }) = self.running.take() else { return };
                    return self.failed(engine, &partition, &error);
                }
            };
            self.throttle.spend(progress.read + progress.written, Instant::now());
            engine.counters.compaction_bytes_read.add(progress.read);
            engine.counters.compaction_bytes_written.add(progress.written);
            engine.reaper.send(progress.maps.into_iter().map(|map| map as Retired));
            match progress.state {
                Compacting::Working => continue,
                Compacting::Done(report) => done(engine, partition, &report, running.begun),
                Compacting::Abandoned => {}
                Compacting::Rotten(rotten) => {
                    self.damaged.insert(partition.key);
                    tracing::error!(
                        topic = &*partition.topic,
                        partition = partition.number,
                        %rotten,
                        "a segment is damaged, and the log not compacted any more: stop the broker and look with `folio log verify`"
                    );
                }
            }
            self.running = None;
        }
    }

    /// Leaves nothing half done behind.
    pub(super) fn give_up(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.pass.give_up();
        }
    }

    fn failed(&mut self, engine: &Engine, partition: &Partition<Disk>, error: &AppendError) {
        if let AppendError::Io { path, source } = error {
            return engine.fail_of(partition, path, source);
        }
        self.not_before = Some(Instant::now() + BACKOFF);
        let (topic, partition) = (&*partition.topic, partition.number);
        tracing::warn!(topic, partition, %error, "compaction has to wait");
    }
}

fn dirtiest<P>(logs: Vec<(Dirty, P)>) -> Option<(Dirty, P)> {
    logs.into_iter().max_by_key(|(dirty, _)| dirty.ratio)
}

fn done(engine: &Engine, partition: &Partition<Disk>, report: &CompactionReport, begun: Instant) {
    let removed = report.records_before - report.records_after;
    engine.counters.compactions.add(1);
    engine.counters.compaction_records_removed.add(removed);
    tracing::info!(
        topic = &*partition.topic,
        partition = partition.number,
        records = report.records_after,
        removed,
        keys = report.keys,
        bytes_before = report.bytes_before,
        bytes_after = report.bytes_after,
        bytes_written = report.bytes_written,
        segments_before = report.segments_before,
        segments_after = report.segments_after,
        ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "compacted{}",
        if report.is_partial { ", as far as the table of keys went" } else { "" }
    );
}

/// About what one step reads.
const STEP: u64 = 4 * 1024 * 1024;
/// The next segments of busy partitions want to be made ready meanwhile.
const MOMENT: Duration = Duration::from_millis(50);
/// How long it waits for room before it looks again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// That logs wait for room is told so often.
const TELL_EACH: Duration = Duration::from_secs(3600);
/// How long nothing is begun after a failure.
const BACKOFF: Duration = Duration::from_secs(15);
