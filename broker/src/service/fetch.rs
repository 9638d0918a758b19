//! Fetch: whole batches up to the high watermark, waiting for them when there are too few.
//!
//! A fetch looks at its partitions once, in their order, and keeps what it found. While it waits, whoever hears that a
//! partition has moved looks at that one again: waking costs what has moved, not what is asked for.
//!
//! Invariants:
//! * the first batch of the first partition that has one goes whole, whatever the limits say; then they hold;
//! * a batch that the peer cannot take in at all is an error of its partition, and never sent.

mod want;

use std::collections::HashSet;
use std::sync::Arc;

use folio_mapped::{CopyError, MapSlice};
use folio_storage::Touch;

use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::partition::{Partition, PartitionKey};

use want::Room;
pub(crate) use want::{Found, Outcome, Place, Places, Want};

/// So many partitions may be read with one fetch: it is kept while it waits.
pub(crate) const ENTRIES_MAX: usize = 10_000;

/// Whether these partitions may be read with one fetch.
///
/// # Errors
/// They are too many, or one is named twice.
pub(crate) fn check_entries<'a>(
    entries: impl ExactSizeIterator<Item = (&'a str, u32)>,
) -> Result<(), ServiceError> {
    let invalid = |text| Err(ServiceError::new(Fault::InvalidRequest, text));
    if entries.len() > ENTRIES_MAX {
        return invalid(format!("a fetch of {} partitions; at most {ENTRIES_MAX}", entries.len()));
    }
    if entries.len() < 2 {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(entries.len());
    for (topic, partition) in entries {
        if !seen.insert((topic, partition)) {
            return invalid(format!("a fetch names partition {partition} of topic {topic:?} twice"));
        }
    }
    Ok(())
}

/// How much a fetch is about, in record bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Worth answering for.
    pub(crate) min_bytes: usize,
    /// Of the whole answer, unless its first batch is larger.
    pub(crate) max_bytes: usize,
    /// Of any batch: the peer has no room for a larger one.
    pub(crate) batch_max: usize,
}

/// A fetch, in house words, and what it has found so far.
#[derive(Debug)]
pub(crate) struct Fetch {
    limits: Limits,
    wants: Vec<Want>,
    /// By want; `None`: not looked at yet, or not in memory.
    found: Vec<Option<Outcome>>,
    /// Record bytes in `found`.
    bytes: usize,
    /// Something was found that cannot be waited away.
    is_settled: bool,
    is_cold: bool,
}

/// Who asked. Dropped without an answer, it closes the connection.
pub(crate) type AnswerFetch = Box<dyn Asker>;

/// Who asked, in some protocol.
pub(crate) trait Asker: Send {
    /// Tells what each partition had.
    fn answer(self: Box<Self>, outcomes: Vec<Outcome>);

    /// A partition that is watched beyond this fetch has moved, which the asker knows by `number`.
    fn moved(&mut self, _number: u32) -> Moved {
        Moved::Nothing
    }
}

/// What it is to a fetch that a partition has moved.
#[derive(Debug)]
pub(crate) enum Moved {
    Nothing,
    /// It is the one of this want.
    Again(u32),
    /// It was not looked at so far.
    New(Want),
}

impl<F: FnOnce(Vec<Outcome>) + Send> Asker for F {
    fn answer(self: Box<Self>, outcomes: Vec<Outcome>) {
        (*self)(outcomes);
    }
}

/// What a fetch has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has as much as was asked for, or something that cannot be waited away: it is to be answered.
    Enough,
    /// Something that was asked for is not in memory: it is to be read where one may wait for a disk.
    Cold,
    /// It may wait for more.
    TooLittle,
}

impl Fetch {
    /// One that has looked at nothing yet.
    pub(crate) fn new(limits: Limits, wants: Vec<Want>) -> Self {
        let found = wants.iter().map(|_| None).collect();
        Self { limits, wants, found, bytes: 0, is_settled: false, is_cold: false }
    }

    /// Looks at every partition, as far as they are in memory. One that may not wait, or has nothing to wait for, is
    /// never [`Standing::TooLittle`].
    pub(crate) fn begin(&mut self, may_wait: bool) -> Standing {
        for index in 0..self.wants.len() {
            // The order decides whose first batch goes whole: what comes later waits for what is cold.
            if !self.look_at(index, Touch::Warm) {
                break;
            }
        }
        match self.standing() {
            Standing::TooLittle if !may_wait || self.wants.is_empty() => Standing::Enough,
            standing => standing,
        }
    }

    /// Looks again at the partition of one want, which has moved.
    pub(crate) fn look_again(&mut self, index: u32) -> Standing {
        if (index as usize) < self.wants.len() {
            self.look_at(index as usize, Touch::Warm);
        }
        self.standing()
    }

    /// Takes one more partition in, and looks at it.
    pub(crate) fn add(&mut self, want: Want) -> Standing {
        self.wants.push(want);
        self.found.push(None);
        self.look_at(self.wants.len() - 1, Touch::Warm);
        self.standing()
    }

    /// The partitions that were looked at, each with the number of its want and whether it had nothing at all.
    pub(crate) fn looked_at(&self) -> impl Iterator<Item = (u32, &Arc<Partition<Disk>>, bool)> {
        (0..).zip(self.wants.iter().zip(&self.found)).filter_map(|(index, (want, found))| {
            let found = found.as_ref()?.as_ref().ok()?;
            Some((index, want.partition.as_ref().ok()?, found.slice.is_none() && !found.is_settled()))
        })
    }

    /// Looks again at every partition that has moved since it was looked at, without having been told of one.
    pub(crate) fn look_at_moved(&mut self) -> Standing {
        for index in 0..self.wants.len() {
            if self.found[index].as_ref().is_some_and(|found| self.wants[index].has_moved(found)) {
                self.look_at(index, Touch::Warm);
            }
        }
        self.standing()
    }

    /// The partitions that can be waited for.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition<Disk>>> {
        self.wants.iter().filter_map(|want| want.partition.as_ref().ok())
    }

    /// Which partitions are waited for, each with the number of its want.
    pub(crate) fn watches(&self) -> Vec<(PartitionKey, u32)> {
        let numbered = self.wants.iter().zip(0..);
        numbered.filter_map(|(want, index)| Some((want.partition.as_ref().ok()?.key, index))).collect()
    }

    /// What it has come to.
    pub(crate) fn standing(&self) -> Standing {
        if self.is_cold {
            Standing::Cold
        } else if self.is_settled || self.bytes >= self.limits.min_bytes {
            Standing::Enough
        } else {
            Standing::TooLittle
        }
    }

    /// An outcome for each want, about to be answered: counts it, and moves the reader's places on.
    pub(crate) fn finish(self, engine: &Engine) -> Vec<Outcome> {
        engine.counters.bytes_out.add(self.bytes as u64);
        let outcomes = self.wants.into_iter().zip(self.found).map(|(want, found)| {
            let outcome = found.unwrap_or_else(|| Err(ServiceError::storage_failed()));
            if let Ok(found) = &outcome {
                want.reads_on(found);
            }
            outcome
        });
        outcomes.collect()
    }

    /// As [`finish`](Self::finish), of one that has waited: log starts may have risen meanwhile.
    pub(crate) fn finish_late(mut self, engine: &Engine) -> Vec<Outcome> {
        for index in 0..self.wants.len() {
            if self.found[index].as_mut().is_some_and(|found| self.wants[index].has_lost(found)) {
                self.look_at(index, Touch::Warm);
            }
        }
        self.finish(engine)
    }

    /// The same error for every partition.
    pub(crate) fn refused(&self, error: &ServiceError) -> Vec<Outcome> {
        self.wants.iter().map(|_| Err(error.clone())).collect()
    }

    /// Whether `touch` allowed for it.
    fn look_at(&mut self, index: usize, touch: Touch) -> bool {
        self.bytes -= self.found[index].as_ref().map_or(0, size_of);
        let left = self.limits.max_bytes.saturating_sub(self.bytes);
        let room = Room { left, is_first: self.bytes == 0, batch_max: self.limits.batch_max };
        let found = self.wants[index].read(room, touch);
        let is_ready = found.is_some();
        if let Some(found) = &found {
            self.bytes += size_of(found);
            self.is_settled |= found.as_ref().map_or(true, Found::is_settled);
        }
        self.is_cold |= !is_ready;
        self.found[index] = found;
        is_ready
    }

    /// Reads what has not been read for not being in memory.
    fn read_cold(&mut self) {
        for index in 0..self.wants.len() {
            if self.found[index].is_none() && self.look_at(index, Touch::Any) {
                self.populate(index);
            }
        }
    }

    /// Brings what was found of one partition into memory. Where a byte cannot be read, what lies before it goes, and who
    /// reads on is told.
    fn populate(&mut self, index: usize) {
        let slice = |of: &Self| of.found[index].as_ref()?.as_ref().ok()?.slice.clone();
        let Some(before) = slice(self) else { return };
        let Err(error) = before.populate() else { return };
        let first_bad = match &error {
            CopyError::Poisoned { position } | CopyError::Io { position, .. } => *position,
            CopyError::OutOfRange { .. } => 0,
        };
        let readable = first_bad.saturating_sub(before.range().start);
        self.wants[index].max_bytes = usize::try_from(readable).unwrap_or(usize::MAX);
        self.look_at(index, Touch::Any);
        // The first batch goes whole, whatever the limit.
        if let Some(Ok(found)) = &mut self.found[index]
            && found.error.is_none()
            && found.slice.as_ref().is_none_or(|slice| slice.len() as u64 > readable)
        {
            let size = found.slice.take().map_or(0, |slice| slice.len());
            found.error = Some(self.wants[index].unreadable(first_bad, &error));
            (self.bytes, self.is_settled) = (self.bytes - size, true);
        }
    }
}

/// Reads on a thread that may wait for a disk, and answers from there.
pub(crate) fn cold_job(mut fetch: Fetch, answer: AnswerFetch) -> impl FnOnce(&Engine) + Send + 'static {
    move |engine| {
        if engine.health.has_failed() {
            return answer.answer(fetch.refused(&ServiceError::storage_failed()));
        }
        fetch.read_cold();
        answer.answer(fetch.finish_late(engine));
    }
}

fn size_of(outcome: &Outcome) -> usize {
    outcome.as_ref().ok().and_then(|found| found.slice.as_ref()).map_or(0, MapSlice::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_of_too_many_partitions_or_of_one_twice_is_refused() {
        let many = |count: usize| (0..count).map(|number| ("t", number as u32));
        assert_eq!(check_entries(many(0)), Ok(()));
        assert_eq!(check_entries(many(1)), Ok(()));
        assert_eq!(check_entries(many(ENTRIES_MAX)), Ok(()));
        let refused = check_entries(many(ENTRIES_MAX + 1)).unwrap_err();
        assert_eq!(refused.fault, Fault::InvalidRequest);

        assert_eq!(check_entries([("t", 1), ("u", 1), ("t", 2)].into_iter()), Ok(()));
        let refused = check_entries([("t", 1), ("u", 1), ("t", 1)].into_iter()).unwrap_err();
        assert_eq!(refused.text, "a fetch names partition 1 of topic \"t\" twice");
    }
}
