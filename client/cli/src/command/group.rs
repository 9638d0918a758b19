//! `folio group`.

mod change;
mod explain;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use folio_client::{
    Admin, Call, CallError, GroupDescription, GroupListing, GroupMember, GroupOffset, Timestamp,
};
use serde_json::{Value, json};

use super::connect;
use crate::arguments::{GroupCommand, Output};
use crate::exit::Failure;
use crate::output::{human_duration, print, print_json, table};

pub(crate) fn run(broker: &str, output: Output, command: GroupCommand) -> Result<(), Failure> {
    let admin = connect(broker)?.admin();
    match command {
        GroupCommand::List { state } => list(&admin, output, &state),
        GroupCommand::Describe { group } => {
            let described = described(&admin, &group)?;
            match output {
                Output::Json => print_json(&as_json(&group, &described)),
                Output::Text => print(&as_text(&group, &described)),
            }
        }
        GroupCommand::Members { group } => {
            let described = described(&admin, &group)?;
            match output {
                Output::Json => {
                    described.members.iter().map(member_json).try_for_each(|one| print_json(&one))
                }
                Output::Text => print(&members_text(&described.members)),
            }
        }
        GroupCommand::Explain { group } => explain::run(&admin, output, &group),
        GroupCommand::Reset(options) => change::reset(&admin, output, &options),
        GroupCommand::Undo { group, yes } => change::undo(&admin, output, &group, yes),
        GroupCommand::Delete { group, yes } => change::delete(&admin, output, &group, yes),
    }
}

fn list(admin: &Admin, output: Output, states: &[String]) -> Result<(), Failure> {
    let states: Vec<&str> = states.iter().map(String::as_str).collect();
    let groups = patiently(|| admin.list_groups(&states))?;
    let json = |group: &GroupListing| {
        json!({
            "group": group.group,
            "state": group.state,
            "protocol_type": group.protocol_type,
            "members": group.members,
            "partitions": group.partitions,
            "lag": group.lag,
            "partitions_above_end": group.above_end,
        })
    };
    match output {
        Output::Json => groups.iter().try_for_each(|group| print_json(&json(group))),
        Output::Text if groups.is_empty() => Ok(()),
        Output::Text => {
            let row = |group: GroupListing| {
                let note = match group.above_end {
                    0 => String::new(),
                    1 => "offset above the end in 1 partition".to_owned(),
                    count => format!("offset above the end in {count} partitions"),
                };
                let [members, partitions] = [group.members, group.partitions].map(|count| count.to_string());
                vec![group.group, group.state, members, partitions, group.lag.to_string(), note]
            };
            let heads = ["GROUP", "STATE", "MEMBERS", "PARTITIONS", "LAG", "NOTE"];
            print(&table(&heads, groups.into_iter().map(row), &[2, 3, 4]))
        }
    }
}

fn described(admin: &Admin, group: &str) -> Result<GroupDescription, Failure> {
    patiently(|| admin.describe_group(group))
}

/// Asks again for a while where the broker says that it may know better in a moment: it is loading its groups, say.
fn patiently<T>(ask: impl Fn() -> Call<T>) -> Result<T, Failure> {
    let begin = Instant::now();
    loop {
        match ask().wait() {
            Err(CallError::Refused(refusal)) if refusal.code.is_retriable() && begin.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            answered => return Ok(answered?),
        }
    }
}

/// How long the broker may not know yet.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// Who has each partition.
fn owners(group: &GroupDescription) -> BTreeMap<(&str, i32), &GroupMember> {
    let with_work = |member| -> Vec<((&str, i32), &GroupMember)> {
        let member: &GroupMember = member;
        let partitions = member.partitions.iter().flatten();
        partitions.map(|(topic, partition)| ((topic.as_str(), *partition), member)).collect()
    };
    group.members.iter().flat_map(with_work).collect()
}

/// What a person calls a member.
fn name(member: &GroupMember) -> &str {
    member.instance.as_deref().unwrap_or(&member.member)
}

fn note(offset: &GroupOffset) -> String {
    match &offset.log {
        Err(refusal) => refusal.to_string(),
        Ok(_) if offset.is_above_end() => "above the end".to_owned(),
        Ok(_) if offset.is_below_start() => "below the start: what was to be read is gone".to_owned(),
        Ok(_) if offset.committed.is_none() => "nothing is committed".to_owned(),
        Ok(_) => String::new(),
    }
}

fn as_text(name: &str, group: &GroupDescription) -> String {
    let mut text = format!("group {name}, state {}", group.state);
    if !group.members.is_empty() {
        let count = group.members.len();
        let plural = if count == 1 { "" } else { "s" };
        text += &format!(", {count} member{plural}, generation {}", group.generation);
    }
    if !group.protocol.is_empty() {
        text += &format!(", assignor {}", group.protocol);
    }
    text.push('\n');
    if group.offsets.is_empty() {
        return text + "it has no offsets\n";
    }
    let owners = owners(group);
    let dash = || "-".to_owned();
    let rows = group.offsets.iter().map(|one| {
        let owner = owners.get(&(one.topic.as_str(), one.partition));
        let log = one.log.as_ref().ok();
        vec![
            one.topic.clone(),
            one.partition.to_string(),
            one.committed.as_ref().map_or_else(dash, |committed| committed.offset.get().to_string()),
            log.map_or_else(dash, |log| log.start.get().to_string()),
            log.map_or_else(dash, |log| log.end.get().to_string()),
            one.lag().map_or_else(dash, |lag| lag.to_string()),
            one.lag_time().map_or_else(dash, human_duration),
            owner.map_or_else(dash, |owner| self::name(owner).to_owned()),
            note(one),
        ]
    });
    let heads = ["TOPIC", "PARTITION", "OFFSET", "START", "END", "LAG", "BEHIND", "MEMBER", "NOTE"];
    text.push('\n');
    text + &table(&heads, rows, &[1, 2, 3, 4, 5, 6])
}

fn as_json(name: &str, group: &GroupDescription) -> Value {
    let owners = owners(group);
    let offsets = group.offsets.iter().map(|one| {
        let owner = owners.get(&(one.topic.as_str(), one.partition));
        let (committed, log) = (one.committed.as_ref(), one.log.as_ref().ok());
        json!({
            "topic": one.topic,
            "partition": one.partition,
            "offset": committed.map(|committed| committed.offset.get()),
            "leader_epoch": committed.and_then(|committed| committed.leader_epoch),
            "metadata": committed.map(|committed| &committed.metadata),
            "committed_at": committed.map(|committed| committed.at.get()),
            "log_start": log.map(|log| log.start.get()),
            "log_end": log.map(|log| log.end.get()),
            "lag": one.lag(),
            "lag_ms": one.lag_time().map(millis),
            "member": owner.map(|owner| &owner.member),
            "is_above_end": one.is_above_end(),
            "is_below_start": one.is_below_start(),
            "trouble": one.log.as_ref().err().map(ToString::to_string),
        })
    });
    json!({
        "group": name,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.protocol,
        "generation": group.generation,
        "leader": group.leader,
        "members": group.members.iter().map(member_json).collect::<Vec<_>>(),
        "offsets": offsets.collect::<Vec<_>>(),
    })
}

fn members_text(members: &[GroupMember]) -> String {
    if members.is_empty() {
        return "nobody is in the group\n".to_owned();
    }
    let rows = members.iter().map(|member| {
        let partitions = match &member.partitions {
            None => "not told in a way that is known here".to_owned(),
            Some(partitions) => {
                let names: Vec<_> =
                    partitions.iter().map(|(topic, number)| format!("{topic}-{number}")).collect();
                names.join(" ")
            }
        };
        vec![
            member.member.clone(),
            member.instance.clone().unwrap_or_else(|| "-".to_owned()),
            member.client_id.clone(),
            member.client_host.clone(),
            human_duration(member.silent_for),
            human_duration(member.session_timeout),
            partitions,
        ]
    });
    table(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "SILENT", "MAY BE", "PARTITIONS"], rows, &[4, 5])
}

fn member_json(member: &GroupMember) -> Value {
    let partition = |(topic, partition): &(String, i32)| json!({ "topic": topic, "partition": partition });
    let partitions =
        member.partitions.as_ref().map(|partitions| partitions.iter().map(partition).collect::<Vec<_>>());
    json!({
        "member": member.member,
        "instance": member.instance,
        "client_id": member.client_id,
        "client_host": member.client_host,
        "session_timeout_ms": millis(member.session_timeout),
        "rebalance_timeout_ms": millis(member.rebalance_timeout),
        "silent_ms": millis(member.silent_for),
        "is_waiting": member.is_waiting,
        "topics": member.topics,
        "partitions": partitions,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time as people read it.
fn when(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.get())
        .map_or_else(|_| time.get().to_string(), |time| format!("{time:.0}"))
}
