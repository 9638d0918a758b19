//! One record and its headers, borrowed from a batch.
//!
//! ```text
//!  length | attributes | timestamp Δ | offset Δ | key | value | header count | { key | value } ...
//!  varint   i8           varlong       varint     \__________/  varint         \___________/
//!                                                  varint length, then so many bytes; -1 is null
//! ```
//!
//! `length` counts what follows it. The attributes have no bit in use and are not looked at. A header's
//! key cannot be null.

use std::borrow::Cow;

use crate::varint::{self, VarintFault};
use crate::{Offset, RecordFault, Timestamp};

/// A record, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key; no key is not an empty key.
    pub key: Option<&'a [u8]>,
    /// Its value; no value (a tombstone) is not an empty value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// A record's header. Keys are UTF-8 by custom, but nobody enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; no value is not an empty value.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record in the order in which they were given, duplicates included: an iterator that
/// allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    // Exactly `count` headers: `RawRecord::take` has walked them.
    bytes: &'a [u8],
    count: u32,
}

/// A record as it stands in the block, before the batch's header says what its deltas mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    /// Bytes of it, without the number that tells them.
    pub(crate) size: usize,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Header<'a> {
    /// The key for people and for comparing with text; what is not UTF-8 in it is replaced.
    pub fn key_lossy(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

impl Headers<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        take_header(&mut self.bytes).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count as usize, Some(self.count as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl<'a> RawRecord<'a> {
    /// Takes the record at the front of `block` off it.
    #[inline]
    pub(crate) fn take(block: &mut &'a [u8]) -> Result<Self, RecordFault> {
        let length = varint::take_i32(block).map_err(|fault| match fault {
            VarintFault::Cut => RecordFault::Truncated,
            VarintFault::TooLarge => RecordFault::Number,
        })?;
        let length = usize::try_from(length).map_err(|_| RecordFault::Number)?;
        let mut body = block.split_off(..length).ok_or(RecordFault::Truncated)?;

        body.split_off_first().ok_or(RecordFault::Length)?;
        let timestamp_delta = varint::take_i64(&mut body)?;
        let offset_delta = varint::take_i32(&mut body)?;
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let count = u32::try_from(varint::take_i32(&mut body)?).map_err(|_| RecordFault::Number)?;
        let headers = Headers { bytes: body, count };
        // The count is the producer's, the end of the record is not: the loop ends with the bytes.
        for _ in 0..count {
            take_header(&mut body)?;
        }
        if !body.is_empty() {
            return Err(RecordFault::Length);
        }
        Ok(Self { size: length, timestamp_delta, offset_delta, key, value, headers })
    }
}

impl From<VarintFault> for RecordFault {
    /// For the numbers inside of a record.
    fn from(fault: VarintFault) -> Self {
        match fault {
            VarintFault::Cut => Self::Length,
            VarintFault::TooLarge => Self::Number,
        }
    }
}

fn take_header<'a>(body: &mut &'a [u8]) -> Result<Header<'a>, RecordFault> {
    let key = take_nullable(body)?.ok_or(RecordFault::Number)?;
    Ok(Header { key, value: take_nullable(body)? })
}

#[inline]
fn take_nullable<'a>(body: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    match varint::take_i32(body)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| RecordFault::Number)?;
            body.split_off(..length).ok_or(RecordFault::Length).map(Some)
        }
    }
}
