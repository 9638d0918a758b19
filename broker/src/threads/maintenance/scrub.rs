//! Scrubbing in its turn: one sealed segment after the other, of all partitions, no faster than its key allows.
//!
//! A pass goes round: it begins somewhere, and ends where it began. Where that is, chance decides at the start of the
//! broker: nothing is written down of how far it came, and yet a broker that is started anew again and again does not
//! look at the same segments always. What is damaged is marked in the log by the scrub itself; here it is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use folio_record::Offset;
use folio_storage::{Scrub, Scrubbed};
use uuid::Uuid;

use super::throttle::Throttle;
use crate::engine::{Disk, Engine};
use crate::partition::{Partition, PartitionKey};

pub(super) struct Scrubber {
    throttle: Throttle,
    /// `None`: there are no passes.
    schedule: Option<Schedule>,
    /// Where the next segment is looked for.
    place: Option<Place>,
    pass: Option<Pass>,
}

/// A segment, by its partition and the first offset that it may have.
type Place = (PartitionKey, Offset);

struct Pass {
    begun: Instant,
    /// Where it ends.
    from: Place,
    /// It went round the end of the last partition.
    has_wrapped: bool,
    current: Option<(Arc<Partition<Disk>>, Scrub<Disk>)>,
    segments: u64,
    bytes: u64,
    damaged: u64,
}

impl Scrubber {
    pub(super) fn new(bytes_per_second: u64, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            throttle: Throttle::new(bytes_per_second, now),
            schedule: (bytes_per_second > 0).then(|| Schedule::new(interval, now)),
            place: None,
            pass: None,
        }
    }

    /// How long until there is something to do; `None` if nothing runs.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.pass.as_ref().map(|_| self.throttle.pause())
    }

    /// Goes on, or begins a pass that is due.
    pub(super) fn work(&mut self, engine: &Engine) {
        let now = Instant::now();
        if self.pass.is_none() && self.schedule.as_ref().is_some_and(|schedule| schedule.is_due(now)) {
            self.begin(engine);
            let has_begun = self.pass.is_some();
            self.schedule.iter_mut().for_each(|schedule| schedule.tried(has_begun, now));
        }
        let begun = Instant::now();
        while self.pass.is_some() && self.throttle.is_due(Instant::now()) && begun.elapsed() < MOMENT {
            self.step(engine);
        }
    }

    fn begin(&mut self, engine: &Engine) {
        let partitions = partitions(engine);
        // What the disk did not give has another chance, too: it is sealed by the maintenance turn after this one.
        partitions.iter().for_each(|partition| partition.log.seal_unread());
        let Some(from) = self.place.or_else(|| anywhere(&partitions)) else { return };
        self.pass = Some(Pass {
            begun: Instant::now(),
            from,
            has_wrapped: false,
            current: None,
            segments: 0,
            bytes: 0,
            damaged: 0,
        });
        self.place = Some(from);
    }

    fn step(&mut self, engine: &Engine) {
        let (Some(pass), Some(place)) = (&mut self.pass, &mut self.place) else { return };
        let Some((partition, scrub)) = &mut pass.current else {
            match next(&partitions(engine), *place) {
                Some((partition, scrub)) if !pass.is_behind(partition.key, scrub.base()) => {
                    *place = (partition.key, scrub.next_base());
                    pass.segments += 1;
                    pass.current = Some((partition, scrub));
                }
                None if !pass.has_wrapped => {
                    pass.has_wrapped = true;
                    *place = (PartitionKey::FIRST, Offset::ZERO);
                }
                _ => self.finish(engine),
            }
            return;
        };
        if partition.is_deleted() {
            pass.current = None;
            return;
        }
        let scrubbed = scrub.step(STEP).unwrap_or_else(|error| {
            // The segment has its turn in the next pass.
            tracing::warn!(topic = &*partition.topic, partition = partition.number, %error, "not scrubbed");
            Scrubbed { is_done: true, ..Scrubbed::default() }
        });
        self.throttle.spend(scrubbed.read, Instant::now());
        pass.bytes += scrubbed.read;
        pass.damaged += scrubbed.found.len() as u64;
        engine.counters.scrub_bytes.add(scrubbed.read);
        engine.counters.scrub_damaged.add(scrubbed.found.len() as u64);
        tell(partition, scrub.base(), &scrubbed);
        if scrubbed.is_done {
            pass.current = None;
        }
    }

    fn finish(&mut self, engine: &Engine) {
        let Some(pass) = self.pass.take() else { return };
        self.place = Some(pass.from);
        engine.counters.scrub_passes.add(1);
        if pass.segments > 0 {
            let ms = u64::try_from(pass.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let Pass { segments, bytes, damaged, .. } = pass;
            tracing::info!(segments, bytes, damaged, ms, "scrubbed all full segments");
        }
    }
}

/// When passes begin.
struct Schedule {
    /// From the beginning of one to that of the next.
    interval: Duration,
    next: Instant,
}

impl Schedule {
    fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now + interval.min(FIRST_PASS) }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// One was to begin. As long as there is no partition none does.
    fn tried(&mut self, has_begun: bool, now: Instant) {
        self.next = if has_begun {
            now.checked_add(self.interval).unwrap_or(now + FOR_EVER)
        } else {
            now + self.interval.min(FIRST_PASS)
        };
    }
}

impl Pass {
    /// Whether a segment lies behind the end of the pass.
    fn is_behind(&self, partition: PartitionKey, base: Offset) -> bool {
        self.has_wrapped && (partition, base) >= self.from
    }
}

/// Partitions that have a log which can be scrubbed, in the order of passes.
fn partitions(engine: &Engine) -> Vec<Arc<Partition<Disk>>> {
    let view = engine.view.load();
    let mut partitions: Vec<_> = view.topics().flat_map(|topic| topic.online()).cloned().collect();
    partitions.sort_by_key(|partition| partition.key);
    partitions
}

/// The first segment from `place` on.
fn next(
    partitions: &[Arc<Partition<Disk>>],
    (key, offset): Place,
) -> Option<(Arc<Partition<Disk>>, Scrub<Disk>)> {
    let first = partitions.partition_point(|partition| partition.key < key);
    partitions[first..].iter().find_map(|partition| {
        let from = if partition.key == key { offset } else { Offset::ZERO };
        Some((Arc::clone(partition), partition.log.scrub(from)?))
    })
}

/// Some offset of some partition.
fn anywhere(partitions: &[Arc<Partition<Disk>>]) -> Option<Place> {
    let (a, b) = Uuid::new_v4().as_u64_pair();
    let partition = partitions.get((a % partitions.len().max(1) as u64) as usize)?;
    let end = partition.log.log_end().get().unsigned_abs();
    let offset = i64::try_from(b % (end + 1)).unwrap_or(0);
    Some((partition.key, Offset::new(offset)))
}

fn tell(partition: &Partition<Disk>, base: Offset, scrubbed: &Scrubbed) {
    let (topic, number) = (&*partition.topic, partition.number);
    for damaged in &scrubbed.found {
        tracing::error!(
            topic,
            partition = number,
            %damaged,
            "a segment is damaged; all else is served. Stop the broker and look with `folio log verify`"
        );
    }
    for healed in &scrubbed.healed {
        let (from, to) = (healed.offsets.start.get(), healed.offsets.end.get());
        tracing::info!(
            topic,
            partition = number,
            from,
            to,
            "what was damaged is as it was written, and served"
        );
    }
    let segment = base.get();
    if scrubbed.unsteady > 0 {
        let blocks = scrubbed.unsteady;
        tracing::warn!(
            topic,
            partition = number,
            segment,
            blocks,
            "the disk gave the right bytes only when asked again"
        );
    }
    if scrubbed.surplus > 0 {
        let what = "there is something behind the end of a full segment: the next start will leave the partition offline";
        tracing::error!(topic, partition = number, segment, bytes = scrubbed.surplus, "{what}");
    }
    if scrubbed.is_index_damaged {
        tracing::warn!(topic, partition = number, segment, "an index is damaged, and will be made anew");
    }
}

/// About what one step reads.
const STEP: usize = 1024 * 1024;
/// Others have their turn after that.
const MOMENT: Duration = Duration::from_millis(50);
/// A start has other things to do.
const FIRST_PASS: Duration = Duration::from_secs(60);
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_found_nothing_to_look_at_is_tried_again_soon_and_one_that_began_an_interval_later() {
        let (start, week) = (Instant::now(), Duration::from_secs(7 * 24 * 3600));
        let mut schedule = Schedule::new(week, start);
        let first = start + FIRST_PASS;
        assert!(!schedule.is_due(start) && schedule.is_due(first));
        schedule.tried(false, first);
        assert!(!schedule.is_due(first) && schedule.is_due(first + FIRST_PASS));
        schedule.tried(true, first + FIRST_PASS);
        let second = first + FIRST_PASS + week;
        assert!(!schedule.is_due(second - Duration::from_millis(1)) && schedule.is_due(second));
        schedule.interval = Duration::MAX;
        schedule.tried(true, second);
        assert!(!schedule.is_due(second + week));
    }
}
