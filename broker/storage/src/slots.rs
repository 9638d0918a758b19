//! Durable points: how far each partition's log, and that of the metadata, is known to be on stable storage.
//!
//! ```text
//!  file   | header (4096) | extent 0 | extent 1 | ...          an extent serves 32 partitions
//!  extent | page A: 32 copies of 128 | page B: 32 copies of 128 |
//!
//!  copy    0      4         6       8            24          28             32    40                     48
//!          | LSL1 | edition | flags | topic uuid | partition | leader epoch | seq | durable segment base | durable pos
//!          56                    64          72        80           88        104      112        120    124
//!          | durable next offset | log start | visible | wall clock | boot id | run id | mount id | zero | crc32 |
//! ```
//! Big-endian. `crc32` (IEEE) covers bytes 0..124 of the copy. The slot of the metadata log has a topic uuid of zeros;
//! directories that were last written by a build that gave it none have none, until they are opened.
//!
//! Invariants:
//! * A copy is written only after the flush that it describes returned success. So a copy that can be read back
//!   with a good checksum is true, even if it is old.
//! * Copy `seq` goes to page A if `seq` is even and to page B if it is odd; the newest valid copy of the two holds.
//!   A torn write therefore costs at most the newest copy, and the one before it is still true. Where two were on their
//!   way at once, it may be of the run before: the epoch to reckon with is the one after its own.
//! * `durable pos` is the end of a batch and belongs to the same batch as `durable next offset`.
//! * A copy never straddles a 512-byte sector, and the two copies of a slot never share a 4096-byte page.
//! * An extent is written with zeros and synced before any of its slots is used: a full disk cannot stop a slot
//!   from being rewritten. One that found no more room half-way is nobody's, and keeps nobody from opening the file;
//!   whoever is to have a slot of it has it made whole first, from where the file ends.

mod deadline;
mod file;
mod header;

use folio_record::{LeaderEpoch, Offset, Timestamp};
use uuid::Uuid;

use crate::files::Boot;
use crate::layout::{field, put};
use crate::partition::PartitionId;

pub use deadline::SlotsDeadline;
pub use file::{AdoptError, SLOTS_NAME, SlotsError, SlotsFile, SlotsReport};
pub(crate) use header::check_header_bytes;

/// One copy of a slot: the state of a partition right after one and the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Whose durable point this is. A slot found with another topic's uuid is a stranger's: it says nothing.
    pub partition: PartitionId,
    /// The epoch that the broker appended under.
    pub leader_epoch: LeaderEpoch,
    /// Rises by one with every copy written to this slot, whoever owns it.
    pub seq: u64,
    /// Base offset of the segment in which the durable point lies.
    pub durable_segment_base: Offset,
    /// End of the last durable batch in that segment, in bytes.
    pub durable_pos: u64,
    /// The offset after the last durable record.
    pub durable_next_offset: Offset,
    /// The first offset that may still be read.
    pub log_start: Offset,
    /// The high watermark.
    pub visible: Offset,
    /// Wall clock when the copy was made.
    pub written_at: Timestamp,
    /// The boot during which it was made; zero if unknown.
    pub boot_id: [u8; 16],
    /// The run of the daemon that made it.
    pub run_id: u64,
    /// The mount through which it was written (unique since boot); zero if unknown.
    pub mount_id: u64,
}

/// What the next copy of a slot is to say; who owns it and how often it was written, the file knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotUpdate {
    /// See [`Slot::leader_epoch`].
    pub leader_epoch: LeaderEpoch,
    /// See [`Slot::durable_segment_base`].
    pub durable_segment_base: Offset,
    /// See [`Slot::durable_pos`].
    pub durable_pos: u64,
    /// See [`Slot::durable_next_offset`].
    pub durable_next_offset: Offset,
    /// See [`Slot::log_start`].
    pub log_start: Offset,
    /// See [`Slot::visible`].
    pub visible: Offset,
    /// See [`Slot::written_at`].
    pub written_at: Timestamp,
    /// Boot and mount of this run.
    pub boot: Boot,
    /// See [`Slot::run_id`].
    pub run_id: u64,
}

/// What stands in the place of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotCopy {
    /// Only zeros: never written.
    Blank,
    /// Neither blank nor valid: torn by a crash, or damaged.
    Damaged,
    /// Intact, but of an edition that this build does not know.
    Newer {
        /// The edition found.
        edition: u16,
    },
    /// Intact.
    Valid(Slot),
}

impl Slot {
    /// The 128 bytes of this copy.
    pub fn encode(&self) -> [u8; SLOT_SIZE] {
        let mut bytes = [0; SLOT_SIZE];
        put(&mut bytes, MAGIC_AT, &SLOT_MAGIC);
        put(&mut bytes, EDITION_AT, &SLOT_EDITION.to_be_bytes());
        put(&mut bytes, TOPIC_AT, self.partition.topic.as_bytes());
        put(&mut bytes, PARTITION_AT, &self.partition.partition.to_be_bytes());
        put(&mut bytes, LEADER_EPOCH_AT, &self.leader_epoch.get().to_be_bytes());
        put(&mut bytes, SEQ_AT, &self.seq.to_be_bytes());
        put(&mut bytes, SEGMENT_BASE_AT, &self.durable_segment_base.get().to_be_bytes());
        put(&mut bytes, DURABLE_POS_AT, &self.durable_pos.to_be_bytes());
        put(&mut bytes, NEXT_OFFSET_AT, &self.durable_next_offset.get().to_be_bytes());
        put(&mut bytes, LOG_START_AT, &self.log_start.get().to_be_bytes());
        put(&mut bytes, VISIBLE_AT, &self.visible.get().to_be_bytes());
        put(&mut bytes, WALL_CLOCK_AT, &self.written_at.get().to_be_bytes());
        put(&mut bytes, BOOT_ID_AT, &self.boot_id);
        put(&mut bytes, RUN_ID_AT, &self.run_id.to_be_bytes());
        put(&mut bytes, MOUNT_ID_AT, &self.mount_id.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
        bytes
    }
}

impl SlotUpdate {
    /// The copy that says this.
    pub(crate) fn into_slot(self, partition: PartitionId, seq: u64) -> Slot {
        Slot {
            partition,
            leader_epoch: self.leader_epoch,
            seq,
            durable_segment_base: self.durable_segment_base,
            durable_pos: self.durable_pos,
            durable_next_offset: self.durable_next_offset,
            log_start: self.log_start,
            visible: self.visible,
            written_at: self.written_at,
            boot_id: self.boot.id,
            run_id: self.run_id,
            mount_id: self.boot.mount,
        }
    }
}

impl SlotCopy {
    /// Reads one copy.
    pub fn decode(bytes: &[u8; SLOT_SIZE]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Blank;
        }
        let crc = u32::from_be_bytes(field(bytes, CRC_AT));
        if field(bytes, MAGIC_AT) != SLOT_MAGIC || crc != crc32fast::hash(&bytes[..CRC_AT]) {
            return Self::Damaged;
        }
        let edition = u16::from_be_bytes(field(bytes, EDITION_AT));
        if edition != SLOT_EDITION {
            return Self::Newer { edition };
        }
        let offset = |at| Offset::new(i64::from_be_bytes(field(bytes, at)));
        Self::Valid(Slot {
            partition: PartitionId {
                topic: Uuid::from_bytes(field(bytes, TOPIC_AT)),
                partition: u32::from_be_bytes(field(bytes, PARTITION_AT)),
            },
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT))),
            seq: u64::from_be_bytes(field(bytes, SEQ_AT)),
            durable_segment_base: offset(SEGMENT_BASE_AT),
            durable_pos: u64::from_be_bytes(field(bytes, DURABLE_POS_AT)),
            durable_next_offset: offset(NEXT_OFFSET_AT),
            log_start: offset(LOG_START_AT),
            visible: offset(VISIBLE_AT),
            written_at: Timestamp::new(i64::from_be_bytes(field(bytes, WALL_CLOCK_AT))),
            boot_id: field(bytes, BOOT_ID_AT),
            run_id: u64::from_be_bytes(field(bytes, RUN_ID_AT)),
            mount_id: u64::from_be_bytes(field(bytes, MOUNT_ID_AT)),
        })
    }

    /// The slot, if this copy is valid.
    pub fn valid(self) -> Option<Slot> {
        if let Self::Valid(slot) = self { Some(slot) } else { None }
    }
}

/// The copy that holds: the valid one with the higher `seq`.
pub fn newest(a: SlotCopy, b: SlotCopy) -> Option<Slot> {
    match (a.valid(), b.valid()) {
        (Some(a), Some(b)) => Some(if a.seq >= b.seq { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// What the two copies of a slot tell together. One that is damaged, by a torn write or a bad sector, may have been the
/// newer one: its other says how far the log is durable all the same, but may be of a run before, under an earlier
/// epoch.
pub(crate) fn known(copies: [SlotCopy; 2]) -> Option<Slot> {
    let slot = newest(copies[0], copies[1])?;
    let later = i32::from(copies.contains(&SlotCopy::Damaged));
    let leader_epoch = LeaderEpoch::new(slot.leader_epoch.get().saturating_add(later));
    Some(Slot { leader_epoch, ..slot })
}

/// Where the copy of slot `number` that carries `seq` lies in the file.
pub fn slot_position(number: u32, seq: u64) -> u64 {
    let extent = u64::from(number / SLOTS_PER_EXTENT);
    let within = u64::from(number % SLOTS_PER_EXTENT) * SLOT_SIZE as u64;
    HEADER_SIZE + extent * EXTENT_SIZE + (seq % 2) * PAGE_SIZE + within
}

/// Whose slot that of the metadata log is: no topic has this uuid.
///
/// Its log has no segments, and may be rewritten to a shorter one that has the same offsets: what holds is its
/// `durable next offset`. `durable pos` is how long the log was.
pub const METADATA: PartitionId = PartitionId { topic: Uuid::nil(), partition: 0 };
/// Size of one copy.
pub const SLOT_SIZE: usize = 128;
/// Partitions served by one extent.
pub const SLOTS_PER_EXTENT: u32 = 32;
/// Size of the header of the file.
pub const HEADER_SIZE: u64 = 4096;
/// Size of an extent: two pages.
pub const EXTENT_SIZE: u64 = 2 * PAGE_SIZE;

pub(crate) const PAGE_SIZE: u64 = 4096;
const SECTOR_SIZE: usize = 512;
const SLOT_MAGIC: [u8; 4] = *b"LSL1";
pub(crate) const SLOT_EDITION: u16 = 1;

const MAGIC_AT: usize = 0;
const EDITION_AT: usize = 4;
const FLAGS_AT: usize = 6;
const TOPIC_AT: usize = 8;
const PARTITION_AT: usize = 24;
const LEADER_EPOCH_AT: usize = 28;
const SEQ_AT: usize = 32;
const SEGMENT_BASE_AT: usize = 40;
const DURABLE_POS_AT: usize = 48;
const NEXT_OFFSET_AT: usize = 56;
const LOG_START_AT: usize = 64;
const VISIBLE_AT: usize = 72;
const WALL_CLOCK_AT: usize = 80;
const BOOT_ID_AT: usize = 88;
const RUN_ID_AT: usize = 104;
const MOUNT_ID_AT: usize = 112;
const ZERO_AT: usize = 120;
const CRC_AT: usize = 124;
const _: () = assert!(EDITION_AT + size_of::<u16>() == FLAGS_AT);
const _: () = assert!(FLAGS_AT + size_of::<u16>() == TOPIC_AT);
const _: () = assert!(TOPIC_AT + size_of::<Uuid>() == PARTITION_AT);
const _: () = assert!(BOOT_ID_AT + size_of::<[u8; 16]>() == RUN_ID_AT);
const _: () = assert!(MOUNT_ID_AT + size_of::<u64>() == ZERO_AT);
const _: () = assert!(CRC_AT + size_of::<u32>() == SLOT_SIZE);
const _: () = assert!(SECTOR_SIZE.is_multiple_of(SLOT_SIZE), "a copy straddles a sector");
const _: () =
    assert!(SLOTS_PER_EXTENT as u64 * SLOT_SIZE as u64 == PAGE_SIZE, "the copies of a slot share a page");

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(seq: u64) -> Slot {
        Slot {
            partition: PartitionId { topic: Uuid::from_u128(0x0102_0304), partition: 7 },
            leader_epoch: LeaderEpoch::new(3),
            seq,
            durable_segment_base: Offset::new(1000),
            durable_pos: 4096,
            durable_next_offset: Offset::new(1234),
            log_start: Offset::new(10),
            visible: Offset::new(1234),
            written_at: Timestamp::new(1_700_000_000_000),
            boot_id: [9; 16],
            run_id: 0xABCD,
            mount_id: 55,
        }
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let bytes = slot(6).encode();
        let mut expected = Vec::new();
        expected.extend_from_slice(b"LSL1\x00\x01\x00\x00");
        expected.extend_from_slice(&0x0102_0304_u128.to_be_bytes());
        expected.extend_from_slice(&7_u32.to_be_bytes());
        expected.extend_from_slice(&3_i32.to_be_bytes());
        for field in [6_u64, 1000, 4096, 1234, 10, 1234, 1_700_000_000_000] {
            expected.extend_from_slice(&field.to_be_bytes());
        }
        expected.extend_from_slice(&[9; 16]);
        expected.extend_from_slice(&0xABCD_u64.to_be_bytes());
        expected.extend_from_slice(&55_u64.to_be_bytes());
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(bytes.to_vec(), expected);
        assert_eq!(SlotCopy::decode(&bytes), SlotCopy::Valid(slot(6)));
    }

    #[test]
    fn every_flipped_bit_makes_a_copy_damaged() {
        let bytes = slot(6).encode();
        for bit in 0..SLOT_SIZE * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SlotCopy::decode(&flipped), SlotCopy::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_edition_is_told_from_damage() {
        let mut bytes = slot(6).encode();
        put(&mut bytes, EDITION_AT, &2_u16.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
        assert_eq!(SlotCopy::decode(&bytes), SlotCopy::Newer { edition: 2 });
    }

    #[test]
    fn the_newest_valid_copy_holds() {
        let (old, new) = (SlotCopy::Valid(slot(6)), SlotCopy::Valid(slot(7)));
        assert_eq!(newest(old, new), Some(slot(7)));
        assert_eq!(newest(new, old), Some(slot(7)));
        assert_eq!(newest(old, SlotCopy::Damaged), Some(slot(6)));
        assert_eq!(newest(SlotCopy::Blank, new), Some(slot(7)));
        assert_eq!(newest(SlotCopy::Blank, SlotCopy::Damaged), None);
    }

    #[test]
    fn beside_a_damaged_copy_the_other_is_true_and_its_epoch_may_be_the_one_before() {
        let (old, new) = (SlotCopy::Valid(slot(6)), SlotCopy::Valid(slot(7)));
        assert_eq!(known([old, new]), Some(slot(7)));
        assert_eq!(known([old, SlotCopy::Blank]), Some(slot(6)));
        let next = LeaderEpoch::new(slot(6).leader_epoch.get() + 1);
        for copies in [[old, SlotCopy::Damaged], [SlotCopy::Damaged, old]] {
            assert_eq!(known(copies), Some(Slot { leader_epoch: next, ..slot(6) }));
        }
        assert_eq!(known([SlotCopy::Blank, SlotCopy::Damaged]), None);
    }

    #[test]
    fn no_two_copies_overlap_and_the_two_of_a_slot_lie_in_different_pages() {
        let mut places: Vec<u64> = (0..70).flat_map(|n| [slot_position(n, 0), slot_position(n, 1)]).collect();
        for number in 0..70 {
            let (a, b) = (slot_position(number, 8), slot_position(number, 9));
            assert_ne!(a / PAGE_SIZE, b / PAGE_SIZE);
            assert_eq!(a / SECTOR_SIZE as u64, (a + SLOT_SIZE as u64 - 1) / SECTOR_SIZE as u64);
        }
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= SLOT_SIZE as u64));
        assert_eq!(places[0], HEADER_SIZE);
    }
}
