//! Bytes of unknown origin as each of the small formats of a data directory: an error or a value, never a panic; and a
//! value is written as it was read.
//!
//! The first byte of the input picks the format, and whether its checksum is made right before reading.

#![no_main]

use folio_record::{LeaderEpoch, Offset, Timestamp};
use folio_storage::clean::CleanMarker;
use folio_storage::compacted::Compacted;
use folio_storage::envelope::EnvelopeKind;
use folio_storage::epochs::Epochs;
use folio_storage::footer::{FOOTER_SIZE, Footer};
use folio_storage::index::{INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry};
use folio_storage::lock::Holder;
use folio_storage::metadata::{Key, Value};
use folio_storage::node::NodeMeta;
use folio_storage::partition::{PartitionId, PartitionMeta};
use folio_storage::partition_files::PartitionFile;
use folio_storage::producers::{Producers, SNAPSHOT_PRODUCERS_MAX};
use folio_storage::replacement::{Replacement, Sum};
use folio_storage::slots::{SLOT_SIZE, Slot, SlotCopy};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let is_mended = mode & 1 == 1;
    match (mode >> 1) % 13 {
        0 => {
            let node =
                NodeMeta { dir: Uuid::nil(), cluster: Uuid::nil(), format: 1, created: Timestamp::NONE };
            let bytes = envelope(&node.encode(), bytes, is_mended);
            same(NodeMeta::decode(&bytes).ok().map(|node| node.encode()), &bytes);
        }
        1 => {
            let meta = PartitionMeta { id: id(), slot: 0, created: Timestamp::NONE };
            let bytes = envelope(&meta.encode(), bytes, is_mended);
            same(PartitionMeta::decode(&bytes).ok().map(|meta| meta.encode()), &bytes);
        }
        2 => {
            let bytes = envelope(&Epochs::new().encode(), bytes, is_mended);
            let Ok(epochs) = Epochs::decode(&bytes) else { return };
            assert!(epochs.rows().windows(2).all(|pair| pair[0].0 < pair[1].0));
            epochs.end_of(LeaderEpoch::new(3), Offset::new(10), Offset::new(100));
            same(Some(epochs.encode()), &bytes);
        }
        3 => {
            let bytes = mended(bytes, bytes.len().saturating_sub(4), is_mended);
            same(CleanMarker::decode(&bytes).map(|marker| marker.encode()), &bytes);
        }
        4 => {
            let Some(bytes) = bytes.get(..SLOT_SIZE) else { return };
            let bytes = mended(bytes, SLOT_SIZE - 4, is_mended);
            let Some(copy) = bytes.first_chunk() else { return };
            if let SlotCopy::Valid(slot) = SlotCopy::decode(copy) {
                same(Some(Slot::encode(&slot).to_vec()), &bytes);
            }
        }
        5 => {
            let Some(bytes) = bytes.get(..INDEX_HEADER_SIZE) else { return };
            let bytes = mended(bytes, INDEX_HEADER_SIZE - 4, is_mended);
            for kind in [IndexKind::Offset, IndexKind::Time] {
                let header = IndexHeader::decode(&bytes, kind, uid()).ok();
                same(header.map(|header| header.encode().to_vec()), &bytes);
            }
        }
        6 => {
            let Some((bytes, _)) = bytes.split_first_chunk() else { return };
            let offset = OffsetEntry::decode(bytes, uid(), 3);
            same(offset.map(|entry| entry.encode(uid(), 3).to_vec()), bytes);
            let time = TimeEntry::decode(bytes, uid(), 3);
            same(time.map(|entry| entry.encode(uid(), 3).to_vec()), bytes);
        }
        7 => {
            let Some((&split, rest)) = bytes.split_first() else { return };
            let (key, value) = rest.split_at(usize::from(split).min(rest.len()));
            let Ok(decoded) = Key::decode(key) else { return };
            same(Some(decoded.encode()), key);
            let decoded = Value::decode(&decoded, value).ok();
            same(decoded.and_then(|value| value.encode().ok()), value);
        }
        8 => {
            let bytes = envelope(&Producers::new(1).encode(), bytes, is_mended);
            let read = Producers::decode(&bytes, Offset::new(1 << 40), SNAPSHOT_PRODUCERS_MAX, Timestamp::NONE);
            same(read.ok().map(|producers| producers.encode()), &bytes);
        }
        9 => {
            let Some(bytes) = bytes.get(..FOOTER_SIZE) else { return };
            // Its checksum covers whose it is.
            let covered = [&uid().get().to_be_bytes()[..], bytes].concat();
            let bytes = mended(&covered, covered.len() - 4, is_mended).split_off(covered.len() - FOOTER_SIZE);
            let Some(footer) = bytes.first_chunk() else { return };
            let decoded = Footer::decode(footer, uid());
            same(decoded.map(|footer| footer.encode(uid()).to_vec()), &bytes);
        }
        10 => {
            let bytes = envelope(&Compacted::default().encode(), bytes, is_mended);
            same(Compacted::decode(&bytes).ok().map(|compacted| compacted.encode()), &bytes);
        }
        11 => {
            let (base, next_base) = (Offset::ZERO, Offset::new(1));
            let like = Replacement { base, next_base, files: [Sum { len: 0, crc: 0 }; 3], old: vec![base] };
            let bytes = envelope(&like.encode(), bytes, is_mended);
            same(Replacement::decode(&bytes).ok().map(|replacement| replacement.encode()), &bytes);
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            PartitionFile::parse(&text);
            Holder::decode(&text);
        }
    }
});

/// Whoever reads something has to write it as it was.
fn same(written: Option<Vec<u8>>, read: &[u8]) {
    if let Some(written) = written {
        assert_eq!(written, read);
    }
}

/// An envelope of the kind of `like`: either `bytes` themselves, or with `bytes` as its payload.
fn envelope(like: &[u8], bytes: &[u8], is_mended: bool) -> Vec<u8> {
    let (Some(magic), true) = (like.first_chunk(), is_mended) else { return bytes.to_vec() };
    EnvelopeKind { magic: *magic, version: u16::from_be_bytes([like[4], like[5]]) }.seal(bytes)
}

/// With a CRC-32 of what lies before it at `at`.
fn mended(bytes: &[u8], at: usize, is_mended: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if is_mended && bytes.len() >= at + 4 {
        let crc = crc32fast::hash(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

fn id() -> PartitionId {
    PartitionId { topic: Uuid::nil(), partition: 0 }
}

fn uid() -> SegmentUid {
    SegmentUid::new(id(), Offset::ZERO, 0)
}
