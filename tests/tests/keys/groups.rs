//! The keys of groups.

use std::time::{Duration, Instant};

use folio_client::{Client, ClientConfig, NewTopic, ResetTo, TopicPartition};
use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{Member, commit, commit_codes, stored};
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::metadata::MetadataResponse;

use super::{LIMIT, WHILE};

effects! {
    "group.initial.rebalance.delay.ms" a_new_group_waits_for_company
    "group.min.session.timeout.ms" a_shorter_session_is_refused
    "group.max.session.timeout.ms" a_longer_session_is_refused
    "group.history.max" so_many_changes_of_a_group_are_taken_back
    "group.max.size" one_member_too_many_is_turned_away
    "group.offsets.max" an_offset_of_one_partition_too_many_is_refused
    "partition.groups.max" one_group_too_many_is_refused
    "offsets.retention.minutes" offsets_of_an_empty_group_are_kept_so_long
    "offsets.retention.check.interval.ms" old_offsets_are_looked_for_in_intervals
    "offset.metadata.max.bytes" a_longer_note_is_refused
    "offsets.topic.num.partitions" groups_are_kept_in_so_many_partitions
}

/// What comes of a member's first join, and how long it takes.
fn joined(settings: &[(&str, &str)], session: Duration) -> (KafkaError, Duration) {
    let rig = Rig::new(settings);
    let mut member = Member { session, ..Member::connect(rig.address(), "g") };
    let began = Instant::now();
    member.submit_join(3);
    (member.joined(3).error, began.elapsed())
}

fn a_new_group_waits_for_company() {
    let session = Duration::from_secs(30);
    let (error, took) = joined(&[("group.initial.rebalance.delay.ms", "5000")], session);
    assert!(error == KafkaError::NONE && took >= Duration::from_secs(5), "{error:?} {took:?}");
    // A slow disk, on which the topic of groups is made first, may take as long now and then.
    until("nobody is waited for", || {
        let (error, took) = joined(&[("group.initial.rebalance.delay.ms", "0")], session);
        assert_eq!(error, KafkaError::NONE);
        took < Duration::from_secs(5)
    });
}

/// Whether a member with a session of 10 seconds is taken.
fn is_taken(key: &str, value: &str) -> bool {
    let (error, _) =
        joined(&[(key, value), ("group.initial.rebalance.delay.ms", "0")], Duration::from_secs(10));
    assert!(matches!(error, KafkaError::NONE | KafkaError::INVALID_SESSION_TIMEOUT), "{error:?}");
    error == KafkaError::NONE
}

fn a_shorter_session_is_refused() {
    assert!(is_taken("group.min.session.timeout.ms", "10000"));
    assert!(!is_taken("group.min.session.timeout.ms", "10001"));
}

fn a_longer_session_is_refused() {
    assert!(is_taken("group.max.session.timeout.ms", "10000"));
    assert!(!is_taken("group.max.session.timeout.ms", "9999"));
}

fn one_member_too_many_is_turned_away() {
    for (most, error, within) in [("1", Some(KafkaError::GROUP_MAX_SIZE_REACHED), LIMIT), ("2", None, WHILE)]
    {
        let rig = Rig::new(&[("group.max.size", most), ("group.initial.rebalance.delay.ms", "0")]);
        let mut first = Member::connect(rig.address(), "g");
        first.join_alone();
        let mut second = Member::connect(rig.address(), "g");
        second.submit_join(3);
        let answer = second.peer.answer_within(folio_wire::kafka::ApiKey::JoinGroup, 3, within);
        let told = answer.as_ref().map(|answer| {
            answer.message::<folio_wire::kafka::join_group::JoinGroupResponse<'_>>().error_code
        });
        assert_eq!(told, error, "of {most}; who is taken waits for the first member");
    }
}

fn an_offset_of_one_partition_too_many_is_refused() {
    for (most, error) in [("2", KafkaError::NONE), ("1", KafkaError::GROUP_MAX_SIZE_REACHED)] {
        let rig = Rig::new(&[("group.offsets.max", most), ("num.partitions", "2")]);
        let mut peer = KafkaPeer::connect(rig.address());
        peer.metadata("t");
        let codes =
            [0, 1].map(|partition| commit_codes(&mut peer, 9, &commit("g", "t", &[(partition, 5)]))[0]);
        assert_eq!(codes, [KafkaError::NONE, error], "of {most}");
        assert_eq!(commit_codes(&mut peer, 9, &commit("g", "t", &[(0, 6)])), [KafkaError::NONE]);
    }
}

fn one_group_too_many_is_refused() {
    for (most, error) in [("2", KafkaError::NONE), ("1", KafkaError::GROUP_MAX_SIZE_REACHED)] {
        let rig = Rig::new(&[("partition.groups.max", most), ("offsets.topic.num.partitions", "1")]);
        let mut peer = KafkaPeer::connect(rig.address());
        peer.metadata("t");
        let codes = ["g", "h"].map(|group| commit_codes(&mut peer, 9, &commit(group, "t", &[(0, 5)]))[0]);
        assert_eq!(codes, [KafkaError::NONE, error], "of {most}");
    }
}

/// Commits an offset of a group without members, and goes on once it is stored.
fn with_an_offset(settings: &[(&str, &str)]) -> (Rig, KafkaPeer) {
    let rig = Rig::new(settings);
    let mut peer = KafkaPeer::connect(rig.address());
    peer.metadata("t");
    assert_eq!(commit_codes(&mut peer, 9, &commit("g", "t", &[(0, 5)])), [KafkaError::NONE]);
    (rig, peer)
}

fn offset(peer: &mut KafkaPeer) -> i64 {
    stored(peer, "g", "t", &[0])[0].offset
}

fn offsets_of_an_empty_group_are_kept_so_long() {
    let settings =
        |minutes| [("offsets.retention.minutes", minutes), ("offsets.retention.check.interval.ms", "10")];
    let (_rig, mut peer) = with_an_offset(&settings("1"));
    std::thread::sleep(WHILE);
    assert_eq!(offset(&mut peer), 5);
    let (_rig, mut peer) = with_an_offset(&settings("0"));
    until("it is too old", || offset(&mut peer) == -1);
}

fn old_offsets_are_looked_for_in_intervals() {
    let settings = |ms| [("offsets.retention.minutes", "0"), ("offsets.retention.check.interval.ms", ms)];
    let (_rig, mut peer) = with_an_offset(&settings("600000"));
    std::thread::sleep(WHILE);
    assert_eq!(offset(&mut peer), 5);
    let (_rig, mut peer) = with_an_offset(&settings("10"));
    until("it is looked at", || offset(&mut peer) == -1);
}

fn a_longer_note_is_refused() {
    for (most, error) in [("3", KafkaError::NONE), ("2", KafkaError::OFFSET_METADATA_TOO_LARGE)] {
        let rig = Rig::new(&[("offset.metadata.max.bytes", most)]);
        let mut peer = KafkaPeer::connect(rig.address());
        peer.metadata("t");
        let mut request = commit("g", "t", &[(0, 5)]);
        request.topics[0].partitions[0].committed_metadata = Some("abc");
        assert_eq!(commit_codes(&mut peer, 9, &request), [error]);
    }
}

fn groups_are_kept_in_so_many_partitions() {
    for count in [1, 3] {
        let text = count.to_string();
        let rig = Rig::new(&[("offsets.topic.num.partitions", &text)]);
        let mut peer = KafkaPeer::connect(rig.address());
        assert_eq!(stored(&mut peer, "g", "t", &[0])[0].offset, -1);
        let answer = peer.metadata("__consumer_offsets");
        let message: MetadataResponse<'_> = answer.message();
        assert_eq!(message.topics[0].partitions.len(), count);
    }
}

fn so_many_changes_of_a_group_are_taken_back() {
    for most in 0..3 {
        let text = most.to_string();
        let rig = Rig::new(&[("group.history.max", &text)]);
        let admin = Client::connect(ClientConfig::new(rig.address())).unwrap().admin();
        admin.create_topic(NewTopic::new("t", 1)).wait().unwrap();
        for _ in 0..3 {
            let to = [(TopicPartition::new("t", 0), ResetTo::Latest)];
            admin.reset_group("g", "me", to, false).wait().unwrap();
        }
        let undone = std::iter::from_fn(|| admin.undo_group("g", false).wait().ok()).count();
        assert_eq!(undone, most);
    }
}
