//! What produce refuses, whichever protocol asked, and what it changes. Stored bytes stay as they were sent unless the
//! topic wants another codec or its own time, or the header is wrong about its records' latest time.

mod stored;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use folio_record::{
    Batch, BatchError, CheckedRecords, Compression, DecompressLimit, Offset, ProducerId, Record, Records,
    Timestamp, TimestampType, UnverifiedBatch,
};

use super::topics;
use super::topics::internal;
use crate::config::TopicSettings;
use crate::engine::{Disk, Engine, now};
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;

use stored::Change;

/// Batches that were found good, and where they are to be appended.
pub(crate) type Admitted = (Arc<Partition<Disk>>, BytesMut);

/// What the compressed batches of one request may still unpack to. A loop unpacks them, and serves nobody meanwhile.
#[derive(Debug)]
pub(crate) struct UnpackBudget {
    left: usize,
}

impl UnpackBudget {
    /// Of a whole request.
    pub(crate) fn new(engine: &Engine) -> Self {
        Self { left: engine.config.decompress_max_bytes }
    }
}

/// Takes `batches` for a partition, as they are to be stored there, if all of them may be.
///
/// # Errors
/// There is no such partition here, the data directory takes nothing, or the first thing wrong with a batch.
pub(crate) fn admit(
    engine: &Engine,
    topic: &str,
    number: u32,
    batches: BytesMut,
    budget: &mut UnpackBudget,
) -> Result<Admitted, ServiceError> {
    admit_to(engine, topics::partition(engine, topic, number)?, batches, budget)
}

/// As [`admit`], for a partition that was found already.
///
/// # Errors
/// The topic is the broker's own, the data directory takes nothing, or the first thing wrong with a batch.
pub(crate) fn admit_to(
    engine: &Engine,
    partition: Arc<Partition<Disk>>,
    batches: BytesMut,
    budget: &mut UnpackBudget,
) -> Result<Admitted, ServiceError> {
    if engine.health.has_failed() {
        return Err(ServiceError::storage_failed());
    }
    internal::check_is_clients(&partition.topic, "append to")?;
    engine.space.check()?;
    let settings = partition.settings.load();
    let batches = Checks { settings: &settings, budget, now: now(), records: 0 }.all(batches)?;
    drop(settings);
    Ok((partition, batches))
}

/// What the checks need to know besides the bytes.
#[derive(Debug)]
struct Checks<'a> {
    settings: &'a TopicSettings,
    budget: &'a mut UnpackBudget,
    now: Timestamp,
    /// In the batches before the one that is looked at.
    records: u32,
}

impl Checks<'_> {
    /// What is to be stored of `sent`, if that is one or more whole batches that may be.
    ///
    /// # Errors
    /// The first thing wrong with the first batch that has something wrong; none may be stored then.
    fn all(&mut self, mut sent: BytesMut) -> Result<BytesMut, ServiceError> {
        let mut good = BytesMut::new();
        loop {
            let (batch, _) = UnverifiedBatch::split_first(&sent).map_err(|e| refused(&e))?;
            let size = batch.bytes().len();
            self.size(size)?;
            let batch = batch.verify().map_err(|e| refused(&e))?;
            let change = self.one(&batch)?;
            // Its place in the log, or that of the batch it is a copy of, is one of its own.
            let is_numbered = batch.header().producer_id != ProducerId::NONE;
            if is_numbered && (size < sent.len() || !good.is_empty()) {
                let text = "the batch of an idempotent producer comes alone";
                return Err(ServiceError::new(Fault::InvalidRecord, text));
            }
            let batch = change.apply(sent.split_to(size));
            self.size(batch.len())?;
            // Batches that keep their bytes only come together again: nothing is copied.
            good.unsplit(batch);
            if sent.is_empty() {
                return Ok(good);
            }
        }
    }

    fn size(&self, size: usize) -> Result<(), ServiceError> {
        let size_max = self.settings.max_message_bytes;
        if size > size_max as usize {
            let text = format!("a batch of {size} bytes; max.message.bytes is {size_max}");
            return Err(ServiceError::new(Fault::MessageTooLarge, text));
        }
        Ok(())
    }

    fn one(&mut self, batch: &Batch<'_>) -> Result<Change, ServiceError> {
        let header = batch.header();
        let attributes = header.attributes;
        let is_numbered = header.producer_epoch >= 0 && header.base_sequence >= 0;
        let is_nobodys = header.producer_id == ProducerId::NONE;
        let broken = [
            (header.base_offset != Offset::new(0), "its base offset is not 0"),
            (!header.is_dense(), "its records are not counted from 0 without a gap"),
            (attributes.is_control(), "control batches are the broker's own"),
            (attributes.has_delete_horizon(), "the delete horizon is the broker's own"),
            (attributes.is_transactional(), "there are no transactions yet"),
            (header.producer_id < ProducerId::NONE, "there is no such producer id"),
            (!is_nobodys && !is_numbered, "its producer has an id, and no epoch or no sequence"),
        ];
        if let Some((_, why)) = broken.iter().find(|(is_broken, _)| *is_broken) {
            return Err(ServiceError::new(Fault::InvalidRecord, format!("the batch is refused: {why}")));
        }
        let limit = DecompressLimit::new(self.budget.left);
        let records = batch.records(limit).map_err(|e| refused(&e))?;
        let checked = records.check().map_err(|e| refused(&e))?;
        if attributes.compression() != Compression::None {
            self.budget.left = self.budget.left.saturating_sub(checked.uncompressed_bytes);
            let (largest, most) = (checked.largest_record_bytes, self.settings.decompressed_record_max);
            if largest > most as usize {
                let text = format!("a record of {largest} bytes; max.decompressed.message.bytes is {most}");
                return Err(ServiceError::new(Fault::InvalidRecord, text));
            }
        }
        self.each(&records, &checked)?;
        self.records = self.records.saturating_add(header.count);
        Change::of(&records, checked.max_timestamp, self.settings, self.now)
    }

    /// Whether every record may be stored: whether its time is its own and not too far from this machine's, and whether
    /// it has a key, if the topic keeps the last one of each key.
    fn each(&self, records: &Records<'_>, checked: &CheckedRecords) -> Result<(), ServiceError> {
        let times = self.times();
        let is_in_time = |time: Timestamp| time == Timestamp::NONE || times.contains(&time.get());
        let needs_key = self.settings.cleanup.compacts;
        let is_appended = records.header().attributes.timestamp_type() == TimestampType::LogAppend;
        if !needs_key
            && !is_appended
            && is_in_time(checked.min_timestamp)
            && is_in_time(checked.max_timestamp)
        {
            return Ok(());
        }
        let why = |record: &Record<'_>| {
            if needs_key && record.key.is_none() {
                let why = "Compacted topic cannot accept message without key.".to_owned();
                return Some((Fault::InvalidRecord, why));
            }
            if is_appended {
                let why = "The broker alone gives log append times.".to_owned();
                return Some((Fault::InvalidTimestamp, why));
            }
            let time = record.timestamp;
            (!is_in_time(time)).then(|| {
                let (first, last) = (times.start(), times.end());
                let why = format!(
                    "the time {time} is out of range: it is to be within {first} and {last}, in milliseconds."
                );
                (Fault::InvalidTimestamp, why)
            })
        };
        let mut fault = None;
        let mut to_blame = Vec::new();
        for (number, record) in (self.records..).zip(records) {
            let Some((its, why)) = why(&record.map_err(|e| refused(&e))?) else { continue };
            fault.get_or_insert(its);
            to_blame.push((number, why));
            if to_blame.len() == TO_BLAME_MAX {
                break;
            }
        }
        let (Some(fault), Some((number, why))) = (fault, to_blame.first()) else { return Ok(()) };
        let text = match to_blame.len() {
            1 => format!("record {number} is refused: {why}"),
            count => format!("{count} records are refused, the first is record {number}: {why}"),
        };
        Err(ServiceError { records: to_blame, ..ServiceError::new(fault, text) })
    }

    /// The times that records may have. Where the broker's own is stored, all.
    fn times(&self) -> RangeInclusive<i64> {
        if self.settings.timestamp_type == TimestampType::LogAppend {
            return i64::MIN..=i64::MAX;
        }
        let bound = |bound: Option<Duration>| {
            bound.and_then(|bound| i64::try_from(bound.as_millis()).ok()).unwrap_or(i64::MAX)
        };
        let now = self.now.get();
        let first = match bound(self.settings.timestamp_before_max) {
            i64::MAX => i64::MIN,
            before => now.saturating_sub(before),
        };
        first..=now.saturating_add(bound(self.settings.timestamp_after_max))
    }
}

/// So many records of a request are told to be to blame; the answer is not to be larger than the question.
const TO_BLAME_MAX: usize = 1000;

fn refused(error: &BatchError) -> ServiceError {
    let fault = match error {
        BatchError::Checksum { .. } | BatchError::Incomplete { .. } | BatchError::Magic { .. } => {
            Fault::CorruptBatch
        }
        _ => Fault::InvalidRecord,
    };
    ServiceError::new(fault, error.to_string())
}
