//! Making and deleting topics, in an order in which a crash at any point leaves the old or the new.
//!
//! *Create*: the transaction is durable; directories are made under a `.tmp` name, synced, renamed, and their parent
//! synced; a second transaction says that they are ready. Only then is anybody told. *Delete*: the transaction is
//! durable; then the directories are renamed into the trash.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use folio_record::{Offset, Timestamp};
use thiserror::Error;
use uuid::Uuid;

use super::{DataDir, TOPICS_NAME, partition_dir};
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::epochs::{EPOCHS_NAME, Epochs};
use crate::files::{
    EntryKind, FileHandle, Files, OpenMode, is_exhausted, is_full, parent, read_file, tmp_path,
};
use crate::log::{Log, LogOptions};
use crate::metadata::{
    CommitError, Compacted, Compare, Event, Key, METADATA_LOG_NAME, MetadataLog, Operation, Revision, State,
    Topic, TopicPhase, Transaction, Value,
};
use crate::partition::{PARTITION_META_NAME, PartitionId, PartitionMeta};
use crate::producers::Producers;
use crate::recovery::{RecoveredLog, Remains};
use crate::slots::{METADATA, SLOTS_NAME};
use crate::trash::{TRASH_NAME, remove};

/// A topic to be made.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name; the caller has checked it.
    pub name: String,
    /// Its identity: random.
    pub uuid: Uuid,
    /// How many partitions, at least one.
    pub partitions: u32,
    /// Its own settings.
    pub settings: Vec<(String, String)>,
}

/// Why a topic was not made or deleted.
#[derive(Debug, Error)]
pub enum TopicError {
    /// There is one of this name.
    #[error("topic {name:?} exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no topic {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The disk is full; nothing was announced.
    #[error("no room for a topic in {}", dir.display())]
    Full {
        /// The data directory.
        dir: PathBuf,
    },
    /// The metadata log refused.
    #[error(transparent)]
    Metadata(CommitError),
    /// No descriptors or mappings are left; nothing was announced.
    #[error("no room for another open file: {0}")]
    Exhausted(io::Error),
    /// The disk's fault, and final for this run.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being written, from the data directory on.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl NewTopic {
    /// The transaction that makes it, unless there is a topic of its name. Directories follow.
    pub fn creation(self, now: Timestamp) -> Transaction {
        let Self { name, uuid, partitions, settings } = self;
        let key = Key::TopicName(name.clone());
        let topic = Topic {
            name,
            partitions,
            partitions_ready: 0,
            settings,
            created_ms: now.get(),
            phase: TopicPhase::Live,
        };
        Transaction {
            compares: vec![Compare::Absent(key.clone())],
            operations: vec![
                Operation::Put(key, Value::TopicName(uuid)),
                Operation::Put(Key::Topic(uuid), Value::Topic(topic)),
            ],
        }
    }
}

impl<F: Files> DataDir<F> {
    /// All living topics.
    pub fn topics(&self) -> Vec<(Uuid, Topic)> {
        let mut topics: Vec<_> = self.metadata().state().topics().collect();
        topics.retain(|(_, topic)| topic.phase == TopicPhase::Live);
        topics
    }

    /// The logs that are open, by partition.
    pub fn logs(&self) -> Vec<Arc<Log<F>>> {
        self.durable().logs.values().cloned().collect()
    }

    /// The revision of the last metadata transaction. Waits for nobody.
    pub fn revision(&self) -> Revision {
        Revision::new(self.revision.load(Ordering::Acquire))
    }

    /// What changed in the metadata after `revision`, in order.
    pub fn events_since(&self, revision: Revision) -> Result<Vec<Event>, Compacted> {
        self.metadata().state().events_since(revision).map(<[Event]>::to_vec)
    }

    /// Reads the metadata with `read`; no transaction is made meanwhile, and one that is being made is waited for, with
    /// its sync.
    pub fn with_metadata<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(self.metadata().state())
    }

    /// Makes any metadata transaction. Directories follow by [`make_partitions`](Self::make_partitions) and
    /// [`remove_partitions`](Self::remove_partitions).
    pub fn commit(&self, transaction: Transaction, now: Timestamp) -> Result<Revision, CommitError> {
        if let Err(source) = self.failure.check() {
            return Err(CommitError::Io { path: METADATA_LOG_NAME.into(), source });
        }
        let committed = {
            let mut metadata = self.metadata();
            let committed = metadata.commit(transaction, now);
            self.revision.store(metadata.state().revision().get(), Ordering::Release);
            // Before anybody is answered: what a start finds torn below it is damage, and above it nobody was told of.
            committed.and_then(|revision| self.write_metadata_slot(&metadata, now).map(|()| revision))
        };
        if let Err(CommitError::Io { .. }) = &committed {
            self.fail();
        }
        committed
    }

    /// Makes a topic, with directories and logs; when this returns it would survive anything.
    pub fn create_topic(
        &self,
        topic: NewTopic,
        options: &LogOptions,
        now: Timestamp,
    ) -> Result<Vec<Arc<Log<F>>>, TopicError> {
        let (name, uuid) = (topic.name.clone(), topic.uuid);
        let transaction = topic.creation(now);
        match self.commit(transaction, now) {
            Ok(_) => self.make_partitions(uuid, options, now).inspect_err(|error| {
                if matches!(error, TopicError::Full { .. }) {
                    // Half a topic would be in the way of the next attempt. If even this finds no room, the next
                    // start makes the topic whole.
                    let _ = self.delete_topic(&name, now);
                }
            }),
            Err(CommitError::Conflict(_)) => Err(TopicError::Exists { name }),
            Err(error) => Err(self.metadata_error(error)),
        }
    }

    /// Deletes a topic by name: its logs go to the trash.
    pub fn delete_topic(&self, name: &str, now: Timestamp) -> Result<Uuid, TopicError> {
        let unknown = || TopicError::Unknown { name: name.to_owned() };
        let (uuid, transaction) = self.deletion(name)?;
        match self.commit(transaction, now) {
            Ok(_) => self.remove_partitions(uuid).map(|()| uuid),
            Err(CommitError::Conflict(_)) => Err(unknown()),
            Err(error) => Err(self.metadata_error(error)),
        }
    }

    /// The transaction that deletes the topic that has this name now, and which topic that is.
    pub fn deletion(&self, name: &str) -> Result<(Uuid, Transaction), TopicError> {
        let unknown = || TopicError::Unknown { name: name.to_owned() };
        let key = Key::TopicName(name.to_owned());
        let metadata = self.metadata();
        let entry = metadata.state().get(&key).ok_or_else(unknown)?;
        let Value::TopicName(uuid) = entry.value else { return Err(unknown()) };
        let topic = metadata.state().get(&Key::Topic(uuid)).ok_or_else(unknown)?;
        let Value::Topic(topic) = topic.value else { return Err(unknown()) };
        let transaction = Transaction {
            compares: vec![Compare::Modified(key.clone(), entry.modified)],
            operations: vec![
                Operation::Delete(key),
                Operation::Put(Key::Topic(uuid), Value::Topic(Topic { phase: TopicPhase::Deleted, ..topic })),
            ],
        };
        Ok((uuid, transaction))
    }

    /// The log of a partition, if it is open.
    pub fn log(&self, id: PartitionId) -> Option<Arc<Log<F>>> {
        self.durable().logs.get(&id).cloned()
    }

    /// What can be read of a partition that is offline: the log below its damage. Nothing may be appended to it.
    pub fn log_below(&self, id: PartitionId) -> Option<Arc<Log<F>>> {
        self.durable().below.get(&id).cloned()
    }

    /// Makes the directories that a living topic lacks, says so in the metadata log, and opens their logs.
    pub fn make_partitions(
        &self,
        uuid: Uuid,
        options: &LogOptions,
        now: Timestamp,
    ) -> Result<Vec<Arc<Log<F>>>, TopicError> {
        let Some(topic) = self.topic(uuid) else {
            return Err(TopicError::Unknown { name: uuid.to_string() });
        };
        self.failure.check().map_err(|source| self.topic_error(TOPICS_NAME, source))?;
        let mut metas = Vec::new();
        {
            let mut durable = self.durable();
            for partition in topic.partitions_ready..topic.partitions {
                let id = PartitionId { topic: uuid, partition };
                let slot = match durable.numbers.get(&id) {
                    Some(slot) => *slot,
                    None => durable.slots.claim(id).map_err(|source| self.topic_error("slots", source))?,
                };
                durable.numbers.insert(id, slot);
                metas.push((partition_dir(&topic.name, partition), PartitionMeta { id, slot, created: now }));
            }
        }
        let made = self.clear_remains(&metas).and_then(|()| make_directories(&*self.files, &metas));
        made.map_err(|source| self.topic_error(TOPICS_NAME, source))?;
        self.commit(ready_transaction(uuid, &topic), now).map_err(|error| self.metadata_error(error))?;
        let mut logs = Vec::new();
        for (dir, meta) in metas {
            let recovered = RecoveredLog {
                compacted: crate::compacted::Compacted::default(),
                segments: Vec::new(),
                indexer: None,
                log_start: Offset::ZERO,
                log_end: Offset::ZERO,
                epochs: Epochs::new(),
                producers: Producers::new(options.producers_max),
                snapshots: Vec::new(),
                may_have_reserve: false,
                remains: Remains::default(),
                left_below: Vec::new(),
            };
            let log = Log::open(&self.shared(), dir, meta.id, options.clone(), recovered);
            self.durable().logs.insert(meta.id, Arc::clone(&log));
            logs.push(log);
        }
        Ok(logs)
    }

    /// Moves into the trash what stands where directories are to be made, and is not theirs: a deletion of a topic of
    /// this name found no room to move it; or a start made them, with other slots, and had no room to call them ready.
    ///
    /// Nothing waits for a sync of that. Until the new directories have the names for good, a power cut may bring the
    /// old ones back: the next start finds that they are those of a deleted topic, and moves them again. Nobody else
    /// has their slots before a start, which syncs what it moves, and the names of what it makes.
    fn clear_remains(&self, metas: &[(PathBuf, PartitionMeta)]) -> io::Result<()> {
        for (dir, meta) in metas {
            if self.files.entry(dir)?.is_some() && !is_of(&*self.files, dir, meta)? {
                self.trash.take(&*self.files, dir)?;
            }
        }
        Ok(())
    }

    /// Moves what a deleted topic has left into the trash. Its logs take no appends any more.
    pub fn remove_partitions(&self, uuid: Uuid) -> Result<(), TopicError> {
        let topic = self.metadata().state().get(&Key::Topic(uuid)).map(|entry| entry.value);
        let Some(Value::Topic(topic)) = topic else {
            return Ok(());
        };
        self.take_away(uuid, &topic.name, 0..topic.partitions)
    }

    /// Moves partitions into the trash, and frees their slots. Those for which there is no room there stay in the way,
    /// and are moved when somebody else wants the place, or by the next start: their logs write nothing any more, for
    /// by then the names may be those of another topic's files.
    pub(super) fn take_away(&self, uuid: Uuid, name: &str, partitions: Range<u32>) -> Result<(), TopicError> {
        let io = |source| self.topic_error(TOPICS_NAME, source);
        self.failure.check().map_err(io)?;
        // One that is being recovered is waited for; what was opened then is found below.
        self.waiting().retain(|id, _| id.topic != uuid || !partitions.contains(&id.partition));
        for partition in partitions.clone() {
            let id = PartitionId { topic: uuid, partition };
            let gone = {
                let mut durable = self.durable();
                [durable.logs.remove(&id), durable.below.remove(&id)]
            };
            gone.iter().flatten().for_each(|log| log.retire());
        }
        for partition in partitions.clone() {
            let dir = partition_dir(name, partition);
            if self.files.entry(&dir).map_err(io)?.is_some() {
                self.trash.take(&*self.files, &dir).map_err(io)?;
            }
        }
        self.files.sync_dir(Path::new(TRASH_NAME)).map_err(io)?;
        self.files.sync_dir(Path::new(TOPICS_NAME)).map_err(io)?;
        // Only now may somebody else have the slots: a crash before would bring the directories back.
        let mut durable = self.durable();
        for partition in partitions {
            if let Some(slot) = durable.numbers.remove(&PartitionId { topic: uuid, partition }) {
                durable.slots.release(slot);
            }
        }
        Ok(())
    }

    /// Says in its slot, on stable storage, that all of the metadata log is; that it has none is no error.
    fn write_metadata_slot(&self, metadata: &MetadataLog<F>, now: Timestamp) -> Result<(), CommitError> {
        let mut durable = self.durable();
        let Some(number) = durable.numbers.get(&METADATA).copied() else { return Ok(()) };
        let update = metadata.slot(now, self.boot, self.run_id());
        let written = match durable.slots.write(number, &update) {
            // A file system that never overwrites wants room for it. What the slot says is true all the same.
            Err(error) if is_full(&error) => return Ok(()),
            written => written.and_then(|()| durable.slots.sync()),
        };
        written.map_err(|source| CommitError::Io { path: SLOTS_NAME.into(), source })?;
        durable.deadline.synced();
        Ok(())
    }

    pub(super) fn topic(&self, uuid: Uuid) -> Option<Topic> {
        match self.metadata().state().get(&Key::Topic(uuid))?.value {
            Value::Topic(topic) if topic.phase == TopicPhase::Live => Some(topic),
            _ => None,
        }
    }

    pub(super) fn metadata_error(&self, error: CommitError) -> TopicError {
        match error {
            CommitError::Full { .. } => TopicError::Full { dir: self.files.root().to_owned() },
            error => TopicError::Metadata(error),
        }
    }

    fn topic_error(&self, path: &str, source: io::Error) -> TopicError {
        if is_full(&source) {
            return TopicError::Full { dir: self.files.root().to_owned() };
        }
        if is_exhausted(&source) {
            return TopicError::Exhausted(source);
        }
        self.fail();
        TopicError::Io { path: path.into(), source }
    }
}

/// The transaction that says that all directories of a topic are there.
pub(super) fn ready_transaction(uuid: Uuid, topic: &Topic) -> Transaction {
    let ready = Topic { partitions_ready: topic.partitions, ..topic.clone() };
    Transaction {
        compares: Vec::new(),
        operations: vec![Operation::Put(Key::Topic(uuid), Value::Topic(ready))],
    }
}

/// Whether a directory says that it is that of this partition, and that this is its slot.
fn is_of<F: Files>(files: &F, dir: &Path, meta: &PartitionMeta) -> io::Result<bool> {
    let bytes = read_file(files, &dir.join(PARTITION_META_NAME), ENVELOPE_SIZE_MAX)?;
    Ok(bytes
        .and_then(|bytes| PartitionMeta::decode(&bytes).ok())
        .is_some_and(|own| (own.id, own.slot) == (meta.id, meta.slot)))
}

/// Makes partition directories; when this returns they are on stable storage. Ones that are there already are left.
///
/// # Errors
/// The disk's, or that of whoever left another partition's directory there.
pub(crate) fn make_directories<F: Files>(files: &F, metas: &[(PathBuf, PartitionMeta)]) -> io::Result<()> {
    let mut made = BTreeMap::new();
    for (dir, meta) in metas {
        if files.entry(dir)?.is_some() {
            if is_of(files, dir, meta)? {
                continue;
            }
            let what = format!("{} is another partition's", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let tmp = tmp_path(dir);
        if files.entry(&tmp)?.is_some() {
            remove(files, &tmp, EntryKind::Directory)?;
        }
        files.create_dir(&tmp)?;
        for (name, bytes) in [(PARTITION_META_NAME, meta.encode()), (EPOCHS_NAME, Epochs::new().encode())] {
            let file = files.open(&tmp.join(name), OpenMode::CreateNew)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
        }
        files.sync_dir(&tmp)?;
        made.insert(tmp, dir);
    }
    for (tmp, dir) in &made {
        files.rename(tmp, dir)?;
    }
    // Those that were there may have been renamed without it.
    match metas.first() {
        Some((dir, _)) => files.sync_dir(parent(dir)),
        None => Ok(()),
    }
}
