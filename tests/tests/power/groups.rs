//! Groups while the power goes: what one was told of a commit, a rebalance or a delete is so afterwards.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use folio_client::{
    Call, CallError, Client, CommittedOffset, ConsumerConfig, GroupConfig, GroupDescription, Offset,
    TopicPartition,
};
use folio_storage::files::sim::Random;
use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{codes, commit};
use folio_wire::kafka::KafkaError;
use folio_wire::native::ErrorCode;

use crate::ledger::Trust;
use crate::load::{Pace, connect};

/// Groups that commit all the time, of a client of our own and as Kafka's do.
const NATIVE: [&str; 3] = ["native-0", "native-1", "native-2"];
const KAFKA: [&str; 2] = ["kafka-0", "kafka-1"];
/// The one whose members come and go.
const MEMBERS: &str = "members";

/// The topic that all are about.
pub(crate) const TOPIC: &str = "fsync";

/// What clients know of groups.
#[derive(Debug)]
pub(crate) struct Groups {
    trust: Trust,
    said: Mutex<BTreeMap<String, Said>>,
    /// The latest generation in which [`MEMBERS`] were seen at work.
    generation: Mutex<i32>,
}

/// What was said about one group.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// The last offset that somebody asked to keep.
    asked: i64,
    /// The last one that is kept, as the broker says; 0: none.
    kept: i64,
    standing: Standing,
    /// Commits that were confirmed since the last look.
    confirmed: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    There,
    /// Its end was asked for, without an answer.
    Going,
    Gone,
}

/// What a look at all groups has found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Commits that were confirmed since the last look.
    pub(crate) confirmed: usize,
    /// Groups that are behind what was promised.
    pub(crate) behind: usize,
}

/// How long somebody waits between two commits.
struct Pauses {
    most_ms: u64,
    random: Random,
}

impl Pauses {
    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.up_to(self.most_ms)));
    }
}

impl Groups {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, said: Mutex::default(), generation: Mutex::new(-1) }
    }

    /// Does all of it until `stop`, or until the broker is gone.
    pub(crate) fn run(&self, address: &str, pace: Pace, seed: u64, stop: &AtomicBool) {
        let most_ms = match (self.trust, pace) {
            (Trust::Anything, _) => 0,
            (_, Pace::Busy) => 4,
            (_, Pace::Rare) => 300,
        };
        let pauses =
            |number: usize| Pauses { most_ms, random: Random::new(seed ^ (100 + number as u64) << 32) };
        std::thread::scope(|scope| {
            for (number, name) in NATIVE.into_iter().enumerate() {
                let pauses = pauses(number);
                scope.spawn(move || self.commit_natively(address, name, pauses, stop));
            }
            for (number, name) in KAFKA.into_iter().enumerate() {
                let pauses = pauses(10 + number);
                scope.spawn(move || self.commit_as_kafka(address, name, pauses, stop));
            }
            scope.spawn(|| self.watch(address, stop));
            if pace == Pace::Busy {
                scope.spawn(|| self.come_and_go(address, seed, stop));
                scope.spawn(|| join_and_leave(address, stop));
                scope.spawn(|| join_and_leave(address, stop));
            }
        });
    }

    fn commit_natively(&self, address: &str, name: &str, mut pauses: Pauses, stop: &AtomicBool) {
        let Some(client) = connect(address) else { return };
        let group = client.consumer(ConsumerConfig::new().group(GroupConfig::new(name))).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let some: Vec<(i64, Call<()>)> = (0..=pauses.random.up_to(31))
                .map(|_| {
                    let offset = self.ask(name);
                    let committed = CommittedOffset::at(Offset::new(offset));
                    (offset, group.commit_offsets([(TopicPartition::new(TOPIC, 0), committed)]))
                })
                .collect();
            for (offset, call) in some {
                if call.wait().is_err() {
                    return;
                }
                self.confirm(name, offset);
            }
            pauses.pause();
        }
    }

    fn commit_as_kafka(&self, address: &str, name: &str, mut pauses: Pauses, stop: &AtomicBool) {
        let Ok(stream) = TcpStream::connect(address) else { return };
        let mut peer = KafkaPeer::over(stream);
        while !stop.load(Ordering::Relaxed) {
            let offset = self.ask(name);
            let Some(answer) = peer.try_call(9, &commit(name, TOPIC, &[(1, offset)])) else { return };
            // A coordinator that has just started loads, and one whose disk has failed is not there.
            if codes(&answer) == [KafkaError::NONE] {
                self.confirm(name, offset);
            }
            pauses.pause();
        }
    }

    /// Makes groups by a commit, and deletes all but a few.
    fn come_and_go(&self, address: &str, seed: u64, stop: &AtomicBool) {
        let Some(client) = connect(address) else { return };
        for number in 1.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("group-{seed}-{number}");
            let group = client.consumer(ConsumerConfig::new().group(GroupConfig::new(&name))).unwrap();
            let offset = self.ask(&name);
            let committed = CommittedOffset::at(Offset::new(offset));
            if group.commit_offsets([(TopicPartition::new(TOPIC, 2), committed)]).wait().is_err() {
                return;
            }
            self.confirm(&name, offset);
            if number % 8 == 0 {
                continue;
            }
            self.stands(&name, Standing::Going);
            if client.admin().delete_group(&name, "power", false).wait().is_err() {
                return;
            }
            self.stands(&name, Standing::Gone);
        }
    }

    /// Notes in which generation the members of the group that has some were given their work.
    fn watch(&self, address: &str, stop: &AtomicBool) {
        let Some(client) = connect(address) else { return };
        while !stop.load(Ordering::Relaxed) {
            let seen = client.admin().describe_group(MEMBERS).wait();
            // Before that its members have not been told what they have, and nothing is promised.
            if let Ok(group) = seen
                && group.state == "Stable"
            {
                let mut seen = self.generation.lock().unwrap();
                *seen = group.generation.max(*seen);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next offset that is to be kept.
    fn ask(&self, name: &str) -> i64 {
        let mut all = self.said.lock().unwrap();
        let said = all.entry(name.to_owned()).or_default();
        said.asked += 1;
        if self.trust == Trust::Anything {
            said.kept = said.asked;
        }
        said.asked
    }

    fn confirm(&self, name: &str, offset: i64) {
        let mut said = self.of(name);
        let said = said.get_mut(name).unwrap();
        said.confirmed += 1;
        said.kept = said.kept.max(offset);
    }

    fn stands(&self, name: &str, standing: Standing) {
        self.of(name).get_mut(name).unwrap().standing = standing;
    }

    fn of(&self, name: &str) -> MutexGuard<'_, BTreeMap<String, Said>> {
        let all = self.said.lock().unwrap();
        assert!(all.contains_key(name), "{name} was asked for");
        all
    }

    /// Holds what a broker has after a power cut against what it said before.
    pub(crate) fn check(&self, client: &Client, when: &str) -> Kept {
        let mut kept = Kept::default();
        for (name, said) in &mut *self.said.lock().unwrap() {
            let now = describe(client, name, when);
            let mut offsets = now.iter().flat_map(|group| &group.offsets);
            let committed = offsets.find_map(|one| one.committed.as_ref());
            let at = committed.map_or(0, |one| one.offset.get());
            kept.confirmed += std::mem::take(&mut said.confirmed);
            if said.standing == Standing::Gone {
                assert_eq!(at, 0, "{when}: group {name} was deleted and is back: {now:?}");
                continue;
            }
            assert!(at <= said.asked, "{when}: nobody has sent group {name} to {at}: {said:?}");
            if said.standing == Standing::Going && at == 0 {
                said.standing = Standing::Gone;
                continue;
            }
            if at < said.kept {
                kept.behind += 1;
                let is_control = self.trust == Trust::Anything;
                assert!(is_control, "{when}: group {name} is at {at} and was told more: {said:?}");
            }
            (said.kept, said.standing) = (at, Standing::There);
        }
        let seen = self.generation.lock().unwrap();
        if *seen >= 0 {
            let now = describe(client, MEMBERS, when).map_or(-1, |group| group.generation);
            assert!(now >= *seen, "{when}: {MEMBERS} were seen in generation {seen}, and are in {now}");
        }
        kept
    }
}

/// A group as it is, once its coordinator has loaded; `None`: there is none.
fn describe(client: &Client, name: &str, when: &str) -> Option<GroupDescription> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match client.admin().describe_group(name).wait() {
            Ok(group) => return Some(group),
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_GROUP) => return None,
            Err(CallError::Refused(refusal)) if refusal.code.is_retriable() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{when}: group {name}: {error}"),
        }
    }
}

/// Is a member for as long as it takes to get some work, again and again.
fn join_and_leave(address: &str, stop: &AtomicBool) {
    let Some(client) = connect(address) else { return };
    while !stop.load(Ordering::Relaxed) {
        let group = GroupConfig::new(MEMBERS)
            .session_timeout(Duration::from_millis(500))
            .heartbeat_interval(Duration::from_millis(50));
        let config = ConsumerConfig::new().wait_max(Duration::from_millis(20)).group(group);
        let mut consumer = client.consumer(config).unwrap();
        consumer.subscribe([TOPIC]).unwrap();
        while consumer.assignment().is_empty() && !stop.load(Ordering::Relaxed) {
            if consumer.poll(Duration::from_millis(20)).is_err() {
                return;
            }
        }
    }
}
