//! Retention: what goes by age is as old as it may become, and what is goes.

use std::sync::Arc;

use folio_storage::{Files, Log};

use crate::model::{Partition, rows};
use crate::seam::Seam;
use crate::world::{Outcome, World, ensure};

impl World {
    /// What the maintenance thread does about what is too much or too old.
    pub(crate) fn retain(&mut self, topic: usize, place: usize, log: &Arc<Log<Seam>>) -> Outcome {
        let (end, limit) = (log.log_end(), self.topics[topic].options.retention_ms);
        let is_old = |partition: &Partition, from: i64| -> Outcome<bool> {
            Ok(self
                .youngest(partition, from, end.get())?
                .zip(limit)
                .is_some_and(|(age, limit)| age > limit as i64))
        };
        let partition = &self.topics[topic].partitions[place];
        // What a full disk or want of maps left without a segment to append to is another matter.
        let is_bounded = self.chances.full > 0 || self.seam.budget().limit() < usize::MAX;
        let has_room = !is_bounded && self.stats.faults == 0;
        // After a start nobody knows when records without a time came.
        let is_told = has_room && !self.topics[topic].is_timeless;
        // What was deleted from the middle of a segment still counts for the age of that.
        let has_records = partition.start < end.get();
        let is_due = is_told && has_records && is_old(partition, 0)? && log.durable() == end;
        if is_due && let Err(error) = log.roll_if_expired(self.now()) {
            return self.append_trouble("a roll", &error).map(drop);
        }
        let by_size = log.expired_by_size().unwrap_or_else(|| log.log_start()).get();
        let Some(start) = log.expired(self.now()).map(folio_record::Offset::get) else {
            ensure!(!is_due, "everything up to {end} is old, and stays");
            return Ok(());
        };
        ensure!(!is_due || start == end.get(), "everything up to {end} is old, and goes up to {start}");
        let partition = &self.topics[topic].partitions[place];
        let youngest = self.youngest(partition, by_size, start)?.zip(limit);
        let is_early =
            limit.is_none() && start > by_size || youngest.is_some_and(|(age, limit)| age <= limit as i64);
        ensure!(!is_early, "{by_size}..{start} goes by age: {youngest:?} ms");
        self.raise(topic, place, log, start)
    }

    /// How old the youngest record is of those between two offsets. One without a time is as old as its append; `None`
    /// of none, or where compaction may have taken any.
    fn youngest(&self, partition: &Partition, from: i64, to: i64) -> Outcome<Option<i64>> {
        if partition.compacted.is_some() {
            return Ok(None);
        }
        let mut youngest: Option<i64> = None;
        for batch in partition.batches.iter().filter(|batch| batch.next > from && batch.base < to) {
            for row in rows(&batch.bytes)?.iter().filter(|row| (from..to).contains(&row.offset)) {
                let age = self.clock - if row.time < 0 { batch.at } else { row.time };
                youngest = Some(youngest.map_or(age, |youngest| youngest.min(age)));
            }
        }
        Ok(youngest)
    }
}
