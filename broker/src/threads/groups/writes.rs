//! What a coordinator wants written: collected for a turn, sent as one batch, told once it is below the high watermark.
//!
//! Invariant: writes are told in the order in which they were asked for, each once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, DoesNotFit, NewRecord, Offset};

use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::groups::event::{Now, WriteId};
use crate::groups::record::GroupRecord;
use crate::partition::{Partition, Waiter};
use crate::shard::{Pending, Placed};
use crate::threads::lane::LaneJob;

/// The writes of one coordinator.
#[derive(Debug, Default)]
pub(super) struct Writes {
    collected: Vec<(WriteId, Arc<[GroupRecord]>)>,
    /// The oldest first.
    sent: VecDeque<Sent>,
}

/// The writes of one turn.
#[derive(Debug)]
struct Sent {
    /// With how each failed before it was sent.
    writes: VecDeque<(WriteId, Result<(), ServiceError>)>,
    /// What became of its batches: the offset of the last record, or why they are not in the log.
    outcome: Option<Result<Offset, ServiceError>>,
}

impl Writes {
    pub(super) fn collect(&mut self, id: WriteId, records: Arc<[GroupRecord]>) {
        self.collected.push((id, records));
    }

    pub(super) fn has_collected(&self) -> bool {
        !self.collected.is_empty()
    }

    /// Sends what was collected through the partition's lane.
    pub(super) fn send(&mut self, engine: &Engine, partition: &Arc<Partition<Disk>>, at: Now) {
        let size_max = partition.settings.load().max_message_bytes as usize;
        let mut batches = Batches::new(size_max);
        let writes = std::mem::take(&mut self.collected).into_iter();
        let writes = writes.map(|(id, records)| (id, batches.add(&records, at))).collect();
        let batches = batches.finish();
        let mut sent = Sent { writes, outcome: None };
        engine.counters.group_writes.add(sent.writes.len() as u64);
        engine.counters.group_batches.add(batches.len() as u64);
        if batches.is_empty() {
            // None of them fits into a batch, or there is nothing in them: they are as visible as can be.
            sent.outcome = Some(Ok(Offset::new(-1)));
            return self.sent.push_back(sent);
        }
        self.sent.push_back(sent);
        let pending: Vec<_> = batches.into_iter().map(|batches| Pending { batches, ticket: None }).collect();
        partition.enters_lane(pending.len());
        engine.pressure.lanes.add(pending.iter().map(|one| one.batches.len() as u64).sum());
        let job = LaneJob { from: Waiter::Groups, partition: Arc::clone(partition), pending };
        engine.lanes[partition.lane].send([job]);
    }

    /// What became of the batches that were sent first of those whose fate is not known.
    pub(super) fn placed(&mut self, placed: Vec<Placed>) {
        let Some(sent) = self.sent.iter_mut().find(|sent| sent.outcome.is_none()) else { return };
        let ranges: Result<Vec<Offset>, ServiceError> =
            placed.into_iter().map(|one| one.outcome.map(|range| range.last_offset)).collect();
        sent.outcome = Some(ranges.map(|last| last.last().copied().unwrap_or(Offset::new(-1))));
    }

    /// The next write that is done, one way or the other: below the high watermark, which is `visible`, or not to be.
    pub(super) fn settled(&mut self, visible: Offset) -> Option<(WriteId, Result<(), ServiceError>)> {
        loop {
            let sent = self.sent.front_mut()?;
            let outcome = match sent.outcome.as_ref()? {
                Ok(last) if *last < visible => Ok(()),
                Ok(_) => return None,
                Err(error) => Err(error.clone()),
            };
            match sent.writes.pop_front() {
                Some((id, before)) => return Some((id, before.and(outcome))),
                None => self.sent.pop_front(),
            };
        }
    }
}

/// Records on their way into as few batches as will hold them.
struct Batches {
    builder: BatchBuilder,
    full: Vec<BytesMut>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Batches {
    fn new(size_max: usize) -> Self {
        let builder = BatchBuilder::new(Compression::None, size_max);
        Self { builder, full: Vec::new(), key: Vec::new(), value: Vec::new() }
    }

    /// Adds the records of one write.
    ///
    /// # Errors
    /// One of them is larger than a batch may be.
    fn add(&mut self, records: &[GroupRecord], at: Now) -> Result<(), ServiceError> {
        for record in records {
            self.key.clear();
            self.value.clear();
            record.write_key(&mut self.key);
            let has_value = record.write_value(&mut self.value);
            let value = has_value.then_some(&self.value[..]);
            let record = NewRecord { timestamp: at.wall, key: Some(&self.key), value, headers: &[] };
            let is_empty = self.builder.is_empty();
            match self.builder.append(&record) {
                Err(_) if !is_empty => {
                    self.full.extend(built(&mut self.builder));
                    self.builder.append(&record).map_err(|error| too_large(&error))?;
                }
                appended => drop(appended.map_err(|error| too_large(&error))?),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<BytesMut> {
        self.full.extend(built(&mut self.builder));
        self.full
    }
}

fn built(builder: &mut BatchBuilder) -> Option<BytesMut> {
    builder.build().map(|batch| BytesMut::from(&batch[..]))
}

fn too_large(error: &DoesNotFit) -> ServiceError {
    ServiceError::new(Fault::MessageTooLarge, error.to_string())
}
