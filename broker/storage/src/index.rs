//! The two indexes of a segment: where a batch lies, and from where on records may be as late as some time.
//!
//! ```text
//!  header  0      4         6      7       8             16            24               28        32
//!  (32)    | LIX1 | edition | kind | flags | base offset | segment uid | interval bytes | crc(0..28) |
//!
//!  offset  0            4     8           12          16        time   0               8            12          16
//!  entry   | rel offset | pos | block crc | entry crc |         entry  | max timestamp | rel offset | entry crc |
//! ```
//! Big-endian; all checksums are CRC-32 (IEEE). The CRC of an entry covers the segment uid, the number of the entry
//! and its first 12 bytes: an entry of another segment, or in another place, is not an entry here.
//!
//! * An offset entry says that the batch at `pos` begins at `base offset + rel offset`. There is one for the first
//!   batch that begins `interval bytes` or more after the batch of the entry before it (the first batch of the
//!   file, which needs none, counts as an entry). `block crc` is 0 until the segment is sealed.
//! * A time entry says that no record up to and including `base offset + rel offset` is later than
//!   `max timestamp`. One is made together with an offset entry, about all before its batch, and one about
//!   everything when the segment is rolled; but only if the maximum has grown.
//!
//! Invariants: entries strictly increase in both fields, and are what [`Indexer`] makes of the batches, byte for
//! byte, whoever drives it: an append, a recovery or a rebuild. The end of an index may be missing after a crash;
//! an index never leads its log.

mod indexer;

use folio_record::{BatchHeader, Offset, Timestamp};
use thiserror::Error;

use crate::layout::{field, put};
use crate::partition::PartitionId;

pub use indexer::{Indexed, Indexer, MaxTimestamp};

/// Which of the two indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// Where batches lie.
    Offset,
    /// How late records are.
    Time,
}

/// Which segment an index belongs to; the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentUid(u64);

/// The header of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// Which index.
    pub kind: IndexKind,
    /// First offset that the segment can hold.
    pub base: Offset,
    /// Which segment.
    pub uid: SegmentUid,
    /// Bytes of log between entries, at least.
    pub interval: u32,
}

/// An entry of an offset index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Base offset of the batch less that of the segment.
    pub rel_offset: u32,
    /// Where the batch begins in the log.
    pub pos: u32,
    /// CRC-32 of the log from the entry before to this one, once the segment is sealed; 0 before.
    pub block_crc: u32,
}

/// An entry of a time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// The latest timestamp so far.
    pub max_timestamp: Timestamp,
    /// The last offset that it speaks for, less the base offset of the segment.
    pub rel_offset: u32,
}

/// Why bytes are not the index that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IndexError {
    /// Cut, damaged, or no index.
    #[error("its header is damaged")]
    Header,
    /// An intact index of something else.
    #[error("it belongs to another segment")]
    Foreign,
    /// Of an edition that this build does not know.
    #[error("it is of edition {0}")]
    Newer(u16),
}

impl SegmentUid {
    /// Of the segment with this base offset, whatever it has been compacted to: only its batches tell an index of
    /// before from the one of now.
    pub fn new(partition: PartitionId, base: Offset) -> Self {
        // FNV-1a: it only has to differ between segments, and must never change. The four zero bytes at its end are
        // hashed too: without them no existing index would be believed.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let parts: [&[u8]; 4] = [
            partition.topic.as_bytes(),
            &partition.partition.to_be_bytes(),
            &base.get().to_be_bytes(),
            &[0; 4],
        ];
        for byte in parts.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A CRC-32 that has begun with the number: what it goes on to cover is bound to this segment.
    pub(crate) fn hasher(self) -> crc32fast::Hasher {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.0.to_be_bytes());
        crc
    }
}

impl IndexHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; INDEX_HEADER_SIZE] {
        let mut bytes = [0; INDEX_HEADER_SIZE];
        put(&mut bytes, MAGIC_AT, &INDEX_MAGIC);
        put(&mut bytes, EDITION_AT, &INDEX_EDITION.to_be_bytes());
        bytes[KIND_AT] = match self.kind {
            IndexKind::Offset => 1,
            IndexKind::Time => 2,
        };
        put(&mut bytes, BASE_AT, &self.base.get().to_be_bytes());
        put(&mut bytes, UID_AT, &self.uid.0.to_be_bytes());
        put(&mut bytes, INTERVAL_AT, &self.interval.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        put(&mut bytes, HEADER_CRC_AT, &crc.to_be_bytes());
        bytes
    }

    /// Reads the header of an index of segment `uid`.
    pub fn decode(bytes: &[u8], kind: IndexKind, uid: SegmentUid) -> Result<Self, IndexError> {
        let bytes = bytes.first_chunk::<INDEX_HEADER_SIZE>().ok_or(IndexError::Header)?;
        let crc = u32::from_be_bytes(field(bytes, HEADER_CRC_AT));
        if field(bytes, MAGIC_AT) != INDEX_MAGIC || crc != crc32fast::hash(&bytes[..HEADER_CRC_AT]) {
            return Err(IndexError::Header);
        }
        let edition = u16::from_be_bytes(field(bytes, EDITION_AT));
        if edition != INDEX_EDITION {
            return Err(IndexError::Newer(edition));
        }
        let header = Self {
            kind,
            base: Offset::new(i64::from_be_bytes(field(bytes, BASE_AT))),
            uid,
            interval: u32::from_be_bytes(field(bytes, INTERVAL_AT)),
        };
        if *bytes == header.encode() { Ok(header) } else { Err(IndexError::Foreign) }
    }
}

impl OffsetEntry {
    /// The bytes of entry `number` of the segment.
    pub fn encode(&self, uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        put(&mut bytes, 0, &self.rel_offset.to_be_bytes());
        put(&mut bytes, 4, &self.pos.to_be_bytes());
        put(&mut bytes, 8, &self.block_crc.to_be_bytes());
        finish_entry(bytes, uid, number)
    }

    /// Reads entry `number`; `None` if it is damaged, or not this segment's entry of this number.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<Self> {
        check_entry(bytes, uid, number)?;
        Some(Self {
            rel_offset: u32::from_be_bytes(field(bytes, 0)),
            pos: u32::from_be_bytes(field(bytes, 4)),
            block_crc: u32::from_be_bytes(field(bytes, 8)),
        })
    }
}

impl OffsetEntry {
    /// Whether this is the header of the batch that it names, in the segment at `base`.
    pub fn names(&self, base: Offset, header: &BatchHeader) -> bool {
        base.checked_add(i64::from(self.rel_offset)) == Some(header.base_offset)
    }
}

impl TimeEntry {
    /// The bytes of entry `number` of the segment.
    pub fn encode(&self, uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
        let mut bytes = [0; INDEX_ENTRY_SIZE];
        put(&mut bytes, 0, &self.max_timestamp.get().to_be_bytes());
        put(&mut bytes, 8, &self.rel_offset.to_be_bytes());
        finish_entry(bytes, uid, number)
    }

    /// Reads entry `number`; `None` if it is damaged, or not this segment's entry of this number.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<Self> {
        check_entry(bytes, uid, number)?;
        Some(Self {
            max_timestamp: Timestamp::new(i64::from_be_bytes(field(bytes, 0))),
            rel_offset: u32::from_be_bytes(field(bytes, 8)),
        })
    }
}

/// Bytes of an index before its entries.
pub const INDEX_HEADER_SIZE: usize = 32;
/// Bytes of an entry.
pub const INDEX_ENTRY_SIZE: usize = 16;

/// How many whole entries an index file of `len` bytes has room for.
pub fn entries_in(len: u64) -> u32 {
    (len.saturating_sub(INDEX_HEADER_SIZE as u64) / INDEX_ENTRY_SIZE as u64).min(u64::from(u32::MAX)) as u32
}

/// Where entry `number` lies in its file.
pub fn entry_position(number: u32) -> u64 {
    INDEX_HEADER_SIZE as u64 + u64::from(number) * INDEX_ENTRY_SIZE as u64
}

const INDEX_MAGIC: [u8; 4] = *b"LIX1";
const INDEX_EDITION: u16 = 1;
const MAGIC_AT: usize = 0;
const EDITION_AT: usize = 4;
const KIND_AT: usize = 6;
const FLAGS_AT: usize = 7;
const BASE_AT: usize = 8;
const UID_AT: usize = 16;
const INTERVAL_AT: usize = 24;
const HEADER_CRC_AT: usize = 28;
const ENTRY_CRC_AT: usize = 12;
const _: () = assert!(EDITION_AT + size_of::<u16>() == KIND_AT);
const _: () = assert!(FLAGS_AT + 1 == BASE_AT);
const _: () = assert!(INTERVAL_AT + size_of::<u32>() == HEADER_CRC_AT);
const _: () = assert!(HEADER_CRC_AT + size_of::<u32>() == INDEX_HEADER_SIZE);
const _: () = assert!(ENTRY_CRC_AT + size_of::<u32>() == INDEX_ENTRY_SIZE);
const _: () = assert!(512 % INDEX_ENTRY_SIZE == 0 && INDEX_HEADER_SIZE.is_multiple_of(INDEX_ENTRY_SIZE));

fn finish_entry(mut bytes: [u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> [u8; INDEX_ENTRY_SIZE] {
    let crc = entry_crc(&bytes, uid, number);
    put(&mut bytes, ENTRY_CRC_AT, &crc.to_be_bytes());
    bytes
}

fn check_entry(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> Option<()> {
    (u32::from_be_bytes(field(bytes, ENTRY_CRC_AT)) == entry_crc(bytes, uid, number)).then_some(())
}

fn entry_crc(bytes: &[u8; INDEX_ENTRY_SIZE], uid: SegmentUid, number: u32) -> u32 {
    let mut crc = uid.hasher();
    crc.update(&number.to_be_bytes());
    crc.update(&bytes[..ENTRY_CRC_AT]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn uid() -> SegmentUid {
        SegmentUid::new(PartitionId { topic: Uuid::from_u128(1), partition: 2 }, Offset::new(100))
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let header = IndexHeader {
            kind: IndexKind::Time,
            base: Offset::new(100),
            uid: SegmentUid(0x0102),
            interval: 4096,
        };
        let mut expected = b"LIX1\x00\x01\x02\x00".to_vec();
        expected.extend_from_slice(&100_i64.to_be_bytes());
        expected.extend_from_slice(&0x0102_u64.to_be_bytes());
        expected.extend_from_slice(&4096_u32.to_be_bytes());
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(header.encode().to_vec(), expected);

        let entry = OffsetEntry { rel_offset: 3, pos: 5000, block_crc: 0 };
        let mut covered = 0x0102_u64.to_be_bytes().to_vec();
        covered.extend_from_slice(&9_u32.to_be_bytes());
        covered.extend_from_slice(&3_u32.to_be_bytes());
        covered.extend_from_slice(&5000_u32.to_be_bytes());
        covered.extend_from_slice(&[0; 4]);
        let expected = [&covered[12..], &crc32fast::hash(&covered).to_be_bytes()].concat();
        assert_eq!(entry.encode(SegmentUid(0x0102), 9).to_vec(), expected);
    }

    #[test]
    fn the_uid_of_a_segment_never_changes() {
        assert_eq!(uid().get(), 0xa977_5af2_54d8_8700);
    }

    #[test]
    fn an_entry_of_another_place_or_segment_is_not_one_and_neither_is_a_flipped_one() {
        let entry = TimeEntry { max_timestamp: Timestamp::new(77), rel_offset: 3 };
        let bytes = entry.encode(uid(), 4);
        assert_eq!(TimeEntry::decode(&bytes, uid(), 4), Some(entry));
        assert_eq!(TimeEntry::decode(&bytes, uid(), 5), None);
        assert_eq!(TimeEntry::decode(&bytes, SegmentUid(1), 4), None);
        for bit in 0..INDEX_ENTRY_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TimeEntry::decode(&flipped, uid(), 4), None, "bit {bit}");
        }
        assert_eq!(OffsetEntry::decode(&[0; INDEX_ENTRY_SIZE], uid(), 0), None, "a hole is no entry");
    }

    #[test]
    fn a_header_of_another_segment_or_kind_is_foreign_and_a_flipped_one_damaged() {
        let header =
            IndexHeader { kind: IndexKind::Offset, base: Offset::new(100), uid: uid(), interval: 4096 };
        let bytes = header.encode();
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Offset, uid()), Ok(header));
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Time, uid()), Err(IndexError::Foreign));
        assert_eq!(IndexHeader::decode(&bytes, IndexKind::Offset, SegmentUid(1)), Err(IndexError::Foreign));
        for bit in 0..INDEX_HEADER_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(IndexHeader::decode(&flipped, IndexKind::Offset, uid()), Err(IndexError::Header));
        }
    }
}
