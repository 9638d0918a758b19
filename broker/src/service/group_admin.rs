//! Groups as who administers them sees and changes them: with their partitions, with what an administrator replaced,
//! and sent elsewhere.
//!
//! Members and offsets are the coordinator's (`service/groups.rs`); here they meet the logs that the offsets are about,
//! and the metadata, which keeps what a change replaces.

mod changes;
mod history;
mod place;

use std::sync::Arc;

use folio_storage::metadata::GroupChange;
use folio_wire::consumer_protocol::{Assignment, Subscription};
use folio_wire::native::group_admin::lag;

use super::groups::{self, Gather};
use super::topics;
use crate::engine::Engine;
use crate::error::{Fault, ServiceError};
use crate::groups::answer::{Committed, DescribedGroup, DescribedMember, FetchedOffset, ListedGroup};
use crate::groups::event::{Describe, Fetch, List};

pub(crate) use changes::{Move, Reset, Target, delete, reset, undo};
pub(crate) use place::Place;

/// A group in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) group: ListedGroup,
    pub(crate) members: usize,
    /// Partitions in which it has an offset.
    pub(crate) partitions: usize,
    /// Records that it has still to read in them.
    pub(crate) lag: u64,
    /// Partitions that end before its offset.
    pub(crate) above_end: usize,
}

/// Everything about a group.
#[derive(Debug)]
pub(crate) struct Described {
    /// `None`: there is no such group any more, only what was replaced when it went.
    pub(crate) group: Option<DescribedGroup>,
    /// By topic and partition.
    pub(crate) offsets: Vec<Standing>,
    /// Oldest first.
    pub(crate) changes: Vec<GroupChange>,
}

/// Where a group is in a partition.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// `None`: it has not said, but one of its members has the partition.
    pub(crate) committed: Option<Committed>,
    pub(crate) place: Result<Place, ServiceError>,
}

/// Tells of all groups in one of these states, or of all.
pub(crate) fn list(
    engine: &Arc<Engine>,
    states: Vec<String>,
    answer: impl FnOnce(Result<Vec<Listed>, ServiceError>) + Send + 'static,
) {
    let asked = Arc::clone(engine);
    groups::list(engine, List { states, types: Vec::new() }, move |found| match found {
        Err(error) => answer(Err(error)),
        Ok(found) => {
            let gather = Gather::new(found.len(), move |listed: Vec<Option<Listed>>| {
                let mut listed: Vec<_> = listed.into_iter().flatten().collect();
                listed.sort_unstable_by(|a, b| a.group.group.cmp(&b.group.group));
                answer(Ok(listed));
            });
            for (number, group) in found.into_iter().enumerate() {
                let gather = gather.clone();
                listed(&asked, group, move |listed| gather.put(number, listed));
            }
        }
    });
}

/// One that has gone meanwhile is not told of.
fn listed(engine: &Arc<Engine>, group: ListedGroup, answer: impl FnOnce(Option<Listed>) + Send + 'static) {
    let asked = Arc::clone(engine);
    let name = Arc::clone(&group.group);
    groups::describe(engine, Describe { group: Arc::clone(&name) }, move |described| {
        let Ok(described) = described else { return answer(None) };
        let seen = Arc::clone(&asked);
        groups::fetch(&asked, all_of(name), move |offsets| {
            let offsets = offsets.unwrap_or_default();
            let mut listed =
                Listed { group, members: described.members.len(), partitions: 0, lag: 0, above_end: 0 };
            for (offset, committed) in offsets.iter().filter_map(|one| Some((one, one.committed.as_ref()?))) {
                listed.partitions += 1;
                let Ok(partition) = topics::readable(&seen, &offset.topic, offset.partition) else {
                    continue;
                };
                let (start, end) = place::ends(&partition);
                let lag = lag(Some(committed.offset), start.get(), end.get());
                listed.lag = listed.lag.saturating_add(lag);
                listed.above_end += usize::from(committed.offset > end.get());
            }
            answer(Some(listed));
        });
    });
}

/// Tells everything about a group.
pub(crate) fn describe(
    engine: &Arc<Engine>,
    group: Arc<str>,
    answer: impl FnOnce(Result<Described, ServiceError>) + Send + 'static,
) {
    let asked = Arc::clone(engine);
    groups::describe(engine, Describe { group: Arc::clone(&group) }, move |described| {
        let described = match described {
            Ok(described) => Ok(described),
            Err(error) if error.fault == Fault::UnknownGroup => Err(error),
            Err(error) => return answer(Err(error)),
        };
        let seen = Arc::clone(&asked);
        groups::fetch(&asked, all_of(Arc::clone(&group)), move |offsets| {
            seen.readers.run(move |engine| answer(put_together(engine, &group, described, offsets)));
        });
    });
}

/// May wait for a disk.
fn put_together(
    engine: &Engine,
    group: &str,
    described: Result<DescribedGroup, ServiceError>,
    offsets: Result<Vec<FetchedOffset>, ServiceError>,
) -> Result<Described, ServiceError> {
    let changes = history::of(engine, group);
    let described = match described {
        Err(error) if changes.is_empty() => return Err(error),
        described => described.ok(),
    };
    let mut offsets = offsets.or_else(|error| match error.fault {
        Fault::UnknownGroup => Ok(Vec::new()),
        _ => Err(error),
    })?;
    let had = described
        .iter()
        .flat_map(|group| &group.members)
        .flat_map(|member| work_of(member).unwrap_or_default());
    for (topic, partition) in had {
        if !offsets.iter().any(|one| *one.topic == *topic && one.partition == partition) {
            offsets.push(FetchedOffset { topic: topic.into(), partition, committed: None });
        }
    }
    if offsets.len() > OFFSETS_MAX {
        let text = format!("the group has {} partitions, and {OFFSETS_MAX} can be described", offsets.len());
        return Err(ServiceError::new(Fault::LimitReached, text));
    }
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let standing = offsets.into_iter().map(|FetchedOffset { topic, partition, committed }| {
        let next = committed.as_ref().map(|committed| committed.offset);
        let place = Place::find(engine, &topic, partition, next);
        Standing { topic, partition, committed, place }
    });
    Ok(Described { group: described, offsets: standing.collect(), changes })
}

/// The topics that a consumer wants, if it says so in Kafka's way.
pub(crate) fn wants_of(member: &DescribedMember) -> Option<Vec<String>> {
    let topics = Subscription::decode_topics(&member.metadata).ok()?;
    Some(topics.into_iter().map(str::to_owned).collect())
}

/// The partitions that a consumer has, if they are told in Kafka's way.
pub(crate) fn work_of(member: &DescribedMember) -> Option<Vec<(String, i32)>> {
    if member.assignment.is_empty() {
        return Some(Vec::new());
    }
    let assignment = Assignment::decode(&member.assignment).ok()?;
    let of_topic = |one: &folio_wire::consumer_protocol::TopicPartitions<'_>| {
        one.partitions.iter().map(|partition| (one.topic.to_owned(), *partition)).collect::<Vec<_>>()
    };
    Some(assignment.partitions.iter().flat_map(of_topic).collect())
}

/// Who asks, in its own words, and from where, which it cannot choose.
pub(crate) fn who(name: &str, host: &str) -> String {
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(WHO_MAX).collect();
    format!("{name} from {host}")
}

/// Letters of a name that are kept.
const WHO_MAX: usize = 200;

fn all_of(group: Arc<str>) -> Fetch {
    Fetch { group, partitions: None, require_stable: false }
}

/// Goes on if nobody is in the group, and if there is one or need not be.
fn without_members(
    engine: &Engine,
    group: Arc<str>,
    must_exist: bool,
    then: impl FnOnce(Result<(), ServiceError>) + Send + 'static,
) {
    let asked = Describe { group: Arc::clone(&group) };
    groups::describe(engine, asked, move |described| {
        then(match described {
            Ok(described) if described.members.is_empty() => Ok(()),
            Ok(described) => {
                let members = match described.members.len() {
                    1 => "a member; stop it".to_owned(),
                    count => format!("{count} members; stop them"),
                };
                let text = format!("the group {group:?} has {members} first");
                Err(ServiceError::new(Fault::GroupNotEmpty, text))
            }
            Err(error) if error.fault == Fault::UnknownGroup && !must_exist => Ok(()),
            Err(error) => Err(error),
        });
    });
}

/// So many fit an answer.
const OFFSETS_MAX: usize = 20_000;
