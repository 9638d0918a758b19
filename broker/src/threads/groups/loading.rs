//! Loading: what groups are is what the log says, from its first record to its last.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use folio_record::{BatchError, DecompressLimit, Offset, UnverifiedBatch};
use folio_storage::{Cursor, Fetched, Read, ReadError, Touch};

use super::not_available;
use crate::engine::{Disk, Engine};
use crate::error::ServiceError;
use crate::groups::record::{GroupRecord, RecordFault};
use crate::partition::Partition;

/// How far the log of one partition is replayed.
#[derive(Debug)]
pub(super) struct Loading {
    partition: Arc<Partition<Disk>>,
    next: Offset,
    cursor: Cursor,
    /// Those that there were offsets of.
    topics: HashSet<Arc<str>>,
    /// Those that were deleted meanwhile.
    deleted: HashSet<Arc<str>>,
}

/// What was loaded of all partitions, for the line in the log.
#[derive(Debug)]
pub(super) struct Census {
    began: Instant,
    records: u64,
    bytes: u64,
    skipped: u64,
}

impl Census {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), records: 0, bytes: 0, skipped: 0 }
    }

    /// So many partitions are loaded, and so many groups there are.
    pub(super) fn report(&self, partitions: usize, groups: usize) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Self { records, bytes, skipped, .. } = self;
        tracing::info!(partitions, groups, records, bytes, skipped, ms, "groups are loaded");
    }
}

impl Loading {
    pub(super) fn new(partition: Arc<Partition<Disk>>) -> Self {
        let next = partition.log.log_start();
        let (topics, deleted) = (HashSet::new(), HashSet::new());
        Self { partition, next, cursor: Cursor::default(), topics, deleted }
    }

    pub(super) fn partition(&self) -> &Arc<Partition<Disk>> {
        &self.partition
    }

    pub(super) fn topic_deleted(&mut self, topic: &Arc<str>) {
        self.deleted.insert(Arc::clone(topic));
    }

    /// The topics that there were offsets of, and that there are not any more. Whoever deleted them may have died
    /// before that was written here.
    pub(super) fn topics_gone(&mut self, engine: &Engine) -> Vec<Arc<str>> {
        let view = engine.view.load();
        let (topics, deleted) = (std::mem::take(&mut self.topics), std::mem::take(&mut self.deleted));
        topics.into_iter().filter(|topic| deleted.contains(topic) || view.named(topic).is_none()).collect()
    }

    /// Reads some more records; `false` if there were none.
    ///
    /// # Errors
    /// The log cannot be read: its groups are not to be had.
    pub(super) fn next(
        &mut self,
        census: &mut Census,
        replayed: &mut Vec<GroupRecord>,
    ) -> Result<bool, ServiceError> {
        let log = &self.partition.log;
        let read = log.read(self.next, SLICE_BYTES, &mut self.cursor, Touch::Any);
        let fetched = match read {
            Ok(Read::Ready(fetched)) => fetched,
            // Nothing is cold to who touches anything.
            Ok(Read::Cold) => return Ok(true),
            // Files that cannot be opened now can be in a moment.
            Err(ReadError::Exhausted { .. } | ReadError::Replaced) => {
                std::thread::sleep(LOOK_AGAIN);
                return Ok(true);
            }
            Err(error) => return Err(self.unreadable(&error)),
        };
        let Fetched { slice: Some(slice), next_offset, .. } = fetched else { return Ok(false) };
        let mut bytes = vec![0; slice.len()];
        slice.read_to(0, &mut bytes).map_err(|error| self.unreadable(&error))?;
        census.bytes += bytes.len() as u64;
        self.batches(&bytes, census, replayed).map_err(|error| self.unreadable(&error))?;
        self.next = next_offset;
        Ok(true)
    }

    fn batches(
        &mut self,
        bytes: &[u8],
        census: &mut Census,
        replayed: &mut Vec<GroupRecord>,
    ) -> Result<(), BatchError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (batch, behind) = UnverifiedBatch::split_first(rest)?;
            rest = behind;
            let batch = batch.verify()?;
            if batch.header().attributes.is_control() {
                continue;
            }
            for record in &batch.records(DecompressLimit::new(UNPACKED_MAX))? {
                let record = record?;
                census.records += 1;
                match GroupRecord::read(record.key.unwrap_or_default(), record.value) {
                    Ok(read) => {
                        if let GroupRecord::Offset { topic, committed: Some(_), .. } = &read
                            && !self.topics.contains(topic)
                        {
                            self.topics.insert(Arc::clone(topic));
                        }
                        replayed.push(read);
                    }
                    Err(fault) => {
                        census.skipped += 1;
                        self.skip(record.offset, &fault);
                    }
                }
            }
        }
        Ok(())
    }

    /// A record that says nothing here: what it is about stays as it was before.
    fn skip(&self, offset: Offset, fault: &RecordFault) {
        let (topic, partition) = (&*self.partition.topic, self.partition.number);
        match fault {
            RecordFault::UnknownKind(_) => {
                tracing::debug!(topic, partition, %offset, %fault, "a record is skipped");
            }
            _ => tracing::error!(topic, partition, %offset, %fault, "a record is skipped"),
        }
    }

    fn unreadable(&self, error: &dyn std::fmt::Display) -> ServiceError {
        let (topic, partition, offset) = (&*self.partition.topic, self.partition.number, self.next);
        tracing::error!(
            topic,
            partition,
            %offset,
            %error,
            "the groups of this partition are not to be had: stop the broker and look with `folio log verify`"
        );
        not_available(format!(
            "partition {partition} of {topic} cannot be read from offset {offset} on: {error}"
        ))
    }
}

/// So much is replayed before others have their turn.
const SLICE_BYTES: usize = 1 << 20;
/// What one compressed batch may unpack to: nothing here is compressed, unless it was brought.
const UNPACKED_MAX: usize = 64 << 20;

/// So long is waited where no file can be opened.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);
