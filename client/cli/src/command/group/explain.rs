//! `folio group explain`: why does nothing come?
//!
//! What is known of a group is looked through for everything that keeps records from being read, in the order in which
//! a person would ask: is anybody there, is the work being divided, who is silent, who has what, and in each partition
//! what waits, what is gone and what will be. [`findings`] is pure; `run` fetches what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use folio_client::{
    Admin, ConfigResource, ErrorCode, GroupDescription, GroupMember, GroupOffset, Rebalance, Timestamp,
};
use serde_json::json;

use super::{described, name, owners, when};
use crate::arguments::Output;
use crate::exit::Failure;
use crate::output::{human_duration, human_records, print, print_json};

pub(super) fn run(admin: &Admin, output: Output, group: &str) -> Result<(), Failure> {
    let described = described(admin, group)?;
    let facts = Facts { now: now(), topics: topics(admin, &described)?, offsets_kept: offsets_kept(admin)? };
    let findings = findings(&described, &facts);
    if output == Output::Json {
        let findings = findings.iter().map(|one| json!({ "is_wrong": one.is_wrong, "text": one.text }));
        return print_json(&json!({
            "group": group,
            "state": described.state,
            "findings": findings.collect::<Vec<_>>(),
        }));
    }
    let lines = findings.iter().map(|one| format!("{} {}\n", if one.is_wrong { '!' } else { ' ' }, one.text));
    print(&format!("group {group}, state {}\n{}", described.state, lines.collect::<String>()))
}

/// What is known besides the group.
struct Facts {
    now: Timestamp,
    /// The topics that members want, each with its number of partitions; `None`: there is none.
    topics: BTreeMap<String, Option<u32>>,
    /// For how long the offsets of a group without members are kept.
    offsets_kept: Option<Duration>,
}

/// One thing that is so.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// It keeps records from being read, or may.
    is_wrong: bool,
    text: String,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn topics(admin: &Admin, group: &GroupDescription) -> Result<BTreeMap<String, Option<u32>>, Failure> {
    let wanted: BTreeSet<&str> = group
        .members
        .iter()
        .filter_map(|member| member.topics.as_ref())
        .flatten()
        .map(String::as_str)
        .collect();
    let mut topics = BTreeMap::new();
    for topic in wanted {
        let partitions = match admin.describe_topic(topic).wait() {
            Ok(described) => Some(u32::try_from(described.partitions.len()).unwrap_or(u32::MAX)),
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC) => None,
            Err(error) => return Err(error.into()),
        };
        topics.insert(topic.to_owned(), partitions);
    }
    Ok(topics)
}

fn offsets_kept(admin: &Admin) -> Result<Option<Duration>, Failure> {
    let told = admin.describe_configs(ConfigResource::Broker, Some(&["offsets.retention.minutes"])).wait()?;
    let minutes = told.first().and_then(|entry| entry.value.as_deref()?.parse::<u64>().ok());
    Ok(minutes.map(|minutes| Duration::from_secs(60 * minutes)))
}

/// See the module.
fn findings(group: &GroupDescription, facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    of_presence(group, facts, &mut findings);
    of_rebalances(group, facts, &mut findings);
    for member in &group.members {
        of_member(member, group, &mut findings);
    }
    of_topics(group, facts, &mut findings);
    let owners = owners(group);
    for offset in &group.offsets {
        let owner = owners.get(&(offset.topic.as_str(), offset.partition)).copied();
        of_partition(offset, owner, group, facts, &mut findings);
    }
    of_whole(group, &mut findings);
    if let Some(change) = group.changes.last() {
        let (kind, at, who) = (&change.kind, when(change.at), &change.who);
        findings.so(format!("the last change from outside: {kind} at {at} by {who}"));
    }
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn wrong(&mut self, text: String) {
        self.0.push(Finding { is_wrong: true, text });
    }

    fn so(&mut self, text: String) {
        self.0.push(Finding { is_wrong: false, text });
    }
}

fn of_presence(group: &GroupDescription, facts: &Facts, findings: &mut Findings) {
    match (group.state.as_str(), group.members.len()) {
        ("Dead", _) => {
            findings.wrong("there is no such group any more; folio group undo brings it back".to_owned());
        }
        (_, 0) => {
            findings.wrong("nobody is in the group: no consumer runs, or none has joined yet".to_owned());
            if let Some(kept) = facts.offsets_kept.filter(|_| !group.offsets.is_empty()) {
                let kept = human_duration(kept);
                findings.so(format!(
                    "its offsets go when nobody has joined for {kept} (offsets.retention.minutes)"
                ));
            }
        }
        (_, count) => {
            let plural = if count == 1 { "" } else { "s" };
            let assignor = if group.protocol.is_empty() {
                String::new()
            } else {
                format!(", assignor {}", group.protocol)
            };
            findings.so(format!("{count} member{plural}, generation {}{assignor}", group.generation));
        }
    }
}

fn of_rebalances(group: &GroupDescription, facts: &Facts, findings: &mut Findings) {
    for one in group.rebalances.iter().filter(|one| one.is_under_way) {
        let since = human_duration(since(one.at, facts.now));
        let late = group.members.iter().filter(|member| !member.is_waiting).map(name);
        let late: Vec<_> = late.collect();
        let waits =
            if late.is_empty() { String::new() } else { format!("; it waits for {}", late.join(", ")) };
        findings
            .wrong(format!("the work is being divided anew since {since}, because {}{waits}", cause(one)));
    }
    let over = group.rebalances.iter().filter(|one| !one.is_under_way);
    let recent = over.clone().filter(|one| since(one.at, facts.now) <= RECENT).count();
    if recent >= RESTLESS {
        let text = format!(
            "the work was divided {recent} times in {}: members come and go, or take longer than max.poll.interval.ms",
            human_duration(RECENT)
        );
        findings.wrong(text);
    }
    for one in over.rev().take(LAST_REBALANCES) {
        let took = one.took.map_or_else(String::new, |took| format!(", took {}", human_duration(took)));
        let dropped = match one.dropped {
            0 => String::new(),
            1 => ", 1 member did not come again in time".to_owned(),
            count => format!(", {count} members did not come again in time"),
        };
        findings.so(format!("divided at {}, because {}{took}{dropped}", when(one.at), cause(one)));
    }
}

/// A rebalance is recent so long.
const RECENT: Duration = Duration::from_secs(300);
/// So many recent ones are too many.
const RESTLESS: usize = 4;
/// So many are told.
const LAST_REBALANCES: usize = 3;

fn cause(rebalance: &Rebalance) -> String {
    let who = rebalance.who.as_deref().unwrap_or("a member");
    let what = match rebalance.cause.as_str() {
        "joined" => format!("{who} joined"),
        "rejoined" => format!("{who} came again"),
        "static-replaced" => format!("{who} came back with another subscription"),
        "left" => format!("{who} left"),
        "session-timeout" => format!("{who} was silent for too long"),
        "sync-timeout" => format!("{who} did not ask for its work"),
        "write-failed" => "it could not be stored".to_owned(),
        "too-many-members" => "the group had too many members".to_owned(),
        other => format!("{other} ({who})"),
    };
    match &rebalance.reason {
        Some(reason) => format!("{what} ({reason})"),
        None => what,
    }
}

fn of_member(member: &GroupMember, group: &GroupDescription, findings: &mut Findings) {
    let (silent, may_be) = (member.silent_for, member.session_timeout);
    // One that waits for the others is not expected to say anything.
    if !member.is_waiting && silent >= may_be.mul_f64(ABOUT_TO_TIME_OUT) {
        let (name, silent, may_be) = (name(member), human_duration(silent), human_duration(may_be));
        findings.wrong(format!("{name} has been silent for {silent}, and is taken for dead after {may_be}"));
    }
    if group.state == "Stable" && member.partitions.as_ref().is_some_and(Vec::is_empty) {
        findings.wrong(format!("{} has no partition: there is none left for it", name(member)));
    }
}

/// The part of its session that a member is silent for before that is told.
const ABOUT_TO_TIME_OUT: f64 = 0.6;

fn of_topics(group: &GroupDescription, facts: &Facts, findings: &mut Findings) {
    let owners = owners(group);
    for (topic, partitions) in &facts.topics {
        let Some(partitions) = partitions else {
            findings.wrong(format!("members want topic {topic:?}, and there is none"));
            continue;
        };
        if group.state != "Stable" || group.members.iter().any(|member| member.partitions.is_none()) {
            continue;
        }
        let numbers = 0..i32::try_from(*partitions).unwrap_or(i32::MAX);
        let missing = numbers.filter(|number| !owners.contains_key(&(topic.as_str(), *number)));
        let missing: Vec<_> = missing.map(|number| number.to_string()).collect();
        if !missing.is_empty() {
            findings.wrong(format!("nobody has partition {} of topic {topic}", missing.join(", ")));
        }
    }
}

fn of_partition(
    offset: &GroupOffset,
    owner: Option<&GroupMember>,
    group: &GroupDescription,
    facts: &Facts,
    findings: &mut Findings,
) {
    let place = format!("{}-{}", offset.topic, offset.partition);
    let log = match &offset.log {
        Ok(log) => log,
        Err(refusal) => return findings.wrong(format!("{place} cannot be read: {refusal}")),
    };
    let Some(committed) = &offset.committed else {
        let lag = human_records(offset.lag().unwrap_or(0));
        let text = format!(
            "{place}: nothing is committed, and it has {lag}; where its member begins is auto.offset.reset's to say \
             (latest: with what comes from then on)"
        );
        return findings.so(text);
    };
    let (at, start, end) = (committed.offset.get(), log.start.get(), log.end.get());
    if offset.is_below_start() {
        let text = format!(
            "{place}: the log begins at {start}, behind the committed offset {at}: {} are gone unread, by retention or \
             deletion; auto.offset.reset says where it goes on",
            human_records(start.abs_diff(at))
        );
        findings.wrong(text);
    } else if offset.is_above_end() {
        let text = format!(
            "{place}: the log ends at {end}, before the committed offset {at}: it has lost records, or the topic is \
             another one; nothing comes before it has grown so far, or folio group reset"
        );
        findings.wrong(text);
    }
    let lag = offset.lag().unwrap_or(0);
    if lag == 0 {
        return;
    }
    let behind =
        offset.lag_time().map_or_else(String::new, |time| format!(", {} behind", human_duration(time)));
    let idle = since(committed.at, facts.now);
    let waits = format!("{place}: {} wait{behind}", human_records(lag));
    match owner {
        _ if group.members.is_empty() => findings.so(waits),
        Some(owner) if idle >= STUCK => {
            let (name, idle) = (name(owner), human_duration(idle));
            let text = format!(
                "{waits}, and nothing was committed for {idle}: {name} has paused it, is busy with what it has read, or \
                 does not commit"
            );
            findings.wrong(text);
        }
        Some(owner) => findings.so(format!("{waits}; {} is reading it", name(owner))),
        None if group.state == "Stable" => findings.wrong(format!("{waits}, and nobody has the partition")),
        None => findings.so(waits),
    }
    if let (Some(next), Some(kept)) = (log.next_time, log.retention) {
        let left = kept.saturating_sub(since(next, facts.now));
        if left <= kept.mul_f64(NEARLY_GONE) {
            let left = human_duration(left);
            findings.wrong(format!(
                "{place}: retention may take what is next in {left}: it is nearly as old as retention.ms"
            ));
        }
    }
}

/// A partition whose records wait and of which nothing was committed for so long is worth a look.
const STUCK: Duration = Duration::from_secs(60);
/// The part of its life that a record has left when that is told.
const NEARLY_GONE: f64 = 0.2;

fn of_whole(group: &GroupDescription, findings: &mut Findings) {
    let read = |offset: &GroupOffset| {
        offset.committed.is_some() && offset.lag() == Some(0) && !offset.is_above_end()
    };
    if !group.offsets.is_empty() && group.offsets.iter().all(read) {
        let newest = group.offsets.iter().filter_map(|offset| offset.log.as_ref().ok()?.last_time).max();
        let newest =
            newest.map_or_else(String::new, |time| format!("; the newest record is of {}", when(time)));
        findings.so(format!("everything is read{newest}: nothing comes because nothing is sent"));
    }
}

fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.get().saturating_sub(time.get())).unwrap_or(0))
}

#[cfg(test)]
mod tests;
