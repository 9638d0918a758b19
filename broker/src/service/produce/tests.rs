//! What produce takes, what it refuses and with which code, and whom it blames.

use folio_record::{BatchBuilder, Compression, NewRecord, seal};
use folio_wire::native::ErrorCode;

use super::*;

pub(crate) const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

/// Three records, long enough that every codec makes them smaller.
pub(crate) fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, 1 << 20);
    for number in 0..3 {
        let value = [b'a' + number; 300];
        let timestamp = Timestamp::new(NOW.get() + i64::from(number));
        builder.append(&NewRecord { timestamp, key: Some(b"k"), value: Some(&value), headers: &[] }).unwrap();
    }
    builder.build().unwrap().to_vec()
}

pub(crate) fn stored(bytes: &[u8], settings: &TopicSettings) -> Result<BytesMut, ServiceError> {
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
    ("another codec than it says", |batch| batch[22] = batch[22] % 4 + 1, true, ErrorCode::INVALID_RECORD),
    ("a codec that does not exist", |batch| batch[22] = 7, true, ErrorCode::INVALID_RECORD),
    ("a gap in its offsets", |batch| put(batch, 23, &3_i32.to_be_bytes()), true, ErrorCode::INVALID_RECORD),
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
    let numbers = |error: &ServiceError| error.records.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(numbers(&refused), [4, 6]);
    assert!(refused.text.contains("2 records are refused, the first is record 4"), "{}", refused.text);

    let mut compacted = bounded;
    compacted.cleanup.compacts = true;
    let sent = batches(&[&[(now, Some(b"k")), (now, None), (now - 11, Some(b"k")), (now - 11, None)]]);
    let refused = stored(&sent, &compacted).unwrap_err();
    assert_eq!((refused.native(), numbers(&refused)), (ErrorCode::INVALID_RECORD, vec![1, 2, 3]));
    assert!(refused.records[0].1.contains("without key") && refused.records[1].1.contains("out of range"));
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
