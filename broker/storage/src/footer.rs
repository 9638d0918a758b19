//! What a sealed segment says of itself: the last 96 bytes of its offset index.
//!
//! ```text
//!  0      4         8         16          20          24             32            40         48
//!  | LFT2 | entries | log len | log crc32 | tail crc32 | first offset | next offset | max time | its offset |
//!  56         64        68      72          76          80          88     92
//!  | min time | batches | flags | min epoch | max epoch | sealed at | zero | crc(segment uid, 0..92) |
//! ```
//! `flags`: 1 where the segment was compacted, so that offsets may be missing in it; `next offset` is the base of the
//! next segment all the same. Big-endian; checksums are CRC-32 (IEEE). `log crc32` covers the whole log file,
//! `tail crc32` what lies behind the last entry; what lies before each entry, back to the one ahead of it, is in that
//! entry's `block crc`. Between them they cover what no checksum of a batch does: its offset, its length, its epoch.
//!
//! The CRC of a footer covers the segment uid first, as that of an entry does: the footer of another segment is none
//! here, and whoever wants nothing else reads nothing else. Of the first edition, `LFT1`, it covers bytes 0..92 alone,
//! and only the header of the index says whose it is. Such footers are believed together with that; none is written any
//! more.
//!
//! Invariant: a footer is written only after every batch of the segment was read back and verified, and the log is
//! never written again. So a log that is not as long as its footer says is damaged, or the index is one of before a
//! compaction (`recovery::sealed` tells which).

use std::io;
use std::path::Path;

use folio_record::{LeaderEpoch, Offset, Timestamp};

use crate::files::{FileHandle, Files, OpenMode};
use crate::index::{INDEX_HEADER_SIZE, IndexHeader, IndexKind, SegmentUid, entry_position};
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
    /// The bytes of the footer, as that of segment `uid`.
    pub fn encode(&self, uid: SegmentUid) -> [u8; FOOTER_SIZE] {
        self.draw(Edition::Second(uid))
    }

    /// Reads a footer of segment `uid`; `None` if it is anything but an intact one of the edition that this build
    /// writes.
    pub fn decode(bytes: &[u8; FOOTER_SIZE], uid: SegmentUid) -> Option<Self> {
        Self::parse(bytes, Edition::Second(uid))
    }

    fn draw(&self, edition: Edition) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        put(&mut bytes, MAGIC_AT, &edition.magic());
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
        let crc = edition.crc(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8; FOOTER_SIZE], edition: Edition) -> Option<Self> {
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
        // Another checksum, another flag, or anything else that is not drawn here, says that it is not what was
        // written.
        (*bytes == footer.draw(edition)).then_some(footer)
    }

    /// The footer of an offset index of `len` bytes, if it has one of segment `uid`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read<H: FileHandle>(index: &H, len: u64, uid: SegmentUid) -> io::Result<Option<Self>> {
        let mut bytes = [0; FOOTER_SIZE];
        let Some(at) = len.checked_sub(FOOTER_SIZE as u64) else { return Ok(None) };
        let read = index.read_at(&mut bytes, at)?;
        let is_first = bytes.starts_with(&Edition::First.magic()) && is_of(index, uid)?;
        let edition = if is_first { Edition::First } else { Edition::Second(uid) };
        Ok(Self::parse(&bytes, edition).filter(|footer| read == FOOTER_SIZE && footer.lies_at() == at))
    }

    /// The footer of segment `uid`, which is the one at `base` of a log, if its index has one.
    ///
    /// # Errors
    /// Those of opening and reading the index.
    pub(crate) fn of_segment<F: Files>(
        files: &F,
        dir: &Path,
        base: Offset,
        uid: SegmentUid,
    ) -> io::Result<Option<Self>> {
        let index = files.open(&SegmentFile::OffsetIndex.path(dir, base), OpenMode::Read)?;
        Self::read(&index, index.len()?, uid)
    }

    /// Where it lies in its index: behind the last entry.
    pub fn lies_at(&self) -> u64 {
        entry_position(self.entries)
    }
}

/// How a footer says whose it is.
#[derive(Debug, Clone, Copy)]
enum Edition {
    /// It does not.
    First,
    /// Its checksum is one of this segment.
    Second(SegmentUid),
}

impl Edition {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::First => *b"LFT1",
            Self::Second(_) => *b"LFT2",
        }
    }

    fn crc(self, covered: &[u8]) -> u32 {
        let mut crc = match self {
            Self::First => crc32fast::Hasher::new(),
            Self::Second(uid) => uid.hasher(),
        };
        crc.update(covered);
        crc.finalize()
    }
}

/// Bytes of a footer.
pub const FOOTER_SIZE: usize = 96;

const HAS_GAPS: u32 = 1;
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

/// Whether the header of an offset index says that it is of segment `uid`.
fn is_of<H: FileHandle>(index: &H, uid: SegmentUid) -> io::Result<bool> {
    let mut header = [0; INDEX_HEADER_SIZE];
    let read = index.read_at(&mut header, 0)?;
    Ok(IndexHeader::decode(&header[..read], IndexKind::Offset, uid).is_ok())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::files::SimFiles;
    use crate::index::OffsetEntry;
    use crate::partition::PartitionId;

    fn uid_of(partition: u32) -> SegmentUid {
        SegmentUid::new(PartitionId { topic: Uuid::from_u128(1), partition }, Offset::new(100))
    }

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
        let mut expected = b"LFT2\x00\x00\x00\x03".to_vec();
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
        let covered = [&uid_of(0).get().to_be_bytes()[..], &expected].concat();
        expected.extend_from_slice(&crc32fast::hash(&covered).to_be_bytes());
        assert_eq!(footer().encode(uid_of(0)).to_vec(), expected);
        assert_eq!(Footer::decode(&footer().encode(uid_of(0)), uid_of(0)), Some(footer()));
        let compacted = Footer { has_gaps: true, ..footer() };
        assert_eq!(compacted.encode(uid_of(0))[68..72], [0, 0, 0, 1]);
        assert_eq!(Footer::decode(&compacted.encode(uid_of(0)), uid_of(0)), Some(compacted));
    }

    #[test]
    fn a_footer_is_of_one_segment_by_itself_and_one_of_the_first_edition_with_the_header_of_its_index() {
        let [own, other] = [uid_of(0), uid_of(1)];
        let header =
            |uid| IndexHeader { kind: IndexKind::Offset, base: Offset::new(100), uid, interval: 512 };
        let read = |header: &[u8], footer: [u8; FOOTER_SIZE]| {
            let files = SimFiles::new();
            let index = files.open(Path::new("index"), OpenMode::CreateNew).unwrap();
            let entry = |number| OffsetEntry { rel_offset: 1, pos: 1, block_crc: 0 }.encode(own, number);
            let bytes = [header, &(0..3).flat_map(entry).collect::<Vec<u8>>(), &footer].concat();
            index.write_at(&bytes, 0).unwrap();
            Footer::read(&index, bytes.len() as u64, own).unwrap()
        };
        let (own_header, other_header) = (header(own).encode(), header(other).encode());
        let no_header = [0; INDEX_HEADER_SIZE];
        for header in [&own_header, &other_header, &no_header] {
            assert_eq!(read(header, footer().encode(own)), Some(footer()));
            assert_eq!(read(header, footer().encode(other)), None);
        }
        let first = footer().draw(Edition::First);
        assert_eq!(crc32fast::hash(&first[..CRC_AT]).to_be_bytes(), first[CRC_AT..]);
        assert_eq!(read(&own_header, first), Some(footer()));
        assert_eq!(read(&other_header, first), None);
        assert_eq!(read(&no_header, first), None);
        assert_eq!(Footer::decode(&first, own), None, "by itself it does not say whose it is");
    }

    #[test]
    fn a_flag_of_a_later_build_is_not_passed_over() {
        for edition in [Edition::First, Edition::Second(uid_of(0))] {
            let mut bytes = footer().draw(edition);
            assert_eq!(Footer::parse(&bytes, edition), Some(footer()));
            bytes[71] = 2;
            let crc = edition.crc(&bytes[..92]);
            bytes[92..].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(Footer::parse(&bytes, edition), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for edition in [Edition::First, Edition::Second(uid_of(0))] {
            let bytes = footer().draw(edition);
            for bit in 0..FOOTER_SIZE * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Footer::parse(&flipped, edition), None, "bit {bit}");
            }
        }
    }
}
