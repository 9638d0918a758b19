//! What a data directory has once: who it is, the clean marker, the slots.

use std::path::Path;

use super::{Dump, Item};
use crate::clean::{CLEAN_NAME, CLEAN_SIZE_MAX, CleanMarker};
use crate::files::{FileHandle, Files, OpenMode, read_file};
use crate::node::{NODE_META_NAME, NodeMeta};
use crate::slots::{
    EXTENT_SIZE, HEADER_SIZE, SLOT_SIZE, SLOTS_NAME, SLOTS_PER_EXTENT, SlotCopy, slot_position,
};

impl<F: Files> Dump<'_, F> {
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
}
