//! What holds for every batch, and for everything that is none.

use folio_record::{
    BatchBuilder, BatchError, Compression, DecompressLimit, HEADER_SIZE, LeaderEpoch, NewRecord, Offset,
    RecordCursor, Timestamp, UnverifiedBatch, seal, stamp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::handmade::{Handmade, compressed, record};
use crate::owned::{LIMIT, OwnedRecord, built, codecs, read, records, verified};

proptest! {
    #[test]
    fn what_is_built_is_read_and_passes_the_check(records in records(1..20), compression in codecs()) {
        let bytes = built(&records, compression);
        let batch = verified(&bytes);
        prop_assert_eq!(&read(&batch), &records);
        prop_assert!(batch.header().is_dense());
        let checked = batch.check_records(LIMIT).unwrap();
        let timestamps = || records.iter().map(|record| record.timestamp);
        let earliest = timestamps().filter(|&timestamp| timestamp != -1).min();
        prop_assert_eq!(checked.min_timestamp.get(), earliest.unwrap_or(-1), "of the records that have one");
        prop_assert_eq!(Some(checked.max_timestamp.get()), timestamps().max());
        let offsets = batch.records(LIMIT).unwrap().iter().map(|r| r.unwrap().offset.get()).collect::<Vec<_>>();
        prop_assert_eq!(offsets, (0..records.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn compression_never_makes_a_batch_larger(records in records(1..20), compression in codecs()) {
        let (plain, small) = (built(&records, Compression::None), built(&records, compression));
        prop_assert!(small.len() <= plain.len());
    }

    #[test]
    fn no_batch_is_larger_than_the_builder_was_told(
        records in records(1..20), size_max in 0..8000usize, compression in codecs(),
    ) {
        let mut builder = BatchBuilder::new(compression, size_max);
        let mut taken = 0;
        for record in &records {
            let before = builder.size();
            let record = NewRecord {
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                ..NewRecord::at(Timestamp::new(record.timestamp))
            };
            match builder.append(&record) {
                Ok(index) => {
                    prop_assert_eq!(index, taken);
                    prop_assert!(builder.size() <= size_max);
                    taken += 1;
                }
                Err(full) => {
                    prop_assert!(full.size > size_max);
                    prop_assert_eq!(builder.size(), before);
                }
            }
        }
        prop_assert_eq!(builder.count(), taken);
        match builder.build() {
            None => prop_assert_eq!(taken, 0),
            Some(bytes) => {
                prop_assert!(bytes.len() <= size_max);
                prop_assert_eq!(verified(&bytes).header().count, taken);
            }
        }
    }

    #[test]
    fn a_builder_forgets_the_batch_it_has_built(
        first in records(1..5), second in records(1..5), compression in codecs(),
    ) {
        let mut builder = BatchBuilder::new(compression, usize::MAX);
        for records in [&first, &second] {
            for record in records {
                let record = NewRecord {
                    value: record.value.as_deref(),
                    ..NewRecord::at(Timestamp::new(record.timestamp))
                };
                builder.append(&record).unwrap();
            }
            let bare: Vec<OwnedRecord> = records
                .iter()
                .map(|record| OwnedRecord { key: None, headers: vec![], ..record.clone() })
                .collect();
            prop_assert_eq!(builder.build(), Some(built(&bare, compression)));
            prop_assert_eq!(builder.build(), None);
        }
    }

    #[test]
    fn any_changed_byte_under_the_checksum_is_found(
        records in records(1..10), compression in codecs(), at: Index, change in 1..=255u8,
    ) {
        let mut bytes = built(&records, compression);
        let at = 17 + at.index(bytes.len() - 17); // the checksum itself and all that follows
        bytes[at] ^= change;
        let found = UnverifiedBatch::split_first(&bytes).unwrap().0.verify();
        prop_assert!(matches!(found, Err(BatchError::Checksum { .. })), "{:?}", found);
    }

    #[test]
    fn a_changed_length_is_found(records in records(2..10), change in prop_oneof![-200..200i32, any::<i32>()]) {
        // Two batches in a row: a longer length reaches into the second, a shorter one cuts the first.
        let mut bytes = built(&records, Compression::None);
        let right = bytes.len() as i32 - 12;
        let length = right.wrapping_add(change);
        prop_assume!(change != 0);
        bytes.extend_from_within(..);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let found = UnverifiedBatch::split_first(&bytes).and_then(|(batch, _)| batch.verify());
        prop_assert!(found.is_err());
    }

    #[test]
    fn a_cut_batch_says_how_much_it_needs(records in records(1..5), at: Index) {
        let bytes = built(&records, Compression::None);
        let at = at.index(bytes.len());
        let needed = if at < 12 { HEADER_SIZE } else { bytes.len() };
        let found = UnverifiedBatch::split_first(&bytes[..at]).map(|_| ());
        prop_assert_eq!(found, Err(BatchError::Incomplete { needed }));
    }

    #[test]
    fn batches_in_a_row_come_apart(batches in vec(records(1..4), 1..5), rest in vec(any::<u8>(), 0..12)) {
        let batches: Vec<Vec<u8>> = batches.iter().map(|records| built(records, Compression::None)).collect();
        let all = [batches.concat(), rest.clone()].concat();
        let mut left = &all[..];
        for batch in &batches {
            let (first, behind) = UnverifiedBatch::split_first(left).unwrap();
            prop_assert_eq!(first.bytes(), batch);
            left = behind;
        }
        prop_assert_eq!(left, rest);
    }

    #[test]
    fn a_stamp_changes_no_other_byte_and_breaks_no_checksum(
        records in records(1..5), offset in 0..i64::MAX - 100, epoch: i32,
    ) {
        let plain = built(&records, Compression::None);
        let mut stamped = plain.clone();
        stamp(&mut stamped, Offset::new(offset), LeaderEpoch::new(epoch));
        prop_assert_eq!(&stamped[8..12], &plain[8..12]);
        prop_assert_eq!(&stamped[16..], &plain[16..]);
        let batch = verified(&stamped);
        prop_assert_eq!(batch.header().base_offset, Offset::new(offset));
        prop_assert_eq!(batch.header().leader_epoch, LeaderEpoch::new(epoch));
        prop_assert_eq!(batch.header().next_offset(), Offset::new(offset + records.len() as i64));
        prop_assert_eq!(read(&batch), records);
    }

    #[test]
    fn a_batch_with_gaps_keeps_its_offsets(gaps in vec(0..1000i64, 0..20), behind in 0..1000i64) {
        let mut next = 0;
        let (mut deltas, mut block) = (vec![], vec![]);
        for gap in gaps {
            deltas.push(next + gap);
            block.extend(record(0, next + gap, None, Some(b"kept"), &[]));
            next += gap + 1;
        }
        let batch = Handmade {
            base_offset: 5_000_000_000,
            count: deltas.len() as i32,
            last_offset_delta: (next + behind) as i32,
            ..Handmade::empty(block)
        };
        let bytes = batch.bytes();
        let batch = verified(&bytes);
        prop_assert!(batch.check_records(LIMIT).is_ok());
        prop_assert_eq!(batch.header().next_offset().get(), 5_000_000_000 + next + behind + 1);
        let records = batch.records(LIMIT).unwrap();
        let offsets: Vec<i64> = records.iter().map(|record| record.unwrap().offset.get() - 5_000_000_000).collect();
        prop_assert_eq!(offsets, deltas);
    }

    #[test]
    fn a_cursor_sees_what_the_iterator_sees(records in records(1..10), compression in codecs()) {
        let bytes = built(&records, compression);
        let seen = verified(&bytes).records(LIMIT).unwrap();
        let mut cursor = RecordCursor::new(seen.header());
        for expected in &seen {
            prop_assert_eq!(cursor.next(seen.bytes()), Some(expected));
        }
        prop_assert_eq!(cursor.next(seen.bytes()), None);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_batch(bytes in vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn an_arbitrary_block_behind_a_good_header_is_an_error_or_records(
        block in vec(any::<u8>(), 0..200), count in -2..5i32, last_offset_delta in -2..5i32, attributes in 0..8u16,
    ) {
        exercise(&Handmade { attributes, count, last_offset_delta, ..Handmade::empty(block) }.bytes());
    }

    #[test]
    fn damage_that_was_sealed_over_is_an_error_or_records(
        records in records(1..10),
        codec in codecs(),
        by_another: bool,
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        // Such a batch has a right checksum: nothing but the walk stands between it and the log.
        let mut bytes = if by_another {
            let mut plain = built(&records, Compression::None);
            let block = compressed(&plain.split_off(HEADER_SIZE), codec);
            plain[22] = codec.id();
            plain[8..12].copy_from_slice(&(block.len() as i32 + 49).to_be_bytes());
            [plain, block].concat()
        } else {
            built(&records, codec)
        };
        for (at, byte) in damage {
            let at = 21 + at.index(bytes.len() - 21);
            bytes[at] = byte;
        }
        seal(&mut bytes);
        exercise(&bytes);
    }
}

/// Goes through everything there is to call on bytes of unknown origin. The check passes exactly if
/// the iterator finds no fault.
fn exercise(bytes: &[u8]) {
    let Ok((batch, rest)) = UnverifiedBatch::split_first(bytes) else { return };
    assert_eq!(batch.bytes().len() + rest.len(), bytes.len());
    let Ok(batch) = batch.verify() else { return };
    let limit = DecompressLimit::new(1 << 16);
    let checked = batch.check_records(limit);
    let Ok(records) = batch.records(limit) else {
        assert!(checked.is_err());
        return;
    };
    let mut walk = records.iter();
    let mut last = None;
    let mut max = None;
    for record in &mut walk {
        let Ok(record) = record else {
            assert!(checked.is_err());
            assert!(walk.next().is_none());
            return;
        };
        assert!(last < Some(record.offset));
        assert!(record.offset <= batch.header().last_offset());
        assert_eq!(record.headers.len(), record.headers.count());
        last = Some(record.offset);
        max = max.max(Some(record.timestamp));
    }
    let latest = checked.map(|checked| checked.max_timestamp);
    assert_eq!(latest, Ok(max.unwrap_or(batch.header().max_timestamp)));
    for codec in [Compression::None, Compression::Lz4] {
        let again = records.recompressed(codec.into()).unwrap();
        let again = verified(&again).records(limit).unwrap();
        assert!(again.iter().eq(&records));
    }
}
