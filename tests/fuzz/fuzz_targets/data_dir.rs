//! A data directory in which anything may have changed: it opens or it does not, each partition is online or it is
//! not, and whatever is online can be read from end to end; never a panic, never a loop without end.
//!
//! The input is a list of changes, five bytes each: which file, what happens to it, where (two bytes), and a value.

#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, HEADER_SIZE, NewRecord, Timestamp, UnverifiedBatch, seal};
use folio_storage::data_dir::NewTopic;
use folio_storage::dump::{DumpOptions, dump};
use folio_storage::files::{FileHandle, OpenMode, SimFiles};
use folio_storage::verify::{VerifyOptions, verify};
use folio_storage::{
    Cursor, DataDir, DataDirOptions, Files, Log, LogOptions, Mode, OpenError, OpenReport, Read, Touch,
};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, changes)) = input.split_first() else { return };
    let good = &GOOD[usize::from(mode & 1)];
    let files = restore(good);
    let paths: Vec<&PathBuf> = good.keys().collect();
    for change in changes.as_chunks::<5>().0.iter().take(16) {
        let [file, what, high, low, value] = *change;
        let path = paths[usize::from(file) % paths.len()];
        let at = usize::from(u16::from_be_bytes([high, low]));
        if files.entry(path).is_ok_and(|entry| entry.is_some()) {
            alter(&files, path, what, at, value);
        }
    }
    if mode & 2 == 2 {
        files.crash(u64::from(mode));
    }
    let _ = dump(&files, &DumpOptions { records: true, partition: None }, &mut |_| {});
    let _ = verify(&files, &VerifyOptions::default(), &mut |_| {});
    let Ok((dir, report)) = open(&files) else { return };
    report.partitions.iter().filter_map(|partition| partition.below.as_ref()).for_each(|log| read(log));
    let logs: Vec<_> =
        report.partitions.iter().filter_map(|partition| partition.state.as_ref().ok()).collect();
    for (log, _) in &logs {
        read(log);
        let _ = log.learn_timestamps();
        let _ = log.offset_for_time(Timestamp::new(1007));
        let _ = log.mend_indexes();
        let _ = log.seal_next(NOW);
        read(log);
        let _ = log.writer().append(&mut [batch(0)], Mode::MayBlock, NOW);
    }
    drop(logs);
    drop(report);
    let _ = dir.close_clean(NOW, Instant::now());
    let _ = open(&files);
});

fn alter(files: &SimFiles, path: &Path, what: u8, at: usize, value: u8) {
    match what % 8 {
        0 => files.remove_file(path).expect("it is there"),
        1 => files.tamper(path, |bytes| bytes.truncate(at)),
        2 => files.tamper(path, |bytes| bytes.extend(std::iter::repeat_n(value, at % 700))),
        3 => files.tamper(path, |bytes| {
            let from = at.min(bytes.len());
            let to = (from + usize::from(value) * 4).min(bytes.len());
            bytes[from..to].fill(0);
        }),
        // Behind a good checksum.
        4 => files.tamper(path, |bytes| {
            set(bytes, at, value);
            reseal(bytes);
        }),
        _ => files.tamper(path, |bytes| set(bytes, at, value)),
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if !bytes.is_empty() {
        let at = at % bytes.len();
        bytes[at] = value;
    }
}

/// Makes the checksums of all batches right, as far as they hang together.
fn reseal(bytes: &mut [u8]) {
    let mut at = 0;
    while let Ok((batch, _)) = UnverifiedBatch::split_first(&bytes[at..]) {
        let size = batch.bytes().len();
        if size < HEADER_SIZE {
            return;
        }
        seal(&mut bytes[at..at + size]);
        at += size;
    }
}

fn read(log: &Log<SimFiles>) {
    let (mut offset, mut cursor) = (log.log_start(), Cursor::default());
    while offset < log.high_watermark() {
        let Ok(Read::Ready(fetched)) = log.read(offset, 700, &mut cursor, Touch::Any) else { return };
        assert!(fetched.slice.is_some() && fetched.next_offset > offset);
        offset = fetched.next_offset;
    }
}

/// A directory after a clean stop, and one whose run died.
static GOOD: LazyLock<[BTreeMap<PathBuf, Vec<u8>>; 2]> = LazyLock::new(|| [write(true), write(false)]);

fn write(is_clean: bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = SimFiles::new();
    let (dir, _) = open(&files).expect("an empty directory opens");
    let topic =
        NewTopic { name: "t".to_owned(), uuid: Uuid::from_u128(9), partitions: 2, settings: Vec::new() };
    let logs = dir.create_topic(topic, &options(), NOW).expect("there is room");
    for number in 0..24 {
        for log in &logs {
            log.writer().append(&mut [batch(number)], Mode::MayBlock, NOW).expect("there is room");
        }
        if number < 20 {
            dir.flush(&logs, NOW, Instant::now()).expect("the disk is good");
        }
    }
    if is_clean {
        drop(logs);
        dir.close_clean(NOW, Instant::now()).expect("the disk is good");
    }
    files.snapshot()
}

fn batch(number: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    let value = vec![b'x'; 100 + number as usize * 7];
    let record =
        NewRecord { timestamp: Timestamp::new(1000 + number), key: None, value: Some(&value), headers: &[] };
    builder.append(&record).expect("it fits");
    BytesMut::from(builder.build().expect("it has a record").as_slice())
}

/// A machine that has these files on its disk.
fn restore(snapshot: &BTreeMap<PathBuf, Vec<u8>>) -> SimFiles {
    let files = SimFiles::new();
    let make = |dir: &Path| match files.create_dir(dir) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists),
    };
    for dir in ["trash", "quarantine", "topics", "metadata"] {
        make(Path::new(dir));
    }
    for (path, bytes) in snapshot {
        if let Some(dir) = path.parent().filter(|dir| *dir != Path::new("")) {
            make(dir);
        }
        let file = files.open(path, OpenMode::CreateNew).expect("every path is there once");
        file.write_at(bytes, 0).expect("there is room");
    }
    files.sync_everything().expect("the disk is good");
    files
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 2048, batch_size_max: 2048, index_interval: 512, ..LogOptions::default() }
}

fn open(files: &SimFiles) -> Result<(DataDir<SimFiles>, OpenReport<SimFiles>), OpenError> {
    let dir_options = DataDirOptions::fixed(1);
    DataDir::open(Arc::new(files.clone()), &dir_options, |_| options(), NOW)
}

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
