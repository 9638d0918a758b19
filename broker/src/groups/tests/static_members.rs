use std::sync::Arc;

use super::super::answer::Joined;
use super::super::event::Join;
use super::super::record::GroupRecord;
use super::bench::*;
use crate::error::Fault;

/// A stable group of static members a, b and so on; the leader first.
fn stable(bench: &mut Bench, instances: &[&str]) -> Vec<Joined> {
    let callers: Vec<_> = instances.iter().map(|instance| bench.join(static_newcomer(instance))).collect();
    bench.pass(seconds(3) * u32::try_from(instances.len()).unwrap());
    let mut joined: Vec<_> = callers.into_iter().map(|caller| bench.joined(caller)).collect();
    joined.sort_by_key(|joined| joined.members.is_empty());
    let leader = joined[0].clone();
    let work: Vec<_> = leader.members.iter().map(|member| (&member.member, "work")).collect();
    let callers: Vec<_> = joined.iter().map(|joined| bench.sync(joined, &work)).collect();
    callers.into_iter().for_each(|caller| assert!(bench.synced(caller).is_ok()));
    joined
}

fn instance_of(joined: &Joined) -> String {
    joined.member[..1].to_owned()
}

#[test]
fn a_static_member_is_a_member_at_once_and_its_id_begins_with_its_name() {
    let mut bench = Bench::new();
    let caller = bench.join(Join { member_id_required: true, ..static_newcomer("a") });
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    assert!(joined.member.starts_with("a-"));
    assert_eq!(joined.members[0].instance.as_deref(), Some("a"));
}

#[test]
fn a_static_member_that_restarts_finds_its_work_and_nobody_joins_again() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a", "b"]);
    let follower = instance_of(&before[1]);
    let caller = bench.join(static_newcomer(&follower));
    let joined = bench.joined(caller);
    assert_eq!(joined.generation, 1);
    assert_ne!(joined.member, before[1].member);
    assert_eq!(joined.leader, before[0].leader);
    assert!(joined.members.is_empty());
    assert_eq!(bench.heartbeat(&before[0]), Ok(()));
    let caller = bench.sync(&joined, &[]);
    assert_eq!(&*bench.synced(caller).unwrap().assignment, b"work");
}

#[test]
fn the_new_id_of_a_static_member_is_told_once_it_is_stored() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a"]);
    bench.is_swift = false;
    let caller = bench.join(static_newcomer("a"));
    assert!(bench.answer(caller).is_none());
    bench.write_all();
    let joined = bench.joined(caller);
    let Some(GroupRecord::Group { value: Some(value), .. }) = bench.log.last() else { panic!() };
    assert_eq!(value.members[0].member, joined.member);
    assert_ne!(joined.member, before[0].member);
}

#[test]
fn the_old_id_of_a_static_member_is_fenced() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a"]);
    let caller = bench.join(static_newcomer("a"));
    bench.joined(caller);
    let old = &before[0].member;
    assert_eq!(bench.heartbeat_as(old, Some("a"), 1), Err(Fault::FencedInstance));
    assert_eq!(bench.heartbeat_as(old, None, 1), Err(Fault::UnknownMember));
    let caller = bench.join(Join { instance: Some(Arc::from("a")), ..again(old) });
    assert_eq!(bench.not_joined(caller).error.fault, Fault::FencedInstance);
    let mut commit = member_commit(&before[0], &[("orders", 0, 1)]);
    commit.instance = Some(Arc::from("a"));
    let caller = bench.commit(commit);
    assert_eq!(bench.committed(caller), Err(Fault::FencedInstance));
}

#[test]
fn a_leader_that_restarts_leads_on_and_need_not_divide_the_work() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a", "b"]);
    let leader = instance_of(&before[0]);
    let caller = bench.join(Join { may_skip_assignment: true, ..static_newcomer(&leader) });
    let joined = bench.joined(caller);
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.members.len(), 2);
}

#[test]
fn a_leader_that_restarts_and_does_not_know_that_is_told_that_its_old_id_leads() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a", "b"]);
    let leader = instance_of(&before[0]);
    let caller = bench.join(static_newcomer(&leader));
    let joined = bench.joined(caller);
    assert!(!joined.skip_assignment);
    assert_eq!(joined.leader, before[0].member);
    assert!(joined.members.is_empty());
}

#[test]
fn a_static_member_that_changes_the_chosen_protocol_has_all_join_again() {
    let mut bench = Bench::new();
    let both = vec![protocol("range", &[]), protocol("sticky", &[])];
    let caller = bench.join(Join { protocols: both, ..static_newcomer("a") });
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    assert_eq!(&*joined.protocol, "range");
    let caller = bench.sync(&joined, &[(&joined.member, "work")]);
    assert!(bench.synced(caller).is_ok());
    let sticky = vec![protocol("sticky", &[])];
    let caller = bench.join(Join { protocols: sticky, ..static_newcomer("a") });
    let joined = bench.joined(caller);
    assert_eq!((joined.generation, &*joined.protocol), (2, "sticky"));
    assert_eq!(joined.leader, joined.member);
}

#[test]
fn a_static_member_that_restarts_while_the_work_is_divided_has_all_join_again() {
    let mut bench = Bench::new();
    let callers = [bench.join(static_newcomer("a")), bench.join(static_newcomer("b"))];
    bench.pass(seconds(6));
    let [a, b] = callers.map(|caller| bench.joined(caller));
    let waiting = bench.sync(if a.members.is_empty() { &a } else { &b }, &[]);
    let restarted = bench.join(static_newcomer("a"));
    let told = bench.synced(waiting).unwrap_err();
    let expected = if a.members.is_empty() { Fault::FencedInstance } else { Fault::RebalanceInProgress };
    assert_eq!(told, expected);
    let rejoin = bench.join(Join { instance: Some(Arc::from("b")), ..again(&b.member) });
    assert_eq!((bench.joined(restarted).generation, bench.joined(rejoin).generation), (2, 2));
}

#[test]
fn a_static_member_whose_join_waits_is_fenced_by_the_next_one() {
    let mut bench = Bench::new();
    let first = bench.join(static_newcomer("a"));
    let second = bench.join(static_newcomer("a"));
    let refused = bench.not_joined(first);
    assert_eq!(refused.error.fault, Fault::FencedInstance);
    assert!(refused.member.starts_with("a-"));
    bench.pass(seconds(6));
    assert_eq!(bench.joined(second).members.len(), 1);
}

#[test]
fn a_static_member_joins_a_group_that_has_become_empty() {
    let mut bench = Bench::new();
    stable(&mut bench, &["a"]);
    bench.pass(seconds(11));
    let caller = bench.join(static_newcomer("a"));
    bench.pass(seconds(3));
    assert_eq!(bench.joined(caller).generation, 3, "2 was the empty one");
}

#[test]
fn a_static_member_that_is_away_keeps_its_place_until_its_session_ends() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a", "b"]);
    let (leader, away) = (&before[0], instance_of(&before[1]));
    let instance = instance_of(leader);
    let rejoin =
        Join { instance: Some(Arc::from(&*instance)), rebalance_timeout_ms: 5_000, ..again(&leader.member) };
    let caller = bench.join(rejoin.clone());
    bench.pass(seconds(9));
    assert!(bench.answer(caller).is_none(), "the other one's longer rebalance timeout counts");
    bench.pass(seconds(1));
    let joined = bench.joined(caller);
    assert!(joined.members.iter().all(|member| member.instance.as_deref() != Some(&*away)));
}

#[test]
fn what_a_static_member_says_of_itself_when_it_restarts_holds_from_then_on() {
    let mut bench = Bench::new();
    stable(&mut bench, &["a"]);
    let client_id = Arc::from("renamed");
    let join =
        Join { session_timeout_ms: 20_000, rebalance_timeout_ms: 9_000, client_id, ..static_newcomer("a") };
    let caller = bench.join(join);
    bench.joined(caller);
    let member = super::inspect::describe(&mut bench).members.remove(0);
    assert_eq!((member.session_timeout, member.rebalance_timeout), (seconds(20), seconds(9)));
    assert_eq!(&*member.client_id, "renamed");
}

#[test]
fn a_static_member_whose_new_id_is_not_stored_is_what_it_was() {
    let mut bench = Bench::new();
    let before = stable(&mut bench, &["a"]).remove(0);
    bench.is_swift = false;
    let caller = bench.join(Join { session_timeout_ms: 20_000, ..static_newcomer("a") });
    bench.end_write(Err(failure()));
    assert_eq!(bench.not_joined(caller).error.fault, Fault::CoordinatorNotAvailable);
    assert_eq!(bench.heartbeat_as(&before.member, Some("a"), 1), Ok(()));
    assert_eq!(super::inspect::describe(&mut bench).members[0].session_timeout, seconds(10));
}

#[test]
fn a_restart_that_a_rebalance_overtakes_ends_with_the_rebalance() {
    let mut bench = Bench::new();
    stable(&mut bench, &["a"]);
    bench.is_swift = false;
    let restarted = bench.join(static_newcomer("a"));
    let other = bench.join(newcomer());
    // All have joined: the one that has come back, and the new one.
    let (restarted, other) = (bench.joined(restarted), bench.joined(other));
    assert_eq!((restarted.generation, other.generation), (2, 2));
    bench.write_all();
    assert_eq!(bench.heartbeat(&restarted), Ok(()));
}

#[test]
fn an_instance_that_is_not_there_is_unknown() {
    let mut bench = Bench::new();
    let joined = stable(&mut bench, &["a"]).remove(0);
    assert_eq!(bench.heartbeat_as(&joined.member, Some("z"), 1), Err(Fault::UnknownMember));
    let caller = bench.join(Join { instance: Some(Arc::from("z")), ..again(&joined.member) });
    assert_eq!(bench.not_joined(caller).error.fault, Fault::UnknownMember);
}

#[test]
fn an_id_that_was_given_to_a_dynamic_newcomer_is_not_for_a_static_one() {
    let mut bench = Bench::new();
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let id = bench.not_joined(asked).member;
    let caller = bench.join(Join { instance: Some(Arc::from("a")), ..again(&id) });
    assert_eq!(bench.not_joined(caller).error.fault, Fault::InvalidRequest);
}
