//! One record and its headers, borrowed from a batch.

use crate::{Offset, Timestamp};

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

/// The headers of a record in the order in which they were given, duplicates included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl Headers<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let _ = self.bytes;
        todo!()
    }
}
