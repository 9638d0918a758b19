//! How the leader of a group divides partitions among its members.
//!
//! Pure: members and the sizes of topics in, partitions of each member out. What members tell the leader are Kafka's
//! bytes, and the names of the assignors are Kafka's, so that it does not matter which member of a mixed group leads.
//!
//! Invariants: no partition goes to two members, nor to one that did not ask for its topic; each whose topic somebody
//! asked for goes to somebody, unless the cooperative assignor holds it back until its owner has given it up.

mod cooperative_sticky;
mod range;
mod sticky;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use folio_wire::consumer_protocol::{Assignment, Subscription, TopicPartitions, VERSION_MAX};

use crate::TopicPartition;

/// How a group divides partitions among its members. All members name those that they know, and the group takes one
/// that all know; Kafka's clients know the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Of each topic the first members get the first partitions (`range`). Partition 3 of two topics of equal size goes
    /// to the same member.
    Range,
    /// All members get as many, and as many as possible keep what they had (`sticky`).
    Sticky,
    /// As [`Sticky`](Self::Sticky), and members go on reading what they keep while the group rebalances: only what
    /// moves is given up, and goes to its new member in a second round (`cooperative-sticky`). Only if a consumer names
    /// no others does it go on meanwhile.
    CooperativeSticky,
}

/// A member, as the leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Its own name that outlives restarts.
    pub(crate) instance: Option<String>,
    pub(crate) topics: Vec<Arc<str>>,
    /// What it had; what it still has, if it is cooperative.
    pub(crate) owned: Vec<TopicPartition>,
    /// The generation in which it got that; -1: not known.
    pub(crate) generation: i32,
}

/// How many partitions each topic has. Topics that are not there are not known.
pub(crate) type Topics = BTreeMap<Arc<str>, u32>;

/// What each member gets, in the order of the members; sorted.
pub(crate) type Division = Vec<Vec<TopicPartition>>;

impl Assignor {
    /// The name by which members agree on it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Range, Self::Sticky, Self::CooperativeSticky].into_iter().find(|of| of.name() == name)
    }

    /// Whether members may keep what they have while the group rebalances.
    pub(crate) fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// What a member says to this assignor when it joins. `owned`: what it still has; `had`: what it got last.
    pub(crate) fn metadata(
        self,
        topics: &[Arc<str>],
        owned: &[TopicPartition],
        had: &[TopicPartition],
        generation: i32,
    ) -> Bytes {
        let user_data = match self {
            Self::Range => None,
            Self::Sticky => sticky::user_data(had, generation),
            Self::CooperativeSticky => cooperative_sticky::user_data(generation),
        };
        let mut topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        topics.sort_unstable();
        let owned = by_topic(owned);
        let subscription =
            Subscription { topics, user_data: user_data.as_deref(), owned, generation, rack: None };
        // Topics have names of 249 bytes at most: every length can be said.
        subscription.encode(VERSION_MAX).unwrap_or_default()
    }

    /// Reads what a member said to this assignor. One that makes no sense gets nothing, and the others go on.
    pub(crate) fn read(self, id: String, instance: Option<String>, metadata: &[u8]) -> Member {
        let subscription = match Subscription::decode(metadata) {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::warn!(member = %id, %error, "a member of the group makes no sense and gets no partition");
                return Member { id, instance, generation: -1, ..Member::default() };
            }
        };
        let topics = subscription.topics.iter().map(|&topic| Arc::from(topic)).collect();
        let (owned, generation) = match self {
            Self::Range => (Vec::new(), -1),
            Self::Sticky => sticky::previous(subscription.user_data.unwrap_or_default()),
            Self::CooperativeSticky => {
                (partitions(&subscription.owned), cooperative_sticky::generation(&subscription))
            }
        };
        Member { id, instance, topics, owned, generation }
    }

    /// Divides the partitions.
    pub(crate) fn divide(self, topics: &Topics, members: &[Member]) -> Division {
        let mut division = match self {
            Self::Range => range::divide(topics, members),
            Self::Sticky => sticky::divide(topics, members),
            Self::CooperativeSticky => cooperative_sticky::divide(topics, members),
        };
        division.iter_mut().for_each(|partitions| partitions.sort_unstable());
        division
    }
}

/// What a member is told that gets these.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> Bytes {
    let assignment = Assignment { partitions: by_topic(partitions), user_data: None };
    assignment.encode(VERSION_MAX).unwrap_or_default()
}

/// What a member was told that it gets.
pub(crate) fn read_assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>, String> {
    let assignment = Assignment::decode(bytes).map_err(|error| error.to_string())?;
    let mut partitions = partitions(&assignment.partitions);
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

/// Sorted, by topic.
fn by_topic(partitions: &[TopicPartition]) -> Vec<TopicPartitions<'_>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let number = i32::try_from(partition.partition).unwrap_or(i32::MAX);
        topics.entry(&partition.topic).or_default().push(number);
    }
    let sorted = topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        TopicPartitions { topic, partitions }
    });
    sorted.collect()
}

/// One by one; those below 0 are none.
fn partitions(topics: &[TopicPartitions<'_>]) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for of in topics {
        let topic: Arc<str> = of.topic.into();
        let numbers = of.partitions.iter().filter_map(|&number| u32::try_from(number).ok());
        all.extend(numbers.map(|number| TopicPartition::new(Arc::clone(&topic), number)));
    }
    all
}

#[cfg(test)]
mod tests;
