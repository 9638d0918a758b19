//! Produce requests of Kafka's clients: every version, many partitions, and what is refused with which code.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_record::seal;
use folio_tests::kafka::{Answer, KafkaPeer, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::kafka::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use uuid::Uuid;

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

fn only(answer: &Answer) -> PartitionProduceResponse<'_> {
    answer.message::<ProduceResponse<'_>>().responses.swap_remove(0).partition_responses.swap_remove(0)
}

#[test]
fn every_version_appends_and_tells_where() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let id = peer.metadata("t").message::<MetadataResponse<'_>>().topics[0].topic_id;
    for version in 3..=13 {
        let records = batch(b"value");
        let mut request = produce("t", 0, -1, &records);
        if version >= 13 {
            request.topic_data[0].topic_id = id;
        }
        let answer = peer.call(version, &request);
        let told = only(&answer);
        assert_eq!((told.error_code, told.base_offset), (KafkaError::NONE, i64::from(version) - 3));
        assert_eq!((told.log_append_time_ms, told.log_start_offset), (-1, if version >= 5 { 0 } else { -1 }));
    }
}

#[test]
fn a_request_for_many_partitions_is_answered_once_and_each_partition_for_itself() {
    let rig = Rig::new(&[]);
    ["a", "b"].iter().for_each(|name| rig.peer().create(name, 3, &[]));
    let mut peer = peer(&rig);
    let records = batch(b"value");
    let data = |index| PartitionProduceData { index, records: Some(&records) };
    let topic = |name, partitions: &[i32]| TopicProduceData {
        name,
        partition_data: partitions.iter().map(|&index| data(index)).collect(),
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![
            topic("a", &[0, 1, 2, 3]),
            topic("nowhere", &[0]),
            topic("b", &[2, -1, i32::MAX, 0]),
        ],
        ..ProduceRequest::default()
    };
    let answer = peer.call(9, &request);
    let told: ProduceResponse<'_> = answer.message();
    let codes: Vec<(&str, Vec<(i32, KafkaError)>)> = (told.responses.iter())
        .map(|topic| {
            (&*topic.name, topic.partition_responses.iter().map(|one| (one.index, one.error_code)).collect())
        })
        .collect();
    let (fine, unknown) = (KafkaError::NONE, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    let expected = [
        ("a", vec![(0, fine), (1, fine), (2, fine), (3, unknown)]),
        ("nowhere", vec![(0, unknown)]),
        ("b", vec![(2, fine), (-1, unknown), (i32::MAX, unknown), (0, fine)]),
    ];
    assert_eq!(codes, expected);
    assert!(told.responses.iter().flat_map(|topic| &topic.partition_responses).all(|one| {
        (one.error_code == fine) == (one.base_offset == 0)
            && (one.error_code == fine) != (one.base_offset == -1)
    }));
}

#[test]
fn a_topic_that_goes_by_an_id_that_is_not_there_is_unknown_by_its_id() {
    let rig = Rig::new(&[]);
    let records = batch(b"value");
    let mut request = produce("", 0, 1, &records);
    request.topic_data[0].topic_id = Uuid::from_u128(7);
    let answer = peer(&rig).call(13, &request);
    let told: ProduceResponse<'_> = answer.message();
    assert_eq!(told.responses[0].topic_id, Uuid::from_u128(7));
    assert_eq!(told.responses[0].partition_responses[0].error_code, KafkaError::UNKNOWN_TOPIC_ID);
}

#[test]
fn a_batch_that_is_too_large_is_refused_and_the_next_one_is_not() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[("max.message.bytes", "1000")]);
    let mut peer = peer(&rig);
    let (large, fine) = (batch(&[7; 2000]), batch(&[7; 100]));
    let answer = peer.call(9, &produce("t", 0, -1, &large));
    assert_eq!(only(&answer).error_code, KafkaError::MESSAGE_TOO_LARGE);
    let answer = peer.call(9, &produce("t", 0, -1, &fine));
    assert_eq!((only(&answer).error_code, only(&answer).base_offset), (KafkaError::NONE, 0));
}

/// What is done to a good batch, in which version it is sent, and with which code it is refused.
type Refusal = (&'static str, fn(Vec<u8>) -> Vec<u8>, i16, KafkaError);

const REFUSED: &[Refusal] = &[
    ("nothing", |_| Vec::new(), 9, KafkaError::INVALID_RECORD),
    ("two batches", |batch| batch.repeat(2), 9, KafkaError::INVALID_RECORD),
    ("half a batch", |batch| batch[..50].to_vec(), 9, KafkaError::INVALID_RECORD),
    ("the format of old", |batch| with(batch, 16, &[1]), 9, KafkaError::INVALID_RECORD),
    ("a wrong checksum", |batch| with(batch, 17, &[0; 4]), 9, KafkaError::CORRUPT_MESSAGE),
    ("a base offset", |batch| with(batch, 7, &[1]), 9, KafkaError::INVALID_RECORD),
    ("more records than there are", |batch| sealed(batch, 57, &[0, 0, 0, 9]), 9, KafkaError::INVALID_RECORD),
    ("log append time", |batch| sealed(batch, 22, &[8]), 9, KafkaError::INVALID_TIMESTAMP),
    ("a control batch", |batch| sealed(batch, 22, &[0x20]), 9, KafkaError::INVALID_RECORD),
    ("zstd too early", |batch| sealed(batch, 22, &[4]), 6, KafkaError::UNSUPPORTED_COMPRESSION_TYPE),
];

fn with(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch
}

fn sealed(batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = with(batch, at, bytes);
    seal(&mut batch);
    batch
}

#[test]
fn what_is_not_one_good_batch_is_refused_with_kafkas_code_and_stores_nothing() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    for (what, change, version, error) in REFUSED {
        let records = change(batch(b"value"));
        let answer = peer.call(*version, &produce("t", 0, -1, &records));
        let told = only(&answer);
        assert_eq!((told.error_code, told.base_offset), (*error, -1), "{what}");
        assert_eq!(told.error_message.is_some(), *version >= 8, "{what}");
    }
    let mut none = produce("t", 0, -1, &[]);
    none.topic_data[0].partition_data[0].records = None;
    assert_eq!(only(&peer.call(9, &none)).error_code, KafkaError::INVALID_RECORD);
    let good = batch(b"value");
    assert_eq!(only(&peer.call(9, &produce("t", 0, -1, &good))).base_offset, 0);
}

#[test]
fn acknowledgements_are_none_one_or_all() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let good = batch(b"value");
    for acks in [2, -2, i16::MAX] {
        let answer = peer.call(9, &produce("t", 0, acks, &good));
        assert_eq!(only(&answer).error_code, KafkaError::INVALID_REQUIRED_ACKS, "{acks}");
    }
}
