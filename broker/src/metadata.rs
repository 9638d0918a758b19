//! What the broker knows about topics: one store, and one way in which its changes reach the view.
//!
//! ```text
//!  request --> transaction --> store --> events --> Follower --> the view that services see
//! ```
//!
//! The store has etcd's semantics: transactions compare before they set, ranges are read at a revision, and a watch may
//! say that the history it asks for is forgotten; then one lists again. So the embedded store and one on other machines
//! look the same from here, and nothing gets into the view but by an event, on one node as on many.

use std::collections::BTreeMap;

use folio_record::Timestamp;
use folio_storage::metadata::{
    CommitError, Compacted, Entry, Event, Key, Range, Revision, Topic, TopicPhase, Transaction, Value,
};
use folio_storage::{DataDir, Files};
use uuid::Uuid;

use crate::defaults::Settings;
use crate::engine::NODE_ID;

/// Where the broker's metadata is kept.
pub(crate) trait MetadataStore {
    /// Makes all changes of a transaction, durably, or none.
    fn commit(&self, transaction: Transaction, now: Timestamp) -> Result<Revision, CommitError>;

    /// The entries of a range as they were at `at`, or as they are now, and the revision that shows.
    fn range(&self, range: &Range, at: Option<Revision>) -> Result<(Revision, Vec<Entry>), Compacted>;

    /// What changed after a revision, in order.
    fn events_since(&self, revision: Revision) -> Result<Vec<Event>, Compacted>;
}

/// The metadata log of the data directory.
impl<F: Files> MetadataStore for DataDir<F> {
    fn commit(&self, transaction: Transaction, now: Timestamp) -> Result<Revision, CommitError> {
        DataDir::commit(self, transaction, now)
    }

    fn range(&self, range: &Range, at: Option<Revision>) -> Result<(Revision, Vec<Entry>), Compacted> {
        self.with_metadata(|state| {
            let revision = at.unwrap_or(state.revision());
            Ok((revision, state.range(range, revision)?))
        })
    }

    fn events_since(&self, revision: Revision) -> Result<Vec<Event>, Compacted> {
        DataDir::events_since(self, revision)
    }
}

/// Turns the store's events into what has changed.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Everything up to here has been told.
    seen: Option<Revision>,
}

/// A topic that may have changed: what it is now, or `None` if the store does not have it any more.
pub(crate) type Changed = (Uuid, Option<Topic>);

/// What has changed, each once and as it is now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What was set for all brokers.
    pub(crate) of_all: Option<Settings>,
    /// What was set for this one.
    pub(crate) of_this: Option<Settings>,
    pub(crate) topics: Vec<Changed>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Follower {
    /// What changed since the last call; the first time, and whenever the history is forgotten, everything, and as gone
    /// those topics of `known` that the store does not have.
    pub(crate) fn changes(
        &mut self,
        store: &impl MetadataStore,
        known: impl IntoIterator<Item = Uuid>,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut changed: BTreeMap<Uuid, Option<Topic>> = BTreeMap::new();
        let mut note = |key: Key, value: Option<Value>| match key {
            Key::Topic(id) => {
                let topic = match value {
                    Some(Value::Topic(topic)) => Some(topic),
                    _ => None,
                };
                changed.insert(id, topic);
            }
            Key::Broker(node) => {
                let settings = match value {
                    Some(Value::Broker(settings)) => settings,
                    _ => Vec::new(),
                };
                match node {
                    None => changes.of_all = Some(settings),
                    Some(NODE_ID) => changes.of_this = Some(settings),
                    Some(_) => {}
                }
            }
            Key::Build | Key::TopicName(_) | Key::ProducerIds | Key::GroupHistory(_) => {}
        };
        match self.seen.map(|seen| store.events_since(seen)) {
            Some(Ok(events)) => {
                for event in events {
                    self.seen = Some(event.revision);
                    note(event.key, event.value);
                }
            }
            None | Some(Err(Compacted { .. })) => {
                // The present is never forgotten.
                if let Ok((revision, entries)) = store.range(&Range::All, None) {
                    self.seen = Some(revision);
                    known.into_iter().for_each(|id| note(Key::Topic(id), None));
                    [None, Some(NODE_ID)].into_iter().for_each(|node| note(Key::Broker(node), None));
                    entries.into_iter().for_each(|entry| note(entry.key, Some(entry.value)));
                }
            }
        }
        changes.topics = changed.into_iter().collect();
        changes
    }
}

/// What a topic in the store calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Partitions are still to be made.
    Making,
    /// It is to be served.
    Serving,
    /// It is to be gone.
    Gone,
}

impl Wanted {
    pub(crate) fn of(topic: Option<&Topic>) -> Self {
        match topic {
            None => Self::Gone,
            Some(topic) if topic.phase == TopicPhase::Deleted => Self::Gone,
            Some(topic) if topic.partitions_ready < topic.partitions => Self::Making,
            Some(_) => Self::Serving,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use folio_storage::metadata::{Operation, State};

    use super::*;

    /// A store without a disk that can forget.
    #[derive(Default)]
    struct Heap {
        state: RefCell<State>,
        forgets: bool,
    }

    impl MetadataStore for Heap {
        fn commit(&self, transaction: Transaction, _now: Timestamp) -> Result<Revision, CommitError> {
            let mut state = self.state.borrow_mut();
            state.check(&transaction.compares)?;
            let revision = Revision::new(state.revision().get() + 1);
            state.apply(revision, transaction.operations);
            Ok(revision)
        }

        fn range(&self, range: &Range, at: Option<Revision>) -> Result<(Revision, Vec<Entry>), Compacted> {
            let state = self.state.borrow();
            let revision = at.unwrap_or(state.revision());
            Ok((revision, state.range(range, revision)?))
        }

        fn events_since(&self, revision: Revision) -> Result<Vec<Event>, Compacted> {
            let state = self.state.borrow();
            if self.forgets {
                return Err(Compacted { oldest: state.revision() });
            }
            state.events_since(revision).map(<[Event]>::to_vec)
        }
    }

    impl Heap {
        fn put(&self, id: u128, ready: u32, phase: TopicPhase) {
            let topic = Topic {
                name: id.to_string(),
                partitions: 2,
                partitions_ready: ready,
                settings: Vec::new(),
                created_ms: 0,
                phase,
            };
            let key = Key::Topic(Uuid::from_u128(id));
            let operations = vec![Operation::Put(key, Value::Topic(topic))];
            self.commit(Transaction { compares: Vec::new(), operations }, Timestamp::new(0)).unwrap();
        }
    }

    fn wanted(changes: &Changes) -> Vec<(u128, Wanted)> {
        changes.topics.iter().map(|(id, topic)| (id.as_u128(), Wanted::of(topic.as_ref()))).collect()
    }

    #[test]
    fn a_follower_sees_everything_at_first_and_then_what_changed_each_once() {
        let (store, mut follower) = (Heap::default(), Follower::default());
        store.put(1, 2, TopicPhase::Live);
        store.put(2, 0, TopicPhase::Live);
        assert_eq!(wanted(&follower.changes(&store, [])), [(1, Wanted::Serving), (2, Wanted::Making)]);
        assert!(follower.changes(&store, []).is_empty());
        store.put(2, 1, TopicPhase::Live);
        store.put(2, 2, TopicPhase::Live);
        store.put(1, 2, TopicPhase::Deleted);
        assert_eq!(wanted(&follower.changes(&store, [])), [(1, Wanted::Gone), (2, Wanted::Serving)]);
    }

    #[test]
    fn a_follower_whose_history_is_forgotten_lists_again_and_notices_what_is_gone() {
        let (mut store, mut follower) = (Heap::default(), Follower::default());
        store.put(1, 2, TopicPhase::Live);
        follower.changes(&store, []);
        store.forgets = true;
        let known = [1, 9].map(Uuid::from_u128);
        assert_eq!(wanted(&follower.changes(&store, known)), [(1, Wanted::Serving), (9, Wanted::Gone)]);
    }

    #[test]
    fn a_follower_tells_what_was_set_for_brokers_and_that_it_is_not_any_more() {
        let (mut store, mut follower) = (Heap::default(), Follower::default());
        let set = |store: &Heap, node, value: &str| {
            let settings = vec![("retention.ms".to_owned(), value.to_owned())];
            let operations = vec![Operation::Put(Key::Broker(node), Value::Broker(settings))];
            store.commit(Transaction { compares: Vec::new(), operations }, Timestamp::new(0)).unwrap();
        };
        set(&store, None, "1");
        set(&store, Some(NODE_ID), "2");
        set(&store, Some(NODE_ID + 1), "3");
        let first =
            |settings: Option<Settings>| settings.map(|set| set.first().map(|(_, value)| value.clone()));
        let seen = follower.changes(&store, []);
        let some = |value: &str| Some(Some(value.to_owned()));
        assert_eq!((first(seen.of_all), first(seen.of_this)), (some("1"), some("2")));
        assert!(follower.changes(&store, []).is_empty());
        set(&store, Some(NODE_ID), "4");
        let seen = follower.changes(&store, []);
        assert_eq!((first(seen.of_all), first(seen.of_this)), (None, some("4")));
        let operations = vec![Operation::Delete(Key::Broker(Some(NODE_ID)))];
        store.commit(Transaction { compares: Vec::new(), operations }, Timestamp::new(0)).unwrap();
        store.forgets = true;
        let seen = follower.changes(&store, []);
        assert_eq!((first(seen.of_all), first(seen.of_this)), (some("1"), Some(None)));
    }
}
