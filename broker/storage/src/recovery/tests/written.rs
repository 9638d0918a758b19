//! A partition written by hand, as an appender would have, for the claims about its recovery.

use std::collections::BTreeMap;
use std::path::Path;

use folio_record::{BatchBuilder, Compression, NewRecord, stamp};
use uuid::Uuid;

use crate::clean::CleanPartition;
use crate::files::{FileHandle, OpenMode, SimFiles};
use crate::partition_files::SegmentFile;
use crate::quarantine::QUARANTINE_NAME;
use crate::recovery::*;
use crate::slots::SlotUpdate;
use crate::verdict::Reason;

pub(super) const DIR: &str = "t-0";
pub(super) const ID: PartitionId = PartitionId { topic: Uuid::from_u128(5), partition: 0 };
pub(super) const INTERVAL: u32 = 1000;
pub(super) const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

/// A partition written by hand, as an appender would have.
pub(super) struct Written {
    pub(super) files: SimFiles,
    pub(super) segments: Vec<Segment>,
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) slot: Option<Slot>,
}

pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) indexer: Indexer,
    /// Where its batches begin, with their offsets; and the end.
    pub(super) batches: Vec<(u64, Offset)>,
    pub(super) len: u64,
}

impl Written {
    pub(super) fn new() -> Self {
        let files = SimFiles::new();
        files.create_dir(Path::new(DIR)).unwrap();
        files.create_dir(Path::new(QUARANTINE_NAME)).unwrap();
        put(&files, &Path::new(DIR).join("epochs"), &Epochs::new().encode());
        let mut written =
            Self { files, segments: Vec::new(), next: Offset::ZERO, epoch: LeaderEpoch::new(0), slot: None };
        written.roll();
        written
    }

    /// A log of three segments with ten batches each, all synced; durable up to the middle of the last.
    pub(super) fn with_segments() -> Self {
        let mut written = Self::new();
        for segment in 0..3 {
            if segment > 0 {
                written.roll();
            }
            for number in 0..10 {
                if segment == 2 && number == 5 {
                    written.durable();
                }
                written.append(300);
            }
        }
        written.files.sync_everything().unwrap();
        written
    }

    pub(super) fn roll(&mut self) {
        if let Some(segment) = self.segments.last_mut() {
            let entry = segment.indexer.rolled();
            let uid = SegmentUid::new(ID, segment.base);
            let number = segment.indexer.time_entries() - u32::from(entry.is_some());
            if let Some(entry) = entry {
                let path = SegmentFile::TimeIndex.path(Path::new(DIR), segment.base);
                put_at(&self.files, &path, &entry.encode(uid, number), crate::index::entry_position(number));
            }
        }
        let base = self.next;
        self.segments.push(Segment {
            base,
            indexer: Indexer::new(base, INTERVAL),
            batches: Vec::new(),
            len: 0,
        });
        put(&self.files, &log(base), &[]);
        for (kind, file) in index_files() {
            let uid = SegmentUid::new(ID, base);
            let header = crate::index::IndexHeader { kind, base, uid, interval: INTERVAL };
            put(&self.files, &file.path(Path::new(DIR), base), &header.encode());
        }
    }

    pub(super) fn append(&mut self, size: usize) {
        self.append_bytes(&batch(self.next, self.epoch, size, 1000 + self.next.get()));
    }

    pub(super) fn append_bytes(&mut self, bytes: &[u8]) {
        let header = folio_record::BatchHeader::parse(bytes.first_chunk().unwrap()).unwrap();
        let segment = self.segments.last_mut().unwrap();
        let at = segment.len;
        put_at(&self.files, &log(segment.base), bytes, at);
        let uid = SegmentUid::new(ID, segment.base);
        let (offsets, times) = (segment.indexer.offset_entries(), segment.indexer.time_entries());
        let indexed = segment.indexer.batch(at as u32, &header);
        if let Some(entry) = indexed.offset {
            let path = SegmentFile::OffsetIndex.path(Path::new(DIR), segment.base);
            put_at(&self.files, &path, &entry.encode(uid, offsets), crate::index::entry_position(offsets));
        }
        if let Some(entry) = indexed.time {
            let path = SegmentFile::TimeIndex.path(Path::new(DIR), segment.base);
            put_at(&self.files, &path, &entry.encode(uid, times), crate::index::entry_position(times));
        }
        segment.batches.push((at, self.next));
        segment.len += bytes.len() as u64;
        self.next = header.next_offset();
    }

    /// Everything so far is flushed, and the slot says so; there is a snapshot of nobody.
    pub(super) fn durable(&mut self) {
        let snapshot = crate::partition_files::snapshot_path(Path::new(DIR), self.next);
        put(&self.files, &snapshot, &crate::producers::Producers::new(100).encode());
        self.files.sync_everything().unwrap();
        let segment = self.segments.last().unwrap();
        self.slot = Some(self.slot_at(segment.base, segment.len, self.next));
    }

    pub(super) fn slot_at(&self, base: Offset, pos: u64, next: Offset) -> Slot {
        let update = SlotUpdate {
            leader_epoch: self.epoch,
            durable_segment_base: base,
            durable_pos: pos,
            durable_next_offset: next,
            log_start: Offset::ZERO,
            visible: next,
            written_at: NOW,
            boot: self.files.boot(),
            run_id: 1,
        };
        update.into_slot(ID, 0)
    }

    pub(super) fn recover(&self) -> Result<(RecoveredLog, PartitionReport), RecoveryError> {
        self.recover_with(None)
    }

    pub(super) fn recover_with(
        &self,
        clean: Option<&CleanPartition>,
    ) -> Result<(RecoveredLog, PartitionReport), RecoveryError> {
        let survey = survey(&self.files, Path::new(DIR))?;
        let task = Task {
            id: ID,
            slot: self.slot.as_ref(),
            clean,
            index_interval: INTERVAL,
            trusts_footers: true,
            producers_max: 100,
            uncleared: None,
            is_to_be_cleared: false,
            now: NOW,
        };
        recover(&self.files, &survey, &task)
    }

    /// Recovers, expects the partition to go offline without a byte changed, and gives the damage.
    pub(super) fn offline(&self) -> Damage {
        let before = self.files.snapshot();
        let damage = match self.recover() {
            Err(RecoveryError::Offline(damage)) => damage,
            other => panic!("not offline: {other:?}"),
        };
        assert_eq!(self.files.snapshot(), before, "something was changed");
        damage
    }

    pub(super) fn reason(&self) -> (Fault, Reason, u64, Offset) {
        match self.offline() {
            Damage::Log { fault, reason, position, offset, .. } => (fault, reason, position, offset),
            other => panic!("{other}"),
        }
    }

    /// Recovers, expects a cut, and gives it.
    pub(super) fn cut(&self) -> Cut {
        let (log, report) = self.recover().expect("a recovered log");
        let cut = report.cut.expect("a cut");
        assert_eq!(log.log_end, cut.offset);
        assert_eq!(log.segments.last().unwrap().len, cut.position);
        cut
    }

    /// Where batch `number` of segment `segment` begins, and its offset.
    pub(super) fn batch(&self, segment: usize, number: usize) -> (u64, Offset) {
        self.segments[segment].batches[number]
    }

    pub(super) fn tamper(&self, segment: usize, change: impl FnOnce(&mut Vec<u8>)) {
        self.files.tamper(&log(self.segments[segment].base), change);
    }

    pub(super) fn power_was_lost(&mut self) {
        // Everything was synced, so a crash takes nothing; but the machine has booted since.
        self.files.sync_everything().unwrap();
        self.files.crash(0);
    }
}

pub(super) fn batch(base: Offset, epoch: LeaderEpoch, size: usize, timestamp: i64) -> Vec<u8> {
    let value: Vec<u8> = (0..size).map(|byte| (byte % 251 + 1) as u8).collect();
    batch_of(base, epoch, &value, timestamp)
}

pub(super) fn batch_of(base: Offset, epoch: LeaderEpoch, value: &[u8], timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, 8 << 20);
    for delta in 0..2 {
        let timestamp = Timestamp::new(timestamp + delta);
        builder.append(&NewRecord { timestamp, key: None, value: Some(value), headers: &[] }).unwrap();
    }
    let mut bytes = builder.build().unwrap();
    stamp(&mut bytes, base, epoch);
    bytes
}

pub(super) fn index_files() -> [(crate::index::IndexKind, SegmentFile); 2] {
    use crate::index::IndexKind;
    [(IndexKind::Offset, SegmentFile::OffsetIndex), (IndexKind::Time, SegmentFile::TimeIndex)]
}

pub(super) fn log(base: Offset) -> PathBuf {
    SegmentFile::Log.path(Path::new(DIR), base)
}

pub(super) fn put(files: &SimFiles, path: &Path, bytes: &[u8]) {
    put_at(files, path, bytes, 0);
}

pub(super) fn put_at(files: &SimFiles, path: &Path, bytes: &[u8], at: u64) {
    files.open(path, OpenMode::Create).unwrap().write_at(bytes, at).unwrap();
}

pub(super) fn partition_files(files: &SimFiles) -> BTreeMap<PathBuf, Vec<u8>> {
    files.snapshot().into_iter().filter(|(path, _)| path.starts_with(DIR)).collect()
}

pub(super) fn quarantined(files: &SimFiles) -> Vec<Vec<u8>> {
    let is_kept =
        |path: &PathBuf| path.starts_with(QUARANTINE_NAME) && path.extension() != Some("json".as_ref());
    files.snapshot().into_iter().filter(|(path, _)| is_kept(path)).map(|(_, bytes)| bytes).collect()
}
