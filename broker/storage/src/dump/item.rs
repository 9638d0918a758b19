//! What there is in a data directory, decoded.

use std::path::PathBuf;

use serde::Serialize;

use super::metadata::MetadataEntry;

/// One thing in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "item", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the formats, under their names there")]
pub enum Item {
    /// Who has, or had last, the directory to itself.
    Lock { pid: Option<u32>, host: Option<String>, run_id: u64, started_ms: Option<i64> },
    /// `node.meta`.
    Node { directory: String, cluster: String, format: u32, created_ms: i64 },
    /// The clean marker; its rows follow.
    Clean { run_id: u64, partitions: u64 },
    /// A row of the clean marker.
    CleanPartition { partition: String, active_base: i64, log_len: u64, next_offset: i64 },
    /// A copy of a slot.
    Slot {
        slot: u32,
        copy: char,
        partition: String,
        seq: u64,
        leader_epoch: i32,
        segment_base: i64,
        durable_pos: u64,
        durable_offset: i64,
        log_start: i64,
        visible: i64,
        written_ms: i64,
        run_id: u64,
    },
    /// A record of the metadata log.
    Metadata {
        offset: i64,
        #[serde(flatten)]
        entry: MetadataEntry,
    },
    /// A partition's directory.
    Partition { dir: PathBuf, partition: String, slot: u32, created_ms: i64 },
    /// A leader epoch of a partition.
    Epoch { dir: PathBuf, epoch: i32, start: i64 },
    /// How far a partition was compacted.
    Compacted { file: PathBuf, gaps_below: i64, upto: i64 },
    /// A replacement of segments that is under way.
    Replacement { file: PathBuf, base: i64, next_base: i64, log_len: u64, old: Vec<i64> },
    /// A segment of a partition.
    Segment { file: PathBuf, base: i64, bytes: u64 },
    /// A batch of a segment.
    Batch {
        file: PathBuf,
        position: u64,
        bytes: u64,
        base_offset: i64,
        last_offset: i64,
        records: u32,
        leader_epoch: i32,
        compression: String,
        max_timestamp: i64,
        crc: u32,
        producer: i64,
        producer_epoch: i16,
        base_sequence: i32,
    },
    /// A record of a batch. Whoever shows it decides how bytes look.
    Record {
        offset: i64,
        timestamp: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// A snapshot of a partition's producers; they follow.
    Snapshot { file: PathBuf, end: i64, producers: u64 },
    /// A producer of a snapshot.
    Producer { file: PathBuf, producer: i64, epoch: i16, last_timestamp: i64 },
    /// One of its last batches.
    ProducerBatch {
        file: PathBuf,
        producer: i64,
        base_sequence: i32,
        last_sequence: i32,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
    },
    /// An entry of an offset index.
    OffsetEntry { file: PathBuf, number: u32, offset: i64, position: u32 },
    /// An entry of a time index.
    TimeEntry { file: PathBuf, number: u32, max_timestamp: i64, offset: i64 },
    /// What a sealed segment says of itself.
    Footer {
        file: PathBuf,
        entries: u32,
        log_len: u64,
        log_crc: u32,
        tail_crc: u32,
        first_offset: i64,
        next_offset: i64,
        max_timestamp: i64,
        max_timestamp_at: i64,
        min_timestamp: i64,
        batches: u32,
        min_epoch: i32,
        max_epoch: i32,
        has_gaps: bool,
        sealed_at_ms: i64,
    },
    /// A file that something had begun to write, or a directory to make: the next start removes it.
    Unfinished { file: PathBuf, bytes: u64 },
    /// What was taken out of the way, and what its note says of it.
    Quarantined {
        file: PathBuf,
        bytes: u64,
        of: Option<String>,
        position: Option<u64>,
        first_offset: Option<i64>,
        intact_batches: Option<u64>,
        reason: Option<String>,
        at_ms: Option<i64>,
    },
    /// Deleted, and waiting to be removed.
    Trash { file: PathBuf, bytes: u64, is_directory: bool },
    /// Something that could not be read, or is not what it should be.
    Broken { file: PathBuf, position: u64, reason: String },
}
