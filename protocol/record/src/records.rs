//! Going through the records of a batch.

use std::borrow::Cow;

use crate::{BatchError, BatchHeader, Record};

/// The records of one batch: in place if they are not compressed, else in a buffer of their own.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

/// Iterator over records. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    cursor: RecordCursor,
    bytes: &'a [u8],
}

/// A place among the records of a batch, for those who keep the bytes themselves.
#[derive(Clone, Debug)]
pub struct RecordCursor {
    header: BatchHeader,
    index: u32,
    at: usize,
}

impl<'a> Records<'a> {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Goes through the records in order.
    pub fn iter(&self) -> RecordsIter<'_> {
        todo!()
    }

    /// The decompressed bytes of the records, for a [`RecordCursor`].
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }
}

impl<'a> IntoIterator for &'a Records<'_> {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.bytes)
    }
}

impl RecordCursor {
    /// Before the first record of the batch of this header.
    pub fn new(header: &BatchHeader) -> Self {
        Self { header: *header, index: 0, at: 0 }
    }

    /// The next record. `bytes` are the batch's records, decompressed, the same at each call.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Result<Record<'b>, BatchError>> {
        let _ = (bytes, self.index, self.at);
        todo!()
    }
}
