//! A lane: appends for partitions that ask for the disk, and whatever must roll or allocate.
//!
//! Invariant: a partition's batches leave its lane in the order in which they entered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use folio_record::Offset;
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
    let (count, bytes) = (pending.len(), bytes_of(&pending));
    let before = partition.log.high_watermark();
    // What was admitted before the disk was nearly full comes here after it. The offsets of groups are taken all the
    // same.
    let placed = match (from, engine.space.check()) {
        (Waiter::Loop(_), Err(refusal)) => Ok(refuse(engine, pending, &refusal)),
        _ => append(engine, &partition, pending, Mode::MayBlock),
    };
    if engine.space.wrote(bytes) {
        engine.space.look(&engine.dir, engine.config.disk_min_free);
    }
    partition.left_lane(count);
    let placed = placed.unwrap_or_else(|pending| refuse(engine, pending, &ServiceError::storage_failed()));
    // Where a flush has to come first nothing has moved yet, and the other loops may sleep on.
    let has_moved = partition.log.high_watermark() != before;
    if has_moved {
        engine.announce(std::slice::from_ref(&partition), Some(from));
    }
    match from {
        Waiter::Loop(index) => {
            let waits = waits_for(&placed);
            let message = LoopMessage::Placed { partition: Arc::clone(&partition), placed, has_moved };
            engine.leave(index, message, || has_moved || is_over(&partition, waits));
        }
        Waiter::Groups => engine.groups.send([GroupJob::Placed(partition, placed)]),
    }
}

/// The first offset that the high watermark has to pass before anybody is answered; none if somebody is at once.
fn waits_for(placed: &[Placed]) -> Option<Offset> {
    let each = placed.iter().map(|one| match (&one.claim, &one.outcome) {
        (Some(claim), Ok(range)) if claim.waits_for_watermark => Some(range.last_offset),
        _ => None,
    });
    each.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Whether nobody waits for the high watermark to pass `waits`, or not any more. Whoever moves it, or takes the
/// partition offline, tells the loop afterwards: if that came before what we left there, it is seen here.
fn is_over(partition: &Partition<Disk>, waits: Option<Offset>) -> bool {
    let has_passed = waits.is_none_or(|offset| partition.log.high_watermark() > offset);
    has_passed || partition.is_offline() || partition.is_deleted()
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
        return Ok(refuse(engine, pending, &ServiceError::storage_failed()));
    }
    if let Some(refusal) = partition.refusal() {
        return Ok(refuse(engine, pending, &refusal));
    }
    let (claims, mut buffers): (Vec<_>, Vec<_>) =
        pending.into_iter().map(|one| (one.claim, one.batches)).unzip();
    let again = |claims: Vec<_>, buffers: Vec<BytesMut>| {
        claims.into_iter().zip(buffers).map(|(claim, batches)| Pending { batches, claim }).collect()
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
        Err(AppendError::NeedsLane) => return Err(again(claims, buffers)),
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
    engine.settle(buffers.iter().map(|buffer| buffer.len() as u64).sum(), bytes);
    let error = stopped.map(|error| translate(engine, partition, &error));
    let mut outcomes = outcomes.into_iter();
    let placed = claims.into_iter().map(|claim| {
        let outcome = match (outcomes.next(), &error) {
            (Some(outcome), _) => outcome.map_err(|error| ServiceError::of_refusal(&error)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(ServiceError::storage_failed()),
        };
        Placed { claim, outcome }
    });
    Ok(placed.collect())
}

fn bytes_of(pending: &[Pending]) -> u64 {
    pending.iter().map(|one| one.batches.len() as u64).sum()
}

fn refuse(engine: &Engine, pending: Vec<Pending>, error: &ServiceError) -> Vec<Placed> {
    engine.settle(bytes_of(&pending), 0);
    pending.into_iter().map(|one| Placed { claim: one.claim, outcome: Err(error.clone()) }).collect()
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
