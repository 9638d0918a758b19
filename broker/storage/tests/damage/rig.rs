//! A directory that is known to the record, and what a consumer reads from it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, Offset, ProducerId, Timestamp, UnverifiedBatch,
};
use folio_storage::data_dir::NewTopic;
use folio_storage::files::SimFiles;
use folio_storage::verify::{Event, Finding, Summary, VerifyOptions, verify};
use folio_storage::{
    Cursor, DataDir, DataDirOptions, Files, Log, LogOptions, Mode, OpenError, OpenReport, Read, Sealed, Touch,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::environment::told;

/// How the run before ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Clean,
    Killed,
    PowerCut,
}

/// What changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// This bit of the file.
    Flip(usize),
    /// The file ends here.
    Cut(usize),
}

impl Change {
    pub(crate) fn of(bytes: &[u8], is_cut: bool, place: prop::sample::Index) -> Self {
        if is_cut { Self::Cut(place.index(bytes.len())) } else { Self::Flip(place.index(bytes.len() * 8)) }
    }

    pub(crate) fn make(self, files: &SimFiles, path: &Path) {
        files.tamper(path, |bytes| match self {
            Self::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::Cut(len) => bytes.truncate(len),
        });
    }

    /// The byte from which on the file is not what it was.
    pub(crate) fn byte(self) -> usize {
        match self {
            Self::Flip(bit) => bit / 8,
            Self::Cut(len) => len,
        }
    }
}

/// How many changes are tried: `FOLIO_ROT_CASES=10000` is the whole of it. The short form, which runs with every other
/// test, is enough to meet each file dozens of times.
pub(crate) fn cases(short: u32) -> u32 {
    told("FOLIO_ROT_CASES").unwrap_or(short)
}

/// What is on a disk.
pub(crate) type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
pub(crate) const RECORDS: i64 = 60;

/// Reads a log as a consumer does, from its start and from every offset; `false` if it meets an error.
pub(crate) fn read(log: &Log<SimFiles>, partition: u32) -> Result<bool, TestCaseError> {
    let mut is_good = true;
    for from in 0..RECORDS {
        let (mut offset, mut cursor) = (Offset::new(from), Cursor::default());
        while offset < log.high_watermark() {
            let Ok(Read::Ready(fetched)) = log.read(offset, 700, &mut cursor, Touch::Any) else {
                is_good = false;
                break;
            };
            let slice = fetched.slice.expect("there is more below the high watermark");
            let mut bytes = vec![0; slice.len()];
            slice.copy_to(0, &mut bytes).unwrap();
            let Some(records) = records(&bytes) else {
                is_good = false;
                break;
            };
            prop_assert!(fetched.next_offset > offset);
            for (at, value) in records {
                prop_assert_eq!(value, self::value(partition, at));
            }
            offset = fetched.next_offset;
            if from > 0 {
                break;
            }
        }
    }
    Ok(is_good)
}

fn records(mut bytes: &[u8]) -> Option<Vec<(i64, String)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = UnverifiedBatch::split_first(bytes).ok()?;
        let records = batch.verify().ok()?.records(DecompressLimit::new(1 << 20)).ok()?;
        for record in &records {
            let record = record.ok()?;
            all.push((record.offset.get(), String::from_utf8(record.value?.to_vec()).ok()?));
        }
        bytes = rest;
    }
    Some(all)
}

fn value(partition: u32, offset: i64) -> String {
    format!("{partition} {offset} {}", "x".repeat(offset as usize * 7 % 200))
}

pub(crate) fn is_log(path: &Path) -> bool {
    path.starts_with("topics") && path.extension().is_some_and(|name| name == "log")
}

/// A directory of two partitions of three segments and more, all of it on stable storage.
pub(crate) fn directory(end: End) -> &'static BTreeMap<PathBuf, Vec<u8>> {
    static CLEAN: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| write(true));
    static UNCLEAN: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| write(false));
    if let End::Clean = end { &CLEAN } else { &UNCLEAN }
}

fn write(is_clean: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone())).unwrap();
    let logs = dir.create_topic(topic(9), &options(), NOW).unwrap();
    logs.iter().for_each(|log| append(log, 0..RECORDS));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    // Of the first log every closed segment is sealed, of the second the first one.
    while let Sealed::Segment(..) = logs[0].seal_next(NOW).unwrap() {}
    logs[1].seal_next(NOW).unwrap();
    if is_clean {
        drop(logs);
        dir.close_clean(NOW, Instant::now()).unwrap();
    }
    files.snapshot()
}

/// A topic of two partitions.
pub(crate) fn topic(number: u128) -> NewTopic {
    let name = if number == 9 { "t".to_owned() } else { format!("t{number}") };
    NewTopic { name, uuid: Uuid::from_u128(number), partitions: 2, settings: Vec::new() }
}

/// Appends the records of these offsets, two in a batch; every third batch is of an idempotent producer.
pub(crate) fn append<F: Files>(log: &Log<F>, offsets: Range<i64>) {
    for offset in offsets.step_by(2) {
        log.writer().append(&mut [batch(log, offset)], Mode::MayBlock, NOW).unwrap();
    }
}

/// The two records from `offset` on.
pub(crate) fn batch<F: Files>(log: &Log<F>, offset: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    if offset % 6 == 0 {
        builder.producer(ProducerId::new(8), 0, i32::try_from(offset / 3).unwrap());
    }
    for offset in offset..offset + 2 {
        let value = value(log.id().partition, offset);
        let timestamp = Timestamp::new(1000 + offset);
        builder
            .append(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] })
            .unwrap();
    }
    BytesMut::from(builder.build().unwrap().as_slice())
}

/// Where the batches of a log begin, and with which offsets.
pub(crate) fn batches(log: &[u8]) -> Vec<(usize, i64)> {
    let (mut at, mut batches) = (0, Vec::new());
    while at < log.len() {
        batches.push((at, i64::from_be_bytes(log[at..at + 8].try_into().unwrap())));
        at += i32::from_be_bytes(log[at + 8..at + 12].try_into().unwrap()) as usize + 12;
    }
    batches
}

/// How many records of partition `number` stand before what changed.
pub(crate) fn kept(good: &BTreeMap<PathBuf, Vec<u8>>, path: &Path, change: Change, number: u32) -> i64 {
    if !is_log(path) || !path.starts_with(format!("topics/t-{number}")) {
        return RECORDS;
    }
    let batch = *batches(&good[path]).iter().rfind(|(at, _)| *at <= change.byte()).unwrap();
    let within = change.byte() - batch.0;
    // The epoch of a batch is told by the epochs beside the log.
    if matches!(change, Change::Flip(_)) && (12..16).contains(&within) { RECORDS } else { batch.1 }
}

/// What is wrong with a directory.
pub(crate) fn findings(files: &SimFiles) -> (Vec<Finding>, Summary) {
    let mut findings = Vec::new();
    let summary = verify(files, &VerifyOptions::default(), &mut |event| {
        if let Event::Found(finding) = event {
            findings.push(finding);
        }
    });
    (findings, summary.unwrap())
}

/// A machine that has these files on its disk.
pub(crate) fn restore(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> SimFiles {
    let files = SimFiles::holding(snapshot);
    for dir in ["trash", "quarantine"].map(Path::new) {
        if files.entry(dir).unwrap().is_none() {
            files.create_dir(dir).unwrap();
        }
    }
    files.sync_everything().unwrap();
    files
}

pub(crate) fn options() -> LogOptions {
    LogOptions { segment_bytes: 4096, batch_size_max: 4096, index_interval: 512, ..LogOptions::default() }
}

pub(crate) fn open(files: &Arc<SimFiles>) -> Result<(DataDir<SimFiles>, OpenReport<SimFiles>), OpenError> {
    let dir_options = DataDirOptions::fixed(1);
    DataDir::open(Arc::clone(files), &dir_options, |_| options(), NOW)
}
