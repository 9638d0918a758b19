//! Why bytes are not a record batch.

/// Why bytes are not a batch, or a batch's records are not what its header says.
///
/// All but [`Incomplete`](Self::Incomplete) are the fault of whoever made the bytes, or of what carried
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does: it is `needed` bytes long, or at least that long if not even
    /// its length could be read. The number is the sender's claim: bound it before waiting for so much.
    #[error("a batch is cut short: {needed} bytes are needed")]
    Incomplete {
        /// Bytes from the batch's first, those at hand included.
        needed: usize,
    },
    /// The length field cannot be that of a batch.
    #[error("a batch cannot have the length {length}")]
    Length {
        /// The field as it stands: bytes after itself.
        length: i32,
    },
    /// A batch of another format version.
    #[error("batch format {magic} is not supported (only 2 is)")]
    Magic {
        /// The version found.
        magic: i8,
    },
    /// The bytes are not those that were checksummed.
    #[error("a batch's checksum is {computed:#010x}, its header says {stored:#010x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Base offset and last offset delta do not name a range of offsets.
    #[error("a batch cannot begin at offset {base_offset} and end {last_offset_delta} later")]
    Offsets {
        /// The header's base offset.
        base_offset: i64,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// More records than offsets, or fewer than none.
    #[error("a batch cannot hold {count} records in offsets 0 to {last_offset_delta}")]
    Count {
        /// The header's number of records.
        count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// A compression number that means nothing.
    #[error("compression {id} does not exist")]
    UnknownCompression {
        /// The number.
        id: u8,
    },
    /// The compressed block is not what its codec makes.
    #[error("the records cannot be decompressed: {reason}")]
    Decompress {
        /// What is wrong with the block.
        reason: &'static str,
    },
    /// The records would take more than the reader is ready to hold.
    #[error("the records take more than {limit} bytes when decompressed")]
    DecompressedTooLarge {
        /// The reader's limit in bytes.
        limit: usize,
    },
    /// The record at this place of the batch is wrong.
    #[error("record {index} of the batch: {fault}")]
    Record {
        /// Its place among the batch's records, from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes are left behind the last record.
    #[error("{bytes} bytes are left behind the last record")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The records end before this one does.
    #[error("it is cut short")]
    Truncated,
    /// A number has more digits than its type, or is negative where none can be.
    #[error("a number in it is out of range")]
    Number,
    /// Its fields take another number of bytes than it says.
    #[error("its fields do not fill the length it gives")]
    Length,
    /// Its offset does not follow the last one, or lies outside of the batch.
    #[error("its offset is not in the order or the range of the batch")]
    Offset,
}
