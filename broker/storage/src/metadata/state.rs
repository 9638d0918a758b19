//! The map that the metadata log adds up to, with its history: no files, no time.

use std::collections::BTreeMap;

use thiserror::Error;
use uuid::Uuid;

use super::record::{Key, Topic, Value};

/// A moment in the life of the map. Every transaction makes a new one; none is ever used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

/// What a transaction expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key is not there.
    Absent(Key),
    /// The key was last changed by the transaction of this revision.
    Modified(Key, Revision),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets the key.
    Put(Key, Value),
    /// Removes the key; no error if it is not there.
    Delete(Key),
}

/// Changes that happen together, if everything is as expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// What has to hold.
    pub compares: Vec<Compare>,
    /// What is then done. At most one operation for a key.
    pub operations: Vec<Operation>,
}

/// Something was not as a transaction expected it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key:?} is not as the transaction expected it")]
pub struct Conflict {
    /// The key that differs.
    pub key: Key,
    /// The revision at which it was last changed, if it is there.
    pub modified: Option<Revision>,
}

/// The history before `oldest` is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the metadata before revision {} is forgotten", oldest.0)]
pub struct Compacted {
    /// The oldest revision that can still be read or followed from.
    pub oldest: Revision,
}

/// A key with what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
    /// The transaction that set it last.
    pub modified: Revision,
}

/// One change as a follower sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The transaction that made it. The events of one transaction come one after the other.
    pub revision: Revision,
    /// What changed.
    pub key: Key,
    /// What it is set to now, or `None` if it was deleted.
    pub value: Option<Value>,
}

/// The keys that a read is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// All of them.
    All,
    /// One.
    Key(Key),
    /// All topics.
    Topics,
    /// All topic names.
    TopicNames,
    /// The settings of brokers.
    Brokers,
    /// What was replaced in groups.
    GroupHistories,
}

/// The map.
#[derive(Debug, Default)]
pub struct State {
    keys: BTreeMap<Key, Vec<Version>>,
    events: Vec<Event>,
    oldest: Revision,
    current: Revision,
}

#[derive(Debug, Clone)]
struct Version {
    modified: Revision,
    /// `None` once deleted.
    value: Option<Value>,
}

impl Revision {
    /// Before the first transaction.
    pub const ZERO: Self = Self(0);

    /// From a number that [`Revision::get`] gave.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Range {
    fn contains(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => wanted == key,
            Self::Topics => matches!(key, Key::Topic(_)),
            Self::TopicNames => matches!(key, Key::TopicName(_)),
            Self::Brokers => matches!(key, Key::Broker(_)),
            Self::GroupHistories => matches!(key, Key::GroupHistory(_)),
        }
    }
}

impl State {
    /// The revision of the last transaction.
    pub fn revision(&self) -> Revision {
        self.current
    }

    /// The oldest revision that can be read or followed from.
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Whether all that a transaction expects holds now.
    pub fn check(&self, compares: &[Compare]) -> Result<(), Conflict> {
        for compare in compares {
            let (key, expected) = match compare {
                Compare::Absent(key) => (key, None),
                Compare::Modified(key, revision) => (key, Some(*revision)),
            };
            let modified = self.get(key).map(|entry| entry.modified);
            if modified != expected {
                return Err(Conflict { key: key.clone(), modified });
            }
        }
        Ok(())
    }

    /// Applies a transaction that is on disk.
    ///
    /// # Panics
    /// If `revision` is not higher than all before it.
    pub fn apply(&mut self, revision: Revision, operations: impl IntoIterator<Item = Operation>) {
        assert!(revision > self.current, "revisions rise");
        self.current = revision;
        for operation in operations {
            let (key, value) = match operation {
                Operation::Put(key, value) => (key, Some(value)),
                Operation::Delete(key) => (key, None),
            };
            let versions = self.keys.entry(key.clone()).or_default();
            if value.is_none() && versions.last().is_none_or(|version| version.value.is_none()) {
                continue;
            }
            versions.push(Version { modified: revision, value: value.clone() });
            self.events.push(Event { revision, key, value });
        }
    }

    /// What `key` is set to now.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        entry_at(key, self.keys.get(key)?, self.current)
    }

    /// All entries as they are now, ordered by key.
    pub fn present(&self) -> impl Iterator<Item = Entry> {
        self.keys.iter().filter_map(|(key, versions)| entry_at(key, versions, self.current))
    }

    /// All topics, deleted ones included.
    pub fn topics(&self) -> impl Iterator<Item = (Uuid, Topic)> {
        self.present().filter_map(|entry| match (entry.key, entry.value) {
            (Key::Topic(uuid), Value::Topic(topic)) => Some((uuid, topic)),
            _ => None,
        })
    }

    /// The entries of `range` as they were at `revision`, ordered by key. A revision of the future is now.
    pub fn range(&self, range: &Range, revision: Revision) -> Result<Vec<Entry>, Compacted> {
        self.remember(revision)?;
        let wanted = self.keys.iter().filter(|(key, _)| range.contains(key));
        Ok(wanted.filter_map(|(key, versions)| entry_at(key, versions, revision)).collect())
    }

    /// What changed after `revision`, in order.
    pub fn events_since(&self, revision: Revision) -> Result<&[Event], Compacted> {
        self.remember(revision)?;
        let from = self.events.partition_point(|event| event.revision <= revision);
        Ok(&self.events[from..])
    }

    /// Forgets how things came to be as they are.
    pub fn compact(&mut self) {
        self.keys.retain(|_, versions| {
            if let Some(last) = versions.pop() {
                versions.clear();
                versions.push(last);
            }
            versions.last().is_some_and(|version| version.value.is_some())
        });
        self.events.clear();
        self.oldest = self.current;
    }

    fn remember(&self, revision: Revision) -> Result<(), Compacted> {
        if revision < self.oldest { Err(Compacted { oldest: self.oldest }) } else { Ok(()) }
    }
}

fn entry_at(key: &Key, versions: &[Version], revision: Revision) -> Option<Entry> {
    let version = versions.iter().rev().find(|version| version.modified <= revision)?;
    let value = version.value.clone()?;
    Some(Entry { key: key.clone(), value, modified: version.modified })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn name(name: &str) -> Key {
        Key::TopicName(name.to_owned())
    }

    fn id(id: u128) -> Value {
        Value::TopicName(Uuid::from_u128(id))
    }

    fn history() -> State {
        let mut state = State::default();
        state.apply(Revision(1), [Operation::Put(name("a"), id(1)), Operation::Put(name("b"), id(2))]);
        state.apply(Revision(3), [Operation::Put(name("a"), id(3))]);
        state.apply(Revision(4), [Operation::Delete(name("b"))]);
        state
    }

    #[test]
    fn the_map_can_be_read_as_it_was() {
        let state = history();
        let at = |revision| {
            let entries = state.range(&Range::TopicNames, Revision(revision)).unwrap();
            entries.into_iter().map(|entry| (entry.value, entry.modified.0)).collect::<Vec<_>>()
        };
        assert_eq!(at(0), []);
        assert_eq!(at(1), [(id(1), 1), (id(2), 1)]);
        assert_eq!(at(2), at(1));
        assert_eq!(at(3), [(id(3), 3), (id(2), 1)]);
        assert_eq!(at(4), [(id(3), 3)]);
        assert_eq!(at(99), at(4));
    }

    #[test]
    fn followers_see_every_change_in_order_from_where_they_ask() {
        let state = history();
        let seen = |from| {
            let events = state.events_since(Revision(from)).unwrap();
            events.iter().map(|event| (event.revision.0, event.value.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(seen(0), [(1, true), (1, true), (3, true), (4, false)]);
        assert_eq!(seen(1), [(3, true), (4, false)]);
        assert_eq!(seen(4), []);
    }

    #[test]
    fn a_transaction_is_refused_when_anything_differs() {
        let state = history();
        assert_eq!(
            state.check(&[Compare::Modified(name("a"), Revision(3)), Compare::Absent(name("b"))]),
            Ok(())
        );
        assert_eq!(
            state.check(&[Compare::Absent(name("b")), Compare::Modified(name("a"), Revision(1))]),
            Err(Conflict { key: name("a"), modified: Some(Revision(3)) })
        );
        assert_eq!(
            state.check(&[Compare::Absent(name("a"))]),
            Err(Conflict { key: name("a"), modified: Some(Revision(3)) })
        );
        assert_eq!(
            state.check(&[Compare::Modified(name("b"), Revision(1))]),
            Err(Conflict { key: name("b"), modified: None })
        );
    }

    #[test]
    fn compaction_keeps_the_present_and_says_that_the_past_is_gone() {
        let mut state = history();
        let before = state.range(&Range::All, state.revision()).unwrap();
        state.compact();
        assert_eq!(state.range(&Range::All, state.revision()), Ok(before));
        assert_eq!(state.range(&Range::All, Revision(3)), Err(Compacted { oldest: Revision(4) }));
        assert_eq!(state.events_since(Revision(3)), Err(Compacted { oldest: Revision(4) }));
        assert_eq!(state.events_since(Revision(4)), Ok(&[][..]));
        assert_eq!(state.get(&name("b")), None);
    }
}
