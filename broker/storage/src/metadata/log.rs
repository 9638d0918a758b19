//! The file of the metadata log: opening it, adding transactions, rewriting it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{BatchBuilder, Compression, NewRecord, Offset, Timestamp, stamp};
use thiserror::Error;

use super::record::{Key, Value, is_topic_name};
use super::replay::{
    EPOCH, MetadataDamage, ReplayError, Replayed, TRANSACTION_SIZE_MAX, TornTransaction, Vouched, build,
    replay,
};
use super::state::{Conflict, Operation, Revision, State, Transaction};
use crate::clean::CleanPartition;
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::{Boot, FileHandle, Files, OpenMode, is_full, parent, tmp_path};
use crate::quarantine::{self, Note};
use crate::slots::{METADATA, SlotUpdate};

/// The open log.
#[derive(Debug)]
pub struct MetadataLog<F: Files> {
    files: Arc<F>,
    file: F::File,
    len: u64,
    next_offset: Offset,
    state: State,
    /// This build's name, which the log shall carry before anything else that this build writes.
    build: String,
    /// Rewriting is considered when the file has this length.
    rewrite_at: u64,
    /// Something may lie behind the end, on the disk if nowhere else: a transaction that failed, or what a power cut
    /// has left there. The cut is not synced yet, or the disk had no room even for that.
    has_rest: bool,
    has_failed: bool,
}

/// A log that was read, and of which nothing is changed yet.
#[derive(Debug)]
pub(crate) struct FoundLog<F: Files> {
    files: Arc<F>,
    file: F::File,
    replayed: Replayed,
    /// What lies behind its end could not be cleared.
    has_rest: bool,
}

/// Why a transaction was not made.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Somebody else was faster: read again and decide again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// More than one transaction can hold.
    #[error("a metadata transaction above {TRANSACTION_SIZE_MAX} bytes")]
    TooLarge,
    /// The caller's fault: the next start would not read it.
    #[error("a topic or a producer id that cannot be")]
    Impossible,
    /// The disk is full. Nothing has changed; try again when there is room.
    #[error("no room for a metadata transaction in {}", path.display())]
    Full {
        /// The log, from the data directory on.
        path: PathBuf,
    },
    /// The disk's fault, and final: whether the transaction is on disk will be known at the next start.
    #[error("{}: {source}", path.display())]
    Io {
        /// The log, from the data directory on.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the log could not be opened.
#[derive(Debug, Error)]
pub(crate) enum MetadataOpenError {
    #[error(transparent)]
    Damage(#[from] MetadataDamage),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl<F: Files> MetadataLog<F> {
    /// Makes the empty log of a new data directory. The caller syncs the names.
    pub(crate) fn create(files: &F) -> io::Result<()> {
        let path = Path::new(METADATA_LOG_NAME);
        if files.entry(parent(path))?.is_none() {
            files.create_dir(parent(path))?;
        }
        files.open(path, OpenMode::Create)?.sync()?;
        files.sync_dir(parent(path))
    }

    /// Reads all of the log, from the disk.
    pub(crate) fn find(files: Arc<F>) -> Result<FoundLog<F>, MetadataOpenError> {
        let path = Path::new(METADATA_LOG_NAME);
        let file = match files.open(path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MetadataDamage::Missing.into());
            }
            Err(error) => return Err(error.into()),
        };
        // A power cut may take the length of the file and leave bytes behind its end: a transaction of which nobody was
        // told, and which the next cut would show again, in the place of another one that was interrupted. Setting the
        // length that there is clears them. Where there is no room even for that, nothing is written before it is done.
        let cleared = file.set_len(file.len()?);
        let has_rest = cleared.as_ref().is_err_and(is_full);
        if !has_rest {
            cleared?;
        }
        // What the last run wrote and never synced may be in the cache alone: whoever acts on it shall not find it gone
        // after the next power cut. And what a failed sync lost is seen only once the cache is dropped.
        // A rewrite may have given the file its name.
        file.sync()?;
        files.sync_dir(parent(path))?;
        file.drop_cache()?;
        let replayed = replay(&file).map_err(|error| match error {
            ReplayError::Damage(damage) => MetadataOpenError::Damage(damage),
            ReplayError::Io(error) => MetadataOpenError::Io(error),
        })?;
        Ok(FoundLog { files, file, replayed, has_rest })
    }

    /// What the log adds up to: read it, check it, follow it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What its slot has to say: all of it is on stable storage.
    pub(crate) fn slot(&self, now: Timestamp, boot: Boot, run_id: u64) -> SlotUpdate {
        SlotUpdate {
            leader_epoch: EPOCH,
            durable_segment_base: Offset::ZERO,
            durable_pos: self.len,
            durable_next_offset: self.next_offset,
            log_start: Offset::ZERO,
            visible: self.next_offset,
            written_at: now,
            boot,
            run_id,
        }
    }

    /// What the clean marker has to say of it.
    pub(crate) fn row(&self) -> CleanPartition {
        CleanPartition {
            partition: METADATA,
            active_base: Offset::ZERO,
            log_len: self.len,
            next_offset: self.next_offset,
        }
    }

    /// Makes a transaction, if all that it expects holds; when this returns, it is on stable storage.
    ///
    /// # Panics
    /// If a value does not belong to its key.
    pub fn commit(&mut self, transaction: Transaction, now: Timestamp) -> Result<Revision, CommitError> {
        self.state.check(&transaction.compares)?;
        if self.has_failed {
            return Err(self.io(io::Error::other("an earlier write failed; nothing is written any more")));
        }
        let mut operations = transaction.operations;
        if !operations.iter().all(is_possible) {
            return Err(CommitError::Impossible);
        }
        if build(&self.state).as_ref() != Some(&self.build) {
            operations.insert(0, Operation::Put(Key::Build, Value::Build(self.build.clone())));
        }
        let batch = batch(&operations, self.next_offset, now)?;
        let revision = self.append(&batch, operations)?;
        if self.len >= self.rewrite_at {
            self.rewrite_if_worthwhile(now)?;
        }
        Ok(revision)
    }

    /// Rewrites the log without its history if that makes it much shorter. Readers of the past and followers are
    /// told so ([`Compacted`](super::Compacted)); the present and its revisions stay as they are.
    pub(crate) fn rewrite_if_worthwhile(&mut self, now: Timestamp) -> Result<bool, CommitError> {
        let mut rewritten = self.live_batches(now)?;
        // The last batch carries the revision on, however few of the old transactions are left.
        let operations = vec![Operation::Put(Key::Build, Value::Build(self.build.clone()))];
        rewritten.push(batch(&operations, self.next_offset, now)?);
        let size = rewritten.iter().map(|batch| batch.len() as u64).sum::<u64>();
        if size.saturating_mul(REWRITE_GAIN) > self.len {
            self.rewrite_at = self.len.saturating_mul(2);
            return Ok(false);
        }
        self.rewrite_at = REWRITE_SIZE_MIN.max(size.saturating_mul(2 * REWRITE_GAIN));
        match self.replace(&rewritten) {
            Ok(file) => {
                self.file = file;
                self.has_rest = false;
            }
            // Nothing has taken effect, and the old log is as good.
            Err(CommitError::Full { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.len = size;
        self.applied(operations);
        self.state.compact();
        Ok(true)
    }

    fn append(&mut self, batch: &[u8], operations: Vec<Operation>) -> Result<Revision, CommitError> {
        self.cut_rest()?;
        if let Err(source) = self.file.write_at(batch, self.len) {
            // The rest of a failed write must not lie under the next transaction; nor on the disk, where the kernel may
            // have brought it meanwhile.
            self.has_rest = self.file.len().map_or(true, |len| len > self.len);
            return Err(match self.file.set_len(self.len) {
                _ if !is_full(&source) => self.fail(source),
                Err(again) if !is_full(&again) => self.fail(again),
                _ => self.full(),
            });
        }
        if let Err(source) = self.file.sync() {
            self.has_failed = true;
            return Err(self.io(source));
        }
        self.len += batch.len() as u64;
        Ok(self.applied(operations))
    }

    /// Cuts off what a full disk has left behind the end, if there is anything. Nothing is written before; and to a
    /// start it is what it is, a transaction that was interrupted: it lies above all that is vouched for, and it is
    /// never whole, because the write of it failed.
    ///
    /// What is written in its place begins at the same byte, with the same offset. Mixed by a power cut with what a
    /// flush had brought to the disk meanwhile, it would be damage; so the cut is synced first.
    pub(crate) fn cut_rest(&mut self) -> Result<(), CommitError> {
        if !self.has_rest {
            return Ok(());
        }
        match self.file.set_len(self.len) {
            Err(source) if is_full(&source) => return Err(self.full()),
            #[cfg(test)]
            Ok(()) if is_taken(Protection::CutsAreSynced) => {}
            cut => cut.and_then(|()| self.file.sync()).map_err(|source| self.fail(source))?,
        }
        self.has_rest = false;
        Ok(())
    }

    /// Operations at the next offset are on stable storage.
    fn applied(&mut self, operations: Vec<Operation>) -> Revision {
        let revision = Revision::new(self.next_offset.get() as u64 + 1);
        self.next_offset = Offset::new(self.next_offset.get() + operations.len() as i64);
        self.state.apply(revision, operations);
        revision
    }

    /// The present as batches: each transaction with what is left of it, at its own offset.
    fn live_batches(&self, now: Timestamp) -> Result<Vec<Vec<u8>>, CommitError> {
        let mut transactions: BTreeMap<Revision, Vec<Operation>> = BTreeMap::new();
        for entry in self.state.present().filter(|entry| entry.key != Key::Build) {
            transactions.entry(entry.modified).or_default().push(Operation::Put(entry.key, entry.value));
        }
        let live = transactions.iter();
        live.map(|(revision, operations)| batch(operations, Offset::new(revision.get() as i64 - 1), now))
            .collect()
    }

    fn replace(&mut self, batches: &[Vec<u8>]) -> Result<F::File, CommitError> {
        let (path, tmp) = (Path::new(METADATA_LOG_NAME), tmp_path(Path::new(METADATA_LOG_NAME)));
        let files = Arc::clone(&self.files);
        let write = || -> io::Result<F::File> {
            let file = files.open(&tmp, OpenMode::Create)?;
            file.set_len(0)?;
            let mut at = 0;
            for batch in batches {
                file.write_at(batch, at)?;
                at += batch.len() as u64;
            }
            Ok(file)
        };
        let publish = |file: &F::File| file.sync().and_then(|()| files.rename(&tmp, path));
        let published = write().and_then(|file| publish(&file).map(|()| file));
        let file = published.map_err(|source| {
            if !is_full(&source) {
                return self.fail(source);
            }
            // What there is of it gives its room back, if that can be.
            let _ = files.remove_file(&tmp);
            self.full()
        })?;
        files.sync_dir(parent(path)).map_err(|source| self.fail(source))?;
        Ok(file)
    }

    fn fail(&mut self, source: io::Error) -> CommitError {
        self.has_failed = true;
        self.io(source)
    }

    fn full(&self) -> CommitError {
        CommitError::Full { path: METADATA_LOG_NAME.into() }
    }

    fn io(&self, source: io::Error) -> CommitError {
        CommitError::Io { path: METADATA_LOG_NAME.into(), source }
    }
}

impl<F: Files> FoundLog<F> {
    /// Whether everything is there that is known to have been on stable storage. Asked before anything is cut off.
    pub(crate) fn check(&self, vouched: Vouched) -> Result<(), MetadataDamage> {
        self.replayed.check(vouched)
    }

    /// Goes on with the log. A torn last transaction is cut off, after a copy was kept.
    pub(crate) fn open(
        self,
        build: String,
        now: Timestamp,
    ) -> io::Result<(MetadataLog<F>, Option<TornTransaction>)> {
        let Self { files, file, replayed: Replayed { state, next_offset, len, torn }, mut has_rest } = self;
        let path = Path::new(METADATA_LOG_NAME);
        if let Some(torn) = torn {
            let reason = format!("the last metadata transaction was interrupted: {}", torn.fault);
            let note = Note::new(path, torn.at, reason, now).starting_at(torn.offset);
            quarantine::keep_tail(&*files, &file, note)?;
            match file.set_len(len) {
                // The next transaction is what it must not lie under.
                Err(error) if is_full(&error) => has_rest = true,
                cut => {
                    cut?;
                    file.sync()?;
                }
            }
        }
        let tmp = tmp_path(path);
        if files.entry(&tmp)?.is_some() {
            // A rewrite that was interrupted before it took effect. The next one writes over what stays of it.
            match files.remove_file(&tmp) {
                Err(error) if is_full(&error) => {}
                removed => removed?,
            }
        }
        let rewrite_at = REWRITE_SIZE_MIN;
        let has_failed = false;
        let log =
            MetadataLog { files, file, len, next_offset, state, build, rewrite_at, has_rest, has_failed };
        Ok((log, torn))
    }
}

/// The path of the log.
pub const METADATA_LOG_NAME: &str = "metadata/00000000000000000000.log";

/// Below this length a log is not worth rewriting.
const REWRITE_SIZE_MIN: u64 = 256 * 1024;
/// How many times shorter a log has to become for a rewrite.
const REWRITE_GAIN: u64 = 4;

fn is_possible(operation: &Operation) -> bool {
    match operation {
        Operation::Put(Key::TopicName(name), _) => is_topic_name(name),
        Operation::Put(_, Value::Topic(topic)) => topic.is_possible(),
        Operation::Put(_, Value::ProducerIds(next)) => *next >= 0,
        _ => true,
    }
}

fn batch(operations: &[Operation], base: Offset, now: Timestamp) -> Result<Vec<u8>, CommitError> {
    let mut builder = BatchBuilder::new(Compression::None, TRANSACTION_SIZE_MAX);
    for operation in operations {
        let (key, value) = match operation {
            Operation::Put(key, value) => {
                assert!(value.belongs_to(key), "{key:?} does not take {value:?}");
                (key, Some(value.encode().map_err(|_| CommitError::TooLarge)?))
            }
            Operation::Delete(key) => (key, None),
        };
        let key = key.encode();
        let record = NewRecord { timestamp: now, key: Some(&key), value: value.as_deref(), headers: &[] };
        builder.append(&record).map_err(|_| CommitError::TooLarge)?;
    }
    let mut batch = builder.build().unwrap_or_default();
    stamp(&mut batch, base, EPOCH);
    Ok(batch)
}

#[cfg(test)]
mod tests;
