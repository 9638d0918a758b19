//! The fixed part of a batch.
//!
//! ```text
//!  0                8        12       16 17       21    23       27
//!  | base offset    | length | epoch  | 2 | crc    | attr | last Δ | base timestamp ->
//!
//!  27               35              43              51    53       57       61
//!  | base timestamp | max timestamp | producer id   | ep. | seq.   | count  | records ...
//! ```
//!
//! Big-endian. `length` counts what follows it, to the end of the records; `crc` covers what follows
//! it. So neither base offset, nor length, nor leader epoch is under the checksum: a broker stamps the
//! first and the last without touching it, and a wrong length shows as a wrong checksum.

use crate::{Attributes, BatchError, Compression, LeaderEpoch, Offset, ProducerId, Timestamp};

/// Bytes before the first record.
pub const HEADER_SIZE: usize = 61;

/// Everything that stands before the records of a batch.
///
/// Offsets and counts of a parsed header hang together: the range of offsets exists, and there are no
/// more records than offsets. There may be fewer, even none: compaction drops records and keeps the
/// range. Timestamps cannot be judged without the records: the base is only what they count from.
///
/// The fields that may be changed in a stored batch without its producer are those of [`stamp`].
///
/// [`stamp`]: crate::stamp
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
    // Between HEADER_SIZE and SIZE_MAX.
    total_size: u32,
}

impl BatchHeader {
    /// Reads the fixed part of a batch and checks that it does not contradict itself. Says nothing about
    /// the checksum.
    ///
    /// # Errors
    ///
    /// [`BatchError::Magic`], [`Length`](BatchError::Length),
    /// [`UnknownCompression`](BatchError::UnknownCompression), [`Offsets`](BatchError::Offsets) and
    /// [`Count`](BatchError::Count).
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, BatchError> {
        // From here on all places are constants below HEADER_SIZE: nothing can be out of bounds.
        let magic = i8::from_be_bytes(field(bytes, MAGIC_AT));
        if magic != MAGIC {
            return Err(BatchError::Magic { magic });
        }
        let total_size = total_size(i32::from_be_bytes(field(bytes, LENGTH_AT)))?;
        let bits = u16::from_be_bytes(field(bytes, ATTRIBUTES_AT));
        let Some(attributes) = Attributes::from_bits(bits) else {
            return Err(BatchError::UnknownCompression { id: Compression::id_in(bits) });
        };

        let base_offset = i64::from_be_bytes(field(bytes, BASE_OFFSET_AT));
        let last_offset_delta = i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_AT));
        // The offset after the batch has to exist, too.
        let offsets_left = i64::MAX - base_offset.max(0);
        if base_offset < 0 || last_offset_delta < 0 || i64::from(last_offset_delta) >= offsets_left {
            return Err(BatchError::Offsets { base_offset, last_offset_delta });
        }
        let count = i32::from_be_bytes(field(bytes, COUNT_AT));
        if count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::Count { count, last_offset_delta });
        }

        Ok(Self {
            base_offset: Offset::new(base_offset),
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT))),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes,
            last_offset_delta,
            base_timestamp: Timestamp::new(i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_AT))),
            max_timestamp: Timestamp::new(i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT))),
            producer_id: ProducerId::new(i64::from_be_bytes(field(bytes, PRODUCER_ID_AT))),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE_AT)),
            count: count as u32,
            total_size: total_size as u32,
        })
    }

    /// Bytes of the whole batch, this header included.
    pub fn total_size(&self) -> usize {
        self.total_size as usize
    }

    /// The last offset of the batch, whether or not its record is still there.
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.base_offset.get() + i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> Offset {
        Offset::new(self.last_offset().get() + 1)
    }

    /// Every offset of the batch has its record, and there is at least one: true of what producers
    /// make, no longer true after compaction.
    pub fn is_dense(&self) -> bool {
        i64::from(self.count) == i64::from(self.last_offset_delta) + 1
    }
}

/// What a builder knows of a batch before it is sealed; the rest of a header follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewHeader {
    pub(crate) attributes: Attributes,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: u32,
}

impl NewHeader {
    /// Writes the header in front of the records of `batch`, all but the checksum.
    pub(crate) fn write(&self, batch: &mut [u8]) {
        assert!(batch.len() >= HEADER_SIZE);
        assert!(batch.len() <= SIZE_MAX);
        assert!(self.count >= 1);
        assert!(self.count <= i32::MAX as u32);
        let length = (batch.len() - BASE_OFFSET_AND_LENGTH_SIZE) as i32;
        let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
        put(BASE_OFFSET_AT, &Offset::ZERO.get().to_be_bytes());
        put(LENGTH_AT, &length.to_be_bytes());
        put(LEADER_EPOCH_AT, &LeaderEpoch::NONE.get().to_be_bytes());
        put(MAGIC_AT, &MAGIC.to_be_bytes());
        put(ATTRIBUTES_AT, &self.attributes.bits().to_be_bytes());
        put(LAST_OFFSET_DELTA_AT, &(self.count - 1).to_be_bytes());
        put(BASE_TIMESTAMP_AT, &self.base_timestamp.get().to_be_bytes());
        put(MAX_TIMESTAMP_AT, &self.max_timestamp.get().to_be_bytes());
        put(PRODUCER_ID_AT, &self.producer_id.get().to_be_bytes());
        put(PRODUCER_EPOCH_AT, &self.producer_epoch.to_be_bytes());
        put(BASE_SEQUENCE_AT, &self.base_sequence.to_be_bytes());
        put(COUNT_AT, &self.count.to_be_bytes());
    }
}

/// Bytes of the whole batch that has this length field.
pub(crate) fn total_size(length: i32) -> Result<usize, BatchError> {
    match usize::try_from(length) {
        Ok(after) if after >= HEADER_SIZE - BASE_OFFSET_AND_LENGTH_SIZE => {
            Ok(after + BASE_OFFSET_AND_LENGTH_SIZE)
        }
        _ => Err(BatchError::Length { length }),
    }
}

/// The `N` bytes at a constant place.
#[inline]
pub(crate) fn field<const N: usize>(bytes: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

pub(crate) const BASE_OFFSET_AT: usize = 0;
pub(crate) const LENGTH_AT: usize = 8;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
pub(crate) const COUNT_AT: usize = 57;

const _: () = assert!(BASE_OFFSET_AT + size_of::<i64>() == LENGTH_AT);
const _: () = assert!(LENGTH_AT + size_of::<i32>() == LEADER_EPOCH_AT);
const _: () = assert!(LEADER_EPOCH_AT + size_of::<i32>() == MAGIC_AT);
const _: () = assert!(MAGIC_AT + size_of::<i8>() == CRC_AT);
const _: () = assert!(CRC_AT + size_of::<u32>() == ATTRIBUTES_AT);
const _: () = assert!(ATTRIBUTES_AT + size_of::<u16>() == LAST_OFFSET_DELTA_AT);
const _: () = assert!(LAST_OFFSET_DELTA_AT + size_of::<i32>() == BASE_TIMESTAMP_AT);
const _: () = assert!(BASE_TIMESTAMP_AT + size_of::<i64>() == MAX_TIMESTAMP_AT);
const _: () = assert!(MAX_TIMESTAMP_AT + size_of::<i64>() == PRODUCER_ID_AT);
const _: () = assert!(PRODUCER_ID_AT + size_of::<i64>() == PRODUCER_EPOCH_AT);
const _: () = assert!(PRODUCER_EPOCH_AT + size_of::<i16>() == BASE_SEQUENCE_AT);
const _: () = assert!(BASE_SEQUENCE_AT + size_of::<i32>() == COUNT_AT);
const _: () = assert!(COUNT_AT + size_of::<i32>() == HEADER_SIZE);

pub(crate) const MAGIC: i8 = 2;
/// What the length field does not count.
pub(crate) const BASE_OFFSET_AND_LENGTH_SIZE: usize = LEADER_EPOCH_AT;
/// The largest batch that the length field can tell.
pub(crate) const SIZE_MAX: usize = i32::MAX as usize + BASE_OFFSET_AND_LENGTH_SIZE;
const _: () = assert!(SIZE_MAX <= u32::MAX as usize);
