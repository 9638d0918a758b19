//! What a broker does with its metadata, one thing at a time: topics that are made, grown, altered and deleted, and a
//! setting that belongs to none.

use folio_storage::data_dir::{NewTopic, TopicError};
use folio_storage::files::sim::Random;
use folio_storage::log::{CompactionOptions, DirtyRatio};
use folio_storage::metadata::{CommitError, Key, Operation, Transaction, Value};
use folio_storage::{LogOptions, Visibility};
use uuid::Uuid;

use crate::model::Partition;
use crate::trouble::Kind;
use crate::weakness::Weakness;
use crate::world::{Outcome, Setting, Topic, World, ensure};

impl World {
    pub(crate) fn put_setting(&mut self) -> Outcome {
        let Some(dir) = &self.dir else { return Ok(()) };
        let node = self.random.up_to(2) as u32;
        self.number += 1;
        // Some are larger than a page, and lie in one that no later transaction writes to.
        let size = [10, 100, 9000][self.random.up_to(2) as usize];
        let text = format!("{} {}", self.number, "y".repeat(size));
        let value = Value::Broker(vec![("k".to_owned(), text)]);
        let operations = vec![Operation::Put(Key::Broker(Some(node)), value.clone())];
        let transaction = Transaction { compares: Vec::new(), operations };
        match dir.commit(transaction, self.now()) {
            Ok(_) => {
                self.settings.insert(node, Setting { promised: Some(value), attempted: None });
                Ok(())
            }
            Err(error) => {
                let is_full = matches!(error, folio_storage::metadata::CommitError::Full { .. });
                let kind = if is_full { Kind::Full } else { Kind::Fatal };
                if self.trouble("a setting", kind, &error)? == Kind::Fatal {
                    self.settings.entry(node).or_default().attempted = Some(value);
                }
                Ok(())
            }
        }
    }

    pub(crate) fn alter(&mut self, topic: usize) -> Outcome {
        let visibility = self.visibility(topic);
        let compaction = self.topics[topic].options.compaction;
        let options = options(&mut self.random, visibility, compaction);
        for (number, _, log) in self.online() {
            if number == topic {
                log.set_options(options.clone());
            }
        }
        self.topics[topic].options = options;
        Ok(())
    }

    pub(crate) fn create_topic(&mut self) -> Outcome {
        if self.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() >= PARTITIONS_MAX {
            return Ok(());
        }
        let name = ["a", "b", "c"][self.random.up_to(2) as usize].to_owned();
        self.number += 1;
        let uuid = Uuid::from_u128(u128::from(self.number) + 1000);
        let visibility = if self.random.percent(70) { Visibility::Flushed } else { Visibility::Appended };
        let is_certain = self.chances.compacted == 100;
        let mut compaction = self.random.percent(self.chances.compacted).then(|| CompactionOptions {
            min_lag_ms: [0, 5000][self.random.up_to(1) as usize],
            max_lag_ms: None,
            dirty_ratio_min: DirtyRatio::new(if is_certain { 0.0 } else { 0.5 }),
            delete_retention_ms: [0, 3000, 1_000_000][self.random.up_to(2) as usize],
        });
        let tombstones_ms = compaction.map(|compaction| compaction.delete_retention_ms as i64);
        if let Some(compaction) = &mut compaction
            && self.seam.weakness() == Weakness::ForgetsHorizons
        {
            compaction.delete_retention_ms = 0;
        }
        let options = options(&mut self.random, visibility, compaction);
        let count = 1 + self.random.up_to(2) as usize;
        self.seam.note(|| format!("create {name} with {count} partitions"));
        let new = NewTopic { name: name.clone(), uuid, partitions: count as u32, settings: Vec::new() };
        let created = self.dir.as_ref().ok_or("no directory")?.create_topic(new, &options, self.now());
        let mut topic = Topic {
            name: name.clone(),
            uuid,
            created_ms: self.clock,
            options,
            tombstones_ms,
            is_timeless: self.random.percent(10),
            partitions: Vec::new(),
            attempted_partitions: None,
            is_unsure: false,
        };
        topic.partitions.resize_with(count, || Partition::new(tombstones_ms));
        match created {
            Ok(logs) => {
                ensure!(
                    !self.topics.iter().any(|known| known.name == name && !known.is_unsure),
                    "made twice"
                );
                for (partition, log) in topic.partitions.iter_mut().zip(logs) {
                    partition.epoch = log.leader_epoch().get();
                    partition.log = Some(log);
                }
            }
            Err(TopicError::Exists { .. }) => {
                ensure!(self.topics.iter().any(|known| known.name == name), "{name} does not exist");
                return Ok(());
            }
            Err(error) => {
                self.topic_trouble("making a topic", &error)?;
                topic.is_unsure = true;
            }
        }
        self.topics.push(topic);
        Ok(())
    }

    pub(crate) fn delete_topic(&mut self, number: usize) -> Outcome {
        let name = self.topics[number].name.clone();
        self.seam.note(|| format!("delete {name}"));
        let deleted = self.dir.as_ref().ok_or("no directory")?.delete_topic(&name, self.now());
        match deleted {
            Ok(uuid) => {
                ensure!(uuid == self.topics[number].uuid, "another topic was deleted");
                self.topics.remove(number);
                Ok(())
            }
            Err(error) => {
                self.topic_trouble("deleting a topic", &error)?;
                self.topics[number].is_unsure = true;
                Ok(())
            }
        }
    }

    pub(crate) fn grow_topic(&mut self, number: usize) -> Outcome {
        let topic = &self.topics[number];
        let (uuid, count) = (topic.uuid, topic.partitions.len() + 1);
        if self.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() >= PARTITIONS_MAX {
            return Ok(());
        }
        self.seam.note(|| format!("grow {} to {count} partitions", topic.name));
        let dir = self.dir.as_ref().ok_or("no directory")?;
        let options = topic.options.clone();
        let grown = dir.growth(uuid, count as u32).and_then(|transaction| {
            let committed = dir.commit(transaction, self.now());
            committed.map_err(|error| match error {
                CommitError::Full { .. } => TopicError::Full { dir: "".into() },
                error => TopicError::Metadata(error),
            })?;
            let made = dir.make_partitions(uuid, &options, self.now());
            if let Err(TopicError::Full { .. }) = &made {
                // If even this finds no room, the next start makes them.
                let _ = dir.give_up_growth(uuid, self.now());
            }
            made
        });
        match grown {
            Ok(logs) => {
                for log in logs {
                    let mut partition = Partition::new(self.topics[number].tombstones_ms);
                    partition.epoch = log.leader_epoch().get();
                    partition.log = Some(log);
                    self.topics[number].partitions.push(partition);
                }
                let there = self.topics[number].partitions.len();
                ensure!(there == count, "{there} partitions where {count} were asked for");
                self.topics[number].attempted_partitions = None;
                Ok(())
            }
            Err(error) => {
                self.topic_trouble("growing a topic", &error)?;
                self.topics[number].attempted_partitions = Some(count);
                Ok(())
            }
        }
    }

    fn topic_trouble(&mut self, what: &str, error: &TopicError) -> Outcome<Kind> {
        let kind = match error {
            TopicError::Full { .. } | TopicError::Exhausted(_) => Kind::Full,
            TopicError::Io { .. } | TopicError::Metadata(_) => Kind::Fatal,
            _ => return Err(format!("{what}: {error}")),
        };
        self.trouble(what, kind, error)
    }
}

/// How a topic's logs are kept.
fn options(random: &mut Random, visibility: Visibility, compaction: Option<CompactionOptions>) -> LogOptions {
    let pick = |random: &mut Random, of: &[u64]| of[random.up_to(of.len() as u64 - 1) as usize];
    LogOptions {
        compaction,
        segment_bytes: pick(random, &[1024, 2048, 6000, 20_000]) as u32,
        segment_ms: Some(pick(random, &[10_000, 1_000_000])),
        retention_bytes: random.percent(40).then(|| pick(random, &[1500, 10_000])),
        retention_ms: random.percent(40).then(|| pick(random, &[20_000, 100_000])),
        batch_size_max: 8192,
        index_interval: pick(random, &[256, 1024]) as u32,
        visibility,
        producer_expiration_ms: u64::MAX,
        snapshot_interval: pick(random, &[1000, 1 << 20]),
        ..LogOptions::default()
    }
}

const PARTITIONS_MAX: usize = 7;
