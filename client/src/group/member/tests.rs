//! What a member makes of answers, of the clock and of its application, without any of them.

mod rig;

use super::*;
use crate::group::assignor::{assignment, read_assignment};
use crate::protocol::groups::{Joined, JoinedMember};

use rig::*;

#[test]
fn a_new_member_comes_again_with_its_id_and_takes_what_it_is_given() {
    let mut rig = Rig::stable(config(), [0, 2]);
    assert!(matches!(rig.member.state, State::Stable));
    assert!(rig.is_idle());
    rig.heartbeat(Ok(()));
    assert!(rig.is_idle());
}

#[test]
fn the_leader_divides_among_all_and_joins_again_when_a_topic_grows() {
    let mut rig = Rig::new(config());
    rig.enter();
    let says = Assignor::Range.metadata(&["t".into()], &[], &[], -1).to_vec();
    let member = |id: &str| JoinedMember { id: id.into(), instance: None, metadata: says.clone() };
    rig.joined(1, Some(vec![member("m"), member("n")]));
    let Ask::Topics(round, names) = rig.next() else { panic!("topics are not asked for") };
    assert_eq!(names, ["t"]);
    rig.step(Input::Topics(round, Ok(metadata(3))));
    let Ask::Sync { round, assignments, .. } = rig.next() else { panic!("no sync") };
    let given: Vec<_> =
        assignments.iter().map(|(id, bytes)| (id.as_str(), read_assignment(bytes).unwrap())).collect();
    assert_eq!(given, [("m", parts([0, 1])), ("n", parts([2]))]);
    rig.step(Input::Synced(round, Ok(assignments[0].1.to_vec())));
    rig.located();
    rig.takes();

    let watched = |rig: &mut Rig, partitions| {
        rig.pass(Duration::from_secs(30));
        let watch = rig.asks.iter().position(|ask| matches!(ask, Ask::Watch(..))).unwrap();
        let Ask::Watch(round, _) = rig.asks.remove(watch) else { unreachable!() };
        rig.step(Input::Watched(round, Ok(metadata(partitions))));
    };
    watched(&mut rig, 3);
    assert!(!rig.shared.lock().desk.is_waiting(), "nothing has changed");
    watched(&mut rig, 4);
    rig.asks.clear();
    rig.gives_up();
    assert_eq!(rig.join().1.reason, "topics have come, grown or gone");
}

#[test]
fn an_eager_member_joins_again_only_when_the_application_has_given_up_what_it_has() {
    let mut rig = Rig::stable(config(), [0, 1]);
    rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS)));
    assert!(rig.asks.is_empty(), "the application still has it");
    rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS))); // it stays in touch meanwhile
    rig.gives_up();
    rig.follow(2, &parts([1]));
    assert!(rig.is_idle());
}

#[test]
fn a_cooperative_member_keeps_what_it_has_and_joins_again_when_it_gave_some_up() {
    let mut rig = Rig::stable(cooperative(), [0, 1]);
    rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS)));
    // Nothing is given up yet: the application is not asked.
    let says = rig.join().1.protocols[0].1.clone();
    let read = Assignor::CooperativeSticky.read("m".into(), None, &says);
    assert_eq!((read.owned, read.generation), (parts([0, 1]), 1));

    let mut rig = Rig::stable(cooperative(), [0, 1]);
    rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS)));
    rig.follow(2, &parts([1]));
    let says = match &rig.asks[0] {
        Ask::Join(_, join) => join.protocols[0].1.clone(),
        other => panic!("{}", name(other)),
    };
    let read = Assignor::CooperativeSticky.read("m".into(), None, &says);
    assert_eq!((read.owned, read.generation), (parts([1]), 2), "others get partition 0 in the next round");
    rig.follow(3, &parts([1]));
    assert!(rig.is_idle());
}

#[test]
fn what_the_application_has_not_begun_to_take_is_overtaken_and_what_it_has_is_waited_for() {
    for begun in [false, true] {
        let mut rig = Rig::new(config());
        rig.enter();
        rig.joined(1, None);
        rig.synced(&parts([0]));
        rig.located();
        if begun {
            assert!(rig.event().is_some());
        }
        rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS)));
        if begun {
            assert!(rig.asks.is_empty(), "it may have got partition 0 by now");
            rig.step(Input::Seen { owned: parts([0]) });
            rig.gives_up();
        }
        assert!(rig.event().is_none());
        rig.follow(2, &parts([1]));
    }
}

#[test]
fn one_that_is_no_member_any_more_loses_what_it_has_before_it_joins_again() {
    for (code, keeps_its_id) in [(ErrorCode::UNKNOWN_MEMBER, false), (ErrorCode::ILLEGAL_GENERATION, true)] {
        for config in [config(), cooperative()] {
            let mut rig = Rig::stable(config, [0]);
            rig.heartbeat(Err(refused(code)));
            assert!(rig.asks.is_empty());
            rig.loses();
            let (_, join) = rig.join();
            assert_eq!(&*join.who.member, if keeps_its_id { "m" } else { "" }, "{code}");
            assert_eq!(join.who.generation, -1);
            let read = rig.member.config.assignors[0].read("m".into(), None, &join.protocols[0].1);
            assert_eq!(read.owned, []);
        }
    }
}

#[test]
fn one_whose_name_another_has_taken_says_so_at_every_poll_and_never_joins_again() {
    let mut rig = Rig::stable(config().instance("i"), [0]);
    rig.heartbeat(Err(refused(ErrorCode::FENCED_INSTANCE)));
    rig.loses();
    for _ in 0..3 {
        let Some(Event::Failed(error)) = rig.event() else { panic!("it is not told") };
        assert_eq!(error.code(), Some(ErrorCode::FENCED_INSTANCE));
        rig.step(Input::Seen { owned: Vec::new() });
        rig.pass(SESSION);
        assert!(rig.asks.is_empty());
    }
}

#[test]
fn a_group_that_does_not_take_it_is_told_to_the_application_and_tried_again() {
    for code in [ErrorCode::GROUP_FULL, ErrorCode::INCONSISTENT_PROTOCOL, ErrorCode::INVALID_SESSION_TIMEOUT]
    {
        let mut rig = Rig::new(config());
        let (round, _) = rig.join();
        rig.step(Input::Joined(round, Err(refused(code))));
        assert!(rig.asks.is_empty());
        let Some(Event::Failed(error)) = rig.event() else { panic!("{code} is not told") };
        assert_eq!(error.code(), Some(code));
        rig.step(Input::Seen { owned: Vec::new() });
        rig.pass(Duration::from_secs(1));
        rig.enter();
        rig.follow(1, &parts([0]));
    }
}

#[test]
fn a_coordinator_that_is_not_there_yet_is_asked_again_without_a_word_to_the_application() {
    let mut rig = Rig::new(config());
    for error in [refused(ErrorCode::COORDINATOR_LOADING), CallError::Closed] {
        let is_retriable = error.is_retriable();
        let (round, _) = rig.join();
        rig.step(Input::Joined(round, Err(error)));
        assert_eq!(rig.shared.lock().desk.is_waiting(), !is_retriable);
        if is_retriable {
            assert!(rig.asks.is_empty(), "not at once");
            rig.pass(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_sync_that_something_came_between_joins_again() {
    let mut rig = Rig::new(config());
    rig.enter();
    rig.joined(1, None);
    let Ask::Sync { round, .. } = rig.next() else { panic!("no sync") };
    rig.step(Input::Synced(round, Err(refused(ErrorCode::REBALANCE_IN_PROGRESS))));
    rig.pass(Duration::from_secs(1));
    rig.follow(2, &parts([0]));
    rig.step(Input::Synced(round, Ok(Vec::new()))); // of an earlier round
    assert!(rig.is_idle());
}

#[test]
fn where_the_group_is_stands_beside_what_is_new() {
    let mut rig = Rig::stable(cooperative(), [1]);
    rig.heartbeat(Err(refused(ErrorCode::REBALANCE_IN_PROGRESS)));
    rig.joined(2, None);
    rig.synced(&parts([0, 1, 2]));
    let Ask::Locate(round, new) = rig.next() else { panic!("not asked where") };
    assert_eq!(new, parts([0, 2]));
    rig.step(Input::Located(round, Err(refused(ErrorCode::COORDINATOR_LOADING))));
    rig.pass(Duration::from_secs(1));
    let round = loop {
        match rig.next() {
            Ask::Locate(round, _) => break round,
            Ask::Heartbeat(..) => {}
            other => panic!("{}", name(&other)),
        }
    };
    let at = |offset| Some(CommittedOffset::at(folio_record::Offset::new(offset)));
    rig.step(Input::Located(round, Ok(vec![at(7), None])));
    let Some(Event::Take { partitions }) = rig.event() else { panic!("nothing to take") };
    let expected: Vec<_> = parts([0, 1, 2]).into_iter().zip([at(7), None, None]).collect();
    assert_eq!(partitions, expected);
}

#[test]
fn an_application_that_does_not_poll_costs_the_membership_and_one_that_waits_does_not() {
    let mut rig = Rig::stable(config(), [0]);
    for _ in 0..100 {
        rig.heartbeat(Ok(())); // it waits in a poll
    }
    rig.shared.lock().desk.busy_since = Some(rig.now);
    while rig.member.who.generation >= 0 {
        assert!(rig.member.next_deadline().unwrap() <= rig.now + HEARTBEAT);
        rig.pass(HEARTBEAT);
        if let Some(Ask::Heartbeat(round, _)) = rig.asks.pop() {
            rig.step(Input::Heard(round, Ok(())));
        } else {
            break;
        }
    }
    let since = rig.shared.lock().desk.busy_since.unwrap();
    assert_eq!(rig.now - since, POLL);
    assert!(rig.member.who.member.is_empty());
    rig.pass(SESSION);
    assert!(rig.asks.is_empty(), "it waits for the application");
    rig.loses();
    rig.enter();
}

#[test]
fn whoever_leaves_says_so_unless_it_may_be_back() {
    for (config, says_so) in [(config(), true), (config().instance("i"), false)] {
        for input in [0, 1, 2] {
            let mut rig = Rig::stable(config.clone(), [0]);
            let (completer, mut call) = crate::call::Call::new();
            match input {
                0 => rig.step(Input::Subscribe(Vec::new())),
                1 => rig.step(Input::Leave(completer)),
                _ => rig.member.dropped(&mut rig.asks),
            }
            assert_eq!(rig.asks.len(), usize::from(says_so));
            if input == 1 && !says_so {
                assert!(call.wait_for(Duration::ZERO).unwrap().is_ok());
            }
            rig.asks.clear();
            rig.pass(SESSION);
            assert!(rig.is_idle());
        }
    }
}

#[test]
fn commits_speak_for_the_generation_and_end_it_if_that_is_over() {
    let offsets = || vec![(TopicPartition::new("t", 0), CommittedOffset::at(folio_record::Offset::new(5)))];
    let commit = |rig: &mut Rig| {
        let (completer, call) = crate::call::Call::new();
        let deadline = rig.now + SESSION;
        rig.step(Input::Commit { offsets: offsets(), deadline, completer: Some(completer) });
        call
    };
    let mut rig = Rig::stable(config(), [0]);
    let mut call = commit(&mut rig);
    let Ask::Commit { id, who, offsets: asked } = rig.next() else { panic!("no commit") };
    assert_eq!((&*who.member, who.generation, asked), ("m", 1, offsets()));
    rig.step(Input::Committed(id, Err(refused(ErrorCode::COORDINATOR_LOADING))));
    assert!(call.wait_for(Duration::ZERO).is_none(), "it is tried again");
    rig.pass(Duration::from_millis(200));
    assert!(matches!(rig.next(), Ask::Commit { .. }));
    rig.step(Input::Committed(id, Ok(())));
    assert!(call.wait().is_ok());

    let call = commit(&mut rig);
    let Ask::Commit { id, .. } = rig.next() else { panic!("no commit") };
    rig.step(Input::Committed(id, Err(refused(ErrorCode::UNKNOWN_MEMBER))));
    assert_eq!(call.wait().unwrap_err().code(), Some(ErrorCode::UNKNOWN_MEMBER));
    let late = commit(&mut rig);
    assert_eq!(late.wait().unwrap_err().code(), Some(ErrorCode::UNKNOWN_MEMBER));
    rig.loses();

    let mut rig = Rig::stable(config(), [0]);
    rig.step(Input::Subscribe(Vec::new()));
    rig.asks.clear();
    let _call = commit(&mut rig);
    let Ask::Commit { who, .. } = rig.next() else { panic!("no commit") };
    assert_eq!((&*who.member, who.generation), ("", -1), "from no member");
}

#[test]
fn partitions_of_a_topic_that_is_not_wanted_any_more_are_given_up_first() {
    let mut rig = Rig::stable(cooperative(), [0]);
    rig.step(Input::Subscribe(vec!["u".into()]));
    let Some(Event::GiveUp { everything: false }) = rig.event() else { panic!("nothing to give up") };
    assert!(rig.asks.is_empty());
    rig.step(Input::Seen { owned: Vec::new() });
    rig.joined(2, None);
    rig.synced(&parts([0])); // of a leader that knew better
    assert_eq!(rig.takes(), []);
}

#[test]
fn an_id_that_comes_too_late_is_given_back_or_the_group_would_wait_for_it() {
    for input in [0, 1, 2] {
        let mut rig = Rig::new(config());
        let (round, _) = rig.join();
        match input {
            0 => rig.step(Input::Subscribe(Vec::new())),
            1 => rig.step(Input::Subscribe(vec!["u".into()])),
            _ => rig.member.dropped(&mut rig.asks),
        }
        if input == 1 {
            assert_eq!(&*rig.join().1.who.member, "");
        }
        assert!(!rig.member.is_over() && rig.asks.is_empty());
        rig.step(Input::Joined(round, Ok(JoinOutcome::ComeAgain("late".into()))));
        let Ask::Leave { who, .. } = rig.next() else { panic!("it is not given back") };
        assert_eq!(&*who.member, "late");
        assert_eq!(rig.member.is_over(), input == 2);
    }
}

#[test]
fn a_leader_that_makes_no_sense_is_told_to_the_application_and_tried_again() {
    let mut rig = Rig::new(config());
    rig.enter();
    rig.joined(1, None);
    let Ask::Sync { round, .. } = rig.next() else { panic!("no sync") };
    rig.step(Input::Synced(round, Ok(b"nonsense".to_vec())));
    let Some(Event::Failed(error)) = rig.event() else { panic!("it is not told") };
    assert!(error.to_string().contains("the leader's assignment makes no sense"), "{error}");
    rig.step(Input::Seen { owned: Vec::new() });
    rig.pass(Duration::from_millis(200));
    let (round, _) = rig.join();
    let joined = Joined {
        member: "m".into(),
        generation: 2,
        protocol: "by lot".to_owned(),
        is_leader: false,
        skip_assignment: false,
        members: Vec::new(),
    };
    rig.step(Input::Joined(round, Ok(JoinOutcome::Joined(joined))));
    let Some(Event::Failed(error)) = rig.event() else { panic!("it is not told") };
    assert_eq!(error.code(), Some(ErrorCode::INCONSISTENT_PROTOCOL));
}

#[test]
fn a_leader_that_is_told_not_to_divide_sends_nothing_and_watches_the_topics_all_the_same() {
    let mut rig = Rig::new(config().instance("i"));
    let (round, _) = rig.join();
    let says = Assignor::Range.metadata(&["t".into()], &[], &[], -1).to_vec();
    let joined = Joined {
        member: "m".into(),
        generation: 4,
        protocol: "range".to_owned(),
        is_leader: true,
        skip_assignment: true,
        members: vec![JoinedMember { id: "m".into(), instance: Some("i".into()), metadata: says }],
    };
    rig.step(Input::Joined(round, Ok(JoinOutcome::Joined(joined))));
    let Ask::Topics(round, _) = rig.next() else { panic!("topics are not asked for") };
    rig.step(Input::Topics(round, Ok(metadata(3))));
    let Ask::Sync { round, assignments, .. } = rig.next() else { panic!("no sync") };
    assert!(assignments.is_empty());
    rig.step(Input::Synced(round, Ok(assignment(&parts([0, 1, 2])).to_vec())));
    rig.located();
    assert_eq!(rig.takes(), parts([0, 1, 2]));
    rig.pass(Duration::from_secs(30));
    assert!(rig.asks.iter().any(|ask| matches!(ask, Ask::Watch(..))));
}
