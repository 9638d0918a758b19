//! One partition of a fetch: what is wanted of it, and what it had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use folio_mapped::{CopyError, MapSlice};
use folio_record::{LeaderEpoch, Offset};
use folio_storage::{Cursor, Log, Read, ReadError, Touch};

use crate::engine::Disk;
use crate::error::{Fault, ServiceError};
use crate::partition::{Partition, PartitionKey};

use super::cold::READ_AHEAD;

/// One partition that is read from.
#[derive(Debug)]
pub(crate) struct Want {
    /// The partition, or why there is none to read from.
    pub(crate) partition: Result<Arc<Partition<Disk>>, ServiceError>,
    pub(crate) offset: Offset,
    pub(crate) max_bytes: usize,
    /// The epoch that the reader knows to be current.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the reader has, if it wants to know whether that is still true.
    pub(crate) last_epoch: Option<LeaderEpoch>,
    /// Where this connection's last fetch of the partition ended.
    pub(crate) place: Place,
}

/// A sequential reader's place, kept by its connection: whoever reads on finds it without an index. A fetch may be
/// answered from the read pool, hence the lock; nobody ever waits for it.
pub(crate) type Place = Arc<Mutex<Cursor>>;

/// Where the last fetches of one connection ended.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<PartitionKey, Place>);

impl Places {
    /// The place in a partition, if there is a partition.
    pub(crate) fn of(&mut self, partition: &Result<Arc<Partition<Disk>>, ServiceError>) -> Place {
        let Ok(partition) = partition else { return Place::default() };
        if self.0.len() > PLACES_MAX {
            self.0.clear();
        }
        self.0.entry(partition.key).or_default().clone()
    }
}

/// So many partitions' places are kept for one connection; who reads more finds them by the index again.
const PLACES_MAX: usize = 4096;

/// What one partition had, or why it cannot be read from.
pub(crate) type Outcome = Result<Found, ServiceError>;

/// What one partition had.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) slice: Option<MapSlice>,
    /// The reader's place once it has the slice.
    cursor: Cursor,
    /// The offset behind the slice; without one, the offset that was asked for.
    pub(crate) next_offset: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Why there is nothing, though the partition is there.
    pub(crate) error: Option<ServiceError>,
    /// The latest epoch that reader and log have in common, and where it ends, when the reader's records go further.
    pub(crate) diverging: Option<(LeaderEpoch, Offset)>,
    /// There is something, but no room for it in this answer.
    pub(crate) is_held_back: bool,
    /// What comes next, if there was room for it, but it is not in memory.
    pub(super) behind: Option<MapSlice>,
}

/// What the partitions before have left of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) left: usize,
    /// Nobody before had anything: the first batch goes whole.
    pub(super) is_first: bool,
    /// No batch may be larger.
    pub(super) batch_max: usize,
}

impl Found {
    fn nothing(log: &Log<Disk>, offset: Offset) -> Self {
        Self {
            slice: None,
            cursor: Cursor::default(),
            next_offset: offset,
            high_watermark: log.high_watermark(),
            log_start: log.log_start(),
            leader_epoch: log.leader_epoch(),
            error: None,
            diverging: None,
            is_held_back: false,
            behind: None,
        }
    }

    /// Whether it cannot be waited away.
    pub(super) fn is_settled(&self) -> bool {
        self.error.is_some() || self.diverging.is_some() || self.is_held_back
    }
}

impl Want {
    /// `None`: it is not in memory, and `touch` does not allow for that.
    pub(super) fn read(&self, room: Room, touch: Touch) -> Option<Outcome> {
        let partition = match &self.partition {
            Ok(partition) => partition,
            Err(error) => return Some(Err(error.clone())),
        };
        let log = &partition.log;
        let nothing = || Found::nothing(log, self.offset);
        let refused = |error| Some(Ok(Found { error: Some(error), ..nothing() }));
        if let Err(error) = partition.check_reader(self.leader_epoch) {
            return refused(error);
        }
        if let Err(error) = partition.check_damage(self.offset) {
            return refused(error);
        }
        match self.diverging(partition) {
            Ok(None) => {}
            Ok(diverging) => return Some(Ok(Found { diverging, ..nothing() })),
            Err(error) => return refused(error),
        }
        let mut cursor = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        match log.read(self.offset, room.left.min(self.max_bytes), &mut cursor, touch) {
            Ok(Read::Cold) => None,
            Ok(Read::Ready(fetched)) => {
                let (high_watermark, log_start) = (fetched.high_watermark, fetched.log_start);
                let (slice, next_offset) = (fetched.slice, fetched.next_offset);
                let behind =
                    slice.as_ref().filter(|_| fetched.is_cut).map(|slice| slice.following(READ_AHEAD));
                let found =
                    Found { slice, cursor, next_offset, high_watermark, log_start, behind, ..nothing() };
                Some(Ok(self.fitted(found, room)))
            }
            Err(error) => {
                if matches!(error, ReadError::Lost { is_news: true, .. }) {
                    partition.tell_loss(&error);
                }
                refused(ServiceError::of_read(&error))
            }
        }
    }

    /// The records from its offset on cannot be read, because of this byte of the log.
    pub(super) fn unreadable(&self, position: u64, error: &CopyError) -> ServiceError {
        let Ok(partition) = &self.partition else { return ServiceError::storage_failed() };
        let (dir, offset) = (partition.log.dir().display(), self.offset);
        let text = format!("{dir}: the batch at offset {offset} cannot be read: {error}");
        if partition.is_news(position) {
            let (topic, partition) = (&*partition.topic, partition.number);
            tracing::error!(topic, partition, why = text, "records cannot be read");
        }
        ServiceError::new(Fault::StorageFailed, text)
    }

    /// A read gives one batch at the least; only the first of an answer may be larger than the limits.
    fn fitted(&self, mut found: Found, room: Room) -> Found {
        let size = found.slice.as_ref().map_or(0, MapSlice::len);
        if size > room.batch_max {
            let text = format!(
                "the batch at offset {} has {size} bytes; the reader takes no more than {}",
                self.offset, room.batch_max
            );
            found.slice = None;
            found.error = Some(ServiceError::new(Fault::MessageTooLarge, text));
        } else if size > room.left.min(self.max_bytes) && !room.is_first {
            found.slice = None;
            found.is_held_back = true;
        }
        if found.slice.is_none() {
            found.behind = None;
        }
        found
    }

    /// Where the reader's records and the log's part, if they do (KIP-595: the leader truncates who fetches from it).
    fn diverging(&self, partition: &Partition<Disk>) -> Result<Option<(LeaderEpoch, Offset)>, ServiceError> {
        let Some(last) = self.last_epoch else { return Ok(None) };
        let log = &partition.log;
        let out_of_range = |text: String| Err(ServiceError::new(Fault::OffsetOutOfRange, text));
        let Some((epoch, end)) = log.epoch_end(last) else {
            return out_of_range(format!("nobody knows where leader epoch {} ended", last.get()));
        };
        if self.offset < log.log_start() {
            return out_of_range(format!("offset {} is before {}", self.offset, log.log_start()));
        }
        Ok((epoch < last || end < self.offset).then_some((epoch, end)))
    }

    /// Whether there may be something else by now than was found.
    pub(super) fn has_moved(&self, found: &Outcome) -> bool {
        match (&self.partition, found) {
            (Ok(partition), Ok(found)) => {
                let log = &partition.log;
                log.high_watermark() != found.high_watermark
                    || log.log_start() != found.log_start
                    || partition.is_deleted()
            }
            _ => false,
        }
    }

    /// Whether what was found is no longer to be read; if it is, it tells where the log begins by now.
    pub(super) fn has_lost(&self, found: &mut Outcome) -> bool {
        let (Ok(partition), Ok(found)) = (&self.partition, found) else { return false };
        found.log_start = partition.log.log_start();
        found.error.is_none() && self.offset < found.log_start
    }

    /// The reader has what was found, and will go on behind it.
    pub(super) fn reads_on(&self, found: &Found) {
        if found.slice.is_some() {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = found.cursor;
        }
    }
}
