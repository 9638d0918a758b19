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
use super::recover::Recovering;
use super::{DataDir, DataDirOptions, FlushError, OpenError, OpenedPartition, partition_dir};
use crate::files::{Files, is_exhausted, is_final, is_full};
use crate::log::LogOptions;
use crate::metadata::Topic;
use crate::partition::PartitionId;
use crate::recovery::Damage;
use crate::slots::Slot;

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
        // Whoever opens a file of it for a reader has its names, and flushes do not wait for that.
        let below = self.durable().below.remove(&id);
        below.iter().for_each(|log| log.make_way());
        let log_options = topic_options(&topic);
        let opened = match self.recover_again(id, &topic, &log_options, now) {
            Ok(opened) => opened,
            Err(OpenError::Io { source, .. }) if is_passing(&source) => {
                self.serve_again(id, topic, log_options, damage, now)
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
        topic: &Topic,
        log_options: &LogOptions,
        now: Timestamp,
    ) -> Result<OpenedPartition<F>, OpenError> {
        // There is one, and the caller's thread for it.
        let options = DataDirOptions { side_by_side: |_, work| work(), ..self.options.clone() };
        let opening = self.opening(&options, now);
        let (number, last) = self.last_slot(id);
        let wanted = wanted(id, topic.clone());
        let number = number.ok_or_else(|| opening.io(&wanted.dir, io::Error::other("it has no slot")))?;
        let found = vec![Found { wanted, slot: Ok(number) }];
        let mut recovered =
            opening.recover_all(found, None, |_| last, &|_: &Topic| log_options.clone(), self.has_syncfs)?;
        opening.write_slots(&recovered, None, &mut self.durable().slots)?;
        opening.remove_expired(&mut recovered)?;
        let recovered = recovered.remove(0);
        let opened = open_log(&self.shared(), recovered, log_options.clone(), &mut self.durable());
        self.unsaved().extend(unsaved_epochs(std::slice::from_ref(&opened)));
        Ok(opened)
    }

    /// An attempt has ended half-way, and may have changed files: serves what there is now of what was served before.
    fn serve_again(
        &self,
        id: PartitionId,
        topic: Topic,
        log_options: LogOptions,
        damage: Damage,
        now: Timestamp,
    ) -> OpenedPartition<F> {
        let (slot, last) = self.last_slot(id);
        let wanted = wanted(id, topic);
        let below = self.opening(&self.options, now).readable(&wanted, last.as_ref(), &log_options, &damage);
        let recovered = Recovering { wanted, slot, outcome: Err(damage), below, expired: Vec::new() };
        open_log(&self.shared(), recovered, log_options, &mut self.durable())
    }

    fn opening<'a>(&'a self, options: &'a DataDirOptions, now: Timestamp) -> Opening<'a, F> {
        Opening { files: &*self.files, options, now, failure: self.failure.clone() }
    }

    /// The slot of a partition, and what it says.
    fn last_slot(&self, id: PartitionId) -> (Option<u32>, Option<Slot>) {
        let durable = self.durable();
        let number = durable.numbers.get(&id).copied();
        (number, number.and_then(|number| durable.slots.last(number)).copied())
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

fn wanted(id: PartitionId, topic: Topic) -> Wanted {
    let dir = partition_dir(&topic.name, id.partition);
    Wanted { id, topic, dir }
}

/// Whether what failed says nothing about the disk: there is no room for it, or no descriptor; or somebody has taken
/// the directory away, which the next attempt finds out.
fn is_passing(error: &io::Error) -> bool {
    !is_final(error) && (is_full(error) || is_exhausted(error) || error.kind() == io::ErrorKind::NotFound)
}
