//! How a broker ends: what waits is answered, what was promised is kept, and a second request is obeyed at once.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use folio_broker::Outcome;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, batch};
use folio_tests::rig::{Rig, until};
use folio_tests::strace::Strace;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const LIMIT: Duration = Duration::from_secs(60);
/// Nobody who waits for a flush gets it before the test is over.
const FLUSH_NEVER: &[&str] = &["--set", "flush.linger.us=3600000000", "--set", "shutdown.timeout.ms=600000"];

#[test]
fn a_produce_and_a_fetch_that_wait_are_answered_before_the_connections_go() {
    let mut rig = Rig::new(&[("flush.linger.us", "5000000"), ("shutdown.timeout.ms", "60000")]);
    let (mut producer, mut consumer) = (rig.peer(), rig.peer());
    producer.create("t", 2, &[("durability", "fsync")]);
    let produce = producer.submit_produce("t", 0, Acks::All, &batch(b"kept"));
    until("it is appended", || producer.describe("t").log_end == 1);
    let fetch = consumer.submit_fetch(&[("t", 1, 0)], 1, Duration::from_secs(600));
    // The broker has the fetch by the time that it answers this.
    consumer.describe("t");
    assert!(!producer.has_answer_to(produce) && !consumer.has_answer_to(fetch), "both wait");

    let asked = Instant::now();
    let outcome = rig.stop();
    assert!(matches!(outcome, Outcome::Clean), "{outcome:?}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let produced = producer.produced(produce);
    assert_eq!((produced.error, produced.base_offset), (ErrorCode::NONE, 0));
    let (fetched, records) = consumer.fetched(fetch).swap_remove(0);
    assert_eq!((fetched.error, records.len()), (ErrorCode::NONE, 0));
    assert!(producer.is_closed(LIMIT) && consumer.is_closed(LIMIT));
}

#[test]
fn a_second_request_ends_the_wait_for_a_flush_and_the_next_start_recovers() {
    second_signal("os", Acks::One);
}

#[test]
fn a_second_request_ends_the_wait_for_requests_that_wait_and_the_next_start_recovers() {
    second_signal("fsync", Acks::All);
}

/// A daemon that ends although something in it waits for ever.
fn second_signal(durability: &str, acks: Acks) {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), FLUSH_NEVER);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", durability)]);
    let produce = peer.submit_produce("t", 0, acks, &batch(b"kept"));
    until("it is appended", || peer.describe("t").log_end == 1);
    if acks == Acks::One {
        assert_eq!(peer.produced(produce).error, ErrorCode::NONE);
    }
    signal(&daemon.pid().to_string(), "TERM");
    // Two signals that arrive together are one.
    until("the first has arrived", || TcpStream::connect(daemon.address()).is_err());
    signal(&daemon.pid().to_string(), "TERM");
    let asked = Instant::now();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "at once: {:?}", asked.elapsed());
    assert!(daemon.said().contains("without the clean mark"), "{}", daemon.said());

    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    let mut peer = Peer::connect(daemon.address());
    // The machine lived on, so nothing is missing, acknowledged or not.
    let described = peer.describe("t");
    assert_eq!((described.log_end, described.high_watermark), (1, 1));
    assert!(!peer.fetch_now("t", 0).1.is_empty());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_stop_waits_for_a_moment_of_sealing_and_not_for_all_that_is_to_be_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(
        dir.path(),
        &[
            "--set",
            "topic.segment.bytes=1048576",
            "--set",
            "maintenance.interval.ms=100",
            "--set",
            "scrub.bytes.per.second=0",
            "--set",
            "shutdown.timeout.ms=15000",
        ],
    );
    // A segment takes more than three seconds, all of them more than a minute.
    let told = dir.path().join("reads");
    let slow = ["trace=pread64", "inject=pread64:delay_enter=200000"].map(str::to_owned);
    let thread = daemon.thread("folio-maintain");
    let strace = Strace::watch(thread, false, &slow, &told);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "fsync")]);
    let record = batch(&vec![b'x'; 500_000]);
    for _ in 0..50 {
        assert_eq!(peer.produce("t", 0, Acks::All, &record).error, ErrorCode::NONE);
    }
    until("it reads", || std::fs::read_to_string(&told).is_ok_and(|told| told.contains(".log>")));
    signal(&daemon.pid().to_string(), "TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    drop(strace);
    assert!(dir.path().join("data/clean").exists(), "{}", daemon.said());
}

#[test]
fn a_flush_that_fails_while_the_daemon_ends_is_told_and_never_marked_clean() {
    let dir = tempfile::tempdir().unwrap();
    let late = ["--set", "flush.linger.us=10000000", "--set", "shutdown.timeout.ms=60000"];
    let mut daemon = Daemon::on(dir.path(), &late);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "fsync")]);
    let produce = peer.submit_produce("t", 0, Acks::All, &batch(b"x"));
    // From here on nothing is flushed but by the flusher, and it lingers.
    until("it is appended", || peer.describe("t").log_end == 1);
    let strace = Strace::attach(daemon.pid(), "inject=fdatasync,fsync,syncfs:error=EIO");
    assert!(!peer.has_answer_to(produce));
    signal(&daemon.pid().to_string(), "TERM");
    assert_eq!(peer.produced(produce).error, ErrorCode::STORAGE_FAILED);
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    assert!(daemon.said().contains("Input/output error"), "{}", daemon.said());
    drop(strace);
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    daemon.stop();
}
