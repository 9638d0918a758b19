//! How long a record takes from its producer to a subscriber, in one run: `tests/latency`, or
//! `cargo run --release -p folio-tests --example subscriber_latency [SECONDS [ROUNDS]]`.
//!
//! 1,000 records of 1 KiB a second, acknowledged, to one topic that the operating system's page cache holds; one
//! producer and one subscriber, blocking sockets over loopback, a thread each. From just before the producer's `write`
//! until the subscriber has checked and unpacked the record. All take turns:
//!
//! * the floor: a process with a bare epoll loop, which checks the batch, writes it to a file, acknowledges and passes
//!   it on;
//! * Folio with one event loop, its subscriber speaking the native protocol by hand; the same through `folio-client`,
//!   on both sides; and Folio with as many loops as it has by default;
//! * Redis streams, `XADD` and `XREAD BLOCK`, with an append-only file that is not flushed: if a `redis-server` is in
//!   the PATH, or named by REDIS_SERVER.

mod floor;
mod folio;
mod native;
mod redis;

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use folio_tests::benchmark::median;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One side of a contender: sends the record of a number and waits until it is acknowledged; or waits for records, and
/// says their numbers.
type Sender = Box<dyn FnMut(u64) -> Outcome<()> + Send>;
type Receiver = Box<dyn FnMut(&mut dyn FnMut(u64)) -> Outcome<()> + Send>;

/// A server, to which a producer and a subscriber can be connected again and again.
trait Contender {
    fn name(&self) -> String;
    fn connect(&mut self) -> Outcome<(Sender, Receiver)>;
}

const RECORDS_PER_SECOND: u64 = 1000;
const VALUE_SIZE: usize = 1024;
/// Nothing that was sent takes longer; who waits longer would wait for ever.
const LIMIT: Duration = Duration::from_secs(30);
/// Not counted: connections, caches and branch predictors get warm.
const WARM_UP: u64 = 200;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, file] = &arguments[..]
        && word == floor::WORD
    {
        return floor::serve(file);
    }
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (seconds, rounds) = (number(0, 5)?, number(1, 3)?);

    // Built before anything runs.
    folio_tests::binary("foliod");
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(floor::Floor::start()?),
        Box::new(folio::Folio::by_hand(&["--set", "loop.threads=1"], "one event loop")),
        Box::new(folio::Folio::by_hand(&[], "default loops")),
        Box::new(folio::Folio::by_client(&["--set", "loop.threads=1"], "one event loop, folio-client")),
    ];
    match redis::Redis::start()? {
        Some(redis) => contenders.push(Box::new(redis)),
        None => println!("no redis-server: left out (tests/latency installs one)"),
    }
    let mut rounds_of = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, rounds) in contenders.iter_mut().zip(&mut rounds_of) {
            let (send, receive) = contender.connect()?;
            rounds.push(round(send, receive, seconds * RECORDS_PER_SECOND)?);
        }
    }
    println!("us from producer to subscriber, median of {rounds} rounds of {seconds} s:");
    println!("{:<50} {:>8} {:>8} {:>8}  p50 / floor's", "", "p50", "p90", "p99");
    let floor = Percentiles::of(&rounds_of[0]).p50;
    for (contender, rounds) in contenders.iter().zip(&rounds_of) {
        let Percentiles { p50, p90, p99 } = Percentiles::of(rounds);
        println!("{:<50} {p50:>8.1} {p90:>8.1} {p99:>8.1}  {:.2}x", contender.name(), p50 / floor);
    }
    Ok(())
}

struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl Percentiles {
    /// Each the median over the rounds, in microseconds.
    fn of(rounds: &[Vec<Duration>]) -> Self {
        let at = |share: f64| {
            let of_round = |round: &Vec<Duration>| round[((round.len() - 1) as f64 * share) as usize];
            median(rounds.iter().map(|round| of_round(round).as_secs_f64() * 1e6).collect())
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

/// Sends `count` records, at the rate, and says how long each took, in ascending order.
fn round(mut send: Sender, mut receive: Receiver, count: u64) -> Outcome<Vec<Duration>> {
    let total = WARM_UP + count;
    let begun = Instant::now();
    let now = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let sent: Vec<AtomicU64> = (0..total).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let subscriber = scope.spawn(|| -> Outcome<Vec<Duration>> {
            let (mut taken, mut next) = (Vec::new(), 0);
            while next < total {
                let mut in_order = true;
                receive(&mut |number| {
                    let took = now() - sent[number as usize].load(Ordering::Acquire);
                    taken.push(Duration::from_nanos(took));
                    in_order &= number == next;
                    next += 1;
                })?;
                if !in_order {
                    return Err(format!("a record came out of order before number {next}").into());
                }
            }
            Ok(taken)
        });
        for number in 0..total {
            let due = begun + Duration::from_nanos(number * 1_000_000_000 / RECORDS_PER_SECOND);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            sent[number as usize].store(now(), Ordering::Release);
            send(number)?;
        }
        let mut taken = subscriber.join().map_err(|_| "the subscriber panicked")??;
        taken.drain(..WARM_UP as usize);
        taken.sort_unstable();
        Ok(taken)
    })
}

/// The value of the record of this number.
fn value(number: u64) -> Vec<u8> {
    let mut value = vec![b'x'; VALUE_SIZE];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// The number of the record that has this value.
fn number_in(value: &[u8]) -> Outcome<u64> {
    Ok(u64::from_le_bytes(*value.first_chunk().ok_or("a value that is too short")?))
}
