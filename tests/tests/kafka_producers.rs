//! Idempotent producers, as Kafka's clients are.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeSet;

use folio_record::seal;
use folio_tests::kafka::{KafkaPeer, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use folio_wire::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use folio_wire::kafka::produce::ProduceResponse;

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

fn nobody() -> InitProducerIdRequest<'static> {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    }
}

fn init(peer: &mut KafkaPeer, version: i16, request: &InitProducerIdRequest<'_>) -> InitProducerIdResponse {
    peer.call(version, request).message()
}

/// The batch that a producer sends with this sequence number.
fn numbered(id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let mut batch = batch(&sequence.to_be_bytes());
    batch[43..51].copy_from_slice(&id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    seal(&mut batch);
    batch
}

fn send(peer: &mut KafkaPeer, records: &[u8]) -> (KafkaError, i64) {
    let answer = peer.call(9, &produce("t", 0, -1, records));
    let told: ProduceResponse<'_> = answer.message();
    let partition = &told.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

#[test]
fn every_producer_is_somebody_else_in_every_version() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let mut ids = BTreeSet::new();
    for round in 0..12 {
        let told = init(&mut peer, round % 6, &nobody());
        assert_eq!((told.error_code, told.producer_epoch), (KafkaError::NONE, 0));
        assert!(told.producer_id >= 0 && ids.insert(told.producer_id), "{}", told.producer_id);
    }
}

#[test]
fn a_transactional_producer_is_refused_for_good() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for version in 0..=5 {
        let request = InitProducerIdRequest { transactional_id: Some("t"), ..nobody() };
        let told = init(&mut peer, version, &request);
        assert_eq!(told.error_code, KafkaError::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        assert!(!told.error_code.is_retriable(), "or clients would try for ever");
        assert_eq!((told.producer_id, told.producer_epoch), (-1, -1));
    }
}

#[test]
fn a_batch_that_comes_again_is_stored_once_and_a_gap_is_refused() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let id = init(&mut peer, 4, &nobody()).producer_id;
    for sequence in 0..5 {
        assert_eq!(send(&mut peer, &numbered(id, 0, sequence)), (KafkaError::NONE, i64::from(sequence)));
    }
    for sequence in [0, 4, 2] {
        let again = (KafkaError::NONE, i64::from(sequence));
        assert_eq!(send(&mut peer, &numbered(id, 0, sequence)), again, "where it was stored at first");
    }
    assert_eq!(send(&mut peer, &numbered(id, 0, 7)).0, KafkaError::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(send(&mut peer, &numbered(id, 0, 5)), (KafkaError::NONE, 5));
    assert_eq!(send(&mut peer, &numbered(id, 1, 0)), (KafkaError::NONE, 6), "a new epoch begins at 0");
    assert_eq!(send(&mut peer, &numbered(id, 0, 6)).0, KafkaError::INVALID_PRODUCER_EPOCH);
}

#[test]
fn a_partition_tells_which_producers_it_remembers() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let id = init(&mut peer, 4, &nobody()).producer_id;
    send(&mut peer, &numbered(id, 0, 0));
    send(&mut peer, &numbered(id, 0, 1));
    let topics = vec![
        TopicRequest { name: "t", partition_indexes: vec![0, 1] },
        TopicRequest { name: "nowhere", partition_indexes: vec![0] },
    ];
    let answer = peer.call(0, &DescribeProducersRequest { topics });
    let told: DescribeProducersResponse<'_> = answer.message();
    let [there, beyond] = &told.topics[0].partitions[..] else { panic!("{:?}", told.topics) };
    let [producer] = &there.active_producers[..] else { panic!("{:?}", there.active_producers) };
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (id, 0, 1));
    assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
    assert_eq!(beyond.error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(told.topics[1].partitions[0].error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
}
