//! `folio group` as it is typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::place::Start;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Name all groups, with what they have still to read
    #[command(after_help = "Example: folio group list --state Stable,Empty")]
    List {
        /// Only those in one of these states: Empty, PreparingRebalance, CompletingRebalance, Stable
        #[arg(long, value_delimiter = ',', value_name = "STATE")]
        state: Vec<String>,
    },
    /// Where a group is in each partition, and how far behind, in records and in time
    #[command(after_help = DESCRIBE_HELP)]
    Describe {
        /// Its name
        group: String,
    },
    /// Who is in a group, and what each has
    #[command(after_help = "Example: folio group members shop")]
    Members {
        /// Its name
        group: String,
    },
    /// Why does nothing come? Who has what, who is silent, what is gone, what waits
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        /// Its name
        group: String,
    },
    /// Send a group without members elsewhere; shows where to, and with --yes does it
    #[command(after_help = RESET_EXAMPLES)]
    Reset(ResetOptions),
    /// Take back the latest reset or delete of a group; shows what comes back, and with --yes does it
    #[command(after_help = format!("Example: folio group undo shop --yes\n\n{HISTORY}"))]
    Undo {
        /// Its name
        group: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Remove a group without members, with its offsets; shows what goes, and with --yes does it
    #[command(after_help = format!("Example: folio group delete shop --yes\n\n{HISTORY}"))]
    Delete {
        /// Its name
        group: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "shift_by", "from_file"])))]
pub(crate) struct ResetOptions {
    /// Its name; it need not exist
    pub(crate) group: String,
    /// A topic, or some partitions of it: TOPIC or TOPIC:0,2; may be repeated. Without it all that the group has
    /// offsets of
    #[arg(short, long, value_name = "TOPIC[:PARTITIONS]", conflicts_with = "from_file")]
    pub(crate) topic: Vec<TopicChoice>,
    /// Where to: earliest, latest, OFFSET, -N (N before the end) or @TIME (the first record at or after it)
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Option<Start>,
    /// So many records on from where it is; back with -N
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) shift_by: Option<i64>,
    /// To the offsets of a file of lines TOPIC,PARTITION,OFFSET; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A topic, or some partitions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicChoice {
    pub(crate) topic: String,
    /// None: all.
    pub(crate) partitions: Vec<u32>,
}

impl FromStr for TopicChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partitions) = match text.rsplit_once(':') {
            None => (text, Vec::new()),
            Some((topic, list)) => {
                let numbers: Result<_, _> = list.split(',').map(str::parse).collect();
                (topic, numbers.map_err(|_| format!("{list:?} are no partitions: expected 0,2,5"))?)
            }
        };
        if topic.is_empty() {
            return Err("expected TOPIC or TOPIC:0,2".to_owned());
        }
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

const DESCRIBE_HELP: &str = "Example: folio group describe shop

LAG counts the records that are still to be read, BEHIND is the time between the next of them and the newest.";

const EXPLAIN_HELP: &str = "Example: folio group explain shop

Lines with ! are what is wrong, or may be; the others what is so.";

const RESET_EXAMPLES: &str = "Examples:
  folio group reset shop --to earliest                        where would it go?
  folio group reset shop --to earliest --yes
  folio group reset shop -t access:0,2 --to @2026-01-31 --yes
  folio group reset shop --shift-by -100 --yes
  folio group reset shop --from-file offsets.csv --yes

What lies outside of a log becomes its nearest end. folio group undo takes it back.";

const HISTORY: &str = "The broker keeps the last group.history.max (10) resets and deletes of each group; undo takes back the latest, and \
                         then the one before it. folio group explain shows who made them.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_chosen_whole_or_by_partition() {
        let choice = |topic: &str, partitions: &[u32]| TopicChoice {
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
        };
        assert_eq!("t".parse(), Ok(choice("t", &[])));
        assert_eq!("t:0,12".parse(), Ok(choice("t", &[0, 12])));
        for text in ["", ":1", "t:", "t:x", "t:-1", "t:1,"] {
            assert!(text.parse::<TopicChoice>().is_err(), "{text:?}");
        }
    }
}
