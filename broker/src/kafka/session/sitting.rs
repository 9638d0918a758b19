//! Sessions where they are: shared by all connections, lent to the request that goes on with one, watched by the event
//! loop that the request came to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use folio_channel::LoopHandle;
use folio_record::Offset;
use uuid::Uuid;

use super::cache::{Begin, Cache, SessionError};
use super::{Session, Slot, TopicKey};
use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::kafka::epoch;
use crate::partition::PartitionKey;
use crate::service::fetch::{Place, Places, Want};
use crate::service::topics;
use crate::shard::{LoopMessage, Shard};
use crate::standing::WatcherId;
use crate::view::Topic;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions(Mutex<Cache<Sitting>>);

/// What is kept of a partition between requests. Not the partition itself: it may be deleted, and its files with it.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Kept {
    key: Option<PartitionKey>,
    /// Of a topic that is named by its id: its name, from when it was first found.
    name: Option<Arc<str>>,
    place: Place,
}

/// A session, and who watches its partitions.
#[derive(Debug)]
pub(in crate::kafka) struct Sitting {
    pub(in crate::kafka) session: Session<Kept>,
    watch: Option<Watch>,
}

/// A watcher on some loop. Dropped, it watches no more.
struct Watch {
    handle: LoopHandle<Shard>,
    loop_index: usize,
    id: WatcherId,
}

/// A session that is lent. Dropped, it is given back.
#[derive(Debug)]
pub(in crate::kafka) struct Lease {
    sessions: Arc<Sessions>,
    pub(in crate::kafka) id: i32,
    /// There until it is dropped.
    sitting: Option<Sitting>,
}

/// What a request begins with.
pub(in crate::kafka) enum Started {
    Without,
    Full,
    GoOn(Lease),
}

impl Sessions {
    pub(crate) fn new(sessions_max: usize, partitions_max: usize) -> Self {
        Self(Mutex::new(Cache::new(sessions_max, partitions_max)))
    }

    /// What the request with this session id and epoch is about.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub(in crate::kafka) fn begin(
        self: &Arc<Self>,
        id: i32,
        epoch: i32,
        is_by_id: bool,
    ) -> Result<Started, SessionError> {
        let (begin, closed) = self.lock().begin(id, epoch, is_by_id)?;
        drop(closed);
        Ok(match begin {
            Begin::Without => Started::Without,
            Begin::Full => Started::Full,
            Begin::GoOn(sitting) => {
                Started::GoOn(Lease { sessions: Arc::clone(self), id, sitting: Some(sitting) })
            }
        })
    }

    /// Opens a session with these partitions, if there is room for one: its id, else 0.
    pub(in crate::kafka) fn open(&self, sitting: Sitting, is_by_id: bool) -> i32 {
        let random = || Uuid::new_v4().as_fields().0;
        let size = sitting.session.len();
        let (id, gone) = self.lock().create(size, is_by_id, Instant::now(), random, || sitting);
        drop(gone);
        id.unwrap_or(0)
    }

    // Nothing panics under this lock.
    fn lock(&self) -> MutexGuard<'_, Cache<Sitting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(in crate::kafka) fn sitting(&mut self) -> Option<&mut Sitting> {
        self.sitting.as_mut()
    }

    /// Notes that the session is used. Whether it may go on: it holds something, and not more than there is room for.
    pub(in crate::kafka) fn touch(&mut self) -> bool {
        let size = self.sitting.as_ref().map_or(0, |sitting| sitting.session.len());
        if size == 0 {
            self.sessions.lock().remove(self.id);
        }
        size > 0 && self.sessions.lock().touch(self.id, size, Instant::now())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(sitting) = self.sitting.take() {
            let gone = self.sessions.lock().give_back(self.id, sitting);
            // Its watch ends, which is nothing to do under the lock.
            drop(gone);
        }
    }
}

impl Sitting {
    pub(in crate::kafka) fn new() -> Self {
        Self { session: Session::new(), watch: None }
    }

    /// Lets a partition go.
    pub(in crate::kafka) fn forget(&mut self, shard: &mut Shard, topic: TopicKey, partition: i32) {
        let Some((number, _)) = self.session.forget(topic, partition) else { return };
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.loop_index == shard.index()) {
            shard.standing.unwatch(watch.id, number);
        }
    }

    /// Learns which partitions have moved, and has them watched on this loop from now on.
    pub(in crate::kafka) fn attend(&mut self, shard: &mut Shard) -> Option<WatcherId> {
        let index = shard.index();
        if let Some(watch) = self.watch.as_ref().filter(|watch| watch.loop_index == index) {
            let moved = shard.standing.take_moved(watch.id);
            moved.into_iter().for_each(|number| self.session.wake(number));
            return Some(watch.id);
        }
        // What moved elsewhere in between, nobody knows.
        self.session.wake_all();
        let handle = shard.engine.loops().get(index)?.clone();
        let id = shard.standing.add();
        self.watch = Some(Watch { handle, loop_index: index, id });
        Some(id)
    }

    /// What is to be read of a partition.
    pub(in crate::kafka) fn want(
        &mut self,
        engine: &Engine,
        places: Option<&mut Places>,
        number: u32,
    ) -> Option<Want> {
        let slot = self.session.slot(number)?;
        let topic = topic_of(engine, slot);
        let partition = topic.and_then(|topic| topics::readable_of(&topic, slot.partition));
        let key = partition.as_ref().ok().map(|partition| partition.key);
        if slot.kept.key != key {
            slot.kept.key = key;
            slot.kept.place = places.map_or_else(Place::default, |places| places.of(&partition));
            // Whoever watches it watches another one.
            slot.is_watched = false;
        }
        Some(Want {
            partition,
            offset: Offset::new(slot.terms.offset),
            max_bytes: usize::try_from(slot.terms.max_bytes).unwrap_or(0),
            leader_epoch: epoch(slot.terms.leader_epoch),
            last_epoch: epoch(slot.terms.last_epoch),
            place: Arc::clone(&slot.kept.place),
        })
    }
}

/// As Kafka tells them apart: an id that was never known; a topic that was known by its id and is gone; one whose name
/// another has by now.
fn topic_of(engine: &Engine, slot: &mut Slot<Kept>) -> Result<Arc<Topic<Disk>>, ServiceError> {
    let id = match &slot.topic {
        TopicKey::Name(name) => return topics::find(engine, name),
        TopicKey::Id(id) => *id,
    };
    match (topics::with_id(engine, id), &slot.kept.name) {
        (Ok(topic), _) => {
            slot.kept.name = Some(Arc::clone(&topic.name));
            Ok(topic)
        }
        (Err(unknown), None) => Err(unknown),
        (Err(_), Some(name)) => {
            topics::find(engine, name)?;
            let text = format!("topic {name:?} is another one than that with the id {id}");
            Err(ServiceError::new(Fault::InconsistentTopicId, text))
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A loop that has ended watches nothing.
        let _ = self.handle.send(LoopMessage::Unwatch(self.id));
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("loop_index", &self.loop_index).field("id", &self.id).finish()
    }
}
