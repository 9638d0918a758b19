//! Records that own their bytes, to compare what went in with what comes out.

use std::ops::Range;

use folio_record::{
    Batch, BatchBuilder, Compression, DecompressLimit, Header, NewRecord, Record, Timestamp, UnverifiedBatch,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl From<Record<'_>> for OwnedRecord {
    fn from(record: Record<'_>) -> Self {
        Self {
            timestamp: record.timestamp.get(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// What the builder makes of `records`.
pub(crate) fn built(records: &[OwnedRecord], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, usize::MAX);
    for (index, record) in (0..).zip(records) {
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let record = NewRecord {
            timestamp: Timestamp::new(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        assert_eq!(builder.append(&record), Ok(index));
    }
    builder.build().unwrap()
}

pub(crate) fn verified(bytes: &[u8]) -> Batch<'_> {
    let (batch, rest) = UnverifiedBatch::split_first(bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify().unwrap()
}

/// The records of a batch that has nothing wrong with it.
pub(crate) fn read(batch: &Batch<'_>) -> Vec<OwnedRecord> {
    batch.records(LIMIT).unwrap().iter().map(|record| record.unwrap().into()).collect()
}

pub(crate) fn codecs() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL)
}

/// Batches of small records, some of them alike enough to be worth compressing.
pub(crate) fn records(how_many: Range<usize>) -> impl Strategy<Value = Vec<OwnedRecord>> {
    vec(record(), how_many)
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let timestamp =
        prop_oneof![8 => 1_700_000_000_000..1_700_000_100_000i64, 1 => any::<i64>(), 1 => Just(-1)];
    let headers = vec((vec(any::<u8>(), 0..4), option::of(vec(any::<u8>(), 0..20))), 0..4);
    (timestamp, option::of(bytes()), option::of(bytes()), headers)
        .prop_map(|(timestamp, key, value, headers)| OwnedRecord { timestamp, key, value, headers })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..3000usize).prop_map(|(byte, len)| vec![byte; len]),
        Just(b"GET /index.html HTTP/1.1".to_vec()),
    ]
}

pub(crate) const LIMIT: DecompressLimit = DecompressLimit::new(16 << 20);
