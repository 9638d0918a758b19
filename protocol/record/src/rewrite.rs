//! What a broker may change in a producer's batch before it stores it: how it is compressed, and what it says of its
//! records' times. All else stays as it was sent: offsets, the times themselves, producer, epoch and sequence, and what
//! the attributes say besides.

use crate::attributes::LOG_APPEND_TIME;
use crate::compression::Compressor;
use crate::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AND_LENGTH_SIZE, HEADER_SIZE, LAST_OFFSET_DELTA_AT, LENGTH_AT,
    MAX_TIMESTAMP_AT, PRODUCER_ID_AT, SIZE_MAX,
};
use crate::{BatchError, Codec, Compression, Records, Timestamp, seal};

impl Records<'_> {
    /// The batch of these records with its block compressed by `codec`. Where that would not make it smaller it is not
    /// compressed, and says so, as with a [`BatchBuilder`](crate::BatchBuilder).
    ///
    /// # Errors
    ///
    /// [`BatchError::DecompressedTooLarge`] if there can be no batch of so many bytes that are not compressed.
    pub fn recompressed(&self, codec: Codec) -> Result<Vec<u8>, BatchError> {
        let content = self.bytes();
        if content.len() > SIZE_MAX - HEADER_SIZE {
            return Err(BatchError::DecompressedTooLarge { limit: SIZE_MAX - HEADER_SIZE });
        }
        let mut batch = self.fixed_part().to_vec();
        let is_smaller =
            Compressor::new(codec).is_some_and(|mut compressor| compressor.compress(content, &mut batch));
        let compression = if is_smaller { codec.compression() } else { Compression::None };
        if !is_smaller {
            batch.extend_from_slice(content);
        }
        let length = (batch.len() - BASE_OFFSET_AND_LENGTH_SIZE) as i32;
        batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        let attributes = self.header().attributes.with_compression(compression);
        batch[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.bits().to_be_bytes());
        seal(&mut batch);
        Ok(batch)
    }
}

/// Writes into one whole batch when it was appended: the time that all its records have from then on. The times that
/// their producer gave stay in it and are not looked at any more.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_log_append_time(batch: &mut [u8], time: Timestamp) {
    assert!(batch.len() >= HEADER_SIZE);
    let bits = u16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]) | LOG_APPEND_TIME;
    batch[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&bits.to_be_bytes());
    set_max_timestamp(batch, time);
}

/// Writes into one whole batch which is the latest time of its records. Producers may have it wrong; brokers put it
/// right, because lookups by time go by it.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_max_timestamp(batch: &mut [u8], time: Timestamp) {
    assert!(batch.len() >= HEADER_SIZE);
    batch[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&time.get().to_be_bytes());
    seal(batch);
}
