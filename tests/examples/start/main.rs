//! How long a daemon takes to serve again after kill -9, beside a bare walk over the same files.
//!
//! ```text
//! cargo run --release -p folio-tests --example start [-- [small | half] [cold] [keep] [DIRECTORY]]
//! ```
//! Two directories of 1,000 partitions, with 10 sealed segments each, that differ in how large those are: 64 KiB (0.6
//! GiB in all) and 1 MiB (10 GiB); and one with 1 segment each, so that the cost of a segment can be told. `small`
//! makes 50 partitions and keeps to small segments, `half` only the latter. Each start follows the kill -9 of a daemon
//! that had just acknowledged a record of every partition. `cold` drops the page cache before each start, that of the
//! whole machine, which takes the right to; without it everything is in memory. `keep` leaves the directories where
//! they are, for who wants to look closer.
//!
//! What is printed beside the start is a bare walk, by as many threads as recover: list each partition's directory, one
//! stat of each log, one read of each footer, and nothing else.

mod floor;
mod making;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use folio_client::{Acks, Client, ClientConfig, ProducerConfig, ProducerRecord};
use folio_tests::benchmark::{Words, median};
use folio_tests::daemon::{Daemon, signal};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TOPIC: &str = "start";
const STARTS: usize = 5;
const GOAL_MS: f64 = 300.0;

/// What a directory holds.
#[derive(Clone, Copy)]
struct Shape {
    partitions: u32,
    segments: u32,
    segment_kib: u32,
}

/// What one start took.
struct Started {
    /// From `Broker::start` to listening, without its syncs.
    serving_ms: f64,
    syncs_ms: f64,
    /// From the exec of the daemon to its start line.
    wall_ms: f64,
    line: String,
}

fn main() -> Outcome<()> {
    let mut words = Words::given();
    let [is_small, is_half, is_cold, is_kept] = ["small", "half", "cold", "keep"].map(|word| words.has(word));
    let parent = PathBuf::from(words.directory()?);
    let partitions = if is_small { 50 } else { 1000 };
    let sizes: &[u32] = if is_small || is_half { &[64] } else { &[64, 1024] };

    let few = Shape { partitions, segments: 1, segment_kib: 64 };
    let few = measure(&parent, few, is_cold, is_kept)?;
    for &segment_kib in sizes {
        let shape = Shape { partitions, segments: 10, segment_kib };
        let many = measure(&parent, shape, is_cold, is_kept)?;
        let more = f64::from(partitions * (shape.segments - 1));
        let [start, walk] = [many.0 - few.0, many.1 - few.1].map(|ms| ms * 1000.0 / more);
        println!("  {start:.1} us for each further sealed segment; the bare walk: {walk:.1} us");
    }
    Ok(())
}

/// The median start and the median walk over the same files, in milliseconds.
fn measure(parent: &Path, shape: Shape, is_cold: bool, is_kept: bool) -> Outcome<(f64, f64)> {
    let dir = tempfile::tempdir_in(parent)?;
    let begun = Instant::now();
    let made = making::make(&dir.path().join("data"), shape)?;
    println!(
        "{} partitions, {} sealed segments, {:.2} GiB (made in {:.0} s):",
        shape.partitions,
        made.sealed,
        made.bytes as f64 / f64::from(1 << 30),
        begun.elapsed().as_secs_f64()
    );
    let (mut serving, mut walks, mut walls, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut last = String::new();
    start(dir.path(), shape)?;
    for _ in 0..STARTS {
        settle(is_cold)?;
        walks.push(floor::walk(&dir.path().join("data"))?.as_secs_f64() * 1000.0);
        settle(is_cold)?;
        let started = start(dir.path(), shape)?;
        serving.push(started.serving_ms);
        syncs.push(started.syncs_ms);
        walls.push(started.wall_ms);
        last = started.line;
    }
    let [serving, walk, wall, syncs] = [serving, walks, walls, syncs].map(median);
    let cache = if is_cold { "dropped" } else { "warm" };
    println!(
        "  page cache {cache}: serving after {serving:.0} ms (goal {GOAL_MS:.0}) beside {syncs:.0} ms of syncs, {wall:.0} ms \
         from exec; the bare walk takes {walk:.1} ms: {:.1}x",
        serving / walk
    );
    println!("  {last}");
    if is_kept {
        println!("  kept: {}", dir.keep().display());
    }
    Ok((serving, walk))
}

/// Starts a daemon, lets it acknowledge a record of every partition, and kills it.
fn start(dir: &Path, shape: Shape) -> Outcome<Started> {
    let begun = Instant::now();
    let mut daemon = Daemon::on(dir, &[]);
    let wall_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let line = daemon.start_line();
    let (took, syncs_ms) = figures(&line).ok_or_else(|| format!("not a start line: {line}"))?;
    let client = Client::connect(ClientConfig::new(daemon.address()))?;
    let producer = client.producer(ProducerConfig::new().acks(Acks::All))?;
    let sent: Vec<_> = (0..shape.partitions)
        .map(|partition| producer.send(ProducerRecord::to(TOPIC).partition(partition).value(&[b'x'; 1024])))
        .collect::<Result<_, _>>()?;
    for delivery in sent {
        delivery.wait()?;
    }
    signal(&daemon.pid().to_string(), "KILL");
    daemon.wait();
    Ok(Started { serving_ms: took - syncs_ms, syncs_ms, wall_ms, line })
}

/// Milliseconds in all, and of its syncs: "... started in 21.5 ms (8 syncs: 19.4 ms), ...".
fn figures(line: &str) -> Option<(f64, f64)> {
    let (_, rest) = line.split_once("started in ")?;
    let (took, rest) = rest.split_once(" ms (")?;
    let (_, rest) = rest.split_once("syncs: ")?;
    let (syncs, _) = rest.split_once(" ms)")?;
    Some((took.parse().ok()?, syncs.parse().ok()?))
}

/// What was written before is on the disk, and what was freed is not being freed any more; the cache is empty, if it is
/// to be.
fn settle(is_cold: bool) -> Outcome<()> {
    rustix::fs::sync();
    if is_cold {
        std::fs::write("/proc/sys/vm/drop_caches", "3")
            .map_err(|error| format!("the page cache cannot be dropped: {error}"))?;
    }
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}
