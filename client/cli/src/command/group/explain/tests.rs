use folio_client::{GroupChange, GroupCommit, GroupLog, Offset, Refusal};

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn seconds_ago(seconds: i64) -> Timestamp {
    Timestamp::new(NOW - 1000 * seconds)
}

fn facts() -> Facts {
    let topics = [("t".to_owned(), Some(2))].into();
    Facts { now: Timestamp::new(NOW), topics, offsets_kept: Some(Duration::from_secs(7200)) }
}

fn member(name: &str, partitions: &[i32]) -> GroupMember {
    GroupMember {
        member: name.to_owned(),
        instance: None,
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        silent_for: Duration::from_secs(1),
        is_waiting: false,
        topics: Some(vec!["t".to_owned()]),
        partitions: Some(partitions.iter().map(|number| ("t".to_owned(), *number)).collect()),
    }
}

/// Committed a second ago.
fn offset(partition: i32, offset: i64, start: i64, end: i64) -> GroupOffset {
    let committed = GroupCommit {
        offset: Offset::new(offset),
        leader_epoch: None,
        metadata: String::new(),
        at: seconds_ago(1),
    };
    let log = GroupLog {
        start: Offset::new(start),
        end: Offset::new(end),
        next_time: (offset < end).then(|| seconds_ago(90)),
        last_time: Some(seconds_ago(30)),
        retention: Some(Duration::from_secs(3600)),
    };
    GroupOffset { topic: "t".to_owned(), partition, committed: Some(committed), log: Ok(log) }
}

/// Two members that have read everything.
fn calm() -> GroupDescription {
    GroupDescription {
        state: "Stable".to_owned(),
        protocol_type: "consumer".to_owned(),
        protocol: "range".to_owned(),
        generation: 3,
        leader: Some("a".to_owned()),
        members: vec![member("a", &[0]), member("b", &[1])],
        offsets: vec![offset(0, 10, 0, 10), offset(1, 5, 0, 5)],
        rebalances: Vec::new(),
        changes: Vec::new(),
    }
}

fn rebalance(cause: &str, seconds: i64) -> Rebalance {
    Rebalance {
        at: seconds_ago(seconds),
        cause: cause.to_owned(),
        who: Some("b".to_owned()),
        reason: None,
        generation: Some(3),
        dropped: 0,
        took: Some(Duration::from_millis(30)),
        is_under_way: false,
    }
}

/// What is wrong with a group that is calm but for `change`.
fn wrong(change: impl FnOnce(&mut GroupDescription, &mut Facts)) -> Vec<String> {
    let (mut group, mut facts) = (calm(), facts());
    change(&mut group, &mut facts);
    findings(&group, &facts).into_iter().filter(|one| one.is_wrong).map(|one| one.text).collect()
}

#[test]
fn nothing_is_wrong_with_a_group_that_has_read_everything() {
    assert_eq!(wrong(|_, _| {}), Vec::<String>::new());
    let texts: Vec<_> = findings(&calm(), &facts()).into_iter().map(|one| one.text).collect();
    assert!(
        texts.iter().any(|text| text.starts_with("everything is read; the newest record is of 2023-")),
        "{texts:?}"
    );
}

#[test]
fn each_cause_is_told() {
    type Change = fn(&mut GroupDescription, &mut Facts);
    let cases: [(Change, &[&str]); 14] = [
        (
            |group, _| {
                group.members.clear();
                group.state = "Empty".to_owned();
            },
            &["nobody is in the group"],
        ),
        (
            |group, _| {
                group.members.clear();
                group.state = "Dead".to_owned();
            },
            &["no such group any more"],
        ),
        (|group, _| group.members[1].silent_for = Duration::from_secs(7), &["b has been silent for 7.0 s"]),
        (|group, _| group.members.push(member("c", &[])), &["c has no partition: there is none left for it"]),
        (
            |_, facts| {
                _ = facts.topics.insert("u".to_owned(), None);
            },
            &["topic \"u\", and there is none"],
        ),
        (
            |_, facts| {
                _ = facts.topics.insert("t".to_owned(), Some(4));
            },
            &["nobody has partition 2, 3 of topic t"],
        ),
        (
            |group, _| {
                group.state = "PreparingRebalance".to_owned();
                group.members[0].is_waiting = true;
                group.rebalances.push(Rebalance { is_under_way: true, ..rebalance("session-timeout", 4) });
            },
            &["since 4.0 s, because b was silent for too long; it waits for b"],
        ),
        (
            |group, _| group.rebalances = (0..4).map(|n| rebalance("joined", 10 * n)).collect(),
            &["the work was divided 4 times in 5 min"],
        ),
        (
            |group, _| group.offsets[0] = offset(0, 10, 25, 25),
            &["t-0: the log begins at 25, behind the committed offset 10: 15 records are gone"],
        ),
        (
            |group, _| group.offsets[0] = offset(0, 10, 0, 4),
            &["t-0: the log ends at 4, before the committed offset 10"],
        ),
        (
            |group, _| {
                group.offsets[0] = offset(0, 3, 0, 10);
                group.offsets[0].committed.as_mut().unwrap().at = seconds_ago(300);
            },
            &["t-0: 7 records wait, 60 s behind, and nothing was committed for 5 min: a has paused it"],
        ),
        (
            |group, _| {
                group.offsets[0] = offset(0, 3, 0, 10);
                group.members[0].partitions = Some(vec![("u".to_owned(), 0)]);
            },
            &[
                "nobody has partition 0 of topic t",
                "t-0: 7 records wait, 60 s behind, and nobody has the partition",
            ],
        ),
        (
            |group, _| {
                group.offsets[0] = offset(0, 3, 0, 10);
                group.offsets[0].log.as_mut().unwrap().next_time = Some(seconds_ago(3300));
            },
            &["t-0: retention may take what is next in 5 min"],
        ),
        (
            |group, _| {
                let message = "it is damaged".into();
                group.offsets[0].log = Err(Refusal { code: ErrorCode::PARTITION_OFFLINE, message });
            },
            &["t-0 cannot be read: it is damaged"],
        ),
    ];
    for (change, expected) in cases {
        let told = wrong(change);
        assert_eq!(told.len(), expected.len(), "{told:?}, not {expected:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{told:?}, not {expected:?}");
        }
    }
}

#[test]
fn what_is_only_so_is_told_as_well() {
    let mut group = calm();
    group.offsets[0].committed = None;
    group.offsets[1] = offset(1, 1, 0, 5);
    group.rebalances = vec![Rebalance { dropped: 2, ..rebalance("left", 400) }];
    group.changes = vec![GroupChange {
        at: seconds_ago(3),
        who: "me@here".to_owned(),
        kind: "reset".to_owned(),
        partitions: 2,
    }];
    let findings = findings(&group, &facts());
    assert!(findings.iter().all(|one| !one.is_wrong), "{findings:?}");
    for expected in [
        "2 members, generation 3, assignor range",
        "because b left, took 30 ms, 2 members did not come again in time",
        "t-0: nothing is committed, and it has 10 records",
        "t-1: 4 records wait, 60 s behind; b is reading it",
        "the last change from outside: reset at 2023-11-14T22:13:17Z by me@here",
    ] {
        assert!(findings.iter().any(|one| one.text.contains(expected)), "{expected}: {findings:?}");
    }
}
