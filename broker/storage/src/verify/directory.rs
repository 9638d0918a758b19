//! The files of the directory as a whole, and which partitions there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use folio_record::{Offset, Timestamp};
use uuid::Uuid;

use super::partition::{self, Partition};
use super::slots::Slots;
use super::{Finding, Findings, Known, Need, Severity, VerifyError};
use crate::clean::{CLEAN_NAME, CLEAN_SIZE_MAX, CleanMarker, CleanPartition};
use crate::data_dir::{TOPICS_NAME, not_of_a_set_up, partition_dir};
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::files::{DirEntry, EntryKind, FileHandle, Files, OpenMode, parent, read_file, tmp_path};
use crate::lock::LOCK_NAME;
use crate::metadata::{METADATA_LOG_NAME, ReadTopics, Topic, TopicPhase, Vouched, read_topics};
use crate::node::{FORMAT, NODE_META_NAME, NodeMeta};
use crate::partition::{PARTITION_META_NAME, PartitionId, PartitionMeta};
use crate::quarantine::{QUARANTINE_NAME, is_damaged_copy};
use crate::slots::{METADATA, SLOTS_NAME};
use crate::trash::TRASH_NAME;

/// A directory as it stands.
struct Directory<'a, 'f, F> {
    files: &'a F,
    findings: &'a mut Findings<'f>,
    only: Option<PathBuf>,
    was_closed: bool,
    rows: HashMap<PartitionId, CleanPartition>,
    slots: Slots,
    /// Where directories belong that have another name.
    renamed: BTreeSet<PathBuf>,
}

/// Looks at everything, or at what concerns the partition named `only`.
pub(super) fn look<F: Files>(
    files: &F,
    only: Option<&str>,
    findings: &mut Findings<'_>,
) -> Result<(), VerifyError> {
    let only = only.map(|name| Path::new(TOPICS_NAME).join(name));
    findings.is_quiet = only.is_some();
    if only.is_none() && is_being_set_up(files)? {
        let what = "it was being set up; the next start begins anew";
        findings.add(Finding::new(Severity::Interrupted, Path::new(NODE_META_NAME), what));
        return Ok(());
    }
    check_is_ours(files)?;
    let node = look_at_node(files, findings);
    let marker = look_at_marker(files, node, findings);
    let was_closed = marker.is_some();
    let slots = Slots::look(files, node.map(|node| node.dir), was_closed, findings);
    let rows = marker.iter().flat_map(|marker| &marker.partitions).map(|row| (row.partition, *row));
    let (rows, renamed) = (rows.collect(), BTreeSet::new());
    findings.needs.node = node;
    findings.needs.slots_dir = slots.dir;
    let mut directory = Directory { files, findings, only, was_closed, rows, slots, renamed };
    let topics = directory.topics();
    directory.names();
    directory.quarantine();
    directory.partitions(topics.as_ref())
}

/// Whether nothing was ever stored here: `node.meta` comes last, when a directory is set up.
fn is_being_set_up<F: Files>(files: &F) -> Result<bool, VerifyError> {
    let has = |name: &str| {
        let entry = files.entry(Path::new(name)).map_err(|source| io(files, name, source))?;
        Ok::<_, VerifyError>(entry.is_some())
    };
    if has(NODE_META_NAME)? || !has(TOPICS_NAME)? {
        return Ok(false);
    }
    let foreign = not_of_a_set_up(files).map_err(|(name, source)| io(files, name, source))?;
    Ok(foreign.is_none())
}

/// Whether this is a data directory, of a format that is known here: nothing else is for this build to judge.
///
/// # Errors
/// It is not.
pub(crate) fn check_is_ours<F: Files>(files: &F) -> Result<(), VerifyError> {
    let entry = |name: &str| files.entry(Path::new(name)).map_err(|source| io(files, name, source));
    if entry(NODE_META_NAME)?.is_none() && entry(TOPICS_NAME)?.is_none() {
        return Err(VerifyError::NotOurs { dir: files.root().to_owned() });
    }
    match read_node(files) {
        Ok(node) if node.format > FORMAT => {
            let dir = files.root().to_owned();
            Err(VerifyError::Newer { dir, found: node.format, supported: FORMAT })
        }
        _ => Ok(()),
    }
}

fn read_node<F: Files>(files: &F) -> Result<NodeMeta, String> {
    match read_file(files, Path::new(NODE_META_NAME), ENVELOPE_SIZE_MAX) {
        Ok(Some(bytes)) => NodeMeta::decode(&bytes).map_err(|error| error.to_string()),
        Ok(None) => Err("the file is missing".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn look_at_node<F: Files>(files: &F, findings: &mut Findings<'_>) -> Option<NodeMeta> {
    let node = read_node(files);
    node.map_err(|what| findings.damage(Path::new(NODE_META_NAME), what, Need::Node)).ok()
}

/// The marker of a clean stop, if it vouches for this directory.
fn look_at_marker<F: Files>(
    files: &F,
    node: Option<NodeMeta>,
    findings: &mut Findings<'_>,
) -> Option<CleanMarker> {
    let path = Path::new(CLEAN_NAME);
    let what = match read_file(files, path, CLEAN_SIZE_MAX) {
        Ok(None) => return None,
        Ok(Some(bytes)) => match CleanMarker::decode(&bytes) {
            Some(marker) if node.is_none_or(|node| node.dir == marker.dir) => return Some(marker),
            Some(marker) => format!("it belongs to data directory {}", marker.dir),
            None if CleanMarker::is_void(&bytes) => return None,
            None => "the marker of a clean stop is damaged; the next start scans".to_owned(),
        },
        Err(error) => format!("cannot be read: {error}"),
    };
    findings.damage(path, what, Need::Marker);
    None
}

impl<F: Files> Directory<'_, '_, F> {
    /// The topics that the metadata log knows; `None` if it cannot be read.
    fn topics(&mut self) -> Option<BTreeMap<Uuid, Topic>> {
        let path = Path::new(METADATA_LOG_NAME);
        let closed_at = self.rows.get(&METADATA).map(|row| row.next_offset);
        let vouched = Vouched { was_closed: self.was_closed, durable: self.slots.metadata().max(closed_at) };
        let (what, place) =
            match self.files.open(path, OpenMode::Read).map(|file| read_topics(&file, vouched)) {
                Ok(Ok(ReadTopics { topics, torn, damage: None })) => {
                    if let Some(torn) = torn {
                        let what = format!("the last metadata transaction was interrupted: {}", torn.fault);
                        let finding = Finding::new(Severity::Interrupted, path, what);
                        self.findings
                            .add(finding.at(torn.at).of_bytes(torn.bytes).affecting(torn.offset, None));
                    }
                    return Some(topics);
                }
                Ok(Ok(ReadTopics { topics, damage: Some(damage), .. })) => {
                    let what = format!("{damage}{}", damage.remedy());
                    self.damaged_metadata(path, what, damage.place());
                    return Some(topics);
                }
                Ok(Err(error)) => (error.to_string(), error.place()),
                Err(error) => (format!("cannot be opened: {error}"), None),
            };
        let what = format!("{what}; `folio log repair --metadata` makes it anew from the partitions");
        self.damaged_metadata(path, what, place);
        None
    }

    /// The metadata log is not read from this place on.
    fn damaged_metadata(&mut self, path: &Path, what: String, place: Option<(u64, Offset)>) {
        let mut finding = Finding::new(Severity::Damage, path, what);
        if let Some((at, offset)) = place {
            let len = self.files.open(path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(at);
            finding = finding.at(at).of_bytes(len.saturating_sub(at)).affecting(offset, None);
        }
        self.findings.add_with(finding, Need::Metadata);
    }

    /// Files that nothing here makes, and what somebody left half-made.
    fn names(&mut self) {
        let (metadata, log) = (parent(Path::new(METADATA_LOG_NAME)), Path::new(METADATA_LOG_NAME));
        let begun = [NODE_META_NAME, CLEAN_NAME, METADATA_LOG_NAME].map(|name| tmp_path(Path::new(name)));
        for dir in [Path::new(""), metadata] {
            for entry in self.list(dir) {
                let path = dir.join(&entry.name);
                let is_dir = entry.kind == EntryKind::Directory;
                let is_ours = match entry.name.as_str() {
                    TOPICS_NAME | TRASH_NAME | QUARANTINE_NAME | "lost+found" => is_dir && dir != metadata,
                    LOCK_NAME | NODE_META_NAME | SLOTS_NAME | CLEAN_NAME => !is_dir && dir != metadata,
                    _ => path == metadata && is_dir || path == log && !is_dir,
                };
                if begun.contains(&path) {
                    let what = "left by a write that was interrupted before it took effect";
                    self.findings.about(Severity::Interrupted, &path, what);
                } else if !is_ours {
                    let need = Need::Aside(path.clone());
                    self.findings.damage(&path, "does not belong in a data directory", need);
                }
            }
        }
        for name in [TOPICS_NAME, TRASH_NAME, QUARANTINE_NAME] {
            if !matches!(self.files.entry(Path::new(name)), Ok(Some(_))) {
                // A start makes those two that are empty most of the time, and that few copies carry.
                let severity = if name == TOPICS_NAME { Severity::Damage } else { Severity::Harmless };
                self.findings.about(severity, Path::new(name), "the directory is missing");
            }
        }
    }

    /// Copies whose names tell what is in them.
    fn quarantine(&mut self) {
        let dir = Path::new(QUARANTINE_NAME);
        if !matches!(self.files.entry(dir), Ok(Some(_))) {
            return;
        }
        for entry in self.list(dir) {
            let path = dir.join(&entry.name);
            match is_damaged_copy(self.files, &path) {
                Ok(true) => {
                    let what = "the copy is not what was copied: its checksum is in its name";
                    self.findings.damage(&path, what, Need::Aside(path.clone()));
                }
                Ok(false) => {}
                Err(error) => {
                    self.findings.about(Severity::Damage, &path, format_args!("cannot be read: {error}"));
                }
            }
        }
    }

    fn partitions(&mut self, topics: Option<&BTreeMap<Uuid, Topic>>) -> Result<(), VerifyError> {
        let found = self.sort(topics);
        if let Some(only) = &self.only
            && !found.iter().any(|partition| partition.dir == *only)
        {
            let partition = only.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(VerifyError::NoSuchPartition { dir: self.files.root().to_owned(), partition });
        }
        for partition in &found {
            let Partition { dir, meta } = partition;
            let slot = self.slots.of(meta.slot, meta.id).slot();
            let known = Known { meta: *meta, slot, end: None };
            self.findings.needs.partitions.insert(dir.clone(), known);
        }
        self.findings.needs.slots = self.slots.all();
        let only = self.only.clone();
        let asked = |found: &&Partition| only.as_ref().is_none_or(|only| found.dir == *only);
        self.findings.is_quiet = false;
        self.findings.bytes_total =
            found.iter().filter(asked).map(|partition| self.log_bytes(&partition.dir)).sum();
        for found in found.iter().filter(asked) {
            let known = self.slots.of(found.meta.slot, found.meta.id);
            let row = self.rows.get(&found.meta.id).filter(|_| self.was_closed);
            partition::look(self.files, found, known, row, self.findings);
        }
        Ok(())
    }

    /// Which partitions there are: directories against the metadata log, as a start does it.
    fn sort(&mut self, topics: Option<&BTreeMap<Uuid, Topic>>) -> Vec<Partition> {
        let mut wanted: BTreeMap<PathBuf, (PartitionId, &Topic)> = BTreeMap::new();
        for (uuid, topic) in
            topics.into_iter().flatten().filter(|(_, topic)| topic.phase != TopicPhase::Deleted)
        {
            for partition in 0..topic.partitions {
                let id = PartitionId { topic: *uuid, partition };
                wanted.insert(partition_dir(&topic.name, partition), (id, topic));
            }
        }
        let mut found = Vec::new();
        for entry in self.list(Path::new(TOPICS_NAME)) {
            let dir = Path::new(TOPICS_NAME).join(&entry.name);
            let is_wanted = wanted.get(&dir).copied();
            self.speak_up_about(&dir);
            found.extend(self.partition(&dir, &entry, is_wanted, topics));
            wanted.remove(&dir);
        }
        for (dir, (id, topic)) in wanted {
            if self.renamed.contains(&dir) {
                continue;
            }
            self.speak_up_about(&dir);
            if id.partition >= topic.partitions_ready {
                let what = "the partition is announced, and its directory not made yet";
                self.findings.about(Severity::Interrupted, &dir, what);
            } else {
                let finding = Finding::new(Severity::Damage, &dir, "the partition's directory is missing");
                let finding = finding.affecting(Offset::ZERO, None);
                self.findings.add_with(finding, Need::Missing(dir, id));
            }
        }
        found
    }

    fn partition(
        &mut self,
        dir: &Path,
        entry: &DirEntry,
        wanted: Option<(PartitionId, &Topic)>,
        topics: Option<&BTreeMap<Uuid, Topic>>,
    ) -> Option<Partition> {
        if entry.kind != EntryKind::Directory {
            let need = Need::Aside(dir.to_owned());
            self.findings.damage(dir, "does not belong among the partitions", need);
            return None;
        }
        if entry.name.ends_with(".tmp") {
            let what = "made for a partition that was never announced";
            self.findings.about(Severity::Interrupted, dir, what);
            return None;
        }
        let path = dir.join(PARTITION_META_NAME);
        let meta = match read_file(self.files, &path, ENVELOPE_SIZE_MAX) {
            Ok(Some(bytes)) => PartitionMeta::decode(&bytes).map_err(|error| error.to_string()),
            Ok(None) => Err("the file is missing".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        let meta = match (meta, wanted) {
            (Ok(meta), _) => meta,
            (Err(what), wanted) => {
                let what = format!("{what}: nothing says whose directory this is");
                let Some((id, _)) = wanted else {
                    self.findings.damage(&path, what, Need::Aside(dir.to_owned()));
                    return None;
                };
                self.findings.damage(&path, what, Need::Identity(dir.to_owned()));
                // By its name it is this one, and its slot is the one that speaks of it.
                let slot = self.slots.number_of(id).unwrap_or(u32::MAX);
                PartitionMeta { id, slot, created: Timestamp::NONE }
            }
        };
        let Some(topics) = topics else {
            return Some(Partition { dir: dir.to_owned(), meta });
        };
        let topic = topics.get(&meta.id.topic);
        match (wanted, topic) {
            (Some((id, _)), _) if id == meta.id => return Some(Partition { dir: dir.to_owned(), meta }),
            (_, Some(topic)) if topic.phase == TopicPhase::Deleted => {
                self.findings.about(Severity::Interrupted, dir, "its topic is deleted");
            }
            (_, Some(topic)) => return self.misplaced(dir, meta, topic),
            (_, None) => {
                let need = Need::Stranger(dir.to_owned(), meta);
                self.findings.damage(dir, "the metadata log does not know its topic", need);
            }
        }
        None
    }

    /// A directory whose name is not that of its partition.
    fn misplaced(&mut self, dir: &Path, meta: PartitionMeta, topic: &Topic) -> Option<Partition> {
        let belongs = partition_dir(&topic.name, meta.id.partition);
        let is_free = !self.renamed.contains(&belongs)
            && (matches!(self.files.entry(&belongs), Ok(None)) || self.is_of_another(&belongs, meta.id));
        let what = format!("it is the directory of {}-{}", topic.name, meta.id.partition);
        let dir = dir.to_owned();
        if !is_free || meta.id.partition >= topic.partitions {
            self.findings.damage(&dir, what, Need::Aside(dir.clone()));
            return None;
        }
        self.findings.damage(&dir, what, Need::Rename(dir.clone(), belongs.clone()));
        self.renamed.insert(belongs);
        Some(Partition { dir, meta })
    }

    /// Whether what lies at the place of partition `id` says that it is another one. So it leaves that place as well.
    fn is_of_another(&self, dir: &Path, id: PartitionId) -> bool {
        let meta = read_file(self.files, &dir.join(PARTITION_META_NAME), ENVELOPE_SIZE_MAX);
        let meta = meta.ok().flatten().and_then(|bytes| PartitionMeta::decode(&bytes).ok());
        meta.is_some_and(|meta| meta.id != id)
    }

    /// Findings about this directory were asked for, even if those about others were not.
    fn speak_up_about(&mut self, dir: &Path) {
        self.findings.is_quiet = self.only.as_deref().is_some_and(|only| only != dir);
    }

    fn log_bytes(&self, dir: &Path) -> u64 {
        let entries = self.files.list(dir).unwrap_or_default();
        entries.iter().filter(|entry| entry.name.ends_with(".log")).map(|entry| entry.len).sum()
    }

    fn list(&mut self, dir: &Path) -> Vec<DirEntry> {
        match self.files.list(dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.findings.about(Severity::Damage, dir, format_args!("cannot be listed: {error}"));
                Vec::new()
            }
        }
    }
}

fn io<F: Files>(files: &F, name: &str, source: std::io::Error) -> VerifyError {
    VerifyError::Io { path: files.root().join(name), source }
}
