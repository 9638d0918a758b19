//! From bytes to a batch that can be trusted.

use crate::{BatchError, BatchHeader, DecompressLimit, LeaderEpoch, Offset, Records, Timestamp};

/// Bytes that have the length and the version of a batch. Nothing else is known of them.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedBatch<'a> {
    bytes: &'a [u8],
}

/// A batch whose checksum holds and whose header does not contradict itself.
///
/// A checksum is not a signature: what the *records* say is still their producer's word, see
/// [`check_records`](Self::check_records).
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    header: BatchHeader,
}

/// What the walk through a batch's records has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRecords {
    /// The earliest timestamp, [`Timestamp::NONE`] if there are no records.
    pub min_timestamp: Timestamp,
    /// The latest timestamp: the header's.
    pub max_timestamp: Timestamp,
    /// Bytes of the records once decompressed.
    pub uncompressed_bytes: usize,
}

impl<'a> UnverifiedBatch<'a> {
    /// Cuts the first batch off `bytes` and returns it with the rest. Looks at length and version only.
    pub fn split_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        let _ = bytes;
        todo!()
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Checks the checksum, then the header. Costs one pass of CRC-32C and allocates nothing.
    pub fn verify(self) -> Result<Batch<'a>, BatchError> {
        todo!()
    }
}

impl<'a> Batch<'a> {
    /// The fixed part.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Walks all records, also inside a compressed block, and checks that they parse, that they are as
    /// many as the header says with nothing behind them, that their offsets rise within the batch, and
    /// that the latest timestamp is the header's.
    pub fn check_records(&self, limit: DecompressLimit) -> Result<CheckedRecords, BatchError> {
        let _ = limit;
        todo!()
    }

    /// The records, decompressed if need be: `for record in &batch.records(limit)?`.
    pub fn records(&self, limit: DecompressLimit) -> Result<Records<'a>, BatchError> {
        let _ = limit;
        todo!()
    }
}

/// Writes a batch's place in the log into it: base offset and leader epoch, which its checksum does not
/// cover. No other byte changes.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    let _ = (batch, base_offset, leader_epoch);
    todo!()
}

/// Writes the checksum of one whole batch into it, after its bytes were changed on purpose.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn seal(batch: &mut [u8]) {
    let _ = batch;
    todo!()
}
