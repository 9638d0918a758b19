//! What clients know of a partition: written elsewhere than on the disk whose power goes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use folio_client::{Acks, Client, ConsumerConfig, OffsetSpec, Position, TopicPartition};
use folio_storage::files::sim::Random;

/// One partition, and its one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) topic: &'static str,
    pub(crate) partition: u32,
    pub(crate) acks: Acks,
    pub(crate) kind: Kind,
}

/// What the topic is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fsync,
    Interval,
    Os,
    Compacted,
}

impl Stream {
    /// Whether an acknowledgement says that a power cut takes nothing.
    pub(crate) fn promises(&self) -> bool {
        self.acks == Acks::All && matches!(self.kind, Kind::Fsync | Kind::Compacted)
    }

    /// Whether what a consumer has seen stays.
    pub(crate) fn shows_what_stays(&self) -> bool {
        self.kind == Kind::Fsync
    }

    pub(crate) fn place(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// The value of a record: its number, and bytes that only this one has. Some are zeros for whole sectors, as a hole
    /// would be.
    pub(crate) fn value(&self, number: u64) -> Vec<u8> {
        let mut random = Random::new(number << 8 | u64::from(self.partition) << 4 | self.topic.len() as u64);
        let mut value = format!("{}:{}:{number}:", self.topic, self.partition).into_bytes();
        let len = value.len() + random.up_to(if random.clone().percent(10) { 6000 } else { 900 }) as usize;
        let zeros = random.percent(5);
        while value.len() < len {
            value.extend(if zeros { [0; 8] } else { random.next().to_le_bytes() });
        }
        value.truncate(len);
        value
    }

    /// The number of the record with this value.
    pub(crate) fn number(&self, value: &[u8]) -> Option<u64> {
        let head = format!("{}:{}:", self.topic, self.partition);
        let rest = value.strip_prefix(head.as_bytes())?;
        let digits = &rest[..rest.iter().position(|byte| *byte == b':')?];
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (self.value(number) == value).then_some(number)
    }

    /// The key of a record, where the topic is compacted.
    pub(crate) fn key(&self, number: u64) -> Option<String> {
        (self.kind == Kind::Compacted).then(|| (number % 40).to_string())
    }
}

/// What is taken for a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// What is one.
    Promises,
    /// Every acknowledgement: the negative control.
    Anything,
}

/// What was said about one stream.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Whether an acknowledgement is a promise.
    promises: bool,
    /// The number of the next record.
    pub(crate) next: u64,
    /// Records by offset that are there for good: acknowledged so, or seen by a consumer of an fsync topic.
    promised: BTreeMap<i64, u64>,
    /// Records by offset that were acknowledged, and may be lost, the last ones first.
    claimed: BTreeMap<i64, u64>,
    /// When those were acknowledged, at the latest.
    claimed_at: VecDeque<(Instant, i64)>,
    log_start: i64,
    epoch: i32,
}

/// What a look into a broker has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Acknowledged records that were looked up.
    pub(crate) checked: usize,
    /// Records that were promised and are not there.
    pub(crate) broken: usize,
    /// Records that were acknowledged without a promise, and are not there.
    pub(crate) lost: usize,
}

impl Ledger {
    pub(crate) fn new(stream: &Stream, trust: Trust) -> Self {
        Self { promises: stream.promises() || trust == Trust::Anything, ..Self::default() }
    }

    /// How many were acknowledged or seen, and not found lost or removed.
    pub(crate) fn records(&self) -> usize {
        self.promised.len() + self.claimed.len()
    }

    pub(crate) fn acknowledged(&mut self, offset: i64, number: u64) {
        if self.promises {
            self.promised.insert(offset, number);
        } else {
            self.claimed.insert(offset, number);
            self.claimed_at.push_back((Instant::now(), offset));
        }
    }

    /// What was acknowledged before this is there for good: the interval in which it is flushed is over. How many those
    /// are.
    pub(crate) fn expect_flushed(&mut self, before: Instant) -> usize {
        let had = self.promised.len();
        while let Some((_, offset)) = self.claimed_at.pop_front_if(|(at, _)| *at < before) {
            self.promised.extend(self.claimed.remove_entry(&offset));
        }
        self.promised.len() - had
    }

    pub(crate) fn seen(&mut self, offset: i64, number: u64) {
        let before = self.promised.insert(offset, number);
        assert!(before.is_none_or(|before| before == number), "offset {offset} was {before:?}, is {number}");
    }

    /// Holds what a broker has after a power cut against what it said before.
    pub(crate) fn check(&mut self, stream: &Stream, client: &Client, when: &str) -> Found {
        let when = format!("{when}, {}", stream.place());
        let description = client.admin().describe_topic(stream.topic).wait().unwrap();
        let now = &description.partitions[stream.partition as usize];
        assert!(now.trouble.is_none(), "{when}: {:?}", now.trouble);
        assert!(now.leader_epoch > self.epoch, "{when}: epoch {} after {}", now.leader_epoch, self.epoch);
        assert!(now.log_start.get() >= self.log_start, "{when}: what was removed has come back");
        (self.epoch, self.log_start) = (now.leader_epoch, now.log_start.get());
        let (stored, log_start, end) = read(stream, client, &when);
        self.promised.retain(|offset, _| *offset >= log_start);
        self.claimed.retain(|offset, _| *offset >= log_start);
        self.in_order(stream, &stored, log_start, end, &when);
        let mut found = Found { checked: self.records(), ..Found::default() };
        if stream.kind == Kind::Compacted {
            found.broken = self.superseded(stream, &stored).len();
        } else {
            let missing = |said: &BTreeMap<i64, u64>| said.keys().filter(|offset| **offset >= end).count();
            (found.broken, found.lost) = (missing(&self.promised), missing(&self.claimed));
            for (offset, number) in self.promised.iter().chain(&self.claimed).filter(|said| *said.0 < end) {
                assert_eq!(stored.get(offset), Some(number), "{when}: offset {offset} has changed");
            }
        }
        // These offsets are given again.
        drop((self.promised.split_off(&end), self.claimed.split_off(&end)));
        self.claimed_at.clear();
        found
    }

    /// Whatever is stored was sent, once, in this order, without a gap where nothing may be missing.
    fn in_order(&self, stream: &Stream, stored: &BTreeMap<i64, u64>, log_start: i64, end: i64, when: &str) {
        let numbers: Vec<u64> = stored.values().copied().collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{when}: out of order, or doubled");
        assert!(numbers.last().is_none_or(|last| *last < self.next), "{when}: nobody has sent that");
        if stream.kind != Kind::Compacted {
            assert_eq!(stored.len() as i64, end - log_start, "{when}: records are missing in between");
        }
    }

    /// Keys whose last promised record is gone, and no later one is there.
    fn superseded(&self, stream: &Stream, stored: &BTreeMap<i64, u64>) -> Vec<String> {
        let last = |records: &BTreeMap<i64, u64>| {
            let keyed = records.values().filter_map(|number| Some((stream.key(*number)?, *number)));
            keyed.collect::<BTreeMap<_, _>>()
        };
        let there = last(stored);
        let promised = last(&self.promised).into_iter();
        promised.filter(|(key, number)| there.get(key) < Some(number)).map(|(key, _)| key).collect()
    }
}

/// The numbers of all records of a stream by offset, with where its log begins and ends.
fn read(stream: &Stream, client: &Client, when: &str) -> (BTreeMap<i64, u64>, i64, i64) {
    let place = stream.place();
    let offset_of = |spec| {
        let listed = client.admin().list_offsets([(place.clone(), spec)]).wait().unwrap();
        listed[0].clone().unwrap().unwrap().offset.get()
    };
    let end = offset_of(OffsetSpec::Latest);
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    consumer.assign([(place.clone(), Position::Earliest)]);
    let mut stored = BTreeMap::new();
    let mut next = if end == offset_of(OffsetSpec::Earliest) { end } else { 0 };
    while next < end {
        let records =
            consumer.poll(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{when}: {error}"));
        let records = records.unwrap_or_else(|| panic!("{when}: nothing comes at {next} of {end}"));
        for record in &records {
            let number = stream.number(record.value.unwrap());
            let number = number.unwrap_or_else(|| panic!("{when}: not as sent at {}", record.offset));
            stored.insert(record.offset.get(), number);
        }
        next = records.next_offset().get();
    }
    // Retention may have gone on meanwhile.
    let log_start = offset_of(OffsetSpec::Earliest);
    (stored.split_off(&log_start), log_start, end)
}
