//! Claims about a daemon that runs out of what the machine gives it: descriptors, mappings, the last byte of the disk.
//! It serves on, holds no more than it may, and refuses what does not fit with an error that goes away.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use folio_tests::control::finding;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::TinyDisk;
use folio_tests::native::{Peer, batch};
use folio_tests::strace::Strace;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const LIMIT: Duration = Duration::from_secs(60);
/// Segments of a record or two.
const SMALL: &[&str] = &["--set", "topic.segment.bytes=4096"];

/// Appends a record of this value, again while it is refused for now; says how often it was.
fn produce(peer: &mut Peer, topic: &str, partition: u32, value: &[u8]) -> usize {
    let deadline = Instant::now() + LIMIT;
    for refused in 0.. {
        let produced = peer.produce(topic, partition, Acks::One, &batch(value));
        if produced.error == ErrorCode::NONE {
            return refused;
        }
        assert_eq!(produced.error, ErrorCode::TOO_BUSY, "{produced:?}");
        assert!(Instant::now() < deadline, "nothing gives way: {produced:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    0
}

/// The batch at `offset`, asked for again while there is no file to open; says how often that was.
fn read(peer: &mut Peer, topic: &str, partition: u32, offset: i64) -> (Vec<u8>, usize) {
    let deadline = Instant::now() + LIMIT;
    for refused in 0.. {
        let sent = peer.submit_fetch(&[(topic, partition, offset)], 1, Duration::from_secs(5));
        let (found, bytes) = peer.fetched(sent).swap_remove(0);
        if found.error == ErrorCode::NONE && !bytes.is_empty() {
            return (bytes, refused);
        }
        assert!(matches!(found.error, ErrorCode::NONE | ErrorCode::TOO_BUSY), "{found:?}");
        assert!(Instant::now() < deadline, "nothing gives way: {found:?}");
    }
    (Vec::new(), 0)
}

/// How many descriptors a daemon has, and how many files of its logs it has mapped.
fn held(pid: u32, data: &Path) -> (usize, usize) {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let topics = data.join("data/topics");
    (open, maps.lines().filter(|line| line.contains(&*topics.to_string_lossy())).count())
}

const PARTITIONS: u32 = 40;
const ROUNDS: u32 = 4;
const READERS: u32 = 4;

/// Produces to more partitions, and reads more segments, than can be open at once; gives the most descriptors and maps
/// that were held, how many of the latter may be, and how often somebody was refused.
fn overload(daemon: &Daemon, data: &Path) -> (usize, usize, usize, usize) {
    let mut peer = Peer::connect(daemon.address());
    for topic in ["fsync", "os"] {
        peer.create(topic, PARTITIONS, &[("durability", topic)]);
    }
    let (is_over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let most = std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let mut most = (0, 0);
            while !is_over.load(Ordering::Acquire) {
                let (open, maps) = held(daemon.pid(), data);
                most = (most.0.max(open), most.1.max(maps));
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        for round in 0..ROUNDS {
            for partition in 0..PARTITIONS {
                for topic in ["fsync", "os"] {
                    let again = produce(&mut peer, topic, partition, &[round as u8; 3000]);
                    refused.fetch_add(again, Ordering::Relaxed);
                }
            }
        }
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (refused, mut peer) = (&refused, Peer::connect(daemon.address()));
                scope.spawn(move || {
                    // Each begins elsewhere, and nobody where another one just was.
                    for number in 0..PARTITIONS * ROUNDS {
                        let number = (number * 7 + reader * 31) % (PARTITIONS * ROUNDS);
                        let (partition, offset) = (number / ROUNDS, number % ROUNDS);
                        for topic in ["fsync", "os"] {
                            let (bytes, again) = read(&mut peer, topic, partition, i64::from(offset));
                            let value = [offset as u8; 3000];
                            assert!(bytes.windows(value.len()).any(|window| window == value));
                            refused.fetch_add(again, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        is_over.store(true, Ordering::Release);
        watched.join().unwrap()
    });
    let limit = usize::try_from(peer.counter("mapped.files.max")).unwrap();
    assert!(peer.counter("mapped.files.gave.way") > 100, "nothing had to give way");
    (most.0, most.1, limit, refused.into_inner())
}

#[test]
fn few_descriptors_serve_many_partitions_and_segments_and_are_never_all_used() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::under(&["prlimit", "--nofile=256:256"], dir.path(), SMALL);
    let (open, maps, limit, refused) = overload(&daemon, dir.path());
    println!("{open} descriptors, {maps} maps of {limit}, {refused} refused");
    assert!(limit <= 128 && maps <= limit, "{maps} of {limit} maps");
    assert!(open < 200, "{open} descriptors of 256");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn few_mappings_serve_many_partitions_and_segments_and_whoever_finds_none_is_told_and_served_later() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[SMALL, &["--set", "mapped.files.max=24"]].concat());
    let (_, maps, limit, refused) = overload(&daemon, dir.path());
    println!("{maps} maps of {limit}, {refused} refused");
    assert!(limit == 24 && maps <= limit, "{maps} maps of {limit}");
    // Partitions that are not flushed hold what they have: eight of them have it all, until they are.
    let said = daemon.said();
    assert!(refused > 0 && said.contains("mapped.files.max"), "{refused} refused: {said}");
    assert_eq!(daemon.stop().code(), Some(0));
    // Nothing of it is lost.
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    for partition in 0..PARTITIONS {
        let (bytes, _) = read(&mut peer, "os", partition, i64::from(ROUNDS) - 1);
        assert!(bytes.windows(3000).any(|window| window == [ROUNDS as u8 - 1; 3000]));
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_start_on_a_disk_that_is_full_to_the_last_byte_makes_no_index_and_serves_what_is_there() {
    let mount = TinyDisk::mount(16);
    let (data, ballast) = full_and_without_indexes(&mount);
    let daemon = Daemon::on(data.path(), &[SMALL, &["--set", "disk.min.free=0"]].concat());
    let mut peer = Peer::connect(daemon.address());
    check(&mut peer, 5);
    let refused = peer.produce("t", 0, Acks::One, &batch(&[9; 3000])).error;
    assert_eq!(refused, ErrorCode::STORAGE_FULL);
    std::fs::remove_file(&ballast).unwrap();
    let deadline = Instant::now() + LIMIT;
    while peer.produce("t", 0, Acks::One, &batch(&[5; 3000])).error != ErrorCode::NONE {
        assert!(Instant::now() < deadline, "it does not resume");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = Daemon::on(data.path(), &[]);
    check(&mut Peer::connect(daemon.address()), 6);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Without an index a reader walks through the log itself: a log that is not as it was is found by it.
#[test]
fn on_a_full_disk_without_an_index_a_record_that_was_changed_is_found() {
    let mount = TinyDisk::mount(16);
    let (data, _) = full_and_without_indexes(&mount);
    let log = data.path().join("data/topics/t-0/00000000000000000001.log");
    let file = std::fs::File::options().write(true).open(log).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", 1000).unwrap();
    let daemon = Daemon::on(data.path(), &[SMALL, &["--set", "disk.min.free=0"]].concat());
    let mut peer = Peer::connect(daemon.address());
    check(&mut peer, 1);
    finding("another byte", || check(&mut peer, 2));
    daemon.stop();
}

/// Each of the first records is as it was sent.
fn check(peer: &mut Peer, count: u8) {
    for number in 0..count {
        let (bytes, _) = read(peer, "t", 0, i64::from(number));
        assert!(bytes.windows(3000).any(|window| window == [number; 3000]), "record {number} is another");
    }
}

/// What a daemon has left that was killed, less the indexes, on a disk without a byte of room; and what fills it.
fn full_and_without_indexes(mount: &TinyDisk) -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir_in(mount.path()).unwrap();
    let mut daemon = Daemon::on(data.path(), &[SMALL, &["--set", "disk.min.free=0"]].concat());
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "fsync")]);
    (0..5).for_each(|number| assert_eq!(produce(&mut peer, "t", 0, &[number; 3000]), 0));
    signal(&daemon.pid().to_string(), "KILL");
    daemon.wait();
    let indexes: Vec<PathBuf> = std::fs::read_dir(data.path().join("data/topics/t-0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("index"))
        .collect();
    assert!(indexes.len() >= 10, "{indexes:?}");
    indexes.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let ballast = mount.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    (data, ballast)
}

#[test]
fn a_start_that_has_no_descriptor_for_a_log_takes_nothing_offline_and_says_so() {
    assert!(Strace::is_there(), "tests/run leaves this out where there is no strace");
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    assert_eq!(produce(&mut peer, "t", 0, b"kept"), 0);
    drop((peer, daemon));
    let log = dir.path().join("data/topics/t-0/00000000000000000000.log").display().to_string();
    let strace = ["strace", "-f", "-o", "/dev/null", "-P", &log, "-e", "inject=openat:error=EMFILE:when=1"];
    let said = Daemon::try_under(&strace, dir.path(), &[]).unwrap_err();
    assert!(said.contains("Too many open files") && said.contains("topics/t-0"), "{said}");
    let daemon = Daemon::on(dir.path(), &[]);
    let (found, bytes) = Peer::connect(daemon.address()).fetch_now("t", 0);
    assert_eq!((found.error, bytes.is_empty()), (ErrorCode::NONE, false));
}
