//! `folio consume --group`: as a member of a group.
//!
//! A record counts as dealt with when its line has been written out: lines are flushed before the consumer polls again,
//! and only polls (and the end) commit. What could not be written is not committed.

use std::io::Write;
use std::time::Duration;

use folio_client::{
    Consumer, ConsumerConfig, GroupConfig, Offset, OutOfRange, Position, RebalanceListener, Records,
    TopicPartition,
};

use super::{LOOK, partitions, write};
use crate::arguments::{ConsumeOptions, Output};
use crate::command::connect;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::{is_stdout_closed, say, stdout};
use crate::place::Start;

pub(super) fn run(
    broker: &str,
    output: Output,
    options: &ConsumeOptions,
    group: &str,
) -> Result<(), Failure> {
    let client = connect(broker)?;
    partitions(&client.admin(), options)?; // a topic that is missing is a mistake here
    let mut config = GroupConfig::new(group).begin(position(options.from)).auto_commit(Some(COMMIT_INTERVAL));
    config.instance.clone_from(&options.instance);
    config.session_timeout = Duration::from_secs(options.session_timeout);
    config.heartbeat_interval = config.heartbeat_interval.min(config.session_timeout / 3);
    if !options.assignor.is_empty() {
        config.assignors = options.assignor.iter().map(|assignor| assignor.of_client()).collect();
    }
    let reads_on = options.follow || options.count.is_none();
    // Retention may have been faster than the group.
    let out_of_range = if options.from == Start::Latest { OutOfRange::Latest } else { OutOfRange::Earliest };
    let settings = ConsumerConfig::new().group(config).streaming(reads_on).out_of_range(out_of_range);
    let mut consumer = client.consumer(settings)?;
    consumer.subscribe_with([options.topic.as_str()], Report)?;
    let interrupt = Interrupt::watch()?;
    let outcome = print(&mut consumer, output, options, &interrupt);
    match &outcome {
        // Nobody is there to be told.
        Err(failure) if !failure.is_ordinary_end() => outcome,
        _ => {
            consumer.close()?;
            outcome
        }
    }
}

fn print(
    consumer: &mut Consumer,
    output: Output,
    options: &ConsumeOptions,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut out = stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        if interrupt.is_asked() {
            return Err(Failure::interrupted());
        }
        let Some(records) = consumer.poll(LOOK)? else {
            if is_stdout_closed() {
                return Err(Failure::closed_pipe());
            }
            continue;
        };
        let Some(first) = records.iter().next().map(|record| record.offset) else { continue };
        match write_some(&mut out, output, options, &records, &mut left) {
            // The others of these are the next reader's.
            Ok(next) if left == 0 => stay_at(consumer, &records, next),
            Ok(_) => {}
            Err(error) => {
                stay_at(consumer, &records, first);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Writes them out, `left` at most; gives the offset behind the last one.
fn write_some(
    out: &mut impl Write,
    output: Output,
    options: &ConsumeOptions,
    records: &Records,
    left: &mut u64,
) -> Result<Offset, Failure> {
    let mut next = records.next_offset();
    for record in records {
        if *left == 0 {
            next = record.offset;
            break;
        }
        *left -= 1;
        write(out, output, options, records, &record)?;
    }
    out.flush()?;
    Ok(next)
}

/// What is committed of these is what lies before `offset`.
fn stay_at(consumer: &mut Consumer, records: &Records, offset: Offset) {
    consumer.seek(records.topic_partition(), Position::At(offset));
}

fn position(start: Start) -> Position {
    match start {
        Start::Earliest => Position::Earliest,
        Start::Latest => Position::Latest,
        Start::At(offset) => Position::At(offset),
        Start::BeforeEnd(count) => Position::BeforeEnd(count),
        Start::Since(time) => Position::Since(time),
    }
}

/// Tells the person at the terminal which partitions come and go.
struct Report;

impl RebalanceListener for Report {
    fn assigned(&mut self, consumer: &mut Consumer, _: &[TopicPartition]) {
        say(format_args!("folio: reading {}", names(&consumer.assignment())));
    }

    fn lost(&mut self, _: &mut Consumer, partitions: &[TopicPartition]) {
        say(format_args!("folio: others read {} now: the group did not hear of this one", names(partitions)));
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let mut names: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() { "nothing at present".to_owned() } else { names.join(" ") }
}

/// How often what was written out is committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
