//! Fetch: whole batches up to the high watermark, waiting for them when there are too few.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use folio_mapped::MapSlice;
use folio_record::{LeaderEpoch, Offset};
use folio_storage::{Cursor, Read, Touch};

use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::partition::Partition;

/// So many partitions may be read with one fetch: it is kept while it waits, and looked at whenever one of them moves.
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

/// A fetch, in house words.
pub(crate) struct Fetch {
    pub(crate) min_bytes: usize,
    pub(crate) max_bytes: usize,
    pub(crate) wants: Vec<Want>,
}

/// Tells whoever asked, in the protocol that asked, what each partition had. Dropped unused, it closes the connection.
pub(crate) type AnswerFetch = Box<dyn FnOnce(Vec<Outcome>) + Send>;

/// What one partition had, or why it cannot be read from.
pub(crate) type Outcome = Result<Found, ServiceError>;

/// One partition that is read from.
pub(crate) struct Want {
    /// The partition, or why there is none to read from.
    pub(crate) partition: Result<Arc<Partition<Disk>>, ServiceError>,
    pub(crate) offset: Offset,
    pub(crate) max_bytes: usize,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    /// Where this connection's last fetch of the partition ended.
    pub(crate) place: Place,
}

/// A sequential reader's place, kept by its connection: whoever reads on finds it without an index. A fetch may be
/// answered from the read pool, hence the lock; nobody ever waits for it.
pub(crate) type Place = Arc<Mutex<Cursor>>;

/// What one partition had.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) slice: Option<MapSlice>,
    /// The reader's place once it has the slice.
    pub(crate) cursor: Cursor,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Why there is nothing, though the partition is there.
    pub(crate) error: Option<ServiceError>,
}

/// What a read without waiting for a disk came to.
pub(crate) enum Collected {
    /// An outcome for each partition.
    Ready(Vec<Outcome>),
    /// Something that was asked for is not in memory.
    Cold,
}

impl Fetch {
    /// The partitions that can be waited for.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition<Disk>>> {
        self.wants.iter().filter_map(|want| want.partition.as_ref().ok())
    }

    /// Whether `collected` is as much as was asked for, or something that cannot be waited away.
    pub(crate) fn is_enough(&self, collected: &Collected) -> bool {
        match collected {
            Collected::Cold => true,
            Collected::Ready(found) => {
                let is_wrong = |one: &Outcome| one.as_ref().map_or(true, |one| one.error.is_some());
                bytes_of(found) >= self.min_bytes || found.iter().any(is_wrong)
            }
        }
    }

    /// Reads what is in memory.
    pub(crate) fn collect_warm(&self) -> Collected {
        match self.collect(Touch::Warm) {
            Some(found) => Collected::Ready(found),
            None => Collected::Cold,
        }
    }

    /// `found` is about to be answered: counts it, and moves the reader's places on.
    pub(crate) fn note_answered(&self, engine: &Engine, found: &[Outcome]) {
        engine.counters.bytes_out.add(bytes_of(found) as u64);
        for (want, found) in self.wants.iter().zip(found) {
            if let Ok(Found { slice: Some(_), cursor, .. }) = found {
                *want.place.lock().unwrap_or_else(PoisonError::into_inner) = *cursor;
            }
        }
    }

    /// The same error for every partition.
    pub(crate) fn refused(&self, error: &ServiceError) -> Vec<Outcome> {
        self.wants.iter().map(|_| Err(error.clone())).collect()
    }

    /// `None` if something is cold and `touch` does not allow for it. The first batch of the first partition that
    /// has one goes whole, whatever the limits say; then they hold.
    fn collect(&self, touch: Touch) -> Option<Vec<Outcome>> {
        let mut left = self.max_bytes;
        let mut has_some = false;
        let mut all = Vec::with_capacity(self.wants.len());
        for want in &self.wants {
            let partition = match &want.partition {
                Ok(partition) => partition,
                Err(error) => {
                    all.push(Err(error.clone()));
                    continue;
                }
            };
            let mut found = want.read(partition, left, touch)?;
            let size = found.slice.as_ref().map_or(0, MapSlice::len);
            // A read gives one batch at the least; only the first may be larger than what is left.
            if size > left.min(want.max_bytes) && has_some {
                found.slice = None;
            } else {
                left = left.saturating_sub(size);
                has_some |= size > 0;
            }
            all.push(Ok(found));
        }
        Some(all)
    }
}

impl Want {
    fn read(&self, partition: &Partition<Disk>, left: usize, touch: Touch) -> Option<Found> {
        let log = &partition.log;
        let mut cursor = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |error| Found {
            slice: None,
            cursor: Cursor::default(),
            high_watermark: log.high_watermark(),
            log_start: log.log_start(),
            leader_epoch: log.leader_epoch(),
            error,
        };
        if let Some(error) = self.epoch_error(log.leader_epoch()) {
            return Some(nothing(Some(error)));
        }
        if partition.is_deleted() {
            return Some(nothing(Some(ServiceError::unknown_topic(&partition.topic))));
        }
        match log.read(self.offset, left.min(self.max_bytes), &mut cursor, touch) {
            Ok(Read::Cold) => None,
            Ok(Read::Ready(fetched)) => {
                let (high_watermark, log_start) = (fetched.high_watermark, fetched.log_start);
                Some(Found { slice: fetched.slice, cursor, high_watermark, log_start, ..nothing(None) })
            }
            Err(error) => Some(nothing(Some(ServiceError::of_read(&error)))),
        }
    }

    fn epoch_error(&self, current: LeaderEpoch) -> Option<ServiceError> {
        let theirs = self.leader_epoch?;
        let fault = match theirs.cmp(&current) {
            std::cmp::Ordering::Less => Fault::FencedLeaderEpoch,
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => Fault::UnknownLeaderEpoch,
        };
        Some(ServiceError::new(
            fault,
            format!("leader epoch {} is asked for, {} holds", theirs.get(), current.get()),
        ))
    }
}

/// Reads on a thread that may wait for a disk, and answers from there.
pub(crate) fn cold_job(fetch: Fetch, answer: AnswerFetch) -> impl FnOnce(&Engine) + Send + 'static {
    move |engine| {
        if engine.health.has_failed() {
            return answer(fetch.refused(&ServiceError::storage_failed()));
        }
        let mut found = fetch.collect(Touch::Any).unwrap_or_default();
        for one in &mut found {
            if let Ok(Found { slice: Some(slice), error, .. }) = one
                && let Err(source) = slice.populate()
            {
                *error =
                    Some(ServiceError::new(Fault::StorageFailed, format!("cannot read the log: {source}")));
            }
            if let Ok(Found { slice, error: Some(_), .. }) = one {
                *slice = None;
            }
        }
        fetch.note_answered(engine, &found);
        answer(found);
    }
}

fn bytes_of(found: &[Outcome]) -> usize {
    found.iter().flatten().filter_map(|one| one.slice.as_ref()).map(MapSlice::len).sum()
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
