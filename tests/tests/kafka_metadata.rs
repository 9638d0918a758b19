//! What Kafka's clients are told about topics, and which of them come into being by being asked for.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::kafka::{Answer, KafkaPeer};
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use uuid::Uuid;

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

fn named(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }
}

fn ask(peer: &mut KafkaPeer, version: i16, topics: Option<Vec<MetadataRequestTopic<'_>>>) -> Answer {
    peer.call(
        version,
        &MetadataRequest { topics, allow_auto_topic_creation: version < 4, ..MetadataRequest::default() },
    )
}

fn names(answer: &Answer) -> Vec<(String, KafkaError)> {
    let told: MetadataResponse<'_> = answer.message();
    let name = |name: Option<std::borrow::Cow<'_, str>>| name.unwrap_or("-".into()).into_owned();
    let mut names: Vec<_> =
        told.topics.into_iter().map(|topic| (name(topic.name), topic.error_code)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names
}

#[test]
fn every_version_tells_of_the_broker_and_of_every_partition() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 3, &[]);
    let mut peer = peer(&rig);
    for version in 0..=13 {
        let answer = ask(&mut peer, version, Some(vec![named("t")]));
        let told: MetadataResponse<'_> = answer.message();
        let [broker] = &told.brokers[..] else { panic!("{:?}", told.brokers) };
        assert_eq!(format!("{}:{}", broker.host, broker.port), rig.address());
        assert_eq!((broker.node_id, broker.rack.as_deref()), (1, None), "no rack is null, never empty");
        assert_eq!(told.controller_id, if version >= 1 { broker.node_id } else { -1 });
        assert_eq!(told.cluster_id.map(|id| id.len()), (version >= 2).then_some(22));
        let [topic] = &told.topics[..] else { panic!("{:?}", told.topics) };
        assert_eq!((topic.error_code, topic.name.as_deref()), (KafkaError::NONE, Some("t")));
        assert_eq!(topic.topic_id.is_nil(), version < 10);
        assert!(!topic.is_internal);
        assert_eq!(topic.partitions.len(), 3);
        for (partition, number) in topic.partitions.iter().zip(0..) {
            assert_eq!((partition.error_code, partition.partition_index), (KafkaError::NONE, number));
            assert_eq!(
                (partition.leader_id, &partition.replica_nodes[..], &partition.isr_nodes[..]),
                (1, &[1][..], &[1][..])
            );
            assert!(partition.leader_epoch >= if version >= 7 { 0 } else { -1 });
        }
    }
}

#[test]
fn no_topics_and_all_topics_are_asked_for_in_each_versions_own_way() {
    let rig = Rig::new(&[]);
    ["a", "b"].iter().for_each(|name| rig.peer().create(name, 1, &[]));
    let mut peer = peer(&rig);
    let all = [("a".to_owned(), KafkaError::NONE), ("b".to_owned(), KafkaError::NONE)];
    assert_eq!(names(&ask(&mut peer, 0, Some(Vec::new()))), all);
    for version in 1..=13 {
        assert_eq!(names(&ask(&mut peer, version, Some(Vec::new()))), []);
        assert_eq!(names(&ask(&mut peer, version, None)), all);
    }
    let twice = ask(&mut peer, 9, Some(vec![named("a"), named("b"), named("a")]));
    assert_eq!(names(&twice), all, "each once, however often it is asked for");
}

#[test]
fn a_topic_that_is_not_there_is_made_if_the_client_agrees_and_it_is_not_asked_for_all() {
    let rig = Rig::new(&[("num.partitions", "4")]);
    let mut peer = peer(&rig);
    let request = |allow| MetadataRequest {
        topics: Some(vec![named("fresh")]),
        allow_auto_topic_creation: allow,
        ..MetadataRequest::default()
    };
    let unknown = [("fresh".to_owned(), KafkaError::UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(names(&peer.call(9, &request(false))), unknown);
    assert_eq!(names(&ask(&mut peer, 9, None)), []);
    let answer = peer.call(9, &request(true));
    let told: MetadataResponse<'_> = answer.message();
    assert_eq!((told.topics[0].error_code, told.topics[0].partitions.len()), (KafkaError::NONE, 4));
    assert!(told.topics[0].partitions.iter().all(|partition| partition.leader_id == 1), "it is led at once");
    assert_eq!(names(&peer.call(9, &request(false))), [("fresh".to_owned(), KafkaError::NONE)]);
    // Before version 4 nobody asked the client.
    assert_eq!(names(&ask(&mut peer, 3, Some(vec![named("old")]))), [("old".to_owned(), KafkaError::NONE)]);
}

#[test]
fn names_that_no_topic_may_have_are_refused_whether_or_not_topics_are_made() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "with space", "slash/es", "grüße", &long] {
        for version in [3, 9] {
            let answer = ask(&mut peer, version, Some(vec![named(name)]));
            assert_eq!(names(&answer), [(name.to_owned(), KafkaError::INVALID_TOPIC_EXCEPTION)]);
        }
    }
    assert_eq!(names(&ask(&mut peer, 9, None)), []);
}

#[test]
fn asking_for_kafkas_own_topics_does_not_make_them() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for name in ["__consumer_offsets", "__transaction_state"] {
        let answer = ask(&mut peer, 3, Some(vec![named(name)]));
        assert_eq!(names(&answer), [(name.to_owned(), KafkaError::UNKNOWN_TOPIC_OR_PARTITION)]);
    }
    assert_eq!(names(&ask(&mut peer, 9, None)), []);
}

#[test]
fn topics_are_found_by_their_ids_from_version_12_on() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let answer = ask(&mut peer, 12, Some(vec![named("t")]));
    let id = answer.message::<MetadataResponse<'_>>().topics[0].topic_id;
    let by_id = |id| MetadataRequestTopic { topic_id: id, name: None };
    let other = Uuid::from_u128(7);
    for version in 12..=13 {
        let answer = ask(&mut peer, version, Some(vec![by_id(id), by_id(other)]));
        let told: MetadataResponse<'_> = answer.message();
        assert_eq!((told.topics[0].name.as_deref(), told.topics[0].topic_id), (Some("t"), id));
        let unknown = &told.topics[1];
        assert_eq!((unknown.error_code, unknown.topic_id), (KafkaError::UNKNOWN_TOPIC_ID, other));
        assert_eq!(unknown.name, None);
    }
    for version in 10..=11 {
        let answer = ask(&mut peer, version, Some(vec![by_id(id)]));
        assert_eq!(names(&answer), [(String::new(), KafkaError::INVALID_REQUEST)]);
    }
}

#[test]
fn what_one_may_do_is_told_to_who_asks() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    for is_asked in [false, true] {
        let request = MetadataRequest {
            topics: Some(vec![named("t")]),
            include_cluster_authorized_operations: is_asked,
            include_topic_authorized_operations: is_asked,
            ..MetadataRequest::default()
        };
        let answer = peer.call(10, &request);
        let told: MetadataResponse<'_> = answer.message();
        let bits = (told.topics[0].topic_authorized_operations, told.cluster_authorized_operations);
        assert_eq!(bits, if is_asked { (3576, 8096) } else { (i32::MIN, i32::MIN) });
    }
}
