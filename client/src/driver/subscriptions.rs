//! Whose each subscription of the connection is.

use std::collections::{BTreeMap, VecDeque};

/// The subscriptions of one connection, by the number that they have there. No number is given twice.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    of: BTreeMap<u32, u64>,
    next: u32,
    /// Those of consumers that are gone: to be ended.
    orphans: VecDeque<u32>,
}

/// Who is meant by a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subscriber {
    Fetcher(u64),
    /// Nobody any more: what comes was on its way.
    Gone,
    /// Nobody ever.
    Nobody,
}

impl Subscriptions {
    /// A number for a new subscription of this fetcher.
    pub(crate) fn begin(&mut self, fetcher: u64) -> u32 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.of.insert(number, fetcher);
        number
    }

    /// Nobody wants to hear of it any more.
    pub(crate) fn end(&mut self, number: u32) {
        self.of.remove(&number);
    }

    /// A consumer is gone.
    pub(super) fn abandon(&mut self, fetcher: u64) {
        let numbers = self.of.iter().filter(|(_, of)| **of == fetcher);
        self.orphans.extend(numbers.map(|(number, _)| *number));
        self.forget(fetcher);
    }

    /// The broker knows none of this fetcher's.
    pub(super) fn forget(&mut self, fetcher: u64) {
        self.of.retain(|_, of| *of != fetcher);
    }

    /// A subscription that is to be ended for want of a consumer.
    pub(super) fn next_orphan(&mut self) -> Option<u32> {
        self.orphans.pop_front()
    }

    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    pub(super) fn subscriber(&self, number: u32) -> Subscriber {
        match self.of.get(&number) {
            Some(fetcher) => Subscriber::Fetcher(*fetcher),
            None if number < self.next => Subscriber::Gone,
            None => Subscriber::Nobody,
        }
    }

    /// One that there is.
    pub(super) fn any(&self) -> Option<u32> {
        self.of.keys().next().copied()
    }

    /// The connection is no more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_somebodys_then_nobodys_any_more_and_never_another_ones() {
        let mut subscriptions = Subscriptions::default();
        let (a, b, c) = (subscriptions.begin(7), subscriptions.begin(8), subscriptions.begin(7));
        assert_eq!(subscriptions.subscriber(b), Subscriber::Fetcher(8));
        subscriptions.abandon(7);
        assert_eq!(subscriptions.subscriber(a), Subscriber::Gone);
        assert_eq!((subscriptions.next_orphan(), subscriptions.next_orphan()), (Some(a), Some(c)));
        assert!(!subscriptions.has_orphans());
        subscriptions.end(b);
        assert_eq!((subscriptions.subscriber(b), subscriptions.any()), (Subscriber::Gone, None));
        assert_eq!(subscriptions.subscriber(c + 1), Subscriber::Nobody);
        assert_eq!(subscriptions.begin(9), c + 1);
    }
}
