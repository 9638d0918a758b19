//! The fixed part of a batch.

use crate::{Attributes, BatchError, LeaderEpoch, Offset, ProducerId, Timestamp};

/// Bytes before the first record.
pub const HEADER_SIZE: usize = 61;

/// Everything that stands before the records of a batch.
///
/// Offsets and counts hang together: the range of offsets exists, and there are no more records than
/// offsets. There may be fewer: compaction drops records, even the last, and keeps the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchHeader {
    /// Offset of the first record; 0 until a broker has stamped the batch. Not under the checksum.
    pub base_offset: Offset,
    /// Epoch in which the batch was appended. Not under the checksum.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Compression and what kind of batch it is.
    pub attributes: Attributes,
    /// Last offset of the batch less `base_offset`.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from, or the delete horizon.
    pub base_timestamp: Timestamp,
    /// Latest timestamp of the batch, or the time of its append.
    pub max_timestamp: Timestamp,
    /// Who produced it.
    pub producer_id: ProducerId,
    /// Which incarnation of that producer, -1 if none.
    pub producer_epoch: i16,
    /// The producer's number of the first record, -1 if none.
    pub base_sequence: i32,
    /// How many records follow.
    pub count: u32,
    // Validated: at least HEADER_SIZE, at most i32::MAX + 12.
    total_size: u32,
}

impl BatchHeader {
    /// Reads the fixed part of a batch and checks that it does not contradict itself. Says nothing about
    /// the checksum.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, BatchError> {
        let _ = bytes;
        todo!()
    }

    /// Bytes of the whole batch, this header included.
    pub fn total_size(&self) -> usize {
        self.total_size as usize
    }

    /// The last offset of the batch, whether or not its record is still there.
    pub fn last_offset(&self) -> Offset {
        todo!()
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> Offset {
        todo!()
    }

    /// Every offset of the batch has its record, and there is at least one: true of what producers
    /// make, no longer true after compaction.
    pub fn is_dense(&self) -> bool {
        todo!()
    }
}
