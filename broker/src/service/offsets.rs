//! Offsets by what is to be found there: the ends of a partition, a time, the end of a leader epoch.

use folio_record::{LeaderEpoch, Offset, Timestamp};

use crate::engine::Disk;
use crate::error::ServiceError;
use crate::partition::Partition;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// The first offset that can be read.
    Earliest,
    /// Behind the last that can be read. Without transactions this is the high watermark, whatever the isolation.
    Latest,
    /// The first record of this time or later.
    AtTime(Timestamp),
    /// The first of the records with the latest time.
    LatestTime,
}

/// An offset that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spotted {
    pub(crate) offset: Offset,
    /// The record's time, if it was looked for by time.
    pub(crate) timestamp: Option<Timestamp>,
    /// The epoch of what is there, or will be.
    pub(crate) leader_epoch: LeaderEpoch,
}

impl Spot {
    /// Whether [`find`] may have to wait for a disk, or unpack batches: then it has no business on an event loop.
    pub(crate) fn is_search(self) -> bool {
        matches!(self, Self::AtTime(_) | Self::LatestTime)
    }
}

/// Finds an offset; `None` where no record is late enough. `leader_epoch` is the one that the asker knows to be
/// current.
///
/// # Errors
/// The epoch is another one; the disk.
pub(crate) fn find(
    partition: &Partition<Disk>,
    spot: Spot,
    leader_epoch: Option<LeaderEpoch>,
) -> Result<Option<Spotted>, ServiceError> {
    partition.check_reader(leader_epoch)?;
    let log = &partition.log;
    let at_end = |offset, leader_epoch| Some(Spotted { offset, timestamp: None, leader_epoch });
    let hit = match spot {
        Spot::Earliest => return Ok(at_end(log.log_start(), log.epochs().at(log.log_start()))),
        Spot::Latest => return Ok(at_end(log.high_watermark(), log.leader_epoch())),
        Spot::AtTime(time) => log.offset_for_time(time),
        Spot::LatestTime => log.latest_by_time(),
    };
    let hit = hit.map_err(|error| ServiceError::of_read(&error))?;
    Ok(hit.map(|hit| Spotted {
        offset: hit.offset,
        timestamp: Some(hit.timestamp),
        leader_epoch: hit.leader_epoch,
    }))
}

/// Where a leader epoch ended: the epoch itself, or the latest before it of which there are records, and the first
/// offset that is not its own. `None`: nobody has heard of it. `leader_epoch` is the one that the asker knows to be
/// current.
///
/// # Errors
/// The epoch that is current is another one.
pub(crate) fn epoch_end(
    partition: &Partition<Disk>,
    leader_epoch: Option<LeaderEpoch>,
    epoch: LeaderEpoch,
) -> Result<Option<(LeaderEpoch, Offset)>, ServiceError> {
    partition.check_reader(leader_epoch)?;
    Ok(partition.log.epoch_end(epoch))
}
