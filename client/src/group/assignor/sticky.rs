//! Balanced, and nothing moves that need not.
//!
//! Who had a partition keeps it. What nobody has goes, the least wanted topics first, to the member with the fewest.
//! Then partitions move from a member with more to one with at least two fewer that wants the topic, until there are no
//! such two: each move makes the sum of the squares smaller, so that it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use folio_wire::consumer_protocol::{read_partitions, write_partitions};
use folio_wire::kafka::{Reader, Writer};

use super::{Division, Member, Topics, by_topic, partitions};
use crate::TopicPartition;

/// What a member tells about what it had.
///
/// ```text
/// | [topic, [partition]] | generation |
/// ```
///
/// As Kafka's StickyAssignor: a member that has had nothing yet says nothing.
pub(super) fn user_data(had: &[TopicPartition], generation: i32) -> Option<Bytes> {
    if generation < 0 {
        return None;
    }
    let mut writer = Writer::new();
    write_partitions(&mut writer, &by_topic(had));
    writer.put_i32(generation);
    writer.finish().ok().map(|encoded| encoded.heap().clone())
}

/// What a member had, and since which generation; its oldest form lacks that. Nothing, if it makes no sense.
pub(super) fn previous(user_data: &[u8]) -> (Vec<TopicPartition>, i32) {
    let mut reader = Reader::new(user_data);
    match read_partitions(&mut reader) {
        Ok(had) => (partitions(&had), reader.i32().unwrap_or(-1)),
        Err(_) => (Vec::new(), -1),
    }
}

pub(super) fn divide(topics: &Topics, members: &[Member]) -> Division {
    let mut table = Table::new(topics, members);
    table.keep(members);
    table.give();
    while table.move_one() {}
    table.division(members.len())
}

/// Who has what. Members, topics and partitions are numbers here.
struct Table<'a> {
    topics: Vec<Topic<'a>>,
    /// How many each member has.
    loads: Vec<usize>,
    /// What each member has, by topic.
    has: Vec<BTreeMap<usize, Vec<u32>>>,
}

struct Topic<'a> {
    name: &'a Arc<str>,
    /// Who wants it, in the order of their ids.
    wanting: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
    /// Who had it.
    before: Vec<Option<usize>>,
}

impl<'a> Table<'a> {
    fn new(topics: &'a Topics, members: &[Member]) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&at| members[at].id.as_str());
        let topics = topics.iter().map(|(name, &count)| Topic {
            name,
            wanting: order.iter().copied().filter(|&at| members[at].topics.contains(name)).collect(),
            owners: vec![None; count as usize],
            before: vec![None; count as usize],
        });
        Self {
            topics: topics.collect(),
            loads: vec![0; members.len()],
            has: vec![BTreeMap::new(); members.len()],
        }
    }

    /// Everyone keeps what it had and still wants. Of two that say they had the same, the one of the later generation
    /// is right; if there is none, neither is.
    fn keep(&mut self, members: &[Member]) {
        let numbers: HashMap<&str, usize> =
            self.topics.iter().enumerate().map(|(number, topic)| (&**topic.name, number)).collect();
        let mut claims: HashMap<(usize, u32), (i32, Option<usize>)> = HashMap::new();
        for (at, member) in members.iter().enumerate() {
            for partition in &member.owned {
                let Some(&number) = numbers.get(&*partition.topic) else { continue };
                let topic = &self.topics[number];
                let is_there = (partition.partition as usize) < topic.owners.len();
                if !is_there || !topic.wanting.contains(&at) {
                    continue;
                }
                let claim = claims.entry((number, partition.partition)).or_insert((i32::MIN, None));
                if member.generation > claim.0 {
                    *claim = (member.generation, Some(at));
                } else if member.generation == claim.0 && claim.1 != Some(at) {
                    claim.1 = None;
                }
            }
        }
        for ((topic, partition), (_, owner)) in claims {
            self.topics[topic].before[partition as usize] = owner;
            if let Some(owner) = owner {
                self.set(topic, partition, owner);
            }
        }
    }

    /// What nobody has goes to those with the fewest.
    fn give(&mut self) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|&topic| self.topics[topic].wanting.len());
        for topic in order {
            for partition in 0..self.topics[topic].owners.len() {
                if self.topics[topic].owners[partition].is_none()
                    && let Some(member) = self.least_loaded(topic)
                {
                    self.set(topic, partition as u32, member);
                }
            }
        }
    }

    /// Moves one partition to where it makes the division more even. False: it is as even as it gets.
    fn move_one(&mut self) -> bool {
        let mut members: Vec<usize> = (0..self.loads.len()).collect();
        members.sort_by_key(|&member| std::cmp::Reverse(self.loads[member]));
        for from in members {
            let targets = self.has[from].keys().filter_map(|&topic| Some((topic, self.least_loaded(topic)?)));
            let Some((topic, to)) = targets.min_by_key(|&(_, to)| self.loads[to]) else { continue };
            if self.loads[from] <= self.loads[to] + 1 {
                continue;
            }
            let before = &self.topics[topic].before;
            let movable = self.has[from].get(&topic).into_iter().flatten().copied();
            // What `to` had goes back to it; then what is new to `from` anyway; then the last.
            let which = movable.max_by_key(|&partition| {
                let had = before[partition as usize];
                (had == Some(to), had != Some(from), partition)
            });
            let Some(partition) = which else { continue };
            self.set(topic, partition, to);
            return true;
        }
        false
    }

    /// Of those who want a topic.
    fn least_loaded(&self, topic: usize) -> Option<usize> {
        self.topics[topic].wanting.iter().copied().min_by_key(|&member| self.loads[member])
    }

    fn set(&mut self, topic: usize, partition: u32, member: usize) {
        if let Some(owner) = self.topics[topic].owners[partition as usize].replace(member) {
            self.loads[owner] -= 1;
            if let Some(partitions) = self.has[owner].get_mut(&topic) {
                partitions.retain(|other| *other != partition);
                if partitions.is_empty() {
                    self.has[owner].remove(&topic);
                }
            }
        }
        self.loads[member] += 1;
        self.has[member].entry(topic).or_default().push(partition);
    }

    fn division(self, members: usize) -> Division {
        let mut division = vec![Vec::new(); members];
        for topic in self.topics {
            for (partition, owner) in (0_u32..).zip(topic.owners) {
                if let Some(owner) = owner {
                    division[owner].push(TopicPartition::new(Arc::clone(topic.name), partition));
                }
            }
        }
        division
    }
}
