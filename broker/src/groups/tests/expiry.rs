use std::sync::Arc;

use folio_record::Timestamp;

use super::super::event::{Commit, Event, Join};
use super::super::record::{GroupRecord, GroupValue};
use super::super::settings::GroupSettings;
use super::bench::*;
use super::inspect::find;

const HOUR: u64 = 3_600;

/// Offsets are kept for an hour.
fn settings() -> GroupSettings {
    GroupSettings { offsets_retention: seconds(HOUR), ..GroupSettings::default() }
}

fn offsets(bench: &mut Bench) -> Vec<String> {
    bench.fetch(None).iter().map(|fetched| format!("{}-{}", fetched.topic, fetched.partition)).collect()
}

/// Time in which the member speaks.
fn pass_alive(bench: &mut Bench, member: &super::super::answer::Joined, time: u64) {
    for _ in 0..time / 5 {
        bench.pass(seconds(5));
        assert_eq!(bench.heartbeat(member), Ok(()));
    }
}

#[test]
fn an_offset_without_a_group_goes_after_its_commit_and_the_group_with_the_last_one() {
    let mut bench = Bench::with(settings());
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.pass(seconds(HOUR / 2));
    bench.commit(simple_commit(&[("orders", 1, 1)]));
    bench.pass(seconds(HOUR / 2 - 1));
    assert_eq!(offsets(&mut bench), ["orders-0", "orders-1"]);
    bench.pass(seconds(601));
    assert_eq!(offsets(&mut bench), ["orders-1"]);
    bench.pass(seconds(HOUR / 2));
    assert!(offsets(&mut bench).is_empty());
    assert!(find(&mut bench).is_none());
    assert_eq!(bench.coordinator.group_count(), 0);
}

#[test]
fn while_the_clock_is_not_believed_no_offset_and_no_group_goes() {
    let mut bench = Bench::with(settings());
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.believe(false);
    bench.pass(seconds(10 * HOUR));
    assert_eq!(offsets(&mut bench), ["orders-0"]);
    bench.believe(true);
    bench.pass(seconds(601));
    assert!(offsets(&mut bench).is_empty());
}

#[test]
fn the_time_of_offsets_of_a_group_begins_when_its_last_member_goes() {
    let mut bench = Bench::with(settings());
    let member = bench.stable(1).remove(0);
    bench.commit(member_commit(&member, &[("orders", 0, 1)]));
    pass_alive(&mut bench, &member, 2 * HOUR);
    assert_eq!(offsets(&mut bench), ["orders-0"], "somebody wants it");
    bench.pass(seconds(10 + HOUR - 1));
    assert_eq!(offsets(&mut bench), ["orders-0"]);
    bench.pass(seconds(601));
    assert!(offsets(&mut bench).is_empty());
    assert!(find(&mut bench).is_none());
}

#[test]
fn an_offset_that_no_consumer_wants_any_more_goes_after_its_commit() {
    let mut bench = Bench::with(settings());
    let member = bench.stable(1).remove(0);
    bench.commit(member_commit(&member, &[("orders", 0, 1), ("bills", 0, 1)]));
    pass_alive(&mut bench, &member, HOUR + 600);
    assert_eq!(offsets(&mut bench), ["orders-0"]);
}

#[test]
fn offsets_of_members_that_are_no_consumers_stay() {
    let mut bench = Bench::with(settings());
    let caller = bench.join(Join { protocol_type: Arc::from("connect"), ..newcomer() });
    bench.pass(seconds(3));
    let joined = bench.joined(caller);
    bench.sync(&joined, &[(&joined.member, "work")]);
    bench.commit(member_commit(&joined, &[("orders", 0, 1)]));
    pass_alive(&mut bench, &joined, 2 * HOUR);
    assert_eq!(offsets(&mut bench), ["orders-0"]);
}

#[test]
fn an_offset_that_says_when_it_goes_goes_then() {
    let mut bench = Bench::with(settings());
    bench.commit(Commit { retention_ms: Some(1_000), ..simple_commit(&[("orders", 0, 1)]) });
    bench.commit(Commit { retention_ms: Some(3 * 3_600_000), ..simple_commit(&[("orders", 1, 1)]) });
    bench.pass(seconds(600));
    assert_eq!(offsets(&mut bench), ["orders-1"]);
    bench.pass(seconds(2 * HOUR));
    assert_eq!(offsets(&mut bench), ["orders-1"]);
    bench.pass(seconds(HOUR));
    assert!(offsets(&mut bench).is_empty());
}

#[test]
fn a_group_without_members_and_offsets_goes_at_the_next_look() {
    let mut bench = Bench::with(settings());
    bench.stable(1);
    bench.pass(seconds(11));
    assert!(find(&mut bench).is_some());
    bench.pass(seconds(600));
    assert!(find(&mut bench).is_none());
    assert!(matches!(bench.log.last(), Some(GroupRecord::Group { value: None, .. })));
}

#[test]
fn where_an_old_record_does_not_say_when_the_last_member_went_the_commit_counts() {
    let mut bench = Bench::loading(settings());
    let value = GroupValue {
        protocol_type: Arc::from("consumer"),
        generation: 3,
        protocol: None,
        leader: None,
        state_since: Timestamp::NONE,
        members: Vec::new(),
    };
    bench.step(Event::Replay(GroupRecord::Group { group: Arc::from(GROUP), value: Some(value) }));
    bench.step(Event::Loaded);
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.pass(seconds(HOUR - 1));
    assert_eq!(offsets(&mut bench), ["orders-0"]);
    bench.pass(seconds(601));
    assert!(offsets(&mut bench).is_empty());
}

#[test]
fn an_offset_that_is_being_committed_anew_does_not_go() {
    let mut bench = Bench::with(settings());
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.pass(seconds(HOUR - 1));
    bench.is_swift = false;
    bench.commit(simple_commit(&[("orders", 0, 2)]));
    bench.pass(seconds(601));
    bench.write_all();
    assert_eq!(offsets(&mut bench), ["orders-0"]);
}

#[test]
fn what_could_not_be_taken_away_is_at_the_next_look() {
    let mut bench = Bench::with(settings());
    bench.commit(simple_commit(&[("orders", 0, 1)]));
    bench.is_swift = false;
    bench.pass(seconds(HOUR + 10));
    bench.end_write(Err(failure()));
    assert_eq!(offsets(&mut bench), ["orders-0"]);
    bench.is_swift = true;
    bench.pass(seconds(600));
    assert_eq!(bench.coordinator.group_count(), 0);
}
