//! `folio topic`, `folio config` and `folio records`: topics, their settings, and what is deleted of them.

use clap::{Args, Subcommand, value_parser};

use super::key_value;
use crate::place::Stop;

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Make a topic
    #[command(after_help = "Example: folio topic create access -p 3 --config retention.ms=3600000")]
    Create {
        /// Its name
        topic: String,
        /// How many partitions; without it as many as the broker's num.partitions says
        #[arg(short, long, value_parser = value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// A setting that differs from the broker's default; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
    },
    /// Name all topics
    #[command(after_help = "Example: folio topic list --internal")]
    List {
        /// Also those that the broker keeps for itself
        #[arg(long)]
        internal: bool,
    },
    /// Give a topic more partitions, or other settings
    #[command(after_help = ALTER_EXAMPLES)]
    Alter {
        /// Its name
        topic: String,
        /// How many partitions it is to have in all
        #[arg(short, long, value_parser = value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// A setting that the topic is to have of its own; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        config: Vec<(String, String)>,
        /// A setting that is to follow the broker's default again; may be repeated
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
    },
    /// Tell everything about a topic: partitions with their offsets, and what it sets itself
    #[command(
        after_help = "Example: folio topic describe access\n\nAll settings: folio config list --topic access"
    )]
    Describe {
        /// Its name
        topic: String,
    },
    /// Delete a topic with its records
    #[command(after_help = "Example: folio topic delete access\n\nIt cannot be taken back.")]
    Delete {
        /// Its name
        topic: String,
    },
}

const ALTER_EXAMPLES: &str = "Examples:
  folio topic alter access -p 6
  folio topic alter access --config retention.ms=3600000 --delete-config segment.ms

Records stay in the partitions where they are; with more partitions keys may go to others from then on.";

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Tell all settings, with where each value comes from
    #[command(after_help = CONFIG_EXAMPLES)]
    List {
        #[command(flatten)]
        whose: Whose,
        /// Only those that somebody has set
        #[arg(long)]
        changed: bool,
    },
    /// Print the value of a setting
    #[command(after_help = CONFIG_EXAMPLES)]
    Get {
        /// Its name
        key: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Set what holds from now on, also after a restart
    #[command(after_help = CONFIG_EXAMPLES)]
    Set {
        /// Settings with their values, all of them or none
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = key_value)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Let what is behind a setting hold again: the broker's default, its configuration
    #[command(after_help = CONFIG_EXAMPLES)]
    Unset {
        /// Names of settings
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        whose: Whose,
    },
}

const CONFIG_EXAMPLES: &str = "Examples:
  folio config list --topic access --changed
  folio config get retention.ms --topic access
  folio config set retention.ms=3600000 segment.ms=600000 --topic access
  folio config set topic.retention.ms=3600000           of all topics that do not say
  folio config unset topic.retention.ms

A value is the first of: the topic's, what was set for this broker, then for all, its configuration, the default.";

/// Whose settings; without any of it the broker's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Whose {
    /// Of this topic; without it of the broker
    #[arg(short, long, value_name = "TOPIC", conflicts_with = "all_brokers")]
    pub(crate) topic: Option<String>,
    /// What is set for all brokers
    #[arg(long)]
    pub(crate) all_brokers: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecordsCommand {
    /// Delete the records of partitions before a place
    #[command(after_help = RECORDS_EXAMPLES)]
    Delete {
        /// The topic
        topic: String,
        /// Partitions, separated by commas
        #[arg(short, long, required = true, value_delimiter = ',')]
        partition: Vec<u32>,
        /// Before OFFSET, before the first record at or after @TIME (if there is none, all), or all that there are: end
        #[arg(long, value_name = "PLACE")]
        before: Stop,
    },
}

const RECORDS_EXAMPLES: &str = "Examples:
  folio records delete access -p 0 --before 1000
  folio records delete access -p 0,1,2 --before @2026-01-31
  folio records delete access -p 0 --before end

It cannot be taken back. Files go with the next look at retention.";
