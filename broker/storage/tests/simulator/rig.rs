//! One topic of one partition over a seam, for claims about one thing that the engine does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp};
use folio_storage::data_dir::NewTopic;
use folio_storage::log::{CompactionOptions, DirtyRatio};
use folio_storage::{
    AppendError, Cursor, DataDir, DataDirOptions, Log, LogOptions, Mode, OpenError, OpenReport, Read, Touch,
};
use uuid::Uuid;

use crate::check::slice_bytes;
use crate::model::{Row, rows};
use crate::seam::Seam;
use crate::world::Outcome;

pub(crate) const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

/// Small segments, of which all that may be is compacted.
fn options() -> LogOptions {
    let compaction = CompactionOptions {
        min_lag_ms: 0,
        max_lag_ms: None,
        dirty_ratio_min: DirtyRatio::new(0.1),
        delete_retention_ms: 0,
    };
    LogOptions {
        segment_bytes: 2000,
        index_interval: 256,
        compaction: Some(compaction),
        ..LogOptions::default()
    }
}

/// Opens the directory, which has to be possible.
pub(crate) fn open(seam: &Seam, run_id: u64) -> (DataDir<Seam>, OpenReport<Seam>) {
    try_open(seam, run_id).unwrap()
}

/// Opens the directory.
pub(crate) fn try_open(seam: &Seam, run_id: u64) -> Result<(DataDir<Seam>, OpenReport<Seam>), OpenError> {
    seam.opens(true);
    let opened = DataDir::open(Arc::new(seam.clone()), &DataDirOptions::fixed(run_id), |_| options(), NOW);
    seam.opens(false);
    opened
}

/// A new directory, with one topic of one partition that is compacted.
pub(crate) fn with_topic(seam: &Seam) -> (DataDir<Seam>, Arc<Log<Seam>>) {
    let (dir, _) = open(seam, 1);
    let topic =
        NewTopic { name: "t".to_owned(), uuid: Uuid::from_u128(7), partitions: 1, settings: Vec::new() };
    let mut logs = dir.create_topic(topic, &options(), NOW).unwrap();
    let log = logs.pop().unwrap();
    (dir, log)
}

/// Appends so many batches of a record of one of three keys.
pub(crate) fn append(log: &Log<Seam>, count: usize) {
    (0..count).for_each(|number| append_value(log, &[b'k', number as u8 % 3], &[number as u8; 200]).unwrap());
}

/// Appends a batch of one record.
pub(crate) fn append_value(log: &Log<Seam>, key: &[u8], value: &[u8]) -> Result<(), AppendError> {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
    builder.append(&NewRecord { timestamp: NOW, key: Some(key), value: Some(value), headers: &[] }).unwrap();
    let mut buffers = [BytesMut::from(builder.build().unwrap().as_slice())];
    log.writer().append(&mut buffers, Mode::MayBlock, NOW).map(drop)
}

/// Whoever waits for what was appended is answered.
pub(crate) fn flush(dir: &DataDir<Seam>, log: &Arc<Log<Seam>>) {
    dir.flush(std::slice::from_ref(log), NOW, Instant::now()).unwrap();
}

/// The log of the segment at `base`.
pub(crate) fn log_path(base: i64) -> PathBuf {
    Path::new("topics/t-0").join(format!("{base:020}.log"))
}

/// All records that consumers see, from the first on.
pub(crate) fn read(log: &Log<Seam>) -> Outcome<Vec<Row>> {
    let (mut offset, mut cursor, mut bytes) = (log.log_start(), Cursor::default(), Vec::new());
    loop {
        match log.read(offset, 1 << 20, &mut cursor, Touch::Any).map_err(|error| error.to_string())? {
            Read::Ready(fetched) => {
                let Some(slice) = fetched.slice else { return rows(&bytes) };
                bytes.extend_from_slice(&slice_bytes(&slice)?);
                offset = fetched.next_offset;
            }
            Read::Cold => return Err("cold, although it may wait".to_owned()),
        }
    }
}
