//! Claims about consumers that share a group.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use folio_client::{
    Assignor, BuildError, CommittedOffset, Compression, Consumer, ConsumerConfig, ErrorCode, GroupConfig,
    Offset, PollError, Position, RebalanceListener, Timestamp, TopicPartition,
};
use folio_record::{BatchBuilder, NewRecord};
use folio_wire::native::Kind;

use crate::fake_broker::{Deed, FakeBroker};
use crate::hostile::SPOILED;
use crate::members::{Log, have, numbers, poll_until};
use crate::{SOON, block_on, connect, eventually};

/// A broker with a topic, and so many batches of one record in each partition.
fn broker(partitions: usize, batches: usize) -> FakeBroker {
    let broker = FakeBroker::start().with_topic("t", partitions);
    for partition in 0..partitions {
        for number in 0..batches {
            append(&broker, partition, number);
        }
    }
    broker
}

fn append(broker: &FakeBroker, partition: usize, number: usize) {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let value = format!("{partition}:{number}");
    let value = Some(value.as_bytes());
    builder.append(&NewRecord { value, ..NewRecord::at(Timestamp::new(0)) }).unwrap();
    broker.append("t", partition, builder.build().unwrap());
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// How long a member may work without a poll: longer than one is kept waiting for a processor.
const WORKS_MAX: Duration = Duration::from_secs(3);

/// A member that is quick to notice.
fn group() -> GroupConfig {
    GroupConfig::new("g").heartbeat_interval(Duration::from_millis(20)).session_timeout(SOON)
}

fn member(broker: &FakeBroker, group: GroupConfig) -> Consumer {
    let mut consumer = connect(broker).consumer(settings(group)).unwrap();
    consumer.subscribe(["t"]).unwrap();
    consumer
}

fn settings(group: GroupConfig) -> ConsumerConfig {
    ConsumerConfig::new().wait_max(Duration::from_millis(20)).group(group)
}

#[test]
fn two_members_share_a_topic_and_one_that_leaves_leaves_everything_to_the_other() {
    let broker = broker(4, 1);
    for assignor in [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky] {
        let config = GroupConfig::new(assignor.name()).assignors([assignor]);
        let config = GroupConfig { name: config.name, assignors: config.assignors, ..group() };
        let mut first = member(&broker, config.clone());
        poll_until("one has all", &mut [&mut first], |all, _| have(all) == [4]);
        let mut second = member(&broker, config);
        poll_until("each has two", &mut [&mut first, &mut second], |all, _| have(all) == [2, 2]);
        assert!(numbers(&first.assignment()).is_disjoint(&numbers(&second.assignment())));
        second.close().unwrap();
        poll_until("one has all again", &mut [&mut first], |all, _| have(all) == [4]);
        first.close().unwrap();
        assert!(broker.group().members().is_empty());
    }
}

#[test]
fn what_is_committed_names_the_leader_epoch_of_the_last_record_that_was_read() {
    let broker = broker(1, 1);
    let stored = || broker.group().committed_with_epoch("t", 0);
    let mut first = member(&broker, group().auto_commit(None));
    poll_until("it is read", &mut [&mut first], |_, values| values[0].len() == 1);
    first.commit().wait().unwrap();
    assert_eq!(stored(), Some((1, 0)));
    broker.raise_leader_epoch("t", 0);
    append(&broker, 0, 1);
    poll_until("what is new is read", &mut [&mut first], |_, values| values[0].len() == 1);
    first.commit().wait().unwrap();
    assert_eq!(stored(), Some((2, 1)));
    first.close().unwrap();

    let mut second = member(&broker, group().auto_commit(None));
    poll_until("the next member has it", &mut [&mut second], |all, _| have(all) == [1]);
    second.commit().wait().unwrap();
    assert_eq!(stored(), Some((2, 1)), "who has read nothing says what the one before it said");
    assert!(second.seek(&at(0), Position::At(Offset::new(1))));
    second.commit().wait().unwrap();
    assert_eq!(stored(), Some((1, -1)), "behind a seek nothing was read");
}

#[test]
fn what_was_handed_out_is_committed_by_the_next_poll_and_the_next_member_goes_on_there() {
    let broker = broker(1, 3);
    let mut first = member(&broker, group().auto_commit(Some(Duration::ZERO)));
    poll_until("all is read", &mut [&mut first], |_, values| values[0].len() == 3);
    poll_until("all is committed", &mut [&mut first], |_, _| broker.group().committed("t", 0) == Some(3));
    append(&broker, 0, 3);
    poll_until("one more is read", &mut [&mut first], |_, values| values[0] == ["0:3"]);
    first.close().unwrap();
    assert_eq!(broker.group().committed("t", 0), Some(4), "committed as it closes");

    append(&broker, 0, 4);
    let mut second = member(&broker, group());
    let values = poll_until("the rest is read", &mut [&mut second], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:4"]]);
}

#[test]
fn without_automatic_commits_only_what_is_told_is_committed() {
    let broker = broker(2, 3);
    let mut first = member(&broker, group().auto_commit(None));
    poll_until("all is read", &mut [&mut first], |_, values| values[0].len() == 6);
    assert_eq!(broker.asked(Kind::CommitOffsets), 0);
    let offset = CommittedOffset::at(Offset::new(1));
    first.commit_offsets([(at(0), offset.clone())]).wait().unwrap();
    assert_eq!(first.committed(&[at(0), at(1)]).wait().unwrap(), [Some(offset), None]);
    block_on(first.commit()).unwrap();
    assert_eq!([0, 1].map(|number| broker.group().committed("t", number)), [Some(3), Some(3)]);
    drop(first);
    eventually("it has left", || broker.group().members().is_empty());

    broker.group().commit_by_hand("t", 0, 2);
    let mut second = member(&broker, group().auto_commit(None));
    let values = poll_until("the rest is read", &mut [&mut second], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:2"]]);
}

#[test]
fn where_nothing_is_committed_it_begins_where_it_is_told_to() {
    let broker = broker(1, 3);
    let mut consumer = member(&broker, group().begin(Position::Latest));
    poll_until("it knows where it is", &mut [&mut consumer], |all, _| all[0].position(&at(0)).is_some());
    append(&broker, 0, 3);
    let values = poll_until("the new one is read", &mut [&mut consumer], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:3"]]);
}

#[test]
fn an_eager_member_is_told_what_it_gives_up_before_what_it_gets() {
    let broker = broker(2, 1);
    let log = Log::default();
    let mut first = connect(&broker).consumer(settings(group())).unwrap();
    first.subscribe_with(["t"], log.clone()).unwrap();
    poll_until("one has both", &mut [&mut first], |all, _| have(all) == [2]);
    let mut second = member(&broker, group());
    poll_until("each has one", &mut [&mut first, &mut second], |all, _| have(all) == [1, 1]);
    let mine = *numbers(&first.assignment()).first().unwrap();
    first.unsubscribe();
    let expected = [
        "assigned {0, 1}".into(),
        "revoked {0, 1}".into(),
        format!("assigned {{{mine}}}"),
        format!("revoked {{{mine}}}"),
    ];
    assert_eq!(log.lines(), expected);
    assert!(matches!(first.poll(Duration::ZERO), Err(PollError::NothingAssigned)));
}

#[test]
fn a_cooperative_member_goes_on_with_what_it_keeps_and_gives_up_only_the_rest() {
    let broker = broker(2, 1);
    let cooperative = group().assignors([Assignor::CooperativeSticky]);
    let log = Log::default();
    let mut first = connect(&broker).consumer(settings(cooperative.clone())).unwrap();
    first.subscribe_with(["t"], log.clone()).unwrap();
    poll_until("one has both", &mut [&mut first], |_, values| values[0].len() == 2);
    let mut second = member(&broker, cooperative);
    let values = poll_until("each has one", &mut [&mut first, &mut second], |all, _| have(all) == [1, 1]);
    assert_eq!(numbers(&first.assignment()), BTreeSet::from([0]));
    assert!(values[0].is_empty(), "what it keeps is not read again: {values:?}");
    let told = log.lines();
    assert_eq!(told[..2], ["assigned {0, 1}", "revoked {1}"]);
    assert!(told[2..].iter().all(|line| line == "assigned {}"), "{told:?}");
    append(&broker, 0, 1);
    append(&broker, 1, 1);
    let values = poll_until("both go on", &mut [&mut first, &mut second], |_, values| {
        values[0].len() == 1 && !values[1].is_empty()
    });
    assert_eq!(values, [["0:1"], ["1:1"]]);
}

#[test]
fn heartbeats_go_on_while_the_application_works() {
    let broker = broker(1, 1);
    let mut consumer = member(&broker, group());
    poll_until("it has its partition", &mut [&mut consumer], |all, _| have(all) == [1]);
    let before = broker.asked(Kind::Heartbeat);
    eventually("it is heard of ten times", || broker.asked(Kind::Heartbeat) > before + 10);
    assert_eq!(broker.group().generation(), 1);
}

#[test]
fn an_application_that_does_not_poll_loses_what_it_has_and_is_back_when_it_does() {
    let broker = broker(1, 1);
    let log = Log::default();
    let config = group().max_poll_interval(WORKS_MAX).auto_commit(None);
    let mut consumer = connect(&broker).consumer(settings(config)).unwrap();
    consumer.subscribe_with(["t"], log.clone()).unwrap();
    poll_until("it is read", &mut [&mut consumer], |_, values| values[0] == ["0:0"]);
    eventually("it has left", || broker.group().members().is_empty());
    let refused = consumer.commit().wait().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_MEMBER));
    let values = poll_until("it is back", &mut [&mut consumer], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:0"]], "nothing was committed");
    assert_eq!(log.lines(), ["assigned {0}", "lost {0}", "assigned {0}"]);

    // A poll that waits is no hang, however long.
    let members = broker.group().members();
    assert!(consumer.poll(WORKS_MAX * 3 / 2).unwrap().is_none());
    assert_eq!(broker.group().members(), members);
}

#[test]
fn a_member_that_was_forgotten_joins_again_and_is_told_what_it_lost() {
    let broker = broker(1, 1);
    let log = Log::default();
    let mut consumer = connect(&broker).consumer(settings(group())).unwrap();
    consumer.subscribe_with(["t"], log.clone()).unwrap();
    poll_until("it has its partition", &mut [&mut consumer], |all, _| have(all) == [1]);
    broker.group().expire_all();
    poll_until("it is a member again", &mut [&mut consumer], |all, _| {
        log.lines().len() == 3 && have(all) == [1]
    });
    assert_eq!(log.lines(), ["assigned {0}", "lost {0}", "assigned {0}"]);
}

#[test]
fn a_connection_that_breaks_costs_nothing() {
    let broker = broker(1, 1);
    let mut consumer = member(&broker, group());
    poll_until("it is read", &mut [&mut consumer], |_, values| values[0].len() == 1);
    broker.close_all_connections();
    append(&broker, 0, 1);
    let values = poll_until("it goes on", &mut [&mut consumer], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:1"]]);
    consumer.commit().wait().unwrap();
    assert_eq!(broker.group().generation(), 1);
    assert_eq!(broker.group().committed("t", 0), Some(2));
}

#[test]
fn a_member_whose_name_another_takes_is_told_so() {
    let broker = broker(1, 1);
    let mut consumer = member(&broker, group().instance("i"));
    poll_until("it has its partition", &mut [&mut consumer], |all, _| have(all) == [1]);
    broker.plan(|asked| match asked.kind {
        Kind::Heartbeat => Deed::Refuse(ErrorCode::FENCED_INSTANCE),
        _ => Deed::Serve,
    });
    let deadline = Instant::now() + SOON;
    let error = loop {
        assert!(Instant::now() < deadline, "it is not told");
        if let Err(error) = consumer.poll(Duration::from_millis(10)) {
            break error;
        }
    };
    assert!(error.to_string().contains("group \"g\": fenced instance id"), "{error}");
    assert!(consumer.assignment().is_empty());
    let asked = broker.asked(Kind::JoinGroup);
    assert!(matches!(consumer.poll(Duration::from_millis(50)), Err(PollError::Group { .. })));
    assert_eq!(broker.asked(Kind::JoinGroup), asked, "it does not fight for it");
}

#[test]
fn a_member_with_a_name_does_not_leave_when_it_is_closed() {
    let broker = broker(1, 1);
    let mut consumer = member(&broker, group().instance("i"));
    poll_until("it has its partition", &mut [&mut consumer], |all, _| have(all) == [1]);
    consumer.close().unwrap();
    assert_eq!(broker.group().members().len(), 1);
    assert_eq!(broker.asked(Kind::LeaveGroup), 0);
}

#[test]
fn a_coordinator_that_is_not_there_yet_is_waited_for() {
    let broker = broker(1, 1);
    broker.plan(|asked| match asked.kind {
        Kind::JoinGroup | Kind::FetchOffsets | Kind::CommitOffsets if asked.before < 2 => {
            Deed::Refuse(ErrorCode::COORDINATOR_LOADING)
        }
        _ => Deed::Serve,
    });
    let mut consumer = member(&broker, group().auto_commit(None));
    poll_until("it is read", &mut [&mut consumer], |_, values| values[0].len() == 1);
    consumer.commit().wait().unwrap();
    assert_eq!(broker.group().committed("t", 0), Some(1));
}

#[test]
fn partitions_that_a_topic_gets_are_read_and_so_are_topics_that_come() {
    let broker = broker(1, 1);
    let mut consumer =
        connect(&broker).consumer(settings(group().topics_interval(Duration::from_millis(50)))).unwrap();
    consumer.subscribe(["t", "u"]).unwrap();
    poll_until("it has what there is", &mut [&mut consumer], |all, _| have(all) == [1]);
    broker.grow("t", 3);
    poll_until("it has what has come", &mut [&mut consumer], |all, _| have(all) == [3]);
    let _broker = broker.with_topic("u", 1);
    poll_until("it has the new topic", &mut [&mut consumer], |all, _| have(all) == [4]);
}

#[test]
fn a_task_is_a_member_as_well() {
    let broker = broker(2, 1);
    let mut consumer = member(&broker, group().max_poll_interval(WORKS_MAX));
    let mut values = BTreeSet::new();
    while values.len() < 2 {
        let records = block_on(consumer.next_records()).unwrap();
        values.extend(records.iter().map(|record| record.value.unwrap().to_vec()));
    }
    // It waits for longer than it may work.
    let appended = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(WORKS_MAX * 3 / 2);
            append(&broker, 1, 1);
        });
        block_on(consumer.next_records()).unwrap()
    });
    assert_eq!(appended.iter().next().unwrap().value.unwrap(), b"1:1");
    assert_eq!(broker.group().generation(), 1);
}

#[test]
fn a_listener_may_seek_and_commit_and_end_the_subscription() {
    struct Skip;
    impl RebalanceListener for Skip {
        fn assigned(&mut self, consumer: &mut Consumer, partitions: &[TopicPartition]) {
            for partition in partitions {
                assert!(consumer.seek(partition, Position::At(Offset::new(2))));
            }
            consumer.commit().wait().unwrap();
        }
    }
    let broker = broker(1, 3);
    let mut consumer = connect(&broker).consumer(settings(group())).unwrap();
    consumer.subscribe_with(["t"], Skip).unwrap();
    let values = poll_until("it is read", &mut [&mut consumer], |_, values| !values[0].is_empty());
    assert_eq!(values, [["0:2"]]);

    struct Quit;
    impl RebalanceListener for Quit {
        fn assigned(&mut self, consumer: &mut Consumer, _: &[TopicPartition]) {
            consumer.assign([(at(0), Position::Earliest)]);
        }
    }
    let mut other = connect(&broker).consumer(settings(group())).unwrap();
    other.subscribe_with(["t"], Quit).unwrap();
    let values =
        poll_until("it reads by hand", &mut [&mut consumer, &mut other], |_, values| values[1].len() == 3);
    assert_eq!(values[1], ["0:0", "0:1", "0:2"]);
    eventually("it has left", || broker.group().members().len() == 1);
}

#[test]
fn a_group_needs_a_name_and_a_subscription_a_group_and_a_topic() {
    let broker = broker(1, 1);
    let client = connect(&broker);
    let mut without = client.consumer(ConsumerConfig::new()).unwrap();
    assert!(matches!(without.subscribe(["t"]), Err(BuildError::Config(_))));
    assert!(without.commit().wait().is_err());
    without.close().unwrap();
    let mut with = client.consumer(settings(group())).unwrap();
    assert!(matches!(with.subscribe(Vec::<String>::new()), Err(BuildError::Config(_))));
    assert!(matches!(with.poll(Duration::ZERO), Err(PollError::NothingAssigned)));
    for wrong in
        [GroupConfig::new(""), group().assignors([]), group().session_timeout(Duration::from_millis(20))]
    {
        assert!(matches!(client.consumer(settings(wrong)), Err(BuildError::Config(_))));
    }
}

#[test]
fn one_that_assigns_by_hand_can_commit_while_the_group_has_no_members() {
    let broker = broker(1, 3);
    let mut consumer = connect(&broker).consumer(settings(group().auto_commit(None))).unwrap();
    consumer.assign([(at(0), Position::Earliest)]);
    poll_until("it is read", &mut [&mut consumer], |_, values| values[0].len() == 3);
    consumer.commit().wait().unwrap();
    assert_eq!(broker.group().committed("t", 0), Some(3));
    let mut other = member(&broker, group());
    poll_until("it is a member", &mut [&mut other], |all, _| have(all) == [1]);
    let refused = consumer.commit().wait().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_MEMBER));
}

#[test]
fn answers_that_make_no_sense_cost_a_connection_and_not_the_membership() {
    for kind in [Kind::JoinGroup, Kind::SyncGroup, Kind::Heartbeat, Kind::CommitOffsets, Kind::FetchOffsets] {
        for (how, spoil) in SPOILED {
            let broker = broker(1, 1);
            let spoil = *spoil;
            broker.plan(move |asked| match asked.kind {
                this if this == kind && asked.before == 0 => Deed::Spoil(spoil),
                _ => Deed::Serve,
            });
            let mut consumer = member(&broker, group().auto_commit(None));
            let what = format!("it reads in spite of {how} of {kind:?}");
            poll_until(&what, &mut [&mut consumer], |_, values| !values[0].is_empty());
            let what = format!("it commits in spite of {how} of {kind:?}");
            let mut done = false;
            poll_until(&what, &mut [&mut consumer], |all, _| {
                done = done || all[0].commit().wait().is_ok();
                done && broker.group().committed("t", 0) == Some(1)
            });
        }
    }
}
