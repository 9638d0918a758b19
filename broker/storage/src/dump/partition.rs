//! A partition's directory, file by file.

use std::io;
use std::path::Path;

use folio_record::{Offset, Timestamp};

use super::{Dump, Item};
use crate::compacted::Compacted;
use crate::epochs::{EPOCHS_NAME, Epochs};
use crate::files::Files;
use crate::footer::Footer;
use crate::index::SegmentUid;
use crate::partition::{PARTITION_META_NAME, PartitionMeta};
use crate::partition_files::{PartitionFile, SegmentFile};
use crate::producers::{Producers, SNAPSHOT_PRODUCERS_MAX};
use crate::recovery::read_compacted;
use crate::replacement::Replacement;

impl<F: Files> Dump<'_, F> {
    pub(super) fn partition(&mut self, dir: &Path) {
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
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
                    let uid = id.map(|id| SegmentUid::new(id, base));
                    let footer =
                        uid.and_then(|uid| Footer::of_segment(self.files, dir, base, uid).ok().flatten());
                    let ends_at = footer.filter(|footer| footer.has_gaps).map(|footer| footer.next_offset);
                    let is_told = (base < gaps_below).then_some(Offset::new(i64::MAX));
                    self.batches(&path, base, ends_at.or(is_told), Self::batch);
                }
                Some(PartitionFile::Segment(base, file)) => {
                    if let Some(id) = id {
                        self.index(&path, base, SegmentUid::new(id, base), file);
                    }
                }
                Some(PartitionFile::Snapshot(end)) => self.snapshot(&path, end),
                Some(PartitionFile::Unfinished) => {
                    (self.show)(Item::Unfinished { file: path, bytes: entry.len });
                }
                Some(PartitionFile::Meta | PartitionFile::Epochs) => {}
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
}
