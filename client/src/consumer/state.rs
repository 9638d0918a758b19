//! What the consumer and the client's thread share: the assigned partitions, and what was fetched of each.
//!
//! ```text
//!   next:  Unknown(position) -- looked up --> At(offset) -- fetched --> At(further) ...
//!              ^                                  |
//!              +------ seek (from anywhere) ------+---- refused, damaged, out of range --> Stopped
//! ```
//!
//! Each assignment and each seek gives its partition a new *generation*. What was asked for under an older one is
//! dropped when it arrives, so a seek needs not wait for what is on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use folio_record::{LeaderEpoch, Offset};

use super::config::{ConsumerConfig, Position};
use super::streams::Credit;
use crate::group::desk::Desk;
use crate::{CallError, PollError, TopicPartition};

/// See the module.
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) config: ConsumerConfig,
    state: Mutex<State>,
    pub(crate) arrived: Condvar,
}

/// See the module.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) slots: Vec<Slot>,
    by_name: HashMap<TopicPartition, usize>,
    /// Slots that have something to hand out, once for each item, in the order of their arrival.
    ready: VecDeque<usize>,
    generations: u64,
    /// Bytes fetched and not handed out.
    pub(crate) buffered: usize,
    /// Bytes that fetches on their way may bring.
    pub(crate) promised: usize,
    /// The fetcher has stopped for lack of room, and must be told when there is some.
    pub(crate) starved: bool,
    pub(crate) waker: Option<Waker>,
    /// What the group wants of the application.
    pub(crate) desk: Desk,
    /// Why nothing has come for a long time; handed out once.
    pub(crate) away: Option<CallError>,
    pub(crate) closed: bool,
}

/// An assigned partition.
pub(crate) struct Slot {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) generation: u64,
    /// Where fetching stands.
    pub(crate) next: Next,
    /// A lookup or a fetch is on its way, or a subscription is there.
    pub(crate) asked: bool,
    pub(crate) stream: Option<Credit>,
    /// Nothing is asked before this time: the last attempt failed for the moment.
    pub(crate) not_before: Option<Instant>,
    pub(crate) failures: u32,
    /// The next offset to be handed out.
    pub(crate) position: Option<Offset>,
    /// Of the last record before `position` that was handed out, by this consumer or, as it committed, by another.
    pub(crate) read_epoch: LeaderEpoch,
    pub(crate) paused: bool,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    items: VecDeque<Item>,
    /// Bytes of `items`.
    buffered: usize,
}

/// Where fetching stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Where it is to begin has to be looked up.
    Unknown(Position),
    /// `clamped`: the log's start will do as well, for it was counted from the end.
    At { offset: Offset, clamped: bool },
    /// Nowhere, until a seek.
    Stopped,
}

/// What is handed out.
pub(crate) enum Item {
    Fetched { bytes: Bytes, from: Offset, high_watermark: Offset },
    Error(PollError),
}

impl Shared {
    pub(crate) fn new(id: u64, config: ConsumerConfig) -> Self {
        Self { id, config, state: Mutex::default(), arrived: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever polls. Not under the lock: a waker may poll at once.
    pub(crate) fn notify(&self) {
        let waker = self.lock().wake();
        self.arrived.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// Whom to wake. From then on it is expected to come.
    fn wake(&mut self) -> Option<Waker> {
        let waker = self.waker.take()?;
        self.desk.busy_since.get_or_insert_with(Instant::now);
        Some(waker)
    }

    /// Replaces what is assigned.
    pub(crate) fn assign(&mut self, assignment: Vec<(TopicPartition, Position)>) {
        self.slots.clear();
        self.by_name.clear();
        self.ready.clear();
        self.buffered = 0;
        self.away = None;
        for (topic_partition, position) in assignment {
            let slot = Slot::new(topic_partition.clone(), self.next_generation(), position);
            match self.by_name.insert(topic_partition, self.slots.len()) {
                // Named twice: the last word counts.
                Some(at) => {
                    self.by_name.insert(slot.topic_partition.clone(), at);
                    self.slots[at] = slot;
                }
                None => self.slots.push(slot),
            }
        }
    }

    /// Takes partitions away, and adds others. What is assigned still, goes on where it is; what was asked for it is
    /// asked again, for the slots have moved.
    pub(crate) fn change(&mut self, gone: &[TopicPartition], new: Vec<(TopicPartition, Position)>) {
        let before = std::mem::take(&mut self.slots);
        self.by_name.clear();
        self.ready.clear();
        self.away = None;
        for mut slot in before {
            if gone.contains(&slot.topic_partition) {
                self.buffered -= slot.buffered;
                continue;
            }
            slot.generation = self.next_generation();
            slot.asked = false;
            slot.stream = None;
            self.add(slot);
        }
        for (topic_partition, position) in new {
            let generation = self.next_generation();
            self.add(Slot::new(topic_partition, generation, position));
        }
    }

    /// At the end of the slots; one that is not there yet.
    fn add(&mut self, slot: Slot) {
        let at = self.slots.len();
        self.by_name.insert(slot.topic_partition.clone(), at);
        if !slot.paused {
            self.ready.extend(slot.items.iter().map(|_| at));
        }
        self.slots.push(slot);
    }

    pub(crate) fn slot(&self, topic_partition: &TopicPartition) -> Option<&Slot> {
        self.by_name.get(topic_partition).map(|at| &self.slots[*at])
    }

    /// The slot at this place, if what was asked for it under this generation still counts.
    pub(crate) fn current(&mut self, at: usize, generation: u64) -> Option<&mut Slot> {
        self.slots.get_mut(at).filter(|slot| slot.generation == generation)
    }

    /// Moves a partition. False: it is not assigned.
    pub(crate) fn seek(&mut self, topic_partition: &TopicPartition, position: Position) -> bool {
        let Some(&at) = self.by_name.get(topic_partition) else { return false };
        self.ready.retain(|ready| *ready != at);
        let fresh = Slot::new(topic_partition.clone(), self.next_generation(), position);
        let slot = &mut self.slots[at];
        self.buffered -= slot.buffered;
        let before = std::mem::replace(slot, fresh);
        slot.paused = before.paused;
        slot.high_watermark = before.high_watermark;
        slot.log_start = before.log_start;
        true
    }

    /// Whoever read a partition before this consumer says in which epoch the last record was written.
    pub(crate) fn has_read(&mut self, topic_partition: &TopicPartition, epoch: LeaderEpoch) {
        if let Some(&at) = self.by_name.get(topic_partition) {
            self.slots[at].read_epoch = epoch;
        }
    }

    /// Pauses or resumes a partition. What was fetched of it is kept. False: it is not assigned.
    pub(crate) fn set_paused(&mut self, topic_partition: &TopicPartition, paused: bool) -> bool {
        let Some(&at) = self.by_name.get(topic_partition) else { return false };
        let slot = &mut self.slots[at];
        if slot.paused != paused {
            slot.paused = paused;
            if paused {
                self.ready.retain(|ready| *ready != at);
            } else {
                self.ready.extend(slot.items.iter().map(|_| at));
            }
        }
        true
    }

    /// Something has arrived for a slot.
    pub(crate) fn push(&mut self, at: usize, item: Item) {
        self.buffered += item.bytes();
        let slot = &mut self.slots[at];
        slot.buffered += item.bytes();
        slot.items.push_back(item);
        if !slot.paused {
            self.ready.push_back(at);
        }
    }

    /// The next thing to hand out, and whose it is.
    pub(crate) fn pop(&mut self) -> Option<(usize, Item)> {
        let at = self.ready.pop_front()?;
        let slot = &mut self.slots[at];
        let item = slot.items.pop_front()?;
        slot.buffered -= item.bytes();
        self.buffered -= item.bytes();
        self.starved |= slot.stream.is_some_and(|credit| credit.due(slot.buffered).is_some());
        Some((at, item))
    }

    /// Stops a partition: the error is handed out behind what was fetched before.
    pub(crate) fn stop_behind(&mut self, at: usize, error: PollError) {
        self.slots[at].next = Next::Stopped;
        self.push(at, Item::Error(error));
    }

    /// Stops a partition at an error that is handed out next: what was fetched behind it is dropped.
    pub(crate) fn stop_here(&mut self, at: usize, error: PollError) {
        self.ready.retain(|ready| *ready != at);
        self.buffered -= std::mem::take(&mut self.slots[at].buffered);
        self.slots[at].items.clear();
        self.slots[at].stream = None;
        self.slots[at].generation = self.next_generation(); // what is on its way lies behind it as well
        self.slots[at].asked = false;
        self.stop_behind(at, error);
    }

    fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }
}

impl Slot {
    fn new(topic_partition: TopicPartition, generation: u64, position: Position) -> Self {
        let (next, known) = match position {
            Position::At(offset) => (Next::At { offset, clamped: false }, Some(offset)),
            position => (Next::Unknown(position), None),
        };
        Self {
            topic_partition,
            generation,
            next,
            asked: false,
            stream: None,
            not_before: None,
            failures: 0,
            position: known,
            read_epoch: LeaderEpoch::NONE,
            paused: false,
            high_watermark: None,
            log_start: None,
            items: VecDeque::new(),
            buffered: 0,
        }
    }

    /// Fetching goes on at an offset that does not follow.
    pub(crate) fn go_on_at(&mut self, offset: Offset) {
        self.next = Next::At { offset, clamped: false };
        if self.items.is_empty() {
            self.position = Some(offset);
            self.read_epoch = LeaderEpoch::NONE;
        }
    }

    /// How many things wait to be handed out.
    pub(crate) fn waiting(&self) -> usize {
        self.items.len()
    }

    /// Bytes that wait to be handed out.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether something may be asked for it now.
    pub(crate) fn is_askable(&self, now: Instant) -> bool {
        !self.asked && self.not_before.is_none_or(|at| at <= now)
    }
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Fetched { bytes, .. } => bytes.len(),
            Self::Error(_) => 0,
        }
    }
}
