//! One partition of `__consumer_offsets`, and the groups that are kept there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::loading::{Census, Loading};
use super::writes::{Reach, Writes};
use super::{Waiting, not_available};
use crate::engine::{Disk, Engine, now};
use crate::error::ServiceError;
use crate::groups::Coordinator;
use crate::groups::answer::{Answer, ListedGroup};
use crate::groups::event::{Caller, Effect, Event, Heartbeat, List, Now};
use crate::groups::settings::GroupSettings;
use crate::partition::{Partition, Waiter};
use crate::service::groups::partition_of;
use crate::shard::Placed;
use crate::view::{Served, Topic};

/// The coordinators of all partitions. The thread of groups has them; a loop looks in for a heartbeat.
#[derive(Default)]
pub(crate) struct Hosts(Vec<Mutex<Host>>);

impl Hosts {
    pub(super) fn new(engine: &Engine, topic: &Topic<Disk>) -> Self {
        let served = topic.partitions.iter().zip(0..);
        Self(served.map(|(served, number)| Mutex::new(Host::new(engine, topic, served, number))).collect())
    }

    /// Does something with each, in their order.
    pub(super) fn each(&self, mut act: impl FnMut(&mut Host)) {
        self.0.iter().for_each(|host| act(&mut lock(host)));
    }

    /// The one with this log.
    pub(super) fn of(&self, partition: &Partition<Disk>) -> Option<MutexGuard<'_, Host>> {
        let host = lock(self.0.get(partition.number as usize)?);
        host.is_of(partition).then_some(host)
    }

    /// The one of a group.
    pub(super) fn of_group(&self, group: &str) -> Option<MutexGuard<'_, Host>> {
        Some(lock(&self.0[partition_of(group, self.0.len())?]))
    }

    /// Loads the groups of a partition that was offline.
    pub(super) fn reopen(&self, partition: &Arc<Partition<Disk>>) {
        if let Some(host) = self.0.get(partition.number as usize) {
            lock(host).reopen(partition);
        }
    }

    /// Tells the coordinator of a heartbeat, unless it is not to be had at the moment, or somebody else has it: then
    /// the thread of groups has to be asked. Never waits.
    pub(crate) fn heartbeat(&self, heartbeat: &Heartbeat) -> Option<Result<(), ServiceError>> {
        let host = &self.0[partition_of(&heartbeat.group, self.0.len())?];
        host.try_lock().ok()?.heartbeat(heartbeat)
    }
}

// A panic in a storage thread fails the data directory: nobody is told anything by what it left half done.
fn lock(host: &Mutex<Host>) -> MutexGuard<'_, Host> {
    host.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A coordinator, its log, and what is on its way there.
pub(super) struct Host {
    coordinator: Coordinator,
    state: State,
    writes: Writes,
    effects: Vec<Effect>,
}

enum State {
    /// Its log is being replayed.
    Loading(Loading),
    Serving(Arc<Partition<Disk>>),
    /// Its log cannot be read, or takes nothing.
    Offline(ServiceError),
}

impl State {
    fn loading(partition: &Arc<Partition<Disk>>) -> Self {
        partition.register_waiter(Waiter::Groups);
        Self::Loading(Loading::new(Arc::clone(partition)))
    }
}

impl Host {
    pub(super) fn new(engine: &Engine, topic: &Topic<Disk>, served: &Served<Disk>, number: u32) -> Self {
        let state = match served {
            Served::Leader(partition) => State::loading(partition),
            Served::Offline(why) | Served::Below(_, why) => State::Offline(not_available(format!(
                "partition {number} of {} is offline: {why}",
                topic.name
            ))),
        };
        let coordinator = Coordinator::new(settings(engine, topic));
        Self { coordinator, state, writes: Writes::default(), effects: Vec::new() }
    }

    /// Its coordinator knows nothing, as nothing was replayed.
    fn reopen(&mut self, partition: &Arc<Partition<Disk>>) {
        if matches!(self.state, State::Offline(_)) && self.coordinator.group_count() == 0 {
            self.state = State::loading(partition);
        }
    }

    fn partition(&self) -> Option<&Arc<Partition<Disk>>> {
        match &self.state {
            State::Loading(loading) => Some(loading.partition()),
            State::Serving(partition) => Some(partition),
            State::Offline(_) => None,
        }
    }

    pub(super) fn is_of(&self, partition: &Partition<Disk>) -> bool {
        self.partition().is_some_and(|own| own.key == partition.key)
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.state, State::Loading(_))
    }

    /// Whether it is to be loaded from a log that has nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.is_loading()
            && self.partition().is_some_and(|own| own.log.log_start() == own.log.high_watermark())
    }

    /// Why nothing can be asked of its groups, if that is so.
    pub(super) fn trouble(&self) -> Option<&ServiceError> {
        match &self.state {
            State::Offline(error) => Some(error),
            State::Loading(_) | State::Serving(_) => None,
        }
    }

    pub(super) fn group_count(&self) -> usize {
        self.coordinator.group_count()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.coordinator.next_deadline()
    }

    pub(super) fn tick(&mut self, at: Now, waiting: &mut Waiting) {
        if self.next_deadline().is_some_and(|deadline| deadline <= at.mono) {
            self.step(Event::Tick, at, waiting);
        }
    }

    /// Lets the coordinator know of something, and does what it wants done.
    pub(super) fn step(&mut self, event: Event, at: Now, waiting: &mut Waiting) {
        let mut effects = std::mem::take(&mut self.effects);
        self.coordinator.step(at, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Answer(caller, answer) => waiting.answer(caller, Ok(answer)),
                Effect::Write { id, records } => self.writes.collect(id, records),
            }
        }
        self.effects = effects;
    }

    /// Tells the coordinator of a heartbeat, which does nothing but answer; `None` where there is none to be told.
    fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Option<Result<(), ServiceError>> {
        let State::Serving(_) = self.state else { return None };
        // Nothing goes by its age here.
        let at = Now { mono: Instant::now(), wall: now(), is_believed: false };
        let outcome = self.coordinator.heartbeat(at, heartbeat, &mut self.effects);
        assert!(self.effects.is_empty(), "a heartbeat has more to it than its answer");
        Some(outcome)
    }

    /// Its groups, if they are known.
    pub(super) fn list(&mut self, list: List, at: Now) -> Result<Vec<ListedGroup>, ServiceError> {
        let mut effects = Vec::new();
        self.coordinator.step(at, Event::List(Caller(0), list), &mut effects);
        effects
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Answer(_, Answer::List(listed)) => Some(listed),
                _ => None,
            })
            .unwrap_or_else(|| Err(not_available("a coordinator does not list its groups")))
    }

    pub(super) fn topic_deleted(&mut self, topic: &Arc<str>, at: Now, waiting: &mut Waiting) {
        match &mut self.state {
            // What is replayed may still bring offsets of it.
            State::Loading(loading) => loading.topic_deleted(topic),
            State::Serving(_) => self.step(Event::TopicDeleted(Arc::clone(topic)), at, waiting),
            State::Offline(_) => {}
        }
    }

    /// Replays some more of the log, if there is more.
    pub(super) fn load(
        &mut self,
        engine: &Engine,
        at: Now,
        census: &mut Census,
        waiting: &mut Waiting,
    ) -> bool {
        let State::Loading(loading) = &mut self.state else { return false };
        let mut replayed = Vec::new();
        let outcome = loading.next(census, &mut replayed);
        for record in replayed {
            self.step(Event::Replay(record), at, waiting);
        }
        match outcome {
            Ok(true) => return true,
            Ok(false) => self.loaded(engine, at, waiting),
            Err(error) => self.state = State::Offline(error),
        }
        false
    }

    /// The log is replayed.
    fn loaded(&mut self, engine: &Engine, at: Now, waiting: &mut Waiting) {
        let State::Loading(loading) = &mut self.state else { return };
        let partition = Arc::clone(loading.partition());
        let gone = loading.topics_gone(engine);
        self.state = State::Serving(partition);
        self.step(Event::Loaded, at, waiting);
        for topic in gone {
            self.step(Event::TopicDeleted(topic), at, waiting);
        }
    }

    /// Sends what is to be written to the partition's lane.
    pub(super) fn write(&mut self, engine: &Engine, at: Now, waiting: &mut Waiting) {
        if self.writes.has_collected()
            && let State::Serving(partition) = &self.state
        {
            self.writes.send(engine, partition, at);
            self.settle(at, waiting);
        }
    }

    /// What became of the batches that were sent first of those that are out.
    pub(super) fn placed(&mut self, placed: Vec<Placed>) {
        self.writes.placed(placed);
    }

    /// Tells the coordinator of writes whose fate is known.
    pub(super) fn settle(&mut self, at: Now, waiting: &mut Waiting) {
        let State::Serving(partition) = &self.state else { return };
        let reach = Reach::of(partition);
        while let Some((id, outcome)) = self.writes.settled(&reach) {
            self.step(Event::Written(id, outcome), at, waiting);
        }
    }
}

/// What coordinators work by.
fn settings(engine: &Engine, topic: &Topic<Disk>) -> GroupSettings {
    let config = &engine.config;
    let batch_max = topic.settings.load().max_message_bytes as usize;
    GroupSettings {
        initial_rebalance_delay: config.group_initial_rebalance_delay,
        session_timeout_min: config.group_min_session_timeout,
        session_timeout_max: config.group_max_session_timeout,
        members_max: config.group_max_size as usize,
        groups_max: config.partition_groups_max,
        group_bytes_max: batch_max.saturating_sub(BATCH_OVERHEAD),
        offset_metadata_max: config.offset_metadata_max_bytes,
        group_offsets_max: config.group_offsets_max,
        offsets_retention: config.offsets_retention,
        retention_check_interval: config.offsets_retention_check_interval,
    }
}

/// What a batch of one record takes beside its value, generously.
const BATCH_OVERHEAD: usize = 1024;
