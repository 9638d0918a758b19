//! What Kafka's clients are told of the records that they produce.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;

use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp, UnverifiedBatch};
use folio_tests::kafka::{KafkaPeer, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::produce::ProduceResponse;

/// What a produce of one batch to one partition is answered.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    error: KafkaError,
    base_offset: i64,
    append_time: i64,
    /// The numbers of the records that are to blame, and whether each is told why.
    to_blame: Vec<(i32, bool)>,
}

fn told(peer: &mut KafkaPeer, version: i16, topic: &str, records: &[u8]) -> Told {
    let answer = peer.call(version, &produce(topic, 0, 1, records));
    let mut message: ProduceResponse<'_> = answer.message();
    let partition = message.responses.remove(0).partition_responses.remove(0);
    let to_blame = partition.record_errors.iter();
    Told {
        error: partition.error_code,
        base_offset: partition.base_offset,
        append_time: partition.log_append_time_ms,
        to_blame: to_blame.map(|e| (e.batch_index, e.batch_index_error_message.is_some())).collect(),
    }
}

fn taken(base_offset: i64, append_time: i64) -> Told {
    Told { error: KafkaError::NONE, base_offset, append_time, to_blame: vec![] }
}

#[test]
fn batches_of_other_clients_are_taken_in_every_codec_and_given_back_byte_for_byte() {
    let rig = Rig::new(&[]);
    let mut native = rig.peer();
    native.create("t", 1, &[("durability", "os")]);
    let mut peer = KafkaPeer::connect(rig.address());
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/record/tests/data/clients");
    let mut base = 0;
    for file in std::fs::read_dir(clients).unwrap().map(|entry| entry.unwrap().path()) {
        let sent = std::fs::read(&file).unwrap();
        let Ok((batch, _)) = UnverifiedBatch::split_first(&sent) else { continue };
        let is_zstd = batch.verify().unwrap().header().attributes.compression() == Compression::Zstd;
        if is_zstd {
            let refused = told(&mut peer, 6, "t", &sent);
            assert_eq!(refused.error, KafkaError::UNSUPPORTED_COMPRESSION_TYPE, "{}", file.display());
        }
        for version in [7, 9, 12] {
            assert_eq!(told(&mut peer, version, "t", &sent), taken(base, -1), "{}", file.display());
            let (_, stored) = native.fetch_now("t", base);
            assert_eq!(stored[..8], base.to_be_bytes());
            assert_eq!(stored[16..sent.len()], sent[16..], "{}", file.display());
            base += 40;
        }
    }
    assert_eq!(base, 40 * 3 * 18);
}

#[test]
fn a_topic_with_its_own_time_tells_it() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[("durability", "os"), ("message.timestamp.type", "LogAppendTime")]);
    let mut peer = KafkaPeer::connect(rig.address());
    for (version, base) in [(3, 0), (12, 1)] {
        let told = told(&mut peer, version, "t", &batch(b"x"));
        assert!(told.append_time > 1_700_000_000_000, "{told:?}");
        assert_eq!(told, taken(base, told.append_time));
    }
}

#[test]
fn records_that_are_to_blame_are_told_one_by_one() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[("cleanup.policy", "compact"), ("message.timestamp.before.max.ms", "60000")]);
    let mut peer = KafkaPeer::connect(rig.address());
    let batch = |records: &[(bool, bool)]| {
        let mut builder = BatchBuilder::new(Compression::Gzip, 1 << 20);
        for &(has_key, is_old) in records {
            let timestamp = Timestamp::new(if is_old { 1_600_000_000_000 } else { -1 });
            let key = has_key.then_some(&b"k"[..]);
            builder.append(&NewRecord { key, ..NewRecord::at(timestamp) }).unwrap();
        }
        builder.build().unwrap()
    };
    let refused = |error, to_blame: &[i32]| Told {
        error,
        base_offset: -1,
        append_time: -1,
        to_blame: to_blame.iter().map(|&number| (number, true)).collect(),
    };
    let keyless = batch(&[(true, false), (false, false), (true, false), (false, false)]);
    assert_eq!(told(&mut peer, 8, "t", &keyless), refused(KafkaError::INVALID_RECORD, &[1, 3]));
    assert_eq!(told(&mut peer, 7, "t", &keyless), refused(KafkaError::INVALID_RECORD, &[]));
    let old = batch(&[(true, false), (true, true), (true, true)]);
    assert_eq!(told(&mut peer, 12, "t", &old), refused(KafkaError::INVALID_TIMESTAMP, &[1, 2]));
    // Of several kinds, the first one is the error of all.
    let both = batch(&[(true, true), (false, false)]);
    assert_eq!(told(&mut peer, 12, "t", &both), refused(KafkaError::INVALID_TIMESTAMP, &[0, 1]));
    assert_eq!(told(&mut peer, 12, "t", &batch(&[(true, false); 3])), taken(0, -1));
}
