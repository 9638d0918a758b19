//! What is appended through a descriptor is what a mapping shows, on every file system, at every moment, also while
//! pages are dropped: readers whose every batch is checked, beside an appender.
//!
//! `FOLIO_COHERENCE_S=60 cargo test --release -p folio-tests --test coherence -- --nocapture` for the long run.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use folio_client::{Client, ClientConfig, ConsumerConfig, NewTopic, Position, TopicPartition};
use folio_storage::files::sim::Random;
use folio_tests::campaign;
use folio_tests::daemon::Daemon;
use folio_tests::disk::TinyDisk;
use folio_tests::disk::image::{Btrfs, Ext4, FileSystem, Xfs};
use folio_tests::isolated::Isolated;
use folio_tests::native::{Peer, batch_of};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use rustix::fs::{Advice, fadvise};

#[test]
fn readers_beside_an_appender_see_what_it_has_appended_on_ext4() {
    Isolated::run("readers_beside_an_appender_see_what_it_has_appended_on_ext4", || on(Ext4::DEFAULT));
}

#[test]
fn readers_beside_an_appender_see_what_it_has_appended_on_xfs() {
    Isolated::run("readers_beside_an_appender_see_what_it_has_appended_on_xfs", || on(Xfs::DEFAULT));
}

#[test]
fn readers_beside_an_appender_see_what_it_has_appended_on_btrfs() {
    Isolated::run("readers_beside_an_appender_see_what_it_has_appended_on_btrfs", || on(Btrfs::DEFAULT));
}

#[test]
fn readers_beside_an_appender_see_what_it_has_appended_on_tmpfs() {
    Isolated::run("readers_beside_an_appender_see_what_it_has_appended_on_tmpfs", || {
        assert_eq!(coherent("tmpfs", TinyDisk::mount(160).path(), value), None);
    });
}

/// As if a reader had seen at one place what belongs to another.
#[test]
fn a_record_that_is_not_what_was_appended_is_found_by_the_readers() {
    let dir = tempfile::tempdir().unwrap();
    let found = coherent("one is another", dir.path(), |number| value(number + u64::from(number == 100)));
    assert_eq!(found.as_deref(), Some("record 100 is not as it was appended"));
}

fn on(file_system: FileSystem) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    file_system.make(&image);
    let mounted = file_system.mount(&image, &dir.path().join("mnt"));
    assert_eq!(coherent(file_system.name, mounted.path(), value), None);
    mounted.unmount();
}

/// What readers find of records of these values. Segments roll, and go by size, so that the disk never fills.
fn coherent(name: &str, mount: &Path, appended: fn(u64) -> Vec<u8>) -> Option<String> {
    let seconds = campaign::length("FOLIO_COHERENCE_S", 2);
    let settings = ["disk.min.free=1000000", "topic.segment.bytes=4194304", "maintenance.interval.ms=50"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let daemon = Daemon::on(mount, &settings);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let topic = NewTopic::new("t", 1).setting("durability", "os").setting("retention.bytes", "32000000");
    client.admin().create_topic(topic).wait().unwrap();
    let (stop, read, drops) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let found = std::thread::scope(|scope| {
        scope.spawn(|| append(&daemon, &stop, appended));
        scope.spawn(|| drop_pages(mount, &stop, &drops));
        let readers = [Position::Latest, Position::Earliest, Position::Earliest].map(|from| {
            let (client, stop, read) = (&client, &stop, &read);
            scope.spawn(move || {
                let found = check(client, from, stop, read);
                stop.fetch_or(found.is_some(), Ordering::Relaxed);
                found
            })
        });
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().find_map(|reader| reader.join().unwrap())
    });
    if found.is_some() {
        return found;
    }
    let (read, drops) = (read.into_inner(), drops.into_inner());
    println!("{name}: {read} records in {seconds} s, while pages were dropped {drops} times");
    assert!(read > 200 && drops > 5, "{name}: {read} records, {drops} drops");
    drop(client);
    assert_eq!(daemon.stop().code(), Some(0));
    None
}

/// What record `number` has to be.
fn value(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let words = 1 + random.up_to(400);
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

fn append(daemon: &Daemon, stop: &AtomicBool, value: fn(u64) -> Vec<u8>) {
    let mut peer = Peer::connect(daemon.address());
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let count = 1 + number % 7;
        let values: Vec<Vec<u8>> = (number..number + count).map(value).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let produced = peer.produce("t", 0, Acks::One, &batch_of((-1, -1, -1), &values));
        assert_eq!((produced.error, produced.base_offset), (ErrorCode::NONE, number as i64));
        number += count;
    }
}

/// Reads on and on, over and over again if it is from the beginning; the client checks every batch, and this every
/// record. What it finds wrong.
fn check(client: &Client, from: Position, stop: &AtomicBool, read: &AtomicU64) -> Option<String> {
    while !stop.load(Ordering::Relaxed) {
        let mut consumer =
            client.consumer(ConsumerConfig::new().wait_max(Duration::from_millis(50))).unwrap();
        consumer.assign([(TopicPartition::new("t", 0), from)]);
        for _ in 0..50 {
            let records = match consumer.poll(Duration::from_millis(50)) {
                Ok(records) => records,
                Err(error) => return Some(error.to_string()),
            };
            for record in records.iter().flatten() {
                let offset = record.offset.get() as u64;
                if record.value.unwrap() != value(offset) {
                    return Some(format!("record {offset} is not as it was appended"));
                }
                read.fetch_add(1, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
    None
}

/// Writes the pages of every log back and drops them, again and again.
fn drop_pages(mount: &Path, stop: &AtomicBool, drops: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for entry in std::fs::read_dir(mount.join("data/topics/t-0")).into_iter().flatten().flatten() {
            let Ok(file) = File::open(entry.path()) else { continue };
            let _ = file.sync_data();
            if fadvise(&file, 0, None, Advice::DontNeed).is_ok() {
                drops.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
