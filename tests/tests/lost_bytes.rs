//! A segment's file loses bytes under the running daemon, by a foreign hand or by the disk: that segment is offline
//! from there on, one line says so, and all else is served. What was sent of it is not completed by anything else.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use folio_tests::cache;
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, Push, batch};
use folio_tests::rig::until;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use folio_wire::native::subscribe::SubscribeFrom;

const NOW: Duration = Duration::ZERO;
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with topics `t` and `u`.
struct Served {
    dir: tempfile::TempDir,
    daemon: Daemon,
    peer: Peer,
}

impl Served {
    /// Whose maintenance is so seldom that readers come upon what is lost.
    fn new(segment_bytes: &str) -> Self {
        Self::maintained(segment_bytes, "3600000")
    }

    fn maintained(segment_bytes: &str, interval_ms: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let setting = format!("topic.segment.bytes={segment_bytes}");
        let interval = format!("maintenance.interval.ms={interval_ms}");
        let daemon = Daemon::on(dir.path(), &["--set", &setting, "--set", &interval]);
        let mut peer = Peer::connect(daemon.address());
        for topic in ["t", "u"] {
            peer.create(topic, 1, &[("durability", "os")]);
        }
        Self { dir, daemon, peer }
    }

    /// Batches of one record of 10 kB to both topics.
    fn produce(&mut self, batches: usize) {
        for _ in 0..batches {
            for topic in ["t", "u"] {
                let produced = self.peer.produce(topic, 0, Acks::All, &batch(&[7; 10_000]));
                assert_eq!(produced.error, ErrorCode::NONE, "{:?}", produced.message);
            }
        }
    }

    /// The logs of a topic's segments, in order.
    fn logs(&self, topic: &str) -> Vec<PathBuf> {
        cache::logs(&self.dir.path().join(format!("data/topics/{topic}-0")))
    }

    /// What a new connection is told of an offset: none of its places is known.
    fn fetch(&self, topic: &str, offset: i64) -> (ErrorCode, usize) {
        let (entry, records) = Peer::connect(self.daemon.address()).fetch_now(topic, offset);
        (entry.error, records.len())
    }

    /// The lines of the log that tell of a segment's loss.
    fn told(&self) -> Vec<String> {
        until("it is told", || self.daemon.said().contains("a segment is offline"));
        let said = self.daemon.said();
        said.lines().filter(|line| line.contains("a segment is offline")).map(str::to_owned).collect()
    }
}

fn base(log: &Path) -> i64 {
    log.file_stem().unwrap().to_string_lossy().parse().unwrap()
}

fn truncate(log: &Path, len: u64) {
    File::options().write(true).open(log).unwrap().set_len(len).unwrap();
}

#[test]
fn a_truncated_segment_is_offline_with_one_line_that_names_it_and_all_else_is_served() {
    let mut served = Served::new("65536");
    served.produce(20);
    let logs = served.logs("t");
    assert!(logs.len() >= 3, "{logs:?}");
    let (active, before) = (logs.last().unwrap(), base(logs.last().unwrap()));
    // Of the first batch of the last segment half is left.
    truncate(active, 5_000);

    // The header is there, and what follows is found to be gone when the kernel looks for it: this answer cannot be.
    let mut first = Peer::connect(served.daemon.address());
    first.send_fetch("t", before, 1000, NOW);
    assert!(first.is_closed(LIMIT));
    for _ in 0..3 {
        assert_eq!(served.fetch("t", before), (ErrorCode::PARTITION_OFFLINE, 0), "{}", served.daemon.said());
    }
    let told = served.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let name = active.file_name().unwrap().to_string_lossy();
    for part in [&*name, "from byte 5000 on", &format!("of offsets {before} to 19")] {
        assert!(told[0].contains(part), "{part:?} in {told:?}");
    }

    let mut offset = 0;
    while offset < before {
        let (error, bytes) = served.fetch("t", offset);
        assert_eq!(error, ErrorCode::NONE, "at {offset}");
        assert!(bytes > 10_000, "at {offset}");
        offset += 1;
    }
    assert_eq!(served.fetch("u", 0).0, ErrorCode::NONE);
    // What came behind the loss would go with it at the next start.
    let refused = served.peer.produce("t", 0, Acks::All, &batch(b"lost"));
    assert_eq!(refused.error, ErrorCode::PARTITION_OFFLINE, "{:?}", refused.message);
    let produced = served.peer.produce("u", 0, Acks::All, &batch(b"kept"));
    assert_eq!(produced.error, ErrorCode::NONE);

    let Served { dir, daemon, .. } = served;
    daemon.stop();
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("1 offline"), "the next start finds it too: {}", daemon.said());
    let mut peer = Peer::connect(daemon.address());
    assert_eq!(peer.fetch_now("t", before).0.error, ErrorCode::PARTITION_OFFLINE);
    assert_eq!(peer.fetch_now("t", 0).0.error, ErrorCode::NONE);
    assert_eq!(peer.fetch_now("u", 20).0.error, ErrorCode::NONE);
}

#[test]
fn a_segment_in_the_middle_that_loses_bytes_is_read_up_to_them_and_the_later_ones_are_read_and_appended_to() {
    let mut served = Served::new("65536");
    served.produce(20);
    let logs = served.logs("t");
    let (middle, next) = (base(&logs[1]), base(&logs[2]));
    // Whoever has read it has it mapped.
    assert_eq!(served.fetch("t", middle).0, ErrorCode::NONE);
    truncate(&logs[1], 25_000);
    let (error, bytes) = served.fetch("t", middle);
    if error == ErrorCode::NONE {
        assert!(bytes <= 25_000, "nothing was made up");
    }
    assert_eq!(served.fetch("t", middle + 2), (ErrorCode::PARTITION_OFFLINE, 0));
    assert_eq!(served.fetch("t", middle + 4), (ErrorCode::PARTITION_OFFLINE, 0));
    let (error, bytes) = served.fetch("t", middle);
    assert_eq!((error, bytes > 20_000 && bytes < 25_000), (ErrorCode::NONE, true), "{bytes}");
    assert_eq!(served.fetch("t", next).0, ErrorCode::NONE);
    served.produce(1);
    assert_eq!(served.fetch("t", 20).0, ErrorCode::NONE);
    assert_eq!(served.told().len(), 1, "{:?}", served.told());
}

#[test]
fn a_segment_that_lost_bytes_before_anybody_has_read_it_is_read_up_to_them_too() {
    let mut served = Served::new("65536");
    served.produce(20);
    let Served { dir, daemon, .. } = served;
    daemon.stop();
    let daemon = Daemon::on(dir.path(), &[]);
    let peer = Peer::connect(daemon.address());
    let served = Served { dir, daemon, peer };
    let logs = served.logs("t");
    truncate(&logs[1], 25_000);
    let middle = base(&logs[1]);
    let (error, bytes) = served.fetch("t", middle);
    assert_eq!((error, bytes > 20_000 && bytes < 25_000), (ErrorCode::NONE, true), "{bytes}");
    assert_eq!(served.fetch("t", middle + 2), (ErrorCode::PARTITION_OFFLINE, 0));
    assert_eq!(served.fetch("t", base(&logs[2])).0, ErrorCode::NONE);
    assert_eq!(served.told().len(), 1, "{:?}", served.told());
}

#[test]
fn a_truncation_that_no_reader_comes_upon_is_found_and_nothing_is_acknowledged_behind_it() {
    let mut served = Served::maintained("1073741824", "20");
    served.produce(5);
    truncate(&served.logs("t")[0], 5_000);
    assert_eq!(served.told().len(), 1, "{:?}", served.told());
    let refused = served.peer.produce("t", 0, Acks::All, &batch(b"lost"));
    assert_eq!(refused.error, ErrorCode::PARTITION_OFFLINE, "{:?}", refused.message);
    assert_eq!(served.fetch("t", 0), (ErrorCode::PARTITION_OFFLINE, 0));
    assert_eq!(served.told().len(), 1, "{:?}", served.told());
}

#[test]
fn a_response_that_was_gathered_from_bytes_that_are_gone_is_not_completed() {
    let mut served = Served::new("1073741824");
    let large = batch(&vec![7; 1_000_000]);
    for _ in 0..24 {
        let produced = served.peer.produce("t", 0, Acks::All, &large);
        assert_eq!(produced.error, ErrorCode::NONE, "{:?}", produced.message);
    }
    // More than the socket takes, and nobody reads: most of it stays a range of the mapping.
    let mut slow = Peer::connect(served.daemon.address());
    slow.send_fetch("t", 0, 32 << 20, NOW);
    until("the answer is under way", || served.peer.counter("bytes.out") > 20 << 20);
    truncate(&served.logs("t")[0], 0);
    assert!(slow.is_closed(LIMIT), "{}", served.daemon.said());
    assert_eq!(served.fetch("t", 0), (ErrorCode::PARTITION_OFFLINE, 0));
    assert_eq!(served.told().len(), 1, "{:?}", served.told());
}

#[test]
fn a_subscription_that_comes_to_lost_bytes_ends_with_that_error() {
    let mut served = Served::new("65536");
    served.produce(20);
    let logs = served.logs("t");
    truncate(logs.last().unwrap(), 0);
    let mut subscriber = Peer::connect(served.daemon.address());
    subscriber.subscribe(1, "t", SubscribeFrom::Earliest, u64::MAX);
    let mut bytes = 0;
    let end = loop {
        match subscriber.next_push(LIMIT).expect("it goes on, or ends") {
            Push::Batches(_, records) => bytes += records.len(),
            Push::End(end) => break end,
        }
    };
    assert_eq!(end.error, ErrorCode::PARTITION_OFFLINE, "{:?}", end.message);
    assert_eq!(end.next_offset, base(logs.last().unwrap()));
    assert!(bytes > 10_000 * usize::try_from(end.next_offset).unwrap(), "all that lies before was sent");
}

#[test]
fn a_start_that_finds_no_durable_point_of_a_log_says_so_and_recovers_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "fsync")]);
    assert_eq!(peer.produce("t", 0, Acks::All, &batch(b"kept")).error, ErrorCode::NONE);
    signal(&daemon.pid().to_string(), "KILL");
    daemon.wait();
    let slots = dir.path().join("data/slots");
    let mut bytes = std::fs::read(&slots).unwrap();
    bytes[4096..].fill(0x55);
    std::fs::write(&slots, &bytes).unwrap();

    let daemon = Daemon::on(dir.path(), &[]);
    let said = daemon.said();
    assert!(said.contains("no durable point tells how far") && said.contains("t-0"), "{said}");
    let described = Peer::connect(daemon.address()).describe("t");
    assert_eq!((described.log_end, described.high_watermark), (1, 1));
    assert_eq!(daemon.stop().code(), Some(0));
}
