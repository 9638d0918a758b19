//! As sticky, in two rounds, or three where members want different topics: what a member still has goes to no other
//! before it has given it up.
//!
//! ```text
//!   round 1: A has 0 1 2, B nothing   ->  A is told 0 1, B nothing     A gives 2 up and joins again
//!   round 2: A has 0 1, B nothing     ->  A is told 0 1, B 2
//! ```

use std::collections::HashMap;

use bytes::Bytes;
use folio_wire::consumer_protocol::Subscription;
use folio_wire::kafka::{Reader, Writer};

use super::{Division, Member, Topics, sticky};
use crate::TopicPartition;

/// The generation, for leaders that do not look for it in the subscription.
pub(super) fn user_data(generation: i32) -> Option<Bytes> {
    let mut writer = Writer::new();
    writer.put_i32(generation);
    writer.finish().ok().map(|encoded| encoded.heap().clone())
}

/// The generation in which a member got what it has, from where its version says it.
pub(super) fn generation(subscription: &Subscription<'_>) -> i32 {
    if subscription.generation >= 0 {
        return subscription.generation;
    }
    Reader::new(subscription.user_data.unwrap_or_default()).i32().unwrap_or(-1)
}

pub(super) fn divide(topics: &Topics, members: &[Member]) -> Division {
    let mut owners: HashMap<&TopicPartition, Vec<usize>> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        member.owned.iter().for_each(|partition| owners.entry(partition).or_default().push(at));
    }
    let mut division = sticky::divide(topics, members);
    for (at, partitions) in division.iter_mut().enumerate() {
        partitions.retain(|partition| owners.get(partition).is_none_or(|owners| owners.contains(&at)));
    }
    division
}
