//! Groups of native consumers, alone and beside a member that speaks Kafka's protocol, against a real broker.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

#[path = "../../client/tests/claims/members.rs"]
mod members;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folio_client::{
    Assignor, Client, ClientConfig, CommittedOffset, Consumer, ConsumerConfig, GroupConfig, NewTopic, Offset,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::groups::Member;
use folio_tests::rig::{Rig, until};
use folio_tests::terminal::{Terminal, text};
use folio_wire::consumer_protocol::{Assignment, Subscription, TopicPartitions};
use folio_wire::kafka::KafkaError;

use members::{Log, have, numbers, poll_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Groups that wait for nobody.
fn rig() -> Rig {
    Rig::new(&[("group.initial.rebalance.delay.ms", "0")])
}

fn client(address: &str) -> Client {
    Client::connect(ClientConfig::new(address)).unwrap()
}

fn make_topic(address: &str, partitions: u32) {
    client(address).admin().create_topic(NewTopic::new("t", partitions)).wait().unwrap();
}

/// Sends so many records to each partition, from `first` on.
fn send(address: &str, partitions: u32, numbers: std::ops::Range<usize>) {
    let producer = client(address).producer(ProducerConfig::new()).unwrap();
    let mut sent = Vec::new();
    for number in numbers {
        for partition in 0..partitions {
            let value = format!("{partition}:{number}");
            let record = ProducerRecord::to("t").partition(partition).value(&value);
            sent.push(producer.send(record).unwrap());
        }
    }
    sent.into_iter().for_each(|delivery| drop(delivery.wait().unwrap()));
}

fn config() -> GroupConfig {
    GroupConfig::new("readers").heartbeat_interval(Duration::from_millis(50))
}

fn member(address: &str, config: GroupConfig, log: &Log) -> Consumer {
    let settings = ConsumerConfig::new().wait_max(Duration::from_millis(50)).group(config);
    let mut consumer = client(address).consumer(settings).unwrap();
    consumer.subscribe_with(["t"], log.clone()).unwrap();
    consumer
}

#[test]
fn members_share_a_topic_and_go_on_where_the_one_that_left_had_committed() {
    let rig = rig();
    make_topic(rig.address(), 4);
    send(rig.address(), 4, 0..5);
    let ways = [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky];
    for (sent, assignor) in (5..).zip(ways) {
        let config = GroupConfig { name: assignor.name().to_owned(), ..config().assignors([assignor]) };
        let log = Log::default();
        let mut first = member(rig.address(), config.clone(), &log);
        poll_until("one reads all", &mut [&mut first], |_, values| values[0].len() == sent * 4);
        let mut second = member(rig.address(), config, &log);
        let values = poll_until("each has two", &mut [&mut first, &mut second], |all, _| have(all) == [2, 2]);
        assert!(numbers(&first.assignment()).is_disjoint(&numbers(&second.assignment())));
        assert!(values.iter().all(Vec::is_empty), "what was committed is not read again: {values:?}");
        first.close().unwrap();
        send(rig.address(), 4, sent..sent + 1);
        let mut values =
            poll_until("the other takes over", &mut [&mut second], |_, values| values[0].len() >= 4);
        values[0].sort();
        let new: Vec<String> = (0..4).map(|partition| format!("{partition}:{sent}")).collect();
        assert_eq!(values[0], new, "nothing is lost, and nothing comes twice");
        second.close().unwrap();
    }
}

#[test]
fn a_cooperative_member_keeps_reading_while_another_joins() {
    let rig = rig();
    make_topic(rig.address(), 2);
    send(rig.address(), 2, 0..3);
    let cooperative = config().assignors([Assignor::CooperativeSticky]);
    let (log, other) = (Log::default(), Log::default());
    let mut first = member(rig.address(), cooperative.clone(), &log);
    poll_until("one reads all", &mut [&mut first], |_, values| values[0].len() == 6);
    let mut second = member(rig.address(), cooperative, &other);
    poll_until("each has one", &mut [&mut first, &mut second], |all, _| have(all) == [1, 1]);
    let told = log.lines();
    assert_eq!(told[..2], ["assigned {0, 1}", "revoked {1}"], "it gives up one, and only that: {told:?}");
    assert!(told[2..].iter().all(|line| line == "assigned {}"), "{told:?}");
    assert_eq!(other.lines().last().unwrap(), "assigned {1}");
}

#[test]
fn a_static_member_that_restarts_disturbs_nobody() {
    let rig = rig();
    make_topic(rig.address(), 2);
    let (log, other) = (Log::default(), Log::default());
    let mut first = member(rig.address(), config(), &log);
    let mut second = member(rig.address(), config().instance("second"), &other);
    poll_until("each has one", &mut [&mut first, &mut second], |all, _| have(all) == [1, 1]);
    let (before, had) = (log.lines(), second.assignment());
    second.close().unwrap();
    let mut again = member(rig.address(), config().instance("second"), &other);
    poll_until("it is back", &mut [&mut first, &mut again], |all, _| have(all) == [1, 1]);
    assert_eq!(again.assignment(), had, "it has what it had");
    assert_eq!(log.lines(), before, "and the other was not told a thing");

    // Two cannot have the same name: the later one is right.
    let mut thief = member(rig.address(), config().instance("second"), &Log::default());
    poll_until("the name is taken", &mut [&mut first, &mut thief], |all, _| have(all) == [1, 1]);
    let deadline = Instant::now() + LIMIT;
    let error = loop {
        assert!(Instant::now() < deadline, "the earlier one is not told");
        if let Err(error) = again.poll(Duration::from_millis(10)) {
            break error.to_string();
        }
    };
    assert!(error.starts_with("group \"readers\": ") && error.contains("fenced"), "{error}");
}

#[test]
fn partitions_that_a_topic_gets_go_to_the_members() {
    let rig = rig();
    make_topic(rig.address(), 1);
    let quick = config().topics_interval(Duration::from_millis(100));
    let mut consumer = member(rig.address(), quick, &Log::default());
    poll_until("it has the one", &mut [&mut consumer], |all, _| have(all) == [1]);
    client(rig.address()).admin().create_partitions("t", 3).wait().unwrap();
    send(rig.address(), 3, 0..1);
    let values = poll_until("it reads all", &mut [&mut consumer], |_, values| values[0].len() == 3);
    assert_eq!(values[0].iter().cloned().collect::<BTreeSet<_>>().len(), 3);
}

/// A member that speaks Kafka's protocol, wants `t`, and divides it as whoever leads does.
struct ByHand(Member);

impl ByHand {
    fn new(address: &str) -> Self {
        let mut member = Member::connect(address, "readers");
        let subscription = Subscription { topics: vec!["t"], ..Subscription::default() };
        member.protocols = vec![("range".to_owned(), subscription.encode(1).unwrap().to_vec())];
        Self(member)
    }

    /// Joins and gets its work; `None`: something came between. A leader gives the partitions of `t`, of which there
    /// are `count`, in turns.
    fn enter(&mut self, count: i32) -> Option<Vec<i32>> {
        let joined = self.0.join();
        if joined.error != KafkaError::NONE {
            return None;
        }
        let mut ids: Vec<&String> = joined.members.iter().map(|(id, ..)| id).collect();
        ids.sort();
        let shares = ids.iter().enumerate().map(|(at, id)| {
            let partitions = (0..count).filter(|number| *number as usize % ids.len() == at).collect();
            let partitions = vec![TopicPartitions { topic: "t", partitions }];
            (id.as_str(), Assignment { partitions, user_data: None }.encode(1).unwrap())
        });
        let shares: Vec<_> = shares.collect();
        let shares: Vec<(&str, &[u8])> = shares.iter().map(|(id, bytes)| (*id, &bytes[..])).collect();
        let bytes = self.0.sync(&shares).ok()?;
        let assignment = Assignment::decode(&bytes).unwrap();
        Some(assignment.partitions.into_iter().flat_map(|of| of.partitions).collect())
    }
}

#[test]
fn native_members_and_kafkas_share_one_group_whoever_leads() {
    for native_leads in [true, false] {
        let rig = rig();
        make_topic(rig.address(), 4);
        send(rig.address(), 4, 0..3);
        let mut by_hand = ByHand::new(rig.address());
        let mut native;
        let log = Log::default();
        if native_leads {
            native = member(rig.address(), config(), &log);
            poll_until("the native one has all", &mut [&mut native], |all, _| have(all) == [4]);
        } else {
            assert_eq!(by_hand.enter(4), Some(vec![0, 1, 2, 3]));
            native = member(rig.address(), config(), &log);
        }
        // The one joins while the other polls and gives up what it has.
        let share = std::thread::scope(|scope| {
            let entering = scope.spawn(|| {
                let deadline = Instant::now() + LIMIT;
                loop {
                    assert!(Instant::now() < deadline, "they never share");
                    match by_hand.enter(4) {
                        Some(share) if share.len() == 2 => return share,
                        _ => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
            poll_until("the native one has two", &mut [&mut native], |all, _| {
                have(all) == [2] && entering.is_finished()
            });
            entering.join().unwrap()
        });
        let mut all = numbers(&native.assignment());
        all.extend(share.iter().map(|number| *number as u32));
        assert_eq!(all, BTreeSet::from([0, 1, 2, 3]), "native leads: {native_leads}");

        // What the one commits, the other goes on from.
        for partition in &share {
            assert_eq!(by_hand.0.commit("t", *partition, 2), KafkaError::NONE);
        }
        assert_eq!(by_hand.0.leave(), KafkaError::NONE);
        let last = |partition: &i32| format!("{partition}:2");
        let values = poll_until("the native one takes over", &mut [&mut native], |_, values| {
            share.iter().all(|partition| values[0].contains(&last(partition)))
        });
        for partition in &share {
            let of_it = values[0].iter().filter(|value| value.starts_with(&format!("{partition}:")));
            assert_eq!(of_it.collect::<Vec<_>>(), [&last(partition)], "native leads: {native_leads}");
        }
    }
}

#[test]
fn what_is_committed_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "group.initial.rebalance.delay.ms=0"];
    let mut daemon = Daemon::on(dir.path(), &settings);
    make_topic(daemon.address(), 1);
    send(daemon.address(), 1, 0..10);
    for round in 0..3_i64 {
        let mut consumer = member(daemon.address(), config().auto_commit(None), &Log::default());
        let values = poll_until("it reads on", &mut [&mut consumer], |_, values| !values[0].is_empty());
        assert_eq!(values[0][0], format!("0:{}", round * 2), "where the group is");
        let next = CommittedOffset::at(Offset::new(round * 2 + 2));
        consumer.commit_offsets([(TopicPartition::new("t", 0), next)]).wait().unwrap();
        consumer.close().unwrap();
        signal(&daemon.pid().to_string(), "KILL");
        daemon = daemon.restart_after_death();
    }
}

#[test]
fn a_member_outlives_the_daemon_and_goes_on_without_a_rebalance() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let settings = ["--listen", &address, "--set", "group.initial.rebalance.delay.ms=0"];
    let daemon = Daemon::on(dir.path(), &settings);
    make_topic(&address, 2);
    send(&address, 2, 0..1);
    let log = Log::default();
    let mut consumer = member(&address, config(), &log);
    poll_until("it reads", &mut [&mut consumer], |_, values| values[0].len() == 2);
    consumer.commit().wait().unwrap();
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    send(&address, 2, 1..2);
    let values = poll_until("it reads on", &mut [&mut consumer], |_, values| values[0].len() >= 2);
    assert_eq!(values[0].iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(["0:1", "1:1"]));
    consumer.commit().wait().unwrap();
    assert_eq!(log.lines(), ["assigned {0, 1}"]);
    consumer.close().unwrap();
    drop(daemon);
}

/// `folio consume` as a process, and what it has printed.
struct Reader {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    fn start(terminal: &Terminal, options: &[&str]) -> Self {
        let mut command = terminal.command(&[&["consume", "t", "--group", "g"], options].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, read) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                read.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

/// However a claim fails, nothing is left running.
impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_terminals_share_a_topic_and_a_third_takes_over_when_one_is_killed() {
    let terminal = Terminal::with(&[("group.initial.rebalance.delay.ms", "0")]);
    make_topic(terminal.rig().address(), 4);
    let session = ["--session-timeout", "6"];
    let first = Reader::start(&terminal, &session);
    let second = Reader::start(&terminal, &session);
    let mut number = 0;
    let mut until_both = |readers: &[&Reader]| {
        let before: Vec<usize> = readers.iter().map(|reader| reader.lines().len()).collect();
        until("each of them prints", || {
            send(terminal.rig().address(), 4, number..number + 1);
            number += 1;
            readers.iter().zip(&before).all(|(reader, before)| reader.lines().len() > *before)
        });
    };
    until_both(&[&first, &second]);
    drop(first); // killed
    let third = Reader::start(&terminal, &["--session-timeout", "120"]);
    until_both(&[&second, &third]);
    let sent: BTreeSet<String> =
        (0..number).flat_map(|n| (0..4).map(move |partition| format!("{partition}:{n}"))).collect();
    assert!(!sent.is_empty());
    assert_eq!(third.interrupt(), Some(130));
    // It has left: the other has everything without a wait for its session.
    let begun = Instant::now();
    let before = second.lines().len();
    send(terminal.rig().address(), 4, number..number + 1);
    until("the last one prints all four", || second.lines().len() >= before + 4);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(second.interrupt(), Some(130));
}

#[test]
fn a_group_goes_on_where_it_was_interrupted_and_prints_nothing_twice() {
    let terminal = Terminal::with(&[("group.initial.rebalance.delay.ms", "0")]);
    make_topic(terminal.rig().address(), 1);
    send(terminal.rig().address(), 1, 0..10);
    let some = terminal.done(&["consume", "t", "--group", "g", "--count", "4"]);
    assert_eq!(text(&some), "0:0\n0:1\n0:2\n0:3\n");
    let reader = Reader::start(&terminal, &[]);
    until("it prints the rest", || reader.lines().len() == 6);
    assert_eq!(reader.lines()[0], "0:4");
    assert_eq!(reader.interrupt(), Some(130));

    // A reader that has seen enough ends it quietly, and the group is without members at once.
    send(terminal.rig().address(), 1, 10..20);
    let output = terminal.shell("folio consume t --group p 2>said | head -1; echo ${PIPESTATUS[0]}");
    assert_eq!(text(&output.stdout), "0:0\n0\n");
    let begun = Instant::now();
    assert_eq!(text(&terminal.done(&["consume", "t", "--group", "g", "--count", "1"])), "0:10\n");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    let other = terminal.done(&["consume", "t", "--group", "h", "--from", "-2", "--count", "2"]);
    assert_eq!(text(&other), "0:18\n0:19\n");
    for wrong in [
        &["consume", "t", "--group", "g", "-p", "0"][..],
        &["consume", "t", "--group", "g", "--until", "end"],
        &["consume", "t", "--instance", "i"],
    ] {
        assert_eq!(terminal.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let missing = terminal.run(&["consume", "nothing", "--group", "g"]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing.stderr));
}

#[test]
fn a_group_that_retention_has_overtaken_goes_on_at_the_oldest_record() {
    let terminal = Terminal::with(&[("group.initial.rebalance.delay.ms", "0")]);
    make_topic(terminal.rig().address(), 1);
    send(terminal.rig().address(), 1, 0..10);
    let count = |count| text(&terminal.done(&["consume", "t", "--group", "g", "--count", count]));
    assert_eq!(count("2"), "0:0\n0:1\n");
    terminal.done(&["records", "delete", "t", "-p", "0", "--before", "6"]);
    assert_eq!(count("1"), "0:6\n");
}
