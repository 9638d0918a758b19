//! What a life's client was told, and whether a later daemon keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use folio_client::{
    CallError, Client, ClientConfig, ConsumerConfig, GroupConfig, OffsetSpec, OutOfRange, Position,
    TopicPartition,
};
use folio_tests::daemon::Daemon;

/// A topic that lives use.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) partitions: u32,
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

/// Topics of each kind: all segments are of a few batches.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "synced", partitions: 2, settings: &[("durability", "fsync")] },
    Topic { name: "cached", partitions: 1, settings: &[("durability", "os")] },
    Topic {
        name: "keyed",
        partitions: 1,
        settings: &[
            ("durability", "fsync"),
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0"),
            ("segment.ms", "100"),
        ],
    },
    Topic { name: "short", partitions: 1, settings: &[("durability", "os"), ("retention.bytes", "4096")] },
    Topic { name: "doomed", partitions: 1, settings: &[("durability", "fsync")] },
];

/// What `short` keeps at least, once something went.
const SHORT_BYTES: usize = 4096;

pub(crate) const GROUP: &str = "readers";

/// A record that was handed to a producer.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) value: String,
    /// When, in seconds since 1970.
    pub(crate) at: f64,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// None, or an error: it may be stored or not.
    None,
    /// It is stored, and nobody said where.
    Stored,
    /// It is stored at this offset.
    At(i64),
}

/// Whether there is a topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Standing {
    /// It was asked for, without an answer.
    Coming,
    There,
    /// Its end was asked for, without an answer.
    Going,
    Gone,
}

/// Everything that a client asked for, and what it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    pub(crate) sent: BTreeMap<(&'static str, u32), Vec<Sent>>,
    pub(crate) topics: BTreeMap<&'static str, Standing>,
    /// Offsets of the group in `synced` 0: those that were asked for, and whether they were acknowledged.
    pub(crate) committed: Vec<(i64, bool)>,
    /// Calls that had no answer in time from a daemon that lives.
    pub(crate) unanswered: Vec<String>,
    /// What was answered by an error.
    pub(crate) refused: usize,
}

/// Where a log starts and ends, and its records: offset, key, value.
type Log = (i64, i64, Vec<(i64, String, String)>);

/// What a daemon has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    pub(crate) logs: BTreeMap<(String, u32), Log>,
    pub(crate) committed: Option<i64>,
}

const LIMIT: Duration = Duration::from_secs(60);

impl Stored {
    /// Reads everything there is.
    pub(crate) fn of(daemon: &Daemon) -> Result<Self, String> {
        let stored = Self::of_logs(daemon)?;
        Ok(Self { committed: committed(daemon)?, ..stored })
    }

    /// The same, where nobody ever committed anything if nothing of that is promised: to ask for it makes a topic.
    pub(crate) fn of_promises(daemon: &Daemon, promises: &Promises) -> Result<Self, String> {
        let is_committed = promises.committed.iter().any(|(_, is_sure)| *is_sure);
        if is_committed { Self::of(daemon) } else { Self::of_logs(daemon) }
    }

    fn of_logs(daemon: &Daemon) -> Result<Self, String> {
        let fails = |what: &str, why: &dyn std::fmt::Display| format!("lost: {what}: {why}");
        let client = Client::connect(ClientConfig::new(daemon.address()).request_timeout(LIMIT))
            .map_err(|error| fails("nobody answers", &error))?;
        let listed = client.admin().list_topics(false).wait().map_err(|error| fails("no topics", &error))?;
        let mut stored = Self::default();
        for topic in &listed {
            for number in 0..topic.partitions {
                let place = TopicPartition::new(topic.name.as_str(), number);
                let log = read(&client, &place)?;
                stored.logs.insert((topic.name.clone(), number), log);
            }
        }
        Ok(stored)
    }
}

impl Stored {
    /// Whether it is the same, but for what compaction and retention take by themselves.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let lasting = |stored: &Self| {
            let logs = stored.logs.iter().filter(|((topic, _), _)| topic != "keyed" && topic != "short");
            let ends =
                stored.logs.iter().map(|(place, (_, end, _))| (place.clone(), *end)).collect::<Vec<_>>();
            (
                logs.map(|(place, log)| (place.clone(), log.clone())).collect::<Vec<_>>(),
                ends,
                stored.committed,
            )
        };
        lasting(self) == lasting(other)
    }
}

/// Where the group is.
fn committed(daemon: &Daemon) -> Result<Option<i64>, String> {
    let fails = |what: &str, why: &dyn std::fmt::Display| format!("lost: {what}: {why}");
    let client = Client::connect(ClientConfig::new(daemon.address()).request_timeout(LIMIT))
        .map_err(|error| fails("nobody answers", &error))?;
    let consumer = client.consumer(ConsumerConfig::new().group(GroupConfig::new(GROUP)));
    let consumer = consumer.map_err(|error| fails("the group", &error))?;
    // A coordinator that has just started may still be loading.
    let deadline = Instant::now() + LIMIT;
    let committed = loop {
        match consumer.committed(&[TopicPartition::new("synced", 0)]).wait() {
            Err(CallError::Refused(refusal)) if refusal.code.is_retriable() && Instant::now() < deadline => {}
            committed => break committed.map_err(|error| fails("the group", &error))?,
        }
    };
    Ok(committed.first().cloned().flatten().map(|one| one.offset.get()))
}

fn read(client: &Client, place: &TopicPartition) -> Result<Log, String> {
    let fails = |why: &dyn std::fmt::Display| format!("lost: {place} cannot be read: {why}");
    let offset = |spec: OffsetSpec| {
        let listed =
            client.admin().list_offsets([(place.clone(), spec)]).wait().map_err(|error| fails(&error))?;
        let one =
            listed.into_iter().next().ok_or_else(|| fails(&"no answer"))?.map_err(|error| fails(&error))?;
        Ok::<i64, String>(one.map_or(0, |one| one.offset.get()))
    };
    let end = offset(OffsetSpec::Latest)?;
    let config = ConsumerConfig::new().streaming(false).out_of_range(OutOfRange::Earliest);
    let mut consumer = client.consumer(config).map_err(|error| fails(&error))?;
    consumer.assign([(place.clone(), Position::Earliest)]);
    let (mut next, mut records) = (0, Vec::new());
    while next < end {
        let polled = consumer.poll(LIMIT).map_err(|error| fails(&error))?;
        let polled = polled.ok_or_else(|| fails(&format!("nothing comes at {next} of {end}")))?;
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        records.extend(polled.iter().map(|one| (one.offset.get(), text(one.key), text(one.value))));
        next = polled.next_offset().get();
    }
    // Retention may have gone on meanwhile.
    let start = offset(OffsetSpec::Earliest)?;
    records.retain(|(offset, ..)| *offset >= start);
    Ok((start, end, records))
}

impl Promises {
    /// Records that are promised.
    pub(crate) fn acknowledged(&self) -> usize {
        self.sent.values().flatten().filter(|sent| sent.answer != Answer::None).count()
    }

    /// What is not as it was promised.
    pub(crate) fn broken_by(&self, stored: &Stored) -> Vec<String> {
        let mut broken = Vec::new();
        for (topic, standing) in &self.topics {
            let is_there = stored.logs.keys().any(|(name, _)| name == topic);
            if *standing == Standing::There && !is_there {
                broken.push(format!("lost: topic {topic} was made and is not there"));
            }
            if *standing == Standing::Gone && is_there {
                broken.push(format!("wrong: topic {topic} was deleted and is there"));
            }
        }
        for ((topic, partition), (start, end, records)) in &stored.logs {
            let Some((place, sent)) =
                self.sent.iter().find(|(place, _)| place.0 == topic && place.1 == *partition)
            else {
                if !records.is_empty() {
                    broken.push(format!("wrong: nobody wrote to {topic}-{partition}: {records:?}"));
                }
                continue;
            };
            broken.extend(log_broken(place.0, sent, *start, *end, records).into_iter().map(|what| {
                let (kind, what) = what.split_once(": ").unwrap_or(("wrong", &what));
                format!("{kind}: {topic}-{partition}: {what}")
            }));
        }
        let promised = self.committed.iter().filter(|(_, is_sure)| *is_sure).map(|(offset, _)| *offset).max();
        if stored.committed < promised {
            broken.push(format!("lost: the group was at {promised:?}, is at {:?}", stored.committed));
        }
        if stored.committed.is_some_and(|at| !self.committed.iter().any(|(offset, _)| *offset == at)) {
            broken.push(format!("wrong: nobody committed {:?}", stored.committed));
        }
        broken
    }
}

/// What is wrong with one log.
fn log_broken(
    topic: &str,
    sent: &[Sent],
    start: i64,
    end: i64,
    records: &[(i64, String, String)],
) -> Vec<String> {
    let mut broken = Vec::new();
    let is_compacted = topic == "keyed";
    let known: BTreeMap<&str, usize> =
        sent.iter().enumerate().map(|(number, one)| (one.value.as_str(), number)).collect();
    // Every stored record was sent, is stored once, and where its producer meant it to be: behind what was sent before.
    let (mut last, mut seen) = (None, BTreeSet::new());
    for (offset, key, value) in records {
        let Some(&number) = known.get(value.as_str()) else {
            broken.push(format!("wrong: at {offset} stands what nobody sent: {value:?}"));
            continue;
        };
        if sent[number].key != *key {
            broken.push(format!("wrong: at {offset} stands the key {key:?} and not {:?}", sent[number].key));
        }
        if !seen.insert(number) || last.is_some_and(|last| number < last) {
            broken.push(format!("wrong: {number} at {offset} is doubled or out of order"));
        }
        last = Some(number);
    }
    let offsets: Vec<i64> = records.iter().map(|record| record.0).collect();
    if !is_compacted && !offsets.iter().copied().eq(start..end) {
        broken.push(format!("lost: offsets {offsets:?} are not those from {start} to {end}"));
    }
    if topic == "short" {
        let bytes: usize = records.iter().map(|(_, key, value)| key.len() + value.len() + 100).sum();
        if start > 0 && bytes < SHORT_BYTES {
            broken.push(format!("lost: {bytes} bytes are left from {start} on"));
        }
    } else if start > 0 {
        broken.push(format!("lost: it begins at {start}"));
    }
    let at: BTreeMap<i64, &str> =
        records.iter().map(|(offset, _, value)| (*offset, value.as_str())).collect();
    for (number, one) in sent.iter().enumerate() {
        let is_there = match one.answer {
            Answer::None => true,
            Answer::Stored => seen.contains(&number),
            Answer::At(offset) if is_compacted => {
                at.get(&offset).is_some_and(|value| *value == one.value)
                    || records.iter().any(|(later, key, _)| *later > offset && *key == one.key)
            }
            Answer::At(offset) => offset < start || at.get(&offset).is_some_and(|value| *value == one.value),
        };
        if !is_there {
            broken.push(format!("lost: {number} was acknowledged {:?}; the log ends at {end}", one.answer));
        }
    }
    broken
}
