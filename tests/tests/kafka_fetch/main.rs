//! Reads as Kafka's clients see them: what an answer has in it, and when it comes.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

mod sessions;

use std::time::{Duration, Instant};

use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp, UnverifiedBatch};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::Rig;
use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::kafka::{ApiKey, KafkaError};
use uuid::Uuid;

const NOW: Duration = Duration::ZERO;
/// Long enough for nobody to believe that it has passed.
const AGES: Duration = Duration::from_secs(3600);
/// So long nothing comes that is not to come.
const WHILE: Duration = Duration::from_millis(150);

/// A broker with a topic "t" of these partitions, and a client of it.
fn rig(partitions: u32) -> (Rig, KafkaPeer) {
    let rig = Rig::new(&[("topic.durability", "os")]);
    rig.peer().create("t", partitions, &[]);
    let peer = KafkaPeer::connect(rig.address());
    (rig, peer)
}

/// A batch of so many records.
fn batch_of(count: usize, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression, 1 << 20);
    for number in 0..count {
        let timestamp = Timestamp::new(1_700_000_000_000 + number as i64);
        builder.append(&NewRecord { timestamp, key: None, value: Some(b"x"), headers: &[] }).unwrap();
    }
    builder.build().unwrap().to_vec()
}

fn append(peer: &mut KafkaPeer, partition: i32, batch: &[u8]) {
    append_to(peer, "t", partition, batch);
}

fn append_to(peer: &mut KafkaPeer, topic: &str, partition: i32, batch: &[u8]) {
    let answer = peer.call(7, &produce(topic, partition, -1, batch));
    let told: ProduceResponse<'_> = answer.message();
    assert_eq!(told.responses[0].partition_responses[0].error_code, KafkaError::NONE);
}

/// What one partition had: its number, the outcome, where its records begin and how many bytes they are, and its high
/// watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Had {
    partition: i32,
    error: KafkaError,
    base: Option<i64>,
    bytes: usize,
    high_watermark: i64,
}

fn had(data: &PartitionData<'_>) -> Had {
    let records = data.records.expect("never null").held().unwrap();
    let base = (!records.is_empty()).then(|| {
        UnverifiedBatch::split_first(records).unwrap().0.verify().unwrap().header().base_offset.get()
    });
    Had {
        partition: data.partition_index,
        error: data.error_code,
        base,
        bytes: records.len(),
        high_watermark: data.high_watermark,
    }
}

/// Every partition of an answer without an error of its own, in order, and the session's id.
fn all(answer: &FetchResponse<'_>) -> (i32, Vec<Had>) {
    assert_eq!(answer.error_code, KafkaError::NONE);
    (answer.session_id, answer.responses.iter().flat_map(|topic| &topic.partitions).map(had).collect())
}

fn ask(peer: &mut KafkaPeer, version: i16, request: &FetchRequest<'_>) -> (i32, Vec<Had>) {
    all(&peer.call(version, request).message())
}

fn wanted(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    }
}

/// A request for these partitions of "t", or of the topic with this id.
fn request(id: Option<Uuid>, wants: &[FetchPartition], wait: Duration) -> FetchRequest<'static> {
    let topic = FetchTopic { topic: "t", topic_id: id.unwrap_or_default(), partitions: wants.to_vec() };
    FetchRequest { topics: if wants.is_empty() { Vec::new() } else { vec![topic] }, ..fetch("t", 0, 0, wait) }
}

#[test]
fn a_fetch_at_any_offset_of_a_batch_returns_that_batch() {
    let (_rig, mut peer) = rig(1);
    let all =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    all.into_iter().for_each(|compression| append(&mut peer, 0, &batch_of(5, compression)));
    for offset in 0..25 {
        for version in 4..=12 {
            let (_, had) = ask(&mut peer, version, &fetch("t", 0, offset, NOW));
            assert_eq!(had[0].base, Some(offset / 5 * 5), "offset {offset} in version {version}");
        }
    }
}

#[test]
fn an_answer_without_records_has_no_bytes_of_them_and_no_null() {
    let (_rig, mut peer) = rig(1);
    for version in 4..=12 {
        let answer = peer.call(version, &fetch("t", 0, 0, NOW));
        let told: FetchResponse<'_> = answer.message();
        let data = &told.responses[0].partitions[0];
        assert_eq!(data.records.expect("no null").size(), 0);
        assert_eq!((data.high_watermark, data.last_stable_offset), (0, 0));
        assert_eq!(data.aborted_transactions, None, "nobody asked what is committed");
        let request = FetchRequest { isolation_level: 1, ..fetch("t", 0, 0, NOW) };
        let answer = peer.call(version, &request);
        let told: FetchResponse<'_> = answer.message();
        assert_eq!(told.responses[0].partitions[0].aborted_transactions, Some(Vec::new()));
    }
}

#[test]
fn the_end_waits_and_offsets_beyond_either_end_are_told_at_once() {
    let (rig, mut peer) = rig(1);
    append(&mut peer, 0, &batch_of(3, Compression::None));
    for offset in [-1, 4, i64::MAX] {
        let (_, had) = ask(&mut peer, 12, &fetch("t", 0, offset, AGES));
        assert_eq!((had[0].error, had[0].high_watermark), (KafkaError::OFFSET_OUT_OF_RANGE, -1));
    }
    peer.submit(12, &fetch("t", 0, 3, AGES));
    assert!(peer.answer_within(ApiKey::Fetch, 12, WHILE).is_none());
    append(&mut KafkaPeer::connect(rig.address()), 0, &batch(b"y"));
    assert_eq!(all(&peer.answer(ApiKey::Fetch, 12).message()).1[0].base, Some(3));
}

#[test]
fn a_fetch_that_waits_is_answered_at_its_time_with_what_there_is() {
    let (_rig, mut peer) = rig(1);
    append(&mut peer, 0, &batch(b"x"));
    let begun = Instant::now();
    let request = FetchRequest { min_bytes: 1 << 20, ..fetch("t", 0, 0, Duration::from_millis(200)) };
    let (_, had) = ask(&mut peer, 12, &request);
    assert_eq!(had[0].base, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn the_first_batch_is_delivered_however_large_and_later_partitions_are_limited() {
    let (_rig, mut peer) = rig(3);
    let large = batch(&[7; 20_000]);
    (0..3).for_each(|partition| append(&mut peer, partition, &large));
    let small = |partition| FetchPartition { partition_max_bytes: 100, ..wanted(partition, 0) };
    let request = FetchRequest { max_bytes: 100, ..request(None, &[small(0), small(1), small(2)], AGES) };
    let (_, had) = ask(&mut peer, 12, &request);
    assert_eq!(had.iter().map(|had| had.bytes).collect::<Vec<_>>(), [large.len(), 0, 0]);
}

#[test]
fn partitions_that_cannot_be_are_errors_of_their_own() {
    let (_rig, mut peer) = rig(1);
    for partition in [-1, 1, i32::MIN, i32::MAX] {
        let (_, had) = ask(&mut peer, 12, &request(None, &[wanted(0, 0), wanted(partition, 0)], AGES));
        let told: Vec<_> = had.iter().map(|had| (had.partition, had.error)).collect();
        assert_eq!(told, [(0, KafkaError::NONE), (partition, KafkaError::UNKNOWN_TOPIC_OR_PARTITION)]);
    }
    let (_, had) = ask(&mut peer, 12, &fetch("gone", 0, 0, AGES));
    assert_eq!(had[0].error, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    let request = request(Some(Uuid::from_u128(7)), &[wanted(0, 0)], AGES);
    assert_eq!(ask(&mut peer, 13, &request).1[0].error, KafkaError::UNKNOWN_TOPIC_ID);
}

#[test]
fn an_answer_names_a_topic_and_a_partition_once_however_often_they_are_asked_for() {
    let (rig, mut peer) = rig(2);
    rig.peer().create("u", 1, &[]);
    append(&mut peer, 1, &batch(b"x"));
    let topic = |topic, wants: &[FetchPartition]| FetchTopic {
        topic,
        partitions: wants.to_vec(),
        ..FetchTopic::default()
    };
    let topics = vec![
        topic("t", &[wanted(0, 0)]),
        topic("u", &[wanted(0, 0)]),
        topic("t", &[wanted(1, 0), wanted(0, 0)]),
    ];
    let request = FetchRequest { topics, ..fetch("t", 0, 0, NOW) };
    let answer = peer.call(12, &request);
    let told: FetchResponse<'_> = answer.message();
    let names: Vec<_> = told.responses.iter().map(|topic| &*topic.topic).collect();
    assert_eq!(names, ["t", "u"]);
    let numbers: Vec<_> = told.responses[0].partitions.iter().map(|data| data.partition_index).collect();
    assert_eq!(numbers, [0, 1]);
    assert!(had(&told.responses[0].partitions[1]).bytes > 0, "the records are with their partition");
}

#[test]
fn a_rack_is_taken_and_an_empty_one_too() {
    let (_rig, mut peer) = rig(1);
    append(&mut peer, 0, &batch(b"x"));
    for rack_id in ["", "somewhere"] {
        let answer = peer.call(12, &FetchRequest { rack_id, ..fetch("t", 0, 0, NOW) });
        let told: FetchResponse<'_> = answer.message();
        assert_eq!(told.responses[0].partitions[0].preferred_read_replica, -1);
        assert!(had(&told.responses[0].partitions[0]).bytes > 0);
    }
}

#[test]
fn a_reader_of_another_leader_epoch_is_fenced_or_ahead_and_nobody_reads_beyond_what_an_epoch_ended_with() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    Peer::connect(daemon.address()).create("t", 1, &[]);
    append(&mut KafkaPeer::connect(daemon.address()), 0, &batch_of(3, Compression::None));
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    let mut peer = KafkaPeer::connect(daemon.address());
    append(&mut peer, 0, &batch_of(2, Compression::None));
    let told = |peer: &mut KafkaPeer, want: FetchPartition| {
        let answer = peer.call(12, &request(None, &[want], NOW));
        let told: FetchResponse<'_> = answer.message();
        let data = &told.responses[0].partitions[0];
        (data.error_code, data.diverging_epoch.clone(), had(data).bytes)
    };
    let current = |epoch| FetchPartition { current_leader_epoch: epoch, ..wanted(0, 0) };
    assert_eq!(told(&mut peer, current(0)).0, KafkaError::FENCED_LEADER_EPOCH);
    assert_eq!(told(&mut peer, current(1)).0, KafkaError::NONE);
    assert_eq!(told(&mut peer, current(2)).0, KafkaError::UNKNOWN_LEADER_EPOCH);
    let last = |epoch, offset| FetchPartition { last_fetched_epoch: epoch, ..wanted(0, offset) };
    assert!(told(&mut peer, last(0, 3)).2 > 0, "as far as epoch 0 goes");
    let (error, diverging, bytes) = told(&mut peer, last(0, 4));
    assert_eq!((error, bytes), (KafkaError::NONE, 0));
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 3), "and no further");
    assert_eq!(told(&mut peer, last(9, 3)).0, KafkaError::OFFSET_OUT_OF_RANGE);
}
