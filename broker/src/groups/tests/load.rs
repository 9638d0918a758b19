use std::sync::Arc;

use super::super::answer::{Answer, GroupState};
use super::super::event::{Event, Join, List};
use super::super::history::RebalanceCause;
use super::super::record::GroupRecord;
use super::super::settings::GroupSettings;
use super::bench::*;
use super::inspect::{describe, find};
use crate::error::Fault;

#[test]
fn until_it_is_loaded_everybody_is_told_so() {
    let mut bench = Bench::loading(GroupSettings::default());
    let caller = bench.join(newcomer());
    assert_eq!(bench.not_joined(caller).error.fault, Fault::CoordinatorLoading);
    assert_eq!(bench.heartbeat_as("app-1", None, 1), Err(Fault::CoordinatorLoading));
    let caller = bench.commit(simple_commit(&[("orders", 0, 1)]));
    assert_eq!(bench.committed(caller), Err(Fault::CoordinatorLoading));
    let caller = bench.ask(|caller| Event::List(caller, List::default()));
    assert!(matches!(bench.answer(caller), Some(Answer::List(Err(_)))));
    assert_eq!(bench.coordinator.next_deadline(), None);
}

#[test]
fn a_stable_group_goes_on_after_a_restart_as_if_nothing_had_been() {
    let mut bench = Bench::new();
    let members = bench.stable(3);
    bench.commit(member_commit(&members[0], &[("orders", 0, 7)]));
    let mut bench = bench.restarted(GroupSettings::default());
    members.iter().for_each(|member| assert_eq!(bench.heartbeat(member), Ok(())));
    assert_eq!(bench.offset("orders", 0).unwrap().offset, 7);
    let caller = bench.commit(member_commit(&members[1], &[("orders", 0, 8)]));
    assert!(bench.committed(caller).is_ok());
    let described = describe(&mut bench);
    assert_eq!((described.state, described.generation), (GroupState::Stable, 1));
    assert_eq!(described.leader.as_ref(), Some(&members[0].member));
    assert!(described.members.iter().all(|member| &*member.assignment == b"work"));
    let caller = bench.sync(&members[2], &[]);
    assert_eq!(&*bench.synced(caller).unwrap().assignment, b"work");
}

#[test]
fn the_sessions_of_members_begin_anew_with_a_restart() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    bench.pass(seconds(9));
    let mut bench = bench.restarted(GroupSettings::default());
    bench.pass(seconds(9));
    assert_eq!(bench.heartbeat(&members[0]), Ok(()));
    bench.pass(seconds(1));
    assert_eq!(bench.heartbeat(&members[1]), Err(Fault::UnknownMember));
}

#[test]
fn a_rebalance_that_a_restart_cuts_short_is_begun_again_by_the_members() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    bench.join(newcomer());
    let mut bench = bench.restarted(GroupSettings::default());
    assert_eq!(bench.heartbeat(&members[0]), Ok(()), "the generation that is stored");
    let newcomer = bench.join(newcomer());
    let rejoin = bench.join(again(&members[0].member));
    assert_eq!((bench.joined(newcomer).generation, bench.joined(rejoin).generation), (2, 2));
}

#[test]
fn a_group_of_which_offsets_alone_are_stored_is_one() {
    let mut bench = Bench::new();
    bench.commit(simple_commit(&[("orders", 0, 7)]));
    let mut bench = bench.restarted(GroupSettings::default());
    let listed = find(&mut bench).unwrap();
    assert_eq!((listed.state, &*listed.protocol_type), (GroupState::Empty, ""));
}

#[test]
fn a_group_that_was_emptied_is_still_one_after_a_restart_and_joined_again() {
    let mut bench = Bench::new();
    bench.stable(1);
    bench.pass(seconds(11));
    let mut bench = bench.restarted(GroupSettings::default());
    assert_eq!(find(&mut bench).map(|group| group.state), Some(GroupState::Empty));
    let caller = bench.join(newcomer());
    bench.pass(seconds(3));
    assert_eq!(bench.joined(caller).generation, 3);
}

#[test]
fn nothing_comes_back_of_what_was_deleted() {
    let mut bench = Bench::new();
    bench.commit(simple_commit(&[("orders", 0, 7)]));
    bench.ask(|caller| Event::Delete(caller, super::super::event::Delete { group: Arc::from(GROUP) }));
    assert_eq!(bench.restarted(GroupSettings::default()).coordinator.group_count(), 0);
}

#[test]
fn offsets_that_outlive_the_record_of_their_group_are_kept() {
    let mut bench = Bench::new();
    bench.commit(simple_commit(&[("orders", 0, 7)]));
    bench.log.push(GroupRecord::Group { group: Arc::from(GROUP), value: None });
    let mut bench = bench.restarted(GroupSettings::default());
    assert_eq!(bench.offset("orders", 0).unwrap().offset, 7);
}

#[test]
fn tombstones_of_what_is_not_there_are_nothing() {
    let mut bench = Bench::new();
    let (group, topic): (Arc<str>, Arc<str>) = (Arc::from(GROUP), Arc::from("orders"));
    bench.log.push(GroupRecord::Offset { group: group.clone(), topic, partition: 0, committed: None });
    bench.log.push(GroupRecord::Group { group, value: None });
    assert_eq!(bench.restarted(GroupSettings::default()).coordinator.group_count(), 0);
}

#[test]
fn a_group_that_is_larger_than_is_allowed_by_now_has_the_last_to_come_again_go() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let mut bench = bench.restarted(GroupSettings { members_max: 1, ..GroupSettings::default() });
    assert_eq!(bench.heartbeat(&members[0]), Err(Fault::RebalanceInProgress));
    assert_eq!(describe(&mut bench).rebalancing.unwrap().cause, RebalanceCause::TooManyMembers);
    let first = bench.join(again(&members[1].member));
    let second = bench.join(again(&members[0].member));
    assert_eq!(bench.not_joined(second).error.fault, Fault::GroupFull);
    assert_eq!(bench.joined(first).members.len(), 1);
}

#[test]
fn a_record_that_contradicts_itself_is_taken_without_harm() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    let Some(GroupRecord::Group { value: Some(mut value), group }) = bench.log.pop() else { panic!() };
    value.members[0].instance = Some(Arc::from("a"));
    let twin = value.members[0].clone();
    let mut other = twin.clone();
    other.member = Arc::from("other");
    value.members.extend([twin, other]);
    value.leader = Some(Arc::from("nobody"));
    value.protocol = None;
    value.generation = i32::MAX;
    bench.log.push(GroupRecord::Group { group, value: Some(value) });
    let mut bench = bench.restarted(GroupSettings::default());
    assert_eq!(describe(&mut bench).members.len(), 2);
    let member = Join { protocols: vec![protocol("", &[])], ..again(&members[0].member) };
    bench.join(member);
    bench.pass(seconds(60));
    bench.pass(seconds(700));
    assert_eq!(bench.coordinator.group_count(), 0);
}
