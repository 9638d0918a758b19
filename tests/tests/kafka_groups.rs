//! The life of a group, as Kafka's clients see it: who is in, who divides the work, who is thought dead.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{Joined, Member, state, stored};
use folio_tests::rig::{Rig, until};
use folio_wire::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use folio_wire::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use folio_wire::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use folio_wire::kafka::sync_group::{SyncGroupRequest, SyncGroupResponse};
use folio_wire::kafka::{ApiKey, KafkaError};

/// What would come at once has come by then.
const WHILE: Duration = Duration::from_millis(300);
const GROUP: &str = "readers";

/// Groups that wait for nobody, and whose members may be found dead soon.
fn rig() -> Rig {
    Rig::new(&[
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "1"),
        ("shutdown.timeout.ms", "60000"),
    ])
}

fn member(rig: &Rig) -> Member {
    Member::connect(rig.address(), GROUP)
}

/// Two members that have divided the work: the leader has "a", the other "b".
fn pair(rig: &Rig) -> (Member, Member) {
    let (mut a, mut b) = (member(rig), member(rig));
    a.join_alone();
    b.begin_join();
    let joined = come_again(&mut a);
    assert_eq!((joined.error, &joined.leader, joined.generation), (KafkaError::NONE, &a.id, 2));
    let other = b.end_join();
    assert_eq!((other.error, &other.leader, other.generation), (KafkaError::NONE, &a.id, 2));
    assert!(other.members.is_empty(), "only the leader needs to know");
    let mut members: Vec<String> = joined.members.iter().map(|(id, ..)| id.clone()).collect();
    members.sort();
    let mut expected = vec![a.id.clone(), b.id.clone()];
    expected.sort();
    assert_eq!(members, expected);
    divide(&mut a, &mut b);
    (a, b)
}

/// A member joins anew once it hears that another one has come: two connections have no order between them.
fn come_again(member: &mut Member) -> Joined {
    until("a member hears of another one", || member.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    member.join()
}

/// The leader `a` divides the work between itself and `b`.
fn divide(a: &mut Member, b: &mut Member) {
    b.submit_sync(&[]);
    let (of_a, of_b) = (a.id.clone(), b.id.clone());
    assert_eq!(a.sync(&[(&of_a, b"a"), (&of_b, b"b")]), Ok(b"a".to_vec()));
    assert_eq!(b.synced(), Ok(b"b".to_vec()));
}

#[test]
fn a_group_of_one_has_all_the_work_until_it_goes() {
    let rig = rig();
    let mut one = member(&rig);
    one.join_alone();
    assert_eq!(one.generation, 1);
    assert_eq!(one.heartbeat(), KafkaError::NONE);
    assert_eq!(state(&mut one.peer, GROUP), (KafkaError::NONE, "Stable".to_owned(), vec![one.id.clone()]));
    assert_eq!(one.leave(), KafkaError::NONE);
    assert_eq!(one.heartbeat(), KafkaError::UNKNOWN_MEMBER_ID);
    assert_eq!(state(&mut one.peer, GROUP).1, "Empty");
}

#[test]
fn a_second_member_makes_the_first_come_again_and_both_get_their_share() {
    let rig = rig();
    let (mut a, mut b) = pair(&rig);
    assert_eq!((a.heartbeat(), b.heartbeat()), (KafkaError::NONE, KafkaError::NONE));
    let (error, state, members) = state(&mut a.peer, GROUP);
    assert_eq!((error, state.as_str(), members.len()), (KafkaError::NONE, "Stable", 2));
}

#[test]
fn a_third_member_takes_over_what_the_first_leaves() {
    let rig = rig();
    let (mut a, mut b) = pair(&rig);
    let mut c = member(&rig);
    c.begin_join();
    until("the second member hears of the third", || b.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    b.begin_join();
    assert_eq!(a.leave(), KafkaError::NONE);
    let (of_b, of_c) = (b.end_join(), c.end_join());
    assert_eq!((of_b.error, of_c.error, of_b.generation), (KafkaError::NONE, KafkaError::NONE, 3));
    assert_eq!(of_b.leader, of_c.leader);
    let (leader, other) = if of_b.leader == b.id { (&mut b, &mut c) } else { (&mut c, &mut b) };
    divide(leader, other);
}

#[test]
fn an_answer_that_waits_for_others_holds_back_what_follows_it_on_its_connection() {
    let rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    let mut b = member(&rig);
    b.begin_join();
    let topics = folio_wire::kafka::metadata::MetadataRequest::default();
    b.peer.submit(9, &topics);
    assert!(b.peer.answer_within(ApiKey::JoinGroup, 9, WHILE).is_none(), "the first member has not come yet");
    a.begin_join();
    assert_eq!(a.end_join().error, KafkaError::NONE);
    assert_eq!(b.end_join().error, KafkaError::NONE);
    b.peer.answer(ApiKey::Metadata, 9);
}

#[test]
fn a_member_that_is_silent_is_dead_and_the_others_go_on_without_it() {
    let rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    // Longer than it takes to share, on any machine.
    let mut b = Member { session: Duration::from_secs(4), ..member(&rig) };
    b.begin_join();
    come_again(&mut a);
    b.end_join();
    divide(&mut a, &mut b);
    until("the silent one is missed", || a.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    let joined = a.join();
    assert_eq!((joined.error, joined.members.len()), (KafkaError::NONE, 1));
    assert_eq!(b.heartbeat(), KafkaError::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_does_not_come_again_in_time_is_out() {
    let rig = rig();
    let mut a = Member { rebalance: Duration::from_millis(200), ..member(&rig) };
    a.join_alone();
    let mut b = Member { rebalance: Duration::from_millis(200), ..member(&rig) };
    let began = Instant::now();
    let joined = b.join();
    assert_eq!((joined.error, joined.members.len(), &joined.leader), (KafkaError::NONE, 1, &b.id));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(a.heartbeat(), KafkaError::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_whose_connection_ends_while_it_waits_is_missed_like_any_other() {
    let rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    let mut gone = Member { session: Duration::from_millis(200), rebalance: WHILE, ..member(&rig) };
    gone.begin_join();
    until("it is heard of", || a.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    drop(gone);
    let joined = a.join();
    assert_eq!(joined.error, KafkaError::NONE);
    let id = a.id.clone();
    let synced = a.sync(&[(&id, b"all")]);
    assert!(synced == Ok(b"all".to_vec()) || synced == Err(KafkaError::REBALANCE_IN_PROGRESS), "{synced:?}");
    // Whether it was missed before or after, in the end there is one.
    until("it is out", || {
        if a.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS {
            a.join_alone();
        }
        state(&mut a.peer, GROUP).2.len() == 1
    });
}

#[test]
fn a_member_that_comes_back_by_another_connection_takes_the_place_of_its_join_that_waits() {
    let rig = Rig::new(&[("group.initial.rebalance.delay.ms", "3000")]);
    let (mut came, mut asks) = (member(&rig), member(&rig).peer);
    came.begin_join();
    until("it waits", || state(&mut asks, GROUP).2.len() == 1);
    for _ in 0..10 {
        let mut before = came;
        came = Member { id: before.id.clone(), ..member(&rig) };
        came.begin_join();
        // What comes by different connections is heard in any order: the next goes out when this one was heard.
        assert_eq!(before.end_join().error, KafkaError::REBALANCE_IN_PROGRESS);
    }
    // Nor does it matter whether the connection is still there by which it waits.
    let id = came.id.clone();
    drop(came);
    came = Member { id, ..member(&rig) };
    came.begin_join();
    let joined = came.end_join();
    assert_eq!((joined.error, joined.generation), (KafkaError::NONE, 1));
    assert_eq!(joined.members.len(), 1, "all those joins were one member's");
}

#[test]
fn whoever_is_of_another_generation_or_nobody_is_told_so() {
    let rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    a.generation = 7;
    assert_eq!(a.heartbeat(), KafkaError::ILLEGAL_GENERATION);
    assert_eq!(a.commit("t", 0, 1), KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    a.peer.metadata("t");
    assert_eq!(a.commit("t", 0, 1), KafkaError::ILLEGAL_GENERATION);
    assert_eq!(a.sync(&[]), Err(KafkaError::ILLEGAL_GENERATION));
    a.generation = 1;
    a.id = "nobody".to_owned();
    assert_eq!(a.heartbeat(), KafkaError::UNKNOWN_MEMBER_ID);
    assert_eq!(a.commit("t", 0, 1), KafkaError::UNKNOWN_MEMBER_ID);
    assert_eq!(a.sync(&[]), Err(KafkaError::UNKNOWN_MEMBER_ID));
    assert_eq!(a.leave(), KafkaError::UNKNOWN_MEMBER_ID);
    assert_eq!(a.join().error, KafkaError::UNKNOWN_MEMBER_ID);
    // Nobody has stored anything meanwhile.
    assert_eq!(stored(&mut a.peer, GROUP, "t", &[0])[0].offset, -1);
}

#[test]
fn a_session_outside_of_the_bounds_and_a_group_without_a_name_are_refused() {
    let rig = Rig::new(&[]);
    for (session, error) in [
        (Duration::from_millis(5_999), KafkaError::INVALID_SESSION_TIMEOUT),
        (Duration::from_millis(1_800_001), KafkaError::INVALID_SESSION_TIMEOUT),
        (Duration::from_millis(6_000), KafkaError::MEMBER_ID_REQUIRED),
    ] {
        let mut member = Member { session, ..member(&rig) };
        member.submit_join(9);
        assert_eq!(member.joined(9).error, error, "{session:?}");
    }
    let mut nameless = Member::connect(rig.address(), "");
    nameless.submit_join(9);
    assert_eq!(nameless.joined(9).error, KafkaError::INVALID_GROUP_ID);
}

#[test]
fn members_without_a_common_protocol_are_not_of_one_group() {
    let rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    let mut b = Member { protocols: vec![("sticky".to_owned(), Vec::new())], ..member(&rig) };
    b.submit_join(9);
    assert_eq!(b.joined(9).error, KafkaError::INCONSISTENT_GROUP_PROTOCOL);
    let mut c = Member { protocol_type: "connect".to_owned(), ..member(&rig) };
    c.submit_join(9);
    assert_eq!(c.joined(9).error, KafkaError::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(a.heartbeat(), KafkaError::NONE);
}

#[test]
fn groups_need_not_be_of_consumers_nor_what_their_members_say_be_understood() {
    let rig = rig();
    for (protocol_type, metadata) in [
        ("connect", vec![0xff; 7]),
        ("sr", b"{\"host\":\"here\"}".to_vec()),
        // Version 1 of a consumer's, that ends before what it owns.
        ("consumer", vec![0, 1, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]),
        ("consumer", vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("consumer", Vec::new()),
    ] {
        let group = format!("{protocol_type}-{}", metadata.len());
        let mut member = Member {
            protocol_type: protocol_type.to_owned(),
            protocols: vec![("v0".to_owned(), metadata.clone())],
            ..Member::connect(rig.address(), &group)
        };
        let joined = member.join();
        assert_eq!(joined.error, KafkaError::NONE, "{protocol_type} {metadata:?}");
        assert_eq!(joined.members, [(member.id.clone(), None, metadata.clone())]);
        let id = member.id.clone();
        assert_eq!(member.sync(&[(&id, &metadata)]), Ok(metadata));
    }
}

#[test]
fn a_static_member_that_restarts_gets_its_work_back_and_nobody_else_notices() {
    let rig = rig();
    let mut a = member(&rig);
    let mut b = Member::connect_static(rig.address(), GROUP, "b");
    a.join_alone();
    b.begin_join();
    come_again(&mut a);
    b.end_join();
    divide(&mut a, &mut b);
    let mut again = Member::connect_static(rig.address(), GROUP, "b");
    let joined = again.join();
    assert_eq!((joined.error, joined.generation), (KafkaError::NONE, b.generation));
    assert_ne!(joined.member, b.id);
    assert_eq!(again.sync(&[]), Ok(b"b".to_vec()));
    assert_eq!(a.heartbeat(), KafkaError::NONE, "nothing has changed for it");
    // Whoever is called the same and came before is no member any more.
    assert_eq!(b.heartbeat(), KafkaError::FENCED_INSTANCE_ID);
    b.peer.metadata("t");
    assert_eq!(b.commit("t", 0, 1), KafkaError::FENCED_INSTANCE_ID);
    assert_eq!(again.commit("t", 0, 1), KafkaError::NONE);
}

#[test]
fn a_static_member_is_taken_out_by_its_name_alone() {
    let rig = rig();
    let mut member = Member::connect_static(rig.address(), GROUP, "it");
    member.join_alone();
    let leaver = |name| MemberIdentity { member_id: "", group_instance_id: Some(name), reason: None };
    let request = LeaveGroupRequest {
        group_id: GROUP,
        members: vec![leaver("it"), leaver("nobody")],
        ..LeaveGroupRequest::default()
    };
    let answer = member.peer.call(5, &request);
    let left: LeaveGroupResponse<'_> = answer.message();
    let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(
        (left.error_code, codes),
        (KafkaError::NONE, vec![KafkaError::NONE, KafkaError::UNKNOWN_MEMBER_ID])
    );
    assert_eq!(state(&mut member.peer, GROUP).1, "Empty");
}

#[test]
fn every_version_of_join_sync_and_leave_is_served() {
    let rig = rig();
    for version in 0..=9 {
        let mut member = Member::connect(rig.address(), &format!("group-{version}"));
        member.submit_join(version);
        let mut joined = member.joined(version);
        assert_eq!(joined.error == KafkaError::MEMBER_ID_REQUIRED, version >= 4);
        if version >= 4 {
            member.submit_join(version);
            joined = member.joined(version);
        }
        assert_eq!((joined.error, joined.members.len()), (KafkaError::NONE, 1), "version {version}");
        let sync_version = version.min(5);
        let (id, group) = (member.id.clone(), member.group.clone());
        let (kind, protocol) = match version {
            5.. => (Some("consumer"), Some("range")),
            _ => (None, None),
        };
        let request = SyncGroupRequest {
            group_id: &group,
            generation_id: 1,
            member_id: &id,
            protocol_type: kind,
            protocol_name: protocol,
            ..SyncGroupRequest::default()
        };
        let answer = member.peer.call(sync_version, &request);
        assert_eq!(answer.message::<SyncGroupResponse<'_>>().error_code, KafkaError::NONE);
        let leave_version = version.min(5);
        let identity = MemberIdentity { member_id: &id, group_instance_id: None, reason: None };
        let request = match leave_version {
            3.. => LeaveGroupRequest { group_id: &group, members: vec![identity], member_id: "" },
            _ => LeaveGroupRequest { group_id: &group, member_id: &id, members: Vec::new() },
        };
        let answer = member.peer.call(leave_version, &request);
        let left: LeaveGroupResponse<'_> = answer.message();
        assert_eq!(
            (left.error_code, left.members.len()),
            (KafkaError::NONE, usize::from(leave_version >= 3))
        );
        assert_eq!(state(&mut member.peer, &group).1, "Empty");
    }
}

#[test]
fn a_sync_that_does_not_say_what_it_takes_the_protocol_to_be_is_refused() {
    let rig = rig();
    let mut member = member(&rig);
    member.join();
    let (id, kind) = (member.id.clone(), Some("consumer"));
    for (protocol_type, protocol_name) in
        [(None, None), (kind, None), (kind, Some("sticky")), (Some("x"), Some("range"))]
    {
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id: 1,
            member_id: &id,
            protocol_type,
            protocol_name,
            ..SyncGroupRequest::default()
        };
        let answer = member.peer.call(5, &request);
        let error = answer.message::<SyncGroupResponse<'_>>().error_code;
        assert_eq!(error, KafkaError::INCONSISTENT_GROUP_PROTOCOL, "{protocol_type:?} {protocol_name:?}");
    }
}

#[test]
fn members_of_old_versions_are_not_sent_away_for_an_id() {
    let rig = rig();
    let mut peer = KafkaPeer::connect(rig.address());
    let protocol = JoinGroupRequestProtocol { name: "range", metadata: b"" };
    let request = JoinGroupRequest {
        group_id: GROUP,
        session_timeout_ms: 10_000,
        protocol_type: "consumer",
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    };
    peer.submit(3, &request);
    let answer = peer.answer(ApiKey::JoinGroup, 3);
    let joined: folio_wire::kafka::join_group::JoinGroupResponse<'_> = answer.message();
    // As Kafka makes ids: the client's, and something random.
    assert!(joined.member_id.starts_with("peer-"), "{}", joined.member_id);
}

#[test]
fn groups_are_found_here_and_what_has_no_coordinator_is_refused_for_good() {
    let rig = rig();
    let mut peer = KafkaPeer::connect(rig.address());
    let (host, port) = rig.address().rsplit_once(':').unwrap();
    for version in 0..=6 {
        for (key_type, error) in [
            (0, KafkaError::NONE),
            (1, KafkaError::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            (2, KafkaError::INVALID_REQUEST),
            (9, KafkaError::INVALID_REQUEST),
        ] {
            if version == 0 && key_type != 0 {
                continue;
            }
            let request = match version {
                4.. => FindCoordinatorRequest { key: "", key_type, coordinator_keys: vec!["a", "b"] },
                _ => FindCoordinatorRequest { key: "a", key_type, coordinator_keys: Vec::new() },
            };
            let answer = peer.call(version, &request);
            let found: FindCoordinatorResponse<'_> = answer.message();
            let told: Vec<_> = match version {
                4.. => found
                    .coordinators
                    .iter()
                    .map(|one| (&*one.key, one.error_code, one.node_id, &*one.host, one.port))
                    .collect(),
                _ => vec![("a", found.error_code, found.node_id, &*found.host, found.port)],
            };
            let (node, host, port) =
                if error == KafkaError::NONE { (1, host, port.parse().unwrap()) } else { (-1, "", -1) };
            let expected: &[_] = &[("a", error, node, host, port), ("b", error, node, host, port)];
            assert_eq!(told, expected[..told.len()], "version {version}, key type {key_type}");
            assert!(!error.is_retriable());
        }
    }
}

#[test]
fn a_broker_that_ends_tells_those_who_wait_for_other_members() {
    let mut rig = rig();
    let mut a = member(&rig);
    a.join_alone();
    let mut b = member(&rig);
    b.begin_join();
    until("the second member is heard of", || a.heartbeat() == KafkaError::REBALANCE_IN_PROGRESS);
    let began = Instant::now();
    assert!(matches!(rig.stop(), folio_broker::Outcome::Clean));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(b.end_join().error, KafkaError::COORDINATOR_NOT_AVAILABLE);
}
