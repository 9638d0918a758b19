//! What produce refuses, whichever protocol asked. Stored bytes stay as they were sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use folio_record::{
    Batch, BatchError, Compression, DecompressLimit, Offset, ProducerId, Timestamp, TimestampType,
    UnverifiedBatch,
};

use super::topics;
use crate::config::TopicSettings;
use crate::engine::{Disk, Engine, now};
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;

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

/// Takes `batches` for a partition, if all of them may be stored there as they are.
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
/// The data directory takes nothing, or the first thing wrong with a batch.
pub(crate) fn admit_to(
    engine: &Engine,
    partition: Arc<Partition<Disk>>,
    batches: BytesMut,
    budget: &mut UnpackBudget,
) -> Result<Admitted, ServiceError> {
    if engine.health.has_failed() {
        return Err(ServiceError::storage_failed());
    }
    engine.space.check()?;
    let settings = partition.settings.load();
    Checks { settings: &settings, budget, now: now(), records: 0 }.all(&batches)?;
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
    /// Whether `bytes` are one or more whole batches that may be stored as they are.
    ///
    /// # Errors
    /// The first thing wrong with the first batch that has something wrong; none may be stored then.
    fn all(&mut self, bytes: &[u8]) -> Result<(), ServiceError> {
        let mut rest = bytes;
        loop {
            let (batch, behind) = UnverifiedBatch::split_first(rest).map_err(|e| refused(&e))?;
            let size = batch.bytes().len();
            if size > self.settings.max_message_bytes as usize {
                return Err(ServiceError::new(
                    Fault::MessageTooLarge,
                    format!(
                        "a batch of {size} bytes; max.message.bytes is {}",
                        self.settings.max_message_bytes
                    ),
                ));
            }
            self.one(&batch.verify().map_err(|e| refused(&e))?)?;
            if behind.is_empty() {
                return Ok(());
            }
            rest = behind;
        }
    }

    fn one(&mut self, batch: &Batch<'_>) -> Result<(), ServiceError> {
        let header = batch.header();
        let attributes = header.attributes;
        let broken = [
            (header.base_offset != Offset::new(0), "its base offset is not 0"),
            (!header.is_dense(), "its records are not counted from 0 without a gap"),
            (attributes.is_control(), "control batches are the broker's own"),
            (attributes.has_delete_horizon(), "the delete horizon is the broker's own"),
            (attributes.is_transactional(), "there are no transactions yet"),
            (header.producer_id != ProducerId::NONE, "there is no producer state yet"),
        ];
        if let Some((_, why)) = broken.iter().find(|(is_broken, _)| *is_broken) {
            return Err(ServiceError::new(Fault::InvalidRecord, format!("the batch is refused: {why}")));
        }
        if attributes.timestamp_type() == TimestampType::LogAppend {
            return Err(ServiceError::new(
                Fault::InvalidTimestamp,
                "the broker alone gives log append times",
            ));
        }
        let limit = DecompressLimit::new(self.budget.left);
        let checked = batch.check_records(limit).map_err(|e| refused(&e))?;
        if attributes.compression() != Compression::None {
            self.budget.left = self.budget.left.saturating_sub(checked.uncompressed_bytes);
        }
        self.timestamps(checked.min_timestamp, checked.max_timestamp)?;
        if self.settings.cleanup.compacts {
            self.keys(batch, limit)?;
        }
        self.records = self.records.saturating_add(header.count);
        Ok(())
    }

    /// Whether every record has a key: of a topic that keeps the last one of each key.
    fn keys(&self, batch: &Batch<'_>, limit: DecompressLimit) -> Result<(), ServiceError> {
        let records = batch.records(limit).map_err(|e| refused(&e))?;
        let keyless = (self.records..)
            .zip(&records)
            .filter(|(_, record)| record.as_ref().is_ok_and(|record| record.key.is_none()));
        let why = || "Compacted topic cannot accept message without key.".to_owned();
        let to_blame: Vec<(u32, String)> = keyless.map(|(number, _)| (number, why())).collect();
        let Some((number, why)) = to_blame.first() else { return Ok(()) };
        let text = format!("record {number} of {} that are refused: {why}", to_blame.len());
        Err(ServiceError { records: to_blame, ..ServiceError::new(Fault::InvalidRecord, text) })
    }

    fn timestamps(&self, min: Timestamp, max: Timestamp) -> Result<(), ServiceError> {
        let limit = |limit: Option<Duration>| {
            limit.and_then(|limit| i64::try_from(limit.as_millis()).ok()).unwrap_or(i64::MAX)
        };
        let now = self.now.get();
        let before = limit(self.settings.timestamp_before_max);
        let after = limit(self.settings.timestamp_after_max);
        let wrong = if max.get() > now.saturating_add(after) {
            max
        } else if min != Timestamp::NONE && min.get() < now.saturating_sub(before) {
            min
        } else {
            return Ok(());
        };
        Err(ServiceError::new(
            Fault::InvalidTimestamp,
            format!("the record time {} ms is too far from the broker's, {now} ms", wrong.get()),
        ))
    }
}

fn refused(error: &BatchError) -> ServiceError {
    let fault = match error {
        BatchError::Checksum { .. } | BatchError::Incomplete { .. } | BatchError::Magic { .. } => {
            Fault::CorruptBatch
        }
        _ => Fault::InvalidRecord,
    };
    ServiceError::new(fault, error.to_string())
}

#[cfg(test)]
mod tests {
    use folio_record::{BatchBuilder, Compression, NewRecord, seal};
    use folio_wire::native::ErrorCode;

    use super::*;

    const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

    /// Three records, long enough that every codec makes them smaller.
    fn batch(compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression, 1 << 20);
        for number in 0..3 {
            let value = [b'a' + number; 300];
            let timestamp = Timestamp::new(NOW.get() + i64::from(number));
            builder
                .append(&NewRecord { timestamp, key: Some(b"k"), value: Some(&value), headers: &[] })
                .unwrap();
        }
        builder.build().unwrap().to_vec()
    }

    fn check(bytes: &[u8]) -> Result<(), ErrorCode> {
        check_with(bytes, &TopicSettings::default())
    }

    fn check_with(bytes: &[u8], settings: &TopicSettings) -> Result<(), ErrorCode> {
        let mut budget = UnpackBudget { left: 1 << 20 };
        Checks { settings, budget: &mut budget, now: NOW, records: 0 }
            .all(bytes)
            .map_err(|error| error.native())
    }

    #[test]
    fn good_batches_are_taken_alone_and_one_behind_the_other() {
        for compression in Compression::ALL {
            let good = batch(compression);
            assert_eq!(check(&good), Ok(()));
            assert_eq!(check(&[&good[..], &good].concat()), Ok(()));
        }
    }

    /// What a client must not send: what is changed in a good batch, whether its checksum is made right again, and the
    /// code that it is refused with.
    type Refusal = (&'static str, fn(&mut Vec<u8>), bool, ErrorCode);

    fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
        batch[at..at + bytes.len()].copy_from_slice(bytes);
    }

    const REFUSED: &[Refusal] = &[
        ("a base offset that is not 0", |batch| batch[7] = 1, false, ErrorCode::INVALID_RECORD),
        ("another format", |batch| batch[16] = 1, false, ErrorCode::CORRUPT_BATCH),
        ("a wrong checksum", |batch| batch[17] ^= 1, false, ErrorCode::CORRUPT_BATCH),
        ("a flip among the records", |batch| batch[80] ^= 1, false, ErrorCode::CORRUPT_BATCH),
        ("a transactional batch", |batch| batch[22] |= 0x10, true, ErrorCode::INVALID_RECORD),
        ("a control batch", |batch| batch[22] |= 0x20, true, ErrorCode::INVALID_RECORD),
        ("a delete horizon", |batch| batch[22] |= 0x40, true, ErrorCode::INVALID_RECORD),
        ("log append time", |batch| batch[22] |= 0x08, true, ErrorCode::INVALID_TIMESTAMP),
        (
            "another codec than it says",
            |batch| batch[22] = batch[22] % 4 + 1,
            true,
            ErrorCode::INVALID_RECORD,
        ),
        ("a codec that does not exist", |batch| batch[22] = 7, true, ErrorCode::INVALID_RECORD),
        (
            "a gap in its offsets",
            |batch| put(batch, 23, &3_i32.to_be_bytes()),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a wrong latest time",
            |batch| put(batch, 35, &NOW.get().to_be_bytes()),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        ("a producer id", |batch| put(batch, 43, &7_i64.to_be_bytes()), true, ErrorCode::INVALID_RECORD),
        (
            "more records than there are",
            |batch| put(batch, 57, &4_i32.to_be_bytes()),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        (
            "four records, as it says, in a batch of three",
            |batch| {
                put(batch, 23, &3_i32.to_be_bytes());
                put(batch, 57, &4_i32.to_be_bytes());
            },
            true,
            ErrorCode::INVALID_RECORD,
        ),
        ("no records", |batch| put(batch, 57, &0_i32.to_be_bytes()), true, ErrorCode::INVALID_RECORD),
        (
            "fewer than no records",
            |batch| put(batch, 57, &(-1_i32).to_be_bytes()),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        ("records that do not parse", |batch| batch[61..81].fill(0xff), true, ErrorCode::INVALID_RECORD),
        ("something behind it", |batch| batch.extend_from_slice(b"tail"), false, ErrorCode::CORRUPT_BATCH),
        ("its end missing", |batch| batch.truncate(100), false, ErrorCode::CORRUPT_BATCH),
        ("nothing", Vec::clear, false, ErrorCode::CORRUPT_BATCH),
        (
            "a length that cannot be",
            |batch| put(batch, 8, &(-5_i32).to_be_bytes()),
            false,
            ErrorCode::INVALID_RECORD,
        ),
    ];

    #[test]
    fn what_a_client_must_not_send_is_refused_with_its_code() {
        for compression in Compression::ALL {
            for (what, change, sealed, code) in REFUSED {
                let mut bytes = batch(compression);
                change(&mut bytes);
                if *sealed {
                    seal(&mut bytes);
                }
                assert_eq!(check(&bytes), Err(*code), "{what}, {compression:?}");
                // All or nothing: a good one before it is not stored either.
                let both = [&batch(compression)[..], &bytes].concat();
                if !bytes.is_empty() {
                    assert_eq!(check(&both), Err(*code), "{what} behind a good one, {compression:?}");
                }
            }
        }
    }

    #[test]
    fn a_batch_over_the_topics_bound_is_too_large_and_one_of_exactly_that_is_not() {
        let good = batch(Compression::None);
        let bound = |bytes: usize| TopicSettings {
            max_message_bytes: u32::try_from(bytes).unwrap(),
            ..TopicSettings::default()
        };
        assert_eq!(check_with(&good, &bound(good.len())), Ok(()));
        assert_eq!(check_with(&good, &bound(good.len() - 1)), Err(ErrorCode::MESSAGE_TOO_LARGE));
    }

    #[test]
    fn what_unpacks_to_more_than_the_bound_is_refused_and_not_unpacked() {
        let settings = TopicSettings::default();
        let mut budget = UnpackBudget { left: 500 };
        let mut checks = Checks { settings: &settings, budget: &mut budget, now: NOW, records: 0 };
        let refused = checks.all(&batch(Compression::Lz4)).unwrap_err();
        assert_eq!(refused.native(), ErrorCode::INVALID_RECORD);
        assert!(refused.text.contains("500 bytes"), "{}", refused.text);
    }

    #[test]
    fn the_batches_of_one_request_share_what_they_may_unpack_to() {
        let settings = TopicSettings::default();
        let mut budget = UnpackBudget { left: 3000 };
        let mut checks = Checks { settings: &settings, budget: &mut budget, now: NOW, records: 0 };
        // About a thousand bytes each.
        let batch = batch(Compression::Lz4);
        checks.all(&[&batch[..], &batch].concat()).unwrap();
        assert_eq!(checks.all(&batch.repeat(2)).unwrap_err().native(), ErrorCode::INVALID_RECORD);
        checks.all(&self::batch(Compression::None).repeat(20)).unwrap();
    }
}
