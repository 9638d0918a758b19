//! Requests that wait for something to happen to a partition, each with a deadline.
//!
//! One purgatory belongs to one event loop, so that parking and waking take no lock. It holds no clock
//! and no thread: who owns it says what time it is, and asks when it next wants to be told.
//!
//! Invariants: a parked request is in exactly as many watch entries as it watches partitions and has
//! exactly one deadline; whatever leaves (woken, expired, removed) leaves all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use slab::Slab;

use crate::partition::PartitionKey;

/// Names a parked request; never used again after the request has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket {
    slot: usize,
    serial: u64,
}

/// The waiting requests of one event loop.
#[derive(Debug)]
pub(crate) struct Purgatory<W> {
    parked: Slab<Parked<W>>,
    /// What the partition is to the request: its number there.
    watched: BTreeMap<(PartitionKey, Ticket), u32>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    next_serial: u64,
}

impl<W> Purgatory<W> {
    pub(crate) fn new() -> Self {
        Self { parked: Slab::new(), watched: BTreeMap::new(), deadlines: BTreeSet::new(), next_serial: 0 }
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Parks `waiting` until one of `watches` is woken or `deadline` has come. Each has a number, by which the request
    /// knows the partition.
    pub(crate) fn park(
        &mut self,
        watches: Vec<(PartitionKey, u32)>,
        deadline: Instant,
        waiting: W,
    ) -> Ticket {
        let entry = self.parked.vacant_entry();
        let ticket = Ticket { slot: entry.key(), serial: self.next_serial };
        self.next_serial += 1;
        for (watch, number) in &watches {
            self.watched.insert((*watch, ticket), *number);
        }
        let watches = watches.into_iter().map(|(watch, _)| watch).collect();
        self.deadlines.insert((deadline, ticket));
        entry.insert(Parked { serial: ticket.serial, watches, deadline, waiting });
        ticket
    }

    /// Shows every request that watches `partition` to `is_ready`, with its number for it, and moves those that are to
    /// `ready`, in the order they were parked in.
    pub(crate) fn wake(
        &mut self,
        partition: PartitionKey,
        mut is_ready: impl FnMut(&mut W, u32) -> bool,
        ready: &mut Vec<W>,
    ) {
        let mut watching: Vec<(Ticket, u32)> = self.watching(partition).collect();
        watching.sort_unstable_by_key(|(ticket, _)| ticket.serial);
        for (ticket, number) in watching {
            if self.get_mut(ticket).is_some_and(|waiting| is_ready(waiting, number)) {
                ready.extend(self.remove(ticket));
            }
        }
    }

    /// Moves the requests whose deadline is not after `now` to `expired`, the earliest first.
    pub(crate) fn expire(&mut self, now: Instant, expired: &mut Vec<W>) {
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            expired.extend(self.remove(ticket));
        }
    }

    /// Moves every request to `out`, in the order of their deadlines.
    pub(crate) fn drain(&mut self, out: &mut Vec<W>) {
        while let Some(&(_, ticket)) = self.deadlines.first() {
            out.extend(self.remove(ticket));
        }
    }

    /// When [`Purgatory::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether any request watches `partition`.
    pub(crate) fn watches(&self, partition: PartitionKey) -> bool {
        self.watching(partition).next().is_some()
    }

    /// The request behind `ticket`, if it still waits.
    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut W> {
        let parked = self.parked.get_mut(ticket.slot)?;
        (parked.serial == ticket.serial).then_some(&mut parked.waiting)
    }

    /// Takes the request behind `ticket` out, if it still waits.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<W> {
        self.get_mut(ticket)?;
        let parked = self.parked.remove(ticket.slot);
        for watch in parked.watches {
            self.watched.remove(&(watch, ticket));
        }
        self.deadlines.remove(&(parked.deadline, ticket));
        Some(parked.waiting)
    }

    fn watching(&self, partition: PartitionKey) -> impl Iterator<Item = (Ticket, u32)> + '_ {
        let first = (partition, Ticket { slot: 0, serial: 0 });
        let last = (partition, Ticket { slot: usize::MAX, serial: u64::MAX });
        self.watched.range(first..=last).map(|((_, ticket), number)| (*ticket, *number))
    }
}

#[derive(Debug)]
struct Parked<W> {
    serial: u64,
    watches: Vec<PartitionKey>,
    deadline: Instant,
    waiting: W,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: PartitionKey = PartitionKey::new(1);
    const B: PartitionKey = PartitionKey::new(2);

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_wake_takes_only_who_watches_the_partition_and_is_ready() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        purgatory.park(vec![(A, 0)], after(now, 10), "a");
        purgatory.park(vec![(A, 0), (B, 1)], after(now, 10), "ab");
        purgatory.park(vec![(B, 0)], after(now, 10), "b");
        purgatory.park(vec![(A, 0)], after(now, 10), "not yet");
        let mut ready = Vec::new();
        purgatory.wake(A, |name, _| *name != "not yet", &mut ready);
        assert_eq!(ready, ["a", "ab"]);
        assert_eq!(purgatory.len(), 2);
        assert!(purgatory.watches(A) && purgatory.watches(B));
    }

    #[test]
    fn who_is_woken_is_told_by_which_of_its_partitions() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        purgatory.park(vec![(A, 7), (B, 8)], after(now, 10), Vec::new());
        for partition in [B, A, B] {
            let note = |seen: &mut Vec<u32>, number| {
                seen.push(number);
                seen.len() == 3
            };
            let mut ready = Vec::new();
            purgatory.wake(partition, note, &mut ready);
            assert!(ready.is_empty() || ready == [[8, 7, 8]]);
        }
        assert_eq!(purgatory.len(), 0);
    }

    #[test]
    fn who_was_woken_by_one_partition_no_longer_waits_for_the_other() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        purgatory.park(vec![(A, 0), (B, 1)], after(now, 10), ());
        let mut ready = Vec::new();
        purgatory.wake(A, |(), _| true, &mut ready);
        assert!(!purgatory.watches(B));
        assert_eq!(purgatory.next_deadline(), None);
    }

    #[test]
    fn deadlines_expire_in_their_order_and_not_before() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        for millis in [30, 10, 20] {
            purgatory.park(vec![(A, 0)], after(now, millis), millis);
        }
        let mut expired = Vec::new();
        purgatory.expire(after(now, 9), &mut expired);
        assert!(expired.is_empty());
        purgatory.expire(after(now, 20), &mut expired);
        assert_eq!(expired, [10, 20]);
        assert_eq!(purgatory.next_deadline(), Some(after(now, 30)));
    }

    #[test]
    fn a_ticket_of_one_that_left_never_names_its_successor() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        let first = purgatory.park(vec![(A, 0)], now, 1);
        assert_eq!(purgatory.remove(first), Some(1));
        let second = purgatory.park(vec![(A, 0)], now, 2);
        assert_eq!(purgatory.remove(first), None);
        assert_eq!(purgatory.get_mut(second), Some(&mut 2));
    }

    #[test]
    fn a_thousand_that_wait_on_one_partition_leave_nothing_behind() {
        let now = Instant::now();
        let mut purgatory = Purgatory::new();
        for i in 0..1000_u64 {
            purgatory.park(vec![(A, 0)], after(now, i), i);
        }
        let mut ready = Vec::new();
        purgatory.wake(A, |i, _| *i % 2 == 0, &mut ready);
        purgatory.expire(after(now, 2000), &mut ready);
        assert_eq!(ready.len(), 1000);
        assert_eq!(purgatory.len(), 0);
        assert!(!purgatory.watches(A) && purgatory.next_deadline().is_none());
    }
}
