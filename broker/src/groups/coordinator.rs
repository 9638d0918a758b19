//! All groups of one partition of `__consumer_offsets`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::answer::{Answer, DescribedGroup, Left, ListedGroup, NotJoined};
use super::commit::fetch_of_none;
use super::event::{
    Caller, Commit, Effect, Event, Heartbeat, Join, Leave, List, Now, OffsetDelete, Sync, WriteId,
};
use super::group::Group;
use super::inspect::unknown_group;
use super::join;
use super::record::{GroupRecord, TEXT_MAX};
use super::roster::unknown_member;
use super::settings::GroupSettings;
use super::timers::{Timer, Timers};
use super::writes::{Context, Then, Writes, not_written};
use crate::error::{Fault, ServiceError};

/// The groups of one partition, as a state machine: it is told what happens and when, and says what to do.
#[derive(Debug)]
pub(crate) struct Coordinator {
    settings: GroupSettings,
    groups: HashMap<Arc<str>, Group>,
    timers: Timers,
    writes: Writes,
    is_loaded: bool,
}

impl Coordinator {
    /// One that has yet to be loaded: it takes [`Event::Replay`] until [`Event::Loaded`].
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            groups: HashMap::new(),
            timers: Timers::default(),
            writes: Writes::default(),
            is_loaded: false,
        }
    }

    /// How many groups there are.
    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many timers are running.
    #[cfg(test)]
    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    /// When it wants to be stepped again at the latest, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// Takes what has happened, and adds what is to be done to `effects`.
    pub(crate) fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        if !self.is_loaded
            && let Some((caller, answer)) = refusal(&event)
        {
            effects.push(Effect::Answer(caller, answer));
            return;
        }
        let mut answer = |caller, answer| effects.push(Effect::Answer(caller, answer));
        match event {
            Event::Join(caller, join) => self.join(now, caller, join, effects),
            Event::Sync(caller, sync) => self.sync(now, caller, sync, effects),
            Event::Heartbeat(caller, heartbeat) => {
                let result = self.heartbeat(now, &heartbeat, effects);
                effects.push(Effect::Answer(caller, Answer::Heartbeat(result)));
            }
            Event::Leave(caller, leave) => self.leave(now, caller, &leave, effects),
            Event::Commit(caller, commit) => self.commit(now, caller, commit, effects),
            Event::Fetch(caller, fetch) => {
                let fetched = match self.groups.get(&fetch.group) {
                    Some(group) => group.fetch(fetch),
                    None => fetch_of_none(fetch),
                };
                answer(caller, Answer::Fetch(Ok(fetched)));
            }
            Event::Describe(caller, describe) => {
                answer(caller, Answer::Describe(self.describe(now, &describe.group)));
            }
            Event::List(caller, list) => answer(caller, Answer::List(Ok(self.list(&list)))),
            Event::Delete(caller, delete) => {
                let done =
                    self.with(&delete.group, now, effects, |group, context| group.delete(context, caller));
                if done.is_none() {
                    effects.push(Effect::Answer(caller, Answer::Delete(Err(unknown_group(&delete.group)))));
                }
            }
            Event::OffsetDelete(caller, delete) => self.delete_offsets(now, caller, &delete, effects),
            Event::TopicDeleted(topic) => self.topic_deleted(now, &topic, effects),
            Event::Replay(record) => self.replay(now, record, effects),
            Event::Loaded => self.loaded(now, effects),
            Event::Written(id, result) => self.written(now, id, result, effects),
            Event::Tick => self.tick(now, effects),
        }
    }

    /// Does something with a group, if there is one, and forgets it if nothing of it is left.
    fn with<R>(
        &mut self,
        id: &str,
        now: Now,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Group, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let Self { settings, groups, timers, writes, .. } = self;
        let group = groups.get_mut(id)?;
        let result = act(group, &mut Context { now, settings, timers, writes, effects });
        if group.is_vacant() {
            groups.remove(id);
        }
        Some(result)
    }

    /// Makes a group, unless there is one.
    fn make(&mut self, id: &Arc<str>, now: Now) -> Result<(), ServiceError> {
        if self.groups.contains_key(id) {
            return Ok(());
        }
        if id.len() > TEXT_MAX {
            return Err(ServiceError::new(Fault::InvalidGroup, "the name of the group is too long"));
        }
        if self.groups.len() >= self.settings.groups_max {
            let max = self.settings.groups_max;
            let text = format!("there are {max} groups beside it, as many as partition.groups.max allows");
            return Err(ServiceError::new(Fault::GroupFull, text));
        }
        self.groups.insert(id.clone(), Group::new(id.clone(), now.wall));
        Ok(())
    }

    fn join(&mut self, now: Now, caller: Caller, join: Join, effects: &mut Vec<Effect>) {
        let id = join.group.clone();
        let checked = join::check(&join, &self.settings).and_then(|()| {
            if id.is_empty() {
                return Err(nameless());
            }
            match join.member.is_empty() || self.groups.contains_key(&id) {
                true => self.make(&id, now),
                false => Err(unknown_member(&join.member)),
            }
        });
        if let Err(error) = checked {
            let refused = NotJoined { member: join.member, error };
            effects.push(Effect::Answer(caller, Answer::Join(Err(refused))));
            return;
        }
        self.with(&id, now, effects, |group, context| group.join(context, caller, join));
    }

    fn sync(&mut self, now: Now, caller: Caller, sync: Sync, effects: &mut Vec<Effect>) {
        let id = sync.group.clone();
        let nobody = nobody(&id, &sync.member);
        if self.with(&id, now, effects, |group, context| group.sync(context, caller, sync)).is_none() {
            effects.push(Effect::Answer(caller, Answer::Sync(Err(nobody))));
        }
    }

    /// Takes a heartbeat for who answers it himself; it adds nothing to `effects`.
    pub(crate) fn heartbeat(
        &mut self,
        now: Now,
        heartbeat: &Heartbeat,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ServiceError> {
        let act = |group: &mut Group, context: &mut Context<'_>| group.heartbeat(context, heartbeat);
        let result = self.with(&heartbeat.group, now, effects, act);
        result.unwrap_or_else(|| Err(nobody(&heartbeat.group, &heartbeat.member)))
    }

    fn leave(&mut self, now: Now, caller: Caller, leave: &Leave, effects: &mut Vec<Effect>) {
        let act = |group: &mut Group, context: &mut Context<'_>| group.leave(context, caller, leave);
        if self.with(&leave.group, now, effects, act).is_none() {
            effects.push(Effect::Answer(caller, Answer::Leave(leave_of_none(leave))));
        }
    }

    fn commit(&mut self, now: Now, caller: Caller, commit: Commit, effects: &mut Vec<Effect>) {
        let id = commit.group.clone();
        let made = match commit.generation < 0 || self.groups.contains_key(&id) {
            true => self.make(&id, now),
            false => Err(unknown_group(&id)),
        };
        if let Err(error) = made {
            effects.push(Effect::Answer(caller, Answer::Commit(Err(error))));
            return;
        }
        self.with(&id, now, effects, |group, context| group.commit(context, caller, commit));
    }

    /// Whoever commits needs no name of a group, whoever deletes does: so it is in Kafka.
    fn delete_offsets(&mut self, now: Now, caller: Caller, delete: &OffsetDelete, effects: &mut Vec<Effect>) {
        let error = match delete.group.is_empty() {
            true => nameless(),
            false => {
                let act = |group: &mut Group, context: &mut Context<'_>| {
                    group.delete_offsets(context, caller, delete);
                };
                match self.with(&delete.group, now, effects, act) {
                    Some(()) => return,
                    None => unknown_group(&delete.group),
                }
            }
        };
        effects.push(Effect::Answer(caller, Answer::OffsetDelete(Err(error))));
    }

    fn describe(&self, now: Now, id: &str) -> Result<DescribedGroup, ServiceError> {
        let group = self.groups.get(id).filter(|group| group.is_visible());
        group.map(|group| group.describe(now.mono)).ok_or_else(|| unknown_group(id))
    }

    fn list(&self, list: &List) -> Vec<ListedGroup> {
        self.groups.values().filter_map(|group| group.list(list)).collect()
    }

    fn topic_deleted(&mut self, now: Now, topic: &str, effects: &mut Vec<Effect>) {
        self.clean(now, effects, |group, _| {
            let partitions = group.offsets.of_topic(topic);
            let tombstone = |(topic, partition)| group.offset_tombstone(topic, partition);
            partitions.into_iter().map(tombstone).collect()
        });
    }

    /// Writes what is found to be written in all groups, for nobody in particular.
    fn clean(
        &mut self,
        now: Now,
        effects: &mut Vec<Effect>,
        mut find: impl FnMut(&mut Group, &mut Context<'_>) -> Vec<GroupRecord>,
    ) {
        let Self { settings, groups, timers, writes, .. } = self;
        let mut context = Context { now, settings, timers, writes, effects };
        let mut records = Vec::new();
        for group in groups.values_mut() {
            records.append(&mut find(group, &mut context));
        }
        if !records.is_empty() {
            context.write(records, Then::Nothing);
        }
    }

    fn replay(&mut self, now: Now, record: GroupRecord, effects: &mut Vec<Effect>) {
        let id = record.group().clone();
        let is_tombstone = match &record {
            GroupRecord::Offset { committed, .. } => committed.is_none(),
            GroupRecord::Group { value, .. } => value.is_none(),
        };
        if !is_tombstone {
            // What was stored once is taken, however many there are.
            self.groups.entry(id.clone()).or_insert_with_key(|id| Group::new(id.clone(), now.wall));
        }
        self.with(&id, now, effects, |group, context| match record {
            GroupRecord::Offset { topic, partition, committed, .. } => {
                group.offsets.put(&topic, partition, committed);
            }
            GroupRecord::Group { value, .. } => group.replay(value, context),
        });
    }

    fn loaded(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.is_loaded = true;
        let Self { settings, groups, timers, writes, .. } = self;
        let mut context = Context { now, settings, timers, writes, effects };
        for group in groups.values_mut() {
            group.loaded(&mut context);
        }
        self.timers.set(now.mono + self.settings.retention_check_interval, Timer::Expiry);
    }

    fn written(
        &mut self,
        now: Now,
        id: WriteId,
        result: Result<(), ServiceError>,
        effects: &mut Vec<Effect>,
    ) {
        let write = self.writes.end(id);
        for record in write.records.iter() {
            if let Some(group) = self.groups.get_mut(record.group()) {
                group.settle(record, result.is_ok());
            }
        }
        let told = result.as_ref().map_or_else(|error| Err(not_written(error)), |()| Ok(()));
        let mut answer = |caller, answer| effects.push(Effect::Answer(caller, answer));
        match write.then {
            Then::Nothing => {}
            Then::Committed { caller, results } => answer(caller, Answer::Commit(told.map(|()| results))),
            Then::OffsetsDeleted { caller, results } => {
                answer(caller, Answer::OffsetDelete(told.map(|()| results)));
            }
            Then::Deleted { caller } => answer(caller, Answer::Delete(told)),
            Then::Left { caller, left } => answer(caller, Answer::Leave(told.map(|()| left))),
            Then::Assigned { group, generation } => {
                self.with(&group, now, effects, |group, context| {
                    group.assigned(context, generation, &write.records, result);
                });
            }
            Then::Replaced(replaced) => {
                let id = replaced.group.clone();
                self.with(&id, now, effects, |group, context| group.replaced(context, *replaced, result));
            }
        }
        for record in write.records.iter() {
            self.with(record.group(), now, effects, |_, _| ());
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mark = self.timers.mark();
        while let Some(timer) = self.timers.pop(now.mono, mark) {
            match timer {
                Timer::Member { group, member } => self.with(&group, now, effects, |group, context| {
                    group.member_timer_ran_out(context, &member);
                }),
                Timer::Join { group } => self.with(&group, now, effects, Group::join_timer_ran_out),
                Timer::Sync { group } => self.with(&group, now, effects, Group::sync_timer_ran_out),
                Timer::Expiry => {
                    if now.is_believed {
                        self.clean(now, effects, Group::expire);
                    }
                    self.timers.set(now.mono + self.settings.retention_check_interval, Timer::Expiry);
                    None
                }
            };
        }
    }
}

/// Members have to be of a group that has a name; offsets that are committed need not.
fn nameless() -> ServiceError {
    ServiceError::new(Fault::InvalidGroup, "the group has no name")
}

/// There is no such group, and so no such member of it.
fn nobody(group: &str, member: &str) -> ServiceError {
    if group.is_empty() { nameless() } else { unknown_member(member) }
}

/// What those are told who leave a group that is not there.
fn leave_of_none(leave: &Leave) -> Result<Vec<Left>, ServiceError> {
    if leave.group.is_empty() {
        return Err(nameless());
    }
    let left = leave.members.iter().map(|leaver| Left {
        member: leaver.member.clone(),
        instance: leaver.instance.clone(),
        result: Err(unknown_member(&leaver.member)),
    });
    Ok(left.collect())
}

/// What those are told who ask while the groups are being loaded.
fn refusal(event: &Event) -> Option<(Caller, Answer)> {
    let loading = || ServiceError::new(Fault::CoordinatorLoading, "the group's coordinator is loading");
    Some(match event {
        Event::Join(caller, join) => {
            (*caller, Answer::Join(Err(NotJoined { member: join.member.clone(), error: loading() })))
        }
        Event::Sync(caller, _) => (*caller, Answer::Sync(Err(loading()))),
        Event::Heartbeat(caller, _) => (*caller, Answer::Heartbeat(Err(loading()))),
        Event::Leave(caller, _) => (*caller, Answer::Leave(Err(loading()))),
        Event::Commit(caller, _) => (*caller, Answer::Commit(Err(loading()))),
        Event::Fetch(caller, _) => (*caller, Answer::Fetch(Err(loading()))),
        Event::Describe(caller, _) => (*caller, Answer::Describe(Err(loading()))),
        Event::List(caller, _) => (*caller, Answer::List(Err(loading()))),
        Event::Delete(caller, _) => (*caller, Answer::Delete(Err(loading()))),
        Event::OffsetDelete(caller, _) => (*caller, Answer::OffsetDelete(Err(loading()))),
        Event::TopicDeleted(_) | Event::Replay(_) | Event::Loaded | Event::Written(..) | Event::Tick => {
            return None;
        }
    })
}
