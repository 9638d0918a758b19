//! What we build, another implementation reads, and the other way round.
//!
//! The oracle is never given bytes that our own check has not passed: it trusts counts.

use bytes::{BufMut as _, Bytes, BytesMut};
use folio_record::Compression;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as OracleCompression, Record as OracleRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use crate::handmade::{compressed, decompressed};
use crate::owned::{LIMIT, OwnedRecord, built, codecs, read, records, verified};

proptest! {
    #[test]
    fn the_oracle_reads_what_we_build(records in comparable(), codec in codecs()) {
        let bytes = built(&records, codec);
        verified(&bytes).check_records(LIMIT).unwrap();

        let mut input = Bytes::from(bytes);
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut input, Some(decompress)).unwrap();
        prop_assert!(input.is_empty());
        let seen: Vec<OwnedRecord> = set.records.iter().map(owned).collect();
        prop_assert_eq!(&seen, &records);
        for (offset, record) in (0..).zip(&set.records) {
            prop_assert_eq!(record.offset, offset);
            prop_assert_eq!(record.producer_id, -1);
            prop_assert_eq!(record.partition_leader_epoch, -1);
            prop_assert!(!record.control);
            prop_assert!(!record.transactional);
        }
    }

    #[test]
    fn we_read_what_the_oracle_encodes(
        records in comparable(), codec in codecs(), base in 0..1i64 << 40, epoch: i32, producer in (0..i64::MAX, 0..i16::MAX),
    ) {
        let theirs: Vec<OracleRecord> = (0..)
            .zip(&records)
            .map(|(index, record)| OracleRecord {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: epoch,
                producer_id: producer.0,
                producer_epoch: producer.1,
                timestamp_type: TimestampType::Creation,
                offset: base + index,
                sequence: 7 + index as i32,
                timestamp: record.timestamp,
                key: record.key.clone().map(Bytes::from),
                value: record.value.clone().map(Bytes::from),
                headers: record.headers.iter().map(|(k, v)| (text(k), v.clone().map(Bytes::from))).collect(),
            })
            .collect();
        let options = RecordEncodeOptions { version: 2, compression: theirs_of(codec) };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &theirs, &options, Some(compress)).unwrap();

        let batch = verified(&bytes);
        let header = batch.header();
        prop_assert_eq!(header.base_offset.get(), base);
        prop_assert_eq!(header.leader_epoch.get(), epoch);
        prop_assert_eq!((header.producer_id.get(), header.producer_epoch), producer);
        prop_assert_eq!(header.base_sequence, 7);
        prop_assert!(header.is_dense());
        prop_assert!(batch.check_records(LIMIT).is_ok());
        prop_assert_eq!(read(&batch), records);
    }
}

/// Records that the oracle can tell: its headers are a map with text for keys, and its timestamps are
/// subtracted without regard to overflow.
fn comparable() -> impl Strategy<Value = Vec<OwnedRecord>> {
    records(1..10).prop_map(|mut records| {
        for record in &mut records {
            record.timestamp = record.timestamp.rem_euclid(1 << 50);
            for (place, (key, _)) in record.headers.iter_mut().enumerate() {
                *key = format!("{place}{}", key.escape_ascii()).into_bytes();
            }
        }
        records
    })
}

fn owned(record: &OracleRecord) -> OwnedRecord {
    let headers: &IndexMap<StrBytes, Option<Bytes>> = &record.headers;
    OwnedRecord {
        timestamp: record.timestamp,
        key: record.key.as_deref().map(<[u8]>::to_vec),
        value: record.value.as_deref().map(<[u8]>::to_vec),
        headers: headers
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_deref().map(<[u8]>::to_vec)))
            .collect(),
    }
}

fn text(bytes: &[u8]) -> StrBytes {
    StrBytes::from_string(String::from_utf8(bytes.to_vec()).unwrap())
}

fn decompress(block: &mut Bytes, compression: OracleCompression) -> anyhow::Result<Bytes> {
    Ok(decompressed(block, ours_of(compression)).into())
}

fn compress(block: &mut BytesMut, out: &mut BytesMut, compression: OracleCompression) -> anyhow::Result<()> {
    out.put_slice(&compressed(block, ours_of(compression)));
    Ok(())
}

const CODECS: [(OracleCompression, Compression); 5] = [
    (OracleCompression::None, Compression::None),
    (OracleCompression::Gzip, Compression::Gzip),
    (OracleCompression::Snappy, Compression::Snappy),
    (OracleCompression::Lz4, Compression::Lz4),
    (OracleCompression::Zstd, Compression::Zstd),
];

fn ours_of(compression: OracleCompression) -> Compression {
    CODECS.into_iter().find(|(theirs, _)| *theirs == compression).unwrap().1
}

fn theirs_of(compression: Compression) -> OracleCompression {
    CODECS.into_iter().find(|(_, ours)| *ours == compression).unwrap().0
}
