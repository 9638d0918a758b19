//! What an append, a fetch and a produce cost beside other work, in one run.
//!
//! ```text
//! cargo run --release -p folio-tests --example beside [-- [small] [append] [fetch] [compaction] [DIRECTORY]]
//! ```
//! * `append`: how long an append of 1 KiB takes, one every 50 us, alone and while another thread flushes the same log
//!   back to back; and the same of a bare `pwrite` beside `fdatasync`.
//! * `fetch`: how long a fetch of the last record takes, one after the other, alone and while another consumer reads
//!   through a log that is on the disk and not in memory.
//! * `compaction`: how long a produce to one topic takes, alone and while another is compacted.
//!
//! Each with and without take turns, round by round. Without a part all are run; `small` makes a few short rounds.
//! DIRECTORY is where the data goes: a place on the disk in question, not a tmpfs.

mod appends;
mod compaction;
mod connection;
mod fetches;

use std::error::Error;
use std::time::Duration;

use folio_tests::benchmark::Words;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How much is done.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    round: Duration,
    /// Bytes of the log that is read cold.
    cold_bytes: usize,
}

fn main() -> Outcome<()> {
    let mut words = Words::given();
    let extent = if words.has("small") {
        Extent { rounds: 3, round: Duration::from_millis(300), cold_bytes: 64 << 20 }
    } else {
        Extent { rounds: 7, round: Duration::from_secs(2), cold_bytes: 2 << 30 }
    };
    let [append, fetch, compaction] = words.parts(["append", "fetch", "compaction"]);
    let dir = words.new_directory()?;
    if append {
        appends::measure(dir.path(), extent)?;
    }
    if fetch {
        fetches::measure(dir.path(), extent)?;
    }
    if compaction {
        compaction::measure(dir.path(), extent)?;
    }
    Ok(())
}

/// How long something took, each time.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn extend(&mut self, other: Vec<Duration>) {
        self.0.extend(other);
    }

    /// Microseconds that so large a part of them stays below.
    fn us(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
            .get(((sorted.len().max(1) - 1) as f64 * part) as usize)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    fn show(&self) -> String {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|part| self.us(part));
        format!("p50 {p50:.1} us, p99 {p99:.1}, p99.9 {p999:.0}, longest {max:.0} (of {})", self.0.len())
    }
}

/// Prints both, and how much longer the second takes.
fn tell(what: &str, alone: &Times, beside: &Times) {
    println!("{what}");
    println!("  alone:  {}", alone.show());
    println!("  beside: {}", beside.show());
    let times = |part: f64| beside.us(part) / alone.us(part).max(0.001);
    println!("  p50 {:.2}x, p99.9 {:.2}x", times(0.5), times(0.999));
}
