use std::sync::Arc;

use super::super::answer::GroupState;
use super::super::event::{Event, Join, Leave, Leaver};
use super::super::settings::GroupSettings;
use super::bench::*;
use crate::error::Fault;

#[test]
fn a_first_member_waits_for_more_and_leads() {
    let mut bench = Bench::new();
    let first = bench.join(newcomer());
    bench.pass(seconds(2));
    assert!(bench.answer(first).is_none());
    bench.pass(seconds(1));
    let joined = bench.joined(first);
    assert_eq!((joined.generation, &*joined.protocol, &*joined.protocol_type), (1, "range", "consumer"));
    assert_eq!(joined.leader, joined.member);
    assert_eq!(joined.members.len(), 1);
    assert!(joined.member.starts_with("app-"));
}

#[test]
fn each_member_that_comes_meanwhile_lets_the_first_ones_wait_on_but_no_longer_than_the_rebalance_timeout() {
    let mut bench = Bench::new();
    let mut callers = Vec::new();
    let mut waited = seconds(0);
    while waited < seconds(8) {
        callers.push(bench.join(Join { rebalance_timeout_ms: 8_000, ..newcomer() }));
        bench.pass(seconds(1));
        waited += seconds(1);
        assert!(waited == seconds(8) || bench.answer(callers[0]).is_none(), "after {waited:?}");
    }
    let joined: Vec<_> = callers.into_iter().map(|caller| bench.joined(caller)).collect();
    assert!(joined.iter().all(|joined| joined.generation == 1));
    assert_eq!(joined.iter().map(|joined| joined.members.len()).sum::<usize>(), 8, "the leader knows all");
}

#[test]
fn without_a_delay_a_first_member_has_joined_at_once() {
    let settings = GroupSettings { initial_rebalance_delay: seconds(0), ..GroupSettings::default() };
    let mut bench = Bench::with(settings);
    let first = bench.join(newcomer());
    bench.pass(seconds(0));
    assert_eq!(bench.joined(first).generation, 1);
}

#[test]
fn a_second_member_has_the_first_one_join_again() {
    let mut bench = Bench::new();
    let first = bench.stable(1).remove(0);
    let second = bench.join(newcomer());
    assert_eq!(bench.heartbeat(&first), Err(Fault::RebalanceInProgress));
    let rejoin = bench.join(again(&first.member));
    let (first, second) = (bench.joined(rejoin), bench.joined(second));
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!(first.members.len(), 2);
    assert_eq!(second.leader, first.member);
    assert!(second.members.is_empty());
}

#[test]
fn a_new_dynamic_member_has_to_come_again_with_the_id_that_it_was_given() {
    let mut bench = Bench::new();
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let refused = bench.not_joined(asked);
    assert_eq!(refused.error.fault, Fault::MemberIdRequired);
    assert!(refused.member.starts_with("app-"));
    let caller = bench.join(Join { member_id_required: true, ..again(&refused.member) });
    bench.pass(seconds(3));
    assert_eq!(bench.joined(caller).member, refused.member);
}

#[test]
fn a_rebalance_waits_for_a_newcomer_with_an_id_until_its_session_is_over() {
    let mut bench = Bench::new();
    let first = bench.stable(1).remove(0);
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    bench.not_joined(asked);
    assert_eq!(bench.heartbeat(&first), Ok(()), "nobody has joined yet");
    let rejoin = bench.join(again(&first.member));
    bench.pass(seconds(9));
    assert!(bench.answer(rejoin).is_none());
    bench.pass(seconds(1));
    assert_eq!(bench.joined(rejoin).generation, 2);
}

#[test]
fn nothing_is_left_of_a_newcomer_that_never_comes() {
    let mut bench = Bench::new();
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    bench.not_joined(asked);
    assert_eq!(bench.coordinator.group_count(), 1);
    bench.pass(seconds(10));
    assert_eq!(bench.coordinator.group_count(), 0);
    assert!(bench.log.is_empty());
}

#[test]
fn a_member_of_a_group_that_is_not_there_is_unknown() {
    let mut bench = Bench::new();
    let caller = bench.join(again("app-1"));
    let refused = bench.not_joined(caller);
    assert_eq!((refused.error.fault, &*refused.member), (Fault::UnknownMember, "app-1"));
    assert_eq!(bench.coordinator.group_count(), 0);
}

#[test]
fn what_cannot_be_joined_is_refused() {
    let mut bench = Bench::new();
    let cases = [
        (Join { group: Arc::from(""), ..newcomer() }, Fault::InvalidGroup),
        (Join { group: Arc::from("x".repeat(40_000)), ..newcomer() }, Fault::InvalidGroup),
        (Join { session_timeout_ms: 5_999, ..newcomer() }, Fault::InvalidSessionTimeout),
        (Join { session_timeout_ms: 1_800_001, ..newcomer() }, Fault::InvalidSessionTimeout),
        (Join { session_timeout_ms: -1, ..newcomer() }, Fault::InvalidSessionTimeout),
        (Join { protocol_type: Arc::from(""), ..newcomer() }, Fault::InconsistentProtocol),
        (Join { protocols: Vec::new(), ..newcomer() }, Fault::InconsistentProtocol),
        (Join { client_id: Arc::from("x".repeat(32_767)), ..newcomer() }, Fault::InvalidRequest),
    ];
    for (join, fault) in cases {
        let caller = bench.join(join);
        assert_eq!(bench.not_joined(caller).error.fault, fault);
    }
    assert_eq!(bench.coordinator.group_count(), 0, "nothing is left of them");
}

#[test]
fn members_that_have_nothing_in_common_are_refused() {
    let mut bench = Bench::new();
    bench.stable(1);
    let other_type = Join { protocol_type: Arc::from("connect"), ..newcomer() };
    let other_protocol = Join { protocols: vec![protocol("sticky", &[])], ..newcomer() };
    for join in [other_type, other_protocol] {
        let caller = bench.join(join);
        assert_eq!(bench.not_joined(caller).error.fault, Fault::InconsistentProtocol);
    }
}

#[test]
fn any_protocol_type_and_any_metadata_make_a_group() {
    for protocol_type in ["connect", "sr", "consumer"] {
        let mut bench = Bench::new();
        let mut unreadable = protocol("default", &[]);
        unreadable.metadata = bytes::Bytes::from_static(&[0xff; 3]);
        let protocols = vec![unreadable];
        let join = Join { protocol_type: Arc::from(protocol_type), protocols, ..newcomer() };
        let caller = bench.join(join);
        bench.pass(seconds(3));
        let joined = bench.joined(caller);
        assert_eq!(&*joined.members[0].metadata, &[0xff; 3]);
        assert_eq!(&*joined.protocol_type, protocol_type);
    }
}

#[test]
fn the_protocol_is_the_one_that_most_like_best_of_those_that_all_know() {
    let mut bench = Bench::new();
    let liking = |names: &[&str]| Join {
        protocols: names.iter().map(|name| protocol(name, &[])).collect(),
        ..newcomer()
    };
    let votes =
        [&["a", "b", "c"][..], &["b", "c"], &["x", "b", "c"], &["c", "b"], &["c", "b", "a"], &["c", "b"]];
    let callers: Vec<_> = votes.iter().map(|names| bench.join(liking(names))).collect();
    bench.pass(seconds(6));
    // b: 3 votes, c: 3 votes; the leader decides.
    let joined: Vec<_> = callers.into_iter().map(|caller| bench.joined(caller)).collect();
    let leader = joined.iter().position(|joined| joined.member == joined.leader).unwrap();
    let expected = *votes[leader].iter().find(|name| ["b", "c"].contains(name)).unwrap();
    assert!(joined.iter().all(|joined| &*joined.protocol == expected));
}

#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    let mut bench = Bench::new();
    let twice = vec![protocol("range", &["a"]), protocol("range", &["b"])];
    let first = bench.join(Join { protocols: twice, ..newcomer() });
    let second = bench.join(newcomer());
    bench.pass(seconds(6));
    bench.joined(first);
    assert_eq!(&*bench.joined(second).protocol, "range");
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut bench = Bench::with(GroupSettings { members_max: 2, ..GroupSettings::default() });
    let members = bench.stable(2);
    let caller = bench.join(newcomer());
    assert_eq!(bench.not_joined(caller).error.fault, Fault::GroupFull);
    assert_eq!(bench.heartbeat(&members[0]), Ok(()), "nobody has to join again");
    let rejoin = bench.join(again(&members[0].member));
    let caller = bench.join(newcomer());
    assert!(bench.answer(caller).is_none(), "while members join, those count that have");
    let late = bench.join(again(&members[1].member));
    assert_eq!(bench.not_joined(late).error.fault, Fault::GroupFull);
    assert_eq!((bench.joined(rejoin).generation, bench.joined(caller).generation), (2, 2));
}

#[test]
fn what_members_say_has_a_bound() {
    let settings = GroupSettings { group_bytes_max: 1000, ..GroupSettings::default() };
    let mut bench = Bench::with(settings);
    let mut callers = Vec::new();
    let refused = loop {
        let join = Join { member_id_required: callers.len() % 2 == 1, ..newcomer() };
        let caller = bench.join(join);
        match bench.answer(caller) {
            None => callers.push(caller),
            Some(answer) => {
                let super::super::answer::Answer::Join(Err(refused)) = answer else { panic!("{answer:?}") };
                callers.push(caller);
                if refused.error.fault != Fault::MemberIdRequired {
                    break refused;
                }
            }
        }
        assert!(callers.len() < 100);
    };
    assert_eq!(refused.error.fault, Fault::GroupFull);
}

#[test]
fn there_are_only_so_many_groups() {
    let mut bench = Bench::with(GroupSettings { groups_max: 3, ..GroupSettings::default() });
    let named = |name: usize| Join { group: Arc::from(format!("g{name}")), ..newcomer() };
    for name in 0..3 {
        bench.join(named(name));
    }
    let caller = bench.join(named(3));
    assert_eq!(bench.not_joined(caller).error.fault, Fault::GroupFull);
    let caller = bench.join(named(2));
    assert!(bench.answer(caller).is_none());
}

#[test]
fn a_member_that_has_missed_the_answer_is_told_again() {
    let mut bench = Bench::new();
    let callers = [bench.join(newcomer()), bench.join(newcomer())];
    bench.pass(seconds(6));
    for joined in callers.map(|caller| bench.joined(caller)) {
        let caller = bench.join(again(&joined.member));
        assert_eq!(bench.joined(caller), joined);
    }
}

#[test]
fn a_follower_that_joins_again_unchanged_disturbs_nobody_and_a_leader_does() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let caller = bench.join(again(&members[1].member));
    assert_eq!(bench.joined(caller), members[1]);
    assert_eq!(bench.heartbeat(&members[0]), Ok(()));
    let caller = bench.join(again(&members[0].member));
    assert!(bench.answer(caller).is_none());
    assert_eq!(bench.heartbeat(&members[1]), Err(Fault::RebalanceInProgress));
}

#[test]
fn a_member_with_another_subscription_has_all_join_again() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let protocols = vec![protocol("range", &["orders", "bills"])];
    let changed = bench.join(Join { protocols: protocols.clone(), ..again(&members[1].member) });
    let leader = bench.join(again(&members[0].member));
    let told = bench.joined(leader);
    let metadata = told.members.iter().find(|member| member.member == members[1].member).unwrap();
    assert_eq!(metadata.metadata, protocols[0].metadata);
    assert_eq!(bench.joined(changed).generation, 2);
}

#[test]
fn whoever_does_not_join_again_in_time_is_a_member_no_more_and_another_one_leads() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let (leader, follower) = (&members[0], &members[1]);
    let protocols = vec![protocol("range", &["bills"])];
    let join = Join { protocols, rebalance_timeout_ms: 20_000, ..again(&follower.member) };
    let caller = bench.join(join);
    for _ in 0..29 {
        assert_eq!(bench.heartbeat(leader), Err(Fault::RebalanceInProgress));
        bench.pass(seconds(2));
        assert!(bench.answer(caller).is_none(), "the longest rebalance timeout counts");
    }
    bench.pass(seconds(2));
    let joined = bench.joined(caller);
    assert_eq!((joined.generation, &joined.leader), (2, &follower.member));
    assert_eq!(bench.heartbeat(leader), Err(Fault::UnknownMember));
}

#[test]
fn an_older_join_of_a_member_is_answered_when_it_joins_once_more() {
    let mut bench = Bench::new();
    let members = bench.stable(2);
    let older = bench.join(again(&members[0].member));
    let newer = bench.join(again(&members[0].member));
    assert_eq!(bench.not_joined(older).error.fault, Fault::RebalanceInProgress);
    let other = bench.join(again(&members[1].member));
    assert_eq!((bench.joined(newer).generation, bench.joined(other).generation), (2, 2));
}

#[test]
fn members_that_never_come_back_while_the_group_fills_leave_it_empty() {
    let mut bench = Bench::new();
    let caller = bench.join(newcomer());
    let asked = bench.join(Join { member_id_required: true, ..newcomer() });
    let pending = bench.not_joined(asked).member;
    let leaver = Leaver { member: pending, instance: None, reason: None };
    let leave = Leave { group: Arc::from(GROUP), members: vec![leaver] };
    bench.ask(|caller| Event::Leave(caller, leave));
    assert!(bench.answer(caller).is_none(), "the first rebalance takes its time");
    bench.pass(seconds(3));
    assert_eq!(bench.joined(caller).members.len(), 1);
}

#[test]
fn without_a_rebalance_timeout_the_session_timeout_counts() {
    let mut bench = Bench::new();
    let members = bench.stable(1);
    let join = Join { rebalance_timeout_ms: -1, ..again(&members[0].member) };
    let caller = bench.join(join);
    bench.joined(caller);
    let described = super::inspect::describe(&mut bench);
    assert_eq!(described.state, GroupState::CompletingRebalance);
    assert_eq!(described.members[0].rebalance_timeout, seconds(10));
}
