//! What a full disk and a failing one mean for those who produce and read: the statements, one by one. `faults.rs` has
//! the daemon's last words, `syscalls` every call.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use folio_client::{Client, ClientConfig, ConfigChange, ConfigResource};
use folio_tests::cache;
use folio_tests::control::finding;
use folio_tests::daemon::Daemon;
use folio_tests::disk::TinyDisk;
use folio_tests::kafka::{KafkaPeer, fetch, produce};
use folio_tests::native::{Peer, batch, keyed};
use folio_tests::rig::until;
use folio_tests::strace::Strace;
use folio_wire::kafka::fetch::FetchResponse;
use folio_wire::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use folio_wire::kafka::produce::ProduceResponse;
use folio_wire::kafka::{ApiKey, KafkaError};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const MIB: u64 = 1 << 20;
const COMPACTION_LAG_MS: u64 = 1000;

/// A daemon on a disk of 40 MiB that refuses produce below 8 MiB, with a topic of some records.
fn nearly_full(disk: &TinyDisk, more: &[&str]) -> Daemon {
    let mut arguments = vec!["--set", "disk.min.free=8388608"];
    arguments.extend(more.iter().flat_map(|setting| ["--set", setting]));
    let daemon = Daemon::on(disk.path(), &arguments);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    for _ in 0..20 {
        assert_eq!(peer.produce("t", 0, Acks::All, &batch(&[7; 1000])).error, ErrorCode::NONE);
    }
    daemon
}

/// Leaves so many bytes of the disk free, and never more on the way there.
fn leave(disk: &TinyDisk, wanted: u64) {
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let path = disk.path().join("ballast");
    let ballast = std::fs::File::options().create(true).append(true).open(path).unwrap();
    match free.checked_sub(wanted) {
        Some(more) => (&ballast).write_all(&vec![1; more as usize]).unwrap(),
        None => ballast.set_len(ballast.metadata().unwrap().len() - (wanted - free)).unwrap(),
    }
}

/// Waits until what this counts has happened that had not begun before.
fn until_it_looks_again(peer: &mut Peer, counter: &str) {
    let before = peer.counter(counter);
    // One may be under way.
    until("it looks again", || peer.counter(counter) >= before + 2);
}

fn commit_code(peer: &mut KafkaPeer, offset: i64) -> KafkaError {
    let partition =
        OffsetCommitRequestPartition { committed_offset: offset, ..OffsetCommitRequestPartition::default() };
    let partitions = vec![partition];
    let topic = OffsetCommitRequestTopic { name: "t", partitions, ..OffsetCommitRequestTopic::default() };
    let request = OffsetCommitRequest {
        group_id: "g",
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    let answer = peer.call(9, &request);
    answer.message::<OffsetCommitResponse<'_>>().topics[0].partitions[0].error_code
}

/// The code and the text of an answer to a produce.
fn produced(answer: &folio_tests::kafka::Answer) -> (KafkaError, String) {
    let told: ProduceResponse<'_> = answer.message();
    let partition = &told.responses[0].partition_responses[0];
    (partition.error_code, partition.error_message.as_deref().unwrap_or_default().to_owned())
}

#[test]
fn below_the_bound_producers_are_told_what_is_free_and_needed_all_else_goes_on_and_it_resumes_within_two_seconds()
 {
    let disk = TinyDisk::mount(40);
    let daemon = nearly_full(&disk, &[]);
    let (mut peer, mut kafka) = (Peer::connect(daemon.address()), KafkaPeer::connect(daemon.address()));
    until("the group has a coordinator", || commit_code(&mut kafka, 1) == KafkaError::NONE);
    peer.create("gone", 1, &[]);
    leave(&disk, 6 * MIB);

    let mut text = String::new();
    until("produce is refused", || {
        let (code, said) = produced(&kafka.call(9, &produce("t", 0, -1, &batch(b"more"))));
        text = said;
        code == KafkaError::KAFKA_STORAGE_ERROR
    });
    assert!(KafkaError::KAFKA_STORAGE_ERROR.is_retriable());
    let dir = disk.path().join("data").display().to_string();
    assert!(text.starts_with(&format!("disk full on {dir}: ")) && text.ends_with("need 12582912"), "{text}");
    let native = peer.produce("t", 0, Acks::All, &batch(b"more"));
    assert_eq!((native.error, native.message.as_deref()), (ErrorCode::STORAGE_FULL, Some(&*text)));

    // Fetches, deletes of records and topics, and commits.
    let end = peer.describe("t").log_end;
    assert!(!peer.fetch_now("t", 0).1.is_empty());
    assert_eq!(commit_code(&mut kafka, 2), KafkaError::NONE);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    client.admin().delete_topic("gone").wait().unwrap();

    // Above the bound, and not well above it: as before.
    leave(&disk, 10 * MIB);
    until_it_looks_again(&mut peer, "disk.looks");
    assert_eq!(peer.produce("t", 0, Acks::All, &batch(b"more")).error, ErrorCode::STORAGE_FULL);
    // Others run beside this: the quickest of some times is what it takes.
    let (mut refused_in, mut resumed_in, mut stored) = (Duration::MAX, Duration::MAX, 0);
    std::fs::remove_file(disk.path().join("ballast")).unwrap();
    until("it resumes", || {
        stored += i64::from(peer.produce("t", 0, Acks::All, &batch(b"more")).error == ErrorCode::NONE);
        stored > 0
    });
    for _ in 0..5 {
        let mut is_refused = |peer: &mut Peer| {
            let is_stored = peer.produce("t", 0, Acks::All, &batch(b"more")).error == ErrorCode::NONE;
            stored += i64::from(is_stored);
            !is_stored
        };
        leave(&disk, 6 * MIB);
        let begun = Instant::now();
        until("it is refused", || is_refused(&mut peer));
        refused_in = refused_in.min(begun.elapsed());
        std::fs::remove_file(disk.path().join("ballast")).unwrap();
        let begun = Instant::now();
        until("it resumes", || !is_refused(&mut peer));
        resumed_in = resumed_in.min(begun.elapsed());
        if refused_in < Duration::from_secs(1) && resumed_in < Duration::from_secs(2) {
            break;
        }
    }
    println!("refused within {refused_in:?}, taken again within {resumed_in:?}");
    assert!(refused_in < Duration::from_secs(1) && resumed_in < Duration::from_secs(2));
    assert_eq!(peer.describe("t").log_end, end + stored, "what was refused left nothing");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn on_a_disk_that_is_nearly_full_retention_goes_on_and_compaction_pauses() {
    let disk = TinyDisk::mount(40);
    let daemon = nearly_full(&disk, &["topic.segment.bytes=4096", "maintenance.interval.ms=20"]);
    let mut peer = Peer::connect(daemon.address());
    let compacted = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("min.compaction.lag.ms", &COMPACTION_LAG_MS.to_string()),
    ];
    peer.create("c", 1, &compacted);
    leave(&disk, 9 * MIB);
    for number in 0..20 {
        let record = keyed(b"k", &[number; 1000]);
        assert_eq!(peer.produce("c", 0, Acks::All, &record).error, ErrorCode::NONE);
    }
    leave(&disk, 6 * MIB);
    until("produce is refused", || {
        peer.produce("t", 0, Acks::All, &batch(b"more")).error == ErrorCode::STORAGE_FULL
    });
    let before = peer.counter("compactions");
    // Everything is old enough to be compacted, and a whole round finds it so.
    std::thread::sleep(Duration::from_millis(COMPACTION_LAG_MS));
    until_it_looks_again(&mut peer, "maintenance.rounds");
    assert_eq!(peer.counter("compactions"), before, "compaction waits");
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let change = ConfigChange::Set("retention.bytes".to_owned(), "1".to_owned());
    client.admin().alter_configs(ConfigResource::Topic("t".to_owned()), [change]).wait().unwrap();
    until("retention takes old segments", || peer.describe("t").log_start > 10);
    std::fs::remove_file(disk.path().join("ballast")).unwrap();
    until("compaction goes on", || peer.counter("compactions") > before);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_log_is_compacted_on_a_disk_that_has_room_for_it_though_not_for_a_whole_segment_or_for_a_dirtier_log() {
    let disk = TinyDisk::mount(40);
    let arguments = [
        "maintenance.interval.ms=20",
        "topic.segment.ms=100",
        "topic.cleanup.policy=compact",
        "topic.min.cleanable.dirty.ratio=0",
        "disk.min.free=8388608",
    ];
    let daemon = Daemon::on(disk.path(), &arguments.map(|setting| ["--set", setting]).concat());
    let mut peer = Peer::connect(daemon.address());
    peer.create("small", 1, &[]);
    let not_yet = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.ms", "3600000")];
    peer.create("large", 1, &not_yet);
    let client = Client::connect(ClientConfig::new(daemon.address())).unwrap();
    let set = |key: &str, value: &str| {
        let change = ConfigChange::Set(key.to_owned(), value.to_owned());
        client.admin().alter_configs(ConfigResource::Topic("large".to_owned()), [change]).wait().unwrap();
    };
    let send = |peer: &mut Peer, topic: &str, count: usize, size: usize| {
        for _ in 0..count {
            assert_eq!(
                peer.produce(topic, 0, Acks::All, &keyed(b"k", &vec![7; size])).error,
                ErrorCode::NONE
            );
        }
    };
    // A segment may become a gibibyte.
    send(&mut peer, "small", 5, 1000);
    until("the small one is compacted", || peer.counter("compaction.records.removed") == 4);

    // All of the large one is dirty then, and not all of the small one.
    send(&mut peer, "large", 4, 1_000_000);
    set("segment.ms", "100");
    until("it is closed", || peer.describe("large").segments > 1);
    leave(&disk, 14 * MIB);
    set("cleanup.policy", "compact");
    let told = || {
        let said = daemon.said();
        said.lines().filter(|line| line.contains("no room to compact")).map(str::to_owned).collect::<Vec<_>>()
    };
    until("it is told that the large one waits", || !told().is_empty());
    for round in 1..=2 {
        send(&mut peer, "small", 1, 1000);
        until("the small one is compacted again", || peer.counter("compaction.records.removed") == 4 + round);
    }
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("large"), "{told:?}");
    std::fs::remove_file(disk.path().join("ballast")).unwrap();
    until("the large one is compacted", || peer.counter("compaction.records.removed") == 9);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn no_room_and_no_quota_at_a_write_or_a_reservation_refuse_produce_until_there_is_some() {
    for (calls, error) in [
        ("pwrite64,pwritev,pwritev2", "ENOSPC"),
        ("pwrite64,pwritev,pwritev2", "EDQUOT"),
        ("fallocate", "ENOSPC"),
        ("fallocate", "EDQUOT"),
    ] {
        let Refused { _dir, daemon, acknowledged, .. } = refused_for_a_while(calls, error);
        check(&mut Peer::connect(daemon.address()), &acknowledged);
        assert_eq!(daemon.stop().code(), Some(0), "{error} at {calls}");
    }
}

#[test]
fn a_record_that_was_refused_for_want_of_room_and_counts_as_stored_is_found_missing() {
    let Refused { _dir, daemon, acknowledged, refused } = refused_for_a_while("fallocate", "ENOSPC");
    let mut peer = Peer::connect(daemon.address());
    check(&mut peer, &acknowledged);
    let (last, before) = acknowledged.split_last().unwrap();
    let with_it = [before, &[refused, last.clone()]].concat();
    let said = finding("a refusal", || check(&mut peer, &with_it));
    assert!(said.contains("is not what was acknowledged there"), "{said}");
    let said = finding("a record too many", || check(&mut peer, before));
    assert!(said.contains("what was refused left something"), "{said}");
    daemon.stop();
}

#[test]
fn a_file_system_that_cannot_reserve_room_is_served_without() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "topic.segment.bytes=1000000"]);
    let mut peer = Peer::connect(daemon.address());
    let strace = Strace::attach(daemon.pid(), "inject=fallocate:error=EOPNOTSUPP");
    peer.create("t", 1, &[]);
    let values: Vec<Vec<u8>> = (0..30).map(|number| vec![number; 100_000]).collect();
    for value in &values {
        assert_eq!(peer.produce("t", 0, Acks::All, &batch(value)).error, ErrorCode::NONE);
    }
    check(&mut peer, &values);
    drop(strace);
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    check(&mut Peer::connect(daemon.address()), &values);
    daemon.stop();
}

/// Every record that was acknowledged is where it should be, and there is nothing else.
fn check(peer: &mut Peer, acknowledged: &[Vec<u8>]) {
    for (offset, value) in acknowledged.iter().enumerate() {
        let (_, bytes) = peer.fetch_now("t", offset as i64);
        let is_there = bytes.windows(value.len()).any(|window| window == value);
        assert!(is_there, "the record at {offset} is not what was acknowledged there");
    }
    assert_eq!(peer.describe("t").log_end, acknowledged.len() as i64, "what was refused left something");
}

/// What came of calls that failed for a while.
struct Refused {
    _dir: tempfile::TempDir,
    daemon: Daemon,
    /// Before and afterwards, by offset.
    acknowledged: Vec<Vec<u8>>,
    /// One that was not.
    refused: Vec<u8>,
}

/// These calls fail with this error for a while.
fn refused_for_a_while(calls: &str, error: &str) -> Refused {
    let dir = tempfile::tempdir().unwrap();
    // The next reservation is near.
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    let mut acknowledged = vec![b"first".to_vec()];
    assert_eq!(peer.produce("t", 0, Acks::All, &batch(b"first")).error, ErrorCode::NONE);
    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:error={error}"));
    let what = format!("{error} at {calls}");
    let (mut value, mut refused) = (Vec::new(), None);
    until(&what, || {
        value = vec![acknowledged.len() as u8; 100_000];
        let answer = peer.produce("t", 0, Acks::All, &batch(&value));
        match answer.error {
            ErrorCode::NONE => acknowledged.push(value.clone()),
            _ => refused = Some(answer),
        }
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.error, ErrorCode::STORAGE_FULL, "{what}: {:?}", refused.message);
    let data = dir.path().join("data").display().to_string();
    assert!(refused.message.unwrap_or_default().starts_with(&format!("disk full on {data}: ")), "{what}");
    check(&mut peer, &acknowledged);
    drop(strace);
    until(&format!("{what}: it resumes"), || {
        peer.produce("t", 0, Acks::All, &batch(b"again")).error == ErrorCode::NONE
    });
    acknowledged.push(b"again".to_vec());
    Refused { _dir: dir, daemon, acknowledged, refused: value }
}

/// Every one of these calls fails with this error from some moment on, while a producer and a reader wait.
fn fails(calls: &str, error: &str) {
    let what = format!("{error} at {calls}");
    let dir = tempfile::tempdir().unwrap();
    // It is the flush that fails first, and not a sync of durable points that nobody waits for.
    let mut daemon = Daemon::on(dir.path(), &["--set", "slots.sync.ms=3600000"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    for number in 0..5 {
        assert_eq!(peer.produce("t", 0, Acks::All, &batch(&[number])).error, ErrorCode::NONE);
    }
    let mut reader = KafkaPeer::connect(daemon.address());
    let waiting = reader.submit(12, &fetch("t", 0, 5, Duration::from_secs(20)));
    assert!(waiting > 0);
    let mut producer = KafkaPeer::connect(daemon.address());
    let slots = || std::fs::read(dir.path().join("data/slots")).unwrap();
    let before = slots();
    let strace = Strace::attach(daemon.pid(), &format!("inject={calls}:error={error}"));
    // What needs a reservation, too.
    producer.submit(9, &produce("t", 0, -1, &batch(&[7; 200_000])));
    let limit = Duration::from_secs(20);
    let refused = producer.answer_within(ApiKey::Produce, 9, limit);
    let (code, _) = produced(&refused.unwrap_or_else(|| panic!("{what}: nothing was answered")));
    assert_eq!(code, KafkaError::KAFKA_STORAGE_ERROR, "{what}: what waits is answered");
    if let Some(answer) = reader.answer_within(ApiKey::Fetch, 12, limit) {
        let told: FetchResponse<'_> = answer.message();
        let data = &told.responses[0].partitions[0];
        assert_eq!(data.error_code, KafkaError::KAFKA_STORAGE_ERROR, "{what}: the reader is told");
    }
    assert_eq!(daemon.wait().code(), Some(70), "{what}: {}", daemon.said());
    drop(strace);
    assert_eq!(slots(), before, "{what}: no durable point was written after it");
    assert!(!dir.path().join("data/clean").exists(), "{what}: no clean mark");

    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{what}: {}", daemon.said());
    let mut peer = Peer::connect(daemon.address());
    for number in 0..5 {
        assert!(!peer.fetch_now("t", number).1.is_empty(), "{what}: {number} was acknowledged");
    }
    daemon.stop();
}

#[test]
fn any_other_error_of_a_write_fails_the_directory() {
    for error in ["EIO", "EROFS", "ENXIO"] {
        fails("pwrite64,pwritev,pwritev2", error);
    }
}

#[test]
fn an_error_of_a_reservation_that_is_not_for_want_of_room_fails_the_directory() {
    for error in ["EIO", "EROFS"] {
        fails("fallocate", error);
    }
}

#[test]
fn any_error_of_a_flush_fails_the_directory_also_one_for_want_of_room() {
    for error in ["EIO", "ENOSPC", "EDQUOT", "EROFS"] {
        fails("fdatasync,fsync,syncfs", error);
    }
}

#[test]
fn a_disk_with_nothing_free_is_told_at_the_start_already() {
    let disk = TinyDisk::mount(40);
    let daemon = nearly_full(&disk, &[]);
    daemon.stop();
    leave(&disk, 2 * MIB);
    let daemon = Daemon::on(disk.path(), &["--set", "disk.min.free=8388608"]);
    let mut peer = Peer::connect(daemon.address());
    until("produce is refused", || {
        peer.produce("t", 0, Acks::All, &batch(b"more")).error == ErrorCode::STORAGE_FULL
    });
    assert!(!peer.fetch_now("t", 0).1.is_empty());
    assert!(daemon.said().contains("the disk is nearly full"), "{}", daemon.said());
    assert!(Path::new(disk.path()).join("data/LOCK").exists());
    daemon.stop();
}

/// A daemon with the topics `t` and `u`, some records in each, and the files that `t` is kept in.
fn two_topics(dir: &Path) -> (Daemon, Peer, impl Fn() -> Vec<PathBuf>) {
    let settings = ["maintenance.interval.ms=50", "topic.segment.bytes=65536"];
    let daemon = Daemon::on(dir, &settings.map(|setting| ["--set", setting]).concat());
    let mut peer = Peer::connect(daemon.address());
    for topic in ["t", "u"] {
        peer.create(topic, 1, &[]);
        assert_eq!(peer.produce(topic, 0, Acks::All, &batch(&[7; 1000])).error, ErrorCode::NONE);
    }
    let partition = dir.join("data/topics/t-0");
    (daemon, peer, move || cache::logs(&partition))
}

#[test]
fn a_closed_segment_that_cannot_be_opened_is_not_sealed_and_everything_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut peer, logs) = two_topics(dir.path());
    let strace = Strace::attach_to(daemon.pid(), "inject=openat,open:error=EIO", &logs()[0]);
    until("it is told", || {
        assert_eq!(peer.produce("t", 0, Acks::All, &batch(&[7; 10_000])).error, ErrorCode::NONE);
        daemon.said().contains("a segment is damaged")
    });
    assert!(logs().len() > 1);
    assert!(daemon.said().contains("topics/t-0/00000000000000000000.log"), "{}", daemon.said());
    assert_eq!(peer.produce("u", 0, Acks::All, &batch(&[7; 1000])).error, ErrorCode::NONE);
    let last = peer.describe("t").log_end - 1;
    assert!(!peer.fetch_now("t", last).1.is_empty());
    drop(strace);
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    assert!(!Peer::connect(daemon.address()).fetch_now("t", 0).1.is_empty(), "nothing is wrong with it");
    daemon.stop();
}

#[test]
fn a_partition_that_the_disk_tells_nothing_of_is_offline_and_all_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut peer, logs) = two_topics(dir.path());
    let strace = Strace::attach_to(daemon.pid(), "inject=statx,newfstatat,lstat:error=EIO", &logs()[0]);
    let mut why = None;
    until("it is offline", || {
        why = peer.produce("t", 0, Acks::All, &batch(b"more")).message;
        why.is_some()
    });
    let why = why.unwrap();
    assert!(why.contains("cannot be looked at: Input/output error"), "{why}");
    assert_eq!(peer.produce("u", 0, Acks::All, &batch(&[7; 1000])).error, ErrorCode::NONE);
    assert!(!peer.fetch_now("t", 0).1.is_empty(), "what can be read is served");
    drop(strace);
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    assert!(!peer.fetch_now("t", 0).1.is_empty());
    assert_eq!(peer.produce("t", 0, Acks::All, &batch(b"more")).error, ErrorCode::NONE);
    daemon.stop();
}
