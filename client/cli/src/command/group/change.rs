//! Groups sent elsewhere, taken back and removed: first shown, then, with `--yes`, done.

use std::io::Read;
use std::path::Path;

use folio_client::{Admin, CallError, ErrorCode, Offset, OffsetMove, OffsetSpec, ResetTo, TopicPartition};
use serde_json::{Value, json};

use super::{described, when};
use crate::arguments::{Output, ResetOptions, TopicChoice};
use crate::exit::Failure;
use crate::output::{print, print_json, say, table};
use crate::place::Start;

pub(super) fn reset(admin: &Admin, output: Output, options: &ResetOptions) -> Result<(), Failure> {
    let to = match (&options.from_file, options.to, options.shift_by) {
        (Some(path), ..) => from_file(path)?,
        (None, Some(place), _) => {
            let partitions = partitions(admin, &options.group, &options.topic)?;
            partitions.into_iter().map(|one| target(admin, one, place)).collect::<Result<_, _>>()?
        }
        (None, None, shift) => {
            let shift = ResetTo::ShiftBy(shift.unwrap_or(0));
            let partitions = partitions(admin, &options.group, &options.topic)?;
            partitions.into_iter().map(|one| (one, shift)).collect()
        }
    };
    let moves = admin.reset_group(&options.group, &who(), to, !options.yes).wait()?;
    show(output, &options.group, &moves, options.yes, json!({}))?;
    match moves.into_iter().find_map(|one| one.to.err()) {
        Some(refusal) if options.yes => Err(CallError::Refused(refusal).into()),
        Some(refusal) => {
            let failure = Failure::from(CallError::Refused(refusal));
            Err(failure.at("nothing can be changed"))
        }
        None => say_if_dry(options.yes),
    }
}

pub(super) fn undo(admin: &Admin, output: Output, group: &str, yes: bool) -> Result<(), Failure> {
    let undone = admin.undo_group(group, !yes).wait()?;
    let change = &undone.change;
    if output == Output::Text {
        say(format_args!("the {} of {} by {}", change.kind, when(change.at), change.who));
    }
    let about = json!({ "change": { "kind": change.kind, "at": change.at.get(), "who": change.who } });
    show(output, group, &undone.moves, yes, about)?;
    say_if_dry(yes)
}

pub(super) fn delete(admin: &Admin, output: Output, group: &str, yes: bool) -> Result<(), Failure> {
    let moves = admin.delete_group(group, &who(), !yes).wait()?;
    show(output, group, &moves, yes, json!({}))?;
    if yes && output == Output::Text {
        say(format_args!("deleted group {group}; folio group undo {group} brings it back"));
    }
    say_if_dry(yes)
}

fn say_if_dry(yes: bool) -> Result<(), Failure> {
    if !yes {
        say("nothing is changed; --yes does it");
    }
    Ok(())
}

fn show(output: Output, group: &str, moves: &[OffsetMove], done: bool, about: Value) -> Result<(), Failure> {
    let place =
        |offset: Option<Offset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.get().to_string());
    match output {
        Output::Text if moves.is_empty() => print("it has no offsets\n"),
        Output::Text => {
            let row = |one: &OffsetMove| {
                let (to, note) = match &one.to {
                    Ok(to) => (place(*to), String::new()),
                    Err(refusal) => (place(one.from), format!("stays: {refusal}")),
                };
                let TopicPartition { topic, partition } = &one.topic_partition;
                vec![topic.to_string(), partition.to_string(), place(one.from), to, note]
            };
            print(&table(&["TOPIC", "PARTITION", "FROM", "TO", "NOTE"], moves.iter().map(row), &[1, 2, 3]))
        }
        Output::Json => {
            let offsets = moves.iter().map(|one| {
                json!({
                    "topic": &*one.topic_partition.topic,
                    "partition": one.topic_partition.partition,
                    "from": one.from.map(Offset::get),
                    "to": one.to.as_ref().ok().copied().flatten().map(Offset::get),
                    "trouble": one.to.as_ref().err().map(ToString::to_string),
                })
            });
            let offsets: Vec<_> = offsets.collect();
            let mut json = json!({ "group": group, "done": done, "offsets": offsets });
            if let (Some(json), Value::Object(about)) = (json.as_object_mut(), about) {
                json.extend(about);
            }
            print_json(&json)
        }
    }
}

/// The partitions that are chosen; without a choice all that the group has offsets of.
fn partitions(admin: &Admin, group: &str, choices: &[TopicChoice]) -> Result<Vec<TopicPartition>, Failure> {
    if choices.is_empty() {
        let offsets = described(admin, group)?.offsets;
        let known = offsets.into_iter().filter(|one| one.committed.is_some());
        let known = known.filter_map(|one| Some((one.topic, u32::try_from(one.partition).ok()?)));
        let known: Vec<_> = known.map(|(topic, number)| TopicPartition::new(topic, number)).collect();
        if known.is_empty() {
            return Err(Failure::usage(format_args!(
                "group {group} has no offsets: name topics with --topic"
            )));
        }
        return Ok(known);
    }
    let mut chosen = Vec::new();
    for TopicChoice { topic, partitions } in choices {
        let topic_partition = |number: u32| TopicPartition::new(topic.as_str(), number);
        if partitions.is_empty() {
            let described =
                admin.describe_topic(topic).wait().map_err(|error| Failure::from(error).about(topic))?;
            chosen.extend(described.partitions.iter().map(|one| topic_partition(one.partition)));
        } else {
            chosen.extend(partitions.iter().copied().map(topic_partition));
        }
    }
    Ok(chosen)
}

/// Only the broker's end tells what lies N before it.
fn target(
    admin: &Admin,
    partition: TopicPartition,
    place: Start,
) -> Result<(TopicPartition, ResetTo), Failure> {
    let to = match place {
        Start::Earliest => ResetTo::Earliest,
        Start::Latest => ResetTo::Latest,
        Start::At(offset) => ResetTo::Offset(offset),
        Start::Since(time) => ResetTo::Since(time),
        Start::BeforeEnd(count) => {
            let found = admin.list_offsets([(partition.clone(), OffsetSpec::Latest)]).wait()?.pop();
            match found {
                Some(Err(refusal)) if refusal.code == ErrorCode::UNKNOWN_TOPIC => {
                    return Err(Failure::no_such_topic(&partition.topic));
                }
                Some(Err(refusal)) => return Err(CallError::Refused(refusal).into()),
                Some(Ok(Some(end))) => {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    ResetTo::Offset(Offset::new(end.offset.get().saturating_sub(count).max(0)))
                }
                Some(Ok(None)) | None => ResetTo::Latest,
            }
        }
    };
    Ok((partition, to))
}

fn from_file(path: &Path) -> Result<Vec<(TopicPartition, ResetTo)>, Failure> {
    let at = |error: std::io::Error| Failure::failed(format_args!("{}: {error}", path.display()));
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(at)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(at)?
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|(number, line)| {
        parse_line(line).ok_or_else(|| {
            let text = format!("{}, line {number}: expected TOPIC,PARTITION,OFFSET", path.display());
            Failure::usage(text)
        })
    });
    parsed.collect()
}

fn parse_line(line: &str) -> Option<(TopicPartition, ResetTo)> {
    let [topic, partition, offset] = line.split(',').map(str::trim).collect::<Vec<_>>()[..] else {
        return None;
    };
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    let topic_partition = TopicPartition::new(topic, partition.parse().ok()?);
    (!topic.is_empty()).then_some((topic_partition, ResetTo::Offset(Offset::new(offset))))
}

/// Who asks, for the history.
fn who() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_file_names_a_topic_a_partition_and_an_offset() {
        let expected = (TopicPartition::new("t", 3), ResetTo::Offset(Offset::new(42)));
        assert_eq!(parse_line("t,3,42"), Some(expected.clone()));
        assert_eq!(parse_line(" t , 3 , 42 "), Some(expected));
        for line in ["", "t", "t,3", "t,3,-1", "t,x,1", ",3,1", "t,3,1,2"] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
    }
}
