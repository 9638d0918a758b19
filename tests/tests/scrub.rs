//! What rots in full segments while a daemon runs: found, told with its place, refused, and nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use folio_client::{
    Client, ClientConfig, ConfigChange, ConfigResource, ConsumerConfig, ErrorCode, PollError, Position,
    TopicPartition,
};
use folio_tests::cache;
use folio_tests::daemon::Daemon;
use folio_tests::kafka::{KafkaPeer, fetch};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::until;
use folio_wire::kafka::KafkaError;
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::native::produce::Acks;

/// A pass over everything twenty times a second, and segments of a few batches.
const EAGER: [&str; 8] = [
    "--set",
    "scrub.interval.ms=50",
    "--set",
    "maintenance.interval.ms=20",
    "--set",
    "topic.segment.bytes=16384",
    "--set",
    "topic.index.interval.bytes=1024",
];

const RECORDS: i64 = 200;

/// A daemon with a topic `t` of so many records, all but the last few in segments that are sealed.
fn sealed(dir: &Path) -> Daemon {
    let daemon = Daemon::on(dir, &EAGER);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    for number in 0..RECORDS {
        let record = batch(format!("{number} {}", "x".repeat(400)).as_bytes());
        assert_eq!(peer.produce("t", 0, Acks::All, &record).error, ErrorCode::NONE);
    }
    scrubbed_all(&daemon, &cache::logs(&dir.join("data/topics/t-0")));
    daemon
}

/// Waits until a pass has read all segments but the last one.
fn scrubbed_all(daemon: &Daemon, segments: &[PathBuf]) {
    let full: u64 = segments[..segments.len() - 1].iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(full > 40_000, "{full}");
    let mut peer = Peer::connect(daemon.address());
    until("a pass has read all that is full", || {
        let seen = |peer: &mut Peer| (peer.counter("scrub.passes"), peer.counter("scrub.bytes"));
        let before = seen(&mut peer);
        until("a pass ends", || peer.counter("scrub.passes") > before.0 + 1);
        seen(&mut peer).1 - before.1 >= full
    });
}

fn flip(path: &Path, position: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
    file.sync_all().unwrap();
}

/// Which offsets are refused as damaged; every other one is answered with records.
fn refused(daemon: &Daemon) -> Vec<i64> {
    let (mut peer, mut kafka) = (Peer::connect(daemon.address()), KafkaPeer::connect(daemon.address()));
    let mut refused = Vec::new();
    for offset in 0..RECORDS {
        let (native, records) = peer.fetch_now("t", offset);
        let answer = kafka.call(12, &fetch("t", 0, offset, Duration::ZERO));
        let told: FetchResponse<'_> = answer.message();
        let code = told.responses[0].partitions[0].error_code;
        match native.error {
            ErrorCode::NONE => assert!(code == KafkaError::NONE && !records.is_empty(), "{offset}: {code:?}"),
            ErrorCode::CORRUPT_BATCH => {
                assert_eq!(code, KafkaError::CORRUPT_MESSAGE, "{offset}");
                refused.push(offset);
            }
            other => panic!("{offset}: {other:?}"),
        }
    }
    refused
}

#[test]
fn a_flipped_byte_under_a_running_daemon_is_found_named_and_refused_and_all_else_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = sealed(dir.path());
    let segments = cache::logs(&dir.path().join("data/topics/t-0"));
    assert!(segments.len() > 4, "{segments:?}");
    assert!(refused(&daemon).is_empty());
    let mut peer = Peer::connect(daemon.address());

    // The epoch of a batch, of which nothing but the index knows what it was.
    flip(&segments[1], 15);
    until("it is found", || peer.counter("scrub.damaged") > 0);
    let said = daemon.said();
    let line = said.lines().find(|line| line.contains("a segment is damaged")).unwrap();
    let base: i64 = segments[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let place = format!("topics/t-0/{base:020}.log, bytes 0 to ");
    for part in
        [&*place, "the header of the batch at byte 0", &format!("Offsets from {base} to"), "folio log verify"]
    {
        assert!(line.contains(part), "{part:?} in {line:?}");
    }
    let damaged = refused(&daemon);
    assert!(damaged.first() == Some(&base) && damaged.len() < 10, "{damaged:?}");

    // Consumers are told, and go on behind it.
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let mut consumer = client.consumer(ConsumerConfig::new()).unwrap();
    let read_from = |offset| Position::At(folio_client::Offset::new(offset));
    consumer.assign([(TopicPartition::new("t", 0), read_from(base))]);
    let error = consumer.poll(Duration::from_secs(20)).unwrap_err();
    let PollError::Refused { refusal, .. } = &error else { panic!("{error:?}") };
    assert!(refusal.code == ErrorCode::CORRUPT_BATCH && refusal.message.contains(&place), "{refusal}");
    consumer.assign([(TopicPartition::new("t", 0), read_from(damaged.last().unwrap() + 1))]);
    assert!(consumer.poll(Duration::from_secs(20)).unwrap().is_some());

    // Writes go on, and so does the rest of the partition; what is put right is served again.
    assert_eq!(peer.produce("t", 0, Acks::All, &batch(b"more")).error, ErrorCode::NONE);
    flip(&segments[1], 15);
    until("it is whole again", || refused(&daemon).is_empty());
    assert!(daemon.said().contains("what was damaged is as it was written"), "{}", daemon.said());
    daemon.stop();
}

#[test]
fn flips_all_over_full_segments_are_found_each_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = sealed(dir.path());
    let segments = cache::logs(&dir.path().join("data/topics/t-0"));
    let mut peer = Peer::connect(daemon.address());
    // One in each, at another place: offset, length, payload, the last byte.
    let full = &segments[..segments.len() - 1];
    for (number, path) in full.iter().enumerate() {
        let len = path.metadata().unwrap().len();
        flip(path, [3, 11, len / 2, len - 1][number % 4]);
    }
    until("all are found", || {
        let said = daemon.said();
        full.iter()
            .all(|path| said.contains(&format!("{}, bytes", path.file_name().unwrap().to_string_lossy())))
    });
    let damaged = refused(&daemon);
    assert!(damaged.len() >= full.len() && damaged.len() < 10 * full.len(), "{damaged:?}");
    assert!(peer.counter("scrub.damaged") >= full.len() as u64);
    daemon.stop();
}

#[test]
fn a_hole_that_a_neighbour_makes_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = sealed(dir.path());
    let segments = cache::logs(&dir.path().join("data/topics/t-0"));
    let file = std::fs::File::options().write(true).open(&segments[2]).unwrap();
    file.write_all_at(&[0; 4096], 4096).unwrap();
    file.sync_all().unwrap();
    let mut peer = Peer::connect(daemon.address());
    until("it is found", || peer.counter("scrub.damaged") > 0);
    until("it is refused", || refused(&daemon).len() >= 8);
    daemon.stop();
}

/// A closed segment whose age nobody can learn: its times do not grow, so that its headers have to be looked at, and
/// one of them is none.
#[test]
fn where_nobody_knows_how_old_a_segment_is_the_oldest_go_by_size_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let segment_bytes = "topic.segment.bytes=16384";
    // Nothing is sealed: its footer would say how old it is.
    let daemon =
        Daemon::on(dir.path(), &["--set", segment_bytes, "--set", "maintenance.interval.ms=3600000"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    let record = batch(&[b'x'; 400]);
    for _ in 0..RECORDS {
        assert_eq!(peer.produce("t", 0, Acks::All, &record).error, ErrorCode::NONE);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let segments = cache::logs(&dir.path().join("data/topics/t-0"));
    // The format of a batch, between two entries of the index.
    flip(&segments[1], 12 * record.len() as u64 + 16);

    let daemon = Daemon::on(dir.path(), &["--set", segment_bytes, "--set", "maintenance.interval.ms=20"]);
    until("it is told", || daemon.said().contains("nobody knows how old a segment is"));
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let change = ConfigChange::Set("retention.bytes".to_owned(), "20000".to_owned());
    client.admin().alter_configs(ConfigResource::Topic("t".to_owned()), [change]).wait().unwrap();
    let mut peer = Peer::connect(daemon.address());
    let behind: i64 = segments[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    until("it went by size", || peer.describe("t").log_start >= behind && !segments[1].exists());
    assert_eq!(daemon.said().matches("nobody knows how old a segment is").count(), 1);
    daemon.stop();
}
