use std::sync::Arc;

use folio_record::Timestamp;
use uuid::Uuid;

use super::super::answer::Answer;
use super::super::event::{Commit, Event, OffsetDelete};
use super::super::record::GroupRecord;
use super::super::settings::GroupSettings;
use super::bench::*;
use super::inspect::find;
use crate::error::Fault;

fn delete(bench: &mut Bench, partitions: &[(&str, i32)]) -> Result<Vec<Result<(), Fault>>, Fault> {
    delete_of(bench, GROUP, partitions)
}

fn delete_of(
    bench: &mut Bench,
    group: &str,
    partitions: &[(&str, i32)],
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let partitions = partitions.iter().map(|(topic, partition)| (Arc::from(*topic), *partition)).collect();
    let delete = OffsetDelete { group: Arc::from(group), partitions };
    let caller = bench.ask(|caller| Event::OffsetDelete(caller, delete));
    match bench.answer(caller) {
        Some(Answer::OffsetDelete(answer)) => faults(answer),
        other => panic!("no answer to a deletion: {other:?}"),
    }
}

#[test]
fn what_is_committed_is_fetched_with_all_that_was_said() {
    let mut bench = Bench::new();
    let topic_id = Uuid::from_u128(7);
    let mut commit = simple_commit(&[("orders", 3, 42)]);
    commit.offsets[0].topic_id = topic_id;
    let caller = bench.commit(commit);
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    let committed = bench.offset("orders", 3).unwrap();
    assert_eq!((committed.offset, committed.leader_epoch, &*committed.metadata), (42, 2, "note"));
    assert_eq!((committed.topic_id, committed.committed_at), (topic_id, bench.now.wall));
}

#[test]
fn offsets_of_a_group_without_a_name_are_committed_and_not_deleted() {
    let mut bench = Bench::new();
    let caller = bench.commit(Commit { group: Arc::from(""), ..simple_commit(&[("orders", 0, 1)]) });
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    assert_eq!(delete_of(&mut bench, "", &[("orders", 0)]), Err(Fault::InvalidGroup));
}

#[test]
fn a_commit_is_answered_and_seen_once_it_is_stored() {
    let mut bench = Bench::new();
    bench.is_swift = false;
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert!(bench.answer(caller).is_none());
    assert_eq!(bench.offset("orders", 0), None);
    assert!(bench.fetch(None).is_empty());
    assert!(find(&mut bench).is_none(), "there is no such group yet");
    bench.write_all();
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    assert_eq!(bench.offset("orders", 0).unwrap().offset, 1);
    assert!(find(&mut bench).is_some());
}

#[test]
fn of_several_commits_on_their_way_each_is_seen_in_its_turn() {
    let mut bench = Bench::new();
    bench.is_swift = false;
    let callers: Vec<_> =
        [5, 9, 7].map(|offset| bench.commit(simple_commit(&[("orders", 0, offset)]))).into();
    for (caller, expected) in callers.into_iter().zip([5, 9, 7]) {
        bench.end_write(Ok(()));
        assert!(bench.committed(caller).is_ok());
        assert_eq!(bench.offset("orders", 0).unwrap().offset, expected, "offsets may go back");
    }
}

#[test]
fn a_commit_that_is_not_stored_changes_nothing() {
    let mut bench = Bench::new();
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    let caller = bench.commit(simple_commit(&[("orders", 0, 2), ("bills", 0, 2)]));
    bench.end_write(Err(failure()));
    assert_eq!(bench.committed(caller), Err(Fault::CoordinatorNotAvailable));
    assert_eq!(bench.offset("orders", 0).unwrap().offset, 1);
    assert_eq!(bench.fetch(None).len(), 1);
}

#[test]
fn nothing_is_left_of_a_group_whose_only_commit_is_not_stored() {
    let mut bench = Bench::new();
    bench.is_swift = false;
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.end_write(Err(failure()));
    assert_eq!(bench.coordinator.group_count(), 0);
}

#[test]
fn what_was_never_committed_is_no_error() {
    let mut bench = Bench::new();
    let unknown = [("orders", 0), ("", -1)];
    assert_eq!(bench.fetch(Some(&unknown)).iter().filter(|fetched| fetched.committed.is_none()).count(), 2);
    assert!(bench.fetch(None).is_empty());
    let caller = bench.commit(simple_commit(&[("orders", 1, 1)]));
    assert!(bench.committed(caller).is_ok());
    let fetched = bench.fetch(Some(&[("orders", 0), ("orders", 1), ("bills", 1)]));
    let found: Vec<_> = fetched.iter().map(|fetched| fetched.committed.is_some()).collect();
    assert_eq!(found, [false, true, false]);
    assert_eq!(bench.fetch(None).len(), 1);
}

#[test]
fn a_note_that_is_too_long_is_refused_and_the_other_partitions_are_stored() {
    let mut bench = Bench::with(GroupSettings { offset_metadata_max: 10, ..GroupSettings::default() });
    let mut commit = simple_commit(&[("a", 0, 1), ("b", 0, 1), ("c", 0, 1)]);
    commit.offsets[1].metadata = Arc::from("x".repeat(11));
    // Ten characters, as Java counts them.
    commit.offsets[2].metadata = Arc::from("é".repeat(10));
    let caller = bench.commit(commit);
    assert_eq!(bench.committed(caller), Ok(vec![Ok(()), Err(Fault::OffsetMetadataTooLarge), Ok(())]));
    assert_eq!(bench.fetch(None).len(), 2);
}

#[test]
fn a_commit_of_nothing_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.is_swift = false;
    let caller = bench.commit(simple_commit(&[]));
    assert_eq!(bench.committed(caller), Ok(Vec::new()));
    assert_eq!(bench.coordinator.group_count(), 0);
}

#[test]
fn members_commit_in_their_generation_and_nobody_else_does() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let offsets = &[("orders", 0, 1)];
    let cases: [(Commit, Result<(), Fault>); 6] = [
        (member_commit(&members[0], offsets), Ok(())),
        (Commit { generation: 2, ..member_commit(&members[0], offsets) }, Err(Fault::IllegalGeneration)),
        (Commit { generation: -1, ..member_commit(&members[0], offsets) }, Err(Fault::IllegalGeneration)),
        (
            Commit { member: Arc::from("nobody"), ..member_commit(&members[0], offsets) },
            Err(Fault::UnknownMember),
        ),
        (
            Commit { instance: Some(Arc::from("a")), ..member_commit(&members[0], offsets) },
            Err(Fault::UnknownMember),
        ),
        (simple_commit(offsets), Err(Fault::UnknownMember)),
    ];
    for (commit, expected) in cases {
        let caller = bench.commit(commit);
        assert_eq!(bench.committed(caller).map(drop), expected);
    }
}

#[test]
fn while_members_join_they_still_commit_what_they_have_and_then_not_before_they_have_their_work() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let rejoin = bench.join(again(&members[0].member));
    let caller = bench.commit(member_commit(&members[1], &[("orders", 0, 1)]));
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    let other = bench.join(again(&members[1].member));
    let joined = bench.joined(rejoin);
    bench.joined(other);
    let caller = bench.commit(member_commit(&joined, &[("orders", 0, 2)]));
    assert_eq!(bench.committed(caller), Err(Fault::RebalanceInProgress));
}

#[test]
fn a_commit_keeps_a_member_as_a_heartbeat_does() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    for offset in 0..5 {
        bench.pass(seconds(9));
        let caller = bench.commit(member_commit(&member, &[("orders", 0, offset)]));
        assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    }
    assert_eq!(bench.heartbeat(&member), Ok(()));
}

#[test]
fn a_commit_in_a_generation_of_a_group_that_is_not_there_is_refused() {
    let mut bench = Bench::new();
    let caller = bench.commit(Commit { generation: 0, ..simple_commit(&[("orders", 0, 1)]) });
    assert_eq!(bench.committed(caller), Err(Fault::UnknownGroup));
}

#[test]
fn an_empty_group_takes_commits_of_anybody() {
    let mut bench = Bench::new();
    bench.stable(1);
    bench.pass(seconds(11));
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
    let caller = bench.commit(Commit { generation: 1, ..simple_commit(&[("orders", 0, 1)]) });
    assert_eq!(bench.committed(caller), Err(Fault::UnknownMember));
}

#[test]
fn a_group_without_a_name_may_have_offsets() {
    let mut bench = Bench::new();
    let caller = bench.commit(Commit { group: Arc::from(""), ..simple_commit(&[("orders", 0, 1)]) });
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
}

#[test]
fn a_group_has_only_so_many_offsets() {
    let mut bench = Bench::with(GroupSettings { group_offsets_max: 2, ..GroupSettings::default() });
    let caller = bench.commit(simple_commit(&[("orders", 0, 1), ("orders", 1, 1), ("orders", 2, 1)]));
    assert_eq!(bench.committed(caller), Ok(vec![Ok(()), Ok(()), Err(Fault::GroupFull)]));
    let caller = bench.commit(simple_commit(&[("orders", 0, 2)]));
    assert_eq!(bench.committed(caller), Ok(vec![Ok(())]));
}

#[test]
fn how_long_an_offset_is_kept_may_be_said() {
    let mut bench = Bench::new();
    let caller = bench.commit(Commit { retention_ms: Some(5_000), ..simple_commit(&[("orders", 0, 1)]) });
    assert!(bench.committed(caller).is_ok());
    let expected = Timestamp::new(bench.now.wall.get() + 5_000);
    assert_eq!(bench.offset("orders", 0).unwrap().expires_at, Some(expected));
}

#[test]
fn offsets_of_an_empty_group_are_deleted() {
    let mut bench = Bench::new();
    let caller = bench.commit(simple_commit(&[("orders", 0, 1), ("orders", 1, 1)]));
    assert!(bench.committed(caller).is_ok());
    assert_eq!(delete(&mut bench, &[("orders", 0), ("orders", 5)]), Ok(vec![Ok(()), Ok(())]));
    assert_eq!(bench.offset("orders", 0), None);
    assert!(bench.offset("orders", 1).is_some());
    let tombstone = GroupRecord::Offset {
        group: Arc::from(GROUP),
        topic: Arc::from("orders"),
        partition: 0,
        committed: None,
    };
    assert_eq!(bench.log.last(), Some(&tombstone));
}

#[test]
fn a_deleted_offset_is_gone_for_readers_once_that_is_stored() {
    let mut bench = Bench::new();
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    let partitions = vec![(Arc::from("orders"), 0)];
    let caller =
        bench.ask(|caller| Event::OffsetDelete(caller, OffsetDelete { group: Arc::from(GROUP), partitions }));
    assert!(bench.answer(caller).is_none());
    assert!(bench.offset("orders", 0).is_some());
    bench.write_all();
    assert!(matches!(bench.answer(caller), Some(Answer::OffsetDelete(Ok(_)))));
    assert_eq!(bench.offset("orders", 0), None);
    assert_eq!(bench.coordinator.group_count(), 0, "nothing is left of it");
}

#[test]
fn offsets_of_topics_that_members_want_are_not_deleted() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    let caller = bench.commit(member_commit(&member, &[("orders", 0, 1), ("bills", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    let deleted = delete(&mut bench, &[("orders", 0), ("bills", 0)]);
    assert_eq!(deleted, Ok(vec![Err(Fault::GroupSubscribed), Ok(())]));
    assert_eq!(bench.fetch(None).len(), 1);
}

#[test]
fn offsets_of_members_that_are_no_consumers_are_not_deleted() {
    let mut bench = Bench::new();
    let caller = bench.join(super::super::event::Join { protocol_type: Arc::from("connect"), ..newcomer() });
    bench.pass(seconds(3));
    bench.joined(caller);
    assert_eq!(delete(&mut bench, &[("orders", 0)]), Err(Fault::GroupNotEmpty));
}

#[test]
fn where_it_is_not_known_what_consumers_want_nothing_is_deleted() {
    let mut bench = Bench::new();
    let mut unreadable = protocol("range", &[]);
    unreadable.metadata = bytes::Bytes::from_static(&[0, 1, 0]);
    let caller = bench.join(super::super::event::Join { protocols: vec![unreadable], ..newcomer() });
    bench.pass(seconds(3));
    bench.joined(caller);
    assert_eq!(delete(&mut bench, &[("orders", 0)]), Ok(vec![Err(Fault::GroupSubscribed)]));
}

#[test]
fn offsets_of_a_group_that_is_not_there_cannot_be_deleted() {
    assert_eq!(delete(&mut Bench::new(), &[("orders", 0)]), Err(Fault::UnknownGroup));
}

#[test]
fn the_offsets_of_a_topic_go_with_it_also_those_on_their_way() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    let caller = bench.commit(member_commit(&member, &[("orders", 0, 1), ("bills", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    bench.commit(member_commit(&member, &[("orders", 1, 1)]));
    bench.step(Event::TopicDeleted(Arc::from("orders")));
    bench.write_all();
    let left: Vec<_> = bench.fetch(None).into_iter().map(|fetched| fetched.topic).collect();
    assert_eq!(left, [Arc::from("bills")]);
}
