//! A short life of a daemon, as its clients see it: topics come, grow, are compacted and go, groups commit.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use folio_client::{
    Acks, Client, ClientConfig, CommittedOffset, ConfigChange, ConfigResource, Consumer, ConsumerConfig,
    Delivery, GroupConfig, NewTopic, Offset, Producer, ProducerConfig, ProducerRecord, TopicPartition,
};
use folio_tests::daemon::Daemon;

use crate::promises::{Answer, GROUP, Promises, Sent, Standing, TOPICS};

/// How a daemon lives quickly: a thread of each kind, small segments, everything soon.
pub(crate) const SETTINGS: [&str; 20] = [
    "--set",
    "loop.threads=1",
    "--set",
    "lane.threads=1",
    "--set",
    "read.threads=1",
    "--set",
    "maintenance.interval.ms=20",
    "--set",
    "slots.sync.ms=20",
    "--set",
    "disk.min.free=0",
    "--set",
    "group.initial.rebalance.delay.ms=0",
    "--set",
    "offsets.topic.num.partitions=1",
    "--set",
    "topic.segment.bytes=4096",
    "--set",
    "shutdown.timeout.ms=10000",
];

/// How long the client tries: as long as an answer takes that tells of a full disk, for it tries again till then.
const LIMIT: Duration = Duration::from_secs(15);

/// How long its word may take after that on a busy machine.
const OVERDUE: Duration = Duration::from_secs(60);

/// How long a topic may be unknown to a producer, who does not know whether its broker is still there.
const UNKNOWN: Duration = Duration::from_secs(3);

/// How long an answer may be on its way when the daemon has ended.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// How much a life does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often it sends to every partition.
    pub(crate) rounds: usize,
    /// Whether answers are waited for; if not, that something was sent counts as one.
    pub(crate) is_answered: bool,
    /// Whether it commits once more after it was refused, for which it has waited long.
    pub(crate) is_patient: bool,
}

pub(crate) const WHOLE: Plan = Plan { rounds: 5, is_answered: true, is_patient: true };

/// A little, to see whether a daemon that started is good for something.
pub(crate) const SHORT: Plan = Plan { rounds: 1, ..WHOLE };

/// Records of one round in each partition.
const RECORDS: usize = 5;

/// How long is waited for what the broker does by itself.
const BY_ITSELF: Duration = Duration::from_millis(700);

/// The number of the moment in which a [`WHOLE`] life has done all that it does; the one before it is when it begins to
/// wait for compaction, and those before that one are when its rounds begin.
pub(crate) const LAST_MOMENT: usize = WHOLE.rounds + 1;

/// Uses the daemon until all is done or it has ended. `comes` is told of each moment.
pub(crate) fn live(
    daemon: &mut Daemon,
    promises: &mut Promises,
    plan: Plan,
    comes: &mut dyn FnMut(&Daemon, usize),
) {
    let config = ClientConfig::new(daemon.address()).request_timeout(LIMIT);
    let Ok(client) = Client::connect(config) else { return };
    let mut life = Life { daemon, promises, client: &client };
    let producer = |acks| {
        let config = ProducerConfig::new().acks(acks).retries(0).batch_bytes(1200).delivery_timeout(LIMIT);
        client.producer(config.block_max(UNKNOWN)).expect("a configuration that there is")
    };
    let (all, leader) = match plan.is_answered {
        true => (producer(Acks::All), producer(Acks::Leader)),
        false => (producer(Acks::None), producer(Acks::None)),
    };
    let group = ConsumerConfig::new().group(GroupConfig::new(GROUP));
    let group = client.consumer(group).expect("a configuration that there is");
    life.create();
    for round in 0..plan.rounds {
        comes(life.daemon, round);
        for topic in TOPICS {
            let producer = if topic.settings.contains(&("durability", "os")) { &leader } else { &all };
            for partition in 0..topic.partitions {
                life.produce(producer, topic.name, partition, plan);
            }
        }
        if plan.is_patient || life.promises.committed.iter().all(|(_, is_sure)| *is_sure) {
            life.commit(&group);
        }
        if round + 2 == plan.rounds {
            life.delete("doomed");
            life.retain();
        }
    }
    if plan.rounds > 1 {
        comes(life.daemon, plan.rounds);
        life.wait_for_compaction();
        comes(life.daemon, plan.rounds + 1);
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

struct Life<'a> {
    daemon: &'a mut Daemon,
    promises: &'a mut Promises,
    client: &'a Client,
}

impl Life<'_> {
    fn is_over(&mut self) -> bool {
        self.daemon.ended_within(Duration::ZERO).is_some()
    }

    /// Waits for an answer. There is none any more some time after the daemon has ended.
    fn answer<T>(&mut self, what: &str, mut poll: impl FnMut(Duration) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + LIMIT + OVERDUE;
        loop {
            if let Some(answer) = poll(Duration::from_millis(20)) {
                return Some(answer);
            }
            if self.is_over() {
                return poll(AFTERWARDS);
            }
            if Instant::now() > deadline {
                self.promises.unanswered.push(what.to_owned());
                return None;
            }
        }
    }

    /// Asks for something; whether it was done.
    fn ask<T>(&mut self, what: &str, mut call: folio_client::Call<T>) -> bool {
        let answer = self.answer(what, |limit| call.wait_for(limit));
        if let Some(Err(error)) = &answer {
            self.refused(what, &matches!(error, folio_client::CallError::TimedOut { .. }), error);
        }
        matches!(answer, Some(Ok(_)))
    }

    fn refused(&mut self, what: &str, is_late: &bool, why: &dyn std::fmt::Display) {
        self.promises.refused += 1;
        if *is_late && !self.is_over() {
            self.promises.unanswered.push(format!("{what}: {why}"));
        }
    }

    fn create(&mut self) {
        for topic in TOPICS {
            // One that may be there already is not made a second time.
            if self.promises.topics.contains_key(topic.name) || self.is_over() {
                continue;
            }
            self.promises.topics.insert(topic.name, Standing::Coming);
            let settings = topic.settings.iter();
            let new = settings.fold(NewTopic::new(topic.name, topic.partitions), |new, &(key, value)| {
                new.setting(key, value)
            });
            let call = self.client.admin().create_topic(new);
            if self.ask("create", call) {
                self.promises.topics.insert(topic.name, Standing::There);
            }
        }
    }

    fn delete(&mut self, topic: &'static str) {
        if self.promises.topics.get(topic) != Some(&Standing::There) || self.is_over() {
            return;
        }
        self.promises.topics.insert(topic, Standing::Going);
        let call = self.client.admin().delete_topic(topic);
        if self.ask("delete", call) {
            self.promises.topics.insert(topic, Standing::Gone);
        }
    }

    /// A setting of a topic is a transaction of its own.
    fn retain(&mut self) {
        if self.is_over() {
            return;
        }
        let keep = ConfigChange::Set("retention.ms".into(), "3600000".into());
        let call = self.client.admin().alter_configs(ConfigResource::Topic("cached".into()), [keep]);
        self.ask("alter", call);
    }

    fn produce(&mut self, producer: &Producer, topic: &'static str, partition: u32, plan: Plan) {
        if self.promises.topics.get(topic) != Some(&Standing::There) || self.is_over() {
            return;
        }
        let mut under_way: Vec<(usize, Delivery)> = Vec::new();
        for _ in 0..RECORDS {
            let sent = self.promises.sent.entry((topic, partition)).or_default();
            let number = sent.len();
            let (key, value) =
                (format!("k{}", number % 3), format!("{topic}-{partition} {number} {}", "x".repeat(500)));
            let record = ProducerRecord::to(topic).partition(partition).key(&key).value(&value);
            let at = now();
            match producer.send(record) {
                Ok(delivery) => {
                    sent.push(Sent { key, value, at, answer: Answer::None });
                    under_way.push((number, delivery));
                }
                Err(error) => {
                    self.refused("send", &false, &error);
                    return;
                }
            }
        }
        for (number, delivery) in under_way {
            let answer = match self.answer("produce", |limit| delivery.wait_for(limit)) {
                Some(Ok(delivered)) => delivered.offset.map_or(Answer::Stored, |at| Answer::At(at.get())),
                Some(Err(error)) => {
                    let is_late = matches!(
                        &error,
                        folio_client::DeliveryError::Failed {
                            source: folio_client::CallError::TimedOut { .. },
                            ..
                        }
                    );
                    self.refused("produce", &is_late, &error);
                    Answer::None
                }
                None => Answer::None,
            };
            if plan.is_answered && answer == Answer::Stored {
                self.promises.unanswered.push("an answer without an offset".to_owned());
            }
            if let Some(sent) = self.promises.sent.get_mut(&(topic, partition)) {
                sent[number].answer = answer;
            }
        }
    }

    fn commit(&mut self, group: &Consumer) {
        let Some(sent) = self.promises.sent.get(&("synced", 0)) else { return };
        let offset = sent.len() as i64;
        if self.is_over() {
            return;
        }
        self.promises.committed.push((offset, false));
        let offsets = [(TopicPartition::new("synced", 0), CommittedOffset::at(Offset::new(offset)))];
        let call = group.commit_offsets(offsets);
        if self.ask("commit", call)
            && let Some(last) = self.promises.committed.last_mut()
        {
            last.1 = true;
        }
    }

    /// Segments are closed, sealed, compacted and removed by the broker itself; a fault may prevent that.
    fn wait_for_compaction(&mut self) {
        let deadline = Instant::now() + BY_ITSELF;
        while Instant::now() < deadline && !self.is_over() {
            let mut call = self.client.admin().status(true);
            let Some(Ok(status)) = self.answer("status", |limit| call.wait_for(limit)) else { return };
            let removed = status.counters.iter().find(|(name, _)| name == "compaction.records.removed");
            if removed.is_some_and(|(_, count)| *count > 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
