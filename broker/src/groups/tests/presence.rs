use std::sync::Arc;

use super::super::answer::{Answer, GroupState, Left};
use super::super::event::{Commit, Event, Join, Leave, Leaver};
use super::super::history::RebalanceCause;
use super::super::record::GroupRecord;
use super::bench::*;
use super::inspect::{describe, find};
use crate::error::Fault;

fn leaver(member: &str, instance: Option<&str>) -> Leaver {
    Leaver {
        member: Arc::from(member),
        instance: instance.map(Arc::from),
        reason: Some(Arc::from("it is late")),
    }
}

fn leave(bench: &mut Bench, members: Vec<Leaver>) -> Vec<Result<(), Fault>> {
    let leave = Leave { group: Arc::from(GROUP), members };
    let caller = bench.ask(|caller| Event::Leave(caller, leave));
    match bench.answer(caller) {
        Some(Answer::Leave(Ok(left))) => {
            left.into_iter().map(|Left { result, .. }| result.map_err(|error| error.fault)).collect()
        }
        other => panic!("no answer to a leave: {other:?}"),
    }
}

#[test]
fn heartbeats_keep_a_member_and_silence_ends_it() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    for _ in 0..10 {
        bench.pass(seconds(9));
        members.iter().for_each(|member| assert_eq!(bench.heartbeat(member), Ok(())));
    }
    bench.pass(seconds(9));
    assert_eq!(bench.heartbeat(&members[0]), Ok(()));
    bench.pass(seconds(1));
    assert_eq!(bench.heartbeat(&members[1]), Err(Fault::UnknownMember));
    assert_eq!(bench.heartbeat(&members[0]), Err(Fault::RebalanceInProgress));
    let rebalance = describe(&mut bench).rebalancing.unwrap();
    assert_eq!(
        (rebalance.cause, rebalance.who),
        (RebalanceCause::SessionTimeout, Some(members[1].member.clone()))
    );
}

#[test]
fn a_heartbeat_writes_nothing_and_sets_no_timer() {
    let mut bench = Bench::new();
    let member = bench.stable(1).remove(0);
    let (written, deadline) = (bench.log.len(), bench.coordinator.next_deadline());
    bench.pass(seconds(1));
    assert_eq!(bench.heartbeat(&member), Ok(()));
    assert_eq!((bench.log.len(), bench.coordinator.next_deadline()), (written, deadline));
}

#[test]
fn whoever_is_no_member_of_this_generation_is_told_so() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat_as("app-1", None, 1), Err(Fault::UnknownMember));
    let member = bench.stable(1).remove(0);
    assert_eq!(bench.heartbeat_as("app-1", None, 1), Err(Fault::UnknownMember));
    assert_eq!(bench.heartbeat_as(&member.member, None, 2), Err(Fault::IllegalGeneration));
    assert_eq!(bench.heartbeat_as(&member.member, None, 1), Ok(()));
}

#[test]
fn members_wait_for_others_without_heartbeats() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let rejoin = bench.join(again(&members[0].member));
    for _ in 0..29 {
        bench.pass(seconds(2));
        assert_eq!(bench.heartbeat(&members[1]), Err(Fault::RebalanceInProgress));
        assert!(bench.answer(rejoin).is_none(), "its session would have been over after 10 s");
    }
    let other = bench.join(again(&members[1].member));
    assert_eq!((bench.joined(rejoin).generation, bench.joined(other).generation), (2, 2));
}

#[test]
fn a_newcomer_that_waits_for_too_long_is_told_to_ask_again() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    let rejoin = Join { rebalance_timeout_ms: 1_000_000, ..again(&members[0].member) };
    let caller = bench.join(rejoin.clone());
    let joined = bench.joined(caller);
    let newcomer = bench.join(newcomer());
    for _ in 0..60 {
        assert!(bench.answer(newcomer).is_none());
        bench.pass(seconds(5));
        assert_eq!(bench.heartbeat(&joined), Err(Fault::RebalanceInProgress));
    }
    let refused = bench.not_joined(newcomer);
    assert_eq!((refused.error.fault, &*refused.member), (Fault::UnknownMember, ""));
    let caller = bench.join(rejoin);
    assert_eq!(bench.joined(caller).members.len(), 1);
}

#[test]
fn whoever_leaves_has_the_others_join_again_and_its_reason_is_remembered() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    assert_eq!(leave(&mut bench, vec![leaver(&members[1].member, None)]), [Ok(())]);
    assert_eq!(bench.heartbeat(&members[0]), Err(Fault::RebalanceInProgress));
    let rebalance = describe(&mut bench).rebalancing.unwrap();
    assert_eq!(rebalance.cause, RebalanceCause::Left);
    assert_eq!(rebalance.reason.as_deref(), Some("it is late"));
    assert_eq!(rebalance.who.as_ref(), Some(&members[1].member));
}

#[test]
fn the_last_one_to_leave_is_answered_when_it_is_stored_that_the_group_is_empty() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    bench.is_swift = false;
    let leaving = Leave { group: Arc::from(GROUP), members: vec![leaver(&members[0].member, None)] };
    let caller = bench.ask(|caller| Event::Leave(caller, leaving));
    assert!(bench.answer(caller).is_none());
    bench.write_all();
    assert!(matches!(bench.answer(caller), Some(Answer::Leave(Ok(_)))));
    let Some(GroupRecord::Group { value: Some(value), .. }) = bench.log.last() else { panic!() };
    assert_eq!((value.generation, value.members.len(), &value.protocol), (2, 0, &None));
    assert_eq!(&*value.protocol_type, "consumer");
    let described = describe(&mut bench);
    assert_eq!((described.state, described.generation), (GroupState::Empty, 2));
}

#[test]
fn several_leave_at_once_and_each_is_told_how_it_went() {
    let mut bench = Bench::new();
    bench.stable(2);
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let pending = bench.not_joined(asked).member;
    let joined = bench.join(static_newcomer("a"));
    let leavers = vec![
        leaver("", Some("a")),
        leaver(&pending, None),
        leaver("nobody", None),
        leaver("", None),
        leaver("", Some("b")),
        leaver("nobody", Some("b")),
    ];
    let unknown = Err(Fault::UnknownMember);
    assert_eq!(leave(&mut bench, leavers), [Ok(()), Ok(()), unknown, unknown, unknown, unknown]);
    assert_eq!(bench.not_joined(joined).error.fault, Fault::UnknownMember, "its join was waiting");
}

#[test]
fn a_static_member_leaves_under_its_current_id_only() {
    let mut bench = Bench::new();
    let caller = bench.join(static_newcomer("a"));
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    assert_eq!(leave(&mut bench, vec![leaver("a-old", Some("a"))]), [Err(Fault::FencedInstance)]);
    assert_eq!(leave(&mut bench, vec![leaver(&joined.member, Some("a"))]), [Ok(())]);
}

#[test]
fn whoever_leaves_a_group_that_is_not_there_is_unknown() {
    let mut bench = Bench::new();
    let leavers = vec![leaver("app-1", None), leaver("", Some("a"))];
    assert_eq!(leave(&mut bench, leavers), [Err(Fault::UnknownMember), Err(Fault::UnknownMember)]);
}

#[test]
fn a_group_of_members_has_a_name() {
    let mut bench = Bench::new();
    bench.commit(Commit { group: Arc::from(""), ..simple_commit(&[("orders", 0, 1)]) });
    let group: Arc<str> = Arc::from("");
    let join = Join { group: group.clone(), ..newcomer() };
    let caller = bench.join(join);
    assert_eq!(bench.not_joined(caller).error.fault, Fault::InvalidGroup);
    let leave = Leave { group, members: Vec::new() };
    let caller = bench.ask(|caller| Event::Leave(caller, leave));
    assert!(matches!(bench.answer(caller), Some(Answer::Leave(Ok(left))) if left.is_empty()));
}

#[test]
fn whoever_leaves_while_others_wait_for_it_lets_them_go_on() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let rejoin = bench.join(again(&members[0].member));
    assert!(bench.answer(rejoin).is_none());
    leave(&mut bench, vec![leaver(&members[1].member, None)]);
    assert_eq!(bench.joined(rejoin).members.len(), 1);
}

#[test]
fn whoever_is_taken_away_while_it_waits_for_its_work_is_told() {
    let mut bench = Bench::new();
    let callers = [bench.join(static_newcomer("a")), bench.join(static_newcomer("b"))];
    bench.pass(seconds(6));
    let joined = callers.map(|caller| bench.joined(caller));
    let follower = joined.iter().find(|joined| joined.members.is_empty()).unwrap();
    let instance = &follower.member[..1];
    let waiting = bench.sync(follower, &[]);
    leave(&mut bench, vec![leaver("", Some(instance))]);
    assert_eq!(bench.synced(waiting).unwrap_err(), Fault::UnknownMember);
}

#[test]
fn a_group_whose_members_all_go_leaves_no_timers_behind() {
    let mut bench = Bench::new();
    let only = bench.coordinator.timer_count();
    let members = bench.stable(5);
    assert!(bench.coordinator.timer_count() > only);
    for member in &members {
        leave(&mut bench, vec![leaver(&member.member, None)]);
    }
    assert_eq!(bench.coordinator.timer_count(), only);
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let pending = bench.not_joined(asked).member;
    leave(&mut bench, vec![leaver(&pending, None)]);
    assert_eq!(bench.coordinator.timer_count(), only);
    assert_eq!(find(&mut bench).map(|group| group.state), Some(GroupState::Empty));
}
