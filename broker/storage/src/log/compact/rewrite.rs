//! What is left of each batch, and the segment that it goes into.

use std::ops::ControlFlow;
use std::sync::Arc;

use folio_record::{Batch, BatchError, DecompressLimit, Offset, Record, Timestamp, UnverifiedBatch};

use super::map::OffsetMap;
use super::output::{Cleaned, Output};
use super::reading::{Looked, Pause, Reading};
use super::{Compacting, Compaction, Progress, Stage};
use crate::data_dir::DataDir;
use crate::files::Files;
use crate::log::Log;
use crate::log::append::{AppendError, failed};
use crate::log::segment::Segment;
use crate::scan::UNPACKED_MAX;

/// A segment that is compacted.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    /// The base of the segment behind it.
    pub(super) next_base: Offset,
}

/// How far the sources were rewritten.
#[derive(Debug)]
pub(super) struct Rewriting<F: Files> {
    /// The source that is read.
    number: usize,
    /// The first of those that go into the present output.
    first: usize,
    reading: Reading<F>,
    output: Output<F>,
}

/// What becomes of a batch.
enum Fate {
    /// It stays as it is.
    Copied,
    /// It goes.
    Dropped,
    /// This takes its place.
    Rewritten(Vec<u8>),
}

/// What decides about records.
struct Judge<'a> {
    map: &'a OffsetMap,
    upto: Offset,
    begun: Timestamp,
    delete_retention_ms: u64,
}

impl Judge<'_> {
    /// Whether a record of a batch with this delete horizon stays.
    fn keeps(&self, record: &Record<'_>, horizon: Option<Timestamp>) -> bool {
        if record.offset >= self.upto {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_superseded = self.map.get(key).is_some_and(|last| last > record.offset.get());
        let has_expired = record.value.is_none() && horizon.is_some_and(|horizon| self.begun >= horizon);
        !is_superseded && !has_expired
    }

    /// What becomes of a batch; also how many records it had, and has. One that `must_stay` is left without records
    /// rather than not at all.
    fn judge(&self, batch: &Batch<'_>, must_stay: bool) -> Result<(Fate, u32, u32), BatchError> {
        let header = batch.header();
        if header.attributes.is_control() {
            return Ok((Fate::Copied, header.count, header.count));
        }
        let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let records = batch.records(DecompressLimit::new(UNPACKED_MAX))?;
        let (mut kept, mut has_tombstones) = (Vec::with_capacity(header.count as usize), false);
        for record in &records {
            let record = record?;
            let is_kept = self.keeps(&record, horizon);
            kept.push(is_kept);
            has_tombstones |= is_kept && record.value.is_none();
        }
        let left = kept.iter().filter(|is_kept| **is_kept).count() as u32;
        // Those of a batch that is compacted only in part wait for the rest.
        let is_compacted = header.last_offset() < self.upto;
        let sets_horizon = has_tombstones && horizon.is_none() && is_compacted;
        let fate = match left {
            0 if !must_stay => Fate::Dropped,
            _ if left == header.count && !sets_horizon => Fate::Copied,
            _ => {
                let later = i64::try_from(self.delete_retention_ms).unwrap_or(i64::MAX);
                let horizon = Timestamp::new(self.begun.get().saturating_add(later));
                let mut kept = kept.into_iter();
                let codec = header.attributes.compression().into();
                let keep = |_: &Record<'_>| kept.next().unwrap_or(true);
                Fate::Rewritten(records.retained(codec, sets_horizon.then_some(horizon), keep)?)
            }
        };
        Ok((fate, header.count, left))
    }
}

impl<F: Files> Compaction<F> {
    /// Learns of more keys.
    pub(super) fn map(&mut self, budget: u64, progress: &mut Progress) -> Result<Compacting, AppendError> {
        let Stage::Mapping(number, reading) = &mut self.stage else { return Ok(Compacting::Abandoned) };
        let (map, dirty_from, upto) = (&mut self.map, self.dirty_from, &mut self.upto);
        let source = &self.sources[*number];
        let mut is_full = false;
        let looked = reading.look(&self.log, source, budget, &mut progress.read, |_, batch| {
            let header = batch.header();
            if header.attributes.is_control() || header.next_offset() <= dirty_from {
                return Ok(ControlFlow::Continue(()));
            }
            let records = batch.records(DecompressLimit::new(UNPACKED_MAX))?;
            for record in &records {
                let record = record?;
                let Some(key) = record.key.filter(|_| record.offset >= dirty_from) else { continue };
                if !map.put(key, record.offset.get()) {
                    (is_full, *upto) = (true, record.offset);
                    return Ok(ControlFlow::Break(Pause::Behind));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let is_last = *number + 1 == self.sources.len();
        match looked {
            Looked::Gone => return Ok(Compacting::Abandoned),
            Looked::Rotten(rotten) => return Ok(Compacting::Rotten(rotten)),
            Looked::Ended if !is_last => {
                let next = *number + 1;
                self.stage = Stage::Mapping(next, Reading::new(&self.sources[next]));
            }
            Looked::Enough if !is_full => {}
            Looked::Enough | Looked::Ended => self.begin_rewriting(is_full),
        }
        Ok(Compacting::Working)
    }

    fn begin_rewriting(&mut self, is_full: bool) {
        let upto = self.upto;
        self.sources.retain(|source| source.segment.base() < upto);
        self.report.is_partial = is_full;
        self.report.keys = self.map.len() as u64;
        self.report.segments_before = self.sources.len() as u64;
        self.report.bytes_before = self.sources.iter().map(|source| source.segment.end()).sum();
        let first = &self.sources[0];
        self.stage = Stage::Rewriting(Box::new(Rewriting {
            number: 0,
            first: 0,
            reading: Reading::new(first),
            output: Output::new(&self.log, first),
        }));
    }

    /// Rewrites more of the sources, or puts what is ready in the place of what it is made of.
    pub(super) fn rewrite(
        &mut self,
        dir: &DataDir<F>,
        budget: u64,
        progress: &mut Progress,
    ) -> Result<Compacting, AppendError> {
        let Stage::Rewriting(rewriting) = &mut self.stage else { return Ok(Compacting::Abandoned) };
        let Rewriting { number, first, reading, output } = &mut **rewriting;
        if output.is_behind() {
            return Ok(match output.catch_up(&self.log, reading.file(), budget, progress)? {
                Looked::Gone => Compacting::Abandoned,
                Looked::Rotten(rotten) => Compacting::Rotten(rotten),
                Looked::Enough | Looked::Ended => Compacting::Working,
            });
        }
        let (source, next) = (&self.sources[*number], self.sources.get(*number + 1));
        let joined = *number + 1 - *first;
        let judge = Judge {
            map: &self.map,
            upto: self.upto,
            begun: self.begun,
            delete_retention_ms: self.options.delete_retention_ms,
        };
        let (remembered, report, end) = (&self.remembered, &mut self.report, source.segment.end());
        let mut failure = None;
        let mut read = 0;
        let looked = reading.look(&self.log, source, budget, &mut read, |at, batch| {
            let header = batch.header();
            // Once a batch goes that had records, what comes of it is written anyway; for one that has none it is not.
            let goes_on = next.is_some_and(|next| match header.count {
                0 => output.takes(next, joined),
                _ => output.has_room_for(next, joined),
            });
            let is_end = !goes_on && at + batch.bytes().len() as u64 == end;
            let must_stay = is_end || remembered.contains(&header.base_offset);
            let (fate, before, after) = judge.judge(batch, must_stay)?;
            let done = match &fate {
                Fate::Copied => output.add(batch, progress),
                // What was the same until here is copied first, and this batch comes again.
                _ if output.must_catch_up() => return Ok(ControlFlow::Break(Pause::Before)),
                Fate::Dropped => Ok(()),
                Fate::Rewritten(bytes) => {
                    let (rewritten, _) = UnverifiedBatch::split_first(bytes)?;
                    output.add(&rewritten.verify()?, progress)
                }
            };
            report.records_before += u64::from(before);
            report.records_after += u64::from(after);
            Ok(match done {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(Pause::Behind)
                }
            })
        })?;
        progress.read += read;
        if let Some(error) = failure {
            return Err(failed(&self.log.dir, source.segment.base(), error));
        }
        match looked {
            Looked::Gone => return Ok(Compacting::Abandoned),
            Looked::Rotten(rotten) => return Ok(Compacting::Rotten(rotten)),
            Looked::Enough => return Ok(Compacting::Working),
            Looked::Ended => {}
        }
        if let Some(next) = next.filter(|next| output.takes(next, joined)) {
            if output.must_catch_up() {
                return Ok(Compacting::Working);
            }
            *number += 1;
            *reading = Reading::new(next);
            return Ok(Compacting::Working);
        }
        self.close_row(dir, progress)
    }

    /// A row of sources is rewritten: what came of it takes its place.
    fn close_row(&mut self, dir: &DataDir<F>, progress: &mut Progress) -> Result<Compacting, AppendError> {
        let Stage::Rewriting(rewriting) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(Compacting::Abandoned);
        };
        let Rewriting { number, first, output, .. } = *rewriting;
        let row = &self.sources[first..=number];
        match self.place(dir, row, output, progress) {
            Ok(Some(bytes)) => self.report.bytes_after += bytes,
            Ok(None) => return Ok(Compacting::Abandoned),
            Err(error) => {
                // What is committed is finished later; and where nobody knows whether it is, the error is the disk's.
                let names = self.log.names();
                if names.is_none() && !matches!(error, AppendError::Io { .. }) {
                    self.log.remove_cleaned(row[0].segment.base());
                }
                drop(names);
                return Err(error);
            }
        }
        self.report.segments_after += 1;
        let Some(next) = self.sources.get(number + 1) else {
            let upto = self.upto;
            let is_noted = self.log.note_compacted(|compacted| compacted.upto = compacted.upto.max(upto))?;
            return Ok(if is_noted { Compacting::Done(self.report) } else { Compacting::Abandoned });
        };
        let (reading, output) = (Reading::new(next), Output::new(&self.log, next));
        let (number, first) = (number + 1, number + 1);
        self.stage = Stage::Rewriting(Box::new(Rewriting { number, first, reading, output }));
        Ok(Compacting::Working)
    }
}

impl<F: Files> Compaction<F> {
    /// Puts what `row` was rewritten to in its place: so many bytes. `None`: the row is gone.
    fn place(
        &self,
        dir: &DataDir<F>,
        row: &[Source],
        output: Output<F>,
        progress: &mut Progress,
    ) -> Result<Option<u64>, AppendError> {
        let (first, last) = (&row[0], &row[row.len() - 1]);
        let end = self.sources.last().map_or(last.next_base, |source| source.next_base);
        // Records without a time are no younger for having been copied.
        let sealed_at = row.iter().filter_map(|source| source.segment.sealed_at()).max();
        match output.finish(&self.log, last.next_base, sealed_at.unwrap_or(self.begun), progress)? {
            Cleaned::Same => Ok(Some(first.segment.end())),
            Cleaned::Gone => Ok(None),
            Cleaned::Ready(ready) => {
                let bytes = ready.footer.log_len;
                let maps = self.log.swap(dir, row, &ready, end)?;
                Ok(maps.map(|maps| {
                    progress.maps.extend(maps);
                    bytes
                }))
            }
        }
    }
}

impl<F: Files> Rewriting<F> {
    /// Removes what was written and is not needed.
    pub(super) fn discard(self, log: &Log<F>) {
        self.output.discard(log);
    }
}
