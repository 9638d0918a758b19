//! What a data directory has once: whose it is, the clean marker, the slots, what was put aside or thrown away.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use folio_record::Timestamp;

use super::{Dump, Item};
use crate::clean::{CLEAN_NAME, CLEAN_SIZE_MAX, CleanMarker};
use crate::data_dir::TOPICS_NAME;
use crate::envelope::ENVELOPE_SIZE_MAX;
use crate::files::{DirEntry, EntryKind, FileHandle, Files, OpenMode, read_file};
use crate::lock::{Holder, LOCK_NAME};
use crate::node::{NODE_META_NAME, NodeMeta};
use crate::partition::PartitionId;
use crate::quarantine::{Note, QUARANTINE_NAME};
use crate::slots::{
    EXTENT_SIZE, HEADER_SIZE, METADATA, SLOT_SIZE, SLOTS_NAME, SLOTS_PER_EXTENT, SlotCopy, slot_position,
};
use crate::trash::TRASH_NAME;

impl<F: Files> Dump<'_, F> {
    pub(super) fn lock(&mut self) {
        // None: nobody has ever had it. Nothing depends on what stands in it.
        let Ok(Some(text)) = read_file(self.files, Path::new(LOCK_NAME), ENVELOPE_SIZE_MAX) else { return };
        let holder = Holder::decode(&String::from_utf8_lossy(&text));
        let Holder { pid, host, run_id, started, .. } = holder;
        (self.show)(Item::Lock { pid, host, run_id, started_ms: started.map(Timestamp::get) });
    }

    /// What lies in quarantine: all of it, or what belonged to the partition that is looked at.
    pub(super) fn quarantine(&mut self) {
        let dir = Path::new(QUARANTINE_NAME);
        let entries = self.listed(dir);
        let names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        for DirEntry { name, len: bytes, .. } in entries {
            let file = dir.join(&name);
            let about = name.strip_suffix(".json").filter(|about| names.contains(*about));
            let note = self.note(&dir.join(format!("{name}.json")));
            let wanted = self.options.partition.as_ref().map(|wanted| Path::new(TOPICS_NAME).join(wanted));
            let is_wanted = wanted.is_none_or(|wanted| {
                note.as_ref().is_some_and(|note| Path::new(&note.file).starts_with(&wanted))
            });
            if about.is_some() || !is_wanted {
                continue;
            }
            if name.ends_with(".json") || name.ends_with(".tmp") {
                (self.show)(Item::Unfinished { file, bytes });
                continue;
            }
            (self.show)(Item::Quarantined {
                file,
                bytes,
                of: note.as_ref().map(|note| note.file.clone()),
                position: note.as_ref().map(|note| note.position),
                first_offset: note.as_ref().and_then(|note| note.first_offset),
                intact_batches: note.as_ref().map(|note| note.intact_batches),
                reason: note.as_ref().map(|note| note.reason.clone()),
                at_ms: note.as_ref().map(|note| note.at_ms),
            });
        }
    }

    /// A note, if there is one: a start on a full disk goes without.
    fn note(&mut self, path: &Path) -> Option<Note> {
        let bytes = read_file(self.files, path, ENVELOPE_SIZE_MAX).ok().flatten()?;
        match serde_json::from_slice(&bytes) {
            Ok(note) => Some(note),
            Err(error) => {
                self.broken(path, 0, error);
                None
            }
        }
    }

    pub(super) fn trash(&mut self) {
        let dir = Path::new(TRASH_NAME);
        for entry in self.listed(dir) {
            let is_directory = entry.kind == EntryKind::Directory;
            (self.show)(Item::Trash { file: dir.join(&entry.name), bytes: entry.len, is_directory });
        }
    }

    /// A copy of a directory may come without those that are empty.
    fn listed(&mut self, dir: &Path) -> Vec<DirEntry> {
        match self.files.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.broken(dir, 0, error);
                Vec::new()
            }
        }
    }

    pub(super) fn node(&mut self) {
        self.envelope(Path::new(NODE_META_NAME), |bytes| {
            let node = NodeMeta::decode(bytes).map_err(|error| error.to_string())?;
            let NodeMeta { dir, cluster, format, created } = node;
            let (directory, cluster) = (dir.to_string(), cluster.to_string());
            Ok(vec![Item::Node { directory, cluster, format, created_ms: created.get() }])
        });
    }

    pub(super) fn clean(&mut self) {
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
                            partition: of(row.partition),
                            active_base: row.active_base.get(),
                            log_len: row.log_len,
                            next_offset: row.next_offset.get(),
                        });
                    }
                }
                // A start had no room to take it away.
                None if CleanMarker::is_void(&bytes) => {}
                None => self.broken(path, 0, "not an intact clean marker"),
            },
            Err(error) => self.broken(path, 0, error),
        }
    }

    pub(super) fn slots(&mut self) {
        let path = Path::new(SLOTS_NAME);
        let file = match self.files.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) => return self.broken(path, 0, error),
        };
        let extents = file.len().unwrap_or(0).saturating_sub(HEADER_SIZE) / EXTENT_SIZE;
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
                        partition: of(slot.partition),
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
}

fn of(partition: PartitionId) -> String {
    if partition == METADATA { "metadata".to_owned() } else { partition.to_string() }
}
