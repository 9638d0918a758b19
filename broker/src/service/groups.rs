//! Groups: joined, left, asked for, and where they are. All of it is answered by the thread of groups, some of it
//! later.

mod gather;
mod placement;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::engine::{Disk, Engine};
use crate::error::{Fault, ServiceError};
use crate::groups::answer::{
    Answer, DescribedGroup, FetchedOffset, Joined, Left, ListedGroup, NotJoined, Synced,
};
use crate::groups::event::{
    Caller, Commit, Delete, Describe, Event, Fetch, Heartbeat, Join, Leave, List, OffsetDelete, Sync,
};
use crate::service::topics;
use crate::service::topics::internal::{OFFSETS, create_offsets};
use crate::threads::groups::{AnswerList, GroupJob, Question};
use crate::view::{Served, View};

pub(crate) use gather::Gather;
pub(crate) use placement::partition_of;

/// Of each partition, in the order in which they were asked for, or of all of them.
pub(crate) type OfEach = Result<Vec<Result<(), ServiceError>>, ServiceError>;

/// A verb of groups: what is asked, and who is told. `$wrong` is an answer in which the whole was refused.
macro_rules! verb {
    ($(#[$doc:meta])* $name:ident, $event:ident, $outcome:ty, $refused:expr) => {
        $(#[$doc])*
        pub(crate) fn $name(
            engine: &Engine,
            asked: $event,
            answer: impl FnOnce($outcome) + Send + 'static,
        ) {
            let group = Arc::clone(&asked.group);
            let refused: fn(ServiceError) -> $outcome = $refused;
            ask(engine, group, |caller| Event::$event(caller, asked), move |told| match told {
                Ok(Answer::$event(outcome)) => answer(outcome),
                Ok(_) => answer(refused(ServiceError::new(Fault::CoordinatorNotAvailable, "another answer"))),
                Err(error) => answer(refused(error)),
            });
        }
    };
}

verb!(
    /// Joins a group; answered once its members have come together.
    join, Join, Result<Joined, NotJoined>, |error| Err(NotJoined { member: "".into(), error })
);
verb!(
    /// Asks for a member's work; answered once the leader has divided it.
    sync, Sync, Result<Synced, ServiceError>, Err
);
verb!(ask_heartbeat, Heartbeat, Result<(), ServiceError>, Err);
verb!(
    /// Members go.
    leave, Leave, Result<Vec<Left>, ServiceError>, Err
);
verb!(
    /// Tells what a group is.
    describe, Describe, Result<DescribedGroup, ServiceError>, Err
);
verb!(
    /// Removes a group without members, with its offsets.
    delete, Delete, Result<(), ServiceError>, Err
);
verb!(commit_known, Commit, OfEach, Err);
verb!(delete_known, OffsetDelete, OfEach, Err);
verb!(fetch_stored, Fetch, Result<Vec<FetchedOffset>, ServiceError>, Err);

/// A member is still there. Where its coordinator is free that is told at once.
pub(crate) fn heartbeat(
    engine: &Engine,
    asked: Heartbeat,
    answer: impl FnOnce(Result<(), ServiceError>) + Send + 'static,
) {
    let at_once = if engine.health.has_failed() { None } else { engine.group_hosts.load().heartbeat(&asked) };
    match at_once {
        Some(outcome) => answer(outcome),
        None => ask_heartbeat(engine, asked, answer),
    }
}

/// Stores where a group is, in those partitions that there are.
pub(crate) fn commit(engine: &Engine, mut asked: Commit, answer: impl FnOnce(OfEach) + Send + 'static) {
    let view = engine.view.load();
    let (mut fates, mut known) = (Vec::new(), Vec::new());
    for mut offset in std::mem::take(&mut asked.offsets) {
        fates.push(check(&view, &offset.topic, offset.partition).map(|id| {
            offset.topic_id = id;
            known.push(offset);
        }));
    }
    if known.is_empty() && !fates.is_empty() {
        return answer(Ok(fates));
    }
    asked.offsets = known;
    commit_known(engine, asked, move |told| answer(told.map(|told| of_each(fates, told))));
}

/// Removes offsets of a group, of those partitions that there are.
pub(crate) fn delete_offsets(
    engine: &Engine,
    mut asked: OffsetDelete,
    answer: impl FnOnce(OfEach) + Send + 'static,
) {
    let view = engine.view.load();
    let (mut fates, mut known) = (Vec::new(), Vec::new());
    for (topic, partition) in std::mem::take(&mut asked.partitions) {
        fates.push(check(&view, &topic, partition).map(|_| known.push((topic, partition))));
    }
    asked.partitions = known;
    delete_known(engine, asked, move |told| answer(told.map(|told| of_each(fates, told))));
}

/// Whether there is such a partition; the id of its topic.
fn check(view: &View<Disk>, name: &str, partition: i32) -> Result<Uuid, ServiceError> {
    let topic = view.named(name).ok_or_else(|| ServiceError::unknown_topic(name))?;
    match usize::try_from(partition) {
        Ok(number) if number < topic.partitions.len() => Ok(topic.id),
        _ => {
            let text = format!("topic {name:?} has no partition {partition}");
            Err(ServiceError::new(Fault::UnknownPartition, text))
        }
    }
}

/// What became of each, where `told` is about those that were not refused before.
fn of_each(
    fates: Vec<Result<(), ServiceError>>,
    told: Vec<Result<(), ServiceError>>,
) -> Vec<Result<(), ServiceError>> {
    let mut told = told.into_iter();
    fates.into_iter().map(|fate| fate.and_then(|()| told.next().unwrap_or(Ok(())))).collect()
}

/// Tells where a group is. An offset of a topic that has been made anew since is none.
pub(crate) fn fetch(
    engine: &Engine,
    asked: Fetch,
    answer: impl FnOnce(Result<Vec<FetchedOffset>, ServiceError>) + Send + 'static,
) {
    let ids: HashMap<Arc<str>, Uuid> = {
        let view = engine.view.load();
        match &asked.partitions {
            Some(partitions) => {
                let topics = partitions.iter().filter_map(|(name, _)| view.named(name));
                topics.map(|topic| (Arc::clone(&topic.name), topic.id)).collect()
            }
            None => view.topics().map(|topic| (Arc::clone(&topic.name), topic.id)).collect(),
        }
    };
    let is_all = asked.partitions.is_none();
    fetch_stored(engine, asked, move |told| {
        answer(told.map(|mut offsets| {
            for offset in &mut offsets {
                let id = ids.get(&offset.topic).copied().unwrap_or_default();
                offset.committed.take_if(|stored| !stored.topic_id.is_nil() && stored.topic_id != id);
            }
            offsets.retain(|offset| !is_all || offset.committed.is_some());
            offsets
        }));
    });
}

/// Tells of all groups. Where none has been, that is none.
pub(crate) fn list(
    engine: &Engine,
    asked: List,
    answer: impl FnOnce(Result<Vec<ListedGroup>, ServiceError>) + Send + 'static,
) {
    if topics::find(engine, OFFSETS).is_err() {
        return answer(Ok(Vec::new()));
    }
    engine.groups.send([GroupJob::List(asked, AnswerList(Box::new(answer)))]);
}

/// Whether a group may be asked for here, which is where all of them are.
pub(crate) fn find(
    engine: &Engine,
    group: &str,
    answer: impl FnOnce(Result<(), ServiceError>) + Send + 'static,
) {
    let group = group.to_owned();
    with_topic(engine, move |engine, made| {
        answer(made.and_then(|()| {
            let topic = topics::find(engine, OFFSETS)?;
            let number = partition_of(&group, topic.partitions.len());
            match number.and_then(|number| topic.partitions.get(number)) {
                Some(Served::Leader(_)) => Ok(()),
                _ => Err(not_available(&format!("the partition of group {group:?} is offline"))),
            }
        }));
    });
}

/// Has the group's coordinator asked.
fn ask(
    engine: &Engine,
    group: Arc<str>,
    event: impl FnOnce(Caller) -> Event,
    answer: impl FnOnce(Result<Answer, ServiceError>) + Send + 'static,
) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let caller = Caller(NEXT.fetch_add(1, Ordering::Relaxed));
    let question = Question { group, caller, event: event(caller), answer: Box::new(answer) };
    with_topic(engine, move |engine, made| match made {
        Ok(()) => engine.groups.send([GroupJob::Ask(question)]),
        Err(error) => (question.answer)(Err(error)),
    });
}

/// Goes on once there is a topic to keep groups in: now, or from the admin thread.
fn with_topic(engine: &Engine, then: impl FnOnce(&Engine, Result<(), ServiceError>) + Send + 'static) {
    if engine.view.load().named(OFFSETS).is_some() {
        return then(engine, Ok(()));
    }
    engine.admin.run(move |engine| {
        let made = create_offsets(engine).map_err(|error| match error.fault {
            Fault::StorageFailed => error,
            // Whoever comes again later may be lucky. Kafka's clients do not hear why.
            _ => not_available(&format!("topic {OFFSETS} cannot be made: {}", error.text)),
        });
        if let Err(error) = &made {
            tracing::warn!(error = error.text, "groups are asked for in vain");
        }
        then(engine, made);
    });
}

fn not_available(why: &str) -> ServiceError {
    ServiceError::new(Fault::CoordinatorNotAvailable, why)
}
