//! Golden bytes of what members of groups and those who administer them say.

use super::*;

#[test]
fn groups_are_as_drawn() {
    let protocols = vec![GroupProtocolV1 { name: "p", metadata: b"x" }];
    let join = JoinGroupRequestV1 {
        group: "g",
        member: "m",
        instance: Some("i"),
        client_id: "c",
        session_timeout_ms: 1,
        rebalance_timeout_ms: 2,
        protocol_type: "consumer",
        protocols,
        reason: None,
    };
    let named = format!("{}{}01{}{}", text("g"), text("m"), text("i"), text("c"));
    let ways = format!("{}{ONE}{}{}00", text("consumer"), text("p"), text("x"));
    assert_eq!(golden(&join), format!("{named}0100000002000000{ways}"));
    let members = vec![JoinedMemberV1 { member: "m".to_owned(), instance: None, metadata: b"x".to_vec() }];
    let answer = JoinGroupAnswerV1 {
        member: "m".to_owned(),
        generation: 3,
        protocol: "p".to_owned(),
        leader: "l".to_owned(),
        skip_assignment: true,
        members,
        ..JoinGroupAnswerV1::default()
    };
    let chosen = format!("{}03000000{}{}01", text("m"), text("p"), text("l"));
    assert_eq!(golden(&answer), format!("000000{chosen}{ONE}{}00{}", text("m"), text("x")));

    let assignments = vec![GroupAssignmentV1 { member: "m", assignment: b"x" }];
    let sync = SyncGroupRequestV1 {
        group: "g",
        member: "m",
        instance: None,
        generation: 3,
        protocol_type: "consumer",
        protocol: "p",
        assignments,
    };
    let in_generation = format!("{}{}0003000000", text("g"), text("m"));
    let ways = format!("{}{}{ONE}{}{}", text("consumer"), text("p"), text("m"), text("x"));
    assert_eq!(golden(&sync), format!("{in_generation}{ways}"));
    let answer = SyncGroupAnswerV1 { assignment: b"x".to_vec(), ..SyncGroupAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{}", text("x")));

    let heartbeat = HeartbeatRequestV1 { group: "g", member: "m", instance: None, generation: 3 };
    assert_eq!(golden(&heartbeat), in_generation);
    let answer = HeartbeatAnswerV1 { error: ErrorCode::REBALANCE_IN_PROGRESS, message: None };
    assert_eq!(golden(&answer), "300000");

    let members = vec![LeaverV1 { member: "m", instance: Some("i"), reason: None }];
    let leave = LeaveGroupRequestV1 { group: "g", members };
    assert_eq!(golden(&leave), format!("{}{ONE}{}01{}00", text("g"), text("m"), text("i")));
    let members = vec![LeftV1 { error: ErrorCode::UNKNOWN_MEMBER, message: None }];
    assert_eq!(
        golden(&LeaveGroupAnswerV1 { members, ..LeaveGroupAnswerV1::default() }),
        format!("000000{ONE}2c0000")
    );

    let entries = vec![CommitEntryV1 { topic: "t", partition: 1, offset: 2, leader_epoch: -1, note: "n" }];
    let commit = CommitOffsetsRequestV1 { group: "g", member: "m", instance: None, generation: 3, entries };
    let entry = format!("{}010000000200000000000000ffffffff{}", text("t"), text("n"));
    assert_eq!(golden(&commit), format!("{in_generation}{ONE}{entry}"));
    let entries = vec![CommittedV1 { error: ErrorCode::UNKNOWN_TOPIC, message: None }];
    let answer = CommitOffsetsAnswerV1 { entries, ..CommitOffsetsAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{ONE}0a0000"));

    let entries = Some(vec![FetchOffsetsEntryV1 { topic: "t", partition: 1 }]);
    let fetch = FetchOffsetsRequestV1 { group: "g", entries };
    assert_eq!(golden(&fetch), format!("{}01{ONE}{}01000000", text("g"), text("t")));
    assert_eq!(golden(&FetchOffsetsRequestV1 { group: "g", entries: None }), format!("{}00", text("g")));
    let entries = vec![FetchedOffsetV1 {
        topic: "t".to_owned(),
        partition: 1,
        offset: 2,
        leader_epoch: -1,
        note: "n".to_owned(),
        committed_at: 3,
    }];
    let answer = FetchOffsetsAnswerV1 { entries, ..FetchOffsetsAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{ONE}{entry}0300000000000000"));
}

#[test]
fn the_administration_of_groups_is_as_drawn() {
    assert_eq!(golden(&GroupListRequestV1 { states: vec!["s"] }), format!("{ONE}{}", text("s")));
    let listed = ListedGroupV1 {
        group: "g".to_owned(),
        state: "s".to_owned(),
        protocol_type: "p".to_owned(),
        members: 1,
        partitions: 2,
        lag: 3,
        above_end: 4,
    };
    let answer = GroupListAnswerV1 { error: ErrorCode::NONE, message: None, groups: vec![listed] };
    let expected = format!("{}{}{}0100000002000000030000000000000004000000", text("g"), text("s"), text("p"));
    assert_eq!(golden(&answer), format!("000000{ONE}{expected}"));

    assert_eq!(golden(&GroupDescribeRequestV1 { group: "g" }), text("g"));
    let empty = GroupDescribeAnswerV1 { generation: 1, ..GroupDescribeAnswerV1::default() };
    let none = "0000000000000000";
    let lists = format!("{none}{none}{none}{none}");
    assert_eq!(golden(&empty), format!("000000{none}{none}{none}01000000{none}{lists}"));

    for (to, expected) in [
        (GroupTargetV1::Earliest, "00000000"),
        (GroupTargetV1::Latest, "01000000"),
        (GroupTargetV1::Offset(5), "020000000500000000000000"),
        (GroupTargetV1::AtTime(-1), "03000000ffffffffffffffff"),
        (GroupTargetV1::ShiftBy(-2), "04000000feffffffffffffff"),
    ] {
        let entries = vec![GroupResetEntryV1 { topic: "t", partition: 1, to }];
        let request = GroupResetRequestV1 { group: "g", who: "w", is_dry_run: true, entries };
        let expected = format!("{}{}01{ONE}{}01000000{expected}", text("g"), text("w"), text("t"));
        assert_eq!(golden(&request), expected);
    }
    let moved = GroupMoveV1 {
        topic: "t".to_owned(),
        partition: 1,
        error: ErrorCode::NONE,
        message: None,
        from: 2,
        to: -1,
    };
    let entry = format!("{ONE}{}010000000000000200000000000000ffffffffffffffff", text("t"));
    let entries = vec![moved];
    let answer = GroupResetAnswerV1 { entries: entries.clone(), ..GroupResetAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{entry}"));
    let answer = GroupDeleteAnswerV1 { entries: entries.clone(), ..GroupDeleteAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{entry}"));
    let change = GroupChangeV1 { at: 1, who: "w".to_owned(), kind: "reset".to_owned(), partitions: 2 };
    let answer = GroupUndoAnswerV1 { change: Some(change), entries, ..GroupUndoAnswerV1::default() };
    let change = format!("01{ONE}{}{}02000000", text("w"), text("reset"));
    assert_eq!(golden(&answer), format!("000000{change}{entry}"));
    assert_eq!(golden(&GroupUndoRequestV1 { group: "g", is_dry_run: false }), format!("{}00", text("g")));
    let request = GroupDeleteRequestV1 { group: "g", who: "w", is_dry_run: true };
    assert_eq!(golden(&request), format!("{}{}01", text("g"), text("w")));
}
