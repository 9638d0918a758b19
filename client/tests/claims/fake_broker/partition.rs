//! What a fake broker stores, and how it numbers and judges it.

use folio_client::{ErrorCode, Offset};
use folio_record::{BatchHeader, LeaderEpoch, ProducerId, UnverifiedBatch, stamp};

/// One partition: batches, each with the offset behind it.
#[derive(Clone, Default)]
pub(super) struct Partition {
    pub(super) batches: Vec<(i64, Vec<u8>)>,
    pub(super) log_start: i64,
    pub(super) message_bytes_max: Option<usize>,
    /// Of what is appended.
    pub(super) leader_epoch: i32,
}

impl Partition {
    pub(super) fn log_end(&self) -> i64 {
        self.batches.last().map_or(self.log_start, |(end, _)| *end)
    }

    /// Appends one whole batch; returns its base offset.
    pub(super) fn append(&mut self, mut batch: Vec<u8>) -> i64 {
        let base = self.log_end();
        let count =
            UnverifiedBatch::split_first(&batch).unwrap().0.verify().unwrap().header().last_offset_delta;
        stamp(&mut batch, Offset::new(base), LeaderEpoch::new(self.leader_epoch));
        self.batches.push((base + i64::from(count) + 1, batch));
        base
    }

    /// What a numbered batch is answered that is not next: all that were stored are remembered.
    fn judge(&self, batch: &[u8]) -> Option<(ErrorCode, i64)> {
        let header =
            |batch: &[u8]| *UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap().header();
        let new = header(batch);
        let stored = self.batches.iter().map(|(_, batch)| header(batch));
        let own =
            stored.filter(|of| of.producer_id == new.producer_id && new.producer_id != ProducerId::NONE);
        let own: Vec<_> = own.collect();
        let last = own.last()?;
        if new.producer_epoch < last.producer_epoch {
            return Some((ErrorCode::INVALID_PRODUCER_EPOCH, -1));
        }
        let mut own = own.iter().filter(|of| of.producer_epoch == new.producer_epoch);
        let range = |of: &BatchHeader| (of.base_sequence, of.count);
        if let Some(copied) = own.clone().find(|of| range(of) == range(&new)) {
            return Some((ErrorCode::NONE, copied.base_offset.get()));
        }
        let due = own.next_back().map_or(0, |last| (last.base_sequence + last.count as i32) & i32::MAX);
        (new.base_sequence != due).then_some((ErrorCode::OUT_OF_ORDER_SEQUENCE, -1))
    }

    pub(super) fn find(&self, time: i64) -> Option<(i64, i64)> {
        let limit = folio_record::DecompressLimit::new(1 << 24);
        self.batches.iter().find_map(|(_, batch)| {
            let batch = UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap();
            let records = batch.records(limit).unwrap();
            let found = records.iter().map(Result::unwrap).find(|record| record.timestamp.get() >= time);
            found.map(|record| (record.offset.get(), record.timestamp.get()))
        })
    }
}

pub(super) fn append_all(partition: &mut Partition, mut bytes: &[u8]) -> (ErrorCode, i64) {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = UnverifiedBatch::split_first(bytes).unwrap();
        if partition.message_bytes_max.is_some_and(|most| batch.bytes().len() > most) {
            return (ErrorCode::MESSAGE_TOO_LARGE, -1);
        }
        batches.push(batch.bytes().to_vec());
        bytes = rest;
    }
    if let Some(known) = batches.first().and_then(|batch| partition.judge(batch)) {
        assert_eq!(batches.len(), 1, "a numbered batch comes alone");
        return known;
    }
    let base = partition.log_end();
    batches.into_iter().for_each(|batch| {
        partition.append(batch);
    });
    (ErrorCode::NONE, base)
}
