//! A lane: appends for partitions that ask for the disk, and whatever must roll or allocate.
//!
//! Invariant: a partition's batches leave its lane in the order in which they entered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use folio_storage::{AppendError, Mode};

use crate::engine::{Disk, Engine, now};
use crate::error::{Fault, ServiceError};
use crate::partition::{Partition, Waiter};
use crate::shard::{LoopMessage, Pending, Placed};
use crate::threads::groups::GroupJob;
use crate::threads::inbox::Taken;

/// One turn's batches of one partition, from one thread.
#[derive(Debug)]
pub(crate) struct LaneJob {
    pub(crate) from: Waiter,
    pub(crate) partition: Arc<Partition<Disk>>,
    pub(crate) pending: Vec<Pending>,
}

/// Works until the lane is closed.
pub(crate) fn run(engine: &Engine, lane: usize) {
    let mut jobs = VecDeque::new();
    while let Taken::Items(()) = engine.lanes[lane].take_all(&mut jobs, None) {
        for job in jobs.drain(..) {
            work(engine, job);
        }
    }
}

fn work(engine: &Engine, job: LaneJob) {
    let LaneJob { from, partition, pending } = job;
    let (count, bytes) = (pending.len(), pending.iter().map(|one| one.batches.len() as u64).sum());
    let before = partition.log.high_watermark();
    // What was admitted before the disk was nearly full comes here after it. The offsets of groups are taken all the same.
    let placed = match (from, engine.space.check()) {
        (Waiter::Loop(_), Err(refusal)) => Ok(refuse(pending, &refusal)),
        _ => append(engine, &partition, pending, Mode::MayBlock),
    };
    if engine.space.wrote(bytes) {
        engine.space.look(&engine.dir, engine.config.disk_min_free);
    }
    partition.left_lane(count);
    engine.left_lane(bytes);
    let placed = placed.unwrap_or_else(|pending| refuse(pending, &ServiceError::storage_failed()));
    // Where a flush has to come first nothing has moved yet, and the other loops may sleep on.
    let has_moved = partition.log.high_watermark() != before;
    if has_moved {
        engine.announce(std::slice::from_ref(&partition), Some(from));
    }
    match from {
        Waiter::Loop(index) => engine.tell(index, LoopMessage::Placed { partition, placed, has_moved }),
        Waiter::Groups => engine.groups.send([GroupJob::Placed(partition, placed)]),
    }
}

/// Appends `pending` with one write, and says what became of each.
///
/// # Errors
/// Gives `pending` back, untouched, when an inline append would have to wait for a disk.
pub(crate) fn append(
    engine: &Engine,
    partition: &Arc<Partition<Disk>>,
    pending: Vec<Pending>,
    mode: Mode,
) -> Result<Vec<Placed>, Vec<Pending>> {
    if engine.health.has_failed() {
        return Ok(refuse(pending, &ServiceError::storage_failed()));
    }
    if let Some(refusal) = partition.refusal() {
        return Ok(refuse(pending, &refusal));
    }
    let (tickets, mut buffers): (Vec<_>, Vec<_>) =
        pending.into_iter().map(|one| (one.ticket, one.batches)).unzip();
    let again = |tickets: Vec<_>, buffers: Vec<BytesMut>| {
        tickets.into_iter().zip(buffers).map(|(ticket, batches)| Pending { batches, ticket }).collect()
    };
    let appended = match mode {
        Mode::Inline => match partition.log.try_writer() {
            Some(mut writer) => writer.append(&mut buffers, mode, now()),
            None => Err(AppendError::NeedsLane),
        },
        Mode::MayBlock => partition.log.writer().append(&mut buffers, mode, now()),
    };
    let (outcomes, stopped) = match appended {
        Ok(appended) => (appended.outcomes, appended.stopped),
        Err(AppendError::NeedsLane) => return Err(again(tickets, buffers)),
        Err(error) => (Vec::new(), Some(error)),
    };
    let new = buffers
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.as_ref().is_ok_and(|range| !range.is_duplicate));
    let (count, bytes) =
        new.fold((0, 0), |(count, bytes), (buffer, _)| (count + 1, bytes + buffer.len() as u64));
    if count > 0 {
        engine.appended(partition, bytes, count);
    }
    let error = stopped.map(|error| translate(engine, partition, &error));
    let mut outcomes = outcomes.into_iter();
    let placed = tickets.into_iter().map(|ticket| {
        let outcome = match (outcomes.next(), &error) {
            (Some(outcome), _) => outcome.map_err(|error| ServiceError::of_refusal(&error)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(ServiceError::storage_failed()),
        };
        Placed { ticket, outcome }
    });
    Ok(placed.collect())
}

fn refuse(pending: Vec<Pending>, error: &ServiceError) -> Vec<Placed> {
    pending.into_iter().map(|one| Placed { ticket: one.ticket, outcome: Err(error.clone()) }).collect()
}

fn translate(engine: &Engine, partition: &Partition<Disk>, error: &AppendError) -> ServiceError {
    let fault = match error {
        AppendError::NeedsLane => Fault::InvalidRecord,
        AppendError::Retired => Fault::UnknownTopic,
        AppendError::Full { .. } => return engine.space.filled(),
        AppendError::Exhausted { .. } => Fault::Unavailable,
        AppendError::Unopened { .. } if partition.is_deleted() => Fault::UnknownTopic,
        AppendError::Lost { .. } | AppendError::Unopened { .. } => {
            if let AppendError::Unopened { path, source } = error
                && source.kind() == io::ErrorKind::NotFound
            {
                engine.taken_away(partition, path);
            }
            return ServiceError::partition_offline(&partition.topic, partition.number, &error.to_string());
        }
        AppendError::Io { path, source } => {
            engine.fail_of(partition, path, source);
            if let Some(refusal) = partition.refusal() {
                return refusal;
            }
            Fault::StorageFailed
        }
    };
    ServiceError::new(fault, error.to_string())
}
