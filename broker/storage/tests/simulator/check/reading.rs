//! What readers of a log are given, from wherever they look, by offset and by time.

use std::collections::BTreeMap;

use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset, Timestamp, UnverifiedBatch};
use folio_storage::{Cursor, Log, Read, Touch};

use crate::model::{Partition, Row, rows};
use crate::seam::Seam;
use crate::world::{Outcome, World, ensure};

impl World {
    /// What consumers see is what was appended, from wherever they look.
    pub(super) fn check_log(&mut self, partition: &Partition, log: &Log<Seam>) -> Outcome {
        let (start, end) = (log.log_start().get(), log.high_watermark().get());
        let mut read = Vec::new();
        let (mut offset, mut cursor) = (start, Cursor::default());
        while offset < end {
            let max_bytes = 100 << self.random.up_to(6);
            let (bytes, next) = fetch(log, offset, max_bytes, &mut cursor)?;
            ensure!(next > offset, "a read at {offset} leads to {next}");
            read.extend_from_slice(&bytes);
            offset = next;
        }
        let rows: Vec<Row> = rows(&read)?.into_iter().filter(|row| row.offset >= start).collect();
        let due = partition.bytes(start, end);
        match partition.compacted {
            None => ensure!(read == due, "{}", difference(&read, &due)),
            Some(compacted) => {
                let due = partition.records(start, end)?;
                check_compacted(&rows, &due, compacted, self.clock - partition.tombstones_ms)?;
            }
        }
        for batch in partition.batches.iter().filter(|batch| batch.next > start && batch.next <= end) {
            // One that was compacted away may have taken its epoch along.
            let is_there = rows.iter().any(|row| (batch.base..batch.next).contains(&row.offset));
            let epoch = log.epochs().of(Offset::new(batch.base)).map(LeaderEpoch::get);
            let is_due = epoch == Some(batch.epoch) || !is_there && partition.compacted.is_some();
            ensure!(is_due, "epoch {epoch:?} at {}, not {}", batch.base, batch.epoch);
        }
        for _ in 0..2 {
            let offset = start + self.random.up_to((end - start).max(1) as u64 - 1) as i64;
            if offset < end {
                let (bytes, _) = fetch(log, offset, 1, &mut Cursor::default())?;
                let (batch, _) = UnverifiedBatch::split_first(&bytes).map_err(|error| error.to_string())?;
                let header = *batch.verify().map_err(|error| error.to_string())?.header();
                let (base, next) = (header.base_offset.get(), header.next_offset().get());
                // What lay in between may have been compacted away.
                let begins =
                    base <= offset || partition.compacted.is_some_and(|compacted| offset < compacted);
                ensure!(begins && offset < next, "{offset} leads to {base}..{next}");
            }
            let time = self.clock - self.random.up_to(20_000) as i64;
            let hit = log.offset_for_time(Timestamp::new(time)).map_err(|error| error.to_string())?;
            let hit = hit.map(|hit| (hit.offset.get(), hit.timestamp.get()));
            let due = rows.iter().find(|row| row.time >= time).map(|row| (row.offset, row.time));
            ensure!(hit == due, "time {time} leads to {hit:?} and not to {due:?}");
        }
        Ok(())
    }
}

/// Of each key the last record is there, and whatever is there is as it was appended, and in its place. Tombstones are
/// there for their time, which begins with a pass: those from `kept_from` on in any case.
fn check_compacted(found: &[Row], due: &[Row], compacted: i64, kept_from: i64) -> Outcome {
    let by_offset: BTreeMap<i64, &Row> = due.iter().map(|row| (row.offset, row)).collect();
    for row in found {
        ensure!(by_offset.get(&row.offset) == Some(&row), "offset {} is another record", row.offset);
    }
    ensure!(found.is_sorted_by_key(|row| row.offset), "records are out of order");
    let there = |offset| found.binary_search_by_key(&offset, |row| row.offset).is_ok();
    let mut last: BTreeMap<&[u8], &Row> = BTreeMap::new();
    for row in due {
        ensure!(row.offset < compacted || there(row.offset), "offset {} is gone", row.offset);
        last.insert(row.key.as_deref().unwrap_or_default(), row);
    }
    for (key, row) in last {
        let left = found.iter().rfind(|found| found.key.as_deref() == Some(key));
        // A tombstone goes in the end, but not before what it stands for.
        let is_gone = left.is_none() && row.value.is_none();
        ensure!(!is_gone || row.time < kept_from, "the tombstone of {key:?} at {} is gone early", row.offset);
        let is_last = left == Some(row) || is_gone;
        ensure!(is_last, "of {key:?} {left:?} is left, and {} was the last", row.offset);
    }
    Ok(())
}

/// The batches from one that begins at `from` on, up to `end`.
pub(super) fn read_all(log: &Log<Seam>, from: i64, end: i64) -> Outcome<Vec<u8>> {
    let (mut offset, mut cursor, mut read) = (from, Cursor::default(), Vec::new());
    while offset < end {
        let (bytes, next) = fetch(log, offset, 1 << 20, &mut cursor)?;
        read.extend_from_slice(&bytes);
        offset = next;
    }
    Ok(read)
}

fn fetch(log: &Log<Seam>, offset: i64, max_bytes: usize, cursor: &mut Cursor) -> Outcome<(Vec<u8>, i64)> {
    match log.read(Offset::new(offset), max_bytes, cursor, Touch::Any) {
        Ok(Read::Ready(fetched)) => {
            let slice = fetched.slice.ok_or_else(|| format!("nothing at {offset}"))?;
            Ok((slice_bytes(&slice)?, fetched.next_offset.get()))
        }
        Ok(Read::Cold) => Err("cold, although it may wait".to_owned()),
        Err(error) => Err(format!("a read at {offset}: {error}")),
    }
}

pub(crate) fn slice_bytes(slice: &MapSlice) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; slice.len()];
    slice.copy_to(0, &mut bytes).map_err(|_| "a page cannot be read".to_owned())?;
    Ok(bytes)
}

fn difference(read: &[u8], due: &[u8]) -> String {
    let at = read.iter().zip(due).position(|(read, due)| read != due);
    format!("{} bytes were read where {} are due; they differ from {at:?} on", read.len(), due.len())
}
