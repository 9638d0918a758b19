//! A record batch: the same bytes in memory, on the wire and on disk.
//!
//! What follows is the README of the room.
//!
#![doc = include_str!("../README.md")]

mod attributes;
mod batch;
mod builder;
mod checksum;
mod codec;
mod compression;
mod error;
mod header;
mod quantity;
mod record;
mod records;
mod rewrite;
mod varint;

pub use attributes::{Attributes, TimestampType};
pub use batch::{Batch, CheckedRecords, UnverifiedBatch, seal, set_producer, stamp};
pub use builder::{BatchBuilder, DoesNotFit, NewRecord};
pub use checksum::crc32c;
pub use codec::{Codec, CodecError, UnknownLevel};
pub use compression::{Compression, Compressor, DecompressLimit, Levels, UnknownCodec};
pub use error::{BatchError, RecordFault};
pub use header::{BatchHeader, HEADER_SIZE};
pub use quantity::{LeaderEpoch, Offset, ProducerId, Timestamp};
pub use record::{Header, Headers, Record};
pub use records::{RecordCursor, Records, RecordsIter};
pub use rewrite::{set_log_append_time, set_max_timestamp};
