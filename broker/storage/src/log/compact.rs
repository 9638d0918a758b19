//! Compaction: of all records with one key the last is kept.
//!
//! ```text
//!  log start                dirty from                      upto              durable
//!  | compacted before        | closed since                  | too young, ... |  appended to
//!  |  k1  k3                 |  k2  k1  k4  k2               |                |
//!                            +----- 1: which keys, last where ----+
//!  +------- 2: rewritten without what a later record supersedes --+
//!  |      k3                    k1  k4  k2                   |
//! ```
//! Offsets and order stay, and so do batches: what is left of one has its base and last offset, its epoch, and its
//! producer's numbers; a batch from which nothing goes is copied as it is. Kept are
//!
//! * of each key the record with the highest offset below *upto*, and everything from *upto* on;
//! * a tombstone (a record without a value) until `delete.retention.ms` after it was compacted first: from then on its
//!   batch says when that is (KIP-534), so that no clock and no setting can shorten it afterwards;
//! * of each producer that the log remembers the batches that it remembers, if need be without records: a log whose
//!   snapshots are lost knows them all the same;
//! * the last batch of each segment that comes of it, if need be without records: so a log tells by itself where it
//!   ends, whichever index lies beside it, and behind every offset below the end there is something to be read.
//!
//! Records without a key go, as in Kafka: nobody can append them to a log that is compacted.
//!
//! Only sealed segments are touched, whose successor is durable and seen by consumers. Neighbours that have become
//! small are put together. One row of segments after the other is replaced by one, in the steps drawn in
//! [`replacement`](crate::replacement): a crash leaves the old ones or the new one, and after either the next pass goes
//! on; what was replaced before keeps its meaning, because a later record supersedes whether or not it was compacted.
//!
//! All of it goes in steps of a bounded size, which the maintenance thread spaces out, and that other duties come
//! between.

mod hash;
mod map;
mod output;
pub(super) mod places;
mod reading;
mod rewrite;
mod swap;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use folio_mapped::SegmentMap;
use folio_record::{Offset, Timestamp};

use super::Log;
use super::append::AppendError;
use super::lookup::Window;
use super::read::ReadError;
use super::rot::Marking;
use super::seal::Rotten;
use super::segment::Segment;
use crate::data_dir::{DataDir, FlushError};
use crate::files::Files;

use map::OffsetMap;
use reading::Reading;
use rewrite::{Rewriting, Source};

/// How a log is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// `min.compaction.lag.ms`: nothing younger is compacted.
    pub min_lag_ms: u64,
    /// `max.compaction.lag.ms`: what is older is compacted, however little it is.
    pub max_lag_ms: Option<u64>,
    /// `min.cleanable.dirty.ratio`: it is compacted when more of it is dirty.
    pub dirty_ratio_min: DirtyRatio,
    /// `delete.retention.ms`: how long tombstones are kept once they were compacted.
    pub delete_retention_ms: u64,
}

/// Which part of a log is dirty, to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirtyRatio(u32);

/// What of a log is not compacted yet, and could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirty {
    /// How much of all that could be.
    pub ratio: DirtyRatio,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of log that a pass may write before anything that they replace is gone: what one row of segments comes to.
    pub room: u64,
    /// It is time, by what the options say.
    pub is_due: bool,
}

/// One pass over a log.
#[derive(Debug)]
pub struct Compaction<F: Files> {
    log: Arc<Log<F>>,
    options: CompactionOptions,
    /// What is compacted, oldest first.
    sources: Vec<Source>,
    dirty_from: Offset,
    /// What is known of keys ends here.
    upto: Offset,
    map: OffsetMap,
    /// Base offsets of batches that producers are remembered by.
    remembered: HashSet<Offset>,
    /// The end of the log that this is about.
    remembered_at: Offset,
    begun: Timestamp,
    stage: Stage<F>,
    report: CompactionReport,
}

/// What a step has done.
#[derive(Debug)]
pub struct Progress {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Maps that nobody finds any more; the caller decides where they are unmapped.
    pub maps: Vec<Arc<SegmentMap>>,
    /// And now?
    pub state: Compacting,
}

/// How a pass stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compacting {
    /// There is more to do.
    Working,
    /// It is done.
    Done(CompactionReport),
    /// It came to nothing: the topic was deleted, or retention has taken what it was about.
    Abandoned,
    /// A segment is not what was written. The log is not to be compacted again before somebody has looked at it.
    Rotten(Rotten),
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Keys among the records that were dirty.
    pub keys: u64,
    /// Records that were there.
    pub records_before: u64,
    /// Records that are left.
    pub records_after: u64,
    /// Segments that were there.
    pub segments_before: u64,
    /// Segments that are left.
    pub segments_after: u64,
    /// Bytes of log that were there.
    pub bytes_before: u64,
    /// Bytes of log that are left.
    pub bytes_after: u64,
    /// Bytes read for it.
    pub bytes_read: u64,
    /// Bytes written for it, with indexes.
    pub bytes_written: u64,
    /// The table was full: the rest of what is dirty is for another pass.
    pub is_partial: bool,
}

#[derive(Debug)]
enum Stage<F: Files> {
    /// Finding out which keys there are: the number of the source.
    Mapping(usize, Reading<F>),
    Rewriting(Box<Rewriting<F>>),
    /// A segment is rotten; what of it is, is being marked.
    Marking(Box<Marking<F>>),
    Over,
}

impl DirtyRatio {
    /// Of a fraction between 0 and 1.
    #[must_use]
    pub fn new(fraction: f64) -> Self {
        // Anything else is brought into these bounds, and what is no number to 0.
        Self((fraction.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32)
    }

    /// As a fraction.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / f64::from(MILLION)
    }

    fn of(part: u64, whole: u64) -> Self {
        let millionths = u128::from(part) * u128::from(MILLION) / u128::from(whole.max(1));
        Self(u32::try_from(millionths).unwrap_or(MILLION).min(MILLION))
    }
}

const MILLION: u32 = 1_000_000;

impl<F: Files> Log<F> {
    /// What could be compacted; `None` if the log is not compacted, or all of it is. May wait for a disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn dirty(&self, now: Timestamp) -> Result<Option<Dirty>, ReadError> {
        let Some(options) = self.options.load().compaction else { return Ok(None) };
        let (sources, dirty_from) = (self.compactable(&options, now), self.dirty_from());
        let dirty = sources.iter().filter(|source| source.next_base > dirty_from);
        let bytes: u64 = dirty.clone().map(|source| source.segment.end()).sum();
        let Some(first) = dirty.clone().next() else { return Ok(None) };
        let all = sources.iter().map(|source| source.segment.end()).sum();
        let ratio = DirtyRatio::of(bytes, all);
        // Segments are put together to one of the usual size at the most, and one that is larger stays by itself.
        let largest = sources.iter().map(|source| source.segment.end()).max().unwrap_or(0);
        let room = all.min(largest.max(u64::from(self.options.load().segment_bytes)));
        let is_overdue = match options.max_lag_ms.filter(|_| bytes > 0) {
            Some(limit) => self.first_timestamp(&first.segment)?.is_some_and(|first| {
                let age = now.get().saturating_sub(first.get());
                first.get() > 0 && u64::try_from(age).is_ok_and(|age| age > limit)
            }),
            None => false,
        };
        Ok(Some(Dirty { ratio, bytes, room, is_due: is_overdue || ratio > options.dirty_ratio_min }))
    }

    /// Begins a pass over what could be compacted, due or not; `None` if there is nothing. The table of keys takes at
    /// most `map_bytes`; `key` is random, and known to nobody.
    pub fn compact(
        self: &Arc<Self>,
        key: [u64; 2],
        map_bytes: usize,
        now: Timestamp,
    ) -> Option<Compaction<F>> {
        let options = self.options.load().compaction?;
        let (sources, dirty_from) = (self.compactable(&options, now), self.dirty_from());
        let first_dirty = sources.iter().position(|source| source.next_base > dirty_from)?;
        let upto = sources.last()?.next_base;
        let (remembered, remembered_at) = {
            let writer = self.lock();
            let batches = writer.producers.all().into_iter().flat_map(|(_, batches)| batches);
            let bases = batches.map(|batch| batch.base_offset).filter(|base| *base < upto).collect();
            (bases, self.log_end())
        };
        // There are no more keys than offsets.
        let keys = (upto.get() - dirty_from.max(sources[first_dirty].segment.base()).get()).unsigned_abs();
        let report = CompactionReport {
            segments_before: sources.len() as u64,
            bytes_before: sources.iter().map(|source| source.segment.end()).sum(),
            ..CompactionReport::default()
        };
        Some(Compaction {
            log: Arc::clone(self),
            options,
            dirty_from,
            upto,
            map: OffsetMap::new(key, map_bytes, keys),
            remembered,
            remembered_at,
            begun: now,
            stage: Stage::Mapping(first_dirty, Reading::new(&sources[first_dirty])),
            sources,
            report,
        })
    }

    /// From here on the log is dirty.
    fn dirty_from(&self) -> Offset {
        self.compacted.load().upto.max(self.log_start())
    }

    /// Segments that can be compacted now, from the first of the log on.
    fn compactable(&self, options: &CompactionOptions, now: Timestamp) -> Vec<Source> {
        let (view, dirty_from) = (self.view.load_full(), self.dirty_from());
        let settled = self.durable_tail().segment_base.min(self.high_watermark());
        let is_young = |segment: &Segment| {
            let youngest = now.get().saturating_sub(i64::try_from(options.min_lag_ms).unwrap_or(i64::MAX));
            options.min_lag_ms > 0 && segment.aged_from().is_none_or(|last| last.get() > youngest)
        };
        let source =
            |pair: &[Arc<Segment>]| Source { segment: Arc::clone(&pair[0]), next_base: pair[1].base() };
        let may_be = |source: &Source| {
            source.segment.is_sealed()
                && source.next_base <= settled
                && !(source.next_base > dirty_from && is_young(&source.segment))
        };
        view.windows(2).map(source).take_while(may_be).collect()
    }

    /// The latest time of the first batch of a segment.
    fn first_timestamp(&self, segment: &Arc<Segment>) -> Result<Option<Timestamp>, ReadError> {
        if segment.end() == 0 {
            return Ok(None);
        }
        let map = self.log_of(segment)?;
        let window = Window::of(segment, &map);
        let header = window.header(0).map_err(|source| self.unreadable(source))?;
        Ok(Some(header.max_timestamp))
    }
}

impl<F: Files> Compaction<F> {
    /// The log that it is about.
    pub fn log(&self) -> &Arc<Log<F>> {
        &self.log
    }

    /// Goes on for about `budget` bytes, or to where a row of segments is replaced. May wait for a disk.
    ///
    /// # Errors
    /// As for an append that rolls: a full disk leaves everything as it is, and the pass is over.
    pub fn step(&mut self, dir: &DataDir<F>, budget: u64) -> Result<Progress, AppendError> {
        let mut progress = Progress { read: 0, written: 0, maps: Vec::new(), state: Compacting::Working };
        if self.log.is_retired() || dir.has_failed() {
            self.stage = Stage::Over;
        }
        let stepped = match &mut self.stage {
            Stage::Mapping(..) | Stage::Rewriting(_) if self.log.names().is_some() => {
                self.finish_before(dir, &mut progress)
            }
            Stage::Mapping(..) => self.map(budget, &mut progress),
            Stage::Rewriting(_) => match self.secure_producers(dir) {
                Ok(()) => self.rewrite(dir, budget, &mut progress),
                Err(error) => Err(error),
            },
            Stage::Marking(marking) => {
                let (read, is_done) = marking.step(budget);
                progress.read = read;
                Ok(if is_done { Compacting::Rotten(marking.rotten().clone()) } else { Compacting::Working })
            }
            Stage::Over => Ok(Compacting::Abandoned),
        };
        self.report.bytes_read += progress.read;
        self.report.bytes_written += progress.written;
        progress.state = match stepped {
            Ok(Compacting::Done(_)) => Compacting::Done(self.report),
            Ok(state) => state,
            // The files of a deleted topic go under our hands.
            Err(error) if self.log.is_retired() && error.is_of_a_lost_name() => Compacting::Abandoned,
            Err(error) => {
                self.give_up();
                return Err(error);
            }
        };
        if progress.state != Compacting::Working {
            let is_marked = matches!(self.stage, Stage::Marking(_));
            self.give_up();
            if let Compacting::Rotten(rotten) = &progress.state
                && !is_marked
            {
                self.stage = Stage::Marking(Box::new(Marking::new(&self.log, rotten.clone())));
                progress.state = Compacting::Working;
            }
        }
        Ok(progress)
    }

    /// What an earlier pass had no room to finish comes first; and as it changes which segments there are, the next one
    /// looks at them anew.
    fn finish_before(
        &mut self,
        dir: &DataDir<F>,
        progress: &mut Progress,
    ) -> Result<Compacting, AppendError> {
        progress.maps = self.log.finish_replacement(&mut self.log.names(), dir.trash())?;
        Ok(Compacting::Abandoned)
    }

    /// Before anything is replaced, the log is durable up to where its producers were asked for: a crash that took some
    /// of that back would have the log remember older batches, and those may go now.
    fn secure_producers(&self, dir: &DataDir<F>) -> Result<(), AppendError> {
        if self.log.durable() >= self.remembered_at {
            return Ok(());
        }
        let flushed = dir.flush_with_slot(&self.log, self.begun);
        flushed.map_err(|FlushError { path, source }| AppendError::Io { path, source })?;
        if self.log.durable() < self.remembered_at {
            let source = io::Error::other("it could not be flushed now");
            return Err(AppendError::Exhausted { source });
        }
        Ok(())
    }

    /// Removes what was not finished. Nothing is left of the pass but what it has replaced so far.
    pub fn give_up(&mut self) {
        if let Stage::Rewriting(rewriting) = std::mem::replace(&mut self.stage, Stage::Over) {
            rewriting.discard(&self.log);
        }
    }
}
