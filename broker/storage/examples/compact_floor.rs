//! What compaction costs: records a second, bytes read and written for each byte that goes, beside a bare scan of the
//! same log; and how long an append to another log takes meanwhile.
//!
//! ```text
//! cargo run --release -p folio-storage --example compact_floor [MEGABYTES]
//! ```
//! Two logs: one whose keys are all overwritten many times, and one of many keys to which a tenth was added since it
//! was compacted. Machines are noisy: only ratios mean anything.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_record::{BatchBuilder, Compression, DecompressLimit, NewRecord, Timestamp, UnverifiedBatch};
use folio_storage::data_dir::NewTopic;
use folio_storage::files::OsFiles;
use folio_storage::{
    Compacting, CompactionOptions, CompactionReport, DataDir, DataDirOptions, DirtyRatio, Log, LogOptions,
    Mode, Sealed,
};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
const VALUE_BYTES: usize = 200;
const RECORDS_A_BATCH: u64 = 70;
const SEGMENT_BYTES: u32 = 16 << 20;

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(256_u64);
    let records = (megabytes << 20) / (VALUE_BYTES as u64 + 30);
    println!("{megabytes} MB, {records} records of {VALUE_BYTES} bytes, {RECORDS_A_BATCH} a batch");
    for codec in [Compression::None, Compression::Lz4] {
        for (name, keys) in [("few keys", 10_000), ("as many keys as records", u64::MAX)] {
            measure(name, codec, records, keys);
        }
    }
}

fn measure(name: &str, codec: Compression, records: u64, keys: u64) {
    let temporary = tempfile::tempdir().unwrap();
    let (dir, log) = open(temporary.path(), "keyed");
    let mut random = 1;
    fill(&log, codec, records, keys, &mut random);
    settle(&dir, &log);
    let floor = scan(&temporary.path().join(log.dir()));
    println!("\n{name}, {codec}:");
    let before = log.size();
    let (report, took) = compact(&dir, &log, None);
    tell("all of it is dirty", &report, took, floor);
    println!("  {:>38}: {:.1} of {:.1} MB are left", "size", mb(log.size()), mb(before));
    fill(&log, codec, records / 10, keys.min(records), &mut random);
    settle(&dir, &log);
    let (report, took) = compact(&dir, &log, None);
    tell("a tenth is dirty", &report, took, floor);

    let (_, other) =
        (&dir, dir.create_topic(topic("other", 2), &LogOptions::default(), NOW).unwrap().remove(0));
    let alone = latency(&other, |stop| {
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
    });
    fill(&log, codec, records / 4, keys.min(records), &mut random);
    settle(&dir, &log);
    let beside = latency(&other, |stop| {
        compact(&dir, &log, Some(32 << 20));
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "  {:>38}: {} alone, {} beside it at 32 MB/s",
        "an append elsewhere, p50 / p99.9", alone, beside
    );
}

fn tell(what: &str, report: &CompactionReport, took: Duration, floor: f64) {
    let seconds = took.as_secs_f64();
    let read_rate = mb(report.bytes_read) / seconds;
    let gone = report.bytes_before - report.bytes_after;
    println!(
        "  {what:>38}: {:.2} M records/s, {:.0} MB/s read ({:.2}x a bare scan at {floor:.0}); {} of {} records left",
        report.records_before as f64 / seconds / 1e6,
        read_rate,
        floor / read_rate,
        report.records_after,
        report.records_before,
    );
    println!(
        "  {:>38}: {:.1} MB read, {:.1} MB written, {:.1} MB went: {:.2} written for each byte that went",
        "",
        mb(report.bytes_read),
        mb(report.bytes_written),
        mb(gone),
        report.bytes_written as f64 / gone.max(1) as f64
    );
}

/// Compacts all there is; at most so many bytes a second.
fn compact(
    dir: &DataDir<OsFiles>,
    log: &Arc<Log<OsFiles>>,
    rate: Option<u64>,
) -> (CompactionReport, Duration) {
    let begun = Instant::now();
    let mut pass = log.compact([1, 2], 128 << 20, NOW).unwrap();
    loop {
        let progress = pass.step(dir, 4 << 20).unwrap();
        match progress.state {
            Compacting::Working => {}
            Compacting::Done(report) => return (report, begun.elapsed()),
            other => panic!("{other:?}"),
        }
        if let Some(rate) = rate {
            std::thread::sleep(Duration::from_secs_f64(
                (progress.read + progress.written) as f64 / rate as f64,
            ));
        }
    }
}

/// Megabytes a second of reading, verifying and looking at every record, and nothing else.
fn scan(dir: &Path) -> f64 {
    let (begun, mut bytes, mut records) = (Instant::now(), 0, 0_u64);
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|name| name != "log") {
            continue;
        }
        let log = std::fs::read(path).unwrap();
        let mut rest = &log[..];
        while !rest.is_empty() {
            let (batch, after) = UnverifiedBatch::split_first(rest).unwrap();
            let block = batch.verify().unwrap().records(DecompressLimit::new(1 << 24)).unwrap();
            records += block.iter().filter(|record| record.as_ref().unwrap().key.is_some()).count() as u64;
            rest = after;
        }
        bytes += log.len() as u64;
    }
    assert!(records > 0);
    mb(bytes) / begun.elapsed().as_secs_f64()
}

/// How long an append of 1 KiB takes while `work` is done.
fn latency(log: &Arc<Log<OsFiles>>, work: impl FnOnce(&AtomicBool)) -> String {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appender = scope.spawn(|| {
            let mut taken = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let batch = batch(Compression::None, &[(7, 1000)]);
                let begun = Instant::now();
                log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
                taken.push(begun.elapsed());
                std::thread::sleep(Duration::from_micros(200));
            }
            taken.sort_unstable();
            let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
            format!("{:.0} / {:.0} us", at(0.5), at(0.999))
        });
        work(&stop);
        appender.join().unwrap()
    })
}

fn fill(log: &Log<OsFiles>, codec: Compression, records: u64, keys: u64, random: &mut u64) {
    let mut left = records;
    while left > 0 {
        let count = left.min(RECORDS_A_BATCH);
        let keys: Vec<(u64, usize)> = (0..count).map(|_| (next(random) % keys, VALUE_BYTES)).collect();
        log.writer().append(&mut [batch(codec, &keys)], Mode::MayBlock, NOW).unwrap();
        left -= count;
    }
}

/// A batch of records with these keys and sizes. Half of each value is the same always.
fn batch(codec: Compression, records: &[(u64, usize)]) -> BytesMut {
    let mut builder = BatchBuilder::new(codec, 1 << 20);
    let mut random = records[0].0 | 1;
    for (key, size) in records {
        let value: Vec<u8> =
            (0..*size).map(|at| if at % 2 == 0 { b'x' } else { next(&mut random) as u8 }).collect();
        let (key, value) = (key.to_be_bytes(), Some(&value[..]));
        builder.append(&NewRecord { timestamp: NOW, key: Some(&key), value, headers: &[] }).unwrap();
    }
    BytesMut::from(builder.build().unwrap().as_slice())
}

fn settle(dir: &DataDir<OsFiles>, log: &Arc<Log<OsFiles>>) {
    log.roll_if_expired(Timestamp::new(NOW.get() + 10)).unwrap();
    dir.flush(std::slice::from_ref(log), NOW, Instant::now()).unwrap();
    while matches!(log.seal_next(NOW).unwrap(), Sealed::Segment(..)) {}
}

fn open(path: &Path, name: &str) -> (DataDir<OsFiles>, Arc<Log<OsFiles>>) {
    let files = Arc::new(OsFiles::open_or_create(path).unwrap());
    let options = DataDirOptions { allow_incoherent_fs: true, ..DataDirOptions::fixed(1) };
    let compaction = CompactionOptions {
        min_lag_ms: 0,
        max_lag_ms: None,
        dirty_ratio_min: DirtyRatio::new(0.0),
        delete_retention_ms: 86_400_000,
    };
    let log_options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        segment_ms: Some(5),
        retention_ms: None,
        compaction: Some(compaction),
        ..LogOptions::default()
    };
    let (dir, _) = DataDir::open(files, &options, |_| log_options.clone(), NOW).unwrap();
    let log = dir.create_topic(topic(name, 1), &log_options, NOW).unwrap().remove(0);
    (dir, log)
}

fn topic(name: &str, number: u128) -> NewTopic {
    NewTopic { name: name.to_owned(), uuid: Uuid::from_u128(number), partitions: 1, settings: Vec::new() }
}

/// xorshift: the same keys in every run.
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
