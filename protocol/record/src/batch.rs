//! From bytes to a batch that can be trusted.

use crate::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BASE_SEQUENCE_AT, COUNT_AT, CRC_AT, LEADER_EPOCH_AT, LENGTH_AT, MAGIC,
    MAGIC_AT, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, field, total_size,
};
use crate::{
    BatchError, BatchHeader, DecompressLimit, HEADER_SIZE, LeaderEpoch, Offset, ProducerId, Records,
    Timestamp, crc32c,
};

/// Bytes that have the length and the version of a batch. Nothing else is known of them.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedBatch<'a> {
    // As long as the length field says; `header` is its beginning.
    bytes: &'a [u8],
    header: &'a [u8; HEADER_SIZE],
}

/// A batch whose checksum holds and whose header does not contradict itself.
///
/// A checksum is not a signature: what the *records* say is still their producer's word, see
/// [`check_records`](Self::check_records).
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    fixed_part: &'a [u8; HEADER_SIZE],
    header: BatchHeader,
}

/// What the walk through a batch's records has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRecords {
    /// The smallest timestamp of the records that have one, [`Timestamp::NONE`] if none has.
    pub min_timestamp: Timestamp,
    /// The largest timestamp of the records; that of the header if there are none. In a log it is the header's.
    pub max_timestamp: Timestamp,
    /// Bytes of the records once decompressed.
    pub uncompressed_bytes: usize,
    /// Bytes of the largest of them, without the number that stands in front of it; 0 if there are none.
    pub largest_record_bytes: usize,
}

impl<'a> UnverifiedBatch<'a> {
    /// Cuts the first batch off `bytes` and returns it with the rest. Looks at length and version only.
    ///
    /// # Errors
    ///
    /// [`BatchError::Incomplete`] if more bytes could make it a batch, [`BatchError::Magic`] or
    /// [`BatchError::Length`] if none can.
    pub fn split_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        // The version comes first: older formats have the length at the same place, and other bounds.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic != MAGIC as u8
        {
            return Err(BatchError::Magic { magic: magic as i8 });
        }
        let Some(&length) = bytes.get(LENGTH_AT..).and_then(<[u8]>::first_chunk) else {
            return Err(BatchError::Incomplete { needed: HEADER_SIZE });
        };
        let needed = total_size(i32::from_be_bytes(length))?;
        let (Some(header), Some((bytes, rest))) = (bytes.first_chunk(), bytes.split_at_checked(needed))
        else {
            return Err(BatchError::Incomplete { needed });
        };
        Ok((Self { bytes, header }, rest))
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Checks the checksum, then the header. Costs one pass of CRC-32C and allocates nothing.
    ///
    /// # Errors
    ///
    /// [`BatchError::Checksum`], and those of [`BatchHeader::parse`].
    pub fn verify(self) -> Result<Batch<'a>, BatchError> {
        let stored = u32::from_be_bytes(field(self.header, CRC_AT));
        let computed = crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if stored != computed {
            return Err(BatchError::Checksum { stored, computed });
        }
        Ok(Batch { bytes: self.bytes, fixed_part: self.header, header: BatchHeader::parse(self.header)? })
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
    /// many as the header says with nothing behind them, and that their offsets rise within the batch.
    /// Whether their latest timestamp is the header's is told, not judged: a broker puts it right with
    /// [`set_max_timestamp`](crate::set_max_timestamp) before it stores a batch.
    ///
    /// This is what must hold of every batch in a log. What may *come into* a log is for the broker to
    /// decide, and the header has it: [`BatchHeader::base_offset`] (0 from a producer),
    /// [`BatchHeader::is_dense`], the [`attributes`](BatchHeader::attributes) of control batches,
    /// transactions and the broker's own timestamps, [`BatchHeader::producer_id`]. In a dense batch that
    /// passes here, the offset of record `i` is `base_offset + i`.
    ///
    /// # Errors
    ///
    /// Those of [`records`](Self::records) and [`Records::check`].
    pub fn check_records(&self, limit: DecompressLimit) -> Result<CheckedRecords, BatchError> {
        self.records(limit)?.check()
    }

    /// The records, decompressed if need be: `for record in &batch.records(limit)?`. Allocates only for
    /// compressed batches, and never more than `limit`.
    ///
    /// # Errors
    ///
    /// [`BatchError::Decompress`], [`DecompressedTooLarge`](BatchError::DecompressedTooLarge).
    pub fn records(&self, limit: DecompressLimit) -> Result<Records<'a>, BatchError> {
        let block = &self.bytes[HEADER_SIZE..];
        let block = self.header.attributes.compression().decompress(block, limit)?;
        Ok(Records::new(self.header, self.fixed_part, block))
    }
}

/// Writes a batch's place in the log into it: base offset and leader epoch, which its checksum does not
/// cover. No other byte changes.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_SIZE);
    batch[BASE_OFFSET_AT..LENGTH_AT].copy_from_slice(&base_offset.get().to_be_bytes());
    batch[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.get().to_be_bytes());
}

/// Writes into one whole batch which idempotent producer made it, and its number for the first record. For that
/// producer only, and only while nobody else has seen the batch.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_producer(batch: &mut [u8], id: ProducerId, epoch: i16, base_sequence: i32) {
    assert!(batch.len() >= HEADER_SIZE);
    batch[PRODUCER_ID_AT..PRODUCER_EPOCH_AT].copy_from_slice(&id.get().to_be_bytes());
    batch[PRODUCER_EPOCH_AT..BASE_SEQUENCE_AT].copy_from_slice(&epoch.to_be_bytes());
    batch[BASE_SEQUENCE_AT..COUNT_AT].copy_from_slice(&base_sequence.to_be_bytes());
    seal(batch);
}

/// Writes the checksum of one whole batch into it, after its bytes were changed on purpose.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn seal(batch: &mut [u8]) {
    assert!(batch.len() >= HEADER_SIZE);
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}
