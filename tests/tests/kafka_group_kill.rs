//! Death of the daemon in the midst of rebalances and commits: what a group promises its members holds all the same.
//!
//! Members that speak Kafka's protocol by hand consume, commit, come and go, while the daemon is killed again and
//! again. Every delivery and every commit is told to a checker.
//!
//! `FOLIO_KILLS=200 cargo test -p folio-tests --test kafka_group_kill deaths -- --nocapture` kills it so often.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use folio_record::UnverifiedBatch;
use folio_tests::campaign;
use folio_tests::control::finding;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::groups::{codes, commit, state, stored};
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::batch;
use folio_tests::rig::until;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use folio_wire::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use folio_wire::kafka::leave_group::{LeaveGroupRequest, MemberIdentity};
use folio_wire::kafka::offset_commit::OffsetCommitRequest;
use folio_wire::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use folio_wire::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

/// Deaths in the short form.
const KILLS: u64 = 10;
const GROUP: &str = "workers";
const TOPIC: &str = "t";
const PARTITIONS: u8 = 4;
/// Records that each partition gets before each kill.
const RECORDS: i64 = 20;
/// Records that the group may be behind when the daemon is killed, and what it has to do when all is over.
const BEHIND: i64 = 400;
/// Rebalances take no longer than that, dead members are found after it.
const REBALANCE_MS: i32 = 3_000;
const SESSION_MS: i32 = 2_000;

#[test]
fn deaths_in_the_midst_of_rebalances_and_commits_lose_nothing_and_take_nothing_back() {
    let kills = campaign::length("FOLIO_KILLS", KILLS);
    let dir = tempfile::tempdir().unwrap();
    let settings = ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1"];
    let mut daemon = Daemon::on(dir.path(), &["--set", settings[0], "--set", settings[1]]);
    create(&daemon);
    let world = Arc::new(World::default());
    world.move_to(&daemon);
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let world = Arc::clone(&world);
            // The last one comes and goes, so that there is always a rebalance.
            std::thread::spawn(move || Worker::new(world, number == 3).work())
        })
        .collect();
    for kill in 1..=kills {
        send(&daemon, RECORDS);
        let sent_before = RECORDS * i64::from(PARTITIONS) * i64::try_from(kill - 1).unwrap();
        let due = (sent_before / 2).max(sent_before - BEHIND);
        until("the group is at work, and rebalances", || {
            let checker = world.checker.lock().unwrap();
            checker.delivered() >= due && checker.generations.len() as u64 >= kill - 1
        });
        std::thread::sleep(Duration::from_millis(20 + 23 * (kill % 10)));
        signal(&daemon.pid().to_string(), "KILL");
        let committed = world.checker.lock().unwrap().committed.clone();
        daemon = daemon.restart_after_death();
        check_stored(&daemon, &committed, kill);
        world.move_to(&daemon);
    }
    let all = RECORDS * i64::from(PARTITIONS) * i64::try_from(kills).unwrap();
    until("everything is delivered", || world.checker.lock().unwrap().delivered() == all);
    let generations = world.checker.lock().unwrap().generations.len();
    println!("{kills} deaths, {all} records delivered, {generations} generations");
    world.is_over.store(true, Ordering::Release);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    daemon.stop();
}

/// A commit that counts although nobody has answered it yet.
#[test]
fn a_commit_that_counts_before_it_is_answered_is_found_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    create(&daemon);
    let mut peer = KafkaPeer::connect(daemon.address());
    let mut checker = Checker::default();
    until("the group has a coordinator", || {
        codes(&peer.call(9, &commit(GROUP, TOPIC, &[(0, 5)]))) == [KafkaError::NONE]
    });
    checker.commit(0, 5);
    // It is on its way to a daemon that does not take it any more.
    daemon.freeze();
    peer.submit(9, &commit(GROUP, TOPIC, &[(0, 9)]));
    signal(&daemon.pid().to_string(), "KILL");
    let daemon = daemon.restart_after_death();
    check_stored(&daemon, &checker.committed, 1);
    checker.commit(0, 9);
    let said = finding("nobody has answered", || check_stored(&daemon, &checker.committed, 1));
    assert!(said.contains("partition 0 is at 5, was at 9"), "{said}");
    daemon.stop();
}

#[test]
fn deliveries_to_two_members_deliveries_twice_and_commits_that_go_back_are_found() {
    let world = Arc::new(World::default());
    let member = |id: &str| Worker { id: id.to_owned(), generation: 1, ..Worker::new(world.clone(), false) };
    let (one, other) = (member("one"), member("other"));
    let mut checker = Checker::default();
    checker.deliver(&one, 0, 3);
    checker.deliver(&other, 1, 0);
    for (worker, offset, says) in [(&other, 4, "has two owners"), (&one, 3, "3 and then 3")] {
        let mut checker = checker.clone();
        let said = finding(says, || checker.deliver(worker, 0, offset));
        assert!(said.contains(says), "{said}");
    }
    checker.commit(0, 4);
    let said = finding("a commit goes back", || checker.commit(0, 3));
    assert!(said.contains("partition 0: Some(4), then 3"), "{said}");
    assert_eq!(checker.delivered(), 2, "a record that is not delivered is missed by the count");
}

fn create(daemon: &Daemon) {
    // A death of the daemon takes nothing from the page cache: the commits alone wait for the disk.
    let durability = CreatableTopicConfig { name: "durability", value: Some("os") };
    let topic = CreatableTopic {
        name: TOPIC,
        configs: vec![durability],
        num_partitions: i32::from(PARTITIONS),
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
    KafkaPeer::connect(daemon.address()).call(7, &request);
}

/// Adds records to each partition, each in a batch of its own.
fn send(daemon: &Daemon, count: i64) {
    let mut peer = KafkaPeer::connect(daemon.address());
    for partition in 0..PARTITIONS {
        for _ in 0..count {
            peer.call(9, &produce(TOPIC, i32::from(partition), -1, &batch(b"work")));
        }
    }
}

/// No group is lost, and no offset that was committed goes back.
fn check_stored(daemon: &Daemon, committed: &BTreeMap<u8, i64>, kill: u64) {
    let mut peer = KafkaPeer::connect(daemon.address());
    for (partition, offset) in committed {
        let mut stored_at = -1;
        until("groups are loaded", || {
            let stored = stored(&mut peer, GROUP, TOPIC, &[i32::from(*partition)]).remove(0);
            stored_at = stored.offset;
            stored.error != KafkaError::COORDINATOR_LOAD_IN_PROGRESS
        });
        assert!(
            stored_at >= *offset,
            "kill {kill}: partition {partition} is at {stored_at}, was at {offset}"
        );
    }
    if !committed.is_empty() {
        assert_eq!(state(&mut peer, GROUP).0, KafkaError::NONE, "kill {kill}");
    }
}

/// What the workers share.
#[derive(Default)]
struct World {
    address: Mutex<String>,
    checker: Mutex<Checker>,
    is_over: AtomicBool,
}

impl World {
    fn move_to(&self, daemon: &Daemon) {
        daemon.address().clone_into(&mut self.address.lock().unwrap());
    }
}

/// What was delivered and committed.
#[derive(Clone, Default)]
struct Checker {
    /// Offsets, by partition.
    deliveries: BTreeMap<u8, BTreeSet<i64>>,
    /// The last one that a generation was delivered of a partition, and to whom.
    last: BTreeMap<(i32, u8), (String, i64)>,
    committed: BTreeMap<u8, i64>,
    generations: BTreeSet<i32>,
}

impl Checker {
    /// In a generation a partition is one member's, and none of its records comes twice.
    fn deliver(&mut self, worker: &Worker, partition: u8, offset: i64) {
        self.generations.insert(worker.generation);
        let now = (worker.id.clone(), offset);
        if let Some(before) = self.last.insert((worker.generation, partition), now) {
            let what = format!("partition {partition} in generation {}", worker.generation);
            assert_eq!(before.0, worker.id, "{what} has two owners");
            assert!(before.1 < offset, "{what}: {} and then {offset}", before.1);
        }
        self.deliveries.entry(partition).or_default().insert(offset);
    }

    /// An acknowledged commit is not behind an earlier one: who was before has been fenced.
    fn commit(&mut self, partition: u8, offset: i64) {
        let before = self.committed.insert(partition, offset);
        assert!(
            before.is_none_or(|before| before <= offset),
            "partition {partition}: {before:?}, then {offset}"
        );
    }

    /// How many records were delivered, at least once each.
    fn delivered(&self) -> i64 {
        self.deliveries.values().map(|offsets| i64::try_from(offsets.len()).unwrap()).sum()
    }
}

/// A member of the group, as long as there is something to do.
struct Worker {
    world: Arc<World>,
    peer: Option<KafkaPeer>,
    comes_and_goes: bool,
    id: String,
    generation: i32,
    /// Where it is in the partitions that it has; `None`: it has to join.
    positions: Option<BTreeMap<u8, i64>>,
    turns: u32,
}

/// What went wrong.
enum Trouble {
    /// The connection is gone: the daemon is dead.
    Lost,
    Told(KafkaError),
}

impl Worker {
    fn new(world: Arc<World>, comes_and_goes: bool) -> Self {
        Self {
            world,
            peer: None,
            comes_and_goes,
            id: String::new(),
            generation: -1,
            positions: None,
            turns: 0,
        }
    }

    fn work(mut self) {
        while !self.world.is_over.load(Ordering::Acquire) {
            match self.turn() {
                Ok(()) => {}
                Err(Trouble::Lost) => {
                    self.peer = None;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Trouble::Told(error)) => self.told(error),
            }
        }
    }

    fn told(&mut self, error: KafkaError) {
        match error {
            KafkaError::COORDINATOR_LOAD_IN_PROGRESS | KafkaError::COORDINATOR_NOT_AVAILABLE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            KafkaError::MEMBER_ID_REQUIRED => {}
            KafkaError::REBALANCE_IN_PROGRESS | KafkaError::ILLEGAL_GENERATION => self.positions = None,
            KafkaError::UNKNOWN_MEMBER_ID => {
                self.positions = None;
                self.id.clear();
            }
            other => panic!("a member is told {other}"),
        }
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        if self.peer.is_none() {
            let address = self.world.address.lock().unwrap().clone();
            self.peer = Some(KafkaPeer::over(TcpStream::connect(address).map_err(|_| Trouble::Lost)?));
        }
        if self.positions.is_none() {
            let assignments = self.join()?;
            let partitions = self.sync(&assignments)?;
            self.positions = Some(self.committed(&partitions)?);
        }
        self.turns += 1;
        if self.comes_and_goes && self.turns.is_multiple_of(8) {
            return self.leave();
        }
        self.consume()?;
        match self.heartbeat()? {
            KafkaError::NONE => Ok(()),
            error => {
                // It commits what it has done before it lets go of its partitions.
                if error == KafkaError::REBALANCE_IN_PROGRESS {
                    self.commit()?;
                }
                Err(Trouble::Told(error))
            }
        }
    }

    fn peer(&mut self) -> &mut KafkaPeer {
        self.peer.as_mut().expect("it is connected")
    }

    /// Joins; as a leader, what everybody gets.
    fn join(&mut self) -> Result<Vec<(String, Vec<u8>)>, Trouble> {
        let id = self.id.clone();
        let protocol = JoinGroupRequestProtocol { name: "turns", metadata: b"" };
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: &id,
            protocol_type: "workers",
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let answer = self.peer().try_call(9, &request).ok_or(Trouble::Lost)?;
        let message: JoinGroupResponse<'_> = answer.message();
        if matches!(message.error_code, KafkaError::NONE | KafkaError::MEMBER_ID_REQUIRED) {
            self.id = message.member_id.into_owned();
        }
        told(message.error_code)?;
        self.generation = message.generation_id;
        let count = message.members.len();
        let work =
            |at: usize| (0..PARTITIONS).filter(|partition| usize::from(*partition) % count == at).collect();
        let members = message.members.iter().enumerate();
        Ok(members.map(|(at, member)| (member.member_id.to_string(), work(at))).collect())
    }

    /// The partitions that it gets.
    fn sync(&mut self, assignments: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Trouble> {
        let (id, generation_id) = (self.id.clone(), self.generation);
        let assignments = assignments
            .iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id,
            member_id: &id,
            protocol_type: Some("workers"),
            protocol_name: Some("turns"),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let answer = self.peer().try_call(5, &request).ok_or(Trouble::Lost)?;
        let message: SyncGroupResponse<'_> = answer.message();
        told(message.error_code)?;
        Ok(message.assignment.into_owned())
    }

    /// Where the group is in these partitions.
    fn committed(&mut self, partitions: &[u8]) -> Result<BTreeMap<u8, i64>, Trouble> {
        let partition_indexes = partitions.iter().map(|partition| i32::from(*partition)).collect();
        let topic = OffsetFetchRequestTopics { name: TOPIC, partition_indexes, ..Default::default() };
        let group =
            OffsetFetchRequestGroup { group_id: GROUP, topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let answer = self.peer().try_call(9, &request).ok_or(Trouble::Lost)?;
        let message: OffsetFetchResponse<'_> = answer.message();
        told(message.groups[0].error_code)?;
        let told = message.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
        Ok(told
            .map(|one| (u8::try_from(one.partition_index).unwrap(), one.committed_offset.max(0)))
            .collect())
    }

    /// Takes a few records of each partition, and commits.
    fn consume(&mut self) -> Result<(), Trouble> {
        let positions = self.positions.clone().unwrap_or_default();
        for (partition, position) in positions {
            let mut request = fetch(TOPIC, i32::from(partition), position, Duration::from_millis(2));
            request.topics[0].partitions[0].partition_max_bytes = 300;
            let answer = self.peer().try_call(12, &request).ok_or(Trouble::Lost)?;
            let message: FetchResponse<'_> = answer.message();
            let data = &message.responses[0].partitions[0];
            assert!(data.error_code != KafkaError::OFFSET_OUT_OF_RANGE, "{data:?}");
            let mut rest = data.records.and_then(|records| records.held()).unwrap_or_default();
            while let Ok((batch, behind)) = UnverifiedBatch::split_first(rest) {
                let offset = batch.verify().unwrap().header().base_offset.get();
                rest = behind;
                self.world.checker.lock().unwrap().deliver(self, partition, offset);
                self.positions.as_mut().unwrap().insert(partition, offset + 1);
            }
        }
        self.commit()
    }

    /// Commits where it is.
    fn commit(&mut self) -> Result<(), Trouble> {
        let (id, generation) = (self.id.clone(), self.generation);
        let positions = self.positions.clone().unwrap_or_default();
        let offsets: Vec<_> =
            positions.iter().map(|(partition, offset)| (i32::from(*partition), *offset)).collect();
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: generation,
            member_id: &id,
            ..commit(GROUP, TOPIC, &offsets)
        };
        let answer = self.peer().try_call(9, &request).ok_or(Trouble::Lost)?;
        let mut checker = self.world.checker.lock().unwrap();
        for ((partition, offset), error) in positions.into_iter().zip(codes(&answer)) {
            told(error)?;
            checker.commit(partition, offset);
        }
        Ok(())
    }

    fn heartbeat(&mut self) -> Result<KafkaError, Trouble> {
        let (id, generation_id) = (self.id.clone(), self.generation);
        let request =
            HeartbeatRequest { group_id: GROUP, generation_id, member_id: &id, group_instance_id: None };
        let answer = self.peer().try_call(4, &request).ok_or(Trouble::Lost)?;
        Ok(answer.message::<HeartbeatResponse>().error_code)
    }

    fn leave(&mut self) -> Result<(), Trouble> {
        let id = std::mem::take(&mut self.id);
        self.positions = None;
        let leaver = MemberIdentity { member_id: &id, ..MemberIdentity::default() };
        let request =
            LeaveGroupRequest { group_id: GROUP, members: vec![leaver], ..LeaveGroupRequest::default() };
        self.peer().try_call(5, &request).ok_or(Trouble::Lost)?;
        Ok(())
    }
}

fn told(error: KafkaError) -> Result<(), Trouble> {
    if error == KafkaError::NONE { Ok(()) } else { Err(Trouble::Told(error)) }
}
