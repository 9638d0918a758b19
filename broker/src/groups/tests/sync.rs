use std::sync::Arc;

use super::super::answer::{GroupState, Joined};
use super::super::event::{Event, Sync};
use super::super::history::RebalanceCause;
use super::super::record::GroupRecord;
use super::super::settings::GroupSettings;
use super::bench::*;
use super::inspect::describe;
use crate::error::{Fault, ServiceError};

/// Two members that have joined, the leader first.
fn joined(bench: &mut Bench) -> (Joined, Joined) {
    let callers = [bench.join(newcomer()), bench.join(newcomer())];
    bench.pass(seconds(6));
    let [a, b] = callers.map(|caller| bench.joined(caller));
    if a.members.is_empty() { (b, a) } else { (a, b) }
}

#[test]
fn followers_wait_for_the_leader_and_everybody_gets_theirs_once_it_is_stored() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.is_swift = false;
    let waiting = bench.sync(&follower, &[]);
    assert!(bench.answer(waiting).is_none());
    let bringing = bench.sync(&leader, &[(&leader.member, "a"), (&follower.member, "b")]);
    assert!(bench.answer(waiting).is_none());
    assert_eq!(describe(&mut bench).state, GroupState::CompletingRebalance);
    bench.write_all();
    assert_eq!(&*bench.synced(bringing).unwrap().assignment, b"a");
    let synced = bench.synced(waiting).unwrap();
    assert_eq!(
        (&*synced.assignment, &*synced.protocol, &*synced.protocol_type),
        (&b"b"[..], "range", "consumer")
    );
    assert_eq!(describe(&mut bench).state, GroupState::Stable);
    let Some(GroupRecord::Group { value: Some(value), .. }) = bench.log.last() else { panic!() };
    assert_eq!((value.generation, value.members.len()), (1, 2));
    assert_eq!(value.leader.as_ref(), Some(&leader.member));
}

#[test]
fn whoever_asks_later_is_told_at_once() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.sync(&leader, &[(&follower.member, "b")]);
    for _ in 0..2 {
        let caller = bench.sync(&follower, &[]);
        assert_eq!(&*bench.synced(caller).unwrap().assignment, b"b");
    }
}

#[test]
fn whom_the_leader_leaves_out_has_no_work_and_whom_it_invents_is_nobody() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    let nobody = Arc::from("nobody");
    bench.sync(&leader, &[(&leader.member, "a"), (&nobody, "c")]);
    let caller = bench.sync(&follower, &[]);
    assert!(bench.synced(caller).unwrap().assignment.is_empty());
    assert_eq!(describe(&mut bench).members.len(), 2);
}

#[test]
fn a_follower_divides_nothing() {
    let mut bench = Bench::new();
    let (_, follower) = joined(&mut bench);
    let caller = bench.sync(&follower, &[(&follower.member, "all")]);
    assert!(bench.answer(caller).is_none());
    assert!(bench.log.is_empty());
}

#[test]
fn whoever_is_not_of_this_generation_is_told_so() {
    let mut bench = Bench::new();
    let (leader, _) = joined(&mut bench);
    let sync = |bench: &mut Bench, change: &dyn Fn(&mut Sync)| {
        let mut sync = Sync {
            group: Arc::from(GROUP),
            member: leader.member.clone(),
            instance: None,
            generation: 1,
            protocol_type: Some(Arc::from("consumer")),
            protocol: Some(Arc::from("range")),
            assignments: Vec::new(),
        };
        change(&mut sync);
        let caller = bench.ask(|caller| Event::Sync(caller, sync));
        bench.synced(caller).map(drop)
    };
    assert_eq!(sync(&mut bench, &|sync| sync.group = Arc::from("other")), Err(Fault::UnknownMember));
    assert_eq!(sync(&mut bench, &|sync| sync.member = Arc::from("other")), Err(Fault::UnknownMember));
    assert_eq!(sync(&mut bench, &|sync| sync.generation = 2), Err(Fault::IllegalGeneration));
    let fault = Err(Fault::InconsistentProtocol);
    assert_eq!(sync(&mut bench, &|sync| sync.protocol = Some(Arc::from("sticky"))), fault);
    assert_eq!(sync(&mut bench, &|sync| sync.protocol_type = Some(Arc::from("connect"))), fault);
    assert_eq!(sync(&mut bench, &|_| ()), Ok(()));
}

#[test]
fn a_newcomer_has_those_who_wait_for_their_work_join_again() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    let waiting = bench.sync(&follower, &[]);
    let newcomer = bench.join(newcomer());
    assert_eq!(bench.synced(waiting).unwrap_err(), Fault::RebalanceInProgress);
    let late = bench.sync(&leader, &[]);
    assert_eq!(bench.synced(late).unwrap_err(), Fault::RebalanceInProgress);
    let callers = [bench.join(again(&leader.member)), bench.join(again(&follower.member)), newcomer];
    assert!(callers.into_iter().all(|caller| bench.joined(caller).generation == 2));
}

#[test]
fn work_that_is_stored_after_the_group_has_moved_on_is_nobodys() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.is_swift = false;
    let bringing = bench.sync(&leader, &[(&leader.member, "a")]);
    let newcomer = bench.join(newcomer());
    assert_eq!(bench.synced(bringing).unwrap_err(), Fault::RebalanceInProgress);
    let callers = [bench.join(again(&leader.member)), bench.join(again(&follower.member)), newcomer];
    let joined = callers.map(|caller| bench.joined(caller));
    bench.write_all();
    assert_eq!(describe(&mut bench).state, GroupState::CompletingRebalance);
    let caller = bench.sync(&joined[1], &[]);
    assert!(bench.answer(caller).is_none(), "the old work is not the new one");
}

#[test]
fn work_that_is_not_stored_has_all_join_again() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.is_swift = false;
    let callers = [bench.sync(&leader, &[(&leader.member, "a")]), bench.sync(&follower, &[])];
    bench.end_write(Err(failure()));
    for caller in callers {
        assert_eq!(bench.synced(caller).unwrap_err(), Fault::CoordinatorNotAvailable);
    }
    assert_eq!(bench.heartbeat(&leader), Err(Fault::RebalanceInProgress));
    let described = describe(&mut bench);
    assert_eq!(described.rebalancing.unwrap().cause, RebalanceCause::WriteFailed);
}

#[test]
fn work_that_is_larger_than_a_record_may_be_is_refused() {
    let settings = GroupSettings { group_bytes_max: 1_000, ..GroupSettings::default() };
    let mut bench = Bench::with(settings);
    let caller = bench.join(newcomer());
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    let work: &'static str = Box::leak("x".repeat(1_000).into_boxed_str());
    let caller = bench.sync(&joined, &[(&joined.member, work)]);
    assert_eq!(bench.synced(caller).unwrap_err(), Fault::MessageTooLarge);
    assert_eq!(bench.heartbeat(&joined), Err(Fault::RebalanceInProgress));
    assert!(bench.log.is_empty());
}

#[test]
fn whoever_does_not_ask_for_its_work_in_time_is_a_member_no_more() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.sync(&leader, &[(&leader.member, "a"), (&follower.member, "b")]);
    for _ in 0..30 {
        assert_eq!(bench.heartbeat(&follower), Ok(()), "it sends heartbeats, and never asks");
        assert_eq!(bench.heartbeat(&leader), Ok(()));
        bench.pass(seconds(2));
    }
    assert_eq!(bench.heartbeat(&follower), Err(Fault::UnknownMember));
    assert_eq!(bench.heartbeat(&leader), Err(Fault::RebalanceInProgress));
    let rebalance = describe(&mut bench).rebalancing.unwrap();
    assert_eq!((rebalance.cause, rebalance.dropped), (RebalanceCause::SyncTimeout, 1));
}

#[test]
fn a_leader_that_never_divides_the_work_goes_and_the_others_have_another() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    let waiting = bench.sync(&follower, &[]);
    for _ in 0..30 {
        assert_eq!(bench.heartbeat(&leader), Ok(()));
        assert!(bench.answer(waiting).is_none());
        bench.pass(seconds(2));
    }
    assert_eq!(bench.synced(waiting).unwrap_err(), Fault::RebalanceInProgress);
    let caller = bench.join(again(&follower.member));
    let joined = bench.joined(caller);
    assert_eq!((joined.members.len(), joined.leader), (1, joined.member));
}

#[test]
fn an_older_sync_of_a_member_is_answered_when_it_asks_once_more() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    let older = bench.sync(&follower, &[]);
    let newer = bench.sync(&follower, &[]);
    assert_eq!(bench.synced(older).unwrap_err(), Fault::RebalanceInProgress);
    bench.sync(&leader, &[(&follower.member, "b")]);
    assert_eq!(&*bench.synced(newer).unwrap().assignment, b"b");
}

#[test]
fn a_leader_that_asks_twice_has_its_work_stored_once() {
    let mut bench = Bench::new();
    let (leader, _) = joined(&mut bench);
    bench.is_swift = false;
    let first = bench.sync(&leader, &[(&leader.member, "a")]);
    let second = bench.sync(&leader, &[(&leader.member, "other")]);
    assert_eq!(bench.writes.len(), 1);
    bench.write_all();
    assert_eq!(bench.synced(first).unwrap_err(), Fault::RebalanceInProgress);
    assert_eq!(&*bench.synced(second).unwrap().assignment, b"a");
}

#[test]
fn a_failed_write_of_a_generation_that_is_gone_concerns_nobody() {
    let mut bench = Bench::new();
    let (leader, follower) = joined(&mut bench);
    bench.is_swift = false;
    bench.sync(&leader, &[]);
    let newcomer = bench.join(newcomer());
    let callers = [bench.join(again(&leader.member)), bench.join(again(&follower.member)), newcomer];
    callers.into_iter().for_each(|caller| assert_eq!(bench.joined(caller).generation, 2));
    bench.end_write(Err(ServiceError::storage_failed()));
    assert_eq!(describe(&mut bench).state, GroupState::CompletingRebalance);
}
