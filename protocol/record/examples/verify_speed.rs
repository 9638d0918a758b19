//! How fast batches are verified, walked and built, beside the bare checksum in the same run.
//!
//! ```text
//! cargo run --release -p folio-record --example verify_speed
//! ```
//!
//! Each figure is the best of many short runs: other work on the machine can only make one slower.
//! Batches are re-used from the cache, as they are when a broker has just received them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use folio_record::{
    BatchBuilder, Compression, DecompressLimit, NewRecord, Timestamp, UnverifiedBatch, crc32c,
};

fn main() {
    println!("records of 1 KiB, uncompressed; GB/s, and ns per record where there are records");
    println!(
        "{:>10} {:>9} {:>9} {:>14} {:>14} {:>14} {:>14}",
        "batch", "crc", "verify", "verify / crc", "ns over crc", "check ns/rec", "append ns/rec"
    );
    for size in [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        uncompressed(size);
    }
    println!();
    println!("lines of text of about 100 bytes, lz4, 64 KiB before compression; MB/s of uncompressed bytes");
    lz4();
}

fn uncompressed(size: usize) {
    let value = vec![0x5a; 1024 - RECORD_OVERHEAD];
    let record = NewRecord { value: Some(&value), ..NewRecord::at(Timestamp::new(1_700_000_000_000)) };
    let mut builder = builder(Compression::None, size);
    let records = (size / 1024) as u32;
    let append = best(|| {
        for _ in 0..records {
            builder.append(&record).expect("it fits");
        }
        black_box(builder.build());
    });
    for _ in 0..records {
        builder.append(&record).expect("it fits");
    }
    let batch = builder.build().expect("it has records");

    let covered = &batch[CRC_COVERS_FROM..];
    let crc = best(|| {
        black_box(crc32c(black_box(covered)));
    });
    let verify = best(|| {
        let (batch, _) = UnverifiedBatch::split_first(black_box(&batch)).expect("a batch");
        black_box(batch.verify().expect("a good one"));
    });
    let (unverified, _) = UnverifiedBatch::split_first(&batch).expect("a batch");
    let verified = unverified.verify().expect("a good one");
    let check = best(|| {
        black_box(verified.check_records(LIMIT).expect("good records"));
    });
    println!(
        "{:>10} {:>9.1} {:>9.1} {:>13.0}% {:>14.0} {:>14.1} {:>14.1}",
        batch.len(),
        gigabytes(batch.len(), crc),
        gigabytes(batch.len(), verify),
        100.0 * crc / verify,
        verify - crc,
        check / f64::from(records),
        append / f64::from(records),
    );
}

fn lz4() {
    let mut builder = builder(Compression::Lz4, 64 << 10);
    let lines: Vec<String> = (0..)
        .map(|i: u32| {
            let word = i.wrapping_mul(0x9e37_79b1);
            let page = word >> 20;
            format!("10.0.{}.7 - - [12/May/2024:10:{i:05}] \"GET /page/{page} HTTP/1.1\" 200 {word}", i % 250)
        })
        .take(600)
        .collect();
    let mut batch = Vec::new();
    let mut uncompressed = 0;
    let build = best(|| {
        for line in &lines {
            let record = NewRecord {
                value: Some(line.as_bytes()),
                ..NewRecord::at(Timestamp::new(1_700_000_000_000))
            };
            builder.append(&record).expect("it fits");
        }
        uncompressed = builder.size();
        batch = builder.build().expect("it has records");
    });
    let (unverified, _) = UnverifiedBatch::split_first(&batch).expect("a batch");
    let verified = unverified.verify().expect("a good one");
    let check = best(|| {
        black_box(verified.check_records(LIMIT).expect("good records"));
    });
    println!(
        "{uncompressed} bytes become {}; append and build {:.0} MB/s, decompress and check {:.0} MB/s",
        batch.len(),
        1000.0 * gigabytes(uncompressed, build),
        1000.0 * gigabytes(uncompressed, check),
    );
}

fn builder(compression: Compression, size: usize) -> BatchBuilder {
    BatchBuilder::new(compression, size + 4096).expect("a supported compression")
}

/// Nanoseconds of one call, in the best of many short runs.
fn best(mut work: impl FnMut()) -> f64 {
    let mut calls = 1u32;
    // As many calls as take long beside reading the clock, and not long beside a time slice.
    while time(&mut work, calls) < Duration::from_micros(50) {
        calls *= 2;
    }
    let best = (0..RUNS).map(|_| time(&mut work, calls)).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(calls)
}

fn time(work: &mut impl FnMut(), calls: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed()
}

fn gigabytes(bytes: usize, nanoseconds: f64) -> f64 {
    bytes as f64 / nanoseconds
}

const RUNS: usize = 400;
const LIMIT: DecompressLimit = DecompressLimit::new(1 << 20);
/// Length, attributes, deltas, null key, value length and header count of a record of 1 KiB.
const RECORD_OVERHEAD: usize = 9;
/// A batch's checksum covers what follows it.
const CRC_COVERS_FROM: usize = 21;
