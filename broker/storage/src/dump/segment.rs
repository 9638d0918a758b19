//! A segment: its batches, its indexes and its footer.

use std::path::Path;
use std::time::Duration;

use folio_record::{Batch, DecompressLimit, LeaderEpoch, Offset};

use super::{Dump, Item};
use crate::files::{FileHandle, Files, OpenMode};
use crate::footer::Footer;
use crate::index::{
    INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE, IndexHeader, IndexKind, OffsetEntry, SegmentUid, TimeEntry,
    entries_in, entry_position,
};
use crate::partition_files::SegmentFile;
use crate::scan::{BATCH_SIZE_LIMIT, Rules, Scan, Step, UNPACKED_MAX};
use crate::verdict::Fault;

/// How often a batch is looked at again that ends behind its file: it takes no time to be written, but it takes turns.
const LOOKS_AT_A_CUT: u32 = 20;

impl<F: Files> Dump<'_, F> {
    pub(super) fn batches(
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
        let (mut position, mut due, mut looks) = (0, base, LOOKS_AT_A_CUT);
        loop {
            let mut scan = match Scan::new(&file, position, due, LeaderEpoch::NONE, rules) {
                Ok(scan) => scan,
                Err(error) => return self.broken(path, position, error),
            };
            let fault = loop {
                (position, due) = (scan.at(), scan.expected());
                match scan.next() {
                    Ok(Step::End) => return,
                    Ok(Step::Batch { at, batch }) => each(self, (path, at), &batch),
                    Ok(Step::Fault(fault)) => break fault,
                    Err(error) => return self.broken(path, position, error),
                }
            };
            // A daemon may be writing it.
            let may_grow = matches!(fault, Fault::CutHeader { .. } | Fault::CutBatch { .. });
            if !may_grow || looks == 0 {
                return self.broken(path, position, fault);
            }
            looks -= 1;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn batch(&mut self, (file, position): (&Path, u64), batch: &Batch<'_>) {
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
        let records = match batch.records(DecompressLimit::new(UNPACKED_MAX)) {
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

    pub(super) fn index(&mut self, path: &Path, base: Offset, uid: SegmentUid, file: SegmentFile) {
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
        let footer = match kind {
            IndexKind::Offset => Footer::read(&handle, len, uid).ok().flatten(),
            IndexKind::Time => None,
        };
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
}
