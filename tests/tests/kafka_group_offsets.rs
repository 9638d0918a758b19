//! Where groups are: stored, told, removed.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeMap;

use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{Member, Stored, codes, commit, commit_codes, state, stored};
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use folio_wire::kafka::metadata::MetadataResponse;
use folio_wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use folio_wire::kafka::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use folio_wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use folio_wire::kafka::{ApiKey, KafkaError};
use uuid::Uuid;

const GROUP: &str = "readers";

/// A broker with the topics `t` and `u` of two partitions each, and somebody to talk to it.
fn rig() -> (Rig, KafkaPeer) {
    let rig = Rig::new(&[("group.initial.rebalance.delay.ms", "0"), ("num.partitions", "2")]);
    let mut peer = KafkaPeer::connect(rig.address());
    peer.metadata("t");
    peer.metadata("u");
    (rig, peer)
}

fn id_of(peer: &mut KafkaPeer, topic: &str) -> Uuid {
    let answer = peer.metadata(topic);
    answer.message::<MetadataResponse<'_>>().topics[0].topic_id
}

fn delete_topic(peer: &mut KafkaPeer, topic: &str) -> KafkaError {
    let request = DeleteTopicsRequest { topic_names: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let answer = peer.call(5, &request);
    answer.message::<DeleteTopicsResponse<'_>>().responses[0].error_code
}

#[test]
fn a_group_or_a_partition_without_an_offset_is_no_error() {
    let (_rig, mut peer) = rig();
    assert_eq!(stored(&mut peer, "nobody", "t", &[0, 1, 77]), vec![Stored::at(-1); 3]);
    assert_eq!(stored(&mut peer, "nobody", "no-such-topic", &[0]), [Stored::at(-1)]);
    assert_eq!(commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(0, 5)])), [KafkaError::NONE]);
    assert_eq!(stored(&mut peer, GROUP, "t", &[1, 0]), [Stored::at(-1), Stored::at(5)]);
    // Whoever only asked made no group.
    assert_eq!(state(&mut peer, "nobody").0, KafkaError::GROUP_ID_NOT_FOUND);
}

#[test]
fn offsets_are_stored_without_members_and_may_go_back() {
    let (_rig, mut peer) = rig();
    for offset in [9, 3, 0] {
        assert_eq!(commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(1, offset)])), [KafkaError::NONE]);
        assert_eq!(stored(&mut peer, GROUP, "t", &[1]), [Stored::at(offset)]);
    }
    assert_eq!(state(&mut peer, GROUP).1, "Empty");
}

#[test]
fn what_is_committed_beside_an_offset_comes_back_with_it() {
    let (_rig, mut peer) = rig();
    for (epoch, metadata, told) in
        [(7, Some("a note, grüße"), "a note, grüße"), (0, Some(""), ""), (-1, None, "")]
    {
        let partition = OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: 42,
            committed_leader_epoch: epoch,
            committed_metadata: metadata,
        };
        let topic = OffsetCommitRequestTopic { name: "t", partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest { topics: vec![topic], ..commit(GROUP, "t", &[]) };
        assert_eq!(commit_codes(&mut peer, 9, &request), [KafkaError::NONE]);
        let expected = Stored { epoch, metadata: told.to_owned(), ..Stored::at(42) };
        assert_eq!(stored(&mut peer, GROUP, "t", &[0]), [expected]);
    }
}

#[test]
fn one_unknown_partition_keeps_no_other_one_from_being_stored() {
    let (_rig, mut peer) = rig();
    let codes = commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(0, 1), (2, 2), (1, 3), (-1, 4)]));
    let unknown = KafkaError::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(codes, [KafkaError::NONE, unknown, KafkaError::NONE, unknown]);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0, 1, 2]), [Stored::at(1), Stored::at(3), Stored::at(-1)]);
    assert_eq!(commit_codes(&mut peer, 9, &commit(GROUP, "no-such-topic", &[(0, 1)])), [unknown]);
}

#[test]
fn a_note_that_is_too_long_is_refused_and_the_others_are_stored() {
    let rig = Rig::new(&[("offset.metadata.max.bytes", "5"), ("num.partitions", "2")]);
    let mut peer = KafkaPeer::connect(rig.address());
    peer.metadata("t");
    let one = |partition_index, note| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1,
        committed_leader_epoch: -1,
        committed_metadata: Some(note),
    };
    let partitions = vec![one(0, "longer"), one(1, "short")];
    let topic = OffsetCommitRequestTopic { name: "t", partitions, ..Default::default() };
    let request = OffsetCommitRequest { topics: vec![topic], ..commit(GROUP, "t", &[]) };
    let codes = commit_codes(&mut peer, 9, &request);
    assert_eq!(codes, [KafkaError::OFFSET_METADATA_TOO_LARGE, KafkaError::NONE]);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0])[0].offset, -1);
}

#[test]
fn offsets_that_come_together_are_stored_together() {
    let rig = Rig::new(&[("offsets.topic.num.partitions", "1")]);
    let mut peers: Vec<_> = (0..200).map(|_| KafkaPeer::connect(rig.address())).collect();
    peers[0].metadata("t");
    assert_eq!(stored(&mut peers[0], GROUP, "t", &[0])[0].offset, -1);
    let names: Vec<String> = (0..peers.len()).map(|number| format!("group-{number}")).collect();
    for (peer, name) in peers.iter_mut().zip(&names) {
        peer.submit(9, &commit(name, "t", &[(0, 7)]));
    }
    for peer in &mut peers {
        assert_eq!(codes(&peer.answer(ApiKey::OffsetCommit, 9)), [KafkaError::NONE]);
    }
    let mut peer = rig.peer();
    let (writes, batches) = (peer.counter("group.writes"), peer.counter("group.batches"));
    assert!(writes == 200 && batches < 200, "{writes} in {batches}");
}

#[test]
fn a_group_with_members_takes_offsets_of_its_members_alone() {
    let (rig, mut peer) = rig();
    let mut member = Member::connect(rig.address(), GROUP);
    member.join_alone();
    assert_eq!(member.commit("t", 0, 5), KafkaError::NONE);
    let code = commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(0, 9)]));
    assert_eq!(code, [KafkaError::UNKNOWN_MEMBER_ID]);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0]), [Stored::at(5)]);
    // And while the work is being divided, of nobody.
    let mut other = Member::connect(rig.address(), GROUP);
    other.begin_join();
    until("the member hears of it", || member.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    assert_eq!(member.commit("t", 0, 6), KafkaError::NONE, "until it has come again");
    member.join();
    other.end_join();
    assert_eq!(member.commit("t", 0, 7), KafkaError::REBALANCE_IN_PROGRESS);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0]), [Stored::at(6)]);
}

#[test]
fn a_generation_of_a_group_that_is_not_there_is_told_as_each_version_knows_it() {
    let (_rig, mut peer) = rig();
    for (version, expected) in [(8, KafkaError::ILLEGAL_GENERATION), (9, KafkaError::GROUP_ID_NOT_FOUND)] {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: 3,
            member_id: "somebody",
            ..commit("nobody", "t", &[(0, 5)])
        };
        assert_eq!(commit_codes(&mut peer, version, &request), [expected], "version {version}");
    }
    assert_eq!(state(&mut peer, "nobody").0, KafkaError::GROUP_ID_NOT_FOUND);
}

#[test]
fn every_version_of_commit_and_fetch_is_served() {
    let (_rig, mut peer) = rig();
    let id = id_of(&mut peer, "t");
    for version in 2..=10 {
        let mut request = commit(GROUP, "t", &[(0, i64::from(version)), (9, 1)]);
        if version == 10 {
            request.topics[0].topic_id = id;
        }
        let codes = commit_codes(&mut peer, version, &request);
        assert_eq!(codes, [KafkaError::NONE, KafkaError::UNKNOWN_TOPIC_OR_PARTITION], "version {version}");
    }
    for version in 1..=10 {
        let topic = OffsetFetchRequestTopic { name: "t", partition_indexes: vec![0, 1] };
        let named = OffsetFetchRequestTopics { name: "t", topic_id: id, partition_indexes: vec![0, 1] };
        let group =
            OffsetFetchRequestGroup { group_id: GROUP, topics: Some(vec![named]), ..Default::default() };
        let request = match version {
            8.. => OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() },
            _ => OffsetFetchRequest {
                group_id: GROUP,
                topics: Some(vec![topic]),
                ..OffsetFetchRequest::default()
            },
        };
        let answer = peer.call(version, &request);
        let told: OffsetFetchResponse<'_> = answer.message();
        let offsets: Vec<_> = match version {
            8.. => told.groups[0].topics[0]
                .partitions
                .iter()
                .map(|one| (one.committed_offset, one.error_code))
                .collect(),
            _ => told.topics[0].partitions.iter().map(|one| (one.committed_offset, one.error_code)).collect(),
        };
        assert_eq!(offsets, [(10, KafkaError::NONE), (-1, KafkaError::NONE)], "version {version}");
        if version == 10 {
            assert_eq!(told.groups[0].topics[0].topic_id, id);
        }
    }
}

#[test]
fn topics_that_are_named_by_an_id_that_nobody_has_are_told_so_each() {
    let (_rig, mut peer) = rig();
    let (id, nobody) = (id_of(&mut peer, "t"), Uuid::from_u128(7));
    let topic = |topic_id| {
        let mut topics = commit(GROUP, "", &[(0, 5)]).topics;
        topics[0].topic_id = topic_id;
        topics.remove(0)
    };
    let request = OffsetCommitRequest { topics: vec![topic(nobody), topic(id)], ..commit(GROUP, "", &[]) };
    let codes = commit_codes(&mut peer, 10, &request);
    assert_eq!(codes, [KafkaError::UNKNOWN_TOPIC_ID, KafkaError::NONE]);
    let topic = |topic_id| OffsetFetchRequestTopics { name: "", topic_id, partition_indexes: vec![0] };
    let topics = Some(vec![topic(nobody), topic(id)]);
    let group = OffsetFetchRequestGroup { group_id: GROUP, topics, ..Default::default() };
    let answer = peer.call(10, &OffsetFetchRequest { groups: vec![group], ..Default::default() });
    let told: OffsetFetchResponse<'_> = answer.message();
    let told: Vec<_> = told.groups[0]
        .topics
        .iter()
        .map(|topic| {
            let one = &topic.partitions[0];
            (topic.topic_id, one.committed_offset, one.error_code)
        })
        .collect();
    assert_eq!(told, [(nobody, -1, KafkaError::UNKNOWN_TOPIC_ID), (id, 5, KafkaError::NONE)]);
}

#[test]
fn all_offsets_of_many_groups_are_told_at_once() {
    let (_rig, mut peer) = rig();
    for (group, topic, partition, offset) in [("a", "t", 0, 1), ("a", "u", 1, 2), ("b", "u", 0, 3)] {
        assert_eq!(
            commit_codes(&mut peer, 9, &commit(group, topic, &[(partition, offset)])),
            [KafkaError::NONE]
        );
    }
    let group = |group_id| OffsetFetchRequestGroup { group_id, topics: None, ..Default::default() };
    let groups = vec![group("b"), group("nobody"), group("a")];
    let ids = BTreeMap::from([(id_of(&mut peer, "t"), "t"), (id_of(&mut peer, "u"), "u")]);
    for version in 8..=10 {
        let request = OffsetFetchRequest { groups: groups.clone(), ..OffsetFetchRequest::default() };
        let answer = peer.call(version, &request);
        let message: OffsetFetchResponse<'_> = answer.message();
        let told: Vec<_> = message
            .groups
            .iter()
            .map(|group| {
                let topics = group.topics.iter().flat_map(|topic| {
                    let name = if version == 10 { ids[&topic.topic_id] } else { &*topic.name };
                    topic.partitions.iter().map(move |one| (name, one.partition_index, one.committed_offset))
                });
                (&*group.group_id, topics.collect::<Vec<_>>())
            })
            .collect();
        let expected = [("b", vec![("u", 0, 3)]), ("nobody", vec![]), ("a", vec![("t", 0, 1), ("u", 1, 2)])];
        assert_eq!(told, expected, "version {version}");
    }
    let answer = peer.call(7, &OffsetFetchRequest { group_id: "b", topics: None, ..Default::default() });
    let told: OffsetFetchResponse<'_> = answer.message();
    assert_eq!((told.topics.len(), told.topics[0].partitions[0].committed_offset), (1, 3));
}

#[test]
fn a_deleted_topic_takes_its_offsets_along_and_one_of_the_same_name_begins_without() {
    let (_rig, mut peer) = rig();
    assert_eq!(commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(0, 5), (1, 6)])), [KafkaError::NONE; 2]);
    assert_eq!(commit_codes(&mut peer, 9, &commit(GROUP, "u", &[(0, 7)])), [KafkaError::NONE]);
    assert_eq!(delete_topic(&mut peer, "t"), KafkaError::NONE);
    assert_eq!(stored(&mut peer, GROUP, "t", &[0, 1]), [Stored::at(-1), Stored::at(-1)]);
    peer.metadata("t");
    assert_eq!(stored(&mut peer, GROUP, "t", &[0, 1]), [Stored::at(-1), Stored::at(-1)]);
    assert_eq!(stored(&mut peer, GROUP, "u", &[0]), [Stored::at(7)]);
}

#[test]
fn offsets_are_removed_one_by_one_unless_a_member_reads_the_topic() {
    let (rig, mut peer) = rig();
    let remove = |peer: &mut KafkaPeer, group: &str, numbers: &[i32]| {
        let partitions =
            numbers.iter().map(|&partition_index| OffsetDeleteRequestPartition { partition_index });
        let topic = OffsetDeleteRequestTopic { name: "t", partitions: partitions.collect() };
        let answer = peer.call(0, &OffsetDeleteRequest { group_id: group, topics: vec![topic] });
        let told: OffsetDeleteResponse<'_> = answer.message();
        let codes: Vec<_> =
            told.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code).collect();
        (told.error_code, codes)
    };
    assert_eq!(remove(&mut peer, "nobody", &[0]), (KafkaError::GROUP_ID_NOT_FOUND, vec![]));
    commit_codes(&mut peer, 9, &commit(GROUP, "t", &[(0, 5), (1, 6)]));
    let unknown = KafkaError::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(remove(&mut peer, GROUP, &[0, 7]), (KafkaError::NONE, vec![KafkaError::NONE, unknown]));
    assert_eq!(stored(&mut peer, GROUP, "t", &[0, 1]), [Stored::at(-1), Stored::at(6)]);
    // Version 0 of what a consumer says: it wants topic "t".
    let wants_t = vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let mut member =
        Member { protocols: vec![("range".to_owned(), wants_t)], ..Member::connect(rig.address(), GROUP) };
    member.join_alone();
    let subscribed = KafkaError::GROUP_SUBSCRIBED_TO_TOPIC;
    assert_eq!(remove(&mut peer, GROUP, &[1]), (KafkaError::NONE, vec![subscribed]));
    assert_eq!(stored(&mut peer, GROUP, "t", &[1]), [Stored::at(6)]);
}
