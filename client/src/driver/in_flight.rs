//! Requests that wait for their answers, by correlation id and by deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What each request that is on its way is about.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    next_id: u32,
    /// By id, so that what is given up together is given up in the order in which it was sent.
    waiting: BTreeMap<u32, (Instant, T)>,
    deadlines: BTreeSet<(Instant, u32)>,
}

impl<T> InFlight<T> {
    pub(crate) fn new() -> Self {
        Self { next_id: 0, waiting: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The correlation id of the next request. Free even after 2^32 of them: ids still in use are passed over.
    pub(crate) fn next_id(&mut self) -> u32 {
        while self.waiting.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        self.next_id
    }

    /// The request of this id was sent.
    pub(crate) fn insert(&mut self, id: u32, deadline: Instant, about: T) {
        self.next_id = id.wrapping_add(1);
        self.deadlines.insert((deadline, id));
        self.waiting.insert(id, (deadline, about));
    }

    /// The answer of this id has come. `None`: nobody asked.
    pub(crate) fn take(&mut self, id: u32) -> Option<T> {
        let (deadline, about) = self.waiting.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        Some(about)
    }

    /// When the first of them has waited too long.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes all, each with whether it has waited too long.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<(bool, T)> {
        self.deadlines.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|(deadline, about)| (deadline <= now, about)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_that_are_in_use_are_passed_over_after_the_wrap() {
        let now = Instant::now();
        let mut in_flight = InFlight::new();
        in_flight.insert(0, now, "parked for ever");
        in_flight.insert(u32::MAX, now, "last");
        assert_eq!(in_flight.next_id(), 1);
        assert_eq!(in_flight.take(u32::MAX), Some("last"));
        assert_eq!(in_flight.take(7), None);
        assert_eq!(in_flight.len(), 1);
    }

    #[test]
    fn the_earliest_deadline_counts_and_goes_with_its_request() {
        let now = Instant::now();
        let mut in_flight = InFlight::new();
        in_flight.insert(1, now + Duration::from_secs(9), "slow");
        in_flight.insert(2, now + Duration::from_secs(1), "quick");
        assert_eq!(in_flight.next_deadline(), Some(now + Duration::from_secs(1)));
        in_flight.take(2);
        assert_eq!(in_flight.next_deadline(), Some(now + Duration::from_secs(9)));
        assert_eq!(in_flight.drain(now + Duration::from_secs(9)), [(true, "slow")]);
        assert_eq!(in_flight.next_deadline(), None);
    }
}
