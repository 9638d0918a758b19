//! What a broker may change in a producer's batch. Before it stores it: how it is compressed, and what it says of its
//! records' times. When it compacts: which of its records are left, and from when on its tombstones may go. All else
//! stays as it was sent: offsets, the times themselves, producer, epoch and sequence, and what the attributes say
//! besides.

use crate::attributes::LOG_APPEND_TIME;
use crate::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AND_LENGTH_SIZE, BASE_TIMESTAMP_AT, COUNT_AT, HEADER_SIZE,
    LAST_OFFSET_DELTA_AT, LENGTH_AT, MAX_TIMESTAMP_AT, PRODUCER_ID_AT, SIZE_MAX,
};
use crate::record::RawRecord;
use crate::records::Places;
use crate::{
    Attributes, BatchError, Codec, Compression, Compressor, Record, RecordFault, Records, Timestamp,
    TimestampType, seal, varint,
};

impl Records<'_> {
    /// The batch of these records with its block compressed by `codec`. Where that would not make it smaller it is not
    /// compressed, and says so, as with a [`BatchBuilder`](crate::BatchBuilder).
    ///
    /// # Errors
    ///
    /// [`BatchError::DecompressedTooLarge`] if there can be no batch of so many bytes that are not compressed.
    pub fn recompressed(&self, codec: Codec) -> Result<Vec<u8>, BatchError> {
        let mut batch = self.with_block(self.bytes(), codec, self.header().attributes)?;
        seal(&mut batch);
        Ok(batch)
    }

    /// The batch with those of its records that `keep` wants, each in its place: base offset and last offset are as
    /// they were, whatever is left between them. The records are compressed by `codec` if that makes them smaller.
    /// Without any record the batch is its header alone, which says what producer it was from, and how late its records
    /// were.
    ///
    /// With a `delete_horizon` the batch says that its tombstones may go from then on (KIP-534): the time takes the
    /// place of the base timestamp, and the records count from it.
    ///
    /// # Errors
    ///
    /// [`BatchError::Record`] and [`TrailingBytes`](BatchError::TrailingBytes) if the records do not parse, and
    /// [`DecompressedTooLarge`](BatchError::DecompressedTooLarge) if those that are kept fit no batch.
    pub fn retained(
        &self,
        codec: Codec,
        delete_horizon: Option<Timestamp>,
        mut keep: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Vec<u8>, BatchError> {
        let header = self.header();
        let base = delete_horizon.unwrap_or(header.base_timestamp);
        let shift = header.base_timestamp.get().wrapping_sub(base.get());
        let (mut content, mut count, mut latest) = (Vec::new(), 0_i32, None);
        let (mut rest, mut places) = (self.bytes(), Places::new(header));
        for index in 0..header.count {
            let at_record = |fault| BatchError::Record { index, fault };
            let before = rest;
            let raw = RawRecord::take(&mut rest).map_err(at_record)?;
            let record = places.place(raw).map_err(at_record)?;
            if !keep(&record) {
                continue;
            }
            let bytes = &before[..before.len() - rest.len()];
            if shift == 0 {
                content.extend_from_slice(bytes);
            } else {
                put_shifted(bytes, shift, &mut content).map_err(at_record)?;
            }
            count += 1;
            latest = latest.max(Some(record.timestamp));
        }
        if !rest.is_empty() {
            return Err(BatchError::TrailingBytes { bytes: rest.len() });
        }
        let (codec, base, attributes) = match latest {
            Some(_) if delete_horizon.is_some() => (codec, base, header.attributes.with_delete_horizon()),
            Some(_) => (codec, base, header.attributes),
            None => (Codec::NONE, Timestamp::NONE, header.attributes.without_delete_horizon()),
        };
        let latest = latest.filter(|_| header.attributes.timestamp_type() == TimestampType::Create);
        let mut batch = self.with_block(&content, codec, attributes)?;
        batch[BASE_TIMESTAMP_AT..MAX_TIMESTAMP_AT].copy_from_slice(&base.get().to_be_bytes());
        batch[COUNT_AT..HEADER_SIZE].copy_from_slice(&count.to_be_bytes());
        // Seals it as well.
        set_max_timestamp(&mut batch, latest.unwrap_or(header.max_timestamp));
        Ok(batch)
    }

    /// This batch's header in front of other records, not sealed yet.
    fn with_block(
        &self,
        content: &[u8],
        codec: Codec,
        attributes: Attributes,
    ) -> Result<Vec<u8>, BatchError> {
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
        let attributes = attributes.with_compression(compression);
        batch[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.bits().to_be_bytes());
        Ok(batch)
    }
}

/// Writes a record whose time is told by `shift` more than in `bytes`.
fn put_shifted(bytes: &[u8], shift: i64, out: &mut Vec<u8>) -> Result<(), RecordFault> {
    let mut body = bytes;
    varint::take_i32(&mut body)?;
    let attributes = *body.split_off_first().ok_or(RecordFault::Length)?;
    let delta = varint::take_i64(&mut body)?.wrapping_add(shift);
    let length = size_of::<u8>() + varint::size(delta) + body.len();
    varint::put(out, length as i64);
    out.push(attributes);
    varint::put(out, delta);
    out.extend_from_slice(body);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchBuilder, DecompressLimit, Header, NewRecord, Offset, ProducerId, UnverifiedBatch, stamp,
    };

    const LIMIT: DecompressLimit = DecompressLimit::new(1 << 20);

    /// Eight records at 10, 11, .., of a producer, at offset 100; those of odd numbers are tombstones.
    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec, 1 << 16);
        builder.producer(ProducerId::new(7), 2, 40);
        for number in 0..8 {
            let (key, value) = ([b'k', number], "value ".repeat(40));
            let headers = [Header { key: b"h", value: Some(&[number]) }];
            builder
                .append(&NewRecord {
                    timestamp: Timestamp::new(10 + i64::from(number)),
                    key: Some(&key),
                    value: (number % 2 == 0).then_some(value.as_bytes()),
                    headers: &headers,
                })
                .unwrap();
        }
        let mut batch = builder.build().unwrap();
        stamp(&mut batch, Offset::new(100), crate::LeaderEpoch::new(3));
        batch
    }

    type Row = (i64, i64, Vec<u8>, Option<Vec<u8>>, usize);

    fn rows(batch: &[u8]) -> Vec<Row> {
        let (batch, rest) = UnverifiedBatch::split_first(batch).unwrap();
        assert!(rest.is_empty());
        let records = batch.verify().unwrap().records(LIMIT).unwrap();
        records.check().unwrap();
        let row = |record: Record<'_>| {
            let (offset, timestamp) = (record.offset.get(), record.timestamp.get());
            (
                offset,
                timestamp,
                record.key.unwrap().to_vec(),
                record.value.map(<[u8]>::to_vec),
                record.headers.len(),
            )
        };
        records.iter().map(|record| row(record.unwrap())).collect()
    }

    fn retained(
        batch: &[u8],
        codec: Compression,
        horizon: Option<i64>,
        keep: impl Fn(i64) -> bool,
    ) -> (Vec<u8>, crate::BatchHeader) {
        let records =
            UnverifiedBatch::split_first(batch).unwrap().0.verify().unwrap().records(LIMIT).unwrap();
        let horizon = horizon.map(Timestamp::new);
        let left = records.retained(codec.into(), horizon, |record| keep(record.offset.get())).unwrap();
        let header = *UnverifiedBatch::split_first(&left).unwrap().0.verify().unwrap().header();
        (left, header)
    }

    #[test]
    fn what_is_left_of_a_batch_is_in_its_place_with_everything_that_its_producer_said() {
        for codec in Compression::ALL {
            let whole = batch(codec);
            for horizon in [None, Some(1_700_000_000_000), Some(i64::MIN), Some(i64::MAX)] {
                let (left, header) = retained(&whole, codec, horizon, |offset| [101, 104].contains(&offset));
                let expected: Vec<_> =
                    rows(&whole).into_iter().filter(|row| [101, 104].contains(&row.0)).collect();
                assert_eq!(rows(&left), expected, "{codec}, {horizon:?}");
                assert_eq!(
                    (header.base_offset.get(), header.last_offset().get(), header.count),
                    (100, 107, 2)
                );
                assert_eq!(
                    (header.producer_id.get(), header.producer_epoch, header.base_sequence),
                    (7, 2, 40)
                );
                assert_eq!((header.leader_epoch.get(), header.max_timestamp.get()), (3, 14));
                assert_eq!(header.attributes.has_delete_horizon(), horizon.is_some());
                assert_eq!(header.base_timestamp.get(), horizon.unwrap_or(10));
                let is_packed = codec != Compression::None;
                assert_eq!(header.attributes.compression() == Compression::None, !is_packed);
            }
        }
    }

    #[test]
    fn a_horizon_stays_when_more_records_go() {
        let (first, _) = retained(&batch(Compression::Zstd), Compression::Zstd, Some(5000), |_| true);
        let (left, header) = retained(&first, Compression::Zstd, None, |offset| offset != 107);
        assert!(header.attributes.has_delete_horizon());
        assert_eq!((header.base_timestamp.get(), header.max_timestamp.get()), (5000, 16));
        assert_eq!(rows(&left), rows(&first)[..7]);
    }

    #[test]
    fn a_batch_without_records_is_its_header() {
        let (first, _) = retained(&batch(Compression::Lz4), Compression::Lz4, Some(5000), |_| true);
        let (left, header) = retained(&first, Compression::Lz4, None, |_| false);
        assert_eq!((left.len(), header.count), (HEADER_SIZE, 0));
        assert_eq!((header.base_offset.get(), header.last_offset().get()), (100, 107));
        assert_eq!((header.base_timestamp, header.max_timestamp.get()), (Timestamp::NONE, 17));
        assert_eq!(header.attributes.bits(), 0);
        assert_eq!(rows(&left), []);
        let (again, _) = retained(&left, Compression::Lz4, None, |_| true);
        assert_eq!(again, left);
    }

    #[test]
    fn the_time_of_an_append_stays_that_of_all_records_that_are_left() {
        let mut whole = batch(Compression::None);
        set_log_append_time(&mut whole, Timestamp::new(999));
        let (left, header) = retained(&whole, Compression::None, Some(5000), |offset| offset < 102);
        assert_eq!(header.max_timestamp.get(), 999);
        assert!(rows(&left).iter().all(|row| row.1 == 999));
    }
}
