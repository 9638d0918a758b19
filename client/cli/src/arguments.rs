//! The command line as it is typed.

mod group;
mod log;
mod topics;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use folio_client::{Assignor, Codec};

use crate::format::Format;
use crate::place::{Start, Stop};
pub(crate) use group::{GroupCommand, ResetOptions, TopicChoice};
pub(crate) use log::LogCommand;
pub(crate) use topics::{ConfigCommand, RecordsCommand, TopicCommand, Whose};

/// Topics and records of a Folio broker.
#[derive(Debug, Parser)]
#[command(name = "folio", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The broker's address
    #[arg(
        long,
        global = true,
        env = "FOLIO_BROKER",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    pub(crate) broker: String,
    /// Text for people, or JSON for programs
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

const EXIT_CODES: &str = "Examples:
  folio topic create access -p 3
  folio produce access < access.log
  folio consume access --until end
  folio consume access --group billing

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no broker reached, 4 no such topic or partition,
70 the broker's data directory failed, 130 interrupted.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, describe, change and delete topics
    Topic {
        #[command(subcommand)]
        command: TopicCommand,
    },
    /// Tell and change settings of topics and of the broker
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Delete records before retention takes them
    Records {
        #[command(subcommand)]
        command: RecordsCommand,
    },
    /// Look at consumer groups, explain them, and send them elsewhere
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Send lines as records
    #[command(after_help = PRODUCE_EXAMPLES)]
    Produce(ProduceOptions),
    /// Print records
    #[command(after_help = CONSUME_EXAMPLES)]
    Consume(ConsumeOptions),
    /// How the broker is
    #[command(after_help = "Example: folio status --output json | jq .version")]
    Status,
    /// Measure a broker
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Look into a data directory, without a broker
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: folio completion bash > ~/.local/share/bash-completion/completions/folio"
    )]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProduceOptions {
    /// The topic
    pub(crate) topic: String,
    /// Files to read one after the other; none, or -, is standard input
    pub(crate) files: Vec<PathBuf>,
    /// The partition; without it the key decides, and without a key they take turns
    #[arg(short, long)]
    pub(crate) partition: Option<u32>,
    /// What stands between key and value in a line; a line without it has no key
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) header: Vec<(String, String)>,
    /// What an acknowledgement waits for
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub(crate) acks: Acks,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd; gzip:9 names a level
    #[arg(long, default_value = "none", value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Codec,
    /// Send batches without numbers: one whose acknowledgement was lost may be stored twice
    #[arg(long)]
    pub(crate) no_idempotent: bool,
    /// Make the topic if it is missing: with one partition, or as many as --partition needs
    #[arg(long)]
    pub(crate) create: bool,
}

const PRODUCE_EXAMPLES: &str = "Examples:
  folio produce access -p 0 < access.log
  folio produce access --key-separator ' ' --compression lz4 access.log
  tail -f /var/log/syslog | folio produce syslog --create";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acks {
    /// Nothing: nobody knows whether a record arrived
    #[value(name = "0")]
    None,
    /// The append
    #[value(name = "1")]
    Leader,
    /// What the topic's durability promises
    All,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeOptions {
    /// The topic
    pub(crate) topic: String,
    /// Partitions, separated by commas; without it all of them
    #[arg(short, long, value_delimiter = ',')]
    pub(crate) partition: Vec<u32>,
    /// Where to begin: earliest, latest, OFFSET, -N (N before the end) or @TIME
    #[arg(long, default_value = "earliest", allow_hyphen_values = true, value_name = "PLACE")]
    pub(crate) from: Start,
    /// Where to stop, in each partition: end (as it is now), before OFFSET, or before the first record at or after
    /// @TIME (if there is none, at the end as it is now); without it, never
    #[arg(long, value_name = "PLACE")]
    pub(crate) until: Option<Stop>,
    /// Do not stop at the end: print records as they become visible, pushed by the broker; what holds if nothing says
    /// where to stop
    #[arg(short, long, conflicts_with = "until")]
    pub(crate) follow: bool,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Share the topic with the other members of this group: go on where it stopped (where it has not read yet,
    /// --from), and commit what is printed
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["partition", "until"])]
    pub(crate) group: Option<String>,
    /// A name of this member that outlives its restarts: back within --session-timeout, it gets its partitions again
    #[arg(long, value_name = "NAME", requires = "group")]
    pub(crate) instance: Option<String>,
    /// After so many seconds without a sign of life, its partitions go to others
    #[arg(long, value_name = "SECONDS", default_value_t = 45, requires = "group")]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    pub(crate) session_timeout: u64,
    /// How the group divides the partitions, the best first, separated by commas; a way that all its members know is
    /// taken [default: range,cooperative-sticky]
    #[arg(long, value_enum, value_name = "WAY", value_delimiter = ',', requires = "group")]
    pub(crate) assignor: Vec<Way>,
    /// How a record is printed: %t topic, %p partition, %o offset, %k key, %s value, %T time in ms, %K and %S lengths
    /// of key and value (-1: none), %h headers, %% and \n \r \t \0 \xHH \\
    #[arg(long, default_value = "%s\\n", value_name = "FORMAT")]
    pub(crate) format: Format,
}

const CONSUME_EXAMPLES: &str = "Examples:
  folio consume access --until end > out.log
  folio consume access --follow --from -10 --format '%p:%o %s\\n'
  folio consume access -p 0 --from @2026-01-31T12:00:00Z --until @2026-01-31T13:00:00Z
  folio consume access --output json | jq .offset
  folio consume access --group billing                  run it twice: each prints half of the partitions
  folio consume access --group billing --instance till-1 --assignor cooperative-sticky

A member of a group commits what it has printed, at least once a second and when it ends; Ctrl-C leaves the group, and what
a killed one had not committed is printed again by another.

A time is milliseconds since 1970, a date, or a date and time (with Z, an offset, or this machine's time zone).";

/// How a group divides partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Of each topic the first members get the first partitions
    Range,
    /// Evenly, and members keep what they had
    Sticky,
    /// As sticky, and members go on reading what they keep meanwhile
    CooperativeSticky,
}

impl Way {
    pub(crate) fn of_client(self) -> Assignor {
        match self {
            Self::Range => Assignor::Range,
            Self::Sticky => Assignor::Sticky,
            Self::CooperativeSticky => Assignor::CooperativeSticky,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send records as fast as it goes
    #[command(after_help = "Example: folio bench produce --size 100 --compression lz4")]
    Produce(BenchOptions),
    /// Send records, then read them as fast as it goes
    #[command(after_help = "Example: folio bench consume --records 5000000 --output json")]
    Consume(BenchOptions),
    /// Send one record at a time and wait for it
    #[command(after_help = "Example: folio bench latency --records 2000 --durability fsync")]
    Latency(BenchOptions),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchOptions {
    /// How many records [default: 1000000, of latency 10000]
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Durability of the topic, which is made for this and deleted afterwards
    #[arg(long, default_value = "os", value_parser = ["fsync", "interval", "os"])]
    pub(crate) durability: String,
    /// What an acknowledgement waits for
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub(crate) acks: Acks,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd; gzip:9 names a level
    #[arg(long, default_value = "none", value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Codec,
    /// Bytes of a batch; while others wait before it, it grows to some 200 KiB
    #[arg(long, default_value_t = 64 * 1024)]
    pub(crate) batch: usize,
    /// Send batches without numbers, of which the broker keeps no account
    #[arg(long)]
    pub(crate) no_idempotent: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        let mut commands = vec![Arguments::command()];
        while let Some(command) = commands.pop() {
            let of_its_own: Vec<_> = command.get_subcommands().cloned().collect();
            if of_its_own.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Example"), "{}: {help}", command.get_name());
            }
            commands.extend(of_its_own);
        }
    }

    #[test]
    fn places_before_the_end_and_many_partitions_are_understood() {
        let typed = ["folio", "consume", "t", "-p", "0,2", "--from", "-10", "--until", "end"];
        let Command::Consume(options) = Arguments::try_parse_from(typed).unwrap().command else { panic!() };
        assert_eq!(
            (options.partition, options.from, options.until),
            (vec![0, 2], Start::BeforeEnd(10), Some(Stop::End))
        );
    }

    #[test]
    fn a_partition_to_delete_from_has_to_be_named() {
        let error =
            Arguments::try_parse_from(["folio", "records", "delete", "t", "--before", "end"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_setting_without_a_value_is_wrong_usage() {
        let error =
            Arguments::try_parse_from(["folio", "topic", "create", "t", "--config", "a"]).unwrap_err();
        assert!(error.to_string().contains("expected KEY=VALUE"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
