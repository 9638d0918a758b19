//! What Kafka's tools ask of a cluster, as a cluster of one broker answers it.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::kafka::{KafkaPeer, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use folio_wire::kafka::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use folio_wire::kafka::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use folio_wire::kafka::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, RequestPartition, RequestTopic,
};
use folio_wire::kafka::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, RequestCursor, TopicRequest,
};
use folio_wire::kafka::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, TopicPartitions};
use folio_wire::kafka::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use folio_wire::kafka::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

#[test]
fn the_cluster_is_one_broker_at_the_address_that_the_client_came_by() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for version in 0..=2 {
        for include_cluster_authorized_operations in [false, true] {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations,
                ..DescribeClusterRequest::default()
            };
            let answer = peer.call(version, &request);
            let told: DescribeClusterResponse<'_> = answer.message();
            assert_eq!(
                (told.error_code, told.controller_id, told.cluster_id.len()),
                (KafkaError::NONE, 1, 22)
            );
            let [broker] = &told.brokers[..] else { panic!("{:?}", told.brokers) };
            assert_eq!(format!("{}:{}", broker.host, broker.port), rig.address());
            assert_eq!((broker.broker_id, broker.rack.as_deref(), broker.is_fenced), (1, None, false));
            let bits = if include_cluster_authorized_operations { 8096 } else { i32::MIN };
            assert_eq!(told.cluster_authorized_operations, bits);
        }
    }
    for (endpoint_type, error) in
        [(2, KafkaError::MISMATCHED_ENDPOINT_TYPE), (3, KafkaError::UNSUPPORTED_ENDPOINT_TYPE)]
    {
        let answer =
            peer.call(1, &DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() });
        let told: DescribeClusterResponse<'_> = answer.message();
        assert_eq!((told.error_code, told.brokers.len()), (error, 0));
    }
}

/// The pages of a walk through topics: of each, the topics with their partitions.
fn pages(peer: &mut KafkaPeer, topics: &[&str], limit: i32) -> Vec<Vec<(String, Vec<i32>)>> {
    let mut pages = Vec::new();
    let mut cursor: Option<(String, i32)> = None;
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|&name| TopicRequest { name }).collect(),
            response_partition_limit: limit,
            cursor: (cursor.as_ref()).map(|(topic_name, partition_index)| RequestCursor {
                topic_name,
                partition_index: *partition_index,
            }),
        };
        let answer = peer.call(0, &request);
        let told: DescribeTopicPartitionsResponse<'_> = answer.message();
        let page = told.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let lists = (&partition.eligible_leader_replicas, &partition.last_known_elr);
                assert_eq!(
                    lists,
                    (&Some(Vec::new()), &Some(Vec::new())),
                    "Java's client cannot do with null"
                );
                assert_eq!((partition.leader_id, &partition.isr_nodes[..]), (1, &[1][..]));
                partition.partition_index
            });
            (topic.name.as_deref().unwrap().to_owned(), partitions.collect())
        });
        pages.push(page.collect());
        let Some(next) = told.next_cursor else { return pages };
        assert!(pages.len() < 20, "it comes to an end");
        cursor = Some((next.topic_name.into_owned(), next.partition_index));
    }
}

#[test]
fn topics_are_told_page_by_page_in_the_order_of_their_names() {
    let rig = Rig::new(&[]);
    for (name, partitions) in [("c", 1), ("a", 3), ("b", 2)] {
        rig.peer().create(name, partitions, &[]);
    }
    let mut peer = peer(&rig);
    let topic = |name: &str, partitions: &[i32]| (name.to_owned(), partitions.to_vec());
    let all = vec![topic("a", &[0, 1, 2]), topic("b", &[0, 1]), topic("c", &[0])];
    assert_eq!(pages(&mut peer, &[], 2000), [all]);
    assert_eq!(
        pages(&mut peer, &[], 2),
        [
            vec![topic("a", &[0, 1])],
            vec![topic("a", &[2]), topic("b", &[0])],
            vec![topic("b", &[1]), topic("c", &[0])],
        ]
    );
    assert_eq!(pages(&mut peer, &["c", "a", "c"], 3), [vec![topic("a", &[0, 1, 2])], vec![topic("c", &[0])]]);
    assert_eq!(pages(&mut peer, &["nowhere"], 3), [vec![topic("nowhere", &[])]]);
}

#[test]
fn a_topic_that_is_not_there_is_an_error_of_that_topic() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let topics = ["t", "nowhere", "bad/name"].map(|name| TopicRequest { name }).to_vec();
    let request = DescribeTopicPartitionsRequest { topics, ..DescribeTopicPartitionsRequest::default() };
    let answer = peer(&rig).call(0, &request);
    let told: DescribeTopicPartitionsResponse<'_> = answer.message();
    let codes: Vec<_> =
        told.topics.iter().map(|topic| (topic.name.as_deref().unwrap(), topic.error_code)).collect();
    let expected = [
        ("bad/name", KafkaError::INVALID_TOPIC_EXCEPTION),
        ("nowhere", KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", KafkaError::NONE),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn the_data_directory_is_told_with_the_size_of_each_partition() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 2, &[]);
    let mut peer = peer(&rig);
    let records = batch(&[7; 1000]);
    peer.call(9, &produce("t", 1, -1, &records));
    for version in 1..=5 {
        let answer = peer.call(version, &DescribeLogDirsRequest { topics: None });
        let told: DescribeLogDirsResponse<'_> = answer.message();
        let [dir] = &told.results[..] else { panic!("{:?}", told.results) };
        assert_eq!((told.error_code, dir.error_code), (KafkaError::NONE, KafkaError::NONE));
        assert_eq!(*dir.log_dir, *rig.dir().join("data").display().to_string());
        let [topic] = &dir.topics[..] else { panic!("{:?}", dir.topics) };
        let sizes: Vec<_> =
            topic.partitions.iter().map(|one| (one.partition_index, one.partition_size)).collect();
        assert_eq!(sizes, [(0, 0), (1, records.len() as i64)]);
        assert_eq!(dir.total_bytes > 0, version >= 4);
        assert!(dir.total_bytes >= dir.usable_bytes);
    }
    let wanted = |topic, partitions| DescribableLogDirTopic { topic, partitions };
    let topics = Some(vec![wanted("t", vec![1, 7]), wanted("nowhere", vec![0])]);
    let answer = peer.call(5, &DescribeLogDirsRequest { topics });
    let told: DescribeLogDirsResponse<'_> = answer.message();
    let told: Vec<_> =
        told.results[0].topics.iter().map(|topic| (&*topic.name, topic.partitions.len())).collect();
    assert_eq!(told, [("t", 1)], "what there is of what was asked for");
}

#[test]
fn no_election_is_needed_where_one_broker_leads_everything() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    for version in 0..=2 {
        let topics = ["t", "nowhere"].map(|topic| TopicPartitions { topic, partitions: vec![0] }).to_vec();
        let request =
            ElectLeadersRequest { topic_partitions: Some(topics), ..ElectLeadersRequest::default() };
        let answer = peer.call(version, &request);
        let told: ElectLeadersResponse<'_> = answer.message();
        let codes: Vec<_> =
            told.replica_election_results.iter().map(|topic| topic.partition_result[0].error_code).collect();
        assert_eq!(codes, [KafkaError::ELECTION_NOT_NEEDED, KafkaError::UNKNOWN_TOPIC_OR_PARTITION]);
        let all = ElectLeadersRequest { topic_partitions: None, ..ElectLeadersRequest::default() };
        let answer = peer.call(version, &all);
        let told: ElectLeadersResponse<'_> = answer.message();
        assert_eq!((told.error_code, told.replica_election_results.len()), (KafkaError::NONE, 0));
    }
}

#[test]
fn no_partition_is_on_its_way_to_another_broker() {
    let rig = Rig::new(&[]);
    let answer = peer(&rig).call(0, &ListPartitionReassignmentsRequest::default());
    let told: ListPartitionReassignmentsResponse<'_> = answer.message();
    assert_eq!((told.error_code, told.topics.len()), (KafkaError::NONE, 0));
}

#[test]
fn topics_and_the_broker_have_settings() {
    let rig = Rig::new(&[]);
    rig.peer().create("t", 1, &[]);
    let mut peer = peer(&rig);
    let mut list = |version, resource_types: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
        let answer = peer.call(version, &request);
        let told: ListConfigResourcesResponse<'_> = answer.message();
        let named = |one: &folio_wire::kafka::list_config_resources::ConfigResource<'_>| {
            (one.resource_type, one.resource_name.to_string())
        };
        (told.error_code, told.config_resources.iter().map(named).collect::<Vec<_>>())
    };
    let (topic, broker) = ((2, "t".to_owned()), (4, "1".to_owned()));
    assert_eq!(list(0, &[]), (KafkaError::NONE, vec![]), "of old only client metrics were asked for");
    assert_eq!(list(1, &[]), (KafkaError::NONE, vec![topic.clone(), broker, (8, "1".to_owned())]));
    assert_eq!(list(1, &[2]), (KafkaError::NONE, vec![topic]));
    assert_eq!(list(1, &[16, 32]), (KafkaError::NONE, vec![]));
    assert_eq!(list(1, &[3]).0, KafkaError::UNSUPPORTED_VERSION);
}

#[test]
fn the_quorum_is_the_broker_itself() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for version in 0..=2 {
        let topics = ["__cluster_metadata", "t"].map(|topic_name| RequestTopic {
            topic_name,
            partitions: vec![RequestPartition { partition_index: 0 }],
        });
        let answer = peer.call(version, &DescribeQuorumRequest { topics: topics.to_vec() });
        let told: DescribeQuorumResponse<'_> = answer.message();
        assert_eq!((told.error_code, told.nodes.len()), (KafkaError::NONE, usize::from(version >= 2)));
        let quorum = &told.topics[0].partitions[0];
        assert_eq!((quorum.error_code, quorum.leader_id), (KafkaError::NONE, 1));
        let [voter] = &quorum.current_voters[..] else { panic!("{:?}", quorum.current_voters) };
        assert_eq!((voter.replica_id, voter.log_end_offset), (1, quorum.high_watermark));
        assert_eq!(told.topics[1].partitions[0].error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn there_is_nobody_who_allows_or_denies() {
    let rig = Rig::new(&[]);
    let mut peer = peer(&rig);
    for version in 1..=3 {
        let answer = peer.call(
            version,
            &DescribeAclsRequest { resource_type_filter: 1, ..DescribeAclsRequest::default() },
        );
        let told: DescribeAclsResponse<'_> = answer.message();
        assert_eq!((told.error_code, told.resources.len()), (KafkaError::SECURITY_DISABLED, 0));
    }
}
