//! What it costs to send a range of a file: `read` and `write` (the traditional way), a mapping and `writev`
//! (ours), and `sendfile`, over loopback TCP.
//!
//! ```text
//! cargo run --release -p folio-mapped --example send_floor [MIB PER ROUND]
//! ```
//!
//! A response is a header of 32 bytes on the heap and a range of a file in the page cache, one range after the other.
//! Per way and size: system calls of the sender per response, copies that its CPU makes of each byte, and CPU time
//! of sender and receiver in nanoseconds per KiB (median of the rounds). The ways take turns within a round; the
//! first round only warms up, and checks what arrives. With two CPUs or more, sender and receiver are pinned to one
//! each.

use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use folio_mapped::{Part, SegmentMap, writev};
use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const RESPONSE_SIZES: [usize; 4] = [4 * KIB, 16 * KIB, 64 * KIB, MIB];
const FILE_SIZE: usize = 64 * MIB;
const HEADER: [u8; 32] = *b"a header of a response, 32 bytes";
const ROUNDS: usize = 7;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A file in the page cache, and its mapping.
struct Source {
    file: File,
    map: Arc<SegmentMap>,
}

/// Sends `count` responses of `size` bytes each, without the header; returns how many system calls that took.
type Way = fn(source: &Source, to: &TcpStream, size: usize, count: usize) -> Outcome<usize>;

struct Row {
    name: &'static str,
    way: Way,
    /// How often the sender's CPU copies each byte.
    copies: u32,
}

const ROWS: [Row; 4] = [
    Row { name: "read + write", way: read_and_write, copies: 2 },
    Row { name: "mmap + writev (ours)", way: map_and_writev, copies: 1 },
    Row { name: "  .. all that is ready", way: map_and_writev_many, copies: 1 },
    Row { name: "header + sendfile", way: header_and_sendfile, copies: 0 },
];

/// What one round of one way cost.
#[derive(Clone, Copy)]
struct Cost {
    calls_per_response: f64,
    sender_ns_per_kib: f64,
    receiver_ns_per_kib: f64,
}

fn main() -> Outcome<()> {
    let volume = std::env::args().nth(1).and_then(|mib| mib.parse().ok()).unwrap_or(64) * MIB;
    let source = source()?;
    let pinned = thread::available_parallelism()?.get() > 1;
    if pinned {
        pin(0)?;
    }
    println!("{} MiB a round over loopback TCP, CPU ns per KiB: median of {ROUNDS} rounds", volume / MIB);

    let mut costs = [const { [const { Vec::new() }; ROWS.len()] }; RESPONSE_SIZES.len()];
    for round in 0..=ROUNDS {
        for (&size, costs) in RESPONSE_SIZES.iter().zip(&mut costs) {
            for (row, costs) in ROWS.iter().zip(costs) {
                let cost = one_round(&source, row.way, size, (volume / size).max(1), pinned, round == 0)?;
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
    }
    for (size, costs) in RESPONSE_SIZES.iter().zip(&costs) {
        println!();
        let title = format!("responses of {} KiB", size / KIB);
        println!("{title:28}{:>12}{:>10}{:>10}{:>10}", "calls each", "copies", "sender", "receiver");
        for (row, costs) in ROWS.iter().zip(costs) {
            println!(
                "{:28}{:>12.2}{:>10}{:>10.0}{:>10.0}",
                row.name,
                median(costs, |cost| cost.calls_per_response),
                row.copies,
                median(costs, |cost| cost.sender_ns_per_kib),
                median(costs, |cost| cost.receiver_ns_per_kib),
            );
        }
    }
    Ok(())
}

/// A file of pages that differ, resident and in the page table.
fn source() -> Outcome<Source> {
    let file = tempfile::tempfile()?;
    let map = SegmentMap::open(file.try_clone()?, FILE_SIZE as u64, 0)?;
    let mut appender = map.appender()?;
    for number in 0..FILE_SIZE / MIB {
        let bytes: Vec<u8> = (0..MIB).map(|i| (i / 7 + number * 13) as u8).collect();
        appender.append(&[IoSlice::new(&bytes)])?;
    }
    map.sync_data()?; // write-back beside the measurement would be charged to someone
    map.slice(0..map.end()).ok_or("nothing was published")?.populate()?;
    Ok(Source { file, map })
}

/// Sends `count` responses by one way and receives them. Checks what arrives, instead of measuring, if `warm_up`.
fn one_round(
    source: &Source,
    way: Way,
    size: usize,
    count: usize,
    pinned: bool,
    warm_up: bool,
) -> Outcome<Cost> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    sender.set_nodelay(true)?;
    let (receiver, _) = listener.accept()?;
    let receiving = thread::spawn(move || {
        if pinned {
            pin(1)?;
        }
        receive(receiver, warm_up)
    });

    let before = cpu();
    let calls = way(source, &sender, size, count)?;
    let spent = cpu() - before;
    drop(sender);
    let received = receiving.join().map_err(|_| "the receiver panicked")??;
    assert_eq!(received.bytes, count * (HEADER.len() + size), "not all arrived");
    if warm_up {
        assert_eq!(received.crc, expected_crc(source, size, count)?, "something else arrived");
    }
    let kib = (count * size / KIB) as f64;
    Ok(Cost {
        calls_per_response: calls as f64 / count as f64,
        sender_ns_per_kib: spent.as_nanos() as f64 / kib,
        receiver_ns_per_kib: received.spent.as_nanos() as f64 / kib,
    })
}

struct Received {
    bytes: usize,
    /// Of all bytes, or zero if they were not to be checked.
    crc: u32,
    spent: Duration,
}

/// Reads until the sender is done.
fn receive(mut from: TcpStream, check: bool) -> Outcome<Received> {
    let (mut buffer, mut bytes, mut crc) = (vec![0; 256 * KIB], 0, crc32fast::Hasher::new());
    let before = cpu();
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(Received { bytes, crc: crc.finalize(), spent: cpu() - before });
        }
        bytes += read;
        if check {
            crc.update(&buffer[..read]);
        }
    }
}

fn expected_crc(source: &Source, size: usize, count: usize) -> Outcome<u32> {
    let (mut crc, mut body) = (crc32fast::Hasher::new(), vec![0; size]);
    for number in 0..count {
        source.file.read_exact_at(&mut body, position(number, size))?;
        crc.update(&HEADER);
        crc.update(&body);
    }
    Ok(crc.finalize())
}

/// Where in the file the range of a response lies: all of the file in turn.
fn position(number: usize, size: usize) -> u64 {
    (number * size % FILE_SIZE) as u64
}

fn read_and_write(source: &Source, mut to: &TcpStream, size: usize, count: usize) -> Outcome<usize> {
    let mut response = vec![0; HEADER.len() + size];
    let mut calls = 0;
    for number in 0..count {
        response[..HEADER.len()].copy_from_slice(&HEADER);
        source.file.read_exact_at(&mut response[HEADER.len()..], position(number, size))?;
        calls += 1;
        let mut rest = &response[..];
        while !rest.is_empty() {
            rest = &rest[to.write(rest)?..];
            calls += 1;
        }
    }
    Ok(calls)
}

fn map_and_writev(source: &Source, to: &TcpStream, size: usize, count: usize) -> Outcome<usize> {
    map_and_writev_by(source, to, size, count, 1)
}

/// As a loop does that answers everything of one turn at once: up to 64 responses or 1 MiB in one call.
fn map_and_writev_many(source: &Source, to: &TcpStream, size: usize, count: usize) -> Outcome<usize> {
    map_and_writev_by(source, to, size, count, (MIB / size).clamp(1, 64))
}

fn map_and_writev_by(
    source: &Source,
    to: &TcpStream,
    size: usize,
    count: usize,
    at_once: usize,
) -> Outcome<usize> {
    let mut calls = 0;
    let mut slices = Vec::with_capacity(at_once);
    for first in (0..count).step_by(at_once) {
        for number in first..count.min(first + at_once) {
            let from = position(number, size);
            slices.push(source.map.slice(from..from + size as u64).ok_or("beyond the end")?);
        }
        let parts: Vec<_> = slices.iter().flat_map(|slice| [Part::Heap(&HEADER), Part::Map(slice)]).collect();
        calls += 1;
        if writev(to.as_fd(), &parts)? < parts.iter().map(Part::len).sum() {
            // Only a signal can do that to a blocking socket, and nobody sends one.
            return Err("a part of the responses was not sent".into());
        }
        drop(parts);
        slices.clear();
    }
    Ok(calls)
}

fn header_and_sendfile(source: &Source, to: &TcpStream, size: usize, count: usize) -> Outcome<usize> {
    let mut calls = 0;
    for number in 0..count {
        // MORE: the header waits for the body instead of leaving in a segment of its own.
        if send(to, &HEADER, SendFlags::MORE)? != HEADER.len() {
            return Err("a part of the header was not sent".into());
        }
        calls += 1;
        let mut at = position(number, size);
        let end = at + size as u64;
        while at < end {
            let left = (end - at) as usize;
            let sent = sendfile(to, &source.file, Some(&mut at), left)?;
            if sent == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            calls += 1;
        }
    }
    Ok(calls)
}

fn median(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    let mut figures: Vec<_> = costs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Keeps this thread on one CPU.
fn pin(to: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(to);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// The CPU time of this thread so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
