//! Sessions: what an answer leaves out because it was told before, and who may go on with one.

use std::time::Duration;

use folio_record::{Compression, UnverifiedBatch};
use folio_tests::kafka::KafkaPeer;
use folio_tests::native::batch;
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::fetch::{FetchRequest, FetchResponse, ForgottenTopic};
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::kafka::{ApiKey, KafkaError};
use folio_wire::native::records::{RecordsDeleteEntryV1, RecordsDeleteRequestV1};
use folio_wire::native::topics::TopicDeleteRequestV1;
use uuid::Uuid;

use super::{AGES, NOW, WHILE, all, append, ask, batch_of, request, rig, wanted};

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
    first.submit(12, &in_session((session, 2), request(None, &[], Duration::from_secs(10))));
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
