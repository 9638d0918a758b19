//! Going through the records of a batch.

use std::borrow::Cow;

use crate::record::RawRecord;
use crate::{
    BatchError, BatchHeader, CheckedRecords, HEADER_SIZE, Offset, Record, RecordFault, Timestamp,
    TimestampType,
};

/// The records of one batch: in place if they are not compressed, else in a buffer of their own.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    fixed_part: &'a [u8; HEADER_SIZE],
    bytes: Cow<'a, [u8]>,
}

/// Iterator over the records of a batch. After an error there is nothing more; bytes left behind the
/// last record are an error, too.
#[derive(Clone, Debug)]
pub struct RecordsIter<'a> {
    cursor: RecordCursor,
    bytes: &'a [u8],
}

/// A place among the records of a batch, for those who keep the bytes themselves.
///
/// [`RecordsIter`] borrows the bytes; a cursor does not, so it can live beside the buffer it walks.
#[derive(Clone, Debug)]
pub struct RecordCursor {
    places: Places,
    count: u32,
    index: u32,
    at: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(header: BatchHeader, fixed_part: &'a [u8; HEADER_SIZE], bytes: Cow<'a, [u8]>) -> Self {
        Self { header, fixed_part, bytes }
    }

    /// The bytes of the header.
    pub(crate) fn fixed_part(&self) -> &'a [u8; HEADER_SIZE] {
        self.fixed_part
    }

    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Goes through the records in order.
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter { cursor: RecordCursor::new(&self.header), bytes: &self.bytes }
    }

    /// Walks all records and checks them, see [`Batch::check_records`](crate::Batch::check_records).
    ///
    /// # Errors
    ///
    /// [`BatchError::Record`] and [`TrailingBytes`](BatchError::TrailingBytes).
    pub fn check(&self) -> Result<CheckedRecords, BatchError> {
        const NO_TIME: i64 = Timestamp::NONE.get();
        let (mut min, mut max, mut largest) = (i64::MAX, i64::MIN, 0);
        let mut rest = self.bytes();
        let mut places = Places::new(&self.header);
        for index in 0..self.header.count {
            let record = RawRecord::take(&mut rest)
                .and_then(|raw| {
                    largest = raw.size.max(largest);
                    places.place(raw)
                })
                .map_err(|fault| BatchError::Record { index, fault })?;
            min = min.min(if record.timestamp.get() == NO_TIME { i64::MAX } else { record.timestamp.get() });
            max = max.max(record.timestamp.get());
        }
        if !rest.is_empty() {
            return Err(BatchError::TrailingBytes { bytes: rest.len() });
        }
        Ok(CheckedRecords {
            min_timestamp: if min < i64::MAX { Timestamp::new(min) } else { Timestamp::NONE },
            max_timestamp: if self.header.count > 0 {
                Timestamp::new(max)
            } else {
                self.header.max_timestamp
            },
            uncompressed_bytes: self.bytes().len(),
            largest_record_bytes: largest,
        })
    }

    /// The bytes of the records, decompressed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the records, decompressed, for a [`RecordCursor`].
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

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.bytes)
    }
}

impl std::iter::FusedIterator for RecordsIter<'_> {}

impl RecordCursor {
    /// Before the first record of the batch of this header.
    pub fn new(header: &BatchHeader) -> Self {
        Self { places: Places::new(header), count: header.count, index: 0, at: 0 }
    }

    /// The next record. `bytes` are the batch's records, decompressed, and have to be the same at each
    /// call; with others, records make no sense, but nothing worse happens.
    ///
    /// # Errors
    ///
    /// [`BatchError::Record`] and [`BatchError::TrailingBytes`]. After one, there are no more records.
    #[inline]
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<Result<Record<'b>, BatchError>> {
        let mut rest = bytes.get(self.at..).unwrap_or_default();
        if self.index >= self.count {
            self.at = bytes.len();
            let trailing = BatchError::TrailingBytes { bytes: rest.len() };
            return (!rest.is_empty()).then_some(Err(trailing));
        }
        let index = self.index;
        match RawRecord::take(&mut rest).and_then(|raw| self.places.place(raw)) {
            Ok(record) => {
                self.index += 1;
                self.at = bytes.len() - rest.len();
                Some(Ok(record))
            }
            Err(fault) => {
                self.index = self.count;
                self.at = bytes.len();
                Some(Err(BatchError::Record { index, fault }))
            }
        }
    }
}

/// What a batch's header makes of the deltas of its records, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    base_offset: Offset,
    base_timestamp: Timestamp,
    // The one timestamp of all records, if the broker gave it.
    append_time: Option<Timestamp>,
    // The range of the deltas to come.
    offset_delta_min: i64,
    offset_delta_max: i32,
}

impl Places {
    pub(crate) fn new(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: match header.attributes.timestamp_type() {
                TimestampType::Create => None,
                TimestampType::LogAppend => Some(header.max_timestamp),
            },
            offset_delta_min: 0,
            offset_delta_max: header.last_offset_delta,
        }
    }

    /// The next record, in its place.
    #[inline]
    pub(crate) fn place<'b>(&mut self, raw: RawRecord<'b>) -> Result<Record<'b>, RecordFault> {
        if i64::from(raw.offset_delta) < self.offset_delta_min || raw.offset_delta > self.offset_delta_max {
            return Err(RecordFault::Offset);
        }
        self.offset_delta_min = i64::from(raw.offset_delta) + 1;
        // The header has checked that the offsets up to the last exist. Timestamps are added as they were
        // subtracted, by wrapping, so that any two may stand in one batch.
        let offset = self.base_offset.get() + i64::from(raw.offset_delta);
        let timestamp = self.base_timestamp.get().wrapping_add(raw.timestamp_delta);
        Ok(Record {
            offset: Offset::new(offset),
            timestamp: self.append_time.unwrap_or(Timestamp::new(timestamp)),
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}
