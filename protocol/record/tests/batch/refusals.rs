//! What is refused, and with which words.

use folio_record::{
    Batch, BatchError, BatchHeader, DecompressLimit, RecordFault, Timestamp, TimestampType, UnverifiedBatch,
};

use crate::handmade::{COMPRESSING, Handmade, TIME, nullable, prefixed, record, varint};
use crate::owned::{LIMIT, read, verified};

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let good = || Handmade::of(&[b"one", b"two"]);
    let count = |count, last_offset_delta| BatchError::Count { count, last_offset_delta };
    let offsets = |base_offset, last_offset_delta| BatchError::Offsets { base_offset, last_offset_delta };
    let cases = [
        (Handmade { count: -1, ..good() }, count(-1, 1)),
        (Handmade { count: 3, ..good() }, count(3, 1)),
        (Handmade { count: i32::MAX, ..good() }, count(i32::MAX, 1)),
        (Handmade { last_offset_delta: -1, ..good() }, offsets(0, -1)),
        (Handmade { last_offset_delta: i32::MIN, ..good() }, offsets(0, i32::MIN)),
        (Handmade { base_offset: -1, ..good() }, offsets(-1, 1)),
        (Handmade { base_offset: i64::MIN, ..good() }, offsets(i64::MIN, 1)),
        // The last offset would be the last number, and there would be none after it.
        (Handmade { base_offset: i64::MAX - 1, ..good() }, offsets(i64::MAX - 1, 1)),
        (Handmade { base_offset: i64::MAX, ..good() }, offsets(i64::MAX, 1)),
        (Handmade { attributes: 5, ..good() }, BatchError::UnknownCompression { id: 5 }),
        (Handmade { attributes: 7, ..good() }, BatchError::UnknownCompression { id: 7 }),
    ];
    for (batch, error) in cases {
        let bytes = batch.bytes();
        let (unverified, _) = UnverifiedBatch::split_first(&bytes).unwrap();
        assert_eq!(unverified.verify().map(|_| ()), Err(error), "{batch:?}");
        assert_eq!(BatchHeader::parse(bytes.first_chunk().unwrap()), Err(error), "{batch:?}");
    }
    let last = Handmade { base_offset: i64::MAX - 2, ..good() }.bytes();
    assert_eq!(verified(&last).header().next_offset().get(), i64::MAX);
}

#[test]
fn lengths_and_versions_that_no_batch_has_are_refused_before_more_bytes_are_asked_for() {
    let good = Handmade::of(&[b"one"]).bytes();
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        for seen in [12, 16, 17, bytes.len()] {
            assert_eq!(split(&bytes[..seen]), Err(BatchError::Length { length }), "{seen} bytes");
        }
    }
    for magic in [0, 1, 3, -1] {
        let bytes = Handmade { magic, ..Handmade::of(&[b"one"]) }.bytes();
        for seen in [17, 61, bytes.len()] {
            assert_eq!(split(&bytes[..seen]), Err(BatchError::Magic { magic }), "{seen} bytes");
        }
    }
    // An empty batch is as short as a batch can be.
    let mut empty = good[..61].to_vec();
    empty[8..12].copy_from_slice(&49i32.to_be_bytes());
    assert_eq!(split(&empty), Ok(61));
    // Two gigabytes are announced, not waited for and not allocated.
    empty[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(split(&empty), Err(BatchError::Incomplete { needed: i32::MAX as usize + 12 }));
}

#[test]
fn a_wrong_checksum_is_told_with_both_numbers() {
    let mut bytes = Handmade::of(&[b"one"]).bytes();
    let stored = u32::from_be_bytes(*bytes[17..].first_chunk().unwrap());
    *bytes.last_mut().unwrap() ^= 1;
    match UnverifiedBatch::split_first(&bytes).unwrap().0.verify() {
        Err(error @ BatchError::Checksum { stored: told, computed }) => {
            assert_eq!(told, stored);
            assert_ne!(computed, stored);
            assert!(error.to_string().contains(&format!("{stored:#010x}")), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_that_do_not_parse_or_contradict_the_header_are_refused() {
    let fault = |index, fault| BatchError::Record { index, fault };
    let ok = || record(0, 0, None, Some(b"one"), &[]);
    let body = |parts: &[&[u8]]| prefixed(&parts.concat());
    let minus_two: &[u8] = &varint(-2);
    // (what it is, count, last offset delta, block, what is found)
    let cases: Vec<(&str, i32, i32, Vec<u8>, BatchError)> = vec![
        ("no record at all", 1, 0, vec![], fault(0, RecordFault::Truncated)),
        ("one record fewer", 2, 1, ok(), fault(1, RecordFault::Truncated)),
        ("one record more", 1, 1, [ok(), record(0, 1, None, None, &[])].concat(), trailing(7)),
        ("bytes behind the last", 1, 0, [ok(), vec![0]].concat(), trailing(1)),
        ("records where none should be", 0, 0, ok(), trailing(ok().len())),
        ("an offset twice", 2, 1, [ok(), ok()].concat(), fault(1, RecordFault::Offset)),
        (
            "offsets that fall",
            2,
            2,
            [record(0, 1, None, None, &[]), ok()].concat(),
            fault(1, RecordFault::Offset),
        ),
        ("an offset behind the last", 1, 0, record(0, 1, None, None, &[]), fault(0, RecordFault::Offset)),
        ("an offset before the first", 1, 0, record(0, -1, None, None, &[]), fault(0, RecordFault::Offset)),
        (
            "an offset delta of 33 bits",
            1,
            0,
            record(0, 1 << 32, None, None, &[]),
            fault(0, RecordFault::Number),
        ),
        ("a record cut short", 1, 0, ok()[..5].to_vec(), fault(0, RecordFault::Truncated)),
        ("a negative record length", 1, 0, varint(-1), fault(0, RecordFault::Number)),
        ("a giant record length", 1, 0, varint(i64::from(i32::MAX)), fault(0, RecordFault::Truncated)),
        ("a length of six bytes", 1, 0, vec![0xff; 6], fault(0, RecordFault::Number)),
        ("a length cut short", 1, 0, vec![0xff; 2], fault(0, RecordFault::Truncated)),
        ("an empty record", 1, 0, varint(0), fault(0, RecordFault::Length)),
        ("nothing behind the deltas", 1, 0, body(&[&[0, 0, 0]]), fault(0, RecordFault::Length)),
        (
            "a key longer than the record",
            1,
            0,
            body(&[&[0, 0, 0], &varint(9)]),
            fault(0, RecordFault::Length),
        ),
        ("a key length of -2", 1, 0, body(&[&[0, 0, 0], minus_two, &[1, 0]]), fault(0, RecordFault::Number)),
        (
            "a value length of -2",
            1,
            0,
            body(&[&[0, 0, 0, 1], minus_two, &[0]]),
            fault(0, RecordFault::Number),
        ),
        ("no header count", 1, 0, body(&[&[0, 0, 0, 1, 1]]), fault(0, RecordFault::Length)),
        ("a negative header count", 1, 0, body(&[&[0, 0, 0, 1, 1, 1]]), fault(0, RecordFault::Number)),
        (
            "a giant header count",
            1,
            0,
            body(&[&[0, 0, 0, 1, 1], &varint(i64::from(i32::MAX))]),
            fault(0, RecordFault::Length),
        ),
        (
            "a header without key",
            1,
            0,
            record(0, 0, None, None, &[(None, Some(b"value"))]),
            fault(0, RecordFault::Number),
        ),
        (
            "bytes left in the record",
            1,
            0,
            body(&[&[0, 0, 0, 1, 1, 0], b"left"]),
            fault(0, RecordFault::Length),
        ),
        (
            "a header longer than the record",
            1,
            0,
            body(&[&[0, 0, 0, 1, 1, 2], &nullable(Some(b"key")), &varint(100)]),
            fault(0, RecordFault::Length),
        ),
    ];
    for (what, count, last_offset_delta, block, error) in cases {
        let plain = Handmade { count, last_offset_delta, ..Handmade::empty(block) };
        assert_eq!(check(&plain), Err(error), "{what}");
        for codec in COMPRESSING {
            assert_eq!(check(&plain.clone().compressed(codec)), Err(error), "{what}, {codec}");
        }
    }
    for good in [Handmade::of(&[b"one", b"two"]), Handmade::empty(vec![])] {
        assert_eq!(check(&good), Ok(()));
        for codec in COMPRESSING {
            assert_eq!(check(&good.clone().compressed(codec)), Ok(()), "{codec}");
        }
    }
}

#[test]
fn in_log_append_time_every_record_has_the_time_of_the_append() {
    let block = [record(-7, 0, None, None, &[]), record(9000, 1, None, None, &[])].concat();
    let batch = Handmade {
        attributes: 1 << 3,
        count: 2,
        last_offset_delta: 1,
        max_timestamp: TIME + 55,
        ..Handmade::empty(block)
    };
    let bytes = batch.bytes();
    let batch = verified(&bytes);
    assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppend);
    assert!(read(&batch).iter().all(|record| record.timestamp == TIME + 55));
    let checked = batch.check_records(LIMIT).unwrap();
    assert_eq!(checked.min_timestamp, Timestamp::new(TIME + 55));
    assert_eq!(checked.max_timestamp, Timestamp::new(TIME + 55));
}

#[test]
fn attribute_bits_have_names() {
    let names = |bits| {
        let bytes = Handmade { attributes: bits, ..Handmade::empty(vec![]) }.bytes();
        let attributes = verified(&bytes).header().attributes;
        assert_eq!(attributes.bits(), bits);
        (
            attributes.timestamp_type() == TimestampType::LogAppend,
            attributes.is_transactional(),
            attributes.is_control(),
            attributes.has_delete_horizon(),
        )
    };
    assert_eq!(names(0), (false, false, false, false));
    assert_eq!(names(1 << 3), (true, false, false, false));
    assert_eq!(names(1 << 4), (false, true, false, false));
    assert_eq!(names(1 << 5), (false, false, true, false));
    assert_eq!(names(1 << 6), (false, false, false, true));
    // Bits that nobody has given a meaning yet are carried and ignored, as Kafka does.
    assert_eq!(names(0xff80), (false, false, false, false));
}

#[test]
fn decompression_stops_at_its_limit() {
    let value = vec![0; 300_000];
    for codec in COMPRESSING {
        let batch = Handmade::of(&[&value]).compressed(codec);
        let bytes = batch.bytes();
        assert!(bytes.len() < 20_000, "a small batch that becomes large: {codec}");
        let batch = verified(&bytes);
        let size = batch.check_records(LIMIT).unwrap().uncompressed_bytes;
        assert!(batch.check_records(DecompressLimit::new(size)).is_ok(), "{codec}");
        for limit in [0, 1, 65_536, size - 1] {
            let error = Err(BatchError::DecompressedTooLarge { limit });
            assert_eq!(batch.check_records(DecompressLimit::new(limit)).map(|_| ()), error, "{codec}");
        }
    }
    let plain = Handmade::of(&[&value]).bytes();
    assert!(verified(&plain).check_records(DecompressLimit::new(0)).is_ok(), "nothing to decompress");
}

#[test]
fn a_compressed_batch_without_a_block_is_refused() {
    for codec in COMPRESSING {
        let batch = Handmade { attributes: codec.id().into(), ..Handmade::empty(vec![]) };
        assert!(matches!(check(&batch), Err(BatchError::Decompress { .. })), "{codec}");
    }
}

#[test]
fn a_block_cut_anywhere_is_refused_and_so_is_one_with_bytes_behind() {
    let value = b"GET /index.html ".repeat(20);
    for codec in COMPRESSING {
        let whole = Handmade::of(&[&value, b"and another"]).compressed(codec);
        assert_eq!(check(&whole), Ok(()));
        for len in 0..whole.block.len() {
            let cut = Handmade { block: whole.block[..len].to_vec(), ..whole.clone() };
            assert!(check(&cut).is_err(), "{codec}, {len} bytes of {}", whole.block.len());
        }
        for behind in [&b"\0"[..], b"\0\0\0\0", b"garbage"] {
            let longer = Handmade { block: [&whole.block, behind].concat(), ..whole.clone() };
            assert!(check(&longer).is_err(), "{codec}, {behind:?} behind");
        }
    }
}

fn split(bytes: &[u8]) -> Result<usize, BatchError> {
    UnverifiedBatch::split_first(bytes).map(|(batch, _)| batch.bytes().len())
}

fn check(batch: &Handmade) -> Result<(), BatchError> {
    let bytes = batch.bytes();
    let batch: Batch<'_> = verified(&bytes);
    batch.check_records(LIMIT).map(|_| ())
}

fn trailing(bytes: usize) -> BatchError {
    BatchError::TrailingBytes { bytes }
}
