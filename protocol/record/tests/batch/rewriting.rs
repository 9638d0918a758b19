//! What a broker changes in a batch, and what it leaves.

use folio_record::{
    BatchBuilder, BatchHeader, Codec, Compression, Compressor, NewRecord, ProducerId, Timestamp,
    TimestampType, set_log_append_time, set_max_timestamp, set_producer,
};
use proptest::prelude::*;

use crate::handmade::{Handmade, TIME, record};
use crate::owned::{LIMIT, built, codecs, read, records, verified};

proptest! {
    #[test]
    fn a_batch_in_another_codec_says_the_same_of_all_else(
        records in records(1..20), from in codecs(), to in codecs(), stamps: (i64, i16, i32), attributes in 0..8u16,
    ) {
        let plain = built(&records, Compression::None);
        let batch = Handmade {
            base_offset: 4711,
            leader_epoch: 3,
            attributes: attributes << 3,
            last_offset_delta: records.len() as i32 - 1,
            base_timestamp: records[0].timestamp,
            producer_id: stamps.0,
            producer_epoch: stamps.1,
            base_sequence: stamps.2,
            count: records.len() as i32,
            ..Handmade::empty(plain[61..].to_vec())
        };
        let before = batch.compressed(from).bytes();
        let before = verified(&before);
        let after = before.records(LIMIT).unwrap().recompressed(to.into()).unwrap();
        let after = verified(&after);
        let compression = after.header().attributes.compression();
        prop_assert!(compression == to || compression == Compression::None);
        prop_assert!(after.bytes().len() <= plain.len());
        prop_assert_eq!(read(&after), read(&before));
        prop_assert_eq!(after.check_records(LIMIT), before.check_records(LIMIT));
        prop_assert_eq!(unlike(after.header(), before.header(), compression), Vec::<&str>::new());
    }
}

/// In what two headers differ, but for size and checksum; the first is to have this compression.
fn unlike(after: &BatchHeader, before: &BatchHeader, compression: Compression) -> Vec<&'static str> {
    let bits = before.attributes.bits() & !7 | u16::from(compression.id());
    [
        ("offset", after.base_offset == before.base_offset),
        ("epoch", after.leader_epoch == before.leader_epoch),
        ("attributes", after.attributes.bits() == bits),
        ("last offset", after.last_offset_delta == before.last_offset_delta),
        ("base timestamp", after.base_timestamp == before.base_timestamp),
        ("max timestamp", after.max_timestamp == before.max_timestamp),
        ("producer", after.producer_id == before.producer_id),
        ("producer epoch", after.producer_epoch == before.producer_epoch),
        ("sequence", after.base_sequence == before.base_sequence),
        ("count", after.count == before.count),
    ]
    .into_iter()
    .filter_map(|(what, same)| (!same).then_some(what))
    .collect()
}

#[test]
fn a_batch_that_a_codec_would_not_make_smaller_is_stored_plain() {
    let bytes = Handmade::of(&[b"x"]).bytes();
    for codec in Compression::ALL {
        let again = verified(&bytes).records(LIMIT).unwrap().recompressed(codec.into()).unwrap();
        assert_eq!(again, bytes, "{codec}");
    }
}

#[test]
fn a_batch_is_recompressed_at_the_level_that_is_asked_for() {
    let line = |i: u32| format!("GET /page/{} 200 {}\n", i * i % 977, i.wrapping_mul(0x9e37_79b1) % 10_007);
    let value: Vec<u8> = (0..3000).flat_map(|i| line(i).into_bytes()).collect();
    let bytes = Handmade::of(&[&value]).bytes();
    let size = |level| {
        let codec = Codec::with_level(Compression::Gzip, level).unwrap();
        verified(&bytes).records(LIMIT).unwrap().recompressed(codec).unwrap().len()
    };
    assert!(size(9) < size(1));
}

#[test]
fn gaps_between_offsets_stay() {
    let block = [record(0, 3, None, Some(&[7; 300]), &[]), record(5, 9, None, None, &[])].concat();
    let batch =
        Handmade { count: 2, last_offset_delta: 20, max_timestamp: TIME + 5, ..Handmade::empty(block) };
    let bytes = batch.compressed(Compression::Zstd).bytes();
    let after = verified(&bytes).records(LIMIT).unwrap().recompressed(Compression::Snappy.into()).unwrap();
    let after = verified(&after);
    assert_eq!(after.header().attributes.compression(), Compression::Snappy);
    assert_eq!(after.header().next_offset().get(), 21);
    let offsets: Vec<i64> = after.records(LIMIT).unwrap().iter().map(|r| r.unwrap().offset.get()).collect();
    assert_eq!(offsets, [3, 9]);
}

#[test]
fn a_batch_with_the_time_of_its_append_keeps_all_other_bytes() {
    for codec in Compression::ALL {
        let block = [record(-7, 0, None, Some(&[7; 300]), &[]), record(9000, 1, None, None, &[])].concat();
        let batch = Handmade { count: 2, last_offset_delta: 1, ..Handmade::empty(block) };
        let before = batch.compressed(codec).bytes();
        let mut after = before.clone();
        set_log_append_time(&mut after, Timestamp::new(TIME + 1_000_000));
        let batch = verified(&after);
        assert_eq!(batch.header().attributes.timestamp_type(), TimestampType::LogAppend);
        assert_eq!(batch.header().attributes.compression(), codec);
        assert!(read(&batch).iter().all(|record| record.timestamp == TIME + 1_000_000));
        assert_eq!(batch.check_records(LIMIT).unwrap().max_timestamp, batch.header().max_timestamp);
        // Checksum, attributes and the maximum timestamp.
        let changed = [17..21, 21..23, 35..43];
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!(before == after || changed.iter().any(|range| range.contains(&at)), "byte {at}");
        }
    }
}

#[test]
fn a_wrong_latest_time_is_told_and_put_right() {
    for (delta, wrong) in [(1, TIME), (-1, TIME), (0, -1), (0, i64::MAX)] {
        let block = record(delta, 0, None, None, &[]);
        let mut bytes = Handmade { count: 1, max_timestamp: wrong, ..Handmade::empty(block) }.bytes();
        let latest = verified(&bytes).check_records(LIMIT).unwrap().max_timestamp;
        assert_eq!(latest, Timestamp::new(TIME + delta));
        set_max_timestamp(&mut bytes, latest);
        let right = verified(&bytes);
        assert_eq!(right.header().max_timestamp, latest);
        assert_eq!(right.header().base_timestamp, Timestamp::new(TIME));
    }
    let empty = Handmade::empty(vec![]).bytes();
    assert_eq!(verified(&empty).check_records(LIMIT).unwrap().max_timestamp, Timestamp::new(TIME));
}

#[test]
fn a_batch_that_gets_its_number_late_is_the_one_that_was_built_with_it() {
    let build = |numbered: bool| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
        if numbered {
            builder.producer(ProducerId::new(7), 3, 41);
        }
        builder.append(&NewRecord { value: Some(b"x"), ..NewRecord::at(Timestamp::new(5)) }).unwrap();
        builder.build().unwrap()
    };
    let mut late = build(false);
    set_producer(&mut late, ProducerId::new(7), 3, 41);
    assert_eq!(late, build(true));
}

#[test]
fn builders_that_share_a_compressor_make_what_each_would_make_with_its_own() {
    let values = ["one and one and one and one and one", "two and two and two and two and two"];
    let fill = |builder: &mut BatchBuilder, value: &str| {
        let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::at(Timestamp::new(5)) };
        for _ in 0..20 {
            builder.append(&record).unwrap();
        }
    };
    for compression in Compression::ALL {
        let mut shared = Compressor::new(compression.into());
        assert_eq!(shared.as_ref().map_or(Compression::None, Compressor::compression), compression);
        for value in values {
            let mut plain = BatchBuilder::new(Compression::None, 1 << 20);
            let mut own = BatchBuilder::new(compression, 1 << 20);
            fill(&mut plain, value);
            fill(&mut own, value);
            assert_eq!(plain.build_with(shared.as_mut()), own.build(), "{compression}");
            assert!(plain.is_empty());
        }
    }
}
