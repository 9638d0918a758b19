//! Opening a data directory, step by step.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use folio_record::Timestamp;

use super::epochs::unsaved_epochs;
use super::reconcile::{Directories, Wanted};
use super::recover::Recovering;
use super::resume::waiting_for_room;
use super::{DataDir, DataDirOptions, DurablePoints, OpenError, OpenReport, OpenedPartition, TOPICS_NAME};
use crate::clean::{CLEAN_NAME, CleanMarker};
use crate::envelope::{ENVELOPE_SIZE_MAX, replace};
use crate::failure::Failure;
use crate::files::{EntryKind, FileHandle, Files, OpenMode, is_full, read_file};
use crate::filesystem::{Filesystem, Policy};
use crate::lock::{Holder, LOCK_NAME, hold};
use crate::log::{Log, LogOptions, Shared};
use crate::metadata::{
    FoundLog, METADATA_LOG_NAME, MetadataDamage, MetadataLog, MetadataOpenError, Topic, Vouched,
};
use crate::node::{FORMAT, NODE_META_NAME, NodeMeta};
use crate::open_segments::OpenSegments;
use crate::quarantine::QUARANTINE_NAME;
use crate::slots::{METADATA, SLOTS_NAME, SlotUpdate, SlotsDeadline, SlotsFile};
use crate::trash::{TRASH_NAME, Trash};

impl<F: Files> DataDir<F> {
    /// Opens the directory, or sets it up if it is empty. `topic_options` says how the logs of a topic are to be.
    ///
    /// # Errors
    /// See [`OpenError`]. A partition that cannot be recovered is no error: the report has it.
    pub fn open(
        files: Arc<F>,
        options: &DataDirOptions,
        topic_options: impl Fn(&Topic) -> LogOptions,
        now: Timestamp,
    ) -> Result<(Self, OpenReport<F>), OpenError> {
        let opening = Opening { files: &*files, options, now, failure: Failure::default() };
        let (filesystem, warnings) = opening.check_filesystem()?;
        let lock = opening.lock()?;
        opening.check_mounts()?;
        let (node, created) = opening.node()?;
        let (clean, metadata) = opening.marker_and_metadata(&files, &node)?;
        let (mut slots, slots_report) = SlotsFile::open(&*files, node.dir)
            .map_err(|source| OpenError::Slots { file: opening.path(SLOTS_NAME), source })?;
        let written_before = slots.last_written();
        let durable = slots.furthest(METADATA).map(|slot| slot.durable_next_offset);
        metadata
            .check(Vouched { was_closed: false, durable })
            .map_err(|damage| opening.metadata_damage(damage))?;
        let (mut metadata, torn_transaction) = metadata
            .open(options.build.clone(), now)
            .map_err(|source| opening.io(METADATA_LOG_NAME, source))?;
        let has_syncfs = files.has_syncfs().map_err(|source| opening.io("", source))?;

        let trash = Trash::new(options.run_id);
        let directories = Directories::reconcile(&opening, &mut metadata, &mut slots, &trash)
            .map_err(|(path, source)| opening.io(path, source))?;
        let found = directories.found;
        let last = |number| slots.last(number).copied();
        let mut recovered = opening.recover_all(found, clean.as_ref(), last, &topic_options, has_syncfs)?;
        let own = directories
            .metadata_slot
            .map(|number| (number, metadata.slot(now, files.boot(), options.run_id)));
        opening.write_slots(&recovered, own, &mut slots)?;
        opening.remove_expired(&mut recovered)?;
        let open = OpenSegments::new(Arc::clone(files.budget()));
        let shared = Shared { files: Arc::clone(&files), open, failure: opening.failure.clone() };
        let (durable, partitions) =
            opening.open_logs(&shared, recovered, directories.metadata_slot, slots, &topic_options);
        let (unsaved, waiting) = (unsaved_epochs(&partitions), waiting_for_room(&partitions));
        let report = OpenReport {
            created,
            was_clean: clean.is_some(),
            filesystem,
            warnings,
            slots: slots_report,
            torn_transaction,
            partitions,
            quarantined: directories.quarantined,
            left: directories.left,
        };
        let failure = opening.failure;
        let dir = Self {
            boot: files.boot(),
            files,
            _lock: lock,
            node,
            options: options.clone(),
            has_syncfs,
            written_before,
            trash,
            open: shared.open,
            revision: AtomicU64::new(metadata.state().revision().get()),
            metadata: Mutex::new(metadata),
            durable: Mutex::new(durable),
            round: Mutex::new(()),
            unsaved_epochs: Mutex::new(unsaved),
            waiting: Mutex::new(waiting),
            failure,
        };
        Ok((dir, report))
    }
}

/// Whatever is in a directory that was set up, or is about to be, only in part, would not be there: its name.
pub(crate) fn not_of_a_set_up<F: Files>(files: &F) -> Result<Option<String>, (&'static str, io::Error)> {
    let list = |name: &'static str| files.list(Path::new(name)).map_err(|source| (name, source));
    for entry in list("")? {
        let is_begun = match entry.name.as_str() {
            LOCK_NAME | "lost+found" | "node.meta.tmp" | SLOTS_NAME | "metadata" | TRASH_NAME => true,
            TOPICS_NAME => list(TOPICS_NAME)?.is_empty(),
            QUARANTINE_NAME => list(QUARANTINE_NAME)?.is_empty(),
            _ => false,
        };
        if !is_begun {
            return Ok(Some(entry.name));
        }
    }
    let log = files.entry(Path::new(METADATA_LOG_NAME)).map_err(|source| (METADATA_LOG_NAME, source))?;
    Ok(log.is_some_and(|log| log.len > 0).then(|| METADATA_LOG_NAME.to_owned()))
}

pub(super) struct Opening<'a, F> {
    pub(super) files: &'a F,
    pub(super) options: &'a DataDirOptions,
    pub(super) now: Timestamp,
    /// For the directory and all its logs.
    pub(super) failure: Failure,
}

impl<F: Files> Opening<'_, F> {
    fn check_filesystem(&self) -> Result<(Filesystem, Vec<&'static str>), OpenError> {
        let magic = self.files.magic().map_err(|source| self.io("", source))?;
        let filesystem = Filesystem::from_magic(magic);
        let warning = match filesystem.policy() {
            Policy::Supported => None,
            Policy::Allowed { warning } => Some(warning),
            Policy::Refused { reason } if self.options.allow_incoherent_fs => Some(reason),
            Policy::Refused { reason } => {
                return Err(OpenError::WrongFilesystem { dir: self.path(""), filesystem, reason });
            }
        };
        let mounted = self.files.mounted();
        let reservations = mounted.map_or_else(Vec::new, |mounted| filesystem.reservations(&mounted));
        Ok((filesystem, warning.into_iter().chain(reservations).collect()))
    }

    fn lock(&self) -> Result<F::File, OpenError> {
        let path = Path::new(LOCK_NAME);
        let not_writable = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::NotWritable { dir: self.path(""), source }
            }
            _ => self.io(LOCK_NAME, source),
        };
        let file = self.files.open(path, OpenMode::Create).map_err(not_writable)?;
        let file = hold(self.files, file)
            .map_err(|source| self.io(LOCK_NAME, source))?
            .map_err(|holder| OpenError::Locked { dir: self.path(""), holder: Box::new(holder) })?;
        let holder = Holder {
            pid: Some(self.options.pid),
            host: Some(self.options.host.clone()),
            boot_id: self.files.boot().id,
            run_id: self.options.run_id,
            started: Some(self.now),
        };
        let write = || file.set_len(0).and_then(|()| file.write_at(holder.encode().as_bytes(), 0));
        match write() {
            // Nobody needs the text; a full disk shall not stop a start.
            Err(error) if is_full(&error) => {}
            outcome => outcome.map_err(not_writable)?,
        }
        Ok(file)
    }

    /// One `syncfs` flushes one file system, and names move within one mount.
    fn check_mounts(&self) -> Result<(), OpenError> {
        let is_ours = |path: &PathBuf| OURS.iter().any(|name| path.starts_with(name));
        match self.files.mounts_below().into_iter().find(is_ours) {
            Some(mount) => Err(OpenError::MountBelow { dir: self.path(""), mount: self.path(mount) }),
            None => Ok(()),
        }
    }

    fn node(&self) -> Result<(NodeMeta, bool), OpenError> {
        let path = Path::new(NODE_META_NAME);
        let bytes = read_file(self.files, path, ENVELOPE_SIZE_MAX)
            .map_err(|source| self.io(NODE_META_NAME, source))?;
        let Some(bytes) = bytes else {
            return self.set_up().map(|node| (node, true));
        };
        let node = NodeMeta::decode(&bytes).map_err(|error| OpenError::Node {
            file: self.path(NODE_META_NAME),
            reason: error.to_string(),
        })?;
        if node.format > FORMAT {
            return Err(OpenError::Newer { dir: self.path(""), found: node.format, supported: FORMAT });
        }
        for name in [TOPICS_NAME, TRASH_NAME, QUARANTINE_NAME] {
            self.make_dir(name)?;
        }
        // Whoever set it up may have died before its name was on the disk.
        self.files.sync_dir(Path::new("")).map_err(|source| self.io("", source))?;
        Ok((node, false))
    }

    /// Sets an empty directory up. `node.meta` comes last: without it, the next start begins anew.
    fn set_up(&self) -> Result<NodeMeta, OpenError> {
        let foreign = not_of_a_set_up(self.files).map_err(|(path, source)| self.io(path, source))?;
        if let Some(name) = foreign {
            return Err(OpenError::NotOurs { dir: self.path(""), name });
        }
        if self.exists(SLOTS_NAME)? {
            self.files.remove_file(Path::new(SLOTS_NAME)).map_err(|source| self.io(SLOTS_NAME, source))?;
        }
        for name in [TOPICS_NAME, TRASH_NAME, QUARANTINE_NAME] {
            self.make_dir(name)?;
        }
        MetadataLog::create(self.files).map_err(|source| self.io(METADATA_LOG_NAME, source))?;
        let node = NodeMeta {
            dir: self.options.new_dir,
            cluster: self.options.new_cluster,
            format: FORMAT,
            created: self.now,
        };
        SlotsFile::open(self.files, node.dir)
            .map_err(|source| OpenError::Slots { file: self.path(SLOTS_NAME), source })?;
        self.files.sync_dir(Path::new("")).map_err(|source| self.io("", source))?;
        replace(self.files, Path::new(NODE_META_NAME), &node.encode())
            .map_err(|source| self.io(NODE_META_NAME, source))?;
        Ok(node)
    }

    /// The clean marker, which is gone afterwards, and the metadata log that it speaks of.
    fn marker_and_metadata(
        &self,
        files: &Arc<F>,
        node: &NodeMeta,
    ) -> Result<(Option<CleanMarker>, FoundLog<F>), OpenError> {
        let clean = self.clean_marker(node)?;
        let metadata = MetadataLog::find(Arc::clone(files)).map_err(|error| self.metadata_error(error))?;
        if let Some(marker) = &clean {
            // Before the marker goes: a second start would know less, and cut.
            let closed = Vouched { was_closed: true, durable: marker.metadata() };
            metadata.check(closed).map_err(|damage| self.metadata_damage(damage))?;
        }
        self.remove_clean_marker()?;
        Ok((clean, metadata))
    }

    /// Opens what was recovered; who has which slot, and what became of each partition.
    fn open_logs(
        &self,
        shared: &Shared<F>,
        recovered: Vec<Recovering>,
        metadata_slot: Option<u32>,
        slots: SlotsFile<F>,
        topic_options: &impl Fn(&Topic) -> LogOptions,
    ) -> (DurablePoints<F>, Vec<OpenedPartition<F>>) {
        let deadline = SlotsDeadline::new(self.options.slots_sync);
        let numbers = metadata_slot.map(|number| (METADATA, number)).into_iter().collect();
        let below = HashMap::new();
        let mut durable = DurablePoints { slots, numbers, logs: BTreeMap::new(), below, deadline };
        let open = |partition: Recovering| {
            let options = topic_options(&partition.wanted.topic);
            open_log(shared, partition, options, &mut durable)
        };
        let partitions = recovered.into_iter().map(open).collect();
        (durable, partitions)
    }

    /// Writes down where every log is durable, and under which boot; and, if it is not written yet, where the metadata
    /// is.
    pub(super) fn write_slots(
        &self,
        recovered: &[Recovering],
        metadata: Option<(u32, SlotUpdate)>,
        slots: &mut SlotsFile<F>,
    ) -> Result<(), OpenError> {
        let metadata = metadata.filter(|(number, update)| {
            let known = slots.last(*number).map(|slot| (slot.durable_pos, slot.durable_next_offset));
            let is_torn = known.is_some() && !slots.has_two(*number);
            is_torn || known.unwrap_or_default() != (update.durable_pos, update.durable_next_offset)
        });
        let update = |partition: &Recovering| {
            let (log, _) = partition.outcome.as_ref().ok()?;
            Some((partition.slot?, log.slot(self.now, self.files.boot(), self.options.run_id)))
        };
        let partitions: Vec<_> = recovered.iter().filter_map(update).collect();
        // Both copies have to tell where a log begins before anything below goes, and that of the run before may be in
        // the cache only.
        let expires = |partition: &&Recovering| !partition.expired.is_empty();
        let expiring: Vec<_> = recovered.iter().filter(expires).filter_map(update).collect();
        // A file system that never overwrites wants room even for that. Of the metadata less is vouched for then; of a
        // partition nothing would tell which epoch begins.
        let written = unless_full(slots.clear_torn())
            .and_then(|()| unless_full(slots.begin(metadata.as_slice())))
            .and_then(|()| slots.begin(&partitions))
            .and_then(|()| slots.begin(&expiring));
        written.map_err(|source| self.io(SLOTS_NAME, source))
    }

    fn metadata_error(&self, error: MetadataOpenError) -> OpenError {
        match error {
            MetadataOpenError::Damage(damage) => self.metadata_damage(damage),
            MetadataOpenError::Io(source) => self.io(METADATA_LOG_NAME, source),
        }
    }

    fn metadata_damage(&self, damage: MetadataDamage) -> OpenError {
        OpenError::Metadata { file: self.path(METADATA_LOG_NAME), damage }
    }

    fn make_dir(&self, name: &str) -> Result<(), OpenError> {
        match self.files.entry(Path::new(name)).map_err(|source| self.io(name, source))? {
            Some(entry) if entry.kind == EntryKind::Directory => Ok(()),
            _ => self.files.create_dir(Path::new(name)).map_err(|source| self.io(name, source)),
        }
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, OpenError> {
        Ok(self.files.entry(Path::new(name)).map_err(|source| self.io(name, source))?.is_some())
    }

    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let (root, name) = (self.files.root(), name.as_ref());
        // Joined with nothing it would end with a slash.
        if name.as_os_str().is_empty() { root.to_owned() } else { root.join(name) }
    }

    pub(super) fn io(&self, name: impl AsRef<Path>, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path(name), source }
    }
}

/// What is used below the data directory; a volume for backups, or `.zfs`, is none of ours.
const OURS: [&str; 8] =
    [TOPICS_NAME, "metadata", TRASH_NAME, QUARANTINE_NAME, SLOTS_NAME, NODE_META_NAME, CLEAN_NAME, LOCK_NAME];

/// Opens the log of a partition that was recovered, and notes whose slot is whose.
pub(super) fn open_log<F: Files>(
    shared: &Shared<F>,
    partition: Recovering,
    options: LogOptions,
    durable: &mut DurablePoints<F>,
) -> OpenedPartition<F> {
    let Recovering { wanted: Wanted { id, topic, dir }, slot, outcome, below, .. } = partition;
    durable.numbers.extend(slot.map(|number| (id, number)));
    let log = |recovered| Log::open(shared, dir, id, options, recovered);
    let (state, below) = match outcome {
        Ok((recovered, report)) => {
            let log = log(recovered);
            durable.logs.insert(id, Arc::clone(&log));
            (Ok((log, report)), None)
        }
        Err(damage) => (Err(damage), below.map(log)),
    };
    durable.below.extend(below.iter().map(|log| (id, Arc::clone(log))));
    OpenedPartition { id, topic: topic.name, state, below }
}

/// That there is no room is no error.
fn unless_full(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if is_full(&error) => Ok(()),
        written => written,
    }
}
