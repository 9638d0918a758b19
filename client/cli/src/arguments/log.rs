//! `folio log`: a data directory, without a broker.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show what stands in a data directory; it may belong to a running daemon
    #[command(after_help = "Example: folio log dump folio-data --partition access-0 --records")]
    Dump {
        /// The data directory
        dir: PathBuf,
        /// Only this partition, as TOPIC-NUMBER
        #[arg(long)]
        partition: Option<String>,
        /// Also the records inside of batches
        #[arg(long)]
        records: bool,
    },
    /// Read all of a data directory that no daemon has open, and tell everything that is damaged
    #[command(
        long_about = "Reads all of a data directory that no daemon has open, changing nothing, and tells everything \
                      that is not as it was written: one line a finding, with the file, the byte and the offsets. \
                      `damage` is what no crash explains; `interrupted` is what a crash may leave and the next start \
                      clears up; nothing depends on what is `harmless`. Exits with 1 if there is damage.",
        after_help = "Example: folio log verify folio-data --output json"
    )]
    Verify {
        /// The data directory
        dir: PathBuf,
        /// Only this partition, as TOPIC-NUMBER
        #[arg(long)]
        partition: Option<String>,
    },
    /// Mend a data directory that no daemon has open; shows what would go, and with --yes does it
    #[command(
        long_about = "Mends a data directory that no daemon has open. This is the only way to give up what is stored: a \
                      damaged log loses everything from its first damage on. Without --yes it shows, step by step, \
                      what would be done and which offsets would go, writes nothing, and exits with 1 if anything is \
                      due. With --yes it does so; whatever goes is kept in quarantine/ with a note. Indexes, epochs, \
                      durable points and names that can be told from what is left are written anew.",
        after_help = "Example: folio log repair folio-data --partition access-0 --yes"
    )]
    Repair {
        /// The data directory
        dir: PathBuf,
        /// Only this partition, as TOPIC-NUMBER
        #[arg(long)]
        partition: Option<String>,
        /// Rebuild the metadata log from the partitions; settings of topics that cannot be read from it are lost
        #[arg(long)]
        metadata: bool,
        /// Give up everything from this offset of the partition on, also what is intact
        #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
        accept_loss_from: Option<i64>,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}
