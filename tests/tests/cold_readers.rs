//! Little memory, a log that is eight times as large, and fifty readers of what is in none: nobody is killed, every
//! byte is right, and whoever wants nothing of the disk is answered meanwhile.
//!
//! `FOLIO_MEMORY_MIB=256 cargo test -p folio-tests --test cold_readers -- --nocapture` for the long run.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use folio_client::{Client, ClientConfig, ConsumerConfig, NewTopic, Offset, Position, TopicPartition};
use folio_storage::files::sim::Random;
use folio_tests::campaign;
use folio_tests::control::finding;
use folio_tests::daemon::Daemon;
use folio_tests::limits::MemoryLimit;
use folio_tests::native::{Peer, batch};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const READERS: u64 = 50;
const VALUE: usize = 16 << 10;
const TIMES: u64 = 8;

#[test]
fn with_an_eighth_of_its_log_as_memory_fifty_cold_readers_are_served_and_everybody_else() {
    let mib: u64 = campaign::length("FOLIO_MEMORY_MIB", 32);
    let records = TIMES * mib * (1 << 20) / VALUE as u64;
    let dir = tempfile::tempdir().unwrap();
    let limit = MemoryLimit::new("memory", mib << 20);
    let wrapper = limit.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let daemon = Daemon::under(&wrapper, dir.path(), &["--set", "topic.segment.bytes=16777216"]);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().create_topic(NewTopic::new("t", 1).setting("durability", "os")).wait().unwrap();
    let mut peer = Peer::connect(daemon.address());
    for number in 0..records {
        let produced = peer.produce("t", 0, Acks::One, &batch(&value(number)));
        assert_eq!(produced.error, ErrorCode::NONE, "{:?}", produced.message);
    }

    // On a busy machine whoever asks waits for a processor, whatever the disk does.
    let alone = {
        let asked = Instant::now();
        for _ in 0..100 {
            peer.counter("bytes.out");
        }
        asked.elapsed() / 100
    };
    let done = AtomicBool::new(false);
    let waits = std::thread::scope(|scope| {
        let others = scope.spawn(|| ask_meanwhile(&daemon, &done));
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                // Neighbours read some of the same.
                let from = reader * records / READERS;
                let upto = (from + 5 * records / READERS / 4).min(records);
                let address = daemon.address();
                scope.spawn(move || read(address, mib, from, upto))
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        done.store(true, Ordering::Relaxed);
        others.join().unwrap()
    });

    assert_eq!(limit.kills(), 0);
    let anonymous = daemon.anonymous_bytes() >> 20;
    assert!(anonymous < mib / 2, "{anonymous} MiB of its own");
    println!(
        "{} MiB of log, {mib} MiB of memory, of which {:?} were used and {anonymous} are the daemon's own; {} were answered \
         meanwhile, half of them within {:?} (alone {alone:?}), 99 of a hundred within {:?}, the last after {:?}",
        (records * VALUE as u64) >> 20,
        limit.peak_bytes().map(|bytes| bytes >> 20),
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        waits.last().unwrap(),
    );
    // Who had to wait for the disk would stand behind fifty others.
    let (half, most) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    assert!(half < Duration::from_secs(1).max(100 * alone), "{half:?}, and {alone:?} alone");
    assert!(most < Duration::from_secs(5).max(500 * alone), "{most:?}, and {alone:?} alone");
    drop((client, peer));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn whoever_takes_more_memory_than_the_limit_is_killed_and_counted() {
    let limit = MemoryLimit::new("control", 16 << 20);
    let [shell, option, enter, group] = limit.wrapper();
    // It keeps the end of what it reads in memory of its own.
    let greedy = "head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null";
    let mut command = Command::new(shell);
    command.args([&option, &enter, &group, "sh", "-c", greedy]).status().unwrap();
    assert!(limit.kills() > 0);
}

#[test]
fn a_record_that_is_not_as_it_was_and_one_that_is_missing_are_found_by_the_readers() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "os")]);
    for number in [0, 1, 2, 3, 5, 5, 6, 8] {
        peer.produce("t", 0, Acks::One, &batch(&value(number)));
    }
    for (from, record) in [(0, 4), (5, 7)] {
        let said = finding("another record", || read(daemon.address(), 32, from, 8));
        assert!(said.contains(&format!("record {record} is not as it was")), "{said}");
    }
    daemon.stop();
}

fn value(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    (0..VALUE / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Reads from one record to another, so much at a time that what all readers wait for fits into the memory.
fn read(address: &str, mib: u64, from: u64, upto: u64) {
    let bytes = (mib as usize) << 12;
    let client = Client::connect(ClientConfig::new(address)).unwrap();
    let mut consumer =
        client.consumer(ConsumerConfig::new().partition_bytes_max(bytes).prefetch_bytes(bytes)).unwrap();
    let start = Position::At(Offset::new(from as i64));
    consumer.assign([(TopicPartition::new("t", 0), start)]);
    let mut next = from;
    while next < upto {
        let records = consumer.poll(Duration::from_secs(120)).unwrap();
        for record in &records.unwrap_or_else(|| panic!("nothing comes at {next}")) {
            assert_eq!(record.offset.get(), next as i64);
            assert!(record.value.unwrap() == value(next), "record {next} is not as it was");
            next += 1;
        }
    }
}

/// How long somebody waited who wanted nothing of the disk, shortest first.
fn ask_meanwhile(daemon: &Daemon, done: &AtomicBool) -> Vec<Duration> {
    let mut peer = Peer::connect(daemon.address());
    let mut waits = Vec::new();
    while !done.load(Ordering::Relaxed) || waits.is_empty() {
        let asked = Instant::now();
        peer.counter("bytes.out");
        waits.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    waits.sort();
    waits
}
