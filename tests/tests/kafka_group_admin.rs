//! Groups for those who look after them: listed, described, deleted; and the topic that all of it is kept in.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::Duration;

use folio_tests::kafka::groups::{Member, commit, commit_codes, delete, state, stored};
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::batch;
use folio_tests::rig::Rig;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use folio_wire::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use folio_wire::kafka::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use folio_wire::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use folio_wire::kafka::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse};
use folio_wire::kafka::metadata::{MetadataRequest, MetadataResponse};
use folio_wire::kafka::produce::ProduceResponse;

const GROUP: &str = "readers";
const OFFSETS: &str = "__consumer_offsets";

fn rig() -> Rig {
    Rig::new(&[("group.initial.rebalance.delay.ms", "0")])
}

fn peer(rig: &Rig) -> KafkaPeer {
    KafkaPeer::connect(rig.address())
}

/// Name, kind and state of the groups that are listed.
fn listed(
    peer: &mut KafkaPeer,
    states: &[&'static str],
    types: &[&'static str],
) -> Vec<(String, String, String)> {
    let request = ListGroupsRequest { states_filter: states.to_vec(), types_filter: types.to_vec() };
    let answer = peer.call(5, &request);
    let message: ListGroupsResponse<'_> = answer.message();
    assert_eq!(message.error_code, KafkaError::NONE);
    let mut listed: Vec<_> = message
        .groups
        .iter()
        .map(|group| {
            assert_eq!(group.group_type, "classic");
            (group.group_id.to_string(), group.protocol_type.to_string(), group.group_state.to_string())
        })
        .collect();
    listed.sort();
    listed
}

#[test]
fn groups_are_listed_with_what_they_are_and_do() {
    let rig = rig();
    let mut peer = peer(&rig);
    assert!(listed(&mut peer, &[], &[]).is_empty());
    peer.metadata("t");
    commit_codes(&mut peer, 9, &commit("offsets-only", "t", &[(0, 1)]));
    let mut member = Member { protocol_type: "connect".to_owned(), ..Member::connect(rig.address(), GROUP) };
    member.join_alone();
    let entry = |name: &str, kind: &str, state: &str| (name.to_owned(), kind.to_owned(), state.to_owned());
    let (empty, stable) = (entry("offsets-only", "", "Empty"), entry(GROUP, "connect", "Stable"));
    assert_eq!(listed(&mut peer, &[], &[]), [empty.clone(), stable.clone()]);
    assert_eq!(listed(&mut peer, &["Stable"], &[]), std::slice::from_ref(&stable));
    assert_eq!(listed(&mut peer, &["empty", "Dead"], &["Classic"]), [empty]);
    assert!(listed(&mut peer, &[], &["consumer"]).is_empty());
    for version in 0..=5 {
        let answer = peer.call(version, &ListGroupsRequest::default());
        assert_eq!(answer.message::<ListGroupsResponse<'_>>().groups.len(), 2, "version {version}");
    }
}

#[test]
fn a_group_is_described_with_its_members_and_their_work() {
    let rig = rig();
    let mut peer = peer(&rig);
    let mut member = Member::connect_static(rig.address(), GROUP, "it");
    member.join_alone();
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec![GROUP, "nobody"],
            include_authorized_operations: version >= 3,
        };
        let answer = peer.call(version, &request);
        let message: DescribeGroupsResponse<'_> = answer.message();
        let [group, nobody] = &message.groups[..] else { panic!("{message:?}") };
        assert_eq!((group.error_code, &*group.group_state), (KafkaError::NONE, "Stable"));
        assert_eq!((&*group.protocol_type, &*group.protocol_data), ("consumer", "range"));
        let [one] = &group.members[..] else { panic!("{group:?}") };
        assert_eq!(
            (&*one.member_id, &*one.client_id, &*one.client_host),
            (&*member.id, "peer", "/127.0.0.1")
        );
        assert_eq!((&*one.member_metadata, &*one.member_assignment), (&b"wants"[..], &b"all"[..]));
        let instance = (version >= 4).then_some("it");
        assert_eq!(one.group_instance_id.as_deref(), instance);
        assert_eq!(group.authorized_operations == i32::MIN, version < 3);
        let error = if version >= 6 { KafkaError::GROUP_ID_NOT_FOUND } else { KafkaError::NONE };
        assert_eq!((nobody.error_code, &*nobody.group_state), (error, "Dead"), "version {version}");
        let told = nobody.authorized_operations != i32::MIN;
        assert_eq!(told, (3..6).contains(&version), "nothing may be done beside an error");
    }
}

#[test]
fn a_group_is_deleted_once_it_is_empty() {
    let rig = rig();
    let mut peer = peer(&rig);
    peer.metadata("t");
    let mut member = Member::connect(rig.address(), GROUP);
    member.join_alone();
    assert_eq!(member.commit("t", 0, 5), KafkaError::NONE);
    assert_eq!(delete(&mut peer, GROUP), KafkaError::NON_EMPTY_GROUP);
    assert_eq!(delete(&mut peer, "nobody"), KafkaError::GROUP_ID_NOT_FOUND);
    member.leave();
    assert_eq!(delete(&mut peer, GROUP), KafkaError::NONE);
    assert_eq!(state(&mut peer, GROUP).0, KafkaError::GROUP_ID_NOT_FOUND);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0])[0].offset, -1);
    assert_eq!(delete(&mut peer, GROUP), KafkaError::GROUP_ID_NOT_FOUND);
    // Whoever comes after that begins anew.
    let mut member = Member::connect(rig.address(), GROUP);
    member.join_alone();
    assert_eq!(member.generation, 1);
}

/// Whether `__consumer_offsets` is there, and with how many partitions.
fn offsets_topic(peer: &mut KafkaPeer) -> Option<usize> {
    let answer = peer.call(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let message: MetadataResponse<'_> = answer.message();
    let topic = message.topics.iter().find(|topic| topic.name.as_deref() == Some(OFFSETS))?;
    assert!(topic.is_internal);
    Some(topic.partitions.len())
}

#[test]
fn the_topic_of_groups_is_made_when_it_is_needed_and_not_for_who_looks_for_it() {
    let rig = rig();
    let mut peer = peer(&rig);
    let answer = peer.metadata(OFFSETS);
    let message: MetadataResponse<'_> = answer.message();
    assert_eq!(message.topics[0].error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(listed(&mut peer, &[], &[]).is_empty());
    assert_eq!(offsets_topic(&mut peer), None);
    Member::connect(rig.address(), GROUP).join();
    assert_eq!(offsets_topic(&mut peer), Some(8));
    let resource =
        DescribeConfigsResource { resource_type: 2, resource_name: OFFSETS, configuration_keys: None };
    let answer = peer.call(4, &DescribeConfigsRequest { resources: vec![resource], ..Default::default() });
    let message: DescribeConfigsResponse<'_> = answer.message();
    let value = |name: &str| {
        let mut configs = message.results[0].configs.iter();
        configs.find(|config| config.name == name).and_then(|config| config.value.as_deref())
    };
    assert_eq!(value("cleanup.policy"), Some("compact"));
    assert_eq!(value("segment.bytes"), Some("104857600"));
    assert_eq!(value("compression.type"), Some("producer"));
    assert_eq!(value("durability"), Some("fsync"));
}

#[test]
fn clients_read_the_topic_of_groups_and_leave_it_as_it_is() {
    let rig = rig();
    let mut peer = peer(&rig);
    Member::connect(rig.address(), GROUP).join_alone();
    let records = batch(b"x");
    let answer = peer.call(12, &produce(OFFSETS, 0, -1, &records));
    let message: ProduceResponse<'_> = answer.message();
    assert_eq!(message.responses[0].partition_responses[0].error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    let request = DeleteTopicsRequest { topic_names: vec![OFFSETS], timeout_ms: 1000, ..Default::default() };
    let answer = peer.call(5, &request);
    let message: DeleteTopicsResponse<'_> = answer.message();
    assert_eq!(message.responses[0].error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    let grown = CreatePartitionsTopic { name: OFFSETS, count: 20, assignments: None };
    let answer = peer
        .call(3, &CreatePartitionsRequest { topics: vec![grown], timeout_ms: 1000, ..Default::default() });
    let message: CreatePartitionsResponse<'_> = answer.message();
    assert_eq!(message.results[0].error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }];
    let topics = vec![DeleteRecordsTopic { name: OFFSETS, partitions }];
    let answer = peer.call(2, &DeleteRecordsRequest { topics, timeout_ms: 1000 });
    let message: DeleteRecordsResponse<'_> = answer.message();
    assert_eq!(message.topics[0].partitions[0].error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    assert_eq!(offsets_topic(&mut peer), Some(8));
    let bytes: usize = (0..8)
        .map(|partition| {
            let answer = peer.call(12, &fetch(OFFSETS, partition, 0, Duration::ZERO));
            let message: FetchResponse<'_> = answer.message();
            let records = message.responses[0].partitions[0].records.as_ref().expect("never null");
            records.held().unwrap().len()
        })
        .sum();
    assert!(bytes > 61, "the group is written down somewhere: {bytes} bytes");
}

#[test]
fn groups_are_kept_safe_whatever_the_broker_keeps_safe_otherwise() {
    let rig = Rig::new(&[("group.initial.rebalance.delay.ms", "0"), ("topic.durability", "os")]);
    Member::connect(rig.address(), GROUP).join_alone();
    let client = folio_client::Client::connect(folio_client::ClientConfig::new(rig.address())).unwrap();
    let described = client.admin().describe_topic(OFFSETS).wait().unwrap();
    // What is visible is durable, although nothing else asks for a flush.
    assert!(described.partitions.iter().any(|one| one.high_watermark.get() > 0));
    for one in &described.partitions {
        assert_eq!((one.durable, one.high_watermark), (one.log_end, one.log_end));
    }
}
