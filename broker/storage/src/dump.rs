//! Looking into a data directory, offline or beside a running daemon: everything in it, item by item, decoded.
//!
//! Nothing is written and nothing locked. Beside a running daemon the end of a log may be a batch that is just being
//! written; it shows as what does not parse at the end, and the next look has it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use folio_record::{Batch, DecompressLimit, LeaderEpoch, Offset, Timestamp};
use serde::Serialize;

use crate::clean::{CLEAN_NAME, CLEAN_SIZE_MAX, CleanMarker};
use crate::compacted::Compacted;
use crate::data_dir::TOPICS_NAME;
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::epochs::{EPOCHS_NAME, Epochs};
use crate::files::{EntryKind, FileHandle, Files, OpenMode, read_file};
use crate::footer::Footer;
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};
use crate::metadata::{GroupChange, GroupChangeKind, Key, METADATA_LOG_NAME, Topic, TopicPhase, Value};
use crate::node::{NODE_META_NAME, NodeMeta};
use crate::partition::{PARTITION_META_NAME, PartitionMeta};
use crate::partition_files::{PartitionFile, SegmentFile};
use crate::producers::{Producers, SNAPSHOT_PRODUCERS_MAX};
use crate::recovery::read_compacted;
use crate::replacement::Replacement;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step};
use crate::slots::{HEADER_SIZE, SLOT_SIZE, SLOTS_NAME, SLOTS_PER_EXTENT, SlotCopy, slot_position};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// Also the records inside of batches.
    pub records: bool,
    /// Only the partition with this directory name (`access-0`).
    pub partition: Option<String>,
}

/// One thing in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "item", rename_all = "snake_case")]
#[allow(missing_docs)] // The fields are those of the formats, under their names there.
pub enum Item {
    /// `node.meta`.
    Node { directory: String, cluster: String, format: u32, created_ms: i64 },
    /// The clean marker; its rows follow.
    Clean { run_id: u64, partitions: u64 },
    /// A row of the clean marker.
    CleanPartition { partition: String, active_base: i64, log_len: u64, next_offset: i64 },
    /// A copy of a slot.
    Slot {
        slot: u32,
        copy: char,
        partition: String,
        seq: u64,
        leader_epoch: i32,
        segment_base: i64,
        durable_pos: u64,
        durable_offset: i64,
        log_start: i64,
        visible: i64,
        written_ms: i64,
        run_id: u64,
    },
    /// A record of the metadata log.
    Metadata {
        offset: i64,
        #[serde(flatten)]
        entry: MetadataEntry,
    },
    /// A partition's directory.
    Partition { dir: PathBuf, partition: String, slot: u32, created_ms: i64 },
    /// A leader epoch of a partition.
    Epoch { dir: PathBuf, epoch: i32, start: i64 },
    /// How far a partition was compacted.
    Compacted { file: PathBuf, gaps_below: i64, upto: i64 },
    /// A replacement of segments that is under way.
    Replacement { file: PathBuf, base: i64, next_base: i64, log_len: u64, old: Vec<i64> },
    /// A segment of a partition.
    Segment { file: PathBuf, base: i64, bytes: u64 },
    /// A batch of a segment.
    Batch {
        file: PathBuf,
        position: u64,
        bytes: u64,
        base_offset: i64,
        last_offset: i64,
        records: u32,
        leader_epoch: i32,
        compression: String,
        max_timestamp: i64,
        crc: u32,
        producer: i64,
        producer_epoch: i16,
        base_sequence: i32,
    },
    /// A record of a batch. Whoever shows it decides how bytes look.
    Record {
        offset: i64,
        timestamp: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// A snapshot of a partition's producers; they follow.
    Snapshot { file: PathBuf, end: i64, producers: u64 },
    /// A producer of a snapshot.
    Producer { file: PathBuf, producer: i64, epoch: i16, last_timestamp: i64 },
    /// One of its last batches.
    ProducerBatch {
        file: PathBuf,
        producer: i64,
        base_sequence: i32,
        last_sequence: i32,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
    },
    /// An entry of an offset index.
    OffsetEntry { file: PathBuf, number: u32, offset: i64, position: u32 },
    /// An entry of a time index.
    TimeEntry { file: PathBuf, number: u32, max_timestamp: i64, offset: i64 },
    /// What a sealed segment says of itself.
    Footer {
        file: PathBuf,
        entries: u32,
        log_len: u64,
        log_crc: u32,
        tail_crc: u32,
        first_offset: i64,
        next_offset: i64,
        max_timestamp: i64,
        max_timestamp_at: i64,
        min_timestamp: i64,
        batches: u32,
        min_epoch: i32,
        max_epoch: i32,
        has_gaps: bool,
        sealed_at_ms: i64,
    },
    /// Something that could not be read, or is not what it should be.
    Broken { file: PathBuf, position: u64, reason: String },
}

/// What a record of the metadata log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
#[allow(missing_docs)] // As above.
pub enum MetadataEntry {
    Build {
        build: Option<String>,
    },
    /// Which topic has this name; none any more, once it is deleted.
    TopicName {
        name: String,
        topic: Option<String>,
    },
    Topic {
        topic: String,
        #[serde(flatten)]
        state: Option<TopicState>,
    },
    /// What was set while brokers ran: on one node, or, without one, on all.
    Broker {
        node: Option<u32>,
        settings: Option<BTreeMap<String, String>>,
    },
    /// The first id that no producer was given.
    ProducerIds {
        next: Option<i64>,
    },
    /// What administrators replaced in a consumer group.
    GroupHistory {
        group: String,
        changes: Option<Vec<GroupChangeEntry>>,
    },
    /// Written by a build that knows more, or damaged.
    Unknown {
        reason: String,
    },
}

/// A change that an administrator made to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct GroupChangeEntry {
    pub at_ms: i64,
    pub who: String,
    pub kind: &'static str,
    /// By partition; none where the group was nowhere.
    pub replaced: BTreeMap<String, Option<i64>>,
}

/// A topic as the metadata log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // As above.
pub struct TopicState {
    pub name: String,
    pub partitions: u32,
    pub partitions_ready: u32,
    pub settings: BTreeMap<String, String>,
    pub created_ms: i64,
    pub is_deleted: bool,
}

/// Shows everything in the directory to `show`, in a fixed order.
///
/// # Errors
/// Those of reading the directory itself. What is wrong with a file in it is an [`Item::Broken`].
pub fn dump<F: Files>(files: &F, options: &DumpOptions, show: &mut dyn FnMut(Item)) -> io::Result<()> {
    let mut dump = Dump { files, options, show };
    if options.partition.is_none() {
        dump.node();
        dump.clean();
        dump.slots();
        dump.metadata();
    }
    for entry in files.list(Path::new(TOPICS_NAME))? {
        let is_wanted = options.partition.as_ref().is_none_or(|wanted| *wanted == entry.name);
        if is_wanted && entry.kind == EntryKind::Directory {
            dump.partition(&Path::new(TOPICS_NAME).join(entry.name));
        }
    }
    Ok(())
}

struct Dump<'a, F> {
    files: &'a F,
    options: &'a DumpOptions,
    show: &'a mut dyn FnMut(Item),
}

impl<F: Files> Dump<'_, F> {
    fn node(&mut self) {
        self.envelope(Path::new(NODE_META_NAME), |bytes| {
            let node = NodeMeta::decode(bytes).map_err(|error| error.to_string())?;
            let NodeMeta { dir, cluster, format, created } = node;
            let (directory, cluster) = (dir.to_string(), cluster.to_string());
            Ok(vec![Item::Node { directory, cluster, format, created_ms: created.get() }])
        });
    }

    fn clean(&mut self) {
        let path = Path::new(CLEAN_NAME);
        match read_file(self.files, path, CLEAN_SIZE_MAX) {
            // There is none while a daemon runs, nor after one died.
            Ok(None) => {}
            Ok(Some(bytes)) => match CleanMarker::decode(&bytes) {
                Some(marker) => {
                    (self.show)(Item::Clean {
                        run_id: marker.run_id,
                        partitions: marker.partitions.len() as u64,
                    });
                    for row in marker.partitions {
                        (self.show)(Item::CleanPartition {
                            partition: row.partition.to_string(),
                            active_base: row.active_base.get(),
                            log_len: row.log_len,
                            next_offset: row.next_offset.get(),
                        });
                    }
                }
                None => self.broken(path, 0, "not an intact clean marker"),
            },
            Err(error) => self.broken(path, 0, error),
        }
    }

    fn slots(&mut self) {
        let path = Path::new(SLOTS_NAME);
        let file = match self.files.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) => return self.broken(path, 0, error),
        };
        let extents = file.len().unwrap_or(0).saturating_sub(HEADER_SIZE) / crate::slots::EXTENT_SIZE;
        for number in 0..u32::try_from(extents).unwrap_or(0).saturating_mul(SLOTS_PER_EXTENT) {
            for (seq, copy) in [(0, 'A'), (1, 'B')] {
                let (mut bytes, at) = ([0; SLOT_SIZE], slot_position(number, seq));
                if let Err(error) = file.read_at(&mut bytes, at) {
                    self.broken(path, at, error);
                    continue;
                }
                match SlotCopy::decode(&bytes) {
                    SlotCopy::Blank => {}
                    SlotCopy::Damaged => {
                        self.broken(path, at, format_args!("copy {copy} of slot {number} is damaged"));
                    }
                    SlotCopy::Newer { edition } => {
                        self.broken(path, at, format_args!("a slot of edition {edition}"));
                    }
                    SlotCopy::Valid(slot) => (self.show)(Item::Slot {
                        slot: number,
                        copy,
                        partition: slot.partition.to_string(),
                        seq: slot.seq,
                        leader_epoch: slot.leader_epoch.get(),
                        segment_base: slot.durable_segment_base.get(),
                        durable_pos: slot.durable_pos,
                        durable_offset: slot.durable_next_offset.get(),
                        log_start: slot.log_start.get(),
                        visible: slot.visible.get(),
                        written_ms: slot.written_at.get(),
                        run_id: slot.run_id,
                    }),
                }
            }
        }
    }

    fn metadata(&mut self) {
        self.batches(
            Path::new(METADATA_LOG_NAME),
            Offset::ZERO,
            Some(Offset::new(i64::MAX)),
            |dump, _, batch| {
                let Ok(records) = batch.records(DecompressLimit::new(DECOMPRESSED_MAX)) else { return };
                for record in records.iter().flatten() {
                    let entry = MetadataEntry::decode(record.key.unwrap_or_default(), record.value);
                    (dump.show)(Item::Metadata { offset: record.offset.get(), entry });
                }
            },
        );
    }

    fn partition(&mut self, dir: &Path) {
        let mut id = None;
        self.envelope(&dir.join(PARTITION_META_NAME), |bytes| {
            let meta = PartitionMeta::decode(bytes).map_err(|error| error.to_string())?;
            id = Some(meta.id);
            let (partition, created_ms) = (meta.id.to_string(), meta.created.get());
            Ok(vec![Item::Partition { dir: dir.to_owned(), partition, slot: meta.slot, created_ms }])
        });
        self.envelope(&dir.join(EPOCHS_NAME), |bytes| {
            let epochs = Epochs::decode(bytes).map_err(|error| error.to_string())?;
            let rows = epochs.rows().iter();
            Ok(rows
                .map(|(epoch, start)| Item::Epoch {
                    dir: dir.to_owned(),
                    epoch: epoch.get(),
                    start: start.get(),
                })
                .collect())
        });
        let entries = match self.files.list(dir) {
            Ok(entries) => entries,
            Err(error) => return self.broken(dir, 0, error),
        };
        let gaps_below = read_compacted(self.files, dir).unwrap_or_default().gaps_below;
        for entry in entries {
            let path = dir.join(&entry.name);
            match PartitionFile::parse(&entry.name) {
                Some(PartitionFile::Compacted) => self.envelope(&path, |bytes| {
                    let Compacted { gaps_below, upto } =
                        Compacted::decode(bytes).map_err(|error| error.to_string())?;
                    let (gaps_below, upto) = (gaps_below.get(), upto.get());
                    Ok(vec![Item::Compacted { file: path.clone(), gaps_below, upto }])
                }),
                Some(PartitionFile::Replacement(_)) => self.envelope(&path, |bytes| {
                    let replacement = Replacement::decode(bytes).map_err(|error| error.to_string())?;
                    Ok(vec![Item::Replacement {
                        file: path.clone(),
                        base: replacement.base.get(),
                        next_base: replacement.next_base.get(),
                        log_len: replacement.files[0].len,
                        old: replacement.old.iter().map(|base| base.get()).collect(),
                    }])
                }),
                Some(PartitionFile::Segment(base, SegmentFile::Log)) => {
                    (self.show)(Item::Segment { file: path.clone(), base: base.get(), bytes: entry.len });
                    let footer = Footer::of_segment(self.files, dir, base);
                    let ends_at = footer.filter(|footer| footer.has_gaps).map(|footer| footer.next_offset);
                    let is_told = (base < gaps_below).then_some(Offset::new(i64::MAX));
                    self.batches(&path, base, ends_at.or(is_told), Self::batch);
                }
                Some(PartitionFile::Segment(base, file)) => {
                    if let Some(id) = id {
                        self.index(&path, base, SegmentUid::new(id, base, 0), file);
                    }
                }
                Some(PartitionFile::Snapshot(end)) => self.snapshot(&path, end),
                Some(_) => {}
                None => self.broken(&path, 0, "no such file belongs in a partition"),
            }
        }
    }

    fn snapshot(&mut self, path: &Path, end: Offset) {
        self.envelope(path, |bytes| {
            let read = Producers::decode(bytes, end, SNAPSHOT_PRODUCERS_MAX, Timestamp::NONE);
            let producers = read.map_err(|error| error.to_string())?;
            let file = || path.to_owned();
            let mut items =
                vec![Item::Snapshot { file: file(), end: end.get(), producers: producers.len() as u64 }];
            for (active, batches) in producers.all() {
                let producer = active.id.get();
                let last_timestamp = active.last_timestamp.get();
                items.push(Item::Producer { file: file(), producer, epoch: active.epoch, last_timestamp });
                items.extend(batches.iter().map(|batch| Item::ProducerBatch {
                    file: file(),
                    producer,
                    base_sequence: batch.base_sequence,
                    last_sequence: batch.last_sequence,
                    base_offset: batch.base_offset.get(),
                    last_offset: batch.last_offset.get(),
                    max_timestamp: batch.timestamp.get(),
                }));
            }
            Ok(items)
        });
    }

    fn batches(
        &mut self,
        path: &Path,
        base: Offset,
        gaps_upto: Option<Offset>,
        each: impl Fn(&mut Self, (&Path, u64), &Batch<'_>),
    ) {
        let rules =
            Rules { batch_size_max: BATCH_SIZE_LIMIT, gaps_upto, epoch_max: LeaderEpoch::new(i32::MAX) };
        let file = match self.files.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) => return self.broken(path, 0, error),
        };
        let mut scan = match Scan::new(&file, 0, base, LeaderEpoch::NONE, rules) {
            Ok(scan) => scan,
            Err(error) => return self.broken(path, 0, error),
        };
        loop {
            let position = scan.at();
            match scan.next() {
                Ok(Step::End) => return,
                Ok(Step::Batch { at, batch }) => each(self, (path, at), &batch),
                Ok(Step::Fault(fault)) => return self.broken(path, position, fault),
                Err(error) => return self.broken(path, position, error),
            }
        }
    }

    fn batch(&mut self, (file, position): (&Path, u64), batch: &Batch<'_>) {
        let header = batch.header();
        (self.show)(Item::Batch {
            file: file.to_owned(),
            position,
            bytes: header.total_size() as u64,
            base_offset: header.base_offset.get(),
            last_offset: header.last_offset().get(),
            records: header.count,
            leader_epoch: header.leader_epoch.get(),
            compression: header.attributes.compression().name().to_owned(),
            max_timestamp: header.max_timestamp.get(),
            crc: header.crc,
            producer: header.producer_id.get(),
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
        if !self.options.records {
            return;
        }
        let records = match batch.records(DecompressLimit::new(DECOMPRESSED_MAX)) {
            Ok(records) => records,
            Err(error) => return self.broken(file, position, error),
        };
        for record in &records {
            match record {
                Ok(record) => (self.show)(Item::Record {
                    offset: record.offset.get(),
                    timestamp: record.timestamp.get(),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                        .collect(),
                }),
                Err(error) => return self.broken(file, position, error),
            }
        }
    }

    fn index(&mut self, path: &Path, base: Offset, uid: SegmentUid, file: SegmentFile) {
        let kind = if file == SegmentFile::TimeIndex { IndexKind::Time } else { IndexKind::Offset };
        let handle = match self.files.open(path, OpenMode::Read) {
            Ok(handle) => handle,
            Err(error) => return self.broken(path, 0, error),
        };
        let mut header = [0; INDEX_HEADER_SIZE];
        let decoded = handle.read_at(&mut header, 0).map_err(|error| error.to_string()).and_then(|read| {
            IndexHeader::decode(&header[..read], kind, uid).map_err(|error| error.to_string())
        });
        if let Err(error) = decoded {
            return self.broken(path, 0, error);
        }
        let len = handle.len().unwrap_or(0);
        let footer = if kind == IndexKind::Offset { Footer::read(&handle, len).ok().flatten() } else { None };
        for number in 0..footer.map_or(entries_in(len), |footer| footer.entries) {
            let (mut bytes, at) = ([0; INDEX_ENTRY_SIZE], entry_position(number));
            let file = path.to_owned();
            let absolute = |relative: u32| base.get() + i64::from(relative);
            let item = match (handle.read_at(&mut bytes, at), kind) {
                (Err(_), _) => None,
                (Ok(_), IndexKind::Offset) => {
                    OffsetEntry::decode(&bytes, uid, number).map(|entry| Item::OffsetEntry {
                        file,
                        number,
                        offset: absolute(entry.rel_offset),
                        position: entry.pos,
                    })
                }
                (Ok(_), IndexKind::Time) => {
                    TimeEntry::decode(&bytes, uid, number).map(|entry| Item::TimeEntry {
                        file,
                        number,
                        max_timestamp: entry.max_timestamp.get(),
                        offset: absolute(entry.rel_offset),
                    })
                }
            };
            match item {
                Some(item) => (self.show)(item),
                None => return self.broken(path, at, format_args!("entry {number} is damaged")),
            }
        }
        footer.iter().for_each(|footer| self.footer(path, footer));
    }

    fn footer(&mut self, file: &Path, footer: &Footer) {
        (self.show)(Item::Footer {
            file: file.to_owned(),
            entries: footer.entries,
            log_len: footer.log_len,
            log_crc: footer.log_crc,
            tail_crc: footer.tail_crc,
            first_offset: footer.first_offset.get(),
            next_offset: footer.next_offset.get(),
            max_timestamp: footer.max_timestamp.get(),
            max_timestamp_at: footer.max_timestamp_at.get(),
            min_timestamp: footer.min_timestamp.get(),
            batches: footer.batches,
            min_epoch: footer.min_epoch.get(),
            max_epoch: footer.max_epoch.get(),
            has_gaps: footer.has_gaps,
            sealed_at_ms: footer.sealed_at.get(),
        });
    }

    fn envelope(&mut self, path: &Path, decode: impl FnOnce(&[u8]) -> Result<Vec<Item>, String>) {
        match read_file(self.files, path, ENVELOPE_SIZE_MAX) {
            Ok(Some(bytes)) => match decode(&bytes) {
                Ok(items) => items.into_iter().for_each(&mut *self.show),
                Err(error) => self.broken(path, 0, error),
            },
            Ok(None) => self.broken(path, 0, "missing"),
            Err(error) => self.broken(path, 0, error),
        }
    }

    fn broken(&mut self, file: &Path, position: u64, reason: impl fmt::Display) {
        (self.show)(Item::Broken { file: file.to_owned(), position, reason: reason.to_string() });
    }
}

impl MetadataEntry {
    fn decode(key: &[u8], value: Option<&[u8]>) -> Self {
        let decoded = Key::decode(key).and_then(|key| {
            let value = value.map(|value| Value::decode(&key, value)).transpose()?;
            Ok((key, value))
        });
        match decoded {
            Ok((Key::Build, Some(Value::Build(build)))) => Self::Build { build: Some(build) },
            Ok((Key::Build, _)) => Self::Build { build: None },
            Ok((Key::TopicName(name), value)) => {
                let topic = match value {
                    Some(Value::TopicName(topic)) => Some(topic.to_string()),
                    _ => None,
                };
                Self::TopicName { name, topic }
            }
            Ok((Key::Topic(topic), value)) => {
                let state = match value {
                    Some(Value::Topic(topic)) => Some(topic.into()),
                    _ => None,
                };
                Self::Topic { topic: topic.to_string(), state }
            }
            Ok((Key::Broker(node), value)) => {
                let settings = match value {
                    Some(Value::Broker(settings)) => Some(settings.into_iter().collect()),
                    _ => None,
                };
                Self::Broker { node, settings }
            }
            Ok((Key::ProducerIds, value)) => {
                let next = match value {
                    Some(Value::ProducerIds(next)) => Some(next),
                    _ => None,
                };
                Self::ProducerIds { next }
            }
            Ok((Key::GroupHistory(group), value)) => {
                let changes = match value {
                    Some(Value::GroupHistory(changes)) => {
                        Some(changes.into_iter().map(GroupChangeEntry::from).collect())
                    }
                    _ => None,
                };
                Self::GroupHistory { group, changes }
            }
            Err(error) => Self::Unknown { reason: error.to_string() },
        }
    }
}

impl From<GroupChange> for GroupChangeEntry {
    fn from(change: GroupChange) -> Self {
        let GroupChange { at_ms, who, kind, replaced } = change;
        let kind = match kind {
            GroupChangeKind::Reset => "reset",
            GroupChangeKind::Delete => "delete",
        };
        let replaced = replaced.into_iter().map(|one| {
            let offset = one.before.map(|before| before.offset);
            (format!("{}-{}", one.topic, one.partition), offset)
        });
        Self { at_ms, who, kind, replaced: replaced.collect() }
    }
}

impl From<Topic> for TopicState {
    fn from(topic: Topic) -> Self {
        let Topic { name, partitions, partitions_ready, settings, created_ms, phase } = topic;
        let is_deleted = phase == TopicPhase::Deleted;
        let settings = settings.into_iter().collect();
        Self { name, partitions, partitions_ready, settings, created_ms, is_deleted }
    }
}

const DECOMPRESSED_MAX: usize = 128 * 1024 * 1024;
