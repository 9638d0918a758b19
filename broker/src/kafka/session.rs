//! A fetch session (KIP-227): the partitions that a client reads, remembered between its requests, so that each request
//! names only what changed on its side, and each answer only what changed here.
//!
//! ```text
//!            asked for, or changed by a request
//!                        |
//!                        v      looked at, nothing there, and watched
//!                      ready  ------------------------------------------> resting
//!                        ^                                                   |
//!                        +------------------ it has moved -------------------+
//! ```
//! Only ready partitions are looked at: a session costs what moves in it, not what it holds.
//!
//! Invariants:
//! * a partition that rests is watched by somebody who will say when it has moved;
//! * ready partitions come in the order of the session: as they were added, but one that had records goes to the end,
//!   so that nobody starves behind it;
//! * an answer leaves out a partition only if it has no records, no error and nothing that the client was not told.
//!
//! No socket, no clock and no log: what else is kept of a partition is a `P`.

pub(super) mod cache;
pub(crate) mod sitting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use slab::Slab;
use uuid::Uuid;

/// How a client names a topic: by its id from Fetch 13 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// What a client says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
    pub(super) leader_epoch: i32,
    pub(super) last_epoch: i32,
}

/// What a partition had, as far as it matters to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) has_records: bool,
    /// There are records for which the answer has no room.
    pub(super) is_held_back: bool,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
    /// There is an error, or the client's records are not those of the log: it has to hear of that every time.
    pub(super) is_odd: bool,
}

/// One partition of a session.
#[derive(Debug)]
pub(super) struct Slot<P> {
    pub(super) topic: TopicKey,
    pub(super) partition: i32,
    pub(super) terms: Terms,
    /// Somebody will say when it has moved.
    pub(super) is_watched: bool,
    pub(super) kept: P,
    turn: u64,
    /// What the client was told last; -1 if it is to be told again.
    high_watermark: i64,
    log_start: i64,
}

/// The partitions of one session.
#[derive(Debug)]
pub(super) struct Session<P> {
    slots: Slab<Slot<P>>,
    numbers: HashMap<(TopicKey, i32), usize>,
    /// By turn.
    ready: BTreeMap<u64, usize>,
    next_turn: u64,
}

impl<P: Default> Session<P> {
    pub(super) fn new() -> Self {
        Self { slots: Slab::new(), numbers: HashMap::new(), ready: BTreeMap::new(), next_turn: 0 }
    }

    /// Takes a partition in, or what is new about it; either way it is ready.
    pub(super) fn update(&mut self, topic: TopicKey, partition: i32, terms: Terms) {
        let Self { slots, numbers, ready, next_turn } = self;
        let number = *numbers.entry((topic.clone(), partition)).or_insert_with(|| {
            let turn = *next_turn;
            *next_turn += 1;
            let kept = P::default();
            let (high_watermark, log_start, is_watched) = (-1, -1, false);
            slots.insert(Slot { topic, partition, terms, is_watched, kept, turn, high_watermark, log_start })
        });
        slots[number].terms = terms;
        ready.insert(slots[number].turn, number);
    }

    /// Lets a partition go. Whoever watches it is to stop.
    pub(super) fn forget(&mut self, topic: TopicKey, partition: i32) -> Option<(u32, Slot<P>)> {
        let number = self.numbers.remove(&(topic, partition))?;
        let slot = self.slots.remove(number);
        self.ready.remove(&slot.turn);
        Some((u32::try_from(number).unwrap_or(u32::MAX), slot))
    }

    /// How many partitions it holds.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The partitions to look at, in order.
    pub(super) fn ready(&self) -> Vec<u32> {
        self.ready.values().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).collect()
    }

    /// The partition of this number, unless it has left.
    pub(super) fn slot(&mut self, number: u32) -> Option<&mut Slot<P>> {
        self.slots.get_mut(number as usize)
    }

    /// A partition has moved, and is watched no more.
    pub(super) fn wake(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.is_watched = false;
            self.ready.insert(slot.turn, number as usize);
        }
    }

    /// Nobody watches any of its partitions any more.
    pub(super) fn wake_all(&mut self) {
        for (number, slot) in &mut self.slots {
            slot.is_watched = false;
            self.ready.insert(slot.turn, number);
        }
    }

    /// An answer is being made: whether this partition has to stand in it. Of a full answer every one does, and keeps
    /// its turn.
    pub(super) fn tell(&mut self, number: u32, seen: Seen, is_full: bool) -> bool {
        let Some(slot) = self.slots.get_mut(number as usize) else { return false };
        let is_news = slot.high_watermark != seen.high_watermark || slot.log_start != seen.log_start;
        // Once the error is gone, the client is told so by getting the partition again.
        slot.high_watermark = if seen.is_odd { -1 } else { seen.high_watermark };
        slot.log_start = seen.log_start;
        let stays = seen.has_records || seen.is_held_back || seen.is_odd || !slot.is_watched;
        if !stays {
            self.ready.remove(&slot.turn);
        } else if seen.has_records && !is_full {
            self.ready.remove(&slot.turn);
            slot.turn = self.next_turn;
            self.next_turn += 1;
            self.ready.insert(slot.turn, number as usize);
        }
        is_full || is_news || seen.has_records || seen.is_odd
    }
}
