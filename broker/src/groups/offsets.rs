//! The offsets of a group: what is stored, and what is on its way to be.
//!
//! Invariant: what readers see of a partition changes only when a write that concerns it is below the high watermark.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{Committed, FetchedOffset};

/// The offsets of a group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Slot>>,
    /// Partitions in all.
    partitions: usize,
    /// Those of them that have something stored.
    durable: usize,
}

/// One partition's.
#[derive(Debug, Default)]
struct Slot {
    durable: Option<Committed>,
    /// Records of it that are on their way.
    in_flight: u32,
}

impl Offsets {
    /// Whether nothing is stored, or on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions == 0
    }

    /// Partitions, of which something is stored or on its way.
    pub(super) fn len(&self) -> usize {
        self.partitions
    }

    pub(super) fn has_durable(&self) -> bool {
        self.durable > 0
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)?.durable.as_ref()
    }

    /// Whether anything is stored of a partition, or on its way.
    pub(super) fn knows(&self, topic: &str, partition: i32) -> bool {
        self.topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
    }

    /// All that is stored, by topic and partition.
    pub(super) fn durable(&self) -> impl Iterator<Item = FetchedOffset> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().filter_map(|(partition, slot)| {
                let committed = slot.durable.clone()?;
                Some(FetchedOffset {
                    topic: topic.clone(),
                    partition: *partition,
                    committed: Some(committed),
                })
            })
        })
    }

    /// All partitions of which something is stored or on its way.
    pub(super) fn all(&self) -> Vec<(Arc<str>, i32)> {
        self.find(|_, _, _| true)
    }

    /// The partitions of a topic.
    pub(super) fn of_topic(&self, topic: &str) -> Vec<(Arc<str>, i32)> {
        let Some((topic, partitions)) = self.topics.get_key_value(topic) else { return Vec::new() };
        partitions.keys().map(|partition| (topic.clone(), *partition)).collect()
    }

    /// The partitions with nothing on its way of which this holds.
    pub(super) fn settled(&self, holds: impl Fn(&str, &Committed) -> bool) -> Vec<(Arc<str>, i32)> {
        self.find(|topic, slot, _| {
            slot.in_flight == 0 && slot.durable.as_ref().is_some_and(|committed| holds(topic, committed))
        })
    }

    fn find(&self, holds: impl Fn(&str, &Slot, i32) -> bool) -> Vec<(Arc<str>, i32)> {
        let mut found = Vec::new();
        for (topic, partitions) in &self.topics {
            let holds = |(partition, slot): &(&i32, &Slot)| holds(topic, slot, **partition);
            found.extend(partitions.iter().filter(holds).map(|(partition, _)| (topic.clone(), *partition)));
        }
        found
    }

    /// A record of a partition is on its way.
    pub(super) fn stage(&mut self, topic: &Arc<str>, partition: i32) {
        let partitions = self.topics.entry(topic.clone()).or_default();
        let before = partitions.len();
        partitions.entry(partition).or_default().in_flight += 1;
        self.partitions += partitions.len() - before;
    }

    /// A record of a partition has ended on its way; `written` is what it says, if it was written.
    pub(super) fn settle(&mut self, topic: &str, partition: i32, written: Option<&Option<Committed>>) {
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.in_flight -= 1;
        }
        match written {
            Some(committed) => self.put(topic, partition, committed.clone()),
            None => self.forget_if_nothing(topic, partition),
        }
    }

    /// Stores what a record says.
    pub(super) fn put(&mut self, topic: &str, partition: i32, committed: Option<Committed>) {
        if committed.is_some() && !self.knows(topic, partition) {
            let topic =
                self.topics.get_key_value(topic).map_or_else(|| Arc::from(topic), |(topic, _)| topic.clone());
            self.topics.entry(topic).or_default().insert(partition, Slot::default());
            self.partitions += 1;
        }
        let Some(slot) = self.slot_mut(topic, partition) else { return };
        let (before, after) = (slot.durable.is_some(), committed.is_some());
        slot.durable = committed;
        self.durable = self.durable + usize::from(after) - usize::from(before);
        self.forget_if_nothing(topic, partition);
    }

    fn slot_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Slot> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    fn forget_if_nothing(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.topics.get_mut(topic) else { return };
        if partitions.get(&partition).is_some_and(|slot| slot.durable.is_none() && slot.in_flight == 0) {
            partitions.remove(&partition);
            self.partitions -= 1;
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }
}
