#![doc = include_str!("../README.md")]

pub mod clean;
pub mod compacted;
#[cfg(test)]
mod controls;
pub mod data_dir;
pub mod dump;
pub mod envelope;
pub mod epochs;
mod failure;
pub mod files;
pub mod filesystem;
pub mod footer;
pub mod index;
mod layout;
pub mod lock;
pub mod log;
pub mod metadata;
pub mod node;
pub mod open_segments;
pub mod partition;
pub mod partition_files;
pub mod producers;
pub mod quarantine;
pub mod recovery;
pub mod repair;
pub mod replacement;
mod scan;
pub mod slots;
pub mod trash;
pub mod verdict;
pub mod verify;

pub use data_dir::{DataDir, DataDirOptions, OpenError, OpenReport};
pub use files::Files;
pub use log::{
    AppendError, Appended, AppendedRange, Compacting, Compaction, CompactionOptions, CompactionReport,
    Cursor, DamageKind, DamagedRange, Dirty, DirtyRatio, Fetched, Log, LogOptions, LogWriter, Mend, Mended,
    Mode, Progress, Read, ReadError, Refusal, Rotten, Scrub, Scrubbed, Seal, Sealed, Tail, TimeHit, Touch,
    Visibility, Wakefulness,
};
pub use producers::{ActiveProducer, Producers, SequenceError};
pub use scan::UNPACKED_MAX;
