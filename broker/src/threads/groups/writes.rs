//! What a coordinator wants written: collected for a turn, sent as one batch, told once it is below the high watermark.
//!
//! Invariant: writes are told in the order in which they were asked for, each once.

use std::collections::VecDeque;
use std::ops::Range;
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
    writes: VecDeque<Write>,
    /// What became of each of its batches: the offset of the last record, or why it is not in the log.
    batches: Option<Vec<Result<Offset, ServiceError>>>,
}

/// How far a log can be seen.
#[derive(Debug)]
pub(super) struct Reach {
    visible: Offset,
    /// Why it will not be seen any further, if that is so: whoever waits for that waits for nothing.
    refusal: Option<ServiceError>,
}

impl Reach {
    pub(super) fn of(partition: &Partition<Disk>) -> Self {
        // What was seen before it was refused was seen.
        let refusal = partition.refusal();
        Self { visible: partition.log.high_watermark(), refusal }
    }
}

/// One write, and the batches that its records are in.
#[derive(Debug)]
struct Write {
    id: WriteId,
    batches: Range<usize>,
    /// How it failed before it was sent, if it did.
    before: Result<(), ServiceError>,
}

impl Write {
    /// What became of it, given what became of the batches of its turn; `None` while it is not below the high
    /// watermark, and may come to be. Those before the one at which the log stopped are in it.
    fn outcome(
        &self,
        batches: &[Result<Offset, ServiceError>],
        reach: &Reach,
    ) -> Option<Result<(), ServiceError>> {
        for batch in batches.iter().take(self.batches.end).skip(self.batches.start) {
            match (batch, &reach.refusal) {
                (Ok(last), _) if *last < reach.visible => {}
                (Ok(_), None) => return None,
                (Ok(_), Some(error)) | (Err(error), _) => return Some(Err(error.clone())),
            }
        }
        Some(self.before.clone())
    }
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
        let writes = writes.map(|(id, records)| batches.add(id, &records, at)).collect();
        let batches = batches.finish();
        let mut sent = Sent { writes, batches: None };
        engine.counters.group_writes.add(sent.writes.len() as u64);
        engine.counters.group_batches.add(batches.len() as u64);
        if batches.is_empty() {
            // None of them fits into a batch, or there is nothing in them: they are as visible as can be.
            sent.batches = Some(Vec::new());
            return self.sent.push_back(sent);
        }
        self.sent.push_back(sent);
        let pending: Vec<_> = batches.into_iter().map(|batches| Pending { batches, claim: None }).collect();
        partition.enters_lane(pending.len());
        engine.pressure.take_in(pending.iter().map(|one| one.batches.len() as u64).sum());
        let job = LaneJob { from: Waiter::Groups, partition: Arc::clone(partition), pending };
        engine.lanes[partition.lane].send([job]);
    }

    /// What became of the batches that were sent first of those whose fate is not known.
    pub(super) fn placed(&mut self, placed: Vec<Placed>) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.batches.is_none()) {
            let last = placed.into_iter().map(|one| one.outcome.map(|range| range.last_offset));
            sent.batches = Some(last.collect());
        }
    }

    /// The next write that is done, one way or the other: below the high watermark, or not to be.
    pub(super) fn settled(&mut self, reach: &Reach) -> Option<(WriteId, Result<(), ServiceError>)> {
        loop {
            let sent = self.sent.front_mut()?;
            let batches = sent.batches.as_ref()?;
            let Some(write) = sent.writes.front() else {
                self.sent.pop_front();
                continue;
            };
            let done = (write.id, write.outcome(batches, reach)?);
            sent.writes.pop_front();
            return Some(done);
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
    fn add(&mut self, id: WriteId, records: &[GroupRecord], at: Now) -> Write {
        let first = self.full.len();
        let before = self.append(records, at);
        Write { id, batches: first..self.full.len() + 1, before }
    }

    /// Adds records.
    ///
    /// # Errors
    /// One of them is larger than a batch may be.
    fn append(&mut self, records: &[GroupRecord], at: Now) -> Result<(), ServiceError> {
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

#[cfg(test)]
mod tests {
    use folio_storage::AppendedRange;

    use super::*;

    fn writes(of: impl IntoIterator<Item = (u64, Range<usize>)>) -> Writes {
        let write = |(id, batches)| Write { id: WriteId(id), batches, before: Ok(()) };
        let sent = Sent { writes: of.into_iter().map(write).collect(), batches: None };
        Writes { collected: Vec::new(), sent: [sent].into() }
    }

    fn placed(outcome: Result<i64, ServiceError>) -> Placed {
        let range = outcome.map(Offset::new).map(|last_offset| AppendedRange {
            base_offset: Offset::new(0),
            last_offset,
            is_duplicate: false,
            append_time: folio_record::Timestamp::NONE,
        });
        Placed { claim: None, outcome: range }
    }

    fn at(visible: i64) -> Reach {
        Reach { visible: Offset::new(visible), refusal: None }
    }

    #[test]
    fn where_the_log_stops_amid_a_turn_the_writes_before_are_in_it() {
        let mut writes = writes([(0, 0..1), (1, 0..2), (2, 1..2)]);
        assert!(writes.settled(&at(9)).is_none(), "nothing is known yet");
        let full = ServiceError::new(Fault::StorageFull, "the disk is full");
        writes.placed(vec![placed(Ok(4)), placed(Err(full.clone()))]);
        assert!(writes.settled(&at(4)).is_none(), "it is not below the high watermark");
        assert_eq!(writes.settled(&at(5)), Some((WriteId(0), Ok(()))));
        assert_eq!(writes.settled(&at(5)), Some((WriteId(1), Err(full.clone()))));
        assert_eq!(writes.settled(&at(5)), Some((WriteId(2), Err(full))));
        assert_eq!(writes.settled(&at(5)), None);
        assert!(writes.sent.is_empty());
    }

    #[test]
    fn what_is_in_a_log_that_goes_offline_before_it_is_seen_is_refused_and_what_was_seen_is_not() {
        let mut writes = writes([(0, 0..1), (1, 1..2)]);
        let offline = ServiceError::partition_offline("__consumer_offsets", 3, "its files are gone");
        let gone = Reach { refusal: Some(offline.clone()), ..at(5) };
        assert!(writes.settled(&gone).is_none(), "the lane will say what became of it");
        writes.placed(vec![placed(Ok(4)), placed(Ok(5))]);
        assert_eq!(writes.settled(&gone), Some((WriteId(0), Ok(()))));
        assert_eq!(writes.settled(&gone), Some((WriteId(1), Err(offline))));
        assert!(writes.settled(&gone).is_none() && writes.sent.is_empty());
    }
}
