//! How fast batches are verified, walked and built, beside the bare checksum in the same run.
//!
//! ```text
//! cargo run --release -p folio-record --example verify_speed [--features libzstd]
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
    for record_size in [1024, 100] {
        println!("records of {record_size} bytes, uncompressed");
        println!(
            "{:>10} {:>11} {:>13} {:>13} {:>13} {:>14} {:>14}",
            "batch",
            "crc GB/s",
            "verify GB/s",
            "verify / crc",
            "ns over crc",
            "check ns/rec",
            "append ns/rec"
        );
        for batch_size in [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
            uncompressed(batch_size, record_size);
        }
        println!();
    }
    println!("lines of text, about 64 KiB before compression");
    println!(
        "{:>10} {:>11} {:>22} {:>26}",
        "codec", "becomes", "append and build MB/s", "decompress and check MB/s"
    );
    for codec in Compression::ALL {
        text(codec);
    }
}

fn uncompressed(batch_size: usize, record_size: usize) {
    let value = vec![0x5a; record_size - RECORD_OVERHEAD];
    let record = NewRecord { value: Some(&value), ..NewRecord::at(Timestamp::new(1_700_000_000_000)) };
    let mut builder = builder(Compression::None, batch_size);
    let records = (batch_size / record_size) as u32;
    let mut batch = Vec::new();
    let append = best(|| {
        for _ in 0..records {
            builder.append(&record).expect("it fits");
        }
        batch = builder.build().expect("it has records");
    });

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
        "{:>10} {:>11.1} {:>13.1} {:>12.0}% {:>13.0} {:>14.1} {:>14.1}",
        batch.len(),
        gigabytes(batch.len(), crc),
        gigabytes(batch.len(), verify),
        100.0 * crc / verify,
        verify - crc,
        check / f64::from(records),
        append / f64::from(records),
    );
}

fn text(codec: Compression) {
    let mut builder = builder(codec, 64 << 10);
    let lines: Vec<String> = (0..)
        .map(|i: u32| {
            let word = i.wrapping_mul(0x9e37_79b1);
            let page = word >> 20;
            format!("10.0.{}.7 - - [12/May/2024:10:{i:05}] \"GET /page/{page} HTTP/1.1\" 200 {word}", i % 250)
        })
        .take(700)
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
        "{:>10} {:>9.1} % {:>22.0} {:>26.0}",
        codec,
        100.0 * batch.len() as f64 / uncompressed as f64,
        1000.0 * gigabytes(uncompressed, build),
        1000.0 * gigabytes(uncompressed, check),
    );
}

fn builder(compression: Compression, size: usize) -> BatchBuilder {
    BatchBuilder::new(compression, size + size / 8)
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
/// Length, attributes, deltas, null key, value length and header count; a byte or two more in a batch of
/// many records.
const RECORD_OVERHEAD: usize = 9;
/// A batch's checksum covers what follows it.
const CRC_COVERS_FROM: usize = 21;
