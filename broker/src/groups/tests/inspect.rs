use std::sync::Arc;

use super::super::answer::{Answer, DescribedGroup, GroupState, ListedGroup};
use super::super::event::{Delete, Describe, Event, Join, List};
use super::super::history::RebalanceCause;
use super::super::record::GroupRecord;
use super::bench::*;
use crate::error::Fault;

pub(super) fn describe(bench: &mut Bench) -> DescribedGroup {
    try_describe(bench).expect("there is such a group")
}

fn try_describe(bench: &mut Bench) -> Result<DescribedGroup, Fault> {
    let caller = bench.ask(|caller| Event::Describe(caller, Describe { group: Arc::from(GROUP) }));
    match bench.answer(caller) {
        Some(Answer::Describe(answer)) => answer.map_err(|error| error.fault),
        other => panic!("no answer to a question: {other:?}"),
    }
}

fn list(bench: &mut Bench, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let list = List { states: own(states), types: own(types) };
    let caller = bench.ask(|caller| Event::List(caller, list));
    match bench.answer(caller) {
        Some(Answer::List(Ok(listed))) => listed,
        other => panic!("no answer to a question: {other:?}"),
    }
}

/// The group in the list of all.
pub(super) fn find(bench: &mut Bench) -> Option<ListedGroup> {
    list(bench, &[], &[]).into_iter().find(|listed| &*listed.group == GROUP)
}

fn delete(bench: &mut Bench) -> super::super::event::Caller {
    bench.ask(|caller| Event::Delete(caller, Delete { group: Arc::from(GROUP) }))
}

fn deleted(bench: &mut Bench, caller: super::super::event::Caller) -> Result<(), Fault> {
    match bench.answer(caller) {
        Some(Answer::Delete(answer)) => answer.map_err(|error| error.fault),
        other => panic!("no answer to a deletion: {other:?}"),
    }
}

#[test]
fn a_group_is_described_in_each_of_its_states() {
    let mut bench = Bench::new();
    assert_eq!(try_describe(&mut bench).unwrap_err(), Fault::UnknownGroup);
    let caller = bench.join(newcomer());
    let described = describe(&mut bench);
    assert_eq!((described.state, described.members.len()), (GroupState::PreparingRebalance, 1));
    assert!(described.members[0].is_waiting);
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    let described = describe(&mut bench);
    assert_eq!((described.state, described.protocol), (GroupState::CompletingRebalance, None));
    assert!(described.members[0].metadata.is_empty());
    bench.sync(&joined, &[(&joined.member, "work")]);
    bench.pass(seconds(2));
    let described = describe(&mut bench);
    assert_eq!((described.state, described.protocol.as_deref()), (GroupState::Stable, Some("range")));
    let member = &described.members[0];
    assert_eq!(
        (&*member.assignment, &*member.client_id, &*member.client_host),
        (&b"work"[..], "app", "127.0.0.1")
    );
    assert!(!member.metadata.is_empty());
    assert_eq!(member.silent_for, seconds(2));
}

#[test]
fn while_members_join_again_it_is_told_what_they_have_had() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    bench.join(again(&members[0].member));
    let described = describe(&mut bench);
    assert_eq!((described.state, described.protocol), (GroupState::PreparingRebalance, None));
    assert!(
        described.members.iter().all(|member| &*member.assignment == b"work" && member.metadata.is_empty())
    );
}

#[test]
fn the_last_rebalances_are_remembered_with_what_came_of_them() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    let described = describe(&mut bench);
    assert!(described.rebalancing.is_none());
    let first = &described.rebalances[0];
    assert_eq!(
        (first.cause, first.generation, first.took),
        (RebalanceCause::Joined, Some(1), Some(seconds(3)))
    );
    assert_eq!(first.who.as_ref(), Some(&members[0].member));
    let reason = Some(Arc::from("x".repeat(1_000)));
    bench.join(Join { reason, ..again(&members[0].member) });
    let described = describe(&mut bench);
    let rebalancing = described.rebalancing.unwrap();
    assert_eq!((rebalancing.cause, rebalancing.generation), (RebalanceCause::Rejoined, Some(2)));
    assert_eq!(rebalancing.reason.unwrap().len(), 255);
    assert_eq!(described.rebalances.len(), 1);
}

#[test]
fn only_so_many_rebalances_are_remembered() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    for number in 0..50 {
        let topic = format!("orders-{number}");
        let changed = Join { protocols: vec![protocol("range", &[&topic])], ..again(&member.member) };
        let caller = bench.join(changed);
        bench.joined(caller);
    }
    let described = describe(&mut bench);
    assert_eq!(described.rebalances.len(), 15, "and the one that is going on");
    assert_eq!(described.rebalances[0].generation, Some(36));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut bench = Bench::new();
    bench.stable(1);
    assert_eq!(list(&mut bench, &["stable", "Empty"], &[]).len(), 1);
    assert_eq!(list(&mut bench, &[], &["CLASSIC"]).len(), 1);
    assert_eq!(list(&mut bench, &["Dead"], &[]), []);
    assert_eq!(list(&mut bench, &[], &["consumer"]), []);
    let listed = find(&mut bench).unwrap();
    assert_eq!((listed.state, &*listed.protocol_type), (GroupState::Stable, "consumer"));
}

#[test]
fn a_group_is_deleted_with_all_its_offsets() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    let caller = bench.commit(member_commit(&member, &[("orders", 0, 1), ("bills", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    let caller = delete(&mut bench);
    assert_eq!(deleted(&mut bench, caller), Err(Fault::GroupNotEmpty));
    bench.pass(seconds(11));
    bench.is_swift = false;
    let caller = delete(&mut bench);
    assert!(bench.answer(caller).is_none());
    assert_eq!(bench.fetch(None).len(), 2, "not before it is stored");
    bench.write_all();
    assert_eq!(deleted(&mut bench, caller), Ok(()));
    assert!(bench.fetch(None).is_empty());
    assert_eq!(bench.coordinator.group_count(), 0);
    let is_tombstone = |record: &GroupRecord| {
        matches!(record, GroupRecord::Offset { committed: None, .. } | GroupRecord::Group { value: None, .. })
    };
    assert_eq!(bench.log.iter().filter(|record| is_tombstone(record)).count(), 3);
}

#[test]
fn a_group_that_is_not_there_cannot_be_deleted_and_one_that_is_going_goes_once() {
    let mut bench = Bench::new();
    let caller = delete(&mut bench);
    assert_eq!(deleted(&mut bench, caller), Err(Fault::UnknownGroup));
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    let (first, second) = (delete(&mut bench), delete(&mut bench));
    assert_eq!(deleted(&mut bench, second), Err(Fault::UnknownGroup));
    bench.write_all();
    assert_eq!(deleted(&mut bench, first), Ok(()));
}

#[test]
fn a_group_that_is_not_deleted_after_all_is_what_it_was() {
    let mut bench = Bench::new();
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    let caller = delete(&mut bench);
    bench.end_write(Err(failure()));
    assert_eq!(deleted(&mut bench, caller), Err(Fault::CoordinatorNotAvailable));
    assert_eq!(bench.offset("orders", 0).unwrap().offset, 1);
    bench.is_swift = true;
    let caller = delete(&mut bench);
    assert_eq!(deleted(&mut bench, caller), Ok(()));
}

#[test]
fn whoever_joins_while_the_group_is_deleted_is_a_member_of_a_new_one() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    let caller = bench.commit(member_commit(&member, &[("orders", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.pass(seconds(11));
    bench.is_swift = false;
    let deleting = delete(&mut bench);
    let joining = bench.join(newcomer());
    bench.write_all();
    assert_eq!(deleted(&mut bench, deleting), Ok(()));
    bench.pass(seconds(3));
    let joined = bench.joined(joining);
    assert_eq!(joined.members.len(), 1);
    assert!(bench.fetch(None).is_empty());
    let caller = bench.sync(&joined, &[(&joined.member, "work")]);
    bench.write_all();
    assert!(bench.synced(caller).is_ok());
    let mut again = bench.restarted(super::super::settings::GroupSettings::default());
    assert_eq!(describe(&mut again).state, GroupState::Stable);
}

#[test]
fn what_is_committed_while_the_group_is_deleted_stays() {
    let mut bench = Bench::new();
    let caller = bench.commit(simple_commit(&[("orders", 0, 1), ("bills", 0, 1)]));
    assert!(bench.committed(caller).is_ok());
    bench.is_swift = false;
    let deleting = delete(&mut bench);
    let committing = bench.commit(simple_commit(&[("orders", 0, 2)]));
    bench.write_all();
    assert_eq!(deleted(&mut bench, deleting), Ok(()));
    assert!(bench.committed(committing).is_ok());
    assert_eq!(bench.fetch(None).len(), 1);
    let mut again = bench.restarted(super::super::settings::GroupSettings::default());
    assert_eq!(again.fetch(None), bench.fetch(None));
}

#[test]
fn a_newcomer_that_was_given_an_id_does_not_keep_a_group_from_being_deleted() {
    let mut bench = Bench::new();
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let pending = bench.not_joined(asked).member;
    let caller = delete(&mut bench);
    assert_eq!(deleted(&mut bench, caller), Ok(()));
    let caller = bench.join(again(&pending));
    assert_eq!(bench.not_joined(caller).error.fault, Fault::UnknownMember);
}
