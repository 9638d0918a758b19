//! What produce refuses, whichever protocol asked, and what it changes. Stored bytes stay as they were sent unless the
//! topic wants another codec or its own time, or the header is wrong about its records' latest time.

mod stored;

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
pub(crate) use stored::append_times;

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
        let text = format!("record {number} of {} that are refused: {why}", to_blame.len());
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

#[cfg(test)]
pub(crate) mod tests {
    use folio_record::{BatchBuilder, Compression, NewRecord, seal};
    use folio_wire::native::ErrorCode;

    use super::*;

    pub(super) const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

    /// Three records, long enough that every codec makes them smaller.
    pub(super) fn batch(compression: Compression) -> Vec<u8> {
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

    pub(super) fn stored(bytes: &[u8], settings: &TopicSettings) -> Result<BytesMut, ServiceError> {
        let mut budget = UnpackBudget { left: 1 << 20 };
        Checks { settings, budget: &mut budget, now: NOW, records: 0 }.all(BytesMut::from(bytes))
    }

    fn check(bytes: &[u8]) -> Result<(), ErrorCode> {
        check_with(bytes, &TopicSettings::default())
    }

    fn check_with(bytes: &[u8], settings: &TopicSettings) -> Result<(), ErrorCode> {
        stored(bytes, settings).map(drop).map_err(|error| error.native())
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
            "a producer id without an epoch and a sequence",
            |batch| put(batch, 43, &7_i64.to_be_bytes()),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a producer id and an epoch without a sequence",
            |batch| put(batch, 43, b"\0\0\0\0\0\0\0\x07\0\0"),
            true,
            ErrorCode::INVALID_RECORD,
        ),
        (
            "a producer id that nobody was given",
            |batch| put(batch, 43, b"\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0\0\0"),
            true,
            ErrorCode::INVALID_RECORD,
        ),
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
    fn the_batch_of_an_idempotent_producer_comes_alone() {
        for compression in [Compression::None, Compression::Lz4] {
            let (plain, mut numbered) = (batch(compression), batch(compression));
            put(&mut numbered, 43, b"\0\0\0\0\0\0\0\x07\0\0\0\0\0\0");
            seal(&mut numbered);
            assert_eq!(check(&numbered), Ok(()));
            for together in [[&numbered, &plain], [&plain, &numbered], [&numbered, &numbered]] {
                let bytes = [&together[0][..], together[1]].concat();
                assert_eq!(check(&bytes), Err(ErrorCode::INVALID_RECORD));
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

    /// A record's time and key.
    type Brief<'a> = (i64, Option<&'a [u8]>);

    /// Batches of these records, a batch for each list.
    fn batches(of: &[&[Brief<'_>]]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::Lz4, 1 << 20);
        let mut build = |records: &&[Brief<'_>]| {
            for &(time, key) in *records {
                builder.append(&NewRecord { key, ..NewRecord::at(Timestamp::new(time)) }).unwrap();
            }
            builder.build().unwrap()
        };
        of.iter().flat_map(&mut build).collect()
    }

    #[test]
    fn each_record_that_is_to_blame_is_named() {
        let now = NOW.get();
        let bounded = TopicSettings {
            timestamp_before_max: Some(Duration::from_millis(10)),
            timestamp_after_max: Some(Duration::from_millis(20)),
            ..TopicSettings::default()
        };
        let in_time = [(now - 10, None), (now + 20, None), (-1, None)];
        check_with(&batches(&[&in_time]), &bounded).unwrap();
        let sent = batches(&[&in_time, &[(now, None), (now - 11, None), (now, None), (now + 21, None)]]);
        let refused = stored(&sent, &bounded).unwrap_err();
        assert_eq!(refused.native(), ErrorCode::INVALID_TIMESTAMP);
        let numbers =
            |error: &ServiceError| error.records.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&refused), [4, 6]);
        assert!(refused.text.contains("record 4 of 2 that are refused"), "{}", refused.text);

        let mut compacted = bounded;
        compacted.cleanup.compacts = true;
        let sent = batches(&[&[(now, Some(b"k")), (now, None), (now - 11, Some(b"k")), (now - 11, None)]]);
        let refused = stored(&sent, &compacted).unwrap_err();
        assert_eq!((refused.native(), numbers(&refused)), (ErrorCode::INVALID_RECORD, vec![1, 2, 3]));
        assert!(
            refused.records[0].1.contains("without key") && refused.records[1].1.contains("out of range")
        );
        assert_eq!(check_with(&batches(&[&[(now, Some(b"k")), (-1, Some(b""))]]), &compacted), Ok(()));

        // A hundred thousand are told as a thousand.
        let mut builder = BatchBuilder::new(Compression::Zstd, 1 << 20);
        for _ in 0..100_000 {
            builder.append(&NewRecord::at(NOW)).unwrap();
        }
        let refused = stored(&builder.build().unwrap(), &compacted).unwrap_err();
        assert_eq!(refused.records.len(), TO_BLAME_MAX);
    }

    #[test]
    fn a_record_over_the_topics_bound_is_refused_if_it_was_compressed() {
        // Attributes, two deltas of a byte, key and value with their lengths, no headers.
        let size = 1 + 1 + 1 + (1 + 1) + (2 + 300) + 1;
        for (compression, most, outcome) in [
            (Compression::Zstd, size, Ok(())),
            (Compression::Zstd, size - 1, Err(ErrorCode::INVALID_RECORD)),
            (Compression::None, size - 1, Ok(())),
        ] {
            let settings = TopicSettings { decompressed_record_max: most, ..TopicSettings::default() };
            assert_eq!(check_with(&batch(compression), &settings), outcome, "{compression:?}, {most}");
        }
    }

    #[test]
    fn every_record_of_a_batch_that_gives_itself_the_time_of_appending_is_to_blame() {
        let append = TopicSettings { timestamp_type: TimestampType::LogAppend, ..TopicSettings::default() };
        for settings in [TopicSettings::default(), append] {
            let mut sent = batch(Compression::Lz4);
            sent[22] |= 0x08;
            seal(&mut sent);
            let refused = stored(&sent, &settings).unwrap_err();
            assert_eq!((refused.native(), refused.records.len()), (ErrorCode::INVALID_TIMESTAMP, 3));
        }
    }

    #[test]
    fn what_unpacks_to_more_than_the_bound_is_refused_and_not_unpacked() {
        let settings = TopicSettings::default();
        let mut budget = UnpackBudget { left: 500 };
        let mut checks = Checks { settings: &settings, budget: &mut budget, now: NOW, records: 0 };
        let refused = checks.all(BytesMut::from(&batch(Compression::Lz4)[..])).unwrap_err();
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
        let times = |batch: &[u8], times| BytesMut::from(&batch.repeat(times)[..]);
        checks.all(times(&batch, 2)).unwrap();
        assert_eq!(checks.all(times(&batch, 2)).unwrap_err().native(), ErrorCode::INVALID_RECORD);
        checks.all(times(&self::batch(Compression::None), 20)).unwrap();
    }
}
