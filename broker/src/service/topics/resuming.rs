//! Partitions that were offline because the start had no room to recover them, and are served again.

use std::sync::{Arc, PoisonError};

use folio_storage::data_dir::{FlushError, OpenedPartition};
use folio_storage::metadata;
use folio_storage::partition::PartitionId;

use super::following::settings_of;
use super::internal;
use crate::engine::{Disk, Engine, log_options, now};
use crate::partition::Partition;
use crate::recovered::{tell_cut, tell_offline, why_offline};
use crate::threads::groups::GroupJob;
use crate::threads::reaper::Retired;
use crate::view::{Served, Topic};

/// Recovers such a partition again, which may take as long as at a start, and serves what has become of it. Whether it
/// does not wait for room any more.
///
/// # Errors
/// The disk.
pub(crate) fn resume(engine: &Engine, id: PartitionId) -> Result<bool, FlushError> {
    let options = |topic: &metadata::Topic| log_options(&engine.config, &settings_of(engine, topic));
    let Some(opened) = engine.dir.resume(id, options, now())? else { return Ok(true) };
    // Whoever changes topics begins with the view that it finds.
    let _follower = engine.follower.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have been deleted meanwhile, and the log with it.
    let topic = engine.view.load().with_id(id.topic).cloned();
    let Some(topic) = topic.filter(|topic| (id.partition as usize) < topic.partitions.len()) else {
        return Ok(true);
    };
    let served = served(engine, &topic, &opened);
    engine.view.rcu(|view| view.with_served(id.topic, id.partition, &served));
    if let Some(Served::Below(before, _)) = topic.partitions.get(id.partition as usize) {
        engine.reaper.send([Arc::clone(before) as Retired, Arc::clone(&before.log) as Retired]);
    }
    let Served::Leader(partition) = served else {
        return Ok(!engine.dir.waiting_for_room().contains(&id));
    };
    tracing::info!(
        topic = &*topic.name,
        partition = id.partition,
        "a partition is back: there was room to recover it"
    );
    tell_cut(&opened);
    if *topic.name == *internal::OFFSETS {
        engine.groups.send([GroupJob::Reopened(partition)]);
    }
    Ok(true)
}

fn served(engine: &Engine, topic: &Topic<Disk>, opened: &OpenedPartition<Disk>) -> Served<Disk> {
    let open = |log| {
        let settings = Arc::clone(&topic.settings);
        Partition::new(Arc::clone(&topic.name), opened.id.partition, log, settings, engine.lanes.len())
    };
    let damage = match &opened.state {
        Ok((log, _)) => {
            // They may have been changed since it was opened with them.
            log.set_options(log_options(&engine.config, &topic.settings.load()));
            return Served::Leader(Arc::new(open(Arc::clone(log))));
        }
        Err(damage) => damage,
    };
    let why = why_offline(opened, damage, &engine.config);
    if !engine.dir.waiting_for_room().contains(&opened.id) {
        tell_offline(opened, &why);
    }
    match &opened.below {
        Some(log) => Served::Below(Arc::new(open(Arc::clone(log)).below(Arc::clone(&why))), why),
        None => Served::Offline(why),
    }
}
