//! Partitions that a start has found no room to recover: the same is tried again while the directory is used.
//!
//! It goes as at a start, for one partition: what was interrupted is finished, its files are synced and read, its slot
//! is written, and its log opened. What was served of it meanwhile makes way before a file changes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{MutexGuard, PoisonError};

use folio_record::Timestamp;

use super::epochs::unsaved_epochs;
use super::open::{Opening, open_log};
use super::reconcile::{Found, Wanted};
use super::{DataDir, DataDirOptions, FlushError, OpenError, OpenedPartition, partition_dir};
use crate::files::{Files, is_exhausted, is_final, is_full};
use crate::log::LogOptions;
use crate::metadata::Topic;
use crate::partition::PartitionId;
use crate::recovery::Damage;

/// The partitions that are offline for want of room.
pub(super) fn waiting_for_room<F: Files>(partitions: &[OpenedPartition<F>]) -> BTreeMap<PartitionId, Damage> {
    let damaged = partitions.iter().filter_map(|one| Some((one.id, one.state.as_ref().err()?)));
    damaged.filter(|(_, damage)| is_for_room(damage)).map(|(id, damage)| (id, damage.clone())).collect()
}

fn is_for_room(damage: &Damage) -> bool {
    matches!(damage, Damage::NoRoom { .. })
}

impl<F: Files> DataDir<F> {
    /// Partitions that are offline because a start has found no room to recover them.
    pub fn waiting_for_room(&self) -> Vec<PartitionId> {
        self.waiting().keys().copied().collect()
    }

    /// Recovers such a partition again, which takes as long as at a start. Says what has become of it: it is open; or
    /// it goes on waiting, and another log is what can be read of it; or it cannot be recovered, for another reason.
    /// Whoever reads the log that was served of it so far is told to ask once more. `None`: it does not wait any more.
    ///
    /// # Errors
    /// The disk, final as for a flush. That there is still no room is none.
    pub fn resume(
        &self,
        id: PartitionId,
        topic_options: impl Fn(&Topic) -> LogOptions,
        now: Timestamp,
    ) -> Result<Option<OpenedPartition<F>>, FlushError> {
        self.check()?;
        let mut waiting = self.waiting();
        let Some(damage) = waiting.get(&id).cloned() else { return Ok(None) };
        // Of one whose topic is being deleted the directory is about to go.
        let Some(topic) = self.topic(id.topic) else { return Ok(None) };
        if let Some(log) = self.durable().below.remove(&id) {
            log.make_way();
        }
        let opened = match self.recover_again(id, topic.clone(), topic_options, now) {
            Ok(opened) => opened,
            Err(OpenError::Io { source, .. }) if is_passing(&source) => {
                OpenedPartition { id, topic: topic.name, state: Err(damage), below: None }
            }
            Err(error) => return Err(self.failed(self.of_opening(error))),
        };
        match &opened.state {
            Err(damage) if is_for_room(damage) => drop(waiting.insert(id, damage.clone())),
            _ => drop(waiting.remove(&id)),
        }
        Ok(Some(opened))
    }

    fn recover_again(
        &self,
        id: PartitionId,
        topic: Topic,
        topic_options: impl Fn(&Topic) -> LogOptions,
        now: Timestamp,
    ) -> Result<OpenedPartition<F>, OpenError> {
        // There is one, and the caller's thread for it.
        let options = DataDirOptions { side_by_side: |_, work| work(), ..self.options.clone() };
        let opening = Opening { files: &*self.files, options: &options, now, failure: self.failure.clone() };
        let (slot, last) = {
            let durable = self.durable();
            let slot = durable.numbers.get(&id).copied();
            (slot, slot.and_then(|number| durable.slots.last(number)).copied())
        };
        let dir = partition_dir(&topic.name, id.partition);
        let slot = slot.ok_or_else(|| opening.io(&dir, io::Error::other("it has no slot")))?;
        let (log_options, wanted) = (topic_options(&topic), Wanted { id, topic, dir });
        let found = vec![Found { wanted, slot: Ok(slot) }];
        let mut recovered =
            opening.recover_all(found, None, |_| last, &|_: &Topic| log_options.clone(), self.has_syncfs)?;
        opening.write_slots(&recovered, None, &mut self.durable().slots)?;
        opening.remove_expired(&mut recovered)?;
        let recovered = recovered.remove(0);
        let opened = open_log(&self.shared(), recovered, log_options, &mut self.durable());
        self.unsaved().extend(unsaved_epochs(std::slice::from_ref(&opened)));
        Ok(opened)
    }

    fn of_opening(&self, error: OpenError) -> FlushError {
        match error {
            OpenError::Io { path, source } => {
                self.error(path.strip_prefix(self.files.root()).unwrap_or(&path), source)
            }
            error => self.error("", io::Error::other(error)),
        }
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Damage>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what failed says nothing about the disk: there is no room for it, or no descriptor; or somebody has taken
/// the directory away, which the next attempt finds out.
fn is_passing(error: &io::Error) -> bool {
    !is_final(error) && (is_full(error) || is_exhausted(error) || error.kind() == io::ErrorKind::NotFound)
}
