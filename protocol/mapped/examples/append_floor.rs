//! What an append costs: ours, a bare `pwrite`, and storing through the mapping.
//!
//! ```text
//! cargo run --release -p folio-mapped --example append_floor [DIRECTORY] [MIB PER ROUND]
//! ```
//!
//! Each round fills a fresh file in appends of one size and drops it; the ways take turns within a round, so that
//! whatever else the machine does meets all of them. The figure is CPU time of this thread (user and system), in
//! nanoseconds per KiB: the median of the rounds, and the best one. The first round only warms up.
//!
//! The last way is the one that Folio rejected: such a store can die by a signal when the disk is full, and the file
//! has to be extended with zeros beforehand. It is here so that its price stays known.

#![expect(unsafe_code, reason = "the rejected way stores through a writable mapping")]

use std::error::Error;
use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use folio_mapped::SegmentMap;
use memmap2::MmapOptions;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const APPEND_SIZES: [usize; 3] = [KIB, 16 * KIB, 64 * KIB];
const ROUNDS: usize = 7;
/// How much disk space is reserved at once, as the log does it.
const STEP: usize = 32 * MIB;

type Outcome<T> = Result<T, Box<dyn Error>>;
/// Fills `file` with `total` bytes, `batch` by `batch`.
type Way = fn(file: &File, batch: &[u8], total: usize) -> Outcome<()>;

const WAYS: [(&str, Way); 4] = [
    ("Appender::append (ours)", appender),
    ("pwrite, reserved space", pwrite_reserved),
    ("pwrite, growing file", pwrite_growing),
    ("store through a map", store),
];

fn main() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let total = args.next().and_then(|mib| mib.to_str()?.parse().ok()).unwrap_or(128) * MIB;
    println!(
        "{} MiB a file in {}, CPU ns per KiB: median (best) of {ROUNDS}",
        total / MIB,
        directory.display()
    );
    print!("{:28}", "append of");
    for size in APPEND_SIZES {
        print!("{:>18}", format!("{} KiB", size / KIB));
    }
    println!();

    let mut figures = [const { [const { Vec::new() }; APPEND_SIZES.len()] }; WAYS.len()];
    for round in 0..=ROUNDS {
        for (column, &size) in APPEND_SIZES.iter().enumerate() {
            for (row, (_, way)) in WAYS.iter().enumerate() {
                let spent = cpu_of_one_file(&directory, *way, size, total)?;
                if round > 0 {
                    figures[row][column].push(spent.as_nanos() as f64 / (total / KIB) as f64);
                }
            }
        }
    }
    for ((name, _), figures) in WAYS.iter().zip(&mut figures) {
        print!("{name:28}");
        for figures in figures {
            figures.sort_by(f64::total_cmp);
            print!("{:>18}", format!("{:.0} ({:.0})", figures[figures.len() / 2], figures[0]));
        }
        println!();
    }
    Ok(())
}

fn cpu_of_one_file(directory: &Path, way: Way, size: usize, total: usize) -> Outcome<Duration> {
    let file = tempfile::tempfile_in(directory)?;
    let batch: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let before = cpu();
    way(&file, &batch, total)?;
    let spent = cpu() - before;

    let mut last = vec![0; size];
    file.read_exact_at(&mut last, (total - size) as u64)?;
    assert!(last == batch, "the last batch is not what was appended");
    Ok(spent)
}

fn appender(file: &File, batch: &[u8], total: usize) -> Outcome<()> {
    let map = SegmentMap::open(file.try_clone()?, total as u64, 0)?;
    let mut appender = map.appender()?;
    for end in (batch.len()..=total).step_by(batch.len()) {
        if end as u64 > appender.allocated() {
            appender.allocate((end - batch.len()).saturating_add(STEP).min(total) as u64)?;
        }
        appender.append(&[IoSlice::new(batch)])?;
    }
    Ok(())
}

fn pwrite_reserved(file: &File, batch: &[u8], total: usize) -> Outcome<()> {
    for at in (0..total).step_by(batch.len()) {
        if at.is_multiple_of(STEP) {
            fallocate(file, FallocateFlags::KEEP_SIZE, at as u64, STEP as u64)?;
        }
        file.write_all_at(batch, at as u64)?;
    }
    Ok(())
}

fn pwrite_growing(file: &File, batch: &[u8], total: usize) -> Outcome<()> {
    for at in (0..total).step_by(batch.len()) {
        file.write_all_at(batch, at as u64)?;
    }
    Ok(())
}

fn store(file: &File, batch: &[u8], total: usize) -> Outcome<()> {
    // The length goes with it: a store beyond the end of the file would be a signal.
    fallocate(file, FallocateFlags::empty(), 0, total as u64)?;
    let map = MmapOptions::new().len(total).map_raw(file)?;
    for at in (0..total).step_by(batch.len()) {
        assert!(at + batch.len() <= map.len());
        // SAFETY: the destination is inside the mapping, which nobody else has; no reference to it exists. A full disk
        // or a foreign truncation would be a signal: that is the point of this way being the rejected one.
        unsafe { map.as_mut_ptr().add(at).copy_from_nonoverlapping(batch.as_ptr(), batch.len()) };
    }
    Ok(())
}

/// The CPU time of this thread so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
