//! Offsets as Kafka's clients ask for them: by place, by time, and by leader epoch.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::{KafkaPeer, produce};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use folio_wire::kafka::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::native::ErrorCode;
use folio_wire::native::records::{RecordsDeleteEntryV1, RecordsDeleteRequestV1};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LATEST_TIME: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_TO_TIER: i64 = -6;
const HIGHEST: i16 = 11;
/// A day in November 2023.
const DAY: i64 = 1_700_000_000_000;

fn rig() -> (Rig, KafkaPeer) {
    let rig = Rig::new(&[("topic.durability", "os")]);
    rig.peer().create("t", 1, &[]);
    let peer = KafkaPeer::connect(rig.address());
    (rig, peer)
}

/// Appends a batch whose records have these times, counted from the day.
fn append(peer: &mut KafkaPeer, topic: &str, compression: Compression, times: &[i64]) {
    let mut builder = BatchBuilder::new(compression, 1 << 20);
    for time in times {
        let timestamp = Timestamp::new(DAY + time);
        builder.append(&NewRecord { timestamp, key: None, value: Some(b"x"), headers: &[] }).unwrap();
    }
    let answer = peer.call(7, &produce(topic, 0, -1, &builder.build().unwrap().to_vec()));
    let told: ProduceResponse<'_> = answer.message();
    assert_eq!(told.responses[0].partition_responses[0].error_code, KafkaError::NONE);
}

fn request<'a>(topic: &'a str, asked: &[(i32, i64)]) -> ListOffsetsRequest<'a> {
    let partitions = asked.iter().map(|&(partition_index, timestamp)| ListOffsetsPartition {
        partition_index,
        timestamp,
        ..ListOffsetsPartition::default()
    });
    let topic = ListOffsetsTopic { name: topic, partitions: partitions.collect() };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() }
}

/// Error, offset, time and epoch of each.
fn told(
    peer: &mut KafkaPeer,
    version: i16,
    request: &ListOffsetsRequest<'_>,
) -> Vec<(KafkaError, i64, i64, i32)> {
    let answer = peer.call(version, request);
    let told: ListOffsetsResponse<'_> = answer.message();
    let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|each| (each.error_code, each.offset, each.timestamp, each.leader_epoch)).collect()
}

/// Offset and time, from the day on.
fn found(peer: &mut KafkaPeer, timestamp: i64) -> (i64, i64) {
    let (error, offset, time, _) = told(peer, HIGHEST, &request("t", &[(0, timestamp)]))[0];
    assert_eq!(error, KafkaError::NONE);
    (offset, if time == -1 { -1 } else { time - DAY })
}

#[test]
fn by_time_the_first_record_is_found_that_is_late_enough_also_within_a_compressed_batch() {
    let (_rig, mut peer) = rig();
    append(&mut peer, "t", Compression::Gzip, &[10, 20, 30]);
    append(&mut peer, "t", Compression::Zstd, &[40, 60, 50, 60]);
    // Later batches may hold earlier times.
    append(&mut peer, "t", Compression::Lz4, &[5, 6]);
    append(&mut peer, "t", Compression::None, &[70]);
    append(&mut peer, "t", Compression::Snappy, &[20, 80, 79]);
    for (time, expected) in [
        (0, (0, 10)),
        (11, (1, 20)),
        (31, (3, 40)),
        (41, (4, 60)),
        (60, (4, 60)),
        (61, (9, 70)),
        (70, (9, 70)),
        (71, (11, 80)),
        (81, (-1, -1)),
    ] {
        assert_eq!(found(&mut peer, DAY + time), expected, "time {time}");
    }
    assert_eq!(found(&mut peer, 0), (0, 10));
}

#[test]
fn the_latest_time_is_that_of_its_first_record_wherever_it_stands() {
    let (rig, mut peer) = rig();
    assert_eq!(found(&mut peer, LATEST_TIME), (-1, -1), "of an empty topic");
    append(&mut peer, "t", Compression::Lz4, &[10, 90, 30, 90]);
    append(&mut peer, "t", Compression::None, &[50, 90]);
    assert_eq!(found(&mut peer, LATEST_TIME), (1, 90));
    append(&mut peer, "t", Compression::Lz4, &[91, 92, 91]);
    assert_eq!(found(&mut peer, LATEST_TIME), (7, 92));

    // The broker's own time is that of all records of a batch.
    rig.peer().create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    append(&mut peer, "stamped", Compression::Lz4, &[10, 90, 30]);
    let (error, offset, time, _) = told(&mut peer, HIGHEST, &request("stamped", &[(0, LATEST_TIME)]))[0];
    assert_eq!((error, offset), (KafkaError::NONE, 0));
    assert!(time > DAY + 90);
}

#[test]
fn both_ends_are_told_whatever_the_isolation_and_nothing_is_kept_elsewhere() {
    let (_rig, mut peer) = rig();
    append(&mut peer, "t", Compression::None, &[10, 20, 30]);
    for version in 1..=HIGHEST {
        let epoch = if version < 4 { -1 } else { 0 };
        for isolation_level in [0, 1] {
            // It has come with version 2.
            let isolation_level = if version < 2 { 0 } else { isolation_level };
            let asked = ListOffsetsRequest { isolation_level, ..request("t", &[(0, LATEST)]) };
            assert_eq!(told(&mut peer, version, &asked), [(KafkaError::NONE, 3, -1, epoch)]);
        }
        assert_eq!(
            told(&mut peer, version, &request("t", &[(0, EARLIEST)])),
            [(KafkaError::NONE, 0, -1, epoch)]
        );
    }
    assert_eq!(found(&mut peer, EARLIEST_LOCAL), (0, -1));
    assert_eq!(found(&mut peer, LATEST_TIERED), (-1, -1));
    assert_eq!(found(&mut peer, EARLIEST_TO_TIER), (-1, -1));
}

#[test]
fn a_place_that_a_version_does_not_know_is_not_answered_for_another() {
    let (_rig, mut peer) = rig();
    append(&mut peer, "t", Compression::None, &[10]);
    let places =
        [(LATEST_TIME, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_TO_TIER, 11), (-7, i16::MAX)];
    for version in 1..=HIGHEST {
        for (place, since) in places {
            let (error, offset, ..) = told(&mut peer, version, &request("t", &[(0, place)]))[0];
            let is_known = version >= since;
            assert_eq!(error == KafkaError::NONE, is_known, "place {place} in version {version}");
            assert!(is_known || (error, offset) == (KafkaError::UNSUPPORTED_VERSION, -1));
        }
    }
}

#[test]
fn each_partition_has_an_outcome_of_its_own() {
    let (_rig, mut peer) = rig();
    append(&mut peer, "t", Compression::None, &[10]);
    let unknown = (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1, -1, -1);
    for place in [LATEST, DAY] {
        let outcomes = told(&mut peer, HIGHEST, &request("t", &[(0, place), (1, place), (-1, place)]));
        assert_eq!((outcomes[0].0, &outcomes[1..]), (KafkaError::NONE, &[unknown, unknown][..]));
        assert_eq!(told(&mut peer, HIGHEST, &request("gone", &[(0, place)])), [unknown]);
    }
    let twice = told(&mut peer, HIGHEST, &request("t", &[(0, LATEST), (0, EARLIEST)]));
    assert!(twice.iter().all(|outcome| outcome.0 == KafkaError::INVALID_REQUEST), "{twice:?}");
}

#[test]
fn the_end_is_never_beyond_what_is_durable() {
    let rig = Rig::new(&[("flush.linger.us", "3600000000"), ("shutdown.timeout.ms", "1")]);
    rig.peer().create("t", 1, &[("durability", "fsync")]);
    let mut peer = KafkaPeer::connect(rig.address());
    peer.call(7, &produce("t", 0, 1, &batch(b"x")));
    assert_eq!(rig.peer().describe("t").log_end, 1);
    assert_eq!(found(&mut peer, LATEST), (0, -1));
    assert_eq!(found(&mut peer, 0), (-1, -1));
    assert_eq!(found(&mut peer, LATEST_TIME), (-1, -1));
}

#[test]
fn an_epoch_ends_where_the_next_begins_and_nobody_is_told_of_less_than_they_have_read() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    Peer::connect(daemon.address()).create("t", 1, &[]);
    append(&mut KafkaPeer::connect(daemon.address()), "t", Compression::None, &[1, 2, 3]);
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    let mut peer = KafkaPeer::connect(daemon.address());
    append(&mut peer, "t", Compression::None, &[4, 5]);
    let ask = |peer: &mut KafkaPeer, version, topic, partition, current, epoch| {
        let asked =
            OffsetForLeaderPartition { partition, current_leader_epoch: current, leader_epoch: epoch };
        let topics = vec![OffsetForLeaderTopic { topic, partitions: vec![asked] }];
        let answer = peer.call(version, &OffsetForLeaderEpochRequest { replica_id: -1, topics });
        let told: OffsetForLeaderEpochResponse<'_> = answer.message();
        let end = &told.topics[0].partitions[0];
        (end.error_code, end.leader_epoch, end.end_offset)
    };
    for version in 2..=4 {
        let mut end = |current, epoch| ask(&mut peer, version, "t", 0, current, epoch);
        assert_eq!(end(-1, 0), (KafkaError::NONE, 0, 3));
        assert_eq!(end(-1, 1), (KafkaError::NONE, 1, 5));
        assert_eq!(end(1, 1), (KafkaError::NONE, 1, 5));
        assert_eq!(end(-1, 2), (KafkaError::NONE, -1, -1), "nobody has heard of it");
        assert_eq!(end(-1, -1), (KafkaError::NONE, -1, -1));
        assert_eq!(end(0, 0), (KafkaError::FENCED_LEADER_EPOCH, -1, -1));
        assert_eq!(end(2, 0), (KafkaError::UNKNOWN_LEADER_EPOCH, -1, -1));
        let unknown = (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1, -1);
        assert_eq!(ask(&mut peer, version, "t", 7, -1, 0), unknown);
        assert_eq!(ask(&mut peer, version, "gone", 0, -1, 0), unknown);
    }
    // A record knows the epoch that it was written under.
    let by_time: Vec<_> = [(0, DAY), (0, DAY + 4)]
        .map(|asked| told(&mut peer, HIGHEST, &request("t", &[asked]))[0])
        .iter()
        .map(|outcome| (outcome.1, outcome.3))
        .collect();
    assert_eq!(by_time, [(0, 0), (3, 1)]);
}

#[test]
fn deleted_records_are_found_by_no_time_and_an_empty_log_is_no_error() {
    let (rig, mut peer) = rig();
    let nothing = (-1, -1);
    assert_eq!([DAY, LATEST_TIME].map(|time| found(&mut peer, time)), [nothing; 2], "nothing is there yet");
    append(&mut peer, "t", Compression::Zstd, &[10, 90, 30, 40]);
    append(&mut peer, "t", Compression::None, &[50]);
    let delete = |before| {
        let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 0, before }];
        let (answer, _) = rig.peer().call(&RecordsDeleteRequestV1 { entries }, &[]);
        assert_eq!(answer.entries[0].error, ErrorCode::NONE);
    };
    // The log begins within a compressed batch: what stands before that is no more.
    delete(2);
    assert_eq!(found(&mut peer, EARLIEST), (2, -1));
    assert_eq!(found(&mut peer, EARLIEST_LOCAL), (2, -1));
    assert_eq!(found(&mut peer, DAY), (2, 30));
    assert_eq!(found(&mut peer, LATEST_TIME), (4, 50));
    assert_eq!(found(&mut peer, DAY + 60), nothing);
    delete(-1);
    assert_eq!([EARLIEST, LATEST].map(|place| found(&mut peer, place)), [(5, -1); 2]);
    assert_eq!([DAY, LATEST_TIME].map(|time| found(&mut peer, time)), [nothing; 2]);
}
