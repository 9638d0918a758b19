//! Reads of what is not in memory: what is in memory goes at once, the rest when the disk has it; and where the disk
//! has it no more, that range is an error, and nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::PathBuf;
use std::time::Duration;

use folio_tests::cache::{closed_logs, cool, is_sealed, warm};
use folio_tests::daemon::Daemon;
use folio_tests::native::{Peer, Push, batch};
use folio_tests::rig::until;
use folio_tests::strace::Strace;
use folio_wire::native::ErrorCode;
use folio_wire::native::fetch::{FetchEntryV1, FetchRequestV1};
use folio_wire::native::produce::Acks;
use folio_wire::native::subscribe::SubscribeFrom;

const LIMIT: Duration = Duration::from_secs(60);
/// Of the one loop, in which it fills a socket; whatever it is asked takes one at least.
const TURNS: usize = 32;
/// What has waited for a slow consumer longer than this is looked at before it is sent.
const COOLS_AFTER: Duration = Duration::from_millis(10);
const BATCH: usize = 50_000;
/// Of the closed segment.
const BATCHES: i64 = 80;

/// A daemon whose topic `t` has a closed segment of 80 batches of one record each, which is not in memory.
struct Served {
    _dir: tempfile::TempDir,
    daemon: Daemon,
    log: PathBuf,
    /// Bytes of a batch.
    size: usize,
}

impl Served {
    fn cold(settings: &[&str]) -> Self {
        // Some keep /tmp in memory, where nothing is ever cold.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (value, size) = (vec![7; BATCH], batch(&[7; BATCH]).len());
        let segment = format!("topic.segment.bytes={}", size as i64 * BATCHES);
        let mut arguments = vec!["--set", &segment, "--set", "maintenance.interval.ms=20"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let daemon = Daemon::on(dir.path(), &arguments);
        let mut peer = Peer::connect(daemon.address());
        peer.create("t", 1, &[]);
        peer.create("u", 1, &[]);
        for _ in 0..=BATCHES {
            assert_eq!(peer.produce("t", 0, Acks::All, &batch(&value)).error, ErrorCode::NONE);
        }
        assert_eq!(peer.produce("u", 0, Acks::All, &batch(&value)).error, ErrorCode::NONE);
        let log = closed_logs(&dir.path().join("data"), "t").remove(0);
        until("it is sealed", || is_sealed(&log));
        cool(&log);
        Self { _dir: dir, daemon, log, size }
    }

    fn peer(&self) -> Peer {
        Peer::connect(self.daemon.address())
    }

    /// How many batches a fetch of this peer gives.
    fn fetch(&self, peer: &mut Peer, offset: i64, [min, max]: [usize; 2]) -> Result<i64, ErrorCode> {
        let [min_bytes, max_bytes] = [min, max].map(|bytes| u32::try_from(bytes).unwrap());
        let entry = FetchEntryV1 { topic: "t", partition: 0, offset, max_bytes, leader_epoch: -1 };
        let fetch = FetchRequestV1 { max_wait_ms: 60_000, min_bytes, max_bytes, entries: vec![entry] };
        let sent = peer.submit(&fetch, &[]);
        let (entry, records) = peer.fetched(sent).swap_remove(0);
        if entry.error != ErrorCode::NONE {
            return Err(entry.error);
        }
        assert_eq!(records.len() % self.size, 0, "whole batches");
        Ok(i64::try_from(records.len() / self.size).unwrap())
    }

    /// A peer that has read the first batch: its place is known, and the rest is as cold as before.
    fn begun(&self) -> Peer {
        let mut peer = self.peer();
        assert_eq!(self.fetch(&mut peer, 0, [1, self.size]), Ok(1));
        cool(&self.log);
        peer
    }
}

#[test]
fn what_is_in_memory_goes_at_once_and_the_rest_comes_with_the_next_answers() {
    let served = Served::cold(&[]);
    let mut peer = served.begun();
    warm(&served.log, 0, 1_000_000);
    // While the disk is as slow as this, whoever waits for it is seen to.
    let strace = Strace::attach(served.daemon.pid(), "inject=madvise:delay_enter=60000000");
    let begun = std::time::Instant::now();
    let first = served.fetch(&mut peer, 1, [1, 60 * served.size]).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for the disk: {:?}", begun.elapsed());
    assert!((5..60).contains(&first), "{first} batches");
    drop(strace);
    let mut offset = 1 + first;
    while offset < BATCHES {
        offset += served.fetch(&mut peer, offset, [1, 60 * served.size]).unwrap();
    }
    assert_eq!(offset, BATCHES);
}

#[test]
fn a_fetch_that_wants_more_than_is_in_memory_has_it_from_the_disk() {
    let served = Served::cold(&[]);
    let mut peer = served.begun();
    warm(&served.log, 0, 600_000);
    let batches = served.fetch(&mut peer, 1, [50 * served.size, 60 * served.size]).unwrap();
    assert!((50..=60).contains(&batches), "{batches} batches");
}

#[test]
fn an_answer_from_the_disk_is_bounded_unless_more_is_waited_for() {
    let served = Served::cold(&[]);
    let bounded = served.fetch(&mut served.peer(), 0, [1, 79 * served.size]).unwrap();
    assert!((2..40).contains(&bounded), "{bounded} batches");
    let served = Served::cold(&[]);
    assert_eq!(served.fetch(&mut served.peer(), 0, [79 * served.size; 2]), Ok(79));
}

#[test]
fn a_subscriber_gets_all_of_a_cold_log_in_order() {
    let served = Served::cold(&[]);
    let mut peer = served.peer();
    peer.subscribe(1, "t", SubscribeFrom::Earliest, u64::MAX);
    let (mut bytes, all) = (0, (BATCHES as usize + 1) * served.size);
    while bytes < all {
        match peer.next_push(LIMIT) {
            Some(Push::Batches(_, records)) => bytes += records.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes, all);
}

#[test]
fn a_cold_log_is_read_by_way_of_memory_as_well() {
    let served = Served::cold(&["read.path=copy"]);
    let mut peer = served.peer();
    let mut offset = 0;
    while offset < BATCHES {
        let batches = served.fetch(&mut peer, offset, [1, 60 * served.size]).unwrap();
        assert!((1..=1 + (1 << 20) / served.size as i64).contains(&batches), "{batches} batches at once");
        offset += batches;
    }
    assert_eq!(offset, BATCHES);
}

#[test]
fn what_leaves_memory_while_a_slow_consumer_takes_its_time_is_read_in_by_others_than_the_loop() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "loop.threads=1"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    // Between the headers of batches that large there are pages that no mapping has touched.
    let value: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 100) as u8).collect();
    let sent = batch(&value);
    for _ in 0..24 {
        assert_eq!(peer.produce("t", 0, Acks::All, &sent).error, ErrorCode::NONE);
    }
    let mut slow = Peer::connect(daemon.address());
    let answer = slow.submit_fetch(&[("t", 0, 0)], 1, Duration::ZERO);
    // What the loop has not offered to the socket yet is as good as in memory to it: it has to wait for the consumer.
    slow.until_readable();
    for _ in 0..TURNS {
        peer.counter("bytes.out");
    }
    std::thread::sleep(COOLS_AFTER);
    let trace = dir.path().join("trace");
    let strace = Strace::record(daemon.pid(), "madvise", &trace);
    cool(&dir.path().join("data/topics/t-0/00000000000000000000.log"));
    let (entry, records) = slow.fetched(answer).swap_remove(0);
    drop(strace);
    assert_eq!(entry.error, ErrorCode::NONE);
    assert_eq!(records.len(), 24 * sent.len());
    for batch in records.chunks(sent.len()) {
        // The offset and the epoch are the broker's.
        assert!(batch[16..] == sent[16..]);
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("madvise("), "nothing had left memory, or the loop waited for it");
}

#[test]
fn what_nobody_has_flushed_and_has_left_memory_is_read_in_by_others_than_the_loop() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "os")]);
    let sent = batch(&vec![7; 1_000_000]);
    for _ in 0..8 {
        assert_eq!(peer.produce("t", 0, Acks::All, &sent).error, ErrorCode::NONE);
    }
    // As the kernel does by itself, sooner or later.
    cool(&dir.path().join("data/topics/t-0/00000000000000000000.log"));
    let trace = dir.path().join("trace");
    let strace = Strace::record(daemon.pid(), "madvise", &trace);
    let (entry, records) = peer.fetch_now("t", 0);
    drop(strace);
    assert_eq!((entry.error, records.len() % sent.len()), (ErrorCode::NONE, 0));
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("madvise("), "the loop took for granted that it is in memory");
}

#[test]
fn a_range_that_the_disk_cannot_read_is_an_error_and_nothing_else_is() {
    let served = Served::cold(&[]);
    let mut peer = served.begun();
    warm(&served.log, 0, 4 * served.size);
    let strace = Strace::attach(served.daemon.pid(), "inject=madvise,pread64,preadv:error=EIO");
    for _ in 0..3 {
        assert_eq!(served.fetch(&mut peer, 40, [1, 1 << 20]), Err(ErrorCode::STORAGE_FAILED));
    }
    assert_eq!(served.fetch(&mut peer, 1, [1, served.size]), Ok(1), "what is in memory is served");
    let mut other = served.peer();
    assert_eq!(other.fetch_now("u", 0).0.error, ErrorCode::NONE);
    assert_eq!(other.produce("t", 0, Acks::All, &batch(b"x")).error, ErrorCode::NONE);
    drop(strace);
    assert!(served.fetch(&mut peer, 40, [1, 1 << 20]).is_ok(), "it is tried again: {}", served.daemon.said());
}
