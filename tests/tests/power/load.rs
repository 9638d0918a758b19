//! What goes on when the power goes: producers, a consumer, groups, topics that come and go, and others on the same
//! disk.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use folio_client::{
    Acks, Backoff, Client, ClientConfig, CommittedOffset, ConfigChange, ConfigResource, ConsumerConfig,
    Delivery, GroupConfig, NewTopic, Offset, Position, Producer, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use folio_storage::files::sim::Random;

use crate::groups::Groups;
use crate::ledger::{Kind, Ledger, Stream, Trust};

const fn stream(topic: &'static str, partition: u32, acks: Acks, kind: Kind) -> Stream {
    Stream { topic, partition, acks, kind }
}

/// Who produces where.
pub(crate) const STREAMS: &[Stream] = &[
    stream("fsync", 0, Acks::All, Kind::Fsync),
    stream("fsync", 1, Acks::All, Kind::Fsync),
    stream("fsync", 2, Acks::Leader, Kind::Fsync),
    stream("os", 0, Acks::All, Kind::Os),
    stream("os", 1, Acks::Leader, Kind::Os),
    stream("interval", 0, Acks::All, Kind::Interval),
    stream("compacted", 0, Acks::All, Kind::Compacted),
];

/// Of the `interval` topic, in milliseconds.
pub(crate) const FLUSH_MS: u64 = 150;

/// The topics of [`STREAMS`], with small segments, so that they roll, seal, go and are compacted all the time.
pub(crate) fn create_topics(client: &Client) {
    let small = |name, partitions| {
        let topic = NewTopic::new(name, partitions).setting("internal.segment.bytes", "131072");
        topic.setting("retention.bytes", "6000000")
    };
    for topic in [
        small("fsync", 3),
        small("os", 2).setting("durability", "os"),
        small("interval", 1).setting("durability", "interval").setting("flush.ms", FLUSH_MS.to_string()),
        small("compacted", 1)
            .setting("cleanup.policy", "compact")
            .setting("min.cleanable.dirty.ratio", "0.1"),
    ] {
        client.admin().create_topic(topic).wait().unwrap();
    }
    let group = client.consumer(ConsumerConfig::new().group(GroupConfig::new("first"))).unwrap();
    let at = (TopicPartition::new("fsync", 0), CommittedOffset::at(Offset::new(0)));
    // Makes the topic of groups.
    group.commit_offsets([at]).wait().unwrap();
    let set = |key: &str, value: &str| ConfigChange::Set(key.into(), value.into());
    let changes = [set("internal.segment.bytes", "8192"), set("min.cleanable.dirty.ratio", "0.1")];
    let offsets = ConfigResource::Topic("__consumer_offsets".into());
    client.admin().alter_configs(offsets, changes).wait().unwrap();
}

/// How much of everything there is in one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Everybody sends as they can, and everything is flushed all the time.
    Busy,
    /// Flushes are rare, others on the disk make the file system write its journal: tails are torn.
    Rare,
}

/// What clients know of all that is in a broker.
pub(crate) struct Known {
    pub(crate) trust: Trust,
    pub(crate) groups: Groups,
    ledgers: Vec<Mutex<Ledger>>,
    churned: Mutex<Churned>,
}

/// Topics that came and went.
#[derive(Debug, Default)]
struct Churned {
    next: u32,
    /// By name: whether the broker has said that it is there, or that it is gone.
    said: BTreeMap<String, Said>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Created,
    Stored,
    Deleted,
}

impl Known {
    pub(crate) fn new(trust: Trust) -> Self {
        let ledgers = STREAMS.iter().map(|stream| Mutex::new(Ledger::new(stream, trust))).collect();
        Self { trust, groups: Groups::new(trust), ledgers, churned: Mutex::default() }
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = (&Stream, MutexGuard<'_, Ledger>)> {
        STREAMS.iter().zip(&self.ledgers).map(|(stream, ledger)| (stream, ledger.lock().unwrap()))
    }

    /// How many records clients know of.
    pub(crate) fn records(&self) -> usize {
        self.streams().map(|(_, ledger)| ledger.records()).sum()
    }

    /// Whether topics that were made are there, and those that were deleted are not.
    pub(crate) fn check_topics(&self, client: &Client, when: &str) {
        let listed = client.admin().list_topics(false).wait().unwrap();
        let churned = self.churned.lock().unwrap();
        for (name, said) in &churned.said {
            let is_there = listed.iter().any(|topic| topic.name == *name);
            match said {
                Said::Created | Said::Stored => assert!(is_there, "{when}: {name} was created and is gone"),
                Said::Deleted => assert!(!is_there, "{when}: {name} was deleted and is back"),
                Said::Nothing => continue,
            }
            if *said == Said::Stored {
                let topic = client.admin().describe_topic(name).wait().unwrap();
                assert!(topic.partitions[0].trouble.is_none(), "{when}: {:?}", topic.partitions[0]);
                assert_eq!(topic.partitions[0].log_end.get(), 1, "{when}: {name} has lost its record");
            }
        }
    }
}

/// Does all of it until `stop`, or until the broker is gone.
pub(crate) fn run(address: &str, mount: &Path, known: &Known, pace: Pace, seed: u64, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        for (number, (stream, ledger)) in STREAMS.iter().zip(&known.ledgers).enumerate() {
            let random = Random::new(seed ^ (number as u64) << 32);
            scope.spawn(move || produce(address, stream, ledger, pace, random, stop));
        }
        scope.spawn(|| consume(address, known, stop));
        scope.spawn(|| known.groups.run(address, pace, seed, stop));
        if pace == Pace::Busy {
            scope.spawn(|| churn(address, &known.churned, stop));
        } else {
            scope.spawn(|| commit_journals(mount, Duration::from_millis(20 + 30 * (seed % 8)), stop));
        }
    });
}

/// One that waits for a slow disk.
pub(crate) fn connect_patiently(address: &str) -> Client {
    Client::connect(ClientConfig::new(address)).unwrap()
}

/// One that gives up soon, so that everybody is done soon after a cut.
pub(crate) fn connect(address: &str) -> Option<Client> {
    let quick = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(50) };
    let config = ClientConfig::new(address).reconnect_backoff(quick).retry_backoff(quick);
    Client::connect(config.request_timeout(Duration::from_millis(1500))).ok()
}

/// Nothing is sent twice, so what is stored is what was sent, in order.
fn producer(client: &Client, acks: Acks) -> Producer {
    let config = ProducerConfig::new().acks(acks).retries(0).batch_bytes(4 << 10);
    client.producer(config.delivery_timeout(Duration::from_millis(1500))).unwrap()
}

fn produce(
    address: &str,
    stream: &Stream,
    ledger: &Mutex<Ledger>,
    pace: Pace,
    mut random: Random,
    stop: &AtomicBool,
) {
    let Some(client) = connect(address) else { return };
    let producer = producer(&client, stream.acks);
    let flushes = matches!(stream.kind, Kind::Fsync | Kind::Compacted);
    let pause_ms = if flushes && pace == Pace::Rare { 300 } else { 4 };
    let mut under_way = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..=random.up_to(8) {
            let number = {
                let mut ledger = ledger.lock().unwrap();
                ledger.next += 1;
                ledger.next - 1
            };
            let (value, key) = (stream.value(number), stream.key(number));
            let mut record = ProducerRecord::to(stream.topic).partition(stream.partition).value(&value);
            if let Some(key) = &key {
                record = record.key(key);
            }
            let Ok(delivery) = producer.send(record) else { return settle_all(ledger, under_way) };
            under_way.push_back((number, delivery));
        }
        std::thread::sleep(Duration::from_millis(random.up_to(pause_ms)));
        while under_way.len() > 200 || under_way.front().is_some_and(|(_, first)| first.get().is_some()) {
            settle_all(ledger, under_way.pop_front());
        }
    }
    settle_all(ledger, under_way);
}

/// Notes what became of these records. One that a slow disk did not take in time is not acknowledged, and no more.
fn settle_all(ledger: &Mutex<Ledger>, under_way: impl IntoIterator<Item = (u64, Delivery)>) {
    for (number, delivery) in under_way {
        if let Ok(delivered) = delivery.wait() {
            ledger.lock().unwrap().acknowledged(delivered.offset.unwrap().get(), number);
        }
    }
}

/// Notes what a consumer of fsync topics sees.
fn consume(address: &str, known: &Known, stop: &AtomicBool) {
    let Some(client) = connect(address) else { return };
    let config = ConsumerConfig::new().wait_max(Duration::from_millis(50));
    let mut consumer = client.consumer(config).unwrap();
    let shown: Vec<_> =
        STREAMS.iter().zip(&known.ledgers).filter(|(one, _)| one.shows_what_stays()).collect();
    consumer.assign(shown.iter().map(|(stream, _)| (stream.place(), Position::Latest)));
    while !stop.load(Ordering::Relaxed) {
        let Ok(records) = consumer.poll(Duration::from_millis(50)) else { return };
        let Some(records) = records else { continue };
        let of = |one: &&(&Stream, _)| one.0.place() == *records.topic_partition();
        let (stream, ledger) = shown.iter().find(of).unwrap();
        for record in &records {
            let number = stream.number(record.value.unwrap()).expect("as it was sent");
            ledger.lock().unwrap().seen(record.offset.get(), number);
        }
    }
}

/// Makes topics, puts a record into each, and deletes all but a few.
fn churn(address: &str, churned: &Mutex<Churned>, stop: &AtomicBool) {
    let Some(client) = connect(address) else { return };
    let producer = producer(&client, Acks::All);
    let say = |name: &str, said| churned.lock().unwrap().said.insert(name.to_owned(), said);
    while !stop.load(Ordering::Relaxed) {
        let (number, name) = {
            let mut churned = churned.lock().unwrap();
            churned.next += 1;
            (churned.next, format!("churn-{}", churned.next))
        };
        say(&name, Said::Nothing);
        if client.admin().create_topic(NewTopic::new(&name, 2)).wait().is_err() {
            return;
        }
        say(&name, Said::Created);
        let record = ProducerRecord::to(&name).partition(0).value("kept");
        if producer.send(record).is_ok_and(|delivery| delivery.wait().is_ok()) {
            say(&name, Said::Stored);
        }
        if number.is_multiple_of(8) {
            continue;
        }
        say(&name, Said::Nothing);
        if client.admin().delete_topic(&name).wait().is_err() {
            return;
        }
        say(&name, Said::Deleted);
    }
}

/// Syncs a file of its own again and again: the file system writes its journal, and with it the lengths of files whose
/// bytes are not there yet.
fn commit_journals(mount: &Path, pause: Duration, stop: &AtomicBool) {
    let Ok(mut file) = File::create(mount.join("other")) else { return };
    while !stop.load(Ordering::Relaxed) {
        if file.write_all(&[1; 100]).and_then(|()| file.sync_all()).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
}
