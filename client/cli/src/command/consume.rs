//! `folio consume`.

mod group;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use folio_client::{
    Admin, CallError, ConsumerConfig, Offset, OffsetSpec, Position, Record, Records, TopicPartition,
};
use serde_json::{Value, json};

use super::connect;
use crate::arguments::{ConsumeOptions, Output};
use crate::bytes_as_text::json_bytes;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{is_stdout_closed, stdout};
use crate::place::{Start, Stop};

pub(crate) fn run(broker: &str, output: Output, options: &ConsumeOptions) -> Result<(), Failure> {
    if let Some(name) = &options.group {
        return group::run(broker, output, options, name);
    }
    let client = connect(broker)?;
    let admin = client.admin();
    let partitions = partitions(&admin, options)?;
    let mut open = places(&admin, &partitions, options)?;
    open.retain(|_, place| !place.is_done());
    // What stops somewhere asks for what it wants; the broker would push on behind that.
    let follows = options.until.is_none() && (options.follow || options.count.is_none());
    let mut consumer = client.consumer(ConsumerConfig::new().streaming(follows))?;
    consumer.assign(open.iter().map(|(partition, place)| (partition.clone(), Position::At(place.next))));

    // From here on an interruption must not lose what is in the buffer.
    let interrupt = Interrupt::watch()?;
    let mut out = stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut is_flushed = true;
    while !open.is_empty() && left > 0 {
        if interrupt.is_asked() {
            out.flush()?;
            return Err(Failure::interrupted());
        }
        // What is printed is seen at once when nothing more is there to be printed with it.
        let wait = if is_flushed { LOOK } else { Duration::ZERO };
        let Some(records) = consumer.poll(wait)? else {
            out.flush()?;
            is_flushed = true;
            if is_stdout_closed() {
                return Err(Failure::closed_pipe());
            }
            continue;
        };
        let Some(place) = open.get_mut(records.topic_partition()) else { continue };
        for record in
            records.iter().take_while(|record| place.until.is_none_or(|until| record.offset < until))
        {
            if left == 0 {
                break;
            }
            left -= 1;
            write(&mut out, output, options, &records, &record)?;
            is_flushed = false;
        }
        place.next = records.next_offset();
        if place.is_done() {
            consumer.pause(records.topic_partition());
            open.remove(records.topic_partition());
        }
    }
    Ok(out.flush()?)
}

/// How long nothing may come before the program looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);

/// How far one partition is, and where it ends.
struct Place {
    next: Offset,
    until: Option<Offset>,
}

impl Place {
    fn is_done(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }
}

fn partitions(admin: &Admin, options: &ConsumeOptions) -> Result<Vec<TopicPartition>, Failure> {
    let metadata = admin.metadata(Some(&[&options.topic])).wait()?;
    let topic = match metadata.topics.into_iter().next() {
        Some(Ok(topic)) => topic,
        Some(Err((name, refusal))) => {
            return Err(Failure::from(CallError::Refused(refusal)).about(&name));
        }
        None => return Err(Failure::no_such_topic(&options.topic)),
    };
    let count = u32::try_from(topic.leader_epochs.len()).unwrap_or(u32::MAX);
    if let Some(&missing) = options.partition.iter().find(|&&partition| partition >= count) {
        return Err(Failure::no_such_partition(&options.topic, missing, count));
    }
    let wanted: Vec<u32> =
        if options.partition.is_empty() { (0..count).collect() } else { options.partition.clone() };
    Ok(wanted.into_iter().map(|partition| TopicPartition::new(options.topic.as_str(), partition)).collect())
}

fn places(
    admin: &Admin,
    partitions: &[TopicPartition],
    options: &ConsumeOptions,
) -> Result<BTreeMap<TopicPartition, Place>, Failure> {
    let offsets = |spec: OffsetSpec| -> Result<Vec<Option<Offset>>, Failure> {
        let wanted = partitions.iter().map(|partition| (partition.clone(), spec));
        let found = admin.list_offsets(wanted).wait()?;
        let found =
            found.into_iter().map(|found| Ok(found.map_err(CallError::Refused)?.map(|hit| hit.offset)));
        found.collect()
    };
    let first = offsets(OffsetSpec::Earliest)?;
    let end = offsets(OffsetSpec::Latest)?;
    let since = match options.from {
        Start::Since(time) => offsets(OffsetSpec::Since(time))?,
        _ => vec![None; partitions.len()],
    };
    let until = match options.until {
        Some(Stop::Since(time)) => offsets(OffsetSpec::Since(time))?,
        _ => vec![None; partitions.len()],
    };
    let mut places = BTreeMap::new();
    for (number, partition) in partitions.iter().enumerate() {
        let first = first[number].unwrap_or(Offset::ZERO);
        let end = end[number].unwrap_or(first);
        let next = match options.from {
            Start::Earliest => first,
            Start::Latest => end,
            Start::At(offset) if (first..=end).contains(&offset) => offset,
            Start::At(offset) => return Err(Failure::out_of_range(partition, offset, first, end)),
            Start::BeforeEnd(count) => Offset::new(end.get().saturating_sub_unsigned(count)).max(first),
            Start::Since(_) => since[number].unwrap_or(end),
        };
        let until = match options.until {
            None => None,
            Some(Stop::End) => Some(end),
            Some(Stop::At(offset)) => Some(offset),
            Some(Stop::Since(_)) => Some(until[number].unwrap_or(end)),
        };
        places.insert(partition.clone(), Place { next, until });
    }
    Ok(places)
}

fn write(
    out: &mut impl Write,
    output: Output,
    options: &ConsumeOptions,
    records: &Records,
    record: &Record<'_>,
) -> io::Result<()> {
    let partition = records.topic_partition();
    match output {
        Output::Text => options.format.write(out, &options.topic, partition.partition, record),
        Output::Json => {
            let headers: Vec<Value> = record
                .headers
                .map(|header| json!({ "key": String::from_utf8_lossy(header.key), "value": json_bytes(header.value) }))
                .collect();
            let line = json!({
                "topic": options.topic,
                "partition": partition.partition,
                "offset": record.offset.get(),
                "timestamp": record.timestamp.get(),
                "key": json_bytes(record.key),
                "value": json_bytes(record.value),
                "headers": headers,
            });
            writeln!(out, "{line}")
        }
    }
}
