//! Native members that come, go and vanish all the time: no partition is two members' at once, and no record is lost.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folio_client::{
    Assignor, Client, ClientConfig, Consumer, ConsumerConfig, GroupConfig, NewTopic, ProducerConfig,
    ProducerRecord, RebalanceListener, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::rig::Rig;

const PARTITIONS: u32 = 7;
const MEMBERS: usize = 4;
const LASTS: Duration = Duration::from_secs(6);
const LIMIT: Duration = Duration::from_secs(60);
const KILLS: usize = 10;

/// What all members have together, by what they are told.
#[derive(Default)]
struct World {
    owners: Mutex<BTreeMap<TopicPartition, usize>>,
    read: Mutex<BTreeSet<String>>,
    rebalances: AtomicUsize,
    over: AtomicBool,
}

/// One member's part of it.
#[derive(Clone)]
struct Share {
    world: Arc<World>,
    member: usize,
}

impl Share {
    fn drop_all(&self) {
        self.world.owners.lock().unwrap().retain(|_, owner| *owner != self.member);
    }

    fn drop_these(&self, partitions: &[TopicPartition]) {
        let mut owners = self.world.owners.lock().unwrap();
        for partition in partitions {
            assert_eq!(owners.remove(partition), Some(self.member), "{partition} was not its own");
        }
    }
}

impl RebalanceListener for Share {
    fn assigned(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        self.world.rebalances.fetch_add(1, Ordering::Relaxed);
        let mut owners = self.world.owners.lock().unwrap();
        for partition in partitions {
            let other = owners.insert(partition.clone(), self.member);
            assert_eq!(
                other,
                None,
                "{partition} is two members' at once, {} and this {}",
                other.unwrap_or(0),
                self.member
            );
        }
    }

    fn revoked(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        self.drop_these(partitions);
    }
}

fn client(address: &str) -> Client {
    Client::connect(ClientConfig::new(address)).unwrap()
}

fn member(address: &str, assignors: &[Assignor], share: &Share) -> Consumer {
    let group = GroupConfig::new("g")
        .assignors(assignors)
        .heartbeat_interval(Duration::from_millis(20))
        .auto_commit(Some(Duration::from_millis(50)));
    let mut consumer = client(address).consumer(ConsumerConfig::new().group(group)).unwrap();
    consumer.subscribe_with(["t"], share.clone()).unwrap();
    consumer
}

/// Polls for a time; what it gets is read.
fn read(consumer: &mut Consumer, world: &World, time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if let Some(records) = consumer.poll(Duration::from_millis(10)).unwrap() {
            let values =
                records.iter().map(|record| String::from_utf8_lossy(record.value.unwrap()).into_owned());
            world.read.lock().unwrap().extend(values);
        }
    }
}

/// A life of joining, reading for a while, and going in one of the ways there are.
fn live(address: &str, assignors: &[Assignor], share: &Share) {
    // Small numbers that differ from member to member.
    let mut dice = share.member as u64 * 7919 + 13;
    while !share.world.over.load(Ordering::Relaxed) {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut consumer = member(address, assignors, share);
        read(&mut consumer, &share.world, Duration::from_millis(100 + dice % 700));
        match (dice >> 20) % 3 {
            0 => consumer.close().unwrap(),
            1 => {
                consumer.unsubscribe();
                consumer.subscribe_with(["t"], share.clone()).unwrap();
                read(&mut consumer, &share.world, Duration::from_millis(dice % 300));
                consumer.close().unwrap();
            }
            _ => {
                share.drop_all(); // what comes now is read by nobody
                drop(consumer);
            }
        }
    }
}

fn churn(assignors: &[Assignor]) {
    let rig = Rig::new(&[("group.initial.rebalance.delay.ms", "0")]);
    let admin = client(rig.address()).admin();
    admin.create_topic(NewTopic::new("t", PARTITIONS).setting("durability", "os")).wait().unwrap();
    let world = Arc::new(World::default());
    let share = |member| Share { world: Arc::clone(&world), member };
    let sent = std::thread::scope(|scope| {
        for number in 0..MEMBERS {
            let (share, address) = (share(number), rig.address());
            scope.spawn(move || live(address, assignors, &share));
        }
        let producer = client(rig.address()).producer(ProducerConfig::new()).unwrap();
        let begun = Instant::now();
        let mut sent = BTreeSet::new();
        while begun.elapsed() < LASTS {
            for partition in 0..PARTITIONS {
                let value = format!("{partition}:{}", sent.len());
                let record = ProducerRecord::to("t").partition(partition).value(&value);
                producer.send(record).unwrap().wait().unwrap();
                sent.insert(value);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        world.over.store(true, Ordering::Relaxed);
        sent
    });
    assert!(world.owners.lock().unwrap().is_empty());
    let mut last = member(rig.address(), assignors, &share(MEMBERS));
    let deadline = Instant::now() + LIMIT;
    while !sent.is_subset(&world.read.lock().unwrap()) {
        assert!(Instant::now() < deadline, "lost: {:?}", sent.difference(&world.read.lock().unwrap()));
        read(&mut last, &world, Duration::from_millis(50));
    }
    let rebalances = world.rebalances.load(Ordering::Relaxed);
    assert!(rebalances > 2 * MEMBERS, "{rebalances} rebalances");
}

#[test]
fn eager_members_come_and_go_and_nothing_is_lost_nor_two_members_at_once() {
    churn(&[Assignor::Range, Assignor::CooperativeSticky]);
}

#[test]
fn sticky_members_come_and_go_and_nothing_is_lost_nor_two_members_at_once() {
    churn(&[Assignor::Sticky]);
}

#[test]
fn cooperative_members_come_and_go_and_nothing_is_lost_nor_two_members_at_once() {
    churn(&[Assignor::CooperativeSticky]);
}

/// A broker that dies again and again, at one address.
#[test]
fn members_outlive_ten_deaths_of_the_daemon_and_nothing_is_lost_nor_two_members_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut daemon =
        Daemon::on(dir.path(), &["--listen", &address, "--set", "group.initial.rebalance.delay.ms=0"]);
    client(&address).admin().create_topic(NewTopic::new("t", PARTITIONS)).wait().unwrap();
    let world = Arc::new(World::default());
    let (sent, daemon) = std::thread::scope(|scope| {
        for number in 0..2 {
            let (share, address) = (Share { world: Arc::clone(&world), member: number }, &address);
            scope.spawn(move || {
                let mut consumer = member(address, &[Assignor::CooperativeSticky], &share);
                while !share.world.over.load(Ordering::Relaxed) {
                    read(&mut consumer, &share.world, Duration::from_millis(100));
                }
                consumer.close().unwrap();
            });
        }
        let producer = client(&address).producer(ProducerConfig::new()).unwrap();
        let mut sent = BTreeSet::new();
        for _ in 0..KILLS {
            for _ in 0..20 {
                for partition in 0..PARTITIONS {
                    let value = format!("{partition}:{}", sent.len());
                    let record = ProducerRecord::to("t").partition(partition).value(&value);
                    producer.send(record).unwrap().wait().unwrap();
                    sent.insert(value);
                }
            }
            signal(&daemon.pid().to_string(), "KILL");
            daemon = daemon.restart_after_death();
        }
        let deadline = Instant::now() + LIMIT;
        while !sent.is_subset(&world.read.lock().unwrap()) {
            assert!(Instant::now() < deadline, "lost: {:?}", sent.difference(&world.read.lock().unwrap()));
            std::thread::sleep(Duration::from_millis(20));
        }
        world.over.store(true, Ordering::Relaxed);
        (sent, daemon)
    });
    assert!(daemon.stop().success());
    assert_eq!(sent.len(), KILLS * 20 * PARTITIONS as usize);
    assert!(world.owners.lock().unwrap().is_empty());
}
