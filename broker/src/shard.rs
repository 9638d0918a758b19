//! What one event loop owns: the batches of its turn, and the requests that wait.
//!
//! Invariants: a partition is appended to once a turn; every request that was taken is answered exactly once;
//! nothing here waits for a disk.

mod waiting;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use folio_channel::{LoopLocal, Resume};
use folio_mapped::MapSlice;
use folio_record::{Offset, Timestamp};
use folio_storage::{AppendedRange, Mode};

use crate::config::DurabilityClass;
use crate::engine::{Disk, Engine};
use crate::error::ServiceError;
use crate::partition::{Partition, PartitionKey, Waiter};
use crate::purgatory::{Purgatory, Ticket};
use crate::service::fetch::{self, Moved, cold_job};
use crate::service::produce::Admitted;
use crate::standing::{Standing, WatcherId};
use crate::threads::lane::{self, LaneJob};

pub(crate) use waiting::WaitingFetch;
use waiting::{EntryState, WaitingProduce};

/// What other threads tell a loop.
#[derive(Debug)]
pub(crate) enum LoopMessage {
    /// High watermarks have moved where this loop has somebody waiting.
    Advanced(Vec<Arc<Partition<Disk>>>),
    /// What became of batches that went through a lane, and whether the high watermark has moved by that.
    Placed { partition: Arc<Partition<Disk>>, placed: Vec<Placed>, has_moved: bool },
    /// The data directory has failed: everybody who waits is told.
    Failed,
    /// A watcher of this loop is gone.
    Unwatch(WatcherId),
    /// The broker is ending: fetches wait for nothing any more, and subscriptions end.
    Drain,
}

/// Batches of one entry of a produce on their way to a log.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) batches: BytesMut,
    /// None when nobody wants to know.
    pub(crate) claim: Option<Claim>,
}

/// Who wants to know what becomes of batches, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// The request.
    ticket: Ticket,
    /// Which of its entries.
    entry: usize,
    /// Once they lie below the high watermark; else once they are appended.
    pub(crate) waits_for_watermark: bool,
}

/// What became of one entry of a produce.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) claim: Option<Claim>,
    pub(crate) outcome: Result<AppendedRange, ServiceError>,
}

/// Tells whoever asked, in the protocol that asked, what became of the entries. Dropped unused, it closes the
/// connection.
pub(crate) type AnswerProduce = Box<dyn FnOnce(Vec<Produced>) + Send>;

/// The outcome of one entry.
pub(crate) type Produced = Result<Stored, ServiceError>;

/// What is to be told of records that were stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Of the first of them.
    pub(crate) base_offset: Offset,
    /// Where their log begins.
    pub(crate) log_start: Offset,
    /// When they were appended, if they have that for their time; else [`Timestamp::NONE`].
    pub(crate) append_time: Timestamp,
}

/// Batches of one partition that are to be appended at the end of a turn.
struct Collection {
    partition: Arc<Partition<Disk>>,
    pending: Vec<Pending>,
}

/// The state of one event loop.
pub(crate) struct Shard {
    index: usize,
    pub(crate) engine: Arc<Engine>,
    collected: BTreeMap<PartitionKey, Collection>,
    /// How many of this loop's jobs are in the lane, by partition.
    in_lane: HashMap<PartitionKey, usize>,
    produces: Purgatory<WaitingProduce>,
    fetches: Purgatory<WaitingFetch>,
    /// Who watches partitions between its fetches, or has subscribed to them.
    pub(crate) standing: Standing,
    /// The broker is ending: nobody waits for records any more.
    pub(crate) is_draining: bool,
}

impl Shard {
    pub(crate) fn new(index: usize, engine: Arc<Engine>) -> Self {
        let (produces, fetches) = (Purgatory::new(), Purgatory::new());
        Self {
            index,
            engine,
            collected: BTreeMap::new(),
            in_lane: HashMap::new(),
            produces,
            fetches,
            standing: Standing::default(),
            is_draining: false,
        }
    }

    /// Takes the admitted entries into this turn's append, and answers once all are where they are wanted: appended,
    /// or (`waits_for_watermark`) below the high watermark. At the deadline it answers as things are.
    pub(crate) fn produce(
        &mut self,
        entries: Vec<Result<Admitted, ServiceError>>,
        waits_for_watermark: bool,
        deadline: Instant,
        answer: AnswerProduce,
    ) {
        let mut admitted = Vec::with_capacity(entries.len());
        let entries = entries.into_iter().enumerate().map(|(number, entry)| match entry {
            Ok((partition, batches)) => {
                admitted.push((number, partition, batches));
                EntryState::Appending
            }
            Err(error) => EntryState::Refused(error),
        });
        let waiting = WaitingProduce { answer, waits_for_watermark, entries: entries.collect() };
        if admitted.is_empty() {
            return waiting.finish();
        }
        if waits_for_watermark {
            admitted.iter().for_each(|(_, partition, _)| partition.register_waiter(self.waiter()));
        }
        let watches =
            admitted.iter().zip(0..).map(|((_, partition, _), number)| (partition.key, number)).collect();
        let ticket = self.produces.park(watches, deadline, waiting);
        for (entry, partition, batches) in admitted {
            let claim = Some(Claim { ticket, entry, waits_for_watermark });
            self.collect(&partition, Pending { batches, claim });
        }
    }

    /// Takes the admitted entries into this turn's append. Nobody wants to know what becomes of them.
    pub(crate) fn produce_unanswered(&mut self, entries: Vec<Result<Admitted, ServiceError>>) {
        for (partition, batches) in entries.into_iter().flatten() {
            self.collect(&partition, Pending { batches, claim: None });
        }
    }

    fn collect(&mut self, partition: &Arc<Partition<Disk>>, pending: Pending) {
        self.engine.pressure.take_in(pending.batches.len() as u64);
        let new = || Collection { partition: Arc::clone(partition), pending: Vec::new() };
        self.collected.entry(partition.key).or_insert_with(new).pending.push(pending);
    }

    /// Parks a fetch until it has enough, unless too many wait: then it is answered with what there is.
    pub(crate) fn park_fetch(&mut self, deadline: Instant, waiting: WaitingFetch) -> Option<Ticket> {
        let too_many = self.fetches.len() >= self.engine.config.fetch_waiting_max;
        if too_many || self.is_draining {
            self.answer_fetch(waiting);
            return None;
        }
        let watcher = waiting.watcher;
        // Whoever has a watcher watches already.
        let watches = if watcher.is_some() { Vec::new() } else { waiting.fetch.watches() };
        if watcher.is_none() {
            waiting.fetch.partitions().for_each(|partition| partition.register_waiter(self.waiter()));
        }
        let ticket = self.fetches.park(watches, deadline, waiting);
        watcher.into_iter().for_each(|watcher| self.standing.set_parked(watcher, Some(ticket)));
        // Whoever moved a high watermark before it saw our bit told nobody: look again, now that the bit is set.
        let looked = self.fetches.get_mut(ticket).map(|waiting| waiting.fetch.look_at_moved());
        if looked.is_some_and(|standing| standing != fetch::Standing::TooLittle)
            && let Some(waiting) = self.fetches.remove(ticket)
        {
            self.answer_fetch(waiting);
            return None;
        }
        Some(ticket)
    }

    /// Whether this fetch still waits.
    pub(crate) fn has_fetch(&mut self, ticket: Ticket) -> bool {
        self.fetches.get_mut(ticket).is_some()
    }

    /// Nobody waits for this fetch's answer any more.
    pub(crate) fn forget_fetch(&mut self, ticket: Ticket) {
        let watcher = self.fetches.remove(ticket).and_then(|waiting| waiting.watcher);
        watcher.into_iter().for_each(|watcher| self.standing.set_parked(watcher, None));
    }

    /// `watcher` will be told when `partition` moves, by this number. The caller looks at the partition again
    /// afterwards.
    pub(crate) fn watch(&mut self, watcher: WatcherId, partition: &Partition<Disk>, number: u32) -> bool {
        partition.register_waiter(self.waiter());
        self.standing.watch(watcher, partition.key, number)
    }

    /// Which loop this is.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    fn waiter(&self) -> Waiter {
        Waiter::Loop(self.index)
    }

    fn answer_fetch(&mut self, waiting: WaitingFetch) {
        let WaitingFetch { mut fetch, answer, watcher } = waiting;
        watcher.into_iter().for_each(|watcher| self.standing.set_parked(watcher, None));
        if self.engine.health.has_failed() {
            return answer.answer(fetch.refused(&ServiceError::storage_failed()));
        }
        if fetch.standing() == fetch::Standing::Cold || !fetch.is_ready() {
            self.engine.readers.run(cold_job(fetch, answer));
        } else {
            answer.answer(fetch.finish_late(&self.engine));
        }
    }

    fn append_collected(&mut self) {
        let mut moved = Vec::new();
        for (key, collection) in std::mem::take(&mut self.collected) {
            let is_inline = collection.partition.durability() != DurabilityClass::Fsync;
            if is_inline && self.in_lane.contains_key(&key) {
                // What a lane was needed for will be over before a batch sent after it gets there. To follow it would
                // mean to take the lane for as long as the producers keep up; so it waits here for the lane's word.
                self.collected.insert(key, collection);
                continue;
            }
            let Collection { partition, pending } = collection;
            let pending = if is_inline && !partition.is_in_lane() {
                match lane::append(&self.engine, &partition, pending, Mode::Inline) {
                    Ok(placed) => {
                        // Channels are written in the order in which they are woken: a record is on its way to its
                        // subscribers before its producer hears of it.
                        self.standing.wake_channels_of(key);
                        self.place(&partition, placed);
                        moved.push(partition);
                        continue;
                    }
                    Err(pending) => pending,
                }
            } else {
                pending
            };
            self.send_to_lane(partition, pending);
        }
        if !moved.is_empty() {
            self.engine.announce(&moved, Some(self.waiter()));
            self.advanced(&moved);
        }
    }

    fn send_to_lane(&mut self, partition: Arc<Partition<Disk>>, pending: Vec<Pending>) {
        partition.enters_lane(pending.len());
        *self.in_lane.entry(partition.key).or_default() += 1;
        let lane = &self.engine.lanes[partition.lane];
        lane.send([LaneJob { from: self.waiter(), partition, pending }]);
    }

    fn place(&mut self, partition: &Arc<Partition<Disk>>, placed: Vec<Placed>) {
        for Placed { claim, outcome } in placed {
            let Some(Claim { ticket, entry, .. }) = claim else { continue };
            // One that timed out has been answered.
            let Some(waiting) = self.produces.get_mut(ticket) else { continue };
            waiting.entries[entry] = match outcome {
                Ok(range) => EntryState::Appended { partition: Arc::clone(partition), range },
                Err(error) => EntryState::Refused(error),
            };
            if waiting.is_done()
                && let Some(waiting) = self.produces.remove(ticket)
            {
                waiting.finish();
            }
        }
    }

    /// High watermarks have moved: whoever waited for that is answered.
    fn advanced(&mut self, partitions: &[Arc<Partition<Disk>>]) {
        let (mut produces, mut fetches) = (Vec::new(), Vec::new());
        for partition in partitions {
            self.produces.wake(partition.key, |waiting, _| waiting.is_done(), &mut produces);
            self.fetches.wake(partition.key, WaitingFetch::is_ready, &mut fetches);
            self.tell_watchers(partition, &mut fetches);
        }
        produces.into_iter().for_each(WaitingProduce::finish);
        for waiting in fetches {
            self.answer_fetch(waiting);
        }
        for partition in partitions {
            let key = partition.key;
            // What a lane leaves here without a word is found with the word of who moves the watermark then.
            let waits = self.in_lane.contains_key(&key)
                || self.produces.watches(key)
                || self.fetches.watches(key)
                || self.standing.watches(key);
            if !waits {
                partition.unregister_waiter(Waiter::Loop(self.index));
            }
        }
    }

    /// A partition has moved: moves the fetches that have enough by that to `ready`.
    fn tell_watchers(&mut self, partition: &Arc<Partition<Disk>>, ready: &mut Vec<WaitingFetch>) {
        for (watcher, ticket, number) in self.standing.moved(partition.key) {
            let Some(waiting) = self.fetches.get_mut(ticket) else {
                self.standing.keep(watcher, number);
                continue;
            };
            let standing = match waiting.answer.moved(number) {
                Moved::Nothing => waiting.fetch.standing(),
                Moved::Again(index) => waiting.fetch.look_again(index),
                Moved::New(want) => waiting.fetch.add(want),
            };
            if standing != fetch::Standing::TooLittle {
                ready.extend(self.fetches.remove(ticket));
            }
            // It is told of the next movement, too. What moves from here on comes with a message: our bit is set.
            self.standing.watch(watcher, partition.key, number);
        }
    }

    fn expire(&mut self, now: Instant) {
        let (mut produces, mut fetches) = (Vec::new(), Vec::new());
        self.produces.expire(now, &mut produces);
        self.fetches.expire(now, &mut fetches);
        produces.into_iter().for_each(WaitingProduce::finish);
        for waiting in fetches {
            self.answer_fetch(waiting);
        }
    }

    fn fail_all(&mut self) {
        let (mut produces, mut fetches) = (Vec::new(), Vec::new());
        self.produces.drain(&mut produces);
        self.fetches.drain(&mut fetches);
        for mut waiting in produces {
            waiting.entries.fill_with(|| EntryState::Refused(ServiceError::storage_failed()));
            waiting.finish();
        }
        for WaitingFetch { fetch, answer, .. } in fetches {
            answer.answer(fetch.refused(&ServiceError::storage_failed()));
        }
    }
}

impl LoopLocal for Shard {
    type Message = LoopMessage;

    fn message(&mut self, message: LoopMessage) {
        match message {
            LoopMessage::Advanced(partitions) => self.advanced(&partitions),
            LoopMessage::Placed { partition, placed, has_moved } => {
                if let Entry::Occupied(mut jobs) = self.in_lane.entry(partition.key) {
                    *jobs.get_mut() -= 1;
                    if *jobs.get() == 0 {
                        jobs.remove();
                    }
                }
                self.place(&partition, placed);
                if has_moved {
                    self.advanced(std::slice::from_ref(&partition));
                }
            }
            LoopMessage::Unwatch(watcher) => self.standing.remove(watcher),
            LoopMessage::Failed => {
                self.fail_all();
                self.standing.wake_channels();
            }
            LoopMessage::Drain => {
                self.is_draining = true;
                self.standing.wake_channels();
                let mut fetches = Vec::new();
                self.fetches.drain(&mut fetches);
                fetches.into_iter().for_each(|waiting| self.answer_fetch(waiting));
            }
        }
    }

    fn turn_end(&mut self, now: Instant) {
        self.append_collected();
        self.expire(now);
    }

    fn read_in(&mut self, slices: Vec<MapSlice>, resume: Resume<Self>) {
        self.engine.readers.run(move |_| {
            for slice in slices {
                // What cannot be read is found out by the kernel when it is sent.
                let _ = slice.populate();
            }
            drop(resume);
        });
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.produces.next_deadline().into_iter().chain(self.fetches.next_deadline()).min()
    }
}

#[cfg(test)]
mod tests;
