//! Bytes as Kafka's clients write them, put together by a program that shares nothing with this crate.

use folio_record::{
    BatchBuilder, Compression, Header, LeaderEpoch, NewRecord, Offset, ProducerId, Timestamp, TimestampType,
    UnverifiedBatch, stamp,
};

use crate::owned::{LIMIT, OwnedRecord, read, verified};

#[rustfmt::skip]
const THREE_RECORDS: &[u8] = &[
    // base offset 0, length 0x64, no leader epoch, format 2, checksum
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x64,
    0xff, 0xff, 0xff, 0xff,
    0x02,
    0x7d, 0x3a, 0x04, 0x0b,
    // no attributes, last offset delta 2, base timestamp 1700000000000, 300 ms later the maximum
    0x00, 0x00,
    0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x69, 0x2c,
    // no producer id, epoch, sequence; three records
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff,
    0xff, 0xff, 0xff, 0xff,
    0x00, 0x00, 0x00, 0x03,
    // 15 bytes, attributes, +0 ms, +0, key of 4, value of 5, no headers
    0x1e, 0x00, 0x00, 0x00,
    0x08, b'h', b'o', b's', b't',
    0x0a, b'f', b'i', b'r', b's', b't',
    0x00,
    // 6 bytes, attributes, -5 ms, +1, null key, empty value, no headers
    0x0c, 0x00, 0x09, 0x02, 0x01, 0x00, 0x00,
    // 27 bytes, attributes, +300 ms, +2, empty key, null value,
    0x36, 0x00, 0xd8, 0x04, 0x04, 0x00, 0x01,
    // three headers: trace = 01 ff, trace = null, é = empty
    0x06,
    0x0a, b't', b'r', b'a', b'c', b'e', 0x04, 0x01, 0xff,
    0x0a, b't', b'r', b'a', b'c', b'e', 0x01,
    0x04, 0xc3, 0xa9, 0x00,
];

/// The checksum of the same records from producer 4711 in epoch 3, the first with sequence 100.
const CHECKSUM_WITH_PRODUCER: [u8; 4] = [0x0e, 0x15, 0x3f, 0xe2];

/// One record, "GET /index.html " 20 times, in a frame that liblz4 1.9.4 made.
#[rustfmt::skip]
const LZ4: &[u8] = &[
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x64,
    0xff, 0xff, 0xff, 0xff,
    0x02,
    0x1d, 0xfb, 0x30, 0x01,
    0x00, 0x03,
    0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff,
    0xff, 0xff, 0xff, 0xff,
    0x00, 0x00, 0x00, 0x01,
    // frame: magic, independent blocks, 64 KiB, header checksum; one block of 0x24 bytes; end
    0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82,
    0x24, 0x00, 0x00, 0x00,
    0xff, 0x09, 0x8e, 0x05, 0x00, 0x00, 0x00, 0x01, 0x80, 0x05, b'G', b'E', b'T', b' ', b'/', b'i', b'n', b'd',
    b'e', b'x', b'.', b'h', b't', b'm', b'l', b' ', 0x10, 0x00, 0xff, 0x1a, 0x50, b't', b'm', b'l', b' ', 0x00,
    0x00, 0x00, 0x00, 0x00,
];

#[test]
fn three_records_are_built_byte_for_byte() {
    assert_eq!(three_records(&mut builder(Compression::None)), THREE_RECORDS);
}

#[test]
fn a_producers_numbers_stand_in_their_places() {
    let mut builder = builder(Compression::None);
    builder.producer(ProducerId::new(4711), 3, 100);
    let batch = three_records(&mut builder);
    let mut expected = THREE_RECORDS.to_vec();
    expected[17..21].copy_from_slice(&CHECKSUM_WITH_PRODUCER);
    expected[43..51].copy_from_slice(&4711i64.to_be_bytes());
    expected[51..53].copy_from_slice(&3i16.to_be_bytes());
    expected[53..57].copy_from_slice(&100i32.to_be_bytes());
    assert_eq!(batch, expected);
}

#[test]
fn three_records_are_read_from_their_bytes() {
    let batch = verified(THREE_RECORDS);
    let header = batch.header();
    assert_eq!(header.base_offset, Offset::ZERO);
    assert_eq!(header.leader_epoch, LeaderEpoch::NONE);
    assert_eq!(header.crc, 0x7d3a_040b);
    assert_eq!(header.attributes.bits(), 0);
    assert_eq!(header.attributes.compression(), Compression::None);
    assert_eq!(header.attributes.timestamp_type(), TimestampType::Create);
    assert_eq!(header.last_offset_delta, 2);
    assert_eq!(header.base_timestamp, Timestamp::new(1_700_000_000_000));
    assert_eq!(header.max_timestamp, Timestamp::new(1_700_000_000_300));
    assert_eq!(header.producer_id, ProducerId::NONE);
    assert_eq!(header.producer_epoch, -1);
    assert_eq!(header.base_sequence, -1);
    assert_eq!(header.count, 3);
    assert_eq!(header.total_size(), THREE_RECORDS.len());
    assert_eq!((header.last_offset(), header.next_offset()), (Offset::new(2), Offset::new(3)));
    assert!(header.is_dense());

    let trace = |value: Option<&[u8]>| (b"trace".to_vec(), value.map(<[u8]>::to_vec));
    let expected = [
        OwnedRecord {
            timestamp: 1_700_000_000_000,
            key: Some(b"host".to_vec()),
            value: Some(b"first".to_vec()),
            headers: vec![],
        },
        OwnedRecord { timestamp: 1_699_999_999_995, key: None, value: Some(vec![]), headers: vec![] },
        OwnedRecord {
            timestamp: 1_700_000_000_300,
            key: Some(vec![]),
            value: None,
            headers: vec![trace(Some(b"\x01\xff")), trace(None), ("é".into(), Some(vec![]))],
        },
    ];
    assert_eq!(read(&batch), expected);
    let checked = batch.check_records(LIMIT).unwrap();
    assert_eq!(checked.min_timestamp, Timestamp::new(1_699_999_999_995));
    assert_eq!(checked.max_timestamp, Timestamp::new(1_700_000_000_300));
    assert_eq!(checked.uncompressed_bytes, THREE_RECORDS.len() - 61);
}

#[test]
fn a_stamped_batch_differs_in_offset_and_epoch_alone() {
    let mut batch = THREE_RECORDS.to_vec();
    stamp(&mut batch, Offset::new(0x0102_0304_0506_0708), LeaderEpoch::new(0x090a_0b0c));
    assert_eq!(batch[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(batch[8..12], THREE_RECORDS[8..12]);
    assert_eq!(batch[12..16], [9, 10, 11, 12]);
    assert_eq!(batch[16..], THREE_RECORDS[16..]);

    let batch = verified(&batch);
    assert_eq!(batch.header().leader_epoch, LeaderEpoch::new(0x090a_0b0c));
    let offsets: Vec<i64> =
        batch.records(LIMIT).unwrap().iter().map(|record| record.unwrap().offset.get()).collect();
    assert_eq!(offsets, [0x0102_0304_0506_0708, 0x0102_0304_0506_0709, 0x0102_0304_0506_070a]);
}

#[test]
fn a_frame_of_the_lz4_library_is_read() {
    let batch = verified(LZ4);
    assert_eq!(batch.header().attributes.compression(), Compression::Lz4);
    let expected = OwnedRecord {
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(b"GET /index.html ".repeat(20)),
        headers: vec![],
    };
    assert_eq!(read(&batch), [expected]);
    assert_eq!(batch.check_records(LIMIT).unwrap().uncompressed_bytes, 329);
}

#[test]
fn our_lz4_frames_are_as_kafkas_reader_wants_them() {
    let value = b"GET /index.html ".repeat(20);
    let mut builder = builder(Compression::Lz4);
    builder.append(&NewRecord { value: Some(&value), ..NewRecord::at(TIME) }).unwrap();
    let batch = builder.build().unwrap();
    assert_eq!(batch[21..61], LZ4[21..61], "attributes to count");
    assert_eq!(batch[61..68], LZ4[61..68], "magic, flags, block size, header checksum");
    let block_size = u32::from_le_bytes(*batch[68..].first_chunk().unwrap()) as usize;
    assert_eq!(batch.len(), 72 + block_size + 4, "one block and the end mark, no checksum behind");
    assert_eq!(batch[72 + block_size..], [0; 4]);
    assert!(UnverifiedBatch::split_first(&batch).unwrap().0.verify().is_ok());
}

fn three_records(builder: &mut BatchBuilder) -> Vec<u8> {
    let headers = [
        Header { key: b"trace", value: Some(b"\x01\xff") },
        Header { key: b"trace", value: None },
        Header { key: "é".as_bytes(), value: Some(b"") },
    ];
    let records = [
        NewRecord { key: Some(b"host"), value: Some(b"first"), ..NewRecord::at(TIME) },
        NewRecord { value: Some(b""), ..NewRecord::at(Timestamp::new(TIME.get() - 5)) },
        NewRecord { key: Some(b""), headers: &headers, ..NewRecord::at(Timestamp::new(TIME.get() + 300)) },
    ];
    for record in &records {
        builder.append(record).unwrap();
    }
    builder.build().unwrap()
}

fn builder(compression: Compression) -> BatchBuilder {
    BatchBuilder::new(compression, 1 << 20)
}

const TIME: Timestamp = Timestamp::new(1_700_000_000_000);
