//! A bit of a closed directory changes, in whatever file. All of it was on stable storage, so nothing may be lost for
//! it: either it is found out, or it does no harm. It is never served in silence, and nothing is ever cut for it.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, Offset, Timestamp, UnverifiedBatch,
};
use folio_storage::data_dir::NewTopic;
use folio_storage::files::{FileHandle, OpenMode, SimFiles};
use folio_storage::{
    Cursor, DataDir, DataDirOptions, Files, Log, LogOptions, Mode, OpenError, OpenReport, Read, Touch,
};
use proptest::prelude::*;
use uuid::Uuid;

/// How the run before ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Clean,
    Killed,
    PowerCut,
}

/// What became of a changed bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The directory does not open.
    Refused,
    /// Its partition is offline.
    Offline,
    /// A read fails, or the checksum of what it gives.
    FoundByReading,
    /// Everything is there.
    Harmless,
}

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
const RECORDS: i64 = 60;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_found_or_does_no_harm(
        end in prop_oneof![Just(End::Clean), Just(End::Killed), Just(End::PowerCut)],
        file in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let good = directory(end);
        let path = file.get(&good.keys().collect::<Vec<_>>()).to_path_buf();
        prop_assume!(!good[&path].is_empty());
        let bit = bit.index(good[&path].len() * 8);
        look(&path, bit, end)?;
    }
}

#[test]
fn a_flipped_bit_of_the_header_of_any_batch_is_found() {
    let good = directory(End::Clean);
    let logs: Vec<&PathBuf> = good.keys().filter(|path| is_log(path)).collect();
    assert!(logs.len() >= 6, "two logs of three segments or more");
    for path in logs {
        // Base offset, length, magic and checksum of the first batch. The epoch is covered by nothing yet.
        for byte in (0..12).chain(16..21) {
            let outcome = look(path, byte * 8 + byte % 8, End::Clean).unwrap();
            assert_ne!(outcome, Outcome::Harmless, "byte {byte} of {}", path.display());
        }
    }
}

/// Opens the directory with one bit of one file changed, reads all of it, and says what became of that.
fn look(path: &Path, bit: usize, end: End) -> Result<Outcome, TestCaseError> {
    let files = restore(directory(end));
    files.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    if let End::PowerCut = end {
        files.crash(0);
    }
    let Ok((_dir, report)) = open(&Arc::new(files)) else { return Ok(Outcome::Refused) };
    let mut outcome = Outcome::Harmless;
    prop_assert!(report.partitions.len() <= 2);
    for partition in &report.partitions {
        let Ok((log, recovered)) = &partition.state else {
            outcome = Outcome::Offline;
            continue;
        };
        prop_assert!(recovered.cut.is_none(), "cut what was durable: {:?}", recovered.cut);
        prop_assert_eq!((log.log_start(), log.log_end()), (Offset::ZERO, Offset::new(RECORDS)));
        if !read(log, partition.id.partition)? {
            outcome = Outcome::FoundByReading;
        }
        if !is_log(path) {
            prop_assert_ne!(outcome, Outcome::FoundByReading, "the logs are good");
            for offset in [0, 7, RECORDS - 1] {
                let hit = log.offset_for_time(Timestamp::new(1000 + offset)).unwrap().unwrap();
                prop_assert_eq!(hit.offset.get(), offset);
            }
        }
    }
    Ok(outcome)
}

/// Reads a log as a consumer does, from its start and from every offset; `false` if it meets an error.
fn read(log: &Log<SimFiles>, partition: u32) -> Result<bool, TestCaseError> {
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

fn is_log(path: &Path) -> bool {
    path.starts_with("topics") && path.extension().is_some_and(|name| name == "log")
}

/// A directory of two partitions of three segments and more, all of it on stable storage.
fn directory(end: End) -> &'static BTreeMap<PathBuf, Vec<u8>> {
    static CLEAN: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| write(true));
    static UNCLEAN: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| write(false));
    if let End::Clean = end { &CLEAN } else { &UNCLEAN }
}

fn write(is_clean: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone())).unwrap();
    let topic =
        NewTopic { name: "t".to_owned(), uuid: Uuid::from_u128(9), partitions: 2, settings: Vec::new() };
    let logs = dir.create_topic(topic, &options(), NOW).unwrap();
    for log in &logs {
        let mut offset = 0;
        while offset < RECORDS {
            let mut builder = BatchBuilder::new(Compression::None, 1 << 20).unwrap();
            for offset in offset..offset + 2 {
                let value = value(log.id().partition, offset);
                let timestamp = Timestamp::new(1000 + offset);
                builder
                    .append(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] })
                    .unwrap();
            }
            let batch = BytesMut::from(builder.build().unwrap().as_slice());
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
            offset += 2;
        }
    }
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    if is_clean {
        drop(logs);
        dir.close_clean(NOW, Instant::now()).unwrap();
    }
    files.snapshot()
}

/// A machine that has these files on its disk.
fn restore(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> SimFiles {
    let files = SimFiles::new();
    for dir in ["trash", "quarantine"] {
        files.create_dir(Path::new(dir)).unwrap();
    }
    for (path, bytes) in snapshot {
        let mut dirs: Vec<&Path> = path.ancestors().skip(1).filter(|dir| *dir != Path::new("")).collect();
        dirs.reverse();
        for dir in dirs {
            if files.entry(dir).unwrap().is_none() {
                files.create_dir(dir).unwrap();
            }
        }
        files.open(path, OpenMode::CreateNew).unwrap().write_at(bytes, 0).unwrap();
    }
    files.sync_everything().unwrap();
    files
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 4096, batch_size_max: 4096, index_interval: 512, ..LogOptions::default() }
}

fn open(files: &Arc<SimFiles>) -> Result<(DataDir<SimFiles>, OpenReport<SimFiles>), OpenError> {
    let dir_options = DataDirOptions {
        build: "folio test".to_owned(),
        run_id: 1,
        new_dir: Uuid::from_u128(1),
        new_cluster: Uuid::from_u128(2),
        pid: 1,
        host: "box".to_owned(),
        allow_incoherent_fs: false,
        slots_sync: Duration::from_millis(100),
        side_by_side: |_, work| work(),
    };
    DataDir::open(Arc::clone(files), &dir_options, |_| options(), NOW)
}
