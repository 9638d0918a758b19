//! How a partition looks from where a group is: its ends, and the times of the records there.

use folio_record::{DecompressLimit, Offset, Timestamp, UnverifiedBatch};
use folio_storage::{Cursor, Fetched, Read, ReadError, Touch};

use crate::engine::{Disk, Engine};
use crate::error::ServiceError;
use crate::partition::Partition;
use crate::service::topics;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) log_start: Offset,
    /// Behind the last record that may be read.
    pub(crate) log_end: Offset,
    /// The time of the next record that the group reads, if there is one.
    pub(crate) next: Option<Timestamp>,
    /// The latest time of the records that were appended last, if there are any.
    pub(crate) last: Option<Timestamp>,
    /// For how long records are kept; `None`: for ever.
    pub(crate) retention_ms: Option<i64>,
}

impl Place {
    /// Looks at a partition from `next` on. May wait for a disk.
    ///
    /// # Errors
    /// There is no such partition, or it cannot be read.
    pub(super) fn find(
        engine: &Engine,
        topic: &str,
        number: i32,
        next: Option<i64>,
    ) -> Result<Self, ServiceError> {
        let partition = topics::readable(engine, topic, number)?;
        let (log_start, log_end) = ends(&partition);
        let settings = partition.settings.load();
        let retention = settings.retention.filter(|_| settings.cleanup.deletes);
        let unpacked_max = engine.config.decompress_max_bytes;
        let next = next.map_or(log_start, |next| Offset::new(next.max(log_start.get())));
        let next = if next < log_end { time_at(&partition, next, unpacked_max) } else { Ok(None) };
        let last = Offset::new(log_end.get() - 1);
        let last = if last >= log_start { latest_at(&partition, last) } else { Ok(None) };
        Ok(Self {
            log_start,
            log_end,
            next: next.map_err(|error| ServiceError::of_read(&error))?,
            last: last.map_err(|error| ServiceError::of_read(&error))?,
            retention_ms: retention.map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)),
        })
    }
}

/// What can be read of a partition: from the first of these on, to before the second.
pub(super) fn ends(partition: &Partition<Disk>) -> (Offset, Offset) {
    (partition.log.log_start(), partition.log.high_watermark())
}

/// The time of the first record from `offset` on.
fn time_at(
    partition: &Partition<Disk>,
    offset: Offset,
    unpacked_max: usize,
) -> Result<Option<Timestamp>, ReadError> {
    batch_at(partition, offset, |batch| {
        let records = batch.records(DecompressLimit::new(unpacked_max)).ok()?;
        records
            .iter()
            .map_while(Result::ok)
            .find(|record| record.offset >= offset)
            .map(|record| record.timestamp)
    })
}

/// The latest time in the batch that holds `offset`.
fn latest_at(partition: &Partition<Disk>, offset: Offset) -> Result<Option<Timestamp>, ReadError> {
    batch_at(partition, offset, |batch| Some(batch.header().max_timestamp))
}

/// What `read` makes of the first batch from the one that holds `offset` on. One that is damaged says nothing.
fn batch_at(
    partition: &Partition<Disk>,
    offset: Offset,
    read: impl FnOnce(&folio_record::Batch<'_>) -> Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    // The least there is: one batch, however long it is.
    let found = match partition.log.read(offset, 1, &mut Cursor::default(), Touch::Any) {
        Ok(found) => found,
        // It went with retention a moment ago.
        Err(ReadError::OffsetOutOfRange { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Read::Ready(Fetched { slice: Some(slice), .. }) = found else { return Ok(None) };
    let mut bytes = vec![0; slice.len()];
    if slice.read_to(0, &mut bytes).is_err() {
        return Ok(None);
    }
    let batch = UnverifiedBatch::split_first(&bytes).and_then(|(batch, _)| batch.verify());
    Ok(batch.ok().and_then(|batch| read(&batch)).filter(|time| *time != Timestamp::NONE))
}
