//! Reads as Kafka's clients see them: what an answer has in it, when it comes, and what a session leaves out.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp, UnverifiedBatch};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::kafka::{ApiKey, KafkaError};
use folio_wire::native::records::{RecordsDeleteEntryV1, RecordsDeleteRequestV1};
use folio_wire::native::topics::TopicDeleteRequestV1;
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

/// What one partition had: its number, the outcome, where its records begin and how many bytes they are, and its high watermark.
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

fn in_session(session: (i32, i32), request: FetchRequest<'static>) -> FetchRequest<'static> {
    FetchRequest { session_id: session.0, session_epoch: session.1, ..request }
}

fn topic_id(peer: &mut KafkaPeer, topic: &str) -> Uuid {
    let answer = peer.metadata(topic);
    let told: MetadataResponse<'_> = answer.message();
    told.topics[0].topic_id
}

fn delete(rig: &Rig, name: &str) {
    assert!(rig.peer().call(&TopicDeleteRequestV1 { name }, &[]).0.error.is_none());
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
fn a_session_answers_with_what_has_changed_and_nothing_else() {
    let (rig, mut peer) = rig(3);
    let mut producer = KafkaPeer::connect(rig.address());
    for by_id in [false, true] {
        let (version, id) = if by_id { (18, Some(topic_id(&mut peer, "t"))) } else { (12, None) };
        let at = i64::from(by_id);
        let wants = [wanted(0, at), wanted(1, at), wanted(2, at)];
        let (session, had) = ask(&mut peer, version, &in_session((0, 0), request(id, &wants, NOW)));
        assert!(session > 0);
        assert_eq!(had.len(), 3, "a full answer has every partition");

        let (same, had) = ask(&mut peer, version, &in_session((session, 1), request(id, &[], NOW)));
        assert_eq!((same, had.len()), (session, 0), "nothing has changed");

        // Data that comes while nobody asks, and while somebody waits.
        append(&mut producer, 1, &batch(b"x"));
        let (_, had) = ask(&mut peer, version, &in_session((session, 2), request(id, &[], AGES)));
        assert_eq!(had.iter().map(|had| (had.partition, had.base)).collect::<Vec<_>>(), [(1, Some(at))]);
        let moved = [wanted(1, at + 1)];
        peer.submit(version, &in_session((session, 3), request(id, &moved, AGES)));
        assert!(peer.answer_within(ApiKey::Fetch, version, WHILE).is_none());
        append(&mut producer, 2, &batch(b"x"));
        let (_, had) = all(&peer.answer(ApiKey::Fetch, version).message());
        assert_eq!(had.iter().map(|had| (had.partition, had.base)).collect::<Vec<_>>(), [(2, Some(at))]);

        // The client has not said that it has it: it gets it again. What it has not asked for anew stays.
        let (_, had) = ask(&mut peer, version, &in_session((session, 4), request(id, &[], AGES)));
        assert_eq!(had.iter().map(|had| (had.partition, had.base)).collect::<Vec<_>>(), [(2, Some(at))]);
        let moved = [wanted(2, at + 1)];
        let (_, had) = ask(&mut peer, version, &in_session((session, 5), request(id, &moved, NOW)));
        assert!(had.is_empty(), "{had:?}");
        append(&mut producer, 0, &batch(b"x"));
    }
}

#[test]
fn a_session_repeats_errors_and_forgets_what_it_is_told_to() {
    let (_rig, mut peer) = rig(2);
    let wants = [wanted(0, 0), wanted(1, 99), wanted(7, 0)];
    let (session, had) = ask(&mut peer, 12, &in_session((0, 0), request(None, &wants, NOW)));
    let errors = [(1, KafkaError::OFFSET_OUT_OF_RANGE), (7, KafkaError::UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(had.len(), 3);
    for epoch in 1..4 {
        let (_, had) = ask(&mut peer, 12, &in_session((session, epoch), request(None, &[], AGES)));
        assert_eq!(had.iter().map(|had| (had.partition, had.error)).collect::<Vec<_>>(), errors);
    }
    let forgotten = ForgottenTopic { topic: "t", partitions: vec![1, 7], ..ForgottenTopic::default() };
    let forgets = FetchRequest { forgotten_topics_data: vec![forgotten], ..request(None, &[], NOW) };
    assert!(ask(&mut peer, 12, &in_session((session, 4), forgets)).1.is_empty());
    let (_, had) = ask(&mut peer, 12, &in_session((session, 5), request(None, &[wanted(1, 0)], NOW)));
    assert_eq!(had[0].error, KafkaError::NONE, "it is back");

    // With its last partition it ends.
    let forgotten = ForgottenTopic { topic: "t", partitions: vec![0, 1], ..ForgottenTopic::default() };
    let forgets = FetchRequest { forgotten_topics_data: vec![forgotten], ..request(None, &[], AGES) };
    assert_eq!(ask(&mut peer, 12, &in_session((session, 6), forgets)), (0, vec![]));
    assert_eq!(refused(&mut peer, 12, (session, 7)), KafkaError::FETCH_SESSION_ID_NOT_FOUND);
}

/// The error of a request that goes on with a session.
fn refused(peer: &mut KafkaPeer, version: i16, session: (i32, i32)) -> KafkaError {
    let answer = peer.call(version, &in_session(session, request(None, &[], AGES)));
    let told: FetchResponse<'_> = answer.message();
    assert_eq!((told.session_id, told.responses.len()), (0, 0));
    told.error_code
}

#[test]
fn a_session_that_is_not_there_or_elsewhere_or_of_the_other_kind_is_an_error_without_partitions() {
    let (_rig, mut peer) = rig(1);
    let wants = [wanted(0, 0)];
    assert_eq!(refused(&mut peer, 12, (12345, 1)), KafkaError::FETCH_SESSION_ID_NOT_FOUND);
    let (session, _) = ask(&mut peer, 12, &in_session((0, 0), request(None, &wants, NOW)));
    assert_eq!(refused(&mut peer, 12, (session, 2)), KafkaError::INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(refused(&mut peer, 13, (session, 1)), KafkaError::FETCH_SESSION_TOPIC_ID_ERROR);
    ask(&mut peer, 12, &in_session((session, 1), request(None, &[], NOW)));

    // A full request closes it, with another one or with none.
    let (next, had) = ask(&mut peer, 12, &in_session((session, 0), request(None, &wants, NOW)));
    assert!(next > 0 && next != session && had.len() == 1);
    assert_eq!(refused(&mut peer, 12, (session, 2)), KafkaError::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(ask(&mut peer, 12, &in_session((next, -1), request(None, &wants, NOW))).0, 0);
    assert_eq!(refused(&mut peer, 12, (next, 1)), KafkaError::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_session_goes_on_over_another_connection_and_another_loop() {
    let rig = Rig::new(&[("topic.durability", "os"), ("loop.threads", "3")]);
    rig.peer().create("t", 2, &[]);
    let mut first = KafkaPeer::connect(rig.address());
    let wants = [wanted(0, 0), wanted(1, 0)];
    let (session, _) = ask(&mut first, 12, &in_session((0, 0), request(None, &wants, NOW)));
    ask(&mut first, 12, &in_session((session, 1), request(None, &[], NOW)));
    // A request that waits, and whose connection goes.
    first.submit(12, &in_session((session, 2), request(None, &[], Duration::from_secs(2))));
    assert!(first.answer_within(ApiKey::Fetch, 12, WHILE).is_none());
    assert_eq!(
        refused(&mut KafkaPeer::connect(rig.address()), 12, (session, 3)),
        KafkaError::INVALID_FETCH_SESSION_EPOCH,
        "it is still being worked on"
    );
    drop(first);
    let mut epoch = 3;
    for round in 0..6 {
        let mut peer = KafkaPeer::connect(rig.address());
        if round == 0 {
            until("the session is given back", || {
                let answer = peer.call(12, &in_session((session, epoch), request(None, &[], NOW)));
                answer.message::<FetchResponse<'_>>().error_code == KafkaError::NONE
            });
            epoch += 1;
        }
        append(&mut peer, round % 2, &batch(b"x"));
        let (_, had) = ask(&mut peer, 12, &in_session((session, epoch), request(None, &[], AGES)));
        assert!(had.iter().any(|had| had.partition == round % 2 && had.bytes > 0), "round {round}");
        epoch += 1;
    }
}

#[test]
fn clients_that_open_a_session_with_each_request_fill_the_cache_and_are_served_on() {
    let rig = Rig::new(&[("topic.durability", "os"), ("fetch.session.cache.slots", "3")]);
    rig.peer().create("t", 1, &[]);
    let mut peer = KafkaPeer::connect(rig.address());
    append(&mut peer, 0, &batch(b"x"));
    let opened: Vec<i32> = (0..10)
        .map(|_| {
            let (session, had) = ask(&mut peer, 12, &in_session((0, 0), request(None, &[wanted(0, 0)], NOW)));
            assert_eq!(had[0].base, Some(0));
            session
        })
        .collect();
    assert!(opened[..3].iter().all(|session| *session > 0) && opened[3..] == [0; 7], "{opened:?}");
    let (same, _) = ask(&mut peer, 12, &in_session((opened[0], 1), request(None, &[], NOW)));
    assert_eq!(same, opened[0], "who has one keeps it");
}

#[test]
fn a_topic_made_anew_is_told_from_the_one_it_was() {
    let (rig, mut peer) = rig(1);
    let old = topic_id(&mut peer, "t");
    let wants = [wanted(0, 0)];
    let (session, had) = ask(&mut peer, 13, &in_session((0, 0), request(Some(old), &wants, NOW)));
    assert_eq!(had[0].error, KafkaError::NONE);
    peer.submit(13, &in_session((session, 1), request(None, &[], AGES)));
    assert!(peer.answer_within(ApiKey::Fetch, 13, WHILE).is_none());
    delete(&rig, "t");
    let (_, had) = all(&peer.answer(ApiKey::Fetch, 13).message());
    assert_eq!(had[0].error, KafkaError::UNKNOWN_TOPIC_OR_PARTITION, "deleted while it was waited for");

    let mut told = |epoch| ask(&mut peer, 13, &in_session((session, epoch), request(None, &[], AGES))).1;
    assert_eq!(told(2)[0].error, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    rig.peer().create("t", 1, &[]);
    assert_eq!(told(3)[0].error, KafkaError::INCONSISTENT_TOPIC_ID);
    let (_, had) = ask(&mut peer, 13, &request(Some(old), &wants, AGES));
    assert_eq!(had[0].error, KafkaError::UNKNOWN_TOPIC_ID, "whoever asks in full");
    let new = topic_id(&mut peer, "t");
    assert_ne!(new, old);
    assert_eq!(ask(&mut peer, 13, &request(Some(new), &wants, NOW)).1[0].error, KafkaError::NONE);
}

#[test]
fn a_session_by_name_goes_on_with_the_topic_that_has_the_name() {
    let (rig, mut peer) = rig(1);
    append(&mut peer, 0, &batch(b"x"));
    let (session, _) = ask(&mut peer, 12, &in_session((0, 0), request(None, &[wanted(0, 1)], NOW)));
    assert!(ask(&mut peer, 12, &in_session((session, 1), request(None, &[], NOW))).1.is_empty());
    delete(&rig, "t");
    let (_, had) = ask(&mut peer, 12, &in_session((session, 2), request(None, &[], AGES)));
    assert_eq!(had[0].error, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    rig.peer().create("t", 1, &[]);
    let (_, had) = ask(&mut peer, 12, &in_session((session, 3), request(None, &[], AGES)));
    assert_eq!(had[0].error, KafkaError::OFFSET_OUT_OF_RANGE);
    peer.submit(12, &in_session((session, 4), request(None, &[wanted(0, 0)], AGES)));
    append(&mut KafkaPeer::connect(rig.address()), 0, &batch(b"y"));
    loop {
        let (_, had) = all(&peer.answer(ApiKey::Fetch, 12).message());
        if had.first().is_some_and(|had| had.bytes > 0) {
            break;
        }
        peer.submit(12, &in_session((session, 5), request(None, &[], AGES)));
    }
}

#[test]
fn a_session_tells_where_the_log_begins_once_that_has_changed() {
    let (rig, mut peer) = rig(2);
    append(&mut peer, 0, &batch_of(5, Compression::None));
    let (session, _) =
        ask(&mut peer, 12, &in_session((0, 0), request(None, &[wanted(0, 5), wanted(1, 0)], NOW)));
    assert!(ask(&mut peer, 12, &in_session((session, 1), request(None, &[], NOW))).1.is_empty());
    let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 0, before: 3 }];
    rig.peer().call(&RecordsDeleteRequestV1 { entries }, &[]);
    let answer = peer.call(12, &in_session((session, 2), request(None, &[], NOW)));
    let told: FetchResponse<'_> = answer.message();
    let told: Vec<_> = told.responses[0]
        .partitions
        .iter()
        .map(|data| (data.partition_index, data.log_start_offset))
        .collect();
    assert_eq!(told, [(0, 3)]);
    assert!(ask(&mut peer, 12, &in_session((session, 3), request(None, &[], NOW))).1.is_empty());
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

#[test]
fn consumers_in_sessions_of_many_partitions_get_every_record_once_whatever_else_moves() {
    let rig = Rig::new(&[("topic.durability", "os"), ("loop.threads", "2")]);
    rig.peer().create("t", 20, &[]);
    const EACH: i64 = 30;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = KafkaPeer::connect(rig.address());
            for _ in 0..EACH {
                (0..20).for_each(|partition| append(&mut producer, partition, &batch(b"x")));
            }
        });
        for _ in 0..3 {
            let mut peer = KafkaPeer::connect(rig.address());
            scope.spawn(move || {
                let mut offsets = [0_i64; 20];
                let mut wants: Vec<_> = (0..20).map(|partition| wanted(partition, 0)).collect();
                let (mut session, mut epoch) = (0, 0);
                while offsets.iter().any(|offset| *offset < EACH) {
                    let request = in_session((session, epoch), request(None, &wants, AGES));
                    let answer = peer.call(11, &request);
                    let told: FetchResponse<'_> = answer.message();
                    assert_eq!(told.error_code, KafkaError::NONE);
                    (session, epoch) = (told.session_id, epoch + 1);
                    wants.clear();
                    for data in told.responses.iter().flat_map(|topic| &topic.partitions) {
                        let mut rest = data.records.unwrap().held().unwrap();
                        let offset = &mut offsets[data.partition_index as usize];
                        while !rest.is_empty() {
                            let (batch, behind) = UnverifiedBatch::split_first(rest).unwrap();
                            assert_eq!(batch.verify().unwrap().header().base_offset.get(), *offset);
                            (*offset, rest) = (*offset + 1, behind);
                        }
                        wants.push(wanted(data.partition_index, *offset));
                    }
                }
                assert_eq!(offsets, [EACH; 20]);
            });
        }
    });
}
