//! Kafka's administration, as its clients and tools see it.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use folio_wire::kafka::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use folio_wire::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use folio_wire::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::kafka::produce::ProduceResponse;
use uuid::Uuid;

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

fn new_topic<'a>(name: &'a str, partitions: i32, configs: &[(&'a str, &'a str)]) -> CreatableTopic<'a> {
    let config = |&(name, value)| CreatableTopicConfig { name, value: Some(value) };
    CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

fn creation(topics: Vec<CreatableTopic<'_>>) -> CreateTopicsRequest<'_> {
    CreateTopicsRequest { topics, ..CreateTopicsRequest::default() }
}

/// What each version says of one topic's creation.
fn create(peer: &mut KafkaPeer, version: i16, topic: CreatableTopic<'_>) -> (KafkaError, Option<String>) {
    let answer = peer.call(version, &creation(vec![topic]));
    let told: CreateTopicsResponse<'_> = answer.message();
    let topic = &told.topics[0];
    (topic.error_code, topic.error_message.as_ref().map(ToString::to_string))
}

fn partitions(peer: &mut KafkaPeer, topic: &str) -> usize {
    peer.metadata(topic).message::<MetadataResponse<'_>>().topics[0].partitions.len()
}

#[test]
fn topics_are_made_in_every_version_and_told_with_all_their_settings() {
    let rig = Rig::new(&[("num.partitions", "3")]);
    let mut peer = peer(&rig);
    for version in 2..=7 {
        let name = format!("t{version}");
        let topic = new_topic(&name, -1, &[("retention.ms", "60000"), ("cleanup.policy", "compact")]);
        let answer = peer.call(version, &creation(vec![topic]));
        let told: CreateTopicsResponse<'_> = answer.message();
        let topic = &told.topics[0];
        assert_eq!((topic.error_code, &*topic.name), (KafkaError::NONE, &*name));
        assert_eq!(topic.topic_id.is_nil(), version < 7);
        if version >= 5 {
            assert_eq!((topic.num_partitions, topic.replication_factor), (3, 1));
            let configs = topic.configs.as_ref().expect("Java's client cannot do with null");
            let own = |name: &str| configs.iter().find(|config| config.name == name).unwrap();
            assert_eq!(
                (own("retention.ms").value.as_deref(), own("retention.ms").config_source),
                (Some("60000"), 1)
            );
            assert_eq!(
                (own("segment.ms").value.as_deref(), own("segment.ms").config_source),
                (Some("604800000"), 5)
            );
        }
        assert_eq!(partitions(&mut peer, &name), 3);
    }
}

#[test]
fn a_topic_that_cannot_be_made_is_refused_with_kafkas_code_also_when_it_is_only_looked_at() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    assert_eq!(create(&mut peer, 7, new_topic("there", 1, &[])).0, KafkaError::NONE);
    let replicas = |replication_factor| CreatableTopic { replication_factor, ..new_topic("t", 1, &[]) };
    let cases = [
        (new_topic("there", 1, &[]), KafkaError::TOPIC_ALREADY_EXISTS),
        (new_topic("bad/name", 1, &[]), KafkaError::INVALID_TOPIC_EXCEPTION),
        (new_topic("", 1, &[]), KafkaError::INVALID_TOPIC_EXCEPTION),
        (new_topic("t", 0, &[]), KafkaError::INVALID_PARTITIONS),
        (new_topic("t", -2, &[]), KafkaError::INVALID_PARTITIONS),
        (replicas(3), KafkaError::INVALID_REPLICATION_FACTOR),
        (replicas(0), KafkaError::INVALID_REPLICATION_FACTOR),
        (new_topic("t", 1, &[("no.such", "1")]), KafkaError::INVALID_CONFIG),
        (new_topic("t", 1, &[("retention.ms", "soon")]), KafkaError::INVALID_CONFIG),
    ];
    for (topic, error) in cases {
        for validate_only in [false, true] {
            let request = CreateTopicsRequest { validate_only, ..creation(vec![topic.clone()]) };
            let answer = peer.call(7, &request);
            let told: CreateTopicsResponse<'_> = answer.message();
            let told = &told.topics[0];
            assert_eq!(told.error_code, error, "{topic:?}");
            assert!(told.error_message.is_some());
            assert_eq!((told.num_partitions, told.replication_factor), (-1, -1));
            assert_eq!(told.configs.as_deref(), Some(&[][..]), "empty, not null");
        }
    }
    let request = CreateTopicsRequest { validate_only: true, ..creation(vec![new_topic("t", 2, &[])]) };
    let answer = peer.call(7, &request);
    assert_eq!(answer.message::<CreateTopicsResponse<'_>>().topics[0].error_code, KafkaError::NONE);
    assert_eq!(create(&mut peer, 7, new_topic("t", 2, &[])).0, KafkaError::NONE, "it was not made");
}

#[test]
fn a_topic_that_is_named_twice_is_refused_and_the_others_are_made() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let topics = ["twice", "once", "twice"].map(|name| new_topic(name, 1, &[])).to_vec();
    let answer = peer.call(7, &creation(topics));
    let told: CreateTopicsResponse<'_> = answer.message();
    let mut codes: Vec<_> = told.topics.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    codes.sort_by_key(|(name, _)| *name);
    assert_eq!(codes, [("once", KafkaError::NONE), ("twice", KafkaError::INVALID_REQUEST)]);
}

#[test]
fn replicas_may_be_assigned_to_the_one_broker_and_to_nobody_else() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    let assigned = |name, brokers: [i32; 2]| CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: (brokers.into_iter().zip(0..))
            .map(|(broker, partition_index)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: vec![broker],
            })
            .collect(),
        ..new_topic(name, 0, &[])
    };
    assert_eq!(create(&mut peer, 7, assigned("t", [1, 1])), (KafkaError::NONE, None));
    assert_eq!(partitions(&mut peer, "t"), 2);
    assert_eq!(create(&mut peer, 7, assigned("u", [1, 2])).0, KafkaError::INVALID_REPLICA_ASSIGNMENT);
}

#[test]
fn topics_are_deleted_by_name_in_every_version_and_by_id_in_the_last() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for version in 1..=5 {
        rig.peer().create("t", 1, &[]);
        let request =
            DeleteTopicsRequest { topic_names: vec!["t", "nowhere"], ..DeleteTopicsRequest::default() };
        let answer = peer.call(version, &request);
        let told: DeleteTopicsResponse<'_> = answer.message();
        let codes: Vec<_> = told.responses.iter().map(|one| (one.name.as_deref(), one.error_code)).collect();
        let expected =
            [(Some("t"), KafkaError::NONE), (Some("nowhere"), KafkaError::UNKNOWN_TOPIC_OR_PARTITION)];
        assert_eq!(codes, expected);
    }
    for name in ["by-name", "by-id"] {
        rig.peer().create(name, 1, &[]);
    }
    let id = peer.metadata("by-id").message::<MetadataResponse<'_>>().topics[0].topic_id;
    let (unknown, topics) = (Uuid::from_u128(9), |name, topic_id| DeleteTopicState { name, topic_id });
    let request = DeleteTopicsRequest {
        topics: vec![topics(Some("by-name"), Uuid::nil()), topics(None, id), topics(None, unknown)],
        ..DeleteTopicsRequest::default()
    };
    let answer = peer.call(6, &request);
    let told: DeleteTopicsResponse<'_> = answer.message();
    let codes: Vec<_> = told.responses.iter().map(|one| (one.name.as_deref(), one.error_code)).collect();
    let expected = [
        (Some("by-name"), KafkaError::NONE),
        (Some("by-id"), KafkaError::NONE),
        (None, KafkaError::UNKNOWN_TOPIC_ID),
    ];
    assert_eq!(codes, expected);
    assert_eq!(told.responses[2].topic_id, unknown);
}

#[test]
fn topics_grow_and_never_shrink() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 2, &[]);
    let mut peer = peer(&rig);
    let mut grow = |version, name, count, brokers: Option<Vec<i32>>| {
        let assignments = brokers.map(|brokers| {
            brokers.into_iter().map(|one| CreatePartitionsAssignment { broker_ids: vec![one] }).collect()
        });
        let topics = vec![CreatePartitionsTopic { name, count, assignments }];
        let request =
            CreatePartitionsRequest { topics, timeout_ms: 1000, ..CreatePartitionsRequest::default() };
        let answer = peer.call(version, &request);
        answer.message::<CreatePartitionsResponse<'_>>().results[0].error_code
    };
    for version in 0..=3 {
        assert_eq!(grow(version, "t", 3 + i32::from(version), None), KafkaError::NONE);
    }
    for count in [6, 5, 0, -1] {
        assert_eq!(grow(3, "t", count, None), KafkaError::INVALID_PARTITIONS, "{count}");
    }
    assert_eq!(grow(3, "nowhere", 7, None), KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(grow(3, "t", 8, Some(vec![1])), KafkaError::INVALID_REPLICA_ASSIGNMENT, "one of two");
    assert_eq!(grow(3, "t", 8, Some(vec![1, 7])), KafkaError::INVALID_REPLICA_ASSIGNMENT, "no broker 7");
    assert_eq!(grow(3, "t", 8, Some(vec![1, 1])), KafkaError::NONE);
    assert_eq!(partitions(&mut self::peer(&rig), "t"), 8);
}

#[test]
fn records_are_deleted_up_to_an_offset_or_to_the_high_watermark_and_no_further() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    for number in 0..5_u8 {
        let answer = peer.call(9, &produce("t", 0, -1, &batch(&[number])));
        let told: ProduceResponse<'_> = answer.message();
        assert_eq!(told.responses[0].partition_responses[0].error_code, KafkaError::NONE);
    }
    let mut delete = |version, topic, partition_index, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
        let answer = peer.call(version, &DeleteRecordsRequest { topics, timeout_ms: 1000 });
        let told: DeleteRecordsResponse<'_> = answer.message();
        let partition = &told.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(delete(0, "t", 0, 2), (KafkaError::NONE, 2));
    assert_eq!(delete(1, "t", 0, 1), (KafkaError::NONE, 2), "it never goes back");
    for beyond in [6, i64::MAX, -2] {
        assert_eq!(delete(2, "t", 0, beyond), (KafkaError::OFFSET_OUT_OF_RANGE, -1), "{beyond}");
    }
    let unknown = (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1);
    assert_eq!(delete(2, "nowhere", 0, 1), unknown);
    assert_eq!(delete(2, "t", 1, 1), unknown);
    assert_eq!(delete(2, "t", 0, 5), (KafkaError::NONE, 5), "the high watermark itself");
    assert_eq!(delete(2, "t", 0, -1), (KafkaError::NONE, 5), "and by its name");
    let now = std::time::Duration::ZERO;
    let answer = peer.call(9, &fetch("t", 0, 2, now));
    let told: FetchResponse<'_> = answer.message();
    assert_eq!(told.responses[0].partitions[0].error_code, KafkaError::OFFSET_OUT_OF_RANGE);
}
