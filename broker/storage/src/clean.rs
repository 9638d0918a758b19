//! `clean`: the marker that a run leaves behind after it has flushed everything and stopped.
//!
//! ```text
//!  0      4         6      8                24       32        48
//!  | LCL1 | edition | zero | directory uuid | run id | boot id | count n | n rows of 44 | crc32 |
//!
//!  row    0            16          20                    28           36
//!         | topic uuid | partition | active segment base | log length | next offset |
//! ```
//! Big-endian. `crc32` (IEEE) covers everything before itself.
//!
//! The metadata log has a row as well, with the topic uuid of its [slot](crate::slots::METADATA).
//!
//! Invariant: the marker exists only while every file is flushed and as long as its row says. The next run removes it,
//! and syncs the directory, before it writes anything else; where the disk is too full even for that, it cuts it to
//! nothing, or writes zeros over `LCL1`, and syncs that.

use folio_record::Offset;
use uuid::Uuid;

use crate::layout::{Fields, field, put};
use crate::partition::PartitionId;
use crate::slots::METADATA;

/// The contents of the marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanMarker {
    /// The directory that was closed.
    pub dir: Uuid,
    /// The run that closed it.
    pub run_id: u64,
    /// The boot during which it did.
    pub boot_id: [u8; 16],
    /// One row for each partition that was open, and one for the metadata log.
    pub partitions: Vec<CleanPartition>,
}

/// Where one partition's log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanPartition {
    /// Which partition.
    pub partition: PartitionId,
    /// Base offset of its last segment.
    pub active_base: Offset,
    /// Bytes in that segment's log file.
    pub log_len: u64,
    /// The next offset to be assigned.
    pub next_offset: Offset,
}

impl CleanMarker {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE];
        put(&mut bytes, 0, &CLEAN_MAGIC);
        put(&mut bytes, EDITION_AT, &CLEAN_EDITION.to_be_bytes());
        put(&mut bytes, DIR_AT, self.dir.as_bytes());
        put(&mut bytes, RUN_ID_AT, &self.run_id.to_be_bytes());
        put(&mut bytes, BOOT_ID_AT, &self.boot_id);
        put(&mut bytes, COUNT_AT, &(self.partitions.len() as u32).to_be_bytes());
        for row in &self.partitions {
            bytes.extend_from_slice(row.partition.topic.as_bytes());
            bytes.extend_from_slice(&row.partition.partition.to_be_bytes());
            bytes.extend_from_slice(&row.active_base.get().to_be_bytes());
            bytes.extend_from_slice(&row.log_len.to_be_bytes());
            bytes.extend_from_slice(&row.next_offset.get().to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// How far the metadata log was closed. Builds that gave it no slot do not say it.
    pub(crate) fn metadata(&self) -> Option<Offset> {
        self.partitions.iter().find(|row| row.partition == METADATA).map(|row| row.next_offset)
    }

    /// What is written over the beginning of a marker that a full disk does not let go.
    pub(crate) const VOID: [u8; 4] = [0; 4];

    /// Whether a start has taken its word from it, which could not take its name away.
    pub(crate) fn is_void(bytes: &[u8]) -> bool {
        bytes.is_empty() || bytes.starts_with(&Self::VOID)
    }

    /// Reads the marker; `None` if it is anything but an intact marker of this edition.
    ///
    /// There is no error to tell apart: a marker that vouches for nothing costs a scan, never data.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if body.len() < HEADER_SIZE || crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        if field(body, 0) != CLEAN_MAGIC || u16::from_be_bytes(field(body, EDITION_AT)) != CLEAN_EDITION {
            return None;
        }
        let count = u32::from_be_bytes(field(body, COUNT_AT));
        let rows = &body[HEADER_SIZE..];
        if rows.len() as u64 != u64::from(count) * ROW_SIZE as u64 {
            return None;
        }
        let mut partitions = Vec::with_capacity(rows.len() / ROW_SIZE);
        let mut fields = Fields::new(rows);
        while !fields.is_empty() {
            partitions.push(CleanPartition {
                partition: PartitionId {
                    topic: Uuid::from_bytes(fields.take()?),
                    partition: u32::from_be_bytes(fields.take()?),
                },
                active_base: Offset::new(i64::from_be_bytes(fields.take()?)),
                log_len: u64::from_be_bytes(fields.take()?),
                next_offset: Offset::new(i64::from_be_bytes(fields.take()?)),
            });
        }
        Some(Self {
            dir: Uuid::from_bytes(field(body, DIR_AT)),
            run_id: u64::from_be_bytes(field(body, RUN_ID_AT)),
            boot_id: field(body, BOOT_ID_AT),
            partitions,
        })
    }
}

/// The name of the file.
pub const CLEAN_NAME: &str = "clean";
/// The longest marker that is read: more partitions than one directory can hold.
pub const CLEAN_SIZE_MAX: usize = HEADER_SIZE + 1_000_000 * ROW_SIZE + 4;

const CLEAN_MAGIC: [u8; 4] = *b"LCL1";
const CLEAN_EDITION: u16 = 1;
const EDITION_AT: usize = 4;
const DIR_AT: usize = 8;
const RUN_ID_AT: usize = 24;
const BOOT_ID_AT: usize = 32;
const COUNT_AT: usize = 48;
const HEADER_SIZE: usize = 52;
const ROW_SIZE: usize = 44;
const _: () = assert!(EDITION_AT + 2 * size_of::<u16>() == DIR_AT);
const _: () = assert!(DIR_AT + size_of::<Uuid>() == RUN_ID_AT);
const _: () = assert!(RUN_ID_AT + size_of::<u64>() == BOOT_ID_AT);
const _: () = assert!(BOOT_ID_AT + size_of::<[u8; 16]>() == COUNT_AT);
const _: () = assert!(COUNT_AT + size_of::<u32>() == HEADER_SIZE);
const _: () = assert!(size_of::<Uuid>() + size_of::<u32>() + 3 * size_of::<u64>() == ROW_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> CleanMarker {
        let row = |partition| CleanPartition {
            partition: PartitionId { topic: Uuid::from_u128(7), partition },
            active_base: Offset::new(100),
            log_len: 4242,
            next_offset: Offset::new(150),
        };
        CleanMarker {
            dir: Uuid::from_u128(1),
            run_id: 99,
            boot_id: [3; 16],
            partitions: vec![row(0), row(1)],
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(CleanMarker::decode(&marker().encode()), Some(marker()));
        let empty = CleanMarker { partitions: Vec::new(), ..marker() };
        assert_eq!(CleanMarker::decode(&empty.encode()), Some(empty));
    }

    #[test]
    fn the_rows_lie_where_they_are_drawn() {
        let bytes = marker().encode();
        assert_eq!(bytes.len(), HEADER_SIZE + 2 * ROW_SIZE + 4);
        assert_eq!(&bytes[..8], b"LCL1\x00\x01\x00\x00");
        assert_eq!(bytes[48..52], 2_u32.to_be_bytes());
        let second = &bytes[HEADER_SIZE + ROW_SIZE..];
        assert_eq!(second[16..20], 1_u32.to_be_bytes());
        assert_eq!(second[28..36], 4242_u64.to_be_bytes());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_takes_its_word_away() {
        let bytes = marker().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CleanMarker::decode(&flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(CleanMarker::decode(&bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_count_of_four_billion_allocates_nothing() {
        let mut bytes = marker().encode();
        put(&mut bytes, COUNT_AT, &u32::MAX.to_be_bytes());
        let at = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..at]);
        put(&mut bytes, at, &crc.to_be_bytes());
        assert_eq!(CleanMarker::decode(&bytes), None);
    }
}
