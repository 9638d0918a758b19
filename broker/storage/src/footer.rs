//! What a sealed segment says of itself: the last 96 bytes of its offset index.
//!
//! ```text
//!  0      4         8         16          20          24             32            40         48
//!  | LFT1 | entries | log len | log crc32 | tail crc32 | first offset | next offset | max time | its offset |
//!  56         64        68      72          76          80          88     92
//!  | min time | batches | flags | min epoch | max epoch | sealed at | zero | crc(0..92) |
//! ```
//! `flags`: 1 where the segment was compacted, so that offsets may be missing in it; `next offset` is the base of the next
//! segment all the same. Big-endian; checksums are CRC-32 (IEEE). `log crc32` covers the whole log file, `tail crc32` what lies behind the last
//! entry; what lies before each entry, back to the one ahead of it, is in that entry's `block crc`. Between them they
//! cover what no checksum of a batch does: its offset, its length, its epoch.
//!
//! Invariant: a footer is written only after every batch of the segment was read back and verified, and the log is never
//! written again. So a log that is not as long as its footer says is damaged.

use std::path::Path;

use folio_record::{LeaderEpoch, Offset, Timestamp};

use crate::files::{FileHandle, Files, OpenMode};
use crate::index::entry_position;
use crate::layout::{field, put};
use crate::partition_files::SegmentFile;

/// The contents of a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Entries of the offset index.
    pub entries: u32,
    /// Bytes of the log.
    pub log_len: u64,
    /// CRC-32 of all of them.
    pub log_crc: u32,
    /// CRC-32 of those from the last entry's batch on.
    pub tail_crc: u32,
    /// The first offset.
    pub first_offset: Offset,
    /// The offset after the last record: the base of the next segment.
    pub next_offset: Offset,
    /// The latest timestamp.
    pub max_timestamp: Timestamp,
    /// Base offset of the first batch that reaches it.
    pub max_timestamp_at: Offset,
    /// The earliest base timestamp.
    pub min_timestamp: Timestamp,
    /// Batches.
    pub batches: u32,
    /// Offsets may be missing: the segment was compacted.
    pub has_gaps: bool,
    /// The lowest epoch.
    pub min_epoch: LeaderEpoch,
    /// The highest.
    pub max_epoch: LeaderEpoch,
    /// When it was sealed; if it was compacted, when the youngest of those was that it was made of.
    pub sealed_at: Timestamp,
}

impl Footer {
    /// The bytes of the footer.
    pub fn encode(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        put(&mut bytes, MAGIC_AT, &FOOTER_MAGIC);
        put(&mut bytes, ENTRIES_AT, &self.entries.to_be_bytes());
        put(&mut bytes, LOG_LEN_AT, &self.log_len.to_be_bytes());
        put(&mut bytes, LOG_CRC_AT, &self.log_crc.to_be_bytes());
        put(&mut bytes, TAIL_CRC_AT, &self.tail_crc.to_be_bytes());
        put(&mut bytes, FIRST_AT, &self.first_offset.get().to_be_bytes());
        put(&mut bytes, NEXT_AT, &self.next_offset.get().to_be_bytes());
        put(&mut bytes, MAX_TIME_AT, &self.max_timestamp.get().to_be_bytes());
        put(&mut bytes, MAX_TIME_OFFSET_AT, &self.max_timestamp_at.get().to_be_bytes());
        put(&mut bytes, MIN_TIME_AT, &self.min_timestamp.get().to_be_bytes());
        put(&mut bytes, BATCHES_AT, &self.batches.to_be_bytes());
        put(&mut bytes, FLAGS_AT, &(u32::from(self.has_gaps) * HAS_GAPS).to_be_bytes());
        put(&mut bytes, MIN_EPOCH_AT, &self.min_epoch.get().to_be_bytes());
        put(&mut bytes, MAX_EPOCH_AT, &self.max_epoch.get().to_be_bytes());
        put(&mut bytes, SEALED_AT, &self.sealed_at.get().to_be_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
        bytes
    }

    /// Reads a footer; `None` if it is anything but an intact one that this build understands.
    pub fn decode(bytes: &[u8; FOOTER_SIZE]) -> Option<Self> {
        let crc = u32::from_be_bytes(field(bytes, CRC_AT));
        if crc != crc32fast::hash(&bytes[..CRC_AT]) {
            return None;
        }
        let word = |at| u32::from_be_bytes(field(bytes, at));
        let long = |at| i64::from_be_bytes(field(bytes, at));
        let epoch = |at| LeaderEpoch::new(i32::from_be_bytes(field(bytes, at)));
        let footer = Self {
            entries: word(ENTRIES_AT),
            log_len: u64::from_be_bytes(field(bytes, LOG_LEN_AT)),
            log_crc: word(LOG_CRC_AT),
            tail_crc: word(TAIL_CRC_AT),
            first_offset: Offset::new(long(FIRST_AT)),
            next_offset: Offset::new(long(NEXT_AT)),
            max_timestamp: Timestamp::new(long(MAX_TIME_AT)),
            max_timestamp_at: Offset::new(long(MAX_TIME_OFFSET_AT)),
            min_timestamp: Timestamp::new(long(MIN_TIME_AT)),
            batches: word(BATCHES_AT),
            has_gaps: word(FLAGS_AT) & HAS_GAPS != 0,
            min_epoch: epoch(MIN_EPOCH_AT),
            max_epoch: epoch(MAX_EPOCH_AT),
            sealed_at: Timestamp::new(long(SEALED_AT)),
        };
        // Another flag, or anything else that is not drawn here, says that it is not what this build makes.
        (*bytes == footer.encode()).then_some(footer)
    }

    /// The footer of an offset index of `len` bytes, if it has one.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read<H: FileHandle>(index: &H, len: u64) -> std::io::Result<Option<Self>> {
        let mut bytes = [0; FOOTER_SIZE];
        let Some(at) = len.checked_sub(FOOTER_SIZE as u64) else { return Ok(None) };
        let read = index.read_at(&mut bytes, at)?;
        let footer = Self::decode(&bytes).filter(|footer| read == FOOTER_SIZE && footer.lies_at() == at);
        Ok(footer)
    }

    /// The footer of the segment at `base` of a log, if it has one that can be read.
    pub(crate) fn of_segment<F: Files>(files: &F, dir: &Path, base: Offset) -> Option<Self> {
        let index = files.open(&SegmentFile::OffsetIndex.path(dir, base), OpenMode::Read).ok()?;
        Self::read(&index, index.len().ok()?).ok()?
    }

    /// Where it lies in its index: behind the last entry.
    pub fn lies_at(&self) -> u64 {
        entry_position(self.entries)
    }
}

/// Bytes of a footer.
pub const FOOTER_SIZE: usize = 96;

const HAS_GAPS: u32 = 1;
const FOOTER_MAGIC: [u8; 4] = *b"LFT1";
const MAGIC_AT: usize = 0;
const ENTRIES_AT: usize = 4;
const LOG_LEN_AT: usize = 8;
const LOG_CRC_AT: usize = 16;
const TAIL_CRC_AT: usize = 20;
const FIRST_AT: usize = 24;
const NEXT_AT: usize = 32;
const MAX_TIME_AT: usize = 40;
const MAX_TIME_OFFSET_AT: usize = 48;
const MIN_TIME_AT: usize = 56;
const BATCHES_AT: usize = 64;
const FLAGS_AT: usize = 68;
const MIN_EPOCH_AT: usize = 72;
const MAX_EPOCH_AT: usize = 76;
const SEALED_AT: usize = 80;
const ZERO_AT: usize = 88;
const CRC_AT: usize = 92;
const _: () = assert!(BATCHES_AT + size_of::<u32>() == FLAGS_AT);
const _: () = assert!(ZERO_AT + size_of::<u32>() == CRC_AT);
const _: () = assert!(SEALED_AT + size_of::<i64>() == ZERO_AT);
const _: () = assert!(CRC_AT + size_of::<u32>() == FOOTER_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            entries: 3,
            log_len: 5000,
            log_crc: 0xAABB_CCDD,
            tail_crc: 0x0102_0304,
            first_offset: Offset::new(100),
            next_offset: Offset::new(160),
            max_timestamp: Timestamp::new(1_700_000_000_000),
            max_timestamp_at: Offset::new(150),
            min_timestamp: Timestamp::new(1_600_000_000_000),
            batches: 30,
            has_gaps: false,
            min_epoch: LeaderEpoch::new(1),
            max_epoch: LeaderEpoch::new(2),
            sealed_at: Timestamp::new(7),
        }
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let mut expected = b"LFT1\x00\x00\x00\x03".to_vec();
        expected.extend_from_slice(&5000_u64.to_be_bytes());
        expected.extend_from_slice(b"\xAA\xBB\xCC\xDD\x01\x02\x03\x04");
        for long in [100_i64, 160, 1_700_000_000_000, 150, 1_600_000_000_000] {
            expected.extend_from_slice(&long.to_be_bytes());
        }
        for word in [30_u32, 0, 1, 2] {
            expected.extend_from_slice(&word.to_be_bytes());
        }
        expected.extend_from_slice(&7_i64.to_be_bytes());
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(footer().encode().to_vec(), expected);
        assert_eq!(Footer::decode(&footer().encode()), Some(footer()));
        let compacted = Footer { has_gaps: true, ..footer() };
        assert_eq!(compacted.encode()[68..72], [0, 0, 0, 1]);
        assert_eq!(Footer::decode(&compacted.encode()), Some(compacted));
    }

    #[test]
    fn a_flag_of_a_later_build_is_not_passed_over() {
        let mut bytes = footer().encode();
        bytes[71] = 2;
        let crc = crc32fast::hash(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Footer::decode(&bytes), None);
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = footer().encode();
        for bit in 0..FOOTER_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&flipped), None, "bit {bit}");
        }
    }
}
