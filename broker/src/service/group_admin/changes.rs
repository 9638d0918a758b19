//! Groups sent elsewhere, taken back, and removed. What is replaced is kept before anything is.
//!
//! ```text
//!   nobody in it? -> where is it? -> where to? -> kept in the metadata -> committed, or removed
//!                                        |
//!                                        +-> a dry run ends here
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use folio_record::{Offset, Timestamp};
use folio_storage::metadata::{GroupChange, GroupChangeKind, OldOffset, ReplacedOffset};
use uuid::Uuid;

use super::{all_of, history, without_members};
use crate::engine::{Engine, now};
use crate::error::{Fault, ServiceError};
use crate::groups::answer::{Committed, FetchedOffset};
use crate::groups::event::{Commit, Delete, Fetch, OffsetDelete, OffsetToCommit};
use crate::service::offsets::{self, Spot};
use crate::service::{groups, topics};

/// Sends a group elsewhere.
#[derive(Debug)]
pub(crate) struct Reset {
    pub(crate) group: Arc<str>,
    /// Who asks.
    pub(crate) who: String,
    pub(crate) is_dry_run: bool,
    pub(crate) to: Vec<(Arc<str>, u32, Target)>,
}

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Earliest,
    Latest,
    Offset(i64),
    AtTime(Timestamp),
    ShiftBy(i64),
}

/// What becomes of a group's offset in one partition.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) from: Option<i64>,
    /// Where it is then; or why it stays.
    pub(crate) to: Result<Option<i64>, ServiceError>,
}

/// What was taken back.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) change: GroupChange,
    pub(crate) moves: Vec<Move>,
}

type Moves = Result<Vec<Move>, ServiceError>;

/// Sends a group without members elsewhere, in all of these partitions or in none.
pub(crate) fn reset(engine: &Arc<Engine>, asked: Reset, answer: impl FnOnce(Moves) + Send + 'static) {
    let mut seen = HashSet::new();
    if let Some((topic, number, _)) =
        asked.to.iter().find(|(topic, number, _)| !seen.insert((topic, *number)))
    {
        let text = format!("partition {number} of topic {topic:?} is named twice");
        return answer(Err(ServiceError::new(Fault::InvalidRequest, text)));
    }
    let next = Arc::clone(engine);
    without_members(engine, Arc::clone(&asked.group), false, move |allowed| {
        if let Err(error) = allowed {
            return answer(Err(error));
        }
        let partitions = asked.to.iter().map(|(topic, number, _)| (Arc::clone(topic), number.cast_signed()));
        let partitions = Some(partitions.collect());
        let fetch = Fetch { group: Arc::clone(&asked.group), partitions, require_stable: false };
        let then = Arc::clone(&next);
        groups::fetch(&next, fetch, move |before| match before {
            Ok(before) => {
                let readers = Arc::clone(&then);
                readers.readers.run(move |engine| {
                    let moves = moves_of(engine, &asked.to, &before);
                    if asked.is_dry_run || moves.iter().any(|one| one.to.is_err()) {
                        return answer(Ok(moves));
                    }
                    engine.admin.run(move |_| send(&then, &asked, moves, before, answer));
                });
            }
            Err(error) => answer(Err(error)),
        });
    });
}

/// Where the group goes in each partition. May wait for a disk.
fn moves_of(engine: &Engine, to: &[(Arc<str>, u32, Target)], before: &[FetchedOffset]) -> Vec<Move> {
    let before: HashMap<_, _> = before.iter().map(|one| ((&*one.topic, one.partition), one)).collect();
    let moves = to.iter().map(|(topic, number, target)| {
        let committed = before.get(&(&**topic, number.cast_signed())).and_then(|one| one.committed.as_ref());
        let from = committed.map(|committed| committed.offset);
        let to = resolve(engine, topic, *number, *target, from).map(Some);
        Move { topic: Arc::clone(topic), partition: *number, from, to }
    });
    moves.collect()
}

/// The offset that a target means; what lies outside of the log becomes its nearest end, as with Kafka's tools.
fn resolve(
    engine: &Engine,
    topic: &str,
    number: u32,
    target: Target,
    from: Option<i64>,
) -> Result<i64, ServiceError> {
    let partition = topics::readable(engine, topic, number)?;
    let (start, end) = (partition.log.log_start().get(), partition.log.high_watermark().get());
    let offset = match target {
        Target::Earliest => start,
        Target::Latest => end,
        Target::Offset(offset) => offset,
        Target::AtTime(time) => {
            let found = offsets::find(&partition, Spot::AtTime(time), None)?;
            found.map_or(end, |found| found.offset.get())
        }
        Target::ShiftBy(count) => match from {
            Some(from) => from.saturating_add(count),
            None => {
                let text =
                    format!("the group has no offset in partition {number} of topic {topic:?} to go on from");
                return Err(ServiceError::new(Fault::OffsetOutOfRange, text));
            }
        },
    };
    Ok(offset.clamp(start, end))
}

/// Keeps what is replaced, and replaces it. On the admin thread.
fn send(
    engine: &Arc<Engine>,
    asked: &Reset,
    moves: Vec<Move>,
    before: Vec<FetchedOffset>,
    answer: impl FnOnce(Moves) + Send + 'static,
) {
    let change = GroupChange {
        at_ms: now().get(),
        who: asked.who.clone(),
        kind: GroupChangeKind::Reset,
        replaced: replaced(engine, before),
    };
    if let Err(error) = history::push(engine, &asked.group, &change) {
        return answer(Err(error));
    }
    let to_commit = moves.iter().filter_map(|one| {
        let offset = one.to.as_ref().ok().copied().flatten()?;
        Some(OffsetToCommit {
            topic: Arc::clone(&one.topic),
            topic_id: Uuid::nil(),
            partition: one.partition.cast_signed(),
            offset,
            leader_epoch: -1,
            metadata: "".into(),
        })
    });
    let commit = from_nobody(&asked.group, to_commit.collect());
    let (then, group) = (Arc::clone(engine), Arc::clone(&asked.group));
    groups::commit(engine, commit, move |outcome| {
        match outcome {
            Ok(outcomes) => answer(Ok(with_outcomes(moves, outcomes))),
            Err(error) => forget(&then, group, change, move || answer(Err(error))),
        };
    });
}

/// What was kept for nothing goes again.
fn forget(engine: &Engine, group: Arc<str>, change: GroupChange, then: impl FnOnce() + Send + 'static) {
    engine.admin.run(move |engine| {
        // One that stays says more than happened; to undo it changes nothing.
        let _ = history::pop(engine, &group, &change);
        then();
    });
}

/// A commit that comes from no member.
fn from_nobody(group: &Arc<str>, offsets: Vec<OffsetToCommit>) -> Commit {
    let group = Arc::clone(group);
    Commit { group, member: "".into(), instance: None, generation: -1, retention_ms: None, offsets }
}

/// The outcomes are of those that were to move, in their order.
fn with_outcomes(mut moves: Vec<Move>, outcomes: Vec<Result<(), ServiceError>>) -> Vec<Move> {
    for (one, outcome) in moves.iter_mut().filter(|one| one.to.is_ok()).zip(outcomes) {
        if let Err(error) = outcome {
            one.to = Err(error);
        }
    }
    moves
}

/// What there was, to be kept. Topics are named by their ids as well, for another may get the name.
fn replaced(engine: &Engine, before: Vec<FetchedOffset>) -> Vec<ReplacedOffset> {
    let view = engine.view.load();
    let replaced = before.into_iter().filter_map(|one| {
        let before = one.committed.map(|Committed { offset, leader_epoch, metadata, .. }| OldOffset {
            offset,
            leader_epoch,
            metadata: metadata.as_ref().to_owned(),
        });
        Some(ReplacedOffset {
            topic_id: view.named(&one.topic)?.id,
            topic: one.topic.as_ref().to_owned(),
            partition: u32::try_from(one.partition).ok()?,
            before,
        })
    });
    replaced.collect()
}

/// Removes a group without members, with its offsets.
pub(crate) fn delete(
    engine: &Arc<Engine>,
    group: Arc<str>,
    who: String,
    is_dry_run: bool,
    answer: impl FnOnce(Moves) + Send + 'static,
) {
    let next = Arc::clone(engine);
    without_members(engine, Arc::clone(&group), true, move |allowed| {
        if let Err(error) = allowed {
            return answer(Err(error));
        }
        let then = Arc::clone(&next);
        groups::fetch(&next, all_of(Arc::clone(&group)), move |before| {
            let before = match before {
                Ok(before) => before,
                Err(error) => return answer(Err(error)),
            };
            let goes = |one: &FetchedOffset| Move {
                topic: Arc::clone(&one.topic),
                partition: u32::try_from(one.partition).unwrap_or(0),
                from: one.committed.as_ref().map(|committed| committed.offset),
                to: Ok(None),
            };
            let moves: Vec<Move> = before.iter().map(goes).collect();
            if is_dry_run {
                return answer(Ok(moves));
            }
            let admin = Arc::clone(&then);
            admin.admin.run(move |engine| {
                let replaced = replaced(engine, before);
                let change = GroupChange { at_ms: now().get(), who, kind: GroupChangeKind::Delete, replaced };
                if let Err(error) = history::push(engine, &group, &change) {
                    return answer(Err(error));
                }
                let delete = Delete { group: Arc::clone(&group) };
                groups::delete(engine, delete, move |outcome| match outcome {
                    Ok(()) => answer(Ok(moves)),
                    Err(error) => forget(&then, group, change, move || answer(Err(error))),
                });
            });
        });
    });
}

/// Takes back the latest change that an administrator made to a group.
pub(crate) fn undo(
    engine: &Arc<Engine>,
    group: Arc<str>,
    is_dry_run: bool,
    answer: impl FnOnce(Result<Undone, ServiceError>) + Send + 'static,
) {
    let next = Arc::clone(engine);
    without_members(engine, Arc::clone(&group), false, move |allowed| {
        if let Err(error) = allowed {
            return answer(Err(error));
        }
        let then = Arc::clone(&next);
        groups::fetch(&next, all_of(Arc::clone(&group)), move |present| {
            let present = present.unwrap_or_default();
            let admin = Arc::clone(&then);
            admin.admin.run(move |engine| {
                let Some(change) = history::of(engine, &group).pop() else {
                    let text =
                        format!("nothing is known that was done to group {group:?} and could be taken back");
                    return answer(Err(ServiceError::new(Fault::InvalidRequest, text)));
                };
                let moves = back(engine, &change, &present);
                if is_dry_run {
                    return answer(Ok(Undone { change, moves }));
                }
                restore(&then, group, change, moves, answer);
            });
        });
    });
}

/// Where the group goes when `change` is taken back.
fn back(engine: &Engine, change: &GroupChange, present: &[FetchedOffset]) -> Vec<Move> {
    let present: HashMap<_, _> = present.iter().map(|one| ((&*one.topic, one.partition), one)).collect();
    let moves = change.replaced.iter().map(|old| {
        let committed = present.get(&(&*old.topic, old.partition.cast_signed()));
        let from = committed.and_then(|one| one.committed.as_ref()).map(|committed| committed.offset);
        let to = topics::find(engine, &old.topic).and_then(|topic| {
            if topic.id == old.topic_id {
                return Ok(old.before.as_ref().map(|before| before.offset));
            }
            let text =
                format!("topic {:?} is another one than it was: the old offset says nothing", old.topic);
            Err(ServiceError::new(Fault::UnknownTopic, text))
        });
        Move { topic: old.topic.as_str().into(), partition: old.partition, from, to }
    });
    moves.collect()
}

/// Commits what there was, removes what there was not, and forgets the change. One that dies in between does it again.
fn restore(
    engine: &Arc<Engine>,
    group: Arc<str>,
    change: GroupChange,
    moves: Vec<Move>,
    answer: impl FnOnce(Result<Undone, ServiceError>) + Send + 'static,
) {
    let (mut to_commit, mut to_remove) = (Vec::new(), Vec::new());
    for (old, one) in change.replaced.iter().zip(&moves) {
        let partition = old.partition.cast_signed();
        match (&one.to, &old.before) {
            (Ok(Some(_)), Some(before)) => to_commit.push(OffsetToCommit {
                topic: Arc::clone(&one.topic),
                topic_id: old.topic_id,
                partition,
                offset: Offset::new(before.offset).get(),
                leader_epoch: before.leader_epoch,
                metadata: before.metadata.as_str().into(),
            }),
            (Ok(_), _) if one.from.is_some() => to_remove.push((Arc::clone(&one.topic), partition)),
            _ => {}
        }
    }
    let remove = OffsetDelete { group: Arc::clone(&group), partitions: to_remove };
    let commit = from_nobody(&group, to_commit);
    let then = Arc::clone(engine);
    let done = move |outcome: Result<(), ServiceError>| match outcome {
        Err(error) => answer(Err(error)),
        Ok(()) => then.admin.run(move |engine| {
            answer(history::pop(engine, &group, &change).map(|()| Undone { change, moves }));
        }),
    };
    let and_then = Arc::clone(engine);
    let removed = move |outcome: Result<(), ServiceError>| {
        if remove.partitions.is_empty() || outcome.is_err() {
            return done(outcome);
        }
        groups::delete_offsets(&and_then, remove, move |outcome| done(all(outcome)));
    };
    if commit.offsets.is_empty() {
        return removed(Ok(()));
    }
    groups::commit(engine, commit, move |outcome| removed(all(outcome)));
}

/// The first error of all.
fn all(outcome: groups::OfEach) -> Result<(), ServiceError> {
    outcome.and_then(|each| each.into_iter().collect())
}
