//! Making a batch.

use crate::header::{HEADER_SIZE, NewHeader, SIZE_MAX};
use crate::{Attributes, Codec, Compression, Compressor, Header, ProducerId, Timestamp, seal, varint};

/// Makes batches, one after the other, reusing its memory.
///
/// A batch begins at offset 0, in no epoch, and of no producer unless [`producer`](Self::producer) says
/// otherwise; the broker stamps it. Records go into the batch's bytes as they are appended; compression
/// happens in [`build`](Self::build), and a batch that it would not make smaller stays uncompressed.
/// Dropping a builder drops the records that were not built.
///
/// ```
/// use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp};
///
/// let mut builder = BatchBuilder::new(Compression::Lz4, 1 << 20);
/// let record = NewRecord { value: Some(b"first"), ..NewRecord::at(Timestamp::new(1_700_000_000_000)) };
/// assert_eq!(builder.append(&record), Ok(0));
/// assert_eq!(builder.append(&record), Ok(1));
/// let batch = builder.build().expect("two records");
/// assert!(builder.is_empty());
/// # assert!(batch.len() > folio_record::HEADER_SIZE);
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    // Room for the header, then the records.
    bytes: Vec<u8>,
    size_max: usize,
    compressor: Option<Compressor>,
    count: u32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer_id: ProducerId,
    producer_epoch: i16,
    base_sequence: i32,
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

/// The record was not taken: the batch would be larger than it may. In an empty builder that means that
/// the record can never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("with this record the batch would take {size} bytes, more than the {size_max} it may")]
pub struct DoesNotFit {
    /// Bytes of the batch with the record, before compression.
    pub size: usize,
    /// The builder's limit.
    pub size_max: usize,
}

impl NewRecord<'_> {
    /// A record of this time with neither key nor value nor headers.
    pub const fn at(timestamp: Timestamp) -> Self {
        Self { timestamp, key: None, value: None, headers: &[] }
    }
}

impl BatchBuilder {
    /// A builder of batches that take at most `size_max` bytes before compression (and so after it, too),
    /// header included. `codec` is a [`Compression`], at its default level, or a [`Codec`].
    pub fn new(codec: impl Into<Codec>, size_max: usize) -> Self {
        let codec = codec.into();
        Self {
            bytes: vec![0; HEADER_SIZE],
            size_max: size_max.min(SIZE_MAX),
            compressor: Compressor::new(codec),
            count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// Names the idempotent producer of this batch and later ones, and its number for the first record.
    pub fn producer(&mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> &mut Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Appends a record, if it fits, and returns its place in the batch, from 0.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`]; the builder is as it was.
    #[inline]
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<u32, DoesNotFit> {
        let base = if self.count == 0 { record.timestamp } else { self.base_timestamp };
        // Any two times may meet in a batch; what does not fit wraps around, here and at the reader.
        let timestamp_delta = record.timestamp.get().wrapping_sub(base.get());
        let offset_delta = i64::from(self.count);

        let length = size_of::<i8>()
            + varint::size(timestamp_delta)
            + varint::size(offset_delta)
            + nullable_size(record.key)
            + nullable_size(record.value)
            + varint::size(record.headers.len() as i64)
            + record.headers.iter().map(header_size).sum::<usize>();
        let size = self.bytes.len() + varint::size(length as i64) + length;
        if size > self.size_max {
            return Err(DoesNotFit { size, size_max: self.size_max });
        }

        let out = &mut self.bytes;
        out.reserve(size - out.len());
        varint::put(out, length as i64);
        out.push(RECORD_ATTRIBUTES);
        varint::put(out, timestamp_delta);
        varint::put(out, offset_delta);
        put_nullable(out, record.key);
        put_nullable(out, record.value);
        varint::put(out, record.headers.len() as i64);
        for header in record.headers {
            put_nullable(out, Some(header.key));
            put_nullable(out, header.value);
        }
        debug_assert_eq!(out.len(), size);

        self.max_timestamp =
            if self.count == 0 { record.timestamp } else { self.max_timestamp.max(record.timestamp) };
        self.base_timestamp = base;
        self.count += 1;
        Ok(self.count - 1)
    }

    /// How many records the batch has so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the batch has no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch of all records appended since the last call, `None` if there are none. The builder is
    /// empty then and can be used again.
    pub fn build(&mut self) -> Option<Vec<u8>> {
        let mut own = self.compressor.take();
        let batch = self.build_with(own.as_mut());
        self.compressor = own;
        batch
    }

    /// As [`build`](Self::build), but the batch is compressed by `compressor`, if by anything, whatever the builder was
    /// made for: builders of many partitions can share one.
    pub fn build_with(&mut self, compressor: Option<&mut Compressor>) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let compressed = compressor.and_then(|by| self.compress(by).map(|batch| (batch, by.compression())));
        let (mut batch, compression) = match compressed {
            Some(compressed) => compressed,
            None => {
                // The next batch will mostly be about as large: its memory comes in one piece.
                let mut next = Vec::with_capacity(self.bytes.len());
                next.resize(HEADER_SIZE, 0);
                (std::mem::replace(&mut self.bytes, next), Compression::None)
            }
        };
        NewHeader {
            attributes: Attributes::of(compression),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            count: self.count,
        }
        .write(&mut batch);
        seal(&mut batch);
        self.bytes.truncate(HEADER_SIZE);
        self.count = 0;
        Some(batch)
    }

    /// A batch of the compressed records without its header, if that is smaller.
    fn compress(&self, compressor: &mut Compressor) -> Option<Vec<u8>> {
        let mut batch = Vec::with_capacity(self.bytes.len() / 2);
        batch.resize(HEADER_SIZE, 0);
        let is_smaller = compressor.compress(&self.bytes[HEADER_SIZE..], &mut batch);
        // What a codec needed for room is not kept with the batch.
        batch.shrink_to(2 * batch.len());
        is_smaller.then_some(batch)
    }
}

fn header_size(header: &Header<'_>) -> usize {
    nullable_size(Some(header.key)) + nullable_size(header.value)
}

#[inline]
fn nullable_size(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => varint::size(-1),
        Some(bytes) => varint::size(bytes.len() as i64) + bytes.len(),
    }
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// No bit of a record's attributes is in use.
const RECORD_ATTRIBUTES: u8 = 0;
