//! Making a batch.

use crate::{Compression, Header, ProducerId, Timestamp, UnsupportedCompression};

/// Makes batches, one after the other, reusing its memory.
///
/// A batch begins at offset 0, in no epoch, and of no producer unless [`producer`](Self::producer) says
/// otherwise; the broker stamps it. Dropping a builder drops the records that were not built.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    size_max: usize,
}

/// A record to be.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; a key may repeat.
    pub headers: &'a [Header<'a>],
}

/// The record was not taken: the batch could become larger than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of at most {size_max} bytes could take {size} with this record")]
pub struct DoesNotFit {
    /// The largest size the batch could have with the record, whatever compression makes of it. In an
    /// empty builder: the record can never be sent.
    pub size: usize,
    /// The builder's limit.
    pub size_max: usize,
}

impl BatchBuilder {
    /// A builder of batches that never exceed `size_max` bytes, header included.
    pub fn new(compression: Compression, size_max: usize) -> Result<Self, UnsupportedCompression> {
        let _ = (compression, size_max);
        todo!()
    }

    /// Names the idempotent producer and its number for the first record, for this and later batches.
    pub fn producer(&mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> &mut Self {
        let _ = (id, epoch, base_sequence);
        todo!()
    }

    /// Appends a record, if it fits, and returns its place in the batch, from 0.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<u32, DoesNotFit> {
        let _ = (record, self.compression, self.size_max);
        todo!()
    }

    /// How many records the batch has so far.
    pub fn count(&self) -> u32 {
        todo!()
    }

    /// Whether the batch has no record yet.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size(&self) -> usize {
        todo!()
    }

    /// The batch of all records appended since the last call, `None` if there are none. The builder is
    /// empty then and can be used again.
    pub fn build(&mut self) -> Option<Vec<u8>> {
        todo!()
    }
}
