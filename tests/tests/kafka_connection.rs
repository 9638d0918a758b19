//! How Kafka's clients and this broker come to terms: versions, frames, the order of answers.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::batch;
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use folio_wire::kafka::metadata::{MetadataRequest, MetadataResponse};
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::kafka::{ApiKey, KafkaError};

const LIMIT: Duration = Duration::from_secs(60);
/// What would come at once has come by then.
const WHILE: Duration = Duration::from_millis(300);

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

fn versions_request(name: &'static str) -> ApiVersionsRequest<'static> {
    ApiVersionsRequest {
        client_software_name: name,
        client_software_version: "1.0",
        ..ApiVersionsRequest::default()
    }
}

/// The cluster id that the broker tells.
fn cluster_id(peer: &mut KafkaPeer) -> String {
    let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let answer = peer.call(9, &request);
    answer.message::<MetadataResponse<'_>>().cluster_id.unwrap().into_owned()
}

#[test]
fn a_client_from_the_future_is_told_in_the_oldest_form_which_versions_to_try() {
    let rig = Rig::new(&[]);
    for version in [6, 99, i16::MAX, -1] {
        let mut peer = peer(&rig);
        // What stands behind the correlation id is anybody's guess.
        let mut frame = vec![0, 0, 0, 12, 0, 18];
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 77, 0xff, 0xfe, 0xfd, 0xfc]);
        peer.send(&frame);
        let answer = peer.answer(ApiKey::ApiVersions, 0);
        assert_eq!(answer.correlation(), 77);
        let told: ApiVersionsResponse<'_> = answer.message();
        assert_eq!(told.error_code, KafkaError::UNSUPPORTED_VERSION);
        let [range] = &told.api_keys[..] else { panic!("{:?}", told.api_keys) };
        assert_eq!((range.api_key, range.min_version, range.max_version), (18, 0, 5));
        // And then it tries them, on the same connection.
        let answer = peer.call(5, &versions_request("later"));
        assert_eq!(answer.message::<ApiVersionsResponse<'_>>().error_code, KafkaError::NONE);
    }
}

#[test]
fn every_version_of_api_versions_is_answered_with_the_same_apis() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let mut ranges = Vec::new();
    for version in 0..=5 {
        let answer = peer.call(version, &versions_request("librdkafka"));
        let told: ApiVersionsResponse<'_> = answer.message();
        assert_eq!(told.error_code, KafkaError::NONE);
        ranges.push(
            told.api_keys
                .iter()
                .map(|one| (one.api_key, one.min_version, one.max_version))
                .collect::<Vec<_>>(),
        );
    }
    assert!(ranges.windows(2).all(|pair| pair[0] == pair[1]));
    // A higher beginning would make librdkafka before 2.11 send nothing compressed.
    assert!(ranges[0].contains(&(0, 0, 13)), "{:?}", ranges[0]);
    assert!(ranges[0].iter().all(|(_, min, max)| min <= max));
}

#[test]
fn a_client_with_a_name_that_is_no_word_is_refused() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for name in ["", "two words", "-", "a_b"] {
        let answer = peer.call(3, &versions_request(name));
        let told: ApiVersionsResponse<'_> = answer.message();
        assert_eq!(told.error_code, KafkaError::INVALID_REQUEST, "{name:?}");
        assert!(told.api_keys.is_empty());
    }
    assert_eq!(
        peer.call(3, &versions_request("fine")).message::<ApiVersionsResponse<'_>>().error_code,
        KafkaError::NONE
    );
}

#[test]
fn who_means_another_cluster_or_node_is_sent_back_to_its_bootstrap_servers() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let ours = cluster_id(&mut peer);
    for (cluster, node, error) in [
        (None, -1, KafkaError::NONE),
        (Some(ours.as_str()), 1, KafkaError::NONE),
        (Some(ours.as_str()), 2, KafkaError::REBOOTSTRAP_REQUIRED),
        (Some("somebody-else"), 1, KafkaError::REBOOTSTRAP_REQUIRED),
        (None, 1, KafkaError::INVALID_REQUEST),
        (Some(ours.as_str()), -1, KafkaError::INVALID_REQUEST),
    ] {
        let request = ApiVersionsRequest { cluster_id: cluster, node_id: node, ..versions_request("java") };
        let told = peer.call(5, &request).message::<ApiVersionsResponse<'_>>().error_code;
        assert_eq!(told, error, "{cluster:?} {node}");
    }
}

#[test]
fn a_request_that_is_not_served_closes_the_connection_without_a_word() {
    let rig = Rig::new(&[]);
    let header = |key: i16, version: i16| {
        let mut frame = vec![0, 0, 0, 20];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame
    };
    for (key, version) in [
        (4, 0),    // a broker's own, of old
        (52, 0),   // a controller's
        (1234, 0), // nobody's
        (-1, 0),
        (3, 14), // one beyond
        (3, -1),
        (0, 2), // told, for old clients' sake, and not served
        (0, 14),
        (68, 1), // a group's
    ] {
        let mut peer = peer(&rig);
        peer.send(&header(key, version));
        assert!(peer.is_closed(LIMIT), "api key {key}, version {version}");
    }
}

#[test]
fn a_client_may_have_no_name_or_an_empty_one() {
    let rig = Rig::new(&[]);
    // Metadata 9: a flexible header, about no topics.
    for client_id in [&[0xff, 0xff][..], &[0, 0], &[0, 2, b'i', b'd']] {
        let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 5];
        frame.extend_from_slice(client_id);
        frame.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        let mut peer = peer(&rig);
        peer.send(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        peer.send(&frame);
        let answer = peer.answer(ApiKey::Metadata, 9);
        assert_eq!(answer.correlation(), 5);
        assert_eq!(answer.message::<MetadataResponse<'_>>().brokers.len(), 1);
    }
}

#[test]
fn produces_that_follow_each_other_without_waiting_keep_their_order() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let records: Vec<_> = (0..20_u8).map(|number| batch(&[number])).collect();
    let frames: Vec<u8> =
        records.iter().flat_map(|records| peer.frame(7, &produce("t", 0, -1, records))).collect();
    peer.send(&frames);
    for number in 0..20 {
        let answer = peer.answer(ApiKey::Produce, 7);
        assert_eq!(answer.correlation(), number + 1);
        let told: ProduceResponse<'_> = answer.message();
        let partition = &told.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (KafkaError::NONE, i64::from(number)));
    }
}

#[test]
fn a_produce_without_acknowledgement_gets_no_answer_and_what_follows_does() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let records = batch(b"unacknowledged");
    for _ in 0..3 {
        peer.submit(7, &produce("t", 0, 0, &records));
    }
    let answer = peer.call(7, &produce("t", 0, 1, &records));
    assert_eq!(answer.correlation(), 4, "the first answer is to the first that wants one");
    let told: ProduceResponse<'_> = answer.message();
    assert_eq!(told.responses[0].partition_responses[0].base_offset, 3, "the others were stored before it");
}

#[test]
fn a_produce_without_acknowledgement_that_fails_closes_the_connection() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let records = batch(b"value");
    let mut torn = records.clone();
    *torn.last_mut().unwrap() ^= 1;
    for (topic, records) in [("nowhere", &records), ("t", &torn)] {
        let mut peer = peer(&rig);
        peer.submit(7, &produce(topic, 0, 0, records));
        assert!(peer.is_closed(LIMIT), "{topic}");
    }
}

#[test]
fn one_request_of_a_connection_is_worked_on_at_a_time() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    peer.submit(11, &fetch("t", 0, 0, Duration::from_secs(60)));
    peer.submit(3, &versions_request("patient"));
    assert!(peer.answer_within(ApiKey::Fetch, 11, WHILE).is_none(), "what waits holds back what follows");
    let since = Instant::now();
    let mut other = self::peer(&rig);
    let records = batch(b"value");
    other.call(7, &produce("t", 0, 1, &records));
    assert_eq!(peer.answer(ApiKey::Fetch, 11).correlation(), 1);
    assert_eq!(peer.answer(ApiKey::ApiVersions, 3).correlation(), 2);
    assert!(since.elapsed() < Duration::from_secs(30), "and not for longer than it waits");
}

#[test]
fn a_client_that_goes_while_its_fetch_waits_gives_its_place_back_before_the_wait_ends() {
    let rig = Rig::new(&[("connections.max", "1")]);
    // Made on demand: nobody else has a place.
    let mut goes = peer(&rig);
    until("the topic is made", || {
        let answer = goes.metadata("t");
        answer.message::<MetadataResponse<'_>>().topics[0].error_code == KafkaError::NONE
    });
    goes.submit(11, &fetch("t", 0, 0, Duration::from_secs(3600)));
    assert!(goes.answer_within(ApiKey::Fetch, 11, WHILE).is_none(), "it waits");
    assert!(peer(&rig).is_closed(LIMIT), "there is one place");
    drop(goes);
    until("the place is free", || !peer(&rig).is_closed(WHILE));
}
