//! Watches that outlive a request: who reads the same partitions again and again is told which of them have moved, also
//! between its requests, and need not look at all of them each time. Who has no requests has its channel woken.
//!
//! A watch tells of one movement and is over; whoever has looked at the partition since sets the next one. So a watcher
//! that nobody comes back to costs nothing after that, however much is appended.
//!
//! One of these belongs to one event loop. Invariant: a partition is in `watched` for exactly those watchers in whose
//! `watches` it is, once for each number that a watcher knows it by.

use std::collections::{BTreeSet, HashMap};

use folio_channel::Channel;
use slab::Slab;

use crate::partition::PartitionKey;
use crate::purgatory::Ticket;
use crate::shard::Shard;

/// Names a watcher of one event loop; never used again after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatcherId {
    slot: usize,
    serial: u64,
}

/// The watchers of one event loop.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    watchers: Slab<Watcher>,
    watched: BTreeSet<(PartitionKey, WatcherId, u32)>,
    next_serial: u64,
}

#[derive(Debug)]
struct Watcher {
    serial: u64,
    /// By the number that the watcher knows the partition by.
    watches: HashMap<u32, PartitionKey>,
    /// Numbers of partitions that have moved, and nobody has asked since.
    moved: Vec<u32>,
    /// The request that waits for one to move.
    parked: Option<Ticket>,
    /// Woken when one has moved.
    channel: Option<Channel<Shard>>,
}

impl Standing {
    /// A watcher of nothing yet.
    pub(crate) fn add(&mut self) -> WatcherId {
        self.insert(None)
    }

    /// A watcher of nothing yet, whose channel is woken when something has moved.
    pub(crate) fn add_channel(&mut self, channel: Channel<Shard>) -> WatcherId {
        self.insert(Some(channel))
    }

    fn insert(&mut self, channel: Option<Channel<Shard>>) -> WatcherId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let watcher = Watcher { serial, watches: HashMap::new(), moved: Vec::new(), parked: None, channel };
        WatcherId { slot: self.watchers.insert(watcher), serial }
    }

    /// Something has happened that concerns everybody: wakes all channels.
    pub(crate) fn wake_channels(&self) {
        self.watchers.iter().filter_map(|(_, watcher)| watcher.channel.as_ref()).for_each(Channel::wake);
    }

    /// Ends a watcher with all its watches.
    pub(crate) fn remove(&mut self, id: WatcherId) {
        if self.watcher(id).is_some() {
            let gone = self.watchers.remove(id.slot);
            gone.watches.into_iter().for_each(|(number, key)| self.end(key, id, number));
        }
    }

    /// Whether there still is such a watcher; it sets a watch on a partition, which it knows by `number`.
    pub(crate) fn watch(&mut self, id: WatcherId, key: PartitionKey, number: u32) -> bool {
        let Some(watcher) = self.watcher(id) else { return false };
        // The number may have belonged to another partition.
        let before = watcher.watches.insert(number, key);
        before.into_iter().for_each(|key| self.end(key, id, number));
        self.watched.insert((key, id, number));
        true
    }

    /// Ends the watch on one partition.
    pub(crate) fn unwatch(&mut self, id: WatcherId, number: u32) {
        let key = self.watcher(id).and_then(|watcher| watcher.watches.remove(&number));
        key.into_iter().for_each(|key| self.end(key, id, number));
    }

    /// Whether any watcher watches `key`.
    pub(crate) fn watches(&self, key: PartitionKey) -> bool {
        self.watching(key).next().is_some()
    }

    /// A partition has moved: wakes the channels that watch it, and ends their watches.
    pub(crate) fn wake_channels_of(&mut self, key: PartitionKey) {
        let watching: Vec<(WatcherId, u32)> = self.watching(key).collect();
        for (id, number) in watching {
            let Some(watcher) = self.watcher(id).filter(|watcher| watcher.channel.is_some()) else {
                continue;
            };
            watcher.watches.remove(&number);
            watcher.moved.push(number);
            watcher.channel.iter().for_each(Channel::wake);
            self.end(key, id, number);
        }
    }

    /// A partition has moved: ends the watches on it. Of watchers with a request that waits, returns which, and by what
    /// number it knows the partition; the others keep the number.
    pub(crate) fn moved(&mut self, key: PartitionKey) -> Vec<(WatcherId, Ticket, u32)> {
        let watching: Vec<(WatcherId, u32)> = self.watching(key).collect();
        let mut waiting = Vec::new();
        for (id, number) in watching {
            self.watched.remove(&(key, id, number));
            let Some(watcher) = self.watcher(id) else { continue };
            watcher.watches.remove(&number);
            match watcher.parked {
                Some(ticket) => waiting.push((id, ticket, number)),
                None => {
                    watcher.moved.push(number);
                    watcher.channel.iter().for_each(Channel::wake);
                }
            }
        }
        waiting
    }

    /// A partition has moved that nobody could be told of.
    pub(crate) fn keep(&mut self, id: WatcherId, number: u32) {
        self.watcher(id).into_iter().for_each(|watcher| watcher.moved.push(number));
    }

    /// The partitions that have moved since the last call.
    pub(crate) fn take_moved(&mut self, id: WatcherId) -> Vec<u32> {
        self.watcher(id).map(|watcher| std::mem::take(&mut watcher.moved)).unwrap_or_default()
    }

    /// The watcher's request that waits, or that none does any more.
    pub(crate) fn set_parked(&mut self, id: WatcherId, parked: Option<Ticket>) {
        self.watcher(id).into_iter().for_each(|watcher| watcher.parked = parked);
    }

    fn end(&mut self, key: PartitionKey, id: WatcherId, number: u32) {
        self.watched.remove(&(key, id, number));
    }

    fn watcher(&mut self, id: WatcherId) -> Option<&mut Watcher> {
        self.watchers.get_mut(id.slot).filter(|watcher| watcher.serial == id.serial)
    }

    fn watching(&self, key: PartitionKey) -> impl Iterator<Item = (WatcherId, u32)> + '_ {
        let first = (key, WatcherId { slot: 0, serial: 0 }, 0);
        let last = (key, WatcherId { slot: usize::MAX, serial: u64::MAX }, u32::MAX);
        self.watched.range(first..=last).map(|&(_, id, number)| (id, number))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::purgatory::Purgatory;

    const A: PartitionKey = PartitionKey::new(1);
    const B: PartitionKey = PartitionKey::new(2);

    #[test]
    fn a_watch_tells_of_one_movement_and_is_over() {
        let mut standing = Standing::default();
        let id = standing.add();
        assert!(standing.watch(id, A, 7));
        assert!(standing.watches(A) && !standing.watches(B));
        for _ in 0..3 {
            assert!(standing.moved(A).is_empty(), "nobody waits");
        }
        assert!(!standing.watches(A));
        assert_eq!(standing.take_moved(id), [7]);
        assert!(standing.take_moved(id).is_empty());
    }

    #[test]
    fn a_request_that_waits_is_told_at_once() {
        let mut standing = Standing::default();
        let (first, second) = (standing.add(), standing.add());
        let ticket = Purgatory::new().park(Vec::new(), Instant::now(), ());
        standing.set_parked(second, Some(ticket));
        standing.watch(first, A, 1);
        standing.watch(second, A, 2);
        assert_eq!(standing.moved(A), [(second, ticket, 2)]);
        assert_eq!(standing.take_moved(first), [1]);
        standing.set_parked(second, None);
        standing.watch(second, A, 2);
        assert!(standing.moved(A).is_empty());
        assert_eq!(standing.take_moved(second), [2]);
    }

    #[test]
    fn who_is_gone_watches_nothing_and_its_name_is_nobody_elses() {
        let mut standing = Standing::default();
        let gone = standing.add();
        standing.watch(gone, A, 0);
        standing.watch(gone, B, 1);
        standing.remove(gone);
        assert!(!standing.watches(A) && !standing.watches(B));
        let next = standing.add();
        assert!(!standing.watch(gone, A, 0));
        assert!(standing.watch(next, A, 0));
        standing.remove(gone);
        assert!(standing.watches(A));
    }

    #[test]
    fn a_partition_may_have_many_numbers() {
        let mut standing = Standing::default();
        let id = standing.add();
        (0..3).for_each(|number| assert!(standing.watch(id, A, number)));
        standing.unwatch(id, 1);
        assert!(standing.moved(A).is_empty() && !standing.watches(A));
        assert_eq!(standing.take_moved(id), [0, 2]);
    }

    #[test]
    fn a_number_stands_for_one_partition_at_a_time() {
        let mut standing = Standing::default();
        let id = standing.add();
        standing.watch(id, A, 0);
        standing.watch(id, B, 0);
        assert!(!standing.watches(A) && standing.watches(B));
        standing.unwatch(id, 0);
        assert!(!standing.watches(B));
    }
}
