//! What the broker counts since its start.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// It is so many now.
    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Record bytes appended.
    pub(crate) bytes_in: Counter,
    /// Record bytes sent.
    pub(crate) bytes_out: Counter,
    /// Produce entries appended.
    pub(crate) appends: Counter,
    /// Flush rounds.
    pub(crate) flushes: Counter,
    /// Records that flush rounds made durable.
    pub(crate) records_flushed: Counter,
    /// Looks at how much room the disk has.
    pub(crate) disk_looks: Counter,
    /// Rounds of maintenance over all partitions, to their end: what was due by then has begun.
    pub(crate) maintenance_rounds: Counter,
    /// Compactions of a log that came to an end.
    pub(crate) compactions: Counter,
    /// Bytes that compaction read.
    pub(crate) compaction_bytes_read: Counter,
    /// Bytes that compaction wrote.
    pub(crate) compaction_bytes_written: Counter,
    /// Records that compaction removed.
    pub(crate) compaction_records_removed: Counter,
    /// Bytes that were read again to see whether they have rotted.
    pub(crate) scrub_bytes: Counter,
    /// Ranges that were found damaged.
    pub(crate) scrub_damaged: Counter,
    /// Passes over all sealed segments that came to an end.
    pub(crate) scrub_passes: Counter,
    /// What coordinators of groups had written: commits, generations, groups that were deleted.
    pub(crate) group_writes: Counter,
    /// Batches that those made together.
    pub(crate) group_batches: Counter,
    /// Bytes of memory that the process has for itself.
    pub(crate) memory_anonymous: Counter,
    /// Bytes of files that it has mapped and that are in memory: the page cache's, which takes them back at need.
    pub(crate) memory_mapped: Counter,
    /// Subscriptions that there are now.
    pub(crate) subscriptions: Counter,
}

impl Counters {
    /// Looks at how much memory the process has: what is its own apart from what is the page cache's.
    pub(crate) fn look_at_memory(&self) {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        if let Some((anonymous, mapped)) = memory(&statm, rustix::param::page_size() as u64) {
            self.memory_anonymous.set(anonymous);
            self.memory_mapped.set(mapped);
        }
    }

    /// As (name, value).
    #[must_use]
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        [
            ("bytes.in", &self.bytes_in),
            ("bytes.out", &self.bytes_out),
            ("appends", &self.appends),
            ("flushes", &self.flushes),
            ("records.flushed", &self.records_flushed),
            ("disk.looks", &self.disk_looks),
            ("maintenance.rounds", &self.maintenance_rounds),
            ("compactions", &self.compactions),
            ("compaction.bytes.read", &self.compaction_bytes_read),
            ("compaction.bytes.written", &self.compaction_bytes_written),
            ("compaction.records.removed", &self.compaction_records_removed),
            ("scrub.bytes", &self.scrub_bytes),
            ("scrub.damaged", &self.scrub_damaged),
            ("scrub.passes", &self.scrub_passes),
            ("group.writes", &self.group_writes),
            ("group.batches", &self.group_batches),
            ("memory.anonymous", &self.memory_anonymous),
            ("memory.mapped", &self.memory_mapped),
            ("subscriptions", &self.subscriptions),
        ]
        .into_iter()
        .map(|(name, counter)| (name.to_owned(), counter.get()))
        .collect()
    }
}

/// Anonymous and mapped bytes, of what `/proc/PID/statm` says: `size resident shared ...`, in pages.
fn memory(statm: &str, page_size: u64) -> Option<(u64, u64)> {
    let mut fields = statm.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()??, fields.next()??);
    Some((resident.saturating_sub(shared) * page_size, shared * page_size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_processs_own_is_told_from_what_is_the_page_caches() {
        assert_eq!(memory("81920 5000 3000 400 0 900 0\n", 4096), Some((2000 * 4096, 3000 * 4096)));
        assert_eq!(memory("", 4096), None);
        let counters = Counters::default();
        counters.look_at_memory();
        assert!(counters.memory_anonymous.get() > 0 && counters.memory_mapped.get() > 0);
    }
}
