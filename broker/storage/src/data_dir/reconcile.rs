//! Directories against metadata: the log of metadata is the truth, and says what each directory is.
//!
//! | the metadata log | the directory | then |
//! |---|---|---|
//! | wants the partition, and has it not as ready | is missing | it is made; on a full disk the topic stays unready |
//! | has it as ready | is missing | the partition is offline |
//! | has deleted the topic | is there | into the trash |
//! | never knew the uuid | is there | into quarantine, with a note |
//!
//! Where there is no room for the name in trash or quarantine it stays where it is, and the next start tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use folio_record::Timestamp;
use uuid::Uuid;

use super::open::Opening;
use super::topics::{make_directories, ready_transaction};
use super::{TOPICS_NAME, partition_dir};
use crate::envelope::{ENVELOPE_SIZE_MAX, EnvelopeError};
use crate::files::{DirEntry, EntryKind, Files, is_exhausted, is_full, read_file};
use crate::metadata::{CommitError, Key, MetadataLog, Operation, Range, Topic, TopicPhase, Transaction};
use crate::partition::{PARTITION_META_NAME, PartitionId, PartitionMeta};
use crate::quarantine::{Note, move_here};
use crate::recovery::Damage;
use crate::slots::{AdoptError, METADATA, SLOTS_NAME, SlotsFile};
use crate::trash::{TRASH_NAME, Trash, remove};

/// What `topics/` holds, once it agrees with the metadata log.
#[derive(Debug)]
pub(super) struct Directories {
    pub(super) found: Vec<Found>,
    pub(super) quarantined: Vec<PathBuf>,
    /// What was to be moved, and found no room.
    pub(super) left: Vec<PathBuf>,
    /// The number of the slot of the metadata log, unless there is no room for it: then the next start gives it one.
    pub(super) metadata_slot: Option<u32>,
}

/// A partition that is to exist.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: PartitionId,
    pub(super) topic: Topic,
    pub(super) dir: PathBuf,
}

/// Its directory: the number of its slot, or why it is offline.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) wanted: Wanted,
    pub(super) slot: Result<u32, Damage>,
}

type PathError = (PathBuf, io::Error);

impl Directories {
    /// Makes `topics/` agree with the metadata log.
    pub(super) fn reconcile<F: Files>(
        opening: &Opening<'_, F>,
        metadata: &mut MetadataLog<F>,
        slots: &mut SlotsFile<F>,
        trash: &Trash,
    ) -> Result<Self, PathError> {
        let (files, now) = (opening.files, opening.now);
        let topics: Vec<(Uuid, Topic)> = metadata.state().topics().collect();
        let sorting = Sorting::of(opening, trash, &topics)?;
        // What is about to be written down as done may have been done by a run that died before it was synced.
        let is_unsettled = topics.iter().any(|(_, topic)| is_unsettled(topic));
        if sorting.is_trashed || is_unsettled {
            for dir in [TRASH_NAME, TOPICS_NAME].map(Path::new) {
                files.sync_dir(dir).map_err(at(dir))?;
            }
        }
        let Sorting { wanted, mut metas, deleted, remaining, quarantined, left, .. } = sorting;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (dir, wanted) in wanted {
            let slot = match metas.remove(&dir) {
                Some(Ok(meta)) => adopt(slots, &dir, &meta)?,
                Some(Err(damage)) => Err(damage),
                None if wanted.id.partition >= wanted.topic.partitions_ready => {
                    // Its topic is not ready while another directory has its name.
                    if !left.contains(&dir) {
                        missing.push(wanted);
                    }
                    continue;
                }
                None => Err(Damage::DirectoryMissing { dir }),
            };
            found.push(Found { wanted, slot });
        }
        // Those that are offline come back some day, and want the slot that they had.
        for kept in found.iter().filter(|found| found.slot.is_err()) {
            slots.keep(kept.wanted.id);
        }
        let metadata_slot = metadata_slot(slots)?;
        match make_missing(files, slots, missing, now) {
            Ok(made) => found.extend(made),
            // Their topics are not ready, then, as before.
            Err((_, error)) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
        found.sort_by(|a, b| a.wanted.dir.cmp(&b.wanted.dir));
        let gone = &deleted - &remaining;
        let unready = settle(metadata, &topics, &gone, &found, now)
            .map_err(|error| (PathBuf::new(), io::Error::other(error)))?;
        found.retain(|Found { wanted: Wanted { id, topic, .. }, .. }| {
            id.partition < topic.partitions_ready || !unready.contains(&id.topic)
        });
        Ok(Self { found, quarantined, left: left.into_iter().collect(), metadata_slot })
    }
}

struct Sorting<'a, F> {
    files: &'a F,
    trash: &'a Trash,
    now: Timestamp,
    wanted: BTreeMap<PathBuf, Wanted>,
    deleted: BTreeSet<Uuid>,
    /// Those of them of which something is left all the same.
    remaining: BTreeSet<Uuid>,
    metas: BTreeMap<PathBuf, Result<PartitionMeta, Damage>>,
    quarantined: Vec<PathBuf>,
    left: BTreeSet<PathBuf>,
    is_trashed: bool,
}

impl<'a, F: Files> Sorting<'a, F> {
    /// Everything in `topics/`, by what the metadata log says of it.
    fn of(opening: &Opening<'a, F>, trash: &'a Trash, topics: &[(Uuid, Topic)]) -> Result<Self, PathError> {
        let files = opening.files;
        let mut sorting = Self {
            files,
            trash,
            now: opening.now,
            wanted: BTreeMap::new(),
            deleted: BTreeSet::new(),
            remaining: BTreeSet::new(),
            metas: BTreeMap::new(),
            quarantined: Vec::new(),
            left: BTreeSet::new(),
            is_trashed: false,
        };
        for (uuid, topic) in topics {
            if topic.phase == TopicPhase::Deleted {
                sorting.deleted.insert(*uuid);
                continue;
            }
            for partition in 0..topic.partitions {
                let id = PartitionId { topic: *uuid, partition };
                let dir = partition_dir(&topic.name, partition);
                sorting.wanted.insert(dir.clone(), Wanted { id, topic: topic.clone(), dir });
            }
        }
        let topics_dir = Path::new(TOPICS_NAME);
        let entries = files.list_lengths(topics_dir, &|_| false).map_err(at(topics_dir))?;
        let read = opening.each(entries, |entry| {
            let path = topics_dir.join(&entry.name);
            let is_partition = entry.kind == EntryKind::Directory && !is_unfinished(&entry);
            let meta = if is_partition { read_meta(files, &path) } else { Ok(None) };
            Ok::<_, PathError>((entry, path, meta))
        })?;
        for (entry, path, meta) in read {
            let meta = match meta {
                // It may say whose it is, and nobody could read it.
                Err(error) if is_exhausted(&error) => return Err((path.join(PARTITION_META_NAME), error)),
                meta => meta,
            };
            sorting.sort(&path, &entry, meta).map_err(at(&path))?;
        }
        Ok(sorting)
    }

    fn sort(&mut self, path: &Path, entry: &DirEntry, meta: ReadMeta) -> io::Result<()> {
        if is_unfinished(entry) {
            return match remove(self.files, path, entry.kind) {
                // In nobody's way: who makes the directory anew removes it first.
                Err(error) if is_full(&error) => {
                    self.left.insert(path.to_owned());
                    Ok(())
                }
                removed => removed,
            };
        }
        let meta = match meta {
            Ok(Some(Ok(meta))) => meta,
            other => return self.without_meta(path, other),
        };
        if self.deleted.contains(&meta.id.topic) {
            return match self.trash.take(self.files, path) {
                // There is no room for another name: the next start tries again, and has to know that it is deleted.
                Err(error) if is_full(&error) => {
                    self.remaining.insert(meta.id.topic);
                    self.left.insert(path.to_owned());
                    Ok(())
                }
                taken => taken.map(|_| self.is_trashed = true),
            };
        }
        if self.wanted.get(path).is_some_and(|wanted| wanted.id == meta.id) {
            self.metas.insert(path.to_owned(), Ok(meta));
            return Ok(());
        }
        let belongs =
            self.wanted.values().find(|wanted| wanted.id == meta.id).map(|wanted| wanted.dir.clone());
        match belongs {
            Some(belongs) if self.files.entry(&belongs)?.is_none() => {
                let damage =
                    Damage::Misplaced { dir: path.to_owned(), belongs: belongs.clone(), id: meta.id };
                self.metas.insert(belongs, Err(damage));
                Ok(())
            }
            Some(_) => self.quarantine(path, "a copy of a partition that is in its place"),
            None => self.quarantine(path, "the metadata log never knew its topic"),
        }
    }

    /// Nothing says whose directory this is: under a name that is wanted it stays where it is.
    fn without_meta(&mut self, path: &Path, meta: ReadMeta) -> io::Result<()> {
        if !self.wanted.contains_key(path) {
            return self.quarantine(path, "nothing says which partition it is");
        }
        let file = path.join(PARTITION_META_NAME);
        let damage = match meta {
            Ok(Some(Err(error))) => Damage::Meta { file, error },
            Ok(_) => Damage::Meta { file, error: EnvelopeError::Length { expected: 1, found: 0 } },
            Err(error) => Damage::unreadable(&file, &error),
        };
        self.metas.insert(path.to_owned(), Err(damage));
        Ok(())
    }

    fn quarantine(&mut self, path: &Path, reason: &str) -> io::Result<()> {
        let note = Note::new(path, 0, reason.to_owned(), self.now);
        match move_here(self.files, path, note) {
            Ok(place) => self.quarantined.push(place),
            Err(error) if is_full(&error) => drop(self.left.insert(path.to_owned())),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PathError + use<> {
    let path = path.to_owned();
    move |source| (path, source)
}

/// What a directory says whose it is, if it says so.
type ReadMeta = io::Result<Option<Result<PartitionMeta, EnvelopeError>>>;

fn read_meta<F: Files>(files: &F, path: &Path) -> ReadMeta {
    let bytes = read_file(files, &path.join(PARTITION_META_NAME), ENVELOPE_SIZE_MAX)?;
    Ok(bytes.map(|bytes| PartitionMeta::decode(&bytes)))
}

/// Whether this was made for a partition that was never announced, and not finished.
fn is_unfinished(entry: &DirEntry) -> bool {
    entry.kind == EntryKind::Directory && entry.name.ends_with(".tmp")
}

fn adopt<F: Files>(
    slots: &mut SlotsFile<F>,
    dir: &Path,
    meta: &PartitionMeta,
) -> Result<Result<u32, Damage>, PathError> {
    match slots.adopt(meta.slot, meta.id) {
        Ok(_) => Ok(Ok(meta.slot)),
        Err(AdoptError::Io(error)) => Err((PathBuf::from(SLOTS_NAME), error)),
        Err(error) => {
            Ok(Err(Damage::Slot { file: dir.join(PARTITION_META_NAME), reason: error.to_string() }))
        }
    }
}

/// The slot that the metadata log has, or else one that nobody has.
fn metadata_slot<F: Files>(slots: &mut SlotsFile<F>) -> Result<Option<u32>, PathError> {
    let own = match slots.take_own(METADATA) {
        Some(number) => slots.reserve(number).map(|()| number),
        None => slots.claim_beside(METADATA),
    };
    match own {
        Ok(number) => Ok(Some(number)),
        Err(error) if is_full(&error) => Ok(None),
        Err(error) => Err((PathBuf::from(SLOTS_NAME), error)),
    }
}

fn make_missing<F: Files>(
    files: &F,
    slots: &mut SlotsFile<F>,
    missing: Vec<Wanted>,
    now: Timestamp,
) -> Result<Vec<Found>, PathError> {
    let mut metas = Vec::new();
    for wanted in &missing {
        let slot = slots.claim(wanted.id).map_err(|source| (PathBuf::from(SLOTS_NAME), source))?;
        metas.push((wanted.dir.clone(), PartitionMeta { id: wanted.id, slot, created: now }));
    }
    make_directories(files, &metas).map_err(|source| (PathBuf::from(TOPICS_NAME), source))?;
    Ok(missing
        .into_iter()
        .zip(metas)
        .map(|(wanted, (_, meta))| Found { wanted, slot: Ok(meta.slot) })
        .collect())
}

/// Whether the metadata log does not have a topic as it is to be in the end.
fn is_unsettled(topic: &Topic) -> bool {
    topic.phase == TopicPhase::Deleted || topic.partitions_ready < topic.partitions
}

/// Writes down what is done: directories that are made, deleted topics of which nothing is left. Gives the topics that
/// are not ready all the same, because there is no room for what they lack: the next start sees to them.
fn settle<F: Files>(
    metadata: &mut MetadataLog<F>,
    topics: &[(Uuid, Topic)],
    gone: &BTreeSet<Uuid>,
    found: &[Found],
    now: Timestamp,
) -> Result<BTreeSet<Uuid>, CommitError> {
    let mut transaction = Transaction::default();
    let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
    for (uuid, topic) in topics.iter().filter(|(_, topic)| is_unsettled(topic)) {
        if gone.contains(uuid) {
            transaction.operations.push(Operation::Delete(Key::Topic(*uuid)));
        } else if found.iter().filter(|found| found.wanted.id.topic == *uuid).count() as u32
            == topic.partitions
        {
            ready.insert(*uuid);
            transaction.operations.extend(ready_transaction(*uuid, topic).operations);
        } else {
            unready.insert(*uuid);
        }
    }
    if !transaction.operations.is_empty() {
        match metadata.commit(transaction, now) {
            Ok(_) => {}
            Err(CommitError::Full { .. }) => unready.append(&mut ready),
            Err(error) => return Err(error),
        }
    }
    debug_assert!(metadata.state().range(&Range::All, metadata.state().revision()).is_ok());
    Ok(unready)
}
