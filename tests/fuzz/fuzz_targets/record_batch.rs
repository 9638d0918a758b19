//! Bytes of unknown origin as a record batch: an error or records, never a panic, and never more memory
//! than the limit.
//!
//! The first byte of the input says whether the checksum is made right before reading. Without that, a
//! fuzzer would not get past the checksum in a lifetime, and the records behind it would stay unseen. It also
//! says which codec the batch is of, unless it leaves that to the batch.

#![no_main]

use folio_record::{Batch, Compression, DecompressLimit, HEADER_SIZE, LeaderEpoch, Offset, UnverifiedBatch, seal, stamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mode & 1 == 1 && bytes.len() >= HEADER_SIZE {
        make_plausible(&mut bytes, mode >> 1);
    }
    let Ok((unverified, rest)) = UnverifiedBatch::split_first(&bytes) else { return };
    assert_eq!(unverified.bytes().len() + rest.len(), bytes.len());
    let Ok(batch) = unverified.verify() else { return };
    walk(&batch);

    let mut stamped = batch.bytes().to_vec();
    stamp(&mut stamped, Offset::new(1 << 40), LeaderEpoch::new(7));
    let (stamped, _) = UnverifiedBatch::split_first(&stamped).expect("a stamp leaves the length alone");
    stamped.verify().expect("a stamp leaves the checksum alone");
});

fn walk(batch: &Batch<'_>) {
    let checked = batch.check_records(LIMIT);
    let Ok(records) = batch.records(LIMIT) else {
        assert!(checked.is_err());
        return;
    };
    let mut last = None;
    for record in &records {
        let Ok(record) = record else {
            assert!(checked.is_err());
            return;
        };
        assert!(last < Some(record.offset));
        assert!(record.offset <= batch.header().last_offset());
        assert_eq!(record.headers.len(), record.headers.count());
        last = Some(record.offset);
    }
    let again = records.recompressed(Compression::None.into()).expect("it is within the limit");
    let (again, _) = UnverifiedBatch::split_first(&again).expect("a whole batch");
    let again = again.verify().expect("a right checksum").records(LIMIT).expect("what was decompressed");
    assert!(again.iter().eq(&records), "the same records without compression");
}

/// Length, version, checksum and a codec as they should be; all else stays the fuzzer's.
fn make_plausible(batch: &mut [u8], codec: u8) {
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    if let 1..=4 = codec {
        batch[22] = batch[22] & !7 | codec;
    }
    seal(batch);
}

const LIMIT: DecompressLimit = DecompressLimit::new(1 << 20);
